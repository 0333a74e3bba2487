/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox.c: many senders, one receiver: a lock-free stack, taken whole and turned round. */
#include "base/mailbox.h"

void mailbox_init(struct mailbox *mailbox, struct loop *loop)
{
	atomic_init(&mailbox->newest, NULL);
	mailbox->loop = loop;
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
	struct mail *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
	do
		mail->next = newest;
	while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &newest, mail, memory_order_release,
						      memory_order_relaxed));
	/* Only the first post into an empty box wakes: whoever takes the box takes all of it. */
	if (!newest)
		loop_wake(mailbox->loop);
}

size_t mailbox_open(struct mailbox *mailbox)
{
	assert_owner(loop_owner(mailbox->loop));
	struct mail *newest = atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire);
	struct mail *oldest = NULL;
	if (newest)
		loop_refresh(mailbox->loop); /* the turn may have begun before it was sent, by another thread's clock */
	while (newest) {
		struct mail *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	size_t opened = 0;
	while (oldest) {
		struct mail *next = oldest->next; /* open may free it or post it again */
		oldest->open(oldest);
		oldest = next;
		opened++;
	}
	return opened;
}
