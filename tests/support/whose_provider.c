/* SPDX-License-Identifier: Apache-2.0 */
/* whose_provider.c: see the header. */
#include "tests/support/whose_provider.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/damage.h"
#include "tests/support/whose_mcp.h"
#include "tests/support/whose_speech.h"

enum { ANSWER_BYTES = 1 << 16 };

static unsigned *seed;
static bool behaves;
static unsigned nameless; /* so many of 40 requests are refused under no id, where that is a way to speak */
static struct provider_counts counts;

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(seed) % sides;
}

/* --- what leaves --- */

/* Whether a server could climb out of where the path should stay, however often it decodes it. */
static bool climbs(const char *url)
{
	char text[2048];
	snprintf(text, sizeof text, "%s", url);
	for (int times = 0; times < 5; times++) {
		size_t to = 0;
		if (strstr(text, "/../") || strstr(text, "/./") || strstr(text, "\\..") || strstr(text, "/..;") ||
		    strstr(text, "/..\\"))
			return true;
		for (size_t at = 0; text[at]; at++) {
			char hex[3] = { text[at] == '%' ? text[at + 1] : '\0',
					text[at] == '%' && text[at + 1] ? text[at + 2] : '\0' };
			char *end;
			long byte = strtol(hex, &end, 16);
			bool coded = text[at] == '%' && end == hex + 2 && byte > 0;
			text[to++] = coded ? (char)byte : text[at];
			at += coded ? 2 : 0;
		}
		text[to] = '\0';
	}
	return false;
}

/* A request sets out: writes in it may have arrived from now on. */
static void on_begin(struct http_exchange *exchange)
{
	const struct speech *speech = speech_at(exchange->url);
	struct heard heard;
	wire_note(exchange)->moment = truth_moment();
	wire_note(exchange)->moment_us = clock_now_us();
	assert_non_null(speech);
	if (exchange->connect_only)
		return;
	if (climbs(exchange->url))
		fail_msg("a path climbs: %s", exchange->url);
	speech_hear(speech, exchange, &heard);
	for (size_t i = 0; i < heard.count; i++) {
		const struct heard_call *call = &heard.calls[i];
		if (!whose_is_write(call->question))
			continue;
		if (truth_write(call->question)->on_its_way++ > 0)
			fail_msg("%s: write %llu is sent twice", speech->upstream, (unsigned long long)call->question);
		if (call->caller != heard.calls[0].caller && !speech->mixes)
			fail_msg("%s: write %llu travels with another caller's: %.*s", speech->upstream,
				 (unsigned long long)call->question, SLICE_ARG(buf_slice(&exchange->body)));
	}
}

/* What is believed of what has come is believed now at the latest. */
static void on_ending(struct http_exchange *exchange)
{
	truth_say_now(buf_slice(&exchange->answer), clock_now_us());
}

void provider_begin(unsigned *the_seed)
{
	seed = the_seed;
	behaves = false;
	nameless = roll(4) ? 1 : 20;
	wire_watch(on_begin, on_ending);
	whose_mcp_begin(the_seed);
}

void provider_behave(bool well)
{
	behaves = well;
}

struct provider_counts provider_counts(void)
{
	counts.resumed = whose_mcp_resumed();
	return counts;
}

/* --- what becomes of writes --- */

static void each_write(const struct heard *heard, void (*happens)(struct truth_write *write))
{
	for (size_t i = 0; i < heard->count; i++)
		if (whose_is_write(heard->calls[i].question))
			happens(truth_write(heard->calls[i].question));
}

static void carry_out(struct truth_write *write)
{
	if (write->carried_out)
		fail_msg("a write is carried out twice");
	write->carried_out = true;
	counts.carried_out++;
}

static void undo(struct truth_write *write)
{
	write->on_its_way--;
}

/* --- words --- */

static void shuffle(const struct speech *speech, size_t *order, size_t count)
{
	for (size_t i = 0; i < count; i++)
		order[i] = i;
	for (size_t i = count; i > 1 && !speech->placed; i--) {
		size_t other = roll((unsigned)i), last = order[i - 1];
		order[i - 1] = order[other];
		order[other] = last;
	}
}

