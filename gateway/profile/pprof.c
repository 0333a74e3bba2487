/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pprof.c: pprof's format. All messages of one profile live in arrays of an arena, and point to each other as
 * protobuf-c wants it; strings are numbers in a table.
 */
#include "gateway/profile/profile.h"

#include "base/arena.h"
#include "base/gzip.h"
#include "gateway/profile/places.h"
#include "gateway/profile/pprof.pb-c.h"

/* Text of the table, once. */
struct text {
	struct table_node node;
	const char *bytes;
	int64_t number;
};

struct writer {
	const struct profile *profile;
	const struct places *places;
	struct arena *arena;
	struct table texts;
	size_t text_room;
	uint64_t *functions; /* by the number of their names' texts; 0: not told yet */
	Perftools__Profiles__Profile out;
};

/* --- strings --- */

static int64_t number_text(struct writer *writer, const char *bytes)
{
	uint64_t hash = table_hash(0, slice_of(bytes));
	for (struct table_node *node = table_first(&writer->texts, hash); node; node = table_again(node)) {
		struct text *text = container_of(node, struct text, node);
		if (slice_equal(slice_of(text->bytes), slice_of(bytes)))
			return text->number;
	}
	struct text *text = arena_alloc(writer->arena, sizeof *text);
	if (!text || writer->out.n_string_table == writer->text_room)
		return 0;
	text->bytes = bytes;
	text->number = (int64_t)writer->out.n_string_table;
	writer->out.string_table[writer->out.n_string_table++] = (char *)bytes;
	table_insert(&writer->texts, &text->node, hash);
	return text->number;
}

/* --- messages --- */

/* An array of messages and one of pointers to them, which is what protobuf-c writes. NULL: out of memory. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type takes none */
#define NEW_MESSAGES(writer, count, pointers, type, INIT)                                                              \
	do {                                                                                                           \
		type *messages = arena_array((writer)->arena, (count), sizeof(type));                                  \
		(pointers) = arena_array((writer)->arena, (count), sizeof(type *));                                    \
		for (size_t k = 0; messages && (pointers) && k < (count); k++) {                                       \
			messages[k] = (type)INIT;                                                                      \
			(pointers)[k] = &messages[k];                                                                  \
		}                                                                                                      \
	} while (0)
/* NOLINTEND(bugprone-macro-parentheses) */

static void put_type(struct writer *writer, Perftools__Profiles__ValueType *type, const char *kind, const char *unit)
{
	type->type = number_text(writer, kind);
	type->unit = number_text(writer, unit);
}

static void put_types(struct writer *writer)
{
	const struct profile *profile = writer->profile;
	size_t count = profile->counted ? 2 : 1;
	NEW_MESSAGES(writer, 3, writer->out.sample_type, Perftools__Profiles__ValueType,
		     PERFTOOLS__PROFILES__VALUE_TYPE__INIT);
	if (arena_failed(writer->arena))
		return;
	writer->out.n_sample_type = count;
	if (profile->counted)
		put_type(writer, writer->out.sample_type[0], profile->counted, "count");
	put_type(writer, writer->out.sample_type[count - 1], profile->kind, profile->unit);
	writer->out.default_sample_type = number_text(writer, profile->kind);
	if (profile->period) {
		writer->out.period_type = writer->out.sample_type[2];
		put_type(writer, writer->out.period_type, profile->kind, profile->unit);
		writer->out.period = (int64_t)profile->period;
	}
	writer->out.time_nanos = (int64_t)profile->at_us * 1000;
	writer->out.duration_nanos = (int64_t)profile->duration_us * 1000;
}

static void put_mappings(struct writer *writer)
{
	const struct namer *namer = &writer->profile->namer;
	NEW_MESSAGES(writer, namer->module_count, writer->out.mapping, Perftools__Profiles__Mapping,
		     PERFTOOLS__PROFILES__MAPPING__INIT);
	if (arena_failed(writer->arena))
		return;
	writer->out.n_mapping = namer->module_count;
	for (size_t i = 0; i < namer->module_count; i++) {
		const struct module *module = &namer->modules[i];
		Perftools__Profiles__Mapping *mapping = writer->out.mapping[i];
		mapping->id = i + 1;
		mapping->memory_start = module->start;
		mapping->memory_limit = module->end;
		mapping->file_offset = module->offset;
		mapping->filename = number_text(writer, module->path);
		mapping->has_functions = module->named;
	}
}

/* A function of several places is told once. */
static uint64_t number_function(struct writer *writer, const struct symbol *symbol)
{
	int64_t name = number_text(writer, symbol->name);
	if (!writer->functions[name]) {
		Perftools__Profiles__Function *function = writer->out.function[writer->out.n_function++];
		function->id = writer->functions[name] = writer->out.n_function;
		function->name = function->system_name = name;
	}
	return writer->functions[name];
}

