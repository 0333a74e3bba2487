/* SPDX-License-Identifier: Apache-2.0 */
/* catalogue.c: a snapshot of the tools, and who keeps it alive. */
#include "gateway/tools/catalogue.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/json.h"

enum { LINE_BYTES = 64 };

/* One worker's count, on a cache line of its own. */
struct holds {
	_Alignas(LINE_BYTES) size_t count; /* that worker's */
};

/* What a catalogue keeps of one upstream. */
struct share {
	struct mcp_tool_list *tool_list; /* owned reference, or NULL */
	struct tool_list_status status;
};

struct catalogue {
	atomic_size_t refs;              /* a: one for each worker with holds, and those enforced */
	struct generation *made_for;     /* c: held: the tools and their names are its */
	uint64_t generation;             /* c: of the list */
	const struct tool **tools;       /* c: sorted by name; the configuration's or a listing's */
	size_t tool_count;               /* c */
	struct share *shares;            /* c: by upstream */
	size_t share_count;              /* c */
	atomic_size_t enforced;          /* a: references of catalogue_enforce, in refs too */
	struct definitions *definitions; /* c, as long as it is enforced: owned reference */
	struct blob *instructions;       /* likewise; NULL: none */
	struct arena *arena;             /* c: texts and arrays */
	struct holds holds[];            /* by worker */
};
/* a atomic, c constant */

/* ---------------------------------------------------------------- making one */

/* Who wants a name. */
struct claim {
	const struct tool *tool;
	size_t rank; /* the lowest gets it */
};

/* Under way. */
struct making {
	struct catalogue *catalogue;
	const struct generation *generation;
	const struct catalogue_part *parts; /* or NULL */
	const struct catalogue *before;     /* or NULL */
	struct claim *claims;
	size_t claim_count;
};

static struct catalogue *make_empty(const struct generation *generation, unsigned workers)
{
	size_t bytes = sizeof(struct catalogue) + workers * sizeof(struct holds);
	struct catalogue *catalogue = aligned_alloc(LINE_BYTES, bytes);
	if (!catalogue)
		return NULL;
	memset(catalogue, 0, bytes);
	atomic_init(&catalogue->refs, 1);
	atomic_init(&catalogue->enforced, 1);
	catalogue->arena = arena_new();
	if (catalogue->arena)
		catalogue->shares = arena_array(catalogue->arena, generation->upstream_count, sizeof(struct share));
	if (catalogue->shares) {
		catalogue->made_for = generation_ref(generation);
		return catalogue;
	}
	arena_free(catalogue->arena);
	free(catalogue);
	return NULL;
}

static void take_shares(struct making *making)
{
	struct catalogue *catalogue = making->catalogue;
	catalogue->share_count = making->generation->upstream_count;
	for (size_t i = 0; i < catalogue->share_count; i++) {
		struct share *share = &catalogue->shares[i];
		share->status.why = "";
		if (!making->parts)
			continue;
		const struct catalogue_part *part = &making->parts[i];
		share->tool_list = mcp_tool_list_ref(part->tool_list);
		share->status.state = part->state;
		share->status.listed_us = part->listed_us;
		share->status.why = arena_text(catalogue->arena, slice_of(part->why));
	}
}

/* What does not fit is left out whole; without memory there are none. */
static void join_instructions(struct making *making)
{
	struct buf text = BUF_INIT(SIZE_MAX / 4), json = BUF_INIT(SIZE_MAX / 4);
	for (size_t i = 0; making->parts && i < making->generation->upstream_count; i++) {
		struct slice said = making->parts[i].instructions;
		const char *name = making->generation->upstreams[i].settings.name;
		if (!said.len || text.len + strlen(name) + said.len + 4 > CATALOGUE_INSTRUCTIONS_BYTES)
			continue;
		buf_printf(&text, "%s%s: ", text.len ? "\n\n" : "", name);
		buf_put(&text, said);
	}
	if (text.len && !text.failed)
		json_put_string(&json, buf_slice(&text));
	if (json.len && !json.failed)
		making->catalogue->instructions = buf_take_blob(&json);
	buf_fini(&text);
	buf_fini(&json);
}

static void claim_name(struct making *making, const struct tool *tool, size_t rank)
{
	making->claims[making->claim_count++] = (struct claim){ tool, rank };
}

/* Declared tools first; then the upstreams in the order of the configuration: never by who came first, or a server that
 * is up sooner could put itself in the place of another. */
static void claim_listed(struct making *making, const struct tool *tool)
{
	claim_name(making, tool, tool->declared ? 0 : 1 + tool->upstream);
}

