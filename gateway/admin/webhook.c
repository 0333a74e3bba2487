/* SPDX-License-Identifier: Apache-2.0 */
/* webhook.c: a queue under a short mutex, and a thread that takes from it. */
#include "gateway/admin/webhook.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/timed_wait.h"
#include "upstream/http/client.h"

enum { ATTEMPTS = 5, REASON_BYTES = 256, ANSWER_BYTES = 16 * 1024 };
#define FIRST_PAUSE_US CLOCK_US_PER_S          /* doubles with each attempt */
#define LONGEST_PAUSE_US (60 * CLOCK_US_PER_S) /* whatever Retry-After asks for */

/* Where to. A copy: the generation it was in may end. */
struct place {
	char *server, *path; /* NULL: nowhere */
	char *ca_file;       /* NULL: the system's authorities */
	struct upstream_header headers[16];
	size_t header_count;
	uint64_t timeout_us;
	size_t users; /* m: the webhook, and the attempt under way */
};

struct post {
	struct buf body;
	unsigned attempts;
	uint64_t due_us;
};

struct webhook {
	pthread_t thread;     /* main's */
	bool started;         /* main's */
	atomic_bool stopping; /* a */
	uint64_t generation;  /* the observer's: whose options have been taken */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct place *place;                 /* m */
	struct post *posts[WEBHOOK_WAITING]; /* m: a ring; the first may be under way */
	size_t first, count;                 /* m */
	uint64_t sent;                       /* m: rises when the first one goes: whose attempt it was is known by it */
	uint64_t counts[ALERT_POST_COUNT];   /* m: since the start */
	uint64_t told[ALERT_POST_COUNT];     /* the observer's: of these, in the metric */
	char reason[REASON_BYTES];           /* m: why the last attempt came to nothing; "": it did not */
};
/* a atomic, m: under the mutex */

/* --- where to --- */

static void free_place(struct place *place)
{
	for (size_t i = 0; place && i < place->header_count; i++) {
		free((char *)(uintptr_t)place->headers[i].name);
		free((char *)(uintptr_t)place->headers[i].value);
	}
	if (place) {
		free(place->server);
		free(place->path);
		free(place->ca_file);
	}
	free(place);
}

static void leave_place_locked(struct place *place)
{
	if (place && --place->users == 0)
		free_place(place);
}

static bool copy_headers(struct place *place, const struct alert_webhook_options *options)
{
	for (size_t i = 0; i < options->header_count && i < countof(place->headers); i++) {
		struct upstream_header *header = &place->headers[place->header_count++];
		header->name = strdup(options->headers[i].name);
		header->value = strdup(options->headers[i].value);
		if (!header->name || !header->value)
			return false;
	}
	return true;
}

/* NULL when out of memory. */
static struct place *make_place(const struct alert_webhook_options *options)
{
	struct place *place = calloc(1, sizeof *place);
	if (!place)
		return NULL;
	place->users = 1;
	place->timeout_us = options->timeout_us;
	if (!options->url || !*options->url)
		return place;
	const char *host = strstr(options->url, "://");
	const char *path = host ? strpbrk(host + 3, "/?") : NULL;
	size_t server = path ? (size_t)(path - options->url) : strlen(options->url);
	place->server = strndup(options->url, server);
	if (asprintf(&place->path, "%s%s", path && *path == '/' ? "" : "/", path ? path : "") < 0)
		place->path = NULL;
	place->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
	if (place->server && place->path && !place->ca_file == !options->ca_file && copy_headers(place, options))
		return place;
	free_place(place);
	return NULL;
}

static bool is_same_text(const char *one, const char *other)
{
	return one && other ? strcmp(one, other) == 0 : one == other;
}

static bool is_same_place(const struct place *place, const struct alert_webhook_options *options)
{
	struct place *other = place ? make_place(options) : NULL;
	bool same = other && place->timeout_us == other->timeout_us && place->header_count == other->header_count &&
		    is_same_text(place->server, other->server) && is_same_text(place->path, other->path) &&
		    is_same_text(place->ca_file, other->ca_file);
	for (size_t i = 0; same && i < place->header_count; i++)
		same = strcmp(place->headers[i].name, other->headers[i].name) == 0 &&
		       strcmp(place->headers[i].value, other->headers[i].value) == 0;
	free_place(other);
	return same;
}

