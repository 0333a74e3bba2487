/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purge.c: a purge under way: memory is swept by the worker's turns, the disk's word comes by mail, the fleet's by Redis. Or
 * the count of what one would drop, which goes the same way and drops nothing.
 */
#include "gateway/admin/purge.h"

#include <stdlib.h>

#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

#define PATIENCE_US (2 * CLOCK_US_PER_S)
#define LOOK_AGAIN_US CLOCK_US_PER_MS
#define COUNTING_US 500 /* of a turn, and as long again for all else */
enum { REPLY_BYTES_MAX = 4096, NAMES_BYTES_MAX = 1 << 20 };

struct purging {
	struct disk_purge disk;
	struct mail mail; /* home from the disk's thread */
	struct worker *worker;
	struct loop_timer timer; /* armed while somebody waits */
	struct request *request; /* NULL: nobody waits any more */
	bool counts;             /* nothing is purged */
	bool counted;
	struct cache_count in_memory;            /* counts */
	uint64_t until_us, event, purged_before; /* the last two: a purge's */
	bool has_disk, home;                     /* the disk has a part in it, and its mail has come */
	bool done;                               /* what the disk said */
	size_t of_disk;
	size_t text_len;
	char text[PURGE_TEXT_BYTES];
};

static void free_when_over(struct purging *purging)
{
	if (purging->request || (purging->has_disk && !purging->home))
		return;
	loop_disarm(purging->worker->loop, &purging->timer);
	loop_timers_release(purging->worker->loop, 1);
	buf_fini(&purging->disk.names);
	free(purging);
}

static bool is_swept(const struct purging *purging)
{
	return cache_is_swept(purging->worker->gateway->cache, purging->event);
}

static bool is_published(const struct purging *purging)
{
	struct purges *purges = &cache_rule(purging->worker->gateway->cache)->purges;
	return !purging->worker->tracking ||
	       purges_is_published(purges, (struct slice){ purging->text, purging->text_len });
}

/* What is not done yet will be; it holds all the same: nothing of it is served, here at once, elsewhere when published. */
static void reply_purged(struct purging *purging)
{
	const struct worker *worker = purging->worker;
	struct request *request = purging->request;
	struct buf text = BUF_INIT(REPLY_BYTES_MAX);
	purging->request = NULL;
	buf_printf(&text, "{\"purged\":%llu",
		   (unsigned long long)(cache_purged(worker->gateway->cache) - purging->purged_before));
	if (!is_swept(purging))
		buf_put_text(&text, ",\"memory\":\"sweeping\"");
	if (worker->tracking)
		buf_printf(&text, ",\"fleet\":\"%s\"", is_published(purging) ? "published" : "pending");
	if (purging->has_disk)
		buf_printf(&text, ",\"disk\":{\"status\":\"%s\",\"purged\":%zu}",
			   !purging->home  ? "pending"
			   : purging->done ? "done"
					   : "emptied",
			   purging->of_disk);
	buf_put_text(&text, "}\n");
	request->waits_for = NULL;
	request->gone = NULL;
	reply_text(request, 200, "application/json", &text);
}

/* What Redis holds is not counted: it would have to be read whole. */
static void reply_counted(struct purging *purging)
{
	struct request *request = purging->request;
	struct buf text = BUF_INIT(REPLY_BYTES_MAX);
	purging->request = NULL;
	buf_printf(&text, "{\"memory\":{\"status\":\"%s\",\"entries\":%llu,\"bytes\":%llu}",
		   purging->counted ? "counted" : "more", (unsigned long long)purging->in_memory.entries,
		   (unsigned long long)purging->in_memory.bytes);
	if (purging->has_disk)
		buf_printf(&text, ",\"disk\":{\"status\":\"%s\",\"entries\":%zu}",
			   !purging->home  ? "pending"
			   : purging->done ? "counted"
					   : "away",
			   purging->of_disk);
	if (worker_generation(purging->worker)->redis)
		buf_put_text(&text, ",\"redis\":{\"status\":\"not_counted\"}");
	buf_put_text(&text, "}\n");
	request->waits_for = NULL;
	request->gone = NULL;
	reply_text(request, 200, "application/json", &text);
}

static bool is_counted(struct purging *purging)
{
	const struct worker *worker = purging->worker;
	struct purge_scope scope = purge_scope_read((struct slice){ purging->text, purging->text_len });
	if (!purging->counted)
		purging->counted = !cache_count_covered(worker->gateway->cache, &scope, &worker->tags,
							clock_now_us() + COUNTING_US, &purging->in_memory);
	return purging->counted;
}

