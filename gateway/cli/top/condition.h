/* SPDX-License-Identifier: Apache-2.0 */
/* condition.h: how an upstream is, as /admin/stats says (gateway/admin/condition.h). */
#ifndef JITNEY_GATEWAY_CLI_TOP_CONDITION_H
#define JITNEY_GATEWAY_CLI_TOP_CONDITION_H

#include "gateway/cli/text_table.h"

enum condition { CONDITION_WELL, CONDITION_WORRYING, CONDITION_SICK };

/*
 * upstream  its object.
 * word      a word or three for it ("down", "1 of 2 away"); sorted by its key, the worse the larger.
 * why       what it or its endpoint said; emptied where nothing was.
 */
enum condition condition_of(struct slice upstream, struct text_cell *word, struct buf *why);

/* How it wants to be seen. */
enum text_tone condition_tone(enum condition condition);

#endif
