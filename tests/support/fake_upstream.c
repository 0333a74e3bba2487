/* SPDX-License-Identifier: Apache-2.0 */
/* fake_upstream.c: an upstream whose exchanges end when the test says so. */
#include "tests/support/fake_upstream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct upstream {
	const struct upstream_settings *settings;
	struct retry_budget retry_budget;
};

static struct upstream *last_made;
static struct exchange *exchanges;
static void (*send_hook)(const struct exchange *exchange);
static size_t refusals_left;
static enum outcome refusal_outcome;
static size_t sent, refused, aborted, under_way;

static const struct upstream_watcher *watchers[64];

void fake_reset(void)
{
	assert(!exchanges);
	send_hook = NULL;
	refusals_left = sent = refused = aborted = 0;
	memset(watchers, 0, sizeof watchers);
}

void fake_on_send(void (*on_send)(const struct exchange *exchange))
{
	send_hook = on_send;
}

void fake_refuse(size_t count, enum outcome outcome)
{
	refusals_left = count;
	refusal_outcome = outcome;
}

size_t fake_sent(void)
{
	return sent;
}

size_t fake_refused(void)
{
	return refused;
}

size_t fake_aborted(void)
{
	return aborted;
}

size_t fake_under_way(void)
{
	return under_way;
}

struct exchange *fake_nth(size_t n)
{
	struct exchange *exchange = exchanges;
	while (exchange && n-- > 0)
		exchange = exchange->next;
	return exchange;
}

/* The configuration asks. */
bool upstream_url_check(const char *url, char *error, size_t error_bytes)
{
	(void)url;
	(void)error;
	(void)error_bytes;
	return true;
}

struct upstream *upstream_new(const struct upstream_settings *settings, struct transport *transport, struct loop *loop,
			      struct meter *meter)
{
	(void)transport;
	(void)loop;
	(void)meter;
	struct upstream *upstream = malloc(sizeof *upstream);
	if (upstream) {
		last_made = upstream;
		upstream->settings = settings;
		retry_budget_init(&upstream->retry_budget, &settings->retries, RETRY_RESERVE);
	}
	return upstream;
}

struct retry_budget *fake_retry_budget(void)
{
	return &last_made->retry_budget;
}

struct retry_budget *upstream_retry_budget(struct upstream *upstream)
{
	return &upstream->retry_budget;
}

void upstream_free(struct upstream *upstream)
{
	assert(under_way == 0);
	free(upstream);
}

void upstream_adjust(struct upstream *upstream)
{
	(void)upstream; /* it has no options */
}

void upstream_watch(struct upstream *upstream, const struct upstream_watcher *watcher)
{
	assert(upstream->settings->label < countof(watchers));
	watchers[upstream->settings->label] = watcher;
}

const struct upstream_watcher *fake_watcher(unsigned label)
{
	return label < countof(watchers) ? watchers[label] : NULL;
}

static struct exchange *refuse(struct answer **refusal, struct answer *answer)
{
	refused++;
	*refusal = answer;
	return NULL;
}

static struct exchange *exchange_new(const struct upstream_call *calls, size_t count)
{
	size_t bytes = 0;
	for (size_t i = 0; i < count; i++)
		bytes += calls[i].arguments.len;
	struct exchange *exchange = calloc(1, sizeof *exchange);
	struct fake_call *copies = calloc(1, count * sizeof *copies + bytes);
	if (!exchange || !copies) {
		free(copies);
		free(exchange);
		return NULL;
	}
	char *at = (char *)(copies + count);
	for (size_t i = 0; i < count; i++) {
		struct slice arguments = calls[i].arguments;
		copies[i] = (struct fake_call){ arguments, { at, arguments.len }, calls[i].repeatable, false };
		memcpy(at, arguments.at, arguments.len);
		at += arguments.len;
	}
	exchange->calls = copies;
	exchange->count = count;
	return exchange;
}

