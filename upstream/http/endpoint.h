/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h: where to. The addresses of one provider: what is known of each, who is next, who is left alone and until
 * when. No sockets, no clock and no callbacks into curl: the owner says what time it is and what came of each attempt,
 * so that a simulation runs the very same code. Owned by one thread.
 *
 *            failures in a row, or it cannot be reached
 *        UP -------------------------------------------> EJECTED (until a time; longer each time)
 *         ^                                                 | the time has come: one probe, no more
 *         `-------- the probe was answered: slow start -----'- it was not: EJECTED again
 *
 *   FAILED_CHECK and DRAINING are said from outside and go before.
 *
 * A host name may stand for several addresses, which come and go: each is an endpoint of its own while it is one of them,
 * and absent else.
 */
#ifndef JITNEY_UPSTREAM_HTTP_ENDPOINT_H
#define JITNEY_UPSTREAM_HTTP_ENDPOINT_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "metrics/catalogue.h"
#include "upstream/endpoint_settings.h"

enum { ENDPOINTS_MAX = 64 };

/* What came of an attempt. */
enum endpoint_result {
	ENDPOINT_ANSWERED,    /* whatever it said: errors and 429 too */
	ENDPOINT_UNREACHABLE, /* no connection: nothing was sent */
	ENDPOINT_BROKE,       /* a connection that was new died, or what came was no answer */
	ENDPOINT_TIMED_OUT,   /* sent; no whole answer while anybody waited. Counts if that was long enough: four times
			       * what an answer takes, and twice what the slowest of late took anywhere; a second where
			       * nobody knows */
	ENDPOINT_OVERTAKEN,   /* silent, and an attempt elsewhere was faster: many of those in a row are a failure */
	ENDPOINT_NOTHING      /* says nothing of it: nobody waited any more, or the gateway's own trouble */
};

struct endpoint;
TAILQ_HEAD(endpoint_visits, endpoint_visit);

/* One attempt under way. Embedded in its owner; zeroed before endpoint_begin. */
struct endpoint_visit {
	struct endpoint *endpoint; /* NULL: none */
	uint64_t begun_us;
	bool probe; /* on its word the endpoint comes back */
	TAILQ_ENTRY(endpoint_visit) next;
};

/* Fields are for endpoint.c, and to be read. */
struct endpoint {
	unsigned index, weight;
	uint64_t key; /* what affinity knows it by */
	bool absent;  /* it stands for no address now: not chosen, not counted */
	bool draining, check_failed;
	bool unreachable;    /* no connection came about: left alone even when the others are no better */
	bool ejected;        /* by its failures, or because it was unreachable */
	bool probing;        /* a probe is under way */
	uint64_t until_us;   /* ejected: then it may be probed */
	size_t times;        /* ejected in a row, without a good while in between */
	size_t failed;       /* attempts in a row */
	size_t overtaken;    /* likewise */
	uint64_t refused_us; /* when a refusal counted last */
	uint64_t back_us;    /* when it came back; 0: it has never been away */
	uint64_t peak_us;    /* latency: up at once, down slowly; 0: not known */
	uint64_t peak_at_us;
	uint64_t answer_us; /* of its answers, smoothed; 0: none yet */
	size_t under_way;
	struct endpoint_visits visits; /* oldest first */
	int64_t turn;                  /* smooth weighted round-robin */
	uint64_t changed_us;           /* of state, the last time; 0: never */
	char reason[ENDPOINT_REASON_BYTES];
};

struct endpoint_set {
	const struct endpoint_policy *policy;
	/* Told of each change of an endpoint's state, with the reason in it. May be NULL. */
	void (*changed)(void *context, struct endpoint *endpoint);
	void *context;
	bool connects; /* the owner tries itself whether one out of reach can be reached, and says so by
			* endpoint_checked: no call is sent to find out */
	uint64_t random;
	uint64_t slowest_us; /* of all answers of late, from any of them: up at once, half as much after ten seconds */
	uint64_t slowest_at_us;
	size_t count;
	struct endpoint endpoints[];
};

/* weights: one each, 1 or more; NULL: all the same. seed: of the random choices. None is absent. NULL: out of memory. */
struct endpoint_set *endpoint_set_new(const struct endpoint_policy *policy, const unsigned *weights, size_t count,
				      uint64_t seed) MUST_CHECK;
/* No visit may be under way. NULL is allowed. */
void endpoint_set_free(struct endpoint_set *set);

/* It is absent from now on. What is under way there goes on, and says nothing any more. */
void endpoint_leave(struct endpoint *endpoint);
/* It is back, with all that is known of it. Allowed if it was never away. */
void endpoint_return(struct endpoint *endpoint);
/* It stands for an address of which nothing is known yet. Absent, and nothing is under way there (asserted).
 * key: the same for the same address. slowly: others are in use, and it begins as one that comes back. */
void endpoint_join(struct endpoint *endpoint, uint64_t key, bool slowly, uint64_t now_us);
/* It is the same as `from`, of another set, with all that is known of it, but for its weight and whether it is absent. No
 * visit may be under way (asserted); those under way there count here no more. */
void endpoint_inherit(struct endpoint *endpoint, const struct endpoint *from);
/* Likewise what is known of all of a set's endpoints together. */
void endpoint_set_inherit(struct endpoint_set *set, const struct endpoint_set *from);
/* Those that are not absent. */
size_t endpoint_count(const struct endpoint_set *set);

struct endpoint_pick {
	uint64_t tried;    /* bit i: not endpoint i, if there is another */
	uint64_t affinity; /* hash of what shall always go to the same one */
	bool repeatable; /* it may be a probe of an endpoint that did not answer: at worst it is sent again elsewhere */
};

/*
 * The endpoint to go to. An ejected one whose time has come is taken first, by one probe at a time. If fewer than half
 * are usable, ejections for failures count no more (panic): rather a bad endpoint than a good one overrun. If none is,
 * those that have been out of reach for a few attempts only are tried.
 * NULL: none is usable (drained, or out of reach): see endpoint_usable_us.
 */
struct endpoint *endpoint_pick(struct endpoint_set *set, const struct endpoint_pick *pick, uint64_t now_us) MUST_CHECK;
/* Whether endpoint_pick would find one that is not in pick->tried. */
bool endpoint_another(const struct endpoint_set *set, const struct endpoint_pick *pick, uint64_t now_us);
/* When the first of those out of reach may be tried again; now_us: at once; CLOCK_NEVER: all are drained. */
uint64_t endpoint_usable_us(const struct endpoint_set *set, uint64_t now_us);

/* An attempt at what endpoint_pick gave, right after it. */
void endpoint_begin(struct endpoint_set *set, struct endpoint_visit *visit, struct endpoint *endpoint, uint64_t now_us);
/* Whether it has lasted so long that the lack of an answer is the endpoint's fault (see ENDPOINT_TIMED_OUT). */
bool endpoint_had_time(const struct endpoint_set *set, const struct endpoint_visit *visit, uint64_t now_us);
/* It is over. reason: for people, why it failed; may be NULL. Allowed if none is under way. */
void endpoint_end(struct endpoint_set *set, struct endpoint_visit *visit, enum endpoint_result result,
		  const char *reason, uint64_t now_us);

/* What the active checks say, whenever they change their mind. */
void endpoint_checked(struct endpoint_set *set, struct endpoint *endpoint, bool well, const char *reason,
		      uint64_t now_us);
/* No new requests go there. */
void endpoint_drain(struct endpoint_set *set, struct endpoint *endpoint, bool draining, uint64_t now_us);

/* How it is to be shown, by LABEL_ENDPOINT_STATE. */
enum endpoint_state endpoint_state(const struct endpoint *endpoint);

#endif
