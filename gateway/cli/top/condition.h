/* SPDX-License-Identifier: Apache-2.0 */
/* condition.h: how an upstream is, by what /admin/stats says of it: the same rule as the dashboard's (dashboard.js, sickness). */
#ifndef JITNEY_GATEWAY_CLI_TOP_CONDITION_H
#define JITNEY_GATEWAY_CLI_TOP_CONDITION_H

#include "gateway/cli/text_table.h"

enum condition { CONDITION_WELL, CONDITION_WORRYING, CONDITION_SICK };

/*
 * upstream, before  its objects of two looks; before empty: there was no earlier one, so that nobody is said to fail.
 * word              a word or three for it ("down", "1 of 2 away").
 * why               what its first endpoint that is away says; emptied where none does.
 */
enum condition condition_of(struct slice upstream, struct slice before, struct text_cell *word, struct buf *why);

/* How it wants to be seen. */
enum text_tone condition_tone(enum condition condition);

#endif
