/*
 * provider_http.c: providers over HTTP. A delivery is one exchange (exchange.h) with its calls and a decoder:
 *
 *   http_send -> WAITING (the pool is full) -> UNDER WAY -> ended: whole -> decoder says each call's answer
 *                          \-> deadline                 |            broken -> what is left gets the same error
 *                                                       `-> begun again, once, over a fresh connection, if nothing
 *                                                           was sent or nothing can be harmed
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/queue.h>

#include "base/log.h"
#include "upstream/http/exchange.h"
#include "upstream/http/request_headers.h"
#include "upstream/provider.h"
#include "upstream/http/transport.h"

enum { REQUEST_BODY_BYTES = 256 * 1024 * 1024, REASON_BYTES = 1024 };
#define HOLD_DOWN_US CLOCK_US_PER_S /* an endpoint that could not be reached is left alone that long */

struct endpoint {
	char *url;
	struct http_url *parsed;
	const char *shown; /* to people: what is secret in it is left out */
	unsigned label;
	bool reached;           /* by the last exchange; true before the first */
	uint64_t held_until_us; /* 0: not held */
};

TAILQ_HEAD(delivery_list, delivery);

struct http_upstream {
	struct upstream base; /* settings in it */
	struct transport *transport;
	struct connections *connections;
	struct meter *meter;
	struct http_headers headers;
	uint64_t next_id; /* of calls */
	size_t under_way; /* deliveries with an exchange begun, at most pool_max */
	struct delivery_list waiting;
	size_t next_endpoint;        /* round-robin */
	struct endpoint endpoints[]; /* settings->endpoint_count */
};

struct item {
	bool repeatable;
	bool answered;
	struct answer *
		held; /* if it may be sent again: until finish knows whether the exchange failed as a whole; NULL: none */
	bool own;     /* `held` is about this call alone */
};

struct delivery {
	struct exchange base; /* what the caller holds */
	struct http_exchange exchange;
	struct http_upstream *upstream;
	struct endpoint *endpoint;
	const struct upstream_events *events;
	void *context;
	struct dialect_decoder *decoder;
	struct buf target; /* what the calls make of the URL, behind the endpoint's; may be empty */
	struct buf url;    /* both, if it is not */
	uint64_t deadline_us, begun_us;
	size_t attempts, turns;          /* turns: to an endpoint */
	bool sent;                       /* by an attempt before this one */
	bool under_way;                  /* counted in upstream->under_way */
	bool waits;                      /* in upstream->waiting */
	bool headed, fed_up;             /* the decoder has the head; wants no more bytes */
	bool reuse_said, reuse_no_stale; /* see struct answer */
	uint32_t reuse_s;
	bool repeatable; /* all of its calls */
	bool repeated;   /* a kept connection to this endpoint had died */
	bool finishing;  /* the decoder says all that is left */
	bool telling;    /* callbacks run; an abort only marks it */
	bool aborted;
	bool urgent, endless;    /* see struct http_request */
	struct loop_timer timer; /* deadline while it waits */
	TAILQ_ENTRY(delivery) next;
	size_t count;
	struct item items[];
};

/* --- life --- */

static void show_reached(const struct http_upstream *upstream, const struct endpoint *endpoint)
{
	meter_set(upstream->meter, METRIC_ID_UPSTREAM_HEALTHY, endpoint->label, 0, endpoint->reached);
}

static bool set_endpoints(struct http_upstream *upstream)
{
	const struct upstream_settings *settings = upstream->base.settings;
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		struct endpoint *endpoint = &upstream->endpoints[i];
		if (!(endpoint->url = strdup(settings->endpoints[i])) ||
		    !(endpoint->parsed = http_url_new(endpoint->url)))
			return false;
		endpoint->shown = settings->shown ? settings->shown[i] : endpoint->url;
		endpoint->label = settings->first_endpoint_label + (unsigned)i;
		endpoint->reached = true;
		show_reached(upstream, endpoint);
	}
	return true;
}

