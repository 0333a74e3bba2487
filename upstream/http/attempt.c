/* SPDX-License-Identifier: Apache-2.0 */
/* attempt.c: one attempt to deliver: where it goes, what comes of it, and whether there is another. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "upstream/http/addresses.h"
#include "upstream/http/check.h"
#include "upstream/http/http_request.h"
#include "upstream/http/roster.h"

enum {
	HEDGE_SAMPLES = 20,     /* answers before their p95 is believed */
	FEED_BYTES = 512 * 1024 /* of an answer that its decoder gets in one turn */
};

/* --- reaching an endpoint --- */

/* Changes only are logged: a provider that is down for an hour is two lines. */
static void note_place(struct http_upstream *upstream, struct place *place, bool reached, const char *reason)
{
	struct log_line line UNCLEARED;
	if (place->reached == reached)
		return;
	place->reached = reached;
	if (upstream->base.settings->part == 0)
		meter_set(upstream->meter, METRIC_ID_UPSTREAM_HEALTHY, place->label, 0, reached);
	if (!log_begin(&line, reached ? &EVENT_ENDPOINT_REACHED : &EVENT_ENDPOINT_NOT_REACHED))
		return;
	log_cstr(&line, "upstream", upstream->base.settings->name);
	log_cstr(&line, "endpoint", place->shown);
	if (reason)
		log_text(&line, "reason", slice_of(reason));
	log_end(&line);
}

/* An endpoint is reached as long as one of its addresses is. */
static void note_reached(struct http_upstream *upstream, const struct attempt *attempt, bool reached,
			 const char *reason)
{
	const struct roster *roster = attempt->roster;
	struct place *place = attempt->place;
	bool any = reached;
	roster->hosts[attempt->visit.endpoint->index].reached = reached;
	for (size_t i = place->first; i < place->first + place->room; i++)
		any |= !roster->set->endpoints[i].absent && roster->hosts[i].reached;
	if (roster == upstream->roster)
		note_place(upstream, place, any, reason);
}

bool attempt_sent(const struct attempt *attempt)
{
	return attempt->begun_us > 0 && http_exchange_sent(&attempt->exchange);
}

/* --- setting out --- */

/* The endpoint's URL and the target behind it, with one slash between. */
static bool set_url(struct attempt *attempt)
{
	const struct buf *target = &attempt->request->target;
	struct slice base = slice_of(attempt->place->url);
	attempt->exchange.endpoint = attempt->place->shown;
	attempt->exchange.url = base.at;
	attempt->exchange.parsed = target->len ? NULL : attempt->place->parsed;
	if (target->len == 0)
		return true;
	if (base.at[base.len - 1] == '/')
		base.len--;
	buf_reset(&attempt->url);
	buf_put(&attempt->url, base);
	buf_put(&attempt->url, buf_slice(target));
	if (attempt->url.failed)
		return false;
	attempt->exchange.url = buf_cstr(&attempt->url);
	return true;
}

/* How long the connection may have been idle. A provider may hang up on one that waits at the very moment a request
 * leaves: what may not be sent twice takes none that is past idle_timeout, the rest may take the last few. */
static uint64_t idle_limit_us(const struct http_request *request)
{
	const struct http_upstream *upstream = request->upstream;
	const struct upstream_settings *settings = upstream->base.settings;
	bool few = connections_open(upstream->connections) <= settings->pool_min_idle;
	return few && request->repeatable ? CLOCK_NEVER : settings->idle_timeout_us;
}

static bool begin_attempt(struct attempt *attempt, bool fresh)
{
	struct http_request *request = attempt->request;
	attempt->exchange.idle_timeout_us = idle_limit_us(request);
	attempt->exchange.deadline_header = request->endless ? NULL : request->upstream->base.settings->deadline_header;
	attempt->begun_us = loop_now(request->upstream->base.loop);
	attempt->fed = 0;
	request->attempts++;
	return http_exchange_begin(&attempt->exchange, fresh, http_request_time_left(request));
}

