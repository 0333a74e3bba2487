/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_arriving.c: json.c's scanner on a text of which only the beginning is there. It goes step by step; a step that
 * meets the end of what there is, or a fault so near to it that the bytes behind might be what is missing, is taken back
 * and taken again when there is more. Within a string, which may be as long as the text, it goes on where it was.
 */
#include "base/json_arriving.h"

#include <stdlib.h>

#include "base/json_chars.h"
#include "base/json_private.h"

enum {
	LOOK_AHEAD = 12, /* bytes that decide about any one of them: an escaped surrogate pair */
	STEP_NODES = 4,  /* what one step may add before it is looked at how many there are, and node 0 */
	CUT_BYTES = 4096 /* a name or number longer than that is tried again when there is twice as much of it */
};

struct json_arriving {
	struct scan scan;
	struct json_scratch scratch;
	struct json_fault fault;
	size_t at;    /* the first byte that is not done with */
	size_t again; /* it is of use to look on when there is so much */
	bool begun;
	bool value_due; /* see json_scan_step */
	bool in_string; /* at: within a string that is a value */
	bool done;      /* at: behind the value; blanks only may follow */
	enum json_soundness soundness;
};

struct json_arriving *json_arriving_new(unsigned max_depth)
{
	struct json_arriving *arriving = calloc(1, sizeof *arriving);
	if (!arriving)
		return NULL;
	arriving->value_due = true;
	arriving->scan.arriving = true;
	arriving->scan.fault = &arriving->fault;
	arriving->scan.scratch = &arriving->scratch;
	arriving->scan.max_depth = max_depth;
	arriving->scan.most_nodes = JSON_OPEN_MAX + STEP_NODES;
	return arriving;
}

void json_arriving_free(struct json_arriving *arriving)
{
	if (!arriving)
		return;
	json_scratch_fini(&arriving->scratch);
	free(arriving->scan.names);
	free(arriving);
}

size_t json_arriving_bytes(const struct json_arriving *arriving)
{
	return sizeof *arriving + arriving->scratch.bytes + arriving->scan.names_room;
}

/* The text may have moved, and be longer. False, with the fault. */
static bool take_text(struct json_arriving *arriving, struct slice text)
{
	struct scan *scan = &arriving->scan;
	if (!arriving->begun) {
		arriving->begun = true;
		return json_scan_begin(scan, text, false);
	}
	if (text.len > INT32_MAX) {
		json_refuse(scan, scan->text, "text too large");
		return false;
	}
	arriving->at = arriving->at < text.len ? arriving->at : text.len;
	scan->text = scan->run = text.at;
	scan->end = text.at + text.len;
	return true;
}

/* What a step changes that it might take back. */
struct checkpoint {
	unsigned depth;
	uint32_t node_count;
	size_t unsorted, names_used;
	bool value_due;
	struct frame frame; /* the innermost, if depth > 0 */
};

static struct checkpoint note_state(const struct json_arriving *arriving)
{
	const struct scan *scan = &arriving->scan;
	struct checkpoint checkpoint = { scan->depth,      scan->node_count,    scan->unsorted,
					 scan->names_used, arriving->value_due, { 0 } };
	if (scan->depth)
		checkpoint.frame = scan->frames[scan->depth - 1];
	return checkpoint;
}

static void take_back(struct json_arriving *arriving, const struct checkpoint *checkpoint)
{
	struct scan *scan = &arriving->scan;
	scan->depth = checkpoint->depth;
	scan->node_count = checkpoint->node_count;
	scan->unsorted = checkpoint->unsorted;
	scan->names_used = checkpoint->names_used;
	arriving->value_due = checkpoint->value_due;
	if (scan->depth)
		scan->frames[scan->depth - 1] = checkpoint->frame;
}

/* Whether a fault might be none if there were more. One before the step is about names, which are all there. */
static bool may_mend(const struct json_arriving *arriving, size_t len)
{
	return !arriving->fault.out_of_memory && arriving->fault.at >= arriving->at &&
	       arriving->fault.at + LOOK_AHEAD > len;
}

static size_t offset_of(const struct json_arriving *arriving, const char *p)
{
	return (size_t)(p - arriving->scan.text);
}

