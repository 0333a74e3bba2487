/* SPDX-License-Identifier: Apache-2.0 */
/* session.c: the steps that open a session with an MCP server, in either era. */
#include "upstream/mcp/session.h"

#include <stdarg.h>
#include <stdio.h>

#include "upstream/mcp/param_headers.h"

#define DOUBT_US (UINT64_C(10) * 1000000)

void mcp_session_init(struct mcp_session *session, const char *protocol)
{
	*session = (struct mcp_session){ .state = MCP_IDLE };
	session->pinned = protocol && strcmp(protocol, "auto") != 0 ? protocol : NULL;
}

/* --- steps --- */

static void become_ready(struct mcp_session *session, enum mcp_era era)
{
	session->era = era;
	session->state = MCP_READY;
	session->epoch++;
	session->why[0] = '\0';
}

static void PRINTF_LIKE(2, 3) fail(struct mcp_session *session, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(session->why, sizeof session->why, format, args);
	va_end(args);
	session->state = MCP_FAILED;
	session->legacy_known = false; /* whatever it was, it does not hold any more */
}

static void initialize_session(struct mcp_session *session)
{
	session->era = MCP_LEGACY;
	session->state = MCP_INITIALIZING;
}

void mcp_session_open(struct mcp_session *session, uint64_t now_us)
{
	session->id[0] = session->version[0] = '\0';
	session->list_changed = false;
	if (session->pinned && strcmp(session->pinned, MCP_VERSION_MODERN) == 0) {
		become_ready(session, MCP_MODERN);
	} else if (session->pinned || (session->legacy_known && now_us - session->legacy_known_us < MCP_VERDICT_US)) {
		initialize_session(session);
	} else {
		session->legacy_known = false;
		session->era = MCP_MODERN;
		session->state = MCP_PROBING;
	}
}

void mcp_session_put(const struct mcp_session *session, uint64_t id, struct buf *out)
{
	if (session->state == MCP_PROBING)
		mcp_put_discover(out, id);
	else if (session->state == MCP_INITIALIZING)
		mcp_put_initialize(out, id, session->pinned);
	else
		mcp_put_initialized(out);
}

/* --- what an answer says --- */

static struct slice find_member(struct slice object, const char *name)
{
	struct slice value = { NULL, 0 };
	if (object.len == 0 || json_type(object) != JSON_OBJECT || !json_member(object, slice_of(name), &value))
		return (struct slice){ NULL, 0 };
	return value;
}

static bool is_true(struct slice value)
{
	return value.len && json_type(value) == JSON_TRUE;
}

static bool announces_changes(const struct mcp_message *message)
{
	return is_true(find_member(find_member(mcp_result_member(message, "capabilities"), "tools"), "listChanged"));
}

/* What people are told of an answer that is not what was hoped for. */
static void fail_for(struct mcp_session *session, const char *step, const struct mcp_reply *reply)
{
	if (reply->why && *reply->why)
		fail(session, "%s: %.150s", step, reply->why);
	else if (reply->message && reply->message->kind == MCP_ERROR)
		fail(session, "%s: the server answered with error %d (HTTP %u)", step, mcp_error_code(reply->message),
		     reply->status);
	else
		fail(session, "%s: the server's answer (HTTP %u) cannot be used", step, reply->status);
}

/* Says nothing of an era: nobody home, not allowed, not now. */
static bool no_decision(unsigned status)
{
	return status == 0 || status >= 500 || status == 401 || status == 403 || status == 407 || status == 408 ||
	       status == 429;
}

static void take_probe(struct mcp_session *session, const struct mcp_reply *reply)
{
	const struct mcp_message *message = reply->message;
	if (no_decision(reply->status)) {
		fail_for(session, "server/discover", reply);
		return;
	}
	if (message && message->kind == MCP_RESULT &&
	    mcp_lists_version(mcp_result_member(message, "supportedVersions"), MCP_MODERN)) {
		session->list_changed = announces_changes(message);
		become_ready(session, MCP_MODERN);
		return;
	}
	int code = message && message->kind == MCP_ERROR ? mcp_error_code(message) : 0;
	struct slice supported =
		code ? find_member(find_member(message->error, "data"), "supported") : (struct slice){ NULL, 0 };
	if (code == MCP_HEADER_MISMATCH || code == MCP_CAPABILITY_MISSING) {
		become_ready(session, MCP_MODERN); /* it knows the era's rules, however it reads them */
	} else if (code == MCP_VERSION_UNSUPPORTED && !mcp_lists_version(supported, MCP_LEGACY)) {
		fail(session, "server/discover: the server speaks no version that this gateway does");
	} else {
		initialize_session(session);
	}
}

