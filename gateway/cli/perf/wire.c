/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c: just enough HTTP/1.1 for those that measure. */
#include "gateway/cli/perf/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { READ_BYTES = 16384, FIRST_BYTES = 1024, CHUNK_LINE_BYTES = 128 };

static void end_program(const char *what)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

static void reserve_bytes(struct wire_buf *buf, size_t more)
{
	if (more <= buf->capacity - buf->len)
		return;
	if (more > WIRE_MAX_BYTES - buf->len)
		end_program("a message is larger than 64 MiB");
	size_t grown = buf->capacity ? buf->capacity : FIRST_BYTES;
	while (grown < buf->len + more)
		grown *= 2;
	char *at = realloc(buf->at, grown);
	if (!at)
		end_program("out of memory");
	buf->at = at;
	buf->capacity = grown;
}

void wire_put(struct wire_buf *buf, const char *bytes, size_t len)
{
	if (len == 0)
		return;
	reserve_bytes(buf, len);
	memcpy(buf->at + buf->len, bytes, len);
	buf->len += len;
}

void wire_printf(struct wire_buf *buf, const char *format, ...)
{
	char line[1024];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof line)
		end_program("a line is too long");
	wire_put(buf, line, (size_t)len);
}

void wire_drop(struct wire_buf *buf, size_t len)
{
	buf->len -= len;
	if (buf->len > 0)
		memmove(buf->at, buf->at + len, buf->len);
}

void wire_free(struct wire_buf *buf)
{
	free(buf->at);
	*buf = (struct wire_buf){ 0 };
}

bool wire_receive(struct wire_buf *buf, int fd)
{
	for (;;) {
		reserve_bytes(buf, READ_BYTES);
		size_t room = buf->capacity - buf->len;
		ssize_t got = recv(fd, buf->at + buf->len, room, MSG_DONTWAIT);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN;
		if (got == 0) {
			errno = 0;
			return false;
		}
		buf->len += (size_t)got;
		if ((size_t)got < room)
			return true;
	}
}

/* The value of a header line if it is the one named, else NULL. */
static const char *header_value(const char *line, const char *end, const char *name, size_t *len)
{
	size_t name_len = strlen(name);
	if ((size_t)(end - line) <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return NULL;
	const char *value = line + name_len + 1;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	*len = (size_t)(end - value);
	return value;
}

/* Digits of a length in the given base; false: it is none, or too large. */
static bool read_length(const char *at, size_t len, size_t base, size_t *value)
{
	*value = 0;
	for (size_t i = 0; i < len; i++) {
		char c = at[i];
		size_t digit = c >= '0' && c <= '9' ? (size_t)(c - '0') : 10 + (size_t)((c | 0x20) - 'a');
		if (digit >= base || *value > WIRE_MAX_BYTES)
			return false;
		*value = *value * base + digit;
	}
	return len > 0 && *value <= WIRE_MAX_BYTES;
}

static bool read_header_line(struct wire_message *message, const char *line, const char *end)
{
	size_t len;
	const char *value = header_value(line, end, "Content-Length", &len);
	if (value)
		return read_length(value, len, 10, &message->want_len);
	value = header_value(line, end, "Transfer-Encoding", &len);
	if (value)
		message->chunked = true;
	value = header_value(line, end, "Connection", &len);
	if (value && len == 5 && strncasecmp(value, "close", 5) == 0)
		message->close = true;
	return true;
}

static bool read_head(struct wire_message *message, const char *head, size_t head_len)
{
	message->head_len = message->wire_len = head_len;
	if (head_len > 12 && memcmp(head, "HTTP/1.", 7) == 0) {
		message->status = (int)strtol(head + 9, NULL, 10);
		message->close = head[7] == '0';
	}
	const char *line = memmem(head, head_len, "\r\n", 2);
	while (line) {
		line += 2;
		const char *end = memmem(line, (size_t)(head + head_len - line), "\r\n", 2);
		if (!end || end == line)
			return true;
		if (!read_header_line(message, line, end))
			return false;
		line = end;
	}
	return true;
}

/* Join the chunks that are complete. The decoded body grows behind the head, the wire position runs ahead of it. */
static enum wire_state join_chunks(struct wire_message *message, struct wire_buf *buf)
{
	for (;;) {
		char *at = buf->at + message->wire_len;
		size_t there = buf->len - message->wire_len;
		char *end = memmem(at, there, "\r\n", 2);
		if (!end)
			return there > CHUNK_LINE_BYTES ? WIRE_BROKEN : WIRE_MORE;
		size_t line_len = (size_t)(end - at) + 2;
		size_t len;
		const char *extension = memchr(at, ';', line_len);
		if (!read_length(at, extension ? (size_t)(extension - at) : line_len - 2, 16, &len))
			return WIRE_BROKEN;
		if (there < line_len + len + 2)
			return WIRE_MORE;
		if (memcmp(at + line_len + len, "\r\n", 2) != 0)
			return WIRE_BROKEN;
		memmove(buf->at + message->head_len + message->body_len, at + line_len, len);
		message->body_len += len;
		message->wire_len += line_len + len + 2;
		if (len == 0)
			return WIRE_WHOLE;
	}
}

enum wire_state wire_read(struct wire_message *message, struct wire_buf *buf, bool no_body)
{
	if (message->head_len == 0) {
		char *end = buf->len ? memmem(buf->at, buf->len, "\r\n\r\n", 4) : NULL;
		if (!end)
			return WIRE_MORE;
		if (!read_head(message, buf->at, (size_t)(end - buf->at) + 4))
			return WIRE_BROKEN;
		if (message->status >= 100 && message->status < 200) {
			wire_drop(buf, message->head_len);
			*message = (struct wire_message){ 0 };
			return wire_read(message, buf, no_body);
		}
	}
	if (no_body || message->status == 204 || message->status == 304)
		return WIRE_WHOLE;
	if (message->chunked)
		return join_chunks(message, buf);
	if (buf->len - message->head_len < message->want_len)
		return WIRE_MORE;
	message->body_len = message->want_len;
	message->wire_len = message->head_len + message->want_len;
	return WIRE_WHOLE;
}

static unsigned unix_address(const char *path, struct sockaddr_un *address)
{
	address->sun_family = AF_UNIX;
	size_t len = strlen(path);
	if (len >= sizeof address->sun_path)
		return 0;
	memcpy(address->sun_path, path, len + 1);
	return sizeof *address;
}

unsigned wire_address(const char *text, bool unix_path, void *storage)
{
	memset(storage, 0, sizeof(struct sockaddr_storage));
	if (unix_path)
		return unix_address(text, storage);
	char host[64];
	const char *colon = strrchr(text, ':');
	bool v6 = text[0] == '[' && colon && colon[-1] == ']';
	size_t len = colon ? (size_t)(colon - text) : 0;
	if (len == 0 || len >= sizeof host)
		return 0;
	memcpy(host, text + v6, len - (v6 ? 2 : 0));
	host[len - (v6 ? 2 : 0)] = '\0';
	size_t port;
	if (!read_length(colon + 1, strlen(colon + 1), 10, &port) || port > 65535)
		return 0;
	if (v6) {
		struct sockaddr_in6 *in6 = storage;
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? sizeof *in6 : 0;
	}
	struct sockaddr_in *in = storage;
	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? sizeof *in : 0;
}

uint64_t wire_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
