/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values from a store under any bytes. The first byte chooses whether the checksum is put right (so that what lies
 * behind it is reached). Properties: nothing is read out of bounds; what is taken is an entry whose times are in
 * order, and comes back the same when it is written and read again.
 */
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/clock.h"
#include "cache/stored_value.h"
#include "tests/support/cache_keys.h"
#include "tests/support/fuzz.h"

enum { FORMAT_AT = 6, CHECKSUM_AT = 8, CHECKED_FROM = 16 };

static const struct stored_clock now = { 5000 * CLOCK_US_PER_S, UINT64_C(1700000000) * CLOCK_US_PER_S };

static void write_and_read_again(struct entry *entry)
{
	struct buf out = BUF_INIT(1 << 26);
	struct entry *again = NULL;
	must(stored_value_encode(entry, 64, &now, &out));
	must(stored_value_decode(buf_slice(&out), entry->key, &now, &again) == STORED_OK);
	must(slice_equal(answer_body(again->answer), answer_body(entry->answer)));
	must(slice_equal(answer_full(again->answer), answer_full(entry->answer)));
	must(again->answer->outcome == entry->answer->outcome && again->fresh_until_us == entry->fresh_until_us);
	entry_unref(again);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t len = size - 1;
	char *bytes = malloc(len + 1);
	struct key *key = key_of_id(7);
	struct entry *entry = NULL;
	must(bytes != NULL);
	memcpy(bytes, data + 1, len);
	if (data[0] & 1 && len > CHECKED_FROM) {
		uint64_t seed = (uint8_t)bytes[FORMAT_AT] | (uint64_t)(uint8_t)bytes[FORMAT_AT + 1] << 8;
		uint64_t checksum = htole64(XXH3_64bits_withSeed(bytes + CHECKED_FROM, len - CHECKED_FROM, seed));
		memcpy(bytes + CHECKSUM_AT, &checksum, sizeof checksum);
	}
	if (stored_value_decode((struct slice){ bytes, len }, key, &now, &entry) == STORED_OK) {
		must(entry->made_us <= entry->stored_us && entry->stored_us <= entry->fresh_until_us &&
		     entry->stored_us <= now.now_us);
		must(entry->fresh_until_us <= entry->revalidate_until_us);
		write_and_read_again(entry);
	}
	entry_unref(entry);
	key_unref(key);
	free(bytes);
	return 0;
}
