/* SPDX-License-Identifier: Apache-2.0 */
/* limiter.c: the states of limiter.h. */
#include "batcher/limiter.h"

#include <assert.h>
#include <string.h>

#define VERY_SLOW_US (10.0 * LIMITER_SLOW_US) /* a round of such is longer than anybody wants to wait */
#define SLACK_US 200.0                        /* of our own making: loop turns and system calls */
#define QUEUED 0.95                           /* a mean gradient below this is a queue */
#define NEARLY 0.75    /* START goes on above this: a real ceiling shows more at twice the limit */
#define LATE 1.06      /* times what it should take: one exchange is late */
#define BEST 2.0       /* however fast one was, its gradient counts as no more */
#define HELPED 0.35    /* of what a change should have brought if exchanges queued: they did */
#define SAME 0.98      /* of the time it took before, from which on it takes as long */
#define LUCKY 0.6      /* of what it should take: a queue leaves no quarter of a round below that */
#define OUTLIER 3.0    /* times the round's median: one exchange counts as no more */
#define DIFFERENT 1.5  /* times the round's median: its slowest */
#define NOISE 2.0      /* standard errors */
#define EXACT 0.03     /* standard error from which on a round need not go on */
#define FASTEST 4.0    /* times the limit, to which START goes at most */
#define STEP (1.0 / 8) /* of the limit, by which MORE rises */
#define DOWN 0.75      /* of the limit, to which FEWER goes */
#define DEEPEST 0.25   /* of the limit, to which one cut goes at most */
#define CHANGED 0.5    /* a gradient below this where nothing queued before: it is another provider */
enum {
	LEAST_ROUND = 8,
	TIMELY_SMOOTHING = 16,
	LATE_PART = 5, /* more than a fifth of a round late: that is no bad luck */
	UNSURE = 4,    /* rounds in a row that were not clear: better find out */
	CERTAIN = 2,   /* times its noise: one round is enough */
	QUIET = 2,     /* with so few under way, and at most half of the limit, hardly anything queues */
	TURNS = 4,     /* of all slots: what was out as the limit changed is back */
	RISEN_MOST = 3 /* tries kept in a row after which it doubles with each */
};
#define UNTIMELY 0.25 /* part of exchanges that were overdue, from which on it is no bad luck of a few */
#define OVERDUE 4.0   /* times what it should take: it holds no slot any more */
#define OVERDUE_LEAST_US (10 * CLOCK_US_PER_MS)
#define REST_FIRST_US (20 * CLOCK_US_PER_MS)

static double larger_of(double a, double b)
{
	return a > b ? a : b;
}

static double smaller_of(double a, double b)
{
	return a < b ? a : b;
}

static double floor_of(double a)
{
	return (double)(uint64_t)a;
}

/* Newton's, from above; a few steps are enough for a margin of error. */
static double square_root(double a)
{
	double root = a > 1 ? a : 1;
	if (a <= 0)
		return 0;
	for (int i = 0; i < 12; i++)
		root = (root + a / root) / 2;
	return root;
}

void limiter_init(struct limiter *limiter, size_t fixed, size_t start)
{
	assert(fixed > 0 || (start >= 1 && start <= LIMITER_MOST));
	memset(limiter, 0, sizeof *limiter);
	limiter->fixed = fixed > 0;
	limiter->limit = (double)(fixed ? fixed : start);
	limiter->most = fixed ? (double)fixed : LIMITER_MOST;
	limiter->start = limiter->let_out = limiter->limit;
	limiter->reason = fixed ? LIMITER_CONFIGURED : LIMITER_INITIAL;
	limiter->rest_us = REST_FIRST_US;
}

size_t limiter_limit(const struct limiter *limiter)
{
	return (size_t)limiter->limit;
}

size_t limiter_reachable(const struct limiter *limiter)
{
	bool ceiling_seen = limiter->fixed || limiter->state != LIMITER_START;
	return (size_t)(ceiling_seen ? limiter->limit : limiter->most);
}

/* --- what is overdue --- */

uint64_t limiter_far_beyond_us(double us)
{
	return (uint64_t)(OVERDUE * us) + OVERDUE_LEAST_US;
}

uint64_t limiter_patience_us(const struct costs *costs, size_t items)
{
	if (!costs_known(costs))
		return CLOCK_NEVER;
	return limiter_far_beyond_us(costs_expected_us(costs, items));
}

