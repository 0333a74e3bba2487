/* SPDX-License-Identifier: Apache-2.0 */
/* The file of the last lists: what is written comes back, and what somebody else has written, with a right hash too, is
 * no way in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gateway/tools/list_store.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/gateway_world.h"

static const char yaml[] = "listen: 127.0.0.1:0\n"
			   "upstreams:\n"
			   "  a: { dialect: mcp, endpoints: [ { url: \"http://h/a\" } ], max_list: 4KiB }\n"
			   "  b: { dialect: mcp, endpoints: [ { url: \"http://h/b\" } ] }\n"
			   "  c: { dialect: jsonrpc, endpoints: [ { url: \"http://h/c\" } ] }\n"
			   "tools: { own: { upstream: c } }\n";

static struct config *config;
static char path[] = "/tmp/jitney-lists-XXXXXX";
static char why[LIST_STORE_WHY_BYTES];

static struct {
	size_t count;
	unsigned upstream;
	char tools[200], instructions[200];
	uint64_t listed_at_s;
} found;

static int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof path, "/tmp/jitney-lists-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	config = gateway_config(yaml);
	config->generation.mcp.lists = path;
	memset(&found, 0, sizeof found);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	config_free(config);
	unlink(path);
	return 0;
}

static void note(void *context, const struct kept_list *list)
{
	(void)context;
	found.count++;
	found.upstream = list->upstream;
	found.listed_at_s = list->listed_at_s;
	snprintf(found.tools, sizeof found.tools, "%.*s", SLICE_ARG(list->tools));
	snprintf(found.instructions, sizeof found.instructions, "%.*s", SLICE_ARG(list->instructions));
}

static enum list_store_result read_back(void)
{
	found.count = 0;
	return list_store_read(&config->generation, note, NULL, why);
}

static void put_file(struct slice records, const char *head)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	if (head)
		fputs(head, file);
	else
		fprintf(file, "jitney-lists 1 %016llx\n", (unsigned long long)XXH3_64bits(records.at, records.len));
	fwrite(records.at, 1, records.len, file);
	fclose(file);
}

/* The file's text behind its first line. */
static void records_of(struct buf *text)
{
	char line[8000];
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof line, file));
	size_t got = fread(line, 1, sizeof line, file);
	buf_put(text, (struct slice){ line, got });
	fclose(file);
}

static void write_one(unsigned upstream, const char *tools, const char *instructions)
{
	const struct kept_list list = { upstream, slice_of(tools), slice_of(instructions), 1700000000 };
	assert_true(list_store_write(&config->generation, &list, 1, why));
}

static void what_is_written_comes_back(void **state)
{
	(void)state;
	const struct kept_list lists[] = { { 1, SLICE("[{\"name\":\n\"t\"}]"), SLICE("Say \"t\".\n"), 1700000000 },
					   { 0, SLICE("[]"), SLICE(""), 5 } };
	assert_true(list_store_write(&config->generation, lists, 2, why));
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 2);
	assert_int_equal(found.upstream, 0);
	assert_string_equal(found.tools, "[]");
	assert_true(list_store_write(&config->generation, lists, 1, why));
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.tools, "[{\"name\":\n\"t\"}]");
	assert_string_equal(found.instructions, "Say \"t\".\n");
	assert_int_equal(found.listed_at_s, 1700000000);
	unlink(path);
	assert_int_equal(read_back(), LIST_STORE_NONE);
}

static void a_longer_list_than_is_allowed_now_is_left_out(void **state)
{
	(void)state;
	char tools[5000];
	memset(tools, ' ', sizeof tools);
	tools[0] = '[';
	tools[sizeof tools - 2] = ']';
	tools[sizeof tools - 1] = '\0';
	write_one(0, tools, "");
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 0);
	write_one(1, tools, "");
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 1);
}

static void a_list_counts_once_and_for_its_own_source(void **state)
{
	(void)state;
	struct buf twice = BUF_INIT(8000), other = BUF_INIT(8000);
	write_one(1, "[]", "");
	records_of(&twice);
	records_of(&twice);
	put_file(buf_slice(&twice), NULL);
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 1);
	records_of(&other);
	char *name = memmem(other.store->bytes, other.len, "\"b\"", 3);
	assert_non_null(name);
	memcpy(name, "\"a\"", 3); /* b's list for a */
	put_file(buf_slice(&other), NULL);
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 1); /* the second copy is b's still */
	assert_int_equal(found.upstream, 1);
	buf_fini(&twice);
	buf_fini(&other);
}

