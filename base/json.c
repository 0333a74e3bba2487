/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c: the strict scanner behind json_check and json_canonical: one pass, no recursion but in the last step.
 *
 * Duplicate names are found without a set: while the names of an object ascend there can be none, and once they do
 * not, they are sorted when the object closes. The canonical form needs that sort anyway. Both work on nodes, one for
 * each open object and each of its members so far, kept as a stack: a checked object's nodes go when it closes.
 *
 * The canonical form is the text itself for as long as it can be: `run` is where the bytes begin that have not had to
 * be copied. A blank or an escape ends the run and moves it to `compact`. An object whose members are not in order
 * stays as it is, and keeps its nodes; emit_range puts all of them in order at the end. So each byte is copied at most
 * twice however deep it lies, and a text that is canonical already is copied once.
 */
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>

#include "base/json_chars.h"
#include "base/json_private.h"
#include "base/utf8.h"

enum { LARGE_BYTES = 4 << 20 };

/* --- Faults and memory --- */

/* What to say where a byte is missing or wrong. */
static const char *refuse_unexpected(struct scan *scan, const char *at, const char *what)
{
	return json_refuse(scan, at, at == scan->end ? "unexpected end of text" : what);
}

/* As realloc; where megabytes are to be moved, into pages that are large if there are any. */
static void *stretch_memory(const struct json_scratch *scratch, size_t bytes)
{
	if (bytes < LARGE_BYTES)
		return realloc(scratch->memory, bytes);
	void *memory = malloc(bytes);
	if (!memory)
		return NULL;
	blob_expect_much(memory, bytes);
	if (scratch->bytes)
		memcpy(memory, scratch->memory, scratch->bytes);
	free(scratch->memory);
	return memory;
}

/* Make room for `nodes` nodes behind the fixed parts. */
static bool grow_nodes(struct scan *scan, uint32_t nodes)
{
	size_t before = scan->frames_bytes + scan->names_bytes + scan->compact_bytes;
	size_t bytes = before + nodes * sizeof(struct node);
	if (scan->scratch->bytes < bytes) {
		void *memory = stretch_memory(scan->scratch, bytes);
		if (!memory) {
			*scan->fault = (struct json_fault){ "out of memory", 0, true };
			return false;
		}
		*scan->scratch = (struct json_scratch){ memory, bytes };
	}
	char *memory = scan->scratch->memory;
	scan->frames = (struct frame *)(void *)memory;
	if (!scan->arriving)
		scan->names = memory + scan->frames_bytes;
	scan->compact = scan->compact_bytes ? scan->names + scan->names_bytes : NULL;
	scan->nodes = (struct node *)(void *)(memory + before);
	scan->node_room = (uint32_t)((scan->scratch->bytes - before) / sizeof(struct node));
	return true;
}

/* Of a text that is arriving, no more than it may have open, and what one step adds to that. From some megabytes on, room for
 * all of that at once: pages that are not written to cost nothing, and to move them takes most of a turn. */
static uint32_t more_nodes(const struct scan *scan)
{
	uint32_t most = scan->most_nodes, twice = scan->node_room * 2;
	bool large = twice >= LARGE_BYTES / sizeof(struct node);
	return scan->node_room < most && large ? most : twice;
}

