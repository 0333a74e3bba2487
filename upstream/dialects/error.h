/* SPDX-License-Identifier: Apache-2.0 */
/* error.h: why settings make no dialect or no route, so that whoever has the file can say where in it. */
#ifndef JITNEY_UPSTREAM_DIALECTS_ERROR_H
#define JITNEY_UPSTREAM_DIALECTS_ERROR_H

#include "base/compiler.h"

enum dialect_error_kind {
	DIALECT_ERROR_NONE,
	DIALECT_ERROR_SETTING,  /* part and text say which, and what is wrong with it */
	DIALECT_ERROR_NO_MEMORY /* which is no fault of the settings, and soon over */
};

struct dialect_error {
	enum dialect_error_kind kind;
	char part
		[96]; /* the option it is about, as configured: "path", "query.days", "key_list.list"; "": all of them */
	char text[256]; /* a phrase: what is wrong, and where in the option */
};

/* Note it. Both return false. */
bool dialect_refuse(struct dialect_error *error, const char *part, const char *format, ...) PRINTF_LIKE(3, 4);
bool dialect_no_memory(struct dialect_error *error);
/* A setting's error that does not say yet which option it is about is about this one. */
void dialect_error_in(struct dialect_error *error, const char *part);

#endif
