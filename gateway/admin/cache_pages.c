/* SPDX-License-Identifier: Apache-2.0 */
/* cache_pages.c: GET and DELETE /admin/cache. */
#include "gateway/admin/cache_pages.h"

#include "base/hex.h"
#include "cache/cache.h"
#include "cache/disk/disk.h"
#include "gateway/admin/health.h"
#include "gateway/admin/pages.h"
#include "gateway/admin/purge.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

static void put_redis_cache(struct buf *out, const struct gateway *gateway)
{
	buf_put_char(out, ',');
	health_put_redis(out, gateway);
	page_put_counts(out, gateway, METRIC_ID_CACHE_REQUESTS, LABEL_CACHE_RESULT, TIER_REDIS);
	buf_printf(out, ",\"tracking\":%s",
		   metrics_read(gateway->metrics, METRIC_ID_REDIS_TRACKING, 0, 0) ? "true" : "false");
	page_put_count(out, gateway, "stored", METRIC_ID_REDIS_DURATION, REDIS_COMMAND_SET, 0);
	page_put_count(out, gateway, "connects", METRIC_ID_REDIS_CONNECTS, 0, 0);
	page_put_object(out, gateway, "errors", METRIC_ID_REDIS_ERRORS, LABEL_REDIS_TROUBLE, 0, false);
	page_put_object(out, gateway, "skipped", METRIC_ID_REDIS_SKIPPED, LABEL_REDIS_SKIP, 0, false);
	buf_put_char(out, '}');
}

static void put_disk_cache(struct buf *out, const struct gateway *gateway)
{
	struct disk_status status;
	disk_status(gateway->disk, &status);
	buf_put_char(out, ',');
	health_put_disk(out, &status);
	buf_printf(out, ",\"entries\":%llu,\"bytes\":%llu,\"capacity_bytes\":%llu,\"loaded\":%llu",
		   (unsigned long long)status.entries, (unsigned long long)status.bytes,
		   (unsigned long long)status.capacity_bytes, (unsigned long long)status.loaded);
	page_put_counts(out, gateway, METRIC_ID_CACHE_REQUESTS, LABEL_CACHE_RESULT, TIER_DISK);
	page_put_count(out, gateway, "stored", METRIC_ID_DISK_DURATION, DISK_JOB_PUT, 0);
	page_put_object(out, gateway, "errors", METRIC_ID_DISK_ERRORS, LABEL_DISK_TROUBLE, 0, false);
	page_put_object(out, gateway, "skipped", METRIC_ID_DISK_SKIPPED, LABEL_DISK_SKIP, 0, false);
	buf_put_char(out, '}');
}

void page_admin_cache(struct worker *worker, struct request *request, struct slice rest)
{
	const struct gateway *gateway = worker_gateway(worker);
	struct memory_stats stats = cache_memory_stats(gateway->cache);
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_printf(&text, "{\"memory\":{\"entries\":%llu,\"bytes\":%llu,\"capacity_bytes\":%llu,\"evictions\":{",
		   (unsigned long long)stats.entries, (unsigned long long)stats.bytes,
		   (unsigned long long)stats.capacity_bytes);
	for (size_t i = 0; i < EVICT_REASON_COUNT; i++)
		buf_printf(&text, "%s\"%s\":%llu", i ? "," : "", metric_word(LABEL_EVICT_REASON, i),
			   (unsigned long long)stats.evictions[i]);
	buf_put_char(&text, '}');
	page_put_counts(&text, gateway, METRIC_ID_CACHE_REQUESTS, LABEL_CACHE_RESULT, TIER_MEMORY);
	buf_put_char(&text, '}');
	if (worker_generation(worker)->redis)
		put_redis_cache(&text, gateway);
	if (gateway->disk)
		put_disk_cache(&text, gateway);
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
	*scope = (struct purge_scope){ request_query(request, SLICE("tool")), request_query(request, SLICE("prefix")),
				       request_query(request, SLICE("tag")), request_query(request, SLICE("key")) };
	size_t known = (scope->tool.len > 0) + (scope->prefix.len > 0) + (scope->tag.len > 0) + (scope->key.len > 0);
	return known == request_query_count(request) && decode_purge(scope, text);
}

/* False: it has been told why not. */
static bool choose_scope(struct worker *worker, struct request *request, struct purge_scope *scope,
			 char text[4][PURGE_TEXT_BYTES])
{
	uint8_t digest[KEY_DIGEST_BYTES];
	if (!read_purge(request, scope, text))
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "Only tool, prefix, tag and key are known, of 256 bytes together; nothing was purged.");
	else if (scope->tool.len && !catalogue_tool(worker_catalogue(worker), scope->tool))
		reply_problem(request, OUTCOME_UNKNOWN_TOOL, NULL, "There is no such tool; nothing was purged.");
	else if (scope->key.len && !purge_read_digest(scope->key, digest))
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "A key is a SHA-256 in 64 hexadecimal digits; nothing was purged.");
	else
		return true;
	return false;
}

/* DELETE /admin/cache?tool=&prefix=&tag=&key=: what matches all that is given; nothing given: everything. */
void page_admin_purge(struct worker *worker, struct request *request, struct slice rest)
{
	struct purge_scope scope;
	char text[4][PURGE_TEXT_BYTES];
	(void)rest;
	if (page_body_is_empty(worker, request) && choose_scope(worker, request, &scope, text))
		purge_and_reply(worker, request, &scope);
}

/* GET /admin/cache/count, likewise: how much that would drop. */
void page_admin_purge_count(struct worker *worker, struct request *request, struct slice rest)
{
	struct purge_scope scope;
	char text[4][PURGE_TEXT_BYTES];
	(void)rest;
	if (choose_scope(worker, request, &scope, text))
		purge_count_and_reply(worker, request, &scope);
}
