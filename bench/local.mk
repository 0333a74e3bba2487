# Programs that measure: bench/load makes calls, bench/provider answers them. Not installed; the demo and the
# whole-process tests use them as well.
noinst_PROGRAMS += bench/load bench/provider
bench_load_SOURCES = bench/load.c bench/wire.c bench/wire.h
bench_load_LDADD =
bench_provider_SOURCES = bench/provider.c bench/wire.c bench/wire.h
bench_provider_LDADD =
