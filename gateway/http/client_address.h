/* SPDX-License-Identifier: Apache-2.0 */
/* client_address.h: who is at the other end, through proxies that are trusted. Inside gateway/http only. */
#ifndef JITNEY_GATEWAY_HTTP_CLIENT_ADDRESS_H
#define JITNEY_GATEWAY_HTTP_CLIENT_ADDRESS_H

#include <stdbool.h>

#include "gateway/http/http.h"

/* Whether the connection's other end is one of settings->trusted_proxies, or a unix socket, whose file says who may. */
bool client_is_proxy(const struct http_settings *settings, const struct sockaddr *peer);

#endif
