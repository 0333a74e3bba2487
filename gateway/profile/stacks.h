/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stacks.h: what a profile is made of: stacks of places in the program, each with how much was found there. Stacks that
 * are equal are one. One thread at a time.
 */
#ifndef JITNEY_GATEWAY_PROFILE_STACKS_H
#define JITNEY_GATEWAY_PROFILE_STACKS_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/hash_table.h"

enum { STACK_FRAMES = 64 }; /* the innermost ones of a deeper stack are kept */

struct stack {
	struct table_node node; /* in stacks->table */
	uint64_t value;         /* of all samples that were so */
	uint64_t count;         /* samples */
	const char *root;       /* what all of it is below, such as the thread; borrowed; NULL: nothing */
	unsigned depth;
	uintptr_t frames[]; /* the innermost first */
};

struct stacks {
	struct table table;
	struct stack **all; /* owned, in order of coming */
	size_t count, room;
	size_t bytes, max_bytes; /* held by them, and at most */
	uint64_t lost;           /* samples for which there was no room */
};

/* Empty; it may grow to so many bytes. Not to be moved afterwards. */
void stacks_init(struct stacks *stacks, size_t max_bytes);
void stacks_fini(struct stacks *stacks);

/* One sample. `root` outlives the stacks and is the same pointer for the same root. Without room it is counted as lost. */
void stacks_add(struct stacks *stacks, const char *root, const uintptr_t *frames, unsigned depth, uint64_t value);

/* What a place is called, for people. */
struct symbol {
	const char *name; /* never NULL; as long-lived as whoever names */
	uintptr_t start;  /* where it begins: two places of one function have the same; 0: not known */
	unsigned module;  /* place in namer->modules, + 1; 0: in none */
};

/* A part of memory that a file was mapped to. */
struct module {
	uintptr_t start, end; /* where its code is */
	uint64_t offset;      /* of `start` in the file */
	const char *path;
	bool named; /* its functions have names */
};

/* Who knows the names. */
struct namer {
	struct symbol (*name)(void *context, uintptr_t address);
	void *context;
	const struct module *modules;
	size_t module_count;
};

#endif
