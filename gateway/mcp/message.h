/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h: one JSON-RPC message of an MCP client, read into slices of its text (every revision from 2024-10-07 to
 * 2026-07-28). Pure: it knows the wire and nothing of HTTP, workers or tools.
 */
#ifndef JITNEY_GATEWAY_MCP_MESSAGE_H
#define JITNEY_GATEWAY_MCP_MESSAGE_H

#include "base/compiler.h"
#include "base/slice.h"
#include "metrics/catalogue.h"

enum mcp_request_kind {
	MCP_ASKS,   /* a request: gets a response */
	MCP_TELLS,  /* a notification */
	MCP_REPLIES /* a response, to what nobody asked */
};

enum { MCP_ID_BYTES = 256, MCP_METHOD_BYTES = 128 };

/* All slices are of the text that was read; what is not there is empty. */
struct mcp_request {
	enum mcp_request_kind kind;
	enum mcp_method method;
	struct slice id;          /* raw: a string or a number, to be echoed byte for byte */
	struct slice raw_method;  /* raw string */
	struct slice name;        /* params.name, raw, of any type */
	struct slice arguments;   /* params.arguments, raw, of any type */
	struct slice cursor;      /* params.cursor, raw, of any type */
	struct slice wanted;      /* params.notifications, raw, of any type */
	struct slice proposed;    /* params.protocolVersion, raw, of any type: what initialize asks for */
	struct slice level;       /* params.level, raw, of any type: what logging/setLevel asks for */
	struct slice traceparent; /* params._meta.traceparent, raw, of any type */
	struct slice tracestate;  /* params._meta.tracestate, likewise */
	struct slice token;       /* params._meta.progressToken, raw, of any type */
	/* params._meta of 2026-07-28, raw, of any type */
	struct slice version, capabilities, client, log_level;
	struct slice introduced; /* params.clientInfo, of a legacy initialize */
	bool has_meta;           /* params._meta is an object */
};

/* Why a text is no message. code 0: it is one; else of base/mcp.h. */
struct mcp_fault {
	int code;
	const char *what; /* static, a sentence */
};

/* `text`: one value that json_check has accepted, trimmed. On a fault, asked->id is set if one could be read. */
struct mcp_fault mcp_request_read(struct slice text, struct mcp_request *asked) MUST_CHECK;

#endif
