/* SPDX-License-Identifier: Apache-2.0 */
/* guard.c: the request guard. Each refusal names the rule of RFC 9112 that stands behind it. One set of rules
 * (take_header, check_head); two ways to split a head into lines: from its bytes, and from what the library made of
 * them. */
#include "gateway/http/guard.h"

#include <microhttpd.h>
#include <strings.h>

#include "base/utf8.h"

static const struct slice method_names[HTTP_METHOD_COUNT] = { { "GET", 3 },  { "HEAD", 4 },   { "POST", 4 },
							      { "PUT", 3 },  { "DELETE", 6 }, { "OPTIONS", 7 },
							      { "PATCH", 5 } };

const char *http_method_name(enum http_method method)
{
	return method < HTTP_METHOD_COUNT ? method_names[method].at : "?";
}

/* HTTP_METHOD_COUNT: we know none of that name. */
static enum http_method method_of(struct slice name)
{
	for (int i = 0; i < HTTP_METHOD_COUNT; i++)
		if (slice_equal(name, method_names[i]))
			return (enum http_method)i;
	return HTTP_METHOD_COUNT;
}

/* Whether bytes, up to eight, differ from those of a word in lower case by more than the case of letters, which of a word's
 * bytes alone have 0x40. */
static INLINED bool bytes_differ(const char *name, const char *word, size_t len)
{
	uint64_t a = 0, b = 0;
	memcpy(&a, name, len);
	memcpy(&b, word, len);
	return (a ^ b) & ~(b >> 1 & UINT64_C(0x2020202020202020));
}

/* Whether a name is this word of lower-case letters and hyphens, in any case. len: a constant. Eight bytes at a time, the
 * last of them maybe once more, since each header is compared with some words. */
static INLINED bool is_word(const char *name, const char *word, size_t len)
{
	if (len < 8)
		return !bytes_differ(name, word, len);
	for (size_t at = 0; at + 8 < len; at += 8)
		if (bytes_differ(name + at, word + at, 8))
			return false;
	return !bytes_differ(name + (len - 8), word + (len - 8), 8);
}

/* HEADER_COUNT: nobody here looks at it. *list: it may come twice. */
static enum http_header known_header(struct slice name, bool *list)
{
#define X(id, word, may_repeat)                                                                                        \
	if (name.len == sizeof(word) - 1 && is_word(name.at, word, sizeof(word) - 1)) {                                \
		*list = may_repeat;                                                                                    \
		return HEADER_##id;                                                                                    \
	}
	HTTP_HEADERS(X)
#undef X
	return HEADER_COUNT;
}

/* tchar of RFC 9110, 5.6.2 */
static const bool token_bytes[256] = {
	['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
	['%'] = true,         ['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true, ['-'] = true,
	['.'] = true,         ['^'] = true,         ['_'] = true,         ['`'] = true, ['|'] = true, ['~'] = true,
};

static bool is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!token_bytes[(unsigned char)text[i]])
			return false;
	return len > 0;
}

/* What a request's target may hold: visible, and neither '#' nor a backslash. */
static const bool target_bytes[256] = { ['!' ... '"'] = true, ['$' ... '['] = true, [']' ... '~'] = true };

static bool is_control(unsigned char c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* Whether one of eight bytes is below 0x20 or 0x7f (a tab too). */
static bool has_control(const char *text)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t word;
	memcpy(&word, text, sizeof word);
	uint64_t low = (word - ones * 0x20) & ~word, rubout = word ^ ones * 0x7f;
	return (low | ((rubout - ones) & ~rubout)) & ones * 0x80;
}

/* Field values hold visible bytes, blanks, tabs and obs-text (RFC 9110, 5.5): no other control byte. */
static bool is_field_value(const char *text, size_t len)
{
	size_t i = 0;
	while (len - i >= 8 && !has_control(text + i))
		i += 8;
	for (; i < len; i++)
		if (is_control((unsigned char)text[i]))
			return false;
	return true;
}

struct head_walk {
	struct request *request;
	struct slice tenant_header;
	const char *at,
		*end;   /* what is next in the head, as it lies in the library's read buffer; where the head ends */
	size_t records; /* headers and cookies */
	size_t cookie_bytes; /* the library copies those */
	const char *complaint;
	enum reject_reason reason;
};

/* The first line of a request. */
struct request_line {
	struct slice method, target, version;
	size_t target_len; /* as it came: target may have been cut */
};

