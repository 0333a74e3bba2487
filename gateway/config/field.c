/* SPDX-License-Identifier: Apache-2.0 */
/* field.c: one value of the file into the field that the option table names for it. */
#include <sched.h>
#include <strings.h>

#include "base/json.h"
#include "gateway/config/config_private.h"

/* One value on its way. */
struct field {
	struct config_load *load;
	const struct option *option;
	const struct node *node;
	const char *where; /* the option's full name */
	void *at;          /* the field itself */
	size_t *count;     /* of lists */
};

static void complain_of(const struct field *field, const char *wrong)
{
	config_error_at(field->load, field->node, "%s: %s", field->where, wrong);
}

/* What ought to stand there, for messages. */
static const char *expected_of(enum option_kind kind)
{
	switch (kind) {
	case OPTION_BOOL:
		return "true or false";
	case OPTION_COUNT:
		return "a whole number, such as 100";
	case OPTION_WORKERS:
	case OPTION_AUTO:
		return "auto or a whole number";
	case OPTION_PERCENT:
		return "a share, such as 20%";
	case OPTION_DURATION:
		return "a duration, such as 10s";
	case OPTION_SIZE:
		return "a size, such as 8MiB";
	case OPTION_RATE:
		return "a rate, such as 60/min";
	case OPTION_ENUM:
	case OPTION_WORD:
		return "a word";
	case OPTION_ADDRESSES:
		return "an address, or a list of them";
	case OPTION_NETWORKS:
		return "a list of networks, such as [ 10.0.0.0/8 ]";
	case OPTION_TEXTS:
		return "a list of words, such as [ web ]";
	case OPTION_ARGUMENTS:
		return "a list of texts, such as [ \"-y\", /srv/files ]";
	case OPTION_HEADERS:
	case OPTION_TEMPLATES:
	case OPTION_HEADER_TEMPLATES:
	case OPTION_VARIABLES:
		return "a map, such as { name: value }";
	default:
		return "text";
	}
}

static void complain_type(const struct field *field)
{
	static const char *const found[] = {
		[NODE_SCALAR] = "a single value", [NODE_LIST] = "a list", [NODE_MAP] = "a map"
	};
	const char *what = node_is_null(field->node) ? "nothing" : found[field->node->kind];
	config_error_at(field->load, field->node, "%s: must be %s, not %s", field->where,
			expected_of(field->option->kind), what);
}

/* The scalar's text, filled in. False: complained about. */
static bool take_text(const struct field *field, struct slice *text, bool *filled)
{
	if (field->node->kind == NODE_BAD)
		return false;
	if (field->node->kind == NODE_SCALAR && !node_is_null(field->node))
		return config_expand(field->load, field->node, field->where, text, filled);
	complain_type(field);
	return false;
}

/* A number's or truth's text, which must not be quoted unless something is filled in. */
static bool take_literal(const struct field *field, struct slice *text)
{
	bool filled;
	if (!take_text(field, text, &filled))
		return false;
	if (field->node->plain || filled)
		return true;
	config_error_at(field->load, field->node, "%s: must be %s, without quotes", field->where,
			expected_of(field->option->kind));
	return false;
}

/* Text, which must not look like something else unless something is filled in. */
static bool take_string(const struct field *field, struct slice *text)
{
	bool filled;
	if (!take_text(field, text, &filled))
		return false;
	/* an address may look like one: what is missing of it is a better complaint than quotes */
	if (filled || field->option->kind == OPTION_ADDRESSES ||
	    !(node_is_bool(field->node) || node_is_number(field->node)))
		return true;
	config_error_at(field->load, field->node, "%s: must be text: write \"%s\" in quotes", field->where,
			field->node->text.at);
	return false;
}

static void store_number(const struct field *field, uint64_t value)
{
	unsigned small = (unsigned)value;
	if (field->option->bytes == sizeof small)
		memcpy(field->at, &small, sizeof small);
	else
		memcpy(field->at, &value, sizeof value);
}

