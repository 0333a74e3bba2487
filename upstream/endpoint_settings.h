/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_settings.h: what the configuration says of a provider's endpoints, and what its other threads may say and
 * see of them while it runs.
 */
#ifndef JITNEY_UPSTREAM_ENDPOINT_SETTINGS_H
#define JITNEY_UPSTREAM_ENDPOINT_SETTINGS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"

enum endpoint_balance {
	BALANCE_ADAPTIVE, /* two at random, the one whose peak latency x requests under way is the smaller */
	BALANCE_FASTEST,  /* the smallest peak latency; one in twenty goes elsewhere, to see whether it has changed */
	BALANCE_LEAST_LOADED, /* the fewest requests under way */
	BALANCE_ROUND_ROBIN,
	BALANCE_AFFINITY /* by a key: the same one for the same key as long as it is usable (rendezvous hash) */
};

enum endpoint_affinity { AFFINITY_CALLER, AFFINITY_KEY };

enum { ENDPOINTS_MOST = 64 }; /* of an upstream */

/* Borrowed; they may be adjusted: what they say counts where it is asked for. */
struct endpoint_policy {
	unsigned balance;  /* enum endpoint_balance */
	unsigned affinity; /* enum endpoint_affinity: by what */
	size_t failures;   /* in a row: then it is ejected */
	uint64_t base_us;  /* for so long the first time, twice as long each time after that, */
	uint64_t max_us;   /* and at most so long */
	size_t share;      /* percent of the endpoints that may be ejected; the last one never is */
};
extern const struct endpoint_policy endpoint_default_policy;

/* Active checks. One of path, method and tcp is set. */
struct health_settings {
	const char *path;   /* GET it: 2xx and 3xx are well */
	const char *method; /* POST it as a JSON-RPC method ("ping") to the endpoint: all but 5xx is well */
	bool tcp;           /* connect (and shake hands, for https) only */
	uint64_t interval_us, timeout_us;
	size_t rise, fall; /* results in a row before the endpoint counts as well, or as not */
};

enum { ENDPOINT_REASON_BYTES = 200, ENDPOINT_ADDRESSES = 16, ENDPOINT_ADDRESS_BYTES = 46 };

/* One of those that an endpoint's host name stands for. */
struct endpoint_address {
	char text[ENDPOINT_ADDRESS_BYTES];
	unsigned char state; /* enum endpoint_state */
};

/* One of the processes of an upstream that is a program. */
enum { ENDPOINT_PROCESSES = 64 };
struct endpoint_process {
	int pid;
	const char *state;               /* "starting", "ready", "retiring", "leaving" */
	uint64_t started_us;             /* wall clock */
	uint64_t calls, served;          /* in it now, and ever given to it */
	uint64_t cpu_us, resident_bytes; /* with its offspring, as last seen */
};

/* One endpoint's, between its upstream's worker and the threads that serve operators. */
struct endpoint_board {
	atomic_size_t holders; /* a */
	atomic_bool draining;  /* a: set by operators; heeded with the next call or check */
	bool written;          /* what the newest file says of that: the thread that brings generations */
	pthread_mutex_t mutex;
	uint64_t changed_us;                /* m: when its state changed last, seconds since 1970 in us; 0: never */
	char reason[ENDPOINT_REASON_BYTES]; /* m: of that */
	size_t address_count;               /* m: 0: its host is no name, or has not been looked up */
	struct endpoint_address addresses[ENDPOINT_ADDRESSES]; /* m */
	size_t process_count;                                  /* m */
	struct endpoint_process *processes;                    /* m: ENDPOINT_PROCESSES; NULL: none was ever shown */
};
/* a: atomic, m: under the mutex */

/* NULL: out of memory. One for each endpoint, as long as any generation, or its upstream, has it: held, any thread. */
struct endpoint_board *endpoint_board_new(bool draining) MUST_CHECK;
struct endpoint_board *endpoint_board_ref(struct endpoint_board *board);
/* NULL is allowed. */
void endpoint_board_unref(struct endpoint_board *board);
/* Any thread. reason: text of ENDPOINT_REASON_BYTES at most. */
void endpoint_board_write(struct endpoint_board *board, const char *reason);
/* When, 0: never; `reason` has ENDPOINT_REASON_BYTES. Any thread. */
uint64_t endpoint_board_read(struct endpoint_board *board, char *reason);
/* ENDPOINT_ADDRESSES at most. Any thread. */
void endpoint_board_show(struct endpoint_board *board, const struct endpoint_address *addresses, size_t count);
/* How many; `addresses` has ENDPOINT_ADDRESSES. Any thread. */
size_t endpoint_board_addresses(struct endpoint_board *board, struct endpoint_address *addresses);

/* What the first of several upstreams that stand for one provider finds by its checks, for the others (http/verdicts.h).
 * NULL: out of memory. */
struct endpoint_verdicts;
struct endpoint_verdicts *endpoint_verdicts_new(void) MUST_CHECK;
/* NULL is allowed with both. Any thread. */
struct endpoint_verdicts *endpoint_verdicts_ref(struct endpoint_verdicts *verdicts);
void endpoint_verdicts_unref(struct endpoint_verdicts *verdicts);

/* The processes there are; those beyond ENDPOINT_PROCESSES, and all where memory is out, are left out. Any thread. */
void endpoint_board_show_processes(struct endpoint_board *board, const struct endpoint_process *processes,
				   size_t count);
/* How many; `processes` has ENDPOINT_PROCESSES. Any thread. */
size_t endpoint_board_processes(struct endpoint_board *board, struct endpoint_process *processes);

#endif
