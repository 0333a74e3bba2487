/* SPDX-License-Identifier: Apache-2.0 */
/* condition.c: who is sick, and by which sign. */
#include "gateway/cli/top/condition.h"

#include <stdio.h>

#include "base/json.h"
#include "gateway/cli/gateway_stats.h"

enum { LINE_WORRYING_US = 250000 };

static bool is_away(struct slice endpoint)
{
	struct slice healthy, state;
	bool well = json_member(endpoint, SLICE("healthy"), &healthy) && json_type(healthy) == JSON_TRUE;
	return !well || !json_member(endpoint, SLICE("state"), &state) || !slice_equal(state, SLICE("\"up\""));
}

static void count_away(struct slice upstream, size_t *count, size_t *away, struct buf *why)
{
	struct slice endpoints = stats_member(upstream, "endpoints"), endpoint;
	*count = *away = 0;
	buf_reset(why);
	for (struct json_walk walk = json_walk(endpoints); json_next_element(&walk, &endpoint); (*count)++) {
		if (!is_away(endpoint))
			continue;
		if (!*away && !stats_text(endpoint, "reason", why).len)
			buf_put_text(why, "not reached");
		(*away)++;
	}
}

static void set_word(struct text_cell *word, enum condition condition, const char *text)
{
	snprintf(word->text, sizeof word->text, "%s", text);
	word->key = condition;
}

static enum condition judge_upstream(struct slice upstream, struct slice before, size_t count, size_t away,
				     struct text_cell *word)
{
	double shed = before.len ? stats_count(upstream, "shed") - stats_count(before, "shed") : 0;
	double failed = before.len ? stats_count(upstream, "errors") - stats_count(before, "errors") : 0;
	double wait_us = stats_count(upstream, "expected_wait_us");
	if (count && away == count)
		set_word(word, CONDITION_SICK, "down");
	else if (shed > 0)
		set_word(word, CONDITION_SICK, "refuses calls");
	else if (failed > 0)
		set_word(word, CONDITION_SICK, "fails");
	else if (away) {
		snprintf(word->text, sizeof word->text, "%zu of %zu away", away, count);
		word->key = CONDITION_WORRYING;
	} else if (wait_us > LINE_WORRYING_US) {
		struct text_cell wait;
		text_cell_time(&wait, wait_us);
		snprintf(word->text, sizeof word->text, "line of %.20s", wait.text);
		word->key = CONDITION_WORRYING;
	} else
		set_word(word, CONDITION_WELL, "well");
	return (enum condition)word->key;
}

enum condition condition_of(struct slice upstream, struct slice before, struct text_cell *word, struct buf *why)
{
	size_t count, away;
	count_away(upstream, &count, &away, why);
	return judge_upstream(upstream, before, count, away, word);
}

enum text_tone condition_tone(enum condition condition)
{
	static const enum text_tone tones[] = {
		[CONDITION_WELL] = TONE_PLAIN, [CONDITION_WORRYING] = TONE_WARN, [CONDITION_SICK] = TONE_BAD
	};
	return tones[condition];
}
