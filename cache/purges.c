/* SPDX-License-Identifier: Apache-2.0 */
/* purges.c: scopes as text, and what has been purged. */
#include "cache/purges.h"

#include <string.h>

#include "base/hex.h"

/* --- scopes --- */

static const struct {
	const char *name;
	size_t offset;
} parts[] = {
	{ "tool=", offsetof(struct purge_scope, tool) },
	{ "prefix=", offsetof(struct purge_scope, prefix) },
	{ "tag=", offsetof(struct purge_scope, tag) },
	{ "key=", offsetof(struct purge_scope, key) },
};

static struct slice *part_of(struct purge_scope *scope, size_t i)
{
	return (struct slice *)(void *)((char *)scope + parts[i].offset);
}

bool purge_read_digest(struct slice hex, uint8_t *digest)
{
	if (hex.len != 2 * KEY_DIGEST_BYTES)
		return false;
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
		int byte = hex_byte(hex, 2 * i);
		if (byte < 0)
			return false;
		digest[i] = (uint8_t)byte;
	}
	return true;
}

static bool names_key(struct slice hex, const struct key *key)
{
	uint8_t digest[KEY_DIGEST_BYTES];
	return purge_read_digest(hex, digest) && memcmp(digest, key->digest, sizeof digest) == 0;
}

bool purge_scope_covers(const struct purge_scope *scope, const struct key *key, const struct purge_tags *tags)
{
	struct slice tool = key_tool(key);
	if (scope->key.len && !names_key(scope->key, key))
		return false;
	if (scope->tool.len && !slice_equal(tool, scope->tool))
		return false;
	if (tool.len < scope->prefix.len ||
	    (scope->prefix.len && memcmp(tool.at, scope->prefix.at, scope->prefix.len) != 0))
		return false;
	return !scope->tag.len || tags->has(tags->context, key, scope->tag);
}

bool purge_scope_is_key(const struct purge_scope *scope, uint8_t digest[KEY_DIGEST_BYTES])
{
	return !scope->tool.len && !scope->prefix.len && !scope->tag.len && purge_read_digest(scope->key, digest);
}

struct slice purge_scope_write(const struct purge_scope *scope, char text[PURGE_TEXT_BYTES])
{
	struct purge_scope copy = *scope;
	size_t len = 0;
	for (size_t i = 0; i < countof(parts); i++) {
		const struct slice *part = part_of(&copy, i);
		size_t name_len = strlen(parts[i].name);
		if (!part->len)
			continue;
		if (len + name_len + part->len + 1 > PURGE_TEXT_BYTES || memchr(part->at, '\n', part->len))
			return (struct slice){ text, 0 };
		memcpy(text + len, parts[i].name, name_len);
		memcpy(text + len + name_len, part->at, part->len);
		len += name_len + part->len;
		text[len++] = '\n';
	}
	return (struct slice){ text, len };
}

