/* SPDX-License-Identifier: Apache-2.0 */
/* json_members.h: objects of many members, for the tests of those who read JSON. */
#ifndef TESTS_SUPPORT_JSON_MEMBERS_H
#define TESTS_SUPPORT_JSON_MEMBERS_H

#include "base/buf.h"

/* {"<prefix>N":0,...: N from 0 to members - 1, times `factor` modulo `members`; the caller closes it. */
static inline void put_members(struct buf *out, const char *prefix, size_t members, size_t factor)
{
	for (size_t i = 0; i < members; i++)
		buf_printf(out, "%c\"%s%06zu\":0", i ? ',' : '{', prefix, i * factor % members);
}

#endif
