/* SPDX-License-Identifier: Apache-2.0 */
/* The mailbox: many senders, one receiver, nothing lost, nothing twice, each sender's mails in their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mailbox.h"

enum { SENDERS = 8, MAILS = 10000 };

struct letter {
	struct mail mail;
	unsigned sender, number;
	unsigned opened;      /* the receiver's */
	struct mailbox *next; /* open posts it there; NULL: nowhere */
	unsigned laps;        /* how often still */
};

static struct letter *read_letters[SENDERS];
static unsigned next_number[SENDERS];
static size_t opened_count;

static struct loop *new_loop(struct mailbox *mailbox)
{
	struct loop *loop = loop_new();
	assert_non_null(loop);
	mailbox_init(mailbox, loop);
	return loop;
}

static void open_in_order(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	assert_int_equal(letter->number, next_number[letter->sender]);
	assert_int_equal(letter->opened, 0);
	next_number[letter->sender]++;
	letter->opened++;
	opened_count++;
}

static void start_count(void)
{
	memset(next_number, 0, sizeof next_number);
	opened_count = 0;
}

static void mails_are_opened_oldest_first(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct letter letters[5] = { 0 };
	struct loop *loop = new_loop(&mailbox);
	start_count();
	assert_int_equal(mailbox_open(&mailbox), 0);
	for (unsigned i = 0; i < countof(letters); i++) {
		letters[i].mail.open = open_in_order;
		letters[i].number = i;
		mailbox_post(&mailbox, &letters[i].mail);
	}
	assert_int_equal(mailbox_open(&mailbox), countof(letters));
	assert_int_equal(opened_count, countof(letters));
	assert_int_equal(mailbox_open(&mailbox), 0);
	loop_free(loop);
}

static void a_post_wakes_the_receiver(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct letter letters[2] = { 0 };
	struct loop *loop = new_loop(&mailbox);
	start_count();
	for (unsigned i = 0; i < countof(letters); i++) {
		letters[i].mail.open = open_in_order;
		letters[i].number = i;
		mailbox_post(&mailbox, &letters[i].mail);
		loop_wait(loop, CLOCK_NEVER); /* or this never ends */
		assert_int_equal(mailbox_open(&mailbox), 1);
	}
	loop_free(loop);
}

static void open_and_repost(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	letter->opened++;
	if (letter->laps-- > 1)
		mailbox_post(letter->next, mail);
}

static void what_is_posted_while_opening_waits_for_the_next_time(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct loop *loop = new_loop(&mailbox);
	struct letter letters[3] = { 0 };
	for (unsigned i = 0; i < countof(letters); i++) {
		letters[i] = (struct letter){ .mail.open = open_and_repost, .next = &mailbox, .laps = 4 };
		mailbox_post(&mailbox, &letters[i].mail);
	}
	for (unsigned lap = 1; lap <= 4; lap++) {
		assert_int_equal(mailbox_open(&mailbox), countof(letters));
		for (unsigned i = 0; i < countof(letters); i++)
			assert_int_equal(letters[i].opened, lap);
	}
	assert_int_equal(mailbox_open(&mailbox), 0);
	loop_free(loop);
}

static void open_and_free(struct mail *mail)
{
	opened_count++;
	free(container_of(mail, struct letter, mail));
}

static void a_mail_may_be_freed_when_opened(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct loop *loop = new_loop(&mailbox);
	start_count();
	for (int i = 0; i < 10; i++) {
		struct letter *letter = calloc(1, sizeof *letter);
		assert_non_null(letter);
		letter->mail.open = open_and_free;
		mailbox_post(&mailbox, &letter->mail);
	}
	assert_int_equal(mailbox_open(&mailbox), 10);
	assert_int_equal(opened_count, 10);
	loop_free(loop);
}

/* --- threads --- */

struct sender {
	pthread_t thread;
	struct mailbox *mailbox;
	unsigned index;
};

static void *send_all(void *context)
{
	struct sender *sender = context;
	for (unsigned i = 0; i < MAILS; i++)
		mailbox_post(sender->mailbox, &read_letters[sender->index][i].mail);
	return NULL;
}