/* False: it ends the walk. */
static bool complain_of(struct head_walk *walk, enum reject_reason reason, const char *complaint)
{
	walk->reason = reason;
	walk->complaint = complaint;
	return false;
}

static bool name_is(const char *name, size_t len, struct slice lower)
{
	return len == lower.len && strncasecmp(name, lower.at, len) == 0;
}

static bool keep_known(struct head_walk *walk, enum http_header header, bool list, struct slice value)
{
	struct slice *place = &walk->request->headers[header];
	if (!place->at) {
		*place = value;
		return true;
	}
	if (header == HEADER_CACHE_CONTROL) {
		place = &walk->request->headers[HEADER_CACHE_CONTROL_MORE];
		if (place->at)
			return complain_of(walk, REJECT_BAD_HEADER,
					   "Cache-Control comes more than twice; write one line.");
		*place = value;
		return true;
	}
	if (list)
		return true; /* the first line of a list we only look at for hints */
	if (header <= HEADER_TRANSFER_ENCODING)
		return complain_of(walk, REJECT_BAD_FRAMING,
				   "Host, Content-Length or Transfer-Encoding comes twice (RFC 9112, 3.2 and 6.3).");
	return complain_of(walk, REJECT_BAD_HEADER, "A header that may come once comes twice.");
}

/* One header by the rules, whoever has split the head into lines. */
static bool take_header(struct head_walk *walk, struct slice name, struct slice value)
{
	bool list = false;
	enum http_header header = known_header(name, &list);
	walk->records++;
	if (header == HEADER_COUNT && !is_token(name.at, name.len))
		return complain_of(walk, REJECT_BAD_HEADER,
				   "A header's name has a byte that is not allowed (RFC 9110, 5.1).");
	if (!is_field_value(value.at, value.len))
		return complain_of(walk, REJECT_BAD_HEADER, "A header's value has a control byte (RFC 9110, 5.5).");
	if (name.len == 6 && is_word(name.at, "cookie", 6)) {
		walk->cookie_bytes += value.len;
		for (size_t i = 0; i < value.len; i++)
			walk->records += value.at[i] == ';' || i == 0;
	}
	struct slice cut = text_trim(value);
	/* First, and beside what the name means otherwise: the operator may have made a known header the tenant's. */
	if (walk->tenant_header.len && name_is(name.at, name.len, walk->tenant_header) &&
	    !keep_known(walk, HEADER_TENANT, false, cut))
		return false;
	return header == HEADER_COUNT || keep_known(walk, header, list, cut);
}

/* A newer library runs at a level of discipline (daemon.c) at which it refuses folded lines, NULs and line ends without
 * CR itself; and what it leaves in its buffer is not the head as it came. An older one lets them through. */
enum { LIBRARY_IS_STRICT = MHD_VERSION >= 0x00097701 };

/* Behind the end of the line whose text ends at `at`; NULL: the line does not end there. The older library has put NULs
 * over CR and LF. */
static const char *skip_line_end(const char *at, const char *end)
{
	return end - at >= 2 && at[0] == '\0' && at[1] == '\0' ? at + 2 : NULL;
}

/* Name, colon, blanks and value must lie in the read buffer where they came, right behind the line before: what two
 * faults of the head take away and add may be the same number of bytes, but not at the same place. */
static bool line_is_whole(struct head_walk *walk, const char *name, size_t name_len, const char *value,
			  size_t value_len)
{
	if (LIBRARY_IS_STRICT)
		return true;
	if (name != walk->at || (size_t)(walk->end - name) <= name_len)
		return false;
	const char *from = name + name_len + 1;
	if (!value)
		value = from;
	if (value < from || value > walk->end || value_len > (size_t)(walk->end - value))
		return false; /* a folded line lies elsewhere */
	for (const char *gap = from; gap < value; gap++)
		if (*gap != ' ' && *gap != '\t')
			return false;
	walk->at = skip_line_end(value + value_len, walk->end);
	return walk->at;
}

static const char bytes_that_do_not_belong[] = "The request head has bytes that do not belong: a NUL, a folded line, "
					       "a line without a name, or a line end without CR (RFC 9112, 2.2 and 5).";

