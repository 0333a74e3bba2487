/* SPDX-License-Identifier: Apache-2.0 */
/* cache_pages.c: GET and DELETE /admin/cache. */
#include "gateway/admin/cache_pages.h"

#include "base/hex.h"
#include "gateway/admin/health.h"
#include "gateway/admin/pages.h"
#include "gateway/admin/purge.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

/* By reason, those that are not zero. */
static void put_reasons(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric,
			const char *const *words, size_t count)
{
	bool first = true;
	buf_printf(out, ",\"%s\":{", name);
	for (size_t i = 0; i < count; i++) {
		long long times = metrics_read(gateway->metrics, metric, i, 0);
		if (times)
			buf_printf(out, "%s\"%s\":%lld", first ? "" : ",", words[i], times);
		first = first && !times;
	}
	buf_put_char(out, '}');
}

static void put_redis_cache(struct buf *out, const struct gateway *gateway)
{
#define X(name, word) word,
	static const char *const results[] = { CACHE_RESULTS(X) };
	static const char *const troubles[] = { REDIS_TROUBLES(X) };
	static const char *const skips[] = { REDIS_SKIPS(X) };
#undef X
	buf_put_char(out, ',');
	health_put_redis(out, gateway);
	out->len--; /* its closing brace: there is more to say here */
	for (size_t i = 0; i < countof(results); i++)
		page_put_count(out, gateway, results[i], METRIC_ID_CACHE_REQUESTS, TIER_REDIS, i);
	buf_printf(out, ",\"tracking\":%s",
		   metrics_read(gateway->metrics, METRIC_ID_REDIS_TRACKING, 0, 0) ? "true" : "false");
	page_put_count(out, gateway, "stored", METRIC_ID_REDIS_DURATION, REDIS_COMMAND_SET, 0);
	page_put_count(out, gateway, "connects", METRIC_ID_REDIS_CONNECTS, 0, 0);
	put_reasons(out, gateway, "errors", METRIC_ID_REDIS_ERRORS, troubles, countof(troubles));
	put_reasons(out, gateway, "skipped", METRIC_ID_REDIS_SKIPPED, skips, countof(skips));
	buf_put_char(out, '}');
}

static void put_disk_cache(struct buf *out, const struct gateway *gateway)
{
#define X(name, word) word,
	static const char *const results[] = { CACHE_RESULTS(X) };
	static const char *const troubles[] = { DISK_TROUBLES(X) };
	static const char *const skips[] = { DISK_SKIPS(X) };
#undef X
	struct disk_status status;
	disk_status(gateway->disk, &status);
	buf_put_char(out, ',');
	health_put_disk(out, &status);
	out->len--; /* its closing brace: there is more to say here */
	buf_printf(out, ",\"entries\":%llu,\"bytes\":%llu,\"capacity_bytes\":%llu,\"loaded\":%llu",
		   (unsigned long long)status.entries, (unsigned long long)status.bytes,
		   (unsigned long long)status.capacity_bytes, (unsigned long long)status.loaded);
	for (size_t i = 0; i < countof(results); i++)
		page_put_count(out, gateway, results[i], METRIC_ID_CACHE_REQUESTS, TIER_DISK, i);
	page_put_count(out, gateway, "stored", METRIC_ID_DISK_DURATION, DISK_JOB_PUT, 0);
	put_reasons(out, gateway, "errors", METRIC_ID_DISK_ERRORS, troubles, countof(troubles));
	put_reasons(out, gateway, "skipped", METRIC_ID_DISK_SKIPPED, skips, countof(skips));
	buf_put_char(out, '}');
}

void page_admin_cache(struct worker *worker, struct request *request, struct slice rest)
{
	static const char *const reasons[] = {
#define X(name, word) word,
		EVICT_REASONS(X)
	};
	static const char *const results[] = { CACHE_RESULTS(X) };
#undef X
	struct memory_stats stats = cache_memory_stats(worker->gateway->cache);
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_printf(&text, "{\"memory\":{\"entries\":%llu,\"bytes\":%llu,\"capacity_bytes\":%llu,\"evictions\":{",
		   (unsigned long long)stats.entries, (unsigned long long)stats.bytes,
		   (unsigned long long)stats.capacity_bytes);
	for (size_t i = 0; i < EVICT_REASON_COUNT; i++)
		buf_printf(&text, "%s\"%s\":%llu", i ? "," : "", reasons[i], (unsigned long long)stats.evictions[i]);
	buf_put_char(&text, '}');
	for (size_t i = 0; i < countof(results); i++)
		page_put_count(&text, worker->gateway, results[i], METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, i);
	buf_put_char(&text, '}');
	if (worker_generation(worker)->redis)
		put_redis_cache(&text, worker->gateway);
	if (worker->gateway->disk)
		put_disk_cache(&text, worker->gateway);
	buf_put_text(&text, "}\n");
	reply_text(request, 200, "application/json", &text);
}

/* As clients write it: user%3A42. False: that is nothing, or a control character. */
static bool decode_part(struct slice *part, char text[PURGE_TEXT_BYTES])
{
	if (!percent_decode(*part, text, PURGE_TEXT_BYTES, part))
		return false;
	for (size_t i = 0; i < part->len; i++)
		if ((unsigned char)part->at[i] < ' ')
			return false;
	return true;
}

/* False likewise, or what is too long to be kept would be kept as everything. */
static bool decode_purge(struct purge_scope *scope, char text[4][PURGE_TEXT_BYTES])
{
	char kept[PURGE_TEXT_BYTES];
	bool all = !scope->tool.len && !scope->prefix.len && !scope->tag.len && !scope->key.len;
	return decode_part(&scope->tool, text[0]) && decode_part(&scope->prefix, text[1]) &&
	       decode_part(&scope->tag, text[2]) && decode_part(&scope->key, text[3]) &&
	       (all || purge_scope_write(scope, kept).len > 0);
}

/* A typing error in what to purge must not purge everything. */
static bool read_purge(const struct request *request, struct purge_scope *scope, char text[4][PURGE_TEXT_BYTES])
{
	struct slice query = request->query;
	*scope = (struct purge_scope){ request_query(request, SLICE("tool")), request_query(request, SLICE("prefix")),
				       request_query(request, SLICE("tag")), request_query(request, SLICE("key")) };
	size_t known = (scope->tool.len > 0) + (scope->prefix.len > 0) + (scope->tag.len > 0) + (scope->key.len > 0);
	size_t given = query.len > 0;
	for (size_t i = 0; i < query.len; i++)
		if (query.at[i] == '&')
			given++;
	return known == given && decode_purge(scope, text);
}

/* DELETE /admin/cache?tool=&prefix=&tag=&key=: what matches all that is given; nothing given: everything. */
void page_admin_purge(struct worker *worker, struct request *request, struct slice rest)
{
	struct purge_scope scope;
	char text[4][PURGE_TEXT_BYTES];
	uint8_t digest[KEY_DIGEST_BYTES];
	(void)rest;
	if (!page_body_is_empty(worker, request))
		return;
	if (!read_purge(request, &scope, text)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "Only tool, prefix, tag and key are known, of 256 bytes together; nothing was purged.");
		return;
	}
	if (scope.tool.len && !catalogue_tool(worker->catalogue, scope.tool)) {
		reply_problem(request, OUTCOME_UNKNOWN_TOOL, NULL, "There is no such tool; nothing was purged.");
		return;
	}
	if (scope.key.len && !purge_read_digest(scope.key, digest)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "A key is a SHA-256 in 64 hexadecimal digits; nothing was purged.");
		return;
	}
	purge_and_reply(worker, request, &scope);
}
