/*
 * http_private.h: what the files behind http.h share: the daemon, its connections and their phases, its requests and
 * their states.
 *
 *   connection:  IDLE --(quiet for a while)--> DOZING --(a byte)--> HEAD --(whole head)--> BODY --(whole body)-->
 * SERVED ^                                                              (after a while: SLOW_BODY)       |
 *                  +------------------ reply sent ------------------ (after a while without a reply: WATCHED) -----+
 *                DOZING, HEAD, SLOW_BODY --(the client leaves)--> LEFT --(nothing whole came)--> CUT
 *   request:     READING -> SERVING -> ANSWERED                     (replied from within the handler)
 *                           SERVING -> SUSPENDED -> ANSWERED        (later; resumed with the others once a turn)
 *                                      SUSPENDED -> GONE            (the client left: closed without a reply)
 */
#ifndef JITNEY_GATEWAY_HTTP_HTTP_PRIVATE_H
#define JITNEY_GATEWAY_HTTP_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "gateway/http/http.h"

/* Smaller bodies count only once their call waits, smaller replies not at all: connections bound them. */
enum { HELD_FROM_BYTES = 4096 };

enum phase {
	PHASE_IDLE,
	PHASE_DOZING,
	PHASE_HEAD,
	PHASE_BODY,
	PHASE_SLOW_BODY,
	PHASE_SERVED,
	PHASE_WATCHED,
	PHASE_LEFT,
	PHASE_CUT,
	PHASE_COUNT
};

struct connection {
	TAILQ_ENTRY(connection) next; /* in http->phases[phase], oldest first */
	struct http *http;
	enum phase phase;
	int fd;
	uint64_t since_us; /* when the phase began: a list is ordered by it, since it only gets tails */
	uint64_t number;
	bool from_trusted_proxy;
	bool surplus;            /* opened beyond limits.connections */
	bool answered_before;    /* bytes have been received that were not the next head's */
	struct loop_watch watch; /* DOZING: for a byte; HEAD, SLOW_BODY, WATCHED: for the client leaving */
	struct waiting *waiting; /* SUSPENDED: the request; else NULL */
};
TAILQ_HEAD(connections, connection);

enum request_state { STATE_READING, STATE_SERVING, STATE_SUSPENDED, STATE_ANSWERED, STATE_GONE };

/* A request with what only this file needs. */
struct waiting {
	struct request request; /* what others see */
	enum request_state state;
	bool refused;    /* answered in the first call: nothing after the head is read */
	bool overflown;  /* a chunked body outgrew the limit: the rest is read and dropped */
	bool head_seen;  /* the whole head has come: counted in http->busy */
	bool body_due;   /* the head announces a body */
	bool known;      /* serve or refuse has seen it: `finished` is owed */
	bool parked;     /* the library holds it suspended */
	bool resume_due; /* in http->resume */
	bool streaming, stream_ended;
	struct buf stream;          /* pieces not yet given to the library */
	size_t stream_at;           /* bytes of it that have been */
	size_t held;                /* bytes of the body counted in shared->held_bytes */
	size_t reply_held;          /* bytes of the reply counted there that are not shared */
	struct answer *sent_answer; /* the reply's, counted with all who take it; own reference, or NULL */
	struct blob *sent_blob;     /* likewise */
	uint64_t received;          /* body bytes seen, dropped ones too */
	unsigned status;            /* of the reply */
	uint64_t reply_bytes;
	struct MHD_Response *response; /* ANSWERED: to be queued by the next handler call */
	struct MHD_Connection *mhd;
	struct connection *connection;
	size_t target_len; /* as it came */
	char target[REQUEST_TARGET_BYTES];
	TAILQ_ENTRY(waiting) next; /* in http->resume, or http->recycled */
};
TAILQ_HEAD(waitings, waiting);

struct lingering;
TAILQ_HEAD(lingers, lingering);

struct http {
	struct MHD_Daemon *daemon;
	const struct http_settings *settings;
	struct http_shared *shared;
	struct http_handler handler;
	struct loop *loop;
	struct meter *meter;
	struct loop_watch ready; /* the daemon's own epoll */
	bool run_due;            /* something for MHD_run to do */
	bool draining;
	bool refusing; /* what comes now is answered 503 at once: nothing is suspended any more */
	struct connections phases[PHASE_COUNT];
	struct waitings resume;   /* answered or gone while suspended: resumed together once a turn */
	struct lingers lingering; /* refused while their client still sends: see linger.c */
	size_t lingering_count;
	struct waitings recycled;
	size_t recycled_count;
	size_t busy;
	uint64_t next_id; /* for X-Request-Id */
	int listen_fd;    /* while draining: quiesced, closed by http_stop; else -1 */
};

/* --- connection.c --- */

/* The library's MHD_OPTION_NOTIFY_CONNECTION; the context is the struct http. */
void connection_notify(void *context, struct MHD_Connection *mhd, void **socket_context,
		       enum MHD_ConnectionNotificationCode code);
/* The only way from phase to phase. */
void connection_enter(struct connection *connection, enum phase phase, uint64_t now_us);
/* Once a turn: watch those that have been in their phase for a while, cut off those past its deadline. */
void connections_turn(struct http *http, uint64_t now_us);
/* When connections_turn has something to do at the latest. */
uint64_t connections_deadline(const struct http *http);

/* --- linger.c --- */

/* The library is about to answer and close while the client still sends a body: keep the socket's end open for a while
 * and throw away what comes, so that the client gets to read the answer. Best effort. */
void linger(struct http *http, int fd);
/* End those that have lasted long enough; when that will be. */
void linger_turn(struct http *http, uint64_t now_us);
uint64_t linger_deadline(const struct http *http);
/* End all. */
void linger_stop(struct http *http);

/* --- held_bytes.c: all counted until held_let_go --- */

/* Bytes of the request's body. */
void held_add(struct waiting *waiting, size_t bytes);
/* The same, unless that is more than limits.in_flight_bytes. The check and the addition are two steps: workers that
 * race may overshoot by a body each. */
bool held_try(struct waiting *waiting, size_t bytes) MUST_CHECK;
/* A reply that is now the library's to send. */
void held_reply(struct waiting *waiting, const struct reply *reply);
/* A stream whose pieces take this much memory by now; never less than before. */
void held_stream(struct waiting *waiting, size_t bytes);
/* The request has ended. */
void held_let_go(struct waiting *waiting);

/* --- http.c --- */

/* Suspend it in the library until waiting_resume. */
void waiting_park(struct waiting *waiting);
/* Have it resumed with the others; fine if it is not parked. */
void waiting_resume(struct waiting *waiting);
/* The client has left, or is given up on. */
void waiting_left(struct waiting *waiting);

#endif