static enum attempt_result result_shown(enum endpoint_result result)
{
	switch (result) {
	case ENDPOINT_ANSWERED:
		return ATTEMPT_RESULT_OK;
	case ENDPOINT_UNREACHABLE:
		return ATTEMPT_RESULT_UNSENT;
	case ENDPOINT_BROKE:
	case ENDPOINT_TIMED_OUT:
		return ATTEMPT_RESULT_FAILED;
	case ENDPOINT_OVERTAKEN:
	case ENDPOINT_NOTHING:
		break;
	}
	return ATTEMPT_RESULT_CANCELLED;
}

/* It is over, and that is what came of it. */
static void close_attempt(struct attempt *attempt, enum endpoint_result result, const char *reason)
{
	struct http_request *request = attempt->request;
	struct http_upstream *upstream = request->upstream;
	if (!attempt->live)
		return;
	attempt->live = false;
	request->sent |= attempt_sent(attempt);
	meter_add(upstream->meter, METRIC_ID_ATTEMPTS, upstream->base.settings->label,
		  attempt_label(attempt->kind, result_shown(result)), 1);
	endpoint_end(attempt->roster->set, &attempt->visit, result, reason, loop_now(upstream->base.loop));
}

/* What operators said meanwhile, and what checks that are made elsewhere have found. */
static void heed_others(struct http_upstream *upstream, uint64_t now_us)
{
	const struct roster *roster = upstream->roster;
	checks_hear(roster->checks);
	for (size_t i = 0; i < roster->set->count; i++) {
		const struct endpoint_board *board = roster->hosts[i].place->board;
		if (board)
			endpoint_drain(roster->set, &roster->set->endpoints[i],
				       atomic_load_explicit(&board->draining, memory_order_relaxed), now_us);
	}
}

/* Where it has been is said by the current roster, which need not be the one that it began with. */
static struct endpoint_pick *pick_of(struct http_request *request)
{
	const struct roster *roster = request->upstream->roster;
	if (request->tried_of != roster->number)
		request->pick.tried = 0;
	request->tried_of = roster->number;
	return &request->pick;
}

/* One of the current roster's. */
static void go_to(struct attempt *attempt, struct endpoint *endpoint, uint64_t now_us)
{
	struct http_upstream *upstream = attempt->request->upstream;
	struct roster *before = attempt->roster, *roster = upstream->roster;
	const struct host *host = &roster->hosts[endpoint->index];
	pick_of(attempt->request)->tried |= UINT64_C(1) << endpoint->index;
	attempt->roster = roster_ref(roster);
	roster_unref(before);
	attempt->place = host->place;
	place_want_addresses(host->place);
	attempt->exchange.transfer.connect_to = host->connect_to;
	/* where addresses are balanced over, curl believes none: it is asked by name only while there are none */
	attempt->exchange.dns_ttl_us = host->place->watched ? 0 : upstream->base.settings->dns_ttl_us;
	endpoint_begin(roster->set, &attempt->visit, endpoint, now_us);
}

/* The host has been looked up for this one, or beside it (NULL): to which of its addresses it goes. */
static const struct curl_slist *on_found(struct transfer *transfer, const struct resolved *resolved)
{
	struct attempt *attempt = container_of(transfer, struct attempt, exchange.transfer);
	struct http_upstream *upstream = attempt->request->upstream;
	struct roster *roster = attempt->roster;
	uint64_t now_us = loop_now(upstream->base.loop);
	if (roster != upstream->roster ||
	    !(resolved ? addresses_take(roster, attempt->place, resolved) : attempt->place->known))
		return NULL;
	struct endpoint *endpoint = addresses_pick(roster, attempt->place, pick_of(attempt->request), now_us);
	endpoint_end(roster->set, &attempt->visit, ENDPOINT_NOTHING, NULL, now_us);
	go_to(attempt, endpoint, now_us);
	return transfer->connect_to;
}