void webhook_use(struct webhook *webhook, const struct alert_webhook_options *options, uint64_t generation)
{
	if (generation == webhook->generation)
		return;
	pthread_mutex_lock(&webhook->mutex);
	struct place *place = is_same_place(webhook->place, options) ? NULL : make_place(options);
	if (place) {
		leave_place_locked(webhook->place);
		webhook->place = place;
		webhook->reason[0] = '\0';
		for (size_t i = 0; i < webhook->count; i++)
			webhook->posts[(webhook->first + i) % WEBHOOK_WAITING]->due_us = 0;
		pthread_cond_signal(&webhook->changed);
	}
	if (place || webhook->place)
		webhook->generation = generation; /* else memory is out: with the next look */
	pthread_mutex_unlock(&webhook->mutex);
}

bool webhook_is_used(const struct webhook *webhook)
{
	return webhook->place && webhook->place->server;
}

/* --- the queue --- */

static void free_post(struct post *post)
{
	buf_fini(&post->body);
	free(post);
}

static void drop_first_locked(struct webhook *webhook)
{
	free_post(webhook->posts[webhook->first]);
	webhook->first = (webhook->first + 1) % WEBHOOK_WAITING;
	webhook->count--;
	webhook->sent++;
}

void webhook_post(struct webhook *webhook, struct buf *body)
{
	struct post *post = body->failed ? NULL : calloc(1, sizeof *post);
	pthread_mutex_lock(&webhook->mutex);
	if (!post || webhook->count == WEBHOOK_WAITING)
		webhook->counts[ALERT_POST_DROPPED]++;
	if (post && webhook->count == WEBHOOK_WAITING)
		drop_first_locked(webhook);
	if (post) {
		post->body = *body;
		buf_init(body, WEBHOOK_BODY_BYTES);
		webhook->posts[(webhook->first + webhook->count++) % WEBHOOK_WAITING] = post;
		pthread_cond_signal(&webhook->changed);
	}
	pthread_mutex_unlock(&webhook->mutex);
	buf_fini(body);
}

void webhook_count(struct webhook *webhook, struct meter *meter)
{
	pthread_mutex_lock(&webhook->mutex);
	for (size_t i = 0; i < ALERT_POST_COUNT; i++) {
		meter_add(meter, METRIC_ID_ALERTS_POSTED, i, 0, webhook->counts[i] - webhook->told[i]);
		webhook->told[i] = webhook->counts[i];
	}
	pthread_mutex_unlock(&webhook->mutex);
}

void webhook_put(struct webhook *webhook, struct buf *out)
{
	pthread_mutex_lock(&webhook->mutex);
	buf_printf(out, "{\"configured\":%s,\"waiting\":%zu",
		   webhook->place && webhook->place->server ? "true" : "false", webhook->count);
	for (size_t i = 0; i < ALERT_POST_COUNT; i++)
		buf_printf(out, ",\"%s\":%llu", metric_word(LABEL_ALERT_POST, i),
			   (unsigned long long)webhook->counts[i]);
	json_put_text_member(out, "reason", webhook->reason);
	buf_put_char(out, '}');
	pthread_mutex_unlock(&webhook->mutex);
}

/* --- the thread --- */

/* What an attempt came to. */
struct attempt {
	bool good, again;  /* it was taken; it may be taken later */
	uint64_t pause_us; /* that the receiver asks for */
	char reason[REASON_BYTES];
};

static void try_post(const struct webhook *webhook, const struct place *place, struct slice body,
		     struct attempt *attempt)
{
	struct upstream_header headers[countof(place->headers) + 1] = { { "Content-Type", "application/json" } };
	struct client_wanted wanted = { .name = "Retry-After" };
	struct client_reply reply = { .body = BUF_INIT(ANSWER_BYTES), .wanted = &wanted, .wanted_count = 1 };
	memcpy(headers + 1, place->headers, place->header_count * sizeof *headers);
	const struct client_request request = { .server = place->server,
						.path = place->path,
						.method = "POST",
						.headers = headers,
						.header_count = 1 + place->header_count,
						.has_body = true,
						.body = body,
						.timeout_us = place->timeout_us,
						.ca_file = place->ca_file,
						.status_only = true,
						.cancelled = &webhook->stopping };
	*attempt = (struct attempt){ .again = true };
	if (client_fetch(&request, &reply, attempt->reason, sizeof attempt->reason)) {
		attempt->good = reply.status >= 200 && reply.status < 300;
		attempt->again = reply.status == 408 || reply.status == 429 || reply.status >= 500;
		client_read_pause(&wanted, &attempt->pause_us);
		snprintf(attempt->reason, sizeof attempt->reason, "%.200s answered %u", place->server, reply.status);
	}
	buf_fini(&reply.body);
}

