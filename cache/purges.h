/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purges.h: what has been purged, so that every answer, wherever it is kept or on its way, can be held against it. Two
 * orders decide whether an answer is older than a purge, and neither is a clock. Within the process it is the order of
 * events: each purge that is heard of is one, and an answer knows up to which event it has been evaluated. Between
 * processes it is the purge's number, which Redis hands out rising for the whole fleet (a disk, for its one gateway);
 * an answer carries the newest number that was known before its provider was asked. A purge without a number yet is
 * newer than whatever comes from outside.
 */
#ifndef JITNEY_CACHE_PURGES_H
#define JITNEY_CACHE_PURGES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"
#include "cache/key.h"

enum { PURGE_TEXT_BYTES = 256, PURGES_MAX = 256, PURGED_KEY_SETS = 1024, PURGED_KEY_WAYS = 4 };
#define PURGE_NUMBER_MAX ((UINT64_C(1) << 52) - 1) /* what a double holds, and a stored value has room for */

/* What a purge names: it covers what matches all of it. Empty: any. Slices borrowed. */
struct purge_scope {
	struct slice tool, prefix, tag;
	struct slice key; /* a digest in hex: one entry */
};

/* Who knows whether the answer with this key has that tag: by its tool as it was then. Called under a lock: quick, no call
 * back. */
struct purge_tags {
	bool (*has)(const void *context, const struct key *key, struct slice tag);
	const void *context;
};

/* Whether the answer with this key is covered. */
bool purge_scope_covers(const struct purge_scope *scope, const struct key *key, const struct purge_tags *tags);
/* Whether it names one key and nothing else; then its digest. */
bool purge_scope_is_key(const struct purge_scope *scope, uint8_t digest[KEY_DIGEST_BYTES]);
/* The scope as text, a line a part, without a NUL; everything is the empty text, and so is what does not fit. */
struct slice purge_scope_write(const struct purge_scope *scope, char text[PURGE_TEXT_BYTES]);
/* The text of the purge of one key. */
struct slice purge_key_write(const uint8_t *digest, char text[PURGE_TEXT_BYTES]);
/* The text's scope, slices into it. What cannot be read (a later version's) is everything: rather too much. */
struct purge_scope purge_scope_read(struct slice text);
/* 64 hexadecimal digits to KEY_DIGEST_BYTES. False: they are none. */
bool purge_read_digest(struct slice hex, uint8_t *digest);

/* Whether the fleet has heard of a purge. */
enum purge_state {
	PURGE_KNOWN,   /* yes; or there is no fleet, or it cannot be published */
	PURGE_UNTOLD,  /* no, and so it has no number */
	PURGE_MISSING, /* yes, and Redis has lost it: it is to be published once more, under its number */
	PURGE_SAID     /* on its way */
};

/* What is known of one purge, whatever it names. */
struct purge_fact {
	uint64_t event;  /* when it was heard of here; 0: never */
	uint64_t asked;  /* SAID: the event it was asked for at, by which it is told that it is published */
	uint64_t heard;  /* SAID: the largest number that the same was heard of with meanwhile; 0: it was not */
	uint64_t number; /* 0: none yet */
	uint64_t since;  /* the largest number that was known here just before the event */
	enum purge_state state;
	bool seen;   /* while Redis' list is read: it is there */
	bool key;    /* it is one key's */
	bool begins; /* it was asked for by nobody: see purges_begin */
};

/* Of a scope, as text (purge_scope_write). */
struct purge {
	struct purge_fact fact;
	size_t len;
	char text[PURGE_TEXT_BYTES];
};

/* Of one key. */
struct purged_key {
	struct purge_fact fact;
	uint8_t digest[KEY_DIGEST_BYTES];
};

/* Those whose digests fall into one place. */
struct purged_keys {
	struct purged_key ways[PURGED_KEY_WAYS];
	uint64_t forgotten; /* the newest event that made room: it concerns only what was asked for before it */
};

