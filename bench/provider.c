/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.c: a provider that costs almost nothing, for benches and whole-process tests: one thread, epoll.
 *   POST /rpc    JSON-RPC, one object or an array: each result is {"echo":<its params>}, spliced
 *   GET /stats   {"requests":..,"calls":..,"max_batch":..,"connections":..} (not counted itself)
 *   POST /work?delay-ms=N&per-item-us=N&concurrent=N   from now on; what is left out is 0 (not counted either)
 *   else         REST: {"method":..,"path":..,"body":<the body, or null>}
 * Work is simulated: --delay-ms a request and --per-item-us a call, for at most --concurrent requests at a time.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/cli/perf/wire.h"

enum { EVENTS = 256, BACKLOG = 4096 };

/* How far a connection's request is. */
enum state { READING, QUEUED, WORKING };

struct connection {
	TAILQ_ENTRY(connection) next; /* in the list of its state, or in dead */
	int fd;                       /* -1: gone; freed after the events of this turn */
	enum state state;
	uint64_t work_us, done_us; /* how long the work takes, when it is done */
	bool close;                /* after the answer */
	struct wire_buf in, out;
	size_t sent;
	struct wire_message message;
};
TAILQ_HEAD(connections, connection);

struct provider {
	int listener, epoll;
	uint64_t delay_us, per_item_us;
	size_t concurrent; /* requests worked on at a time; 0: any number */
	size_t working_count;
	struct connections reading, queued, working, dead; /* working: soonest done first */
	uint64_t requests, calls, max_batch, connection_count;
};

/* --- JSON, as far as an echo needs it ------------------------------------------------------------------------ */

struct span {
	const char *at, *end;
};

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
		at++;
	return at;
}

/* The end of the value that begins at `at`; NULL if there is none. Brackets are counted, not matched. */
static const char *skip_value(const char *at, const char *end)
{
	const char *start = at;
	size_t depth = 0;
	bool in_string = false;
	for (; at < end; at++) {
		if (in_string) {
			if (*at == '\\')
				at++;
			else
				in_string = *at != '"';
			if (!in_string && depth == 0)
				return at + 1;
			continue;
		}
		if (depth == 0 && at > start && strchr(",]} \t\r\n", *at))
			return at;
		in_string = *at == '"';
		depth += *at == '{' || *at == '[';
		if ((*at == '}' || *at == ']') && --depth == 0)
			return at + 1;
	}
	return depth == 0 && !in_string && at > start ? at : NULL;
}

/* Read `"name": value` at *at, which moves behind it and its comma. False at the end of the object. */
static bool next_member(const char **at, const char *end, struct span *name, struct span *value)
{
	name->at = skip_blanks(*at, end);
	if (name->at >= end || *name->at != '"' || !(name->end = skip_value(name->at, end)))
		return false;
	const char *colon = skip_blanks(name->end, end);
	if (colon >= end || *colon != ':')
		return false;
	value->at = skip_blanks(colon + 1, end);
	if (value->at >= end || !(value->end = skip_value(value->at, end)))
		return false;
	*at = skip_blanks(value->end, end);
	*at += *at < end && **at == ',';
	return true;
}

static bool span_is(struct span span, const char *text)
{
	return (size_t)(span.end - span.at) == strlen(text) && memcmp(span.at, text, strlen(text)) == 0;
}