static void put_locations(struct writer *writer)
{
	const struct places *places = writer->places;
	Perftools__Profiles__Line **lines;
	NEW_MESSAGES(writer, places->count, writer->out.location, Perftools__Profiles__Location,
		     PERFTOOLS__PROFILES__LOCATION__INIT);
	NEW_MESSAGES(writer, places->count, writer->out.function, Perftools__Profiles__Function,
		     PERFTOOLS__PROFILES__FUNCTION__INIT);
	NEW_MESSAGES(writer, places->count, lines, Perftools__Profiles__Line, PERFTOOLS__PROFILES__LINE__INIT);
	writer->functions = arena_array(writer->arena, writer->text_room, sizeof *writer->functions);
	if (arena_failed(writer->arena))
		return;
	writer->out.n_location = places->count;
	for (size_t i = 0; i < places->count; i++) {
		Perftools__Profiles__Location *location = writer->out.location[i];
		location->id = i + 1;
		location->mapping_id = places->all[i].symbol.module;
		location->address = writer->profile->namer.module_count ? places->all[i].address : 0;
		location->n_line = 1;
		location->line = &lines[i];
		lines[i]->function_id = number_function(writer, &places->all[i].symbol);
	}
}

static void put_sample(struct writer *writer, const struct stack *stack, Perftools__Profiles__Sample *sample,
		       Perftools__Profiles__Label **label)
{
	sample->location_id = arena_array(writer->arena, stack->depth, sizeof *sample->location_id);
	sample->value = arena_array(writer->arena, 2, sizeof *sample->value);
	if (arena_failed(writer->arena))
		return;
	sample->n_location_id = stack->depth;
	for (unsigned j = 0; j < stack->depth; j++)
		sample->location_id[j] = places_find(writer->places, stack->frames[j])->number + 1;
	if (writer->profile->counted)
		sample->value[sample->n_value++] = (int64_t)stack->count;
	sample->value[sample->n_value++] = (int64_t)stack->value;
	if (stack->root) {
		(*label)->key = number_text(writer, "thread");
		(*label)->str = number_text(writer, stack->root);
		sample->label = label;
		sample->n_label = 1;
	}
}

static void put_samples(struct writer *writer)
{
	const struct stacks *stacks = writer->profile->stacks;
	Perftools__Profiles__Label **labels;
	NEW_MESSAGES(writer, stacks->count, writer->out.sample, Perftools__Profiles__Sample,
		     PERFTOOLS__PROFILES__SAMPLE__INIT);
	NEW_MESSAGES(writer, stacks->count, labels, Perftools__Profiles__Label, PERFTOOLS__PROFILES__LABEL__INIT);
	if (arena_failed(writer->arena))
		return;
	writer->out.n_sample = stacks->count;
	for (size_t i = 0; i < stacks->count && !arena_failed(writer->arena); i++)
		put_sample(writer, stacks->all[i], writer->out.sample[i], &labels[i]);
}

/* What is missing is said where people look. */
static void put_comment(struct writer *writer)
{
	if (!writer->profile->lost)
		return;
	writer->out.comment = arena_array(writer->arena, 1, sizeof *writer->out.comment);
	const char *text =
		arena_printf(writer->arena, "%llu samples were lost", (unsigned long long)writer->profile->lost);
	if (arena_failed(writer->arena))
		return;
	writer->out.comment[0] = number_text(writer, text);
	writer->out.n_comment = 1;
}

/* False: out of memory. */
static bool fill_profile(struct writer *writer)
{
	const struct profile *profile = writer->profile;
	writer->out = (Perftools__Profiles__Profile)PERFTOOLS__PROFILES__PROFILE__INIT;
	/* names of places, modules and roots, and the few words of our own */
	writer->text_room = writer->places->count + profile->namer.module_count + profile->stacks->count + 16;
	writer->out.string_table = arena_array(writer->arena, writer->text_room, sizeof(char *));
	if (!writer->out.string_table)
		return false;
	number_text(writer, ""); /* the format wants it first */
	put_types(writer);
	put_locations(writer); /* before the mappings: while it names, modules learn whether they have names */
	put_mappings(writer);
	put_samples(writer);
	put_comment(writer);
	return !arena_failed(writer->arena);
}

/* --- bytes --- */

bool profile_put_pprof(const struct profile *profile, const struct places *places, struct buf *out)
{
	struct writer writer = { .profile = profile, .places = places, .arena = arena_new() };
	if (!writer.arena)
		return false;
	table_init(&writer.texts);
	bool ok = fill_profile(&writer);
	size_t bytes = ok ? perftools__profiles__profile__get_packed_size(&writer.out) : 0;
	struct buf packed = BUF_INIT(out->max);
	if (ok && buf_reserve(&packed, bytes)) {
		perftools__profiles__profile__pack(&writer.out, (uint8_t *)packed.store->bytes);
		packed.len = bytes;
	}
	ok = ok && !packed.failed && gzip_put(buf_slice(&packed), out);
	buf_fini(&packed);
	table_fini(&writer.texts);
	arena_free(writer.arena);
	return ok;
}