/* Most exchanges of late took their time and no more. */
static bool is_timely(const struct limiter *limiter)
{
	return limiter->untimely < UNTIMELY;
}

void limiter_overdue(struct limiter *limiter)
{
	limiter->untimely += (1 - limiter->untimely) / TIMELY_SMOOTHING;
}

/* Nothing has completed yet, so for how long that is so tells all that is known of the provider. */
static bool may_be_bold(const struct limiter *limiter)
{
	return limiter->bold_us > 0 && limiter->bold_us < CLOCK_NEVER && limiter->limit < LIMITER_START_SINGLE;
}

static void be_bold(struct limiter *limiter)
{
	limiter->limit = limiter->let_out = LIMITER_START_SINGLE;
	limiter->reason = LIMITER_ROSE;
	limiter->bold_us = CLOCK_NEVER;
}

/* Nothing is known of it yet: time alone lets more out. */
static bool waits_to_be_bold(const struct limiter *limiter, size_t under_way)
{
	return may_be_bold(limiter) && under_way < LIMITER_START_SINGLE;
}

/* As many as may be, those that hold no slot included. */
static bool is_used_up(const struct limiter *limiter, size_t under_way, size_t overdue)
{
	return limiter->fixed || under_way >= LIMITER_MOST || under_way >= limiter_limit(limiter) + overdue;
}

size_t limiter_free_count(const struct limiter *limiter, size_t under_way, size_t overdue, uint64_t now_us)
{
	size_t limit = limiter_limit(limiter), most = limit + overdue < LIMITER_MOST ? limit + overdue : LIMITER_MOST;
	if (under_way < limit)
		return limit - under_way;
	if (waits_to_be_bold(limiter, under_way))
		return limiter->bold_us <= now_us ? LIMITER_START_SINGLE - under_way : 0;
	if (is_used_up(limiter, under_way, overdue))
		return 0;
	return is_timely(limiter) ? most - under_way : limiter->probe_us <= now_us;
}

uint64_t limiter_free_us(const struct limiter *limiter, size_t under_way, size_t overdue, uint64_t now_us)
{
	if (limiter_free_count(limiter, under_way, overdue, now_us))
		return 0;
	if (waits_to_be_bold(limiter, under_way))
		return limiter->bold_us;
	return is_used_up(limiter, under_way, overdue) ? CLOCK_NEVER : limiter->probe_us;
}

void limiter_view(struct limiter *view, const struct limiter *limiter)
{
	memcpy(view, limiter, offsetof(struct limiter, round));
}

void limiter_sent(struct limiter *limiter, size_t under_way, size_t overdue, uint64_t now_us)
{
	if (limiter->bold_us == 0 && !limiter->fixed)
		limiter->bold_us = clock_add(now_us, LIMITER_SLOW_US);
	if (may_be_bold(limiter) && limiter->bold_us <= now_us && under_way >= limiter_limit(limiter))
		be_bold(limiter);
	bool probes = under_way >= limiter_limit(limiter) && overdue > 0 && !is_timely(limiter);
	if (!probes)
		return;
	limiter->probe_rest_us = limiter->probe_rest_us ? limiter->probe_rest_us * 2 : OVERDUE_LEAST_US;
	if (limiter->probe_rest_us > LIMITER_REST_US)
		limiter->probe_rest_us = LIMITER_REST_US;
	limiter->probe_us = clock_add(now_us, limiter->probe_rest_us);
}

/* --- what a round shows --- */

struct findings {
	double gradient; /* of the round as a whole */
	double error;    /* standard error of that */
	double noise;    /* what it may be off by */
	double used;     /* exchanges under way as they left, mean */
	double took_us;  /* of exchanges, mean; one counts as no more than OUTLIER times what is usual */
	double tail_us;  /* of calls alone, the slowest, likewise; 0: they hardly differ, or their sizes do */
	bool full;       /* the limit held calls back */
	bool given_up;   /* some were: they would have taken who knows how long */
	bool lost;       /* many were */
	bool queued;     /* beyond its noise */
	bool clear;      /* not queued, by all that can be seen: it may rise */
	bool uneven;     /* a good part took far less than it should: they differ by themselves, nothing delays all */
};

