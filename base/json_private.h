/* SPDX-License-Identifier: Apache-2.0 */
/* json_private.h: what the scanner (json.c), the order of members (json_order.c) and the check of a text that is not all
 * there yet (json_arriving.c) share. Private to the three. */
#ifndef JITNEY_BASE_JSON_PRIVATE_H
#define JITNEY_BASE_JSON_PRIVATE_H

#include <endian.h>

#include "base/json.h"

enum {
	NO_NODE = 0, /* node 0 is never used */
	FIRST_NODES = 64,
	SCRATCH_KEPT_BYTES = 256 * 1024
};

/* An object, or one of its members. Offsets are of 32 bits to keep it small; the text's size is bounded for that. */
struct node {
	uint64_t prefix;  /* of a member: its name's first 8 bytes, big-endian. Decides most comparisons */
	uint32_t name_at; /* of a member: where its name's first byte is in the text, or in `names` (see name_bytes) */
	uint32_t name_len : 31; /* unescaped bytes */
	uint32_t escaped : 1;   /* the name was unescaped into `names` */
	uint32_t at, end;       /* where object or member lie in the compact text */
	uint32_t next;          /* of an object: its first member; of a member: the next one */
	uint32_t after;         /* the first node that does not belong to it */
};

/* An array or object that is still open. */
struct frame {
	uint32_t object;    /* its node; NO_NODE: it is an array */
	uint32_t last;      /* its last member so far */
	uint32_t members;   /* so far */
	uint32_t ascending; /* each name so far is greater than the one before */
	uint32_t kept;      /* an object within it kept its nodes */
};

/* One text being read; what has grown for it is kept in `scratch` for the next one. */
struct scan {
	const char *text, *end;
	struct json_fault *fault;
	struct json_scratch *scratch;
	size_t frames_bytes, names_bytes, compact_bytes; /* the parts of the scratch memory before the nodes */
	struct frame *frames;
	char *names;   /* escaped names, unescaped, each where it is in the text: room for as many bytes as that has */
	char *compact; /* the same; NULL when only checking */
	bool arriving; /* the text is not all there yet, and may move: `names` holds them one behind the other */
	size_t names_room, names_used; /* of `names`, if so; memory of its own */
	struct node *nodes;
	uint32_t node_count, node_room;
	uint32_t most_nodes; /* that there may be, if the text is arriving; else 0 */
	unsigned depth, max_depth;
	const char *run; /* from here on the text still stands for itself */
	size_t written;  /* bytes in `compact` before the run */
	bool kept;       /* some object is not in order */
	size_t unsorted; /* members of large objects that were not in order */
};

/* Note the fault (`what`: static) at that place. NULL, for whoever returns it. */
static inline const char *json_refuse(struct scan *scan, const char *at, const char *what)
{
	*scan->fault = (struct json_fault){ what, (size_t)(at - scan->text), false };
	return NULL;
}

/* A member's name, unescaped: name_len bytes. */
static inline const char *name_bytes(const struct scan *scan, const struct node *member)
{
	return (member->escaped ? scan->names : scan->text) + member->name_at;
}

/* By bytes, the shorter one of two with the same beginning first: less than, equal to or greater than 0. */
static inline int compare_names(const struct scan *scan, const struct node *a, const struct node *b)
{
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	size_t common = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = memcmp(name_bytes(scan, a), name_bytes(scan, b), common);
	return order ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* For node.prefix: the first 8 bytes, zeros behind a shorter name. readable: bytes from `name` on that may be read,
 * `len` or more. */
static inline uint64_t name_prefix(const char *name, size_t len, size_t readable)
{
	uint64_t word = 0;
	if (readable < sizeof word) {
		memcpy(&word, name, len < readable ? len : readable);
		return be64toh(word);
	}
	memcpy(&word, name, sizeof word);
	word = be64toh(word);
	if (len < sizeof word)
		word &= len ? ~UINT64_C(0) << (64 - 8 * len) : 0;
	return word;
}

/* Where the member's name begins in the text, with its quote. */
static inline size_t name_place(const struct scan *scan, const struct node *member)
{
	return scan->compact ? member->name_at - 1 : member->at; /* only checking, nothing has been moved */
}

/* json.c: make ready. False, with the fault. */
bool json_scan_begin(struct scan *scan, struct slice text, bool canonical) MUST_CHECK;
/* A value (value_due), or what stands behind one: see scan_text. Returns the byte behind what it took; NULL: a fault. */
const char *json_scan_step(struct scan *scan, const char *p, bool *value_due) MUST_CHECK;
/* p: within a string. Returns its closing quote; NULL: a fault. */
const char *json_scan_string(struct scan *scan, const char *p) MUST_CHECK;

/* json_order.c: put an object's members in order. p: its closing bracket, for the fault. False, with the fault: there
 * are too many, or a name is there twice. */
bool json_order_members(struct scan *scan, const struct frame *frame, const char *p);

#endif