static enum MHD_Result look_at_header(void *context, enum MHD_ValueKind kind, const char *name, size_t name_len,
				      const char *value, size_t value_len)
{
	struct head_walk *walk = context;
	(void)kind;
	bool ok = line_is_whole(walk, name, name_len, value, value_len)
			  ? take_header(walk, (struct slice){ name, name_len },
					(struct slice){ value ? value : "", value ? value_len : 0 })
			  : complain_of(walk, REJECT_BAD_FRAMING, bytes_that_do_not_belong);
	return ok ? MHD_YES : MHD_NO;
}

struct header_search {
	struct slice name, value;
	size_t count;
};

static enum MHD_Result compare_name(void *context, enum MHD_ValueKind kind, const char *name, size_t name_len,
				    const char *value, size_t value_len)
{
	struct header_search *search = context;
	(void)kind;
	if (name_is(name, name_len, search->name) && search->count++ == 0)
		search->value = text_trim((struct slice){ value ? value : "", value ? value_len : 0 });
	return MHD_YES;
}

size_t guard_find_header(struct MHD_Connection *connection, struct slice name, struct slice *value)
{
	struct header_search search = { .name = name };
	MHD_get_connection_values_n(connection, MHD_HEADER_KIND, compare_name, &search);
	*value = search.value;
	return search.count;
}

static struct guard_decision refuse_request(enum outcome outcome, enum reject_reason reason, const char *detail)
{
	return (struct guard_decision){ outcome, reason, detail };
}

static struct guard_decision refuse_bad(enum reject_reason reason, const char *detail)
{
	return refuse_request(OUTCOME_INVALID_REQUEST, reason, detail);
}

static const struct guard_decision pass = { OUTCOME_OK, REJECT_REASON_COUNT, NULL };

/* Of "http://authority/path" the authority's length, scheme included; 0: not in absolute form. */
static size_t absolute_prefix(struct slice target, struct slice *authority)
{
	static const struct slice schemes[] = { { "http://", 7 }, { "https://", 8 } };
	if (target.len && *target.at == '/')
		return 0; /* a path, as nearly all are */
	for (size_t i = 0; i < countof(schemes); i++) {
		size_t scheme = schemes[i].len;
		if (target.len <= scheme || strncasecmp(target.at, schemes[i].at, scheme) != 0)
			continue;
		size_t len = scheme;
		while (len < target.len && target.at[len] != '/' && target.at[len] != '?')
			len++;
		*authority = (struct slice){ target.at + scheme, len - scheme };
		return len;
	}
	return 0;
}

/* Of a target in absolute form only path and query are left; its authority takes the place of Host (RFC 9112,
 * 3.2.2). */
static struct guard_decision cut_authority(struct request *request, struct slice *target)
{
	struct slice authority;
	size_t len = absolute_prefix(*target, &authority);
	if (len == 0)
		return pass;
	if (authority.len == 0 || memchr(authority.at, '@', authority.len))
		return refuse_bad(REJECT_BAD_TARGET, "The request target's authority must be a host (RFC 9110, 4.2).");
	struct slice *host = &request->headers[HEADER_HOST], *tenant = &request->headers[HEADER_TENANT];
	if (host->at && tenant->at == host->at) /* the operator may have made Host the tenant's header */
		*tenant = authority;
	*host = authority;
	*target = (struct slice){ target->at + len, target->len - len };
	return pass;
}

static struct guard_decision check_target(struct request *request, struct slice target, size_t target_len)
{
	if (target_len > target.len)
		return refuse_request(OUTCOME_HEADERS_TOO_LARGE, REJECT_HEAD_SIZE,
				      "The request target is longer than 1023 bytes.");
	if (request->method == HTTP_OPTIONS && slice_equal(target, SLICE("*"))) {
		request->path = target;
		return pass;
	}
	for (size_t i = 0; i < target.len; i++) {
		unsigned char c = (unsigned char)target.at[i];
		if (!target_bytes[c])
			return refuse_bad(REJECT_BAD_TARGET,
					  "The request target has a byte that must be percent-encoded.");
		if (c == '%' && target.len - i > 2 && target.at[i + 1] == '0' && target.at[i + 2] == '0')
			return refuse_bad(REJECT_BAD_TARGET, "The request target has an encoded NUL.");
	}
	const char *whole = target.at;
	struct guard_decision decision = cut_authority(request, &target);
	if (decision.outcome != OUTCOME_OK)
		return decision;
	const char *mark = memchr(target.at, '?', target.len);
	size_t path_len = mark ? (size_t)(mark - target.at) : target.len;
	request->path = (struct slice){ target.at, path_len };
	if (path_len == 0 && target.at != whole)
		request->path = SLICE("/"); /* http://host, http://host?query */
	if (request->path.len == 0 || request->path.at[0] != '/')
		return refuse_bad(REJECT_BAD_TARGET,
				  "The request target must be a path that starts with '/' (RFC 9112, 3.2.1).");
	if (mark)
		request->query = (struct slice){ mark + 1, target.len - path_len - 1 };
	return pass;
}

