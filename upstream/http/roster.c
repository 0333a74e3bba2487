/* SPDX-License-Identifier: Apache-2.0 */
/* roster.c: see the header. */
#include "upstream/http/roster.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "upstream/http/addresses.h"
#include "upstream/http/check.h"
#include "upstream/http/http_request.h"

/* --- what is told --- */

static void show_reason(const struct host *host, const struct endpoint *endpoint)
{
	char reason[ENDPOINT_REASON_BYTES];
	if (!host->place->board)
		return;
	snprintf(reason, sizeof reason, "%s%s%.150s", host->address, host->connect_to ? ": " : "", endpoint->reason);
	endpoint_board_write(host->place->board, reason);
}

/* Changes only: a provider that is down for an hour is some lines. */
static void on_changed(void *context, struct endpoint *endpoint)
{
	struct roster *roster = context;
	const struct http_upstream *upstream = roster->upstream;
	const struct host *host = &roster->hosts[endpoint->index];
	struct place *place = host->place;
	struct log_line line UNCLEARED;
	addresses_show(roster, place);
	show_reason(host, endpoint);
	checks_note(roster->checks, endpoint);
	if (endpoint->unreachable)
		addresses_doubt(place);
	if (endpoint->ejected)
		meter_add(upstream->meter, METRIC_ID_ENDPOINT_EJECTIONS, place->label,
			  endpoint->unreachable ? EJECTION_UNREACHABLE : EJECTION_FAILURES, 1);
	bool up = endpoint_state(endpoint) == ENDPOINT_STATE_UP;
	if (roster->hears)
		return;
	if (!log_begin(&line, up ? &EVENT_ENDPOINT_UP : &EVENT_ENDPOINT_STATE))
		return;
	log_cstr(&line, "upstream", upstream->base.settings->name);
	log_cstr(&line, "endpoint", place->shown);
	if (host->connect_to)
		log_cstr(&line, "address", host->address);
	log_cstr(&line, "state", metric_word(LABEL_ENDPOINT_STATE, endpoint_state(endpoint)));
	log_text(&line, "reason", slice_of(endpoint->reason));
	log_end(&line);
}

/* --- what the settings name --- */

static const char *shown_as(const struct upstream_settings *settings, size_t i)
{
	return settings->shown ? settings->shown[i] : settings->endpoints[i];
}

static struct endpoint_board *board_of(const struct upstream_settings *settings, size_t i)
{
	return settings->boards ? settings->boards[i] : NULL;
}

static bool set_place(struct roster *roster, size_t i)
{
	const struct upstream_settings *settings = roster->upstream->base.settings;
	struct place *place = &roster->places[i];
	place->roster = roster;
	place->url = strdup(settings->endpoints[i]);
	place->shown = strdup(shown_as(settings, i));
	place->parsed = place->url ? http_url_new(place->url) : NULL;
	place->board = board_of(settings, i) ? endpoint_board_ref(board_of(settings, i)) : NULL;
	place->key = hash_text(slice_of(settings->endpoints[i]));
	place->label = upstream_endpoint_label(settings, i);
	place->reached = true;
	return place->parsed && place->shown;
}

/* Each address of a host has the weight of its endpoint. */
static void set_weights(struct roster *roster)
{
	const struct upstream_settings *settings = roster->upstream->base.settings;
	for (size_t i = 0; i < roster->place_count; i++)
		for (size_t j = 0; j < roster->places[i].room; j++)
			roster->set->endpoints[roster->places[i].first + j].weight =
				settings->weights ? settings->weights[i] : 1;
}

static bool make_set(struct roster *roster)
{
	const struct upstream_settings *settings = roster->upstream->base.settings;
	const struct endpoint_policy *policy = settings->balancing ? settings->balancing : &endpoint_default_policy;
	roster->set = endpoint_set_new(policy, NULL, addresses_plan(roster), clock_now_us());
	if (!roster->set || !addresses_init(roster) || !(roster->checks = checks_new(roster)))
		return false;
	set_weights(roster);
	return true;
}

/* --- what is known --- */

/* NULL: it was not there. */
static const struct place *find_place(const struct roster *roster, const char *url)
{
	for (size_t i = 0; roster && i < roster->place_count; i++)
		if (strcmp(roster->places[i].url, url) == 0)
			return &roster->places[i];
	return NULL;
}

/* What is known of an endpoint that was there stays known, and so do its addresses; one that is new begins slowly beside
 * others. */
