/* toy_options.h: the rows of the option table that are dialect toy's (options.h). */
#ifndef JITNEY_GATEWAY_CONFIG_TOY_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_TOY_OPTIONS_H

/* clang-format off */
#define TOY_ROWS(B, V, L, T)                                                                                           \
	B("upstreams.*.toy", BLOCK, 0, "dialect toy: how calls become one request.")                                   \
	V("upstreams.*.toy.max", COUNT, upstream_draft, own_settings.toy.max, "", 1, 1000, "(10)", NULL,               \
	  "Calls in one request.")
/* clang-format on */

#endif
