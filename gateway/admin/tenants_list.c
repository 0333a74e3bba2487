/* SPDX-License-Identifier: Apache-2.0 */
/* tenants_list.c: what tenants have cost, over all workers: who has cost the providers most is first. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "gateway/admin/pages.h"
#include "gateway/call/tenants.h"
#include "gateway/call/world.h"

static int by_name(const void *left, const void *right)
{
	const struct tenant *a = left, *b = right;
	return strcmp(a->name, b->name);
}

static int by_cost(const void *left, const void *right)
{
	const struct tenant_figures *a = &((const struct tenant *)left)->figures;
	const struct tenant_figures *b = &((const struct tenant *)right)->figures;
	if (a->upstream_us != b->upstream_us)
		return a->upstream_us < b->upstream_us ? 1 : -1;
	if (a->calls != b->calls)
		return a->calls < b->calls ? 1 : -1;
	return by_name(left, right); /* who has cost the same stays where he stands */
}

/* One row a name, as it is shown, of one a tenant and worker. Returns how many are left. */
static size_t merge_tenants(struct tenant *tenants, size_t count)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		utf8_copy(tenants[i].name, sizeof tenants[i].name, slice_of(tenants[i].name));
	if (count)
		qsort(tenants, count, sizeof *tenants, by_name);
	for (size_t i = 0; i < count; i++) {
		struct tenant *last = kept ? &tenants[kept - 1] : NULL;
		if (!last || strcmp(last->name, tenants[i].name) != 0) {
			tenants[kept++] = tenants[i];
			continue;
		}
		tenant_figures_add(&last->figures, &tenants[i].figures);
		if (tenants[i].since_us < last->since_us)
			last->since_us = tenants[i].since_us;
	}
	if (kept)
		qsort(tenants, kept, sizeof *tenants, by_cost);
	return kept;
}

static void put_figures(struct buf *out, const struct tenant_figures *figures)
{
	buf_printf(out, "\"calls\":%llu,\"errors\":%llu,\"upstream_us\":%llu", (unsigned long long)figures->calls,
		   (unsigned long long)figures->errors, (unsigned long long)figures->upstream_us);
}

static void put_tenant(struct buf *out, const struct tenant *tenant)
{
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(tenant->name));
	buf_put_char(out, ',');
	put_figures(out, &tenant->figures);
	buf_put_text(out, ",\"since\":");
	page_put_time(out, tenant->since_us);
	buf_put_char(out, '}');
}

void page_put_tenants(struct buf *out, const struct gateway *gateway)
{
	unsigned workers = gateway->config->workers;
	struct tenant *tenants = calloc((size_t)workers * TENANTS_KEPT, sizeof *tenants);
	struct tenant_figures others = { 0 };
	size_t count = 0, shown;
	out->failed |= !tenants;
	for (unsigned i = 0; tenants && i < workers; i++)
		count += tenants_copy(worker_tenants(gateway->workers[i]), tenants + count, &others);
	if (tenants)
		count = merge_tenants(tenants, count);
	shown = count < TENANTS_KEPT ? count : TENANTS_KEPT;
	buf_put_text(out, ",\"tenants\":[");
	for (size_t i = 0; i < shown; i++) {
		buf_put_text(out, i ? "," : "");
		put_tenant(out, &tenants[i]);
	}
	for (size_t i = shown; i < count; i++)
		tenant_figures_add(&others, &tenants[i].figures);
	buf_put_text(out, "],\"other_tenants\":{");
	put_figures(out, &others);
	buf_put_char(out, '}');
	free(tenants);
}
