/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values.h: how single values are written in the configuration and on the command line. The readers return NULL,
 * or what is wrong (a phrase, static storage).
 */
#ifndef JITNEY_GATEWAY_CONFIG_VALUES_H
#define JITNEY_GATEWAY_CONFIG_VALUES_H

#include <stdint.h>

#include "base/buf.h"
#include "gateway/config/config.h"

const char *value_bool(struct slice text, bool *value);
const char *value_count(struct slice text, uint64_t *value);
/* "20%" */
const char *value_percent(struct slice text, uint64_t *value);
const char *value_duration(struct slice text, uint64_t *value_us);
const char *value_size(struct slice text, uint64_t *value_bytes);
const char *value_rate(struct slice text, struct rate *value);
/* `text` (kept in address->text) ends with a NUL and outlives the address. */
const char *value_address(const char *text, struct listen_address *address);
const char *value_network(const char *text, struct network *network);
const char *value_header_name(struct slice text);
/* Of a header line: no CR, LF, NUL or other control byte but a tab. */
const char *value_header(struct slice text);
/* Append as it would be written in the file: "90s", "64MiB". */
void value_put_duration(struct buf *out, uint64_t value_us);
void value_put_size(struct buf *out, uint64_t value_bytes);
void value_put_rate(struct buf *out, const struct rate *value);

#endif
