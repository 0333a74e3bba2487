/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.c: one HTTP exchange on a recycled easy handle. */
#include "upstream/http/exchange.h"

#include <assert.h>
#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "upstream/authorities.h"
#include "upstream/http/failure.h"
#include "upstream/provider.h"

enum {
	RETRY_AFTER_MAX_S = 6 * 3600, /* what newer libcurls cap it at themselves */
	URL_CHARS = 100,              /* of an URL in a reason, which has 200 bytes */
	CODE_CHARS = 80,
	HELD_STEP_BYTES = 16 * 1024, /* answers are counted by so many bytes; one that is smaller is not */
	LARGE_BYTES = 512 * 1024,    /* an answer from here on is counted with the room that it has */
	PIECE_BYTES = 256,           /* what looking at a piece takes of a turn, beside its bytes: it may have one */
	HEAD_BYTES_MAX = 256 * 1024  /* of one exchange; nobody counts them */
};

/* --- headers --- */

bool http_exchange_put_header(struct http_exchange *exchange, struct slice name, const struct slice *value,
			      bool *no_memory)
{
	*no_memory = false;
	if (text_has_control(name) || (value && text_has_control(*value)))
		return false;
	struct buf line = BUF_INIT(SIZE_MAX / 4);
	struct slice text = value ? text_trim(*value) : (struct slice){ NULL, 0 };
	buf_put(&line, name);
	/* curl's words: "Name:" takes a header away, "Name;" sends it empty */
	buf_put_text(&line, !value ? ":" : text.len ? ": " : ";");
	buf_put(&line, text);
	struct curl_slist *longer = line.failed ? NULL : curl_slist_append(exchange->headers, buf_cstr(&line));
	buf_fini(&line);
	if (!longer) {
		*no_memory = true;
		return false;
	}
	exchange->headers = longer;
	return true;
}

/* --- curl's callbacks: their context is the handle --- */

static struct http_exchange *exchange_of(void *context)
{
	return container_of(((struct handle *)context)->transfer, struct http_exchange, transfer);
}

/*
 * libcurl repeats a request by itself, POST too, when a kept connection dies before a byte of the answer: up to five
 * times, without an option against it. Every attempt passes through here just before it is sent, whatever it is sent
 * over; the first one only is let out, and after it no further connection is opened either (connections.c). Whether
 * there is a second is for the owner to say.
 */
static int let_out(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct http_exchange *exchange = exchange_of(context);
	(void)remote_ip;
	(void)local_ip;
	(void)remote_port;
	(void)local_port;
	if (exchange->let_out) {
		exchange->held_back = true;
		return CURL_PREREQFUNC_ABORT;
	}
	exchange->let_out = true;
	transport_connected(&exchange->transfer);
	return CURL_PREREQFUNC_OK;
}

/* curl goes through all that it has kept for each name that it is asked for: 1,400 instructions an answer which says
 * nothing of the kind, as most do. */
static void note_words(struct http_exchange *exchange, struct slice line)
{
	if (http_line_is_of_reuse(line))
		exchange->reuse_unsaid = false;
	if (http_line_is_of(line, SLICE("Content-Encoding")))
		exchange->coding_unsaid = false;
}

/* Called for each line of a head, the blank one too: without that there is a status but no answer. An interim answer
 * (1xx) has a head of its own before. */
static size_t take_head_line(char *bytes, size_t size, size_t count, void *context)
{
	struct http_exchange *exchange = exchange_of(context);
	struct slice line = { bytes, size * count };
	exchange->head_bytes += line.len;
	exchange->too_large = exchange->head_bytes > HEAD_BYTES_MAX;
	if (exchange->too_large)
		return 0; /* trailers have no end that libcurl would see to, and it keeps them all */
	if (line.len >= 5 && memcmp(line.at, "HTTP/", 5) == 0)
		exchange->head_whole = false;
	else if (line.len == 1 || (line.len == 2 && line.at[0] == '\r'))
		exchange->head_whole = true;
	note_words(exchange, line);
	return line.len;
}

/* Count what the answer is about to grow by. */
static bool make_room(struct http_exchange *exchange, size_t more)
{
	size_t steps = (exchange->answer.len + exchange->beside + more) / HELD_STEP_BYTES,
	       counted = steps * HELD_STEP_BYTES;
	if (counted <= exchange->held)
		return true;
	if (!transport_hold(exchange->transfer.transport, counted - exchange->held))
		return false;
	exchange->held = counted;
	return true;
}

