/* SPDX-License-Identifier: Apache-2.0 */
/* cli.c: serve, check, import, call, tools: options into actions. */
#include "gateway/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/cli/cli_client.h"
#include "gateway/cli/text_table.h"
#include "gateway/config/config.h"
#include "gateway/cli/import.h"
#include "gateway/server/serve.h"
#include "upstream/http/client.h"

enum { IMPORT_BYTES_MAX = 4 << 20, BODY_BYTES_MAX = 256 << 20, DEPTH = 512 };

static bool read_stream(FILE *file, struct buf *text)
{
	char block[16384];
	for (size_t got; !text->failed && (got = fread(block, 1, sizeof block, file)) > 0;) /* it may be endless */
		buf_put(text, (struct slice){ block, got });
	return !ferror(file) && !text->failed;
}

/* ---------------------------------------------------------------- serve, check */

static const char serve_help[] =
	"usage: jitney serve [-c FILE] [--takeover[=SOCKET]]\n\n"
	"Runs the gateway until SIGTERM or SIGINT, which let calls in flight finish (drain_timeout).\n"
	"A second signal ends it at once. SIGHUP reads the configuration anew, SIGUSR1 opens the log file anew.\n\n"
	"  -c, --config FILE        the configuration; default /etc/jitney/jitney.yaml\n"
	"      --takeover[=SOCKET]  take the listeners over from the gateway that runs with this configuration, which then\n"
	"                           drains and ends; it goes on if this one cannot start. SOCKET: where it is asked,\n"
	"                           if the configuration now says something else (takeover.socket, or listen)\n";

static const char check_help[] = "usage: jitney check [-c FILE] [--against URL]\n"
				 "       jitney check --schema\n\n"
				 "Reads a configuration and prints every mistake as file:line:column: message.\n\n"
				 "  -c, --config FILE  the configuration; default /etc/jitney/jitney.yaml\n"
				 "      --against URL  print what differs in the gateway whose admin listener this is\n"
				 "      --schema       print the JSON Schema of the file, for editors\n";

static const struct option config_options[] = {
	{ "config", required_argument, NULL, 'c' },   { "schema", no_argument, NULL, 's' },
	{ "takeover", optional_argument, NULL, 'T' }, { "against", required_argument, NULL, 'a' },
	{ "help", no_argument, NULL, 'h' },           { NULL, 0, NULL, 0 },
};

/* What serve and check are told. */
struct config_words {
	const char *path;
	const char *against; /* NULL: nothing */
	const char *door;    /* of --takeover; NULL: not given */
	bool schema, takeover, help;
};

