/* SPDX-License-Identifier: Apache-2.0 */
/* list_store.c: the file of the last lists, read with suspicion and written as a whole. */
#include "gateway/tools/list_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/json.h"

enum { HEAD_BYTES = 64, HASH_DIGITS = 16, RECORD_DEPTH = 2, INSTRUCTIONS_BYTES = 16 * 1024, PATH_BYTES = 4096 };
#define MAGIC "jitney-lists 1 "

/* ---------------------------------------------------------------- whose list it is */

static void put_hash(char digits[HASH_DIGITS + 1], uint64_t hash)
{
	snprintf(digits, HASH_DIGITS + 1, "%016llx", (unsigned long long)hash);
}

/* Of the digest of all that decides which server is asked, and as whom. */
static void put_source(char digits[HASH_DIGITS + 1], const struct upstream_config *upstream)
{
	const char *source = upstream->exposure.source;
	put_hash(digits, XXH3_64bits(source, strlen(source)));
}

/* ---------------------------------------------------------------- reading */

struct reader {
	const struct generation *generation;
	void (*found)(void *context, const struct kept_list *list);
	void *context;
	bool *seen; /* by upstream */
	struct slice left;
	bool checking; /* nothing is told yet */
	char *why;
};

static bool refuse_damaged(char *why, const char *what)
{
	snprintf(why, LIST_STORE_WHY_BYTES, "%s", what);
	return false;
}

static bool take_line(struct slice *left, struct slice *line)
{
	const char *end = left->len ? memchr(left->at, '\n', left->len) : NULL;
	if (!end)
		return false;
	*line = (struct slice){ left->at, (size_t)(end - left->at) };
	*left = (struct slice){ end + 1, left->len - line->len - 1 };
	return true;
}

static bool text_member(struct slice object, const char *name, struct buf *text)
{
	struct slice raw;
	if (!json_member(object, slice_of(name), &raw) || json_type(raw) != JSON_STRING)
		return false;
	json_unescape(raw, text);
	return !text->failed;
}

static bool number_member(struct slice object, const char *name, uint64_t *number)
{
	struct slice raw;
	return json_member(object, slice_of(name), &raw) && json_type(raw) == JSON_NUMBER && json_u64(raw, number);
}

/* False: it is none of ours, or another server's by now. */
static bool find_upstream(const struct reader *reader, struct slice name, struct slice source, unsigned *upstream)
{
	char expected[HASH_DIGITS + 1];
	for (unsigned i = 0; i < reader->generation->upstream_count; i++) {
		const struct upstream_settings *settings = &reader->generation->upstreams[i].settings;
		if (!settings->dialect->lists_tools || !slice_equal(name, slice_of(settings->name)))
			continue;
		put_source(expected, &reader->generation->upstreams[i]);
		*upstream = i;
		return slice_equal(source, slice_of(expected)) && !reader->seen[i];
	}
	return false;
}

static bool read_head(struct slice head, struct buf *name, struct buf *source, struct buf *instructions,
		      uint64_t *bytes, uint64_t *listed_at_s)
{
	struct json_fault fault;
	return json_check(head, RECORD_DEPTH, NULL, &fault) && json_type(json_trim(head)) == JSON_OBJECT &&
	       text_member(head, "upstream", name) && text_member(head, "source", source) &&
	       text_member(head, "instructions", instructions) && number_member(head, "bytes", bytes) &&
	       number_member(head, "listed_at", listed_at_s);
}

/* One list. False: damaged. */
static bool read_record(struct reader *reader)
{
	struct buf name = BUF_INIT(PATH_BYTES), source = BUF_INIT(HEAD_BYTES), said = BUF_INIT(INSTRUCTIONS_BYTES);
	struct kept_list list = { 0 };
	struct slice head;
	uint64_t bytes;
	bool ok = take_line(&reader->left, &head) &&
		  read_head(head, &name, &source, &said, &bytes, &list.listed_at_s) && bytes < reader->left.len &&
		  reader->left.at[bytes] == '\n';
	if (ok) {
		list.tools = (struct slice){ reader->left.at, bytes };
		list.instructions = buf_slice(&said);
		reader->left = (struct slice){ reader->left.at + bytes + 1, reader->left.len - bytes - 1 };
	}
	if (ok && !reader->checking && find_upstream(reader, buf_slice(&name), buf_slice(&source), &list.upstream) &&
	    list.tools.len <= reader->generation->upstreams[list.upstream].settings.mcp_list_bytes) {
		reader->seen[list.upstream] = true;
		reader->found(reader->context, &list);
	}
	buf_fini(&name);
	buf_fini(&source);
	buf_fini(&said);
	return ok || refuse_damaged(reader->why, "it holds what is no list");
}

