/* SPDX-License-Identifier: Apache-2.0 */
/* answer.c: how one call ended, with its bytes. */
#include "base/answer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/json.h"
#include "base/utf8.h"

/* What a call is told when there is no memory even for its error. */
static struct answer out_of_memory = {
	.refs = ANSWER_STATIC,
	.outcome = OUTCOME_OVERLOADED,
	.retry_after_s = 1,
	.detail = "The gateway is out of memory; try again later.",
	.bytes = "",
};

struct answer *answer_no_memory(void)
{
	return answer_ref(&out_of_memory);
}

enum { SHARED_FROM_BYTES = 1 << 20 /* a body that is shorter is soon copied */ };

/* Room for `held` bytes and a NUL behind them. */
static struct answer *answer_alloc(enum outcome outcome, size_t held)
{
	if (held > SIZE_MAX - sizeof(struct answer) - 1)
		return NULL;
	struct answer *answer = malloc(sizeof *answer + held + 1);
	if (!answer)
		return NULL;
	blob_expect_much(answer, sizeof *answer + held);
	memset(answer, 0, sizeof *answer);
	atomic_init(&answer->refs, 1);
	answer->outcome = outcome;
	answer->bytes[held] = '\0';
	return answer;
}

static struct answer *answer_with_body(enum outcome outcome, struct slice body)
{
	struct answer *answer = answer_alloc(outcome, body.len);
	if (!answer)
		return NULL;
	answer->body_len = body.len;
	if (body.len)
		memcpy(answer->bytes, body.at, body.len);
	return answer;
}

/* Whether it can stand in a header as it is: visible characters and blanks between them. */
static bool is_header_value(const char *text)
{
	for (const char *at = text; *at; at++)
		if (*at < ' ' || *at > '~')
			return false;
	return text[0] > ' ';
}

static void set_content_type(struct answer *answer, const char *content_type)
{
	if (!content_type)
		content_type = "application/json";
	if (strlen(content_type) >= sizeof answer->content_type || !is_header_value(content_type))
		content_type = "application/octet-stream";
	memcpy(answer->content_type, content_type, strlen(content_type) + 1);
}

struct answer *answer_result(struct slice body, bool json, const char *content_type)
{
	struct answer *answer = answer_with_body(OUTCOME_OK, body);
	if (!answer)
		return NULL;
	answer->json = json;
	set_content_type(answer, content_type);
	return answer;
}

/* Where `part` lies within `whole`, or SIZE_MAX. */
static size_t offset_within(struct slice whole, struct slice part)
{
	uintptr_t start = (uintptr_t)whole.at, at = (uintptr_t)part.at;
	if (!whole.len || !part.len || at < start || at - start > whole.len || part.len > whole.len - (at - start))
		return SIZE_MAX;
	return at - start;
}

/* So small a part of a store as is not worth a copy may stay in it unused, and uncounted. */
static bool is_nearly_all(struct slice body, const struct blob *store)
{
	return body.len >= SHARED_FROM_BYTES && store->len - body.len <= store->len / 16;
}

struct answer *answer_result_in(struct blob *store, struct slice body, bool json, const char *content_type)
{
	if (!store || !is_nearly_all(body, store))
		return answer_result(body, json, content_type);
	struct answer *answer = answer_result((struct slice){ NULL, 0 }, json, content_type);
	if (!answer)
		return NULL;
	assert(offset_within(blob_slice(store), body) != SIZE_MAX);
	answer->store = blob_ref(store);
	answer->stored = body.at;
	answer->body_len = body.len;
	return answer;
}

static void set_detail(struct answer *answer, const char *format, va_list args) PRINTF_LIKE(2, 0);

/* Cut at a character's border. */
static void drop_half_character(char *text, size_t end)
{
	size_t last = end;
	while (last > 0 && last + 4 > end && ((unsigned char)text[--last] & 0xC0) == 0x80)
		continue;
	if ((unsigned char)text[last] >= 0xC0 && utf8_char(text + last, end - last) == 0)
		text[last] = '\0';
}