/* One item as often as `times`, each a fetch of its own. */
static const char *put_item(struct buf *out, const struct speech *speech, const struct http_exchange *exchange,
			    const struct heard *heard, size_t n, const char *between)
{
	const struct heard_call *call = &heard->calls[n];
	const struct wire_note *note = wire_note((struct http_exchange *)(uintptr_t)exchange);
	uint64_t fetch = truth_say(call->question, call->caller, note->moment, note->moment_us);
	truth_fetch(fetch)->moved = speech_is_moved(exchange->url);
	buf_put_text(out, between);
	speech_put_item(speech, heard, n, fetch, out);
	return speech->between;
}

static const int whole_codes[] = { -32600, -32602, -32603, -32000 };

/* One that nobody asked for: another's question, or another id, or none. */
static const char *put_unknown(struct buf *out, const struct speech *speech, const struct http_exchange *exchange,
			       const struct heard *heard, const char *between)
{
	if (speech->null_ids && roll(2)) {
		buf_put_text(out, between);
		speech_put_refusal(heard, whole_codes[roll(countof(whole_codes))], out);
		return speech->between;
	}
	struct heard nobody = *heard;
	struct heard_call *call = &nobody.calls[heard->count - 1];
	call->question = FIRST_READ + 9 * TOOL_READS * 100;
	call->id += 1000;
	call->place += 1000;
	return put_item(out, speech, exchange, &nobody, heard->count - 1, between);
}

/* Permuted, and now and then one is missing, twice there, or unasked. A list of many may have pages; what is asked for
 * alone is always there. */
static void put_items(struct buf *out, const struct speech *speech, const struct http_exchange *exchange,
		      const struct heard *heard)
{
	size_t order[HEARD_MAX],
		odd = behaves || heard->count < 2 || roll(5) ? HEARD_MAX : roll((unsigned)heard->count);
	/* one missing and one too many, by place: nobody could tell */
	bool unknown = !behaves && heard->count > 1 && odd == HEARD_MAX && roll(12) == 0, first = roll(2);
	unsigned times = roll(2) ? 2 : 0;
	const char *between = "";
	shuffle(speech, order, heard->count);
	if (unknown && first)
		between = put_unknown(out, speech, exchange, heard, between);
	for (size_t i = 0; i < heard->count; i++)
		for (unsigned n = i == odd ? times : 1; n > 0; n--)
			between = put_item(out, speech, exchange, heard, order[i], between);
	if (unknown && !first)
		put_unknown(out, speech, exchange, heard, between);
}

static void put_answer(struct buf *out, const struct speech *speech, const struct http_exchange *exchange,
		       const struct heard *heard)
{
	bool bare = speech->single && heard->count == 1;
	if (!bare)
		buf_put_text(out, speech->before);
	put_items(out, speech, exchange, heard);
	if (!bare)
		buf_put_text(out, speech->after);
}

/* All that was said in it is not what was meant. */
static void note_damage(struct slice body)
{
	struct whose_number number;
	for (size_t at = 0; whose_next(body, &at, &number);)
		if (number.kind == WHOSE_FETCH && truth_fetch(number.number))
			truth_fetch(number.number)->damaged = true;
}

/* What the head says of reuse is said of all in it. */
static void speak_of_reuse(struct http_exchange *exchange, struct slice body)
{
	struct whose_number number;
	const struct wire_reuse reuse = { roll(4) == 0, roll(4) == 0, roll(3) ? roll(25) : 0, roll(3) ? 0 : roll(10) };
	if (!reuse.said)
		return;
	wire_reuse(exchange, reuse);
	for (size_t at = 0; whose_next(body, &at, &number);) {
		struct truth_fetch *fetch = number.kind == WHOSE_FETCH ? truth_fetch(number.number) : NULL;
		if (!fetch)
			continue;
		fetch->reuse_said = true;
		fetch->no_stale = reuse.no_stale;
		fetch->reuse_us = reuse.seconds * CLOCK_US_PER_S;
		fetch->age_us = reuse.age * CLOCK_US_PER_S;
	}
}

