/* SPDX-License-Identifier: Apache-2.0 */
/* addresses.c: the endpoints behind an endpoint's host name, as they come and go. */
#include "upstream/http/addresses.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "upstream/http/check.h"
#include "upstream/http/http_request.h"
#include "upstream/http/lookup.h"

#define DOUBT_US CLOCK_US_PER_S /* an address cannot be reached: then the host is looked up again */

static_assert((int)ENDPOINT_ADDRESSES == (int)RESOLVED_MAX && (int)ENDPOINT_ADDRESS_BYTES == INET6_ADDRSTRLEN,
	      "all are shown");

/* --- life --- */

size_t addresses_plan(struct http_upstream *upstream)
{
	const struct upstream_settings *settings = upstream->base.settings;
	size_t left = ENDPOINTS_MAX - settings->endpoint_count, first = 0;
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		struct place *place = &upstream->places[i];
		bool balanced = settings->dns_ttl_us > 0 && !settings->one_server && upstream_url_is_named(place->url);
		size_t more = !balanced ? 0 : left < RESOLVED_MAX ? left : RESOLVED_MAX;
		place->first = (unsigned)first;
		place->room = (unsigned)(1 + more);
		left -= more;
		first += place->room;
	}
	return first;
}

static void on_found(struct name_watch *watch, const struct resolved *resolved)
{
	struct place *place = container_of(watch, struct place, watch);
	if (!addresses_take(place->upstream, place, resolved))
		name_watch_in(watch, watch->every_us);
}

static bool init_watch(struct http_upstream *upstream, struct place *place)
{
	place->watch.connections = upstream->connections;
	place->watch.url = place->url;
	place->watch.every_us = upstream->base.settings->dns_ttl_us;
	place->watch.found = on_found;
	place->watched = place->room > 1 && name_watch_init(&place->watch);
	return place->watched || place->room == 1;
}

bool addresses_init(struct http_upstream *upstream)
{
	upstream->hosts = calloc(upstream->set->count, sizeof *upstream->hosts);
	if (!upstream->hosts)
		return false;
	for (size_t i = 0; i < upstream->base.settings->endpoint_count; i++) {
		struct place *place = &upstream->places[i];
		for (size_t j = 0; j < place->room; j++) {
			upstream->hosts[place->first + j] = (struct host){ .place = place, .reached = true };
			if (j > 0)
				endpoint_leave(&upstream->set->endpoints[place->first + j]);
		}
		if (!init_watch(upstream, place))
			return false;
	}
	return true;
}

void addresses_fini(struct http_upstream *upstream)
{
	for (size_t i = 0; i < upstream->base.settings->endpoint_count; i++)
		if (upstream->places[i].watched)
			name_watch_fini(&upstream->places[i].watch);
	for (size_t i = 0; upstream->hosts && i < upstream->set->count; i++)
		curl_slist_free_all(upstream->hosts[i].connect_to);
	free(upstream->hosts);
}

/* --- coming and going --- */

static bool is_among(const char *address, const struct resolved *resolved)
{
	for (size_t i = 0; i < resolved->count; i++)
		if (strcmp(resolved->addresses[i], address) == 0)
			return true;
	return false;
}

/* Those that are gone. True: there were some. */
static bool drop_others(struct http_upstream *upstream, const struct place *place, const struct resolved *resolved)
{
	bool dropped = false;
	for (size_t i = place->first + 1; i < place->first + place->room; i++) {
		struct endpoint *endpoint = &upstream->set->endpoints[i];
		if (endpoint->absent || is_among(upstream->hosts[i].address, resolved))
			continue;
		endpoint_leave(endpoint);
		dropped = true;
	}
	return dropped;
}

/* The one that stands for it, or did last; NULL: none. */
static struct endpoint *find_address(const struct http_upstream *upstream, const struct place *place,
				     const char *address)
{
	for (size_t i = place->first + 1; i < place->first + place->room; i++)
		if (strcmp(upstream->hosts[i].address, address) == 0)
			return &upstream->set->endpoints[i];
	return NULL;
}

/* One that stands for nothing, and nothing is under way to what it stood for. NULL: there is none. */
static struct endpoint *find_free(const struct http_upstream *upstream, const struct place *place)
{
	for (size_t i = place->first + 1; i < place->first + place->room; i++) {
		struct endpoint *endpoint = &upstream->set->endpoints[i];
		if (endpoint->absent && endpoint->under_way == 0 && !checks_busy(upstream->checks, endpoint))
			return endpoint;
	}
	return NULL;
}