/* Answer one JSON-RPC object; false: it is none. */
static bool echo_call(struct wire_buf *out, struct span call)
{
	if (call.at >= call.end || *call.at != '{')
		return false;
	struct span id = { "null", NULL }, params = { "null", NULL }, name, value;
	id.end = id.at + 4;
	params.end = params.at + 4;
	for (const char *at = call.at + 1; next_member(&at, call.end, &name, &value);) {
		if (span_is(name, "\"id\""))
			id = value;
		else if (span_is(name, "\"params\""))
			params = value;
	}
	wire_printf(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	wire_put(out, id.at, (size_t)(id.end - id.at));
	wire_printf(out, ",\"result\":{\"echo\":");
	wire_put(out, params.at, (size_t)(params.end - params.at));
	wire_printf(out, "}}");
	return true;
}

/* Answer an array of calls; returns how many, 0 if it is not one. */
static size_t echo_array(struct wire_buf *out, struct span array)
{
	size_t count = 0;
	wire_printf(out, "[");
	for (const char *at = skip_blanks(array.at + 1, array.end); at < array.end && *at != ']';) {
		struct span call = { at, skip_value(at, array.end) };
		if (count > 0)
			wire_printf(out, ",");
		if (!call.end || !echo_call(out, call))
			return 0;
		count++;
		at = skip_blanks(call.end, array.end);
		if (at < array.end && *at == ',')
			at = skip_blanks(at + 1, array.end);
	}
	wire_printf(out, "]");
	return count;
}

/* --- answers ------------------------------------------------------------------------------------------------- */

static void put_answer(struct connection *connection, int status, const struct wire_buf *body)
{
	wire_printf(&connection->out,
		    "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status,
		    status == 200 ? "OK" : "Bad Request", body->len, connection->close ? "Connection: close\r\n" : "");
	wire_put(&connection->out, body->at, body->len);
}

/* Answer one REST call; returns how many that is. */
static size_t echo_rest(struct wire_buf *out, struct span method, struct span path, struct span body)
{
	wire_printf(out, "{\"method\":\"");
	wire_put(out, method.at, (size_t)(method.end - method.at));
	wire_printf(out, "\",\"path\":\"");
	wire_put(out, path.at, (size_t)(path.end - path.at));
	wire_printf(out, "\",\"body\":");
	wire_put(out, body.at < body.end ? body.at : "null", body.at < body.end ? (size_t)(body.end - body.at) : 4);
	wire_printf(out, "}");
	return 1;
}

static void write_stats(const struct provider *provider, struct wire_buf *out)
{
	wire_printf(out, "{\"requests\":%llu,\"calls\":%llu,\"max_batch\":%llu,\"connections\":%llu}\n",
		    (unsigned long long)provider->requests, (unsigned long long)provider->calls,
		    (unsigned long long)provider->max_batch, (unsigned long long)provider->connection_count);
}

/* The number behind "name=" in a query; 0: it is not there. */
static uint64_t query_number(struct span path, const char *name)
{
	const char *at = memmem(path.at, (size_t)(path.end - path.at), name, strlen(name));
	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static bool is_change_of_work(struct span path)
{
	static const char prefix[] = "/work?";
	size_t len = strlen(prefix);
	return (size_t)(path.end - path.at) > len && memcmp(path.at, prefix, len) == 0;
}

static void change_work(struct provider *provider, struct span path)
{
	provider->delay_us = query_number(path, "delay-ms=") * 1000;
	provider->per_item_us = query_number(path, "per-item-us=");
	provider->concurrent = query_number(path, "concurrent=");
}

static void count_request(struct provider *provider, size_t calls)
{
	provider->requests++;
	provider->calls += calls;
	if (calls > provider->max_batch)
		provider->max_batch = calls;
}

/* Write the answer to the request at the front of `in`. Returns the calls in it, 0: it is no work (stats, errors). */
static size_t answer(struct provider *provider, struct connection *connection)
{
	const char *head = connection->in.at;
	const char *line_end = memchr(head, '\r', connection->message.head_len);
	struct span method = { head, memchr(head, ' ', (size_t)(line_end - head)) };
	struct span path = { method.end ? method.end + 1 : line_end, NULL };
	path.end = memchr(path.at, ' ', (size_t)(line_end - path.at));
	struct span body = { head + connection->message.head_len, NULL };
	body.end = body.at + connection->message.body_len;
	body.at = skip_blanks(body.at, body.end);

	struct wire_buf out = { 0 };
	size_t calls = 0;
	bool ok = method.end && path.end;
	if (ok && span_is(path, "/stats"))
		write_stats(provider, &out);
	else if (ok && is_change_of_work(path))
		change_work(provider, path);
	else if (ok && span_is(path, "/rpc") && body.at < body.end && *body.at == '[')
		ok = (calls = echo_array(&out, body)) > 0;
	else if (ok && span_is(path, "/rpc"))
		ok = (calls = echo_call(&out, body)) > 0;
	else if (ok)
		calls = echo_rest(&out, method, path, body);
	if (!ok) {
		out.len = calls = 0;
		wire_printf(&out, "{\"error\":\"not understood\"}\n");
	}
	if (calls > 0)
		count_request(provider, calls);
	put_answer(connection, ok ? 200 : 400, &out);
	wire_free(&out);
	return calls;
}

/* --- a connection's life ------------------------------------------------------------------------------------- */

static struct connections *list_of(struct provider *provider, enum state state)
{
	if (state == READING)
		return &provider->reading;
	return state == QUEUED ? &provider->queued : &provider->working;
}

static void start_work(struct provider *provider, struct connection *connection, uint64_t now_us)
{
	TAILQ_REMOVE(list_of(provider, connection->state), connection, next);
	connection->state = WORKING;
	connection->done_us = now_us + connection->work_us;
	provider->working_count++;
	struct connection *before = TAILQ_LAST(&provider->working, connections);
	while (before && before->done_us > connection->done_us)
		before = TAILQ_PREV(before, connections, next);
	if (before)
		TAILQ_INSERT_AFTER(&provider->working, before, connection, next);
	else
		TAILQ_INSERT_HEAD(&provider->working, connection, next);
}

static void stop_work(struct provider *provider, struct connection *connection)
{
	TAILQ_REMOVE(&provider->working, connection, next);
	provider->working_count--;
	connection->state = READING;
	TAILQ_INSERT_TAIL(&provider->reading, connection, next);
}

static void hang_up(struct provider *provider, struct connection *connection)
{
	if (connection->fd < 0)
		return;
	if (connection->state == WORKING)
		stop_work(provider, connection);
	TAILQ_REMOVE(list_of(provider, connection->state), connection, next);
	close(connection->fd);
	connection->fd = -1;
	TAILQ_INSERT_TAIL(&provider->dead, connection, next);
}

/* Send what is written. Returns false when the connection is gone. */
static bool flush(struct provider *provider, struct connection *connection)
{
	while (connection->sent < connection->out.len) {
		ssize_t done = send(connection->fd, connection->out.at + connection->sent,
				    connection->out.len - connection->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno == EAGAIN)
			return true;
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			hang_up(provider, connection);
			return false;
		}
		connection->sent += (size_t)done;
	}
	connection->out.len = connection->sent = 0;
	if (connection->close)
		hang_up(provider, connection);
	return connection->fd >= 0;
}

/* Take requests from what has arrived, until one has to be worked on. */
static void take_requests(struct provider *provider, struct connection *connection, uint64_t now_us)
{
	while (connection->fd >= 0 && connection->state == READING) {
		enum wire_state state = wire_read(&connection->message, &connection->in, false);
		if (state == WIRE_BROKEN)
			hang_up(provider, connection);
		if (state != WIRE_WHOLE)
			return;
		connection->close = connection->message.close;
		size_t calls = answer(provider, connection);
		wire_drop(&connection->in, connection->message.wire_len);
		connection->message = (struct wire_message){ 0 };
		connection->work_us = calls ? provider->delay_us + calls * provider->per_item_us : 0;
		if (connection->work_us == 0) {
			flush(provider, connection);
		} else if (provider->concurrent && provider->working_count >= provider->concurrent) {
			TAILQ_REMOVE(&provider->reading, connection, next);
			connection->state = QUEUED;
			TAILQ_INSERT_TAIL(&provider->queued, connection, next);
		} else {
			start_work(provider, connection, now_us);
		}
	}
}

static void finish_work(struct provider *provider, uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&provider->working)) && connection->done_us <= now_us) {
		stop_work(provider, connection);
		struct connection *waiting = TAILQ_FIRST(&provider->queued);
		if (waiting)
			start_work(provider, waiting, now_us);
		if (flush(provider, connection))
			take_requests(provider, connection, now_us);
	}
}