static void complain_range(const struct field *field)
{
	struct buf min = BUF_INIT(64), max = BUF_INIT(64);
	option_put_bound(field->option, field->option->min, &min);
	option_put_bound(field->option, field->option->max, &max);
	config_error_at(field->load, field->node, "%s: must be between %s and %s", field->where, buf_cstr(&min),
			buf_cstr(&max));
	buf_fini(&min);
	buf_fini(&max);
}

static void read_number(const struct field *field, const char *(*parse)(struct slice, uint64_t *))
{
	struct slice text;
	uint64_t value;
	enum option_kind kind = field->option->kind;
	bool filled, with_unit = kind == OPTION_DURATION || kind == OPTION_SIZE || kind == OPTION_PERCENT;
	if (with_unit ? !take_text(field, &text, &filled) : !take_literal(field, &text))
		return;
	const char *wrong = parse(text, &value);
	if (wrong)
		complain_of(field, wrong);
	else if (value < field->option->min || value > field->option->max)
		complain_range(field);
	else
		store_number(field, value);
}

static void read_rate(const struct field *field)
{
	struct slice text;
	struct rate value;
	bool filled;
	if (!take_text(field, &text, &filled))
		return;
	const char *wrong = value_rate(text, &value);
	if (wrong)
		complain_of(field, wrong);
	else if (value.amount < field->option->min || value.amount > field->option->max)
		complain_range(field);
	else
		memcpy(field->at, &value, sizeof value);
}

/* CPUs this process may run on. */
static uint64_t count_cpus(uint64_t most)
{
	enum { SET_BITS = 8192 };
	cpu_set_t set[SET_BITS / CPU_SETSIZE];
	CPU_ZERO_S(sizeof set, set);
	int count = sched_getaffinity(0, sizeof set, set) == 0 ? CPU_COUNT_S(sizeof set, set) : 1;
	return count < 1 ? 1 : (uint64_t)count > most ? most : (uint64_t)count;
}

static const char *parse_workers(struct slice text, uint64_t *value)
{
	return value_count(text, value) ? "must be auto or a whole number, such as 4" : NULL;
}

static void read_workers(const struct field *field)
{
	if (field->node->kind == NODE_SCALAR && slice_equal(field->node->text, SLICE("auto")))
		store_number(field, count_cpus(field->option->max));
	else
		read_number(field, parse_workers);
}

static void read_auto(const struct field *field)
{
	if (field->node->kind == NODE_SCALAR && slice_equal(field->node->text, SLICE("auto")))
		store_number(field, 0);
	else
		read_number(field, parse_workers);
}

static void read_bool(const struct field *field)
{
	struct slice text;
	bool value;
	if (!take_literal(field, &text))
		return;
	const char *wrong = value_bool(text, &value);
	if (wrong)
		complain_of(field, wrong);
	else
		memcpy(field->at, &value, sizeof value);
}

static void complain_word(const struct field *field)
{
	struct buf list = BUF_INIT(512);
	struct slice each;
	for (const char *at = field->option->words; option_next_word(&at, &each);) {
		if (list.len)
			buf_put_text(&list, *at ? ", " : " or ");
		buf_put(&list, each);
	}
	config_error_at(field->load, field->node, "%s: must be %s", field->where, buf_cstr(&list));
	buf_fini(&list);
}

static void read_word(const struct field *field)
{
	struct slice text, word;
	bool filled;
	unsigned n = 0;
	if (!take_text(field, &text, &filled))
		return;
	for (const char *at = field->option->words; option_next_word(&at, &word); n++) {
		if (!slice_equal(word, text))
			continue;
		if (field->option->kind == OPTION_ENUM)
			store_number(field, n);
		else
			memcpy(field->at, &text.at, sizeof text.at);
		return;
	}
	complain_word(field);
}

static void read_text(const struct field *field)
{
	struct slice text;
	if (!take_string(field, &text))
		return;
	const char *wrong = field->option->kind == OPTION_HEADER_NAME ? value_header_name(text) : NULL;
	if (wrong)
		complain_of(field, wrong);
	else if (text.len < field->option->min || text.len > field->option->max)
		config_error_at(field->load, field->node, "%s: must be %lu to %lu bytes long", field->where,
				(unsigned long)field->option->min, (unsigned long)field->option->max);
	else
		memcpy(field->at, &text.at, sizeof text.at);
}

