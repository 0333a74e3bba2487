/* SPDX-License-Identifier: Apache-2.0 */
/* condition.c: see the header. */
#include "gateway/cli/top/condition.h"

#include "base/json.h"
#include "gateway/cli/gateway_stats.h"

enum condition condition_of(struct slice upstream, struct text_cell *word, struct buf *why)
{
	enum condition condition = CONDITION_WELL;
	struct slice said;
	text_cell_put(word, stats_text(upstream, "sign", why));
	if (json_member(upstream, SLICE("condition"), &said) && json_type(said) == JSON_STRING)
		condition = json_string_is(said, SLICE("sick"))       ? CONDITION_SICK
			    : json_string_is(said, SLICE("worrying")) ? CONDITION_WORRYING
								      : CONDITION_WELL;
	word->key = condition;
	stats_text(upstream, "why", why);
	return condition;
}

enum text_tone condition_tone(enum condition condition)
{
	static const enum text_tone tones[] = {
		[CONDITION_WELL] = TONE_PLAIN, [CONDITION_WORRYING] = TONE_WARN, [CONDITION_SICK] = TONE_BAD
	};
	return tones[condition];
}