static void on_event(struct provider *provider, struct connection *connection, uint32_t events, uint64_t now_us)
{
	/* The answer is written before its work is done: nothing leaves while it is queued or worked on. */
	if (connection->fd >= 0 && (events & EPOLLOUT) && connection->state == READING)
		flush(provider, connection);
	if (connection->fd < 0 || !(events & ~(uint32_t)EPOLLOUT))
		return;
	if (!wire_receive(&connection->in, connection->fd))
		hang_up(provider, connection);
	else
		take_requests(provider, connection, now_us);
}

static void accept_all(struct provider *provider)
{
	for (;;) {
		int fd = accept4(provider->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct connection *connection = calloc(1, sizeof *connection);
		struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
					     .data.ptr = connection };
		if (!connection || epoll_ctl(provider->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
			free(connection);
			close(fd);
			continue;
		}
		connection->fd = fd;
		TAILQ_INSERT_TAIL(&provider->reading, connection, next);
		provider->connection_count++;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	}
}

static void bury(struct provider *provider)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&provider->dead))) {
		TAILQ_REMOVE(&provider->dead, connection, next);
		wire_free(&connection->in);
		wire_free(&connection->out);
		free(connection);
	}
}

static void turn(struct provider *provider)
{
	struct timespec wait = { 0, 0 };
	struct connection *first = TAILQ_FIRST(&provider->working);
	uint64_t now_us = wire_now_us();
	if (first && first->done_us > now_us) {
		wait.tv_sec = (time_t)((first->done_us - now_us) / 1000000);
		wait.tv_nsec = (long)((first->done_us - now_us) % 1000000 * 1000);
	}
	struct epoll_event events[EVENTS];
	int count = epoll_pwait2(provider->epoll, events, EVENTS, first ? &wait : NULL, NULL);
	now_us = wire_now_us();
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr)
			on_event(provider, events[i].data.ptr, events[i].events, now_us);
		else
			accept_all(provider);
	}
	finish_work(provider, now_us);
	bury(provider);
}

