/* SPDX-License-Identifier: Apache-2.0 */
/* The log: every byte escaped, one record a line, lines lost rather than callers held up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/support/alloc_fail.h"

static char directory[] = "/tmp/jitney-log-XXXXXX";
static char path[64], moved[64];
static char error[200];

static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof path, "%s/log", directory);
	snprintf(moved, sizeof moved, "%s/log.1", directory);
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	log_close();
	unlink(path);
	unlink(moved);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

static void open_log(enum log_level level, enum log_format format)
{
	if (!log_open(path, level, format, error, sizeof error))
		fail_msg("%s", error);
}

/* The whole file; the caller frees. */
static char *read_whole(const char *name)
{
	size_t len = 0, bytes = 4u << 20;
	char *text = malloc(bytes);
	int fd = open(name, O_RDONLY);
	assert_true(fd >= 0);
	for (ssize_t got; (got = read(fd, text + len, bytes - len - 1)) > 0;)
		len += (size_t)got;
	close(fd);
	text[len] = '\0';
	return text;
}

static size_t count_of(const char *text, const char *needle)
{
	size_t count = 0;
	while ((text = strstr(text, needle))) {
		count++;
		text += strlen(needle);
	}
	return count;
}

/* --- lines --- */

static void log_all_kinds(struct slice value)
{
	struct log_line line;
	assert_true(log_begin(&line, &(struct log_event){ LOG_LEVEL_INFO, "request" }));
	log_text(&line, "tool", value);
	log_cstr(&line, "absent", NULL);
	log_u64(&line, "size", UINT64_MAX);
	log_u64(&line, "zero", 0);
	log_seconds(&line, "wait", 1234);
	log_seconds(&line, "long", 3600 * CLOCK_US_PER_S);
	log_end(&line);
}

static void a_logfmt_line_reads_as_promised(void **state)
{
	(void)state;
	char *text, rest[200];
	unsigned year, month, day, hour, minute, second, us;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	log_all_kinds(SLICE("web_search"));
	log_close();
	text = read_whole(path);
	assert_int_equal(sscanf(text, "ts=%4u-%2u-%2uT%2u:%2u:%2u.%6uZ %199[^\n]", &year, &month, &day, &hour, &minute,
				&second, &us, rest),
			 8);
	assert_string_equal(rest, "level=info event=request tool=web_search size=18446744073709551615 zero=0 "
				  "wait=0.001234 long=3600.000000");
	assert_int_equal(text[27 + 3], ' ');
	free(text);
}

static void a_json_line_is_an_object_with_the_same_fields(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_all_kinds(SLICE("web_search"));
	log_close();
	char *text = read_whole(path);
	assert_non_null(strstr(text, "Z\",\"level\":\"info\",\"event\":\"request\",\"tool\":\"web_search\","
				     "\"size\":18446744073709551615,\"zero\":0,\"wait\":0.001234,"
				     "\"long\":3600.000000}\n"));
	struct json_object *object = json_tokener_parse(text);
	assert_non_null(object);
	json_object_put(object);
	free(text);
}

/* Though a thread remembers how the one before was written, and though another lies where that one lay. */
static void an_event_is_known_by_what_it_says(void **state)
{
	(void)state;
	struct log_event event = { LOG_LEVEL_INFO, "first" };
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	log_message(&event, "1");
	event.level = LOG_LEVEL_WARN;
	log_message(&event, "2");
	event.name = "second";
	log_message(&event, "3");
	log_change(NULL, LOG_LEVEL_WARN, LOG_FORMAT_JSON);
	log_message(&event, "4");
	event.level = LOG_LEVEL_INFO;
	log_message(&event, "hidden");
	log_change(NULL, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	log_message(&event, "5");
	log_close();
	char *text = read_whole(path);
	assert_non_null(strstr(text, "Z level=info event=first message=1\n"));
	assert_non_null(strstr(text, "Z level=warn event=first message=2\n"));
	assert_non_null(strstr(text, "Z level=warn event=second message=3\n"));
	assert_non_null(strstr(text, "Z\",\"level\":\"warn\",\"event\":\"second\",\"message\":\"4\"}\n"));
	assert_non_null(strstr(text, "Z level=info event=second message=5\n"));
	assert_int_equal(count_of(text, "\n"), 5);
	free(text);
}

static void the_time_is_the_wall_clocks(void **state)
{
	(void)state;
	uint64_t before_s = clock_wall_us() / CLOCK_US_PER_S;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "now" }, "x");
	log_close();
	uint64_t after_s = clock_wall_us() / CLOCK_US_PER_S;
	char *text = read_whole(path);
	struct tm tm = { 0 };
	assert_non_null(strptime(text, "ts=%Y-%m-%dT%H:%M:%S", &tm));
	uint64_t logged_s = (uint64_t)timegm(&tm);
	assert_in_range(logged_s, before_s, after_s);
	free(text);
}

