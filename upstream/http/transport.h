/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h: one worker's HTTP client: a curl multi handle on the worker's loop, recycled easy handles, shared TLS
 * sessions. Knows bytes and connections, nothing of tools. Owned by one thread.
 */
#ifndef JITNEY_UPSTREAM_HTTP_TRANSPORT_H
#define JITNEY_UPSTREAM_HTTP_TRANSPORT_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/byte_account.h"
#include "base/compiler.h"
#include "base/loop.h"
#include "metrics/metrics.h"

struct transport;
TAILQ_HEAD(transfers, transfer);

/* max_connections: over all its upstreams, kept and busy. NULL when out of memory. */
struct transport *transport_new(struct loop *loop, struct meter *meter, size_t max_connections) MUST_CHECK;
/* What its exchanges gather of answers is counted there; else nowhere. Before the first exchange; later only with another
 * limit of the same count. */
void transport_set_account(struct transport *transport, const struct byte_account *account);
/* No exchange may be under way. NULL is allowed. */
void transport_free(struct transport *transport);
/* Once a loop turn, after sockets have been dispatched: run due transfers' timers, collect those that finished, call
 * their events. */
void transport_tick(struct transport *transport);
/* Whether owners of transfers wait to be called in the next turn, which has to begin at once. */
bool transport_waits(const struct transport *transport);

/* --- For the rest of upstream/: one transfer. curl's own types stay in the .c files. --- */

/* One upstream's connections, busy and kept, counted into its gauges. */
struct connections;
/* label: the upstream's metrics index. NULL when out of memory. */
struct connections *connections_new(struct transport *transport, unsigned label) MUST_CHECK;
/* The upstream is gone; its kept connections close later and are counted until then. NULL is allowed. */
void connections_leave(struct connections *connections);
/* Whether each has a connection to itself: what may be sent over HTTP/2 was answered over 1.x. */
bool connections_are_alone(const struct connections *connections);
/* Sockets open now, idle ones included. */
size_t connections_open(const struct connections *connections);

/* A socket that curl has been given. */
struct opened_socket {
	int fd;
	uint64_t inode; /* a number may have been given to another file meanwhile */
};
enum { TRANSFER_SOCKETS = 4 }; /* that one transfer tries at the same time: addresses of a host */

struct lookup;
struct resolved;
struct curl_slist;
struct transfer;

/* A host whose addresses are kept fresh: looked up anew every so often. Embedded in its owner, who sets the first four. */
struct name_watch {
	struct connections *connections;
	const char *url; /* the host of this one */
	uint64_t every_us;
	/* What it is now. From transport_tick. A look-up that fails says nothing. */
	void (*found)(struct name_watch *watch, const struct resolved *resolved);
	/* its own */
	struct loop_timer timer;      /* until the next look-up */
	struct lookup *lookup;        /* under way */
	TAILQ_ENTRY(name_watch) next; /* while there is one */
};
/* Room for its timer. False: out of memory, and it is not to be stopped. */
bool name_watch_init(struct name_watch *watch) MUST_CHECK;
/* The next look-up in so many microseconds, if none is under way or nearer. */
void name_watch_in(struct name_watch *watch, uint64_t us);
/* Its addresses have just been found by another: the next look-up is every_us from now, if none is under way. */
void name_watch_put_off(struct name_watch *watch);
void name_watch_fini(struct name_watch *watch);

/*
 * An easy handle, for its life one upstream's. It is the context of curl's callbacks, which so are set once; and it
 * remembers what it has been set to, since a setting costs more than to see that it is there already.
 */
enum { HANDLE_ERROR_BYTES = 256 }; /* CURL_ERROR_SIZE */
struct handle {
	void *easy;                /* CURL * */
	struct transfer *transfer; /* that has it; NULL: it is a spare */
	struct connections *connections;
	/* All of it counts once `all` is said. Pointers are those that curl has as well, followed when a transfer
	 * starts and not before: an owner that is gone is no harm. */
	struct {
		bool all, fresh, upload;
		long connect_timeout_ms, timeout_ms, max_age_s, dns_cache_s;
		long version;       /* CURL_HTTP_VERSION_… at most */
		const char *method; /* static */
		const struct curl_slist *headers, *connect_to;
		uint64_t url; /* number of the http_url; 0: another text */
	} set;
	char error[HANDLE_ERROR_BYTES]; /* what curl says of a failure; "" */
	TAILQ_ENTRY(handle) next;       /* in transport->spares: last used first */
	TAILQ_ENTRY(handle) sibling;    /* in connections->spares: likewise */
};
TAILQ_HEAD(handles, handle);