/* How many times as long as it should it took. */
static double delay_of(const struct limiter_sample *sample)
{
	return sample->took_us / (costs_expected_us(sample->costs, sample->items) + SLACK_US);
}

static void sort_up(double *values, unsigned count)
{
	for (unsigned i = 1; i < count; i++) {
		double value = values[i];
		unsigned at = i;
		for (; at > 0 && values[at - 1] > value; at--)
			values[at] = values[at - 1];
		values[at] = value;
	}
}

/* What the gradient may be off by because exchanges differ by themselves. A queue spreads them as well, but then there
 * is none that was fast. */
static double luck_of(const struct findings *found)
{
	return found->uneven ? found->noise : 0;
}

static struct findings evaluate_round(const struct limiter *limiter)
{
	double delays[LIMITER_ROUND], count = limiter->completed, sum = 0, squares = 0, used = 0, took_us = 0;
	double slowest = 0, tail_us = 0;
	unsigned late = 0, lost = 0, alone = 0;
	for (unsigned i = 0; i < limiter->completed; i++) {
		delays[i] = larger_of(delay_of(&limiter->round[i]), 1 / BEST);
		used += limiter->round[i].under_way;
		late += delays[i] > LATE;
		lost += limiter->round[i].given_up;
		alone += limiter->round[i].items == 1;
	}
	sort_up(delays, limiter->completed);
	double most = OUTLIER * delays[limiter->completed / 2];
	for (unsigned i = 0; i < limiter->completed; i++) {
		double delay = smaller_of(delays[i], most);
		sum += delay;
		squares += delay * delay;
		double counted_us = limiter->round[i].took_us * smaller_of(1, most / delay_of(&limiter->round[i]));
		took_us += counted_us;
		tail_us = larger_of(tail_us, counted_us);
		slowest = larger_of(slowest, delay);
	}
	double mean = sum / count;
	double deviation = square_root(larger_of(0, squares / count - mean * mean));
	struct findings found = { .gradient = 1 / mean, .used = used / count, .took_us = took_us / count };
	if (alone == limiter->completed && slowest > DIFFERENT * delays[limiter->completed / 2])
		found.tail_us = tail_us;
	found.error = deviation / square_root(count) / mean * found.gradient;
	found.noise = NOISE * found.error;
	found.queued = found.gradient + found.noise < QUEUED && late * LATE_PART > limiter->completed;
	found.given_up = lost > 0;
	found.lost = lost * LATE_PART > limiter->completed;
	found.uneven = delays[limiter->completed / 4] < LUCKY;
	found.queued &= !found.uneven;
	found.clear = found.gradient + luck_of(&found) >= QUEUED && !found.lost;
	found.full = limiter->held * 2 > limiter->completed;
	if (found.full) /* one that completes makes room for the next */
		found.used = larger_of(found.used, floor_of(limiter->limit));
	return found;
}

/* --- states --- */

static void begin_round(struct limiter *limiter)
{
	limiter->completed = limiter->held = limiter->seen = 0;
}

static void set_limit(struct limiter *limiter, double limit, enum limiter_reason reason, uint64_t now_us)
{
	double before = limiter->limit;
	limiter->limit = larger_of(1, smaller_of(limiter->most, limit));
	limiter->let_out = limiter->limit > before ? limiter->limit - before : limiter->limit;
	limiter->reason = reason;
	limiter->changed_us = now_us;
	limiter->turned = 0;
}

/* Whether it tells of the limit as it is. Of those that left since the change the fast ones complete first: where calls differ
 * by themselves, that alone looks like a gain, and each cut like one that has helped. Then nothing counts before the slow
 * ones complete as well, or each slot was free a few times, and from then on all that completes. START is held to nothing. */
static bool tells_of_limit(struct limiter *limiter, const struct limiter_sample *sample, uint64_t now_us)
{
	bool since = sample->sent_us >= limiter->changed_us;
	limiter->turned += since;
	if (limiter->tail_us <= 0 || limiter->state == LIMITER_START)
		return since;
	return now_us >= clock_add(limiter->changed_us, (uint64_t)limiter->tail_us) ||
	       limiter->turned > TURNS * (uint64_t)limiter->limit;
}

