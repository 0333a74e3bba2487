/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_private.h: what the files behind http.h share: the listener, the library's daemons, connections and their
 * phases, requests and their states.
 *
 *   connection, at the door (accept.c):
 *     ARRIVED --(a byte)--> HEAD --(whole head)--> the library's
 *        |                   |
 *        +--(no byte in time)+--(not whole in time, refused, the client leaves)--> closed
 *
 *   connection, the library's (connection.c):
 *     IDLE --(quiet for a while)--> IDLE_WATCHED --(a byte)--> HEAD
 *     IDLE_WATCHED --(quiet for long)--> IDLE_COLD, the same without its memory
 *     IDLE, HEAD --(whole head)--> BODY --(whole body)--> PROCESSING --(reply sent)--> IDLE
 *     BODY --(after a while)--> SLOW_BODY
 *     BODY, SLOW_BODY, LEFT --(its body is to grow, the turn has no room)--> PUT_OFF --(a turn has)--> BODY
 *     PROCESSING --(after a while without a reply)--> WATCHING_CLIENT --(there is one)--> PROCESSING
 *     WATCHING_CLIENT --(still none)--> WATCHING_COLD, the same without the memory it does not need
 *     PROCESSING --(after a while of sending)--> SENDING
 *     IDLE_WATCHED, IDLE_COLD, HEAD, SLOW_BODY --(the client leaves)--> LEFT --(nothing whole came)--> CUT
 *     IDLE_WATCHED, IDLE_COLD, HEAD, SLOW_BODY, SENDING --(too long)--> CUT
 *
 *   request:
 *     READING -> SERVING -> ANSWERED                     (replied from within the handler)
 *                SERVING -> SUSPENDED -> ANSWERED        (later; resumed with the others once a turn)
 *                           SUSPENDED -> GONE            (the client left: closed without a reply)
 *     A reply in pieces is ANSWERED from its head on, and suspended whenever the library has taken all there is of it.
 */
#ifndef JITNEY_GATEWAY_HTTP_HTTP_PRIVATE_H
#define JITNEY_GATEWAY_HTTP_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <stdarg.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/random.h"
#include "gateway/http/guard.h"
#include "gateway/http/http.h"

/* Smaller bodies count only once their call waits, smaller replies not at all: connections bound them. */
enum { HELD_FROM_BYTES = 4096 };

/* Sockets of a listener that are kept only to be closed gently. */
enum { LINGERS_MAX = 128 };

enum phase {
	PHASE_ARRIVED,
	PHASE_IDLE,
	PHASE_IDLE_WATCHED,
	PHASE_IDLE_COLD,
	PHASE_HEAD,
	PHASE_BODY,
	PHASE_SLOW_BODY,
	PHASE_PUT_OFF, /* for the gateway's sake: without a deadline, and not watched */
	PHASE_PROCESSING,
	PHASE_WATCHING_CLIENT,
	PHASE_WATCHING_COLD,
	PHASE_SENDING,
	PHASE_LEFT,
	PHASE_CUT,
	PHASE_COUNT
};

/* One of the library's daemons: a resume walks all that are suspended in it, so each takes few connections. */
struct http_daemon {
	TAILQ_ENTRY(http_daemon) next; /* in http->full if it takes no more, else in http->roomy */
	TAILQ_ENTRY(http_daemon) due;  /* in http->due while run_due */
	struct http *http;
	struct MHD_Daemon *mhd;
	struct loop_watch ready; /* the library's own epoll */
	bool run_due;            /* something for MHD_run to do */
	size_t connections;
	size_t memory; /* of a connection: of the settings it was made with */
};
TAILQ_HEAD(http_daemons, http_daemon);

