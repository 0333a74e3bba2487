# Keys, the memory tier, shared flights.
noinst_LIBRARIES += libcache.a
libcache_a_SOURCES = \
	cache/cache.c cache/cache.h \
	cache/flight.c cache/flight.h \
	cache/key.c cache/key.h \
	cache/memory.c cache/memory.h \
	cache/wish.c cache/wish.h
