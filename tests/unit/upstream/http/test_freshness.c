/* SPDX-License-Identifier: Apache-2.0 */
/* A provider's headers and for how long its answer may be used again (RFC 9111), over a real exchange of libcurl's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <stdio.h>
#include <time.h>

#include "tests/support/provider.h"
#include "upstream/http/exchange.h"

#define DATE(seconds) "Sat, 21 Nov 2026 04:00:" #seconds " GMT"

static const char *lines; /* that the provider answers with, each with its line break */

static enum provider_then answer(struct provider_request *request)
{
	provider_write(request, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%s\r\n", lines);
	return PROVIDER_CLOSE;
}

struct decision {
	bool said, no_stale;
	uint32_t seconds, age;
};

/* As exchange.c does: what goes unnoticed here is not looked for. */
static size_t note_line(char *bytes, size_t size, size_t count, void *context)
{
	struct http_exchange *exchange = context;
	if (http_line_is_of_reuse((struct slice){ bytes, size * count }))
		exchange->reuse_unsaid = false;
	return size * count;
}

static struct decision read_back(const char *headers)
{
	static struct provider *provider;
	char url[60];
	struct decision decision;
	lines = headers;
	provider = provider_start(answer, NULL);
	snprintf(url, sizeof url, "http://127.0.0.1:%u/", provider_port(provider));
	struct http_exchange exchange = { .transfer.easy = curl_easy_init() };
	assert_non_null(exchange.transfer.easy);
	curl_easy_setopt(exchange.transfer.easy, CURLOPT_URL, url);
	curl_easy_setopt(exchange.transfer.easy, CURLOPT_PROXY, "");
	exchange.reuse_unsaid = true;
	curl_easy_setopt(exchange.transfer.easy, CURLOPT_HEADERFUNCTION, note_line);
	curl_easy_setopt(exchange.transfer.easy, CURLOPT_HEADERDATA, &exchange);
	assert_int_equal(curl_easy_perform(exchange.transfer.easy), CURLE_OK);
	decision.said = http_exchange_reuse(&exchange, &decision.seconds, &decision.age, &decision.no_stale);
	curl_easy_cleanup(exchange.transfer.easy);
	provider_stop(provider);
	return decision;
}

static void expect(const char *headers, uint32_t seconds, bool no_stale)
{
	struct decision decision = read_back(headers);
	if (!decision.said || decision.seconds != seconds || decision.no_stale != no_stale)
		fail_msg("%s: said %d, %u s (wanted %u), no_stale %d (wanted %d)", headers, decision.said,
			 decision.seconds, seconds, decision.no_stale, no_stale);
}

static void expect_forbidden(const char *headers)
{
	struct decision decision = read_back(headers);
	if (!decision.said || decision.seconds != 0)
		fail_msg("%s: said %d, %u s", headers, decision.said, decision.seconds);
}

static void expect_silence(const char *headers)
{
	struct decision decision = read_back(headers);
	if (decision.said || decision.no_stale)
		fail_msg("%s: said %d, %u s, no_stale %d", headers, decision.said, decision.seconds, decision.no_stale);
}

static void headers_that_say_nothing_of_it_change_nothing(void **state)
{
	(void)state;
	expect_silence("");
	expect_silence("Cache-Control: public\r\n");
	expect_silence("Cache-Control: unheard-of=5, no-transform\r\n");
	expect_silence("Cache-Control: \r\n");
	expect_silence("Vary: Accept\r\n");
	expect_silence("Date: " DATE(00) "\r\n");
	expect_silence("Age: 100\r\n");
	expect_silence("Last-Modified: " DATE(00) "\r\n");
	expect_silence("Pragma: no-cache\r\n"); /* 5.4: it means nothing in an answer */
}

static void max_age_is_the_time_and_s_maxage_goes_before_it(void **state)
{
	(void)state;
	expect("Cache-Control: max-age=60\r\n", 60, false);
	expect("cache-control: MAX-AGE=60\r\n", 60, false);
	expect("Cache-Control: max-age=\"60\"\r\n", 60, false); /* 5.2: a recipient takes both forms */
	expect("Cache-Control: public, , max-age=60,\r\n", 60, false);
	expect("Cache-Control: max-age=0\r\n", 0, false);
	expect("Cache-Control: max-age=10, s-maxage=60\r\n", 60, true); /* 5.2.2.10: as with proxy-revalidate */
	expect("Cache-Control: s-maxage=5, max-age=60\r\n", 5, true);
	expect("Cache-Control: max-age=60\r\nCache-Control: must-revalidate\r\n", 60, true);
}

static void of_two_times_the_shorter_one_counts(void **state)
{
	(void)state;
	expect("Cache-Control: max-age=60, max-age=7\r\n", 7, false);
	expect("Cache-Control: max-age=7\r\nCache-Control: max-age=60\r\n", 7, false);
}

static void a_time_beyond_measure_is_a_long_time(void **state)
{
	(void)state;
	struct decision decision = read_back("Cache-Control: max-age=99999999999999999999999999\r\n");
	assert_true(decision.said);
	assert_true(decision.seconds >= 1u << 31 || decision.seconds == 0); /* 1.2.2: 2^31 or more */
	decision = read_back("Cache-Control: max-age=4294967296\r\n");
	assert_true(decision.said && decision.seconds >= 1u << 31);
}

static void a_time_that_cannot_be_read_forbids(void **state)
{
	(void)state;
	expect_forbidden("Cache-Control: max-age=soon\r\n");
	expect_forbidden("Cache-Control: max-age\r\n");
	expect_forbidden("Cache-Control: max-age=-1\r\n");
	expect_forbidden("Cache-Control: max-age=1.5\r\n");
	expect_forbidden("Cache-Control: max-age=60, s-maxage=x\r\n");
	expect_forbidden("Cache-Control: max-age=\"60\r\n");
}

static void what_forbids_goes_before_every_time(void **state)
{
	(void)state;
	expect_forbidden("Cache-Control: no-store\r\n");
	expect_forbidden("Cache-Control: No-Cache, max-age=60\r\n");
	expect_forbidden("Cache-Control: max-age=60, private\r\n");
	expect_forbidden("Cache-Control: max-age=60, private=\"Set-Cookie\"\r\n");
	expect_forbidden("Cache-Control: max-age=60\r\nCache-Control: no-cache=\"a, b\"\r\n");
	expect_forbidden("Cache-Control: max-age=60\r\nVary: Accept\r\nVary: *\r\n");
	expect_forbidden("Vary: Accept, *\r\n");
}

static void what_must_be_revalidated_is_never_served_stale(void **state)
{
	(void)state;
	struct decision decision = read_back("Cache-Control: must-revalidate\r\n");
	assert_true(decision.said && decision.no_stale && decision.seconds == UINT32_MAX);
	expect("Cache-Control: max-age=3, must-revalidate\r\n", 3, true);
	expect("Cache-Control: max-age=3, proxy-revalidate\r\n", 3, true);
	decision =
		read_back("Age: 100\r\nCache-Control: must-revalidate\r\n"); /* no time was said: none is shortened */
	assert_true(decision.seconds == UINT32_MAX);
}

static void what_has_been_kept_elsewhere_has_aged(void **state)
{
	(void)state;
	expect("Cache-Control: max-age=60\r\nAge: 20\r\n", 40, false);
	expect("Cache-Control: max-age=60\r\nAge: 60\r\n", 0, false);
	expect("Cache-Control: max-age=10, s-maxage=60\r\nAge: 20\r\n", 40, true);
	expect("Cache-Control: max-age=60\r\nAge: 61\r\n", 0, false);
	expect("Cache-Control: max-age=60\r\nAge: a while\r\n", 60, false); /* 5.1: ignored */
	expect("Cache-Control: max-age=60\r\nAge: -5\r\n", 60, false);
	expect("Expires: " DATE(30) "\r\nDate: " DATE(00) "\r\nAge: 10\r\n", 20, false);
}

static void expires_counts_from_date_and_behind_max_age(void **state)
{
	(void)state;
	expect("Expires: " DATE(30) "\r\nDate: " DATE(10) "\r\n", 20, false);
	expect("Expires: " DATE(10) "\r\nDate: " DATE(10) "\r\n", 0, false);
	expect("Expires: " DATE(10) "\r\nDate: " DATE(30) "\r\n", 0, false);
	expect("Expires: " DATE(30) "\r\nDate: " DATE(10) "\r\nCache-Control: max-age=5\r\n", 5, false);
	expect("Expires: " DATE(30) "\r\nDate: " DATE(10) "\r\nCache-Control: public\r\n", 20, false);
	expect("Expires: Saturday, 21-Nov-26 04:00:30 GMT\r\nDate: " DATE(10) "\r\n", 20, false); /* RFC 850 */
	expect("Expires: Sat Nov 21 04:00:30 2026\r\nDate: " DATE(10) "\r\n", 20, false);         /* asctime */
}

static void an_end_that_is_no_date_has_passed(void **state)
{
	(void)state;
	expect("Expires: 0\r\n", 0, false); /* 5.3 */
	expect("Expires: -1\r\n", 0, false);
	expect("Expires: never\r\nDate: " DATE(10) "\r\n", 0, false);
	expect("Expires: \r\n", 0, false);
	expect("Expires: " DATE(30) "\r\nDate: at noon\r\n", 0, false);
}

static void without_a_date_the_clock_is_it(void **state)
{
	(void)state;
	char headers[100], date[50];
	time_t later = time(NULL) + 1000;
	struct tm parts;
	assert_true(strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&later, &parts)) > 0);
	snprintf(headers, sizeof headers, "Expires: %s\r\n", date);
	struct decision decision = read_back(headers);
	assert_true(decision.said && decision.seconds > 900 && decision.seconds <= 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_that_say_nothing_of_it_change_nothing),
		cmocka_unit_test(max_age_is_the_time_and_s_maxage_goes_before_it),
		cmocka_unit_test(of_two_times_the_shorter_one_counts),
		cmocka_unit_test(a_time_beyond_measure_is_a_long_time),
		cmocka_unit_test(a_time_that_cannot_be_read_forbids),
		cmocka_unit_test(what_forbids_goes_before_every_time),
		cmocka_unit_test(what_must_be_revalidated_is_never_served_stale),
		cmocka_unit_test(what_has_been_kept_elsewhere_has_aged),
		cmocka_unit_test(expires_counts_from_date_and_behind_max_age),
		cmocka_unit_test(an_end_that_is_no_date_has_passed),
		cmocka_unit_test(without_a_date_the_clock_is_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
