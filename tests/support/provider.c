/* SPDX-License-Identifier: Apache-2.0 */
/* provider.c: a scripted provider for tests. */
#include "tests/support/provider.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 8192, REQUEST_BYTES = 512 * 1024 };

struct connection {
	struct provider *provider;
	pthread_t thread;
	int fd;    /* under provider->lock; -1: closed */
	bool idle; /* under provider->lock: waits for a request */
};

struct provider {
	enum provider_then (*handler)(struct provider_request *request);
	void *context;
	int listen_fd;
	unsigned port;
	pthread_t acceptor;
	pthread_mutex_t lock;
	pthread_cond_t released;
	unsigned releases;
	bool stopping;
	unsigned connection_count;
	struct connection connections[MAX_CONNECTIONS];
	atomic_uint requests;
	atomic_uint accepted;
	atomic_uint ended;
};

static void close_fd(struct connection *connection, bool reset)
{
	struct provider *provider = connection->provider;
	pthread_mutex_lock(&provider->lock);
	if (connection->fd >= 0) {
		struct linger linger = { 1, 0 };
		if (reset)
			setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		close(connection->fd);
		atomic_fetch_add(&provider->ended, 1);
	}
	connection->fd = -1;
	pthread_mutex_unlock(&provider->lock);
}

static void set_idle(struct connection *connection, bool idle)
{
	pthread_mutex_lock(&connection->provider->lock);
	connection->idle = idle;
	pthread_mutex_unlock(&connection->provider->lock);
}

struct reader {
	size_t len;
	char bytes[REQUEST_BYTES]; /* on the thread's stack: no allocation that a test could make fail */
};

/* Bytes of the head with its blank line, 0 if it is not whole. */
static size_t head_length(const struct reader *reader)
{
	const char *end = reader->len ? memmem(reader->bytes, reader->len, "\r\n\r\n", 4) : NULL;
	return end ? (size_t)(end + 4 - reader->bytes) : 0;
}

static struct slice find_header(struct slice head, const char *name)
{
	size_t len = strlen(name);
	const char *at = head.at, *end = head.at + head.len;
	while (at < end) {
		const char *next = memchr(at, '\n', (size_t)(end - at));
		next = next ? next + 1 : end;
		if ((size_t)(next - at) > len && strncasecmp(at, name, len) == 0 && at[len] == ':') {
			const char *value = at + len + 1;
			while (*value == ' ')
				value++;
			const char *stop = next;
			while (stop > value && (stop[-1] == '\n' || stop[-1] == '\r'))
				stop--;
			return (struct slice){ value, (size_t)(stop - value) };
		}
		at = next;
	}
	return (struct slice){ NULL, 0 };
}

static size_t request_length(const struct reader *reader, size_t head)
{
	struct slice length = find_header((struct slice){ reader->bytes, head }, "Content-Length");
	return head + (length.len ? strtoul(length.at, NULL, 10) : 0);
}

/* Read until a whole request is there. 0: the connection ended. */
static size_t read_request(struct connection *connection, struct reader *reader, size_t *head)
{
	for (;;) {
		*head = head_length(reader);
		if (*head && reader->len >= request_length(reader, *head))
			return request_length(reader, *head);
		assert(reader->len < sizeof reader->bytes);
		ssize_t got = recv(connection->fd, reader->bytes + reader->len, sizeof reader->bytes - reader->len, 0);
		if (got <= 0)
			return 0;
		set_idle(connection, false);
		reader->len += (size_t)got;
	}
}

static enum provider_then serve_one(struct connection *connection, struct reader *reader, unsigned on_connection)
{
	size_t head;
	set_idle(connection, reader->len == 0);
	size_t len = read_request(connection, reader, &head);
	if (len == 0)
		return PROVIDER_CLOSE;
	struct provider *provider = connection->provider;
	struct provider_request request = { .provider = provider,
					    .fd = connection->fd,
					    .number = atomic_fetch_add(&provider->requests, 1),
					    .on_connection = on_connection,
					    .head = { reader->bytes, head },
					    .body = { reader->bytes + head, len - head },
					    .context = provider->context };
	enum provider_then then = provider->handler(&request);
	memmove(reader->bytes, reader->bytes + len, reader->len - len);
	reader->len -= len;
	return then;
}

static void *serve(void *context)
{
	struct connection *connection = context;
	struct reader reader;
	reader.len = 0;
	enum provider_then then = PROVIDER_KEEP;
	for (unsigned i = 0; then == PROVIDER_KEEP; i++)
		then = serve_one(connection, &reader, i);
	close_fd(connection, then == PROVIDER_RESET);
	return NULL;
}

