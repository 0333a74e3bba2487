/*
 * guard.h: what libmicrohttpd 0.9.75 lets through and must not: framing that two parsers would read differently,
 * duplicate headers, bytes that do not belong. Run in the first handler call, when nothing after the head has been
 * parsed; a reply there ends the connection. Inside http.c only.
 */
#ifndef JITNEY_GATEWAY_HTTP_GUARD_H
#define JITNEY_GATEWAY_HTTP_GUARD_H

#include "base/outcome.h"
#include "gateway/http/http.h"
#include "metrics/catalogue.h"

struct MHD_Connection;

struct guard_verdict {
	enum outcome outcome; /* OK: pass */
	enum reject_reason reason;
	const char *detail; /* static */
};

enum { GUARD_RECORD_BYTES = 64 }; /* of the connection's memory, for each header, argument and cookie */

/* What the guard learns on the way. */
struct guard_head {
	bool chunked;
	bool has_length;
	uint64_t length; /* Content-Length */
	bool keep;       /* HTTP/1.1 */
	size_t memory;   /* bytes of the connection's memory that the library has used for it */
};

/*
 * Look at the whole head: request line, every header, and the count of bytes it was made of (RFC 9112, 3 and 5).
 * target   raw request target; target_len: its length as it came (it may have been cut to fit).
 * Fills request->path, query, headers and *head, whatever the verdict.
 */
struct guard_verdict guard_request(struct MHD_Connection *connection, struct request *request, const char *method,
				   const char *version, struct slice target, size_t target_len,
				   const char *tenant_header, size_t header_bytes, struct guard_head *head);

/* What request_header says. */
size_t guard_find_header(struct MHD_Connection *connection, struct slice name, struct slice *value);

#endif