static void levels_beyond_the_wanted_one_are_not_built(void **state)
{
	(void)state;
	struct log_line line;
	open_log(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
	assert_true(log_wanted(LOG_LEVEL_ERROR));
	assert_true(log_wanted(LOG_LEVEL_WARN));
	assert_false(log_wanted(LOG_LEVEL_INFO));
	assert_false(log_begin(&line, &(struct log_event){ LOG_LEVEL_DEBUG, "detail" }));
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "hidden" }, "x");
	log_message(&(struct log_event){ LOG_LEVEL_ERROR, "shown" }, "port %d taken", 80);
	log_close();
	char *text = read_whole(path);
	assert_null(strstr(text, "hidden"));
	assert_non_null(strstr(text, "level=error event=shown message=\"port 80 taken\"\n"));
	free(text);
}

/* What stands in logfmt for `value`, without quotes if there are none. */
static const struct {
	struct slice value;
	const char *logfmt;
} escapes[] = {
	{ { "plain-text/1.0:x,y;[z]", 22 }, "plain-text/1.0:x,y;[z]" },
	{ { "", 0 }, "\"\"" },
	{ { "two words", 9 }, "\"two words\"" },
	{ { "a=b", 3 }, "\"a=b\"" },
	{ { "say \"hi\"", 8 }, "\"say \\\"hi\\\"\"" },
	{ { "back\\slash", 10 }, "\"back\\\\slash\"" },
	{ { "a\nb\rc\td", 7 }, "\"a\\nb\\rc\\td\"" },
	{ { "nul\0end", 7 }, "\"nul\\u0000end\"" },
	{ { "\x1b[31m", 5 }, "\"\\u001b[31m\"" },
	{ { "\x7f", 1 }, "\"\\u007f\"" },
	{ { "z\u00e4\u20ac\U0001F68C", 10 }, "z\u00e4\u20ac\U0001F68C" },
	{ { "\xc2\x9b", 2 }, "\"\\u009b\"" },                   /* CSI of the C1 block */
	{ { "\xe2\x80\xa8", 3 }, "\"\\u2028\"" },               /* a line end to some readers */
	{ { "\xff\xfe", 2 }, "\"\\ufffd\\ufffd\"" },            /* no UTF-8 at all */
	{ { "\xc0\xaf", 2 }, "\"\\ufffd\\ufffd\"" },            /* overlong */
	{ { "\xed\xa0\x80", 3 }, "\"\\ufffd\\ufffd\\ufffd\"" }, /* a surrogate */
	{ { "cut\xe2\x82", 5 }, "\"cut\\ufffd\\ufffd\"" },
	{ { "\xf4\x90\x80\x80", 4 }, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, /* beyond U+10FFFF */
};

static void every_awkward_value_is_escaped(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	for (size_t i = 0; i < countof(escapes); i++) {
		struct log_line line;
		assert_true(log_begin(&line, &(struct log_event){ LOG_LEVEL_INFO, "e" }));
		log_text(&line, "v", escapes[i].value);
		log_end(&line);
	}
	log_close();
	char *text = read_whole(path), *rest = text;
	for (size_t i = 0; i < countof(escapes); i++) {
		char *at = strstr(strsep(&rest, "\n"), " v=");
		assert_non_null(at);
		assert_string_equal(at + 3, escapes[i].logfmt);
	}
	assert_string_equal(rest, "");
	free(text);
}

/* Every byte, with another behind it: each line is one object, and ASCII comes back as it was. */
static void pairs_of_any_bytes_make_one_valid_json_line(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	for (unsigned first = 0; first < 256; first++) {
		struct log_line line;
		assert_true(log_begin(&line, &(struct log_event){ LOG_LEVEL_INFO, "e" }));
		char value[2] = { (char)first, (char)(first * 7 + 3) };
		log_text(&line, "v", (struct slice){ value, 2 });
		log_end(&line);
	}
	log_close();
	char *text = read_whole(path), *rest = text;
	for (unsigned first = 0; first < 256; first++) {
		char *line = strsep(&rest, "\n");
		assert_non_null(line);
		for (const char *c = line; *c; c++)
			assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
		struct json_object *object = json_tokener_parse(line), *value;
		assert_non_null(object);
		assert_true(json_object_object_get_ex(object, "v", &value));
		unsigned second = (unsigned char)(first * 7 + 3);
		if (first < 0x80 && second < 0x80) {
			assert_int_equal(json_object_get_string_len(value), 2);
			assert_int_equal(json_object_get_string(value)[0], (char)first);
			assert_int_equal(json_object_get_string(value)[1], (char)second);
		}
		json_object_put(object);
	}
	assert_string_equal(rest, "");
	free(text);
}

static void a_line_too_long_says_so_and_stays_well_formed(void **state)
{
	(void)state;
	char value[3 * LOG_LINE_BYTES];
	for (enum log_format format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++)
		for (size_t len = LOG_LINE_BYTES - 120; len < LOG_LINE_BYTES + 20; len++) {
			struct log_line line;
			memset(value, len % 3 ? 'a' : '\n', sizeof value);
			open_log(LOG_LEVEL_INFO, format);
			assert_true(log_begin(&line, &(struct log_event){ LOG_LEVEL_INFO, "e" }));
			log_text(&line, "v", (struct slice){ value, len });
			log_word(&line, "outcome", "unsupported_media_type"); /* the longest of our words */
			log_u64(&line, "last", 1);
			log_end(&line);
			log_close();
			char *text = read_whole(path);
			size_t written = strlen(text);
			assert_true(written <= LOG_LINE_BYTES);
			assert_int_equal(count_of(text, "\n"), 1);
			bool whole = strstr(text, "last") != NULL;
			assert_int_equal(count_of(text, "truncated"), !whole);
			if (!whole)
				assert_non_null(strstr(text, format == LOG_FORMAT_JSON ? ",\"truncated\":true}\n"
										       : " truncated=true\n"));
			if (format == LOG_FORMAT_JSON) {
				struct json_object *object = json_tokener_parse(text);
				assert_non_null(object);
				json_object_put(object);
			}
			free(text);
			unlink(path);
		}
}

static void many_fields_lose_the_last_ones(void **state)
{
	(void)state;
	struct log_line line;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	assert_true(log_begin(&line, &(struct log_event){ LOG_LEVEL_INFO, "e" }));
	for (int i = 0; i < 1000; i++) {
		log_u64(&line, "number", UINT64_MAX);
		log_seconds(&line, "seconds", UINT64_MAX);
		log_cstr(&line, "text", "\xff\xff\xff");
	}
	log_end(&line);
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "long" }, "%0*d", 3 * LOG_LINE_BYTES, 7);
	log_close();
	char *text = read_whole(path);
	assert_int_equal(count_of(text, ",\"truncated\":true}\n"), 2);
	assert_int_equal(count_of(text, "\n"), 2);
	assert_non_null(strstr(text, "\"message\":\"00000"));
	free(text);
}