static int by_name_and_rank(const void *a, const void *b)
{
	const struct claim *left = a, *right = b;
	int order = strcmp(left->tool->name, right->tool->name);
	return order ? order : (left->rank > right->rank) - (left->rank < right->rank);
}

/* False: out of memory. */
static bool gather_claims(struct making *making)
{
	const struct generation *generation = making->generation;
	struct catalogue *catalogue = making->catalogue;
	size_t most = generation->tool_count;
	for (size_t i = 0; i < catalogue->share_count; i++)
		most += catalogue->shares[i].tool_list ? catalogue->shares[i].tool_list->count : 0;
	making->claims = calloc(most + 1, sizeof *making->claims);
	catalogue->tools = arena_array(catalogue->arena, most, sizeof *catalogue->tools);
	if (!making->claims || !catalogue->tools)
		return false;
	for (size_t i = 0; i < generation->tool_count; i++) {
		const struct tool *tool = &generation->tools[i];
		if (!tool->remote || !catalogue->shares[tool->upstream].tool_list) /* else the listing has it, or not */
			claim_name(making, tool, 0);
	}
	for (size_t i = 0; i < catalogue->share_count; i++) {
		const struct mcp_tool_list *tool_list = catalogue->shares[i].tool_list;
		for (size_t j = 0; tool_list && j < tool_list->count; j++)
			claim_listed(making, &tool_list->tools[j]);
	}
	qsort(making->claims, making->claim_count, sizeof *making->claims, by_name_and_rank);
	return true;
}

static bool is_beaten(const struct making *making, size_t i)
{
	return i > 0 && strcmp(making->claims[i].tool->name, making->claims[i - 1].tool->name) == 0;
}

/* Room for what each listing refused and for those of its tools whose name another has. */
static void make_room_for_refused(struct making *making)
{
	struct catalogue *catalogue = making->catalogue;
	for (size_t i = 0; i < making->claim_count; i++)
		catalogue->shares[making->claims[i].tool->upstream].status.refused_count += is_beaten(making, i);
	for (size_t i = 0; i < catalogue->share_count; i++) {
		struct share *share = &catalogue->shares[i];
		size_t listed = share->tool_list ? share->tool_list->refused_count : 0;
		struct refused_tool *refused =
			arena_array(catalogue->arena, listed + share->status.refused_count, sizeof *refused);
		if (refused && listed)
			memcpy(refused, share->tool_list->refused, listed * sizeof *refused);
		share->status.refused = refused;
		share->status.refused_count = refused ? listed : 0;
	}
}

static void refuse_tool(struct making *making, const struct tool *tool, const struct tool *holder)
{
	const struct generation *generation = making->generation;
	struct tool_list_status *status = &making->catalogue->shares[tool->upstream].status;
	struct refused_tool *place = (struct refused_tool *)(uintptr_t)&status->refused[status->refused_count++];
	const char *upstream = generation->upstreams[tool->upstream].settings.name;
	*place = (struct refused_tool){
		tool->remote,
		arena_printf(
			making->catalogue->arena,
			"\"%s\" is the name of a tool of upstream %s already; name this one: tools: { OTHER_NAME: { "
			"upstream: %s, tool: \"%s\" } }, or set upstreams.%s.names: prefixed",
			tool->name, generation->upstreams[holder->upstream].settings.name, upstream, tool->remote,
			upstream),
	};
}

static void settle_claims(struct making *making)
{
	struct catalogue *catalogue = making->catalogue;
	make_room_for_refused(making);
	if (arena_failed(catalogue->arena))
		return;
	for (size_t i = 0; i < making->claim_count; i++) {
		const struct tool *tool = making->claims[i].tool;
		if (is_beaten(making, i)) {
			refuse_tool(making, tool, catalogue->tools[catalogue->tool_count - 1]);
			continue;
		}
		catalogue->tools[catalogue->tool_count++] = tool;
		catalogue->shares[tool->upstream].status.tools++;
	}
}

static bool same_tools(const struct catalogue *a, const struct catalogue *b)
{
	return a->tool_count == b->tool_count && memcmp(a->tools, b->tools, a->tool_count * sizeof a->tools[0]) == 0;
}