static void rest_limit(struct limiter *limiter, uint64_t rest_us, uint64_t now_us)
{
	limiter->state = LIMITER_STEADY;
	limiter->rest_us = rest_us < LIMITER_REST_US ? rest_us : LIMITER_REST_US;
	limiter->try_us = clock_add(now_us, limiter->rest_us);
}

/* Nothing queued in this round: it tells what exchanges take. */
static void teach_costs(const struct limiter *limiter)
{
	for (unsigned i = 0; i < limiter->completed; i++) {
		const struct limiter_sample *sample = &limiter->round[i];
		if (!sample->learned)
			costs_learn(sample->costs, sample->items, sample->took_us);
	}
}

/* How many times as long as they should this round's exchanges took that are held to the same costs as the `first` one.
 * Marks them. */
static double mean_delay(const struct limiter *limiter, unsigned first, bool *counted)
{
	double sum = 0, count = 0;
	for (unsigned i = first; i < limiter->completed; i++) {
		if (limiter->round[i].costs != limiter->round[first].costs)
			continue;
		sum += delay_of(&limiter->round[i]);
		count++;
		counted[i] = true;
	}
	return sum / count;
}

/* Each of the costs that this round's exchanges were held to, corrected by what its own ones took. */
static void correct_costs(const struct limiter *limiter)
{
	bool counted[LIMITER_ROUND] = { false };
	for (unsigned i = 0; i < limiter->completed; i++)
		if (!counted[i])
			costs_scale(limiter->round[i].costs, mean_delay(limiter, i, counted));
}

/* Try another limit: this round is what the next one is held to. */
static void compare_with(struct limiter *limiter, enum limiter_state state, const struct findings *found, double limit,
			 enum limiter_reason reason, uint64_t now_us)
{
	limiter->before.limit = limiter->limit;
	limiter->before.state = limiter->state;
	limiter->before.gradient = found->gradient;
	limiter->before.luck = luck_of(found);
	limiter->before.took_us = found->took_us;
	limiter->before.used = found->used;
	limiter->before.given_up = found->given_up;
	limiter->state = state;
	set_limit(limiter, limit, reason, now_us);
}

/* At no higher limit than one at which nothing queued: what is so much slower now, or faster, is the provider. */
static bool has_changed(const struct limiter *limiter, const struct findings *found)
{
	bool slower = found->gradient + found->noise < CHANGED && limiter->limit <= limiter->clear_limit;
	return (slower || found->gradient - found->noise > 1 / CHANGED * QUEUED) && !found->given_up;
}

static void forget_provider(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	bool counted[LIMITER_ROUND] = { false };
	for (unsigned i = 0; i < limiter->completed; i++) {
		if (!counted[i]) {
			mean_delay(limiter, i, counted);
			costs_forget(limiter->round[i].costs);
		}
	}
	bool slow = found->took_us >= (double)LIMITER_SLOW_US;
	limiter->state = LIMITER_START;
	limiter->unsure = limiter->risen = 0;
	limiter->clear_limit = 0;
	limiter->forgot_us = now_us;
	set_limit(limiter, slow ? LIMITER_START_SINGLE : limiter->start, LIMITER_SLOWER, now_us);
}

static void cut_limit(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	double worked_on = floor_of(found->used * found->gradient + 0.5);
	double used = floor_of(smaller_of(limiter->limit, larger_of(2, found->used + 0.5)));
	double target = larger_of(worked_on, floor_of(used * DEEPEST));
	if (limiter->limit < 2) { /* nothing to cut: one by one, nothing of ours can queue */
		correct_costs(limiter);
		rest_limit(limiter, REST_FIRST_US, now_us);
		return;
	}
	limiter->risen = 0;
	target = smaller_of(target, used - 1); /* a cut below what is used: another one would change nothing */
	compare_with(limiter, LIMITER_CUT, found, target, LIMITER_QUEUED, now_us);
	limiter->cut_us = now_us;
	/* What leaves now still finds the queue there: it lasts for as long as exchanges took too long. What was given up
	 * was no queue: the provider had stood still, and that is over at once or goes on for who knows how long. */
	double queue_part = 1 - found->gradient;
	if (found->given_up)
		queue_part = smaller_of(queue_part, OVERDUE * found->gradient);
	if (queue_part > 0)
		limiter->changed_us = clock_add(now_us, (uint64_t)(found->took_us * queue_part));
}

