/* SPDX-License-Identifier: Apache-2.0 */
/* retry_budget.c: the budget of retry_budget.h. */
#include "upstream/retry_budget.h"

#include "base/clock.h"

#define LONGEST_BACKOFF_US (10 * CLOCK_US_PER_S)

void retry_budget_init(struct retry_budget *budget, const struct retry_settings *settings, size_t reserve)
{
	double most = settings->budget_percent > 0 ? (double)reserve : 0;
	*budget = (struct retry_budget){ .calls = most, .most = most, .percent = settings->budget_percent };
}

void retry_budget_adjust(struct retry_budget *budget, const struct retry_settings *settings, size_t reserve)
{
	if (budget->percent > 0 && settings->budget_percent > 0)
		budget->percent = settings->budget_percent;
	else if (budget->percent > 0 || settings->budget_percent > 0)
		retry_budget_init(budget, settings, reserve);
}

void retry_budget_reserve(struct retry_budget *budget, size_t calls)
{
	if (budget->most > 0 && budget->most < (double)calls)
		budget->most = budget->calls = (double)calls;
}

void retry_budget_deposit(struct retry_budget *budget, size_t calls)
{
	budget->calls += (double)calls * budget->percent / 100;
	if (budget->calls > budget->most)
		budget->calls = budget->most;
}

bool retry_budget_take(struct retry_budget *budget, size_t calls)
{
	if ((double)calls > budget->calls)
		return false;
	budget->calls -= (double)calls;
	return true;
}

double retry_budget_left(const struct retry_budget *budget)
{
	return budget->most > 0 ? budget->calls / budget->most : 0;
}

uint64_t retry_backoff_us(const struct retry_settings *settings, unsigned attempt, uint64_t random)
{
	uint64_t longest_us = settings->backoff_us;
	for (unsigned i = 2; i < attempt && longest_us < LONGEST_BACKOFF_US; i++)
		longest_us *= 2;
	longest_us = longest_us < LONGEST_BACKOFF_US ? longest_us : LONGEST_BACKOFF_US;
	return random % (longest_us + 1);
}