static void http_free(struct upstream *base)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	assert(upstream->under_way == 0 && TAILQ_EMPTY(&upstream->waiting));
	for (size_t i = 0; i < upstream->base.settings->endpoint_count; i++) {
		free(upstream->endpoints[i].url);
		http_url_free(upstream->endpoints[i].parsed);
	}
	http_headers_fini(&upstream->headers);
	connections_leave(upstream->connections);
	free(upstream);
}

static struct upstream *http_make(const struct upstream_settings *settings, struct transport *transport,
				  struct loop *loop, struct meter *meter)
{
	assert(settings->endpoint_count > 0 && settings->pool_max > 0);
	struct http_upstream *upstream =
		calloc(1, sizeof *upstream + settings->endpoint_count * sizeof(struct endpoint));
	if (!upstream)
		return NULL;
	upstream->base.settings = settings;
	upstream->transport = transport;
	upstream->base.loop = loop;
	upstream->meter = meter;
	upstream->next_id = 1;
	http_headers_init(&upstream->headers, settings);
	TAILQ_INIT(&upstream->waiting);
	upstream->connections = connections_new(transport, settings->label);
	if (!upstream->connections || !set_endpoints(upstream)) {
		http_free(&upstream->base);
		return NULL;
	}
	return &upstream->base;
}

/* --- endpoints --- */

/* The next one in turn that is not held down; if all are, the one whose hold-down ends first. */
static struct endpoint *pick_endpoint(struct http_upstream *upstream, uint64_t now_us)
{
	size_t count = upstream->base.settings->endpoint_count;
	struct endpoint *best = NULL;
	assert(count > 0);
	for (size_t i = 0; i < count; i++) {
		struct endpoint *endpoint = &upstream->endpoints[(upstream->next_endpoint + i) % count];
		if (!best || (best->held_until_us > now_us && endpoint->held_until_us < best->held_until_us))
			best = endpoint;
	}
	upstream->next_endpoint = ((size_t)(best - upstream->endpoints) + 1) % count;
	return best;
}

static bool another_endpoint(const struct http_upstream *upstream, uint64_t now_us)
{
	for (size_t i = 0; i < upstream->base.settings->endpoint_count; i++)
		if (upstream->endpoints[i].held_until_us <= now_us)
			return true;
	return false;
}

static void log_reached(const struct http_upstream *upstream, const struct endpoint *endpoint, struct slice reason)
{
	struct log_line line;
	if (!log_begin(&line, endpoint->reached ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		       endpoint->reached ? "endpoint_reached" : "endpoint_not_reached"))
		return;
	log_cstr(&line, "upstream", upstream->base.settings->name);
	log_cstr(&line, "endpoint", endpoint->shown);
	if (reason.len)
		log_text(&line, "reason", reason);
	log_end(&line);
}

/* Changes only are logged: a provider that is down for an hour is two lines. */
static void note_reached(struct http_upstream *upstream, struct endpoint *endpoint, bool reached, struct slice reason)
{
	endpoint->held_until_us = reached ? 0 : clock_add(loop_now(upstream->base.loop), HOLD_DOWN_US);
	if (endpoint->reached == reached)
		return;
	endpoint->reached = reached;
	show_reached(upstream, endpoint);
	log_reached(upstream, endpoint, reason);
}

/* --- answers --- */

/* When there is no memory even to say it. The high count keeps it from being freed. */
static struct answer unknown_without_memory = {
	.refs = 1u << 30,
	.outcome = OUTCOME_OUTCOME_UNKNOWN,
	.detail = "Sent, but the gateway had no memory for the answer; whether the call was carried out is not known.",
};

