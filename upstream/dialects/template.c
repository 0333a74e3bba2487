/* SPDX-License-Identifier: Apache-2.0 */
/* template.c: compiled `{name}` templates: parsed once when the configuration is read, filled in for each call. */
#include "upstream/dialects/template.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/json.h"
#include "base/utf8.h"
#include "upstream/dialects/path_guard.h"

struct part {
	struct slice text; /* of the literal, or the placeholder's name; within template->source */
	bool placeholder;
	bool optional;
	bool whole;   /* {arguments} */
	bool slashes; /* {name+}: may be several segments of a path */
};

struct template
{
	enum template_place place;
	size_t part_count;
	char *source;
	struct part parts[];
};

/* --- character classes --- */

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_unreserved(char c)
{
	return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

void template_percent_encode(struct buf *out, struct slice text)
{
	static const char hex[] = "0123456789ABCDEF";
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];
		if (is_unreserved((char)c)) {
			buf_put_char(out, (char)c);
			continue;
		}
		char escape[3] = { '%', hex[c >> 4], hex[c & 15] };
		buf_put(out, (struct slice){ escape, 3 });
	}
}

void template_keep_line(struct buf *out, size_t from)
{
	char *bytes = out->store ? out->store->bytes : NULL;
	for (size_t i = from; i < out->len; i++)
		if (bytes[i] == '\n' || bytes[i] == '\r')
			bytes[i] = ' ';
}

/* --- compiling --- */

/* Bytes of the placeholder at `at`, 0 if there is none. */
static size_t placeholder_bytes(const char *at, enum template_place place)
{
	if (at[0] != '{' || !(is_alpha(at[1]) || at[1] == '_'))
		return 0;
	size_t i = 2;
	while (is_alpha(at[i]) || is_digit(at[i]) || at[i] == '_' || at[i] == '.' || at[i] == '-')
		i++;
	if (at[i] == '?' || (at[i] == '+' && place == TEMPLATE_PATH))
		i++;
	return at[i] == '}' ? i + 1 : 0;
}

static struct part placeholder_part(const char *at, size_t bytes)
{
	struct part part = { .text = { at + 1, bytes - 2 }, .placeholder = true };
	char mark = part.text.at[part.text.len - 1];
	part.optional = mark == '?';
	part.slashes = mark == '+';
	part.text.len -= part.optional || part.slashes;
	part.whole = slice_equal(part.text, SLICE("arguments"));
	return part;
}

const char *template_next_name(const char *at, enum template_place place, struct slice *name)
{
	for (; *at; at++) {
		size_t bytes = placeholder_bytes(at, place);
		if (!bytes)
			continue;
		*name = placeholder_part(at, bytes).text;
		return at + bytes;
	}
	return NULL;
}

static void split_parts(struct template *template)
{
	const char *literal = template->source, *at = template->source;
	while (*at) {
		size_t bytes = placeholder_bytes(at, template->place);
		if (!bytes) {
			at++;
			continue;
		}
		if (at > literal)
			template->parts[template->part_count++] =
				(struct part){ .text = { literal, (size_t)(at - literal) } };
		template->parts[template->part_count++] = placeholder_part(at, bytes);
		literal = at += bytes;
	}
	if (at > literal)
		template->parts[template->part_count++] = (struct part){ .text = { literal, (size_t)(at - literal) } };
}

/* RFC 3986: pchar, "/" and whole escapes */
static bool path_char_ok(const char *at)
{
	if (*at == '%')
		return hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0;
	return is_unreserved(*at) || strchr("!$&'()*+,;=:@/", *at) != NULL;
}

static bool check_literal(const struct template *template, const struct part *part, struct dialect_error *error)
{
	for (size_t i = 0; i < part->text.len; i++) {
		const char *at = part->text.at + i;
		size_t where = (size_t)(at - template->source) + 1;
		if (template->place == TEMPLATE_PATH && !path_char_ok(at)) {
			if (*at == '{' || *at == '}')
				dialect_refuse(error, "", "character %zu: a brace that is no {name} placeholder",
					       where);
			else if (*at == '?')
				dialect_refuse(error, "", "character %zu: '?' (parameters belong in query)", where);
			else
				dialect_refuse(error, "", "character %zu: byte 0x%02x must be percent-encoded", where,
					       (unsigned char)*at);
			return false;
		}
		if (template->place == TEMPLATE_HEADER && ((unsigned char)*at < 0x20 || *at == 0x7f) && *at != '\t') {
			dialect_refuse(error, "", "character %zu: control character 0x%02x", where, (unsigned char)*at);
			return false;
		}
	}
	return true;
}

static bool check_placeholder(const struct template *template, const struct part *part, struct dialect_error *error)
{
	size_t where = (size_t)(part->text.at - template->source);
	if (part->optional && template->place == TEMPLATE_PATH) {
		dialect_refuse(error, "", "character %zu: {%.*s?}: a path needs all its arguments, none is optional",
			       where, SLICE_ARG(part->text));
		return false;
	}
	if (part->whole && (template->place == TEMPLATE_PATH || template->place == TEMPLATE_HEADER)) {
		dialect_refuse(error, "", "character %zu: {arguments} is an object, it can stand in query or body only",
			       where);
		return false;
	}
	return true;
}

