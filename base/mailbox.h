/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.h: the only queue between threads. Anyone posts, one worker opens. A post never blocks and never fails:
 * the mail is embedded in what is sent. Wake-ups are coalesced by the loop (loop_wake).
 */
#ifndef JITNEY_BASE_MAILBOX_H
#define JITNEY_BASE_MAILBOX_H

#include <stdatomic.h>

#include "base/compiler.h"
#include "base/loop.h"

/* Embedded in what is sent. Belongs to the sender until posted, to the receiver once opened; in between to nobody. */
struct mail {
	struct mail *next;
	/* Called on the receiver's thread, once for each post. May post the same mail again. */
	void (*open)(struct mail *mail);
};

struct mailbox {
	_Atomic(struct mail *) newest; /* a: posted and not collected, newest first */
	struct loop *loop;             /* c: the receiver's, woken by a post into an empty box */
};

/* Before anybody posts. The loop outlives it. */
void mailbox_init(struct mailbox *mailbox, struct loop *loop);
/* Hand mail->open over to the receiver. Any thread. Mails of one sender are opened in the order they were posted. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);
/* Open all that has been posted so far, oldest first; what is posted meanwhile waits for the next call.
 * The receiver's thread. Returns how many were opened. Where there was mail, loop_now is no earlier than its senders'. */
size_t mailbox_open(struct mailbox *mailbox);

#endif
