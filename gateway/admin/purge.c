/* purge.c: a purge waits for the disk's thread, whose word comes by mail. */
#include "gateway/admin/purge.h"

#include <stdlib.h>

#include "gateway/call/reply.h"

#define PATIENCE_US (2 * CLOCK_US_PER_S)
enum { REPLY_BYTES_MAX = 4096 };

struct purging {
	struct disk_purge purge;
	struct mail mail; /* home from the disk's thread */
	struct worker *worker;
	struct loop_timer timer;
	struct request *request; /* NULL: not yet, or nobody waits any more */
	bool home, settled;      /* the mail has come; the request needs nothing any more */
	bool done;               /* what the disk said */
	size_t purged, of_disk;
};

static void free_when_over(struct purging *purging)
{
	if (!purging->home || !purging->settled)
		return;
	loop_disarm(purging->worker->loop, &purging->timer);
	loop_timers_release(purging->worker->loop, 1);
	buf_fini(&purging->purge.names);
	free(purging);
}

/* pending: it will be done, and until then the disk is not looked at. emptied: likewise, all of it. */
static void reply(struct purging *purging)
{
	struct request *request = purging->request;
	struct buf text = BUF_INIT(REPLY_BYTES_MAX);
	purging->request = NULL;
	purging->settled = true;
	buf_printf(&text, "{\"purged\":%zu,\"disk\":{\"status\":\"%s\",\"purged\":%zu}}\n", purging->purged,
		   !purging->home  ? "pending"
		   : purging->done ? "done"
				   : "emptied",
		   purging->of_disk);
	request->waits_for = NULL;
	request->gone = NULL;
	reply_text(request, 200, "application/json", &text);
}

static void came_home(struct mail *mail)
{
	struct purging *purging = container_of(mail, struct purging, mail);
	purging->home = true;
	if (purging->request)
		reply(purging);
	free_when_over(purging);
}

/* On the disk's thread. */
static void ended(struct disk_purge *purge, size_t count, bool done)
{
	struct purging *purging = container_of(purge, struct purging, purge);
	purging->of_disk = count;
	purging->done = done;
	mailbox_post(&purging->worker->mailbox, &purging->mail);
}

static void waited_enough(struct loop_timer *timer, uint64_t now_us)
{
	struct purging *purging = container_of(timer, struct purging, timer);
	(void)now_us;
	if (purging->request)
		reply(purging);
	free_when_over(purging);
}

static void left(struct request *request)
{
	struct purging *purging = request->waits_for;
	purging->request = NULL;
	purging->settled = true;
	free_when_over(purging);
}

struct purging *purging_begin(struct worker *worker, int what, struct buf *names)
{
	struct purging *purging = names->failed ? NULL : calloc(1, sizeof *purging);
	if (!purging || !loop_timers_reserve(worker->loop, 1)) {
		free(purging);
		buf_fini(names);
		disk_empty(worker->gateway->disk);
		return NULL;
	}
	purging->purge.what = what;
	purging->purge.names = *names;
	purging->purge.ended = ended;
	purging->mail.open = came_home;
	purging->worker = worker;
	purging->timer = LOOP_TIMER_INIT(waited_enough);
	disk_purge(worker->gateway->disk, &purging->purge);
	return purging;
}

void purging_reply(struct purging *purging, struct request *request, size_t purged)
{
	purging->request = request;
	purging->purged = purged;
	request->waits_for = purging;
	request->gone = left;
	loop_arm(purging->worker->loop, &purging->timer, clock_add(loop_now(purging->worker->loop), PATIENCE_US));
}
