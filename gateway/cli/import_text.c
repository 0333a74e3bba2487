/* SPDX-License-Identifier: Apache-2.0 */
/* import_text.c: texts of a stranger's file, in YAML. */
#include "gateway/cli/import_text.h"

#include "base/json_write.h"
#include "base/utf8.h"

void import_put_shown(struct buf *out, struct slice text)
{
	buf_put_char(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
			buf_put_char(out, (char)c);
		else
			buf_printf(out, "\\x%02x", c);
	}
	buf_put_char(out, '"');
}

/* What YAML does not take as it is, or for a line break; what a terminal takes for a command; what lets a text look other
 * than it is (marks of direction). 0: none of it. `at` has a valid character of so many bytes. */
static unsigned must_be_escaped(const unsigned char *at, size_t len)
{
	unsigned code = len == 1   ? (at[0] == 0x7F ? 0x7Fu : 0)
			: len == 2 ? (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu)
			: len == 3 ? (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu)
				   : 0;
	bool control = code >= 0x7F && code < 0xA0;
	bool direction = (code >= 0x200E && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
			 (code >= 0x2066 && code <= 0x2069);
	return control || direction || code == 0xFEFF || code >= 0xFFFE ? code : 0;
}

void import_put_quoted(struct buf *out, struct slice text)
{
	struct buf quoted = BUF_INIT(SIZE_MAX / 4);
	json_put_string(&quoted, text); /* valid UTF-8, whatever came */
	struct slice rest = buf_slice(&quoted);
	while (rest.len) {
		size_t len = utf8_char(rest.at, rest.len);
		unsigned code = must_be_escaped((const unsigned char *)rest.at, len);
		if (code)
			buf_printf(out, "\\u%04X", code);
		else
			buf_put(out, (struct slice){ rest.at, len });
		rest = (struct slice){ rest.at + len, rest.len - len };
	}
	out->failed |= quoted.failed;
	buf_fini(&quoted);
}