/* It was the first one, if it still is (`sent` has not risen). */
static void settle_locked(struct webhook *webhook, uint64_t sent, const struct attempt *attempt)
{
	snprintf(webhook->reason, sizeof webhook->reason, "%s", attempt->good ? "" : attempt->reason);
	if (webhook->sent != sent) { /* given up meanwhile, for a newer one */
		webhook->counts[ALERT_POST_OK] += attempt->good;
		return;
	}
	struct post *post = webhook->posts[webhook->first];
	if (!attempt->good && attempt->again && ++post->attempts < ATTEMPTS) {
		uint64_t pause_us = FIRST_PAUSE_US << (post->attempts - 1);
		pause_us = attempt->pause_us > pause_us ? attempt->pause_us : pause_us;
		post->due_us = clock_now_us() + (pause_us < LONGEST_PAUSE_US ? pause_us : LONGEST_PAUSE_US);
		webhook->counts[ALERT_POST_RETRIED]++;
		return;
	}
	webhook->counts[attempt->good ? ALERT_POST_OK : ALERT_POST_FAILED]++;
	if (!attempt->good)
		log_message(&EVENT_ALERT_NOT_POSTED, "%s", attempt->reason);
	drop_first_locked(webhook);
}

/* One attempt for the first one, without the mutex. */
static void send_first_locked(struct webhook *webhook)
{
	struct attempt attempt;
	struct place *place = webhook->place;
	struct buf body = BUF_INIT(WEBHOOK_BODY_BYTES);
	uint64_t sent = webhook->sent;
	buf_put(&body, buf_slice(&webhook->posts[webhook->first]->body));
	place->users++;
	pthread_mutex_unlock(&webhook->mutex);
	try_post(webhook, place, buf_slice(&body), &attempt);
	pthread_mutex_lock(&webhook->mutex);
	leave_place_locked(place);
	if (!atomic_load(&webhook->stopping))
		settle_locked(webhook, sent, &attempt);
	buf_fini(&body);
}

static void *run_webhook(void *context)
{
	struct webhook *webhook = context;
	crash_handler_thread();
	pthread_mutex_lock(&webhook->mutex);
	while (!atomic_load(&webhook->stopping)) {
		if (webhook->count && !(webhook->place && webhook->place->server))
			drop_first_locked(webhook); /* there is nobody any more to be told */
		else if (!webhook->count)
			timed_wait(&webhook->changed, &webhook->mutex, CLOCK_NEVER);
		else if (webhook->posts[webhook->first]->due_us > clock_now_us())
			timed_wait(&webhook->changed, &webhook->mutex, webhook->posts[webhook->first]->due_us);
		else
			send_first_locked(webhook);
	}
	pthread_mutex_unlock(&webhook->mutex);
	return NULL;
}

/* --- life --- */

struct webhook *webhook_new(void)
{
	struct webhook *webhook = calloc(1, sizeof *webhook);
	if (!webhook)
		return NULL;
	pthread_mutex_init(&webhook->mutex, NULL);
	timed_wait_init(&webhook->changed);
	return webhook;
}

bool webhook_start(struct webhook *webhook)
{
	int result = pthread_create(&webhook->thread, NULL, run_webhook, webhook);
	if (result) {
		errno = result;
		return false;
	}
	webhook->started = true;
	pthread_setname_np(webhook->thread, "webhook");
	return true;
}

void webhook_stop(struct webhook *webhook)
{
	pthread_mutex_lock(&webhook->mutex);
	atomic_store(&webhook->stopping, true);
	pthread_cond_signal(&webhook->changed);
	pthread_mutex_unlock(&webhook->mutex);
	if (webhook->started)
		pthread_join(webhook->thread, NULL);
	webhook->started = false;
}

void webhook_free(struct webhook *webhook)
{
	if (!webhook)
		return;
	while (webhook->count)
		drop_first_locked(webhook);
	leave_place_locked(webhook->place);
	pthread_cond_destroy(&webhook->changed);
	pthread_mutex_destroy(&webhook->mutex);
	free(webhook);
}
