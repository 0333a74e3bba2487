/* SPDX-License-Identifier: Apache-2.0 */
/* error.c: noting why settings will not do. */
#include "upstream/dialects/error.h"

#include <stdarg.h>
#include <stdio.h>

bool dialect_refuse(struct dialect_error *error, const char *part, const char *format, ...)
{
	va_list args;
	error->kind = DIALECT_ERROR_SETTING;
	snprintf(error->part, sizeof error->part, "%s", part);
	va_start(args, format);
	vsnprintf(error->text, sizeof error->text, format, args);
	va_end(args);
	return false;
}

bool dialect_no_memory(struct dialect_error *error)
{
	*error = (struct dialect_error){ .kind = DIALECT_ERROR_NO_MEMORY, .text = "out of memory" };
	return false;
}

void dialect_error_in(struct dialect_error *error, const char *part)
{
	if (error->kind == DIALECT_ERROR_SETTING && !*error->part)
		snprintf(error->part, sizeof error->part, "%s", part);
}