/* False: no room for it now, or no memory; the next look-up finds it again. */
static bool add_address(struct http_upstream *upstream, struct place *place, const char *address)
{
	struct endpoint *endpoint = find_address(upstream, place, address);
	if (endpoint) {
		endpoint_return(endpoint);
		checks_join(upstream->checks, endpoint);
		return true;
	}
	endpoint = find_free(upstream, place);
	struct curl_slist *connect_to = endpoint ? lookup_connect_to(address) : NULL;
	if (!connect_to)
		return false;
	struct host *host = &upstream->hosts[endpoint->index];
	curl_slist_free_all(host->connect_to);
	host->connect_to = connect_to;
	host->reached = true;
	snprintf(host->address, sizeof host->address, "%s", address);
	uint64_t key = hash_text(slice_of(address)) ^ (uint64_t)(place - upstream->places);
	endpoint_join(endpoint, key, place->known, loop_now(upstream->base.loop));
	checks_join(upstream->checks, endpoint);
	return true;
}

static void log_addresses(const struct http_upstream *upstream, const struct place *place,
			  const struct resolved *resolved)
{
	struct log_line line UNCLEARED;
	struct buf text = BUF_INIT(RESOLVED_MAX * INET6_ADDRSTRLEN);
	if (!log_begin(&line, &EVENT_ENDPOINT_ADDRESSES))
		return;
	for (size_t i = 0; i < resolved->count; i++)
		buf_printf(&text, i ? " %s" : "%s", resolved->addresses[i]);
	log_cstr(&line, "upstream", upstream->base.settings->name);
	log_cstr(&line, "endpoint", place->shown);
	log_text(&line, "addresses", buf_slice(&text));
	log_end(&line);
	buf_fini(&text);
}

bool addresses_take(struct http_upstream *upstream, struct place *place, const struct resolved *resolved)
{
	if (place->room == 1)
		return false;
	bool changed = drop_others(upstream, place, resolved), any = false;
	for (size_t i = 0; i < resolved->count; i++) {
		const struct endpoint *known = find_address(upstream, place, resolved->addresses[i]);
		bool there = known && !known->absent;
		bool added = !there && add_address(upstream, place, resolved->addresses[i]);
		changed |= added;
		any |= there || added;
	}
	struct endpoint *by_name = &upstream->set->endpoints[place->first];
	if (any)
		endpoint_leave(by_name);
	else
		endpoint_return(by_name);
	if (changed) {
		log_addresses(upstream, place, resolved);
		addresses_show(upstream, place);
	}
	place->known |= any;
	name_watch_in(&place->watch, place->watch.every_us);
	return any;
}

void addresses_doubt(struct place *place)
{
	if (place->known)
		name_watch_in(&place->watch, DOUBT_US);
}

/* --- choosing --- */

struct endpoint *addresses_pick(struct http_upstream *upstream, const struct place *place,
				const struct endpoint_pick *pick, uint64_t now_us)
{
	struct endpoint_pick here = *pick;
	uint64_t all = place->room == ENDPOINTS_MAX ? ~UINT64_C(0) : (UINT64_C(1) << place->room) - 1;
	here.tried |= ~(all << place->first);
	struct endpoint *endpoint = endpoint_pick(upstream->set, &here, now_us);
	if (endpoint && upstream->hosts[endpoint->index].place == place)
		return endpoint;
	size_t first = place->first; /* the name itself, or else one of the addresses is there */
	while (upstream->set->endpoints[first].absent)
		first++;
	return &upstream->set->endpoints[first];
}

/* --- what operators see --- */

/* The best of its addresses speaks for an endpoint. */
static enum endpoint_state state_of(const struct http_upstream *upstream, const struct place *place)
{
	enum endpoint_state best = ENDPOINT_STATE_COUNT;
	for (size_t i = place->first; i < place->first + place->room; i++) {
		const struct endpoint *endpoint = &upstream->set->endpoints[i];
		if (!endpoint->absent && endpoint_state(endpoint) < best)
			best = endpoint_state(endpoint);
	}
	return best;
}

static void show_board(const struct http_upstream *upstream, const struct place *place)
{
	struct endpoint_board *board = &upstream->base.settings->boards[place - upstream->places];
	struct endpoint_address addresses[RESOLVED_MAX];
	size_t count = 0;
	for (size_t i = place->first + 1; i < place->first + place->room; i++) {
		const struct endpoint *endpoint = &upstream->set->endpoints[i];
		if (endpoint->absent)
			continue;
		addresses[count].state = (unsigned char)endpoint_state(endpoint);
		memcpy(addresses[count++].text, upstream->hosts[i].address, INET6_ADDRSTRLEN);
	}
	endpoint_board_show(board, addresses, count);
}

void addresses_show(struct http_upstream *upstream, struct place *place)
{
	enum endpoint_state state = state_of(upstream, place);
	for (size_t i = 0; i < ENDPOINT_STATE_COUNT; i++)
		meter_set(upstream->meter, METRIC_ID_ENDPOINT_STATE, place->label, i, i == (size_t)state);
	if (upstream->base.settings->boards && place->room > 1)
		show_board(upstream, place);
}
