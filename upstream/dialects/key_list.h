/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_list.h: the rest dialect for tools whose provider takes many keys in one query string (GET /users?ids=a,b,c):
 * calls that differ in the key only become one request, and each gets the item with its key. docs/rest.md describes
 * it. An upstream that has such tools has a dialect of its own; its other tools' calls travel alone, as ever.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_KEY_LIST_H
#define JITNEY_UPSTREAM_DIALECTS_KEY_LIST_H

#include <stddef.h>

#include "base/compiler.h"

struct dialect;

enum {
	KEY_LIST_MAX = 1000,
	KEY_LIST_DEFAULT_MAX = 50,
	/* Of arguments in one request: percent-encoded they are three times as long at most, and an address has 16 KiB
	 */
	KEY_LIST_BYTES = 4096
};

/* As configured, a tool's; parameter NULL: it has no key list. Paths as in json_path.h. */
struct key_list_settings {
	const char *parameter; /* of the query: "ids" */
	const char *argument;  /* that has the key; a string or a number */
	const char *separator; /* between keys; default ",". "&ids=" repeats the parameter */
	const char *list;      /* path of the items in the answer; default "." */
	const char *key;       /* path of the key in an item; NULL: the items are an object's members, named by key */
	const char *result;    /* path of the result in an item; default "." */
	const char *missing;   /* what a call gets whose key is not in the answer: error (default) or null */
	unsigned max;          /* keys in one request; 0: KEY_LIST_DEFAULT_MAX */
};

/* A dialect for an upstream some of whose tools have key lists, of max_calls keys. NULL: out of memory. */
struct dialect *key_list_new(size_t max_calls) MUST_CHECK;
/* No route or decoder of it may be left. NULL is allowed. */
void key_list_free(struct dialect *dialect);

#endif
