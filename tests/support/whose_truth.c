/* SPDX-License-Identifier: Apache-2.0 */
/* whose_truth.c: see the header. */
#include "tests/support/whose_truth.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

struct truth_purge {
	struct purge_scope scope; /* slices into text */
	char text[PURGE_TEXT_BYTES];
	uint64_t moment, known; /* UINT64_MAX: not yet */
};

static uint64_t moment;
static struct truth_fetch *fetches;
static size_t fetch_count, fetch_room;
static struct truth_purge **purges;
static size_t purge_count, purge_room;
static struct truth_write writes[WRITES_MAX];
static bool garbled[FIRST_WRITE - FIRST_READ + WRITES_MAX]; /* by question */

static bool is_digit(struct slice text, size_t at)
{
	return at < text.len && text.at[at] >= '0' && text.at[at] <= '9';
}

bool whose_next(struct slice text, size_t *at, struct whose_number *number)
{
	while (*at < text.len) {
		size_t from = *at, to = from;
		while (is_digit(text, to))
			to++;
		*at = to > from ? to : from + 1;
		bool negative = from > 0 && text.at[from - 1] == '-';
		number->number = 0;
		for (size_t i = from; i < to && i < from + 10; i++)
			number->number = number->number * 10 + (uint64_t)(text.at[i] - '0');
		number->kind = negative ? WHOSE_FETCH : text.at[from] == '7' ? WHOSE_ASKER : WHOSE_QUESTION;
		if (negative ? to - from == 10 : to - from == 6 && strchr("127", text.at[from]))
			return true;
	}
	return false;
}

void truth_begin(void)
{
	memset(writes, 0, sizeof writes);
	memset(garbled, 0, sizeof garbled);
	moment = 0;
}

void truth_end(void)
{
	for (size_t i = 0; i < purge_count; i++)
		free(purges[i]);
	free(purges);
	free(fetches);
	purges = NULL;
	fetches = NULL;
	purge_count = purge_room = fetch_count = fetch_room = 0;
}

uint64_t truth_moment(void)
{
	return ++moment;
}

/* --- what providers said --- */

static void *grow(void *array, size_t count, size_t *room, size_t each)
{
	if (count < *room)
		return array;
	*room = *room ? *room * 2 : 64;
	array = realloc(array, *room * each);
	assert(array);
	return array;
}

uint64_t truth_say(uint64_t question, uint64_t caller, uint64_t begun, uint64_t asked_us)
{
	fetches = grow(fetches, fetch_count, &fetch_room, sizeof *fetches);
	fetches[fetch_count] = (struct truth_fetch){
		.question = question, .caller = caller, .begun = begun, .asked_us = asked_us, .said_us = clock_now_us()
	};
	return FIRST_FETCH + fetch_count++;
}

struct truth_fetch *truth_fetch(uint64_t number)
{
	return number >= FIRST_FETCH && number - FIRST_FETCH < fetch_count ? &fetches[number - FIRST_FETCH] : NULL;
}

void truth_say_now(struct slice text, uint64_t now_us)
{
	struct whose_number number;
	for (size_t at = 0; whose_next(text, &at, &number);)
		if (number.kind == WHOSE_FETCH && truth_fetch(number.number))
			truth_fetch(number.number)->said_us = now_us;
}

void truth_deliver(struct slice body)
{
	struct whose_number number;
	for (size_t at = 0; whose_next(body, &at, &number);) {
		struct truth_fetch *fetch = number.kind == WHOSE_FETCH ? truth_fetch(number.number) : NULL;
		if (fetch)
			fetch->delivered = truth_moment();
	}
}

void truth_garble(uint64_t question)
{
	garbled[question - FIRST_READ] = true;
}

bool truth_is_garbled(uint64_t question)
{
	return garbled[question - FIRST_READ];
}

/* --- writes --- */

struct truth_write *truth_write(uint64_t question)
{
	assert(whose_is_write(question) && question - FIRST_WRITE < WRITES_MAX);
	return &writes[question - FIRST_WRITE];
}

/* --- purges --- */

size_t truth_purge(const struct purge_scope *scope)
{
	struct truth_purge *purge = calloc(1, sizeof *purge);
	purges = grow(purges, purge_count, &purge_room, sizeof(struct truth_purge *));
	assert(purge);
	struct slice text = purge_scope_write(scope, purge->text);
	purge->scope = purge_scope_read(text);
	purge->moment = truth_moment();
	purge->known = UINT64_MAX;
	purges[purge_count] = purge;
	return purge_count++;
}

void truth_know(size_t purge)
{
	if (purges[purge]->known == UINT64_MAX)
		purges[purge]->known = truth_moment();
}

void truth_lose(size_t purge)
{
	purges[purge]->known = UINT64_MAX;
}

bool truth_is_told_by(size_t purge, struct slice text)
{
	return !text.len || slice_equal(slice_of(purges[purge]->text), text);
}

static bool names_digest(struct slice hex, const uint8_t *digest)
{
	char text[2 * KEY_DIGEST_BYTES + 1];
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return slice_equal(hex, slice_of(text));
}

static bool covers(const struct purge_scope *scope, const struct truth_key *key)
{
	return (!scope->tool.len || slice_equal(scope->tool, slice_of(key->tool))) &&
	       (!scope->prefix.len || strncmp(key->tool, scope->prefix.at, scope->prefix.len) == 0) &&
	       (!scope->tag.len || (key->tagged && slice_equal(scope->tag, SLICE("news")))) &&
	       (!scope->key.len || names_digest(scope->key, key->digest));
}

size_t truth_find_purge(const struct truth_key *key, uint64_t begun, uint64_t by)
{
	for (size_t i = purge_count; i-- > 0 && purges[i]->moment > begun;)
		if (purges[i]->known < by && covers(&purges[i]->scope, key))
			return i + 1;
	return 0;
}

void truth_put_purge(size_t purge, struct buf *out)
{
	buf_printf(out, "purge of \"%s\", asked for at %llu and known at %llu", purges[purge]->text,
		   (unsigned long long)purges[purge]->moment, (unsigned long long)purges[purge]->known);
}