static void settle_place(struct roster *roster, struct place *place, const struct roster *before)
{
	const struct place *was = find_place(before, place->url);
	struct endpoint *by_name = &roster->set->endpoints[place->first];
	uint64_t now_us = loop_now(roster->upstream->base.loop);
	endpoint_leave(by_name);
	endpoint_join(by_name, place->key, before && !was, now_us);
	if (!was)
		return;
	place->reached = was->reached;
	endpoint_inherit(by_name, &before->set->endpoints[was->first]);
	addresses_inherit(roster, place, before, was);
	for (size_t i = place->first; i < place->first + place->room; i++)
		checks_note(roster->checks, &roster->set->endpoints[i]);
}

static void settle_places(struct roster *roster, const struct roster *before)
{
	if (before)
		endpoint_set_inherit(roster->set, before->set);
	for (size_t i = 0; i < roster->place_count; i++)
		settle_place(roster, &roster->places[i], before);
	roster->set->changed = on_changed;
	roster->set->context = roster;
}

/* --- life --- */

static void roster_free(struct roster *roster)
{
	addresses_fini(roster);
	for (size_t i = 0; i < roster->place_count; i++) {
		struct place *place = &roster->places[i];
		endpoint_board_unref(place->board);
		http_url_free(place->parsed);
		free(place->shown);
		free(place->url);
	}
	endpoint_set_free(roster->set);
	free(roster);
}

struct roster *roster_new(struct http_upstream *upstream, const struct roster *before)
{
	const struct upstream_settings *settings = upstream->base.settings;
	struct roster *roster = calloc(1, sizeof *roster + settings->endpoint_count * sizeof(struct place));
	if (!roster)
		return NULL;
	roster->upstream = upstream;
	roster->holders = 1;
	roster->number = before ? before->number + 1 : 1;
	roster->dns_ttl_us = settings->dns_ttl_us;
	roster->place_count = settings->endpoint_count;
	bool ok = true;
	for (size_t i = 0; i < roster->place_count; i++)
		ok = set_place(roster, i) && ok;
	if (ok && make_set(roster)) {
		settle_places(roster, before);
		return roster;
	}
	checks_free(roster->checks);
	roster_free(roster);
	return NULL;
}

void roster_enter(struct roster *roster)
{
	for (size_t i = 0; i < roster->place_count; i++) {
		const struct place *place = &roster->places[i];
		if (roster->upstream->base.settings->part == 0)
			meter_set(roster->upstream->meter, METRIC_ID_UPSTREAM_HEALTHY, place->label, 0, place->reached);
		addresses_show(roster, place);
	}
	checks_tell(roster->checks);
}

void roster_retire(struct roster *roster)
{
	checks_free(roster->checks);
	roster->checks = NULL;
	roster->set->changed = NULL;
	addresses_stop(roster);
	if (roster->upstream->base.settings->part > 0)
		return;
	for (size_t i = 0; i < roster->place_count; i++) { /* nobody shall be woken for one that nobody asks any more */
		meter_set(roster->upstream->meter, METRIC_ID_UPSTREAM_HEALTHY, roster->places[i].label, 0, 1);
		for (size_t state = 0; state < ENDPOINT_STATE_COUNT; state++)
			meter_set(roster->upstream->meter, METRIC_ID_ENDPOINT_STATE, roster->places[i].label, state, 0);
	}
}

struct roster *roster_ref(struct roster *roster)
{
	roster->holders++;
	return roster;
}

void roster_unref(struct roster *roster)
{
	if (roster && --roster->holders == 0)
		roster_free(roster);
}

/* --- other settings --- */

bool roster_fits(const struct roster *roster)
{
	const struct upstream_settings *settings = roster->upstream->base.settings;
	bool fits = roster->place_count == settings->endpoint_count && !roster->dns_ttl_us == !settings->dns_ttl_us;
	for (size_t i = 0; fits && i < roster->place_count; i++) {
		const struct place *place = &roster->places[i];
		fits = strcmp(place->url, settings->endpoints[i]) == 0 && place->board == board_of(settings, i) &&
		       strcmp(place->shown, shown_as(settings, i)) == 0;
	}
	return fits;
}

void roster_adjust(struct roster *roster)
{
	assert(roster_fits(roster));
	set_weights(roster);
	roster->dns_ttl_us = roster->upstream->base.settings->dns_ttl_us;
	addresses_adjust(roster);
}