static void *accept_all(void *context)
{
	struct provider *provider = context;
	for (;;) {
		int fd = accept(provider->listen_fd, NULL, NULL);
		if (fd < 0)
			return NULL;
		pthread_mutex_lock(&provider->lock);
		assert(provider->connection_count < MAX_CONNECTIONS);
		struct connection *connection = &provider->connections[provider->connection_count];
		*connection = (struct connection){ .provider = provider, .fd = fd };
		if (provider->stopping) {
			close(fd);
		} else {
			provider->connection_count++;
			atomic_fetch_add(&provider->accepted, 1);
			int failed = pthread_create(&connection->thread, NULL, serve, connection);
			assert(!failed);
			(void)failed;
		}
		pthread_mutex_unlock(&provider->lock);
	}
}

/* Takes the bound socket. */
static struct provider *start_on(int fd, enum provider_then (*handler)(struct provider_request *request), void *context)
{
	struct provider *provider = calloc(1, sizeof *provider);
	assert(provider);
	provider->handler = handler;
	provider->context = context;
	provider->listen_fd = fd;
	pthread_mutex_init(&provider->lock, NULL);
	pthread_cond_init(&provider->released, NULL);
	int failed = listen(fd, 512) || pthread_create(&provider->acceptor, NULL, accept_all, provider);
	assert(!failed);
	(void)failed;
	return provider;
}

struct provider *provider_start(enum provider_then (*handler)(struct provider_request *request), void *context)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failed = bind(fd, (struct sockaddr *)&address, len) || getsockname(fd, (struct sockaddr *)&address, &len);
	assert(!failed);
	(void)failed;
	struct provider *provider = start_on(fd, handler, context);
	provider->port = ntohs(address.sin_port);
	return provider;
}

struct provider *provider_start_unix(const char *path, enum provider_then (*handler)(struct provider_request *request),
				     void *context)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	assert(strlen(path) < sizeof address.sun_path);
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failed = bind(fd, (struct sockaddr *)&address, sizeof address);
	assert(!failed);
	(void)failed;
	return start_on(fd, handler, context);
}

void provider_stop(struct provider *provider)
{
	pthread_mutex_lock(&provider->lock);
	provider->stopping = true;
	pthread_cond_broadcast(&provider->released);
	for (unsigned i = 0; i < provider->connection_count; i++)
		if (provider->connections[i].fd >= 0)
			shutdown(provider->connections[i].fd, SHUT_RDWR);
	pthread_mutex_unlock(&provider->lock);
	shutdown(provider->listen_fd, SHUT_RDWR);
	pthread_join(provider->acceptor, NULL);
	close(provider->listen_fd);
	for (unsigned i = 0; i < provider->connection_count; i++)
		pthread_join(provider->connections[i].thread, NULL);
	pthread_cond_destroy(&provider->released);
	pthread_mutex_destroy(&provider->lock);
	free(provider);
}

unsigned provider_port(const struct provider *provider)
{
	return provider->port;
}

unsigned provider_requests(const struct provider *provider)
{
	return atomic_load(&provider->requests);
}

unsigned provider_connections(const struct provider *provider)
{
	return atomic_load(&provider->accepted);
}

unsigned provider_ended(const struct provider *provider)
{
	return atomic_load(&provider->ended);
}

void provider_drop_idle(struct provider *provider, int reset)
{
	pthread_mutex_lock(&provider->lock);
	for (unsigned i = 0; i < provider->connection_count; i++) {
		struct connection *connection = &provider->connections[i];
		struct linger linger = { 1, 0 };
		if (connection->fd < 0 || !connection->idle)
			continue;
		if (reset)
			setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		shutdown(connection->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&provider->lock);
}

void provider_write(struct provider_request *request, const char *format, ...)
{
	char *text;
	va_list args;
	va_start(args, format);
	int len = vasprintf(&text, format, args);
	va_end(args);
	assert(len >= 0);
	for (int at = 0; at < len;) {
		ssize_t sent = send(request->fd, text + at, (size_t)(len - at), MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		at += (int)sent;
	}
	free(text);
}

void provider_answer(struct provider_request *request, const char *status, const char *content_type, struct slice body)
{
	provider_write(request, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s%s%s\r\n%.*s", status, body.len,
		       content_type ? "Content-Type: " : "", content_type ? content_type : "",
		       content_type ? "\r\n" : "", SLICE_ARG(body));
}

void provider_hold(struct provider_request *request)
{
	struct provider *provider = request->provider;
	pthread_mutex_lock(&provider->lock);
	while (!provider->releases && !provider->stopping)
		pthread_cond_wait(&provider->released, &provider->lock);
	if (provider->releases)
		provider->releases--;
	pthread_mutex_unlock(&provider->lock);
}

void provider_release(struct provider *provider, unsigned count)
{
	pthread_mutex_lock(&provider->lock);
	provider->releases += count;
	pthread_cond_broadcast(&provider->released);
	pthread_mutex_unlock(&provider->lock);
}

struct slice provider_header(const struct provider_request *request, const char *name)
{
	return find_header(request->head, name);
}
