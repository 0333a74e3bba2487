/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_tls.h: TLS to Redis: who may vouch for the server, and what this process shows of itself, read once from files.
 * OpenSSL (libssl) speaks over the connection's own socket; hiredis sees only what it has decrypted.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_TLS_H
#define JITNEY_CACHE_REDIS_REDIS_TLS_H

#include <stddef.h>

#include "base/compiler.h"

struct redis_tls; /* of one thread, once its connections begin: OpenSSL notes on certificates what it finds out of them */
struct ssl_st;

struct redis_tls_files {
	const char *ca_file;              /* PEM; NULL: the system's authorities */
	const char *cert_file, *key_file; /* PEM, of this process; both or neither */
};

/* NULL: `why` says which file and what is wrong with it. Main thread. */
struct redis_tls *redis_tls_new(const struct redis_tls_files *files, char *why, size_t why_bytes) MUST_CHECK;
/* The same again, from what was read: nothing in it is shared with the first. One thread at a time. NULL: out of
 * memory. */
struct redis_tls *redis_tls_copy(const struct redis_tls *tls) MUST_CHECK;
/* When no connection uses it any more. NULL is allowed. */
void redis_tls_free(struct redis_tls *tls);

/* A connection's, over its connected socket; `name` is what the server's certificate must be for: a name or an address.
 * NULL: out of memory. */
struct ssl_st *redis_tls_begin(const struct redis_tls *tls, int fd, const char *name) MUST_CHECK;
/* Why it failed, as a phrase: what is wrong with the certificate, or what the library says. */
void redis_tls_explain(struct ssl_st *ssl, char *why, size_t why_bytes);

#endif
