/* SPDX-License-Identifier: Apache-2.0 */
/* json_write.c: text into JSON strings. */
#include "base/json_write.h"

#include "base/json_chars.h"
#include "base/utf8.h"

/* A run of bytes that stand for themselves, and an escape behind it. */
static void put_run(struct buf *out, struct slice run, const char *escape, size_t escape_len)
{
	if (!buf_reserve(out, run.len + escape_len))
		return;
	memcpy(out->store->bytes + out->len, run.at, run.len);
	memcpy(out->store->bytes + out->len + run.len, escape, escape_len);
	out->len += run.len + escape_len;
}

void json_put_in_string(struct buf *out, struct slice text)
{
	const char *p = text.len ? text.at : "", *end = p + text.len, *run = p;
	while ((p = json_plain_end(p, end)) < end) {
		bool ascii = (unsigned char)*p < 0x80;
		size_t sequence = ascii ? 0 : utf8_char(p, (size_t)(end - p));
		if (sequence) {
			p += sequence;
			continue;
		}
		char escaped[6];
		size_t len = json_escape_write(escaped, ascii ? (unsigned char)*p : 0xFFFD);
		put_run(out, (struct slice){ run, (size_t)(p - run) }, escaped, len);
		run = ++p;
	}
	buf_put(out, (struct slice){ run, (size_t)(end - run) });
}

void json_put_string(struct buf *out, struct slice text)
{
	buf_put_char(out, '"');
	json_put_in_string(out, text);
	buf_put_char(out, '"');
}

void json_put_text_member(struct buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return;
	buf_printf(out, ",\"%s\":", name);
	json_put_string(out, slice_of(text));
}

bool json_utf8(struct slice bytes)
{
	const char *p = bytes.len ? bytes.at : "", *end = p + bytes.len;
	while (p < end) {
		uint64_t word = 0;
		if (end - p >= 8) {
			memcpy(&word, p, sizeof word);
			if (!(word & json_spread(0x80))) {
				p += 8;
				continue;
			}
		}
		size_t sequence = utf8_char(p, (size_t)(end - p));
		if (!sequence)
			return false;
		p += sequence;
	}
	return true;
}
