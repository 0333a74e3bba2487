/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_control.h: reading Cache-Control (RFC 9111, 5.2) one directive at a time: the caller's (cache/directives.c) and
 * the provider's (upstream/http/freshness.c). What a directive means is theirs to say.
 */
#ifndef JITNEY_BASE_CACHE_CONTROL_H
#define JITNEY_BASE_CACHE_CONTROL_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

/* One directive. The value is a token, or what stands between quotes, backslashes included. */
struct cache_directive {
	struct slice name;
	struct slice value;
	bool has_value;
};

/* Take the next directive of a list from *rest. False: there is none; *broken: because what is there is no list of
 * directives. Empty elements count for nothing (RFC 9110, 5.6.1). */
bool cache_directive_next(struct slice *rest, struct cache_directive *directive, bool *broken) MUST_CHECK;
/* Names do not mind case. */
bool cache_directive_is(const struct cache_directive *directive, const char *name);
/* The value as delta-seconds, as a token or quoted; what is too large counts as 2^31 (RFC 9111, 1.2.2). False: it is
 * none. */
bool cache_directive_seconds(const struct cache_directive *directive, uint64_t *seconds) MUST_CHECK;

#endif
