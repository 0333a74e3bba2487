/* SPDX-License-Identifier: Apache-2.0 */
/* values.c: how single values are written: numbers, durations, sizes, addresses, networks, headers. */
#include <arpa/inet.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "gateway/config/config_private.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Ascending, so that printing can look for the largest that divides. */
static const struct unit duration_units[] = { { "us", 1 },      { "ms", US_MS(1) }, { "s", US_S(1) },
					      { "m", US_M(1) }, { "h", US_H(1) },   { "d", US_D(1) } };
static const struct unit size_units[] = { { "B", 1 }, { "KiB", B_KIB(1) }, { "MiB", B_MIB(1) }, { "GiB", B_GIB(1) } };
static const struct unit decimal_units[] = { { "kB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 } };

const char *value_bool(struct slice text, bool *value)
{
	*value = slice_equal(text, SLICE("true"));
	return *value || slice_equal(text, SLICE("false")) ? NULL : "write true or false";
}

/* The decimal digits at the start; *len says how many there were. */
static const char *read_digits(struct slice text, uint64_t *value, size_t *len)
{
	size_t n = 0;
	*value = 0;
	for (; n < text.len && text.at[n] >= '0' && text.at[n] <= '9'; n++)
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(text.at[n] - '0'), value))
			return "is too large";
	*len = n;
	return n > 1 && text.at[0] == '0' ? "write the number without leading zeros" : NULL;
}

const char *value_count(struct slice text, uint64_t *value)
{
	size_t len;
	const char *wrong = read_digits(text, value, &len);
	return wrong || (len > 0 && len == text.len) ? wrong : "must be a whole number, such as 100";
}

const char *value_percent(struct slice text, uint64_t *value)
{
	size_t len;
	const char *wrong = read_digits(text, value, &len);
	bool fits = len > 0 && len + 1 == text.len && text.at[len] == '%';
	return wrong || fits ? wrong : "must be a share, a whole number and %, such as 20%";
}

static const struct unit *find_unit(const struct unit *units, size_t count, struct slice name)
{
	for (size_t i = 0; i < count; i++)
		if (slice_equal(slice_of(units[i].name), name))
			return &units[i];
	return NULL;
}

/* Digits and a unit; a bare 0 needs none. `units` and `more` may be the same. */
static const char *read_quantity(struct slice text, const struct unit *units, size_t count, const struct unit *more,
				 size_t more_count, const char *no_unit, const char *malformed, uint64_t *value)
{
	size_t len = 0;
	const char *wrong = read_digits(text, value, &len);
	if (wrong)
		return wrong;
	if (len == text.len && len > 0)
		return *value == 0 ? NULL : no_unit;
	struct slice name = { text.at + len, text.len - len };
	const struct unit *unit = find_unit(units, count, name);
	if (!unit)
		unit = find_unit(more, more_count, name);
	if (!unit || len == 0)
		return malformed;
	return __builtin_mul_overflow(*value, unit->factor, value) ? "is too large" : NULL;
}

const char *value_duration(struct slice text, uint64_t *value_us)
{
	return read_quantity(text, duration_units, countof(duration_units), NULL, 0,
			     "a duration needs a unit: us, ms, s, m, h or d, such as 10s",
			     "must be a duration: a whole number and us, ms, s, m, h or d, such as 10s", value_us);
}

const char *value_size(struct slice text, uint64_t *value_bytes)
{
	return read_quantity(
		text, size_units, countof(size_units), decimal_units, countof(decimal_units),
		"a size needs a unit: B, KiB, MiB or GiB, such as 8MiB",
		"must be a size: a whole number and B, KiB, MiB or GiB (kB, MB, GB: decimal), such as 8MiB",
		value_bytes);
}

static void put_quantity(struct buf *out, const struct unit *units, size_t count, uint64_t value)
{
	size_t i = value ? count - 1 : 0;
	while (value % units[i].factor)
		i--;
	buf_put_u64(out, value / units[i].factor);
	if (value)
		buf_put_text(out, units[i].name);
}

/* "60/min" */
static const struct unit rate_units[] = { { "s", US_S(1) }, { "min", US_M(1) }, { "h", US_H(1) }, { "d", US_D(1) } };

const char *value_rate(struct slice text, struct rate *value)
{
	static const char wrong[] = "must be a rate: a whole number, / and s, min, h or d, such as 60/min";
	const char *slash = text.len ? memchr(text.at, '/', text.len) : NULL;
	if (!slash)
		return wrong;
	struct slice amount = { text.at, (size_t)(slash - text.at) };
	struct slice unit = { slash + 1, text.len - amount.len - 1 };
	if (value_count(amount, &value->amount))
		return wrong;
	for (size_t i = 0; i < countof(rate_units); i++) {
		if (!slice_equal(unit, slice_of(rate_units[i].name)))
			continue;
		value->period_us = rate_units[i].factor;
		return NULL;
	}
	return wrong;
}

