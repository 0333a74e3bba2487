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

static_assert((int)ENDPOINT_ADDRESSES == (int)RESOLVED_MAX && (int)ENDPOINT_ADDRESS_BYTES == INET6_ADDRSTRLEN,
	      "all are shown");

/* --- life --- */

size_t addresses_plan(struct roster *roster)
{
	const struct upstream_settings *settings = roster->upstream->base.settings;
	size_t left = ENDPOINTS_MAX - settings->endpoint_count, first = 0;
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		struct place *place = &roster->places[i];
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
	if (!addresses_take(place->roster, place, resolved))
		name_watch_in(watch, watch->every_us);
}

static bool init_watch(struct roster *roster, struct place *place)
{
	place->watch.connections = roster->upstream->connections;
	place->watch.url = place->url;
	place->watch.every_us = roster->upstream->base.settings->dns_ttl_us;
	place->watch.found = on_found;
	place->watched = place->room > 1 && name_watch_init(&place->watch);
	return place->watched || place->room == 1;
}

bool addresses_init(struct roster *roster)
{
	roster->hosts = calloc(roster->set->count, sizeof *roster->hosts);
	if (!roster->hosts)
		return false;
	for (size_t i = 0; i < roster->place_count; i++) {
		struct place *place = &roster->places[i];
		for (size_t j = 0; j < place->room; j++) {
			roster->hosts[place->first + j] = (struct host){ .place = place, .reached = true };
			if (j > 0)
				endpoint_leave(&roster->set->endpoints[place->first + j]);
		}
		if (!init_watch(roster, place))
			return false;
	}
	return true;
}

void addresses_stop(struct roster *roster)
{
	for (size_t i = 0; i < roster->place_count; i++) {
		if (roster->places[i].watched)
			name_watch_fini(&roster->places[i].watch);
		roster->places[i].watched = false;
	}
}

void addresses_fini(struct roster *roster)
{
	addresses_stop(roster);
	for (size_t i = 0; roster->hosts && i < roster->set->count; i++)
		curl_slist_free_all(roster->hosts[i].connect_to);
	free(roster->hosts);
}

/* --- coming and going --- */

/* Those that are gone. True: there were some. */
static bool drop_others(struct roster *roster, const struct place *place, const struct resolved *resolved)
{
	bool dropped = false;
	for (size_t i = place->first + 1; i < place->first + place->room; i++) {
		struct endpoint *endpoint = &roster->set->endpoints[i];
		if (endpoint->absent || resolved_has(resolved, roster->hosts[i].address))
			continue;
		endpoint_leave(endpoint);
		dropped = true;
	}
	return dropped;
}

/* The one that stands for it, or did last; NULL: none. */
static struct endpoint *find_address(const struct roster *roster, const struct place *place, const char *address)
{
	for (size_t i = place->first + 1; i < place->first + place->room; i++)
		if (strcmp(roster->hosts[i].address, address) == 0)
			return &roster->set->endpoints[i];
	return NULL;
}

/* One that stands for nothing, and nothing is under way to what it stood for. NULL: there is none. */
static struct endpoint *find_free(const struct roster *roster, const struct place *place)
{
	for (size_t i = place->first + 1; i < place->first + place->room; i++) {
		struct endpoint *endpoint = &roster->set->endpoints[i];
		if (endpoint->absent && endpoint->under_way == 0 && !checks_busy(roster->checks, endpoint))
			return endpoint;
	}
	return NULL;
}

/* False: no room for it now, or no memory; the next look-up finds it again. */
static bool add_address(struct roster *roster, struct place *place, const char *address)
{
	struct endpoint *endpoint = find_address(roster, place, address);
	if (endpoint) {
		endpoint_return(endpoint);
		checks_join(roster->checks, endpoint);
		return true;
	}
	endpoint = find_free(roster, place);
	struct curl_slist *connect_to = endpoint ? lookup_connect_to(address) : NULL;
	if (!connect_to)
		return false;
	struct host *host = &roster->hosts[endpoint->index];
	curl_slist_free_all(host->connect_to);
	host->connect_to = connect_to;
	host->reached = true;
	snprintf(host->address, sizeof host->address, "%s", address);
	uint64_t key = hash_text(slice_of(address)) ^ place->key;
	endpoint_join(endpoint, key, place->known, loop_now(roster->upstream->base.loop));
	checks_join(roster->checks, endpoint);
	return true;
}

static void log_addresses(const struct roster *roster, const struct place *place, const struct resolved *resolved)
{
	struct log_line line UNCLEARED;
	struct buf text = BUF_INIT(RESOLVED_MAX * INET6_ADDRSTRLEN);
	if (!log_begin(&line, &EVENT_ENDPOINT_ADDRESSES))
		return;
	for (size_t i = 0; i < resolved->count; i++)
		buf_printf(&text, i ? " %s" : "%s", resolved->addresses[i]);
	log_cstr(&line, "upstream", roster->upstream->base.settings->name);
	log_cstr(&line, "endpoint", place->shown);
	log_text(&line, "addresses", buf_slice(&text));
	log_end(&line);
	buf_fini(&text);
}

