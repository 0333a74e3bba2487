/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.c: an export has a thread of its own for the time it takes, since memory's answers have to be listed and
 * sorted; it makes one block at a time and waits until the client has read it. It knows them by their digests, so that
 * a slow client keeps nothing in memory that has left it. An import comes in pieces, each a request.
 */
#include "gateway/admin/export.h"

#include <pthread.h>
#include <stdlib.h>

#include "cache/dump.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

enum { BLOCK_BYTES = 256 * 1024, BLOCK_BYTES_MAX = 128 << 20, UNREAD_BYTES = BLOCK_BYTES, REPLY_BYTES_MAX = 4096 };
#define LOOK_AGAIN_US (2 * CLOCK_US_PER_MS)

/* One export. Its thread makes the block and posts the mail; the worker empties the block and says `go`. */
struct export
{
	struct worker *worker;
	struct request *request; /* the worker's; NULL: the client has left */
	struct mail mail;
	struct loop_timer timer; /* the worker's: has the client read enough? */
	struct cache *cache;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t said;
	bool out;         /* m: the mail is, and the block with it */
	bool go, stop;    /* m */
	struct buf block; /* whose turn it is */
	bool last, ok;    /* with the block: there is no other; all is in it */
	size_t limit;     /* answers at most */
};

/* --- the thread --- */

/* Hand the block over and wait until it may be filled again: also when it is to stop, for the mail is posted anew only
 * after the box let go of it. False: nobody wants more. */
static bool hand_over(struct export *export, bool last)
{
	export->last = last;
	pthread_mutex_lock(&export->mutex);
	export->out = true;
	pthread_mutex_unlock(&export->mutex);
	worker_post(export->worker, &export->mail);
	if (last)
		return false;
	pthread_mutex_lock(&export->mutex);
	while (export->out || (!export->go && !export->stop))
		pthread_cond_wait(&export->said, &export->mutex);
	export->go = false;
	bool stop = export->stop;
	pthread_mutex_unlock(&export->mutex);
	return !stop;
}

/* Whether it is still in memory, and in the block now. */
static bool put_listed(struct export *export, const uint8_t *digest)
{
	struct entry *entry = cache_peek(export->cache, digest);
	bool put = entry && dump_put_entry(&export->block, entry);
	entry_unref(entry);
	return put;
}

static void *run_export(void *context)
{
	struct export *export = context;
	struct memory_list list = { NULL, 0 };
	size_t count = 0;
	bool wanted = true;
	export->ok = cache_list(export->cache, &list);
	dump_put_head(&export->block);
	for (size_t i = 0; wanted && i < list.count && count < export->limit; i++) {
		count += put_listed(export, list.all[i].digest);
		if (export->block.failed)
			break;
		if (export->block.len >= BLOCK_BYTES)
			wanted = hand_over(export, false);
	}
	dump_put_end(&export->block, count);
	export->ok = export->ok && !export->block.failed;
	memory_list_free(&list);
	hand_over(export, true);
	return NULL;
}

/* --- the worker --- */

static void say_stop(struct export *export, bool stop)
{
	pthread_mutex_lock(&export->mutex);
	export->go = true;
	export->stop = export->stop || stop;
	pthread_cond_signal(&export->said);
	pthread_mutex_unlock(&export->mutex);
}

/* The mail has come, and the block is empty. */
static void take_back(struct export *export)
{
	pthread_mutex_lock(&export->mutex);
	export->out = export->go = false;
	pthread_cond_signal(&export->said);
	pthread_mutex_unlock(&export->mutex);
}

static void free_export(struct export *export)
{
	struct worker *worker = export->worker;
	loop_disarm(worker->loop, &export->timer);
	loop_timers_release(worker->loop, 1);
	worker->gateway->export = NULL;
	pthread_mutex_destroy(&export->mutex);
	pthread_cond_destroy(&export->said);
	buf_fini(&export->block);
	free(export);
}

static void finish_export(struct export *export)
{
	pthread_join(export->thread, NULL); /* the mail was its last deed */
	struct request *request = export->request;
	if (request) {
		request->waits_for = NULL;
		if (export->ok)
			request_stream_end(request);
		else
			request_stream_abort(request);
	}
	free_export(export);
}

static void block_came(struct mail *mail)
{
	struct export *export = container_of(mail, struct export, mail);
	if (export->request && !request_stream_put(export->request, buf_slice(&export->block)))
		export->ok = false;
	buf_reset(&export->block);
	if (export->last) {
		finish_export(export);
		return;
	}
	take_back(export);
	loop_arm(export->worker->loop, &export->timer, loop_now(export->worker->loop));
}

static void look_again(struct loop_timer *timer, uint64_t now_us)
{
	struct export *export = container_of(timer, struct export, timer);
	if (export->request && request_stream_unread(export->request) > UNREAD_BYTES)
		loop_arm(export->worker->loop, timer, clock_add(now_us, LOOK_AGAIN_US));
	else
		say_stop(export, !export->request);
}

