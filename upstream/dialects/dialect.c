/* SPDX-License-Identifier: Apache-2.0 */
/* dialect.c: what dialects share: the meaning of an HTTP status, said once. */
#include "upstream/dialects/dialect.h"

#include <assert.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/json.h"

enum {
	SAID_JSON_BYTES = 64 * 1024, /* a longer error body is not passed on */
	SAID_TEXT_CHARS = 200
};

struct dialect_decoder *dialect_decoder_new(const struct dialect *dialect, size_t count, uint64_t first_id,
					    unsigned json_depth, const struct dialect_sink *sink)
{
	if (dialect->decoder_of)
		return dialect->decoder_of(dialect, count, first_id, json_depth, sink);
	return dialect->decoder_new(count, first_id, json_depth, sink);
}

/* A route that is being freed has this many holds, so that a pointer kept without one is found out early. */
#define NO_HOLDS (UINT_MAX / 2)

void dialect_route_init(struct dialect_route *route, const struct dialect *dialect)
{
	struct dialect *counted = (struct dialect *)(uintptr_t)dialect;
	route->dialect = dialect;
	if (dialect->release)
		atomic_fetch_add_explicit(&counted->more_holds, 1, memory_order_relaxed);
}

const struct dialect_route *dialect_route_ref(const struct dialect_route *route)
{
	struct dialect_route *counted = (struct dialect_route *)(uintptr_t)route;
	unsigned before = atomic_fetch_add_explicit(&counted->more_holds, 1, memory_order_relaxed);
	assert(before < NO_HOLDS);
	(void)before;
	return route;
}

void dialect_route_unref(const struct dialect_route *route)
{
	struct dialect_route *counted = (struct dialect_route *)(uintptr_t)route;
	if (!route)
		return;
	unsigned before = atomic_fetch_sub_explicit(&counted->more_holds, 1, memory_order_acq_rel);
	assert(before < NO_HOLDS);
	if (before > 0)
		return;
	const struct dialect *dialect = route->dialect;
	atomic_store_explicit(&counted->more_holds, NO_HOLDS, memory_order_relaxed);
	dialect->route_free(counted);
	dialect_release(dialect->release ? dialect : NULL);
}

static bool is_constant(struct slice constants, struct slice raw_name)
{
	struct buf name = BUF_INIT(SIZE_MAX / 4);
	struct slice value;
	json_unescape(raw_name, &name);
	/* without memory for the name, rather lose the argument than let it through */
	bool is = name.failed || json_member(constants, buf_slice(&name), &value);
	buf_fini(&name);
	return is;
}

void dialect_put_arguments(struct buf *out, const char *constants, struct slice arguments)
{
	struct slice name, value, fixed = json_trim(slice_of(constants));
	if (!constants || fixed.len <= 2) {
		buf_put(out, arguments);
		return;
	}
	buf_put(out, (struct slice){ fixed.at, fixed.len - 1 });
	struct json_walk walk = json_walk(arguments);
	while (json_next_member(&walk, &name, &value)) {
		if (is_constant(fixed, name))
			continue;
		buf_put_char(out, ',');
		buf_put(out, name);
		buf_put_char(out, ':');
		buf_put(out, value);
	}
	buf_put_char(out, '}');
}

void dialect_release(const struct dialect *dialect)
{
	struct dialect *counted = (struct dialect *)(uintptr_t)dialect;
	if (dialect && atomic_fetch_sub_explicit(&counted->more_holds, 1, memory_order_acq_rel) == 0)
		dialect->release(counted);
}

struct answer *dialect_or_no_memory(struct answer *answer)
{
	return answer ? answer
		      : answer_error(OUTCOME_UPSTREAM_ERROR,
				     "the gateway had no memory left for the provider's answer");
}

void dialect_emit(const struct dialect_decoder *decoder, size_t index, struct answer *answer)
{
	decoder->sink.answered(decoder->sink.context, index, dialect_or_no_memory(answer));
}

void dialect_group_alone(struct buf *out)
{
	static atomic_uint_fast64_t alone;
	buf_put_u64(out, atomic_fetch_add_explicit(&alone, 1, memory_order_relaxed));
}

enum outcome dialect_status_outcome(unsigned status, enum outcome refusal)
{
	switch (status) {
	case 401:
	case 403:
		return OUTCOME_UPSTREAM_ERROR;
	case 408:
	case 504:
		return OUTCOME_UPSTREAM_TIMEOUT;
	case 429:
		return OUTCOME_RATE_LIMITED;
	case 503:
		return OUTCOME_UPSTREAM_UNAVAILABLE;
	default:
		return status >= 400 && status < 500 ? refusal : OUTCOME_UPSTREAM_ERROR;
	}
}

bool dialect_nothing_done(unsigned status)
{
	return status == 413 || status == 414 || status == 429 || status == 431;
}

/* A sentence with one %u for the status. */
static const char *status_sentence(unsigned status)
{
	switch (status) {
	case 401:
	case 403:
		return "the provider refused the gateway's credentials (HTTP %u): check this upstream's headers in the "
		       "configuration";
	case 408:
	case 504:
		return "the provider ran out of time (HTTP %u)";
	case 429:
		return "the provider limits the rate of calls (HTTP %u)";
	case 503:
		return "the provider is not available (HTTP %u)";
	default:
		break;
	}
	if (status >= 300 && status < 400)
		return "the provider answered with a redirect (HTTP %u), which is not followed: correct the endpoint's "
		       "url";
	return "the provider answered with HTTP status %u";
}

/* status_sentence's formats are its own literals, each with exactly one %u */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
void dialect_status_sentence(unsigned status, char sentence[ANSWER_DETAIL_BYTES])
{
	snprintf(sentence, ANSWER_DETAIL_BYTES, status_sentence(status), status);
}
#pragma GCC diagnostic pop

struct answer *dialect_status_answer(const struct dialect_decoder *decoder, enum outcome refusal, struct slice said)
{
	char sentence[ANSWER_DETAIL_BYTES];
	dialect_status_sentence(decoder->status, sentence);
	return answer_upstream_error(dialect_status_outcome(decoder->status, refusal), decoder->status,
				     decoder->retry_after_s, said, "%s", sentence);
}

/* The first characters of a text, controls as blanks, cut at a character's border. */
static struct slice printable_start(struct slice text, char *out)
{
	size_t len = 0, chars = 0;
	for (; len < text.len; len++) {
		unsigned char c = (unsigned char)text.at[len];
		if ((c & 0xC0) != 0x80 && chars++ == SAID_TEXT_CHARS)
			break;
		if (len == SAID_TEXT_CHARS * 4)
			break;
		out[len] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	return (struct slice){ out, len };
}

struct slice dialect_said(struct slice body, unsigned json_depth, struct buf *scratch)
{
	struct slice text = json_trim(body);
	struct json_fault fault;
	if (text.len == 0)
		return text;
	if (text.len <= SAID_JSON_BYTES && json_check(text, json_depth, NULL, &fault))
		return text;
	char start[SAID_TEXT_CHARS * 4];
	json_put_string(scratch, printable_start(text, start));
	return scratch->failed ? (struct slice){ NULL, 0 } : buf_slice(scratch);
}
