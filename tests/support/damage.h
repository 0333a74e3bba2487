/* SPDX-License-Identifier: Apache-2.0 */
/* damage.h: a provider whose bytes come damaged, for tests that ask whose an answer is. */
#ifndef TESTS_SUPPORT_DAMAGE_H
#define TESTS_SUPPORT_DAMAGE_H

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"

static inline bool damage_is_digit(const struct buf *body, size_t at)
{
	return at < body->len && body->store->bytes[at] >= '0' && body->store->bytes[at] <= '9';
}

/* A byte more, less or another one, as roll(sides) says. Digits stay: what is damaged there is another id or value, which
 * nobody could tell. `whole`: numbers stay as a whole, signs and what stands between two of them too. */
static inline void damage_body(struct buf *body, unsigned (*roll)(unsigned sides), bool whole)
{
	static const char stray[] = "{}[],:\"\\ x\n\xff";
	size_t at = roll((unsigned)body->len);
	char *bytes = body->store->bytes, byte = stray[roll(sizeof stray - 1)];
	if (damage_is_digit(body, at) || (whole && bytes[at] == '-'))
		return;
	bool between = whole && at > 0 && damage_is_digit(body, at - 1) && damage_is_digit(body, at + 1);
	unsigned how = roll(3);
	if (how == 0) {
		bytes[at] = byte;
	} else if (how == 1 && !between) {
		memmove(bytes + at, bytes + at + 1, body->len - at - 1);
		body->len--;
	} else if (at > 0 && !damage_is_digit(body, at - 1)) {
		buf_put_char(body, ' ');
		bytes = body->store->bytes;
		memmove(bytes + at + 1, bytes + at, body->len - at - 1);
		bytes[at] = byte;
	}
}

#endif