/* Never says that a repeat would be harmless, not even when memory is out. */
static struct answer *unknown_answer(const struct http_upstream *upstream, const struct answer *like,
				     const char *reason)
{
	struct slice said = like ? answer_body(like) : (struct slice){ NULL, 0 };
	struct answer *answer = answer_upstream_error(
		OUTCOME_OUTCOME_UNKNOWN, like ? like->upstream_status : 0, like ? like->retry_after_s : 0, said,
		"%s: %.110s; whether the call was carried out is not known", upstream->base.settings->name, reason);
	if (answer->outcome == OUTCOME_OUTCOME_UNKNOWN)
		return answer;
	answer_unref(answer);
	return answer_ref(&unknown_without_memory);
}

/* Whether a decoder's word leaves open if the call was carried out: no word from the provider at all, or that it ran
 * out of time. A refusal (4xx, 503) or an error of its own does not. */
static bool leaves_open(const struct answer *answer)
{
	switch (answer->outcome) {
	case OUTCOME_UPSTREAM_TIMEOUT:
	case OUTCOME_OVERLOADED: /* the gateway's memory, after the fact */
		return true;
	case OUTCOME_UPSTREAM_ERROR:
		return answer->upstream_status < 300 && answer->body_len == 0;
	default:
		return false;
	}
}

/* Note what the answer's head says of its reuse, before anybody else has the answer. */
static void note_reuse(const struct delivery *delivery, struct answer *answer)
{
	if ((answer->outcome != OUTCOME_OK && answer->outcome != OUTCOME_TOOL_ERROR) || atomic_load(&answer->refs) != 1)
		return;
	answer->reuse_said = delivery->reuse_said;
	answer->reuse_s = delivery->reuse_s;
	answer->reuse_no_stale = delivery->reuse_no_stale;
}

static void tell(struct delivery *delivery, size_t index, struct answer *answer)
{
	assert(index < delivery->count && !delivery->items[index].answered);
	note_reuse(delivery, answer);
	delivery->items[index].answered = true;
	if (delivery->aborted)
		answer_unref(answer);
	else
		delivery->events->answered(delivery->context, index, answer);
}

/* As tell, for a call that may be sent again. */
static void tell_refused(struct delivery *delivery, size_t index, struct answer *answer)
{
	if (delivery->aborted || !delivery->events->refused) {
		tell(delivery, index, answer);
		return;
	}
	delivery->items[index].answered = true;
	delivery->events->refused(delivery->context, index, answer);
}

/* The decoder's sink. */
static void on_answer(void *context, size_t index, struct answer *answer)
{
	struct delivery *delivery = context;
	bool again =
		delivery->items[index].repeatable || dialect_nothing_done(http_exchange_status(&delivery->exchange));
	if (delivery->finishing && again) {
		delivery->items[index].held = answer;
		return;
	}
	if (!delivery->items[index].repeatable && leaves_open(answer)) {
		struct answer *unknown = unknown_answer(delivery->upstream, answer, answer->detail);
		answer_unref(answer);
		answer = unknown;
	}
	tell(delivery, index, answer);
}

/* Likewise: what is to be asked again alone, if it may be. */
static void on_doubt(void *context, size_t index, struct answer *answer)
{
	struct delivery *delivery = context;
	if (delivery->aborted || !delivery->events->doubted || !delivery->items[index].repeatable) {
		on_answer(context, index, answer);
		return;
	}
	delivery->items[index].answered = true;
	delivery->events->doubted(delivery->context, index, answer);
}

static enum outcome failure_outcome(const struct delivery *delivery, enum exchange_end end, bool repeatable)
{
	bool sent = delivery->sent || http_exchange_sent(&delivery->exchange);
	switch (end) {
	case EXCHANGE_NOT_SENT:
		if (!sent)
			return OUTCOME_UPSTREAM_UNAVAILABLE;
		break;
	case EXCHANGE_NO_MEMORY:
		if (!sent)
			return OUTCOME_OVERLOADED;
		return repeatable ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OUTCOME_UNKNOWN;
	case EXCHANGE_TIMED_OUT:
		return repeatable ? OUTCOME_UPSTREAM_TIMEOUT : OUTCOME_OUTCOME_UNKNOWN;
	case EXCHANGE_STALE:
		if (!sent)
			return OUTCOME_UPSTREAM_UNAVAILABLE;
		break;
	case EXCHANGE_COMPLETE:
	case EXCHANGE_BROKE:
	case EXCHANGE_TOO_LARGE:
		break;
	}
	return repeatable ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OUTCOME_UNKNOWN;
}

