/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.h: a scripted provider for tests: a thread that listens on loopback, reads whole HTTP requests and answers
 * each as the test's handler says. Connections are served side by side by a thread each; the script decides.
 */
#ifndef JITNEY_TESTS_PROVIDER_H
#define JITNEY_TESTS_PROVIDER_H

#include "base/slice.h"

struct provider;

/* One request that has come in, whole. */
struct provider_request {
	struct provider *provider;
	int fd;                 /* the handler may write to it itself */
	unsigned number;        /* 0.. over all connections, in order of arrival */
	unsigned on_connection; /* 0: the first on its connection */
	struct slice head;      /* with the blank line */
	struct slice body;
	void *context;
};

enum provider_then {
	PROVIDER_KEEP,  /* read the next request */
	PROVIDER_CLOSE, /* FIN */
	PROVIDER_RESET  /* RST */
};

/* `handler` runs on threads of the provider's. */
struct provider *provider_start(enum provider_then (*handler)(struct provider_request *request), void *context);
/* The same on a unix socket at `path`, which must not exist and is not removed. */
struct provider *provider_start_unix(const char *path, enum provider_then (*handler)(struct provider_request *request),
				     void *context);
/* Ends all connections, joins all threads. */
void provider_stop(struct provider *provider);

unsigned provider_port(const struct provider *provider);
unsigned provider_requests(const struct provider *provider);    /* whole ones that came in */
unsigned provider_connections(const struct provider *provider); /* accepted */
unsigned provider_ended(const struct provider *provider);       /* of those, closed by the provider */
/* Close (RST if `reset`) all connections that wait for a request. */
void provider_drop_idle(struct provider *provider, int reset);

/* --- For handlers --- */

/* A 200 with Content-Length; content_type may be NULL. */
void provider_answer(struct provider_request *request, const char *status, const char *content_type, struct slice body);
/* printf-like bytes, as they are. */
void provider_write(struct provider_request *request, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Wait until the test says provider_release (once for each), or the provider is stopped. */
void provider_hold(struct provider_request *request);
void provider_release(struct provider *provider, unsigned count);
/* The value of a request header, empty if there is none. */
struct slice provider_header(const struct provider_request *request, const char *name);

#endif
