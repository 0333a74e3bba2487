/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authorities.h: who may vouch for a provider: the certificates of a PEM text, taken apart once for all connections of
 * all workers. Where that text is another one, no connection and no TLS session is taken that an older one has let in,
 * though its file has the same name.
 */
#ifndef JITNEY_UPSTREAM_AUTHORITIES_H
#define JITNEY_UPSTREAM_AUTHORITIES_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/slice.h"

struct authorities;

/* NULL: `why` says what is wrong with the text, or that memory is out. Constant from then on: any thread may use it. */
struct authorities *authorities_new(struct slice pem, char *why, size_t why_bytes) MUST_CHECK;
/* No exchange may begin with it any more; connections stay. NULL is allowed. */
void authorities_free(struct authorities *authorities);
/* Have a handle of curl's (CURL *) believe these and no others, from its next connection on. It borrows them. False: out
 * of memory, or a curl without OpenSSL. */
bool authorities_use(const struct authorities *authorities, void *easy) MUST_CHECK;

#endif
