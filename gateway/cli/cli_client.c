/* SPDX-License-Identifier: Apache-2.0 */
/* cli_client.c: what commands that talk to a gateway have in common. */
#include "gateway/cli/cli_client.h"

#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/text_table.h"
#include "upstream/upstream.h"

enum { DEPTH = 512 };

int cli_wrong_usage(const char *command, const char *what)
{
	fprintf(stderr, "jitney %s: %s; jitney %s --help tells more\n", command, what, command);
	return EXIT_USAGE;
}

static const struct option client_options[] = {
	{ "url", required_argument, NULL, 'u' },    { "timeout", required_argument, NULL, 't' },
	{ "header", required_argument, NULL, 'H' }, { "format", required_argument, NULL, 'f' },
	{ "limit", required_argument, NULL, 'n' },  { "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
};

/* "Name: value" in argv's own memory. */
static bool add_header(struct cli_client *setup, char *text)
{
	char *colon = strchr(text, ':');
	if (!colon || colon == text || setup->header_count == CLI_HEADERS_MAX || strpbrk(text, "\r\n"))
		return false;
	*colon++ = '\0';
	setup->headers[setup->header_count++] = (struct upstream_header){ text, colon + strspn(colon, " \t") };
	return true;
}

static bool read_seconds(const char *text, uint64_t *us)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || (*end && strcmp(end, "s") != 0) || !(seconds * (double)CLOCK_US_PER_S >= 1) ||
	    seconds > 86400)
		return false;
	*us = (uint64_t)(seconds * (double)CLOCK_US_PER_S);
	return true;
}

const char *cli_read_interval(const char *text, uint64_t *us)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || *end || !(seconds >= 0.1 && seconds <= 3600))
		return "--interval wants a number of seconds, from 0.1 to 3600";
	*us = (uint64_t)(seconds * (double)CLOCK_US_PER_S);
	return NULL;
}

void cli_begin_options(const struct cli_server *usual, struct cli_client *setup)
{
	const char *server = getenv(usual->variable);
	setlocale(LC_CTYPE, ""); /* which characters a terminal prints */
	*setup = (struct cli_client){ .server = server && *server ? server : usual->url,
				      .timeout_us = usual->timeout_s * CLOCK_US_PER_S };
}

const char *cli_take_option(int option, struct cli_client *setup)
{
	switch (option) {
	case 'u':
		setup->server = optarg;
		return NULL;
	case 't':
		return read_seconds(optarg, &setup->timeout_us) ? NULL : "--timeout wants a number of seconds";
	case 'H':
		return add_header(setup, optarg) ? NULL : "--header wants 'Name: value' in one line, at most 32 times";
	case 'n':
		return json_u64(slice_of(optarg), &setup->limit) && setup->limit ? NULL
										 : "--limit wants a number above zero";
	case 'f':
		setup->format = optarg;
		return NULL;
	case 'v':
		setup->verbose = true;
		return NULL;
	case 'h':
		setup->help = true;
		return NULL;
	default:
		return "an option is not known or lacks its value";
	}
}

const char *cli_read_options(int argc, char **argv, const struct cli_server *usual, const char *letters,
			     struct cli_client *setup)
{
	cli_begin_options(usual, setup);
	for (int option; (option = getopt_long(argc, argv, letters, client_options, NULL)) != -1;) {
		const char *wrong = cli_take_option(option, setup);
		if (wrong || setup->help)
			return wrong;
	}
	return NULL;
}

void cli_put_tool_path(struct buf *path, struct slice tool)
{
	buf_put_text(path, "/v1/tools/");
	for (size_t i = 0; i < tool.len; i++) {
		unsigned char c = (unsigned char)tool.at[i];
		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("-._~", c)))
			buf_put_char(path, (char)c);
		else
			buf_printf(path, "%%%02X", c);
	}
}

/* Print the problem of a reply that is not 200 in one line for people. */
static void print_problem(const struct client_reply *reply)
{
	struct slice body = json_trim(buf_slice(&reply->body)), value;
	struct json_fault fault;
	struct buf detail = BUF_INIT(65536);
	if (body.len && json_check(body, DEPTH, NULL, &fault) && json_type(body) == JSON_OBJECT) {
		if (json_member(body, SLICE("code"), &value) && json_type(value) == JSON_STRING)
			json_unescape(value, &detail);
		buf_put_text(&detail, ": ");
		if (json_member(body, SLICE("detail"), &value) && json_type(value) == JSON_STRING)
			json_unescape(value, &detail);
		if (json_member(body, SLICE("upstream"), &value) && json_member(value, SLICE("error"), &value)) {
			buf_put_text(&detail, "\n");
			buf_put(&detail, value);
		}
	} else {
		buf_put(&detail, body);
	}
	struct buf clean = BUF_INIT(SIZE_MAX / 4); /* others wrote it */
	text_put_clean(&clean, buf_slice(&detail));
	fprintf(stderr, "jitney: %u %s\n", reply->status, buf_cstr(&clean));
	buf_fini(&clean);
	buf_fini(&detail);
}

int cli_fetch(const struct client_request *request, struct client_reply *reply, const struct cli_client *setup)
{
	char error[512];
	if (!upstream_library_init()) {
		fputs("jitney: libcurl cannot be initialised\n", stderr);
		return EXIT_FAILURE;
	}
	bool ok = client_fetch(request, reply, error, sizeof error);
	upstream_library_fini();
	if (!ok) {
		fprintf(stderr, "jitney: %s\n", error);
		return EXIT_FAILURE;
	}
	for (size_t i = 0; setup->verbose && i < reply->wanted_count; i++)
		if (reply->wanted[i].value[0])
			fprintf(stderr, "%s: %s\n", reply->wanted[i].name, reply->wanted[i].value);
	if (reply->status == 200)
		return EXIT_SUCCESS;
	print_problem(reply);
	return EXIT_FAILURE;
}
