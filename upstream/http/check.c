/* SPDX-License-Identifier: Apache-2.0 */
/* check.c: active checks of endpoints. Each has a timer of its own, with jitter: gateways must not ask in step. */
#include "upstream/http/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "upstream/http/http_request.h"
#include "upstream/http/verdicts.h"

/* Between two tries to reach what is out of reach: the first, and the longest; twice as long each time. */
#define CONNECT_FIRST_US (100 * CLOCK_US_PER_MS)
#define CONNECT_US CLOCK_US_PER_S
enum { CHECK_ANSWER_BYTES = 64 * 1024 };

struct check {
	struct checks *checks;
	struct endpoint *endpoint;
	struct http_exchange exchange;
	struct buf url;
	struct loop_timer timer;
	bool under_way;
	uint64_t connect_us; /* until the next try, where none are configured */
	unsigned in_row;     /* results that contradict what is believed of it */
};

struct checks {
	struct roster *roster;
	struct http_upstream *upstream;       /* the roster's */
	const struct health_settings *health; /* NULL: none configured, or not ours to make */
	unsigned heard;                       /* of them, if they are not */
	uint64_t random;
	size_t count;
	struct check all[];
};

/* --- when --- */

/* From 90 to 110 percent of it. */
static uint64_t with_jitter(struct checks *checks, uint64_t us)
{
	return us - us / 10 + random_next(&checks->random) % (us / 5 + 1);
}

static void arm_check(struct check *check)
{
	struct checks *checks = check->checks;
	struct loop *loop = checks->upstream->base.loop;
	uint64_t every_us = checks->health ? checks->health->interval_us : check->connect_us;
	if (check->endpoint->absent || (!checks->health && !check->endpoint->unreachable))
		return;
	check->connect_us = 2 * check->connect_us < CONNECT_US ? 2 * check->connect_us : CONNECT_US;
	loop_arm(loop, &check->timer, clock_add(loop_now(loop), with_jitter(checks, every_us)));
}

void checks_note(struct checks *checks, const struct endpoint *endpoint)
{
	struct check *check = &checks->all[endpoint->index];
	check->connect_us = CONNECT_FIRST_US;
	if (endpoint->unreachable && !check->under_way && !check->timer.place)
		arm_check(check);
}

/* The first ones are spread over an interval. */
static void arm_first(struct check *check)
{
	struct checks *checks = check->checks;
	const struct http_upstream *upstream = checks->upstream;
	if (!checks->health || check->endpoint->absent)
		return;
	uint64_t within_us = with_jitter(checks, checks->health->interval_us);
	loop_arm(
		upstream->base.loop, &check->timer,
		clock_add(loop_now(upstream->base.loop), within_us * (check->endpoint->index + 1) / checks->count / 2));
}

bool checks_busy(const struct checks *checks, const struct endpoint *endpoint)
{
	return checks->all[endpoint->index].under_way;
}

void checks_join(struct checks *checks, const struct endpoint *endpoint)
{
	struct check *check = &checks->all[endpoint->index];
	check->in_row = 0;
	check->connect_us = CONNECT_FIRST_US;
	check->checks->heard = 0; /* of this one nothing has been */
	checks_tell(check->checks);
	if (check->under_way)
		return; /* it goes on by itself */
	if (checks->health)
		arm_first(check);
	else
		arm_check(check);
}

void checks_hurry(struct checks *checks)
{
	struct loop *loop = checks->upstream->base.loop;
	uint64_t soon_us = clock_add(loop_now(loop), CONNECT_FIRST_US);
	for (size_t i = 0; i < checks->count; i++) {
		struct check *check = &checks->all[i];
		if (check->endpoint->unreachable && check->timer.place && check->timer.due_us > soon_us)
			loop_arm(loop, &check->timer, soon_us);
	}
}

/* --- several upstreams that stand for one provider --- */

static bool makes_checks(const struct upstream_settings *settings)
{
	return settings->part == 0 || !settings->verdicts;
}