struct slice purge_key_write(const uint8_t *digest, char text[PURGE_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	char hex[2 * KEY_DIGEST_BYTES];
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	return purge_scope_write(&(struct purge_scope){ .key = { hex, sizeof hex } }, text);
}

/* False: no line that is known. */
static bool read_line(struct slice line, struct purge_scope *scope)
{
	for (size_t i = 0; i < countof(parts); i++) {
		size_t name_len = strlen(parts[i].name);
		if (line.len <= name_len || memcmp(line.at, parts[i].name, name_len) != 0)
			continue;
		*part_of(scope, i) = (struct slice){ line.at + name_len, line.len - name_len };
		return true;
	}
	return false;
}

struct purge_scope purge_scope_read(struct slice text)
{
	struct purge_scope scope = { 0 };
	while (text.len) {
		const char *end = memchr(text.at, '\n', text.len);
		size_t len = end ? (size_t)(end - text.at) : 0;
		if (!end || !read_line((struct slice){ text.at, len }, &scope))
			return (struct purge_scope){ 0 };
		text.at += len + 1;
		text.len -= len + 1;
	}
	return scope;
}

void purges_init(struct purges *purges)
{
	pthread_mutex_init(&purges->mutex, NULL);
}

void purges_fini(struct purges *purges)
{
	pthread_mutex_destroy(&purges->mutex);
}

/* --- facts --- */

static bool is_waiting(enum purge_state state)
{
	return state == PURGE_UNTOLD || state == PURGE_MISSING;
}

static void count_fact(struct purges *purges, const struct purge_fact *fact, int by)
{
	if (is_waiting(fact->state))
		atomic_fetch_add(&purges->waiting, (size_t)by);
	if (fact->event && !fact->number)
		atomic_fetch_add(&purges->unnumbered, (size_t)by);
	if (fact->key && fact->number)
		atomic_fetch_add(&purges->numbered_keys, (size_t)by);
}

bool purges_knows_keys(const struct purges *purges)
{
	return atomic_load(&purges->numbered_keys) > 0;
}

/* Every change of a fact goes through here, so that the counts are right. */
static void set_fact(struct purges *purges, struct purge_fact *fact, struct purge_fact to)
{
	count_fact(purges, &to, 1);
	count_fact(purges, fact, -1);
	*fact = to;
}

static void set_state(struct purges *purges, struct purge_fact *fact, enum purge_state state)
{
	struct purge_fact to = *fact;
	to.state = state;
	set_fact(purges, fact, to);
}

static void forget_fact(struct purges *purges, struct purge_fact *fact)
{
	set_fact(purges, fact, (struct purge_fact){ 0 });
}

static void raise_number(struct purges *purges, uint64_t number)
{
	if (number > purges_number(purges))
		atomic_store_explicit(&purges->number, number, memory_order_release);
}

/* --- those of one key --- */

static struct purged_keys *keys_of(struct purges *purges, const uint8_t *digest)
{
	return &purges->keys[(digest[0] | (size_t)digest[1] << 8) % PURGED_KEY_SETS];
}

static struct purged_key *find_key(struct purged_keys *keys, const uint8_t *digest)
{
	for (size_t i = 0; i < PURGED_KEY_WAYS; i++)
		if (keys->ways[i].fact.event && memcmp(keys->ways[i].digest, digest, KEY_DIGEST_BYTES) == 0)
			return &keys->ways[i];
	return NULL;
}

static void drop_all_locked(struct purges *purges);
static struct purge *scope_locked(struct purges *purges, struct slice text);
static uint64_t happen_to(struct purges *purges, struct purge_fact *fact, struct purge_fact to);

static void purge_all_locked(struct purges *purges, bool begins)
{
	drop_all_locked(purges);
	happen_to(purges, &scope_locked(purges, (struct slice){ "", 0 })->fact,
		  (struct purge_fact){ .state = PURGE_UNTOLD, .begins = begins });
}

/* This key's place, the oldest's if there is no other. What the fleet has not heard of is not forgotten: it becomes a
 * purge of everything. */
static struct purged_key *key_locked(struct purges *purges, const uint8_t *digest)
{
	struct purged_keys *keys = keys_of(purges, digest);
	struct purged_key *key = find_key(keys, digest), *oldest = &keys->ways[0];
	if (key)
		return key;
	for (size_t i = 1; i < PURGED_KEY_WAYS; i++)
		if (keys->ways[i].fact.event < oldest->fact.event)
			oldest = &keys->ways[i];
	if (oldest->fact.state != PURGE_KNOWN)
		purge_all_locked(purges, false);
	if (oldest->fact.number > purges->forgotten)
		purges->forgotten = oldest->fact.number;
	if (oldest->fact.event > keys->forgotten)
		keys->forgotten = oldest->fact.event;
	forget_fact(purges, &oldest->fact);
	oldest->fact.key = true;
	memcpy(oldest->digest, digest, KEY_DIGEST_BYTES);
	return oldest;
}

/* --- those of a scope --- */

static struct slice text_of(const struct purge *purge)
{
	return (struct slice){ purge->text, purge->len };
}

static struct purge *find_locked(struct purges *purges, struct slice text)
{
	for (size_t i = 0; i < purges->count; i++)
		if (slice_equal(text_of(&purges->list[i]), text))
			return &purges->list[i];
	return NULL;
}

static void drop_all_locked(struct purges *purges)
{
	while (purges->count)
		forget_fact(purges, &purges->list[--purges->count].fact);
}

/* Those that a purge of everything with this number makes moot. */
static void drop_older_locked(struct purges *purges, uint64_t number)
{
	size_t kept = 0;
	for (size_t i = 0; i < purges->count; i++) {
		struct purge *purge = &purges->list[i];
		if (purge->len && purge->fact.number && purge->fact.number <= number)
			forget_fact(purges, &purge->fact);
		else
			purges->list[kept++] = *purge;
	}
	purges->count = kept;
}

/* This scope's place, which is the first from now on: there must be room. */
static struct purge *scope_locked(struct purges *purges, struct slice text)
{
	struct purge first = { .len = text.len }, *found = find_locked(purges, text);
	memcpy(first.text, text.len ? text.at : "", text.len);
	size_t at = found ? (size_t)(found - purges->list) : purges->count++;
	if (found)
		first = *found;
	memmove(&purges->list[1], &purges->list[0], at * sizeof purges->list[0]);
	purges->list[0] = first;
	return &purges->list[0];
}

/* --- noting --- */

static struct purge_fact *find_fact(struct purges *purges, struct slice text)
{
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	if (purge_scope_is_key(&scope, digest)) {
		struct purged_key *key = find_key(keys_of(purges, digest), digest);
		return key ? &key->fact : NULL;
	}
	struct purge *purge = find_locked(purges, text);
	return purge ? &purge->fact : NULL;
}

/* Where what this text names is noted. A scope that finds no room becomes one of everything, which covers what all the
 * others do, and is published if one of them would have been: *to says so then. */
static struct purge_fact *place_locked(struct purges *purges, struct slice text, struct purge_fact *to)
{
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	if (purge_scope_is_key(&scope, digest))
		return &key_locked(purges, digest)->fact;
	if (purges->count < PURGES_MAX || find_locked(purges, text))
		return &scope_locked(purges, text)->fact;
	if (!to->number || atomic_load(&purges->unnumbered))
		*to = (struct purge_fact){ .state = PURGE_UNTOLD };
	else if (to->number < purges_number(purges))
		to->number = purges_number(purges);
	drop_all_locked(purges);
	return &scope_locked(purges, (struct slice){ "", 0 })->fact;
}

/* Who sees the event finds the purge, by the mutex. */
static uint64_t happen_to(struct purges *purges, struct purge_fact *fact, struct purge_fact to)
{
	to.event = purges_event(purges) + 1;
	to.asked = to.asked ? to.asked : to.event;
	to.since = purges_number(purges);
	to.key = fact->key;
	set_fact(purges, fact, to);
	raise_number(purges, to.number);
	if (!to.key)
		atomic_store_explicit(&purges->scope_event, to.event, memory_order_release);
	atomic_store_explicit(&purges->event, to.event, memory_order_release);
	return to.event;
}

/* True: it is known already, and Redis has it. */
static bool is_known(struct purges *purges, struct purge_fact *fact, uint64_t number)
{
	if (!fact || !fact->number || fact->number < number)
		return false;
	fact->seen = true;
	if (fact->state == PURGE_MISSING)
		set_state(purges, fact, PURGE_KNOWN);
	return true;
}

static struct slice shorten_text(struct slice text)
{
	return text.len <= PURGE_TEXT_BYTES ? text : (struct slice){ "", 0 };
}

/* Ours, which has no number yet, when the same is heard of. What is SAID stays so: were it said again, gateways that purge
 * the same at once would make each other do so for ever. */
static struct purge_fact keep_own(const struct purge_fact *own, uint64_t heard)
{
	bool said = own->state == PURGE_SAID;
	return (struct purge_fact){ .state = said ? PURGE_SAID : PURGE_UNTOLD,
				    .asked = said ? own->asked : 0,
				    .heard = heard > own->heard ? heard : own->heard };
}

void purges_note(struct purges *purges, struct slice text, uint64_t number)
{
	struct purge_fact to = { .number = number, .seen = true };
	text = shorten_text(text);
	pthread_mutex_lock(&purges->mutex);
	struct purge_fact *fact = find_fact(purges, text);
	if (!is_known(purges, fact, number)) {
		if (fact && !fact->number && !fact->begins) /* ours of the same scope is newer still */
			to = keep_own(fact, number);
		raise_number(purges, number);
		if (!text.len && to.number)
			drop_older_locked(purges, number);
		happen_to(purges, place_locked(purges, text, &to), to);
	}
	pthread_mutex_unlock(&purges->mutex);
}

uint64_t purges_note_own(struct purges *purges, struct slice text, bool fleet)
{
	text = shorten_text(text);
	pthread_mutex_lock(&purges->mutex);
	struct purge_fact to = { .number = fleet ? 0 : purges_number(purges) + 1,
				 .state = fleet ? PURGE_UNTOLD : PURGE_KNOWN };
	if (!text.len)
		drop_all_locked(purges);
	uint64_t event = happen_to(purges, place_locked(purges, text, &to), to);
	pthread_mutex_unlock(&purges->mutex);
	return event;
}

void purges_begin(struct purges *purges)
{
	pthread_mutex_lock(&purges->mutex);
	purge_all_locked(purges, true);
	pthread_mutex_unlock(&purges->mutex);
}

/* --- publishing --- */

/* NULL: none waits. */
static struct purge_fact *find_waiting(struct purges *purges, struct purge_notice *notice)
{
	for (size_t i = purges->count; i-- > 0;)
		if (is_waiting(purges->list[i].fact.state)) {
			notice->len = purges->list[i].len;
			memcpy(notice->text, purges->list[i].text, notice->len);
			return &purges->list[i].fact;
		}
	for (size_t i = 0; i < PURGED_KEY_SETS * PURGED_KEY_WAYS; i++) {
		struct purged_key *key = &purges->keys[i / PURGED_KEY_WAYS].ways[i % PURGED_KEY_WAYS];
		if (!is_waiting(key->fact.state))
			continue;
		notice->len = purge_key_write(key->digest, notice->text).len;
		return &key->fact;
	}
	return NULL;
}

bool purges_take_waiting(struct purges *purges, struct purge_notice *notice)
{
	if (!atomic_load_explicit(&purges->waiting, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&purges->mutex);
	struct purge_fact *fact = find_waiting(purges, notice);
	if (fact) {
		notice->number = fact->number;
		notice->event = fact->asked;
		notice->begins = fact->begins;
		set_state(purges, fact, PURGE_SAID);
	}
	pthread_mutex_unlock(&purges->mutex);
	return fact != NULL;
}

bool purges_published(struct purges *purges, struct slice text, uint64_t event, uint64_t number, uint64_t before)
{
	pthread_mutex_lock(&purges->mutex);
	struct purge_fact *fact = find_fact(purges, text);
	bool ours = fact && fact->asked == event, news = ours && fact->state != PURGE_KNOWN;
	if (ours) {
		struct purge_fact to = *fact;
		to.state = PURGE_KNOWN;
		to.begins = false;
		to.number = number > to.number ? number : to.number;
		to.number = to.heard > to.number ? to.heard : to.number;
		to.seen = true;
		if (before > fact->since) /* it stands for that one, too */
			happen_to(purges, fact->key ? fact : &scope_locked(purges, text)->fact, to);
		else
			set_fact(purges, fact, to); /* no new event: what was asked for since is newer */
	}
	raise_number(purges, number);
	pthread_mutex_unlock(&purges->mutex);
	return news;
}

void purges_keep_here(struct purges *purges, struct slice text)
{
	pthread_mutex_lock(&purges->mutex);
	struct purge_fact *fact = find_fact(purges, text);
	if (fact)
		set_state(purges, fact, PURGE_KNOWN);
	pthread_mutex_unlock(&purges->mutex);
}

bool purges_is_published(struct purges *purges, struct slice text)
{
	pthread_mutex_lock(&purges->mutex);
	const struct purge_fact *fact = find_fact(purges, text), *all = find_fact(purges, (struct slice){ "", 0 });
	bool published = (!fact || fact->state == PURGE_KNOWN) && (!all || all->state == PURGE_KNOWN);
	pthread_mutex_unlock(&purges->mutex);
	return published;
}

/* Calls `visit` for every fact there is. */
static void visit_locked(struct purges *purges, void (*visit)(struct purges *, struct purge_fact *, uint64_t),
			 uint64_t number)
{
	for (size_t i = 0; i < purges->count; i++)
		visit(purges, &purges->list[i].fact, number);
	for (size_t set = 0; set < PURGED_KEY_SETS; set++)
		for (size_t i = 0; i < PURGED_KEY_WAYS; i++)
			if (purges->keys[set].ways[i].fact.event)
				visit(purges, &purges->keys[set].ways[i].fact, number);
}

static void visit_all(struct purges *purges, void (*visit)(struct purges *, struct purge_fact *, uint64_t),
		      uint64_t number)
{
	pthread_mutex_lock(&purges->mutex);
	visit_locked(purges, visit, number);
	pthread_mutex_unlock(&purges->mutex);
}

static void say_again(struct purges *purges, struct purge_fact *fact, uint64_t number)
{
	(void)number;
	if (fact->state == PURGE_SAID)
		set_state(purges, fact, fact->number ? PURGE_MISSING : PURGE_UNTOLD);
}

static void unsee_fact(struct purges *purges, struct purge_fact *fact, uint64_t number)
{
	(void)purges;
	(void)number;
	fact->seen = false;
}

static void miss_fact(struct purges *purges, struct purge_fact *fact, uint64_t keys_from)
{
	bool should = fact->number && fact->state == PURGE_KNOWN && (!fact->key || fact->number > keys_from);
	if (should && !fact->seen)
		set_state(purges, fact, PURGE_MISSING);
}

void purges_say_again(struct purges *purges)
{
	visit_all(purges, say_again, 0);
}

void purges_read_begin(struct purges *purges)
{
	visit_all(purges, unsee_fact, 0);
}

void purges_read_end(struct purges *purges, uint64_t keys_from)
{
	pthread_mutex_lock(&purges->mutex);
	visit_locked(purges, miss_fact, keys_from);
	if (purges->forgotten > keys_from) { /* Redis has lost one, and nobody can tell it which */
		purges->forgotten = 0;
		purge_all_locked(purges, false);
	}
	pthread_mutex_unlock(&purges->mutex);
}

/* --- covering --- */

static bool is_newer(const struct purge_fact *fact, uint64_t number, uint64_t event)
{
	return fact->event > event && (!fact->number || fact->number > number);
}

static bool cover_locked(struct purges *purges, const struct key *key, uint64_t number, uint64_t event, uint64_t asked,
			 const struct purge_tags *tags)
{
	struct purged_keys *keys = keys_of(purges, key->digest);
	const struct purged_key *own = find_key(keys, key->digest);
	if ((own && is_newer(&own->fact, number, event)) || keys->forgotten > asked)
		return true;
	for (size_t i = 0; i < purges->count && purges->list[i].fact.event > event; i++) {
		const struct purge_scope scope = purge_scope_read(text_of(&purges->list[i]));
		if (is_newer(&purges->list[i].fact, number, event) && purge_scope_covers(&scope, key, tags))
			return true;
	}
	return false;
}

bool purges_cover(struct purges *purges, const struct key *key, uint64_t number, uint64_t event, uint64_t asked,
		  const struct purge_tags *tags)
{
	uint64_t newest = purges_event(purges);
	bool newer = number >= purges_number(purges) && !atomic_load(&purges->unnumbered) && asked >= newest;
	if (event >= newest || newer) /* nearly always */
		return false;
	pthread_mutex_lock(&purges->mutex);
	bool covered = cover_locked(purges, key, number, event, asked, tags);
	pthread_mutex_unlock(&purges->mutex);
	return covered;
}