/* Make a setting of a handle unless it is made; from functions that return false when memory is out. */
#define HANDLE_SET(handle, option, field, value)                                                                       \
	do {                                                                                                           \
		if ((handle)->set.all && (handle)->set.field == (value))                                               \
			break;                                                                                         \
		if (curl_easy_setopt((handle)->easy, CURLOPT_##option, (value)) != CURLE_OK)                           \
			return false;                                                                                  \
		(handle)->set.field = (value);                                                                         \
	} while (0)

/* Embedded in an exchange. */
struct transfer {
	struct transport *transport;     /* set by the owner */
	struct connections *connections; /* set by the owner */
	/* There are more bytes (see transport_mark), or it is done. Only from transport_tick; may start and stop
	 * transfers, this one too. */
	void (*on_progress)(struct transfer *transfer);
	/* Its host had to be looked up, and these are the addresses (NULL: it is about to be, unless the owner knows some by
	 * now): which to connect to, in curl's words (CONNECT_TO), borrowed as connect_to; NULL: any. From transport_tick;
	 * may start and stop no transfer. May be NULL. */
	const struct curl_slist *(*found)(struct transfer *transfer, const struct resolved *resolved);
	/* set by the owner before transport_start: the address to connect to in place of the URL's host; NULL: that is
	 * looked up. Borrowed until it has ended. */
	const struct curl_slist *connect_to;
	bool particular; /* set by the owner: its handle has settings that no other transfer may come by */
	size_t gathered; /* kept by the owner: bytes of its answer, which `on_progress` may have to look at */
	/* set by the owner before transport_start: of all of it; until it is let out */
	long timeout_ms, connect_timeout_ms;
	/* the transport's own */
	struct handle *handle; /* NULL: not under way and no answer kept */
	void *easy;            /* the handle's; CURL * */
	uint64_t begun_us;
	bool unresolved;              /* curl wanted to look the host up */
	struct lookup *lookup;        /* which it waits for; NULL: for none */
	struct curl_slist *addresses; /* what that has found */
	int result;                   /* CURLcode, once done */
	bool added;                   /* with the multi handle */
	bool done;                    /* over; `easy` still answers questions, and may be started again */
	bool connected;               /* its request is let out over an open connection */
	bool turned;                  /* after that curl wanted to open another, which it was not given */
	int kept_fd;  /* of the connection it left behind when it was done, for others to use; -1: none is known */
	bool starved; /* this machine had no socket for it: no descriptor left, or no memory */
	bool holds;   /* a connection, or is opening one */
	struct transfers *listed; /* `on_progress` is due, and it is in there; NULL: it is not */
	TAILQ_ENTRY(transfer) next;
	bool unconnected;              /* with curl, may share a connection, and has none yet */
	TAILQ_ENTRY(transfer) waiting; /* in transport->names while there is a lookup; in transport->unconnected */
	uint64_t put_in_us;            /* while unconnected: when curl got it */
	uint64_t news_known;           /* likewise: connections->news then */
	unsigned opened_count;
	struct opened_socket opened[TRANSFER_SOCKETS]; /* for it, since it was started, and not known to be closed */
	TAILQ_ENTRY(transfer) sibling;                 /* in connections->transfers while prepared */
};

/* A handle of its upstream's with all settings that never change; the caller makes the rest before transport_start. It
 * belongs to transfer->handle until transport_stop. False: out of memory. */
bool transport_prepare(struct transfer *transfer) MUST_CHECK;
/* Let it go. Nothing happens before the next turn. False: out of memory. */
bool transport_start(struct transfer *transfer) MUST_CHECK;
/* What libcurl says of its failure, for people and OpenSSL's codes; "" if nothing. */
const char *transport_error(const struct transfer *transfer);
/* It has so many bytes more: `on_progress` comes with this turn's tick, or, where much has been gathered, when it is its turn.
 * From curl's callbacks. */
void transport_mark(struct transfer *transfer, size_t bytes);
/* It is over, with that of curl's codes, unless it was already: its news are due. Not from curl's callbacks. */
void transport_end(struct transfer *transfer, int result);
/* It has a connection now. From curl's callbacks. */
void transport_connected(struct transfer *transfer);
/* What came over its connection was no answer to what was asked: nobody may use that again. Once it is done; in the
 * same turn, while nobody does. */
void transport_distrust(struct transfer *transfer);
/* End it and give the handle back; in mid-transfer this closes the connection. Not from curl's callbacks. Allowed if not
 * prepared. */
void transport_stop(struct transfer *transfer);

#endif
