/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c: news from upstreams, the thread that reads them, and what it tells. */
#include "gateway/tools/registry.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crash.h"
#include "base/log.h"
#include "gateway/tools/name_map.h"
#include "gateway/tools/registry_private.h"
#include "gateway/tools/upstream_labels.h"

enum { REFUSALS_LOGGED = 20, CHANGES_LOGGED = 20 };
/* When memory was out, the news are looked at again after this. */
#define RETRY_US CLOCK_US_PER_S
/* Lists are kept so long after they came: servers that are started together speak together. */
#define SAVE_AFTER_US (2 * CLOCK_US_PER_S)
/* A disk that takes longer at the end hangs. */
#define HANGS_US (5 * CLOCK_US_PER_S)

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
static void send_report(struct tool_source *source, struct blob *tools, struct blob *instructions, bool failed,
			const char *why)
{
	struct report *before = atomic_exchange_explicit(&source->newest, NULL, memory_order_acquire);
	struct report *report = before ? before : calloc(1, sizeof *report);
	if (!report) { /* the list stays as it is; the upstream will list again */
		log_message(&EVENT_TOOLS_FAILED, "upstream %s: out of memory for the news of its tools", source->name);
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
	atomic_store_explicit(&source->newest, report, memory_order_release); /* its only writer is this thread */
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

static void fail_source(struct tool_source *source, const char *why)
{
	enum tool_list_state state = source->state == TOOL_LIST_KEPT ? TOOL_LIST_KEPT
				     : source->tool_list             ? TOOL_LIST_STALE
								     : TOOL_LIST_AWAITED;
	bool changed = source->state != state || !source->why[0];
	source->state = state;
	source->registry->dirty |= changed || strcmp(source->why, why) != 0;
	snprintf(source->why, sizeof source->why, "%s", why);
	if (source->registry->meter)
		meter_add(source->registry->meter, METRIC_ID_UPSTREAM_LIST_FAILURES, source->label, 0, 1);
	if (changed)
		log_message(&EVENT_TOOLS_FAILED, "upstream %s: %s%s", source->name, why,
			    source->tool_list ? "; its last list stays in use" : "");
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
void registry_note_definitions(struct tool_source *source)
{
	struct registry *registry = source->registry;
	struct log_line line UNCLEARED;
	size_t logged = 0;
	for (size_t i = 0; i < source->tool_list->count; i++) {
		const struct tool *tool = &source->tool_list->tools[i];
		uint64_t *known = &registry->definitions[tool->index], old = *known;
		*known = tool->definition;
		if (!old || old == tool->definition)
			continue;
		if (registry->meter)
			meter_add(registry->meter, METRIC_ID_TOOL_DEFINITION_CHANGES, source->label, 0, 1);
		if (logged++ >= CHANGES_LOGGED || !log_begin(&line, &EVENT_TOOL_CHANGED))
			continue;
		log_cstr(&line, "upstream", source->name);
		log_cstr(&line, "tool", tool->name);
		log_digest(&line, "old", old);
		log_digest(&line, "new", tool->definition);
		log_end(&line);
	}
}

/* Takes it. */
static void take_instructions(struct tool_source *source, struct blob *instructions)
{
	source->registry->dirty |= !slice_equal(blob_slice(source->instructions), blob_slice(instructions));
	blob_unref(source->instructions);
	source->instructions = instructions;
}

static void save_soon(struct registry *registry)
{
	if (registry->unsaved)
		return;
	registry->unsaved = true;
	registry->save_us = clock_add(clock_now_us(), SAVE_AFTER_US);
}

/* A list that is in force now, so that it is in force after a restart. */
static void keep_list(struct tool_source *source)
{
	struct registry *registry = source->registry;
	source->listed_at_s = clock_wall_us() / CLOCK_US_PER_S;
	save_soon(registry);
}

/* `upstream`: the source's, in the generation in force. */
static void take_list(struct tool_source *source, unsigned upstream, struct blob *raw)
{
	struct registry *registry = source->registry;
	char error[WHY_BYTES];
	struct slice tools = blob_slice(raw);
	bool known = source->raw && slice_equal(blob_slice(source->raw), tools);
	if (mcp_tool_list_is_of(source->tool_list, tools)) {
		registry->dirty |= source->state != TOOL_LIST_FRESH;
	} else {
		struct mcp_tool_list *tool_list =
			mcp_tool_list_new(registry->generation, upstream, tools, registry->tool_labels,
					  &registry->stopping, error, sizeof error);
		if (!tool_list) {
			if (!is_stopping(registry))
				fail_source(source, error);
			return;
		}
		mcp_tool_list_unref(source->tool_list);
		source->tool_list = tool_list;
		registry_note_definitions(source);
		registry->dirty = true;
	}
	if (!known) {
		blob_unref(source->raw);
		source->raw = blob_ref(raw);
	}
	source->inherited = false;
	if (registry->generation->mcp.lists && (source->state != TOOL_LIST_FRESH || !known))
		keep_list(source);
	source->state = TOOL_LIST_FRESH;
	source->listed_us = clock_now_us();
	source->why[0] = '\0';
	if (registry->meter)
		meter_add(registry->meter, METRIC_ID_UPSTREAM_LISTS, source->label, 0, 1);
}

static void read_reports(struct registry *registry)
{
	for (unsigned i = 0; i < registry->generation->upstream_count; i++) {
		struct tool_source *source = registry->generation->upstreams[i].source;
		if (!source)
			continue;
		struct report *report = atomic_exchange_explicit(&source->newest, NULL, memory_order_acquire);
		if (report && report->tools) {
			take_instructions(source, report->instructions);
			report->instructions = NULL;
			take_list(source, i, report->tools);
		}
		if (report && report->failed)
			fail_source(source, report->why);
		report_free(report);
		if (is_stopping(registry))
			return;
	}
}

/* ---------------------------------------------------------------- the next catalogue */

static void log_refused(const char *upstream, const struct tool_list_status *before, const struct tool_list_status *now)
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

/* What became of the list of the upstream of that name, if there was one. */
static struct tool_list_status status_of(const struct catalogue *catalogue, const char *name)
{
	const struct generation *generation = catalogue_made_for(catalogue);
	for (unsigned i = 0; i < generation->upstream_count; i++)
		if (strcmp(generation->upstreams[i].settings.name, name) == 0)
			return catalogue_status(catalogue, i);
	return (struct tool_list_status){ .why = "" };
}

static void report_changes(struct registry *registry, const struct catalogue *before, const struct catalogue *now)
{
	for (unsigned i = 0; i < registry->generation->upstream_count; i++) {
		const char *upstream = registry->generation->upstreams[i].settings.name;
		struct tool_list_status old = status_of(before, upstream), new = catalogue_status(now, i);
		if (new.state == TOOL_LIST_DECLARED)
			continue;
		log_refused(upstream, &old, &new);
		if (new.state == TOOL_LIST_FRESH && (old.state != TOOL_LIST_FRESH || old.tools != new.tools))
			log_message(&EVENT_TOOLS_LISTED, "upstream %s: %zu tools, %zu refused", upstream, new.tools,
				    new.refused_count);
	}
}

static void set_gauges(struct registry *registry)
{
	for (unsigned i = 0; registry->meter && i < registry->generation->upstream_count; i++) {
		struct tool_list_status status = catalogue_status(registry->current, i);
		unsigned label = registry->generation->upstreams[i].settings.label;
		meter_set(registry->meter, METRIC_ID_UPSTREAM_TOOLS, label, 0, (int64_t)status.tools);
		meter_set(registry->meter, METRIC_ID_UPSTREAM_TOOLS_REFUSED, label, 0, (int64_t)status.refused_count);
		meter_set(registry->meter, METRIC_ID_UPSTREAM_TOOLS_STALE, label, 0,
			  status.state == TOOL_LIST_STALE || status.state == TOOL_LIST_KEPT);
	}
}

/* The share of an upstream whose list is `listing`; NULL: it has none. */
static struct catalogue_part part_of(const struct upstream_config *upstream, struct mcp_tool_list *tool_list)
{
	const struct tool_source *source = upstream->source;
	if (!upstream->settings.dialect->lists_tools)
		return (struct catalogue_part){ .state = TOOL_LIST_DECLARED, .why = "" };
	if (!source) /* nobody runs it yet */
		return (struct catalogue_part){ .state = TOOL_LIST_AWAITED, .why = "" };
	return (struct catalogue_part){ tool_list, source->state, source->why, source->listed_us,
					blob_slice(source->instructions) };
}

/* `listings`: by upstream; NULL: the sources' own. Returns NULL when memory is out. */
static struct catalogue *make_catalogue(const struct registry *registry, const struct generation *generation,
					struct mcp_tool_list *const *tool_lists)
{
	size_t count = generation->upstream_count;
	struct catalogue_part *parts = calloc(count + 1, sizeof *parts);
	if (!parts)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const struct upstream_config *upstream = &generation->upstreams[i];
		struct mcp_tool_list *own = upstream->source ? upstream->source->tool_list : NULL;
		parts[i] = part_of(upstream, tool_lists ? tool_lists[i] : own);
	}
	struct catalogue *catalogue = catalogue_new(generation, registry->workers, parts, registry->current);
	free(parts);
	return catalogue;
}

/* It is the current one from now on, and goes to everybody. */
static void publish_catalogue(struct registry *registry, struct catalogue *next, registry_offer *offer, void *context)
{
	struct catalogue *before = registry->current;
	registry->current = next;
	registry->dirty = false;
	if (offer)
		offer(context, next);
	set_gauges(registry);
	report_changes(registry, before, next);
	catalogue_retire(before);
}

static bool take_turn(struct registry *registry, registry_offer *offer, void *context)
{
	if (registry->store_moved)
		save_soon(registry);
	registry->store_moved = false;
	read_reports(registry);
	if (!registry->dirty || is_stopping(registry))
		return true;
	struct catalogue *next = make_catalogue(registry, registry->generation, NULL);
	if (next)
		publish_catalogue(registry, next, offer, context);
	return next != NULL;
}

bool registry_turn(struct registry *registry, registry_offer *offer, void *context)
{
	pthread_mutex_lock(&registry->mutex);
	bool good = take_turn(registry, offer, context);
	pthread_mutex_unlock(&registry->mutex);
	return good;
}

static void *run_registry(void *context)
{
	struct registry *registry = context;
	bool ok = true;
	crash_handler_thread();
	while (!is_stopping(registry)) {
		uint64_t due_us = ok ? CLOCK_NEVER : loop_now(registry->loop) + RETRY_US;
		loop_wait(registry->loop, registry->unsaved && registry->save_us < due_us ? registry->save_us : due_us);
		ok = registry_turn(registry, registry->offer, registry->offer_context);
		if (registry->unsaved && loop_now(registry->loop) >= registry->save_us)
			registry_save_lists(registry);
	}
	if (registry->unsaved)
		registry_save_lists(registry);
	loop_release(registry->loop);
	return NULL;
}

static bool has_work(const struct generation *generation)
{
	for (size_t i = 0; i < generation->upstream_count; i++)
		if (generation->upstreams[i].settings.dialect->lists_tools)
			return true;
	return false;
}

/* Where there is something to hear. False and errno. */
static bool start_thread(struct registry *registry, const struct generation *generation)
{
	if (registry->started || !registry->offer || !has_work(generation))
		return true;
	int result = pthread_create(&registry->thread, NULL, run_registry, registry);
	if (result) {
		errno = result;
		return false;
	}
	registry->started = true;
	pthread_setname_np(registry->thread, "registry");
	return true;
}

/* ---------------------------------------------------------------- sources */

struct tool_source *tool_source_new(struct registry *registry, const struct upstream_config *upstream)
{
	struct tool_source *source = calloc(1, sizeof *source);
	if (!source)
		return NULL;
	source->registry = registry;
	source->watcher = (struct upstream_watcher){ on_tools_listed, on_list_failed, source };
	source->name = upstream->settings.name;
	source->label = upstream->settings.label;
	source->state = TOOL_LIST_AWAITED;
	return source;
}

void tool_source_free(struct tool_source *source)
{
	if (!source)
		return;
	report_free(atomic_load(&source->newest)); /* which nobody has read */
	blob_unref(source->raw);
	mcp_tool_list_unref(source->tool_list);
	blob_unref(source->instructions);
	free(source);
}

const struct upstream_watcher *tool_source_watcher(struct tool_source *source)
{
	return &source->watcher;
}

/* ---------------------------------------------------------------- the next generation */

bool registry_number(struct registry *registry, struct generation *next)
{
	pthread_mutex_lock(&registry->mutex);
	bool good = tool_labels_have_room(registry->tool_labels, next) &&
		    upstream_labels_give(registry->labels, next) && tool_labels_give(registry->tool_labels, next);
	pthread_mutex_unlock(&registry->mutex);
	return good;
}

/* What ran under this name up to now, if it lists its tools. */
static const struct tool_source *source_before(const struct registry *registry, unsigned label)
{
	for (size_t i = 0; i < registry->generation->upstream_count; i++)
		if (registry->generation->upstreams[i].settings.label == label)
			return registry->generation->upstreams[i].source;
	return NULL;
}

/* Until it has been asked, an upstream whose options have changed has the tools it had. */
static void inherit_list(const struct registry *registry, struct tool_source *source)
{
	const struct tool_source *before = source_before(registry, source->label);
	if (source->raw || !before || !before->raw)
		return;
	source->raw = blob_ref(before->raw);
	source->inherited = true;
	source->instructions = before->instructions ? blob_ref(before->instructions) : NULL;
	source->listed_us = before->listed_us;
	source->listed_at_s = before->listed_at_s;
	source->state = TOOL_LIST_STALE;
	snprintf(source->why, sizeof source->why, "its options have changed, and it has not listed its tools since");
}

/* What the sources have said, as the next generation has it: names, overrides, indexes may be other ones. */
static void list_anew(struct registry *registry, const struct generation *next, struct mcp_tool_list **tool_lists)
{
	char error[WHY_BYTES];
	for (unsigned i = 0; i < next->upstream_count; i++) {
		struct tool_source *source = next->upstreams[i].source;
		if (!source)
			continue;
		inherit_list(registry, source);
		if (source->raw)
			tool_lists[i] = mcp_tool_list_new(next, i, blob_slice(source->raw), registry->tool_labels,
							  &registry->stopping, error, sizeof error);
	}
}

/* They hold the generation they are of, which has the sources: so the end of its use is the end of them. */
static void drop_tool_lists(const struct generation *generation)
{
	for (size_t i = 0; i < generation->upstream_count; i++) {
		struct tool_source *source = generation->upstreams[i].source;
		if (!source)
			continue;
		mcp_tool_list_unref(source->tool_list);
		source->tool_list = NULL;
	}
}

/* Takes what is in `listings`. */
static void use_tool_lists(const struct generation *next, struct mcp_tool_list **tool_lists)
{
	for (size_t i = 0; i < next->upstream_count; i++) {
		struct tool_source *source = next->upstreams[i].source;
		if (!source)
			continue;
		assert(!source->tool_list);
		source->tool_list = tool_lists[i];
		tool_lists[i] = NULL;
	}
}

static bool use_generation(struct registry *registry, struct generation *next, struct mcp_tool_list **tool_lists)
{
	list_anew(registry, next, tool_lists);
	struct catalogue *catalogue = start_thread(registry, next) ? make_catalogue(registry, next, tool_lists) : NULL;
	if (!catalogue)
		return false;
	drop_tool_lists(registry->generation);
	registry->store_moved |= next->mcp.lists && (!registry->generation->mcp.lists ||
						     strcmp(next->mcp.lists, registry->generation->mcp.lists) != 0);
	generation_unref(registry->generation);
	registry->generation = generation_ref(next);
	use_tool_lists(next, tool_lists);
	publish_catalogue(registry, catalogue, registry->offer, registry->offer_context);
	return true;
}

bool registry_use(struct registry *registry, struct generation *next)
{
	struct mcp_tool_list **tool_lists = calloc(next->upstream_count + 1, sizeof(struct mcp_tool_list *));
	if (!tool_lists)
		return false;
	pthread_mutex_lock(&registry->mutex);
	bool good = use_generation(registry, next, tool_lists);
	bool moved = registry->store_moved;
	pthread_mutex_unlock(&registry->mutex);
	if (moved)
		loop_wake(registry->loop);
	for (size_t i = 0; i < next->upstream_count; i++)
		mcp_tool_list_unref(tool_lists[i]);
	free(tool_lists);
	return good;
}

/* ---------------------------------------------------------------- life */

struct registry *registry_new(struct config *config)
{
	struct registry *registry = calloc(1, sizeof *registry);
	if (!registry)
		return NULL;
	pthread_mutex_init(&registry->mutex, NULL);
	registry->generation = generation_ref(&config->generation);
	registry->workers = config->workers;
	registry->loop = loop_new();
	registry->labels = upstream_labels_new(&config->generation);
	if (registry->labels)
		registry->tool_labels = tool_labels_new(&config->generation, upstream_labels_room(registry->labels));
	if (registry->tool_labels)
		registry->definitions =
			calloc(tool_labels_count(registry->tool_labels) + 1, sizeof *registry->definitions);
	if (registry->loop && registry->definitions)
		registry->current = make_catalogue(registry, registry->generation, NULL);
	if (registry->current)
		return registry;
	registry_free(registry);
	return NULL;
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	assert(!registry->started);
	catalogue_retire(registry->current);
	drop_tool_lists(registry->generation);
	free(registry->definitions);
	tool_labels_free(registry->tool_labels);
	upstream_labels_free(registry->labels);
	loop_free(registry->loop);
	generation_unref(registry->generation);
	pthread_mutex_destroy(&registry->mutex);
	free(registry);
}

void registry_fill_names(const struct registry *registry, struct metrics_names *names)
{
	upstream_labels_fill_names(registry->labels, names);
	names->tools = tool_labels_names(registry->tool_labels);
	names->tool_count = tool_labels_count(registry->tool_labels);
}

bool registry_attach(struct registry *registry, struct metrics *metrics)
{
	assert(!registry->meter);
	registry->meter = metrics_meter(metrics);
	if (!registry->meter)
		return false;
	tool_labels_publish(registry->tool_labels, metrics);
	upstream_labels_publish(registry->labels, metrics);
	set_gauges(registry);
	return true;
}

struct catalogue *registry_catalogue(const struct registry *registry)
{
	return registry->current;
}

size_t registry_tool_room(const struct registry *registry)
{
	return tool_labels_count(registry->tool_labels);
}

size_t registry_upstream_room(const struct registry *registry)
{
	return upstream_labels_room(registry->labels);
}

bool registry_start(struct registry *registry, registry_offer *offer, void *context)
{
	registry->offer = offer;
	registry->offer_context = context;
	return start_thread(registry, registry->generation);
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