static void on_left(struct request *request)
{
	struct export *export = request->waits_for;
	export->request = NULL; /* look says so when it is the worker's turn */
	if (export->timer.place)
		loop_arm(export->worker->loop, &export->timer, loop_now(export->worker->loop));
}

static size_t read_limit(const struct request *request)
{
	struct slice text = request_query(request, SLICE("limit"));
	size_t limit = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9' || limit > SIZE_MAX / 16)
			return 0;
		limit = limit * 10 + (size_t)(text.at[i] - '0');
	}
	return request->query.len ? limit : SIZE_MAX;
}

static struct export *export_new(struct worker *worker, struct request *request, size_t limit)
{
	struct export *export = calloc(1, sizeof *export);
	if (!export || !loop_timers_reserve(worker->loop, 1)) {
		free(export);
		return NULL;
	}
	export->worker = worker;
	export->request = request;
	export->mail.open = block_came;
	export->timer = LOOP_TIMER_INIT(look_again);
	export->cache = worker->gateway->cache;
	export->limit = limit;
	buf_init(&export->block, BLOCK_BYTES_MAX);
	pthread_mutex_init(&export->mutex, NULL);
	pthread_cond_init(&export->said, NULL);
	worker->gateway->export = export;
	return export;
}

void page_admin_export(struct worker *worker, struct request *request, struct slice rest)
{
	size_t limit = read_limit(request);
	struct reply reply UNCLEARED;
	(void)rest;
	if (!limit) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL, "Only limit is known: how many answers at most.");
		return;
	}
	if (request->method == HTTP_HEAD) {
		reply_init(&reply, 200);
		request_reply(request, &reply);
		return;
	}
	if (worker->gateway->export) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "An export is under way; one at a time.");
		return;
	}
	struct export *export = export_new(worker, request, limit);
	if (!export || pthread_create(&export->thread, NULL, run_export, export) != 0) {
		if (export)
			free_export(export);
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory or threads.");
		return;
	}
	pthread_setname_np(export->thread, "export");
	reply_init(&reply, 200);
	reply.content_type = "application/x-ndjson";
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_header_text(&reply, "Cache-Control", SLICE("no-store"));
	request->waits_for = export;
	request->gone = on_left;
	request_stream_start(request, &reply);
}

void export_end(struct gateway *gateway)
{
	struct export *export = gateway->export;
	if (!export)
		return;
	struct worker *worker = export->worker;
	while (gateway->export) { /* until its last mail has come */
		say_stop(export, true);
		worker_await_mail(worker);
	}
}

/* --- import --- */

struct imported {
	size_t stored, known, no_room, expired, damaged;
};

static void take_entry(struct worker *worker, struct entry *entry, struct imported *imported)
{
	struct cache *cache = worker->gateway->cache;
	switch (cache_import(cache, entry)) {
	case MEMORY_ADDED:
		imported->stored++;
		break;
	case MEMORY_KNOWN:
		imported->known++;
		return;
	case MEMORY_NO_ROOM:
		imported->no_room++;
		break;
	}
	if (worker->tier)
		tier_put(worker->tier, entry, 0, loop_now(worker->loop)); /* what becomes of it is counted there */
}

static void take_line(struct worker *worker, struct slice line, struct imported *imported)
{
	struct entry *entry;
	size_t count;
	if (!line.len || dump_is_end(line, &count))
		return;
	switch (dump_read_entry(line, &entry)) {
	case DUMP_OK:
		take_entry(worker, entry, imported);
		entry_unref(entry);
		break;
	case DUMP_GONE:
		imported->expired++;
		break;
	case DUMP_DAMAGED:
		imported->damaged++;
		break;
	case DUMP_NO_MEMORY:
		imported->no_room++;
		break;
	}
}

static struct slice next_line(struct slice *rest)
{
	const char *end = rest->len ? memchr(rest->at, '\n', rest->len) : NULL;
	size_t len = end ? (size_t)(end - rest->at) : rest->len;
	struct slice line = { rest->at, len };
	rest->at += len + (end != NULL);
	rest->len -= len + (end != NULL);
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	return line;
}

void page_admin_import(struct worker *worker, struct request *request, struct slice rest)
{
	struct imported imported = { 0 };
	struct slice lines = buf_slice(&request->body);
	char why[256];
	(void)rest;
	if (!dump_check_head(next_line(&lines), why, sizeof why)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL, "%s Nothing was imported.", why);
		return;
	}
	while (lines.len)
		take_line(worker, next_line(&lines), &imported);
	struct buf text = BUF_INIT(REPLY_BYTES_MAX);
	buf_printf(&text, "{\"imported\":%zu,\"known\":%zu,\"no_room\":%zu,\"expired\":%zu,\"damaged\":%zu}\n",
		   imported.stored, imported.known, imported.no_room, imported.expired, imported.damaged);
	reply_text(request, 200, "application/json", &text);
}
