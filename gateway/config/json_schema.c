/* SPDX-License-Identifier: Apache-2.0 */
/* json_schema.c: the JSON Schema of the configuration, for editors, made from the option table. */
#include "base/json.h"
#include "gateway/config/config_private.h"

#define RATE_PATTERN "^[1-9][0-9]*/(s|min|h|d)$"
#define DURATION_PATTERN "^(0|[1-9][0-9]*)(us|ms|s|m|h|d)$"
#define SIZE_PATTERN "^(0|[1-9][0-9]*)(B|KiB|MiB|GiB|kB|MB|GB)$"
#define FILLED "{\"$ref\":\"#/$defs/filled\"}"

struct writer {
	struct buf *out;
	unsigned depth;
};

static void put_block(const struct writer *writer, const char *prefix, bool or_text);

static void new_line(const struct writer *writer)
{
	buf_put_char(writer->out, '\n');
	for (unsigned i = 0; i < writer->depth; i++)
		buf_put_char(writer->out, '\t');
}

/* Help, then the bounds that a schema cannot express, then the default. */
static void put_description(struct buf *out, const struct option *option)
{
	struct buf text = BUF_INIT(4096);
	buf_put_text(&text, option->help);
	if (option->kind == OPTION_DURATION || option->kind == OPTION_SIZE) {
		buf_put_text(&text, " From ");
		option_put_bound(option, option->min, &text);
		buf_put_text(&text, " to ");
		option_put_bound(option, option->max, &text);
		buf_put_char(&text, '.');
	}
	if (option->fallback && strcmp(option->fallback, OPTION_REQUIRED) != 0)
		buf_printf(&text, " Default: %s.", option->fallback);
	buf_put_text(out, "\"description\":");
	json_put_string(out, buf_slice(&text));
	out->failed |= text.failed;
	buf_fini(&text);
}

/* A duration or size: a pattern, and a bare 0 where that is allowed. */
static void put_quantity(struct buf *out, const struct option *option, const char *pattern)
{
	buf_put_text(out, "\"anyOf\":[");
	if (option->min == 0)
		buf_put_text(out, "{\"const\":0},");
	buf_printf(out, "{\"type\":\"string\",\"pattern\":\"%s\"}," FILLED "]", pattern);
}

/* A word that editors take for a number (http: 1.1) may be either. */
static void put_words(struct buf *out, const struct option *option)
{
	struct slice word;
	buf_put_text(out, "\"anyOf\":[{\"enum\":[");
	for (const char *at = option->words; option_next_word(&at, &word);) {
		json_put_string(out, word);
		if (strspn(word.at, "0123456789.") >= word.len) {
			buf_put_char(out, ',');
			buf_put(out, word);
		}
		if (*at)
			buf_put_char(out, ',');
	}
	buf_put_text(out, "]}," FILLED "]");
}

static void put_integer(struct buf *out, const struct option *option)
{
	buf_put_text(out, "\"anyOf\":[");
	if (option->kind == OPTION_WORKERS || option->kind == OPTION_AUTO)
		buf_put_text(out, "{\"const\":\"auto\"},");
	buf_printf(out, "{\"type\":\"integer\",\"minimum\":%lu,\"maximum\":%lu}," FILLED "]",
		   (unsigned long)option->min, (unsigned long)option->max);
}

/* A list of texts, or one alone where that is allowed. */
static void put_texts(struct buf *out, const struct option *option)
{
	bool alone = option->kind == OPTION_ADDRESSES;
	if (alone)
		buf_put_text(out, "\"anyOf\":[{\"type\":\"string\"},{");
	buf_put_text(out, "\"type\":\"array\",\"items\":{\"type\":\"string\"");
	if (option->kind == OPTION_TEXTS)
		buf_printf(out, ",\"minLength\":1,\"maxLength\":%zu", option->text_bytes);
	buf_printf(out, "},\"minItems\":%lu,\"maxItems\":%lu", (unsigned long)option->min, (unsigned long)option->max);
	if (alone)
		buf_put_text(out, "}]");
}

static void put_pairs(struct buf *out, const struct option *option)
{
	buf_put_text(out, "\"type\":\"object\",");
	if (option->kind == OPTION_HEADERS || option->kind == OPTION_HEADER_TEMPLATES)
		buf_put_text(out, "\"propertyNames\":{\"pattern\":\"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$\"},");
	buf_printf(out, "\"maxProperties\":%lu,\"additionalProperties\":{\"type\":[\"string\",\"number\",\"boolean\"]}",
		   (unsigned long)option->max);
}

static void put_named(const struct writer *writer, const struct option *option)
{
	struct buf prefix = BUF_INIT(128);
	bool tools = strcmp(option->path, "tools") == 0;
	buf_printf(&prefix, "%s.*.", option->path);
	buf_printf(writer->out,
		   "\"type\":[\"object\",\"null\"],\"maxProperties\":%lu,\"propertyNames\":{\"pattern\":\"%s\"},",
		   (unsigned long)option->max, tools ? "^[A-Za-z0-9_.-]{1,128}$" : "^[A-Za-z0-9_-]{1,64}$");
	buf_put_text(writer->out, "\"additionalProperties\":{");
	put_block(writer, buf_cstr(&prefix), false);
	buf_put_char(writer->out, '}');
	buf_fini(&prefix);
}

