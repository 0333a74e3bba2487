/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h: what a client may ask of the gateway, and whom it believes. A reload brings others. */
#ifndef JITNEY_GATEWAY_HTTP_SETTINGS_H
#define JITNEY_GATEWAY_HTTP_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "gateway/http/address.h"

/* Frozen. */
struct http_settings {
	size_t body_bytes;
	size_t header_bytes;
	uint64_t header_timeout_us;
	uint64_t body_timeout_us;
	uint64_t idle_timeout_us;
	size_t send_rate;   /* bytes a second of a reply that a client must take once body_timeout is over */
	size_t connections; /* over all workers, on data listeners */
	size_t held_bytes;  /* over all workers: bodies being gathered or held, replies not taken yet */
	struct network *trusted_proxies;
	size_t trusted_proxy_count;
	const char *tenant_header; /* NULL: none */
};

#endif