/* The detail goes into JSON strings: it is UTF-8 whatever others said in it. */
static void set_detail(struct answer *answer, const char *format, va_list args)
{
	int wanted = vsnprintf(answer->detail, sizeof answer->detail, format, args);
	if (wanted >= (int)sizeof answer->detail)
		drop_half_character(answer->detail, sizeof answer->detail - 1);
	utf8_copy(answer->detail, sizeof answer->detail, slice_of(answer->detail));
}

struct answer *answer_error(enum outcome outcome, const char *format, ...)
{
	struct answer *answer = answer_with_body(outcome, (struct slice){ NULL, 0 });
	if (!answer)
		return answer_no_memory();
	va_list args;
	va_start(args, format);
	set_detail(answer, format, args);
	va_end(args);
	return answer;
}

struct answer *answer_upstream_error(enum outcome outcome, unsigned upstream_status, uint32_t retry_after_s,
				     struct slice upstream, const char *format, ...)
{
	struct answer *answer = answer_with_body(outcome, upstream);
	if (!answer)
		return answer_no_memory();
	answer->upstream_status = (uint16_t)upstream_status;
	answer->retry_after_s = retry_after_s;
	answer->json = upstream.len > 0;
	va_list args;
	va_start(args, format);
	set_detail(answer, format, args);
	va_end(args);
	return answer;
}

struct answer *answer_mcp(enum outcome outcome, struct slice full, struct slice body, bool json,
			  const char *content_type, const char *format, ...)
{
	size_t at = offset_within(full, body);
	bool apart = at == SIZE_MAX;
	if (apart && body.len > SIZE_MAX - full.len)
		return answer_no_memory();
	struct answer *answer = answer_alloc(outcome, full.len + (apart ? body.len : 0));
	if (!answer)
		return answer_no_memory();
	answer->full_len = full.len;
	answer->body_at = apart ? full.len : at;
	answer->body_len = body.len;
	answer->json = json;
	if (full.len)
		memcpy(answer->bytes, full.at, full.len);
	if (apart && body.len)
		memcpy(answer->bytes + full.len, body.at, body.len);
	set_content_type(answer, content_type);
	va_list args;
	va_start(args, format);
	set_detail(answer, format, args);
	va_end(args);
	return answer;
}

struct answer *answer_mcp_text(struct slice full, struct slice raw, const char *content_type)
{
	struct answer *answer = answer_alloc(OUTCOME_OK, full.len + raw.len); /* raw is a part of full */
	if (!answer)
		return answer_no_memory();
	memcpy(answer->bytes, full.at, full.len);
	answer->full_len = answer->body_at = full.len;
	answer->body_len = json_unescape_to(raw, answer->bytes + full.len);
	answer->bytes[full.len + answer->body_len] = '\0';
	set_content_type(answer, content_type);
	struct answer *fitting = realloc(answer, sizeof *answer + full.len + answer->body_len + 1);
	return fitting ? fitting : answer;
}

uint64_t answer_tag(struct answer *answer)
{
	uint64_t tag = atomic_load_explicit(&answer->tag, memory_order_relaxed);
	if (tag)
		return tag;
	uint64_t type = XXH3_64bits(answer->content_type, strlen(answer->content_type));
	tag = XXH3_64bits_withSeed(answer_bytes(answer) + answer->body_at, answer->body_len, type);
	tag += tag == 0;
	atomic_store_explicit(&answer->tag, tag, memory_order_relaxed); /* two who write, write the same */
	return tag;
}

struct answer *answer_ref(struct answer *answer)
{
	atomic_fetch_add_explicit(&answer->refs, 1, memory_order_relaxed);
	return answer;
}

void answer_unref(struct answer *answer)
{
	if (!answer || atomic_fetch_sub_explicit(&answer->refs, 1, memory_order_acq_rel) != 1)
		return;
	blob_unref(answer->store);
	free(answer);
}
