/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c: the library's daemons of one listener, in external-epoll mode, without listening sockets. Whenever the
 * library resumes a request it walks all that are suspended in the same daemon, so each takes few connections and there
 * are as many as that needs: the oldest with room is filled first, one that is empty and not needed ends.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/http/http_private.h"

enum {
	CONNECTIONS_PER_DAEMON = 128,
	/* What an ordinary header takes in a long head: there is a record for each such. With 8 KiB of head that makes no
	 * more than 14,336 bytes, beyond which jemalloc counts in whole pages, and would take 20 KiB. */
	BYTES_PER_HEADER = 98,
	REPLY_HEAD_BYTES = 768, /* memory for a reply's head */
	BYTES_BEFORE_HEAD = 2,  /* an empty line, which a connection may begin with */
};

/* What a connection's memory must hold: a head as long as limits.headers, a record for each header, a reply's head. */
static size_t memory_wanted(const struct http_settings *settings)
{
	return settings->header_bytes + settings->header_bytes / BYTES_PER_HEADER * GUARD_RECORD_BYTES +
	       REPLY_HEAD_BYTES;
}

bool daemon_is_outgrown(const struct http_daemon *daemon)
{
	return daemon->memory < memory_wanted(daemon->http->settings);
}

bool daemon_has_memory(const struct http *http, const struct connection *connection, const struct guard_head *head)
{
	size_t memory = memory_wanted(http->settings);
	if (connection && connection->daemon && daemon_is_outgrown(connection->daemon))
		memory = connection->daemon->memory;
	return head->memory + REPLY_HEAD_BYTES <= memory;
}

const struct guard_decision too_many_headers = {
	OUTCOME_HEADERS_TOO_LARGE, REJECT_HEAD_SIZE,
	"The request head has too many headers, cookies or arguments: one for each 98 bytes of limits.headers is the most."
};

/* A listener's own, the spare one, those that linger, its daemons: there is never a new one while one has room. */
size_t http_descriptors(const struct http_settings *settings, size_t listeners)
{
	return listeners * (2 + LINGERS_MAX + 1) + settings->connections / CONNECTIONS_PER_DAEMON;
}

void http_library_init(http_panic *panic)
{
	MHD_set_panic_func(panic, NULL);
}

void daemon_run_soon(struct http_daemon *daemon)
{
	if (daemon->run_due)
		return;
	daemon->run_due = true;
	TAILQ_INSERT_TAIL(&daemon->http->due, daemon, due);
}

static void daemon_ready(struct loop_watch *watch, uint32_t events)
{
	(void)events;
	daemon_run_soon(container_of(watch, struct http_daemon, ready));
}

static struct MHD_Daemon *start_library(struct http *http, size_t memory)
{
	const struct MHD_OptionItem strictness[] = {
#if MHD_VERSION >= 0x00097701
		/* The lowest level that refuses folded lines and bare line feeds, in heads as in chunked bodies. */
		{ MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, NULL },
#else
		/* At 1 its refusals come with two status lines; the guard does it. */
		{ MHD_OPTION_STRICT_FOR_CLIENT, 0, NULL },
#endif
		{ MHD_OPTION_END, 0, NULL },
	};
	unsigned flags = MHD_USE_ERROR_LOG | MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME;
#if MHD_VERSION >= 0x00097707
	flags |=
		MHD_USE_NO_THREAD_SAFETY; /* as older ones are by themselves here: a connection begins when it is added */
#endif
	/* No timeouts: connection.c has them all. */
	return MHD_start_daemon(
		flags, 0, NULL, NULL, request_handle, http, MHD_OPTION_EXTERNAL_LOGGER, library_says, http,
		MHD_OPTION_ARRAY, strictness, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS_PER_DAEMON, MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		memory, MHD_OPTION_NOTIFY_CONNECTION, connection_notify, http, MHD_OPTION_NOTIFY_COMPLETED,
		request_completed, http, MHD_OPTION_URI_LOG_CALLBACK, request_first_line, http, MHD_OPTION_END);
}

static struct http_daemon *daemon_new(struct http *http)
{
	struct http_daemon *daemon = calloc(1, sizeof *daemon);
	if (!daemon)
		return NULL;
	daemon->http = http;
	daemon->ready = (struct loop_watch){ daemon_ready, -1 };
	daemon->memory = memory_wanted(http->settings);
	daemon->mhd = start_library(http, daemon->memory);
	int epoll_fd = daemon->mhd ? MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd : -1;
	if (!daemon->mhd || !loop_watch(http->loop, &daemon->ready, epoll_fd, EPOLLIN)) {
		if (daemon->mhd)
			MHD_stop_daemon(daemon->mhd);
		free(daemon);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&http->roomy, daemon, next);
	return daemon;
}

/* It has no connections, or they are closed now. */
static void daemon_free(struct http_daemon *daemon, struct http_daemons *from)
{
	struct http *http = daemon->http;
	TAILQ_REMOVE(from, daemon, next);
	loop_unwatch(http->loop, &daemon->ready);
	MHD_stop_daemon(daemon->mhd);
	if (daemon->run_due)
		TAILQ_REMOVE(&http->due, daemon, due);
	free(daemon);
}

bool daemons_start(struct http *http)
{
	return daemon_new(http);
}