/* --- files --- */

static void a_file_is_appended_to(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
		log_message(&(struct log_event){ LOG_LEVEL_INFO, "hello" }, "%d", i);
		log_close();
	}
	char *text = read_whole(path);
	assert_int_equal(count_of(text, "\n"), 3);
	assert_non_null(strstr(text, "message=2\n"));
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0007, 0); /* not for others to read */
	free(text);
}

static void a_path_that_cannot_be_opened_is_an_error_that_says_why(void **state)
{
	(void)state;
	assert_false(log_open("/nowhere/at/all", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error));
	assert_non_null(strstr(error, "No such file"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(log_open(path, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error)); /* and does not hang */
}

static void rotation_moves_the_next_line_to_a_new_file(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "before" }, "x");
	/* the writer must have written it, or it would follow into the new file */
	char *text;
	for (bool written = false; !written; free(text)) {
		text = read_whole(path);
		written = strstr(text, "event=before") != NULL;
	}
	assert_int_equal(rename(path, moved), 0);
	log_reopen();
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "after" }, "x");
	log_close();
	text = read_whole(moved);
	assert_int_equal(count_of(text, "\n"), 1);
	free(text);
	text = read_whole(path);
	assert_non_null(strstr(text, "event=after"));
	assert_int_equal(count_of(text, "\n"), 1);
	free(text);
}