/* What it holds is read by whoever uses it, and that it cannot be is said there. */
static void read_file_option(const struct field *field)
{
	struct buf held = BUF_INIT(CONFIG_NAMED_FILE_BYTES);
	const char *path = NULL;
	read_text(field);
	memcpy(&path, field->at, sizeof path);
	if (!path)
		return;
	const char *wrong = config_read_file(path, CONFIG_NAMED_FILE_BYTES, "", &held);
	config_note_file(field->load, path, wrong ? NULL : config_hash(field->load, buf_slice(&held)));
	if (held.len) /* a key may be in it */
		explicit_bzero((char *)(uintptr_t)buf_slice(&held).at, held.len);
	buf_fini(&held);
}

static void read_schema(const struct field *field)
{
	struct buf json = BUF_INIT(4 << 20);
	if (field->node->kind != NODE_MAP)
		return config_error_at(field->load, field->node, "%s: must be a JSON Schema, such as { type: object }",
				       field->where);
	node_put_json(field->load, field->node, field->where, &json);
	char *text = json.failed ? NULL : arena_text(field->load->arena, buf_slice(&json));
	if (json.failed)
		complain_of(field, "is longer than 4MiB");
	if (text)
		memcpy(field->at, &text, sizeof text);
	buf_fini(&json);
}

/* Fill in what scalars below the node say; what is filled in is text. */
static void fill_in(const struct field *field, struct node *node, bool *secret)
{
	for (struct node *child = node->first; child; child = child->next) {
		bool filled = false;
		struct slice text;
		if (child->kind != NODE_SCALAR) {
			fill_in(field, child, secret);
			continue;
		}
		if (!config_expand(field->load, child, field->where, &text, &filled))
			continue;
		child->text = text;
		child->plain = child->plain && !filled;
		*secret |= filled;
	}
}

static void read_object(const struct field *field)
{
	struct buf json = BUF_INIT(64 << 10);
	bool secret = false;
	if (field->node->kind != NODE_MAP)
		return complain_of(field, "must be a map, such as { units: metric }");
	/* the tree is this reading's own: nobody else looks at this part of it */
	fill_in(field, (struct node *)(uintptr_t)field->node, &secret);
	node_put_json(field->load, field->node, field->where, &json);
	char *text = json.failed ? NULL : arena_text(field->load->arena, buf_slice(&json));
	if (json.failed)
		complain_of(field, "is longer than 64KiB");
	if (text && secret)
		secrets_add(&field->load->config->secrets, field->load->arena, text);
	if (text)
		memcpy(field->at, &text, sizeof text);
	buf_fini(&json);
}

/* --- Lists and maps --- */

static bool fits_count(const struct field *field, size_t count)
{
	if (count >= field->option->min && count <= field->option->max)
		return true;
	if (count < field->option->min)
		config_error_at(field->load, field->node, "%s: needs at least %lu", field->where,
				(unsigned long)field->option->min);
	else
		config_error_at(field->load, field->node, "%s: has %zu elements, at most %lu are allowed", field->where,
				count, (unsigned long)field->option->max);
	return false;
}

/* Room for `count` elements in the field; NULL: out of memory. */
static void *make_room(const struct field *field, size_t count, size_t bytes)
{
	void *items = arena_array(field->load->arena, count, bytes);
	memcpy(field->at, &items, sizeof items);
	*field->count = items ? count : 0;
	return items;
}

/* The same option, one element of it. */
static struct field read_element(const struct field *field, const struct node *node)
{
	struct field one = *field;
	one.node = node;
	return one;
}

static void read_address(const struct field *list, const struct node *node, struct listen_address *address)
{
	struct field one = read_element(list, node);
	struct slice text;
	if (!take_string(&one, &text))
		return;
	const char *wrong = value_address(text.at, address);
	if (wrong)
		complain_of(&one, wrong);
}

