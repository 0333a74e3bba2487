/* SPDX-License-Identifier: Apache-2.0 */
/* cli_cache.c: jitney cache: stats, export, import, count, purge, over a running gateway's admin listener. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "cache/dump.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/cli_client.h"
#include "gateway/cli/gateway_stats.h"
#include "gateway/cli/text_table.h"

enum { PAGE_BYTES_MAX = 16 << 20, PIECE_BYTES = 256 * 1024, LINE_BYTES_MAX = 192 << 20, DEPTH = 64 };

static const struct cli_server admin_listener = { "JITNEY_ADMIN_URL", "http://127.0.0.1:8081", 600 };

static const char cache_help[] =
	"usage: jitney cache stats [OPTIONS]\n"
	"       jitney cache export [FILE] [OPTIONS]\n"
	"       jitney cache import FILE [OPTIONS]\n"
	"       jitney cache count|purge all | [tool=NAME] [prefix=TEXT] [tag=TAG] [key=DIGEST] [OPTIONS]\n\n"
	"stats shows what each tier holds. export writes memory's answers to FILE (- or none: standard output), the\n"
	"most wanted first; import gives such a file (-: standard input) to a gateway, which takes what it does not\n"
	"know and has room for. purge drops what matches all that is given; count only says how much that is.\n\n"
	"  -u, --url URL          the admin listener: http://HOST:PORT or unix:/PATH; default $JITNEY_ADMIN_URL or\n"
	"                         http://127.0.0.1:8081\n"
	"  -n, --limit N          export: so many answers at most\n"
	"  -t, --timeout SECONDS  give up after this long; default 600\n"
	"  -H, --header 'N: V'    send this header too (may come again)\n";

/* One request without a body. */
static int ask_gateway(const struct cli_client *setup, const char *method, const char *path, struct client_reply *reply)
{
	const struct client_request request = {
		.server = setup->server,
		.path = path,
		.method = method,
		.headers = setup->headers,
		.header_count = setup->header_count,
		.timeout_us = setup->timeout_us,
	};
	return cli_fetch(&request, reply, setup);
}

static bool parse_reply(const struct client_reply *reply)
{
	struct json_fault fault;
	struct slice body = json_trim(buf_slice(&reply->body));
	if (json_check(body, DEPTH, NULL, &fault) && json_type(body) == JSON_OBJECT)
		return true;
	fputs("jitney: that is no answer of an admin listener; is it a jitney?\n", stderr);
	return false;
}

static uint64_t number_of(struct slice object, struct slice name)
{
	struct slice value;
	uint64_t number = 0;
	return json_member(object, name, &value) && json_u64(value, &number) ? number : 0;
}

/* ---------------------------------------------------------------- stats */

static const struct text_column columns[] = {
	{ "TIER", true, 0 },   { "STATE", true, 0 },   { "ANSWERS", false, 0 },
	{ "BYTES", false, 0 }, { "OF", false, 0 },     { "HITS", false, 0 },
	{ "STALE", false, 0 }, { "MISSES", false, 0 }, { "ERRORS", false, 0 },
};

static void put_count(struct text_cell *cell, struct slice tier, const char *name)
{
	double count;
	if (stats_number(tier, name, &count))
		snprintf(cell->text, sizeof cell->text, "%.0f", count);
	else
		text_cell_none(cell);
}

static void put_bytes(struct text_cell *cell, struct slice tier, const char *name)
{
	double bytes;
	if (stats_number(tier, "capacity_bytes", &bytes)) /* what has none is not ours to measure */
		text_cell_bytes(cell, stats_count(tier, name));
	else
		text_cell_none(cell);
}

static void add_tier(struct text_table *table, const char *name, struct slice tier)
{
	static const char *const counts[] = { "hit", "stale", "miss", "error" };
	struct buf status = BUF_INIT(PAGE_BYTES_MAX);
	struct text_row *row = text_table_add(table);
	if (!row)
		return;
	stats_text(tier, "status", &status);
	text_cell_put(&row->cells[0], slice_of(name));
	text_cell_put(&row->cells[1], status.len ? buf_slice(&status) : SLICE("up"));
	put_count(&row->cells[2], tier, "entries");
	put_bytes(&row->cells[3], tier, "bytes");
	put_bytes(&row->cells[4], tier, "capacity_bytes");
	for (size_t i = 0; i < countof(counts); i++)
		put_count(&row->cells[5 + i], tier, counts[i]);
	buf_fini(&status);
}

