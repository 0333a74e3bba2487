/* SPDX-License-Identifier: Apache-2.0 */
/* sockets.c: curl's descriptors on a worker's loop: which it hears of, and when. */
#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "upstream/http/transport_private.h"

/*
 * A descriptor of curl's on the loop. curl takes it off when an answer is whole and puts it back with the next request;
 * a connection that is kept stays on the loop instead (two system calls saved for each exchange), until it speaks up
 * out of turn or is closed. Nobody has asked it anything: what it says would be read as the answer to the next request,
 * and that one's answer as the answer to the one after. So it is shut down, whatever it says.
 */
struct socket_watch {
	struct loop_watch watch;
	struct transport *transport;
	uint32_t events;  /* listened for */
	bool kept;        /* curl does not want to hear of it now */
	uint32_t put_off; /* what curl has not been told yet: in transport->put_off; 0: it knows all */
	TAILQ_ENTRY(socket_watch) next;
};

static struct socket_watch *find_watch(const struct transport *transport, int fd)
{
	return (size_t)fd < transport->watch_room ? transport->watches[fd] : NULL;
}

/* Of a descriptor that is open, or closed: then it is not touched. */
static void drop_watch(struct socket_watch *watch, bool is_open)
{
	if (!watch)
		return;
	if (watch->put_off)
		TAILQ_REMOVE(&watch->transport->put_off, watch, next);
	watch->transport->watches[watch->watch.fd] = NULL;
	if (is_open)
		loop_unwatch(watch->transport->loop, &watch->watch);
	else
		loop_forget(watch->transport->loop, &watch->watch);
	free(watch);
}

void sockets_unwatch(struct transport *transport, int fd)
{
	drop_watch(find_watch(transport, fd), true);
}

/* The loop has gathered its events before curl was told of any: with one socket curl looks at others too whose time for something
 * is over, so what this one is told of may have been read since. */