/* What the template itself says may not climb either. */
static bool check_climbing(const struct template *template, struct dialect_error *error)
{
	struct buf made = BUF_INIT(SIZE_MAX / 4);
	struct path_guard guard = { 0 };
	for (size_t i = 0; i < template->part_count; i++)
		buf_put(&made, template->parts[i].placeholder ? SLICE("x") : template->parts[i].text);
	bool passes = path_guard_passes(&guard, &made, true) && !made.failed;
	if (!passes)
		made.failed ? dialect_no_memory(error) : dialect_refuse(error, "", "a segment is '.' or '..'");
	buf_fini(&made);
	return passes;
}

static bool check_parts(const struct template *template, struct dialect_error *error)
{
	if (template->place == TEMPLATE_PATH && template->source[0] != '/') {
		dialect_refuse(error, "", "character 1: a path begins with '/'");
		return false;
	}
	for (size_t i = 0; i < template->part_count; i++) {
		const struct part *part = &template->parts[i];
		bool ok = part->placeholder ? check_placeholder(template, part, error)
					    : check_literal(template, part, error);
		if (!ok)
			return false;
	}
	return template->place != TEMPLATE_PATH || check_climbing(template, error);
}

struct template *template_new(const char *text, enum template_place place, struct dialect_error *error)
{
	size_t braces = 0;
	for (const char *at = text; *at; at++)
		if (*at == '{')
			braces++;
	struct template *template = calloc(1, sizeof *template + (2 * braces + 1) * sizeof(struct part));
	if (!template || !(template->source = strdup(text))) {
		dialect_no_memory(error);
		template_free(template);
		return NULL;
	}
	template->place = place;
	split_parts(template);
	if (!check_parts(template, error)) {
		template_free(template);
		return NULL;
	}
	return template;
}

void template_free(struct template *template)
{
	if (!template)
		return;
	free(template->source);
	free(template);
}

static bool json_with(const struct template *template, const char *value, struct json_fault *fault)
{
	struct buf made = BUF_INIT(SIZE_MAX / 4);
	for (size_t i = 0; i < template->part_count; i++) {
		const struct part *part = &template->parts[i];
		buf_put(&made, part->placeholder ? slice_of(part->whole ? "{}" : value) : part->text);
	}
	enum { ANY_DEPTH = 128 };
	*fault = (struct json_fault){ .what = "out of memory" };
	bool ok = !made.failed && json_check(buf_slice(&made), ANY_DEPTH, NULL, fault);
	buf_fini(&made);
	return ok;
}

bool template_check_json(const struct template *template, struct dialect_error *error)
{
	/* A string shows placeholders within quotes, a number those that stand for a member's name. */
	struct json_fault fault;
	if (json_with(template, "\"\"", &fault) && json_with(template, "0", &fault))
		return true;
	dialect_refuse(
		error, "",
		"not JSON once its placeholders are filled in (%s); a placeholder is a whole value, without quotes "
		"around it",
		fault.what);
	return false;
}

/* --- filling in --- */

static enum template_result refuse_part(struct template_fault *fault, const struct part *part, const char *what)
{
	*fault = (struct template_fault){ .name = part->text, .missing = what == NULL, .what = what };
	return TEMPLATE_REFUSED;
}

/* Whether a text of several segments has an empty one. */
static bool has_empty_segment(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] == '/' && (i == 0 || i + 1 == text.len || text.at[i - 1] == '/'))
			return true;
	return false;
}

static const char *segment_fault(const struct part *part, struct slice text)
{
	if (text.len == 0)
		return "is empty";
	if (memchr(text.at, '\0', text.len))
		return "holds a NUL";
	if (part->slashes)
		return has_empty_segment(text) ? "has nothing before, behind or between its slashes" : NULL;
	if (memchr(text.at, '/', text.len) || memchr(text.at, '\\', text.len))
		return "holds a slash, and its placeholder stands for one segment ({name+} takes several)";
	return NULL;
}

/* What is wrong with a value at this place, NULL if nothing. */
static const char *text_fault(enum template_place place, const struct part *part, struct slice text)
{
	if (place == TEMPLATE_HEADER)
		return text_has_control(text) ? "holds a line break or another control character" : NULL;
	return place == TEMPLATE_PATH ? segment_fault(part, text) : NULL;
}

/* Percent-encoded, slashes as they are. */
static void put_segments(struct buf *out, struct slice text)
{
	while (text.len) {
		const char *slash = memchr(text.at, '/', text.len);
		size_t len = slash ? (size_t)(slash - text.at) : text.len;
		template_percent_encode(out, (struct slice){ text.at, len });
		if (slash)
			buf_put_char(out, '/');
		len += slash != NULL;
		text = (struct slice){ text.at + len, text.len - len };
	}
}