/* The header's value is sent back as it came, so it must be one that a header can carry. */
static bool take_session_id(struct mcp_session *session, struct slice id)
{
	if (id.len >= sizeof session->id)
		return false;
	for (size_t i = 0; i < id.len; i++)
		if ((unsigned char)id.at[i] < 0x21 || (unsigned char)id.at[i] > 0x7e)
			return false;
	if (id.len)
		memcpy(session->id, id.at, id.len);
	session->id[id.len] = '\0';
	return true;
}

static void take_initialized(struct mcp_session *session, const struct mcp_reply *reply, uint64_t now_us)
{
	const struct mcp_message *message = reply->message;
	struct slice raw = message ? mcp_result_member(message, "protocolVersion") : (struct slice){ NULL, 0 };
	if (raw.len < 2 || json_type(raw) != JSON_STRING) {
		fail_for(session, "initialize", reply);
		return;
	}
	struct slice version = { raw.at + 1, raw.len - 2 };
	if (!mcp_version_known(version)) {
		fail(session, "initialize: the server wants version %.*s, which this gateway does not speak",
		     version.len < 40 ? (int)version.len : 40, version.at);
		return;
	}
	if (!take_session_id(session, reply->session_id)) {
		fail(session, "initialize: the server's Mcp-Session-Id is too long or not visible ASCII");
		return;
	}
	snprintf(session->version, sizeof session->version, "%.*s", (int)version.len, version.at);
	session->list_changed = announces_changes(message);
	session->legacy_known = true;
	session->legacy_known_us = now_us;
	session->state = MCP_CONFIRMING;
}

void mcp_session_heard(struct mcp_session *session, const struct mcp_reply *reply, uint64_t now_us)
{
	switch (session->state) {
	case MCP_PROBING:
		take_probe(session, reply);
		break;
	case MCP_INITIALIZING:
		take_initialized(session, reply, now_us);
		break;
	case MCP_CONFIRMING:
		if (reply->status >= 200 && reply->status < 300)
			become_ready(session, MCP_LEGACY);
		else
			fail_for(session, "notifications/initialized", reply);
		break;
	case MCP_IDLE:
	case MCP_READY:
	case MCP_FAILED:
		break;
	}
}

/* --- headers --- */

static void put_name(struct slice raw_name, struct buf *lines)
{
	struct buf name = BUF_INIT(SIZE_MAX / 4);
	json_unescape(raw_name, &name);
	buf_put_text(lines, "Mcp-Name: ");
	mcp_header_put(lines, buf_slice(&name));
	buf_put_char(lines, '\n');
	lines->failed |= name.failed;
	buf_fini(&name);
}

void mcp_session_put_headers(const struct mcp_session *session, const char *method, struct slice raw_name,
			     struct buf *lines)
{
	if (session->era == MCP_MODERN) {
		buf_printf(lines, "MCP-Protocol-Version: " MCP_VERSION_MODERN "\nMcp-Method: %s\n", method);
		if (raw_name.len)
			put_name(raw_name, lines);
		return;
	}
	if (session->version[0])
		buf_printf(lines, "MCP-Protocol-Version: %s\n", session->version);
	if (session->id[0])
		buf_printf(lines, "Mcp-Session-Id: %s\n", session->id);
}

/* --- losing it --- */

bool mcp_session_has_id(const struct mcp_session *session)
{
	return session->era == MCP_LEGACY && session->id[0];
}

bool mcp_session_refused(bool had_id, unsigned status, int error_code, bool doubtful)
{
	if (!had_id)
		return false;
	if (status == 404)
		return true;
	return status == 400 && error_code != MCP_INVALID_PARAMS && error_code != MCP_METHOD_NOT_FOUND && !doubtful;
}

bool mcp_session_lost(struct mcp_session *session, unsigned epoch)
{
	if (session->state != MCP_READY || session->epoch != epoch)
		return false;
	session->state = MCP_IDLE;
	return true;
}

void mcp_session_end(struct mcp_session *session)
{
	session->state = MCP_IDLE;
	session->id[0] = '\0';
}

void mcp_session_doubt(struct mcp_session *session, uint64_t now_us)
{
	session->doubtful_until_us = now_us + DOUBT_US;
}

bool mcp_session_doubtful(const struct mcp_session *session, uint64_t now_us)
{
	return now_us < session->doubtful_until_us;
}
