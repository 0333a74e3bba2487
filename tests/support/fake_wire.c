/* SPDX-License-Identifier: Apache-2.0 */
/* fake_wire.c: exchanges that end when the test says so, or when their time is up. */
#include "tests/support/fake_wire.h"
#include "upstream/upstream.h"
#include "upstream/provider.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256, EVENT_ID_BYTES = 32 };

struct line {
	struct connections *pool;
	uint64_t number; /* no other has it */
	struct buf left; /* sent by the provider, read by nobody */
	bool busy, ending, distrusted;
	LIST_ENTRY(line) next;
};
LIST_HEAD(lines, line);

struct riding {
	struct http_exchange *exchange;
	struct line *line; /* ended: it may be gone, see number */
	uint64_t number;   /* of the line */
	unsigned status;
	const char *type, *session;
	struct wire_reuse reuse;
	char last_event_id[EVENT_ID_BYTES];
	uint64_t due_us;
	struct wire_note note;
};

/* A header that was put before the request sets out. */
struct put_header {
	const struct http_exchange *exchange; /* NULL: the place is free */
	char last_event_id[EVENT_ID_BYTES];
};
static struct put_header put_headers[MOST];

static struct riding begun[MOST];
static size_t count, sent;
static uint64_t lines_made;

/* What is asked about an exchange that has ended, until it is stopped or begun again, is answered from here. */
struct ended {
	struct riding as; /* exchange NULL: the place is free */
	enum exchange_end how;
};
static struct ended endeds[MOST];
static void (*on_begin)(struct http_exchange *exchange), (*on_ending)(struct http_exchange *exchange);

struct transport {
	struct loop *loop;
};

struct connections {
	struct lines lines;
};

void fake_reset(void)
{
	assert(count == 0);
	sent = 0;
	on_begin = on_ending = NULL;
}

void wire_watch(void (*begun_call)(struct http_exchange *exchange), void (*ending)(struct http_exchange *exchange))
{
	on_begin = begun_call;
	on_ending = ending;
}

size_t wire_sent(void)
{
	return sent;
}

size_t wire_under_way(void)
{
	return count;
}

struct http_exchange *wire_nth(size_t n)
{
	assert(n < count);
	return begun[n].exchange;
}

/* Where it is; `count` if it is not under way. */
static size_t place(const struct http_exchange *exchange)
{
	size_t n = 0;
	while (n < count && begun[n].exchange != exchange)
		n++;
	return n;
}

static struct riding *riding_of(const struct http_exchange *exchange)
{
	size_t n = place(exchange);
	assert(n < count);
	return &begun[n];
}

static struct ended *find_ended(const struct http_exchange *exchange)
{
	for (size_t i = 0; i < MOST; i++)
		if (endeds[i].as.exchange == exchange)
			return &endeds[i];
	return NULL;
}

static void drop_ended(const struct http_exchange *exchange)
{
	struct ended *ended = find_ended(exchange);
	if (ended)
		ended->as.exchange = NULL;
}

/* Under way or ended; NULL: neither. */
static const struct riding *find_riding(const struct http_exchange *exchange)
{
	const struct ended *ended = find_ended(exchange);
	return place(exchange) < count ? riding_of(exchange) : ended ? &ended->as : NULL;
}

struct wire_note *wire_note(struct http_exchange *exchange)
{
	return &riding_of(exchange)->note;
}

struct slice wire_left(const struct http_exchange *exchange)
{
	return buf_slice(&riding_of(exchange)->line->left);
}

void wire_leave(struct http_exchange *exchange, struct slice bytes)
{
	struct line *line = riding_of(exchange)->line;
	buf_reset(&line->left);
	buf_put(&line->left, bytes);
}

void wire_status(struct http_exchange *exchange, unsigned status)
{
	riding_of(exchange)->status = status;
}

void wire_content_type(struct http_exchange *exchange, const char *type)
{
	riding_of(exchange)->type = type;
}

void wire_session(struct http_exchange *exchange, const char *id)
{
	riding_of(exchange)->session = id;
}

void wire_reuse(struct http_exchange *exchange, struct wire_reuse reuse)
{
	riding_of(exchange)->reuse = reuse;
}

const char *wire_last_event_id(struct http_exchange *exchange)
{
	return riding_of(exchange)->last_event_id;
}

void wire_grow(struct http_exchange *exchange, unsigned status, struct slice bytes)
{
	riding_of(exchange)->status = status;
	buf_put(&exchange->answer, bytes);
	exchange->grown(exchange);
}

/* --- connections --- */

static void close_line(struct line *line)
{
	LIST_REMOVE(line, next);
	buf_fini(&line->left);
	free(line);
}