bool daemon_hand_over(struct connection *connection)
{
	struct http *http = connection->http;
	struct http_daemon *daemon = TAILQ_FIRST(&http->roomy);
	if (!daemon)
		daemon = daemon_new(http);
	if (!daemon) {
		door_close(connection);
		return false;
	}
	connection->daemon = daemon;
	connection_enter(connection, PHASE_IDLE, loop_now(http->loop));
	if (++daemon->connections == CONNECTIONS_PER_DAEMON) {
		TAILQ_REMOVE(&http->roomy, daemon, next);
		TAILQ_INSERT_TAIL(&http->full, daemon, next);
	}
	daemon_run_soon(daemon);
	door_count_reads(connection);
	http->handed = connection;
	static const struct sockaddr nobody = { .sa_family = AF_UNIX }; /* the library has no use for the address */
	if (MHD_add_connection(daemon->mhd, connection->fd, &nobody, sizeof nobody) == MHD_YES)
		return true;
	if (http->handed == connection) { /* it has not begun, so its end is not told; the socket is closed */
		http->handed = NULL;
		daemon_let_go(daemon);
		connection_free(connection);
	}
	return false;
}

static bool is_cleared(const char *page, size_t bytes)
{
	return *page == 0 && memcmp(page, page + 1, bytes - 1) == 0;
}

/* The library clears a connection's memory between two requests (MHD_pool_reset, 0.9.75 and 1.0); of one that waits it
 * has the head at one end, what it made of it at the other, and nothing in between. Should another version keep
 * something there, it keeps its pages: what goes back is nothing but zeros, which the system gives again. Nor has it cleared
 * anything before the end of the first request: what lies there is what the allocator gave, and the same holds for that
 * (tests/support/memcheck.supp). */
static void give_cleared_pages(char *begin, char *end, size_t page)
{
	char *from = begin; /* cleared up to where we are */
	for (char *at = begin; at < end; at += page) {
		if (is_cleared(at, page))
			continue;
		if (from < at)
			madvise(from, (size_t)(at - from), MADV_DONTNEED);
		from = at + page;
	}
	if (from < end)
		madvise(from, (size_t)(end - from), MADV_DONTNEED);
}

void daemon_give_memory_back(const struct connection *connection)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	if (!connection->memory)
		return;
	char *begin = (char *)(((uintptr_t)connection->memory + page - 1) / page * page);
	char *end = (char *)(((uintptr_t)connection->memory + connection->daemon->memory - BYTES_BEFORE_HEAD) / page *
			     page);
	give_cleared_pages(begin, end, page);
}

void daemon_let_go(struct http_daemon *daemon)
{
	struct http *http = daemon->http;
	if (daemon->connections-- == CONNECTIONS_PER_DAEMON && !daemon_is_outgrown(daemon)) {
		TAILQ_REMOVE(&http->full, daemon, next);
		TAILQ_INSERT_HEAD(&http->roomy, daemon, next);
	}
	daemon_run_soon(daemon); /* if it is empty it may end */
}

/* Whether it has ended: it is empty, and outgrown, or another one has room. */
static bool end_if_not_needed(struct http_daemon *daemon)
{
	struct http *http = daemon->http;
	bool outgrown = daemon_is_outgrown(daemon);
	if (daemon->connections || (!outgrown && TAILQ_FIRST(&http->roomy) == daemon && !TAILQ_NEXT(daemon, next)))
		return false;
	daemon_free(daemon, outgrown ? &http->full : &http->roomy);
	return true;
}

void daemons_use_settings(struct http *http)
{
	struct http_daemons all = TAILQ_HEAD_INITIALIZER(all);
	struct http_daemon *daemon;
	TAILQ_CONCAT(&all, &http->roomy, next);
	TAILQ_CONCAT(&all, &http->full, next);
	while ((daemon = TAILQ_FIRST(&all))) {
		bool full = daemon->connections == CONNECTIONS_PER_DAEMON || daemon_is_outgrown(daemon);
		TAILQ_REMOVE(&all, daemon, next);
		TAILQ_INSERT_TAIL(full ? &http->full : &http->roomy, daemon, next);
		daemon_run_soon(daemon); /* it may end */
	}
}

static void run_library(struct http_daemon *daemon)
{
	daemon->http->running = daemon;
	MHD_run(daemon->mhd);
	daemon->http->running = NULL;
}

static bool could_go_on(const struct http_daemon *daemon)
{
	unsigned long long wait_ms;
	return MHD_get_timeout(daemon->mhd, &wait_ms) == MHD_YES && wait_ms == 0;
}

/* The library takes some 7 KB of a body at each run. Where nothing but bodies comes it reads on, as far as the turn has
 * room: at one run a turn, a client that has sent all of a large body is cut off for being slow once turns are long. Who
 * begins a request meanwhile ends that: a turn serves one of each. */
static void run_daemon(struct http_daemon *daemon)
{
	struct http *http = daemon->http;
	size_t read_before;
	bool more;
	do {
		read_before = http->body_read;
		http->head_came = false;
		run_library(daemon);
		more = could_go_on(daemon);
	} while (more && http->body_read > read_before && http->body_read < LOOP_LARGE_BYTES && !http->head_came);
	if (more)
		daemon_run_soon(daemon);
}

void daemons_turn(struct http *http)
{
	struct http_daemons due = TAILQ_HEAD_INITIALIZER(due);
	struct http_daemon *daemon;
	http->body_read = 0;
	TAILQ_CONCAT(&due, &http->due, due); /* what becomes due meanwhile runs in the next turn */
	while ((daemon = TAILQ_FIRST(&due))) {
		TAILQ_REMOVE(&due, daemon, due);
		daemon->run_due = false;
		if (!end_if_not_needed(daemon))
			run_daemon(daemon);
	}
}

void daemons_stop(struct http *http)
{
	struct http_daemon *daemon;
	TAILQ_FOREACH (daemon, &http->roomy, next)
		run_library(daemon);
	TAILQ_FOREACH (daemon, &http->full, next)
		run_library(daemon);
	while ((daemon = TAILQ_FIRST(&http->roomy)))
		daemon_free(daemon, &http->roomy);
	while ((daemon = TAILQ_FIRST(&http->full)))
		daemon_free(daemon, &http->full);
}
