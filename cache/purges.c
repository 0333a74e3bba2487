/* purges.c: scopes as text, and the list of purges. */
#include "cache/purges.h"

#include <string.h>

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

bool purge_scope_covers(const struct purge_scope *scope, struct slice tool, const struct purge_tags *tags)
{
	if (scope->tool.len && !slice_equal(tool, scope->tool))
		return false;
	if (tool.len < scope->prefix.len ||
	    (scope->prefix.len && memcmp(tool.at, scope->prefix.at, scope->prefix.len) != 0))
		return false;
	return !scope->tag.len || tags->has(tags->context, tool, scope->tag);
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

/* --- the list --- */

void purges_init(struct purges *purges)
{
	pthread_mutex_init(&purges->mutex, NULL);
}

void purges_fini(struct purges *purges)
{
	pthread_mutex_destroy(&purges->mutex);
}

static struct purge *find_locked(struct purges *purges, struct slice text)
{
	for (size_t i = 0; i < purges->count; i++)
		if (slice_equal((struct slice){ purges->list[i].text, purges->list[i].len }, text))
			return &purges->list[i];
	return NULL;
}

static void add_locked(struct purges *purges, struct slice text, uint64_t generation)
{
	struct purge *purge = find_locked(purges, text);
	if (!purge && (purges->count == PURGES_MAX || text.len > PURGE_TEXT_BYTES)) {
		/* what is there is older than `newest`, so this one covers it all */
		uint64_t newest = purges_newest(purges);
		generation = newest > generation ? newest : generation;
		purges->count = 0;
		text.len = 0;
	}
	if (!purge) {
		purge = &purges->list[purges->count++];
		*purge = (struct purge){ .len = (uint16_t)text.len };
		memcpy(purge->text, text.len ? text.at : "", text.len);
	}
	if (generation > purge->generation)
		purge->generation = generation;
	if (generation > purges_newest(purges))
		atomic_store_explicit(&purges->newest, generation, memory_order_release);
}

void purges_add(struct purges *purges, struct slice text, uint64_t generation)
{
	pthread_mutex_lock(&purges->mutex);
	add_locked(purges, text, generation);
	pthread_mutex_unlock(&purges->mutex);
}

void purges_add_next(struct purges *purges, struct slice text)
{
	pthread_mutex_lock(&purges->mutex);
	add_locked(purges, text, purges_newest(purges) + 1);
	pthread_mutex_unlock(&purges->mutex);
}

static bool cover_locked(const struct purges *purges, struct slice tool, uint64_t generation,
			 const struct purge_tags *tags)
{
	for (size_t i = 0; i < purges->count; i++) {
		const struct purge *purge = &purges->list[i];
		if (generation >= purge->generation)
			continue;
		const struct purge_scope scope = purge_scope_read((struct slice){ purge->text, purge->len });
		if (purge_scope_covers(&scope, tool, tags))
			return true;
	}
	return false;
}

bool purges_cover(struct purges *purges, struct slice tool, uint64_t generation, const struct purge_tags *tags)
{
	if (generation >= purges_newest(purges)) /* nearly always */
		return false;
	pthread_mutex_lock(&purges->mutex);
	bool covered = cover_locked(purges, tool, generation, tags);
	pthread_mutex_unlock(&purges->mutex);
	return covered;
}