static int run_stats(const struct cli_client *setup)
{
	static const char *const tiers[] = { "memory", "disk", "redis" };
	struct client_reply reply = { .body = BUF_INIT(PAGE_BYTES_MAX) };
	struct text_table table = { 0 };
	struct buf out = BUF_INIT(PAGE_BYTES_MAX);
	struct slice tier;
	int code = ask_gateway(setup, "GET", "/admin/cache", &reply);
	if (code == EXIT_SUCCESS && !parse_reply(&reply))
		code = EXIT_FAILURE;
	text_table_begin(&table, columns, countof(columns));
	for (size_t i = 0; code == EXIT_SUCCESS && i < countof(tiers); i++)
		if ((tier = stats_member(json_trim(buf_slice(&reply.body)), tiers[i])).len)
			add_tier(&table, tiers[i], tier);
	if (code == EXIT_SUCCESS) {
		text_table_put(&table, 0, &out);
		fputs(buf_cstr(&out), stdout);
	}
	text_table_fini(&table);
	buf_fini(&out);
	buf_fini(&reply.body);
	return fflush(stdout) == 0 ? code : EXIT_FAILURE;
}

/* ---------------------------------------------------------------- export */

struct export_file {
	FILE *file;
	size_t lines, bytes;
	char last[64]; /* the last bytes that came: the end line is there, if all came */
	size_t last_len;
	bool report;
	uint64_t reported_us;
};

static void report_exported(const struct export_file *out)
{
	fprintf(stderr, "\r%zu answers, %.1f MiB ", out->lines > 1 ? out->lines - 1 : 0,
		(double)out->bytes / (1 << 20));
}

static void keep_last(struct export_file *out, struct slice piece)
{
	for (size_t i = piece.len > sizeof out->last ? piece.len - sizeof out->last : 0; i < piece.len; i++) {
		if (out->last_len == sizeof out->last)
			memmove(out->last, out->last + 1, --out->last_len);
		out->last[out->last_len++] = piece.at[i];
	}
}

static bool write_piece(void *context, struct slice piece)
{
	struct export_file *out = context;
	out->bytes += piece.len;
	for (size_t i = 0; i < piece.len; i++)
		if (piece.at[i] == '\n')
			out->lines++;
	keep_last(out, piece);
	uint64_t now_us = clock_now_us();
	if (out->report && now_us - out->reported_us > 100 * CLOCK_US_PER_MS) {
		out->reported_us = now_us;
		report_exported(out);
	}
	return fwrite(piece.at, 1, piece.len, out->file) == piece.len;
}

/* Whether the end line has come; *count: what it says. */
static bool has_end(const struct export_file *out, size_t *count)
{
	size_t len = out->last_len;
	if (!len || out->last[len - 1] != '\n')
		return false;
	size_t start = --len;
	while (start && out->last[start - 1] != '\n')
		start--;
	return dump_is_end((struct slice){ out->last + start, len - start }, count);
}

static int export_to(const struct cli_client *setup, const char *path, struct export_file *out)
{
	char target[64] = "/admin/cache/export";
	size_t count = 0;
	if (setup->limit)
		snprintf(target, sizeof target, "/admin/cache/export?limit=%llu", (unsigned long long)setup->limit);
	struct client_reply reply = { .body = BUF_INIT(PAGE_BYTES_MAX), .sink = write_piece, .sink_context = out };
	int code = ask_gateway(setup, "GET", target, &reply);
	buf_fini(&reply.body);
	if (out->report)
		fputs("\r\033[K", stderr);
	if (code == EXIT_SUCCESS && !has_end(out, &count)) {
		fputs("jitney: the export broke off: its end is missing\n", stderr);
		code = EXIT_FAILURE;
	}
	if (fflush(out->file) != 0) {
		fprintf(stderr, "jitney: %s: %s\n", path, strerror(errno));
		code = EXIT_FAILURE;
	}
	if (code == EXIT_SUCCESS)
		fprintf(stderr, "%zu answers, %.1f MiB\n", count, (double)out->bytes / (1 << 20));
	return code;
}

static int run_export(const struct cli_client *setup, const char *path)
{
	bool standard = !path || strcmp(path, "-") == 0;
	struct export_file out = { .file = standard ? stdout : fopen(path, "we"), .report = isatty(STDERR_FILENO) };
	if (!out.file) {
		fprintf(stderr, "jitney: %s: %s\n", path, strerror(errno));
		return EXIT_FAILURE;
	}
	int code = export_to(setup, standard ? "standard output" : path, &out);
	if (!standard && fclose(out.file) != 0)
		code = EXIT_FAILURE;
	return code;
}

/* ---------------------------------------------------------------- import */

