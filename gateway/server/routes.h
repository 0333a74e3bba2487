/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes.h: which path is whose. One table for the data listeners, one for the admin's; 404, 405 with Allow, and
 * OPTIONS are answered here. What the paths do is in rest/, mcp/ and admin/.
 */
#ifndef JITNEY_GATEWAY_SERVER_ROUTES_H
#define JITNEY_GATEWAY_SERVER_ROUTES_H

#include "gateway/http/http.h"

/* http_handler functions; context is a struct worker. */
void routes_serve_data(void *context, struct request *request);
void routes_serve_admin(void *context, struct request *request);
void routes_refuse(void *context, struct request *request, enum outcome outcome, const char *detail);
void routes_finished(void *context, struct request *request, unsigned status, uint64_t bytes);

#endif
