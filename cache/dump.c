/* SPDX-License-Identifier: Apache-2.0 */
/* dump.c: stored values in lines of base64. */
#include "cache/dump.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "cache/stored_value.h"

enum { COMPRESS_BYTES = 1024, VALUE_BYTES_MAX = 64 << 20, DEPTH = 8 };

void dump_put_head(struct buf *out)
{
	buf_printf(out, "{\"jitney_cache\":%d,\"key_scheme\":%d,\"value_format\":%d}\n", DUMP_VERSION, KEY_SCHEME,
		   STORED_FORMAT);
}

void dump_put_end(struct buf *out, size_t count)
{
	buf_printf(out, "{\"end\":%zu}\n", count);
}

bool dump_put_entry(struct buf *out, const struct entry *entry)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	struct buf value = BUF_INIT(VALUE_BYTES_MAX);
	bool ok = entry_gone_us(entry) > clock.now_us && stored_value_encode(entry, COMPRESS_BYTES, &clock, &value);
	size_t room = (value.len + 2) / 3 * 4 + 1; /* it writes a NUL as well */
	if (ok && buf_reserve(out, room)) {
		char *to = out->store->bytes + out->len;
		out->len += (size_t)EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)buf_slice(&value).at,
						    (int)value.len);
		buf_put_char(out, '\n');
	}
	buf_fini(&value);
	return ok && !out->failed;
}

static bool read_version(struct slice head, struct slice name, uint64_t *number)
{
	struct slice value;
	return json_member(head, name, &value) && json_u64(value, number);
}

bool dump_check_head(struct slice line, char *why, size_t why_bytes)
{
	static const struct {
		struct slice name;
		const char *what;
		uint64_t known;
	} versions[] = {
		{ { "jitney_cache", 12 }, "written by another version: its layout", DUMP_VERSION },
		{ { "key_scheme", 10 }, "of no use to this version: its scheme of keys", KEY_SCHEME },
		{ { "value_format", 12 }, "written by another version: its format of values", STORED_FORMAT },
	};
	struct json_fault fault;
	bool object = line.len && json_check(line, DEPTH, NULL, &fault) && json_type(line) == JSON_OBJECT;
	for (size_t i = 0; i < countof(versions); i++) {
		uint64_t number;
		if (!object || !read_version(line, versions[i].name, &number)) {
			snprintf(why, why_bytes, "The first line is not the head of an export of answers.");
			return false;
		}
		if (number != versions[i].known) {
			snprintf(why, why_bytes, "The export is %s is %llu, this one reads %llu.", versions[i].what,
				 (unsigned long long)number, (unsigned long long)versions[i].known);
			return false;
		}
	}
	return true;
}

bool dump_is_end(struct slice line, size_t *count)
{
	struct json_fault fault;
	uint64_t number;
	if (!line.len || line.at[0] != '{' || !json_check(line, DEPTH, NULL, &fault) ||
	    !read_version(line, SLICE("end"), &number))
		return false;
	*count = (size_t)number;
	return true;
}

static enum dump_fault fault_of(enum stored_fault fault)
{
	switch (fault) {
	case STORED_OK:
		return DUMP_OK;
	case STORED_GONE:
		return DUMP_GONE;
	case STORED_NO_MEMORY:
		return DUMP_NO_MEMORY;
	default:
		return DUMP_DAMAGED;
	}
}

enum dump_fault dump_read_entry(struct slice line, struct entry **entry)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	if (line.len == 0 || line.len % 4 != 0 || line.len > 2 * VALUE_BYTES_MAX)
		return DUMP_DAMAGED;
	unsigned char *value = malloc(line.len / 4 * 3);
	if (!value)
		return DUMP_NO_MEMORY;
	size_t padding = (line.at[line.len - 1] == '=') + (line.at[line.len - 2] == '=');
	int len = EVP_DecodeBlock(value, (const unsigned char *)line.at, (int)line.len);
	enum dump_fault fault = DUMP_DAMAGED;
	if (len > 0 && (size_t)len > padding)
		fault = fault_of(
			stored_value_read((struct slice){ (const char *)value, (size_t)len - padding }, &clock, entry));
	free(value);
	return fault;
}
