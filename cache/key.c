/* SPDX-License-Identifier: Apache-2.0 */
/* key.c: canonical arguments, digests, and the memory of what was canonical before. */
#include "cache/key.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/random.h"

enum { LENGTH_BYTES = 4, SECRET_BYTES = 192, BUFFER_KEPT_BYTES = 64 * 1024 };

/* A remembered call. */
struct memo {
	uint64_t hash;   /* of raw */
	struct key *key; /* NULL: the slot is empty */
	char *raw;       /* the parts as they came, in the layout of a key */
	size_t raw_len;
};

struct key_maker {
	unsigned max_depth;
	size_t slots; /* a power of two, or 0 */
	struct memo *memos;
	EVP_MD_CTX *digest;
	struct json_scratch scratch;
	struct buf bytes; /* of the key under way */
	char raw[KEY_MEMO_BYTES];
};

/*
 * Belongs to the process, since keys made by different threads meet in one table: their hashes must agree, and a
 * digest fetched once is what makes libcrypto fast. Set before the first maker exists, constant from then on.
 */
static struct {
	pthread_mutex_t mutex;
	EVP_MD *sha256;
	uint8_t secret[SECRET_BYTES]; /* never leaves the process: whoever knew it could choose colliding keys */
} shared = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static bool prepare_locked(void)
{
	if (shared.sha256)
		return true;
	if (!random_secret(shared.secret, sizeof shared.secret))
		return false;
	shared.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	return shared.sha256 != NULL;
}

static bool prepare_seeds(void)
{
	pthread_mutex_lock(&shared.mutex);
	bool ready = prepare_locked();
	pthread_mutex_unlock(&shared.mutex);
	return ready;
}

/* Multiplies pairs of the secret's and the bytes' words, so that hashes tell nothing usable about either. */
static uint64_t secret_hash(const void *bytes, size_t len)
{
	return XXH3_64bits_withSecret(bytes, len, shared.secret, sizeof shared.secret);
}

/* --- Keys --- */

uint64_t key_hash(const uint8_t *digest)
{
	return secret_hash(digest, KEY_DIGEST_BYTES);
}

struct key *key_ref(struct key *key)
{
	if (key)
		atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
	return key;
}

void key_unref(struct key *key)
{
	if (key && atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) == 1)
		free(key);
}

/* A key of these bytes. NULL when out of memory. */
static struct key *key_new(struct key_maker *maker, struct slice bytes)
{
	struct key *key = malloc(sizeof *key + bytes.len);
	if (!key)
		return NULL;
	atomic_init(&key->refs, 1);
	key->len = bytes.len;
	memcpy(key->bytes, bytes.at, bytes.len);
	if (EVP_DigestInit_ex2(maker->digest, shared.sha256, NULL) != 1 ||
	    EVP_DigestUpdate(maker->digest, bytes.at, bytes.len) != 1 ||
	    EVP_DigestFinal_ex(maker->digest, key->digest, NULL) != 1) {
		free(key);
		return NULL;
	}
	key->hash = key_hash(key->digest);
	return key;
}

/* --- The layout: the scheme, then each part behind its length, so that no two lists of parts read the same --- */

static void put_length(char to[LENGTH_BYTES], size_t len)
{
	assert(len <= UINT32_MAX);
	for (int i = 0; i < LENGTH_BYTES; i++)
		to[i] = (char)(len >> (8 * (LENGTH_BYTES - 1 - i)));
}

static char *write_part(char *to, struct slice part)
{
	put_length(to, part.len);
	if (part.len)
		memcpy(to + LENGTH_BYTES, part.at, part.len);
	return to + LENGTH_BYTES + part.len;
}

static size_t head_bytes(const struct key_parts *parts)
{
	return 1 + 3 * LENGTH_BYTES + parts->tool.len + parts->version.len + parts->identity.len;
}

/* All but the arguments. Returns the byte behind what was written. */
static char *write_head(char *to, const struct key_parts *parts)
{
	*to++ = parts->arguments.len > KEY_SPELLED_BYTES ? KEY_SCHEME_SPELLED : KEY_SCHEME;
	to = write_part(to, parts->tool);
	to = write_part(to, parts->version);
	return write_part(to, parts->identity);
}

static bool is_scheme(char first)
{
	return first == KEY_SCHEME || first == KEY_SCHEME_SPELLED;
}

struct key *key_restore(struct slice bytes, const uint8_t *digest, bool *wrong)
{
	*wrong = false;
	struct key *key = prepare_seeds() ? malloc(sizeof *key + bytes.len) : NULL;
	if (!key)
		return NULL;
	atomic_init(&key->refs, 1);
	key->len = bytes.len;
	memcpy(key->bytes, bytes.at, bytes.len);
	bool digested = EVP_Digest(bytes.at, bytes.len, key->digest, NULL, shared.sha256, NULL) == 1;
	*wrong = digested && (bytes.len == 0 || !is_scheme(bytes.at[0]) ||
			      memcmp(key->digest, digest, sizeof key->digest) != 0 || !key_tool(key).at);
	if (!digested || *wrong) {
		free(key);
		return NULL;
	}
	key->hash = secret_hash(key->digest, sizeof key->digest);
	return key;
}

