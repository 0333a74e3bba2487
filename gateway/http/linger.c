/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linger.c: lingering close. A refusal that comes before its body has been read ends with a close, and a close
 * with bytes unread is a reset: the client, still sending, sees a broken pipe and never the 413. So a second descriptor
 * of the socket outlives the library's, and what still comes is read and dropped, for a bounded time, by a bounded
 * number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/http/http_private.h"

enum { PIECE_BYTES = 16384, PIECES_A_TURN = 64 };
#define LINGER_US (2 * CLOCK_US_PER_S)

struct lingering {
	TAILQ_ENTRY(lingering) next; /* in http->lingering, oldest first */
	struct http *http;
	struct loop_watch watch;
	uint64_t until_us;
};

static void end_linger(struct lingering *one)
{
	struct http *http = one->http;
	int fd = one->watch.fd;
	loop_unwatch(http->loop, &one->watch);
	close(fd);
	TAILQ_REMOVE(&http->lingering, one, next);
	http->lingering_count--;
	free(one);
}

static void drop_what_came(struct loop_watch *watch, uint32_t events)
{
	char piece[PIECE_BYTES];
	(void)events;
	for (int i = 0; i < PIECES_A_TURN; i++) {
		ssize_t got = recv(watch->fd, piece, sizeof piece, MSG_DONTWAIT);
		if (got > 0)
			continue;
		if (got == 0 || errno != EAGAIN)
			end_linger(container_of(watch, struct lingering, watch));
		return;
	}
}

void linger_take(struct http *http, int fd)
{
	struct lingering *one = http->lingering_count < LINGERS_MAX ? calloc(1, sizeof *one) : NULL;
	if (!one) {
		close(fd);
		return;
	}
	one->http = http;
	one->watch = (struct loop_watch){ drop_what_came, -1 };
	one->until_us = loop_now(http->loop) + LINGER_US;
	if (!loop_watch(http->loop, &one->watch, fd, EPOLLIN | EPOLLRDHUP)) {
		close(fd);
		free(one);
		return;
	}
	TAILQ_INSERT_TAIL(&http->lingering, one, next);
	http->lingering_count++;
}

void linger(struct http *http, int fd)
{
	int own = http->lingering_count < LINGERS_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (own >= 0)
		linger_take(http, own);
}

void linger_turn(struct http *http, uint64_t now_us)
{
	struct lingering *one = TAILQ_FIRST(&http->lingering), *next;
	for (; one && one->until_us <= now_us; one = next) {
		next = TAILQ_NEXT(one, next);
		end_linger(one);
	}
}

uint64_t linger_deadline(const struct http *http)
{
	const struct lingering *one = TAILQ_FIRST(&http->lingering);
	return one ? one->until_us : CLOCK_NEVER;
}

void linger_stop(struct http *http)
{
	linger_turn(http, CLOCK_NEVER);
}
