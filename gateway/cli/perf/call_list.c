/* SPDX-License-Identifier: Apache-2.0 */
/* call_list.c: calls from a command line, a file or an access log. */
#include "gateway/cli/perf/call_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "gateway/cli/workload.h"

enum { TEXT_BYTES_MAX = 1 << 30, DEPTH = 512, NUMBER_BYTES = 24, NAME_BYTES_MAX = 4096, CALLS_MAX = 20000000 };

/* --- filling --- */

static struct listed_call *add_call(struct call_list *list, struct slice tool, struct slice body)
{
	if (!list->text.max)
		buf_init(&list->text, TEXT_BYTES_MAX);
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct listed_call *calls =
			room <= 2 * CALLS_MAX ? reallocarray(list->calls, room, sizeof *calls) : NULL;
		if (!calls)
			return NULL;
		list->calls = calls;
		list->room = room;
	}
	struct listed_call *call = &list->calls[list->count];
	*call = (struct listed_call){ .path = list->text.len };
	cli_put_tool_path(&list->text, tool);
	call->path_len = list->text.len - call->path;
	call->body = list->text.len;
	buf_put(&list->text, body);
	call->body_len = body.len;
	list->count += !list->text.failed;
	return list->text.failed ? NULL : call;
}

static bool is_object(struct slice text)
{
	struct json_fault fault;
	return json_check(text, DEPTH, NULL, &fault) && json_type(json_trim(text)) == JSON_OBJECT;
}

bool call_list_one(struct call_list *list, const char *tool, const char *arguments, char error[CALL_LIST_ERROR_BYTES])
{
	/* with "%d" in it, it need not be JSON before the number stands there */
	if (!list->distinct && !is_object(slice_of(arguments))) {
		snprintf(error, CALL_LIST_ERROR_BYTES, "ARGUMENTS is one JSON object, not %.100s", arguments);
		return false;
	}
	if (add_call(list, slice_of(tool), slice_of(arguments)))
		return true;
	snprintf(error, CALL_LIST_ERROR_BYTES, "out of memory");
	return false;
}

/* NULL, or what is wrong with the line. */
static const char *take_line(struct call_list *list, struct slice line)
{
	struct slice tool, arguments = SLICE("{}");
	struct buf name = BUF_INIT(NAME_BYTES_MAX);
	if (!is_object(line))
		return "not a JSON object";
	line = json_trim(line);
	if (!json_member(line, SLICE("tool"), &tool) || json_type(tool) != JSON_STRING)
		return "\"tool\" is missing, or no string";
	if (json_member(line, SLICE("arguments"), &arguments) && json_type(arguments) != JSON_OBJECT)
		return "\"arguments\" is no object";
	json_unescape(tool, &name);
	bool ok = !name.failed && add_call(list, buf_slice(&name), arguments);
	buf_fini(&name);
	return ok ? NULL : "too many calls, or out of memory";
}

static FILE *open_list(const char *path, char error[CALL_LIST_ERROR_BYTES])
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	if (!file)
		snprintf(error, CALL_LIST_ERROR_BYTES, "%.300s: %s", path, strerror(errno));
	return file;
}

static void close_list(FILE *file)
{
	if (file != stdin)
		fclose(file);
}

bool call_list_file(struct call_list *list, const char *path, char error[CALL_LIST_ERROR_BYTES])
{
	char *line = NULL;
	size_t room = 0, number = 0;
	const char *wrong = NULL;
	FILE *file = open_list(path, error);
	if (!file)
		return false;
	for (ssize_t len; !wrong && (len = getline(&line, &room, file)) >= 0;) {
		struct slice text = json_trim((struct slice){ line, (size_t)len });
		number++;
		if (text.len)
			wrong = take_line(list, text);
	}
	bool unread = ferror(file);
	free(line);
	close_list(file);
	if (wrong)
		snprintf(error, CALL_LIST_ERROR_BYTES,
			 "%.300s:%zu: %s; a line is {\"tool\": \"NAME\", \"arguments\": {}}", path, number, wrong);
	else if (unread || !list->count)
		snprintf(error, CALL_LIST_ERROR_BYTES, "%.300s: %s", path,
			 unread ? "it cannot be read" : "there are no calls in it");
	return !wrong && !unread && list->count > 0;
}

