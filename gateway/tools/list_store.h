/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list_store.h: the last lists of MCP servers in a file (mcp.lists), so that a gateway that is started anew has tools
 * before its servers have spoken. What is read back is a stranger's: it counts only if it is whole, and a list in it only
 * if it is of an upstream that is configured under that name with the same address or command line, headers and
 * environment. Blocks: not for workers.
 *
 *   jitney-lists 1 HASH            of all that follows, 16 hexadecimal digits
 *   {"upstream":"files","source":"16 digits","listed_at":UNIX_SECONDS,"bytes":N,"instructions":"..."}
 *   N bytes: the array of Tool objects as it came, and a line feed; then the next list
 */
#ifndef JITNEY_GATEWAY_TOOLS_LIST_STORE_H
#define JITNEY_GATEWAY_TOOLS_LIST_STORE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "gateway/config/config.h"

enum { LIST_STORE_BYTES_MAX = 256 << 20, LIST_STORE_WHY_BYTES = 160 };

/* One list, borrowed. */
struct kept_list {
	unsigned upstream;
	struct slice tools;        /* not checked in any way */
	struct slice instructions; /* text; empty: none */
	uint64_t listed_at_s;      /* wall clock */
};

enum list_store_result {
	LIST_STORE_READ,
	LIST_STORE_NONE,   /* there is no such file */
	LIST_STORE_DAMAGED /* why says how */
};

/* `found` is called for each list that may be used, an upstream's once at most; not before the file is known to be whole. */
enum list_store_result list_store_read(const struct generation *generation,
				       void (*found)(void *, const struct kept_list *), void *context,
				       char why[LIST_STORE_WHY_BYTES]) MUST_CHECK;
/* Put these in the place of what was there, as a whole or not at all. Those for which there is no room are left out. */
bool list_store_write(const struct generation *generation, const struct kept_list *lists, size_t count,
		      char why[LIST_STORE_WHY_BYTES]) MUST_CHECK;

#endif
