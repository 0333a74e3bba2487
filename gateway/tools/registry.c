/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c: news from upstreams, the thread that reads them, and what it tells. */
#include "gateway/tools/registry.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/loop.h"
#include "gateway/tools/list_store.h"
#include "gateway/tools/name_map.h"
#include "gateway/tools/tool_labels.h"

enum { WHY_BYTES = 200, REFUSALS_LOGGED = 20, CHANGES_LOGGED = 20 };
/* When memory was out, the news are looked at again after this. */
#define RETRY_US CLOCK_US_PER_S
/* Lists are kept so long after they came: servers that are started together speak together. */
#define SAVE_AFTER_US (2 * CLOCK_US_PER_S)
#define SAVE_AGAIN_US (30 * CLOCK_US_PER_S) /* after it failed */
/* A disk that takes longer at the end hangs. */
#define HANGS_US (5 * CLOCK_US_PER_S)

struct report;

/* One upstream, as the registry knows it. */
struct source {
	struct registry *registry;
	struct upstream_watcher watcher; /* its context is this source */
	unsigned upstream;
	_Atomic(struct report *) news; /* a: the newest, until it is read: what it replaces nobody needs; or NULL */
	struct listing *listing;       /* owned; NULL: none yet */
	struct blob *raw;              /* owned; its bytes, where lists are kept; else NULL */
	uint64_t listed_at_s;          /* wall clock: when it said so */
	struct blob *instructions;     /* owned; what it says of their use; NULL: nothing */
	enum listing_state state;
	uint64_t listed_us;
	char why[WHY_BYTES];
};

struct registry {
	struct generation *generation; /* held */
	unsigned workers;              /* c */
	struct loop *loop;             /* the thread's */
	atomic_bool stopping;          /* a */
	pthread_t thread;              /* c: main's, to join */
	bool started;                  /* main's */
	registry_offer *offer;         /* c: while the thread runs */
	void *offer_context;           /* c: likewise */
	struct slots *slots;           /* the thread's, as all below */
	struct meter *meter;           /* NULL: none */
	struct source *sources;        /* by upstream */
	uint64_t *definitions;         /* by slot: digest of what was last said of the tool; 0: nothing yet */
	struct catalogue *current;     /* owned reference */
	bool dirty;                    /* the sources say more than `current` does */
	bool unsaved;                  /* and more than the file of mcp.lists, */
	uint64_t save_us;              /* which is written then */
	bool save_failed;              /* the last time; told once */
};
/* c constant once the thread runs, a atomic */

/* What an upstream has said last: a list, then maybe that it failed. */
struct report {
	struct blob *tools;        /* NULL: no list */
	struct blob *instructions; /* with the list; NULL: none */
	bool failed;
	char why[WHY_BYTES];
};

static void report_free(struct report *report)
{
	if (report) {
		blob_unref(report->tools);
		blob_unref(report->instructions);
	}
	free(report);
}

/* ---------------------------------------------------------------- news, on the upstream's thread */

/* Takes `tools` and `instructions`. The registry holds one report of each upstream at most: one that has not been read
 * yet gives way, but for its list if there is no newer one. */
static void send_report(struct source *source, struct blob *tools, struct blob *instructions, bool failed,
			const char *why)
{
	struct report *before = atomic_exchange_explicit(&source->news, NULL, memory_order_acquire);
	struct report *report = before ? before : calloc(1, sizeof *report);
	if (!report) { /* the list stays as it is; the upstream will list again */
		log_message(&EVENT_TOOLS_FAILED, "upstream %s: out of memory for the news of its tools",
			    source->registry->generation->upstreams[source->upstream].settings.name);
		blob_unref(tools);
		blob_unref(instructions);
		return;
	}
	if (tools) {
		blob_unref(report->tools);
		blob_unref(report->instructions);
		report->tools = tools;
		report->instructions = instructions;
	}
	report->failed = failed;
	snprintf(report->why, sizeof report->why, "%s", why);
	atomic_store_explicit(&source->news, report, memory_order_release); /* its only writer is this thread */
	loop_wake(source->registry->loop);
}

