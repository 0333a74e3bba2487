/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: the table of options.h with its fields, and finding one's way in it. */
#include "gateway/config/options.h"

#include <pthread.h>
#include <string.h>

#include "gateway/config/config_private.h"

#define FIELD_AT(owner, field) offsetof(struct owner, field)
#define FIELD_BYTES(owner, field) sizeof(((struct owner *)0)->field)

#define ROW_B(path, kind, most, help) { path, OPTION_##kind, "elements", 0, most, NULL, NULL, 0, 0, 0, 0, help },
#define ROW_V(path, kind, owner, field, unit, min, max, fallback, words, help)                                         \
	{ path, OPTION_##kind, unit, min, max, fallback, words, FIELD_AT(owner, field), FIELD_BYTES(owner, field), 0,  \
	  0,    help },
#define ROW_L(path, kind, owner, field, count, min, max, fallback, help)                                               \
	{ path,                                                                                                        \
	  OPTION_##kind,                                                                                               \
	  "elements",                                                                                                  \
	  min,                                                                                                         \
	  max,                                                                                                         \
	  fallback,                                                                                                    \
	  NULL,                                                                                                        \
	  FIELD_AT(owner, field),                                                                                      \
	  FIELD_BYTES(owner, field),                                                                                   \
	  FIELD_AT(owner, count),                                                                                      \
	  0,                                                                                                           \
	  help },
#define ROW_T(path, owner, field, count, min, max, bytes, fallback, help)                                              \
	{ path,                                                                                                        \
	  OPTION_TEXTS,                                                                                                \
	  "elements",                                                                                                  \
	  min,                                                                                                         \
	  max,                                                                                                         \
	  fallback,                                                                                                    \
	  NULL,                                                                                                        \
	  FIELD_AT(owner, field),                                                                                      \
	  FIELD_BYTES(owner, field),                                                                                   \
	  FIELD_AT(owner, count),                                                                                      \
	  bytes,                                                                                                       \
	  help },

const struct option option_table[] = { OPTION_TABLE(ROW_B, ROW_V, ROW_L, ROW_T) };
const size_t option_count = countof(option_table);

enum { TYPED_BYTES = 40 }; /* longer keys are not compared */

/* The table is looked through for each block of the file, and again for each that is compared: once is enough. */
static struct {
	pthread_once_t once;
	struct {
		unsigned char key_at; /* where the last part of its path begins */
		unsigned short next;  /* row with the same path before that; option_count: none */
	} rows[countof(option_table)];
} order = { .once = PTHREAD_ONCE_INIT };

static bool are_siblings(size_t a, size_t b)
{
	return order.rows[a].key_at == order.rows[b].key_at &&
	       memcmp(option_table[a].path, option_table[b].path, order.rows[a].key_at) == 0;
}

static void find_order(void)
{
	for (size_t i = 0; i < option_count; i++) {
		const char *dot = strrchr(option_table[i].path, '.');
		order.rows[i].key_at = dot ? (unsigned char)(dot + 1 - option_table[i].path) : 0;
	}
	for (size_t i = 0; i < option_count; i++) {
		size_t next = i + 1;
		while (next < option_count && !are_siblings(i, next))
			next++;
		order.rows[i].next = (unsigned short)next;
	}
}

const struct option *option_below(const char *prefix, const struct option *after)
{
	size_t len = after ? 0 : strlen(prefix), i = 0;
	pthread_once(&order.once, find_order);
	if (after)
		i = order.rows[after - option_table].next;
	else
		while (i < option_count &&
		       (order.rows[i].key_at != len || memcmp(option_table[i].path, prefix, len) != 0))
			i++;
	return i < option_count ? &option_table[i] : NULL;
}

const char *option_key(const struct option *option)
{
	pthread_once(&order.once, find_order);
	return option->path + order.rows[option - option_table].key_at;
}

const struct option *option_find(const char *prefix, struct slice key)
{
	FOR_OPTIONS_BELOW (option, prefix)
		if (slice_equal(slice_of(option_key(option)), key))
			return option;
	return NULL;
}

