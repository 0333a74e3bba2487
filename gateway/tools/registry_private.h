/* SPDX-License-Identifier: Apache-2.0 */
/* registry_private.h: the registry and its sources, for registry.c and registry_kept.c. */
#ifndef JITNEY_GATEWAY_TOOLS_REGISTRY_PRIVATE_H
#define JITNEY_GATEWAY_TOOLS_REGISTRY_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/loop.h"
#include "gateway/tools/registry.h"
#include "gateway/tools/tool_labels.h"

enum { WHY_BYTES = 200 };

struct report;

struct tool_source {
	struct registry *registry;
	struct upstream_watcher watcher; /* its context is this source */
	const char *name;                /* the upstream's, borrowed */
	unsigned label;                  /* likewise */
	_Atomic(struct report *) newest; /* a: the newest, until it is read: what it replaces nobody needs; or NULL */
	/* all below: under the registry's mutex */
	struct blob *raw;                /* owned: the list as it came, for the next generation; NULL: none yet */
	bool inherited;                  /* raw is what another server said that was here before */
	struct mcp_tool_list *tool_list; /* owned: of raw; NULL: none yet */
	uint64_t listed_at_s;            /* wall clock: when it said so */
	struct blob *instructions;       /* owned; what it says of their use; NULL: nothing */
	enum tool_list_state state;
	uint64_t listed_us;
	char why[WHY_BYTES];
};

struct registry {
	unsigned workers;              /* c */
	struct loop *loop;             /* the thread's */
	atomic_bool stopping;          /* a */
	pthread_t thread;              /* of who starts and stops it */
	bool started;                  /* likewise */
	registry_offer *offer;         /* c: once started */
	void *offer_context;           /* c: likewise */
	pthread_mutex_t mutex;         /* held for all below: by a turn of the thread, or by who brings a generation */
	struct generation *generation; /* held: the one in force */
	struct upstream_labels *labels;
	struct tool_labels *tool_labels;
	struct meter *meter;       /* NULL: none */
	uint64_t *definitions;     /* by slot: digest of what was last said of the tool; 0: nothing yet */
	struct catalogue *current; /* owned: enforced */
	bool dirty;                /* the sources say more than `current` does */
	bool store_moved;          /* mcp.lists is another file: it lacks all */
	bool unsaved;              /* the thread's, as all below: they say more than the file of mcp.lists, */
	uint64_t save_us;          /* which is written then */
	bool save_failed;          /* the last time; told once */
};
/* c constant once the thread runs, a atomic */

/* Which definitions have changed since they were last told of: logged and counted. The mutex is held, or nobody runs. */
void registry_note_definitions(struct tool_source *source);
/* registry_kept.c: write the lists into the file of mcp.lists. The registry's thread, without the mutex. */
void registry_save_lists(struct registry *registry);

#endif
