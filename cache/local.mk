# SPDX-License-Identifier: Apache-2.0
# Keys, the tiers, shared flights.
noinst_LIBRARIES += libcache.a
libcache_a_SOURCES = \
	cache/cache.c cache/cache.h \
	cache/directives.c cache/directives.h \
	cache/dump.c cache/dump.h \
	cache/flight.c cache/flight.h \
	cache/key.c cache/key.h \
	cache/memory.c cache/memory.h cache/memory_private.h \
	cache/memory_list.c \
	cache/purges.c cache/purges.h \
	cache/stored_value.c cache/stored_value.h \
	cache/tier.h \
	cache/validity.c cache/validity.h \
	cache/disk/disk.c cache/disk/disk.h \
	cache/disk/disk_private.h \
	cache/disk/disk_settings.h \
	cache/disk/disk_store.c cache/disk/disk_store.h \
	cache/disk/disk_store_open.c \
	cache/disk/disk_store_private.h \
	cache/disk/disk_thread.c \
	cache/disk/disk_tier.c \
	cache/disk/disk_warm.c \
	cache/redis/redis_commands.c \
	cache/redis/redis_connect.c \
	cache/redis/redis_connection.c cache/redis/redis_connection.h \
	cache/redis/redis_connection_private.h \
	cache/redis/redis_keys.h \
	cache/redis/redis_purges.c \
	cache/redis/redis_script.h \
	cache/redis/redis_settings.c cache/redis/redis_settings.h \
	cache/redis/redis_slots.c cache/redis/redis_slots.h \
	cache/redis/redis_tls.c cache/redis/redis_tls.h \
	cache/redis/redis_wire.c \
	cache/redis/redis_seal.h \
	cache/redis/redis_tier.c cache/redis/redis_tier.h cache/redis/redis_tier_private.h \
	cache/redis/redis_tracking.c cache/redis/redis_tracking.h cache/redis/redis_tracking_private.h