static bool read_text(struct reader *reader)
{
	struct slice head;
	char digits[HASH_DIGITS + 1];
	if (!take_line(&reader->left, &head) || head.len != strlen(MAGIC) + HASH_DIGITS ||
	    memcmp(head.at, MAGIC, strlen(MAGIC)) != 0)
		return refuse_damaged(reader->why, "it does not begin as such a file does");
	put_hash(digits, XXH3_64bits(reader->left.at, reader->left.len));
	if (memcmp(head.at + strlen(MAGIC), digits, HASH_DIGITS) != 0)
		return refuse_damaged(reader->why, "it is not as it was written: its hash is another one");
	struct slice records = reader->left;
	for (reader->checking = true; reader->left.len;)
		if (!read_record(reader))
			return false;
	reader->left = records;
	for (reader->checking = false; reader->left.len;)
		if (!read_record(reader))
			return false;
	return true;
}

static bool read_bytes(int fd, struct buf *text)
{
	for (;;) {
		if (!buf_reserve(text, 1))
			return false;
		ssize_t got = read(fd, text->store->bytes + text->len, text->store->len - text->len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got == 0;
		text->len += (size_t)got;
	}
}

/* The file's bytes. */
static enum list_store_result read_file(const char *path, struct buf *text, char *why)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return LIST_STORE_NONE;
	bool ok = false;
	if (fd < 0 || fstat(fd, &status) < 0)
		refuse_damaged(why, strerror(errno));
	else if (!S_ISREG(status.st_mode))
		refuse_damaged(why, "it is no file");
	else if (!(ok = read_bytes(fd, text)))
		refuse_damaged(why, text->failed ? "it is too large" : strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok ? LIST_STORE_READ : LIST_STORE_DAMAGED;
}

enum list_store_result list_store_read(const struct generation *generation,
				       void (*found)(void *, const struct kept_list *), void *context,
				       char why[LIST_STORE_WHY_BYTES])
{
	struct buf text = BUF_INIT(LIST_STORE_BYTES_MAX);
	enum list_store_result result = read_file(generation->mcp.lists, &text, why);
	struct reader reader = {
		.generation = generation, .found = found, .context = context, .left = buf_slice(&text), .why = why
	};
	reader.seen = calloc(generation->upstream_count + 1, sizeof *reader.seen);
	if (result == LIST_STORE_READ && !reader.seen) {
		refuse_damaged(why, "out of memory");
		result = LIST_STORE_DAMAGED;
	}
	if (result == LIST_STORE_READ && !read_text(&reader))
		result = LIST_STORE_DAMAGED;
	free(reader.seen);
	buf_fini(&text);
	return result;
}

/* ---------------------------------------------------------------- writing */

static void put_record(struct buf *out, const struct generation *generation, const struct kept_list *list)
{
	const struct upstream_settings *settings = &generation->upstreams[list->upstream].settings;
	char source[HASH_DIGITS + 1];
	put_source(source, &generation->upstreams[list->upstream]);
	buf_put_text(out, "{\"upstream\":");
	json_put_string(out, slice_of(settings->name));
	buf_printf(out, ",\"source\":\"%s\",\"listed_at\":%llu,\"bytes\":%zu,\"instructions\":", source,
		   (unsigned long long)list->listed_at_s, list->tools.len);
	json_put_string(out, list->instructions);
	buf_put_text(out, "}\n");
	buf_put(out, list->tools);
	buf_put_char(out, '\n');
}

/* Those that fit. */
static void put_records(struct buf *out, const struct generation *generation, const struct kept_list *lists,
			size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (out->len + lists[i].tools.len + 2 * INSTRUCTIONS_BYTES < LIST_STORE_BYTES_MAX - HEAD_BYTES)
			put_record(out, generation, &lists[i]);
}

static bool write_bytes(int fd, struct slice text)
{
	while (text.len) {
		ssize_t put = write(fd, text.at, text.len);
		if (put < 0 && errno != EINTR)
			return false;
		if (put > 0)
			text = (struct slice){ text.at + put, text.len - (size_t)put };
	}
	return true;
}

static bool write_file(const char *path, struct slice head, struct slice text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (fd < 0)
		return false;
	bool ok = write_bytes(fd, head) && write_bytes(fd, text) && fsync(fd) == 0;
	int saved = errno;
	ok = close(fd) == 0 && ok;
	errno = saved;
	return ok;
}

bool list_store_write(const struct generation *generation, const struct kept_list *lists, size_t count,
		      char why[LIST_STORE_WHY_BYTES])
{
	struct buf text = BUF_INIT(LIST_STORE_BYTES_MAX), path = BUF_INIT(PATH_BYTES), head = BUF_INIT(HEAD_BYTES);
	char digits[HASH_DIGITS + 1];
	put_records(&text, generation, lists, count);
	put_hash(digits, XXH3_64bits(buf_slice(&text).at, text.len));
	buf_printf(&head, MAGIC "%s\n", digits);
	buf_printf(&path, "%s.new", generation->mcp.lists);
	bool ok = !text.failed && !head.failed && !path.failed;
	if (!ok)
		refuse_damaged(why, "out of memory");
	else if (!(ok = write_file(buf_cstr(&path), buf_slice(&head), buf_slice(&text)) &&
			rename(buf_cstr(&path), generation->mcp.lists) == 0))
		refuse_damaged(why, strerror(errno));
	buf_fini(&text);
	buf_fini(&path);
	buf_fini(&head);
	return ok;
}
