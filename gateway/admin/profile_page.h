/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile_page.h: GET /debug/pprof/profile?seconds=&format=, which functions the process spends its CPU time in; .../heap,
 * who holds memory, by the accounts that are kept; .../threads, what each thread is and how busy. docs/profiling.md.
 */
#ifndef JITNEY_GATEWAY_ADMIN_PROFILE_PAGE_H
#define JITNEY_GATEWAY_ADMIN_PROFILE_PAGE_H

#include "gateway/call/route.h"

struct gateway;

route_function page_profile;
route_function page_heap;    /* heap_page.c */
route_function page_threads; /* threads_page.c */

/* End a profile that is under way, and its thread. Main thread, when no worker runs any more. */
void profile_end(struct gateway *gateway);

#endif