void checks_hear(struct checks *checks)
{
	struct roster *roster = checks->roster;
	const struct upstream *upstream = &checks->upstream->base;
	if (makes_checks(upstream->settings))
		return;
	roster->hears = true;
	verdicts_hear(upstream->settings->verdicts, roster->set, &checks->heard, loop_now(upstream->loop));
	roster->hears = false;
}

void checks_tell(const struct checks *checks)
{
	const struct upstream_settings *settings = checks->upstream->base.settings;
	if (settings->verdicts && makes_checks(settings))
		verdicts_tell(settings->verdicts, checks->roster->set);
}

/* --- what a result means --- */

/* Whether as many in a row say so as are asked for. */
static bool is_settled(struct check *check, bool well)
{
	const struct health_settings *health = check->checks->health;
	bool believed = !check->endpoint->check_failed;
	if (well == believed) {
		check->in_row = 0;
		return well && check->endpoint->unreachable && !check->endpoint->check_failed;
	}
	return ++check->in_row >= (!health ? 1 : well ? health->rise : health->fall);
}

static void conclude_check(struct check *check, bool well, const char *reason)
{
	const struct roster *roster = check->checks->roster;
	const struct http_upstream *upstream = roster->upstream;
	meter_add(upstream->meter, METRIC_ID_ENDPOINT_CHECKS, roster->hosts[check->endpoint->index].place->label,
		  well ? CHECK_OK : CHECK_FAILED, 1);
	/* without checks configured only good news are news: that it cannot be reached is known */
	if ((check->checks->health || well) && is_settled(check, well)) {
		check->in_row = 0;
		endpoint_checked(roster->set, check->endpoint, well, reason, loop_now(upstream->base.loop));
		checks_tell(check->checks);
	}
}

static bool status_is_well(const struct health_settings *health, unsigned status)
{
	/* a method that the server does not like is answered all the same: it is there */
	return health && health->method ? status < 500 : status >= 200 && status < 400;
}

static void on_ended(struct http_exchange *exchange, enum exchange_end end)
{
	struct check *check = container_of(exchange, struct check, exchange);
	const struct health_settings *health = check->checks->health;
	struct buf text = BUF_INIT(REASON_BYTES);
	bool answered = !exchange->connect_only && http_exchange_is_answered(exchange);
	bool well = end == EXCHANGE_COMPLETE;
	check->under_way = false;
	if (answered) { /* a page that is long, coded or without end is one all the same */
		unsigned status = http_exchange_status(exchange);
		well = status_is_well(health, status);
		buf_printf(&text, "its check was answered with HTTP status %u", status);
	} else if (well) {
		buf_put_text(&text, "a connection came about");
	} else {
		buf_put_text(&text, "its check: ");
		http_exchange_put_reason(exchange, end, &text);
	}
	http_exchange_stop(exchange);
	if (end != EXCHANGE_NO_MEMORY) /* says nothing of the endpoint */
		conclude_check(check, well, buf_cstr(&text));
	buf_fini(&text);
	arm_check(check);
}

/* --- checking --- */

static void on_grown(struct http_exchange *exchange)
{
	(void)exchange; /* the status is all that counts */
}

/* The path of the check in place of the endpoint's own. */
static bool set_url(struct check *check)
{
	const struct place *place = check->checks->roster->hosts[check->endpoint->index].place;
	const struct health_settings *health = check->checks->health;
	size_t host = strcspn(place->url, ":") + strlen("://");
	size_t path = health && health->path ? host + strcspn(place->url + host, "/") : strlen(place->url);
	buf_reset(&check->url);
	buf_put(&check->url, (struct slice){ place->url, path });
	if (health && health->path)
		buf_put_text(&check->url, health->path);
	check->exchange.url = buf_cstr(&check->url);
	check->exchange.endpoint = place->shown;
	return !check->url.failed;
}