/* Content-Length and Transfer-Encoding: RFC 9112, 6.1 to 6.3. */
static struct guard_decision check_framing(const struct request *request, struct guard_head *head)
{
	struct slice coding = request->headers[HEADER_TRANSFER_ENCODING];
	struct slice length = request->headers[HEADER_CONTENT_LENGTH];
	if (coding.at && length.at)
		return refuse_bad(REJECT_BAD_FRAMING,
				  "Content-Length and Transfer-Encoding exclude each other (RFC 9112, 6.3).");
	if (coding.at) {
		if (!head->keep)
			return refuse_bad(REJECT_BAD_FRAMING, "Transfer-Encoding needs HTTP/1.1 (RFC 9112, 6.1).");
		if (coding.len != 7 || strncasecmp(coding.at, "chunked", 7) != 0)
			return refuse_bad(REJECT_BAD_FRAMING, "The only Transfer-Encoding taken is \"chunked\".");
		head->chunked = true;
	}
	if (length.at) {
		if (length.len == 0 || length.len > 18)
			return refuse_bad(REJECT_BAD_FRAMING, "Content-Length must be 1 to 18 digits.");
		for (size_t i = 0; i < length.len; i++) {
			if (length.at[i] < '0' || length.at[i] > '9')
				return refuse_bad(REJECT_BAD_FRAMING, "Content-Length must be 1 to 18 digits.");
			head->length = head->length * 10 + (uint64_t)(length.at[i] - '0');
		}
		head->has_length = true;
	}
	return pass;
}

