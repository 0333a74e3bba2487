/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h: who may. Asked once for every request of every listener, before any handler (server/routes.c).
 *
 * A page in a browser can be made to speak to servers of its user's machine and network: by a name of its own that is
 * pointed here (DNS rebinding: the Host is not ours), or by a plain request to another site (the Origin is not ours).
 */
#ifndef JITNEY_GATEWAY_ACCESS_ACCESS_H
#define JITNEY_GATEWAY_ACCESS_ACCESS_H

#include "base/answer.h"
#include "gateway/config/config.h"
#include "gateway/http/http.h"
#include "metrics/catalogue.h"

/* Which one the request came to. */
enum access_listener { ACCESS_DATA, ACCESS_ADMIN };

/* How it is counted (reason) and answered (outcome, detail: for people). */
struct access_denial {
	enum reject_reason reason;
	enum outcome outcome;
	char detail[ANSWER_DETAIL_BYTES];
};

/*
 * Whether the request may go on.
 * Host    localhost and names below it, IP addresses (rebinding needs a name), allowed_hosts; or none at all.
 * Origin  pages of loopback hosts, of allowed_hosts, and of the very address the request came to; on the data listener
 *         those of mcp.allowed_origins as well. A request that changes something and says by Sec-Fetch-Site that a page
 *         of elsewhere sent it needs such an Origin; programs send neither.
 * False: *denial.
 */
bool access_allows(const struct generation *generation, const struct request *request, enum access_listener listener,
		   struct access_denial *denial) MUST_CHECK;

#endif