/* --- saying it --- */

/* Some more of what is to be said; all of it, and the end, when `hurry`. The exchange may be gone then. */
static void say_on(struct http_exchange *exchange, bool hurry)
{
	size_t begun = wire_sent();
	truth_say_now(buf_slice(&exchange->answer), clock_now_us());
	truth_say_now(buf_slice(&wire_note(exchange)->rest), clock_now_us());
	for (unsigned pieces = hurry ? 1000000 : 1 + roll(3); pieces > 0; pieces--) {
		struct wire_note *note = wire_note(exchange);
		struct slice rest = buf_slice(&note->rest);
		size_t step = 1 + roll(200);
		step = step < rest.len && !(hurry && behaves) ? step : rest.len;
		if (step == 0) {
			wire_end(exchange, note->end);
			return;
		}
		struct buf piece = BUF_INIT(ANSWER_BYTES);
		buf_put(&piece, (struct slice){ rest.at, step });
		memmove(note->rest.store->bytes, note->rest.store->bytes + step, rest.len - step);
		note->rest.len -= step;
		size_t under_way = wire_under_way();
		wire_grow(exchange, 200, buf_slice(&piece));
		buf_fini(&piece);
		if (wire_under_way() != under_way || wire_sent() != begun)
			return; /* whoever heard it has ended something, this one perhaps */
	}
}

static void say(struct http_exchange *exchange, struct slice body, enum exchange_end end)
{
	struct wire_note *note = wire_note(exchange);
	note->end = end;
	buf_put(&note->rest, body);
	wire_status(exchange, 200);
	if (behaves || roll(3))
		say_on(exchange, true);
	else
		say_on(exchange, false);
}

static void refuse(struct http_exchange *exchange, const struct heard *heard, unsigned status)
{
	struct buf body = BUF_INIT(ANSWER_BYTES);
	counts.refused++;
	if (status == 413 || status == 414 || status == 429 || status == 431) /* nothing of it was looked at */
		each_write(heard, undo);
	/* as frameworks do: with all that they were sent */
	buf_put_text(&body, "{\"message\":\"no\",\"input\":[0");
	for (size_t i = 0; i < heard->count; i++)
		buf_printf(&body, ",%llu,%llu", (unsigned long long)heard->calls[i].question,
			   (unsigned long long)heard->calls[i].caller);
	buf_put_text(&body, "]}");
	wire_grow(exchange, status, buf_slice(&body));
	buf_fini(&body);
	wire_end(exchange, EXCHANGE_COMPLETE);
}

/* The same in HTTP 200, as JSON-RPC says it: under no id. A stream of it may break off and be taken up again. */
static void refuse_under_no_id(struct http_exchange *exchange, const struct speech *speech, const struct heard *heard)
{
	struct buf body = BUF_INIT(ANSWER_BYTES);
	enum exchange_end end = EXCHANGE_COMPLETE;
	counts.nameless++;
	speech_put_refusal(heard, whole_codes[roll(countof(whole_codes))], &body);
	if (speech->mcp && whose_mcp_dress(exchange, heard, &body) && roll(2)) {
		body.len = roll((unsigned)body.len);
		end = EXCHANGE_BROKE;
	}
	say(exchange, buf_slice(&body), end);
	buf_fini(&body);
}

static void break_off(struct http_exchange *exchange, const struct heard *heard)
{
	static const enum exchange_end ends[] = { EXCHANGE_BROKE, EXCHANGE_STALE, EXCHANGE_NOT_SENT,
						  EXCHANGE_TOO_LARGE };
	enum exchange_end end = ends[roll(countof(ends))];
	counts.broken++;
	if (end == EXCHANGE_NOT_SENT)
		each_write(heard, undo);
	else if (roll(2))
		each_write(heard, carry_out);
	wire_end(exchange, end);
}

