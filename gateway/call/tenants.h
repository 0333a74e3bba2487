/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenants.h: what tenants have cost since the start, one table a worker, of as many as fit: when it is full, who has called
 * longest ago makes room, and what he has cost goes to the others, so that sums stay whole. No metric has a tenant for its
 * label: a metric's labels stay, and tenants come and go. Its worker counts; any thread copies, a few at a time.
 */
#ifndef JITNEY_GATEWAY_CALL_TENANTS_H
#define JITNEY_GATEWAY_CALL_TENANTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { TENANTS_KEPT = 256, TENANTS_NAME_BYTES = 129 };

struct tenant_figures {
	uint64_t calls;
	uint64_t errors; /* of them: by the gateway's or a provider's fault */
	uint64_t
		upstream_us; /* at providers; what was shared counts in equal parts, what joined another's call not at all */
};

struct tenant {
	char name[TENANTS_NAME_BYTES];
	uint64_t since_us; /* wall clock: from when on it has been counted */
	struct tenant_figures figures;
};

struct tenants;

/* NULL when out of memory. */
struct tenants *tenants_new(void) MUST_CHECK;
/* NULL is allowed. */
void tenants_free(struct tenants *tenants);
/* This came to a tenant. Never waits: should a reader that was put to sleep be in the way, it is counted among the others,
 * with the next that finds none there. The worker's thread. */
void tenants_count(struct tenants *tenants, struct slice name, const struct tenant_figures *came, uint64_t wall_us);
/* Copy what there is, in no order; `to` has room for TENANTS_KEPT. `others` (added to): those who are not kept any more. Who
 * makes room meanwhile may be in neither, never in both. Returns how many. Any thread. */
size_t tenants_copy(struct tenants *tenants, struct tenant *to, struct tenant_figures *others);
/* Add figures. */
void tenant_figures_add(struct tenant_figures *to, const struct tenant_figures *more);

#endif
