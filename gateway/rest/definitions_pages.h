/* SPDX-License-Identifier: Apache-2.0 */
/* definitions_pages.h: the definitions of tools, for callers. */
#ifndef JITNEY_GATEWAY_REST_DEFINITIONS_PAGES_H
#define JITNEY_GATEWAY_REST_DEFINITIONS_PAGES_H

#include "gateway/call/route.h"

route_function page_tools, page_tool, page_openapi;

#endif