static void of_many_senders_each_mail_is_opened_once_and_in_order(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct sender senders[SENDERS];
	struct loop *loop = new_loop(&mailbox);
	start_count();
	for (unsigned s = 0; s < SENDERS; s++) {
		read_letters[s] = calloc(MAILS, sizeof(struct letter));
		assert_non_null(read_letters[s]);
		for (unsigned i = 0; i < MAILS; i++)
			read_letters[s][i] = (struct letter){ .mail.open = open_in_order, .sender = s, .number = i };
		senders[s] = (struct sender){ .mailbox = &mailbox, .index = s };
		assert_int_equal(pthread_create(&senders[s].thread, NULL, send_all, &senders[s]), 0);
	}
	while (opened_count < (size_t)SENDERS * MAILS) {
		loop_wait(loop, CLOCK_NEVER); /* a lost wake-up would hang here */
		mailbox_open(&mailbox);
	}
	for (unsigned s = 0; s < SENDERS; s++) {
		assert_int_equal(pthread_join(senders[s].thread, NULL), 0);
		assert_int_equal(next_number[s], MAILS);
		free(read_letters[s]);
	}
	assert_int_equal(mailbox_open(&mailbox), 0);
	loop_free(loop);
}

/* Two threads that send the same mails to and fro, each from within open. */
struct station {
	pthread_t thread;
	struct mailbox mailbox;
	struct loop *loop;
	size_t opened;
	size_t expected;
};

static struct station stations[2];

static void open_and_send_on(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	struct station *here = letter->next == &stations[0].mailbox ? &stations[1] : &stations[0];
	here->opened++;
	letter->opened++; /* no lock: the mail belongs to whoever opened it */
	struct mailbox *there = letter->next;
	letter->next = &here->mailbox;
	if (letter->laps-- > 1)
		mailbox_post(there, mail);
}

static void *receive(void *context)
{
	struct station *station = context;
	while (station->opened < station->expected) {
		loop_wait(station->loop, CLOCK_NEVER);
		mailbox_open(&station->mailbox);
	}
	loop_release(station->loop); /* the joiner frees it */
	return NULL;
}

static void mails_go_to_and_fro_between_threads(void **state)
{
	(void)state;
	enum { LETTERS = 64, LAPS = 500 }; /* an even number, half of them at each station */
	static struct letter letters[LETTERS];
	for (int i = 0; i < 2; i++) {
		stations[i].loop = new_loop(&stations[i].mailbox);
		stations[i].opened = 0;
		stations[i].expected = LETTERS * LAPS / 2;
	}
	for (unsigned i = 0; i < LETTERS; i++)
		letters[i] =
			(struct letter){ .mail.open = open_and_send_on, .next = &stations[0].mailbox, .laps = LAPS };
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&stations[i].thread, NULL, receive, &stations[i]), 0);
	for (unsigned i = 0; i < LETTERS; i++)
		mailbox_post(&stations[1].mailbox, &letters[i].mail);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(stations[i].thread, NULL), 0);
	for (unsigned i = 0; i < LETTERS; i++)
		assert_int_equal(letters[i].opened, LAPS);
	for (int i = 0; i < 2; i++)
		loop_free(stations[i].loop);
}

static struct loop *told_by;
static uint64_t told_us;

static void open_and_look(struct mail *mail)
{
	(void)mail;
	told_us = loop_now(told_by);
}

/* Who waited long between the begin of a turn and the post must not take it for older than its sender does. */
static void mail_comes_no_earlier_than_it_was_sent(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct mail mail = { .open = open_and_look };
	clock_set(1000);
	struct loop *loop = told_by = new_loop(&mailbox);
	loop_wait(loop, 1000);
	clock_set(1500);
	mailbox_post(&mailbox, &mail);
	assert_int_equal(mailbox_open(&mailbox), 1);
	assert_int_equal(told_us, 1500);
	loop_free(loop);
	clock_set(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mails_are_opened_oldest_first),
		cmocka_unit_test(a_post_wakes_the_receiver),
		cmocka_unit_test(what_is_posted_while_opening_waits_for_the_next_time),
		cmocka_unit_test(a_mail_may_be_freed_when_opened),
		cmocka_unit_test(of_many_senders_each_mail_is_opened_once_and_in_order),
		cmocka_unit_test(mails_go_to_and_fro_between_threads),
		cmocka_unit_test(mail_comes_no_earlier_than_it_was_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