/* To the endpoint whose turn it is. False: none is usable (request->unusable), or out of memory. */
static bool go_attempt(struct attempt *attempt, enum attempt_kind kind)
{
	struct http_request *request = attempt->request;
	struct http_upstream *upstream = request->upstream;
	uint64_t now_us = loop_now(upstream->base.loop);
	heed_others(upstream, now_us);
	struct endpoint *endpoint = endpoint_pick(upstream->roster->set, pick_of(request), now_us);
	request->unusable = !endpoint;
	if (!endpoint) {
		checks_hurry(upstream->roster->checks);
		return false;
	}
	go_to(attempt, endpoint, now_us);
	attempt->kind = kind;
	attempt->repeated = attempt->spoke = false;
	attempt->live = true;
	if (set_url(attempt) && begin_attempt(attempt, false))
		return true;
	close_attempt(attempt, ENDPOINT_NOTHING, NULL);
	return false;
}

struct answer *attempt_unusable_answer(const struct http_upstream *upstream)
{
	const char *name = upstream->base.settings->name;
	const struct endpoint_set *set = upstream->roster->set;
	uint64_t now_us = loop_now(upstream->base.loop), usable_us = endpoint_usable_us(set, now_us);
	if (usable_us == CLOCK_NEVER)
		return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "%s: all of its endpoints are being drained", name);
	uint64_t wait_us = usable_us > now_us ? usable_us - now_us : 0;
	const struct endpoint *first = set->endpoints;
	while (first->absent) /* one is not */
		first++;
	return answer_upstream_error(OUTCOME_UPSTREAM_UNAVAILABLE, 0, (uint32_t)(wait_us / CLOCK_US_PER_S + 1),
				     (struct slice){ NULL, 0 }, "%s: none of its endpoints can be reached: %.130s",
				     name, first->reason);
}

/* --- hedging --- */

static bool is_live(const struct attempt *attempt)
{
	return attempt && attempt->live;
}

static struct attempt *other_than(const struct attempt *attempt)
{
	struct http_request *request = attempt->request;
	return attempt == &request->first ? request->hedge : &request->first;
}

/* The other one was faster. */
static void drop_attempt(struct attempt *attempt)
{
	const struct http_upstream *upstream = attempt->request->upstream;
	bool silent = attempt_sent(attempt) && !attempt->headed, patient = false;
	uint64_t now_us = loop_now(upstream->base.loop);
	if (silent && attempt->visit.endpoint)
		patient = endpoint_had_time(attempt->roster->set, &attempt->visit, now_us);
	close_attempt(attempt,
		      patient  ? ENDPOINT_TIMED_OUT
		      : silent ? ENDPOINT_OVERTAKEN
			       : ENDPOINT_NOTHING,
		      "no answer while another endpoint gave one");
	http_exchange_stop(&attempt->exchange);
}

static uint64_t hedge_after_us(const struct http_upstream *upstream)
{
	const struct upstream_settings *settings = upstream->base.settings;
	if (!settings->hedge_p95)
		return settings->hedge_us;
	return upstream->p95_count >= HEDGE_SAMPLES ? upstream->p95_us : 0;
}

bool attempt_set_out(struct http_request *request)
{
	struct loop *loop = request->upstream->base.loop;
	uint64_t after_us = request->hedge ? hedge_after_us(request->upstream) : 0;
	if (!go_attempt(&request->first, request->kind))
		return false;
	if (after_us)
		loop_arm(loop, &request->timer, clock_add(loop_now(loop), after_us));
	return true;
}

void attempt_hedge(struct http_request *request)
{
	struct http_upstream *upstream = request->upstream;
	struct attempt *hedge = request->hedge;
	uint64_t now_us = loop_now(upstream->base.loop);
	bool silent = request->first.live && !request->first.headed && !hedge->place;
	if (!silent || upstream->under_way >= upstream->base.settings->pool_max ||
	    !endpoint_another(upstream->roster->set, pick_of(request), now_us) ||
	    !upstream_may_repeat(&upstream->base, 1))
		return;
	const struct http_exchange *exchange = &request->first.exchange;
	hedge->exchange.method = exchange->method;
	hedge->exchange.has_body = exchange->has_body;
	hedge->exchange.standing = exchange->standing ? exchange->standing : exchange->headers;
	hedge->exchange.body = exchange->body;
	if (hedge->exchange.body.store)
		blob_ref(hedge->exchange.body.store);
	if (!go_attempt(hedge, ATTEMPT_HEDGE))
		return; /* the first goes on */
	hedge->placed = true;
	upstream->under_way++;
}