static void put_inner(const struct writer *writer, const struct option *option)
{
	struct buf prefix = BUF_INIT(128);
	bool list = option->kind == OPTION_BLOCKS;
	buf_printf(&prefix, "%s%s", option->path, list ? "[]." : ".");
	if (list)
		buf_printf(writer->out, "\"type\":\"array\",\"minItems\":%lu,\"maxItems\":%lu,\"items\":{",
			   (unsigned long)option->min, (unsigned long)option->max);
	put_block(writer, buf_cstr(&prefix), option_shorthand(option) != NULL);
	if (list)
		buf_put_char(writer->out, '}');
	buf_fini(&prefix);
}

static void put_type(const struct writer *writer, const struct option *option)
{
	struct buf *out = writer->out;
	switch (option->kind) {
	case OPTION_BLOCK:
	case OPTION_BLOCKS:
		return put_inner(writer, option);
	case OPTION_NAMED:
		return put_named(writer, option);
	case OPTION_BOOL:
		return buf_put_text(out, "\"anyOf\":[{\"type\":\"boolean\"}," FILLED "]");
	case OPTION_COUNT:
	case OPTION_WORKERS:
	case OPTION_AUTO:
		return put_integer(out, option);
	case OPTION_PERCENT:
		return buf_put_text(out, "\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^(100|[1-9]?[0-9])%$\"}," FILLED
					 "]");
	case OPTION_DURATION:
		return put_quantity(out, option, DURATION_PATTERN);
	case OPTION_SIZE:
		return put_quantity(out, option, SIZE_PATTERN);
	case OPTION_RATE:
		return buf_put_text(out,
				    "\"anyOf\":[{\"type\":\"string\",\"pattern\":\"" RATE_PATTERN "\"}," FILLED "]");
	case OPTION_ENUM:
	case OPTION_WORD:
		return put_words(out, option);
	case OPTION_ADDRESSES:
	case OPTION_NETWORKS:
	case OPTION_TEXTS:
	case OPTION_ARGUMENTS:
		return put_texts(out, option);
	case OPTION_HEADERS:
	case OPTION_TEMPLATES:
	case OPTION_HEADER_TEMPLATES:
	case OPTION_VARIABLES:
		return put_pairs(out, option);
	case OPTION_OBJECT:
	case OPTION_SCHEMA:
		return buf_put_text(out, "\"type\":\"object\"");
	default:
		buf_printf(out, "\"type\":\"string\",\"minLength\":%lu,\"maxLength\":%lu", (unsigned long)option->min,
			   (unsigned long)option->max);
	}
}

static void put_required(struct buf *out, const char *prefix)
{
	bool first = true;
	FOR_OPTIONS_BELOW (option, prefix) {
		if (!option->fallback || strcmp(option->fallback, OPTION_REQUIRED) != 0)
			continue;
		buf_put_text(out, first ? "\"required\":[" : ",");
		json_put_string(out, slice_of(option_key(option)));
		first = false;
	}
	if (!first)
		buf_put_text(out, "],");
	if (strcmp(prefix, "upstreams.*.") == 0)
		buf_put_text(out, "\"oneOf\":[{\"required\":[\"endpoints\"]},{\"required\":[\"command\"]}],");
}

/* or_text: one of its options may stand there alone. */
static void put_block(const struct writer *writer, const char *prefix, bool or_text)
{
	struct writer inner = { writer->out, writer->depth + 1 };
	bool first = true;
	buf_put_text(inner.out, or_text ? "\"type\":[\"object\",\"string\"]," : "\"type\":\"object\",");
	buf_put_text(inner.out, "\"additionalProperties\":false,");
	put_required(inner.out, prefix);
	buf_put_text(inner.out, "\"properties\":{");
	FOR_OPTIONS_BELOW (option, prefix) {
		if (!first)
			buf_put_char(inner.out, ',');
		first = false;
		new_line(&inner);
		json_put_string(inner.out, slice_of(option_key(option)));
		buf_put_text(inner.out, ":{");
		put_description(inner.out, option);
		buf_put_char(inner.out, ',');
		put_type(&inner, option);
		buf_put_char(inner.out, '}');
	}
	buf_put_char(inner.out, '}');
}

void config_schema(struct buf *out)
{
	struct writer writer = { out, 0 };
	buf_put_text(
		out,
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"jitney's configuration\",\n"
		"\"$defs\":{\"filled\":{\"description\":\"Holds ${NAME} or ${file:PATH}.\",\"type\":\"string\","
		"\"pattern\":\"\\\\$\\\\{[^}]*\\\\}\"}},\n");
	put_block(&writer, "", false);
	buf_put_char(out, '}');
}
