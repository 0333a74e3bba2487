/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of exports under any bytes: heads, ends, answers. Properties: nothing is read out of bounds; an answer that is
 * taken comes back when it is written and read again.
 */
#include "cache/dump.h"
#include "tests/support/fuzz.h"

static void write_and_read_again(const struct entry *entry)
{
	struct buf out = BUF_INIT(1 << 26);
	struct entry *again = NULL;
	must(dump_put_entry(&out, entry));
	struct slice line = buf_slice(&out);
	line.len--;
	must(dump_read_entry(line, &again) == DUMP_OK && key_equal(again->key, entry->key));
	entry_unref(again);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = { (const char *)data, size };
	struct entry *entry;
	char why[256];
	size_t count;
	while (rest.len) {
		const char *end = memchr(rest.at, '\n', rest.len);
		struct slice line = { rest.at, end ? (size_t)(end - rest.at) : rest.len };
		must(dump_check_head(line, why, sizeof why) || why[0]);
		must(!dump_is_end(line, &count) || line.at[0] == '{');
		if (dump_read_entry(line, &entry) == DUMP_OK) {
			write_and_read_again(entry);
			entry_unref(entry);
		}
		rest.at += line.len + (end != NULL);
		rest.len -= line.len + (end != NULL);
	}
	return 0;
}