/* The one that was kept first, or a new one. */
static struct line *open_line(struct connections *pool, bool fresh)
{
	struct line *line;
	LIST_FOREACH (line, &pool->lines, next) {
		if (line->busy || fresh)
			continue;
		line->busy = true;
		return line;
	}
	line = calloc(1, sizeof *line);
	assert(line);
	*line = (struct line){ .pool = pool, .number = ++lines_made, .left = BUF_INIT(SIZE_MAX / 4), .busy = true };
	LIST_INSERT_HEAD(&pool->lines, line, next);
	return line;
}

/* It is off the wire. kept: the connection may be used again. */
static struct line *take_out(size_t n)
{
	struct line *line = begun[n].line;
	buf_fini(&begun[n].note.rest);
	memmove(&begun[n], &begun[n + 1], (count - n - 1) * sizeof begun[0]);
	count--;
	return line;
}

void wire_end(struct http_exchange *exchange, enum exchange_end end)
{
	size_t n = place(exchange);
	assert(n < count);
	if (on_ending)
		on_ending(exchange);
	struct ended *ended = find_ended(NULL);
	assert(ended);
	*ended = (struct ended){ begun[n], end };
	struct line *line = take_out(n);
	uint64_t number = line->number;
	line->ending = true;
	exchange->ended(exchange, end);
	assert(line->number == number);
	line->busy = line->ending = false;
	if (end != EXCHANGE_COMPLETE || line->distrusted)
		close_line(line);
}

/* --- exchange.h --- */

struct http_url *http_url_new(const char *url)
{
	(void)url;
	return malloc(1);
}

void http_url_free(struct http_url *url)
{
	free(url);
}

static struct put_header *find_put(const struct http_exchange *exchange)
{
	for (size_t i = 0; i < MOST; i++)
		if (put_headers[i].exchange == exchange)
			return &put_headers[i];
	return NULL;
}

static void drop_put(const struct http_exchange *exchange)
{
	struct put_header *put = find_put(exchange);
	if (put)
		put->exchange = NULL;
}

bool http_exchange_put_header(struct http_exchange *exchange, struct slice name, const struct slice *value,
			      bool *no_memory)
{
	*no_memory = false;
	if (!value || !slice_equal(name, SLICE("Last-Event-ID")))
		return true;
	struct put_header *put = find_put(exchange) ? find_put(exchange) : find_put(NULL);
	assert(put);
	put->exchange = exchange;
	snprintf(put->last_event_id, sizeof put->last_event_id, "%.*s", SLICE_ARG(*value));
	return true;
}

bool http_exchange_begin(struct http_exchange *exchange, bool fresh, uint64_t timeout_us)
{
	const struct transport *transport = exchange->transfer.transport;
	assert(count < MOST && place(exchange) == count);
	drop_ended(exchange);
	buf_reset(&exchange->answer);
	begun[count++] =
		(struct riding){ .exchange = exchange,
				 .line = open_line(exchange->transfer.connections, fresh),
				 .type = "application/json",
				 .due_us = transport ? clock_add(loop_now(transport->loop), timeout_us) : CLOCK_NEVER,
				 .note.rest = BUF_INIT(SIZE_MAX / 4) };
	begun[count - 1].number = begun[count - 1].line->number;
	const struct put_header *put = find_put(exchange);
	if (put)
		memcpy(begun[count - 1].last_event_id, put->last_event_id, EVENT_ID_BYTES);
	sent++;
	if (on_begin)
		on_begin(exchange);
	return true;
}

void http_exchange_forget(struct http_exchange *exchange, size_t bytes)
{
	struct buf *answer = &exchange->answer;
	assert(bytes <= answer->len);
	if (bytes == 0)
		return;
	memmove(answer->store->bytes, answer->store->bytes + bytes, answer->len - bytes);
	answer->len -= bytes;
}

void http_exchange_keep(struct http_exchange *exchange, size_t bytes)
{
	exchange->beside = bytes; /* there is room for all */
}

void http_exchange_stop(struct http_exchange *exchange)
{
	drop_ended(exchange);
	if (place(exchange) < count)
		close_line(take_out(place(exchange)));
}

void http_exchange_fini(struct http_exchange *exchange)
{
	http_exchange_stop(exchange);
	drop_put(exchange);
	buf_fini(&exchange->body);
	buf_fini(&exchange->answer);
}

unsigned http_exchange_status(const struct http_exchange *exchange)
{
	const struct riding *riding = find_riding(exchange);
	return riding ? riding->status : 0;
}

struct slice http_exchange_content_type(const struct http_exchange *exchange)
{
	return slice_of(find_riding(exchange)->type);
}

