/* SPDX-License-Identifier: Apache-2.0 */
/* The same as test_json_chars.c, for machines without the instructions this one has. */
#define JSON_PORTABLE
#include "tests/unit/base/test_json_chars.c"
