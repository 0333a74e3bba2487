/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_ids.h: what proves whose answer a line of a program's is. Such a line bears no more proof than its id, and what
 * else a program writes (a log, a document over several lines, a caller's text with line feeds in it) may look like an
 * answer; so an id is a number that nobody can guess who was not given it. None is given twice before all have been.
 *
 * From 2^30 up and below 2^31: there are programs that keep an id in 32 bits, with a sign, and what numbers its messages
 * by itself begins with small ones. Owned by one thread.
 */
#ifndef JITNEY_UPSTREAM_PROCESS_CALL_IDS_H
#define JITNEY_UPSTREAM_PROCESS_CALL_IDS_H

#include <stdint.h>

#include "base/compiler.h"

enum { CALL_IDS_BITS = 30, CALL_ID_FIRST = 1 << CALL_IDS_BITS };

struct call_ids {
	uint64_t key;   /* of the order in which they come */
	uint64_t given; /* so many */
};

/* False: the system has no random numbers to give. */
bool call_ids_init(struct call_ids *ids) MUST_CHECK;
uint64_t call_ids_next(struct call_ids *ids);
/* It could have been one, and has never been given: whoever wrote it guesses, or repeats who does. */
bool call_ids_is_guess(const struct call_ids *ids, uint64_t id);

#endif
