/* SPDX-License-Identifier: Apache-2.0 */
/* failure.c: see the header. */
#include "upstream/http/failure.h"

#include <ctype.h>
#include <openssl/x509_vfy.h>
#include <string.h>

enum { WORDS_CHARS = 80 };

void failure_put_os_error(CURL *easy, struct buf *out)
{
	long number = 0;
	char text[WORDS_CHARS];
	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
	if (number <= 0)
		return;
	const char *said = strerror_r((int)number, text, sizeof text);
	buf_printf(out, ": %c%s", tolower((unsigned char)said[0]), said + 1);
}

void failure_put_certificate(CURL *easy, struct buf *out)
{
	long decision = X509_V_OK;
	curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &decision);
	/* libcurl compares the name itself, before it asks what OpenSSL found: its decision is still as it began */
	if (decision == X509_V_OK || decision == X509_V_ERR_UNSPECIFIED)
		buf_put_text(out, "its certificate is for another host");
	else
		buf_printf(out, "its certificate: %.*s", WORDS_CHARS, X509_verify_cert_error_string(decision));
}
