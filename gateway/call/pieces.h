/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pieces.h: a text that is too long to be made at once: its parts are noted, and written later, a piece at a time.
 * Nothing is copied when a part is noted. Pure: it knows no request and no worker.
 */
#ifndef JITNEY_GATEWAY_CALL_PIECES_H
#define JITNEY_GATEWAY_CALL_PIECES_H

#include "base/blob.h"
#include "base/buf.h"

/* PIECE_BYTES: of a part, at once. */
enum { PIECES_MAX = 16, PIECE_BYTES = 32 << 10 };

enum piece_form {
	PIECE_RAW,
	PIECE_EVENT,  /* of an event stream: behind each end of a line the next one begins with "data: " */
	PIECE_LINE,   /* JSON in one line: what ends lines in it can only be between values, and becomes a blank */
	PIECE_STRING, /* within a JSON string */
	PIECE_BASE64  /* RFC 4648, 4, with its padding */
};

/* Zero-initialise. */
struct pieces {
	struct {
		struct slice bytes; /* not written yet */
		enum piece_form form;
	} parts[PIECES_MAX];
	size_t count, next;  /* of parts; the first that is not written */
	enum piece_form raw; /* RAW, EVENT or LINE: what becomes of what pieces_put notes */
	struct blob *keeps;  /* owned: what parts are slices of, where nobody else keeps it; or NULL */
};

/* Note bytes, which stay where they are until they are written; static text; what becomes a JSON string, quotes
 * included; what becomes base64. A part beyond PIECES_MAX is our bug: asserts. */
void pieces_put(struct pieces *pieces, struct slice bytes);
void pieces_put_text(struct pieces *pieces, const char *text);
void pieces_put_string(struct pieces *pieces, struct slice text);
void pieces_put_base64(struct pieces *pieces, struct slice bytes);

/* Bytes of parts that are not written yet, as they are noted: what they become may be longer. */
size_t pieces_left(const struct pieces *pieces);
/* How much of them the next piece takes. */
size_t pieces_next(const struct pieces *pieces);
/* Write the next piece; nothing if all is written. */
void pieces_write(struct pieces *pieces, struct buf *out);
/* Write all that is left. */
void pieces_write_all(struct pieces *pieces, struct buf *out);
/* Forget all; what is kept is let go. */
void pieces_fini(struct pieces *pieces);

#endif
