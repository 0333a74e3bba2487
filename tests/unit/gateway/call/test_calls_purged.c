/* SPDX-License-Identifier: Apache-2.0 */
/* Calls over a tier behind memory: what is purged or replaced meanwhile is neither served nor kept. */
#include "tests/support/fake_tier.h"

#include "tests/support/cache_ask.h"

static void what_is_purged_meanwhile_is_neither_served_nor_kept(void **state)
{
	(void)state;
	struct ask ask;
	start_asked(&ask, 0);
	ask_purge_all(world.gateway.cache);
	hit(&tiers[0], &ask, 0, 60 * S);
	assert_int_equal(ask.ended, 0);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	assert_int_equal(fake_sent(), 1);
	stop();
}

/* What a look-up brings is held against what was known when it was asked for, not when it came. */
static void what_others_replaced_meanwhile_is_not_kept(void **state)
{
	(void)state;
	struct ask ask;
	start_asked(&ask, 0);
	validity_replaced(cache_rule(world.gateway.cache), tiers[0].key->digest);
	hit(&tiers[0], &ask, 0, 60 * S); /* he asked before it was replaced */
	assert_got(&ask, SOURCE_HIT);
	assert_int_equal(cache_memory_stats(world.gateway.cache).entries, 0);
	ask_settled(&ask, 0, "cached", 1);
	assert_int_equal(tiers[0].asked, 2);
	hit(&tiers[0], &ask, 0, 60 * S);
	assert_got(&ask, SOURCE_HIT);
	assert_int_equal(cache_memory_stats(world.gateway.cache).entries, 1);
	stop();
}

/* Of purges of single keys only the last few are remembered. */
static void what_was_purged_meanwhile_and_is_forgotten_is_not_served(void **state)
{
	(void)state;
	struct ask ask;
	start_asked(&ask, 0);
	uint8_t digest[KEY_DIGEST_BYTES];
	memcpy(digest, tiers[0].key->digest, sizeof digest);
	for (unsigned i = 0; i < 1 + PURGED_KEY_WAYS; i++) { /* its own, then its neighbours', which take its place */
		char text[PURGE_TEXT_BYTES];
		const struct purge_scope scope = purge_scope_read(purge_key_write(digest, text));
		cache_purge(world.gateway.cache, &scope);
		digest[KEY_DIGEST_BYTES - 1]++;
	}
	hit(&tiers[0], &ask, 0, 60 * S);
	assert_int_equal(ask.ended, 0);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	stop();
}

static void a_purge_while_it_is_fetched_keeps_it_from_being_kept(void **state)
{
	(void)state;
	struct ask ask;
	start_fleet();
	ask_settled(&ask, 0, "cached", 1);
	miss(&tiers[0]);
	answer_claim(&tiers[0], CLAIM_OURS);
	ask_purge_all(world.gateway.cache);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	assert_false(ask.stored);
	assert_int_equal(tiers[0].stored, 0);
	assert_int_equal(tiers[0].released, 1);
	assert_int_equal(cache_memory_stats(world.gateway.cache).entries, 0);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_purged_meanwhile_is_neither_served_nor_kept),
		cmocka_unit_test(what_others_replaced_meanwhile_is_not_kept),
		cmocka_unit_test(what_was_purged_meanwhile_and_is_forgotten_is_not_served),
		cmocka_unit_test(a_purge_while_it_is_fetched_keeps_it_from_being_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
