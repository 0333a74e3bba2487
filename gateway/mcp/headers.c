/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headers.c: the era of a request, and the headers that 2026-07-28 mirrors from the body so that intermediaries can
 * route by them: whoever reads the body must refuse what does not match (basic/transports/streamable-http, "Server
 * Validation").
 */
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"

enum {
	SHOWN_BYTES = 60,  /* of a value, in messages */
	NUMBER_BYTES = 64, /* longer numbers are not compared: they are none of MCP's */
	HEADER_NAME_BYTES = 128,
	DECODED_BYTES_MAX = 1 << 20
};

static int show_value(struct slice text)
{
	return text.len < SHOWN_BYTES ? (int)text.len : SHOWN_BYTES;
}

enum mcp_era mcp_era_of(const struct request *request, const struct mcp_request *asked)
{
	struct slice header = request->headers[HEADER_MCP_VERSION];
	if (asked->version.len || asked->capabilities.len || asked->client.len)
		return MCP_MODERN;
	return header.len && !mcp_version_known(header) ? MCP_MODERN : MCP_LEGACY;
}

/* ---------------------------------------------------------------- values of headers */

/* Field values of printable ASCII, blank and tab only; the rest comes as base64. */
static bool is_plain(struct slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.at[i] > 0x7e || ((unsigned char)value.at[i] < 0x20 && value.at[i] != '\t'))
			return false;
	return true;
}

/* *inner: the text inside =?base64?...?= */
static bool is_encoded(struct slice value, struct slice *inner)
{
	static const char begin[] = "=?base64?", end[] = "?=";
	size_t before = sizeof begin - 1, after = sizeof end - 1;
	if (value.len < before + after || memcmp(value.at, begin, before) != 0 ||
	    memcmp(value.at + value.len - after, end, after) != 0)
		return false;
	*inner = (struct slice){ value.at + before, value.len - before - after };
	return true;
}

