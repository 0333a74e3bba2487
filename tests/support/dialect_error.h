/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_error.h: a dialect's error as one text: "path: character 2: a brace". */
#ifndef TESTS_SUPPORT_DIALECT_ERROR_H
#define TESTS_SUPPORT_DIALECT_ERROR_H

#include <stdio.h>

#include "upstream/dialects/error.h"

/* Valid until the next call. */
static inline const char *error_text(const struct dialect_error *error)
{
	static char text[sizeof error->part + sizeof error->text + 2];
	snprintf(text, sizeof text, "%s%s%s", error->part, *error->part ? ": " : "", error->text);
	return text;
}

#endif
