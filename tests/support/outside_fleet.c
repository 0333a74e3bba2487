/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outside_fleet.c: the list of purges, what this gateway hears of it and says to it (a model of redis_tracking.c, or of
 * the disk's thread), and another gateway, which fetches, stores and purges. One number is the fleet's, rising.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/outside_private.h"
#include "tests/support/whose_truth.h"

enum { LIST_MAX = 128, POST_MAX = 64, FETCHES_MAX = 16, MINE_MAX = 4096 };
#define UNHEARD_US (2 * CLOCK_US_PER_S)

struct listed {
	size_t len;
	uint64_t number;
	char text[PURGE_TEXT_BYTES];
	size_t truths[LIST_MAX]; /* all that it stands for */
	size_t truth_count;
};

/* A purge on its way to this gateway, or, with `news`, from it. */
struct letter {
	uint64_t due_us, number;
	struct purge_notice notice;
	size_t listed_truth; /* there: another's */
	bool has_truth;
};

/* The other gateway's fetch: it stores what it got, if it may. */
struct others_fetch {
	uint64_t asked_us, due_us, number;
	struct key *key; /* owned */
	struct answer *answer;
};

static struct {
	bool stands, used;
	uint64_t poll_us, newest, others_number;
	struct listed list[LIST_MAX];
	size_t count;
	struct letter in[POST_MAX], out[POST_MAX];
	size_t in_count, out_count;
	struct others_fetch fetches[FETCHES_MAX];
	size_t fetch_count;
	size_t mine[MINE_MAX]; /* purges of this gateway's that nobody has been told of */
	size_t mine_count;
	uint8_t replaced[POST_MAX][KEY_DIGEST_BYTES]; /* word of another's stores, for this gateway */
	size_t replaced_count;
} fleet;

static struct cache *cache(void)
{
	return outside.world->gateway.cache;
}

static struct purges *purges(void)
{
	return &cache_rule(cache())->purges;
}

/* --- the list --- */

static struct listed *list_place(struct slice text)
{
	for (size_t i = 0; i < fleet.count; i++)
		if (fleet.list[i].len == text.len && memcmp(fleet.list[i].text, text.at, text.len) == 0)
			return &fleet.list[i];
	if (fleet.count == LIST_MAX)
		return NULL;
	fleet.list[fleet.count] = (struct listed){ .number = 0 }; /* nothing of a list that was lost */
	return &fleet.list[fleet.count++];
}

/* Returns the number that it had before; 0: none. */
static uint64_t list_note(struct slice text, uint64_t number, const size_t *truths, size_t truth_count)
{
	struct listed *place = list_place(text);
	if (!place) { /* too many to keep apart */
		fleet.count = 0;
		text.len = 0;
		place = list_place(text);
		number = number > fleet.newest ? number : fleet.newest;
	}
	uint64_t before = place->number;
	place->len = text.len;
	memcpy(place->text, text.len ? text.at : "", text.len);
	place->number = number > place->number ? number : place->number;
	for (size_t i = 0; i < truth_count; i++) /* what is said says nothing of others that wait to be said */
		if (place->truth_count < LIST_MAX && truth_is_told_by(truths[i], text))
			place->truths[place->truth_count++] = truths[i];
	fleet.newest = number > fleet.newest ? number : fleet.newest;
	return before;
}

static uint64_t next_number(uint64_t known)
{
	uint64_t number = outside_clock().wall_us / CLOCK_US_PER_MS;
	number = number > fleet.newest + 1 ? number : fleet.newest + 1;
	return number > known + 1 ? number : known + 1;
}

static void drop_named_value(struct slice text)
{
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	struct outside_value *value = purge_scope_is_key(&scope, digest) ? outside_find(digest) : NULL;
	if (value)
		buf_reset(&value->bytes);
}

/* The script of redis_tracking.c. What is asked for anew has no number. */
static uint64_t script(struct slice *text, uint64_t published_number, uint64_t known, const size_t *truths,
		       size_t count, uint64_t *before)
{
	uint64_t number = published_number ? published_number : next_number(known);
	drop_named_value(*text);
	if (!fleet.count && !published_number) /* the list was lost: it begins with everything */
		text->len = 0;
	*before = list_note(*text, number, truths, count);
	return number;
}

/* All of it, and what it does not have is told it once more. */
static void read_list(void)
{
	static const struct purge_scope everything;
	bool empty = fleet.count == 0;
	uint64_t keys_from = 0;
	purges_read_begin(purges());
	for (size_t i = 0; i < fleet.count; i++) {
		const struct listed *listed = &fleet.list[i];
		const struct purge_scope scope = purge_scope_read((struct slice){ listed->text, listed->len });
		keys_from = scope.key.len && listed->number > keys_from ? listed->number : keys_from;
		cache_purge_received(cache(), (struct slice){ listed->text, listed->len }, listed->number);
		for (size_t t = 0; t < listed->truth_count; t++)
			truth_know(listed->truths[t]);
	}
	purges_read_end(purges(), keys_from);
	if (empty && !fleet.stands && purges_is_published(purges(), (struct slice){ "", 0 }))
		cache_purge(cache(), &everything);
	fleet.poll_us = clock_now_us() + UNHEARD_US / 2;
}

/* --- this gateway speaks --- */

static void take_out(struct letter *letters, size_t *count, size_t n)
{
	--*count;
	memmove(&letters[n], &letters[n + 1], (*count - n) * sizeof letters[0]);
}

static void say_waiting(void)
{
	while (fleet.out_count < POST_MAX) {
		struct letter *letter = &fleet.out[fleet.out_count];
		*letter = (struct letter){ .due_us = clock_now_us() + outside_roll(OUTSIDE_LATE_US / 2) };
		if (!purges_take_waiting(purges(), &letter->notice))
			return;
		fleet.out_count++;
	}
}

/* They say nothing of whether it was heard. */
static void lose_letters(void)
{
	fleet.out_count = 0;
	purges_say_again(purges());
}

static void publish(const struct letter *letter)
{
	struct slice text = { letter->notice.text, letter->notice.len };
	uint64_t number, before = 0;
	if (outside.kind == OUTSIDE_DISK)
		number = letter->notice.number ? letter->notice.number : purges_number(purges()) + 1;
	else
		number = script(&text, letter->notice.number, purges_number(purges()), fleet.mine, fleet.mine_count,
				&before);
	if (outside.kind == OUTSIDE_DISK)
		list_note(text, number, NULL, 0);
	purges_published(purges(), (struct slice){ letter->notice.text, letter->notice.len }, letter->notice.event,
			 number, before);
}

static void publish_due(void)
{
	say_waiting();
	while (fleet.out_count && clock_now_us() >= fleet.out[0].due_us) {
		struct letter letter = fleet.out[0];
		take_out(fleet.out, &fleet.out_count, 0);
		publish(&letter);
		if (outside.kind == OUTSIDE_REDIS && outside_roll(16) == 0)
			lose_letters(); /* heard or not: it is said once more */
	}
	if (!fleet.out_count && !atomic_load(&purges()->waiting))
		fleet.mine_count = 0;
}

void outside_purge(const struct purge_scope *scope)
{
	size_t purge = truth_purge(scope);
	cache_purge(cache(), scope);
	truth_know(purge);
	if (fleet.mine_count == MINE_MAX)
		fleet.mine_count = 0; /* then it is not known after a restart: less is asked of the code, not more */
	fleet.mine[fleet.mine_count++] = purge;
}

/* --- this gateway hears --- */

static void receive_due(void)
{
	while (fleet.in_count && clock_now_us() >= fleet.in[0].due_us) {
		struct letter letter = fleet.in[0];
		take_out(fleet.in, &fleet.in_count, 0);
		cache_purge_received(cache(), (struct slice){ letter.notice.text, letter.notice.len }, letter.number);
		if (letter.has_truth)
			truth_know(letter.listed_truth);
	}
}

/* It was stored a moment ago: is that what was told of? */
static void verify(struct entry *entry)
{
	const struct stored_clock clock = outside_clock();
	const struct outside_value *value = entry ? outside_find(entry->key->digest) : NULL;
	if (entry && (!value || !stored_value_is_of(buf_slice(&value->bytes), entry, &clock)))
		cache_drop(cache(), entry->key->digest);
	entry_unref(entry);
}

static void hear_replaced(void)
{
	for (size_t i = 0; i < fleet.replaced_count && fleet.stands; i++)
		verify(cache_replaced(cache(), fleet.replaced[i], clock_now_us()));
	fleet.replaced_count = 0;
}

static void break_session(void)
{
	fleet.stands = false;
	fleet.in_count = fleet.replaced_count = 0;
	validity_lost_sync(cache_rule(cache()), clock_now_us());
	lose_letters();
	fleet.poll_us = clock_now_us() + outside_roll(UNHEARD_US / 2);
}

static void open_session(void)
{
	if (fleet.stands)
		return;
	read_list();
	fleet.stands = true;
	validity_synced(cache_rule(cache()));
}

/* --- the other gateway --- */

static void others_purge(const struct purge_scope *scope)
{
	char written[PURGE_TEXT_BYTES];
	size_t truth = truth_purge(scope);
	struct slice text = purge_scope_write(scope, written);
	uint64_t before, number = script(&text, 0, fleet.others_number, &truth, 1, &before);
	outside.counts.others_purged++;
	fleet.others_number = fleet.newest;
	if (!fleet.stands)
		return;
	if (fleet.in_count == POST_MAX) {
		break_session(); /* as Redis does with one who does not read */
		return;
	}
	struct letter *letter = &fleet.in[fleet.in_count++];
	uint64_t due_us = clock_now_us() + outside_roll(OUTSIDE_LATE_US / 2);
	uint64_t before_us = fleet.in_count > 1 ? letter[-1].due_us : 0;
	*letter = (struct letter){ .due_us = due_us > before_us ? due_us : before_us,
				   .number = number,
				   .listed_truth = truth,
				   .has_truth = true };
	letter->notice.len = text.len;
	memcpy(letter->notice.text, text.len ? text.at : "", text.len);
}

/* What the provider told the other gateway: the same words, but a fetch of their own each. NULL: no such words. */
static struct answer *fetch_anew(const struct answer *known)
{
	struct slice body = answer_body(known);
	struct buf copy = BUF_INIT(SIZE_MAX / 4);
	struct whose_number number;
	bool any = false;
	buf_put(&copy, body);
	for (size_t at = 0; whose_next(body, &at, &number);) {
		const struct truth_fetch *fetch = number.kind == WHOSE_FETCH ? truth_fetch(number.number) : NULL;
		char digits[16];
		if (!fetch)
			continue;
		bool moved = fetch->moved;
		uint64_t anew = truth_say(fetch->question, fetch->caller, truth_moment(), clock_now_us());
		truth_fetch(anew)->moved = moved;
		snprintf(digits, sizeof digits, "%010llu", (unsigned long long)anew);
		memcpy(copy.store->bytes + at - 10, digits, 10);
		any = true;
	}
	bool usable = any && known->outcome == OUTCOME_OK && !answer_full(known).len;
	struct answer *answer = usable ? answer_result(buf_slice(&copy), known->json, NULL) : NULL;
	buf_fini(&copy);
	return answer;
}

static void others_fetch(void)
{
	const struct stored_clock clock = outside_clock();
	struct outside_value *value = &outside.values[outside_roll(OUTSIDE_VALUES)];
	struct entry *known = NULL;
	for (size_t i = 0; i < OUTSIDE_VALUES && !value->key; i++)
		value = &outside.values[(size_t)(value + 1 - outside.values) % OUTSIDE_VALUES];
	if (!value->key || !value->bytes.len || fleet.fetch_count == FETCHES_MAX ||
	    stored_value_decode(buf_slice(&value->bytes), value->key, &clock, &known) != STORED_OK)
		return;
	struct answer *answer = fetch_anew(known->answer);
	entry_unref(known);
	if (!answer)
		return;
	fleet.fetches[fleet.fetch_count++] =
		(struct others_fetch){ clock.now_us, clock.now_us + outside_roll(OUTSIDE_LATE_US), fleet.others_number,
				       key_ref(value->key), answer };
}

static void others_store(const struct others_fetch *fetch)
{
	const struct stored_clock clock = outside_clock();
	struct entry *entry = entry_new(fetch->key, fetch->answer);
	struct outside_value *value = outside_place(fetch->key);
	assert(entry);
	truth_say_now(answer_body(fetch->answer), clock.now_us);
	entry->number = fetch->number;
	entry->made_us = fetch->asked_us;
	entry->stored_us = clock.now_us;
	entry->fresh_until_us = clock.now_us + (1 + outside_roll(20)) * CLOCK_US_PER_S;
	entry->revalidate_until_us = entry->fresh_until_us + outside_roll(10) * CLOCK_US_PER_S;
	entry->error_until_us = entry->fresh_until_us + outside_roll(60) * CLOCK_US_PER_S;
	if (value) {
		buf_reset(&value->bytes);
		bool fits = stored_value_encode(entry, 0, &clock, &value->bytes);
		assert(fits);
		outside.counts.others_stored++;
		if (fleet.replaced_count == POST_MAX)
			break_session();
		else if (fleet.stands)
			memcpy(fleet.replaced[fleet.replaced_count++], fetch->key->digest, KEY_DIGEST_BYTES);
	}
	entry_unref(entry);
}

static void forget_fetch(size_t n)
{
	key_unref(fleet.fetches[n].key);
	answer_unref(fleet.fetches[n].answer);
	fleet.fetches[n] = fleet.fetches[--fleet.fetch_count];
}

static void others_turn(void)
{
	for (size_t n = 0; n < fleet.fetch_count;) {
		if (clock_now_us() < fleet.fetches[n].due_us) {
			n++;
			continue;
		}
		others_store(&fleet.fetches[n]);
		forget_fetch(n);
	}
}

static void others_stir(void)
{
	static const char *const tools[] = { "rpc_get", "rest_all", "keys_all", "graph_get", "mcp_get" };
	unsigned what = outside_roll(24);
	const struct purge_scope scopes[] = { { .tool = slice_of(tools[outside_roll(countof(tools))]) },
					      { .prefix = SLICE("rpc_") },
					      { .tag = SLICE("news") },
					      { .tool = { NULL, 0 } } };
	if (what < countof(scopes))
		others_purge(&scopes[what]);
	else if (what < 8)
		fleet.others_number = fleet.newest; /* it has heard of all there is */
	else
		others_fetch();
}

/* --- the face --- */

void fleet_begin(void)
{
	memset(&fleet, 0, sizeof fleet);
}

void fleet_attach(void)
{
	cache_publish_purges(cache(), true);
	fleet.stands = false;
	fleet.poll_us = clock_now_us() + outside_roll(UNHEARD_US / 4); /* the values can be had before */
	if (outside.kind == OUTSIDE_REDIS)
		validity_share(cache_rule(cache()), UNHEARD_US);
	else
		for (size_t i = 0; i < fleet.count; i++) /* what the process before has written down */
			purges_note(purges(), (struct slice){ fleet.list[i].text, fleet.list[i].len },
				    fleet.list[i].number);
}

void fleet_detach(void)
{
	if (outside.kind == OUTSIDE_DISK)
		for (say_waiting(); fleet.out_count; say_waiting()) {
			publish(&fleet.out[0]);
			take_out(fleet.out, &fleet.out_count, 0);
		}
	else
		for (size_t i = 0; i < fleet.mine_count; i++) /* nobody else can know */
			truth_lose(fleet.mine[i]);
	fleet.mine_count = fleet.out_count = fleet.in_count = fleet.replaced_count = 0;
	while (fleet.fetch_count)
		forget_fetch(0);
}

void fleet_turn(void)
{
	publish_due();
	if (outside.kind == OUTSIDE_DISK)
		return;
	others_turn();
	receive_due();
	hear_replaced();
	if ((!fleet.stands && clock_now_us() >= fleet.poll_us) || (fleet.stands && !fleet.count))
		read_list();
}

void fleet_stir(void)
{
	unsigned what = outside_roll(16);
	if (outside.kind == OUTSIDE_DISK)
		return;
	if (what == 0)
		break_session();
	else if (what <= 3)
		open_session();
	else if (what == 4 && outside_roll(8) == 0)
		fleet.count = 0; /* evicted */
	else
		others_stir();
}
