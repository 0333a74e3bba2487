/* SPDX-License-Identifier: Apache-2.0 */
/* Host names beside the loop: one look-up a name however many ask, and no more threads than are allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/resolve.h"
#include "tests/support/proc.h"

/* --- a resolver that waits until it is told to go on --- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned begun, ended, at_once, most_at_once, allowed; /* look-ups; `allowed` of them may end */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result);

/* Preempts the C library's: the test's own symbol is found first. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	pthread_mutex_lock(&mutex);
	begun++;
	if (++at_once > most_at_once)
		most_at_once = at_once;
	pthread_cond_broadcast(&changed);
	while (ended >= allowed)
		pthread_cond_wait(&changed, &mutex);
	ended++;
	at_once--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
	return strstr(node, "invalid") ? EAI_NONAME : real("192.0.2.7", service, hints, result);
}

static void begin_test(void)
{
	pthread_mutex_lock(&mutex);
	begun = ended = most_at_once = allowed = 0;
	pthread_mutex_unlock(&mutex);
}

static void allow(unsigned more)
{
	pthread_mutex_lock(&mutex);
	allowed += more;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static void await(const unsigned *count, unsigned wanted)
{
	pthread_mutex_lock(&mutex);
	while (*count < wanted)
		pthread_cond_wait(&changed, &mutex);
	assert_int_equal(*count, wanted);
	pthread_mutex_unlock(&mutex);
}

/* --- asking --- */

static struct resolve *ask(const char *host, struct loop *loop)
{
	struct resolve *resolve = resolve_start(host, loop);
	assert_non_null(resolve);
	return resolve;
}

static enum resolve_state look(const struct resolve *resolve, struct resolved *resolved)
{
	const char *why = NULL;
	enum resolve_state state = resolve_look(resolve, resolved, &why);
	assert_int_equal(state == RESOLVE_FAILED, why != NULL);
	return state;
}

static void await_answer(struct loop *loop, const struct resolve *resolve)
{
	struct resolved resolved;
	while (look(resolve, &resolved) == RESOLVE_PENDING)
		loop_wait(loop, CLOCK_NEVER); /* which the answer ends */
}

/* Threads end a moment after their last answer. */
static void await_quiet(void)
{
	while (proc_threads("resolver") > 0)
		sched_yield();
}

static void all_who_ask_for_a_name_wait_for_one_look_up(void **state)
{
	(void)state;
	enum { ASKERS = 100 };
	struct resolve *callers[ASKERS];
	struct resolved resolved;
	struct loop *loop = loop_new();
	begin_test();
	for (int i = 0; i < ASKERS; i++)
		callers[i] = ask("provider.test", loop);
	await(&begun, 1);
	assert_int_equal(proc_threads("resolver"), 1);
	assert_int_equal(look(callers[0], &resolved), RESOLVE_PENDING);
	resolve_stop(callers[7]);
	allow(1);
	for (int i = 0; i < ASKERS; i++) {
		if (i == 7)
			continue;
		await_answer(loop, callers[i]);
		assert_int_equal(look(callers[i], &resolved), RESOLVE_FOUND);
		assert_int_equal(resolved.count, 1);
		assert_string_equal(resolved.addresses[0], "192.0.2.7");
		resolve_stop(callers[i]);
	}
	assert_int_equal(begun, 1);
	await_quiet();
	loop_free(loop);
}

static void a_dead_name_server_costs_so_many_threads_and_no_more(void **state)
{
	(void)state;
	enum { NAMES = 5 * RESOLVE_THREADS };
	struct resolve *callers[NAMES];
	struct resolved resolved;
	struct loop *loop = loop_new();
	begin_test();
	for (int i = 0; i < NAMES; i++) {
		char host[30];
		snprintf(host, sizeof host, "host%d.test", i);
		callers[i] = ask(host, loop);
	}
	await(&begun, RESOLVE_THREADS);
	assert_int_equal(proc_threads("resolver"), RESOLVE_THREADS);
	/* nobody waits any more for every other one that has no thread yet: it is never looked up */
	for (int i = RESOLVE_THREADS; i < NAMES; i += 2) {
		resolve_stop(callers[i]);
		callers[i] = NULL;
	}
	allow(NAMES);
	for (int i = 0; i < NAMES; i++) {
		if (!callers[i])
			continue;
		await_answer(loop, callers[i]);
		assert_int_equal(look(callers[i], &resolved), RESOLVE_FOUND);
		resolve_stop(callers[i]);
	}
	await_quiet();
	assert_int_equal(begun, RESOLVE_THREADS + (NAMES - RESOLVE_THREADS) / 2);
	assert_int_equal(most_at_once, RESOLVE_THREADS);
	loop_free(loop);
}

/* The calls that wanted it are long over; those that come meanwhile must not begin another. */
static void who_comes_later_joins_what_everybody_has_left(void **state)
{
	(void)state;
	struct resolved resolved;
	struct loop *loop = loop_new();
	begin_test();
	for (int i = 0; i < 1000; i++)
		resolve_stop(ask("slow.test", loop));
	await(&begun, 1);
	struct resolve *late = ask("slow.test", loop);
	assert_int_equal(proc_threads("resolver"), 1);
	allow(1);
	await_answer(loop, late);
	assert_int_equal(look(late, &resolved), RESOLVE_FOUND);
	resolve_stop(late);
	assert_int_equal(begun, 1);
	await_quiet();
	loop_free(loop);
}

/* Who comes while an answer is still to be taken has it, and holds it up for nobody else. */
static void an_answer_counts_until_those_who_waited_have_taken_it(void **state)
{
	(void)state;
	struct resolved resolved;
	struct loop *loop = loop_new();
	begin_test();
	allow(2);
	struct resolve *first = ask("slow.test", loop);
	await_answer(loop, first);
	struct resolve *late = ask("slow.test", loop);
	assert_int_equal(look(late, &resolved), RESOLVE_FOUND);
	assert_int_equal(resolved.count, 1);
	assert_int_equal(begun, 1);
	resolve_stop(first);
	struct resolve *later = ask("slow.test", loop);
	await_answer(loop, later);
	assert_int_equal(begun, 2);
	resolve_stop(late);
	resolve_stop(later);
	await_quiet();
	loop_free(loop);
}

static void what_has_ended_is_asked_anew(void **state)
{
	(void)state;
	struct resolved resolved;
	struct loop *loop = loop_new();
	begin_test();
	allow(2);
	for (int i = 0; i < 2; i++) {
		struct resolve *resolve = ask("provider.invalid", loop);
		await_answer(loop, resolve);
		assert_int_equal(look(resolve, &resolved), RESOLVE_FAILED);
		resolve_stop(resolve);
	}
	assert_int_equal(begun, 2);
	await_quiet();
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_who_ask_for_a_name_wait_for_one_look_up),
		cmocka_unit_test(a_dead_name_server_costs_so_many_threads_and_no_more),
		cmocka_unit_test(who_comes_later_joins_what_everybody_has_left),
		cmocka_unit_test(an_answer_counts_until_those_who_waited_have_taken_it),
		cmocka_unit_test(what_has_ended_is_asked_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