struct connection {
	TAILQ_ENTRY(connection) next; /* in http->phases[phase], oldest first */
	struct http *http;
	struct http_daemon *daemon; /* NULL: at the door, the library does not know of it yet */
	enum phase phase;
	int fd;
	uint64_t since_us; /* when the phase began: a list is ordered by it, since it only gets tails */
	uint64_t number;
	struct sockaddr_in6 peer; /* AF_INET6, AF_INET laid over it, or AF_UNIX */
	bool from_trusted_proxy;
	bool chunked;       /* a body was: what has been read is not known to the byte */
	uint64_t consumed;  /* bytes of whole heads and of bodies that the library has handed over */
	const char *memory; /* the library's for this connection, as its first head showed; NULL: not known */
	bool spared;        /* this request was late already, and had bytes that nobody had read */
	struct loop_watch
		watch; /* ARRIVED, HEAD at the door, IDLE_WATCHED, IDLE_COLD: for bytes; HEAD, SLOW_BODY, WATCHING_*: for the end */
	struct http_request *http_request; /* the request whose first line has come; else NULL */
};
TAILQ_HEAD(connections, connection);

enum request_state { STATE_READING, STATE_SERVING, STATE_SUSPENDED, STATE_ANSWERED, STATE_GONE };

/* A request with what only these files need. */
struct http_request {
	struct request request; /* what others see */
	enum request_state state;
	bool refused;      /* answered in the first call: nothing after the head is read */
	bool past_library; /* the reply is written to the socket by us: the library knows nothing of it */
	bool overflown;    /* the body outgrew a limit: the rest is read and dropped */
	bool head_seen;    /* the whole head has come: counted in http->busy */
	bool body_due;     /* the head announces a body */
	bool known;        /* serve or refuse has seen it: `finished` is owed */
	bool suspended;    /* the library holds it suspended; READING, ANSWERED: for want of room in a turn */
	bool resume_due;   /* in http->resume */
	bool may_grow;     /* READING: the turn has had room for what it waited for */
	bool streaming, stream_ended;
	struct buf stream;          /* pieces not yet given to the library */
	size_t stream_at;           /* bytes of it that have been */
	uint64_t stream_taken;      /* bytes the library has taken, all in all */
	uint64_t sending_from;      /* the same when SENDING began */
	size_t piece_bytes;         /* READING and suspended: of the body, what the library has and gives again */
	size_t held;                /* bytes of the body counted in shared->held_bytes */
	size_t reply_held;          /* bytes of the reply counted there that are not shared */
	struct answer *sent_answer; /* the reply's, counted with all who take it; own reference, or NULL */
	struct blob *sent_blob;     /* likewise */
	uint64_t received;          /* body bytes seen, dropped ones too */
	unsigned status;            /* of the reply */
	uint64_t reply_bytes;
	struct MHD_Response *response; /* ANSWERED: to be queued by the next handler call */
	struct MHD_Connection *mhd;    /* NULL: refused at the door */
	struct connection *connection;
	size_t target_len; /* as it came */
	char target[REQUEST_TARGET_BYTES];
	TAILQ_ENTRY(http_request) next; /* in http->resume, or http->recycled */
};
TAILQ_HEAD(http_requests, http_request);

struct lingering;
TAILQ_HEAD(lingers, lingering);

struct http {
	const struct http_settings *settings;
	struct http_shared *shared;
	atomic_size_t *places; /* in shared: connections of this kind of listener */
	bool admin;
	struct http_handler handler;
	struct loop *loop;
	struct meter *meter;
	bool draining;
	uint64_t idle_most_us; /* beside settings->idle_timeout_us; 0: that alone */
	bool refusing;         /* what comes now is answered 503 at once: nothing is suspended any more */
	bool stopping;         /* nothing may be suspended any more, streams least of all */
	/* accept.c */
	struct loop_watch listener; /* fd -1: does not accept (paused, or draining) */
	int listen_fd;              /* -1: closed */
	int spare_fd;               /* given up to accept and close when there is no other; -1: lost */
	uint64_t paused_until_us;   /* CLOCK_NEVER: not paused */
	uint64_t starved_us;        /* when a descriptor lacked last; 0: never */
	struct connection *handed;  /* to the library, which has not said yet that it begins */
	char *peeked;               /* a head at the door */
	size_t peeked_bytes;        /* settings->header_bytes + 1; less where memory was out for more */
	/* daemon.c */
	struct http_daemons roomy, full, due;
	struct http_daemon *running; /* within MHD_run; else NULL */
	size_t body_read;            /* bytes of bodies that came in this turn */
	bool head_came;              /* a request has begun in this run */
	/* connection.c */
	struct connections phases[PHASE_COUNT];
	uint64_t sending_check_us; /* when those in SENDING are looked at again */
	uint64_t
		connections_due_us; /* what connections_deadline has said of the turn that comes; 0: it was not asked */
	/* http.c */
	struct http_requests resume; /* answered or gone while suspended: resumed together once a turn */
	struct lingers lingering;    /* refused while their client still sends: see linger.c */
	size_t lingering_count;
	struct http_requests recycled;
	size_t recycled_count;
	size_t busy;
	struct random_ids ids; /* for X-Request-Id */
	/* held_bytes.c: what the gauges do not show yet */
	int64_t held_moved, reply_moved;
};