/* One answer for all calls of one kind that have none yet. whole: those that are repeatable may be sent again. */
static void fail_items(struct delivery *delivery, bool repeatable, enum outcome outcome, bool whole, const char *reason)
{
	struct answer *answer = NULL;
	for (size_t i = 0; i < delivery->count && !delivery->aborted; i++) {
		if (delivery->items[i].answered || delivery->items[i].repeatable != repeatable)
			continue;
		if (!answer && outcome == OUTCOME_OUTCOME_UNKNOWN)
			answer = unknown_answer(delivery->upstream, NULL, reason);
		else if (!answer)
			answer = answer_error(outcome, "%s: %s", delivery->upstream->base.settings->name, reason);
		if (whole)
			tell_refused(delivery, i, answer_ref(answer));
		else
			tell(delivery, i, answer_ref(answer));
	}
	answer_unref(answer);
}

/* --- setting out --- */

/* The endpoint's URL and the target behind it, with one slash between. */
static bool set_url(struct delivery *delivery)
{
	struct slice base = slice_of(delivery->endpoint->url);
	delivery->exchange.endpoint = delivery->endpoint->shown;
	delivery->exchange.url = base.at;
	delivery->exchange.parsed = delivery->target.len ? NULL : delivery->endpoint->parsed;
	if (delivery->target.len == 0)
		return true;
	if (base.at[base.len - 1] == '/')
		base.len--;
	buf_reset(&delivery->url);
	buf_put(&delivery->url, base);
	buf_put(&delivery->url, buf_slice(&delivery->target));
	if (delivery->url.failed)
		return false;
	delivery->exchange.url = buf_cstr(&delivery->url);
	return true;
}

static uint64_t time_left(const struct delivery *delivery)
{
	uint64_t now_us = loop_now(delivery->upstream->base.loop);
	return delivery->deadline_us > now_us ? delivery->deadline_us - now_us : 0;
}

/* How long the connection may have been idle. A provider may hang up on one that waits at the very moment a request
 * leaves: what may not be sent twice takes none that is past idle_timeout, the rest may take the last few. */
static uint64_t idle_limit_us(const struct delivery *delivery)
{
	const struct http_upstream *upstream = delivery->upstream;
	const struct upstream_settings *settings = upstream->base.settings;
	bool few = connections_open(upstream->connections) <= settings->pool_min_idle;
	return few && delivery->repeatable ? CLOCK_NEVER : settings->idle_timeout_us;
}

static bool begin(struct delivery *delivery, bool fresh)
{
	delivery->exchange.idle_timeout_us = idle_limit_us(delivery);
	delivery->sent |= delivery->attempts > 0 && http_exchange_sent(&delivery->exchange);
	delivery->attempts++;
	delivery->begun_us = loop_now(delivery->upstream->base.loop);
	return http_exchange_begin(&delivery->exchange, fresh, time_left(delivery));
}

/* Take a place in the pool and go to the endpoint whose turn it is. */
static bool set_out(struct delivery *delivery)
{
	struct http_upstream *upstream = delivery->upstream;
	if (!delivery->under_way && !delivery->urgent)
		upstream->under_way++;
	delivery->under_way = !delivery->urgent; /* what may not wait takes nobody's place either */
	delivery->turns++;
	delivery->repeated = false;
	delivery->endpoint = pick_endpoint(upstream, loop_now(upstream->base.loop));
	return set_url(delivery) && begin(delivery, false);
}

static void stop_waiting(struct delivery *delivery)
{
	loop_disarm(delivery->upstream->base.loop, &delivery->timer);
	if (delivery->waits)
		TAILQ_REMOVE(&delivery->upstream->waiting, delivery, next);
	delivery->waits = false;
}

