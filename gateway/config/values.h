/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values.h: how single values are written in the configuration and on the command line. Pure: any thread.
 *
 * The readers return NULL, or what is wrong: a phrase that goes on from the value's name, static storage. Then what
 * they have written is not to be used.
 */
#ifndef JITNEY_GATEWAY_CONFIG_VALUES_H
#define JITNEY_GATEWAY_CONFIG_VALUES_H

#include <stdint.h>

#include "base/buf.h"
#include "gateway/config/config.h"

/* "true" or "false". */
const char *value_bool(struct slice text, bool *value);
/* Decimal digits without leading zeros. */
const char *value_count(struct slice text, uint64_t *value);
/* "20%": the number before the sign, which may be over 100. */
const char *value_percent(struct slice text, uint64_t *value);
/* "90s": a whole number and us, ms, s, m, h or d; a bare 0 too. */
const char *value_duration(struct slice text, uint64_t *value_us);
/* "8MiB": a whole number and B, KiB, MiB, GiB, or the decimal kB, MB, GB; a bare 0 too. */
const char *value_size(struct slice text, uint64_t *value_bytes);
/* "60/min": a whole number, which may be 0, and s, min, h or d. */
const char *value_rate(struct slice text, struct rate *value);
/* "127.0.0.1:8080", "[::1]:8080" or "unix:/run/jitney.sock"; port 0: any free one. `text` (kept in address->text) ends
 * with a NUL and outlives the address. */
const char *value_address(const char *text, struct listen_address *address);
/* "10.0.0.0/8", "fd00::/8", or one address; IPv4 becomes a network of mapped addresses. No bits behind the prefix. */
const char *value_network(const char *text, struct network *network);
/* A token of RFC 9110. */
const char *value_header_name(struct slice text);
/* The value of a header line: no CR, LF, NUL or other control byte but a tab. */
const char *value_header(struct slice text);
/* Append as it would be written in the file, in the largest unit that divides it: "90s", "64MiB", "60/min". */
void value_put_duration(struct buf *out, uint64_t value_us);
void value_put_size(struct buf *out, uint64_t value_bytes);
void value_put_rate(struct buf *out, const struct rate *value);

#endif