/* The documents, of which most catalogues change nothing: a server has failed, or is back with the same list. */
static void write_definitions(struct making *making)
{
	struct catalogue *catalogue = making->catalogue;
	const struct catalogue *before = making->before;
	if (before && same_tools(catalogue, before)) {
		catalogue->definitions = definitions_ref(before->definitions);
		catalogue->generation = before->generation;
		return;
	}
	catalogue->definitions = definitions_new(making->generation, catalogue->tools, catalogue->tool_count);
	if (!catalogue->definitions || !before)
		return;
	const struct blob *now = definitions_list(catalogue->definitions, FORMAT_MCP)->blob;
	const struct blob *then = definitions_list(before->definitions, FORMAT_MCP)->blob;
	catalogue->generation = before->generation + !slice_equal(blob_slice(now), blob_slice(then));
}

struct catalogue *catalogue_new(const struct generation *generation, unsigned workers,
				const struct catalogue_part *parts, const struct catalogue *before)
{
	struct making making = { make_empty(generation, workers), generation, parts, before, NULL, 0 };
	if (!making.catalogue)
		return NULL;
	take_shares(&making);
	join_instructions(&making);
	if (gather_claims(&making)) {
		settle_claims(&making);
		if (!arena_failed(making.catalogue->arena))
			write_definitions(&making);
	}
	free(making.claims);
	if (making.catalogue->definitions)
		return making.catalogue;
	catalogue_retire(making.catalogue);
	return NULL;
}

/* ---------------------------------------------------------------- who keeps it alive */

static struct catalogue *take_ref(struct catalogue *catalogue)
{
	atomic_fetch_add_explicit(&catalogue->refs, 1, memory_order_relaxed);
	return catalogue;
}

static void drop_ref(struct catalogue *catalogue)
{
	if (atomic_fetch_sub_explicit(&catalogue->refs, 1, memory_order_acq_rel) > 1)
		return;
	assert(!catalogue->definitions);
	for (size_t i = 0; i < catalogue->share_count; i++)
		mcp_tool_list_unref(catalogue->shares[i].tool_list);
	generation_unref(catalogue->made_for);
	arena_free(catalogue->arena);
	free(catalogue);
}

struct catalogue *catalogue_enforce(struct catalogue *catalogue)
{
	atomic_fetch_add_explicit(&catalogue->enforced, 1, memory_order_relaxed);
	return take_ref(catalogue);
}

void catalogue_retire(struct catalogue *catalogue)
{
	if (!catalogue)
		return;
	if (atomic_fetch_sub_explicit(&catalogue->enforced, 1, memory_order_acq_rel) == 1) {
		definitions_unref(catalogue->definitions);
		blob_unref(catalogue->instructions);
		catalogue->definitions = NULL;
		catalogue->instructions = NULL;
	}
	drop_ref(catalogue);
}

struct catalogue *catalogue_hold(struct catalogue *catalogue, unsigned worker)
{
	if (catalogue->holds[worker].count++ == 0)
		take_ref(catalogue);
	return catalogue;
}

void catalogue_drop(struct catalogue *catalogue, unsigned worker)
{
	assert(catalogue->holds[worker].count > 0);
	if (--catalogue->holds[worker].count == 0)
		drop_ref(catalogue);
}

/* ---------------------------------------------------------------- looking */

const struct tool *catalogue_tool(const struct catalogue *catalogue, struct slice name)
{
	size_t low = 0, high = catalogue->tool_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct slice at = slice_of(catalogue->tools[middle]->name);
		size_t shorter = at.len < name.len ? at.len : name.len;
		int order = shorter ? memcmp(at.at, name.at, shorter) : 0;
		if (order == 0 && at.len == name.len)
			return catalogue->tools[middle];
		if (order < 0 || (order == 0 && at.len < name.len))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

size_t catalogue_count(const struct catalogue *catalogue)
{
	return catalogue->tool_count;
}

const struct tool *catalogue_nth(const struct catalogue *catalogue, size_t n)
{
	assert(n < catalogue->tool_count);
	return catalogue->tools[n];
}

const struct definitions *catalogue_definitions(const struct catalogue *catalogue)
{
	assert(catalogue->definitions);
	return catalogue->definitions;
}

const struct generation *catalogue_made_for(const struct catalogue *catalogue)
{
	return catalogue->made_for;
}

uint64_t catalogue_generation(const struct catalogue *catalogue)
{
	return catalogue->generation;
}

struct slice catalogue_instructions(const struct catalogue *catalogue)
{
	return catalogue->instructions ? blob_slice(catalogue->instructions) : (struct slice){ NULL, 0 };
}

struct tool_list_status catalogue_status(const struct catalogue *catalogue, unsigned upstream)
{
	assert(upstream < catalogue->share_count);
	return catalogue->shares[upstream].status;
}