static void on_tools_listed(void *context, struct slice tools, struct slice instructions)
{
	struct blob *copy = blob_copy(tools);
	struct blob *said = copy && instructions.len ? blob_copy(instructions) : NULL; /* no memory: none */
	send_report(context, copy, said, !copy, copy ? "" : "the gateway has no memory for its list");
}

static void on_list_failed(void *context, const char *why)
{
	send_report(context, NULL, NULL, true, why);
}

/* ---------------------------------------------------------------- news, on the registry's */

static unsigned source_label(const struct source *source)
{
	return source->registry->generation->upstreams[source->upstream].settings.label;
}

static void fail(struct source *source, const char *why)
{
	enum listing_state state = source->state == LISTING_KEPT ? LISTING_KEPT
				   : source->listing             ? LISTING_STALE
								 : LISTING_AWAITED;
	bool news = source->state != state || !source->why[0];
	source->state = state;
	source->registry->dirty |= news || strcmp(source->why, why) != 0;
	snprintf(source->why, sizeof source->why, "%s", why);
	if (source->registry->meter)
		meter_add(source->registry->meter, METRIC_ID_UPSTREAM_LIST_FAILURES, source_label(source), 0, 1);
	if (news)
		log_message(&EVENT_TOOLS_FAILED, "upstream %s: %s%s",
			    source->registry->generation->upstreams[source->upstream].settings.name, why,
			    source->listing ? "; its last list stays in use" : "");
}

static bool is_stopping(const struct registry *registry)
{
	return atomic_load_explicit(&registry->stopping, memory_order_acquire);
}

static void log_digest(struct log_line *line, const char *name, uint64_t digest)
{
	char text[20];
	snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
	log_cstr(line, name, text);
}

/* What a model is told of a tool has changed in the hands of the server, which may be an update, or a trick; also if
 * the tool was gone in between. */
static void note_definitions(struct source *source)
{
	struct registry *registry = source->registry;
	struct log_line line UNCLEARED;
	size_t logged = 0;
	for (size_t i = 0; i < source->listing->count; i++) {
		const struct tool *tool = &source->listing->tools[i];
		uint64_t *known = &registry->definitions[tool->index], old = *known;
		*known = tool->definition;
		if (!old || old == tool->definition)
			continue;
		if (registry->meter)
			meter_add(registry->meter, METRIC_ID_TOOL_DEFINITION_CHANGES, source_label(source), 0, 1);
		if (logged++ >= CHANGES_LOGGED || !log_begin(&line, &EVENT_TOOL_CHANGED))
			continue;
		log_cstr(&line, "upstream", registry->generation->upstreams[source->upstream].settings.name);
		log_cstr(&line, "tool", tool->name);
		log_digest(&line, "old", old);
		log_digest(&line, "new", tool->definition);
		log_end(&line);
	}
}

static struct slice text_of(const struct blob *blob)
{
	return blob ? blob_slice(blob) : (struct slice){ NULL, 0 };
}

/* Takes it. */
static void take_instructions(struct source *source, struct blob *instructions)
{
	source->registry->dirty |= !slice_equal(text_of(source->instructions), text_of(instructions));
	blob_unref(source->instructions);
	source->instructions = instructions;
}

/* A list that is in force now, so that it is in force after a restart. Takes `raw`. */
static void keep_list(struct source *source, struct blob *raw)
{
	struct registry *registry = source->registry;
	blob_unref(source->raw);
	source->raw = raw;
	source->listed_at_s = clock_wall_us() / CLOCK_US_PER_S;
	if (registry->unsaved)
		return;
	registry->unsaved = true;
	registry->save_us = clock_add(clock_now_us(), SAVE_AFTER_US);
}

