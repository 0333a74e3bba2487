/* toy.h: a dialect to count files by: arguments in an array, results in an array. */
#ifndef JITNEY_UPSTREAM_DIALECTS_TOY_H
#define JITNEY_UPSTREAM_DIALECTS_TOY_H

#include "base/compiler.h"

struct dialect;

struct toy_settings {
	unsigned max; /* calls in one request; 0: 10 */
};

struct dialect *toy_new(const struct toy_settings *settings) MUST_CHECK;

#endif