static bool is_over(int fd)
{
	char byte;
	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* curl looks for an end before it uses a connection again, not for bytes: this makes one. */
static void end_kept(struct socket_watch *watch)
{
	shutdown(watch->watch.fd, SHUT_RDWR);
	drop_watch(watch, true);
}

/* The watch may be gone then. */
static void tell_curl(const struct socket_watch *watch, uint32_t events)
{
	int mask = 0, running;
	if (events & (EPOLLIN | EPOLLRDHUP))
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR | CURL_CSELECT_IN;
	curl_multi_socket_action(watch->transport->multi, watch->watch.fd, mask, &running);
}

/* What the loop has told of a kept connection: see struct socket_watch. */
static void hear_kept(struct socket_watch *watch)
{
	if (!is_over(watch->watch.fd))
		end_kept(watch);
}

/* It goes behind those that were passed over before. */
static void put_off(struct socket_watch *watch, uint32_t events)
{
	if (!watch->put_off)
		TAILQ_INSERT_TAIL(&watch->transport->put_off, watch, next);
	watch->put_off |= events;
}

/* Where a turn has read enough, who is readable waits for the next one, and so does whoever comes after him: the kernel
 * tells of those who always have more to say in the same order, turn after turn. */
static void socket_ready(struct loop_watch *watch, uint32_t events)
{
	struct socket_watch *socket_watch = container_of(watch, struct socket_watch, watch);
	const struct transport *transport = socket_watch->transport;
	bool waits = loop_spent(transport->loop) || transport->due || !TAILQ_EMPTY(&transport->put_off);
	if (socket_watch->kept)
		hear_kept(socket_watch);
	else if ((events & EPOLLIN) && waits)
		put_off(socket_watch, events);
	else
		tell_curl(socket_watch, events);
}

/* A descriptor cannot be watched: that ends this one transfer. Saying so to curl would end the whole multi handle. */
static void give_up(struct transport *transport, CURL *easy)
{
	struct transfer *transfer = transport_transfer_of(easy);
	if (!transfer || transfer->done)
		return;
	assert(transfer->transport == transport);
	transfer->done = true;
	transfer->result = CURLE_OUT_OF_MEMORY;
	transport_mark(transfer, 0);
}

/* Room for descriptors up to fd. */
static bool make_room(struct transport *transport, int fd)
{
	if ((size_t)fd < transport->watch_room)
		return true;
	size_t room = (size_t)fd + 1 < 64 ? 64 : ((size_t)fd + 1) * 2;
	struct socket_watch **watches = realloc(transport->watches, room * sizeof *watches);
	if (!watches)
		return false;
	for (size_t i = transport->watch_room; i < room; i++)
		watches[i] = NULL;
	transport->watches = watches;
	transport->watch_room = room;
	return true;
}

static void watch_socket(struct transport *transport, CURL *easy, curl_socket_t fd, uint32_t events)
{
	struct socket_watch *watch = make_room(transport, fd) ? calloc(1, sizeof *watch) : NULL;
	if (watch) {
		watch->watch = (struct loop_watch){ .ready = socket_ready, .fd = -1 };
		watch->transport = transport;
		watch->events = events;
	}
	if (!watch || !loop_watch(transport->loop, &watch->watch, fd, events)) {
		free(watch);
		give_up(transport, easy);
		return;
	}
	transport->watches[fd] = watch;
}

/*
 * curl takes it off. It tells of the end of what a transfer was connected by, and keeps that perhaps; not of what it
 * gives up while it connects, which it has closed by then (see connections.c). A connection of HTTP/2 may speak up when
 * nobody has asked (pings, a farewell), and each answer names the stream it belongs to: there is nothing to fear, and curl
 * listens before it uses it again.
 */
static void take_off(CURL *easy, struct socket_watch *watch)
{
	struct transfer *transfer = transport_transfer_of(easy);
	long version = transfer ? transport_version_of(transfer) : 0;
	bool alone = version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1;
	if (watch && transfer && transfer->connected && alone) {
		if (watch->events != EPOLLIN) /* the answer was there before curl asked to hear of one */
			loop_rewatch(watch->transport->loop, &watch->watch, EPOLLIN);
		watch->events = EPOLLIN;
		watch->kept = true;
		transfer->kept_fd = watch->watch.fd;
	} else if (watch) {
		drop_watch(watch, !transfer || connections_has_open(transfer, watch->watch.fd));
	}
}

int sockets_changed(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	struct transport *transport = context;
	struct socket_watch *watch = find_watch(transport, fd);
	(void)socket_context;
	if (what == CURL_POLL_REMOVE) {
		take_off(easy, watch);
		return 0;
	}
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (!watch) {
		watch_socket(transport, easy, fd, events);
		return 0;
	}
	watch->kept = false;
	if (watch->events != events)
		loop_rewatch(transport->loop, &watch->watch, events);
	watch->events = events;
	return 0;
}

void sockets_read_on(struct transport *transport)
{
	struct socket_watch *watch;
	while (!loop_spent(transport->loop) && (watch = TAILQ_FIRST(&transport->put_off))) {
		uint32_t events = watch->put_off;
		TAILQ_REMOVE(&transport->put_off, watch, next);
		watch->put_off = 0;
		if (watch->kept)
			hear_kept(watch); /* its answer was read with another's: what is left nobody has asked for */
		else if (watch->events & EPOLLIN)
			tell_curl(watch, events);
	}
}

void sockets_end_kept(struct transport *transport, int fd)
{
	struct socket_watch *watch = fd < 0 ? NULL : find_watch(transport, fd);
	if (watch && watch->kept)
		end_kept(watch);
}

void sockets_init(struct transport *transport)
{
	TAILQ_INIT(&transport->put_off);
}

void sockets_free(struct transport *transport)
{
	for (size_t i = 0; i < transport->watch_room; i++)
		drop_watch(transport->watches[i], true);
	free(transport->watches);
}