bool addresses_take(struct roster *roster, struct place *place, const struct resolved *resolved)
{
	if (!place->watched)
		return false;
	bool changed = drop_others(roster, place, resolved), any = false;
	for (size_t i = 0; i < resolved->count; i++) {
		const struct endpoint *known = find_address(roster, place, resolved->addresses[i]);
		bool there = known && !known->absent;
		bool added = !there && add_address(roster, place, resolved->addresses[i]);
		changed |= added;
		any |= there || added;
	}
	struct endpoint *by_name = &roster->set->endpoints[place->first];
	if (any)
		endpoint_leave(by_name);
	else
		endpoint_return(by_name);
	if (changed) {
		log_addresses(roster, place, resolved);
		addresses_show(roster, place);
	}
	place->known |= any;
	name_watch_put_off(&place->watch);
	return any;
}

void addresses_doubt(struct place *place)
{
	if (place->known)
		name_watch_in(&place->watch, DOUBT_US);
}

/* --- other settings --- */

void addresses_inherit(struct roster *roster, struct place *place, const struct roster *before, const struct place *was)
{
	bool any = false;
	if (!place->watched || !was->known)
		return;
	for (size_t i = was->first + 1; i < was->first + was->room; i++) {
		const struct host *host = &before->hosts[i];
		if (before->set->endpoints[i].absent || !add_address(roster, place, host->address))
			continue;
		struct endpoint *endpoint = find_address(roster, place, host->address);
		endpoint_inherit(endpoint, &before->set->endpoints[i]);
		roster->hosts[endpoint->index].reached = host->reached;
		any = true;
	}
	if (any)
		endpoint_leave(&roster->set->endpoints[place->first]);
	place->known = any;
	name_watch_in(&place->watch, place->watch.every_us);
}

void addresses_adjust(struct roster *roster)
{
	for (size_t i = 0; i < roster->place_count; i++) {
		struct place *place = &roster->places[i];
		place->watch.every_us = roster->dns_ttl_us;
		if (place->watched && place->known) /* the one that is due may be far away */
			name_watch_in(&place->watch, place->watch.every_us);
	}
}

/* --- choosing --- */

struct endpoint *addresses_pick(struct roster *roster, const struct place *place, const struct endpoint_pick *pick,
				uint64_t now_us)
{
	struct endpoint_pick here = *pick;
	uint64_t all = place->room == ENDPOINTS_MAX ? ~UINT64_C(0) : (UINT64_C(1) << place->room) - 1;
	here.tried |= ~(all << place->first);
	struct endpoint *endpoint = endpoint_pick(roster->set, &here, now_us);
	if (endpoint && roster->hosts[endpoint->index].place == place)
		return endpoint;
	size_t first = place->first; /* the name itself, or else one of the addresses is there */
	while (roster->set->endpoints[first].absent)
		first++;
	return &roster->set->endpoints[first];
}

/* --- what operators see --- */

/* The best of its addresses speaks for an endpoint. */
static enum endpoint_state state_of(const struct roster *roster, const struct place *place)
{
	enum endpoint_state best = ENDPOINT_STATE_COUNT;
	for (size_t i = place->first; i < place->first + place->room; i++) {
		const struct endpoint *endpoint = &roster->set->endpoints[i];
		if (!endpoint->absent && endpoint_state(endpoint) < best)
			best = endpoint_state(endpoint);
	}
	return best;
}

static void show_board(const struct roster *roster, const struct place *place)
{
	struct endpoint_address addresses[RESOLVED_MAX];
	size_t count = 0;
	for (size_t i = place->first + 1; i < place->first + place->room; i++) {
		const struct endpoint *endpoint = &roster->set->endpoints[i];
		if (endpoint->absent)
			continue;
		addresses[count].state = (unsigned char)endpoint_state(endpoint);
		memcpy(addresses[count++].text, roster->hosts[i].address, INET6_ADDRSTRLEN);
	}
	endpoint_board_show(place->board, addresses, count);
}

void addresses_show(const struct roster *roster, const struct place *place)
{
	enum endpoint_state state = state_of(roster, place);
	bool tells = roster->upstream->base.settings->part == 0;
	for (size_t i = 0; tells && i < ENDPOINT_STATE_COUNT; i++)
		meter_set(roster->upstream->meter, METRIC_ID_ENDPOINT_STATE, place->label, i, i == (size_t)state);
	if (place->board)
		show_board(roster, place);
}
