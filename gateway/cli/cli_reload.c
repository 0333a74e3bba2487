/* SPDX-License-Identifier: Apache-2.0 */
/* cli_reload.c: jitney reload, and jitney check --against: what a file would change in a running gateway, or has. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/cli_client.h"
#include "gateway/cli/text_table.h"
#include "gateway/config/config.h"

enum { BODY_BYTES_MAX = 256 << 20, PATH_BYTES_MAX = 4096, DEPTH = 512 };

static const struct cli_server admin_listener = { "JITNEY_ADMIN_URL", "http://127.0.0.1:8081", 60 };

static const char reload_help[] =
	"usage: jitney reload [OPTIONS]\n\n"
	"Has a running gateway read its configuration anew, and prints what that has changed. A file that is not in order\n"
	"changes nothing: its mistakes are printed, and the exit code is 1.\n\n"
	"  -u, --url URL          the gateway's admin listener; default $JITNEY_ADMIN_URL or http://127.0.0.1:8081\n"
	"  -t, --timeout SECONDS  give up after this long; default 60\n"
	"  -H, --header 'N: V'    send this header too (may come again)\n";

/* A raw string of a server that may be anybody's: it stays within its line. */
static void print_text(FILE *to, struct slice raw)
{
	struct buf text = BUF_INIT(BODY_BYTES_MAX), clean = BUF_INIT(BODY_BYTES_MAX);
	json_unescape(raw, &text);
	text_put_clean(&clean, buf_slice(&text));
	for (const char *c = buf_cstr(&clean); *c; c++)
		fputc(*c == '\n' ? '?' : *c, to);
	buf_fini(&clean);
	buf_fini(&text);
}

static void print_errors(struct slice body)
{
	struct slice errors, error;
	struct json_fault fault;
	if (!body.len || !json_check(body, DEPTH, NULL, &fault) || json_type(json_trim(body)) != JSON_OBJECT ||
	    !json_member(body, SLICE("errors"), &errors) || json_type(errors) != JSON_ARRAY)
		return;
	for (struct json_walk walk = json_walk(errors); json_next_element(&walk, &error);)
		if (json_type(error) == JSON_STRING) {
			print_text(stderr, error);
			fputc('\n', stderr);
		}
}

/* Print what each list of names says, a line a name: "+ tools.x", "- tools.x", "~ tools.x". */
static void print_names(const char *sign, const char *kind, struct slice lists, struct slice list)
{
	struct slice names, name;
	if (!json_member(lists, list, &names) || json_type(names) != JSON_ARRAY)
		return;
	for (struct json_walk walk = json_walk(names); json_next_element(&walk, &name);) {
		if (json_type(name) != JSON_STRING)
			continue;
		printf("%s %s%s", sign, kind, *kind ? "." : "");
		print_text(stdout, name);
		putchar('\n');
	}
}

static bool print_reload(struct slice body)
{
	static const char *const kinds[] = { "upstreams", "tools" };
	struct slice changed, lists, number = { NULL, 0 };
	struct json_fault fault;
	uint64_t generation;
	if (!json_check(body, DEPTH, NULL, &fault) || json_type(json_trim(body)) != JSON_OBJECT ||
	    !json_member(body, SLICE("changed"), &changed) || json_type(changed) != JSON_OBJECT ||
	    !json_member(body, SLICE("generation"), &number) || !json_u64(number, &generation)) {
		fputs("jitney: that is not what a reload says; is it a jitney's admin listener?\n", stderr);
		return false;
	}
	for (size_t i = 0; i < countof(kinds); i++) {
		if (!json_member(changed, slice_of(kinds[i]), &lists) || json_type(lists) != JSON_OBJECT)
			continue;
		print_names("+", kinds[i], lists, SLICE("added"));
		print_names("-", kinds[i], lists, SLICE("removed"));
		print_names("~", kinds[i], lists, SLICE("changed"));
	}
	print_names("~", "", changed, SLICE("settings"));
	print_names("needs a restart:", "", body, SLICE("needs_restart"));
	printf("generation %.*s is in force\n", SLICE_ARG(number));
	return fflush(stdout) == 0;
}

int cli_reload(int argc, char **argv)
{
	struct cli_client setup;
	const char *wrong = cli_read_options(argc, argv, &admin_listener, "u:t:H:h", &setup);
	if (setup.help) {
		fputs(reload_help, stdout);
		return EXIT_SUCCESS;
	}
	if (!wrong && optind < argc)
		wrong = "there are words after the options";
	if (wrong)
		return cli_wrong_usage("reload", wrong);
	struct client_request request = {
		.server = setup.server,
		.path = "/admin/reload",
		.method = "POST",
		.headers = setup.headers,
		.header_count = setup.header_count,
		.timeout_us = setup.timeout_us,
	};
	struct client_reply reply = { .body = BUF_INIT(BODY_BYTES_MAX) };
	int code = cli_fetch(&request, &reply, &setup);
	if (code == EXIT_SUCCESS && !print_reload(buf_slice(&reply.body)))
		code = EXIT_FAILURE;
	else if (code != EXIT_SUCCESS)
		print_errors(buf_slice(&reply.body));
	buf_fini(&reply.body);
	return code;
}

