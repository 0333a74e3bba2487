/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c: a closed-loop HTTP/1.1 load generator. N callers, each on a kept connection, each with one call under way;
 * every answer is checked to be the right one for its call. Prints one JSON line. Bounded in time and in count.
 *
 *   idle -> (due, under the rate) -> sent -> answered or failed -> idle
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/cli/perf/wire.h"

enum {
	EVENTS = 256,
	SWEEP_US = 100000,     /* how often deadlines are looked at */
	CONNECT_US = 10000000, /* --at-once: all connections stand within this */
	MAX_CALLERS = 60000,
	MAX_CALLS = 100000000,
	STATUSES = 1000
};

/* How a call can fail without an answer. */
#define FAILURES(X) X(CONNECT, "connect") X(CLOSED, "closed") X(TIMEOUT, "timeout") X(PROTOCOL, "protocol")
enum failure {
#define X(name, word) FAILURE_##name,
	FAILURES(X)
#undef X
		FAILURE_COUNT
};
static const char *const FAILURE_WORDS[] = {
#define X(name, word) word,
	FAILURES(X)
#undef X
};

struct settings {
	struct sockaddr_storage address;
	unsigned address_len; /* 0: none given */
	size_t callers;
	uint64_t calls;                            /* at most; 0: as many as --seconds allow */
	uint64_t distinct;                         /* numbers run modulo this; 0: all different */
	double zipf;                               /* > 0: they are drawn by Zipf's law of this exponent instead */
	uint64_t seconds_us;                       /* no new calls after this; 0: until all calls are done */
	uint64_t timeout_us;                       /* one call at most */
	double rate;                               /* calls a second over all callers; 0: as fast as answers come */
	const char *method, *path, *body, *expect; /* templates: %d is the call's number, %% a percent sign */
	struct wire_buf headers;
	bool at_once;
};

struct caller {
	STAILQ_ENTRY(caller) next; /* while idle */
	int fd;                    /* -1: not connected */
	bool connected;            /* the kernel has said so */
	bool busy;                 /* a call is under way */
	uint64_t number;           /* of that call */
	uint64_t due_us, deadline_us;
	struct wire_buf out, in;
	size_t sent;
	struct wire_message message;
};

/* How long calls took, microseconds. */
struct times {
	uint32_t *us;
	size_t count, capacity;
};

struct load {
	struct settings options;
	int epoll;
	struct caller *callers;
	STAILQ_HEAD(idle, caller) idle;
	uint64_t start_us, end_us; /* first call due, last call answered */
	uint64_t begun, ended;     /* calls */
	uint64_t answered, wrong, failures[FAILURE_COUNT], statuses[STATUSES];
	double *weights;         /* --zipf: summed up, of the numbers below `distinct` */
	uint64_t random;         /* xorshift64* (Vigna 2016): the same draws in each run */
	struct times took;       /* each answered call */
	struct times refused;    /* of those, with a status of 400 or more */
	uint64_t told_when;      /* of those, with Retry-After */
	struct wire_buf scratch; /* the last rendered --body or --expect */
};

static void fail(const char *what, const char *argument)
{
	fprintf(stderr, "load: %s%s%s (load --help)\n", what, argument ? ": " : "", argument ? argument : "");
	exit(2);
}

/* --- one call ------------------------------------------------------------------------------------------------ */

static void render(struct wire_buf *out, const char *template, uint64_t number)
{
	for (const char *at = template; *at;) {
		size_t plain = strcspn(at, "%");
		wire_put(out, at, plain);
		at += plain;
		if (at[0] == '%' && at[1] == 'd') {
			wire_printf(out, "%llu", (unsigned long long)number);
			at += 2;
		} else if (at[0] == '%') {
			wire_put(out, at, 1);
			at += at[1] == '%' ? 2 : 1;
		}
	}
}

static void write_request(struct load *load, struct caller *caller)
{
	const struct settings *options = &load->options;
	struct wire_buf *out = &caller->out;
	out->len = caller->sent = 0;
	wire_put(out, options->method, strlen(options->method));
	wire_put(out, " ", 1);
	render(out, options->path, caller->number);
	wire_printf(out, " HTTP/1.1\r\nHost: localhost\r\n");
	wire_put(out, options->headers.at, options->headers.len);
	if (!options->body) {
		wire_put(out, "\r\n", 2);
		return;
	}
	load->scratch.len = 0;
	render(&load->scratch, options->body, caller->number);
	wire_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", load->scratch.len);
	wire_put(out, load->scratch.at, load->scratch.len);
}