static void take_list(struct source *source, struct blob *raw)
{
	struct registry *registry = source->registry;
	struct slice tools = blob_slice(raw);
	char error[WHY_BYTES];
	if (listing_is_of(source->listing, tools)) {
		registry->dirty |= source->state != LISTING_FRESH;
	} else {
		struct listing *listing = listing_new(registry->generation, source->upstream, tools, registry->slots,
						      &registry->stopping, error, sizeof error);
		if (!listing) {
			if (!is_stopping(registry))
				fail(source, error);
			return;
		}
		listing_unref(source->listing);
		source->listing = listing;
		note_definitions(source);
		registry->dirty = true;
	}
	if (registry->generation->mcp.lists &&
	    (source->state != LISTING_FRESH || !source->raw || !slice_equal(blob_slice(source->raw), tools)))
		keep_list(source, blob_ref(raw));
	source->state = LISTING_FRESH;
	source->listed_us = clock_now_us();
	source->why[0] = '\0';
	if (registry->meter)
		meter_add(registry->meter, METRIC_ID_UPSTREAM_LISTS, source_label(source), 0, 1);
}

static void read_news(struct registry *registry)
{
	for (size_t i = 0; i < registry->generation->upstream_count; i++) {
		struct source *source = &registry->sources[i];
		struct report *report = atomic_exchange_explicit(&source->news, NULL, memory_order_acquire);
		if (report && report->tools) {
			take_instructions(source, report->instructions);
			report->instructions = NULL;
			take_list(source, report->tools);
		}
		if (report && report->failed)
			fail(source, report->why);
		report_free(report);
		if (is_stopping(registry))
			return;
	}
}

/* ---------------------------------------------------------------- the next catalogue */

static void log_refused(const char *upstream, const struct listing_status *before, const struct listing_status *now)
{
	struct log_line line UNCLEARED;
	struct name_map known; /* which one it was: with its old reason it is no news */
	size_t logged = 0;
	name_map_init(&known);
	for (size_t i = 0; i < before->refused_count; i++)
		name_map_add(&known, slice_of(before->refused[i].name), i);
	for (size_t i = 0; i < now->refused_count && logged < REFUSALS_LOGGED; i++) {
		const struct refused_tool *refused = &now->refused[i];
		const size_t *old = name_map_find(&known, slice_of(refused->name));
		if ((old && strcmp(before->refused[*old].why, refused->why) == 0) ||
		    !log_begin(&line, &EVENT_TOOL_REFUSED))
			continue;
		log_cstr(&line, "upstream", upstream);
		log_cstr(&line, "tool", refused->name);
		log_cstr(&line, "reason", refused->why);
		log_end(&line);
		logged++;
	}
	name_map_fini(&known);
	if (logged == REFUSALS_LOGGED)
		log_message(&EVENT_TOOL_REFUSED, "upstream %s: more at /admin/tools", upstream);
}

static void tell(struct registry *registry, const struct catalogue *before, const struct catalogue *now)
{
	for (unsigned i = 0; i < registry->generation->upstream_count; i++) {
		const char *upstream = registry->generation->upstreams[i].settings.name;
		struct listing_status old = catalogue_status(before, i), new = catalogue_status(now, i);
		if (new.state == LISTING_DECLARED)
			continue;
		log_refused(upstream, &old, &new);
		if (new.state == LISTING_FRESH && (old.state != LISTING_FRESH || old.tools != new.tools))
			log_message(&EVENT_TOOLS_LISTED, "upstream %s: %zu tools, %zu refused", upstream, new.tools,
				    new.refused_count);
	}
}

static void set_gauges(struct registry *registry)
{
	for (unsigned i = 0; registry->meter && i < registry->generation->upstream_count; i++) {
		struct listing_status status = catalogue_status(registry->current, i);
		unsigned label = registry->generation->upstreams[i].settings.label;
		meter_set(registry->meter, METRIC_ID_UPSTREAM_TOOLS, label, 0, (int64_t)status.tools);
		meter_set(registry->meter, METRIC_ID_UPSTREAM_TOOLS_REFUSED, label, 0, (int64_t)status.refused_count);
		meter_set(registry->meter, METRIC_ID_UPSTREAM_TOOLS_STALE, label, 0,
			  status.state == LISTING_STALE || status.state == LISTING_KEPT);
	}
}

