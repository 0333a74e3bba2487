/* SPDX-License-Identifier: Apache-2.0 */
/* redis_settings.c: Redis URLs. */
#include "cache/redis/redis_settings.h"

#include <string.h>

#include "base/hex.h"

static bool take_prefix(struct slice *text, struct slice prefix)
{
	if (text->len < prefix.len || memcmp(text->at, prefix.at, prefix.len) != 0)
		return false;
	text->at += prefix.len;
	text->len -= prefix.len;
	return true;
}

/* Where c is in the text; text.len if nowhere. */
static size_t place_of(struct slice text, char c)
{
	const char *at = text.len ? memchr(text.at, c, text.len) : NULL;
	return at ? (size_t)(at - text.at) : text.len;
}

static bool read_number(struct slice text, unsigned most, unsigned *number)
{
	unsigned value = 0;
	if (!text.len || text.len > 9)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text.at[i] - '0');
	}
	*number = value;
	return value <= most;
}

/* Percent-decoded and ended by a NUL. False: too long, a bad escape, or an escaped NUL. */
static bool decode_percent(struct slice text, char *out, size_t out_bytes)
{
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];
		if (c == '%') {
			int byte = hex_byte(text, i + 1);
			if (byte <= 0)
				return false;
			c = (char)byte;
			i += 2;
		}
		if (len + 1 >= out_bytes)
			return false;
		out[len++] = c;
	}
	out[len] = '\0';
	return true;
}

const char *redis_node_parse(struct slice text, uint16_t default_port, struct redis_node *node)
{
	struct slice host = text, port = { "", 0 };
	unsigned number = default_port;
	if (text.len && text.at[0] == '[') {
		size_t end = place_of(text, ']');
		if (end == text.len)
			return "has a [ without its ]";
		host = (struct slice){ text.at + 1, end - 1 };
		port = (struct slice){ text.at + end + 1, text.len - end - 1 };
	} else {
		host.len = place_of(text, ':');
		port = (struct slice){ text.at + host.len, text.len - host.len };
	}
	if (port.len && (port.at[0] != ':' ||
			 !read_number((struct slice){ port.at + 1, port.len - 1 }, UINT16_MAX, &number) || !number))
		return "needs a port from 1 to 65535 after the host's colon (an IPv6 address stands in brackets)";
	if (!host.len || host.len >= sizeof node->host)
		return "needs a host of 1 to 253 bytes";
	for (size_t i = 0; i < host.len; i++)
		if (host.at[i] <= ' ' || host.at[i] >= 127 || strchr("/?#@%", host.at[i]))
			return "has a host with a character that cannot be in one";
	memcpy(node->host, host.at, host.len);
	node->host[host.len] = '\0';
	node->port = (uint16_t)number;
	return NULL;
}

static const char *parse_unix(struct slice text, struct redis_url *url)
{
	size_t end = place_of(text, '?');
	struct slice query = { text.at + end, text.len - end };
	take_prefix(&text, SLICE("//"));
	end = place_of(text, '?');
	if (query.len && (!take_prefix(&query, SLICE("?db=")) || !read_number(query, UINT16_MAX, &url->database)))
		return "takes only ?db=NUMBER after the path of a unix socket";
	if (!end || text.at[0] != '/' || end >= sizeof url->path)
		return "needs an absolute path of at most 107 bytes after unix:";
	memcpy(url->path, text.at, end);
	url->path[end] = '\0';
	return NULL;
}

static const char *parse_login(struct slice login, struct redis_url *url)
{
	size_t colon = place_of(login, ':');
	struct slice name = { login.at, colon };
	struct slice password = { login.at + colon, login.len - colon };
	take_prefix(&password, SLICE(":"));
	if (!decode_percent(name, url->username, sizeof url->username) ||
	    !decode_percent(password, url->password, sizeof url->password))
		return "has a user or password that is too long or badly percent-encoded";
	return NULL;
}

const char *redis_url_parse(struct slice text, struct redis_url *url)
{
	memset(url, 0, sizeof *url);
	if (take_prefix(&text, SLICE("unix:")))
		return parse_unix(text, url);
	url->tls = take_prefix(&text, SLICE("rediss://"));
	if (!url->tls && !take_prefix(&text, SLICE("redis://")))
		return "must begin with redis://, rediss:// or unix:";
	size_t at = text.len;
	while (at > 0 && text.at[at - 1] != '@')
		at--;
	if (at) {
		const char *wrong = parse_login((struct slice){ text.at, at - 1 }, url);
		if (wrong)
			return wrong;
		text = (struct slice){ text.at + at, text.len - at };
	}
	size_t slash = place_of(text, '/');
	struct slice database = { text.at + slash, text.len - slash };
	if (take_prefix(&database, SLICE("/")) && database.len && !read_number(database, UINT16_MAX, &url->database))
		return "must end in /NUMBER, the database, or without it";
	return redis_node_parse((struct slice){ text.at, slash }, REDIS_PORT, &url->node);
}