/* A running guess: up by nineteen steps for each one that is over it, down by one for each that is under it. */
static void learn_p95(struct http_upstream *upstream, uint64_t took_us)
{
	uint64_t step_us = upstream->p95_us / 100 + 1;
	if (upstream->p95_count++ == 0)
		upstream->p95_us = took_us;
	else if (took_us > upstream->p95_us)
		upstream->p95_us += 19 * step_us;
	else if (upstream->p95_us > step_us)
		upstream->p95_us -= step_us;
}

/* --- what the exchange tells --- */

/* Bytes of the answer that the decoder has not had yet. */
static size_t unfed_bytes(const struct attempt *attempt)
{
	return attempt->fed_up ? 0 : attempt->exchange.answer.len - attempt->fed;
}

/* The decoder gets what there is of the answer, but no more than FEED_BYTES of it in one turn. False: the request was
 * aborted meanwhile and is gone. */
static bool feed_decoder(struct attempt *attempt)
{
	struct http_request *request = attempt->request;
	struct slice answer = buf_slice(&attempt->exchange.answer);
	if (attempt->fed_up || answer.len == 0)
		return true;
	answer.len = unfed_bytes(attempt) > FEED_BYTES ? attempt->fed + FEED_BYTES : answer.len;
	attempt->fed = answer.len;
	request->delivering = true;
	answers_give_head(attempt);
	attempt->decoder->store = request->endless ? NULL : attempt->exchange.answer.store; /* of a stream bytes go */
	attempt->fed_up = http_exchange_is_coded(&attempt->exchange) ||
			  !attempt->decoder->dialect->feed(attempt->decoder, answer);
	request->delivering = false;
	if (!request->aborted)
		return true;
	attempt_give_up(request);
	http_request_complete(request, OUTCOME_CANCELLED);
	return false;
}

static void on_grown(struct http_exchange *exchange)
{
	struct attempt *attempt = container_of(exchange, struct attempt, exchange);
	struct http_request *request = attempt->request;
	if (!feed_decoder(attempt))
		return;
	http_exchange_keep(exchange, attempt->decoder->kept_bytes);
	if (request->endless && !attempt->fed_up) {
		size_t count = attempt->decoder->dialect->consumed(attempt->decoder);
		http_exchange_forget(exchange, count);
		attempt->fed -= count;
	}
	if (unfed_bytes(attempt))
		transport_mark(&exchange->transfer, 0); /* the next turn goes on */
	if (request->hedge && request->items[0].answered && is_live(other_than(attempt)))
		drop_attempt(other_than(attempt));
}

/* A kept connection died under the request: once more over a fresh one, if that can do no harm. */
static bool repeat_attempt(struct attempt *attempt)
{
	struct http_request *request = attempt->request;
	struct http_upstream *upstream = request->upstream;
	bool sent = attempt_sent(attempt);
	if (attempt->repeated || (sent && !request->repeatable) || http_request_time_left(request) == 0 ||
	    is_live(other_than(attempt)))
		return false;
	/* not of the budget: there are no more of these than there were kept connections */
	attempt->repeated = true;
	request->sent |= sent;
	meter_add(upstream->meter, METRIC_ID_UPSTREAM_REPEATS, upstream->base.settings->label, 0, 1);
	return begin_attempt(attempt, true);
}

/* Whether the call, and not the endpoint, had too little time for a connection. */
static bool was_hurried(const struct attempt *attempt)
{
	const struct http_upstream *upstream = attempt->request->upstream;
	uint64_t took_us = loop_now(upstream->base.loop) - attempt->begun_us;
	return http_exchange_was_slow(&attempt->exchange) && took_us < upstream->base.settings->connect_timeout_us;
}