static unsigned least_of(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that make `typed` out of `key`. */
static unsigned edit_distance(const char *key, struct slice typed)
{
	unsigned rows[3][TYPED_BYTES + 1]; /* the last two rows and this one */
	size_t n = strlen(key);
	for (size_t j = 0; j <= typed.len; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= typed.len; j++) {
			unsigned swap = last[j] + 1;
			if (i > 1 && j > 1 && key[i - 1] == typed.at[j - 2] && key[i - 2] == typed.at[j - 1])
				swap = before[j - 2] + 1;
			unsigned replaced = last[j - 1] + (key[i - 1] != typed.at[j - 1]);
			now[j] = least_of(least_of(last[j] + 1, now[j - 1] + 1, replaced), swap, swap);
		}
	}
	return rows[n % 3][typed.len];
}

const char *option_suggest(const char *prefix, struct slice typed)
{
	const char *nearest = NULL;
	unsigned best = (unsigned)typed.len / 3 + 1; /* further away is no help */
	if (typed.len > TYPED_BYTES)
		return NULL;
	FOR_OPTIONS_BELOW (option, prefix) {
		const char *key = option_key(option);
		unsigned d = edit_distance(key, typed);
		if (d < best && d < strlen(key)) {
			best = d;
			nearest = key;
		}
	}
	return nearest;
}

bool option_of_generation(const struct option *option)
{
	size_t from = offsetof(struct config, generation);
	return !strpbrk(option->path, "*[") && option->at >= from && option->at < from + sizeof(struct generation);
}

/* What an upstream is made of is not among them: how it is spoken to, as whom, and how it is asked whether it
 * is well. A dot at the end: all that begins so. */
bool option_is_adjustable(const struct option *option)
{
	static const char *const paths[] = {
		"endpoints",   "balance",     "affinity",    "ejection.",  "health.interval", "health.timeout",
		"health.rise", "health.fall", "hedge",       "dns_ttl",    "tools_refresh",   "batch.",
		"concurrency", "retries.",    "rate",        "rate.",      "pool.",           "queue.",
		"timeout",     "answer",      "refreshes",   "names",      "expose.",         "progress_timeout",
		"max_list",    "max_tools",   "trust_hints", "pass_hints", "cache",           "cache.",
	};
	static const char prefix[] = "upstreams.*.";
	if (strncmp(option->path, prefix, sizeof prefix - 1) != 0)
		return false;
	const char *key = option->path + sizeof prefix - 1;
	for (size_t i = 0; i < countof(paths); i++) {
		size_t len = strlen(paths[i]);
		if (paths[i][len - 1] == '.' ? strncmp(key, paths[i], len) == 0 : strcmp(key, paths[i]) == 0)
			return true;
	}
	return false;
}

void option_put_bound(const struct option *option, uint64_t bound, struct buf *out)
{
	if (option->kind == OPTION_DURATION)
		value_put_duration(out, bound);
	else if (option->kind == OPTION_SIZE)
		value_put_size(out, bound);
	else
		buf_put_u64(out, bound);
}

const struct option *option_shorthand(const struct option *block)
{
	return strcmp(block->path, "alerts.webhook") == 0 ? option_find("alerts.webhook.", SLICE("url")) : NULL;
}

bool option_has_default(const struct option *option)
{
	return option->fallback && option->fallback[0] != '(';
}

bool option_next_word(const char **at, struct slice *word)
{
	if (!*at || !**at)
		return false;
	size_t len = strcspn(*at, "|");
	*word = (struct slice){ *at, len };
	*at += len + ((*at)[len] == '|');
	return true;
}

struct slice option_word(const struct option *option, unsigned n)
{
	const char *at = option->words;
	struct slice word = { NULL, 0 };
	for (unsigned i = 0; i <= n; i++)
		if (!option_next_word(&at, &word))
			return (struct slice){ NULL, 0 };
	return word;
}