/* NULL, or what is wrong. */
static const char *read_config_words(int argc, char **argv, struct config_words *words)
{
	*words = (struct config_words){ .path = CLI_DEFAULT_CONFIG };
	for (int option; (option = getopt_long(argc, argv, "c:h", config_options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			words->path = optarg;
			break;
		case 's':
			words->schema = true;
			break;
		case 'a':
			words->against = optarg;
			break;
		case 'T':
			words->takeover = true;
			words->door = optarg;
			break;
		case 'h':
			words->help = true;
			return NULL;
		default:
			return "an option is not known or lacks its value";
		}
	}
	return optind < argc ? "there are words after the options" : NULL;
}

int cli_serve(int argc, char **argv)
{
	struct config_words words;
	const char *wrong = read_config_words(argc, argv, &words);
	if (words.schema || words.against)
		wrong = "an option is not known or lacks its value";
	if (wrong)
		return cli_wrong_usage("serve", wrong);
	if (words.help) {
		fputs(serve_help, stdout);
		return EXIT_SUCCESS;
	}
	return serve(&(struct serve_options){ words.path, words.takeover, words.door });
}

static int print_schema(void)
{
	struct buf text = BUF_INIT(BODY_BYTES_MAX);
	config_schema(&text);
	fputs(buf_cstr(&text), stdout);
	putchar('\n');
	bool ok = !text.failed;
	buf_fini(&text);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const char *choose_ending(size_t count)
{
	return count == 1 ? "" : "s";
}

/* What the file leaves to the gateway. */
static void print_owners(const struct generation *generation)
{
	struct buf line = BUF_INIT(1 << 10);
	for (size_t i = 0; i < generation->upstream_count; i++) {
		buf_reset(&line);
		upstream_put_owners(&line, &generation->upstreams[i]);
		if (line.len)
			printf("%s\n", buf_cstr(&line));
	}
	buf_fini(&line);
}

static void print_fine(const char *path, const struct config *config)
{
	size_t tools = config->generation.tool_count, upstreams = config->generation.upstream_count;
	printf("%s: valid: %zu tool%s, %zu upstream%s, %u worker%s%s\n", path, tools, choose_ending(tools), upstreams,
	       choose_ending(upstreams), config->workers, choose_ending(config->workers),
	       upstreams ? "" : "; without upstreams there is nothing to call");
	print_owners(&config->generation);
}

int cli_check(int argc, char **argv)
{
	struct config_words words;
	const char *wrong = read_config_words(argc, argv, &words);
	if (words.takeover)
		wrong = "an option is not known or lacks its value";
	if (wrong)
		return cli_wrong_usage("check", wrong);
	if (words.help) {
		fputs(check_help, stdout);
		return EXIT_SUCCESS;
	}
	if (words.schema)
		return print_schema();
	struct buf errors = BUF_INIT(1 << 20);
	struct config *config = config_load(words.path, &errors);
	bool ok = config && config_programs(config, &errors);
	if (ok)
		print_fine(words.path, config);
	else
		fputs(buf_cstr(&errors), stderr);
	if (ok && config->warnings)
		fputs(config->warnings, stderr);
	int code = ok ? EXIT_SUCCESS : EXIT_USAGE;
	if (ok && words.against)
		code = cli_print_against(config, words.against);
	buf_fini(&errors);
	config_free(config);
	return code;
}

/* ---------------------------------------------------------------- import */

static const char import_help[] =
	"usage: jitney import FILE\n\n"
	"Reads the list of servers of an MCP client (claude_desktop_config.json, .mcp.json, mcp.json, settings.json; - "
	"is\n"
	"standard input) and prints a configuration with the same servers as upstreams. Secrets are not printed: they\n"
	"become ${NAME}, to be set in the environment.\n";

int cli_import(int argc, char **argv)
{
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(import_help, stdout);
		return EXIT_SUCCESS;
	}
	if (argc != 2)
		return cli_wrong_usage("import", "it takes one file");
	bool standard = strcmp(argv[1], "-") == 0;
	const char *path = standard ? "standard input" : argv[1];
	char error[256];
	struct buf text = BUF_INIT(IMPORT_BYTES_MAX), yaml = BUF_INIT(4 * IMPORT_BYTES_MAX);
	FILE *file = standard ? stdin : fopen(path, "re");
	bool ok = file && read_stream(file, &text);
	if (!ok)
		snprintf(error, sizeof error, "%s", file ? "cannot be read, or is too large" : strerror(errno));
	else
		ok = import_convert(buf_slice(&text), path, &yaml, error, sizeof error);
	if (file && !standard)
		fclose(file);
	if (ok)
		fputs(buf_cstr(&yaml), stdout);
	else
		fprintf(stderr, "%s: %s\n", path, error);
	buf_fini(&yaml);
	buf_fini(&text);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---------------------------------------------------------------- call, tools */

static const struct cli_server data_listener = { "JITNEY_URL", "http://127.0.0.1:8080", 60 };

static const char call_help[] =
	"usage: jitney call TOOL [ARGUMENTS] [OPTIONS]\n\n"
	"Calls a tool through a running gateway and prints its result. ARGUMENTS is a JSON object ({} if left out);\n"
	"- reads it from standard input.\n\n"
	"  -u, --url URL          the gateway: http://HOST:PORT or unix:/PATH; default $JITNEY_URL or "
	"http://127.0.0.1:8080\n"
	"  -t, --timeout SECONDS  give up after this long; default 60\n"
	"  -H, --header 'N: V'    send this header too (may come again)\n"
	"  -v, --verbose          print the gateway's headers to standard error\n";

static const char tools_help[] = "usage: jitney tools [OPTIONS]\n\n"
				 "Lists the tools of a running gateway.\n\n"
				 "  -u, --url URL          as for jitney call\n"
				 "  -f, --format FORMAT    jitney, mcp, openai, openai-responses, anthropic or gemini: "
				 "print definitions as JSON\n"
				 "  -t, --timeout SECONDS  give up after this long; default 60\n"
				 "  -H, --header 'N: V'    send this header too (may come again)\n";

static bool print_bytes(struct slice bytes)
{
	bool ok = fwrite(bytes.at, 1, bytes.len, stdout) == bytes.len;
	if (bytes.len == 0 || bytes.at[bytes.len - 1] != '\n')
		ok = putchar('\n') != EOF && ok;
	return fflush(stdout) == 0 && ok;
}

int cli_call(int argc, char **argv)
{
	struct cli_client setup;
	const char *wrong = cli_read_options(argc, argv, &data_listener, "u:t:H:vh", &setup);
	if (setup.help) {
		fputs(call_help, stdout);
		return EXIT_SUCCESS;
	}
	if (!wrong && (argc - optind < 1 || argc - optind > 2))
		wrong = "it takes a tool's name and, if need be, its arguments as one JSON object";
	if (wrong)
		return cli_wrong_usage("call", wrong);
	struct buf arguments = BUF_INIT(BODY_BYTES_MAX), path = BUF_INIT(65536);
	const char *given = argc - optind > 1 ? argv[optind + 1] : "{}";
	if (strcmp(given, "-") != 0)
		buf_put_text(&arguments, given);
	else if (!read_stream(stdin, &arguments))
		return cli_wrong_usage("call", "standard input cannot be read");
	cli_put_tool_path(&path, slice_of(argv[optind]));
	setup.headers[setup.header_count++] = (struct upstream_header){ "Content-Type", "application/json" };
	struct client_wanted wanted[] = { { .name = "X-Request-Id" }, { .name = "Cache-Status" },
					  { .name = "Age" },          { .name = "Server-Timing" },
					  { .name = "X-Attempts" },   { .name = "X-Batch-Size" } };
	struct client_request request = {
		.server = setup.server,
		.path = buf_cstr(&path),
		.method = "POST",
		.headers = setup.headers,
		.header_count = setup.header_count,
		.has_body = true,
		.body = buf_slice(&arguments),
		.timeout_us = setup.timeout_us,
	};
	struct client_reply reply = { .body = BUF_INIT(BODY_BYTES_MAX),
				      .wanted = wanted,
				      .wanted_count = countof(wanted) };
	int code = cli_fetch(&request, &reply, &setup);
	if (code == EXIT_SUCCESS && !print_bytes(buf_slice(&reply.body)))
		code = EXIT_FAILURE;
	buf_fini(&reply.body);
	buf_fini(&arguments);
	buf_fini(&path);
	return code;
}

/* The first line of a member, cleaned for a terminal: others wrote it. */
static const char *first_line(struct slice object, const char *name, struct buf *raw, struct buf *line)
{
	struct slice value, text;
	buf_reset(raw);
	if (json_member(object, slice_of(name), &value) && json_type(value) == JSON_STRING)
		json_unescape(value, raw);
	text = buf_slice(raw);
	const char *end = text.len ? memchr(text.at, '\n', text.len) : NULL;
	buf_reset(line);
	text_put_clean(line, (struct slice){ text.at, end ? (size_t)(end - text.at) : text.len });
	return buf_cstr(line);
}

/* Two columns: name, and what it is for. */
static bool print_table(struct slice body)
{
	struct slice tools, tool;
	struct json_fault fault;
	struct buf raw = BUF_INIT(65536), name = BUF_INIT(65536), text = BUF_INIT(65536);
	int width = 4;
	if (!json_check(body, DEPTH, NULL, &fault) || json_type(json_trim(body)) != JSON_OBJECT ||
	    !json_member(body, SLICE("tools"), &tools) || json_type(tools) != JSON_ARRAY) {
		fputs("jitney: that is not a list of tools; is it a jitney?\n", stderr);
		return false;
	}
	for (struct json_walk walk = json_walk(tools); json_next_element(&walk, &tool);) {
		int wide = text_width(first_line(tool, "name", &raw, &name));
		width = wide > width ? wide : width;
	}
	for (struct json_walk walk = json_walk(tools); json_next_element(&walk, &tool);) {
		int spare = width - text_width(first_line(tool, "name", &raw, &name));
		printf("%s%*s  %s\n", buf_cstr(&name), spare, "", first_line(tool, "description", &raw, &text));
	}
	buf_fini(&raw);
	buf_fini(&name);
	buf_fini(&text);
	return fflush(stdout) == 0;
}

int cli_tools(int argc, char **argv)
{
	struct cli_client setup;
	const char *wrong = cli_read_options(argc, argv, &data_listener, "u:t:H:f:h", &setup);
	if (setup.help) {
		fputs(tools_help, stdout);
		return EXIT_SUCCESS;
	}
	if (!wrong && optind < argc)
		wrong = "there are words after the options";
	if (wrong)
		return cli_wrong_usage("tools", wrong);
	struct buf path = BUF_INIT(65536);
	buf_printf(&path, "/v1/tools%s%s", setup.format ? "?format=" : "", setup.format ? setup.format : "");
	struct client_request request = {
		.server = setup.server,
		.path = buf_cstr(&path),
		.method = "GET",
		.headers = setup.headers,
		.header_count = setup.header_count,
		.timeout_us = setup.timeout_us,
	};
	struct client_reply reply = { .body = BUF_INIT(BODY_BYTES_MAX) };
	int code = cli_fetch(&request, &reply, &setup);
	if (code == EXIT_SUCCESS &&
	    !(setup.format ? print_bytes(buf_slice(&reply.body)) : print_table(buf_slice(&reply.body))))
		code = EXIT_FAILURE;
	buf_fini(&reply.body);
	buf_fini(&path);
	return code;
}
