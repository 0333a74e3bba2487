/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster.h: who may be asked: the endpoints of a provider as its settings name them, every address of their hosts, what is
 * known of each, and their checks. When the settings name others, another roster takes its place: an endpoint that is on
 * both is known there as before, one that is new begins slowly. Who is on the way by the old one ends by it, and what he
 * meets counts no more. Private to upstream/http/; owned by the upstream's worker.
 */
#ifndef JITNEY_UPSTREAM_HTTP_ROSTER_H
#define JITNEY_UPSTREAM_HTTP_ROSTER_H

#include "upstream/http/place.h"

/* By upstream->base.settings; `before` is the current one, whose place it takes (the caller lets it go by roster_retire
 * then), or NULL. Its checks have begun. NULL: out of memory, and nothing has changed. */
struct roster *roster_new(struct http_upstream *upstream, const struct roster *before) MUST_CHECK;
/* It is the current one: operators see it. */
void roster_enter(struct roster *roster);
/* It is the current one no more: its checks and look-ups end. */
void roster_retire(struct roster *roster);
struct roster *roster_ref(struct roster *roster);
/* NULL is allowed. */
void roster_unref(struct roster *roster);

/* Whether the settings of the upstream name what is on it, in this order, with as many addresses. */
bool roster_fits(const struct roster *roster);
/* They do, but numbers and policies may be others: take them. */
void roster_adjust(struct roster *roster);

#endif
