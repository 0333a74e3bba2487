/* SPDX-License-Identifier: Apache-2.0 */
/* top.c: jitney top: who is sick, how full batches leave and what tools cost, in a terminal. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/top/screen.h"
#include "gateway/cli/top/watch.h"
#include "upstream/upstream.h"

enum { OUT_BYTES_MAX = 64 << 20, TICK_MS = 1000, SILENCES_MAX = 3 };

static const char help[] =
	"usage: jitney top [OPTIONS]\n\n"
	"Shows a running gateway in the terminal: upstreams (the sick first), tools, batches as they left, tiers of the\n"
	"cache, programs, alerts, calls under way. ? tells the keys. It goes on when the gateway is restarted.\n\n"
	"  -u, --url URL           the admin listener: http://HOST:PORT or unix:/PATH; default $JITNEY_ADMIN_URL or\n"
	"                          http://127.0.0.1:8081\n"
	"  -V, --view VIEW         begin with " VIEW_NAMES "\n"
	"  -s, --sort COLUMN       sort by this column, by its title (P99)\n"
	"  -r, --reverse           the other way round\n"
	"  -f, --filter TEXT       only rows with this in a name, a state or a reason\n"
	"  -i, --interval SECONDS  between two looks; default 1\n"
	"  -1, --once              print the view once, after two looks, and end\n"
	"  -j, --json              print what the gateway says (GET /admin/stats) and end\n"
	"  -t, --timeout SECONDS   wait so long for an answer; default 5\n"
	"  -H, --header 'N: V'     send this header too (may come again)\n";

static const struct option options[] = {
	{ "url", required_argument, NULL, 'u' },    { "timeout", required_argument, NULL, 't' },
	{ "header", required_argument, NULL, 'H' }, { "view", required_argument, NULL, 'V' },
	{ "sort", required_argument, NULL, 's' },   { "reverse", no_argument, NULL, 'r' },
	{ "filter", required_argument, NULL, 'f' }, { "interval", required_argument, NULL, 'i' },
	{ "once", no_argument, NULL, '1' },         { "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
};

struct setup {
	struct cli_client client;
	enum view view;
	const char *sort; /* NULL: as the view likes it */
	const char *filter;
	uint64_t interval_us;
	bool reversed, once, json;
};

/* --- options --- */

static const char *read_view(const char *word, enum view *view)
{
	for (int i = 0; i < VIEW_COUNT; i++)
		if (strcmp(word, view_words[i]) == 0) {
			*view = (enum view)i;
			return NULL;
		}
	return "--view wants " VIEW_NAMES;
}

static const char *take_option(int option, struct setup *setup)
{
	switch (option) {
	case 'V':
		return read_view(optarg, &setup->view);
	case 's':
		setup->sort = optarg;
		return NULL;
	case 'f':
		setup->filter = optarg;
		return strlen(optarg) < FILTER_BYTES ? NULL : "--filter takes a text of 63 bytes at most";
	case 'i':
		return cli_read_interval(optarg, &setup->interval_us);
	case 'r':
		setup->reversed = true;
		return NULL;
	case '1':
		setup->once = true;
		return NULL;
	case 'j':
		setup->json = true;
		return NULL;
	default:
		return cli_take_option(option, &setup->client);
	}
}

static const char *read_options(int argc, char **argv, struct setup *setup)
{
	*setup = (struct setup){ .interval_us = CLOCK_US_PER_S, .filter = "" };
	cli_begin_options(&admin_server, &setup->client);
	for (int option; (option = getopt_long(argc, argv, "u:t:H:V:s:rf:i:1jh", options, NULL)) != -1;) {
		const char *wrong = take_option(option, setup);
		if (wrong || setup->client.help)
			return wrong;
	}
	if (optind < argc)
		return "there are words after the options";
	return setup->once && setup->json ? "--once and --json exclude each other" : NULL;
}

/* The choices of the command line; its table knows its columns. NULL, or what is wrong. */
static const char *begin_watch(const struct setup *setup, struct watch *watch)
{
	watch_init(watch, &setup->client);
	watch->view = setup->view;
	watch->reversed[setup->view] = setup->reversed;
	snprintf(watch->filter, sizeof watch->filter, "%s", setup->filter);
	watch_fill(watch);
	for (size_t i = 0; setup->sort && i < watch->table.column_count; i++)
		if (strcasecmp(setup->sort, watch->table.columns[i].title) == 0) {
			watch->sort[setup->view] = i;
			return NULL;
		}
	return setup->sort ? "--sort wants the title of one of the view's columns" : NULL;
}

/* --- once --- */