/* What the end of an exchange says of the endpoint. */
static enum endpoint_result result_of(const struct attempt *attempt, enum exchange_end end)
{
	const struct http_exchange *exchange = &attempt->exchange;
	switch (end) {
	case EXCHANGE_COMPLETE:
	case EXCHANGE_TOO_LARGE:
		return ENDPOINT_ANSWERED;
	case EXCHANGE_NOT_SENT:
		return was_hurried(attempt) ? ENDPOINT_NOTHING : ENDPOINT_UNREACHABLE;
	case EXCHANGE_SHUT_OUT:
		return ENDPOINT_UNREACHABLE;
	case EXCHANGE_TIMED_OUT:
		return attempt->request->endless ? ENDPOINT_NOTHING : ENDPOINT_TIMED_OUT;
	case EXCHANGE_BROKE:
		if (attempt->request->endless)
			return ENDPOINT_NOTHING;
		return http_exchange_is_coded(exchange) || http_exchange_status(exchange) >= 400 ? ENDPOINT_ANSWERED
												 : ENDPOINT_BROKE;
	case EXCHANGE_STALE:
	case EXCHANGE_NO_ROOM:
	case EXCHANGE_NO_MEMORY:
		break;
	}
	return ENDPOINT_NOTHING;
}

static void evaluate_attempt(struct attempt *attempt, enum exchange_end end, const char *reason)
{
	struct http_request *request = attempt->request;
	struct http_upstream *upstream = request->upstream;
	enum endpoint_result result = result_of(attempt, end);
	if (end == EXCHANGE_COMPLETE && request->count == 1)
		learn_p95(upstream, loop_now(upstream->base.loop) - attempt->begun_us);
	if (result == ENDPOINT_UNREACHABLE)
		note_reached(upstream, attempt, false, reason);
	else if (result != ENDPOINT_NOTHING)
		note_reached(upstream, attempt, true, NULL);
	close_attempt(attempt, result, reason);
}

/*
 * Another endpoint may do. What was never sent goes there as if for the first time; what was, only if it may be, if no
 * byte of an answer has come, and on the budget of repeats.
 */
static bool turn_to_another(struct attempt *attempt, enum exchange_end end)
{
	struct http_request *request = attempt->request;
	struct http_upstream *upstream = request->upstream;
	if (http_request_time_left(request) == 0 || end == EXCHANGE_NO_MEMORY || end == EXCHANGE_NO_ROOM ||
	    end == EXCHANGE_TOO_LARGE ||
	    !endpoint_another(upstream->roster->set, pick_of(request), loop_now(upstream->base.loop)))
		return false;
	if (!request->sent)
		return go_attempt(attempt, ATTEMPT_FAILOVER);
	return request->repeatable && !request->endless && !attempt->headed && end != EXCHANGE_TIMED_OUT &&
	       ++request->retries < upstream->base.settings->retries.attempts &&
	       upstream_may_repeat(&upstream->base, request->count) && go_attempt(attempt, ATTEMPT_RETRY);
}

/* A provider that said no has said so, even if its words broke off. */
static bool is_answer(const struct attempt *attempt, enum exchange_end end)
{
	return end == EXCHANGE_COMPLETE ||
	       (http_exchange_sent(&attempt->exchange) && http_exchange_status(&attempt->exchange) >= 400);
}

/* No answer, and nobody else is asked. What the other one had to say, if it was no more than an error, is an answer. */
static void fail_attempt(struct attempt *attempt, enum exchange_end end, const char *reason)
{
	struct http_request *request = attempt->request;
	struct attempt *other = other_than(attempt);
	if (other && other->spoke && !request->items[0].answered)
		answers_finish(other);
	else
		answers_fail(request, end, reason);
}

/* Whether the end has to wait until the decoder has had all but its last slice. Where memory is short it has not. */
static bool ends_later(struct attempt *attempt, enum exchange_end end)
{
	if (end == EXCHANGE_NO_ROOM || end == EXCHANGE_NO_MEMORY || unfed_bytes(attempt) <= FEED_BYTES)
		return false;
	if (feed_decoder(attempt))
		transport_mark(&attempt->exchange.transfer, 0); /* which tells of the end again, in the next turn */
	return true;
}

