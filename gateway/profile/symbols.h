/* SPDX-License-Identifier: Apache-2.0 */
/*
 * symbols.h: what the functions of this process are called: our own, static ones too, by the symbols of the program's
 * file; those of libraries as far as they are exported. For one profile, then given back.
 */
#ifndef JITNEY_GATEWAY_PROFILE_SYMBOLS_H
#define JITNEY_GATEWAY_PROFILE_SYMBOLS_H

#include "gateway/profile/stacks.h"

struct symbols;

/* NULL when out of memory. Reads the program's file: not for workers. */
struct symbols *symbols_new(void) MUST_CHECK;
/* NULL is allowed. */
void symbols_free(struct symbols *symbols);
/* Who names addresses of code: a function, else "[module]" if it is not known. As long-lived as the symbols. One thread. */
struct namer symbols_namer(struct symbols *symbols);

#endif