/* ---------------------------------------------------------------- check --against */

/* How far to go into blocks: to each upstream and tool, and to each option of what else there is. */
static bool is_whole(const char *path)
{
	const char *dot = strchr(path, '.');
	return dot && (strncmp(path, "upstreams.", 10) == 0 || strncmp(path, "tools.", 6) == 0);
}

/* What the page adds to the configuration. */
static bool is_of_page(struct slice name)
{
	static const char *const names[] = { "generation", "hash", "loaded_at", "asked_by", "last_reload" };
	bool one = false;
	for (size_t i = 0; i < countof(names); i++)
		one = one || slice_equal(name, slice_of(names[i]));
	return one;
}

static size_t print_difference(const char *path, struct slice running, struct slice file);

/* An object's members by their raw names, in order: there may be thousands of tools, and each is looked for. */
struct member {
	struct slice name, value;
};
struct index {
	struct member *members;
	size_t count;
	bool failed; /* out of memory: it is looked for by walking */
};

static int by_name(const void *a, const void *b)
{
	const struct slice *x = &((const struct member *)a)->name, *y = &((const struct member *)b)->name;
	int order = memcmp(x->at, y->at, x->len < y->len ? x->len : y->len);
	return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

static void index_object(struct slice object, struct index *index)
{
	struct member member;
	size_t room = 0;
	*index = (struct index){ .members = NULL };
	for (struct json_walk walk = json_walk(object); json_next_member(&walk, &member.name, &member.value);) {
		if (index->count == room) {
			room = room ? 2 * room : 64;
			struct member *more = realloc(index->members, room * sizeof *more);
			index->failed = !more;
			if (!more)
				return;
			index->members = more;
		}
		index->members[index->count++] = member;
	}
	if (index->count)
		qsort(index->members, index->count, sizeof *index->members, by_name);
}

static bool find_member(const struct index *index, struct slice object, struct slice name, struct slice *value)
{
	const struct member wanted = { name, { NULL, 0 } }, *found = NULL;
	if (index->failed)
		return json_member(object, (struct slice){ name.at + 1, name.len - 2 }, value);
	if (index->count)
		found = bsearch(&wanted, index->members, index->count, sizeof wanted, by_name);
	if (found)
		*value = found->value;
	return found != NULL;
}

/* Members of `from` that `other` lacks, and if `both`, the difference of those that it has. */
static size_t compare_members(const char *path, const char *sign, struct slice from, struct slice other, bool both)
{
	struct slice name, value, there;
	size_t differences = 0;
	struct buf inner = BUF_INIT(PATH_BYTES_MAX);
	struct index index;
	index_object(other, &index);
	for (struct json_walk walk = json_walk(from); json_next_member(&walk, &name, &value);) {
		struct slice bare = { name.at + 1, name.len - 2 };
		if (!*path && is_of_page(bare))
			continue;
		buf_reset(&inner);
		buf_printf(&inner, "%s%s%.*s", path, *path ? "." : "", SLICE_ARG(bare));
		if (!find_member(&index, other, name, &there)) {
			printf("%s %s\n", sign, buf_cstr(&inner));
			differences++;
		} else if (both) {
			differences += print_difference(buf_cstr(&inner), value, there);
		}
	}
	free(index.members);
	buf_fini(&inner);
	return differences;
}

static size_t print_difference(const char *path, struct slice running, struct slice file)
{
	if (json_type(running) == JSON_OBJECT && json_type(file) == JSON_OBJECT && !is_whole(path))
		return compare_members(path, "-", running, file, true) +
		       compare_members(path, "+", file, running, false);
	if (slice_equal(running, file))
		return 0;
	printf("~ %s\n", path);
	return 1;
}

int cli_print_against(const struct config *config, const char *url)
{
	const struct cli_client setup = { .server = url, .timeout_us = 60 * CLOCK_US_PER_S };
	struct client_request request = {
		.server = url, .path = "/admin/config", .method = "GET", .timeout_us = setup.timeout_us
	};
	struct client_reply reply = { .body = BUF_INIT(BODY_BYTES_MAX) };
	struct buf file = BUF_INIT(BODY_BYTES_MAX);
	struct json_fault fault;
	int code = cli_fetch(&request, &reply, &setup);
	struct slice running = json_trim(buf_slice(&reply.body));
	config_page(config, &config->generation, &file);
	if (code == EXIT_SUCCESS &&
	    (!json_check(running, DEPTH, NULL, &fault) || json_type(running) != JSON_OBJECT || file.failed)) {
		fputs("jitney: that is not a configuration; is it a jitney's admin listener?\n", stderr);
		code = EXIT_FAILURE;
	}
	if (code == EXIT_SUCCESS && print_difference("", running, buf_slice(&file)) == 0)
		puts("what runs is the same, but for what is shown as ***");
	buf_fini(&file);
	buf_fini(&reply.body);
	return code;
}