static void a_reopen_that_fails_keeps_the_old_file(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	log_reopen();
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "after" }, "x");
	log_close();
	assert_int_equal(rmdir(path), 0);
	char *text = read_whole(moved);
	assert_non_null(strstr(text, "level=error event=log_reopen_failed message=\"Is a directory\"\n"));
	assert_non_null(strstr(text, "event=after"));
	free(text);
	log_reopen(); /* nothing open: nothing happens */
}

static void any_allocation_may_fail_at_the_start(void **state)
{
	(void)state;
	size_t failures = 0;
	for (bool opened = false; !opened; failures += !opened) {
		alloc_reset();
		alloc_fail_at(failures + 1);
		opened = log_open(path, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error);
		alloc_reset();
		if (!opened)
			assert_non_null(strstr(error, "out of memory"));
	}
	assert_true(failures >= 2);
	alloc_reset();
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "hello" }, "%d", 1);
	assert_int_equal(alloc_count(), 0); /* a line costs no allocation */
}

/* --- trouble on the other side; the pipe stands in for stderr --- */

static int saved_stderr;

/* stderr becomes a pipe; returns the end to read. */
static int pipe_stderr(void)
{
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	fflush(stderr);
	saved_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	return ends[0];
}

static void restore_stderr(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
}

/* Everything in the pipe until nothing is left, added to `text`. */
static size_t drain(int fd, char *text, size_t bytes)
{
	size_t len = 0;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (ssize_t got; (got = read(fd, text + len, bytes - len - 1)) > 0;)
		len += (size_t)got;
	text[len] = '\0';
	return len;
}

static void without_a_writer_lines_go_to_stderr_at_once(void **state)
{
	(void)state;
	char text[4096];
	int reader = pipe_stderr();
	log_message(&(struct log_event){ LOG_LEVEL_ERROR, "early" }, "before %s", "log_open");
	drain(reader, text, sizeof text);
	restore_stderr();
	close(reader);
	assert_non_null(strstr(text, "event=early message=\"before log_open\"\n"));
}

static void stderr_that_nobody_reads_or_holds_costs_lines_only(void **state)
{
	(void)state;
	uint64_t before = log_dropped();
	int reader = pipe_stderr();
	int writer = STDERR_FILENO;
	fcntl(writer, F_SETFL, O_NONBLOCK);
	while (write(writer, "x", 1) == 1)
		continue;
	fcntl(writer, F_SETFL, 0);
	log_message(&(struct log_event){ LOG_LEVEL_ERROR, "full" }, "x"); /* returns */
	assert_int_equal(log_dropped() - before, 1);
	close(reader);
	void (*handler)(int) = signal(SIGPIPE, SIG_DFL);
	log_message(&(struct log_event){ LOG_LEVEL_ERROR, "broken" }, "x"); /* and we live */
	signal(SIGPIPE, handler);
	assert_int_equal(log_dropped() - before, 2);
	restore_stderr();
}

