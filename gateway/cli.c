/* cli.c: serve, check, import, call, tools: options into actions. */
#include "gateway/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/config.h"
#include "gateway/import.h"
#include "gateway/serve.h"
#include "upstream/client.h"
#include "upstream/upstream.h"

enum { IMPORT_BYTES_MAX = 4 << 20, BODY_BYTES_MAX = 256 << 20, HEADERS_MAX = 32, DEPTH = 512 };

static const char default_config[] = "/etc/jitney/jitney.yaml";
static const char default_server[] = "http://127.0.0.1:8080";

static int wrong_usage(const char *command, const char *what)
{
	fprintf(stderr, "jitney %s: %s; jitney %s --help tells more\n", command, what, command);
	return EXIT_USAGE;
}

/* ---------------------------------------------------------------- serve, check */

static const char serve_help[] =
	"usage: jitney serve [-c FILE]\n\n"
	"Runs the gateway until SIGTERM or SIGINT, which let calls in flight finish (drain_timeout).\n"
	"A second signal ends it at once. SIGUSR1 opens the log file anew.\n\n"
	"  -c, --config FILE  the configuration; default /etc/jitney/jitney.yaml\n";

static const char check_help[] = "usage: jitney check [-c FILE]\n"
				 "       jitney check --schema\n\n"
				 "Reads a configuration and prints every mistake as file:line:column: message.\n\n"
				 "  -c, --config FILE  the configuration; default /etc/jitney/jitney.yaml\n"
				 "      --schema       print the JSON Schema of the file, for editors\n";

static const struct option config_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "schema", no_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

