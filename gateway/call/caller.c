/* SPDX-License-Identifier: Apache-2.0 */
/* caller.c: headers into identity, deadline, priority and cache directives. */
#include "gateway/call/caller.h"

#include <openssl/sha.h>
#include <xxhash.h>

/* RFC 9218, 4.1: the member "u" of a structured-fields dictionary. What we cannot read is ignored, as section 4 says.
 */
static uint8_t read_urgency(struct slice value)
{
	for (size_t i = 0; i + 2 < value.len; i++) {
		bool starts = i == 0 || value.at[i - 1] == ',' || value.at[i - 1] == ' ';
		bool ends = i + 3 == value.len || value.at[i + 3] == ',' || value.at[i + 3] == ';' ||
			    value.at[i + 3] == ' ';
		if (starts && ends && value.at[i] == 'u' && value.at[i + 1] == '=' && value.at[i + 2] >= '0' &&
		    value.at[i + 2] <= '7')
			return (uint8_t)(value.at[i + 2] - '0');
	}
	return 3;
}

static bool is_lower_hex(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!((text.at[i] >= '0' && text.at[i] <= '9') || (text.at[i] >= 'a' && text.at[i] <= 'f')))
			return false;
	return true;
}

static bool all_zero(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] != '0')
			return false;
	return true;
}

/* W3C Trace Context, 3.2: version 00, lower-case hex, no all-zero ids. An invalid one is as if it had not come. */
struct slice caller_traceparent(struct slice value)
{
	const struct slice none = { NULL, 0 };
	if (value.len != 55 || value.at[2] != '-' || value.at[35] != '-' || value.at[52] != '-')
		return none;
	struct slice version = { value.at, 2 }, trace = { value.at + 3, 32 }, span = { value.at + 36, 16 },
		     flags = { value.at + 53, 2 };
	if (!slice_equal(version, SLICE("00")) || !is_lower_hex(trace) || !is_lower_hex(span) || !is_lower_hex(flags) ||
	    all_zero(trace) || all_zero(span))
		return none;
	return value;
}

static bool read_timeout(struct slice value, uint64_t *timeout_us)
{
	uint64_t ms = 0;
	if (value.len == 0 || value.len > 9)
		return false;
	for (size_t i = 0; i < value.len; i++) {
		if (value.at[i] < '0' || value.at[i] > '9')
			return false;
		ms = ms * 10 + (uint64_t)(value.at[i] - '0');
	}
	*timeout_us = ms * CLOCK_US_PER_MS;
	return ms > 0;
}

/* tenant: 't' and the name. caller: 'c', the tenant, NUL, SHA-256 of the credential (nothing if there is none): a
 * tenant's name has no NUL, so two different pairs never give the same bytes. */
static bool read_identity(struct caller *caller, const struct request *request)
{
	struct slice tenant = { NULL, 0 };
	if (request->from_trusted_proxy)
		tenant = request->headers[HEADER_TENANT];
	if (tenant.len > TENANT_BYTES)
		return false;
	caller->tenant[0] = 't';
	caller->name[0] = 'c';
	if (tenant.len) {
		memcpy(caller->tenant + 1, tenant.at, tenant.len);
		memcpy(caller->name + 1, tenant.at, tenant.len);
	}
	caller->tenant_len = caller->name_len = 1 + tenant.len;
	struct slice credential = request->headers[HEADER_AUTHORIZATION];
	if (credential.len) {
		caller->name[caller->name_len++] = '\0';
		SHA256((const unsigned char *)credential.at, credential.len,
		       (unsigned char *)caller->name + caller->name_len);
		caller->name_len += 32;
	}
	return true;
}

/* No part of it is ours to read; what is longer than what must be passed on is left out (3.3.1.5). */
struct slice caller_tracestate(struct slice value)
{
	bool good = value.len <= TRACESTATE_BYTES;
	for (size_t i = 0; good && i < value.len; i++)
		good = (value.at[i] >= ' ' && value.at[i] <= '~') || value.at[i] == '\t';
	return good ? value : (struct slice){ NULL, 0 };
}

/* Turns are shared out by who asks; by connection only if nobody says. A credential or a tenant with a thousand
 * connections has one turn, and so has each of the callers behind one proxy. */
static uint64_t fairness_number(const struct caller *caller, const struct request *request)
{
	if (caller->name_len <= 1)
		return request->caller;
	return XXH3_64bits(caller->name, caller->name_len) | UINT64_C(1) << 63; /* connections have small numbers */
}

enum outcome caller_read(struct caller *caller, const struct request *request, const char **detail)
{
	const struct slice *headers = request->headers;
	caller->directives = (struct cache_directives){ 0 };
	caller->timeout_us = CLOCK_NEVER;
	caller->urgency = headers[HEADER_PRIORITY].len ? read_urgency(headers[HEADER_PRIORITY]) : 3;
	caller->traceparent = caller_traceparent(headers[HEADER_TRACEPARENT]);
	caller->tracestate = (struct slice){ NULL, 0 };
	if (caller->traceparent.len && headers[HEADER_TRACESTATE].len)
		caller->tracestate = caller_tracestate(headers[HEADER_TRACESTATE]);
	caller->linked = (struct slice){ NULL, 0 };
	caller->idempotency_key = headers[HEADER_IDEMPOTENCY_KEY];
	caller->request = request;
	if ((headers[HEADER_CACHE_CONTROL].len &&
	     !cache_directives_parse(headers[HEADER_CACHE_CONTROL], &caller->directives)) ||
	    (headers[HEADER_CACHE_CONTROL_MORE].len &&
	     !cache_directives_parse(headers[HEADER_CACHE_CONTROL_MORE], &caller->directives))) {
		*detail = "Cache-Control has a directive whose value is not a number of seconds (RFC 9111, 5.2.1).";
		return OUTCOME_INVALID_REQUEST;
	}
	if (headers[HEADER_REQUEST_TIMEOUT].at && !read_timeout(headers[HEADER_REQUEST_TIMEOUT], &caller->timeout_us)) {
		*detail = "X-Request-Timeout-Ms must be a whole number of milliseconds, 1 to 999999999.";
		return OUTCOME_INVALID_REQUEST;
	}
	if (caller->idempotency_key.len > 255) {
		*detail = "Idempotency-Key is longer than 255 bytes.";
		return OUTCOME_INVALID_REQUEST;
	}
	if (!read_identity(caller, request)) {
		*detail = "The tenant header is longer than 128 bytes.";
		return OUTCOME_INVALID_REQUEST;
	}
	caller->number = fairness_number(caller, request);
	return OUTCOME_OK;
}

struct slice caller_identity(const struct caller *caller, enum identity_scope scope)
{
	switch (scope) {
	case SCOPE_SHARED:
		return (struct slice){ "", 0 };
	case SCOPE_TENANT:
		return (struct slice){ caller->tenant, caller->tenant_len };
	case SCOPE_CALLER:
		break;
	}
	return (struct slice){ caller->name, caller->name_len };
}
