/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c: the outcome table, unfolded into lookups. */
#include "base/outcome.h"

#include <assert.h>

static const struct {
	const char *word;
	const char *title;
	unsigned status;
	bool retryable;
} table[OUTCOME_COUNT] = {
#define OUTCOME_ROW(name, word, status, retryable, title) [OUTCOME_##name] = { word, title, status, retryable },
	OUTCOME_TABLE(OUTCOME_ROW)
#undef OUTCOME_ROW
};

const char *outcome_word(enum outcome outcome)
{
	assert(outcome < OUTCOME_COUNT);
	return table[outcome].word;
}

const char *outcome_title(enum outcome outcome)
{
	assert(outcome < OUTCOME_COUNT);
	return table[outcome].title;
}

unsigned outcome_status(enum outcome outcome)
{
	assert(outcome < OUTCOME_COUNT);
	return table[outcome].status;
}

bool outcome_retryable(enum outcome outcome)
{
	assert(outcome < OUTCOME_COUNT);
	return table[outcome].retryable;
}

bool outcome_is_failure(enum outcome outcome)
{
	return outcome_status(outcome) >= 500 && outcome != OUTCOME_TOOL_ERROR && outcome != OUTCOME_SHUTTING_DOWN &&
	       outcome != OUTCOME_NOT_CACHED;
}
