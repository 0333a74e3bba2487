/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored_value.c: the envelope: struct head, little-endian, then key, outcome word, content type, detail, and the
 * answer's bytes (the full form, then the body unless it lies within it). A change to the layout is a new format
 * number, which other versions take for foreign and delete: a rolling upgrade costs misses, never a wrong answer.
 */
#include "cache/stored_value.h"

#include <endian.h>
#include <limits.h>
#include <lz4.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/json.h"

enum { FLAG_COMPRESSED = 1, FLAG_JSON = 2, FLAGS_KNOWN = 3, SAVES_AT_LEAST = 8 };
enum { PLAIN_BYTES_MAX = 1 << 30, JSON_DEPTH = 1000 /* the most that limits.json_depth can be */ };
#define SKEW_MAX_US (60 * CLOCK_US_PER_S)
#define SAME_US 500 /* the two clocks are not read at the same moment, and the wall's is adjusted */

static const char magic[6] = { 'j', 'i', 't', 'n', 'e', 'y' };

struct head {
	char magic[6];
	uint8_t format, flags;
	uint64_t checksum; /* of format, flags and all that follows */
	uint8_t digest[KEY_DIGEST_BYTES];
	uint64_t made_us, stored_us, fresh_us, revalidate_us, error_us; /* wall clock */
	uint32_t key_len, held_len, body_at, body_len, full_len, retry_after_s, cost_us;
	uint16_t upstream_status;
	uint8_t word_len, type_len, detail_len;
	uint8_t generation[7]; /* of purges; 56 bits, little-endian; 0 in values of versions that knew none */
};
_Static_assert(sizeof(struct head) == STORED_HEAD_BYTES, "the layout is the same everywhere");
_Static_assert(ANSWER_DETAIL_BYTES <= 256 && ANSWER_TYPE_BYTES <= 256, "their lengths fit a byte");
enum { CHECKED_FROM = offsetof(struct head, digest) };

static uint64_t checksum_of(struct slice value)
{
	uint64_t seed = (uint8_t)value.at[offsetof(struct head, format)] |
			(uint64_t)(uint8_t)value.at[offsetof(struct head, flags)] << 8;
	return XXH3_64bits_withSeed(value.at + CHECKED_FROM, value.len - CHECKED_FROM, seed);
}

/* --- clocks --- */

uint64_t stored_wall_us(uint64_t at_us, const struct stored_clock *clock)
{
	if (at_us >= clock->now_us)
		return clock_add(clock->wall_us, at_us - clock->now_us);
	uint64_t ago = clock->now_us - at_us;
	return ago < clock->wall_us ? clock->wall_us - ago : 0;
}

static uint64_t from_wall(uint64_t wall_us, const struct stored_clock *clock)
{
	if (wall_us >= clock->wall_us)
		return clock_add(clock->now_us, wall_us - clock->wall_us);
	uint64_t ago = clock->wall_us - wall_us;
	return ago < clock->now_us ? clock->now_us - ago : 0;
}

/* --- writing --- */

/* The answer's bytes, compressed if that pays: *compressed. False: no room. */
static bool put_answer(struct buf *out, struct slice plain, size_t compress_bytes, bool *compressed)
{
	*compressed = false;
	if (compress_bytes && plain.len >= compress_bytes && plain.len <= LZ4_MAX_INPUT_SIZE) {
		int room = (int)(plain.len - plain.len / SAVES_AT_LEAST);
		if (!buf_reserve(out, (size_t)room))
			return false;
		int len = LZ4_compress_default(plain.at, out->store->bytes + out->len, (int)plain.len, room);
		if (len > 0) {
			out->len += (size_t)len;
			*compressed = true;
			return true;
		}
	}
	buf_put(out, plain);
	return !out->failed;
}

