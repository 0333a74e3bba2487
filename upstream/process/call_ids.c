/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_ids.c: the numbers 0, 1, 2, ... in an order of our own: a Feistel network over both halves of a number, which
 * maps each to exactly one other, so that none comes twice and each tells which it was.
 */
#include "upstream/process/call_ids.h"

#include "base/random.h"

enum { ROUNDS = 6, HALF_BITS = CALL_IDS_BITS / 2 };
#define HALF_MASK ((UINT64_C(1) << HALF_BITS) - 1)
#define ALL_MASK ((UINT64_C(1) << CALL_IDS_BITS) - 1)

bool call_ids_init(struct call_ids *ids)
{
	ids->given = 0;
	return random_secret(&ids->key, sizeof ids->key);
}

/* Half a number, mixed with the key: the finish of MurmurHash3, twice. */
static uint64_t mix_half(uint64_t key, unsigned round, uint64_t half)
{
	uint64_t mixed = half << 8 | round;
	for (int i = 0; i < 2; i++) {
		mixed ^= key;
		mixed = (mixed ^ mixed >> 33) * UINT64_C(0xff51afd7ed558ccd);
		mixed = (mixed ^ mixed >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
		mixed ^= mixed >> 33;
	}
	return mixed >> (64 - HALF_BITS);
}

uint64_t call_ids_next(struct call_ids *ids)
{
	uint64_t number = ids->given++ & ALL_MASK, left = number >> HALF_BITS, right = number & HALF_MASK;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t next = left ^ mix_half(ids->key, round, right);
		left = right;
		right = next;
	}
	return CALL_ID_FIRST + (left << HALF_BITS | right);
}

bool call_ids_is_guess(const struct call_ids *ids, uint64_t id)
{
	if (id < CALL_ID_FIRST || id - CALL_ID_FIRST > ALL_MASK)
		return false;
	uint64_t left = (id - CALL_ID_FIRST) >> HALF_BITS, right = id & HALF_MASK;
	for (unsigned round = ROUNDS; round-- > 0;) {
		uint64_t before = right ^ mix_half(ids->key, round, left);
		right = left;
		left = before;
	}
	return (left << HALF_BITS | right) >= ids->given;
}