static enum template_result put_text(enum template_place place, const struct part *part, struct slice text,
				     struct buf *out, struct template_fault *fault)
{
	const char *wrong = text_fault(place, part, text);
	if (wrong)
		return refuse_part(fault, part, wrong);
	if (place == TEMPLATE_HEADER)
		buf_put(out, text);
	else if (part->slashes)
		put_segments(out, text);
	else
		template_percent_encode(out, text);
	return TEMPLATE_WRITTEN;
}

static enum template_result put_string(enum template_place place, const struct part *part, struct slice raw,
				       struct buf *out, struct template_fault *fault)
{
	struct buf text = BUF_INIT(SIZE_MAX / 4);
	json_unescape(raw, &text);
	enum template_result result = TEMPLATE_WRITTEN;
	if (text.failed)
		out->failed = true;
	else
		result = put_text(place, part, buf_slice(&text), out, fault);
	buf_fini(&text);
	return result;
}

static enum template_result put_value(enum template_place place, const struct part *part, struct slice value,
				      struct buf *out, struct template_fault *fault)
{
	switch (json_type(value)) {
	case JSON_STRING:
		return put_string(place, part, value, out, fault);
	case JSON_OBJECT:
		if (place != TEMPLATE_QUERY && place != TEMPLATE_FORM)
			return refuse_part(fault, part, "is an object");
		break;
	case JSON_ARRAY:
		if (place != TEMPLATE_QUERY && place != TEMPLATE_FORM)
			return refuse_part(fault, part, "is an array");
		break;
	case JSON_NULL:
		if (part->optional)
			return place == TEMPLATE_FORM ? TEMPLATE_WRITTEN : TEMPLATE_LEFT_OUT;
		return refuse_part(fault, part, NULL);
	case JSON_NUMBER:
	case JSON_TRUE:
	case JSON_FALSE:
		break;
	}
	return put_text(place, part, value, out, fault);
}

/* The members of an object as a form's fields; those that are null are left out. */
static enum template_result put_fields(const struct part *part, struct slice object, struct buf *out,
				       struct template_fault *fault)
{
	struct json_walk walk = json_walk(object);
	struct slice name, value;
	size_t from = out->len;
	while (json_next_member(&walk, &name, &value)) {
		if (json_type(value) == JSON_NULL)
			continue;
		if (out->len > from)
			buf_put_char(out, '&');
		enum template_result result = put_string(TEMPLATE_FORM, part, name, out, fault);
		buf_put_char(out, '=');
		if (result == TEMPLATE_WRITTEN)
			result = put_value(TEMPLATE_FORM, part, value, out, fault);
		if (result != TEMPLATE_WRITTEN)
			return result;
	}
	return TEMPLATE_WRITTEN;
}

static enum template_result write_placeholder(enum template_place place, const struct part *part,
					      struct slice arguments, struct buf *out, struct template_fault *fault)
{
	struct slice value;
	if (part->whole)
		value = json_trim(arguments);
	else if (!json_member(arguments, part->text, &value))
		value = part->optional ? SLICE("null") : SLICE("");
	if (value.len == 0)
		return refuse_part(fault, part, NULL);
	if (part->whole && place == TEMPLATE_FORM)
		return put_fields(part, value, out, fault);
	if (place != TEMPLATE_BODY && place != TEMPLATE_LINES)
		return put_value(place, part, value, out, fault);
	size_t from = out->len;
	buf_put(out, value);
	if (place == TEMPLATE_LINES)
		template_keep_line(out, from);
	return TEMPLATE_WRITTEN;
}

static enum template_result write_part(enum template_place place, const struct part *part, struct slice arguments,
				       struct buf *out, struct template_fault *fault)
{
	if (part->placeholder)
		return write_placeholder(place, part, arguments, out, fault);
	if (place == TEMPLATE_QUERY)
		template_percent_encode(out, part->text);
	else
		buf_put(out, part->text);
	return TEMPLATE_WRITTEN;
}

enum template_result template_write(const struct template *template, struct slice arguments, struct buf *out,
				    struct template_fault *fault)
{
	const struct part *last = NULL; /* placeholder */
	struct path_guard guard = { .from = out->len };
	for (size_t i = 0; i < template->part_count; i++) {
		const struct part *part = &template->parts[i];
		enum template_result result = write_part(template->place, part, arguments, out, fault);
		if (result != TEMPLATE_WRITTEN)
			return result;
		last = part->placeholder ? part : last;
		bool ends = i + 1 == template->part_count;
		/* what is wrong is so for an argument: the text alone has been checked */
		if (template->place == TEMPLATE_PATH && !path_guard_passes(&guard, out, ends) && last)
			return refuse_part(fault, last, "makes a segment that a server may read as '.' or '..'");
	}
	return TEMPLATE_WRITTEN;
}

bool template_is_fixed(const struct template *template)
{
	for (size_t i = 0; i < template->part_count; i++)
		if (template->parts[i].placeholder)
			return false;
	return true;
}