int cli_serve(int argc, char **argv)
{
	const char *path = default_config;
	for (int option; (option = getopt_long(argc, argv, "c:h", config_options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'h':
			fputs(serve_help, stdout);
			return EXIT_SUCCESS;
		default:
			return wrong_usage("serve", "an option is not known or lacks its value");
		}
	}
	if (optind < argc)
		return wrong_usage("serve", "there are words after the options");
	return serve(path);
}

static int print_schema(void)
{
	struct buf text = BUF_INIT(BODY_BYTES_MAX);
	config_schema(&text);
	fputs(buf_cstr(&text), stdout);
	putchar('\n');
	bool fine = !text.failed;
	buf_fini(&text);
	return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}

int cli_check(int argc, char **argv)
{
	const char *path = default_config;
	for (int option; (option = getopt_long(argc, argv, "c:h", config_options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 's':
			return print_schema();
		case 'h':
			fputs(check_help, stdout);
			return EXIT_SUCCESS;
		default:
			return wrong_usage("check", "an option is not known or lacks its value");
		}
	}
	if (optind < argc)
		return wrong_usage("check", "there are words after the options");
	struct buf errors = BUF_INIT(1 << 20);
	struct config *config = config_load(path, &errors);
	bool fine = config && config_programs(config, &errors);
	if (fine)
		printf("%s: fine: %zu tools, %zu upstreams, %u workers\n", path, config->tool_count,
		       config->upstream_count, config->workers);
	else
		fputs(buf_cstr(&errors), stderr);
	buf_fini(&errors);
	config_free(config);
	return fine ? EXIT_SUCCESS : EXIT_USAGE;
}

/* ---------------------------------------------------------------- import */

static const char import_help[] =
	"usage: jitney import FILE\n\n"
	"Reads the list of servers of an MCP client (claude_desktop_config.json, .mcp.json, mcp.json, settings.json; - "
	"is\n"
	"standard input) and prints a configuration with the same servers as upstreams. Secrets are not printed: they\n"
	"become ${NAME}, to be set in the environment.\n";

static bool read_stream(FILE *file, struct buf *text)
{
	char block[16384];
	for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;)
		buf_put(text, (struct slice){ block, got });
	return !ferror(file) && !text->failed;
}

int cli_import(int argc, char **argv)
{
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(import_help, stdout);
		return EXIT_SUCCESS;
	}
	if (argc != 2)
		return wrong_usage("import", "it takes one file");
	bool standard = strcmp(argv[1], "-") == 0;
	const char *path = standard ? "standard input" : argv[1];
	char error[256];
	struct buf text = BUF_INIT(IMPORT_BYTES_MAX), yaml = BUF_INIT(4 * IMPORT_BYTES_MAX);
	FILE *file = standard ? stdin : fopen(path, "re");
	bool fine = file && read_stream(file, &text);
	if (!fine)
		snprintf(error, sizeof error, "%s", file ? "cannot be read, or is too large" : strerror(errno));
	else
		fine = import_convert(buf_slice(&text), path, &yaml, error, sizeof error);
	if (file && !standard)
		fclose(file);
	if (fine)
		fputs(buf_cstr(&yaml), stdout);
	else
		fprintf(stderr, "%s: %s\n", path, error);
	buf_fini(&yaml);
	buf_fini(&text);
	return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---------------------------------------------------------------- call, tools */

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

static const struct option client_options[] = {
	{ "url", required_argument, NULL, 'u' },
	{ "timeout", required_argument, NULL, 't' },
	{ "header", required_argument, NULL, 'H' },
	{ "format", required_argument, NULL, 'f' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* What call and tools have in common. */
struct client_setup {
	const char *server;
	const char *format;
	uint64_t timeout_us;
	bool verbose, help;
	struct upstream_header headers[HEADERS_MAX + 1]; /* one more for Content-Type */
	size_t header_count;
};

/* "Name: value" in argv's own memory. */
static bool add_header(struct client_setup *setup, char *text)
{
	char *colon = strchr(text, ':');
	if (!colon || colon == text || setup->header_count == HEADERS_MAX)
		return false;
	*colon++ = '\0';
	setup->headers[setup->header_count++] = (struct upstream_header){ text, colon + strspn(colon, " \t") };
	return true;
}

static bool read_seconds(const char *text, uint64_t *us)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || (*end && strcmp(end, "s") != 0) || !(seconds > 0) || seconds > 86400)
		return false;
	*us = (uint64_t)(seconds * (double)CLOCK_US_PER_S);
	return true;
}

/* NULL, or what is wrong. */
static const char *read_client_options(int argc, char **argv, const char *letters, struct client_setup *setup)
{
	const char *server = getenv("JITNEY_URL");
	*setup = (struct client_setup){ .server = server && *server ? server : default_server,
					.timeout_us = 60 * CLOCK_US_PER_S };
	for (int option; (option = getopt_long(argc, argv, letters, client_options, NULL)) != -1;) {
		switch (option) {
		case 'u':
			setup->server = optarg;
			break;
		case 't':
			if (!read_seconds(optarg, &setup->timeout_us))
				return "--timeout wants a number of seconds";
			break;
		case 'H':
			if (!add_header(setup, optarg))
				return "--header wants 'Name: value', at most 32 times";
			break;
		case 'f':
			setup->format = optarg;
			break;
		case 'v':
			setup->verbose = true;
			break;
		case 'h':
			setup->help = true;
			return NULL;
		default:
			return "an option is not known or lacks its value";
		}
	}
	return NULL;
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
	fprintf(stderr, "jitney: %u %s\n", reply->status, buf_cstr(&detail));
	buf_fini(&detail);
}

/* Fetch, and print what came if it is 200 and `print` says so. Returns the exit code. */
static int fetch(const struct client_request *request, struct client_reply *reply, const struct client_setup *setup)
{
	char error[512];
	if (!upstream_library_init()) {
		fputs("jitney: libcurl cannot be initialised\n", stderr);
		return EXIT_FAILURE;
	}
	bool fine = client_fetch(request, reply, error, sizeof error);
	upstream_library_fini();
	if (!fine) {
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

static bool print_bytes(struct slice bytes)
{
	bool fine = fwrite(bytes.at, 1, bytes.len, stdout) == bytes.len;
	if (bytes.len == 0 || bytes.at[bytes.len - 1] != '\n')
		fine = putchar('\n') != EOF && fine;
	return fflush(stdout) == 0 && fine;
}

static bool read_stdin(struct buf *text)
{
	char piece[65536];
	ssize_t got;
	while ((got = read(STDIN_FILENO, piece, sizeof piece)) > 0)
		buf_put(text, (struct slice){ piece, (size_t)got });
	return got == 0 && !text->failed;
}

/* The path of a tool, whatever its name holds: percent-encoded. */
static void put_tool_path(struct buf *path, const char *tool)
{
	buf_put_text(path, "/v1/tools/");
	for (; *tool; tool++) {
		unsigned char c = (unsigned char)*tool;
		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || strchr("-._~", c))
			buf_put_char(path, (char)c);
		else
			buf_printf(path, "%%%02X", c);
	}
}

int cli_call(int argc, char **argv)
{
	struct client_setup setup;
	const char *wrong = read_client_options(argc, argv, "u:t:H:vh", &setup);
	if (setup.help) {
		fputs(call_help, stdout);
		return EXIT_SUCCESS;
	}
	if (!wrong && (argc - optind < 1 || argc - optind > 2))
		wrong = "it takes a tool's name and, if need be, its arguments as one JSON object";
	if (wrong)
		return wrong_usage("call", wrong);
	struct buf arguments = BUF_INIT(BODY_BYTES_MAX), path = BUF_INIT(65536);
	const char *given = argc - optind > 1 ? argv[optind + 1] : "{}";
	if (strcmp(given, "-") != 0)
		buf_put_text(&arguments, given);
	else if (!read_stdin(&arguments))
		return wrong_usage("call", "standard input cannot be read");
	put_tool_path(&path, argv[optind]);
	setup.headers[setup.header_count++] = (struct upstream_header){ "Content-Type", "application/json" };
	struct client_wanted wanted[] = { { .name = "X-Request-Id" },
					  { .name = "Cache-Status" },
					  { .name = "Age" },
					  { .name = "Server-Timing" },
					  { .name = "X-Batch-Size" } };
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
	int code = fetch(&request, &reply, &setup);
	if (code == EXIT_SUCCESS && !print_bytes(buf_slice(&reply.body)))
		code = EXIT_FAILURE;
	buf_fini(&reply.body);
	buf_fini(&arguments);
	buf_fini(&path);
	return code;
}

static void unescape_member(struct slice object, struct slice name, struct buf *out)
{
	struct slice value;
	buf_reset(out);
	if (json_member(object, name, &value) && json_type(value) == JSON_STRING)
		json_unescape(value, out);
}

/* Two columns: name, and the first line of what it is for. */
static bool print_table(struct slice body)
{
	struct slice tools, tool;
	struct json_fault fault;
	struct buf name = BUF_INIT(65536), text = BUF_INIT(65536);
	size_t width = 4;
	if (!json_check(body, DEPTH, NULL, &fault) || json_type(json_trim(body)) != JSON_OBJECT ||
	    !json_member(body, SLICE("tools"), &tools) || json_type(tools) != JSON_ARRAY) {
		fputs("jitney: that is not a list of tools; is it a jitney?\n", stderr);
		return false;
	}
	for (struct json_walk walk = json_walk(tools); json_next_element(&walk, &tool);) {
		unescape_member(tool, SLICE("name"), &name);
		width = name.len > width ? name.len : width;
	}
	for (struct json_walk walk = json_walk(tools); json_next_element(&walk, &tool);) {
		unescape_member(tool, SLICE("name"), &name);
		unescape_member(tool, SLICE("description"), &text);
		printf("%-*s  %.*s\n", (int)width, buf_cstr(&name), (int)strcspn(buf_cstr(&text), "\n"),
		       buf_cstr(&text));
	}
	buf_fini(&name);
	buf_fini(&text);
	return fflush(stdout) == 0;
}

int cli_tools(int argc, char **argv)
{
	struct client_setup setup;
	const char *wrong = read_client_options(argc, argv, "u:t:H:f:h", &setup);
	if (setup.help) {
		fputs(tools_help, stdout);
		return EXIT_SUCCESS;
	}
	if (!wrong && optind < argc)
		wrong = "there are words after the options";
	if (wrong)
		return wrong_usage("tools", wrong);
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
	int code = fetch(&request, &reply, &setup);
	if (code == EXIT_SUCCESS &&
	    !(setup.format ? print_bytes(buf_slice(&reply.body)) : print_table(buf_slice(&reply.body))))
		code = EXIT_FAILURE;
	buf_fini(&reply.body);
	buf_fini(&path);
	return code;
}
