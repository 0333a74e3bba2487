/* SPDX-License-Identifier: Apache-2.0 */
/* observation.h: what there is to see of the gateway's figures at one of the observer's looks. */
#ifndef JITNEY_GATEWAY_ADMIN_OBSERVATION_H
#define JITNEY_GATEWAY_ADMIN_OBSERVATION_H

#include <stdint.h>

struct alerts;
struct catalogue;
struct condition_book;
struct gateway;
struct history;

/* What a page is written from. Borrowed until it is written. */
struct observation {
	struct gateway *gateway;
	struct history *history;
	const struct alerts *alerts;
	const struct condition_book *conditions;
	const struct catalogue *catalogue; /* that of who asks */
	uint64_t now_us;                   /* monotonic */
};

#endif
