/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_http.c: the raw limit of the front: libmicrohttpd answering a constant, in the mode the gateway uses it (external
 * epoll, one daemon a thread, SO_REUSEPORT), and nothing else. Prints its port; ends when standard input does.
 */
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { THREADS = 2, POOL_BYTES = 8192 };

static const char answer[] = "{\"echo\":{\"q\":1}}";
static struct MHD_Response *response; /* shared: the library counts its references */

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_len, void **request)
{
	static char begun;
	(void)context;
	(void)url;
	(void)method;
	(void)version;
	(void)upload;
	if (!*request) {
		*request = &begun;
		return MHD_YES;
	}
	if (*upload_len) {
		*upload_len = 0;
		return MHD_YES;
	}
	return MHD_queue_response(connection, 200, response);
}

static struct MHD_Daemon *start(uint16_t port)
{
	return MHD_start_daemon(MHD_USE_EPOLL, port, NULL, NULL, handle, NULL, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT,
				4096u, MHD_OPTION_END);
}

static void *turn(void *context)
{
	struct MHD_Daemon *daemon = context;
	struct epoll_event event = { .events = EPOLLIN };
	int loop = epoll_create1(EPOLL_CLOEXEC);
	int fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) < 0)
		exit(1);
	for (;;) {
		unsigned long long wait = 1000;
		if (MHD_get_timeout(daemon, &wait) != MHD_YES || wait > 1000)
			wait = 1000;
		epoll_wait(loop, &event, 1, (int)wait);
		MHD_run(daemon);
	}
	return NULL;
}

int main(void)
{
	struct MHD_Daemon *daemons[THREADS];
	response =
		MHD_create_response_from_buffer(sizeof answer - 1, (void *)(uintptr_t)answer, MHD_RESPMEM_PERSISTENT);
	if (!response || !MHD_add_response_header(response, "Content-Type", "application/json"))
		return 1;
	uint16_t port = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;
		daemons[i] = start(port);
		if (!daemons[i])
			return 1;
		port = MHD_get_daemon_info(daemons[i], MHD_DAEMON_INFO_BIND_PORT)->port;
		if (pthread_create(&thread, NULL, turn, daemons[i]))
			return 1;
	}
	printf("%u\n", port);
	fflush(stdout);
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
