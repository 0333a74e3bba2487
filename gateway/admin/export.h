/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.h: answers from one gateway to another over the admin listener: GET /admin/cache/export streams memory's,
 * the most wanted first; POST /admin/cache/import takes such lines. Format: cache/dump.h.
 */
#ifndef JITNEY_GATEWAY_ADMIN_EXPORT_H
#define JITNEY_GATEWAY_ADMIN_EXPORT_H

#include "gateway/call/route.h"

struct gateway;

route_function page_admin_export, page_admin_import;

/* End an export that is under way, and its thread. Main thread, when no worker runs any more. */
void export_end(struct gateway *gateway);

#endif