struct exchange *upstream_send(struct upstream *upstream, const struct upstream_call *calls, size_t count,
			       uint64_t deadline_us, const struct upstream_events *events, void *context,
			       struct answer **refusal)
{
	assert(count >= 1 && count <= upstream->settings->dialect->max_calls);
	if (refusals_left > 0) {
		refusals_left--;
		return refuse(refusal, answer_error(refusal_outcome, "The test refuses this one."));
	}
	struct exchange *exchange = exchange_new(calls, count);
	if (!exchange)
		return refuse(refusal, answer_error(OUTCOME_OVERLOADED, "The fake upstream is out of memory."));
	exchange->deadline_us = deadline_us;
	exchange->events = events;
	exchange->context = context;
	struct exchange **tail = &exchanges;
	while (*tail)
		tail = &(*tail)->next;
	*tail = exchange;
	under_way++;
	sent++;
	if (send_hook)
		send_hook(exchange);
	return exchange;
}

static void remove_exchange(struct exchange *exchange)
{
	struct exchange **at = &exchanges;
	while (*at != exchange)
		at = &(*at)->next;
	*at = exchange->next;
	under_way--;
	free(exchange->calls);
	free(exchange);
}

void upstream_abort(struct exchange *exchange)
{
	aborted++;
	remove_exchange(exchange);
}

void upstream_forget(struct exchange *exchange, size_t index)
{
	assert(index < exchange->count && !exchange->calls[index].answered);
}

void upstream_leave(struct upstream *upstream, uint64_t timeout_us)
{
	(void)upstream;
	(void)timeout_us;
}

bool upstream_leaving(const struct upstream *upstream)
{
	(void)upstream;
	return false;
}

bool upstream_sent(const struct exchange *exchange)
{
	return !exchange->unsent;
}

size_t upstream_attempts(const struct exchange *exchange)
{
	(void)exchange;
	return 1;
}

void fake_answer(struct exchange *exchange, size_t index, struct answer *answer)
{
	assert(index < exchange->count && !exchange->calls[index].answered);
	exchange->calls[index].answered = true;
	exchange->answered++;
	exchange->events->answered(exchange->context, index, answer);
}

void fake_echo(struct exchange *exchange, size_t index)
{
	struct answer *answer = answer_result(exchange->calls[index].echo, true, NULL);
	assert(answer);
	fake_answer(exchange, index, answer);
}

void fake_complete(struct exchange *exchange, enum outcome outcome)
{
	assert(exchange->answered == exchange->count);
	const struct upstream_events *events = exchange->events;
	void *context = exchange->context;
	remove_exchange(exchange);
	events->completed(context, outcome);
}

void fake_finish(struct exchange *exchange)
{
	for (size_t i = 0; i < exchange->count; i++)
		if (!exchange->calls[i].answered)
			fake_echo(exchange, i);
	fake_complete(exchange, OUTCOME_OK);
}

static void refuse_all(struct exchange *exchange, unsigned status, uint32_t retry_after_s, bool with_words)
{
	const struct slice nothing = { "", 0 };
	enum outcome outcome = status == 429 ? OUTCOME_RATE_LIMITED : OUTCOME_UPSTREAM_ERROR;
	for (size_t i = 0; i < exchange->count; i++) {
		if (exchange->calls[i].answered)
			continue;
		struct answer *answer = answer_upstream_error(
			outcome, status, retry_after_s, with_words ? exchange->calls[i].arguments : nothing,
			"refused as a whole%.*s", SLICE_ARG(with_words ? exchange->calls[i].arguments : nothing));
		if (!exchange->calls[i].repeatable && !dialect_nothing_done(status)) {
			fake_answer(exchange, i, answer);
			continue;
		}
		exchange->calls[i].answered = true;
		exchange->answered++;
		exchange->events->refused(exchange->context, i, answer);
	}
	fake_complete(exchange, outcome);
}

void fake_refuse_whole(struct exchange *exchange, unsigned status, uint32_t retry_after_s)
{
	refuse_all(exchange, status, retry_after_s, false);
}

void fake_refuse_each(struct exchange *exchange, unsigned status, uint32_t retry_after_s)
{
	refuse_all(exchange, status, retry_after_s, true);
}