static struct head head_of(const struct entry *entry, const struct stored_clock *clock)
{
	const struct answer *answer = entry->answer;
	struct head head = {
		.format = STORED_FORMAT,
		.flags = answer->json ? FLAG_JSON : 0,
		.made_us = htole64(stored_wall_us(entry->made_us, clock)),
		.stored_us = htole64(stored_wall_us(entry->stored_us, clock)),
		.fresh_us = htole64(stored_wall_us(entry->fresh_until_us, clock)),
		.revalidate_us = htole64(stored_wall_us(entry->revalidate_until_us, clock)),
		.error_us = htole64(stored_wall_us(entry->error_until_us, clock)),
		.key_len = htole32((uint32_t)entry->key->len),
		.held_len = htole32((uint32_t)(answer_held_bytes(answer) - 1)),
		.body_at = htole32((uint32_t)answer->body_at),
		.body_len = htole32((uint32_t)answer->body_len),
		.full_len = htole32((uint32_t)answer->full_len),
		.retry_after_s = htole32(answer->retry_after_s),
		.cost_us = htole32(entry->cost_us),
		.upstream_status = htole16(answer->upstream_status),
		.word_len = (uint8_t)strlen(outcome_word(answer->outcome)),
		.type_len = (uint8_t)strlen(answer->content_type),
		.detail_len = (uint8_t)strlen(answer->detail),
	};
	memcpy(head.magic, magic, sizeof magic);
	memcpy(head.digest, entry->key->digest, sizeof head.digest);
	uint64_t generation = htole64(entry->number);
	memcpy(head.generation, &generation, sizeof head.generation);
	return head;
}

bool stored_value_encode(const struct entry *entry, size_t compress_bytes, const struct stored_clock *clock,
			 struct buf *out)
{
	const struct answer *answer = entry->answer;
	struct slice held = { answer_bytes(answer), answer_held_bytes(answer) - 1 };
	if (entry->key->len > PLAIN_BYTES_MAX || held.len > PLAIN_BYTES_MAX)
		return false;
	struct head head = head_of(entry, clock);
	size_t start = out->len;
	bool compressed;
	buf_put(out, (struct slice){ (const char *)&head, sizeof head });
	buf_put(out, (struct slice){ entry->key->bytes, entry->key->len });
	buf_put_text(out, outcome_word(answer->outcome));
	buf_put_text(out, answer->content_type);
	buf_put_text(out, answer->detail);
	if (out->failed || !put_answer(out, held, compress_bytes, &compressed))
		return false;
	char *bytes = out->store->bytes + start;
	if (compressed)
		bytes[offsetof(struct head, flags)] |= FLAG_COMPRESSED;
	uint64_t checksum = htole64(checksum_of((struct slice){ bytes, out->len - start }));
	memcpy(bytes + offsetof(struct head, checksum), &checksum, sizeof checksum);
	return true;
}

/* --- reading --- */

/* A value taken apart; slices into the bytes. */
struct parts {
	struct head head; /* numbers as this machine has them */
	struct slice key, word, type, detail, held;
};

static void read_head(struct slice bytes, struct head *head)
{
	memcpy(head, bytes.at, sizeof *head);
	head->checksum = le64toh(head->checksum);
	head->made_us = le64toh(head->made_us);
	head->stored_us = le64toh(head->stored_us);
	head->fresh_us = le64toh(head->fresh_us);
	head->revalidate_us = le64toh(head->revalidate_us);
	head->error_us = le64toh(head->error_us);
	head->key_len = le32toh(head->key_len);
	head->held_len = le32toh(head->held_len);
	head->body_at = le32toh(head->body_at);
	head->body_len = le32toh(head->body_len);
	head->full_len = le32toh(head->full_len);
	head->retry_after_s = le32toh(head->retry_after_s);
	head->cost_us = le32toh(head->cost_us);
	head->upstream_status = le16toh(head->upstream_status);
}

static uint64_t generation_of(const struct head *head)
{
	uint64_t generation = 0;
	memcpy(&generation, head->generation, sizeof head->generation);
	return le64toh(generation);
}

static bool take_part(struct slice *rest, size_t len, struct slice *part)
{
	if (rest->len < len)
		return false;
	*part = (struct slice){ rest->at, len };
	rest->at += len;
	rest->len -= len;
	return true;
}

static bool lengths_add_up(const struct head *head, size_t stored_len)
{
	bool compressed = head->flags & FLAG_COMPRESSED;
	uint64_t body_end = (uint64_t)head->body_at + head->body_len;
	uint64_t end = body_end > head->full_len ? body_end : head->full_len;
	return head->held_len == end && head->held_len <= PLAIN_BYTES_MAX &&
	       (compressed ? stored_len < head->held_len : stored_len == head->held_len) &&
	       (body_end <= head->full_len || head->body_at == head->full_len) &&
	       head->detail_len < ANSWER_DETAIL_BYTES && head->type_len < ANSWER_TYPE_BYTES;
}

