/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addresses.h: every address of an endpoint's host is an endpoint of its own: chosen, ejected and checked by itself. The
 * first call for a host that is not known waits for its look-up; from then on it is looked up anew every dns_ttl, beside
 * the calls. An address that is none of it any more gets no new calls, and keeps what is under way.
 *
 *   places[i]  ->  set->endpoints[first]                the host by its name, while none of its addresses is known
 *                  set->endpoints[first + 1 .. + room)  its addresses, or absent
 *
 * Private to upstream/http/; owned by the upstream's worker.
 */
#ifndef JITNEY_UPSTREAM_HTTP_ADDRESSES_H
#define JITNEY_UPSTREAM_HTTP_ADDRESSES_H

#include "base/resolve.h"
#include "upstream/http/endpoint.h"

struct http_upstream;
struct place;

/* How many endpoints it takes, and where each place's begin; places have their URL. At most ENDPOINTS_MAX. */
size_t addresses_plan(struct http_upstream *upstream);
/* The set is there, with so many. False: out of memory. */
bool addresses_init(struct http_upstream *upstream) MUST_CHECK;
/* Fine if addresses_init failed, or was not called. */
void addresses_fini(struct http_upstream *upstream);

/* These are all that the host of the place has now. False: it is not balanced over them, but asked for by its name. */
bool addresses_take(struct http_upstream *upstream, struct place *place, const struct resolved *resolved) MUST_CHECK;
/* One of the place's addresses, for a request to there. */
struct endpoint *addresses_pick(struct http_upstream *upstream, const struct place *place,
				const struct endpoint_pick *pick, uint64_t now_us) MUST_CHECK;
/* One of them cannot be reached: perhaps the host has moved. */
void addresses_doubt(struct place *place);
/* What operators see of the place, after a change of one of its endpoints. */
void addresses_show(struct http_upstream *upstream, struct place *place);

#endif
