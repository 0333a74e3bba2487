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

/* As resolve_start, of what upstream_url_is_named. NULL: no memory, or no thread. */
struct lookup *lookup_start(const char *url, struct loop *loop) MUST_CHECK;
/* As resolve_look. */
enum resolve_state lookup_look(const struct lookup *lookup, struct resolved *resolved);
/* What CURLOPT_RESOLVE wants for them; the caller's to free. NULL: out of memory. */
struct curl_slist *lookup_entry(const struct lookup *lookup, const struct resolved *resolved) MUST_CHECK;
/* What CURLOPT_CONNECT_TO wants for this address, whatever host and port the URL has. Likewise. */
struct curl_slist *lookup_connect_to(const char *address) MUST_CHECK;
/* It is over, or wanted no more. NULL is allowed. */
void lookup_stop(struct lookup *lookup);

#endif