static void read_addresses(const struct field *field)
{
	const struct node *node = field->node;
	size_t i = 0;
	bool off = node->kind == NODE_SCALAR && slice_equal(node->text, SLICE("off"));
	if (off && field->option->min == 0) {
		*field->count = 0;
	} else if (node->kind == NODE_LIST && fits_count(field, node->count)) {
		struct listen_address *items = make_room(field, node->count, sizeof *items);
		for (const struct node *child = node->first; items && child; child = child->next)
			read_address(field, child, &items[i++]);
	} else if (node->kind != NODE_LIST) {
		struct listen_address *items = make_room(field, 1, sizeof *items);
		if (items)
			read_address(field, node, items);
	}
}

static bool is_list(const struct field *field)
{
	if (field->node->kind == NODE_LIST)
		return fits_count(field, field->node->count);
	if (field->node->kind != NODE_BAD)
		complain_type(field);
	return false;
}

static void read_networks(const struct field *field)
{
	size_t i = 0;
	if (!is_list(field))
		return;
	struct network *items = make_room(field, field->node->count, sizeof *items);
	for (const struct node *child = field->node->first; items && child; child = child->next) {
		struct field one = read_element(field, child);
		struct slice text;
		const char *wrong = take_string(&one, &text) ? value_network(text.at, &items[i++]) : NULL;
		if (wrong)
			complain_of(&one, wrong);
	}
}

static void read_texts(const struct field *field)
{
	size_t i = 0;
	if (!is_list(field))
		return;
	const char **items = make_room(field, field->node->count, sizeof *items);
	for (const struct node *child = field->node->first; items && child; child = child->next) {
		struct field one = read_element(field, child);
		struct slice text;
		if (!take_string(&one, &text))
			continue;
		if (field->option->kind == OPTION_TEXTS && (text.len == 0 || text.len > field->option->text_bytes))
			config_error_at(field->load, child, "%s: must be 1 to %zu bytes long", one.where,
					field->option->text_bytes);
		items[i++] = text.at;
	}
}

/* Value of a header or template: any scalar, taken as it is written. NULL: complained about. */
static const char *take_pair(const struct field *field, const struct node *node)
{
	struct field one = read_element(field, node);
	struct slice text;
	bool filled;
	one.where = arena_printf(field->load->arena, "%s.%.*s", field->where, CONFIG_NAME_BYTES, node->key.at);
	if (node->kind != NODE_BAD && (node->kind != NODE_SCALAR || node_is_null(node))) {
		config_error_at(field->load, node, "%s: must be text", one.where);
		return NULL;
	}
	return take_text(&one, &text, &filled) ? text.at : NULL;
}

