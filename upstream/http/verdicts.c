/* SPDX-License-Identifier: Apache-2.0 */
/* verdicts.c: see the header. That there is nothing new is found without the mutex: it is asked with each request. */
#include "upstream/http/verdicts.h"

#include <stdlib.h>
#include <string.h>

struct verdict {
	uint64_t key;
	char reason[ENDPOINT_REASON_BYTES];
};

struct endpoint_verdicts {
	atomic_size_t holders;
	atomic_uint told; /* so many times; written by the mutex */
	pthread_mutex_t mutex;
	size_t count;                         /* m */
	struct verdict failed[ENDPOINTS_MAX]; /* m */
};

struct endpoint_verdicts *endpoint_verdicts_new(void)
{
	struct endpoint_verdicts *verdicts = calloc(1, sizeof *verdicts);
	if (!verdicts)
		return NULL;
	atomic_init(&verdicts->holders, 1);
	pthread_mutex_init(&verdicts->mutex, NULL);
	return verdicts;
}

struct endpoint_verdicts *endpoint_verdicts_ref(struct endpoint_verdicts *verdicts)
{
	if (verdicts)
		atomic_fetch_add_explicit(&verdicts->holders, 1, memory_order_relaxed);
	return verdicts;
}

void endpoint_verdicts_unref(struct endpoint_verdicts *verdicts)
{
	if (!verdicts || atomic_fetch_sub_explicit(&verdicts->holders, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&verdicts->mutex);
	free(verdicts);
}

void verdicts_tell(struct endpoint_verdicts *verdicts, const struct endpoint_set *set)
{
	pthread_mutex_lock(&verdicts->mutex);
	verdicts->count = 0;
	for (size_t i = 0; i < set->count; i++) {
		const struct endpoint *endpoint = &set->endpoints[i];
		if (endpoint->absent || !endpoint->check_failed)
			continue;
		struct verdict *verdict = &verdicts->failed[verdicts->count++];
		verdict->key = endpoint->key;
		memcpy(verdict->reason, endpoint->reason, sizeof verdict->reason);
	}
	unsigned told = atomic_load_explicit(&verdicts->told, memory_order_relaxed) + 1;
	atomic_store_explicit(&verdicts->told, told ? told : 1, memory_order_relaxed);
	pthread_mutex_unlock(&verdicts->mutex);
}

/* NULL: it has not failed. */
static const struct verdict *find_failed(const struct endpoint_verdicts *verdicts, uint64_t key)
{
	for (size_t i = 0; i < verdicts->count; i++)
		if (verdicts->failed[i].key == key)
			return &verdicts->failed[i];
	return NULL;
}

void verdicts_hear(struct endpoint_verdicts *verdicts, struct endpoint_set *set, unsigned *heard, uint64_t now_us)
{
	if (atomic_load_explicit(&verdicts->told, memory_order_relaxed) == *heard)
		return;
	pthread_mutex_lock(&verdicts->mutex);
	*heard = atomic_load_explicit(&verdicts->told, memory_order_relaxed);
	for (size_t i = 0; i < set->count; i++) {
		struct endpoint *endpoint = &set->endpoints[i];
		const struct verdict *failed = find_failed(verdicts, endpoint->key);
		/* that it has not failed is no news of one that cannot be reached from here */
		if (endpoint->check_failed != (failed != NULL))
			endpoint_checked(set, endpoint, !failed, failed ? failed->reason : "its checks are good again",
					 now_us);
	}
	pthread_mutex_unlock(&verdicts->mutex);
}
