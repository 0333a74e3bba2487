/* SPDX-License-Identifier: Apache-2.0 */
/* dashboard.h: what operators look at: / of the admin listener, and the two files that its page loads. */
#ifndef JITNEY_GATEWAY_ADMIN_DASHBOARD_H
#define JITNEY_GATEWAY_ADMIN_DASHBOARD_H

#include "gateway/call/route.h"

route_function page_dashboard, page_dashboard_script, page_dashboard_style;

#endif