struct import_file {
	const struct cli_client *setup;
	FILE *file;
	char *line; /* getline's */
	size_t room;
	off_t bytes, all; /* read so far; 0: not known */
	struct buf piece; /* the head and some lines */
	size_t head_len;
	uint64_t imported, known, no_room, expired, damaged;
	bool ended, report;
};

static bool read_line(struct import_file *in, struct slice *line)
{
	ssize_t len = getline(&in->line, &in->room, in->file);
	if (len < 0)
		return false;
	in->bytes += len;
	while (len > 0 && (in->line[len - 1] == '\n' || in->line[len - 1] == '\r'))
		len--;
	*line = (struct slice){ in->line, (size_t)len };
	return true;
}

static void add_up(struct import_file *in, struct slice body)
{
	in->imported += number_of(body, SLICE("imported"));
	in->known += number_of(body, SLICE("known"));
	in->no_room += number_of(body, SLICE("no_room"));
	in->expired += number_of(body, SLICE("expired"));
	in->damaged += number_of(body, SLICE("damaged"));
}

/* Send what has been gathered; the next piece begins with the head again. */
static int send_piece(struct import_file *in)
{
	const struct client_request request = {
		.server = in->setup->server,
		.path = "/admin/cache/import",
		.method = "POST",
		.headers = in->setup->headers,
		.header_count = in->setup->header_count,
		.has_body = true,
		.body = buf_slice(&in->piece),
		.timeout_us = in->setup->timeout_us,
	};
	struct client_reply reply = { .body = BUF_INIT(PAGE_BYTES_MAX) };
	int code = cli_fetch(&request, &reply, in->setup);
	if (code == EXIT_SUCCESS && parse_reply(&reply))
		add_up(in, json_trim(buf_slice(&reply.body)));
	else
		code = EXIT_FAILURE;
	buf_fini(&reply.body);
	in->piece.len = in->head_len;
	if (in->report && in->all)
		fprintf(stderr, "\r%llu answers, %d%% ", (unsigned long long)in->imported,
			(int)(100 * in->bytes / in->all));
	return code;
}

static int import_lines(struct import_file *in)
{
	struct slice line;
	size_t count = 0;
	int code = EXIT_SUCCESS;
	while (code == EXIT_SUCCESS && read_line(in, &line)) {
		in->ended = in->ended || dump_is_end(line, &count);
		if (in->piece.len > in->head_len && in->piece.len + line.len > PIECE_BYTES)
			code = send_piece(in);
		buf_put(&in->piece, line);
		buf_put_char(&in->piece, '\n');
	}
	if (in->piece.failed) {
		fputs("jitney: a line is too long for memory\n", stderr);
		return EXIT_FAILURE;
	}
	return code == EXIT_SUCCESS && in->piece.len > in->head_len ? send_piece(in) : code;
}

static void report_import(const struct import_file *in)
{
	printf("imported  %llu\nknown     %llu\nno room   %llu\nexpired   %llu\ndamaged   %llu\n",
	       (unsigned long long)in->imported, (unsigned long long)in->known, (unsigned long long)in->no_room,
	       (unsigned long long)in->expired, (unsigned long long)in->damaged);
	if (!in->ended)
		fputs("jitney: the file ends early: what was in it has been imported\n", stderr);
}

