/* SPDX-License-Identifier: Apache-2.0 */
/* fake_wire.c: exchanges that end when the test says so. */
#include "tests/support/fake_wire.h"

#include <assert.h>
#include <stdlib.h>

enum { MOST = 64 };

static struct http_exchange *begun[MOST];
static unsigned statuses[MOST];
static size_t count, sent;

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
	return begun[n];
}

/* Where it is; `count` if it is not under way. */
static size_t place(const struct http_exchange *exchange)
{
	size_t n = 0;
	while (n < count && begun[n] != exchange)
		n++;
	return n;
}

static void take_out(size_t n)
{
	count--;
	for (; n < count; n++) {
		begun[n] = begun[n + 1];
		statuses[n] = statuses[n + 1];
	}
}

void wire_status(struct http_exchange *exchange, unsigned status)
{
	statuses[place(exchange)] = status;
}

void wire_grow(struct http_exchange *exchange, unsigned status, struct slice bytes)
{
	statuses[place(exchange)] = status;
	buf_put(&exchange->answer, bytes);
	exchange->grown(exchange);
}

/* What is asked about an exchange that has just ended is answered from here. */
static const struct http_exchange *ended;
static unsigned ended_status;
static enum exchange_end ended_how;

void wire_end(struct http_exchange *exchange, enum exchange_end end)
{
	size_t n = place(exchange);
	assert(n < count);
	ended = exchange;
	ended_status = statuses[n];
	ended_how = end;
	take_out(n);
	exchange->ended(exchange, end);
	ended = NULL;
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

bool http_exchange_put_header(struct http_exchange *exchange, struct slice name, const struct slice *value,
			      bool *no_memory)
{
	(void)exchange;
	(void)name;
	(void)value;
	*no_memory = false;
	return true;
}

bool http_exchange_begin(struct http_exchange *exchange, bool fresh, uint64_t timeout_us)
{
	(void)fresh;
	(void)timeout_us;
	assert(count < MOST && place(exchange) == count);
	begun[count] = exchange;
	statuses[count++] = 0;
	sent++;
	return true;
}

void http_exchange_forget(struct http_exchange *exchange, size_t bytes)
{
	(void)exchange;
	assert(bytes == 0);
}

void http_exchange_stop(struct http_exchange *exchange)
{
	if (place(exchange) < count)
		take_out(place(exchange));
}

void http_exchange_fini(struct http_exchange *exchange)
{
	http_exchange_stop(exchange);
	buf_fini(&exchange->body);
	buf_fini(&exchange->answer);
}

unsigned http_exchange_status(const struct http_exchange *exchange)
{
	return exchange == ended ? ended_status : statuses[place(exchange)];
}

struct slice http_exchange_content_type(const struct http_exchange *exchange)
{
	(void)exchange;
	return SLICE("application/json");
}

bool http_exchange_header(const struct http_exchange *exchange, const char *name, struct slice *value)
{
	(void)exchange;
	(void)name;
	(void)value;
	return false;
}

uint32_t http_exchange_retry_after_s(const struct http_exchange *exchange)
{
	return http_exchange_status(exchange) == 429 ? 1 : 0;
}

bool http_exchange_reuse(const struct http_exchange *exchange, uint32_t *seconds, uint32_t *age, bool *no_stale)
{
	(void)exchange;
	*seconds = *age = 0;
	*no_stale = false;
	return false;
}

bool http_exchange_is_coded(const struct http_exchange *exchange)
{
	(void)exchange;
	return false;
}

bool http_exchange_sent(const struct http_exchange *exchange)
{
	return exchange != ended || ended_how != EXCHANGE_NOT_SENT;
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

struct connections {
	char nothing;
};

struct connections *connections_new(struct transport *transport, unsigned label)
{
	(void)transport;
	(void)label;
	return malloc(sizeof(struct connections));
}

void connections_leave(struct connections *connections)
{
	free(connections);
}

size_t connections_open(const struct connections *connections)
{
	(void)connections;
	return 0;
}

void transport_distrust(struct transfer *transfer)
{
	(void)transfer; /* there are no connections that could be used again */
}
