# Keys, the tiers, shared flights.
noinst_LIBRARIES += libcache.a
libcache_a_SOURCES = \
	cache/breaker.h \
	cache/cache.c cache/cache.h \
	cache/disk.c cache/disk.h cache/disk_private.h \
	cache/disk_settings.h \
	cache/disk_store.c cache/disk_store.h \
	cache/disk_tier.c \
	cache/disk_warm.c \
	cache/dump.c cache/dump.h \
	cache/flight.c cache/flight.h \
	cache/key.c cache/key.h \
	cache/memory.c cache/memory.h \
	cache/purges.c cache/purges.h \
	cache/recall.h \
	cache/redis_connect.c \
	cache/redis_connection.c cache/redis_connection.h cache/redis_connection_private.h \
	cache/redis_keys.h \
	cache/redis_script.h \
	cache/redis_settings.c cache/redis_settings.h \
	cache/redis_slots.c cache/redis_slots.h \
	cache/redis_tier.c cache/redis_tier.h \
	cache/redis_tracking.c cache/redis_tracking.h \
	cache/resolve.c cache/resolve.h \
	cache/stored_value.c cache/stored_value.h \
	cache/tier.h \
	cache/trust.h \
	cache/wish.c cache/wish.h