/* Fill the places that have become free. Calls nobody back: whoever cannot set out is told by its timer. */
static void set_out_waiting(struct http_upstream *upstream)
{
	struct delivery *delivery;
	while (upstream->under_way < upstream->base.settings->pool_max &&
	       (delivery = TAILQ_FIRST(&upstream->waiting))) {
		stop_waiting(delivery);
		if (!set_out(delivery))
			loop_arm(upstream->base.loop, &delivery->timer, loop_now(upstream->base.loop));
	}
}

/* --- the end of a delivery --- */

static void delivery_free(struct delivery *delivery)
{
	struct http_upstream *upstream = delivery->upstream;
	bool under_way = delivery->under_way;
	stop_waiting(delivery);
	loop_timers_release(upstream->base.loop, 1);
	if (delivery->decoder)
		delivery->decoder->dialect->decoder_free(delivery->decoder);
	http_exchange_fini(&delivery->exchange);
	buf_fini(&delivery->target);
	buf_fini(&delivery->url);
	free(delivery);
	if (!under_way)
		return;
	upstream->under_way--;
	set_out_waiting(upstream);
}

static void count_exchange(const struct delivery *delivery, enum outcome outcome)
{
	const struct http_upstream *upstream = delivery->upstream;
	if (delivery->attempts == 0)
		return;
	meter_add(upstream->meter, METRIC_ID_UPSTREAM_REQUESTS, delivery->endpoint->label, outcome, 1);
	if (delivery->endless)
		return;
	meter_observe(upstream->meter, METRIC_ID_UPSTREAM_DURATION, upstream->base.settings->label,
		      loop_now(upstream->base.loop) - delivery->begun_us);
}

static void land(struct delivery *delivery, enum outcome outcome)
{
	const struct upstream_events *events = delivery->events;
	void *context = delivery->context;
	bool aborted = delivery->aborted;
	count_exchange(delivery, aborted ? OUTCOME_CANCELLED : outcome);
	delivery_free(delivery);
	if (!aborted)
		events->landed(context, outcome);
}

static void fail(struct delivery *delivery, enum exchange_end end, const char *reason)
{
	delivery->telling = true;
	/* by something in it, perhaps; who cannot be reached has not looked at it */
	bool whole = failure_outcome(delivery, end, true) == OUTCOME_UPSTREAM_ERROR && end != EXCHANGE_NO_MEMORY &&
		     end != EXCHANGE_NOT_SENT;
	fail_items(delivery, true, failure_outcome(delivery, end, true), whole, reason);
	fail_items(delivery, false, failure_outcome(delivery, end, false), false, reason);
	land(delivery, failure_outcome(delivery, end, delivery->repeatable));
}

static void fail_for_its_reason(struct delivery *delivery, enum exchange_end end)
{
	struct buf reason = BUF_INIT(REASON_BYTES);
	http_exchange_put_reason(&delivery->exchange, end, &reason);
	char text[ANSWER_DETAIL_BYTES];
	snprintf(text, sizeof text, "%s", buf_cstr(&reason));
	buf_fini(&reason);
	fail(delivery, end, text);
}

/* It waited in vain, or its turn came and memory was out. */
static void wait_over(struct loop_timer *timer, uint64_t now_us)
{
	struct delivery *delivery = container_of(timer, struct delivery, timer);
	(void)now_us;
	if (delivery->waits)
		fail(delivery, EXCHANGE_NOT_SENT, "no connection became free in time: all of pool.max are busy");
	else
		fail(delivery, EXCHANGE_NO_MEMORY, "the gateway is out of memory");
}

/* --- what the exchange tells --- */

