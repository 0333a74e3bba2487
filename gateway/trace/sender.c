/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender.c: what the collector asks to have again (429, 502, 503, 504, or no answer) goes again a few times, with its
 * Retry-After or a pause that doubles.
 */
#include "gateway/trace/sender.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/gzip.h"
#include "base/random.h"
#include "base/timed_wait.h"
#include "gateway/trace/otlp.h"
#include "upstream/http/client.h"

enum { ANSWER_BYTES_MAX = 64 * 1024, TRIES = 5, HEADERS_OWN = 2, REASON_BYTES = 256 };
#define FIRST_PAUSE_US CLOCK_US_PER_S /* before the second try */
#define LONGEST_PAUSE_US (30 * CLOCK_US_PER_S)

/* --- life --- */

bool sender_init(struct sender *sender, const struct signal *signal, void *(*run)(void *job), void *job)
{
	uint64_t seed;
	*sender = (struct sender){ .signal = signal, .run = run, .job = job };
	if (!random_secret(&seed, sizeof seed))
		return false;
	sender->random = random_seeded(seed);
	pthread_mutex_init(&sender->mutex, NULL);
	timed_wait_init(&sender->said);
	return true;
}

void sender_fini(struct sender *sender)
{
	trace_settings_unref(sender->settings);
	pthread_mutex_destroy(&sender->mutex);
	pthread_cond_destroy(&sender->said);
}

static void *run_sender(void *context)
{
	struct sender *sender = context;
	crash_handler_thread();
	return sender->run(sender->job);
}

bool sender_start(struct sender *sender)
{
	if (sender->started)
		return true;
	int result = pthread_create(&sender->thread, NULL, run_sender, sender);
	sender->started = result == 0;
	errno = result;
	if (sender->started)
		pthread_setname_np(sender->thread, sender->signal->name);
	return sender->started;
}

void sender_use(struct sender *sender, struct trace_settings *settings)
{
	struct trace_settings *before = sender->settings;
	pthread_mutex_lock(&sender->mutex);
	sender->settings = trace_route_of(settings, sender->signal->number) ? trace_settings_ref(settings) : NULL;
	sender->changes++;
	pthread_cond_broadcast(&sender->said);
	pthread_mutex_unlock(&sender->mutex);
	trace_settings_unref(before);
}

void sender_ask_end(struct sender *sender)
{
	pthread_mutex_lock(&sender->mutex);
	sender->stopping = true;
	pthread_cond_broadcast(&sender->said);
	pthread_mutex_unlock(&sender->mutex);
}

void sender_join(struct sender *sender, const struct timespec *until)
{
	if (!sender->started)
		return;
	if (pthread_timedjoin_np(sender->thread, NULL, until) != 0) {
		atomic_store(&sender->given_up, true);
		pthread_join(sender->thread, NULL);
	}
	sender->started = false;
}

/* --- counts --- */

void sender_count(struct sender *sender, enum otlp_result result, uint64_t items)
{
	atomic_fetch_add_explicit(&sender->items[result], items, memory_order_relaxed);
}

static void count_request(struct sender *sender, enum otlp_request_result result)
{
	atomic_fetch_add_explicit(&sender->requests[result], 1, memory_order_relaxed);
}

/* QUEUE_FULL is counted by those who find it full. */
void sender_show(struct sender *sender, struct meter *meter)
{
	for (size_t i = 0; i < OTLP_QUEUE_FULL; i++)
		meter_set(meter, sender->signal->metric, i, 0,
			  (int64_t)atomic_load_explicit(&sender->items[i], memory_order_relaxed));
	for (size_t i = 0; i < OTLP_REQUEST_RESULT_COUNT; i++)
		meter_set(meter, METRIC_ID_OTLP_REQUESTS, sender->signal->number, i,
			  (int64_t)atomic_load_explicit(&sender->requests[i], memory_order_relaxed));
}

/* --- waiting --- */

bool sender_wait_locked(struct sender *sender, uint64_t until_us)
{
	return timed_wait(&sender->said, &sender->mutex, until_us);
}

struct trace_settings *sender_settings(struct sender *sender)
{
	pthread_mutex_lock(&sender->mutex);
	struct trace_settings *settings = sender->settings ? trace_settings_ref(sender->settings) : NULL;
	pthread_mutex_unlock(&sender->mutex);
	return settings;
}

/* Until then, or there is another place to send to. False: it is the end, and there is no time for another try. */
static bool pause_for(struct sender *sender, uint64_t us)
{
	uint64_t until_us = clock_now_us() + us;
	pthread_mutex_lock(&sender->mutex);
	unsigned changes = sender->changes;
	while (!sender->stopping && sender->changes == changes && sender_wait_locked(sender, until_us))
		;
	bool stopping = sender->stopping;
	pthread_mutex_unlock(&sender->mutex);
	return !stopping;
}

/* --- one try --- */

enum try_result { TAKEN, REFUSED, AGAIN };

struct attempt {
	const struct trace_route *route; /* borrowed: of settings that are held while it lasts */
	size_t items;
	struct client_wanted retry_after;
	char why[REASON_BYTES]; /* it came to nothing */
};

