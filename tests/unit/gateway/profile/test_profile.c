/* SPDX-License-Identifier: Apache-2.0 */
/* test_profile.c: stacks, their three forms, names of functions, and the sampler at a thread that is known to be busy. */
#include "gateway/profile/profile.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "gateway/profile/pprof.pb-c.h"
#include "gateway/profile/sampler.h"
#include "gateway/profile/symbols.h"

static struct stacks stacks;

static int setup(void **state)
{
	(void)state;
	stacks_init(&stacks, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stacks_fini(&stacks);
	return 0;
}

static void add(const char *root, const char *inner, const char *outer, uint64_t value)
{
	const uintptr_t frames[] = { (uintptr_t)inner, (uintptr_t)outer };
	stacks_add(&stacks, root, frames, countof(frames), value);
}

/* Names are places. */
static struct symbol name_text(void *context, uintptr_t address)
{
	(void)context;
	return (struct symbol){ (const char *)address, 0, 0 };
}

static struct profile profile_of(const char *unit)
{
	return (struct profile){ .stacks = &stacks,
				 .namer = { .name = name_text },
				 .title = "of <this> & that",
				 .kind = "cpu",
				 .unit = unit,
				 .counted = "samples",
				 .period = 10,
				 .at_us = 5,
				 .duration_us = 7 };
}

static void equal_stacks_are_one(void **state)
{
	static const char one[] = "thread", a[] = "a", b[] = "b";
	(void)state;
	add(one, a, b, 10);
	add(one, b, a, 10);
	add(one, a, b, 20);
	add(NULL, a, b, 1);
	assert_int_equal(stacks.count, 3);
	assert_int_equal(stacks.all[0]->value, 30);
	assert_int_equal(stacks.all[0]->count, 2);
	assert_int_equal(stacks.lost, 0);
}

static void without_room_samples_are_lost_and_counted(void **state)
{
	struct stacks few;
	(void)state;
	stacks_init(&few, 1000);
	for (uintptr_t i = 0; i < 100; i++)
		stacks_add(&few, NULL, &i, 1, 1);
	uintptr_t known = 0;
	stacks_add(&few, NULL, &known, 1, 1);
	assert_in_range(few.count, 1, 1000 / sizeof(struct stack));
	assert_int_equal(few.lost, 100 - few.count);
	assert_int_equal(few.all[0]->count, 2);
	stacks_fini(&few);
}

static void folded_is_a_line_a_stack(void **state)
{
	static const char one[] = "worker 0", a[] = "inner;most", b[] = "outer";
	struct buf out = BUF_INIT(1 << 20);
	(void)state;
	add(one, a, b, 10);
	add(one, a, b, 10);
	add(one, b, a, 10);
	const struct profile profile = profile_of("nanoseconds");
	assert_true(profile_put(&profile, PROFILE_FOLDED, &out));
	assert_string_equal(buf_cstr(&out), "worker 0;outer;inner:most 2\nworker 0;inner:most;outer 1\n");
	buf_fini(&out);
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;
	for (; (text = strstr(text, part)); text++)
		count++;
	return count;
}

static void flame_graph_joins_what_is_equal(void **state)
{
	static const char one[] = "t", leaf[] = "leaf<x>", mid[] = "mid", other[] = "other", root[] = "root";
	const uintptr_t left[] = { (uintptr_t)leaf, (uintptr_t)mid, (uintptr_t)root };
	const uintptr_t right[] = { (uintptr_t)other, (uintptr_t)root }, alone[] = { (uintptr_t)root };
	struct buf out = BUF_INIT(1 << 20);
	(void)state;
	stacks_add(&stacks, one, left, 3, 50);
	stacks_add(&stacks, one, right, 2, 25);
	stacks_add(&stacks, one, alone, 1, 25);
	const struct profile profile = profile_of("bytes");
	assert_true(profile_put(&profile, PROFILE_SVG, &out));
	const char *text = buf_cstr(&out);
	assert_int_equal(count_of(text, "<title>"), 6); /* all, t, root, mid, leaf, other */
	assert_int_equal(count_of(text, "<title>root (100 bytes, 100.0 %)"), 1);
	assert_int_equal(count_of(text, "<title>leaf&#60;x&#62; (50 bytes, 50.0 %)"), 1);
	assert_int_equal(count_of(text, "of &#60;this&#62; &#38; that"), 1);
	assert_int_equal(count_of(text, "<g>"), count_of(text, "</g>"));
	buf_fini(&out);
}

static void an_empty_profile_has_every_form(void **state)
{
	(void)state;
	for (int format = 0; format < PROFILE_FORMAT_COUNT; format++) {
		struct buf out = BUF_INIT(1 << 20);
		const struct profile profile = profile_of("nanoseconds");
		assert_true(profile_put(&profile, (enum profile_format)format, &out));
		buf_fini(&out);
	}
}

static Perftools__Profiles__Profile *unpack(const struct buf *gzipped)
{
	static uint8_t bytes[1 << 20];
	struct slice packed = buf_slice(gzipped);
	z_stream stream = { .next_in = (unsigned char *)packed.at, .avail_in = (unsigned)packed.len };
	stream.next_out = bytes;
	stream.avail_out = sizeof bytes;
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	inflateEnd(&stream);
	Perftools__Profiles__Profile *profile = perftools__profiles__profile__unpack(NULL, stream.total_out, bytes);
	assert_non_null(profile);
	return profile;
}

static const char *function_at(const Perftools__Profiles__Profile *profile, uint64_t location_id)
{
	assert_in_range(location_id, 1, profile->n_location);
	uint64_t function = profile->location[location_id - 1]->line[0]->function_id;
	assert_in_range(function, 1, profile->n_function);
	return profile->string_table[profile->function[function - 1]->name];
}

static void pprof_says_the_same(void **state)
{
	static const char one[] = "worker 1", a[] = "a", b[] = "b";
	struct buf out = BUF_INIT(1 << 20);
	(void)state;
	add(one, a, b, 10);
	add(one, a, b, 30);
	add(NULL, b, a, 5);
	struct profile profile = profile_of("nanoseconds");
	profile.lost = 3;
	assert_true(profile_put(&profile, PROFILE_PPROF, &out));
	Perftools__Profiles__Profile *got = unpack(&out);
	char **text = got->string_table;
	assert_string_equal(text[0], "");
	assert_int_equal(got->n_sample_type, 2);
	assert_string_equal(text[got->sample_type[0]->type], "samples");
	assert_string_equal(text[got->sample_type[0]->unit], "count");
	assert_string_equal(text[got->sample_type[1]->type], "cpu");
	assert_string_equal(text[got->sample_type[1]->unit], "nanoseconds");
	assert_int_equal(got->period, 10);
	assert_int_equal(got->time_nanos, 5000);
	assert_int_equal(got->duration_nanos, 7000);
	assert_int_equal(got->n_sample, 2);
	assert_int_equal(got->sample[0]->value[0], 2);
	assert_int_equal(got->sample[0]->value[1], 40);
	assert_string_equal(function_at(got, got->sample[0]->location_id[0]), "a");
	assert_string_equal(function_at(got, got->sample[0]->location_id[1]), "b");
	assert_string_equal(text[got->sample[0]->label[0]->key], "thread");
	assert_string_equal(text[got->sample[0]->label[0]->str], "worker 1");
	assert_int_equal(got->sample[1]->n_label, 0);
	assert_int_equal(got->n_location, 2);
	assert_int_equal(got->n_function, 2);
	assert_string_equal(text[got->comment[0]], "3 samples were lost");
	perftools__profiles__profile__free_unpacked(got, NULL);
	buf_fini(&out);
}

/* --- functions and threads --- */

static volatile uint64_t burnt;
static atomic_bool burning;

static __attribute__((noinline)) void burn_here(void)
{
	for (int i = 0; i < 100000; i++)
		burnt = burnt * 3 + 1;
}

static void *burn_until_told(void *context)
{
	(void)context;
	pthread_setname_np(pthread_self(), "burner");
	while (atomic_load(&burning))
		burn_here();
	return NULL;
}

static void functions_have_their_names_static_ones_too(void **state)
{
	(void)state;
	struct symbols *symbols = symbols_new();
	assert_non_null(symbols);
	struct namer namer = symbols_namer(symbols);
	struct symbol own = namer.name(namer.context, (uintptr_t)burn_here + 1);
	assert_string_equal(own.name, "burn_here");
	assert_int_equal(own.module, 1);
	assert_true(namer.modules[0].named);
	assert_non_null(strstr(namer.modules[0].path, "test_profile"));
	struct symbol foreign = namer.name(namer.context, (uintptr_t)deflate);
	assert_non_null(strstr(foreign.name, "deflate"));
	assert_string_equal(namer.name(namer.context, 1).name, "[unknown]");
	symbols_free(symbols);
}

static uint64_t value_with(const struct namer *namer, const char *function, const char *root)
{
	uint64_t value = 0;
	for (size_t i = 0; i < stacks.count; i++) {
		bool has = false;
		for (unsigned j = 0; j < stacks.all[i]->depth; j++)
			has |= strcmp(namer->name(namer->context, stacks.all[i]->frames[j]).name, function) == 0;
		if (has && strcmp(stacks.all[i]->root, root) == 0)
			value += stacks.all[i]->value;
	}
	return value;
}

/* Until the function has been met so often; a thread that has come since the start is found too. */
static void the_sampler_finds_who_is_busy(void **state)
{
	char error[160];
	pthread_t thread;
	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* it runs handlers late, when the thread calls libc: this one does not */
#endif
	struct sampler *sampler = sampler_start(error, sizeof error);
	if (!sampler) { /* a kernel without timers of CPU time */
		print_message("skipped: %s\n", error);
		skip();
	}
	assert_null(sampler_start(error, sizeof error));
	assert_non_null(strstr(error, "already"));
	atomic_store(&burning, true);
	assert_int_equal(pthread_create(&thread, NULL, burn_until_told, NULL), 0);
	struct symbols *symbols = symbols_new();
	struct namer namer = symbols_namer(symbols);
	for (int tries = 0; value_with(&namer, "burn_here", "burner") < 100 * 1000000UL && tries < 2000; tries++) {
		const struct timespec moment = { 0, 10 * 1000 * 1000 };
		nanosleep(&moment, NULL);
		sampler_look(sampler);
		sampler_drain(sampler, &stacks);
	}
	atomic_store(&burning, false);
	pthread_join(thread, NULL);
	sampler_stop(sampler);
	sampler_drain(sampler, &stacks);
	uint64_t inside = value_with(&namer, "burn_here", "burner"),
		 thread_all = value_with(&namer, "burn_until_told", "burner");
	assert_in_range(inside, 100 * 1000000UL, thread_all); /* the walk reaches the caller */
	assert_int_equal(sampler_lost(sampler), 0);
	symbols_free(symbols);
	sampler_free(sampler); /* the roots are its own: nobody looks at the stacks any more */
}

static atomic_int heard;

static void hear(int number)
{
	heard = number;
}

/* Once there has been a profile the handler stays: what is not its own goes where it went before. */
static void a_foreign_signal_is_passed_on(void **state)
{
	char error[160];
	(void)state;
	struct sampler *sampler = sampler_start(error, sizeof error);
	if (!sampler)
		skip();
	heard = 0;
	raise(SIGPROF);
	assert_int_equal(heard, SIGPROF);
	sampler_free(sampler);
	heard = 0;
	raise(SIGPROF);
	assert_int_equal(heard, SIGPROF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(equal_stacks_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(without_room_samples_are_lost_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(folded_is_a_line_a_stack, setup, teardown),
		cmocka_unit_test_setup_teardown(flame_graph_joins_what_is_equal, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_profile_has_every_form, setup, teardown),
		cmocka_unit_test_setup_teardown(pprof_says_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(functions_have_their_names_static_ones_too, setup, teardown),
		cmocka_unit_test_setup_teardown(the_sampler_finds_who_is_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(a_foreign_signal_is_passed_on, setup, teardown),
	};
	signal(SIGPROF, hear);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
