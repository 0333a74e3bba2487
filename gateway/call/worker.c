/* worker.c: the worker's catalogue: how it gets another one, and what it is asked about its tools. */
#include "gateway/call/worker.h"

#include "gateway/call/await_lists.h"

/* A tool that is no longer there has no tags. */
static bool has_tag(const void *context, struct slice name, struct slice tag)
{
	const struct worker *worker = context;
	const struct tool *tool = catalogue_tool(worker->catalogue, name);
	for (size_t i = 0; tool && i < tool->tag_count; i++)
		if (slice_equal(slice_of(tool->tags[i]), tag))
			return true;
	return false;
}

static void take_offer(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, offer);
	/* release too: whoever posts this mail again must see that the box is done with it */
	struct catalogue *next = atomic_exchange_explicit(&worker->offered, NULL, memory_order_acq_rel);
	struct catalogue *before = worker->catalogue;
	bool news = catalogue_generation(next) != catalogue_generation(before);
	worker->catalogue = catalogue_hold(next, worker->index);
	catalogue_unref(next);
	catalogue_drop(before, worker->index);
	struct catalogue_listener *listener = TAILQ_FIRST(&worker->listeners);
	while (news && listener) {
		struct catalogue_listener *behind = TAILQ_NEXT(listener, next);
		listener->changed(listener);
		listener = behind;
	}
	lists_news(worker);
}

void worker_offer_catalogue(struct worker *worker, struct catalogue *catalogue)
{
	struct catalogue *passed_over =
		atomic_exchange_explicit(&worker->offered, catalogue_ref(catalogue), memory_order_acq_rel);
	if (passed_over)
		catalogue_unref(passed_over);
	else
		mailbox_post(&worker->mailbox, &worker->offer);
}

void gateway_offer_catalogue(void *context, struct catalogue *catalogue)
{
	struct gateway *gateway = context;
	for (unsigned i = 0; i < gateway->config->workers; i++)
		worker_offer_catalogue(gateway->workers[i], catalogue);
}

void worker_init_catalogue(struct worker *worker, struct catalogue *first)
{
	worker->catalogue = catalogue_hold(first, worker->index);
	worker->offer.open = take_offer;
	worker->tags = (struct purge_tags){ has_tag, worker };
}