/* --- accept.c --- */

/* Be ready to take connections from the listening socket, which is taken. False, and the socket is closed: `error` says
 * why. */
bool accept_start(struct http *http, int listen_fd, char *error, size_t error_bytes) MUST_CHECK;
/* Take them, from this turn or the next one on. */
void accept_begin(struct http *http);
/* Once a turn: accept again after a pause. When that has to be at the latest. */
void accept_turn(struct http *http, uint64_t now_us);
uint64_t accept_deadline(const struct http *http);
/* Accept no more, and close the socket: see http_drain. */
void accept_drain(struct http *http, bool shared);
/* Room for heads as long as settings->header_bytes. False: out of memory, there is as much as there was. */
bool accept_make_room(struct http *http);
/* Close the socket and whoever still stands at the door. */
void accept_stop(struct http *http);
/* It becomes the library's: what is read of it is counted from now on. */
void door_count_reads(const struct connection *connection);
/* Whether all that the library has read of it were whole requests, so that what is unread begins with a head. False too
 * where nobody knows: a body came in chunks; 2 GiB have come by a unix socket. */
bool door_is_between_requests(const struct connection *connection);
/* A kept connection that was quiet stirs, and the library has not read of it yet: whether its next head was refused in our
 * way, and has to be cut. A head that is not whole yet is not. */
bool door_refuses_next(struct connection *connection) MUST_CHECK;
/* Read what a connection at the door has sent, if nobody has: it is its time. False: that is no whole head. */
bool door_serves(struct connection *connection);
/* Close a connection that the library does not know of. */
void door_close(struct connection *connection);

/* --- daemon.c --- */

/* Whether the library has taken the connection, whose first head has come, into one of its daemons: from now on it is
 * the library's to read and to close. False: memory or descriptors are out; it has been closed and freed. */
bool daemon_hand_over(struct connection *connection) MUST_CHECK;
/* Something happens on it: let it run this turn, or the next if it is running now. */
void daemon_run_soon(struct http_daemon *daemon);
/* A connection has been quiet for long, between two requests or with one that waits: pages of its memory in the library
 * that hold nothing but zeros go back to the system, which gives them again as they are written to. */
void daemon_give_memory_back(const struct connection *connection);
/* A connection of it has ended. */
void daemon_let_go(struct http_daemon *daemon);
/* Let those run that have something to do; end those that are empty and not needed. */
void daemons_turn(struct http *http);
/* Make the first. False: memory or descriptors are out. */
bool daemons_start(struct http *http) MUST_CHECK;
void daemons_stop(struct http *http);
/* Whether the connection (NULL: a new one) holds this head, and a reply's. If not: too_many_headers, before the library
 * refuses it in its own way. */
bool daemon_has_memory(const struct http *http, const struct connection *connection, const struct guard_head *head);
/* The settings have changed: whether it has less memory than they ask for. */
bool daemon_is_outgrown(const struct http_daemon *daemon);
/* Those that are outgrown take no new connections, and end with the last one they have. */
void daemons_use_settings(struct http *http);
extern const struct guard_decision too_many_headers;