static void look_again(struct loop_timer *timer, uint64_t now_us)
{
	struct purging *purging = container_of(timer, struct purging, timer);
	bool here = !purging->request ? true
		    : purging->counts ? is_counted(purging)
				      : is_swept(purging) && is_published(purging);
	bool over = here && (!purging->has_disk || purging->home);
	if (purging->request && !over && now_us < purging->until_us) {
		loop_arm(purging->worker->loop, timer, now_us + LOOK_AGAIN_US);
		return;
	}
	if (purging->request && purging->counts)
		reply_counted(purging);
	else if (purging->request)
		reply_purged(purging);
	free_when_over(purging);
}

static void came_home(struct mail *mail)
{
	struct purging *purging = container_of(mail, struct purging, mail);
	purging->home = true;
	free_when_over(purging);
}

/* On the disk's thread. */
static void on_ended(struct disk_purge *purge, size_t count, bool done)
{
	struct purging *purging = container_of(purge, struct purging, disk);
	purging->of_disk = count;
	purging->done = done;
	worker_post(purging->worker, &purging->mail);
}

static void on_left(struct request *request)
{
	struct purging *purging = request->waits_for;
	purging->request = NULL;
	free_when_over(purging);
}

/* The tools it covers, for the disk, whose rows know their tools by name; a NUL behind each. */
static void put_names(struct buf *names, const struct worker *worker, const struct purge_scope *scope)
{
	for (size_t i = 0; i < catalogue_count(worker->catalogue); i++) {
		const struct tool *tool = catalogue_nth(worker->catalogue, i);
		struct slice name = slice_of(tool->name);
		if ((scope->tool.len && !slice_equal(name, scope->tool)) ||
		    (scope->tag.len && !tool_has_tag(tool, scope->tag)) || name.len < scope->prefix.len ||
		    (scope->prefix.len && memcmp(name.at, scope->prefix.at, scope->prefix.len) != 0))
			continue;
		buf_put(names, name);
		buf_put_char(names, '\0');
	}
}

static void ask_disk(struct purging *purging, const struct purge_scope *scope)
{
	struct worker *worker = purging->worker;
	struct disk_purge *purge = &purging->disk;
	purge->ended = on_ended;
	if (purge_scope_is_key(scope, purge->digest)) {
		purge->what = DISK_PURGE_KEY;
	} else if (!scope->tool.len && !scope->tag.len && !scope->key.len) {
		purge->what = scope->prefix.len ? DISK_PURGE_PREFIX : DISK_PURGE_ALL;
		buf_put(&purge->names, scope->prefix);
	} else {
		purge->what = DISK_PURGE_TOOLS; /* a key among others: its row is refused when it is read */
		if (!scope->key.len)
			put_names(&purge->names, worker, scope);
	}
	if (purge->names.failed) {
		purge->what = DISK_PURGE_ALL;
		buf_reset(&purge->names);
	}
	purging->has_disk = true;
	if (purging->counts)
		disk_count(worker->gateway->disk, purge);
	else
		disk_purge(worker->gateway->disk, purge);
}

static struct purging *purging_new(struct worker *worker)
{
	struct purging *purging = calloc(1, sizeof *purging);
	if (!purging || !loop_timers_reserve(worker->loop, 1)) {
		free(purging);
		return NULL;
	}
	purging->mail.open = came_home;
	purging->worker = worker;
	purging->timer = LOOP_TIMER_INIT(look_again);
	buf_init(&purging->disk.names, NAMES_BYTES_MAX);
	return purging;
}

static void begin_purging(struct worker *worker, struct request *request, const struct purge_scope *scope, bool counts)
{
	struct purging *purging = purging_new(worker);
	if (!purging) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory; nothing was purged.");
		return;
	}
	purging->counts = counts;
	purging->purged_before = cache_purged(worker->gateway->cache);
	purging->text_len = purge_scope_write(scope, purging->text).len;
	if (!counts)
		purging->event = cache_purge(worker->gateway->cache, scope);
	if (worker->gateway->disk)
		ask_disk(purging, scope);
	purging->request = request;
	purging->until_us = clock_add(loop_now(worker->loop), PATIENCE_US);
	request->waits_for = purging;
	request->gone = on_left;
	loop_arm(worker->loop, &purging->timer, loop_now(worker->loop));
}

void purge_and_reply(struct worker *worker, struct request *request, const struct purge_scope *scope)
{
	begin_purging(worker, request, scope, false);
}

void purge_count_and_reply(struct worker *worker, struct request *request, const struct purge_scope *scope)
{
	begin_purging(worker, request, scope, true);
}
