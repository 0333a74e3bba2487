/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_private.h: what transport.c (curl's multi handle, easy handles, the turn), sockets.c (descriptors on the loop),
 * connections.c (sockets opened, closed and counted), names.c (host names that are being looked up) and unconnected.c
 * (transfers that wait for another's connection) share. Nobody else includes it.
 */
#ifndef JITNEY_UPSTREAM_HTTP_TRANSPORT_PRIVATE_H
#define JITNEY_UPSTREAM_HTTP_TRANSPORT_PRIVATE_H

#include <curl/curl.h>

#include "upstream/http/transport.h"

enum { SPARE_HANDLES = 256 /* 6 KB each; over that the one that was used longest ago goes */ };

/* What is being looked up. */
struct names {
	TAILQ_HEAD(, transfer) transfers; /* that wait for the addresses of a host */
	TAILQ_HEAD(, name_watch) watches; /* whose look-up is under way */
	struct loop_timer timer;          /* when the first of the transfers waits no longer */
};

/* What may share a connection and has none yet. */
struct unconnected {
	struct transfers transfers; /* with curl */
	struct loop_timer timer;    /* until they are looked at; not armed: there are none */
	bool due;                   /* it has fired */
};

TAILQ_HEAD(socket_watches, socket_watch);

struct transport {
	struct loop *loop;
	struct meter *meter;
	struct byte_account account; /* of answers being gathered */
	uint64_t turn;               /* of the loop, in which */
	size_t heard;                /* so many bytes of large answers were told of */
	CURLM *multi;
	CURLSH *share;           /* TLS sessions: a new connection resumes */
	struct loop_timer timer; /* when curl wants to be called */
	bool due;                /* the timer has fired, curl has not been called yet */
	uint64_t postponed_turn; /* of the loop, in which it was not called although it was due; 0: none */
	uint64_t
		acted_turn; /* likewise, in which it was called last because of that and read all that is read in one */
	size_t under_way;   /* transfers prepared and not stopped */
	size_t max_connections;        /* kept */
	struct socket_watch **watches; /* by descriptor; NULL: not watched */
	size_t watch_room;
	struct socket_watches put_off; /* readable ones, passed over so far, in their order */
	size_t spare_count;
	struct handles spares;
	struct transfers progressed; /* to be told with this tick */
	struct transfers large;      /* likewise, a few a turn */
	struct names names;
	struct unconnected unconnected;
};

struct connections {
	struct transport *transport;
	struct meter *meter;
	unsigned label;
	TAILQ_HEAD(, transfer) transfers; /* prepared ones */
	struct handles spares;
	uint64_t news; /* how often a transfer of it had a connection, or one was closed */
	size_t open;   /* sockets */
	size_t holds;  /* transfers that have one, or are opening one */
	bool alone;    /* see connections_are_alone */
	bool left;     /* the upstream is gone: the last close frees this */
};

/* --- connections.c --- */

/* The transfer has no connection any more, and opens none. */
void connections_let_go(struct transfer *transfer);
/* What may be sent over HTTP/2 has been answered: over a connection of its own, or over one that many share. */
void connections_note_answered(struct connections *connections, bool alone);
/* Look which of the sockets opened for a transfer curl has closed without a word. */
void connections_check_opened(struct transfer *transfer);
/* Whether it is still the socket that curl told of. */
bool connections_has_open(const struct transfer *transfer, int fd);
void connections_show_lookups(const struct connections *connections, int by);
/* curl's callbacks: context is the struct handle, the struct connections. */
curl_socket_t connections_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address);
int connections_close_socket(void *context, curl_socket_t fd);

/* --- names.c --- */

/* No host is known, none is looked up. */
void names_init(struct names *names);
/* Its host is to be looked up; it is started again with the addresses, or ends. */
void names_wait(struct transfer *transfer);
/* It waits no more. Allowed if it does not. */
void names_forget(struct transfer *transfer);
/* Whether anything is, or was and the timer is still to be let go. */
bool names_awaited(const struct names *names);
/* What has been found, and who has waited for too long. */
void names_look(struct transport *transport);

/* --- unconnected.c --- */

void unconnected_init(struct unconnected *unconnected);
/* It has been put in. Nothing happens if it shares no connection. */
void unconnected_add(struct transfer *transfer);
/* It has a connection, or is taken out. Allowed if it is not among them. */
void unconnected_remove(struct transfer *transfer);
/* If it is time: who has waited for too long ends, who may have been forgotten is put in anew. Not from curl's callbacks. */
void unconnected_look(struct transport *transport);

/* --- transport.c --- */

/* Out of the multi handle and in again. False as transport_put_in. */
bool transport_put_in_anew(struct transfer *transfer) MUST_CHECK;
/* Into the multi handle, with what is left of its time. False: none is, or out of memory. */
bool transport_put_in(struct transfer *transfer) MUST_CHECK;

/* The upstream is gone, and its spare handles with it. */
void transport_drop_spares(struct connections *connections);

/* NULL: nobody's any more. */
struct transfer *transport_transfer_of(CURL *easy);
/* What the transfer's answer came by: CURL_HTTP_VERSION_…; 0: there was none. */
long transport_version_of(const struct transfer *transfer);

/* --- sockets.c --- */

void sockets_init(struct transport *transport);
void sockets_free(struct transport *transport);
/* curl's callback: context is the struct transport. */
int sockets_changed(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context);
/* Those that were passed over, until the turn has read enough. */
void sockets_read_on(struct transport *transport);
/* A kept connection is not to be used again. Allowed if it is not kept; -1: there is none. */
void sockets_end_kept(struct transport *transport, int fd);
/* Listen to it no more. Allowed if nobody does. */
void sockets_unwatch(struct transport *transport, int fd);

#endif