/* Lines of a known number into a pipe that is read only after log_close, if at all. */
static void a_blocked_reader_costs_lines_and_never_blocks_the_caller(void **state)
{
	(void)state;
	enum { LINES = 40000 };
	static char text[4 << 20];
	uint64_t before = log_dropped();
	int reader = pipe_stderr();
	assert_true(log_open("stderr", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error));
	for (int i = 0; i < LINES; i++) /* some 3 MB: more than the pipe and both buffers */
		log_message(&(struct log_event){ LOG_LEVEL_INFO, "flood" }, "line %d", i);
	uint64_t at_flood = log_dropped() - before;
	log_close(); /* returns although nobody reads */
	uint64_t lost = log_dropped() - before;
	drain(reader, text, sizeof text);
	restore_stderr();
	close(reader);
	assert_true(at_flood > 0);
	assert_true(lost > at_flood); /* what was queued at the end is counted too */
	assert_int_equal(count_of(text, "\n") + lost, LINES);
}

struct patient_reader {
	int fd;
	char *text;
	size_t len;
};

static void *read_to_end(void *context)
{
	struct patient_reader *reader = context;
	for (ssize_t got; (got = read(reader->fd, reader->text + reader->len, 65536)) > 0;)
		reader->len += (size_t)got;
	return NULL;
}

static void a_reader_that_wakes_up_gets_whole_lines_and_a_mark_of_the_loss(void **state)
{
	(void)state;
	enum { LINES = 40000 };
	static char text[8 << 20];
	struct patient_reader reader = { .text = text };
	pthread_t thread;
	uint64_t before = log_dropped();
	reader.fd = pipe_stderr();
	assert_true(log_open("stderr", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error));
	for (int i = 0; i < LINES; i++)
		log_message(&(struct log_event){ LOG_LEVEL_INFO, "flood" }, "line %d", i);
	uint64_t lost = log_dropped() - before;
	assert_true(lost > 0);
	assert_int_equal(pthread_create(&thread, NULL, read_to_end, &reader), 0);
	log_close();
	restore_stderr();
	pthread_join(thread, NULL);
	close(reader.fd);
	text[reader.len] = '\0';
	assert_int_equal(log_dropped() - before, lost);
	assert_int_equal(count_of(text, " event=flood "), LINES - lost);
	uint64_t marked = 0; /* one mark, or more when the flood had pauses */
	static const char mark[] = " level=warn event=log_dropped lines=";
	for (const char *at = text; (at = strstr(at, mark)); at++)
		marked += strtoull(at + strlen(mark), NULL, 10);
	assert_int_equal(marked, lost);
	for (char *rest = text, *line; (line = strsep(&rest, "\n")) && rest;)
		assert_memory_equal(line, "ts=20", 5);
}

static void a_reader_that_leaves_is_counted_and_not_fatal(void **state)
{
	(void)state;
	uint64_t before = log_dropped();
	int reader = pipe_stderr();
	void (*handler)(int) = signal(SIGPIPE, SIG_DFL);
	assert_true(log_open("stderr", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error));
	close(reader);
	for (int i = 0; i < 10; i++)
		log_message(&(struct log_event){ LOG_LEVEL_INFO, "nobody" }, "line %d", i);
	log_close();
	signal(SIGPIPE, handler);
	restore_stderr();
	assert_int_equal(log_dropped() - before, 10);
}

static void a_full_disk_is_counted_and_not_fatal(void **state)
{
	(void)state;
	uint64_t before = log_dropped();
	if (!log_open("/dev/full", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error))
		skip();
	for (int i = 0; i < 10; i++)
		log_message(&(struct log_event){ LOG_LEVEL_INFO, "full" }, "line %d", i);
	log_close();
	assert_int_equal(log_dropped() - before, 10);
}

/* --- threads and forks --- */

enum { THREADS = 4, LINES_EACH = 2000 };

static void *log_lines(void *context)
{
	for (int i = 0; i < LINES_EACH; i++) {
		struct log_line line;
		if (!log_begin(&line, &(struct log_event){ LOG_LEVEL_INFO, "work" }))
			return NULL;
		log_cstr(&line, "thread", context);
		log_u64(&line, "i", (uint64_t)i);
		log_end(&line);
		if (i % 500 == 0)
			log_reopen();
	}
	return NULL;
}

