/* SPDX-License-Identifier: Apache-2.0 */
/* call_tool.h: POST /v1/tools/{tool}: one call, one answer. And POST /v1/batch (call_batch.c): many calls, many answers. */
#ifndef JITNEY_GATEWAY_REST_CALL_TOOL_H
#define JITNEY_GATEWAY_REST_CALL_TOOL_H

#include "gateway/call/route.h"

enum { REST_BATCH_WRAPPED = 3 }; /* a batch's arguments lie so deep: in the body, its calls, one of them */

route_function rest_call_tool, rest_call_many;

#endif