static int import_from(struct import_file *in, const char *path)
{
	struct slice head;
	char why[256] = "It is empty.";
	if (!read_line(in, &head) || !dump_check_head(head, why, sizeof why)) {
		fprintf(stderr, "jitney: %s: %s\n", path, why);
		return EXIT_FAILURE;
	}
	buf_put(&in->piece, head);
	buf_put_char(&in->piece, '\n');
	in->head_len = in->piece.len;
	int code = import_lines(in);
	if (in->report)
		fputs("\r\033[K", stderr);
	if (code == EXIT_SUCCESS)
		report_import(in);
	return code == EXIT_SUCCESS && in->ended ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Bytes, for the progress; 0 if it is a pipe. The file is at its begin as before. */
static off_t measure_file(FILE *file)
{
	if (fseeko(file, 0, SEEK_END) != 0)
		return 0;
	off_t size = ftello(file);
	return fseeko(file, 0, SEEK_SET) == 0 && size > 0 ? size : 0;
}

static int run_import(const struct cli_client *setup, const char *path)
{
	bool standard = strcmp(path, "-") == 0;
	struct import_file in = { .setup = setup,
				  .file = standard ? stdin : fopen(path, "re"),
				  .piece = BUF_INIT(LINE_BYTES_MAX),
				  .report = isatty(STDERR_FILENO) };
	if (!in.file) {
		fprintf(stderr, "jitney: %s: %s\n", path, strerror(errno));
		return EXIT_FAILURE;
	}
	if (!standard)
		in.all = measure_file(in.file);
	int code = import_from(&in, standard ? "standard input" : path);
	free(in.line);
	buf_fini(&in.piece);
	if (!standard)
		fclose(in.file);
	return code;
}

/* ---------------------------------------------------------------- purge */

static bool is_condition(const char *word)
{
	static const char *const names[] = { "tool=", "prefix=", "tag=", "key=" };
	for (size_t i = 0; i < countof(names); i++)
		if (strncmp(word, names[i], strlen(names[i])) == 0)
			return word[strlen(names[i])] && !strpbrk(word, "&#%? \t");
	return false;
}

/* What is to be purged or counted, as a query behind the path. NULL: it is; else what is wrong with it. */
static const char *put_conditions(struct buf *path, int count, char **words)
{
	bool all = count == 1 && strcmp(words[0], "all") == 0;
	if (!count)
		return "purge and count want to know what: all, or tool=, prefix=, tag=, key=";
	for (int i = 0; !all && i < count; i++) {
		if (!is_condition(words[i]))
			return "purge and count take all, or tool=, prefix=, tag=, key= with a value";
		buf_printf(path, "%c%s", i ? '&' : '?', words[i]);
	}
	return NULL;
}

static void print_counted(struct slice body, const char *name)
{
	struct slice tier;
	if (!json_member(body, slice_of(name), &tier))
		return;
	struct slice status;
	if (json_member(tier, SLICE("status"), &status) && json_string_is(status, SLICE("counted")))
		printf("%-6s  %llu\n", name, (unsigned long long)number_of(tier, SLICE("entries")));
	else
		printf("%-6s  not counted\n", name);
}

static int run_count(const struct cli_client *setup, const char *path)
{
	static const char *const tiers[] = { "memory", "disk", "redis" };
	struct client_reply reply = { .body = BUF_INIT(PAGE_BYTES_MAX) };
	int code = ask_gateway(setup, "GET", path, &reply);
	if (code == EXIT_SUCCESS && !parse_reply(&reply))
		code = EXIT_FAILURE;
	for (size_t i = 0; code == EXIT_SUCCESS && i < countof(tiers); i++)
		print_counted(json_trim(buf_slice(&reply.body)), tiers[i]);
	buf_fini(&reply.body);
	return code;
}

static int run_purge(const struct cli_client *setup, const char *path)
{
	struct client_reply reply = { .body = BUF_INIT(PAGE_BYTES_MAX) };
	struct slice disk;
	int code = ask_gateway(setup, "DELETE", path, &reply);
	if (code == EXIT_SUCCESS && !parse_reply(&reply))
		code = EXIT_FAILURE;
	if (code == EXIT_SUCCESS) {
		struct slice body = json_trim(buf_slice(&reply.body));
		printf("memory  %llu\n", (unsigned long long)number_of(body, SLICE("purged")));
		if (json_member(body, SLICE("disk"), &disk))
			printf("disk    %llu\n", (unsigned long long)number_of(disk, SLICE("purged")));
	}
	buf_fini(&reply.body);
	return code;
}

static int run_with_conditions(const struct cli_client *setup, bool counts, int count, char **words)
{
	struct buf path = BUF_INIT(65536);
	buf_put_text(&path, counts ? "/admin/cache/count" : "/admin/cache");
	const char *wrong = put_conditions(&path, count, words);
	int code = wrong    ? cli_wrong_usage("cache", wrong)
		   : counts ? run_count(setup, buf_cstr(&path))
			    : run_purge(setup, buf_cstr(&path));
	buf_fini(&path);
	return code;
}

int cli_cache(int argc, char **argv)
{
	struct cli_client setup;
	const char *wrong = cli_read_options(argc, argv, &admin_listener, "u:n:t:H:h", &setup);
	int count = argc - optind;
	char **words = argv + optind;
	const char *what = count ? words[0] : "";
	if (setup.help) {
		fputs(cache_help, stdout);
		return EXIT_SUCCESS;
	}
	if (wrong)
		return cli_wrong_usage("cache", wrong);
	if (strcmp(what, "stats") == 0 && count == 1)
		return run_stats(&setup);
	if (strcmp(what, "export") == 0 && count <= 2)
		return run_export(&setup, count == 2 ? words[1] : NULL);
	if (strcmp(what, "import") == 0 && count == 2)
		return run_import(&setup, words[1]);
	if (strcmp(what, "purge") == 0 || strcmp(what, "count") == 0)
		return run_with_conditions(&setup, strcmp(what, "count") == 0, count - 1, words + 1);
	return cli_wrong_usage("cache", "it takes stats, export [FILE], import FILE, or count or purge and what");
}
