/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.h: the addresses of an URL's host, in libcurl's words. Left to itself libcurl begins a thread for each
 * transfer that finds the name in no cache: as many as calls, while a name server hangs. Here all that want one name
 * wait for one look-up (base/resolve.h).
 */
#ifndef JITNEY_UPSTREAM_HTTP_LOOKUP_H
#define JITNEY_UPSTREAM_HTTP_LOOKUP_H

#include "base/compiler.h"
#include "base/resolve.h"

struct lookup;
struct curl_slist;

/* Whether a name server may have to be asked; not for an address, nor for localhost (RFC 6761, 6.3), which curl
 * knows. */
bool lookup_is_needed(const char *url) MUST_CHECK;

/* As resolve_start, of what lookup_is_needed. NULL: no memory, or no thread. */
struct lookup *lookup_start(const char *url, struct loop *loop) MUST_CHECK;
/* FOUND: what CURLOPT_RESOLVE wants, the caller's to free; NULL: out of memory. */
enum resolve_state lookup_look(const struct lookup *lookup, struct curl_slist **addresses);
/* It is over, or wanted no more. NULL is allowed. */
void lookup_stop(struct lookup *lookup);

#endif
