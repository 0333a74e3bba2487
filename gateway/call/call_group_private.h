/* SPDX-License-Identifier: Apache-2.0 */
/* call_group_private.h: what call_group.c has of call_group_held.c. */
#ifndef JITNEY_GATEWAY_CALL_CALL_GROUP_PRIVATE_H
#define JITNEY_GATEWAY_CALL_CALL_GROUP_PRIVATE_H

#include "gateway/call/call_group.h"

enum {
	GROUP_ITEM_BYTES = 512,  /* what an item costs beside its bytes: held, or in terms of bytes looked at */
	GROUP_SMALL_BYTES = 1024 /* an answer up to this size is kept, room or not */
};

/* limits.in_flight_bytes. */
size_t group_limit_bytes(const struct call_group *group);
/* What the item has, counted; an answer that finds no room is replaced by what says so. For an item that is done. */
void group_hold_item(struct call_group *group, struct call_group_item *item);
/* Forget what it has. */
void group_free_item(struct call_group *group, struct call_group_item *item);
/* It will not be written as it is: a problem takes its place, which is written whether there is room or not. */
void group_give_item_up(struct call_group *group, struct call_group_item *item);
/* What `out` takes, counted at last. */
void group_hold_out(struct call_group *group);
/* All of it has been given to the stream. */
void group_empty_out(struct call_group *group);
/* Whether `out` may have so many bytes more: what it has grown to already is counted, so that a client that reads goes
 * on however many others do not. */
bool group_has_room(struct call_group *group, size_t bytes) MUST_CHECK;

#endif