static void disconnect(struct caller *caller)
{
	if (caller->fd >= 0)
		close(caller->fd); /* leaves the epoll set with it */
	caller->fd = -1;
	caller->connected = false;
	caller->in.len = 0;
	caller->message = (struct wire_message){ 0 };
}

static bool start_connect(struct load *load, struct caller *caller)
{
	const struct settings *options = &load->options;
	/* A unix socket is connected at once, or waits a moment for room in the backlog: let it block. TCP must not. */
	int no_wait = options->address.ss_family == AF_UNIX ? 0 : SOCK_NONBLOCK;
	caller->fd = socket(options->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | no_wait, 0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = caller };
	if (caller->fd < 0 ||
	    (connect(caller->fd, (const struct sockaddr *)&options->address, options->address_len) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(load->epoll, EPOLL_CTL_ADD, caller->fd, &event) < 0) {
		disconnect(caller);
		return false;
	}
	return true;
}

static void end_call(struct load *load, struct caller *caller, uint64_t now_us)
{
	caller->busy = false;
	load->ended++;
	load->end_us = now_us;
	STAILQ_INSERT_TAIL(&load->idle, caller, next);
}

static void fail_call(struct load *load, struct caller *caller, enum failure failure, uint64_t now_us)
{
	disconnect(caller);
	if (!caller->busy)
		return;
	load->failures[failure]++;
	end_call(load, caller, now_us);
}

static void note_time(struct times *times, uint64_t took_us)
{
	if (times->count == times->capacity) {
		times->capacity = times->capacity ? times->capacity * 2 : 65536;
		times->us = realloc(times->us, times->capacity * sizeof *times->us);
		if (!times->us)
			fail("out of memory", NULL);
	}
	times->us[times->count++] = took_us > UINT32_MAX ? UINT32_MAX : (uint32_t)took_us;
}

static bool has_header(const struct caller *caller, const char *name)
{
	size_t len = strlen(name), head = caller->message.head_len;
	for (size_t i = 0; i + len < head; i++)
		if (caller->in.at[i] == '\n' && strncasecmp(caller->in.at + i + 1, name, len) == 0)
			return true;
	return false;
}

static void note_answer(struct load *load, const struct caller *caller, uint64_t took_us)
{
	load->answered++;
	note_time(&load->took, took_us);
	if (caller->message.status < 400)
		return;
	note_time(&load->refused, took_us);
	load->told_when += has_header(caller, "Retry-After:");
}

static void check_answer(struct load *load, const struct caller *caller)
{
	if (!load->options.expect || caller->message.status != 200)
		return;
	load->scratch.len = 0;
	render(&load->scratch, load->options.expect, caller->number);
	const char *body = caller->in.at + caller->message.head_len;
	if (caller->message.body_len == load->scratch.len && memcmp(body, load->scratch.at, load->scratch.len) == 0)
		return;
	if (load->wrong++ == 0)
		fprintf(stderr, "load: wrong answer to call %llu: %.*s\n", (unsigned long long)caller->number,
			(int)(caller->message.body_len < 300 ? caller->message.body_len : 300), body);
}

static void take_answer(struct load *load, struct caller *caller, uint64_t now_us)
{
	struct wire_message *message = &caller->message;
	if (message->status <= 0 || message->status >= STATUSES) {
		fail_call(load, caller, FAILURE_PROTOCOL, now_us);
		return;
	}
	load->statuses[message->status]++;
	check_answer(load, caller);
	note_answer(load, caller, now_us - caller->due_us);
	bool last = message->close;
	wire_drop(&caller->in, message->wire_len);
	*message = (struct wire_message){ 0 };
	if (last)
		disconnect(caller);
	end_call(load, caller, now_us);
}

/* --- socket events ------------------------------------------------------------------------------------------- */

static bool flush(struct caller *caller)
{
	while (caller->sent < caller->out.len) {
		ssize_t done = send(caller->fd, caller->out.at + caller->sent, caller->out.len - caller->sent,
				    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno == EAGAIN;
		caller->sent += (size_t)done;
	}
	return true;
}

static void on_readable(struct load *load, struct caller *caller, uint64_t now_us)
{
	bool open = wire_receive(&caller->in, caller->fd);
	if (caller->busy && caller->in.len > 0) {
		bool no_body = strcmp(load->options.method, "HEAD") == 0;
		enum wire_state state = wire_read(&caller->message, &caller->in, no_body);
		if (state == WIRE_BROKEN) {
			fail_call(load, caller, FAILURE_PROTOCOL, now_us);
			return;
		}
		if (state == WIRE_WHOLE)
			take_answer(load, caller, now_us);
	}
	if (!open && caller->fd >= 0)
		fail_call(load, caller, caller->connected ? FAILURE_CLOSED : FAILURE_CONNECT, now_us);
}

static void on_event(struct load *load, struct caller *caller, uint32_t events, uint64_t now_us)
{
	if (caller->fd < 0)
		return;
	if ((events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP)))
		caller->connected = true;
	if ((events & EPOLLOUT) && caller->busy && !flush(caller)) {
		fail_call(load, caller, caller->connected ? FAILURE_CLOSED : FAILURE_CONNECT, now_us);
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		on_readable(load, caller, now_us);
}

static void poll_once(struct load *load, int wait_ms)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(load->epoll, events, EVENTS, wait_ms);
	uint64_t now_us = wire_now_us();
	for (int i = 0; i < count; i++)
		on_event(load, events[i].data.ptr, events[i].events, now_us);
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

static uint64_t next_due_us(const struct load *load)
{
	if (load->options.rate <= 0)
		return load->start_us;
	return load->start_us + (uint64_t)((double)load->begun * 1e6 / load->options.rate);
}

static bool may_begin(const struct load *load, uint64_t now_us)
{
	if (load->options.calls && load->begun >= load->options.calls)
		return false;
	return !load->options.seconds_us || now_us - load->start_us < load->options.seconds_us;
}

static double roll(struct load *load)
{
	load->random ^= load->random >> 12;
	load->random ^= load->random << 25;
	load->random ^= load->random >> 27;
	return (double)((load->random * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

static uint64_t roll_zipf(struct load *load)
{
	uint64_t low = 0, high = load->options.distinct - 1;
	double at = roll(load) * load->weights[high];
	while (low < high) {
		uint64_t middle = (low + high) / 2;
		if (load->weights[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void weigh(struct load *load)
{
	double sum = 0;
	load->random = 88172645463325252u;
	load->weights = calloc(load->options.distinct, sizeof *load->weights);
	if (!load->weights)
		fail("out of memory", NULL);
	for (uint64_t i = 0; i < load->options.distinct; i++)
		load->weights[i] = sum += pow((double)(i + 1), -load->options.zipf);
}

static uint64_t next_number(struct load *load)
{
	if (load->weights)
		return roll_zipf(load);
	return load->options.distinct ? load->begun % load->options.distinct : load->begun;
}

static void begin_call(struct load *load, struct caller *caller, uint64_t now_us)
{
	const struct settings *options = &load->options;
	caller->busy = true;
	/* Under a rate, time counts from when the call was due: a late start is the callers' wait as well. */
	caller->due_us = options->rate > 0 ? next_due_us(load) : now_us;
	caller->deadline_us = now_us + options->timeout_us;
	caller->number = next_number(load);
	load->begun++;
	write_request(load, caller);
	if (caller->fd < 0 && !start_connect(load, caller))
		fail_call(load, caller, FAILURE_CONNECT, now_us);
	else if (!flush(caller))
		fail_call(load, caller, caller->connected ? FAILURE_CLOSED : FAILURE_CONNECT, now_us);
}

/* Begin what is due. Callers that fail at once come back to the idle ones: look at each at most once. */
static void begin_due(struct load *load, uint64_t now_us)
{
	for (size_t i = 0; i < load->options.callers; i++) {
		struct caller *caller = STAILQ_FIRST(&load->idle);
		if (!caller || !may_begin(load, now_us) || next_due_us(load) > now_us)
			return;
		STAILQ_REMOVE_HEAD(&load->idle, next);
		begin_call(load, caller, now_us);
	}
}

static void sweep(struct load *load, uint64_t now_us)
{
	for (size_t i = 0; i < load->options.callers; i++) {
		struct caller *caller = &load->callers[i];
		if (caller->busy && caller->deadline_us <= now_us)
			fail_call(load, caller, FAILURE_TIMEOUT, now_us);
	}
}

static int wait_ms(const struct load *load, uint64_t now_us)
{
	uint64_t wait_us = SWEEP_US;
	if (!STAILQ_EMPTY(&load->idle) && may_begin(load, now_us)) {
		uint64_t due_us = next_due_us(load);
		wait_us = due_us > now_us ? due_us - now_us : 0;
	}
	return (int)((wait_us < SWEEP_US ? wait_us : SWEEP_US) + 999) / 1000;
}

static void connect_all(struct load *load)
{
	uint64_t limit_us = wire_now_us() + CONNECT_US;
	for (size_t i = 0; i < load->options.callers; i++)
		start_connect(load, &load->callers[i]);
	for (size_t i = 0; i < load->options.callers && wire_now_us() < limit_us;) {
		if (load->callers[i].connected || load->callers[i].fd < 0)
			i++;
		else
			poll_once(load, SWEEP_US / 1000);
	}
}

static void run(struct load *load)
{
	if (load->options.at_once)
		connect_all(load);
	uint64_t now_us = wire_now_us(), swept_us = now_us;
	load->start_us = load->end_us = now_us;
	while (may_begin(load, now_us) || load->ended < load->begun) {
		begin_due(load, now_us);
		poll_once(load, wait_ms(load, now_us));
		now_us = wire_now_us();
		if (now_us - swept_us >= SWEEP_US) {
			sweep(load, now_us);
			swept_us = now_us;
		}
	}
}

/* --- the report ---------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

/* They are sorted. */
static uint32_t quantile(const struct times *times, double share)
{
	if (times->count == 0)
		return 0;
	size_t at = (size_t)(share * (double)times->count);
	return times->us[at < times->count ? at : times->count - 1];
}

static void sort_times(struct times *times)
{
	if (times->count > 0)
		qsort(times->us, times->count, sizeof *times->us, by_size);
}

/* Returns whether all went well. */
static bool report(struct load *load)
{
	double seconds = (double)(load->end_us - load->start_us) / 1e6;
	uint64_t failed = load->ended - load->answered, bad = 0;
	sort_times(&load->took);
	sort_times(&load->refused);
	printf("{\"calls\":%llu,\"answered\":%llu,\"wrong\":%llu,\"errors\":{", (unsigned long long)load->ended,
	       (unsigned long long)load->answered, (unsigned long long)load->wrong);
	for (int i = 0; i < FAILURE_COUNT; i++)
		printf("%s\"%s\":%llu", i ? "," : "", FAILURE_WORDS[i], (unsigned long long)load->failures[i]);
	printf("},\"statuses\":{");
	const char *comma = "";
	for (int i = 0; i < STATUSES; i++) {
		if (load->statuses[i] == 0)
			continue;
		printf("%s\"%d\":%llu", comma, i, (unsigned long long)load->statuses[i]);
		comma = ",";
		bad += i >= 400 ? load->statuses[i] : 0;
	}
	printf("},\"refused\":{\"count\":%zu,\"retry_after\":%llu,\"p50_us\":%u,\"p99_us\":%u", load->refused.count,
	       (unsigned long long)load->told_when, quantile(&load->refused, 0.5), quantile(&load->refused, 0.99));
	printf("},\"seconds\":%.6f,\"calls_per_second\":%.1f,\"p50_us\":%u,\"p90_us\":%u,\"p95_us\":%u,\"p99_us\":%u,"
	       "\"max_us\":%u}"
	       "\n",
	       seconds, seconds > 0 ? (double)load->answered / seconds : 0.0, quantile(&load->took, 0.5),
	       quantile(&load->took, 0.9), quantile(&load->took, 0.95), quantile(&load->took, 0.99),
	       quantile(&load->took, 1.0));
	return failed == 0 && bad == 0 && load->wrong == 0;
}

/* --- the command line ---------------------------------------------------------------------------------------- */

static const char HELP[] =
	"load: closed-loop HTTP/1.1 load; every answer is checked, one JSON line is printed\n"
	"  --connect HOST:PORT   numeric address        --unix PATH          or a unix socket\n"
	"  --callers N           connections (1)        --calls N            calls in all\n"
	"  --seconds S           stop after S           --timeout S          one call at most (30)\n"
	"  --rate R              calls a second         --at-once            connect all, then start together\n"
	"  --path P  --body B  --expect E               templates: %d is the call's number, %% a percent sign\n"
	"  --distinct N          numbers run modulo N   --method M           (POST with a body, else GET)\n"
	"  --zipf E              numbers below --distinct drawn by Zipf's law of this exponent\n"
	"  --header 'Name: value'                       may be repeated\n"
	"Exit status: 0 all calls answered below 400 and as expected, 1 not so, 2 wrong usage.\n";

/* clang-format off */
enum option_id { CONNECT = 1, UNIX, CALLERS, CALLS, DISTINCT, SECONDS, TIMEOUT, RATE, METHOD, PATH_, BODY, EXPECT, HEADER,
	      AT_ONCE, ZIPF, HELP_ };
static const struct option OPTIONS[] = {
	{ "connect", required_argument, NULL, CONNECT }, { "unix", required_argument, NULL, UNIX },
	{ "callers", required_argument, NULL, CALLERS }, { "calls", required_argument, NULL, CALLS },
	{ "distinct", required_argument, NULL, DISTINCT }, { "seconds", required_argument, NULL, SECONDS },
	{ "timeout", required_argument, NULL, TIMEOUT }, { "rate", required_argument, NULL, RATE },
	{ "method", required_argument, NULL, METHOD }, { "path", required_argument, NULL, PATH_ },
	{ "body", required_argument, NULL, BODY }, { "expect", required_argument, NULL, EXPECT },
	{ "header", required_argument, NULL, HEADER }, { "at-once", no_argument, NULL, AT_ONCE },
	{ "zipf", required_argument, NULL, ZIPF },
	{ "help", no_argument, NULL, HELP_ }, { NULL, 0, NULL, 0 }
};
/* clang-format on */

static double number(const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);
	if (end == text || *end || !(value >= 0 && value <= max))
		fail("not a number in range", text);
	return value;
}

static void set_address(struct settings *options, const char *text, bool unix_path)
{
	options->address_len = wire_address(text, unix_path, &options->address);
	if (options->address_len == 0)
		fail("not an address", text);
}

/* clang-format off */
static void set_option(struct settings *options, int option, const char *argument)
{
	switch (option) {
	case CONNECT: set_address(options, argument, false); break;
	case UNIX: set_address(options, argument, true); break;
	case CALLERS: options->callers = (size_t)number(argument, MAX_CALLERS); break;
	case CALLS: options->calls = (uint64_t)number(argument, MAX_CALLS); break;
	case DISTINCT: options->distinct = (uint64_t)number(argument, MAX_CALLS); break;
	case SECONDS: options->seconds_us = (uint64_t)(number(argument, 86400) * 1e6); break;
	case TIMEOUT: options->timeout_us = (uint64_t)(number(argument, 3600) * 1e6); break;
	case RATE: options->rate = number(argument, 1e7); break;
	case METHOD: options->method = argument; break;
	case PATH_: options->path = argument; break;
	case BODY: options->body = argument; break;
	case EXPECT: options->expect = argument; break;
	case HEADER: wire_printf(&options->headers, "%s\r\n", argument); break;
	case ZIPF: options->zipf = number(argument, 10); break;
	case AT_ONCE: options->at_once = true; break;
	case HELP_: fputs(HELP, stdout); exit(0);
	default: exit(2); /* getopt has said why */
	}
}
/* clang-format on */

static void read_options(struct settings *options, int argc, char **argv)
{
	*options = (struct settings){ .callers = 1, .timeout_us = 30000000, .path = "/" };
	for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;)
		set_option(options, option, optarg);
	if (optind < argc)
		fail("unexpected argument", argv[optind]);
	if (options->address_len == 0)
		fail("--connect or --unix is needed", NULL);
	if (options->callers == 0)
		fail("--callers must be at least 1", NULL);
	if (options->calls == 0 && options->seconds_us == 0)
		fail("--calls or --seconds is needed", NULL);
	if (options->zipf > 0 && options->distinct == 0)
		fail("--zipf needs --distinct", NULL);
	if (!options->method)
		options->method = options->body ? "POST" : "GET";
}

int main(int argc, char **argv)
{
	struct load load = { .epoll = epoll_create1(EPOLL_CLOEXEC) };
	read_options(&load.options, argc, argv);
	STAILQ_INIT(&load.idle);
	load.callers = calloc(load.options.callers, sizeof *load.callers);
	if (!load.callers || load.epoll < 0)
		fail("out of memory or descriptors", NULL);
	for (size_t i = 0; i < load.options.callers; i++) {
		load.callers[i].fd = -1;
		STAILQ_INSERT_TAIL(&load.idle, &load.callers[i], next);
	}
	if (load.options.zipf > 0)
		weigh(&load);
	run(&load);
	bool well = report(&load);
	for (size_t i = 0; i < load.options.callers; i++) {
		disconnect(&load.callers[i]);
		wire_free(&load.callers[i].out);
		wire_free(&load.callers[i].in);
	}
	wire_free(&load.scratch);
	wire_free(&load.options.headers);
	free(load.weights);
	free(load.took.us);
	free(load.refused.us);
	free(load.callers);
	close(load.epoll);
	return well ? 0 : 1;
}