void value_put_rate(struct buf *out, const struct rate *value)
{
	for (size_t i = 0; i < countof(rate_units); i++)
		if (value->period_us == rate_units[i].factor)
			buf_printf(out, "%llu/%s", (unsigned long long)value->amount, rate_units[i].name);
}

void value_put_duration(struct buf *out, uint64_t value_us)
{
	put_quantity(out, duration_units, countof(duration_units), value_us);
}

void value_put_size(struct buf *out, uint64_t value_bytes)
{
	put_quantity(out, size_units, countof(size_units), value_bytes);
}

/* --- Addresses --- */

static const char address_form[] =
	"write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name";

static const char *read_port(const char *text, in_port_t *port)
{
	uint64_t number;
	const char *wrong = value_count(slice_of(text), &number);
	if (wrong || number > UINT16_MAX)
		return "the port must be a number from 0 to 65535";
	*port = htons((uint16_t)number);
	return NULL;
}

static const char *read_v6(const char *text, struct listen_address *address)
{
	char host[INET6_ADDRSTRLEN];
	const char *end = strchr(text, ']');
	size_t len = end ? (size_t)(end - text) - 1 : sizeof host;
	if (len >= sizeof host || end[1] != ':')
		return address_form;
	memcpy(host, text + 1, len);
	host[len] = '\0';
	address->in6.sin6_family = AF_INET6;
	if (inet_pton(AF_INET6, host, &address->in6.sin6_addr) != 1)
		return address_form;
	return read_port(end + 2, &address->in6.sin6_port);
}

static const char *read_v4(const char *text, struct listen_address *address)
{
	char host[INET_ADDRSTRLEN];
	struct sockaddr_in in = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : sizeof host;
	if (len >= sizeof host)
		return address_form;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
		return address_form;
	const char *wrong = read_port(colon + 1, &in.sin_port);
	memcpy(&address->in6, &in, sizeof in);
	return wrong;
}

const char *value_address(const char *text, struct listen_address *address)
{
	*address = (struct listen_address){ .text = text };
	if (strncmp(text, "unix:", 5) != 0)
		return text[0] == '[' ? read_v6(text, address) : read_v4(text, address);
	if (text[5] == '\0')
		return "the path behind unix: is missing";
	if (strlen(text + 5) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return "the path is longer than the 107 bytes a unix socket can have";
	address->unix_path = text + 5;
	return NULL;
}

/* Bits behind the prefix must be zero: else the operator meant something else. */
static bool has_host_bits(const struct network *network)
{
	for (unsigned bit = network->bits; bit < 128; bit++)
		if (network->address.s6_addr[bit / 8] & (0x80 >> bit % 8))
			return true;
	return false;
}

const char *value_network(const char *text, struct network *network)
{
	char host[INET6_ADDRSTRLEN];
	struct in_addr v4;
	uint64_t bits;
	size_t len = strcspn(text, "/");
	if (len >= sizeof host)
		return "write ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8";
	memcpy(host, text, len);
	host[len] = '\0';
	bool is_v4 = inet_pton(AF_INET, host, &v4) == 1;
	if (is_v4) {
		static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
		memcpy(network->address.s6_addr, mapped, sizeof mapped);
		memcpy(network->address.s6_addr + sizeof mapped, &v4, sizeof v4);
	} else if (inet_pton(AF_INET6, host, &network->address) != 1) {
		return "write ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8";
	}
	unsigned most = is_v4 ? 32 : 128;
	if (text[len] == '\0')
		bits = most;
	else if (value_count(slice_of(text + len + 1), &bits) || bits > most)
		return "the bits behind / must be at most 32 (IPv4) or 128 (IPv6)";
	network->bits = (unsigned)bits + (is_v4 ? 96 : 0);
	return has_host_bits(network) ? "the address has bits set behind the prefix" : NULL;
}

/* --- Headers --- */

const char *value_header_name(struct slice text)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	for (size_t i = 0; i < text.len; i++)
		if (!text.at[i] || !strchr(token, text.at[i]))
			return "is not a header's name: letters, digits and - only";
	return text.len ? NULL : "is not a header's name: letters, digits and - only";
}

const char *value_header(struct slice text)
{
	return text_has_control(text) ? "a header's value must not hold line breaks or other control bytes" : NULL;
}