/* NULL: out of memory. */
static struct catalogue *make_catalogue(struct registry *registry)
{
	size_t count = registry->generation->upstream_count;
	struct catalogue_part *parts = calloc(count + 1, sizeof *parts);
	if (!parts)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const struct source *source = &registry->sources[i];
		parts[i] = (struct catalogue_part){ source->listing, source->state, source->why, source->listed_us,
						    text_of(source->instructions) };
	}
	struct catalogue *catalogue = catalogue_new(registry->generation, registry->workers, parts, registry->current);
	free(parts);
	return catalogue;
}

bool registry_turn(struct registry *registry, registry_offer *offer, void *context)
{
	read_news(registry);
	if (!registry->dirty || is_stopping(registry))
		return true;
	struct catalogue *next = make_catalogue(registry), *before = registry->current;
	if (!next)
		return false;
	registry->current = next;
	registry->dirty = false;
	if (offer)
		offer(context, next);
	set_gauges(registry);
	tell(registry, before, next);
	catalogue_unref(before);
	return true;
}

/* ---------------------------------------------------------------- over a restart */

static void log_store(const struct registry *registry, const struct log_event *event, const char *why)
{
	log_message(event, "%s: %s", registry->generation->mcp.lists, why);
}

static void take_kept(void *context, const struct kept_list *list)
{
	struct registry *registry = context;
	struct source *source = &registry->sources[list->upstream];
	uint64_t now_s = clock_wall_us() / CLOCK_US_PER_S;
	uint64_t age_s = list->listed_at_s < now_s ? now_s - list->listed_at_s : 0;
	char error[WHY_BYTES];
	struct blob *raw = blob_copy(list->tools);
	struct listing *listing = raw ? listing_new(registry->generation, list->upstream, list->tools, registry->slots,
						    NULL, error, sizeof error)
				      : NULL;
	if (!listing) { /* its server is asked all the same */
		blob_unref(raw);
		return;
	}
	source->listing = listing;
	source->raw = raw;
	source->instructions = list->instructions.len ? blob_copy(list->instructions) : NULL;
	source->listed_at_s = now_s - age_s;
	source->listed_us = clock_now_us() - age_s * CLOCK_US_PER_S;
	source->state = LISTING_KEPT;
	note_definitions(source);
	registry->dirty = true;
	log_message(&EVENT_LIST_KEPT, "upstream %s: %zu tools, as it said %llu s ago, until it speaks",
		    registry->generation->upstreams[list->upstream].settings.name, listing->count,
		    (unsigned long long)age_s);
}

void registry_load(struct registry *registry)
{
	char why[LIST_STORE_WHY_BYTES];
	if (!registry->generation->mcp.lists)
		return;
	if (list_store_read(registry->generation, take_kept, registry, why) == LIST_STORE_DAMAGED)
		log_store(registry, &EVENT_LISTS_NOT_USED, why);
	if (!registry_turn(registry, NULL, NULL))
		registry->dirty = true; /* the first news will try again */
}

static void save(struct registry *registry)
{
	char why[LIST_STORE_WHY_BYTES];
	size_t count = 0;
	struct kept_list *lists = calloc(registry->generation->upstream_count + 1, sizeof *lists);
	for (unsigned i = 0; lists && i < registry->generation->upstream_count; i++) {
		const struct source *source = &registry->sources[i];
		if (source->raw)
			lists[count++] = (struct kept_list){ i, blob_slice(source->raw), text_of(source->instructions),
							     source->listed_at_s };
	}
	bool fine = lists && list_store_write(registry->generation, lists, count, why);
	if (!fine && !registry->save_failed)
		log_store(registry, &EVENT_LISTS_NOT_WRITTEN, lists ? why : "out of memory");
	registry->save_failed = registry->unsaved = !fine;
	registry->save_us = clock_add(loop_now(registry->loop), SAVE_AGAIN_US);
	free(lists);
}