/* --- library_refusal.c --- */

/* The library's MHD_OPTION_EXTERNAL_LOGGER; the context is the struct http. */
void library_says(void *context, const char *format, va_list arguments);

/* --- connection.c --- */

/* One more, in PHASE_ARRIVED. Takes the descriptor and a place that has been counted; NULL: out of memory, both stay
 * the caller's. */
struct connection *connection_new(struct http *http, int fd, const struct sockaddr_in6 *peer);
/* Forget it; gives the place back. The descriptor is somebody else's. */
void connection_free(struct connection *connection);
/* The library's MHD_OPTION_NOTIFY_CONNECTION; the context is the struct http. */
void connection_notify(void *context, struct MHD_Connection *mhd, void **socket_context,
		       enum MHD_ConnectionNotificationCode code);
/* The only way from phase to phase. */
void connection_enter(struct connection *connection, enum phase phase, uint64_t now_us);
/* The settings have changed: whom they trust is asked anew. */
void connections_use_settings(struct http *http);
/* Once a turn: watch those that have been in their phase for a while, cut off those past its deadline. Before what
 * connections_deadline has said it does nothing: what has entered a phase since is looked at in the next turn. */
void connections_turn(struct http *http, uint64_t now_us);
/* When connections_turn has something to do at the latest; of the next one only. */
uint64_t connections_deadline(struct http *http);

/* --- linger.c --- */

/* The library is about to answer and close while the client still sends a body: keep the socket's end open for a while
 * and throw away what comes, so that the client gets to read the answer. Best effort. */
void linger(struct http *http, int fd);
/* The same with a descriptor that is ours; it is taken. */
void linger_take(struct http *http, int fd);
/* End those that have lasted long enough; when that will be. */
void linger_turn(struct http *http, uint64_t now_us);
uint64_t linger_deadline(const struct http *http);
/* End all. */
void linger_stop(struct http *http);

/* --- held_bytes.c: all counted until held_let_go --- */

/* Bytes of the request's body. */
void held_add(struct http_request *http_request, size_t bytes);
/* Whether so many more would be within limits.in_flight_bytes. */
bool held_has_room(const struct http *http, uint64_t bytes);
/* held_add, unless that is more than limits.in_flight_bytes. The check and the addition are two steps: workers that
 * race may overshoot by a body each. */
bool held_try(struct http_request *http_request, size_t bytes) MUST_CHECK;
/* A reply that is now the library's to send. */
void held_reply(struct http_request *http_request, const struct reply *reply);
/* A stream whose pieces take this much memory by now; never less than before. */
void held_stream(struct http_request *http_request, size_t bytes);
/* The request has ended. */
void held_let_go(struct http_request *http_request);
/* Once a turn: show in the gauges what has moved; an item of a large batch moves bytes four times. */
void held_show(struct http *http);

/* --- http.c --- */

/* A request object, empty; NULL: out of memory. */
struct http_request *request_new(struct http *http);
/* An id for a request that has brought none. */
void request_id_new(struct http *http, char id[REQUEST_ID_BYTES]);
void request_recycle(struct http *http, struct http_request *http_request);
/* Answer it with a problem, written to the socket by us since the library knows nothing of it, or has no memory left
 * for a reply. The connection has to be closed afterwards. */
void http_request_refuse_past_library(struct http_request *http_request, const struct guard_decision *decision);
/* Suspend it in the library until http_request_resume. */
void http_request_suspend(struct http_request *http_request);
/* Have it resumed with the others; nothing happens if it is not suspended. */
void http_request_resume(struct http_request *http_request);
/* The client has left, or is given up on. */
void http_request_left(struct http_request *http_request);
/* The library's callbacks; the context is the struct http. */
void *request_first_line(void *context, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result request_handle(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
			       const char *version, const char *upload, size_t *upload_len, void **request_context);
void request_completed(void *context, struct MHD_Connection *mhd, void **request_context,
		       enum MHD_RequestTerminationCode code);

#endif
