/* SPDX-License-Identifier: Apache-2.0 */
/* client.c: a small blocking HTTP fetch. */
#include "upstream/http/client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "upstream/http/failure.h"

enum { PAUSE_MOST_S = 3600 };

#ifndef JITNEY_VERSION
#define JITNEY_VERSION "0"
#endif

struct fetch {
	CURL *easy;
	struct curl_slist *headers;
	struct buf url;
	struct client_reply *reply;
	bool too_large;
	bool unwanted; /* the sink had enough */
	bool status_only;
};

#define SET(option, value)                                                                                             \
	do {                                                                                                           \
		if (curl_easy_setopt(easy, CURLOPT_##option, (value)) != CURLE_OK)                                     \
			return false;                                                                                  \
	} while (0)

static const char *socket_path(const char *server)
{
	return strncmp(server, "unix:", 5) == 0 ? server + 5 : NULL;
}

static void put_url(struct buf *url, const char *server, const char *path)
{
	struct slice base = socket_path(server) ? SLICE("http://localhost") : slice_of(server);
	if (!strstr(server, "://") && !socket_path(server))
		buf_put_text(url, "http://");
	while (base.len && base.at[base.len - 1] == '/')
		base.len--;
	buf_put(url, base);
	buf_put_text(url, path);
}

static bool put_header(struct fetch *fetch, const char *name, const char *value)
{
	struct buf line = BUF_INIT(SIZE_MAX / 4);
	buf_printf(&line, *value ? "%s: %s" : "%s;%s", name, value);
	struct curl_slist *longer = line.failed ? NULL : curl_slist_append(fetch->headers, buf_cstr(&line));
	buf_fini(&line);
	if (longer)
		fetch->headers = longer;
	return longer != NULL;
}

static bool put_headers(struct fetch *fetch, const struct client_request *request)
{
	for (size_t i = 0; i < request->header_count; i++)
		if (!put_header(fetch, request->headers[i].name, request->headers[i].value))
			return false;
	struct curl_slist *longer = curl_slist_append(fetch->headers, "Expect:");
	if (longer)
		fetch->headers = longer;
	return longer != NULL;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
	struct fetch *fetch = context;
	long status = 0;
	if (fetch->status_only)
		return 0;
	curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
	if (fetch->reply->sink && status == 200) {
		fetch->unwanted =
			!fetch->reply->sink(fetch->reply->sink_context, (struct slice){ bytes, size * count });
		return fetch->unwanted ? 0 : size * count;
	}
	buf_put(&fetch->reply->body, (struct slice){ bytes, size * count });
	fetch->too_large = fetch->reply->body.failed;
	return fetch->too_large ? 0 : size * count;
}

/* Whether somebody has given it up; curl asks at least once a second. */
static int look_whether_cancelled(void *context, curl_off_t all_down, curl_off_t down, curl_off_t all_up, curl_off_t up)
{
	(void)all_down, (void)down, (void)all_up, (void)up;
	return atomic_load((const atomic_bool *)context);
}

static bool set_cancelled(CURL *easy, const atomic_bool *cancelled)
{
	if (!cancelled)
		return true;
	SET(NOPROGRESS, 0L);
	SET(XFERINFOFUNCTION, look_whether_cancelled);
	SET(XFERINFODATA, (void *)cancelled);
	return true;
}

/* Without a path: the folder of the system's authorities would count beside the file. */
static bool set_authorities(CURL *easy, const char *ca_file)
{
	if (!ca_file)
		return true;
	SET(CAPATH, NULL);
	SET(CAINFO, ca_file);
	return true;
}

static bool set_method(CURL *easy, const struct client_request *request)
{
	if (request->has_body) {
		SET(POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
		SET(POSTFIELDS, request->body.len ? request->body.at : "");
	} else if (strcmp(request->method, "HEAD") == 0) {
		SET(NOBODY, 1L);
		return true;
	}
	SET(CUSTOMREQUEST, request->method);
	return true;
}

static bool set_up(struct fetch *fetch, const struct client_request *request)
{
	CURL *easy = fetch->easy = curl_easy_init();
	if (!easy || !put_headers(fetch, request))
		return false;
	put_url(&fetch->url, request->server, request->path);
	SET(URL, buf_cstr(&fetch->url));
	SET(UNIX_SOCKET_PATH, socket_path(request->server));
	SET(HTTPHEADER, fetch->headers);
	SET(USERAGENT, "jitney/" JITNEY_VERSION);
	SET(TIMEOUT_MS, (long)((request->timeout_us + 999) / 1000));
	SET(NOSIGNAL, 1L);
	SET(QUICK_EXIT, 1L);
	SET(PROXY, ""); /* a gateway is near: http_proxy of the environment is not meant for it */
	SET(NOPROXY, "*");
	SET(PROTOCOLS_STR, "http,https");
	SET(FOLLOWLOCATION, 0L); /* a redirect would carry headers elsewhere */
	SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(PATH_AS_IS, 1L);
	SET(WRITEFUNCTION, take_body);
	SET(WRITEDATA, fetch);
	return set_authorities(easy, request->ca_file) && set_cancelled(easy, request->cancelled) &&
	       set_method(easy, request) && !fetch->url.failed;
}

bool client_read_pause(const struct client_wanted *retry_after, uint64_t *us)
{
	const char *value = retry_after->value;
	uint64_t seconds;
	if (!*value)
		return false;
	if (value[strspn(value, "0123456789")] == '\0') {
		seconds = strtoull(value, NULL, 10); /* the largest there is, if it is larger */
	} else {
		time_t date = curl_getdate(value, NULL), now = time(NULL);
		if (date < 0)
			return false;
		seconds = date > now ? (uint64_t)(date - now) : 0;
	}
	*us = (seconds < PAUSE_MOST_S ? seconds : PAUSE_MOST_S) * CLOCK_US_PER_S;
	return true;
}

static void read_reply(struct fetch *fetch)
{
	long status = 0;
	curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
	fetch->reply->status = (unsigned)status;
	for (size_t i = 0; i < fetch->reply->wanted_count; i++) {
		struct client_wanted *wanted = &fetch->reply->wanted[i];
		struct curl_header *header;
		wanted->value[0] = '\0';
		if (curl_easy_header(fetch->easy, wanted->name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
			snprintf(wanted->value, sizeof wanted->value, "%s", header->value);
	}
}

/* What curl has met. */
static void put_failure(struct buf *out, const struct fetch *fetch, const struct client_request *request, CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		buf_printf(out, "cannot connect to %s", request->server);
		failure_put_os_error(fetch->easy, out);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		buf_printf(out, "%s did not answer within %.3g s", request->server, (double)request->timeout_us / 1e6);
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		buf_printf(out, "cannot trust %s: ", request->server);
		failure_put_certificate(fetch->easy, out);
		break;
	default:
		buf_printf(out, "%s: %s", request->server, curl_easy_strerror(code));
		break;
	}
}

static void explain_failure(const struct fetch *fetch, const struct client_request *request, CURLcode code, char *error,
			    size_t error_bytes)
{
	struct buf text = BUF_INIT(SIZE_MAX / 4);
	if (fetch->unwanted)
		buf_printf(&text, "what %s sent could not be written", request->server);
	else if (fetch->too_large)
		buf_printf(&text, "the answer of %s is over %zu bytes", request->server, fetch->reply->body.max);
	else
		put_failure(&text, fetch, request, code);
	snprintf(error, error_bytes, "%s", buf_cstr(&text));
	buf_fini(&text);
}

/* Whether the answer is as far as it is wanted. */
static bool is_answered(const struct fetch *fetch, CURLcode code)
{
	long status = 0;
	curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
	return code == CURLE_OK || (fetch->status_only && status >= 200);
}

bool client_fetch(const struct client_request *request, struct client_reply *reply, char *error, size_t error_bytes)
{
	struct fetch fetch = { .reply = reply, .url = BUF_INIT(SIZE_MAX / 4), .status_only = request->status_only };
	bool ok = set_up(&fetch, request);
	CURLcode code = ok ? curl_easy_perform(fetch.easy) : CURLE_OK;
	bool answered = ok && is_answered(&fetch, code);
	if (ok)
		read_reply(&fetch);
	if (!ok)
		snprintf(error, error_bytes, "out of memory");
	else if (!answered)
		explain_failure(&fetch, request, code, error, error_bytes);
	curl_easy_cleanup(fetch.easy);
	curl_slist_free_all(fetch.headers);
	buf_fini(&fetch.url);
	return answered;
}
