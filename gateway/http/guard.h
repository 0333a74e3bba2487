/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h: what libmicrohttpd lets through and must not: framing that two parsers would read differently, duplicate
 * headers, bytes that do not belong. The first head of a connection is looked at before the library sees a byte of it
 * (accept.c), so that whatever the library would refuse in its own way is refused in ours; every head is looked at in
 * the first handler call, when nothing after it has been parsed (http.c). A reply there ends the connection. What the
 * library refuses in between is answered in library_refusal.c.
 */
#ifndef JITNEY_GATEWAY_HTTP_GUARD_H
#define JITNEY_GATEWAY_HTTP_GUARD_H

#include "base/outcome.h"
#include "gateway/http/http.h"
#include "metrics/catalogue.h"

struct MHD_Connection;

struct guard_decision {
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
 * Fills request->path, query, headers and *head, whatever the decision.
 */
struct guard_decision guard_request(struct MHD_Connection *connection, struct request *request, const char *method,
				    const char *version, struct slice target, size_t target_len,
				    const char *tenant_header, size_t header_bytes, struct guard_head *head);

/*
 * The same for a head as it came, which may not be whole yet: false, and nothing is said. Bytes behind the head are not
 * looked at. header_bytes bounds what is waited for. request->path, query and headers point into `bytes`.
 */
bool guard_bytes(struct slice bytes, struct request *request, const char *tenant_header, size_t header_bytes,
		 struct guard_head *head, struct guard_decision *decision);

/* What request_header says. */
size_t guard_find_header(struct MHD_Connection *connection, struct slice name, struct slice *value);

#endif
