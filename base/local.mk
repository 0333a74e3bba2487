# SPDX-License-Identifier: Apache-2.0
# The bottom: knows nothing of tools.
noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	base/answer.c base/answer.h \
	base/arena.c base/arena.h \
	base/blob.c base/blob.h \
	base/breaker.h \
	base/buf.c base/buf.h \
	base/byte_account.h \
	base/cache_control.c base/cache_control.h \
	base/clock.c base/clock.h \
	base/compiler.h \
	base/crash.c base/crash.h \
	base/due_heap.c base/due_heap.h \
	base/fd_message.c base/fd_message.h \
	base/gzip.c base/gzip.h \
	base/hash_table.c base/hash_table.h \
	base/hex.h \
	base/json.c base/json.h \
	base/json_arriving.c base/json_arriving.h \
	base/json_chars.h \
	base/json_order.c base/json_private.h \
	base/json_split.c base/json_split.h \
	base/json_walk.c \
	base/json_write.c base/json_write.h \
	base/log.c base/log.h base/log_line.c base/log_private.h base/log_events.h \
	base/loop.c base/loop.h \
	base/mailbox.c base/mailbox.h \
	base/mcp.c base/mcp.h \
	base/outcome.c base/outcome.h \
	base/owner.c base/owner.h \
	base/random.c base/random.h \
	base/resolve.c base/resolve.h \
	base/service.c base/service.h \
	base/spin_bit.h \
	base/slice.h \
	base/timed_wait.c base/timed_wait.h \
	base/utf8.h