/* The part that begins `from` bytes into it. */
static struct slice read_part(const struct key *key, size_t from)
{
	size_t len = 0;
	if (key->len < from + LENGTH_BYTES || !is_scheme(key->bytes[0]))
		return (struct slice){ NULL, 0 };
	for (int i = 0; i < LENGTH_BYTES; i++)
		len = len << 8 | (unsigned char)key->bytes[from + (size_t)i];
	if (len > key->len - from - LENGTH_BYTES)
		return (struct slice){ NULL, 0 };
	return (struct slice){ key->bytes + from + LENGTH_BYTES, len };
}

struct slice key_tool(const struct key *key)
{
	return read_part(key, 1);
}

struct slice key_version(const struct key *key)
{
	struct slice tool = key_tool(key);
	return tool.at ? read_part(key, 1 + LENGTH_BYTES + tool.len) : tool;
}

/* --- The maker --- */

struct key_maker *key_maker_new(size_t slots, unsigned max_depth)
{
	struct key_maker *maker = calloc(1, sizeof *maker);
	if (!maker)
		return NULL;
	maker->max_depth = max_depth;
	buf_init(&maker->bytes, SIZE_MAX / 2);
	for (maker->slots = slots ? 1 : 0; maker->slots < slots && maker->slots <= SIZE_MAX / 4;)
		maker->slots *= 2;
	if (slots && !(maker->memos = calloc(maker->slots, sizeof *maker->memos)))
		goto failed;
	if (!prepare_seeds() || !(maker->digest = EVP_MD_CTX_new()))
		goto failed;
	return maker;
failed:
	key_maker_free(maker);
	return NULL;
}

static void forget_all(struct key_maker *maker)
{
	for (size_t i = 0; maker->memos && i < maker->slots; i++) {
		key_unref(maker->memos[i].key);
		free(maker->memos[i].raw);
		maker->memos[i] = (struct memo){ 0 };
	}
}

void key_maker_set_depth(struct key_maker *maker, unsigned max_depth)
{
	if (max_depth < maker->max_depth)
		forget_all(maker);
	maker->max_depth = max_depth;
}

void key_maker_free(struct key_maker *maker)
{
	if (!maker)
		return;
	forget_all(maker);
	free(maker->memos);
	EVP_MD_CTX_free(maker->digest);
	json_scratch_fini(&maker->scratch);
	buf_fini(&maker->bytes);
	free(maker);
}

/* Remember that `raw` makes `key`. Without memory nothing is remembered, which is no failure. */
static void remember_key(struct memo *memo, uint64_t hash, struct slice raw, struct key *key)
{
	key_unref(memo->key);
	memo->key = NULL;
	if (memo->raw_len != raw.len || !memo->raw) {
		free(memo->raw);
		memo->raw = malloc(raw.len);
		memo->raw_len = raw.len;
		if (!memo->raw)
			return;
	}
	memcpy(memo->raw, raw.at, raw.len);
	memo->hash = hash;
	memo->key = key_ref(key);
}

static bool is_named(struct slice raw_name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (json_string_is(raw_name, slice_of(names[i])))
			return true;
	return false;
}

static bool counts_name(const struct key_filter *filter, struct slice raw_name)
{
	if (filter->only_count)
		return is_named(raw_name, filter->only, filter->only_count);
	return !is_named(raw_name, filter->ignore, filter->ignore_count);
}

/* Take out of a canonical object, in its place, what does not count: what is left is canonical too. */
static void filter_object(struct buf *bytes, size_t at, const struct key_filter *filter)
{
	char *start = bytes->store->bytes + at, *to = start + 1;
	struct json_walk walk = json_walk((struct slice){ start, bytes->len - at });
	struct slice name, value;
	while (json_next_member(&walk, &name, &value)) {
		size_t len = (size_t)(value.at + value.len - name.at);
		if (!counts_name(filter, name))
			continue;
		if (to > start + 1)
			*to++ = ',';
		memmove(to, name.at, len);
		to += len;
	}
	*to++ = '}';
	bytes->len = at + (size_t)(to - start);
}