static void on_ended(struct http_exchange *exchange, enum exchange_end end)
{
	struct attempt *attempt = container_of(exchange, struct attempt, exchange), *other = other_than(attempt);
	struct http_request *request = attempt->request;
	struct buf text = BUF_INIT(REASON_BYTES);
	char reason[ANSWER_DETAIL_BYTES] = "";
	if ((end == EXCHANGE_STALE && repeat_attempt(attempt)) || ends_later(attempt, end))
		return;
	bool answered = is_answer(attempt, end);
	if (!answered) {
		http_exchange_put_reason(exchange, end, &text);
		snprintf(reason, sizeof reason, "%s", buf_cstr(&text));
		buf_fini(&text);
	}
	evaluate_attempt(attempt, end, reason);
	request->shut_out += end == EXCHANGE_SHUT_OUT;
	if (is_live(other) && (!answered || http_exchange_status(exchange) >= 500)) {
		attempt->spoke = answered;
		if (answered) /* nobody looks at it yet, so nobody can tell whether bytes follow that are its own */
			transport_distrust(&exchange->transfer);
		return; /* the other one may do better */
	}
	if (answered) {
		if (is_live(other))
			drop_attempt(other);
		answers_finish(attempt);
	} else if (feed_decoder(attempt) /* calls whose answers came whole before the break have them */ &&
		   !turn_to_another(attempt, end)) {
		fail_attempt(attempt, end, reason);
	}
}

/* --- life --- */

static void set_exchange(struct attempt *attempt)
{
	const struct http_request *request = attempt->request;
	const struct upstream_settings *settings = request->upstream->base.settings;
	struct http_exchange *exchange = &attempt->exchange;
	exchange->transfer.transport = request->upstream->transport;
	exchange->transfer.connections = request->upstream->connections;
	exchange->transfer.found = on_found;
	exchange->grown = on_grown;
	exchange->ended = on_ended;
	exchange->connect_timeout_us = settings->connect_timeout_us;
	exchange->http = settings->http;
	exchange->authorities = settings->authorities;
	buf_init(&exchange->answer, settings->answer_bytes);
	buf_init(&exchange->body, REQUEST_BODY_BYTES);
}

bool attempt_init(struct attempt *attempt, struct http_request *request, const struct upstream_call *calls,
		  uint64_t first_id)
{
	const struct upstream_settings *settings = request->upstream->base.settings;
	struct dialect_sink sink = { .answered = answers_hear, .doubted = answers_doubt, .context = attempt };
	attempt->request = request;
	buf_init(&attempt->url, SIZE_MAX / 4);
	set_exchange(attempt);
	attempt->decoder =
		dialect_decoder_new(settings->dialect, request->count, first_id, settings->json_depth, &sink);
	if (attempt->decoder && settings->dialect->expect)
		settings->dialect->expect(attempt->decoder, calls);
	return attempt->decoder != NULL;
}

void attempt_fini(struct attempt *attempt)
{
	if (attempt->live)
		close_attempt(attempt, ENDPOINT_NOTHING, NULL);
	roster_unref(attempt->roster);
	if (attempt->decoder)
		attempt->decoder->dialect->decoder_free(attempt->decoder);
	http_exchange_fini(&attempt->exchange);
	buf_fini(&attempt->url);
}

static void give_up(struct attempt *attempt)
{
	const struct http_upstream *upstream = attempt->request->upstream;
	uint64_t took_us = loop_now(upstream->base.loop) - attempt->begun_us;
	bool sent = attempt_sent(attempt);
	enum endpoint_result result = ENDPOINT_NOTHING;
	if (sent && !attempt->headed && !attempt->request->endless)
		result = ENDPOINT_TIMED_OUT; /* if there was time enough: the room knows what is enough */
	else if (!sent && took_us >= upstream->base.settings->connect_timeout_us / 2)
		result = ENDPOINT_UNREACHABLE;
	close_attempt(attempt, result, sent ? "no answer while anybody waited" : "no connection while anybody waited");
}

void attempt_give_up(struct http_request *request)
{
	if (request->first.live)
		give_up(&request->first);
	if (is_live(request->hedge))
		give_up(request->hedge);
}
