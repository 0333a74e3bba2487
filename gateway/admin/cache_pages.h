/* SPDX-License-Identifier: Apache-2.0 */
/* cache_pages.h: what the tiers hold and how they do; dropping it. */
#ifndef JITNEY_GATEWAY_ADMIN_CACHE_PAGES_H
#define JITNEY_GATEWAY_ADMIN_CACHE_PAGES_H

#include "gateway/call/route.h"

route_function page_admin_cache, page_admin_purge, page_admin_purge_count;

#endif
