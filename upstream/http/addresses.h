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

#include "upstream/http/place.h"

/* How many endpoints it takes, and where each place's begin; places have their URL. At most ENDPOINTS_MAX. */
size_t addresses_plan(struct roster *roster);
/* The set is there, with so many. False: out of memory. */
bool addresses_init(struct roster *roster) MUST_CHECK;
/* No host is looked up any more. */
void addresses_stop(struct roster *roster);
/* Allowed if addresses_init failed, or was not called. */
void addresses_fini(struct roster *roster);

/* What is known of the addresses of an endpoint that was in `before` stays known. */
void addresses_inherit(struct roster *roster, struct place *place, const struct roster *before,
		       const struct place *was);
/* roster->dns_ttl_us is another one, but neither it nor the one before is 0. */
void addresses_adjust(struct roster *roster);

/* These are all that the host of the place has now. False: it is not balanced over them, but asked for by its name. */
bool addresses_take(struct roster *roster, struct place *place, const struct resolved *resolved) MUST_CHECK;
/* One of the place's addresses, for a request to there. */
struct endpoint *addresses_pick(struct roster *roster, const struct place *place, const struct endpoint_pick *pick,
				uint64_t now_us) MUST_CHECK;
/* One of them cannot be reached: perhaps the host has moved. */
void addresses_doubt(struct place *place);
/* What operators see of the place, after a change of one of its endpoints. */
void addresses_show(const struct roster *roster, const struct place *place);

#endif
