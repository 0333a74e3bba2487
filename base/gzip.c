/* SPDX-License-Identifier: Apache-2.0 */
/* gzip.c: zlib in one go. */
#include "base/gzip.h"

#include <zlib.h>

/* 15 bits of window, and 16 more for gzip's own head and tail. */
enum { GZIP_WINDOW = 15 + 16, GZIP_MEMORY = 8, CHUNK_BYTES = 16 * 1024 };

bool gzip_put(struct slice bytes, struct buf *out)
{
	z_stream stream = { .next_in = (unsigned char *)bytes.at, .avail_in = (unsigned)bytes.len };
	char chunk[CHUNK_BYTES];
	int result;
	if (bytes.len > UINT32_MAX || deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
						   Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	do {
		stream.next_out = (unsigned char *)chunk;
		stream.avail_out = sizeof chunk;
		result = deflate(&stream, Z_FINISH);
		buf_put(out, (struct slice){ chunk, sizeof chunk - stream.avail_out });
	} while (result == Z_OK || result == Z_BUF_ERROR);
	deflateEnd(&stream);
	return result == Z_STREAM_END && !out->failed;
}