/* Whether a round at an old limit lets one go on; it teaches, or the limit is cut. */
static bool goes_on(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	bool certain = found->gradient + CERTAIN * found->noise < QUEUED;
	limiter->unsure = found->clear ? 0 : limiter->unsure + (found->queued ? UNSURE / 2 : 1);
	if (limiter->unsure >= UNSURE && found->uneven) { /* late, but no queue: it is their costs that are not known */
		correct_costs(limiter);
		limiter->unsure = 0;
		return false;
	}
	if ((found->queued && certain) || limiter->unsure >= UNSURE) {
		limiter->unsure = 0;
		cut_limit(limiter, found, now_us);
		return false;
	}
	if (found->clear) {
		limiter->clear_limit = limiter->limit;
		teach_costs(limiter);
	}
	return found->full && found->clear;
}

/* No queue that would make a doubling wrong: a real ceiling shows more at twice the limit. */
static bool is_nearly_clear(const struct findings *found)
{
	return found->gradient >= NEARLY && !found->lost;
}

/* Of those that were let out at once the fast ones complete first, and where exchanges take long and differ, what was
 * learned from those is far too little. The first round that is whole tells. */
static bool shows_slow_ones(const struct limiter *limiter, const struct findings *found)
{
	return limiter->state == LIMITER_START && limiter->clear_limit <= 0 && found->took_us >= VERY_SLOW_US;
}

/* What begins cannot wait for rounds to be exact: where exchanges differ much and take long, that would be minutes. */
static bool doubles_at_once(const struct limiter *limiter, const struct findings *found)
{
	bool goes_on = shows_slow_ones(limiter, found) || (found->full && is_nearly_clear(found));
	return limiter->state == LIMITER_START && goes_on;
}

/* Whether the costs that this round's exchanges were held to are known to have no queue in them. */
static bool is_sure(const struct limiter *limiter)
{
	for (unsigned i = 0; i < limiter->completed; i++)
		if (!limiter->round[i].costs->sure)
			return false;
	return true;
}

static void make_sure(const struct limiter *limiter)
{
	for (unsigned i = 0; i < limiter->completed; i++)
		limiter->round[i].costs->sure = true;
}

/* Nobody waits because of the limit, and yet those under way may queue at the provider, and may have done so when their
 * costs were learned. Fewer at once than are used tell, once. */
static void try_slack(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	double used = smaller_of(found->used, limiter->limit);
	if (found->full || !found->clear || used < 2 || limiter->limit <= limiter->start || is_sure(limiter))
		return;
	compare_with(limiter, LIMITER_FEWER, found, floor_of(smaller_of(used - 1, used * DOWN + 0.5)), LIMITER_TRIED,
		     now_us);
}

/* Where exchanges take long it is the rounds that callers wait for; and where each takes what it should, one like the other, a part
 * of a round tells of all of it, and it of more than of twice as many. */
static bool is_slow_and_exact(const struct findings *found)
{
	return found->took_us >= (double)LIMITER_SLOW_US && found->error <= EXACT && found->gradient >= QUEUED &&
	       !found->given_up;
}

static void end_start(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	if (limiter->clear_limit > 0 && has_changed(limiter, found)) {
		forget_provider(limiter, found, now_us);
		return;
	}
	bool first = shows_slow_ones(limiter, found), near = first || is_nearly_clear(found);
	if (first)
		correct_costs(limiter);
	if (near)
		teach_costs(limiter);
	if (first || found->clear)
		limiter->clear_limit = limiter->limit;
	if (near ? found->full : goes_on(limiter, found, now_us))
		set_limit(limiter, limiter->limit * (is_slow_and_exact(found) ? FASTEST : 2), LIMITER_ROSE, now_us);
	else if (limiter->state == LIMITER_START)
		try_slack(limiter, found, now_us);
}

static void try_other(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	bool fewer = limiter->fewer_next && limiter->limit >= 2;
	limiter->fewer_next = !limiter->fewer_next;
	double step = smaller_of(1, STEP * (double)(1U << limiter->risen));
	double more = larger_of(floor_of(limiter->limit) + 1, floor_of(limiter->limit * (1 + step)));
	double limit = fewer ? floor_of(smaller_of(limiter->limit - 1, limiter->limit * DOWN + 0.5)) : more;
	compare_with(limiter, fewer ? LIMITER_FEWER : LIMITER_MORE, found, limit, LIMITER_TRIED, now_us);
}