static void let_go(struct http_exchange *exchange)
{
	if (exchange->held)
		transport_let_go(exchange->transfer.transport, exchange->held);
	exchange->held = 0;
}

static void drop_answer(struct http_exchange *exchange)
{
	let_go(exchange);
	exchange->transfer.gathered = 0;
	buf_fini(&exchange->answer);
}

/* Room for exactly so many bytes in all; what is short of memory has failed. */
static void give_room(struct buf *answer, size_t bytes)
{
	size_t cap = answer->max;
	answer->max = bytes;
	(void)buf_reserve(answer, bytes - answer->len);
	answer->max = cap;
}

/* What its head has announced; 0: nothing, or what it cannot have. */
static size_t announced_bytes(const struct http_exchange *exchange)
{
	curl_off_t announced = -1;
	curl_easy_getinfo(exchange->transfer.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
	return announced > 0 && (uint64_t)announced <= exchange->answer.max ? (size_t)announced : 0;
}

/*
 * Room for more of a large answer, all of it counted, since it may be memory that somebody has used. For the whole if its
 * head said how long that is: to move megabytes takes most of a turn. Then little of the store is no part of the answer,
 * either, and it need not be copied out (answer_result_in). Where that is too much, and else, for twice as much.
 */
static bool make_large_room(struct http_exchange *exchange, size_t more)
{
	struct buf *answer = &exchange->answer;
	size_t room = answer->store ? answer->store->len : 0, wanted = answer->len + more;
	size_t whole = announced_bytes(exchange), twice = room < answer->max / 2 ? 2 * room : answer->max;
	twice = twice < wanted ? wanted : twice;
	if (whole < wanted || !make_room(exchange, whole - answer->len))
		whole = 0;
	if (!whole && !make_room(exchange, twice - answer->len))
		return false;
	give_room(answer, whole ? whole : twice);
	return true;
}

static bool make_room_for(struct http_exchange *exchange, size_t more)
{
	const struct buf *answer = &exchange->answer;
	size_t wanted = answer->len + more;
	bool large = wanted >= LARGE_BYTES && (!answer->store || wanted > answer->store->len);
	return large ? make_large_room(exchange, more) : make_room(exchange, more);
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
	struct http_exchange *exchange = exchange_of(context);
	size_t len = size * count;
	exchange->too_large = len > exchange->answer.max - exchange->answer.len;
	exchange->no_room = !exchange->too_large && !make_room_for(exchange, len);
	if (exchange->too_large || exchange->no_room) {
		let_go(exchange); /* it goes with this turn, and somebody else's may need the room now */
		return 0;
	}
	buf_put(&exchange->answer, (struct slice){ bytes, len });
	exchange->no_memory = exchange->answer.failed;
	if (exchange->no_memory)
		return 0;
	exchange->transfer.gathered = exchange->answer.len;
	transport_mark(&exchange->transfer, len + PIECE_BYTES);
	return len;
}

/* --- sending --- */

#define SET(option, value)                                                                                             \
	do {                                                                                                           \
		if (curl_easy_setopt(easy, CURLOPT_##option, (value)) != CURLE_OK)                                     \
			return false;                                                                                  \
	} while (0)

/* The callbacks, and who may vouch for the upstream's providers. */
static bool set_constants(const struct http_exchange *exchange, CURL *easy, struct handle *handle)
{
	SET(WRITEFUNCTION, take_answer);
	SET(WRITEDATA, handle);
	SET(HEADERFUNCTION, take_head_line);
	SET(HEADERDATA, handle);
	SET(PREREQFUNCTION, let_out);
	SET(PREREQDATA, handle);
	return !exchange->authorities || authorities_use(exchange->authorities, easy);
}

/* POST, HTTPGET and NOBODY each make a method of their own. */
static bool set_method(CURL *easy, struct handle *handle, const char *method, bool upload)
{
	bool custom = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "POST") != 0;
	if (handle->set.all && handle->set.method == method && handle->set.upload == upload)
		return true;
	handle->set.method = NULL;
	if (upload)
		SET(POST, 1L);
	else if (strcmp(method, "HEAD") == 0)
		SET(NOBODY, 1L);
	else
		SET(HTTPGET, 1L);
	SET(CUSTOMREQUEST, custom || (upload && strcmp(method, "POST") != 0) ? method : NULL);
	handle->set.method = method;
	handle->set.upload = upload;
	return true;
}

/* The body is borrowed and leaves with the head in one piece. That curl could rewind it is no matter: see let_out. */
static bool set_method_and_body(const struct http_exchange *exchange, CURL *easy, struct handle *handle)
{
	const char *method = exchange->method;
	bool upload = exchange->has_body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
		      strcmp(method, "PATCH") == 0;
	if (!set_method(easy, handle, method, upload))
		return false;
	if (!upload)
		return true;
	struct slice body = exchange->has_body ? buf_slice(&exchange->body) : (struct slice){ NULL, 0 };
	SET(POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
	SET(POSTFIELDS, body.len ? body.at : "");
	return true;
}

struct http_url {
	CURLU *parsed;
	uint64_t number; /* no other has it in this process, while an address may come again */
};

struct http_url *http_url_new(const char *text)
{
	static atomic_uint_fast64_t numbers;
	struct http_url *url = malloc(sizeof *url);
	if (!url)
		return NULL;
	*url = (struct http_url){ curl_url(), atomic_fetch_add_explicit(&numbers, 1, memory_order_relaxed) + 1 };
	if (url->parsed && curl_url_set(url->parsed, CURLUPART_URL, text, 0) == CURLUE_OK)
		return url;
	http_url_free(url);
	return NULL;
}

void http_url_free(struct http_url *url)
{
	if (url)
		curl_url_cleanup(url->parsed);
	free(url);
}

static bool set_url(CURL *easy, struct handle *handle, const char *text, const struct http_url *url)
{
	if (url && handle->set.url == url->number)
		return true;
	handle->set.url = 0;
	SET(CURLU, url ? url->parsed : NULL);
	/* with a parsed URL curl prints its text anew, at 8,500 instructions, unless it is given that too */
	SET(URL, text);
	handle->set.url = url ? url->number : 0;
	return true;
}

/* Milliseconds for curl: rounded up, never 0, which would mean none. */
static long to_milliseconds(uint64_t us)
{
	uint64_t ms = us / CLOCK_US_PER_MS + (us % CLOCK_US_PER_MS != 0);
	if (ms > INT32_MAX)
		ms = INT32_MAX;
	return ms ? (long)ms : 1;
}

static void drop_deadline(struct http_exchange *exchange)
{
	if (exchange->deadline)
		exchange->deadline->next = NULL; /* the others are somebody else's */
	curl_slist_free_all(exchange->deadline);
	exchange->deadline = NULL;
}

/* What is left of its time, before all other lines: those may be shared with other exchanges. */
static bool say_deadline(struct http_exchange *exchange, struct curl_slist *others, long timeout_ms)
{
	struct buf line = BUF_INIT(SIZE_MAX / 4);
	drop_deadline(exchange);
	if (!exchange->deadline_header)
		return true;
	buf_printf(&line, "%s: %ld", exchange->deadline_header, timeout_ms);
	exchange->deadline = line.failed ? NULL : curl_slist_append(NULL, buf_cstr(&line));
	buf_fini(&line);
	if (exchange->deadline)
		exchange->deadline->next = others;
	return exchange->deadline != NULL;
}

static long version_wanted(const struct http_exchange *exchange)
{
	if (exchange->http == HTTP_VERSION_AUTO && !exchange->connect_only)
		return CURL_HTTP_VERSION_2TLS;
	if (exchange->http == HTTP_VERSION_2 && !exchange->connect_only)
		return CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
	return CURL_HTTP_VERSION_1_1;
}

static bool set_request(struct http_exchange *exchange, bool fresh, uint64_t timeout_us)
{
	struct curl_slist *lines = exchange->standing ? exchange->standing : exchange->headers;
	struct handle *handle = exchange->transfer.handle;
	CURL *easy = handle->easy;
	if ((!handle->set.all && !set_constants(exchange, easy, handle)) ||
	    !set_url(easy, handle, exchange->url, exchange->parsed) || !set_method_and_body(exchange, easy, handle))
		return false;
	exchange->transfer.connect_timeout_ms = to_milliseconds(exchange->connect_timeout_us);
	exchange->transfer.timeout_ms = to_milliseconds(timeout_us);
	if (!say_deadline(exchange, lines, exchange->transfer.timeout_ms))
		return false;
	HANDLE_SET(handle, HTTPHEADER, headers, exchange->deadline ? exchange->deadline : lines);
	HANDLE_SET(handle, HTTP_VERSION, version, version_wanted(exchange));
	HANDLE_SET(handle, FRESH_CONNECT, fresh, (long)fresh);
	HANDLE_SET(handle, MAXAGE_CONN, max_age_s, (to_milliseconds(exchange->idle_timeout_us) + 999) / 1000);
	HANDLE_SET(handle, DNS_CACHE_TIMEOUT, dns_cache_s, (long)(exchange->dns_ttl_us / CLOCK_US_PER_S));
	if (exchange->connect_only) {
		exchange->transfer.particular = true;
		SET(CONNECT_ONLY, 1L);
	}
	return true;
}

/* The answer's Content-Encoding, which was not asked for and which nobody here takes off; empty: none. */
static struct slice content_coding(const struct http_exchange *exchange)
{
	struct curl_header *header;
	if (exchange->coding_unsaid ||
	    curl_easy_header(exchange->transfer.easy, "Content-Encoding", 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
	    strcasecmp(header->value, "identity") == 0)
		return (struct slice){ NULL, 0 };
	return slice_of(header->value);
}

/* libcurl takes a head that breaks off, and an interim answer with nothing behind it, for an answer without a body. */
bool http_exchange_is_answered(const struct http_exchange *exchange)
{
	return exchange->head_whole && http_exchange_status(exchange) >= 200;
}

/* OpenSSL's code in what curl says ("TLS connect error: error:0A00010B:SSL routines::wrong version number"); 0: none. */
static unsigned long tls_error(const struct http_exchange *exchange)
{
	static const char mark[] = "error:";
	const char *at = transport_error(&exchange->transfer);
	while ((at = strstr(at, mark))) {
		char *end;
		at += strlen(mark);
		unsigned long code = strtoul(at, &end, 16);
		if (*end == ':' && *at != ' ')
			return ERR_GET_LIB(code) == ERR_LIB_SSL ? code : 0;
	}
	return 0;
}

/* An alert of the provider's that is about who this gateway is: by TLS 1.3 it comes when the first request has left,
 * and in place of reading it (RFC 8446, 4.4.2.4 and 6.2). */
static bool is_about_us(int alert)
{
	return (alert >= SSL_AD_NO_CERTIFICATE && alert <= SSL_AD_CERTIFICATE_UNKNOWN) || alert == SSL_AD_UNKNOWN_CA ||
	       alert == SSL_AD_ACCESS_DENIED || alert == SSL_AD_CERTIFICATE_REQUIRED;
}

/* The two have no protocol or cipher in common, or the other does not speak TLS. */
static bool has_no_common_tongue(int reason)
{
	switch (reason) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE:
	case SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION:
	case SSL_AD_REASON_OFFSET + SSL_AD_INSUFFICIENT_SECURITY:
	case SSL_AD_REASON_OFFSET + SSL_AD_UNRECOGNIZED_NAME:
		return true;
	default:
		return false;
	}
}

static bool is_met_with_silence(const struct http_exchange *exchange)
{
	return exchange->head_bytes == 0 && exchange->answer.len == 0;
}

/* Whether it was let out over a connection of its own making. */
static bool has_connected(const struct http_exchange *exchange)
{
	long made = 0;
	curl_easy_getinfo(exchange->transfer.easy, CURLINFO_NUM_CONNECTS, &made);
	return made > 0;
}

/* Whether no TLS came about, and none will until somebody mends a certificate, a file or the provider's address. */
static bool is_shut_out(const struct http_exchange *exchange)
{
	int reason = ERR_GET_REASON(tls_error(exchange));
	switch ((CURLcode)exchange->transfer.result) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CLIENTCERT:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_ISSUER_ERROR:
		return !exchange->let_out;
	case CURLE_SSL_CONNECT_ERROR:
		return !exchange->let_out &&
		       (has_no_common_tongue(reason) || is_about_us(reason - SSL_AD_REASON_OFFSET));
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return is_about_us(reason - SSL_AD_REASON_OFFSET) && has_connected(exchange) &&
		       is_met_with_silence(exchange);
	default:
		return false;
	}
}

/*
 * Whether the connection had been kept, and died before a byte of an answer: most have come to an end by then, and that says
 * nothing of who answers new ones. libcurl would send again (let_out); but it counts how often it does over all the life of a
 * handle, ends each sixth time with an error (Curl_retry_request of 7.88), and does not where a body leaves in pieces.
 */
static bool has_died_kept(const struct http_exchange *exchange)
{
	CURLcode code = (CURLcode)exchange->transfer.result;
	bool died = code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING;
	return exchange->held_back || exchange->transfer.turned ||
	       (died && !has_connected(exchange) && is_met_with_silence(exchange));
}

static enum exchange_end end_of(const struct http_exchange *exchange)
{
	CURLcode code = (CURLcode)exchange->transfer.result;
	if (code == CURLE_OK && exchange->connect_only)
		return EXCHANGE_COMPLETE;
	if (code == CURLE_OK) /* coded bytes under a name like application/json would be a lie to the caller */
		return http_exchange_is_answered(exchange) && content_coding(exchange).len == 0 ? EXCHANGE_COMPLETE
												: EXCHANGE_BROKE;
	if (exchange->too_large)
		return EXCHANGE_TOO_LARGE;
	if (exchange->no_room)
		return EXCHANGE_NO_ROOM;
	if (exchange->no_memory || code == CURLE_OUT_OF_MEMORY)
		return EXCHANGE_NO_MEMORY;
	if (exchange->shut_out)
		return EXCHANGE_SHUT_OUT;
	if (!exchange->let_out)
		return exchange->transfer.starved ? EXCHANGE_NO_MEMORY : EXCHANGE_NOT_SENT;
	if (has_died_kept(exchange))
		return EXCHANGE_STALE;
	if (!http_exchange_sent(exchange))
		return EXCHANGE_NOT_SENT;
	return code == CURLE_OPERATION_TIMEDOUT ? EXCHANGE_TIMED_OUT : EXCHANGE_BROKE;
}

static void on_progress(struct transfer *transfer)
{
	struct http_exchange *exchange = container_of(transfer, struct http_exchange, transfer);
	exchange->shut_out = transfer->done && !transfer->starved && is_shut_out(exchange);
	if (transfer->done)
		exchange->ended(exchange, end_of(exchange));
	else
		exchange->grown(exchange);
}

bool http_exchange_begin(struct http_exchange *exchange, bool fresh, uint64_t timeout_us)
{
	exchange->transfer.on_progress = on_progress;
	exchange->let_out = exchange->held_back = exchange->shut_out = exchange->head_whole = false;
	exchange->reuse_unsaid = exchange->coding_unsaid = true;
	exchange->head_bytes = 0;
	exchange->too_large = exchange->no_room = exchange->no_memory = false;
	drop_answer(exchange);
	if (!exchange->transfer.handle && !transport_prepare(&exchange->transfer))
		return false;
	if (exchange->http != HTTP_VERSION_1_1 && !connections_are_alone(exchange->transfer.connections))
		fresh = false; /* all that were on one that has died would open one each */
	return set_request(exchange, fresh, timeout_us) && transport_start(&exchange->transfer);
}

void http_exchange_keep(struct http_exchange *exchange, size_t bytes)
{
	exchange->beside = bytes;
	if (exchange->transfer.done || make_room(exchange, 0))
		return;
	exchange->no_room = true;
	let_go(exchange);
	transport_end(&exchange->transfer, CURLE_WRITE_ERROR); /* as when take_answer has none */
}

void http_exchange_forget(struct http_exchange *exchange, size_t count)
{
	struct buf *answer = &exchange->answer;
	assert(count <= answer->len);
	if (count == 0)
		return;
	memmove(answer->store->bytes, answer->store->bytes + count, answer->len - count);
	answer->len -= count;
	exchange->transfer.gathered = answer->len;
}

void http_exchange_stop(struct http_exchange *exchange)
{
	transport_stop(&exchange->transfer);
}

void http_exchange_fini(struct http_exchange *exchange)
{
	http_exchange_stop(exchange);
	drop_deadline(exchange);
	curl_slist_free_all(exchange->headers);
	exchange->headers = NULL;
	buf_fini(&exchange->body);
	drop_answer(exchange);
}

/* --- questions --- */

unsigned http_exchange_status(const struct http_exchange *exchange)
{
	long status = 0;
	curl_easy_getinfo(exchange->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	return (unsigned)status;
}

struct slice http_exchange_content_type(const struct http_exchange *exchange)
{
	char *type = NULL;
	curl_easy_getinfo(exchange->transfer.easy, CURLINFO_CONTENT_TYPE, &type);
	return slice_of(type);
}

bool http_exchange_header(const struct http_exchange *exchange, const char *name, struct slice *value)
{
	struct curl_header *header;
	if (curl_easy_header(exchange->transfer.easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return false;
	*value = slice_of(header->value);
	return true;
}

uint32_t http_exchange_retry_after_s(const struct http_exchange *exchange)
{
	curl_off_t seconds = 0; /* curl reads both forms, the number and the date */
	curl_easy_getinfo(exchange->transfer.easy, CURLINFO_RETRY_AFTER, &seconds);
	if (seconds <= 0)
		return 0;
	return seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (uint32_t)seconds;
}

bool http_exchange_is_coded(const struct http_exchange *exchange)
{
	return content_coding(exchange).len > 0;
}

bool http_exchange_sent(const struct http_exchange *exchange)
{
	long bytes = 0;
	if (!exchange->let_out || exchange->shut_out)
		return false;
	if (!exchange->transfer.easy)
		return true;
	return curl_easy_getinfo(exchange->transfer.easy, CURLINFO_REQUEST_SIZE, &bytes) != CURLE_OK || bytes > 0;
}

bool http_exchange_was_slow(const struct http_exchange *exchange)
{
	return exchange->transfer.result == CURLE_OPERATION_TIMEDOUT;
}

static void put_not_sent(const struct http_exchange *exchange, struct buf *out)
{
	CURLcode code = (CURLcode)exchange->transfer.result;
	unsigned long tls_code = tls_error(exchange);
	const char *tls_why = tls_code ? ERR_reason_error_string(tls_code) : NULL;
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		buf_printf(out, "cannot find the host of %.*s", URL_CHARS, exchange->endpoint);
		break;
	case CURLE_COULDNT_CONNECT:
		buf_printf(out, "cannot connect to %.*s", URL_CHARS, exchange->endpoint);
		failure_put_os_error(exchange->transfer.easy, out);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		buf_printf(out, "no connection to %.*s in time", URL_CHARS, exchange->endpoint);
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		buf_printf(out, "cannot trust %.*s: ", URL_CHARS, exchange->endpoint);
		failure_put_certificate(exchange->transfer.easy, out);
		break;
	default:
		buf_printf(out, tls_why ? "cannot speak TLS with %.*s: %.*s" : "cannot connect to %.*s: %.*s",
			   URL_CHARS, exchange->endpoint, CODE_CHARS, tls_why ? tls_why : curl_easy_strerror(code));
		break;
	}
}

/* begun: what there was of an answer. */
static void put_broken(const struct http_exchange *exchange, const char *begun, struct buf *out)
{
	CURLcode code = (CURLcode)exchange->transfer.result;
	struct slice coding = content_coding(exchange);
	if (code != CURLE_OK)
		buf_printf(out, "%.*s broke off before %s: %.*s", URL_CHARS, exchange->endpoint, begun, CODE_CHARS,
			   curl_easy_strerror(code));
	else if (!http_exchange_is_answered(exchange))
		buf_printf(out, "%.*s broke off in the head of its answer", URL_CHARS, exchange->endpoint);
	else
		buf_printf(out, "%.*s answered with Content-Encoding %.*s, which was not asked for", URL_CHARS,
			   exchange->endpoint, coding.len < CODE_CHARS ? (int)coding.len : CODE_CHARS, coding.at);
}

void http_exchange_put_reason(const struct http_exchange *exchange, enum exchange_end end, struct buf *out)
{
	const char *begun = exchange->answer.len ? "the whole answer" : "an answer";
	switch (end) {
	case EXCHANGE_COMPLETE:
		break;
	case EXCHANGE_NOT_SENT:
	case EXCHANGE_SHUT_OUT:
		put_not_sent(exchange, out);
		break;
	case EXCHANGE_STALE:
		buf_printf(out, "%.*s closed a kept connection before an answer", URL_CHARS, exchange->endpoint);
		break;
	case EXCHANGE_TIMED_OUT:
		buf_printf(out, "%.*s did not send %s in time", URL_CHARS, exchange->endpoint, begun);
		break;
	case EXCHANGE_BROKE:
		put_broken(exchange, begun, out);
		break;
	case EXCHANGE_TOO_LARGE:
		if (exchange->head_bytes > HEAD_BYTES_MAX) {
			buf_printf(out, "the head of %.*s's answer, trailers included, is over the cap of %d bytes",
				   URL_CHARS, exchange->endpoint, HEAD_BYTES_MAX);
			break;
		}
		buf_printf(out, "the answer of %.*s is over the cap of %zu bytes (answer)", URL_CHARS,
			   exchange->endpoint, exchange->answer.max);
		break;
	case EXCHANGE_NO_ROOM:
		buf_put_text(out,
			     "the gateway holds as many bytes as limits.in_flight_bytes allows, and had no room for "
			     "the answer");
		break;
	case EXCHANGE_NO_MEMORY:
		buf_put_text(out, exchange->transfer.starved ? "the gateway has no descriptor left for a connection"
							     : "the gateway is out of memory");
		break;
	}
}
