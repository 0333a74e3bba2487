/* SPDX-License-Identifier: Apache-2.0 */
/* json_write.h: text into JSON strings. Apart from json.h, so that files that use json-c, which also has a json_type, can write. */
#ifndef JITNEY_BASE_JSON_WRITE_H
#define JITNEY_BASE_JSON_WRITE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* Append `text` as a JSON string with quotes. Invalid UTF-8 becomes U+FFFD, so the output is always valid. */
void json_put_string(struct buf *out, struct slice text);
/* The same without the quotes: a part of a string, that ends between two characters. */
void json_put_in_string(struct buf *out, struct slice text);
/* Append ,"name":"text", behind another member; nothing if the text is NULL or empty. */
void json_put_text_member(struct buf *out, const char *name, const char *text);
/* Whether bytes are valid UTF-8 (RFC 3629). */
bool json_utf8(struct slice bytes);

#endif
