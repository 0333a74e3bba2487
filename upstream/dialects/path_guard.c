/* SPDX-License-Identifier: Apache-2.0 */
/* path_guard.c: paths that climb, in every reading of them. */
#include "upstream/dialects/path_guard.h"

#include "base/hex.h"

enum { DECODINGS = 4 };

/* "." and "..", with what servers cut off behind them: parameters, a query, blanks and controls. */
static bool is_dots(struct slice piece)
{
	size_t len = 0;
	while (len < piece.len && !memchr(";?#", piece.at[len], 3))
		len++;
	while (len > 0 && (unsigned char)piece.at[len - 1] <= ' ')
		len--;
	return (len == 1 || len == 2) && piece.at[0] == '.' && piece.at[len - 1] == '.';
}

static bool has_dots(struct slice text)
{
	size_t from = 0;
	for (size_t at = 0; at <= text.len; at++) {
		if (at < text.len && text.at[at] != '/' && text.at[at] != '\\')
			continue;
		if (is_dots((struct slice){ text.at + from, at - from }))
			return true;
		from = at + 1;
	}
	return false;
}

/* In place, once; what is no escape stays. False: there was none. */
static bool decode_percent(char *text, size_t *len)
{
	size_t kept = 0;
	for (size_t at = 0; at < *len; at++) {
		int byte = text[at] == '%' ? hex_byte((struct slice){ text, *len }, at + 1) : -1;
		text[kept++] = byte < 0 ? text[at] : (char)byte;
		at += byte < 0 ? 0 : 2;
	}
	bool changed = kept < *len;
	*len = kept;
	return changed;
}

static bool climbs_out(struct slice text, bool *no_memory)
{
	if (text.len == 0 || (!memchr(text.at, '.', text.len) && !memchr(text.at, '%', text.len)))
		return false;
	struct buf copy = BUF_INIT(SIZE_MAX / 4);
	buf_put(&copy, text);
	bool found = has_dots(text);
	*no_memory = copy.failed;
	for (unsigned i = 0; !copy.failed && !found && i < DECODINGS && decode_percent(copy.store->bytes, &copy.len);
	     i++)
		found = has_dots(buf_slice(&copy));
	buf_fini(&copy);
	return found;
}

bool path_guard_passes(struct path_guard *guard, struct buf *out, bool last)
{
	while (!out->failed && guard->from < out->len) {
		const char *at = out->store->bytes + guard->from;
		size_t left = out->len - guard->from;
		const char *slash = memchr(at, '/', left);
		if (!slash && !last)
			return true;
		size_t len = slash ? (size_t)(slash - at) : left;
		bool no_memory = false;
		if (climbs_out((struct slice){ at, len }, &no_memory))
			return false;
		out->failed |= no_memory;
		guard->from += len + 1;
	}
	return true;
}
