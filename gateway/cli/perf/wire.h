/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h: just enough HTTP/1.1 for `jitney perf benchmark` and the bench programs: a growing input buffer, and one
 * message taken from its front. For tools that measure, talking to peers that are our own; the gateway has its own,
 * strict, reader. One thread.
 */
#ifndef JITNEY_GATEWAY_CLI_PERF_WIRE_H
#define JITNEY_GATEWAY_CLI_PERF_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_MAX_BYTES = 64 << 20 }; /* no message and no buffer is larger */

/* Bytes that have arrived, or wait to be sent. All zero is an empty one. */
struct wire_buf {
	char *at;
	size_t len, capacity;
};

/* Append; ends the program when there is no memory (a bench has nothing better to do). */
void wire_put(struct wire_buf *buf, const char *bytes, size_t len);
void wire_printf(struct wire_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drop bytes at the front. */
void wire_drop(struct wire_buf *buf, size_t len);
void wire_free(struct wire_buf *buf);

/* Read what the socket has. Returns false when the peer has closed or failed (errno, 0 for a clean end). */
bool wire_receive(struct wire_buf *buf, int fd);

/* One message under way. Zero it to begin; positions are offsets into the buffer. */
struct wire_message {
	size_t head_len; /* 0: the head is not complete */
	size_t body_len; /* decoded, after the head; when whole: all of it */
	size_t wire_len; /* bytes it takes at the front of the buffer; when whole: what to drop */
	size_t want_len; /* Content-Length */
	int status;      /* of an answer; 0: a request */
	bool chunked, close;
};

enum wire_state { WIRE_MORE, WIRE_WHOLE, WIRE_BROKEN };

/* Look at the buffer again after more has arrived. Chunks are joined in place. no_body: the answer to HEAD. */
enum wire_state wire_read(struct wire_message *message, struct wire_buf *buf, bool no_body);

/* A socket address from "host:port", "[v6]:port" (numeric) or a unix path; the family decides. Returns its length, 0 if
 * it is no address. `storage` is a struct sockaddr_storage. */
unsigned wire_address(const char *text, bool unix_path, void *storage);

/* Monotonic microseconds. */
uint64_t wire_now_us(void);

#endif
