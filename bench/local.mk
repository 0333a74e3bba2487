# SPDX-License-Identifier: Apache-2.0
# Programs that measure: bench/load makes calls, bench/provider answers them; the demo and the whole-process tests use them
# as well. bench/raw_http is libmicrohttpd alone, bench/raw_curl libcurl alone, bench/raw_redis hiredis alone beside the Redis
# tier; bench/hit_ratio sets the memory tier beside other policies.
# bench/common_limits asks what several owners of an upstream share, for call after call.
# bench/regret sets the batcher beside the best static setting, in virtual time.
# bench/run.py (./dev bench) sets the gateway beside its peers in one table. None is installed.
noinst_PROGRAMS += bench/load bench/provider bench/hit_ratio bench/raw_curl bench/raw_http bench/raw_redis \
	bench/regret bench/common_limits
bench_load_SOURCES = bench/load.c gateway/cli/perf/traffic.c gateway/cli/perf/traffic.h gateway/cli/perf/wire.c gateway/cli/perf/wire.h
bench_load_LDADD = -lm
bench_provider_SOURCES = bench/provider.c gateway/cli/perf/wire.c gateway/cli/perf/wire.h
bench_provider_LDADD =
bench_hit_ratio_SOURCES = bench/hit_ratio.c bench/policies.c bench/policies.h tests/support/cache_keys.h
bench_hit_ratio_LDADD = $(LIBS_CACHE) -lm
bench_raw_curl_SOURCES = bench/raw_curl.c
bench_raw_curl_LDADD = $(CURL_LIBS)
bench_raw_http_SOURCES = bench/raw_http.c
bench_raw_http_LDADD = $(MICROHTTPD_LIBS) -lpthread
bench_raw_redis_SOURCES = bench/raw_redis.c tests/support/cache_keys.h
bench_raw_redis_LDADD = $(LIBS_CACHE) -lm
bench_common_limits_SOURCES = bench/common_limits.c
bench_common_limits_LDADD = $(LIBS_BATCHER) -lpthread
bench_regret_SOURCES = bench/regret.c tests/support/regret.c tests/support/regret.h tests/support/regret_best.inc
bench_regret_LDADD = $(LIBS_GATEWAY) -lm
EXTRA_DIST += bench/README.md bench/run.py bench/failures.py bench/frontier.py bench/machine.py bench/peers.py bench/subjects.py bench/plot.py bench/loads.py \
	bench/modes.py bench/regret_table.py bench/scenarios.py \
	bench/slopes.py bench/instructions.py bench/instructions.json