bool mcp_from_base64(struct slice text, struct buf *out)
{
	size_t padding = 0;
	while (padding < 2 && padding < text.len && text.at[text.len - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < text.len - padding; i++)
		if (text.at[i] <= ' ' || text.at[i] == '=') /* the library would skip them, or take them for zeros */
			return false;
	if (text.len == 0)
		return true;
	if (text.len % 4 || text.len > DECODED_BYTES_MAX || !buf_reserve(out, text.len / 4 * 3 + 1))
		return false;
	int len = EVP_DecodeBlock((unsigned char *)out->store->bytes + out->len, (const unsigned char *)text.at,
				  (int)text.len);
	if (len < (int)padding)
		return false;
	out->len += (size_t)len - padding;
	return true;
}

/* What a mirrored header says. False: it cannot be read. `place` keeps decoded bytes. */
static bool read_value(struct slice value, struct buf *place, struct slice *text)
{
	struct slice inner;
	if (!is_plain(value))
		return false;
	*text = value;
	if (!is_encoded(value, &inner))
		return true;
	if (!mcp_from_base64(inner, place))
		return false;
	*text = buf_slice(place);
	return true;
}

/* ---------------------------------------------------------------- standard headers */

static bool refuse_mismatch(struct mcp_error *error, const char *header, struct slice value, struct slice body)
{
	if (!value.at)
		mcp_error_set(error, 400, MCP_HEADER_MISMATCH, OUTCOME_INVALID_REQUEST,
			      "Header mismatch: %s is missing; the body says %.*s.", header, show_value(body), body.at);
	else
		mcp_error_set(error, 400, MCP_HEADER_MISMATCH, OUTCOME_INVALID_REQUEST,
			      "Header mismatch: %s is \"%.*s\", but the body says %.*s.", header, show_value(value),
			      value.at, show_value(body), body.at);
	return false;
}

static bool bad_params(struct mcp_error *error, const char *what)
{
	mcp_error_set(error, 400, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST, "%s", what);
	return false;
}

static bool check_version(const struct request *request, const struct mcp_request *asked, struct mcp_error *error)
{
	struct slice header = request->headers[HEADER_MCP_VERSION];
	if (!asked->has_meta || asked->version.len == 0 || json_type(asked->version) != JSON_STRING)
		return bad_params(error, "params._meta must have \"io.modelcontextprotocol/protocolVersion\" (a "
					 "string): 2026-07-28 wants it in every request.");
	if (!header.at || !json_string_is(asked->version, header))
		return refuse_mismatch(error, "MCP-Protocol-Version", header, asked->version);
	if (slice_equal(header, SLICE(MCP_VERSION_MODERN)))
		return true;
	mcp_error_set(error, 400, MCP_VERSION_UNSUPPORTED, OUTCOME_INVALID_REQUEST,
		      "Unsupported protocol version %.*s; %s is spoken, and older ones after initialize.",
		      show_value(header), header.at, MCP_VERSION_MODERN);
	error->requested = asked->version;
	return false;
}

static bool check_name(const struct request *request, const struct mcp_request *asked, struct mcp_error *error)
{
	struct buf place = BUF_INIT(DECODED_BYTES_MAX);
	struct slice header = request->headers[HEADER_MCP_NAME], text;
	bool ok = header.at && asked->name.len && json_type(asked->name) == JSON_STRING &&
		  read_value(header, &place, &text) && json_string_is(asked->name, text);
	buf_fini(&place);
	return ok || refuse_mismatch(error, "Mcp-Name", header, asked->name.len ? asked->name : SLICE("nothing"));
}

bool mcp_check_modern(const struct request *request, const struct mcp_request *asked, struct mcp_error *error)
{
	struct slice method = request->headers[HEADER_MCP_METHOD];
	if (!check_version(request, asked, error))
		return false;
	if (asked->capabilities.len == 0 || json_type(asked->capabilities) != JSON_OBJECT)
		return bad_params(error, "params._meta must have \"io.modelcontextprotocol/clientCapabilities\" (an "
					 "object, {} is fine).");
	if (!method.at || !json_string_is(asked->raw_method, method))
		return refuse_mismatch(error, "Mcp-Method", method, asked->raw_method);
	return asked->method != MCP_METHOD_TOOLS_CALL || check_name(request, asked, error);
}

/* ---------------------------------------------------------------- mirrored arguments */

/* Both as numbers: 42 and 42.0 are equal. */
static bool same_number(struct slice header, struct slice raw)
{
	char a[NUMBER_BYTES], b[NUMBER_BYTES], *end;
	if (header.len == 0 || header.len >= sizeof a || raw.len >= sizeof b)
		return false;
	for (size_t i = 0; i < header.len; i++)
		if (!header.at[i] || !strchr("0123456789+-.eE", header.at[i])) /* strtod knows more than JSON does */
			return false;
	memcpy(a, header.at, header.len);
	a[header.len] = '\0';
	memcpy(b, raw.at, raw.len);
	b[raw.len] = '\0';
	double x = strtod(a, &end);
	return *end == '\0' && !(x < strtod(b, NULL)) && !(x > strtod(b, NULL));
}

static bool same_value(struct slice text, struct slice value)
{
	switch (json_type(value)) {
	case JSON_STRING:
		return json_string_is(value, text);
	case JSON_NUMBER:
		return same_number(text, value);
	case JSON_TRUE:
	case JSON_FALSE:
		return slice_equal(text, value);
	default:
		return false;
	}
}

/* One annotated property. value: the argument, raw; empty or null: not there, and then the header must not be. */
static bool check_param_header(const struct request *request, struct slice raw_suffix, struct slice value,
			       struct mcp_error *error)
{
	struct buf name = BUF_INIT(HEADER_NAME_BYTES), place = BUF_INIT(DECODED_BYTES_MAX);
	struct slice header, text;
	buf_put_text(&name, "mcp-param-");
	json_unescape(raw_suffix, &name);
	size_t count = name.failed ? 0 : request_header(request, buf_slice(&name), &header);
	bool absent = value.len == 0 || json_type(value) == JSON_NULL;
	bool ok = absent ? count == 0 : count == 1 && read_value(header, &place, &text) && same_value(text, value);
	if (!ok) {
		const char *wrong = absent      ? "is there, but its argument is not"
				    : !count    ? "is missing, and its argument is there"
				    : count > 1 ? "comes more than once"
						: "does not match its argument";
		mcp_error_set(error, 400, MCP_HEADER_MISMATCH, OUTCOME_INVALID_REQUEST,
			      "Header mismatch: Mcp-Param-%.*s %s; tools/list has the schema (x-mcp-header).",
			      raw_suffix.len > 2 ? show_value((struct slice){ raw_suffix.at + 1, raw_suffix.len - 2 })
						 : 0,
			      raw_suffix.at + 1, wrong);
	}
	buf_fini(&name);
	buf_fini(&place);
	return ok;
}

static struct slice member_of(struct slice object, struct slice raw_name)
{
	struct slice name, value;
	if (object.len == 0 || json_type(object) != JSON_OBJECT)
		return (struct slice){ NULL, 0 };
	struct buf text = BUF_INIT(DECODED_BYTES_MAX);
	json_unescape(raw_name, &text);
	struct json_walk walk = json_walk(object);
	bool found = false;
	while (!text.failed && !found && json_next_member(&walk, &name, &value))
		found = json_string_is(name, buf_slice(&text));
	buf_fini(&text);
	return found ? value : (struct slice){ NULL, 0 };
}

/* The properties of one object of the schema, and of those in it: annotations elsewhere are none. */
static bool check_properties(const struct request *request, struct slice schema, struct slice arguments,
			     struct mcp_error *error)
{
	struct slice properties, name, property, suffix;
	if (json_type(schema) != JSON_OBJECT || !json_member(schema, SLICE("properties"), &properties) ||
	    json_type(properties) != JSON_OBJECT)
		return true;
	struct json_walk walk = json_walk(properties);
	while (json_next_member(&walk, &name, &property)) {
		if (json_type(property) != JSON_OBJECT || !mcp_may_mirror(property))
			continue;
		struct slice value = member_of(arguments, name);
		if (json_member(property, SLICE("x-mcp-header"), &suffix) && json_type(suffix) == JSON_STRING &&
		    !check_param_header(request, suffix, value, error))
			return false;
		if (!check_properties(request, property, value, error))
			return false;
	}
	return true;
}

bool mcp_check_param_headers(const struct request *request, struct slice schema, struct slice arguments,
			     struct mcp_error *error)
{
	return !mcp_may_mirror(schema) /* nearly always */ ||
	       check_properties(request, json_trim(schema), arguments, error);
}