/* --- an access log --- */

struct log_taking {
	struct call_list *list;
	struct slice arguments;
};

static bool take_logged(void *context, uint64_t began_us, struct slice tool)
{
	const struct log_taking *taking = context;
	struct listed_call *call = add_call(taking->list, tool, taking->arguments);
	if (call)
		call->at_us = began_us;
	return call != NULL;
}

static int compare_times(const void *left, const void *right)
{
	const struct listed_call *a = left, *b = right;
	return (a->at_us > b->at_us) - (a->at_us < b->at_us);
}

bool call_list_log(struct call_list *list, const char *path, const char *arguments, double speed,
		   char error[CALL_LIST_ERROR_BYTES])
{
	struct log_taking taking = { list, slice_of(arguments) };
	char wrong[300];
	if (!is_object(taking.arguments)) {
		snprintf(error, CALL_LIST_ERROR_BYTES, "ARGUMENTS is one JSON object, not %.100s", arguments);
		return false;
	}
	FILE *file = open_list(path, error);
	if (!file)
		return false;
	bool ok = workload_each_call(file, take_logged, &taking, wrong, sizeof wrong);
	close_list(file);
	if (!ok) {
		snprintf(error, CALL_LIST_ERROR_BYTES, "%.300s: %s", path, wrong);
		return false;
	}
	qsort(list->calls, list->count, sizeof *list->calls, compare_times);
	uint64_t first_us = list->calls[0].at_us;
	for (size_t i = 0; i < list->count; i++)
		list->calls[i].at_us = (uint64_t)((double)(list->calls[i].at_us - first_us) / speed);
	list->timed = true;
	return true;
}

void call_list_fini(struct call_list *list)
{
	buf_fini(&list->text);
	buf_fini(&list->headers);
	free(list->calls);
	*list = (struct call_list){ 0 };
}

/* --- writing --- */

void call_list_address(struct call_list *list, const struct target *target, const struct cli_client *setup)
{
	buf_init(&list->headers, TEXT_BYTES_MAX);
	buf_printf(&list->headers, " HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n", target->host);
	for (size_t i = 0; i < setup->header_count; i++)
		buf_printf(&list->headers, "%s: %s\r\n", setup->headers[i].name, setup->headers[i].value);
}

static void put_slice(struct wire_buf *out, struct slice bytes)
{
	wire_put(out, bytes.at, bytes.len);
}

/* The body with the number in each place of "%d": how many bytes, and if `out`, the bytes. */
static size_t put_numbered(struct slice body, uint64_t number, struct wire_buf *out)
{
	char digits[NUMBER_BYTES];
	size_t digits_len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number), len = 0;
	while (body.len) {
		const char *mark = memmem(body.at, body.len, "%d", 2);
		size_t plain = mark ? (size_t)(mark - body.at) : body.len;
		if (out) {
			wire_put(out, body.at, plain);
			wire_put(out, digits, mark ? digits_len : 0);
		}
		len += plain + (mark ? digits_len : 0);
		plain += mark ? 2 : 0;
		body = (struct slice){ body.at + plain, body.len - plain };
	}
	return len;
}

void call_list_write(const struct call_list *list, const struct target *target, uint64_t sequence, struct wire_buf *out)
{
	const struct listed_call *call = &list->calls[sequence % list->count];
	const char *text = buf_slice(&list->text).at;
	struct slice body = { text + call->body, call->body_len };
	uint64_t number = list->distinct ? sequence % list->distinct : 0;
	put_slice(out, SLICE("POST "));
	put_slice(out, slice_of(target->base));
	wire_put(out, text + call->path, call->path_len);
	put_slice(out, buf_slice(&list->headers));
	wire_printf(out, "Content-Length: %zu\r\n\r\n", list->distinct ? put_numbered(body, number, NULL) : body.len);
	if (list->distinct)
		put_numbered(body, number, out);
	else
		put_slice(out, body);
}