/* Every one has a right hash. */
static void what_is_no_list_is_damage(void **state)
{
	(void)state;
	static const char *const records[] = {
		"{}\n[]\n",
		"\n",
		"[]",
		"[]\n",
		"nonsense\n[]\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":2,\"instructions\":\"\"}\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":2,\"instructions\":\"\"}\n[]",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":1,\"instructions\":\"\"}\n[]\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":18446744073709551615,\"instructions\":\"\"}\n[]\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":-1,\"instructions\":\"\"}\n[]\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":\"1\",\"bytes\":2,\"instructions\":\"\"}\n[]\n",
		"{\"upstream\":7,\"source\":\"0\",\"listed_at\":1,\"bytes\":2,\"instructions\":\"\"}\n[]\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":2,\"instructions\":\"\xff\"}\n[]\n",
		"{\"upstream\":\"b\",\"source\":\"0\",\"listed_at\":1,\"bytes\":2,\"instructions\":\"\"}\n[]\n\n",
	};
	struct buf ok = BUF_INIT(8000);
	write_one(1, "[]", "");
	records_of(&ok);
	for (size_t i = 0; i < countof(records); i++) {
		put_file(slice_of(records[i]), NULL);
		assert_int_equal(read_back(), LIST_STORE_DAMAGED);
		size_t len = ok.len;
		buf_put_text(&ok, records[i]); /* behind a good one: that is not believed either */
		put_file(buf_slice(&ok), NULL);
		assert_int_equal(read_back(), LIST_STORE_DAMAGED);
		assert_int_equal(found.count, 0);
		assert_string_not_equal(why, "");
		ok.len = len;
	}
	buf_fini(&ok);
}

static void a_head_of_another_kind_is_damage(void **state)
{
	(void)state;
	static const char *const heads[] = { "",
					     "\n",
					     "jitney-lists 1 \n",
					     "jitney-lists 1 0000000000000000\n",
					     "jitney-lists 1 0000000000000000",
					     "jitney-lists 2 2d06800538d394c2\n" };
	for (size_t i = 0; i < countof(heads); i++) {
		put_file(SLICE(""), heads[i]);
		assert_int_equal(read_back(), LIST_STORE_DAMAGED);
	}
	put_file(SLICE(""), NULL); /* whole, and empty */
	assert_int_equal(read_back(), LIST_STORE_READ);
	assert_int_equal(found.count, 0);
}

static void every_flipped_bit_and_every_cut_is_damage(void **state)
{
	(void)state;
	struct buf whole = BUF_INIT(8000);
	char line[100];
	write_one(1, "[{\"name\":\"t\"}]", "Say.");
	FILE *file = fopen(path, "r");
	assert_non_null(fgets(line, sizeof line, file));
	fclose(file);
	records_of(&whole);
	struct buf text = BUF_INIT(8000);
	buf_put_text(&text, line);
	buf_put(&text, buf_slice(&whole));
	for (size_t i = 0; i < text.len; i++) {
		text.store->bytes[i] ^= (char)(1 << i % 8);
		put_file(buf_slice(&text), "");
		assert_int_equal(read_back(), LIST_STORE_DAMAGED);
		text.store->bytes[i] ^= (char)(1 << i % 8);
		put_file((struct slice){ text.store->bytes, i }, "");
		assert_int_equal(read_back(), LIST_STORE_DAMAGED);
		assert_int_equal(found.count, 0);
	}
	put_file(buf_slice(&text), "");
	assert_int_equal(read_back(), LIST_STORE_READ);
	buf_fini(&whole);
	buf_fini(&text);
}

static void without_memory_nothing_is_lost(void **state)
{
	(void)state;
	const struct kept_list list = { 1, SLICE("[]"), SLICE("Say."), 7 };
	write_one(1, "[]", "Say.");
	for (size_t n = 1;; n++) {
		alloc_fail_at(n);
		bool ok = list_store_write(&config->generation, &list, 1, why);
		ok &= read_back() == LIST_STORE_READ;
		bool failed = alloc_count() >= n;
		alloc_reset();
		assert_true(ok || failed);
		assert_int_equal(read_back(), LIST_STORE_READ);
		assert_int_equal(found.count, 1);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_longer_list_than_is_allowed_now_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_list_counts_once_and_for_its_own_source, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_list_is_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_head_of_another_kind_is_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_flipped_bit_and_every_cut_is_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_memory_nothing_is_lost, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