static bool times_add_up(const struct head *head)
{
	return head->made_us <= head->stored_us && head->stored_us <= head->fresh_us &&
	       head->fresh_us <= head->revalidate_us && head->fresh_us <= head->error_us;
}

static enum stored_fault take_apart(struct slice bytes, struct parts *parts)
{
	struct slice rest = bytes, skipped;
	struct head *head = &parts->head;
	if (bytes.len < sizeof magic || memcmp(bytes.at, magic, sizeof magic) != 0)
		return STORED_FOREIGN;
	if (bytes.len < sizeof *head)
		return STORED_DAMAGED;
	read_head(bytes, head);
	if (head->format != STORED_FORMAT || head->flags & ~FLAGS_KNOWN)
		return STORED_FOREIGN;
	if (checksum_of(bytes) != head->checksum)
		return STORED_DAMAGED;
	if (!take_part(&rest, sizeof *head, &skipped) || !take_part(&rest, head->key_len, &parts->key) ||
	    !take_part(&rest, head->word_len, &parts->word) || !take_part(&rest, head->type_len, &parts->type) ||
	    !take_part(&rest, head->detail_len, &parts->detail))
		return STORED_DAMAGED;
	parts->held = rest;
	return lengths_add_up(head, rest.len) && times_add_up(head) ? STORED_OK : STORED_DAMAGED;
}

static enum outcome read_outcome(struct slice word)
{
	for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
		if (slice_equal(word, slice_of(outcome_word((enum outcome)outcome))))
			return (enum outcome)outcome;
	return OUTCOME_COUNT;
}

/* From the bytes as they were before compression. NULL: out of memory. */
static struct answer *make_answer(const struct parts *parts, enum outcome outcome, const char *held)
{
	const struct head *head = &parts->head;
	struct slice body = { held + head->body_at, head->body_len };
	struct slice full = { held, head->full_len };
	bool json = head->flags & FLAG_JSON;
	char type[ANSWER_TYPE_BYTES] = "";
	memcpy(type, parts->type.len ? parts->type.at : "", parts->type.len);
	struct answer *answer;
	if (full.len)
		answer = answer_mcp(outcome, full, body, json, type, "%.*s", SLICE_ARG(parts->detail));
	else if (outcome == OUTCOME_OK)
		return answer_result(body, json, type);
	else
		answer = answer_upstream_error(outcome, head->upstream_status, head->retry_after_s, body, "%.*s",
					       SLICE_ARG(parts->detail));
	if (answer->outcome == outcome)
		return answer;
	answer_unref(answer); /* what there is when memory is out */
	return NULL;
}

/* A stranger's word is not taken for it: bytes that are put into other documents as they are must be what they say. */
static enum stored_fault check_json(struct slice text)
{
	struct json_fault fault;
	if (json_check(text, JSON_DEPTH, NULL, &fault))
		return STORED_OK;
	return fault.out_of_memory ? STORED_NO_MEMORY : STORED_DAMAGED;
}

static enum stored_fault check_parts(const struct parts *parts, enum outcome outcome, const char *held)
{
	const struct head *head = &parts->head;
	struct slice body = { held + head->body_at, head->body_len }, full = { held, head->full_len };
	bool json = head->flags & FLAG_JSON || (outcome != OUTCOME_OK && body.len);
	enum stored_fault fault = full.len ? check_json(full) : STORED_OK;
	if (fault == STORED_OK && full.len && json_type(json_trim(full)) != JSON_OBJECT)
		return STORED_DAMAGED;
	return fault == STORED_OK && json ? check_json(body) : fault;
}

static enum stored_fault check_answer(const struct parts *parts, enum outcome outcome, const char *held,
				      struct answer **answer)
{
	enum stored_fault fault = check_parts(parts, outcome, held);
	if (fault != STORED_OK)
		return fault;
	*answer = make_answer(parts, outcome, held);
	return *answer ? STORED_OK : STORED_NO_MEMORY;
}

