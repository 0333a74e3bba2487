/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdicts.h: what the checks have found of a provider's endpoints, where several upstreams stand for it on as many workers
 * (upstream_settings.parts): the first one checks, and all others believe it, so that the provider is asked once and not as
 * often as there are workers. Which endpoint it is is told by its key: each looks its hosts up for itself. Private to
 * upstream/http/.
 */
#ifndef JITNEY_UPSTREAM_HTTP_VERDICTS_H
#define JITNEY_UPSTREAM_HTTP_VERDICTS_H

#include "upstream/http/endpoint.h"

/* The first one's: the endpoints of this set whose checks have failed, and no others, have. Any thread. */
void verdicts_tell(struct endpoint_verdicts *verdicts, const struct endpoint_set *set);
/* Whether something has been told since `*heard` was heard (0: nothing was): then that is so of this set as well. Its thread. */
void verdicts_hear(struct endpoint_verdicts *verdicts, struct endpoint_set *set, unsigned *heard, uint64_t now_us);

#endif