static void *run(void *context)
{
	struct registry *registry = context;
	bool fine = true;
	crash_handler_thread();
	while (!is_stopping(registry)) {
		uint64_t due_us = fine ? CLOCK_NEVER : loop_now(registry->loop) + RETRY_US;
		loop_wait(registry->loop, registry->unsaved && registry->save_us < due_us ? registry->save_us : due_us);
		fine = registry_turn(registry, registry->offer, registry->offer_context);
		if (registry->unsaved && loop_now(registry->loop) >= registry->save_us)
			save(registry);
	}
	if (registry->unsaved)
		save(registry);
	return NULL;
}

/* ---------------------------------------------------------------- life */

struct registry *registry_new(const struct config *config)
{
	struct registry *registry = calloc(1, sizeof *registry);
	if (!registry)
		return NULL;
	registry->generation = generation_ref(&config->generation);
	registry->workers = config->workers;
	registry->loop = loop_new();
	registry->slots = slots_new(registry->generation);
	registry->sources = calloc(registry->generation->upstream_count + 1, sizeof *registry->sources);
	if (registry->slots)
		registry->definitions = calloc(slots_count(registry->slots) + 1, sizeof *registry->definitions);
	if (!registry->loop || !registry->definitions || !registry->sources)
		goto fail;
	for (unsigned i = 0; i < registry->generation->upstream_count; i++) {
		struct source *source = &registry->sources[i];
		source->registry = registry;
		source->watcher = (struct upstream_watcher){ on_tools_listed, on_list_failed, source };
		source->upstream = i;
		source->state = registry->generation->upstreams[i].settings.dialect->lists_tools ? LISTING_AWAITED
												 : LISTING_DECLARED;
	}
	registry->current = make_catalogue(registry);
	if (registry->current)
		return registry;
fail:
	registry_free(registry);
	return NULL;
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	assert(!registry->started);
	catalogue_unref(registry->current);
	for (size_t i = 0; registry->sources && i < registry->generation->upstream_count; i++) {
		report_free(atomic_load(&registry->sources[i].news)); /* which nobody has read */
		listing_unref(registry->sources[i].listing);
		blob_unref(registry->sources[i].raw);
		blob_unref(registry->sources[i].instructions);
	}
	free(registry->sources);
	free(registry->definitions);
	slots_free(registry->slots);
	loop_free(registry->loop);
	generation_unref(registry->generation);
	free(registry);
}

void registry_fill_names(const struct registry *registry, struct metrics_names *names)
{
	names->tools = slots_names(registry->slots);
	names->tool_count = slots_count(registry->slots);
}

bool registry_attach(struct registry *registry, struct metrics *metrics)
{
	registry->meter = metrics_meter(metrics);
	if (!registry->meter)
		return false;
	slots_tell(registry->slots, metrics);
	set_gauges(registry);
	return true;
}

struct catalogue *registry_catalogue(const struct registry *registry)
{
	return registry->current;
}

const struct upstream_watcher *registry_watcher(struct registry *registry, unsigned upstream)
{
	return &registry->sources[upstream].watcher;
}

static bool has_work(const struct registry *registry)
{
	for (size_t i = 0; i < registry->generation->upstream_count; i++)
		if (registry->sources[i].state != LISTING_DECLARED)
			return true;
	return false;
}

bool registry_start(struct registry *registry, registry_offer *offer, void *context)
{
	if (!has_work(registry))
		return true;
	registry->offer = offer;
	registry->offer_context = context;
	int result = pthread_create(&registry->thread, NULL, run, registry);
	if (result) {
		errno = result;
		return false;
	}
	registry->started = true;
	pthread_setname_np(registry->thread, "registry");
	return true;
}

bool registry_stop(struct registry *registry)
{
	if (!registry->started)
		return true;
	atomic_store_explicit(&registry->stopping, true, memory_order_release);
	loop_wake(registry->loop);
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HANGS_US / CLOCK_US_PER_S;
	/* without a file to write it cannot hang */
	int result = registry->generation->mcp.lists ? pthread_timedjoin_np(registry->thread, NULL, &until)
						     : pthread_join(registry->thread, NULL);
	registry->started = result != 0;
	return result == 0;
}