bool http_exchange_header(const struct http_exchange *exchange, const char *name, struct slice *value)
{
	const char *session = find_riding(exchange)->session;
	*value = slice_of(session);
	return session && strcmp(name, "Mcp-Session-Id") == 0;
}

uint32_t http_exchange_retry_after_s(const struct http_exchange *exchange)
{
	return http_exchange_status(exchange) == 429 ? 1 : 0;
}

bool http_exchange_reuse(const struct http_exchange *exchange, uint32_t *seconds, uint32_t *age, bool *no_stale)
{
	const struct wire_reuse reuse = find_riding(exchange)->reuse;
	*seconds = reuse.seconds;
	*age = reuse.age;
	*no_stale = reuse.no_stale;
	return reuse.said;
}

bool http_exchange_is_answered(const struct http_exchange *exchange)
{
	return http_exchange_status(exchange) >= 200;
}

bool http_exchange_is_coded(const struct http_exchange *exchange)
{
	(void)exchange;
	return false;
}

bool http_exchange_sent(const struct http_exchange *exchange)
{
	const struct ended *ended = find_ended(exchange);
	return !ended || ended->how != EXCHANGE_NOT_SENT;
}

bool http_exchange_was_slow(const struct http_exchange *exchange)
{
	(void)exchange;
	return false;
}

void http_exchange_put_reason(const struct http_exchange *exchange, enum exchange_end end, struct buf *out)
{
	(void)exchange;
	buf_printf(out, "the test ended it (%d)", (int)end);
}

/* --- transport.h --- */

struct transport *transport_new(struct loop *loop, struct meter *meter, size_t max_connections)
{
	struct transport *transport = malloc(sizeof *transport);
	(void)meter;
	(void)max_connections;
	if (transport)
		transport->loop = loop;
	return transport;
}

void transport_grow(struct transport *transport, size_t max_connections)
{
	(void)transport;
	(void)max_connections;
}

bool transport_hold(struct transport *transport, size_t bytes)
{
	(void)transport;
	(void)bytes;
	return true;
}

void transport_let_go(struct transport *transport, size_t bytes)
{
	(void)transport;
	(void)bytes;
}

bool transport_hold_request(struct transport *transport, size_t bytes)
{
	return transport_hold(transport, bytes);
}

void transport_let_go_request(struct transport *transport, size_t bytes)
{
	transport_let_go(transport, bytes);
}

void transport_free(struct transport *transport)
{
	free(transport);
}

void transport_set_account(struct transport *transport, const struct byte_account *account)
{
	(void)transport;
	(void)account;
}

bool transport_waits(const struct transport *transport)
{
	(void)transport;
	return false;
}

/* Whose time is up. */
void transport_tick(struct transport *transport)
{
	for (size_t n = 0; n < count;) {
		struct http_exchange *exchange = begun[n].exchange;
		if (exchange->transfer.transport != transport || loop_now(transport->loop) < begun[n].due_us) {
			n++;
			continue;
		}
		wire_end(exchange, EXCHANGE_TIMED_OUT);
		n = 0; /* whoever heard it may have ended or begun others */
	}
}

struct connections *connections_new(struct transport *transport, unsigned label)
{
	struct connections *pool = malloc(sizeof *pool);
	(void)transport;
	(void)label;
	if (pool)
		LIST_INIT(&pool->lines);
	return pool;
}

void connections_leave(struct connections *pool)
{
	struct line *line;
	while (pool && (line = LIST_FIRST(&pool->lines))) {
		assert(!line->busy);
		close_line(line);
	}
	free(pool);
}

size_t connections_open(const struct connections *pool)
{
	const struct line *line;
	size_t open = 0;
	LIST_FOREACH (line, &pool->lines, next)
		open++;
	return open;
}

/* Nobody looks names up here: a host is what its name says. */
bool name_watch_init(struct name_watch *watch)
{
	(void)watch;
	return true;
}

void name_watch_in(struct name_watch *watch, uint64_t us)
{
	(void)watch;
	(void)us;
}

void name_watch_put_off(struct name_watch *watch)
{
	(void)watch;
}

void name_watch_fini(struct name_watch *watch)
{
	(void)watch;
}

/* Who has more to hear than one turn may tell. */
void transport_mark(struct transfer *transfer, size_t bytes)
{
	(void)transfer;
	(void)bytes;
	assert(!"answers here are small");
}

void transport_distrust(struct transfer *transfer)
{
	const struct ended *ended = find_ended(container_of(transfer, struct http_exchange, transfer));
	struct line *line;
	assert(ended);
	LIST_FOREACH (line, &transfer->connections->lines, next)
		if (line->number == ended->as.number)
			break;
	if (line && line->ending)
		line->distrusted = true;
	else if (line && !line->busy)
		close_line(line);
}