/* Headers and body, as every request of the upstream has them. */
static bool write_request(struct check *check)
{
	const struct health_settings *health = check->checks->health;
	struct http_exchange *exchange = &check->exchange;
	bool ping = health && health->method;
	struct encoded_request encoded = { .headers = BUF_INIT(HTTP_HEADER_BYTES), .body = BUF_INIT(REASON_BYTES) };
	encoded.content_type = ping ? "application/json" : NULL;
	encoded.accept = ping ? "application/json, text/event-stream" : "*/*";
	if (ping)
		buf_printf(&encoded.body, "{\"jsonrpc\":\"2.0\",\"id\":\"jitney-check\",\"method\":\"%s\"}",
			   health->method);
	struct answer *refusal = http_headers_write(&check->checks->upstream->headers, exchange, &encoded, NULL);
	exchange->method = ping ? "POST" : "GET";
	exchange->has_body = ping;
	exchange->body = encoded.body;
	buf_fini(&encoded.headers);
	bool good = !refusal;
	answer_unref(refusal);
	return good;
}

static bool begin_check(struct check *check)
{
	const struct upstream_settings *settings = check->checks->upstream->base.settings;
	const struct health_settings *health = check->checks->health;
	const struct host *host = &check->checks->roster->hosts[check->endpoint->index];
	struct http_exchange *exchange = &check->exchange;
	uint64_t timeout_us = health ? health->timeout_us : settings->connect_timeout_us;
	http_exchange_fini(exchange);
	buf_reset(&exchange->answer);
	exchange->connect_only = !health || health->tcp;
	exchange->standing = NULL;
	exchange->transfer.connect_to = host->connect_to;
	exchange->connect_timeout_us = timeout_us;
	exchange->dns_ttl_us = host->place->watched ? 0 : settings->dns_ttl_us; /* as in attempt.c */
	exchange->idle_timeout_us = settings->idle_timeout_us;
	return set_url(check) && write_request(check) &&
	       http_exchange_begin(exchange, exchange->connect_only, timeout_us);
}

static void on_time(struct loop_timer *timer, uint64_t now_us)
{
	struct check *check = container_of(timer, struct check, timer);
	(void)now_us;
	if (check->endpoint->absent)
		return;
	place_want_addresses(check->checks->roster->hosts[check->endpoint->index].place);
	check->under_way = begin_check(check);
	if (!check->under_way)
		arm_check(check); /* no memory: says nothing of the endpoint */
}

/* --- life --- */

static void init_check(struct checks *checks, struct check *check, struct endpoint *endpoint)
{
	const struct http_upstream *upstream = checks->upstream;
	struct http_exchange *exchange = &check->exchange;
	check->checks = checks;
	check->endpoint = endpoint;
	check->connect_us = CONNECT_FIRST_US;
	check->timer = LOOP_TIMER_INIT(on_time);
	buf_init(&check->url, HTTP_TARGET_BYTES);
	exchange->transfer.transport = upstream->transport;
	exchange->transfer.connections = upstream->connections;
	exchange->grown = on_grown;
	exchange->ended = on_ended;
	exchange->http = upstream->base.settings->http;
	exchange->authorities = upstream->base.settings->authorities;
	buf_init(&exchange->answer, CHECK_ANSWER_BYTES);
	buf_init(&exchange->body, REASON_BYTES);
	arm_first(check);
}

struct checks *checks_new(struct roster *roster)
{
	struct http_upstream *upstream = roster->upstream;
	size_t count = roster->set->count;
	struct checks *checks = calloc(1, sizeof *checks + count * sizeof(struct check));
	if (!checks)
		return NULL;
	if (!loop_timers_reserve(upstream->base.loop, count)) {
		free(checks);
		return NULL;
	}
	checks->roster = roster;
	checks->upstream = upstream;
	checks->health = makes_checks(upstream->base.settings) ? upstream->base.settings->health : NULL;
	checks->random = clock_now_us() | 1;
	checks->count = count;
	for (size_t i = 0; i < count; i++)
		init_check(checks, &checks->all[i], &roster->set->endpoints[i]);
	roster->set->connects = true;
	return checks;
}

void checks_free(struct checks *checks)
{
	if (!checks)
		return;
	struct loop *loop = checks->upstream->base.loop;
	for (size_t i = 0; i < checks->count; i++) {
		loop_disarm(loop, &checks->all[i].timer);
		http_exchange_fini(&checks->all[i].exchange);
		buf_fini(&checks->all[i].url);
	}
	loop_timers_release(loop, checks->count);
	free(checks);
}