/* SHA-256 of the members that count, one behind the other, or of the whole text. False: libcrypto is out of memory. */
static bool digest_spelled(struct key_maker *maker, struct slice text, const struct key_filter *filter, uint8_t *digest)
{
	struct json_walk walk = json_walk(text);
	struct slice name, value;
	bool done = EVP_DigestInit_ex2(maker->digest, shared.sha256, NULL) == 1;
	if (!filter)
		done = done && EVP_DigestUpdate(maker->digest, text.at, text.len) == 1;
	while (filter && done && json_next_member(&walk, &name, &value))
		if (counts_name(filter, name))
			done = EVP_DigestUpdate(maker->digest, name.at, (size_t)(value.at + value.len - name.at)) ==
				       1 &&
			       EVP_DigestUpdate(maker->digest, ",", 1) == 1;
	return done && EVP_DigestFinal_ex(maker->digest, digest, NULL) == 1;
}

/* The key of arguments that count as they are spelled. */
static enum outcome make_spelled_key(struct key_maker *maker, const struct key_parts *parts, struct key **key,
				     struct json_fault *fault)
{
	struct slice text = json_trim(parts->arguments);
	uint8_t digest[KEY_DIGEST_BYTES];
	struct buf *bytes = &maker->bytes;
	size_t head = head_bytes(parts), len = head + LENGTH_BYTES + sizeof digest;
	if (!parts->sound && !json_check(text, maker->max_depth, &maker->scratch, fault))
		return fault->out_of_memory ? OUTCOME_OVERLOADED : OUTCOME_INVALID_JSON;
	if (json_type(text) != JSON_OBJECT) {
		*fault = (struct json_fault){ "expected an object", 0, false };
		return OUTCOME_INVALID_REQUEST;
	}
	buf_reset(bytes);
	if (buf_reserve(bytes, len) && digest_spelled(maker, text, parts->filter, digest)) {
		write_part(write_head(bytes->store->bytes, parts),
			   (struct slice){ (const char *)digest, sizeof digest });
		bytes->len = len;
		*key = key_new(maker, buf_slice(bytes));
	}
	if (!*key)
		*fault = (struct json_fault){ "out of memory", 0, true };
	return *key ? OUTCOME_OK : OUTCOME_OVERLOADED;
}

/* Parse the arguments and make the key of the parts. */
static enum outcome make_key(struct key_maker *maker, const struct key_parts *parts, struct key **key,
			     struct json_fault *fault)
{
	struct buf *bytes = &maker->bytes;
	size_t head = head_bytes(parts);
	buf_reset(bytes);
	if (!buf_reserve(bytes, head + LENGTH_BYTES)) {
		*fault = (struct json_fault){ "out of memory", 0, true };
		return OUTCOME_OVERLOADED;
	}
	write_head(bytes->store->bytes, parts);
	bytes->len = head + LENGTH_BYTES;
	if (!json_canonical(parts->arguments, maker->max_depth, &maker->scratch, bytes, fault))
		return fault->out_of_memory ? OUTCOME_OVERLOADED : OUTCOME_INVALID_JSON;
	char *arguments = bytes->store->bytes + head;
	if (arguments[LENGTH_BYTES] != '{') {
		*fault = (struct json_fault){ "expected an object", 0, false };
		return OUTCOME_INVALID_REQUEST;
	}
	if (parts->filter)
		filter_object(bytes, head + LENGTH_BYTES, parts->filter);
	put_length(arguments, bytes->len - head - LENGTH_BYTES);
	*key = key_new(maker, buf_slice(bytes));
	if (!*key)
		*fault = (struct json_fault){ "out of memory", 0, true };
	return *key ? OUTCOME_OK : OUTCOME_OVERLOADED;
}

static enum outcome make_and_tidy(struct key_maker *maker, const struct key_parts *parts, struct key **key,
				  struct json_fault *fault)
{
	if (parts->arguments.len > KEY_SPELLED_BYTES)
		return make_spelled_key(maker, parts, key, fault);
	enum outcome outcome = make_key(maker, parts, key, fault);
	if (maker->bytes.store && maker->bytes.store->len > BUFFER_KEPT_BYTES)
		buf_fini(&maker->bytes); /* one huge call shall not cost the worker that much for good */
	return outcome;
}

enum outcome key_make(struct key_maker *maker, const struct key_parts *parts, struct key **key,
		      struct json_fault *fault)
{
	*key = NULL;
	if (maker->slots == 0 || head_bytes(parts) + LENGTH_BYTES + parts->arguments.len > sizeof maker->raw)
		return make_and_tidy(maker, parts, key, fault);
	char *end = write_part(write_head(maker->raw, parts), parts->arguments);
	struct slice raw = { maker->raw, (size_t)(end - maker->raw) };
	uint64_t hash = secret_hash(raw.at, raw.len);
	struct memo *memo = &maker->memos[hash & (maker->slots - 1)];
	if (memo->key && memo->hash == hash && slice_equal((struct slice){ memo->raw, memo->raw_len }, raw)) {
		*key = key_ref(memo->key);
		return OUTCOME_OK;
	}
	enum outcome outcome = make_and_tidy(maker, parts, key, fault);
	if (outcome == OUTCOME_OK)
		remember_key(memo, hash, raw, *key);
	return outcome;
}
