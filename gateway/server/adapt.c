/* SPDX-License-Identifier: Apache-2.0 */
/* adapt.c: what of a worker follows from the generation, beside its upstreams (dispatch_open). */
#include "gateway/server/adapt.h"

#include <stdio.h>

#include "cache/redis/redis_tier.h"
#include "gateway/server/seats.h"
#include "gateway/server/worker_state.h"
#include "upstream/http/transport.h"

enum { ANSWERS_MORE_BYTES = 4 << 20 };

/* ---------------------------------------------------------------- limits */

/* What all workers are ready for: the least of them. Two that end at once agree in the end, since each looks again. */
static void share_places(const struct worker_loop *loop)
{
	struct gateway *gateway = loop->worker.gateway;
	size_t least = 0, again = SIZE_MAX;
	while (again != least) {
		least = again;
		again = atomic_load(&loop->places);
		for (unsigned i = 0; i < gateway->config->workers; i++) {
			struct worker *other = gateway->workers[i]; /* NULL: it is being made */
			size_t places = other ? atomic_load(&worker_loop_of(other)->places) : SIZE_MAX;
			again = places < again ? places : again;
		}
		atomic_store(&gateway->places, again);
	}
}

/* Every call in flight may be here at once, each with a deadline; and each may lead a fetch that waits for another
 * gateway. */
static bool make_places(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	const struct generation *generation = worker_generation(worker);
	size_t places = generation->limits.in_flight;
	size_t wanted = generation->redis && generation->redis->lease_us ? 2 * places : places;
	if (wanted > loop->own_timers) {
		if (!loop_timers_reserve(worker->loop, wanted - loop->own_timers))
			return false;
		loop->own_timers = wanted;
	}
	atomic_store(&loop->places, places);
	share_places(loop);
	return true;
}

/* What has been let in shall be answered: where bodies and replies may not take more, answers may take an eighth more,
 * and ANSWERS_MORE_BYTES at least. */
static void count_answers(struct worker *worker)
{
	size_t limit = worker_generation(worker)->http.held_bytes;
	size_t more = limit / 8 > ANSWERS_MORE_BYTES ? limit / 8 : ANSWERS_MORE_BYTES;
	const struct byte_account account = { &worker->gateway->http_shared.held_bytes, limit + more };
	transport_set_account(worker->transport, &account);
}

/* ---------------------------------------------------------------- Redis */

static void end_redis(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	if (!loop->redis)
		return;
	dispatch_use_tier(worker->dispatch, NULL);
	redis_tracking_free(worker->tracking);
	if (worker->tracking) {
		meter_set(worker->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 0);
		validity_lost_sync(cache_rule(worker->gateway->cache), loop_now(worker->loop));
	}
	worker->tracking = NULL;
	loop->redis = NULL;
	meter_set(worker->meter, METRIC_ID_REDIS_CONNECTED, 0, 0, 0);
	meter_set(worker->meter, METRIC_ID_REDIS_BREAKER, 0, 0, 0);
}

/* False: out of memory; there is no tier then. */
static bool begin_redis(struct worker *worker, const struct redis_settings *settings)
{
	struct cache *cache = worker->gateway->cache;
	char name[32];
	snprintf(name, sizeof name, "jitney-worker-%u", worker->index);
	worker_loop_of(worker)->redis = settings;
	worker->tier = redis_tier_new(settings, cache, worker->loop, worker->meter, name);
	if (worker->tier && worker->index == 0)
		worker->tracking = redis_tracking_new(settings, cache, worker->loop, worker->meter);
	if (worker->tier && (worker->tracking || worker->index != 0))
		return true;
	end_redis(worker);
	return false;
}

static bool use_redis(struct worker *worker)
{
	const struct redis_settings *settings = worker_generation(worker)->redis;
	struct validity *rule = cache_rule(worker->gateway->cache);
	if (settings == worker_loop_of(worker)->redis)
		return true;
	end_redis(worker);
	if (worker->index == 0) {
		cache_publish_purges(worker->gateway->cache, settings || worker->gateway->disk);
		atomic_store_explicit(&worker->gateway->redis, settings != NULL, memory_order_relaxed);
	}
	if (worker->index == 0 && settings && settings->tracking)
		validity_share(rule, settings->untracked_us);
	else if (worker->index == 0)
		validity_unshare(rule);
	return !settings || begin_redis(worker, settings);
}

/* ---------------------------------------------------------------- all of it */

bool worker_adapt(struct worker *worker)
{
	const struct worker_loop *loop = worker_loop_of(worker);
	const struct generation *generation = worker_generation(worker);
	key_maker_set_depth(worker->keys, generation->limits.json_depth);
	count_answers(worker);
	for (size_t i = 0; i < loop->seat_count; i++)
		http_use(loop->seats[i].http, &generation->http);
	bool seated = worker_take_seats(worker), placed = make_places(worker);
	return use_redis(worker) && seated && placed;
}