static size_t whole_words(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

bool json_scan_begin(struct scan *scan, struct slice text, bool canonical)
{
	scan->text = text.len ? text.at : "";
	scan->end = scan->text + text.len;
	scan->run = scan->text;
	scan->node_count = NO_NODE + 1;
	if (text.len > INT32_MAX) {
		json_refuse(scan, scan->text, "text too large");
		return false;
	}
	if (scan->max_depth > JSON_DEPTH_MAX)
		scan->max_depth = JSON_DEPTH_MAX;
	size_t frames = text.len < scan->max_depth && !scan->arriving ? text.len : scan->max_depth;
	scan->frames_bytes = whole_words(frames * sizeof(struct frame));
	scan->names_bytes = scan->arriving ? 0 : whole_words(text.len);
	scan->compact_bytes = canonical ? whole_words(text.len + 1) : 0;
	return grow_nodes(scan, FIRST_NODES);
}

void json_scratch_fini(struct json_scratch *scratch)
{
	free(scratch->memory);
	*scratch = (struct json_scratch){ NULL, 0 };
}

/* --- The compact text --- */

/* Where byte p of the text will be in the compact text. */
static uint32_t position_of(const struct scan *scan, const char *p)
{
	return (uint32_t)(scan->written + (size_t)(p - scan->run));
}

/* End the run before `to`: the text from there up to `next` will not stand for itself. */
static void end_run(struct scan *scan, const char *to, const char *next)
{
	size_t len = (size_t)(to - scan->run);
	memcpy(scan->compact + scan->written, scan->run, len);
	scan->written += len;
	scan->run = next;
}

static const char *skip_all_blanks(struct scan *scan, const char *p)
{
	const char *from = p;
	while (p < scan->end && json_blank(*p))
		p++;
	if (scan->compact)
		end_run(scan, from, p);
	return p;
}

/* What programs write has few. */
static INLINED const char *skip_blanks(struct scan *scan, const char *p)
{
	return p < scan->end && json_blank(*p) ? skip_all_blanks(scan, p) : p;
}

/* Respell a string with escapes the canonical way. from: its opening quote; to: its closing quote. */
static void respell_string(struct scan *scan, const char *from, const char *to)
{
	const char *p = from + 1;
	while (p < to && (*p == '\\' || (p = memchr(p, '\\', (size_t)(to - p))))) {
		uint32_t code = 0;
		if (p[1] != 'u' && p[1] != '/') { /* the shortest spelling as it stands */
			p += 2;
			continue;
		}
		size_t read = json_escape_read(p, to, &code);
		assert(read > 0);
		end_run(scan, p, p + read);
		/* cannot pass the end of `compact`: no spelling is shorter than this one */
		char spelt[6];
		size_t len = json_escape_write(spelt, code);
		memcpy(scan->compact + scan->written, spelt, len);
		scan->written += len;
		p += read;
	}
}

/* --- Members --- */

/* Room in `names` of a text that is arriving. False: out of memory. */
static bool grow_names(struct scan *scan, size_t more)
{
	if (more <= scan->names_room - scan->names_used)
		return true;
	size_t room = 2 * scan->names_room + more;
	char *names = realloc(scan->names, room);
	if (!names) {
		*scan->fault = (struct json_fault){ "out of memory", 0, true };
		return false;
	}
	scan->names = names;
	scan->names_room = room;
	return true;
}

/* Write what an escaped name means into `names`, at this place. Returns its bytes. */
static size_t unescape_name(struct scan *scan, size_t at, const char *name, const char *end)
{
	char *start = scan->names + at, *to = start;
	while (name < end) {
		if (*name != '\\') {
			*to++ = *name++;
			continue;
		}
		uint32_t code = 0;
		char utf8[4];
		name += json_escape_read(name, end, &code);
		size_t len = json_utf8_write(utf8, code);
		memcpy(to, utf8, len);
		to += len;
	}
	return (size_t)(to - start);
}

/* A new member of the innermost object. name: behind its opening quote; end: its closing quote. */
static bool add_member(struct scan *scan, const char *name, const char *end, bool escaped)
{
	if (scan->node_count == scan->node_room && !grow_nodes(scan, more_nodes(scan)))
		return false;
	struct frame *frame = &scan->frames[scan->depth - 1];
	uint32_t index = scan->node_count++;
	struct node *member = &scan->nodes[index];
	size_t len = (size_t)(end - name), name_at = (size_t)(name - scan->text);
	if (escaped) {
		if (scan->arriving) {
			if (!grow_names(scan, len))
				return false;
			name_at = scan->names_used;
		}
		len = unescape_name(scan, name_at, name, end);
		scan->names_used += len;
	}
	member->name_at = (uint32_t)name_at;
	member->name_len = (uint32_t)len & INT32_MAX;
	member->escaped = escaped;
	member->prefix = name_prefix(name_bytes(scan, member), len, escaped ? len : (size_t)(scan->end - name));
	member->at = position_of(scan, name - 1);
	member->next = NO_NODE;
	if (frame->last == NO_NODE) {
		scan->nodes[frame->object].next = index;
	} else {
		struct node *before = &scan->nodes[frame->last];
		before->next = index;
		frame->ascending = frame->ascending && compare_names(scan, before, member) < 0;
	}
	frame->last = index;
	frame->members++;
	return true;
}

/* The innermost object's last member ends before p. */
static void end_member(struct scan *scan, const struct frame *frame, const char *p)
{
	struct node *member = &scan->nodes[frame->last];
	member->end = position_of(scan, p);
	member->after = scan->node_count;
}

/* The innermost object ends at the bracket `p`. False, with the fault. */
static bool end_object(struct scan *scan, struct frame *frame, const char *p)
{
	struct node *object = &scan->nodes[frame->object];
	if (!frame->ascending && !json_order_members(scan, frame, p))
		return false;
	if (!scan->compact || (frame->ascending && !frame->kept)) {
		scan->node_count = frame->object;
		scan->names_used = object->name_at;
		return true;
	}
	if (frame->last != NO_NODE)
		end_member(scan, frame, p);
	object->end = position_of(scan, p + 1);
	object->after = scan->node_count;
	frame->kept = true;
	return true;
}

/* --- The grammar. Each step returns the byte behind what it took, or NULL with the fault. --- */

static const char *scan_escape(struct scan *scan, const char *p)
{
	uint32_t code;
	size_t len = json_escape_read(p, scan->end, &code);
	if (len)
		return p + len;
	bool unit = scan->end - p > 2 && p[1] == 'u' && json_hex4(p + 2, scan->end) >= 0;
	return json_refuse(scan, p, unit ? "lone surrogate" : "malformed escape");
}

/* A run of characters that are not ASCII. */
static const char *scan_utf8(struct scan *scan, const char *p)
{
	do {
		size_t len = utf8_char(p, (size_t)(scan->end - p));
		if (!len)
			return json_refuse(scan, p, "invalid UTF-8");
		p += len;
	} while (p < scan->end && (unsigned char)*p >= 0x80);
	return p;
}

/* p: behind the opening quote. Returns the closing quote itself. */
static const char *scan_string(struct scan *scan, const char *p, bool *escaped)
{
	*escaped = false;
	while (p) {
		if (p == scan->end || *p != '\\') /* an escape behind another one is no run to look for */
			p = json_plain_end(p, scan->end);
		if (p == scan->end)
			return json_refuse(scan, p, "unexpected end of text in a string");
		if (*p == '"')
			return p;
		if (*p == '\\') {
			*escaped = true;
			p = scan_escape(scan, p);
		} else if ((unsigned char)*p >= 0x80) {
			p = scan_utf8(scan, p);
		} else {
			return json_refuse(scan, p, "control character in a string");
		}
	}
	return NULL;
}

static INLINED const char *scan_string_value(struct scan *scan, const char *p)
{
	bool escaped;
	const char *end = scan_string(scan, p + 1, &escaped);
	if (!end)
		return NULL;
	if (escaped && scan->compact)
		respell_string(scan, p, end);
	return end + 1;
}

static const char *skip_digits(const struct scan *scan, const char *p)
{
	while (p < scan->end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

static const char *scan_number(struct scan *scan, const char *p)
{
	const char *digits = p + (*p == '-');
	p = skip_digits(scan, digits);
	if (p == digits)
		return refuse_unexpected(scan, p, "a number without digits");
	if (*digits == '0' && p - digits > 1)
		return json_refuse(scan, digits, "a number with a leading zero");
	if (p < scan->end && *p == '.') {
		digits = ++p;
		p = skip_digits(scan, digits);
		if (p == digits)
			return refuse_unexpected(scan, p, "a number without digits after its point");
	}
	if (p < scan->end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < scan->end && (*p == '+' || *p == '-'))
			p++;
		digits = p;
		p = skip_digits(scan, digits);
		if (p == digits)
			return refuse_unexpected(scan, p, "a number without digits in its exponent");
	}
	return p;
}

static const char *scan_literal(struct scan *scan, const char *p, struct slice literal)
{
	if ((size_t)(scan->end - p) < literal.len || memcmp(p, literal.at, literal.len) != 0)
		return json_refuse(scan, p, "expected a value");
	return p + literal.len;
}

/* A member's name and its colon. */
static const char *scan_name(struct scan *scan, const char *p)
{
	p = skip_blanks(scan, p);
	if (p == scan->end || *p != '"')
		return refuse_unexpected(scan, p, "expected a member name");
	bool escaped;
	const char *end = scan_string(scan, p + 1, &escaped);
	if (!end || !add_member(scan, p + 1, end, escaped))
		return NULL;
	if (escaped && scan->compact)
		respell_string(scan, p, end);
	p = skip_blanks(scan, end + 1);
	if (p == scan->end || *p != ':')
		return refuse_unexpected(scan, p, "expected ':'");
	return p + 1;
}

/* The opening bracket p, and what must follow: a closing bracket (not taken), a member's name, or nothing yet. */
static INLINED const char *scan_open(struct scan *scan, const char *p, bool *value_due)
{
	bool object = *p == '{';
	if (scan->depth == scan->max_depth)
		return json_refuse(scan, p, "nested too deeply");
	if (scan->node_count == scan->node_room && !grow_nodes(scan, more_nodes(scan)))
		return NULL;
	assert(scan->frames); /* json_scan_begin has made room for max_depth of them */
	struct frame *frame = &scan->frames[scan->depth++];
	*frame = (struct frame){ .object = NO_NODE, .last = NO_NODE, .ascending = true };
	if (object) {
		frame->object = scan->node_count++;
		struct node *node = &scan->nodes[frame->object];
		node->at = position_of(scan, p);
		node->name_at = (uint32_t)scan->names_used; /* those of its members come behind */
		node->next = NO_NODE;
	}
	p = skip_blanks(scan, p + 1);
	*value_due = p == scan->end || *p != (object ? '}' : ']');
	return object && *value_due ? scan_name(scan, p) : p;
}

static INLINED const char *scan_close(struct scan *scan, const char *p)
{
	struct frame *frame = &scan->frames[scan->depth - 1];
	if (frame->object != NO_NODE && !end_object(scan, frame, p))
		return NULL;
	if (frame->kept) {
		scan->kept = true;
		if (scan->depth > 1)
			frame[-1].kept = true;
	}
	scan->depth--;
	return p + 1;
}

/* What follows a value inside an array or object: a comma (with the next member's name), or the closing bracket. */
static INLINED const char *scan_separator(struct scan *scan, const char *p, bool *value_due)
{
	const struct frame *frame = &scan->frames[scan->depth - 1];
	bool object = frame->object != NO_NODE;
	p = skip_blanks(scan, p);
	*value_due = false;
	if (p < scan->end && *p == (object ? '}' : ']'))
		return scan_close(scan, p);
	if (p == scan->end || *p != ',')
		return refuse_unexpected(scan, p, object ? "expected ',' or '}'" : "expected ',' or ']'");
	*value_due = true;
	if (!object)
		return p + 1;
	end_member(scan, frame, p);
	return scan_name(scan, p + 1);
}

/* A scalar, or the beginning of an array or object: then *value_due says whether its first value comes next. */
static INLINED const char *scan_value(struct scan *scan, const char *p, bool *value_due)
{
	p = skip_blanks(scan, p);
	*value_due = false;
	switch (p < scan->end ? *p : '\0') {
	case '"':
		return scan_string_value(scan, p);
	case '{':
	case '[':
		return scan_open(scan, p, value_due);
	case 't':
		return scan_literal(scan, p, SLICE("true"));
	case 'f':
		return scan_literal(scan, p, SLICE("false"));
	case 'n':
		return scan_literal(scan, p, SLICE("null"));
	default:
		if (p < scan->end && (*p == '-' || (*p >= '0' && *p <= '9')))
			return scan_number(scan, p);
		return refuse_unexpected(scan, p, "expected a value");
	}
}

const char *json_scan_step(struct scan *scan, const char *p, bool *value_due)
{
	return *value_due ? scan_value(scan, p, value_due) : scan_separator(scan, p, value_due);
}

const char *json_scan_string(struct scan *scan, const char *p)
{
	bool escaped;
	return scan_string(scan, p, &escaped);
}

/* The whole text. Returns the byte behind its value. */
static const char *scan_text(struct scan *scan)
{
	const char *p = scan->text;
	bool value_due = true;
	do
		p = value_due ? scan_value(scan, p, &value_due) : scan_separator(scan, p, &value_due);
	while (p && (value_due || scan->depth));
	const char *rest = p;
	while (rest && rest < scan->end && json_blank(*rest))
		rest++;
	if (rest && rest < scan->end)
		return json_refuse(scan, rest, "more text after the value");
	return p;
}

/* --- The canonical form --- */

static char *emit_range(const struct scan *scan, const char *compact, const struct node *range, uint32_t first,
			char *to);

/* An object with its members in order. Returns the byte behind what was written. */
static char *emit_object(const struct scan *scan, const char *compact, const struct node *object, char *to)
{
	*to++ = '{';
	for (uint32_t index = object->next; index != NO_NODE; index = scan->nodes[index].next) {
		if (index != object->next)
			*to++ = ',';
		to = emit_range(scan, compact, &scan->nodes[index], index + 1, to);
	}
	*to++ = '}';
	return to;
}

/* The bytes of the compact text from range->at to range->end, but the objects in them (nodes from `first` up to
 * range->after) with their members in order. Recursion as deep as the objects are nested. */
static char *emit_range(const struct scan *scan, const char *compact, const struct node *range, uint32_t first,
			char *to)
{
	uint32_t at = range->at;
	for (uint32_t index = first; index < range->after; index = scan->nodes[index].after) {
		const struct node *object = &scan->nodes[index];
		memcpy(to, compact + at, object->at - at);
		to = emit_object(scan, compact, object, to + (object->at - at));
		at = object->end;
	}
	memcpy(to, compact + at, range->end - at);
	return to + (range->end - at);
}

/* Append the canonical form of the value that ends before `end`. */
static bool emit_canonical(struct scan *scan, const char *end, struct buf *out)
{
	const char *compact = scan->run;
	struct node whole = { .end = position_of(scan, end), .after = scan->node_count };
	if (scan->written) {
		end_run(scan, end, end);
		compact = scan->compact;
	}
	if (!buf_reserve(out, whole.end)) {
		*scan->fault = (struct json_fault){ "out of memory", 0, true };
		return false;
	}
	if (scan->kept)
		emit_range(scan, compact, &whole, NO_NODE + 1, out->store->bytes + out->len);
	else
		memcpy(out->store->bytes + out->len, compact, whole.end);
	out->len += whole.end;
	return true;
}

/* --- The front doors --- */

static bool run_scan(struct slice text, unsigned max_depth, struct json_scratch *scratch, struct buf *out,
		     struct json_fault *fault)
{
	struct json_scratch own = { NULL, 0 };
	struct scan scan = { .fault = fault, .scratch = scratch ? scratch : &own, .max_depth = max_depth };
	const char *end = json_scan_begin(&scan, text, out != NULL) ? scan_text(&scan) : NULL;
	bool done = end && (!out || emit_canonical(&scan, end, out));
	if (!scratch || scratch->bytes > SCRATCH_KEPT_BYTES)
		json_scratch_fini(scan.scratch);
	return done;
}

bool json_check(struct slice text, unsigned max_depth, struct json_scratch *scratch, struct json_fault *fault)
{
	return run_scan(text, max_depth, scratch, NULL, fault);
}

bool json_canonical(struct slice text, unsigned max_depth, struct json_scratch *scratch, struct buf *out,
		    struct json_fault *fault)
{
	assert(out);
	return run_scan(text, max_depth, scratch, out, fault);
}