static void give_head(struct delivery *delivery)
{
	if (delivery->headed)
		return;
	delivery->headed = true;
	const struct http_exchange *exchange = &delivery->exchange;
	const struct dialect *dialect = delivery->decoder->dialect;
	struct slice wanted;
	if (dialect->wanted_header && http_exchange_header(exchange, dialect->wanted_header, &wanted))
		dialect->header(delivery->decoder, wanted);
	dialect->head(delivery->decoder, http_exchange_status(exchange), http_exchange_content_type(exchange),
		      http_exchange_retry_after_s(exchange));
	delivery->reuse_said = http_exchange_reuse(exchange, &delivery->reuse_s, &delivery->reuse_no_stale);
}

/* The decoder gets what there is of the answer. False: the delivery was aborted meanwhile and is gone. */
static bool feed(struct delivery *delivery)
{
	struct slice answer = buf_slice(&delivery->exchange.answer);
	if (delivery->fed_up || answer.len == 0)
		return true;
	delivery->telling = true;
	give_head(delivery);
	delivery->fed_up = http_exchange_is_coded(&delivery->exchange) ||
			   !delivery->decoder->dialect->feed(delivery->decoder, answer);
	delivery->telling = false;
	if (!delivery->aborted)
		return true;
	land(delivery, OUTCOME_CANCELLED);
	return false;
}

static void on_grown(struct http_exchange *exchange)
{
	struct delivery *delivery = container_of(exchange, struct delivery, exchange);
	if (feed(delivery) && delivery->endless && !delivery->fed_up)
		http_exchange_forget(exchange, delivery->decoder->dialect->consumed(delivery->decoder));
}

/* A result is its call's own. So is a tool's error that no other call of the exchange was given. */
static bool is_own(const struct delivery *delivery, const struct answer *answer)
{
	if (answer->outcome == OUTCOME_OK)
		return true;
	return answer->outcome == OUTCOME_TOOL_ERROR && delivery->count > 1 && atomic_load(&answer->refs) == 1;
}

/* What the decoder said last of the calls that may be sent again, now that it is known whether all of it failed. What is a call's
 * own is told to it even then: as a refusal of the whole, others would be told of it. */
static void tell_held(struct delivery *delivery, bool whole)
{
	for (size_t i = 0; i < delivery->count; i++) /* all before the first is given away */
		delivery->items[i].own = delivery->items[i].held && is_own(delivery, delivery->items[i].held);
	for (size_t i = 0; i < delivery->count; i++) {
		struct answer *answer = delivery->items[i].held;
		delivery->items[i].held = NULL;
		if (answer && whole && !delivery->items[i].own)
			tell_refused(delivery, i, answer);
		else if (answer)
			tell(delivery, i, answer);
	}
}

/* The decoder answers all that is left. */
static void finish(struct delivery *delivery)
{
	delivery->telling = true;
	give_head(delivery);
	delivery->finishing = true;
	enum outcome outcome =
		delivery->decoder->dialect->finish(delivery->decoder, buf_slice(&delivery->exchange.answer));
	delivery->finishing = false;
	tell_held(delivery, outcome != OUTCOME_OK);
	land(delivery, outcome);
}

/* A kept connection died under the request: once more over a fresh one, if that can do no harm. */
static bool repeat(struct delivery *delivery)
{
	if (delivery->repeated || (!delivery->repeatable && http_exchange_sent(&delivery->exchange)) ||
	    time_left(delivery) == 0)
		return false;
	delivery->repeated = true;
	meter_add(delivery->upstream->meter, METRIC_ID_UPSTREAM_REPEATS, delivery->upstream->base.settings->label, 0,
		  1);
	return begin(delivery, true);
}

static void note_not_reached(struct delivery *delivery)
{
	const struct upstream_settings *settings = delivery->upstream->base.settings;
	uint64_t took_us = loop_now(delivery->upstream->base.loop) - delivery->begun_us;
	if (http_exchange_was_slow(&delivery->exchange) && took_us < settings->connect_timeout_us)
		return; /* the call was in a hurry: says nothing of the endpoint */
	struct buf reason = BUF_INIT(REASON_BYTES);
	http_exchange_put_reason(&delivery->exchange, EXCHANGE_NOT_SENT, &reason);
	note_reached(delivery->upstream, delivery->endpoint, false, buf_slice(&reason));
	buf_fini(&reason);
}