/* --- the command line ---------------------------------------------------------------------------------------- */

static const char HELP[] = "provider: a bare JSON-RPC and REST echo\n"
			   "  --port N          0: any; the port is printed (0)\n"
			   "  --delay-ms N      work a request (0)      --per-item-us N   work a call (0)\n"
			   "  --concurrent N    requests worked on at a time (0: any number)\n";

static void fail(const char *what, const char *argument)
{
	fprintf(stderr, "provider: %s: %s (provider --help)\n", what, argument);
	exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	if (end == text || *end || value > max)
		fail("not a number in range", text);
	return value;
}

static uint16_t read_options(struct provider *provider, int argc, char **argv)
{
	static const struct option OPTIONS[] = { { "port", required_argument, NULL, 'p' },
						 { "delay-ms", required_argument, NULL, 'd' },
						 { "per-item-us", required_argument, NULL, 'i' },
						 { "concurrent", required_argument, NULL, 'c' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	uint16_t port = 0;
	for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
		if (option == 'p')
			port = (uint16_t)number(optarg, UINT16_MAX);
		else if (option == 'd')
			provider->delay_us = number(optarg, 3600000) * 1000;
		else if (option == 'i')
			provider->per_item_us = number(optarg, 1000000);
		else if (option == 'c')
			provider->concurrent = number(optarg, 1000000);
		else
			exit(option == 'h' ? (fputs(HELP, stdout), 0) : 2);
	}
	if (optind < argc)
		fail("unexpected argument", argv[optind]);
	return port;
}

static void listen_on(struct provider *provider, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	provider->epoll = epoll_create1(EPOLL_CLOEXEC);
	provider->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (provider->listener < 0 || provider->epoll < 0 ||
	    setsockopt(provider->listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0 ||
	    bind(provider->listener, (struct sockaddr *)&address, len) < 0 || listen(provider->listener, BACKLOG) < 0 ||
	    getsockname(provider->listener, (struct sockaddr *)&address, &len) < 0 ||
	    epoll_ctl(provider->epoll, EPOLL_CTL_ADD, provider->listener, &event) < 0)
		fail("cannot listen", strerror(errno));
	printf("%u\n", ntohs(address.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct provider provider = { 0 };
	TAILQ_INIT(&provider.reading);
	TAILQ_INIT(&provider.queued);
	TAILQ_INIT(&provider.working);
	TAILQ_INIT(&provider.dead);
	listen_on(&provider, read_options(&provider, argc, argv));
	for (;;)
		turn(&provider);
}