bool config_is_reserved_header(const char *name)
{
	static const char *const names[] = { "Connection", "Content-Length",    "Expect",
					     "Keep-Alive", "Proxy-Connection",  "TE",
					     "Trailer",    "Transfer-Encoding", "Upgrade" };
	for (size_t i = 0; i < countof(names); i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return false;
}

static void check_header(const struct field *field, const struct node *node, const char *value)
{
	const char *wrong = value_header_name(node->key);
	if (!wrong && config_is_reserved_header(node->key.at))
		wrong = "is written by jitney itself";
	for (const struct node *other = field->node->first; !wrong && other != node; other = other->next)
		if (other->key.at && strcasecmp(other->key.at, node->key.at) == 0)
			wrong = "is there twice: case does not matter in a header's name";
	if (wrong)
		config_error_key(field->load, node, "%s: \"%.*s\" %s", field->where, CONFIG_NAME_BYTES, node->key.at,
				 wrong);
	wrong = value ? value_header(slice_of(value)) : NULL;
	if (wrong)
		config_error_at(field->load, node, "%s.%.*s: %s", field->where, CONFIG_NAME_BYTES, node->key.at, wrong);
}

/* The value of one member of a map of names; NULL: leave it out. */
static const char *read_pair(const struct field *field, const struct node *node)
{
	const char *value = take_pair(field, node);
	if (node->kind == NODE_BAD)
		return NULL;
	if (field->option->kind == OPTION_HEADERS || field->option->kind == OPTION_HEADER_TEMPLATES)
		check_header(field, node, value);
	else if (node->key.len == 0 || memchr(node->key.at, '\0', node->key.len))
		config_error_key(field->load, node, "%s: a name must not be empty or hold a NUL byte", field->where);
	return value;
}

static bool is_map(const struct field *field)
{
	if (field->node->kind == NODE_MAP)
		return fits_count(field, field->node->count);
	if (field->node->kind != NODE_BAD)
		complain_type(field);
	return false;
}

static void read_headers(const struct field *field)
{
	size_t i = 0;
	if (!is_map(field))
		return;
	struct upstream_header *items = make_room(field, field->node->count, sizeof *items);
	for (const struct node *child = field->node->first; items && child; child = child->next) {
		const char *value = read_pair(field, child);
		if (value)
			items[i++] = (struct upstream_header){ child->key.at, value };
	}
	*field->count = i;
}

static void read_templates(const struct field *field)
{
	size_t i = 0;
	if (!is_map(field))
		return;
	struct route_pair *items = make_room(field, field->node->count, sizeof *items);
	for (const struct node *child = field->node->first; items && child; child = child->next) {
		const char *value = read_pair(field, child);
		if (value)
			items[i++] = (struct route_pair){ child->key.at, value };
	}
	*field->count = i;
}

static void read_variables(const struct field *field)
{
	size_t i = 0;
	if (!is_map(field))
		return;
	struct process_variable *items = make_room(field, field->node->count, sizeof *items);
	for (const struct node *child = field->node->first; items && child; child = child->next) {
		const char *value = read_pair(field, child);
		if (value)
			items[i++] = (struct process_variable){ child->key.at, value };
	}
	*field->count = i;
}

static void read_field(const struct field *field)
{
	switch (field->option->kind) {
	case OPTION_BOOL:
		return read_bool(field);
	case OPTION_COUNT:
		return read_number(field, value_count);
	case OPTION_WORKERS:
		return read_workers(field);
	case OPTION_AUTO:
		return read_auto(field);
	case OPTION_PERCENT:
		return read_number(field, value_percent);
	case OPTION_DURATION:
		return read_number(field, value_duration);
	case OPTION_SIZE:
		return read_number(field, value_size);
	case OPTION_RATE:
		return read_rate(field);
	case OPTION_ENUM:
	case OPTION_WORD:
		return read_word(field);
	case OPTION_TEXT:
	case OPTION_HEADER_NAME:
		return read_text(field);
	case OPTION_FILE:
		return read_file_option(field);
	case OPTION_ADDRESSES:
		return read_addresses(field);
	case OPTION_NETWORKS:
		return read_networks(field);
	case OPTION_TEXTS:
	case OPTION_ARGUMENTS:
		return read_texts(field);
	case OPTION_HEADERS:
		return read_headers(field);
	case OPTION_VARIABLES:
		return read_variables(field);
	case OPTION_TEMPLATES:
	case OPTION_HEADER_TEMPLATES:
		return read_templates(field);
	case OPTION_SCHEMA:
		return read_schema(field);
	case OPTION_OBJECT:
		return read_object(field);
	default:
		return; /* blocks are read.c's */
	}
}

void config_read_value(struct config_load *load, const struct option *option, const struct node *node,
		       const char *where, void *owner)
{
	struct field field = { load,
			       option,
			       node,
			       where,
			       (char *)owner + option->at,
			       (size_t *)(void *)((char *)owner + option->count_at) };
	if (node->kind != NODE_BAD)
		read_field(&field);
}

void config_read_default(struct config_load *load, const struct option *option, void *owner)
{
	struct node node = { .kind = NODE_SCALAR, .plain = true, .text = slice_of(option->fallback) };
	if (strcmp(option->fallback, "[]") == 0)
		node = (struct node){ .kind = NODE_LIST };
	config_read_value(load, option, &node, option->path, owner);
}