/* Any thread. l under mutex, a atomic. Zeroed, then purges_init. */
struct purges {
	pthread_mutex_t mutex;
	atomic_uint_fast64_t event;               /* a: the last one; 0: none */
	atomic_uint_fast64_t scope_event;         /* a: the last one that was not of one key */
	atomic_uint_fast64_t number;              /* a: the largest that is known; 0: none */
	atomic_uint_fast64_t ahead;               /* a: the largest that an answer from outside carried */
	atomic_size_t unnumbered;                 /* a */
	atomic_size_t waiting;                    /* a: UNTOLD or MISSING */
	atomic_size_t numbered_keys;              /* a */
	uint64_t forgotten;                       /* l: the largest number of a key's purge that made room */
	size_t count;                             /* l */
	struct purge list[PURGES_MAX];            /* l: one for each scope, the last heard of first */
	struct purged_keys keys[PURGED_KEY_SETS]; /* l: those of one key, by its digest */
};

/* None is known; for one that is embedded. */
void purges_init(struct purges *purges);
void purges_fini(struct purges *purges);
/* Up to which event, and up to which number, all is known here. Read the event first. */
static inline uint64_t purges_event(const struct purges *purges)
{
	return atomic_load_explicit(&purges->event, memory_order_acquire);
}
static inline uint64_t purges_number(const struct purges *purges)
{
	return atomic_load_explicit(&purges->number, memory_order_acquire);
}

/* A purge with its number. Of the same scope the newer one counts; one of our own that has no number yet is newer still,
 * and one that is SAID is not said again for it. When there is no room, all become one of everything.
 * Numbers above PURGE_NUMBER_MAX are the caller's to refuse. */
void purges_note(struct purges *purges, struct slice text, uint64_t number);
/* A purge that was asked for here. `fleet`: it has no number, and waits to be published; else it gets the next one. Returns
 * its event. */
uint64_t purges_note_own(struct purges *purges, struct slice text, bool fleet);

/* Redis has no list, and nobody knows what was in it: everything is purged, without a number until a list is begun with
 * it, or somebody else's purge of everything is heard of, who has begun it. */
void purges_begin(struct purges *purges);

/* One that is to be published. number 0: it is to be given one. */
struct purge_notice {
	uint64_t event, number;
	bool begins; /* only where there is no list */
	size_t len;
	char text[PURGE_TEXT_BYTES];
};
/* The next that waits; it is SAID from then on. False: none does. */
bool purges_take_waiting(struct purges *purges, struct purge_notice *notice);
/*
 * What was asked for at that event has been published, under this number; without effect if it has been asked for since.
 * False: it has, or it was known to be published.
 *
 * before  the number that the same had there until then, by somebody else maybe, of whom nothing may have been heard: if
 *         it is newer than what was known when this was asked for, what was fetched since is older than that one. 0:
 *         none.
 */
bool purges_published(struct purges *purges, struct slice text, uint64_t event, uint64_t number, uint64_t before);
/* It cannot be published: it holds here, and stays newer than whatever comes from outside. */
void purges_keep_here(struct purges *purges, struct slice text);
/* Nobody knows whether what is SAID has been heard: it waits again. */
void purges_say_again(struct purges *purges);
/* Whether nothing waits or is on its way of what this text names. */
bool purges_is_published(struct purges *purges, struct slice text);
/* Whether there is one of a single key that has a number. */
bool purges_knows_keys(const struct purges *purges);
/* What Redis holds is noted between these two. What it should hold and does not is MISSING after the second; of keys it
 * is those with a number above `keys_from`. If one of these is known no more, everything is purged instead. */
void purges_read_begin(struct purges *purges);
void purges_read_end(struct purges *purges, uint64_t keys_from);

/*
 * Whether a purge covers an answer that is older than it.
 *
 * number  what the answer carries.
 * event   up to which it has been evaluated: 0 for what comes from outside.
 * asked   the event when it was asked for there: a key's purge that has been forgotten since may have covered it.
 *         UINT64_MAX for what is in memory, out of which such a purge takes its answer at once.
 */
bool purges_cover(struct purges *purges, const struct key *key, uint64_t number, uint64_t event, uint64_t asked,
		  const struct purge_tags *tags);

#endif