static void lines_of_many_threads_are_whole_and_in_each_ones_order(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	static char names[THREADS][2] = { "0", "1", "2", "3" };
	uint64_t before = log_dropped();
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_lines, names[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_close();
	assert_int_equal(log_dropped(), before);
	char *text = read_whole(path), *rest = text;
	unsigned next[THREADS] = { 0 }, thread, i;
	for (char *line; (line = strsep(&rest, "\n")) && rest;) {
		assert_int_equal(sscanf(line, "ts=%*s level=info event=work thread=%u i=%u", &thread, &i), 2);
		assert_int_equal(i, next[thread]++);
	}
	for (int t = 0; t < THREADS; t++)
		assert_int_equal(next[t], LINES_EACH);
	free(text);
}

static void a_forked_child_logs_to_stderr_and_leaves_the_file_alone(void **state)
{
	(void)state;
	char text[4096];
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	int reader = pipe_stderr();
	log_message(&(struct log_event){ LOG_LEVEL_INFO, "parent" }, "x");
	pid_t child = fork();
	if (child == 0) {
		log_message(&(struct log_event){ LOG_LEVEL_INFO, "child" }, "x");
		log_close();
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	restore_stderr();
	assert_true(WIFEXITED(status));
	drain(reader, text, sizeof text);
	close(reader);
	assert_non_null(strstr(text, "event=child"));
	log_close();
	char *file = read_whole(path);
	assert_int_equal(count_of(file, "\n"), 1);
	assert_non_null(strstr(file, "event=parent"));
	free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_logfmt_line_reads_as_promised, remove_files),
		cmocka_unit_test_teardown(a_json_line_is_an_object_with_the_same_fields, remove_files),
		cmocka_unit_test_teardown(an_event_is_known_by_what_it_says, remove_files),
		cmocka_unit_test_teardown(the_time_is_the_wall_clocks, remove_files),
		cmocka_unit_test_teardown(every_awkward_value_is_escaped, remove_files),
		cmocka_unit_test_teardown(pairs_of_any_bytes_make_one_valid_json_line, remove_files),
		cmocka_unit_test_teardown(a_line_too_long_says_so_and_stays_well_formed, remove_files),
		cmocka_unit_test_teardown(many_fields_lose_the_last_ones, remove_files),
		cmocka_unit_test_teardown(a_file_is_appended_to, remove_files),
		cmocka_unit_test_teardown(a_path_that_cannot_be_opened_is_an_error_that_says_why, remove_files),
		cmocka_unit_test_teardown(rotation_moves_the_next_line_to_a_new_file, remove_files),
		cmocka_unit_test_teardown(a_reopen_that_fails_keeps_the_old_file, remove_files),
		cmocka_unit_test_teardown(any_allocation_may_fail_at_the_start, remove_files),
		cmocka_unit_test_teardown(without_a_writer_lines_go_to_stderr_at_once, remove_files),
		cmocka_unit_test_teardown(stderr_that_nobody_reads_or_holds_costs_lines_only, remove_files),
		cmocka_unit_test_teardown(a_blocked_reader_costs_lines_and_never_blocks_the_caller, remove_files),
		cmocka_unit_test_teardown(a_reader_that_wakes_up_gets_whole_lines_and_a_mark_of_the_loss, remove_files),
		cmocka_unit_test_teardown(a_reader_that_leaves_is_counted_and_not_fatal, remove_files),
		cmocka_unit_test_teardown(a_full_disk_is_counted_and_not_fatal, remove_files),
		cmocka_unit_test_teardown(lines_of_many_threads_are_whole_and_in_each_ones_order, remove_files),
		cmocka_unit_test_teardown(a_forked_child_logs_to_stderr_and_leaves_the_file_alone, remove_files),
		/* last: it changes the level for good */
		cmocka_unit_test_teardown(levels_beyond_the_wanted_one_are_not_built, remove_files),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
