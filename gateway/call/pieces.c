/* SPDX-License-Identifier: Apache-2.0 */
/* pieces.c: see the header. */
#include "gateway/call/pieces.h"

#include <assert.h>
#include <openssl/evp.h>

#include "base/json_write.h"

enum { BASE64_BYTES = PIECE_BYTES / 3 * 3 }; /* of a piece that is not the last: no padding within */

static void note_part(struct pieces *pieces, struct slice bytes, enum piece_form form)
{
	if (!bytes.len)
		return;
	assert(pieces->count < PIECES_MAX);
	pieces->parts[pieces->count].bytes = bytes;
	pieces->parts[pieces->count++].form = form;
}

void pieces_put(struct pieces *pieces, struct slice bytes)
{
	note_part(pieces, bytes, pieces->raw);
}

void pieces_put_text(struct pieces *pieces, const char *text)
{
	note_part(pieces, slice_of(text), PIECE_RAW);
}

void pieces_put_string(struct pieces *pieces, struct slice text)
{
	pieces_put_text(pieces, "\"");
	note_part(pieces, text, PIECE_STRING);
	pieces_put_text(pieces, "\"");
}

void pieces_put_base64(struct pieces *pieces, struct slice bytes)
{
	note_part(pieces, bytes, PIECE_BASE64);
}

/* No more of a string than ends between two characters; bytes that are no UTF-8 may be cut anywhere. */
static size_t cut_between_characters(struct slice text, size_t len)
{
	if (len == text.len)
		return len;
	for (size_t back = 0; back < 4 && back < len; back++)
		if (((unsigned char)text.at[len - back] & 0xc0) != 0x80)
			return len - back;
	return len;
}

size_t pieces_left(const struct pieces *pieces)
{
	size_t bytes = 0;
	for (size_t i = pieces->next; i < pieces->count; i++)
		bytes += pieces->parts[i].bytes.len;
	return bytes;
}

size_t pieces_next(const struct pieces *pieces)
{
	if (pieces->next == pieces->count)
		return 0;
	struct slice bytes = pieces->parts[pieces->next].bytes;
	enum piece_form form = pieces->parts[pieces->next].form;
	size_t most = form == PIECE_BASE64 ? (size_t)BASE64_BYTES : (size_t)PIECE_BYTES;
	size_t len = bytes.len < most ? bytes.len : most;
	return form == PIECE_STRING ? cut_between_characters(bytes, len) : len;
}

/* With `end` in place of each end of a line. */
static void write_lines(struct buf *out, struct slice text, const char *end)
{
	size_t from = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] != '\n' && text.at[i] != '\r')
			continue;
		buf_put(out, (struct slice){ text.at + from, i - from });
		buf_put_text(out, end);
		from = i + 1;
	}
	buf_put(out, (struct slice){ text.at + from, text.len - from });
}

static void write_base64(struct buf *out, struct slice bytes)
{
	enum { BLOCK = 3 * 1024 };
	unsigned char text[BLOCK / 3 * 4 + 1];
	for (size_t at = 0; at < bytes.len; at += BLOCK) {
		size_t count = bytes.len - at < BLOCK ? bytes.len - at : BLOCK;
		int len = EVP_EncodeBlock(text, (const unsigned char *)bytes.at + at, (int)count);
		buf_put(out, (struct slice){ (const char *)text, (size_t)len });
	}
}

static void write_part(struct buf *out, struct slice bytes, enum piece_form form)
{
	switch (form) {
	case PIECE_RAW:
		buf_put(out, bytes);
		break;
	case PIECE_EVENT:
		write_lines(out, bytes, "\ndata: ");
		break;
	case PIECE_LINE:
		write_lines(out, bytes, " ");
		break;
	case PIECE_STRING:
		json_put_in_string(out, bytes);
		break;
	case PIECE_BASE64:
		write_base64(out, bytes);
		break;
	}
}

void pieces_write(struct pieces *pieces, struct buf *out)
{
	size_t len = pieces_next(pieces);
	if (!len)
		return;
	struct slice *left = &pieces->parts[pieces->next].bytes;
	write_part(out, (struct slice){ left->at, len }, pieces->parts[pieces->next].form);
	*left = (struct slice){ left->at + len, left->len - len };
	pieces->next += !left->len;
}

void pieces_write_all(struct pieces *pieces, struct buf *out)
{
	for (; pieces->next < pieces->count; pieces->next++)
		write_part(out, pieces->parts[pieces->next].bytes, pieces->parts[pieces->next].form);
}

void pieces_fini(struct pieces *pieces)
{
	blob_unref(pieces->keeps);
	pieces->keeps = NULL;
	pieces->count = pieces->next = 0;
	pieces->raw = PIECE_RAW;
}