static void take_rejections(struct sender *sender, const struct attempt *attempt, const struct buf *answer)
{
	uint64_t rejected;
	char said[128];
	/* Whoever takes all may say so in any form: the status counts */
	if (!otlp_read_answer(buf_slice(answer), &rejected, said, sizeof said))
		rejected = 0;
	rejected = rejected < attempt->items ? rejected : attempt->items;
	if (rejected)
		log_message(sender->signal->rejected, "%s did not take %" PRIu64 " of %zu %s: %s",
			    attempt->route->shown, rejected, attempt->items, sender->signal->items, said);
	sender_count(sender, OTLP_REJECTED, rejected);
	sender_count(sender, OTLP_SENT, attempt->items - rejected);
}

/* `whole`: the answer came to its end; a head that says yes counts though it did not: sent again, all would be there twice. */
static enum try_result evaluate_answer(struct sender *sender, struct attempt *attempt, const struct client_reply *reply,
				       bool whole)
{
	const struct buf nothing = BUF_INIT(0);
	if (reply->status >= 200 && reply->status <= 299) {
		take_rejections(sender, attempt, whole ? &reply->body : &nothing);
		return TAKEN;
	}
	if (reply->status)
		snprintf(attempt->why, sizeof attempt->why, "status %u", reply->status);
	bool again = !reply->status || reply->status == 429 || (reply->status >= 502 && reply->status <= 504);
	return again ? AGAIN : REFUSED;
}

/* What is sent with every request; the route's own follow. */
static size_t put_headers(const struct trace_route *route, bool packed, struct upstream_header *headers)
{
	size_t count = 0;
	headers[count++] = (struct upstream_header){ "Content-Type", "application/x-protobuf" };
	if (packed)
		headers[count++] = (struct upstream_header){ "Content-Encoding", "gzip" };
	for (size_t i = 0; i < route->header_count; i++)
		headers[count++] = route->headers[i];
	return count;
}

static enum try_result post_once(struct sender *sender, struct attempt *attempt, struct slice body)
{
	const struct trace_route *route = attempt->route;
	struct upstream_header headers[TRACE_HEADERS_MOST + HEADERS_OWN];
	struct buf packed = BUF_INIT(body.len); /* what does not get shorter goes as it is */
	bool is_packed = route->gzip && gzip_put(body, &packed);
	const struct client_request request = {
		.server = route->server,
		.path = route->path,
		.method = "POST",
		.headers = headers,
		.header_count = put_headers(route, is_packed, headers),
		.has_body = true,
		.body = is_packed ? buf_slice(&packed) : body,
		.timeout_us = route->timeout_us,
		.ca_file = route->ca_file,
		.cancelled = &sender->given_up,
	};
	struct client_reply reply = { .body = BUF_INIT(ANSWER_BYTES_MAX),
				      .wanted = &attempt->retry_after,
				      .wanted_count = 1 };
	bool whole = client_fetch(&request, &reply, attempt->why, sizeof attempt->why);
	enum try_result result = evaluate_answer(sender, attempt, &reply, whole);
	buf_fini(&reply.body);
	buf_fini(&packed);
	return result;
}

/* --- all tries --- */

/* As long as the collector asks for, or twice as long as before, a little more or less, so that a fleet does not come together. */
static uint64_t choose_pause(struct sender *sender, const struct client_wanted *retry_after, unsigned tries)
{
	uint64_t us = (FIRST_PAUSE_US << tries) / 2;
	us += (uint64_t)((double)us * random_part(&sender->random));
	client_read_pause(retry_after, &us);
	return us < LONGEST_PAUSE_US ? us : LONGEST_PAUSE_US;
}

static void tell_failure(struct sender *sender, const struct attempt *attempt)
{
	if (!sender->failing)
		log_message(sender->signal->not_sent, "%s: %s", attempt->route->shown, attempt->why);
	sender->failing = true;
}

static void tell_success(struct sender *sender, const struct attempt *attempt)
{
	if (sender->failing)
		log_message(sender->signal->sent, "%s takes %s again", attempt->route->shown, sender->signal->name);
	sender->failing = false;
}

/* AGAIN: after a pause, which has been waited for; REFUSED: no more of it, and that is told. */
static enum try_result try_to_post(struct sender *sender, struct attempt *attempt, struct slice body, unsigned tries)
{
	enum try_result result = post_once(sender, attempt, body);
	bool again = result == AGAIN && tries < TRIES && !atomic_load(&sender->given_up);
	count_request(sender, result == TAKEN ? OTLP_REQUEST_OK : again ? OTLP_REQUEST_REPEATED : OTLP_REQUEST_FAILED);
	if (result == TAKEN)
		tell_success(sender, attempt);
	else if (again && pause_for(sender, choose_pause(sender, &attempt->retry_after, tries)))
		return AGAIN;
	else
		tell_failure(sender, attempt);
	return result == TAKEN ? TAKEN : REFUSED;
}

void sender_post(struct sender *sender, struct slice body, size_t items)
{
	enum try_result result = AGAIN;
	for (unsigned tries = 1; result == AGAIN; tries++) {
		struct trace_settings *settings = atomic_load(&sender->given_up) ? NULL : sender_settings(sender);
		struct attempt attempt = { .route = trace_route_of(settings, sender->signal->number),
					   .items = items,
					   .retry_after.name = "Retry-After" };
		result = settings ? try_to_post(sender, &attempt, body, tries) : REFUSED;
		trace_settings_unref(settings);
	}
	if (result == REFUSED)
		sender_count(sender, OTLP_FAILED, items);
}
