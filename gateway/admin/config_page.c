/* SPDX-License-Identifier: Apache-2.0 */
/* config_page.c: which configuration is in force, since when, who asked for it, and what the last reload came to. */
#include "base/json.h"
#include "gateway/admin/pages.h"
#include "gateway/admin/reload.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

void page_admin_config(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	const struct generation *generation = worker_generation(worker);
	struct buf options = BUF_INIT(PAGE_BYTES_MAX);
	config_page(worker_gateway(worker)->config, generation, &options);
	buf_printf(&text, "{\"generation\":%llu,\"hash\":\"%s\",\"loaded_at\":%llu,\"asked_by\":",
		   (unsigned long long)generation->number, generation->hash,
		   (unsigned long long)(generation->loaded_us / CLOCK_US_PER_S));
	json_put_string(&text, slice_of(generation->asked_by ? generation->asked_by : "start"));
	if (worker_gateway(worker)->reload)
		reload_put_last(worker_gateway(worker)->reload, &text);
	buf_put_char(&text, ',');
	buf_put(&text, (struct slice){ buf_slice(&options).at + 1, buf_slice(&options).len - 1 });
	text.failed |= options.failed;
	buf_fini(&options);
	buf_put_char(&text, '\n');
	reply_text(request, 200, "application/json", &text);
}