static void end_steady(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	if (has_changed(limiter, found))
		forget_provider(limiter, found, now_us);
	else if (goes_on(limiter, found, now_us) && now_us >= limiter->try_us)
		try_other(limiter, found, now_us);
	else if (limiter->state == LIMITER_STEADY)
		try_slack(limiter, found, now_us);
}

/* What the difference between this round and the one before may be off by. */
static double luck_of_both(const struct limiter *limiter, const struct findings *found)
{
	double luck = luck_of(found), before = limiter->before.luck;
	return square_root(luck * luck + before * before);
}

/* Whether what this round shows, beside the one before, is the doing of a queue: exchanges take less of what they
 * should by a good part of `by_queue`, what a queue would make of the other limit. And they take less at all: a batch
 * that grew as the limit fell, of a provider to which size matters less than is known, looks fast only beside what it
 * should take. */
static bool became_faster(const struct limiter *limiter, const struct findings *found, double gradient, double by_queue)
{
	double gained = gradient / limiter->before.gradient;
	return gained - 1 >= HELPED * (by_queue - 1) && found->took_us < SAME * limiter->before.took_us;
}

static bool became_slower(const struct limiter *limiter, const struct findings *found)
{
	double lost = (found->gradient + luck_of_both(limiter, found)) / limiter->before.gradient;
	double by_queue = limiter->before.limit / limiter->limit;
	bool slower = !found->clear || lost - 1 < HELPED * (by_queue - 1);
	return slower && (found->lost || found->took_us * SAME > limiter->before.took_us);
}

static void go_back(struct limiter *limiter, enum limiter_reason reason, uint64_t rest_us, uint64_t now_us)
{
	set_limit(limiter, limiter->before.limit, reason, now_us);
	rest_limit(limiter, rest_us, now_us);
}

/* Something was gained: more of the same may be. */
static void go_further(struct limiter *limiter, enum limiter_reason reason, uint64_t now_us)
{
	limiter->reason = reason;
	limiter->fewer_next = reason == LIMITER_QUEUED;
	rest_limit(limiter, 0, now_us);
	limiter->rest_us = REST_FIRST_US;
}

static void end_more(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	if (!found->full || became_slower(limiter, found)) {
		limiter->risen = 0;
		go_back(limiter, LIMITER_QUEUED, limiter->rest_us * 2, now_us);
		return;
	}
	if (!found->clear)
		correct_costs(limiter); /* smaller batches take as long: size matters less than was known */
	teach_costs(limiter);
	go_further(limiter, LIMITER_ROSE, now_us);
	if (limiter->risen < RISEN_MOST)
		limiter->risen++;
}

static void end_fewer(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	double noise = larger_of(found->noise, luck_of_both(limiter, found));
	double before = smaller_of(limiter->before.limit, larger_of(limiter->before.used, limiter->limit + 1));
	if (!became_faster(limiter, found, found->gradient - noise, before / limiter->limit)) {
		make_sure(limiter);
		go_back(limiter, LIMITER_TRIED, limiter->rest_us * 2, now_us);
		if (limiter->before.state == LIMITER_START)
			limiter->state = LIMITER_START;
		return;
	}
	correct_costs(limiter);
	go_further(limiter, LIMITER_QUEUED, now_us);
}

static void end_cut(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	double by_queue = smaller_of(1 / limiter->before.gradient, limiter->before.used / larger_of(1, found->used));
	bool comparable = !found->given_up && !limiter->before.given_up;
	if (comparable &&
	    !became_faster(limiter, found, found->gradient - luck_of_both(limiter, found), larger_of(1, by_queue))) {
		if (has_changed(limiter, found)) {
			forget_provider(limiter, found, now_us);
			return;
		}
		correct_costs(limiter);
		go_back(limiter, LIMITER_SLOWER, REST_FIRST_US, now_us);
	} else if (found->queued || found->lost) {
		cut_limit(limiter, found, now_us);
	} else {
		teach_costs(limiter);
		limiter->fewer_next = true; /* had it been deep enough? */
		rest_limit(limiter, REST_FIRST_US, now_us);
	}
}

