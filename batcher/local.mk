# SPDX-License-Identifier: Apache-2.0
# Lanes, windows, batches.
noinst_LIBRARIES += libbatcher.a
libbatcher_a_SOURCES = \
	batcher/admission.c batcher/admission.h \
	batcher/allowed_rates.c batcher/allowed_rates.h \
	batcher/arrays.c batcher/arrays.h \
	batcher/bands.c batcher/bands.h \
	batcher/batch.c batcher/batch.h \
	batcher/bisection.c batcher/bisection.h \
	batcher/batcher.c batcher/batcher.h \
	batcher/batcher_private.h \
	batcher/common_limits.c batcher/common_limits.h \
	batcher/pauses.c batcher/pauses.h \
	batcher/costs.c batcher/costs.h \
	batcher/ending.c \
	batcher/item.h \
	batcher/lane.c batcher/lane.h \
	batcher/latency_class.c batcher/latency_class.h \
	batcher/learned.c \
	batcher/limiter.c batcher/limiter.h \
	batcher/policy.h \
	batcher/rate_limiter.c batcher/rate_limiter.h \
	batcher/refused.c \
	batcher/retry.c \
	batcher/run_queue.c batcher/run_queue.h \
	batcher/sending.c \
	batcher/waiting.c \
	batcher/window.c batcher/window.h