/* The head by the rules, once its lines have been taken. */
static struct guard_decision check_head(struct head_walk *walk, const struct request_line *line, size_t head_len,
					size_t header_bytes, bool whole, struct guard_head *head)
{
	struct request *request = walk->request;
	if (head_len > header_bytes)
		return refuse_request(OUTCOME_HEADERS_TOO_LARGE, REJECT_HEAD_SIZE,
				      "The request head is larger than limits.headers.");
	if (!is_token(line->method.at, line->method.len))
		return refuse_bad(REJECT_BAD_FRAMING, "The method is not a token (RFC 9110, 9.1).");
	request->method = method_of(line->method);
	struct guard_decision decision = check_target(request, line->target, line->target_len);
	if (decision.outcome != OUTCOME_OK)
		return decision;
	if (walk->complaint)
		return refuse_bad(walk->reason, walk->complaint);
	if (!whole)
		return refuse_bad(REJECT_BAD_FRAMING, bytes_that_do_not_belong);
	bool http_1_1 = slice_equal(line->version, SLICE("HTTP/1.1"));
	if (!http_1_1 && !slice_equal(line->version, SLICE("HTTP/1.0")))
		return refuse_bad(REJECT_BAD_FRAMING, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
	head->keep = http_1_1;
	if (http_1_1 && !request->headers[HEADER_HOST].at)
		return refuse_bad(REJECT_BAD_HEADER, "Host is missing (RFC 9112, 3.2).");
	return check_framing(request, head);
}

struct guard_decision guard_request(struct MHD_Connection *connection, struct request *request, const char *method,
				    const char *version, struct slice target, size_t target_len,
				    const char *tenant_header, size_t header_bytes, struct guard_head *head)
{
	struct head_walk walk = { .request = request, .tenant_header = slice_of(tenant_header) };
	size_t head_len = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
	const struct request_line line = { slice_of(method), target, slice_of(version), target_len };
	walk.end = method + head_len; /* the library counts from the method on */
	bool whole = LIBRARY_IS_STRICT || (version == method + line.method.len + 1 + target_len + 1 &&
					   (walk.at = skip_line_end(version + line.version.len, walk.end)));
	if (whole)
		MHD_get_connection_values_n(connection, MHD_HEADER_KIND, look_at_header, &walk);
	if (whole && !LIBRARY_IS_STRICT && !walk.complaint)
		whole = skip_line_end(walk.at, walk.end) == walk.end;
	/* What the library takes of a connection's memory: the head, and for every header, argument and cookie a
	 * record. (A complaint ends the walk early, with a little less.) */
	int records = MHD_get_connection_values(connection, MHD_HEADER_KIND | MHD_GET_ARGUMENT_KIND | MHD_COOKIE_KIND,
						NULL, NULL);
	head->memory = head_len + walk.cookie_bytes + (size_t)records * GUARD_RECORD_BYTES;
	return check_head(&walk, &line, head_len, header_bytes, whole, head);
}

/* --- the head as bytes --- */

/* The next line without its end. False: there is no whole line; or its end lacks the CR, told by *bare. */
static bool take_line(struct slice *rest, struct slice *line, bool *bare)
{
	const char *feed = rest->len ? memchr(rest->at, '\n', rest->len) : NULL;
	*bare = feed && (feed == rest->at || feed[-1] != '\r');
	if (!feed || *bare)
		return false;
	*line = (struct slice){ rest->at, (size_t)(feed - rest->at) - 1 };
	*rest = (struct slice){ feed + 1, rest->len - (size_t)(feed - rest->at) - 1 };
	return true;
}

/* "METHOD SP target SP version": none of them has a blank. */
static bool split_request_line(struct slice text, struct request_line *line)
{
	const char *end = text.at + text.len;
	const char *first = text.len ? memchr(text.at, ' ', text.len) : NULL;
	const char *second = first ? memchr(first + 1, ' ', (size_t)(end - first) - 1) : NULL;
	if (!second || memchr(second + 1, ' ', (size_t)(end - second) - 1))
		return false;
	line->method = (struct slice){ text.at, (size_t)(first - text.at) };
	line->target = (struct slice){ first + 1, (size_t)(second - first) - 1 };
	line->version = (struct slice){ second + 1, (size_t)(end - second) - 1 };
	line->target_len = line->target.len;
	if (line->target.len >= REQUEST_TARGET_BYTES)
		line->target.len = REQUEST_TARGET_BYTES - 1;
	return true;
}

static bool split_header(struct head_walk *walk, struct slice line)
{
	const char *colon = memchr(line.at, ':', line.len);
	if (*line.at == ' ' || *line.at == '\t')
		return complain_of(walk, REJECT_BAD_FRAMING, bytes_that_do_not_belong);
	if (!colon)
		return complain_of(walk, REJECT_BAD_HEADER, "A header line has no colon (RFC 9112, 5).");
	size_t name_len = (size_t)(colon - line.at);
	return take_header(walk, (struct slice){ line.at, name_len },
			   (struct slice){ colon + 1, line.len - name_len - 1 });
}

bool guard_bytes(struct slice bytes, struct request *request, const char *tenant_header, size_t header_bytes,
		 struct guard_head *head, struct guard_decision *decision)
{
	struct head_walk walk = { .request = request, .tenant_header = slice_of(tenant_header) };
	struct request_line request_line = { 0 };
	struct slice rest = bytes, line;
	bool bare, whole = false;
	if (bytes.len >= 2 &&
	    memcmp(bytes.at, "\r\n", 2) == 0) /* one empty line before it is forgiven (RFC 9112, 2.2) */
		rest = (struct slice){ bytes.at + 2, bytes.len - 2 };
	const char *begin = rest.at;
	bool begun = take_line(&rest, &line, &bare);
	if (begun && !split_request_line(line, &request_line)) {
		*decision = refuse_bad(REJECT_BAD_FRAMING,
				       "The request line must be a method, a target and a version (RFC 9112, 3).");
		return true;
	}
	while (begun && !whole && !walk.complaint && take_line(&rest, &line, &bare)) {
		whole = line.len == 0;
		if (!whole)
			split_header(&walk, line);
	}
	size_t head_len = (size_t)(rest.at - begin) + (whole || walk.complaint ? 0 : rest.len);
	if (bare)
		complain_of(&walk, REJECT_BAD_FRAMING, bytes_that_do_not_belong);
	if (!whole && !walk.complaint && head_len <= header_bytes)
		return false;
	if (bare && !begun) {
		*decision = refuse_bad(REJECT_BAD_FRAMING, bytes_that_do_not_belong);
		return true;
	}
	*decision = check_head(&walk, &request_line, head_len, header_bytes, whole, head);
	size_t parameters = request->query.at ? slice_count(request->query, '&') + 1 : 0; /* an empty one is one too */
	head->memory = head_len + walk.cookie_bytes + (walk.records + parameters) * GUARD_RECORD_BYTES;
	return true;
}