static enum stored_fault read_answer(const struct parts *parts, struct answer **answer)
{
	enum outcome outcome = read_outcome(parts->word);
	size_t len = parts->head.held_len;
	if (outcome != OUTCOME_OK && outcome != OUTCOME_TOOL_ERROR)
		return STORED_FOREIGN; /* nothing else is ever kept, but maybe by a version that knows more */
	if (!(parts->head.flags & FLAG_COMPRESSED))
		return check_answer(parts, outcome, parts->held.at, answer);
	/* LZ4 cannot expand more than 255 times: a length beyond that is a lie that need not be allocated for */
	if (len / 255 > parts->held.len)
		return STORED_DAMAGED;
	char *held = malloc(len);
	if (!held)
		return STORED_NO_MEMORY;
	enum stored_fault fault = STORED_DAMAGED;
	if (LZ4_decompress_safe(parts->held.at, held, (int)parts->held.len, (int)len) == (int)len)
		fault = check_answer(parts, outcome, held, answer);
	free(held);
	return fault;
}

/* A writer's clock that is ahead of ours must not make its answers live longer: they count as stored now. */
static enum stored_fault settle_times(struct head *head, const struct stored_clock *clock)
{
	uint64_t ahead = head->stored_us > clock->wall_us ? head->stored_us - clock->wall_us : 0;
	if (ahead > SKEW_MAX_US)
		return STORED_CLOCK;
	head->made_us -= ahead < head->made_us ? ahead : head->made_us;
	head->stored_us -= ahead;
	head->fresh_us -= ahead;
	head->revalidate_us -= ahead;
	head->error_us -= ahead;
	uint64_t gone = head->revalidate_us > head->error_us ? head->revalidate_us : head->error_us;
	return gone <= clock->wall_us ? STORED_GONE : STORED_OK;
}

/* The rest, for a value that has been taken apart. */
static enum stored_fault make_entry(struct parts *parts, struct key *key, const struct stored_clock *clock,
				    struct entry **entry)
{
	struct answer *answer = NULL;
	enum stored_fault fault = settle_times(&parts->head, clock);
	if (fault == STORED_OK)
		fault = read_answer(parts, &answer);
	if (fault != STORED_OK)
		return fault;
	*entry = entry_new(key, answer);
	answer_unref(answer);
	if (!*entry)
		return STORED_NO_MEMORY;
	(*entry)->cost_us = parts->head.cost_us;
	(*entry)->made_us = from_wall(parts->head.made_us, clock);
	(*entry)->stored_us = from_wall(parts->head.stored_us, clock);
	(*entry)->number = generation_of(&parts->head);
	(*entry)->fresh_until_us = from_wall(parts->head.fresh_us, clock);
	(*entry)->revalidate_until_us = from_wall(parts->head.revalidate_us, clock);
	(*entry)->error_until_us = from_wall(parts->head.error_us, clock);
	return STORED_OK;
}

enum stored_fault stored_value_decode(struct slice bytes, struct key *key, const struct stored_clock *clock,
				      struct entry **entry)
{
	struct parts parts;
	enum stored_fault fault = take_apart(bytes, &parts);
	if (fault == STORED_OK && (memcmp(parts.head.digest, key->digest, KEY_DIGEST_BYTES) != 0 ||
				   !slice_equal(parts.key, (struct slice){ key->bytes, key->len })))
		fault = STORED_FOREIGN;
	return fault == STORED_OK ? make_entry(&parts, key, clock, entry) : fault;
}

enum stored_fault stored_value_read(struct slice bytes, const struct stored_clock *clock, struct entry **entry)
{
	struct parts parts;
	enum stored_fault fault = take_apart(bytes, &parts);
	bool wrong;
	if (fault != STORED_OK)
		return fault;
	struct key *key = key_restore(parts.key, parts.head.digest, &wrong);
	if (!key)
		return wrong ? STORED_FOREIGN : STORED_NO_MEMORY;
	fault = make_entry(&parts, key, clock, entry);
	key_unref(key);
	return fault;
}

bool stored_value_is_of(struct slice start, const struct entry *entry, const struct stored_clock *clock)
{
	struct head head;
	if (start.len < sizeof head || memcmp(start.at, magic, sizeof magic) != 0)
		return false;
	read_head(start, &head);
	uint64_t stored_us = from_wall(head.stored_us, clock);
	uint64_t apart_us = stored_us > entry->stored_us ? stored_us - entry->stored_us : entry->stored_us - stored_us;
	return apart_us <= SAME_US && generation_of(&head) == entry->number &&
	       memcmp(head.digest, entry->key->digest, KEY_DIGEST_BYTES) == 0;
}