/* True: on with the next step. */
static bool step_string(struct json_arriving *arriving, bool whole)
{
	struct scan *scan = &arriving->scan;
	size_t len = offset_of(arriving, scan->end);
	const char *quote = json_scan_string(scan, scan->text + arriving->at);
	if (quote) {
		arriving->in_string = false;
		arriving->at = offset_of(arriving, quote) + 1;
	} else if (!whole && may_mend(arriving, len)) {
		arriving->at = arriving->fault.at;
	} else {
		arriving->soundness = JSON_FAULTY;
	}
	return quote;
}

/* Anything but a string that is a value. True: on with the next step. */
static bool step_other(struct json_arriving *arriving, bool whole)
{
	struct scan *scan = &arriving->scan;
	const char *p = scan->text + arriving->at;
	size_t len = offset_of(arriving, scan->end);
	/* a number may go on; behind a bracket it is asked what comes next */
	bool looks_on = arriving->value_due && p < scan->end && (*p == '[' || *p == '-' || (*p >= '0' && *p <= '9'));
	struct checkpoint before = note_state(arriving);
	const char *behind = json_scan_step(scan, p, &arriving->value_due);
	bool cut = !whole && (behind ? looks_on && behind == scan->end : may_mend(arriving, len));
	if (cut) {
		take_back(arriving, &before);
		arriving->again = len - arriving->at > CUT_BYTES ? 2 * len - arriving->at : 0;
		return false;
	}
	if (behind)
		arriving->at = offset_of(arriving, behind);
	else
		arriving->soundness = JSON_FAULTY;
	if (behind && scan->node_count > JSON_OPEN_MAX) {
		json_refuse(scan, behind, "too many members of objects that are open at once");
		arriving->soundness = JSON_FAULTY;
		return false;
	}
	return behind;
}

/* True: on with the next step. */
static bool step_on(struct json_arriving *arriving, bool whole)
{
	struct scan *scan = &arriving->scan;
	if (!arriving->in_string) {
		const char *p = scan->text + arriving->at;
		while (p < scan->end && json_blank(*p))
			p++;
		arriving->at = offset_of(arriving, p);
		if (p == scan->end && (!whole || arriving->done))
			return false;
		if (p < scan->end && arriving->done) {
			json_refuse(scan, p, "more text after the value");
			arriving->soundness = JSON_FAULTY;
			return false;
		}
		if (p < scan->end && *p == '"' && arriving->value_due) {
			arriving->in_string = true;
			arriving->value_due = false;
			arriving->at++;
		}
	}
	bool on = arriving->in_string ? step_string(arriving, whole) : step_other(arriving, whole);
	arriving->done = on && !arriving->value_due && scan->depth == 0;
	return on;
}

enum json_soundness json_arriving_look(struct json_arriving *arriving, struct slice text, bool whole,
				       struct json_fault *fault)
{
	if (text.len == 0)
		text.at = "";
	if (arriving->soundness == JSON_UNDECIDED && (whole || text.len >= arriving->again)) {
		arriving->again = 0;
		if (!take_text(arriving, text))
			arriving->soundness = JSON_FAULTY;
		while (arriving->soundness == JSON_UNDECIDED && step_on(arriving, whole))
			;
		if (arriving->soundness == JSON_UNDECIDED && whole && arriving->done)
			arriving->soundness = JSON_SOUND;
	}
	*fault = arriving->fault;
	return arriving->soundness;
}

/* --- Ahead --- */

void json_ahead_end(struct json_ahead *ahead)
{
	json_arriving_free(ahead->arriving);
	ahead->arriving = NULL;
}

void json_look_ahead(struct json_ahead *ahead, struct slice beginning, size_t at, unsigned max_depth)
{
	struct json_fault fault;
	if (beginning.len < JSON_AHEAD_BYTES)
		return;
	if (ahead->arriving && ahead->at != at)
		json_ahead_end(ahead);
	if (!ahead->arriving)
		ahead->arriving = json_arriving_new(max_depth);
	ahead->at = at;
	if (ahead->arriving) /* else it is looked at when it has ended */
		(void)!json_arriving_look(ahead->arriving, beginning, false, &fault);
}

bool json_check_ahead(struct json_ahead *ahead, struct slice value, size_t at, unsigned max_depth,
		      struct json_scratch *scratch, struct json_fault *fault)
{
	bool known = ahead->arriving && ahead->at == at;
	bool sound = known ? json_arriving_look(ahead->arriving, value, true, fault) == JSON_SOUND
			   : json_check(value, max_depth, scratch, fault);
	json_ahead_end(ahead);
	return sound;
}
