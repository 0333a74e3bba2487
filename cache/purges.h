/*
 * purges.h: purges by tool, tag or prefix, as values kept outside the process are held against them. Each has a
 * generation, handed out by Redis in one rising order for the whole fleet; a value carries the newest generation its
 * writer knew of when it began to fetch. So a value is older than a purge if its number is smaller, and no clock but
 * Redis' own has a say: a gateway that has not heard of a purge yet writes values that are refused.
 */
#ifndef JITNEY_CACHE_PURGES_H
#define JITNEY_CACHE_PURGES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { PURGE_TEXT_BYTES = 256, PURGES_MAX = 256 };

/* What a purge names: it covers what matches all of it. Empty: any. Slices borrowed. */
struct purge_scope {
	struct slice tool, prefix, tag;
	struct slice key; /* a digest in hex: one entry */
};

/* Who knows which tool has which tag. Called under a lock: quick, no call back. */
struct purge_tags {
	bool (*has)(const void *context, struct slice tool, struct slice tag);
	const void *context;
};

/* Whether a tool's answers are covered; `key` is not looked at. */
bool purge_scope_covers(const struct purge_scope *scope, struct slice tool, const struct purge_tags *tags);
/* The scope as text, a line a part, without a NUL; everything is the empty text, and so is what does not fit. */
struct slice purge_scope_write(const struct purge_scope *scope, char text[PURGE_TEXT_BYTES]);
/* The text's scope, slices into it. What cannot be read (a later version's) is everything: rather too much. */
struct purge_scope purge_scope_read(struct slice text);

struct purge {
	uint64_t generation;
	uint16_t len;
	char text[PURGE_TEXT_BYTES];
};

/* Any thread. l under mutex, a atomic. */
struct purges {
	pthread_mutex_t mutex;
	atomic_uint_fast64_t newest;   /* a: the newest generation known; 0: none */
	size_t count;                  /* l */
	struct purge list[PURGES_MAX]; /* l: one for each scope */
};

void purges_init(struct purges *purges);
void purges_fini(struct purges *purges);
/* The newest generation known. */
static inline uint64_t purges_newest(const struct purges *purges)
{
	return atomic_load_explicit(&purges->newest, memory_order_acquire);
}
/* Note a purge; of the same scope the newer one counts. When there is no room, all become one of everything. */
void purges_add(struct purges *purges, struct slice text, uint64_t generation);
/* A purge that has no number yet: newer than all that are known. */
void purges_add_next(struct purges *purges, struct slice text);
/* Whether a value of that tool and generation is older than a purge that covers it. */
bool purges_cover(struct purges *purges, struct slice tool, uint64_t generation, const struct purge_tags *tags);

#endif
