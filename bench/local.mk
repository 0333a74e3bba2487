# Programs that measure: bench/load makes calls, bench/provider answers them. Not installed; the demo and the
# whole-process tests use them as well. bench/hit_ratio sets the memory tier beside LRU, FIFO and Belady.
noinst_PROGRAMS += bench/load bench/provider bench/hit_ratio
bench_load_SOURCES = bench/load.c bench/wire.c bench/wire.h
bench_load_LDADD =
bench_provider_SOURCES = bench/provider.c bench/wire.c bench/wire.h
bench_provider_LDADD =
bench_hit_ratio_SOURCES = bench/hit_ratio.c tests/support/cache_keys.h
bench_hit_ratio_LDADD = $(LIBS_CACHE) -lm