/* All that were let out at once have completed: the first to complete tell of luck only. */
static bool is_whole(const struct limiter *limiter)
{
	return (double)limiter->seen >= floor_of(limiter->limit);
}

/* START: what it rose by has completed, but for the first of all, by which the others are judged. For what was out before it
 * rose, others have left one by one since. */
static bool may_be_whole(const struct limiter *limiter)
{
	return limiter->state == LIMITER_START && (double)limiter->seen + COSTS_KNOWN >= limiter->let_out;
}

static void end_round(struct limiter *limiter, const struct findings *found, uint64_t now_us)
{
	static void (*const ends[])(struct limiter *, const struct findings *, uint64_t) = {
		[LIMITER_START] = end_start, [LIMITER_STEADY] = end_steady, [LIMITER_MORE] = end_more,
		[LIMITER_FEWER] = end_fewer, [LIMITER_CUT] = end_cut,
	};
	ends[limiter->state](limiter, found, now_us);
	begin_round(limiter);
}

void limiter_seek(struct limiter *limiter, uint64_t now_us)
{
	if (limiter->fixed || limiter->state == LIMITER_START)
		return;
	rest_limit(limiter, 0, now_us);
	limiter->rest_us = REST_FIRST_US;
	limiter->fewer_next = false;
	limiter->risen = RISEN_MOST;
	limiter->changed_us = now_us;
	limiter->tail_us = 0; /* of another kind */
	begin_round(limiter);
}

static double at_most_expected_us(const struct limiter_sample *sample)
{
	double expected_us = costs_expected_us(sample->costs, sample->items);
	return expected_us > 0 ? smaller_of(expected_us, sample->took_us) : sample->took_us;
}

/* What it is evaluated by. Our own lag excuses what is late, and hurries nobody. */
static double evaluated_us(const struct limiter_sample *sample)
{
	double expected_us = costs_expected_us(sample->costs, sample->items);
	if (sample->took_us <= expected_us)
		return sample->took_us;
	return larger_of(expected_us, sample->took_us - sample->lag_us);
}

void limiter_completed(struct limiter *limiter, const struct limiter_sample *sample, uint64_t now_us)
{
	bool quiet = sample->under_way <= larger_of(1, smaller_of(QUIET, limiter->limit / 2));
	if (!sample->overdue && !sample->given_up) {
		limiter->untimely -= limiter->untimely / TIMELY_SMOOTHING;
		limiter->probe_rest_us = limiter->probe_us = 0;
	}
	if (may_be_bold(limiter) && sample->took_us >= (double)LIMITER_SLOW_US)
		be_bold(limiter);
	limiter->bold_us = CLOCK_NEVER;
	bool known = costs_known(sample->costs);
	if (sample->given_up && !known)
		return;
	if (sample->given_up)
		quiet = true; /* its costs learn nothing from it */
	else if ((quiet && sample->sent_us >= limiter->forgot_us) || limiter->fixed) {
		costs_learn(sample->costs, sample->items, sample->took_us);
		sample->costs->sure = true;
	} else if (!known &&
		   sample->sent_us >= limiter->changed_us) /* they may have queued, and a queue can only add */
		costs_learn(sample->costs, sample->items, at_most_expected_us(sample));
	if (limiter->changed_us > now_us && sample->sent_us > limiter->cut_us)
		limiter->changed_us = now_us; /* it had that queue before it */
	if (limiter->fixed || !known || !tells_of_limit(limiter, sample, now_us))
		return;
	/* of many, some: evenly over all that are under way at once */
	if (limiter->seen++ % (1 + (unsigned)limiter->limit / LIMITER_ROUND) == 0) {
		limiter->round[limiter->completed] = *sample;
		limiter->round[limiter->completed].took_us = evaluated_us(sample);
		limiter->round[limiter->completed++].learned = quiet;
		limiter->held += sample->held;
	}
	bool whole = is_whole(limiter);
	if (limiter->seen < LEAST_ROUND || (!whole && !may_be_whole(limiter)))
		return;
	struct findings found = evaluate_round(limiter);
	if (!whole && !is_slow_and_exact(&found))
		return;
	limiter->tail_us = found.tail_us;
	if (found.error <= EXACT || limiter->completed == LIMITER_ROUND || doubles_at_once(limiter, &found))
		end_round(limiter, &found, now_us);
}
