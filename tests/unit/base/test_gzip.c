/* SPDX-License-Identifier: Apache-2.0 */
/* gzip: what is packed is unpacked as it was, and a bound holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include "base/gzip.h"

enum { PLAIN_BYTES = 300 * 1000 };

static char plain[PLAIN_BYTES], again[PLAIN_BYTES + 1];

static size_t unpack(struct slice packed)
{
	z_stream stream = { .next_in = (unsigned char *)packed.at,
			    .avail_in = (unsigned)packed.len,
			    .next_out = (unsigned char *)again,
			    .avail_out = sizeof again };
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	inflateEnd(&stream);
	return stream.total_out;
}

static void fill_plain(unsigned kinds)
{
	uint32_t state = 1;
	for (size_t i = 0; i < sizeof plain; i++) {
		state = state * 1664525 + 1013904223;
		plain[i] = (char)((state >> 24) % kinds);
	}
}

static void what_is_packed_is_unpacked_as_it_was(void **state)
{
	(void)state;
	static const unsigned kinds[] = { 1, 7, 256 };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		for (size_t len = 0; len <= sizeof plain; len = len ? len * 100 : 1) {
			struct buf packed = BUF_INIT(2 * PLAIN_BYTES);
			fill_plain(kinds[i]);
			assert_true(gzip_put((struct slice){ plain, len }, &packed));
			assert_int_equal(unpack(buf_slice(&packed)), len);
			assert_memory_equal(again, plain, len);
			buf_fini(&packed);
		}
}

static void what_does_not_fit_is_told(void **state)
{
	(void)state;
	struct buf packed = BUF_INIT(PLAIN_BYTES);
	fill_plain(256);
	assert_false(gzip_put((struct slice){ plain, sizeof plain }, &packed));
	buf_fini(&packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_packed_is_unpacked_as_it_was),
		cmocka_unit_test(what_does_not_fit_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
