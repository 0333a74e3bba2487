/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h: where to: the endpoints of a provider as its settings name them (places), and every address of their hosts, as
 * the endpoint room knows them (endpoint.h). Private to upstream/http/; owned by the upstream's worker.
 */
#ifndef JITNEY_UPSTREAM_HTTP_PLACE_H
#define JITNEY_UPSTREAM_HTTP_PLACE_H

#include "base/resolve.h"
#include "upstream/http/endpoint.h"
#include "upstream/http/transport.h"

struct checks;
struct http_upstream;
struct http_url;
struct roster;

#define DOUBT_US CLOCK_US_PER_S /* when there is reason to look a host up again: so soon */

/* A configured endpoint, as curl and as people want it. */
struct place {
	struct roster *roster;
	char *url;
	char *shown; /* to people: what is secret in it is left out */
	struct http_url *parsed;
	struct endpoint_board *board; /* held; NULL: nobody looks */
	uint64_t key;                 /* of its URL */
	unsigned label;
	bool reached;            /* one of its hosts is */
	unsigned first, room;    /* its hosts: addresses.h */
	bool known;              /* its addresses have been found */
	bool wanted;             /* they have been asked for, see place_want_addresses */
	bool watched;            /* `watch` is to be stopped */
	struct name_watch watch; /* of them, if there is room for some */
};

/* Where an endpoint of the set is. */
struct host {
	struct place *place;
	struct curl_slist *connect_to; /* its address, for curl; NULL: the place's URL says where */
	char address[INET6_ADDRSTRLEN];
	bool reached; /* by the last exchange; true before the first */
};

/* Who may be asked: roster.h. */
struct roster {
	struct http_upstream *upstream;
	size_t holders;  /* its upstream, as long as it is the current one, and attempts on their way by it */
	uint64_t number; /* of all of the upstream's, from 1 */
	uint64_t dns_ttl_us;
	struct endpoint_set *set;
	struct host *hosts;    /* of set->endpoints */
	struct checks *checks; /* check.h; NULL: it is not the current one, or not whole yet */
	bool hears;            /* what changes now has been told by the upstream that found it */
	size_t place_count;
	struct place places[];
};

/* Somebody is about to go by the host's name, since none of its addresses is known: it is looked up beside him, at once the
 * first time, then every second. He may need no look-up himself: libcurl has a connection by that name, of a check, or of
 * another upstream; whoever comes after him would go by it too, and nobody would ask for addresses any more. */
static inline void place_want_addresses(struct place *place)
{
	if (!place->watched || place->known)
		return;
	name_watch_in(&place->watch, place->wanted ? DOUBT_US : 0);
	place->wanted = true;
}

#endif