/* Nothing was sent: another endpoint may do. */
static bool turn_to_another(struct delivery *delivery)
{
	struct http_upstream *upstream = delivery->upstream;
	return delivery->turns < upstream->base.settings->endpoint_count && time_left(delivery) > 0 &&
	       another_endpoint(upstream, loop_now(upstream->base.loop)) && set_out(delivery);
}

static void on_ended(struct http_exchange *exchange, enum exchange_end end)
{
	struct delivery *delivery = container_of(exchange, struct delivery, exchange);
	switch (end) {
	case EXCHANGE_STALE:
		if (repeat(delivery))
			return;
		break;
	case EXCHANGE_NOT_SENT:
		note_not_reached(delivery);
		if (turn_to_another(delivery))
			return;
		break;
	case EXCHANGE_NO_MEMORY:
		break;
	case EXCHANGE_COMPLETE:
	case EXCHANGE_TIMED_OUT:
	case EXCHANGE_BROKE:
	case EXCHANGE_TOO_LARGE:
		note_reached(delivery->upstream, delivery->endpoint, true, (struct slice){ NULL, 0 });
		break;
	}
	/* A provider that said no has said so, even if its words broke off. */
	if (end == EXCHANGE_COMPLETE || (http_exchange_sent(exchange) && http_exchange_status(exchange) >= 400))
		finish(delivery);
	else if (feed(delivery)) /* calls whose answers came whole before the break have them */
		fail_for_its_reason(delivery, end);
}

/* --- sending --- */

/* Why the dialect could not write them. */
static struct answer *encode_refusal(const struct http_upstream *upstream, const struct upstream_call *calls,
				     size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct answer *refusal = upstream->base.settings->dialect->check(calls[i].route, calls[i].arguments);
		if (refusal)
			return refusal;
	}
	return answer_error(OUTCOME_OVERLOADED, "%s: the request is over %d MiB, or the gateway is out of memory",
			    upstream->base.settings->name, REQUEST_BODY_BYTES / (1024 * 1024));
}

/* Write the request into the delivery. NULL, or why not. */
static struct answer *write_request(struct delivery *delivery, const struct upstream_call *calls, uint64_t first_id)
{
	struct http_request request = { .target = BUF_INIT(HTTP_TARGET_BYTES),
					.headers = BUF_INIT(HTTP_HEADER_BYTES),
					.body = BUF_INIT(REQUEST_BODY_BYTES) };
	const struct http_upstream *upstream = delivery->upstream;
	struct answer *refusal = NULL;
	if (!upstream->base.settings->dialect->encode(calls, delivery->count, first_id, &request))
		refusal = encode_refusal(upstream, calls, delivery->count);
	else
		refusal = http_headers_write(&delivery->upstream->headers, &delivery->exchange, &request,
					     delivery->count == 1 ? calls : NULL);
	delivery->exchange.method = request.method;
	delivery->exchange.has_body = request.content_type != NULL;
	delivery->exchange.body = request.body;
	delivery->target = request.target;
	delivery->urgent = request.urgent || request.endless;
	delivery->endless = request.endless;
	if (request.endless)
		delivery->deadline_us = CLOCK_NEVER;
	buf_fini(&request.headers);
	return refusal;
}

static void set_exchange(struct delivery *delivery)
{
	const struct upstream_settings *settings = delivery->upstream->base.settings;
	struct http_exchange *exchange = &delivery->exchange;
	exchange->transfer.transport = delivery->upstream->transport;
	exchange->transfer.connections = delivery->upstream->connections;
	exchange->grown = on_grown;
	exchange->ended = on_ended;
	exchange->connect_timeout_us = settings->connect_timeout_us;
	exchange->ca_file = settings->ca_file;
	exchange->once = !delivery->repeatable;
	buf_init(&exchange->answer, settings->answer_bytes);
	buf_init(&exchange->body, REQUEST_BODY_BYTES);
}

