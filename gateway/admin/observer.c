/* SPDX-License-Identifier: Apache-2.0 */
/* observer.c: a loop of its own, which turns once a second and whenever a page is asked for. */
#include "gateway/admin/observer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/crash.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "gateway/admin/alerts.h"
#include "gateway/admin/condition.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/tools/registry.h"
#include "metrics/history.h"

enum { PAGE_BYTES_MAX = 64 << 20 };
#define LOOK_EVERY_US CLOCK_US_PER_S

struct observer {
	struct gateway *gateway;           /* c */
	struct loop *loop;                 /* the thread's */
	struct history *history;           /* likewise */
	struct alerts *alerts;             /* likewise */
	struct condition_book *conditions; /* likewise */
	struct catalogue *catalogue;       /* likewise: held, the last one that was offered */
	struct mailbox mailbox;            /* of pages */
	pthread_t thread;                  /* main's */
	bool started;                      /* main's */
	atomic_bool stopping;              /* a */
};
/* c constant, a atomic */

/* One page somebody waits for: by mail there and back. */
struct page {
	struct mail mail;
	struct observer *observer;
	struct worker *home;
	struct request *request;     /* the home's; NULL: its client has left */
	struct catalogue *catalogue; /* held by the home */
	page_writer *write;
	page_sender *send;
	struct buf text;
};

static struct observation take_observation(const struct observer *observer, const struct catalogue *catalogue)
{
	return (struct observation){ .gateway = observer->gateway,
				     .history = observer->history,
				     .alerts = observer->alerts,
				     .conditions = observer->conditions,
				     .catalogue = catalogue,
				     .now_us = loop_now(observer->loop) };
}

/* --- pages --- */

/* Back at its worker, or on main once that has ended. */
static void bring_home(struct mail *mail)
{
	struct page *page = container_of(mail, struct page, mail);
	struct request *request = page->request;
	if (request) {
		request->waits_for = NULL;
		request->gone = NULL;
		page->send(request, &page->text);
	}
	worker_drop_catalogue(page->home, page->catalogue);
	buf_fini(&page->text);
	free(page);
}

/* On the observer's thread; or on main, once that has ended: then there is nobody left to read it. */
static void write_page(struct mail *mail)
{
	struct page *page = container_of(mail, struct page, mail);
	struct observer *observer = page->observer;
	const struct observation of = take_observation(observer, page->catalogue);
	if (!atomic_load_explicit(&observer->stopping, memory_order_acquire))
		page->write(&of, &page->text);
	page->mail.open = bring_home;
	worker_post(page->home, &page->mail);
}

static void forget_client(struct request *request)
{
	struct page *page = request->waits_for;
	page->request = NULL;
}

void observer_reply(struct worker *worker, struct request *request, page_writer *write, page_sender *send)
{
	struct page *page = calloc(1, sizeof *page);
	if (!page) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return;
	}
	*page = (struct page){ .mail.open = write_page,
			       .observer = worker_gateway(worker)->observer,
			       .home = worker,
			       .request = request,
			       .catalogue = worker_hold_catalogue(worker),
			       .write = write,
			       .send = send };
	buf_init(&page->text, PAGE_BYTES_MAX);
	request->waits_for = page;
	request->gone = forget_client;
	mailbox_post(&page->observer->mailbox, &page->mail);
}

/* --- life --- */

/* What alerts are evaluated for: the newest. */
static void take_catalogue(struct observer *observer)
{
	struct catalogue *next = atomic_exchange_explicit(&observer->gateway->observed, NULL, memory_order_acq_rel);
	if (!next)
		return;
	catalogue_retire(observer->catalogue);
	observer->catalogue = next;
}

static void look_around(struct observer *observer)
{
	take_catalogue(observer);
	history_tick(observer->history, loop_refresh(observer->loop));
	alerts_look(observer->alerts, observer->catalogue, loop_now(observer->loop));
	const struct observation of = take_observation(observer, observer->catalogue);
	condition_book_look(observer->conditions, &of);
}

static void *run_observer(void *context)
{
	struct observer *observer = context;
	uint64_t due_us = 0;
	crash_handler_thread();
	while (!atomic_load_explicit(&observer->stopping, memory_order_acquire)) {
		loop_wait(observer->loop, due_us);
		mailbox_open(&observer->mailbox);
		if (loop_now(observer->loop) < due_us)
			continue;
		look_around(observer);
		due_us = loop_now(observer->loop) + LOOK_EVERY_US;
	}
	loop_release(observer->loop);
	return NULL;
}

struct observer *observer_new(struct gateway *gateway)
{
	struct observer *observer = calloc(1, sizeof *observer);
	if (!observer)
		return NULL;
	observer->gateway = gateway;
	observer->loop = loop_new();
	observer->history = history_new(gateway->metrics);
	observer->alerts = observer->history ? alerts_new(gateway, observer->history) : NULL;
	observer->catalogue = catalogue_enforce(registry_catalogue(gateway->registry));
	observer->conditions = condition_book_new(gateway);
	if (!observer->loop || !observer->alerts || !observer->conditions) {
		observer_free(observer);
		return NULL;
	}
	mailbox_init(&observer->mailbox, observer->loop);
	return observer;
}

bool observer_start(struct observer *observer)
{
	if (!alerts_start(observer->alerts))
		return false;
	int result = pthread_create(&observer->thread, NULL, run_observer, observer);
	if (result) {
		errno = result;
		return false;
	}
	observer->started = true;
	pthread_setname_np(observer->thread, "observer");
	return true;
}

void observer_stop(struct observer *observer)
{
	atomic_store_explicit(&observer->stopping, true, memory_order_release);
	if (observer->started) {
		loop_wake(observer->loop);
		pthread_join(observer->thread, NULL);
		observer->started = false;
	}
	alerts_stop(observer->alerts);
}

void observer_settle(struct observer *observer)
{
	while (mailbox_open(&observer->mailbox))
		;
}

void observer_free(struct observer *observer)
{
	if (!observer)
		return;
	alerts_free(observer->alerts);
	condition_book_free(observer->conditions);
	history_free(observer->history);
	catalogue_retire(observer->catalogue);
	catalogue_retire(atomic_exchange(&observer->gateway->observed, NULL));
	loop_free(observer->loop);
	free(observer);
}