/* Columns of the terminal; 0, as wide as need be, where it is none. */
static int measure_output(void)
{
	struct winsize size;
	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static bool print_text(const struct buf *text)
{
	struct slice bytes = buf_slice(text);
	return !text->failed && fwrite(bytes.at, 1, bytes.len, stdout) == bytes.len && fflush(stdout) == 0;
}

static bool look_once(struct watch *watch, const struct setup *setup)
{
	struct gateway_stats stats = { 0 };
	struct asker_news news = { .error = "" };
	news.answered = gateway_stats_ask(&stats, &setup->client, view_needs_calls(setup->view), NULL, news.error);
	if (!news.answered)
		fprintf(stderr, "jitney top: %s\n", news.error);
	watch_take(watch, &news, &stats);
	gateway_stats_fini(&stats);
	return news.answered;
}

static int print_once(struct watch *watch, const struct setup *setup)
{
	struct timespec pause = { (time_t)(setup->interval_us / CLOCK_US_PER_S),
				  (long)(setup->interval_us % CLOCK_US_PER_S * 1000) };
	struct head head;
	struct buf text = BUF_INIT(OUT_BYTES_MAX);
	if (!look_once(watch, setup))
		return EXIT_FAILURE;
	nanosleep(&pause, NULL);
	if (!look_once(watch, setup))
		return EXIT_FAILURE;
	watch_fill(watch);
	head_fill(&watch->looks[0], &head);
	for (size_t i = 0; i < HEAD_LINES; i++)
		buf_printf(&text, "%s\n", head.lines[i]);
	buf_put_char(&text, '\n');
	if (watch->table.count)
		text_table_put(&watch->table, measure_output(), &text);
	else
		buf_printf(&text, "%s\n",
			   watch->filter[0] ? "Nothing has this in its name." : view_says_empty(watch->view));
	bool ok = print_text(&text);
	buf_fini(&text);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_json(const struct watch *watch)
{
	struct buf text = BUF_INIT(OUT_BYTES_MAX);
	buf_put(&text, watch->looks[0].root);
	buf_put_char(&text, '\n');
	bool ok = print_text(&text);
	buf_fini(&text);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- in the terminal --- */

static const struct asker *to_be_woken; /* by signals */
static volatile sig_atomic_t ended_by;  /* a signal; 0: none has come */
static volatile sig_atomic_t to_stop;   /* Ctrl-Z */

static void note_signal(int number)
{
	int error = errno;
	if (number == SIGTSTP)
		to_stop = 1;
	else
		ended_by = number;
	asker_wake(to_be_woken);
	errno = error;
}

/* Before the terminal is taken over, so that ncurses leaves them alone: its handlers do what none may. */
static void catch_signals(const struct asker *asker)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGTSTP };
	struct sigaction action = { .sa_handler = note_signal };
	to_be_woken = asker;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < countof(numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

/* Until the shell says that it goes on. */
static void stop_for_a_while(void)
{
	struct sigaction usual = { .sa_handler = SIG_DFL }, ours;
	to_stop = 0;
	screen_leave();
	sigemptyset(&usual.sa_mask);
	sigaction(SIGTSTP, &usual, &ours);
	raise(SIGTSTP);
	sigaction(SIGTSTP, &ours, NULL);
	screen_return();
}

/* All keys that have been pressed; the picture is made once, after the last of them. False: quit. */
static bool take_keys(struct watch *watch, struct asker *asker, bool *anew, size_t *keys)
{
	*keys = 0;
	for (int key; (key = screen_key()) != SCREEN_NONE; (*keys)++) {
		int lines, columns;
		screen_size(&lines, &columns);
		enum watch_wish wish = watch_key(watch, key, lines);
		if (wish == WATCH_QUIT)
			return false;
		if (wish == WATCH_ASK)
			asker_want(asker, view_needs_calls(watch->view), watch->paused);
		*anew = *anew || wish == WATCH_REDRAW;
	}
	return true;
}

static void take_news(struct watch *watch, struct asker *asker, struct gateway_stats *stats)
{
	struct asker_news news;
	if (asker_take(asker, &news, stats) && !watch->paused)
		watch_take(watch, &news, stats);
}

/* Until somebody quits, or the terminal is gone. */
static void run_watch(struct watch *watch, struct asker *asker)
{
	struct gateway_stats stats = { 0 };
	struct pollfd sources[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				    { .fd = asker_fd(asker), .events = POLLIN } };
	bool anew = false;
	size_t keys = 0, silences = 0;
	while (!ended_by && silences < SILENCES_MAX) {
		if (to_stop)
			stop_for_a_while();
		watch_draw(watch, anew);
		anew = false;
		int ready = poll(sources, countof(sources), TICK_MS);
		bool readable = ready > 0 && sources[0].revents;
		if (!take_keys(watch, asker, &anew, &keys))
			break;
		silences = readable && !keys ? silences + 1 : 0; /* readable without a key: it has ended */
		if (ready > 0 && sources[1].revents)
			take_news(watch, asker, &stats);
	}
	gateway_stats_fini(&stats);
}

static int show_watch(struct watch *watch, const struct setup *setup)
{
	const char *why = NULL;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return cli_wrong_usage("top", "this is not a terminal; --once prints one picture, --json the figures");
	struct asker *asker = asker_new(&setup->client, setup->interval_us);
	if (!asker) {
		fprintf(stderr, "jitney top: %s\n", strerror(errno ? errno : ENOMEM));
		return EXIT_FAILURE;
	}
	asker_want(asker, view_needs_calls(watch->view), false);
	catch_signals(asker);
	bool opened = screen_open(&why);
	if (opened)
		run_watch(watch, asker);
	screen_close();
	asker_free(asker);
	return opened ? EXIT_SUCCESS : cli_wrong_usage("top", why);
}

int cli_top(int argc, char **argv)
{
	struct setup setup;
	struct watch watch;
	const char *wrong = read_options(argc, argv, &setup);
	if (setup.client.help) {
		fputs(help, stdout);
		return EXIT_SUCCESS;
	}
	if (wrong)
		return cli_wrong_usage("top", wrong);
	wrong = begin_watch(&setup, &watch);
	int code = EXIT_FAILURE;
	if (wrong)
		code = cli_wrong_usage("top", wrong);
	else if (!upstream_library_init())
		fputs("jitney: libcurl cannot be initialised\n", stderr);
	else {
		if (setup.json)
			code = look_once(&watch, &setup) ? print_json(&watch) : EXIT_FAILURE;
		else
			code = setup.once ? print_once(&watch, &setup) : show_watch(&watch, &setup);
		upstream_library_fini();
	}
	watch_fini(&watch);
	return code;
}