/* NULL: out of memory. */
static struct delivery *delivery_new(struct http_upstream *upstream, const struct upstream_call *calls, size_t count,
				     uint64_t first_id)
{
	const struct upstream_settings *settings = upstream->base.settings;
	struct delivery *delivery = calloc(1, sizeof *delivery + count * sizeof(struct item));
	if (!delivery)
		return NULL;
	if (!loop_timers_reserve(upstream->base.loop, 1)) {
		free(delivery);
		return NULL;
	}
	delivery->upstream = upstream;
	delivery->count = count;
	delivery->timer = LOOP_TIMER_INIT(wait_over);
	buf_init(&delivery->url, SIZE_MAX / 4);
	delivery->repeatable = true;
	for (size_t i = 0; i < count; i++) {
		delivery->items[i].repeatable = calls[i].repeatable;
		delivery->repeatable &= calls[i].repeatable;
	}
	set_exchange(delivery);
	struct dialect_sink sink = { .answered = on_answer, .doubted = on_doubt, .context = delivery };
	delivery->decoder = dialect_decoder_new(settings->dialect, count, first_id, settings->json_depth, &sink);
	if (!delivery->decoder) {
		delivery_free(delivery);
		return NULL;
	}
	if (settings->dialect->expect)
		settings->dialect->expect(delivery->decoder, calls);
	return delivery;
}

static struct answer *out_of_memory(void)
{
	return answer_error(OUTCOME_OVERLOADED, "the gateway is out of memory");
}

/* All places of the pool are taken: wait for one, at most until the deadline. */
static void wait_for_place(struct delivery *delivery)
{
	struct http_upstream *upstream = delivery->upstream;
	delivery->waits = true;
	TAILQ_INSERT_TAIL(&upstream->waiting, delivery, next);
	loop_arm(upstream->base.loop, &delivery->timer, delivery->deadline_us);
}

/* NULL, or why not. */
static struct answer *dispatch(struct delivery *delivery, const struct upstream_call *calls, uint64_t first_id)
{
	struct http_upstream *upstream = delivery->upstream;
	struct answer *refusal = write_request(delivery, calls, first_id);
	if (refusal)
		return refusal;
	if (upstream->under_way >= upstream->base.settings->pool_max && !delivery->urgent)
		wait_for_place(delivery);
	else if (!set_out(delivery))
		return out_of_memory();
	return NULL;
}

static struct exchange *http_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				  uint64_t deadline_us, const struct upstream_events *events, void *context,
				  struct answer **refusal)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	uint64_t first_id = upstream->next_id;
	upstream->next_id += count;
	struct delivery *delivery = delivery_new(upstream, calls, count, first_id);
	if (!delivery) {
		*refusal = out_of_memory();
		return NULL;
	}
	uint64_t latest_us = clock_add(loop_now(upstream->base.loop), base->settings->timeout_us);
	delivery->deadline_us = deadline_us < latest_us ? deadline_us : latest_us;
	delivery->events = events;
	delivery->context = context;
	if (!(*refusal = dispatch(delivery, calls, first_id)))
		return &delivery->base;
	delivery_free(delivery);
	return NULL;
}

static void http_abort(struct exchange *exchange)
{
	struct delivery *delivery = container_of(exchange, struct delivery, base);
	delivery->aborted = true;
	if (!delivery->telling)
		land(delivery, OUTCOME_CANCELLED);
}

static bool http_sent(const struct exchange *base)
{
	const struct delivery *delivery = container_of(base, const struct delivery, base);
	return delivery->sent || (delivery->attempts > 0 && http_exchange_sent(&delivery->exchange));
}

const struct upstream_kind upstream_http = {
	.make = http_make,
	.free = http_free,
	.send = http_send,
	.abort = http_abort,
	.sent = http_sent,
};
