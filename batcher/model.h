/*
 * model.h: what is learned of a provider from exchanges that went well: what one costs, how many it works on at once,
 * whether arrays pay. One per upstream, since lanes come and go while the provider stays. Arithmetic only, no clock.
 *
 * - Cost: fixed + items * per item, as BentoML's adaptive batching fits it; here by least squares that forget 1/32 with
 *   each exchange. An outlier counts as a value at the edge of what is usual; eight in a row are a change, and the past
 *   is forgotten. Sizes that do not differ say nothing of the slope: then it stays, and the fixed part follows.
 * - Concurrency: exchanges that take longer than the model says, when `limit` are under way, were queued by the
 *   provider: limit * expected / taken of them were worked on (TCP Vegas, Brakmo and Peterson 1995; Netflix
 *   concurrency-limits' gradient). Some more than that are let out, so that one waits there while the next gathers
 * here.
 * - Costs are learned while no more than two are under way, where hardly anything queues; and from whatever took less
 *   than predicted, since a queue can only add. Under steady load a thin round makes a quiet moment, ever more rarely
 *   as it finds nothing new. While sizes do not differ, some batches leave half full to tell the two costs apart.
 * - Arrays that cost as much a call as singles do, or are refused, are switched off for 1 s, then tried again; each
 *   failure doubles the time (Clipper's multiplicative back-off, NSDI 2017).
 */
#ifndef JITNEY_BATCHER_MODEL_H
#define JITNEY_BATCHER_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* One exchange, as its landing tells of concurrency. */
struct model_landing {
	double took_us, due_us; /* due: what it costs if nothing queues */
	double used;            /* exchanges under way as it left */
};

struct model {
	/* costs */
	double weight, x, y, xx, xy; /* sums over (items, us), forgetting */
	double spread_us;            /* usual distance from the prediction */
	unsigned samples;            /* learned from, stops at MODEL_KNOWN */
	unsigned odd;                /* outliers in a row */
	double fixed_us, item_us;

	/* concurrency */
	double limit, most;         /* exchanges at once; the configuration's cap */
	double took_us, due_us;     /* of this round, summed */
	double used;                /* exchanges under way, likewise */
	unsigned round;             /* pairs of landings in it */
	struct model_landing first; /* of a pair; took_us 0: none */
	unsigned steady;            /* landings since the last thin round */
	unsigned thin_every;
	unsigned thin;        /* landings this thin round still lasts; 0: none */
	double thin_fixed_us; /* what it cost before the thin round */

	double outstanding; /* calls waiting and travelling: highest of late */

	/* do arrays pay? */
	double single_us, share_us; /* of a call alone; of a call in an array */
	unsigned singles, shares;   /* how many are known, up to MODEL_KNOWN */
	uint64_t singles_until_us;  /* no arrays until then; 0: arrays */
	uint64_t backoff_us;        /* how long next time */

	/* what 413 taught; 0: nothing */
	double cap_items, cap_bytes;
};

enum { MODEL_KNOWN = 8 }; /* exchanges before the model is believed */

void model_init(struct model *model, size_t most);

static inline bool model_known(const struct model *model)
{
	return model->samples >= MODEL_KNOWN;
}

/* An exchange of so many items landed well; `under_way`: how many there were as it left, itself included. */
void model_learn(struct model *model, size_t items, uint64_t took_us, size_t under_way, uint64_t now_us);
/* So many calls are waiting and travelling: after an add, and after a landing (which lets it sink). */
void model_load(struct model *model, size_t outstanding, bool landed);

/* What an exchange of so many would take; 0: not known yet. */
double model_cost_us(const struct model *model, size_t items);
/* Exchanges the provider works on at once; of those, how many are worth using for the present load. */
size_t model_slots(const struct model *model);
size_t model_useful(const struct model *model);
/* Calls a batch should take, so that the outstanding ones spread over the useful slots. */
size_t model_share(const struct model *model);

/* The sizes of late differ too little to tell the fixed part from the calls': a batch of so many that leaves as the
 * `under_way`th should rather be of another size. */
bool model_wants_other(const struct model *model, size_t items, size_t under_way);

/* Arrays are refused, or cost more than they save: none for a while. */
void model_shun(struct model *model, uint64_t now_us);
bool model_shuns(const struct model *model, uint64_t now_us);
/* 413 to a batch like this; and one that passed. */
void model_too_large(struct model *model, size_t items, size_t bytes);
void model_passed(struct model *model, size_t items);
size_t model_cap_items(const struct model *model, size_t max);
size_t model_cap_bytes(const struct model *model, size_t max);

#endif