/* Something that nobody can read, just after the request has left; the answer comes behind it, on the same connection. */
static void speak_out_of_turn(struct http_exchange *exchange, const struct speech *speech, const struct heard *heard)
{
	struct buf answer = BUF_INIT(ANSWER_BYTES);
	counts.out_of_turn++;
	each_write(heard, carry_out);
	put_answer(&answer, speech, exchange, heard);
	note_damage(buf_slice(&answer));
	wire_leave(exchange, buf_slice(&answer));
	buf_fini(&answer);
	bool idle = roll(2); /* where it had waited for a request, and ours has crossed its word */
	wire_grow(exchange, idle && roll(2) ? 408 : 200, idle ? SLICE("HTTP/1.1 408 idle") : SLICE("{\"bye\""));
	wire_end(exchange, EXCHANGE_COMPLETE);
}

/* What an earlier request has not read. */
static void say_what_is_left(struct http_exchange *exchange)
{
	struct buf left = BUF_INIT(ANSWER_BYTES);
	buf_put(&left, wire_left(exchange));
	wire_leave(exchange, (struct slice){ NULL, 0 });
	say(exchange, buf_slice(&left), EXCHANGE_COMPLETE);
	buf_fini(&left);
}

static void answer(struct http_exchange *exchange, const struct speech *speech, struct heard *heard)
{
	struct buf body = BUF_INIT(ANSWER_BYTES);
	enum exchange_end end = EXCHANGE_COMPLETE;
	counts.answered++;
	counts.calls += heard->count;
	each_write(heard, carry_out);
	for (size_t i = 0; i < heard->count; i++)
		heard->calls[i].fails = !behaves && roll(10) == 0;
	put_answer(&body, speech, exchange, heard);
	bool resumable = speech->mcp && whose_mcp_dress(exchange, heard, &body);
	if (!speech->mcp)
		speak_of_reuse(exchange, buf_slice(&body));
	unsigned mishap = behaves ? 99 : roll(resumable ? 4 : 30);
	if (mishap <= 2)
		note_damage(buf_slice(&body));
	for (size_t i = 0; mishap == 0 && i < heard->count; i++)
		truth_garble(heard->calls[i].question);
	for (unsigned hurt = mishap == 0 ? 1 + roll(3) : 0; hurt > 0 && body.len > 2; hurt--)
		damage_body(&body, roll, true);
	if (mishap == 1) {
		body.len = roll((unsigned)body.len);
		end = roll(2) ? EXCHANGE_BROKE : EXCHANGE_COMPLETE;
	} else if (mishap == 2) {
		buf_put_text(&body, " and more");
	}
	say(exchange, buf_slice(&body), end);
	buf_fini(&body);
}

void provider_act(size_t n)
{
	static const unsigned refusals[] = { 400, 413, 414, 429, 431, 500, 503, 404 };
	struct http_exchange *exchange = wire_nth(n);
	const struct speech *speech = speech_at(exchange->url);
	struct heard heard;
	if (exchange->connect_only) { /* is it there again? */
		wire_end(exchange, behaves || roll(2) ? EXCHANGE_COMPLETE : EXCHANGE_NOT_SENT);
		return;
	}
	speech_hear(speech, exchange, &heard);
	unsigned what = behaves ? 99 : roll(40);
	if (wire_note(exchange)->rest.len || http_exchange_status(exchange))
		say_on(exchange, behaves || roll(2));
	else if (wire_left(exchange).len)
		say_what_is_left(exchange);
	else if (speech->mcp && whose_mcp_control(exchange, &heard))
		counts.controls++;
	else if (speech->mcp && !behaves && whose_mcp_refuses(exchange, &heard))
		counts.refused++;
	else if (what <= 1)
		break_off(exchange, &heard);
	else if (what <= 3)
		refuse(exchange, &heard, refusals[roll(countof(refusals))]);
	else if (what == 4)
		speak_out_of_turn(exchange, speech, &heard);
	else if (what >= 5 && what < 5 + nameless && speech->null_ids && heard.count)
		refuse_under_no_id(exchange, speech, &heard);
	else
		answer(exchange, speech, &heard);
}
