/* SPDX-License-Identifier: Apache-2.0 */
/* alerts_page.c: GET /admin/alerts: what fires, what may soon, and from where on. docs/api.md has the members. */
#include "base/json.h"
#include "gateway/admin/alerts.h"
#include "gateway/admin/observer.h"
#include "gateway/admin/pages.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

static const char *const units[] = {
	[ALERT_IN_PERCENT] = "percent", [ALERT_IN_US] = "us", [ALERT_IN_EVENTS] = "events", [ALERT_IS_SO] = "state"
};

static void put_condition(struct buf *out, const struct observation *of, enum alert alert)
{
	static const char *const severities[] = { "off", "warning", "critical" };
	const struct alert_options *options = &catalogue_made_for(of->catalogue)->alerts[alert];
	const struct alert_description *description = alert_description(alert);
	buf_printf(out, "{\"alert\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\"",
		   metrics_label_value(of->gateway->metrics, LABEL_ALERT, alert), description->name,
		   units[description->unit]);
	if (description->unit == ALERT_IS_SO)
		buf_printf(out, ",\"severity\":\"%s\"", severities[options->severity_word]);
	else
		buf_printf(out, ",\"warning\":%llu,\"critical\":%llu,\"falls\":%s",
			   (unsigned long long)options->warning, (unsigned long long)options->critical,
			   description->falls ? "true" : "false");
	buf_printf(out, ",\"for_us\":%llu}", (unsigned long long)options->hold_us);
}

static void write_alerts(const struct observation *of, struct buf *out)
{
	buf_put_text(out, "{\"alerts\":[");
	alerts_put_firing(of->alerts, out);
	buf_put_text(out, "],\"pending\":[");
	alerts_put_pending(of->alerts, out);
	buf_printf(out, "],\"left_out\":%zu,\"webhook\":", alerts_left_out(of->alerts));
	alerts_put_webhook(of->alerts, out);
	buf_put_text(out, ",\"conditions\":[");
	for (enum alert alert = 0; alert < ALERT_COUNT; alert++) {
		buf_put_text(out, alert ? "," : "");
		put_condition(out, of, alert);
	}
	buf_put_text(out, "]}\n");
}

void page_admin_alerts(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	observer_reply(worker, request, write_alerts, page_send_json);
}
