/* SPDX-License-Identifier: Apache-2.0 */
/* test_file_watch.c: what makes it look at the files, and what does not. */
#include "gateway/admin/file_watch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[128];
static struct loop *loop;
static struct file_watch *watch;
static unsigned changes;

static void on_changed(void *context)
{
	(void)context;
	changes++;
}

static void write_file(const char *name, const char *text)
{
	char where[256];
	snprintf(where, sizeof where, "%s/%s", folder, name);
	FILE *file = fopen(where, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void link_to(const char *target, const char *name)
{
	char where[256], new[256];
	snprintf(where, sizeof where, "%s/%s", folder, name);
	snprintf(new, sizeof new, "%s/new", folder);
	assert_int_equal(symlink(target, new), 0);
	assert_int_equal(rename(new, where), 0);
}

/* What has happened is heard: whether it will look. */
static bool will_look(void)
{
	loop_wait(loop, 0);
	return loop_next_timer(loop) != CLOCK_NEVER;
}

static void look(void)
{
	while (loop_next_timer(loop) != CLOCK_NEVER) {
		loop_wait(loop, loop_next_timer(loop));
		loop_run_timers(loop);
	}
}

static void begin(void)
{
	const char *paths[] = { path };
	changes = 0;
	loop = loop_new();
	watch = file_watch_new(loop, paths, 1, CLOCK_US_PER_MS, on_changed, NULL);
	assert_non_null(watch);
	look();
	assert_int_equal(changes, 1);
}

static void end(void)
{
	file_watch_free(watch);
	loop_free(loop);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/jitney-watch-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/it.yaml", folder);
	return 0;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "it.yaml",     "other", "it.yaml.log", "..1/it.yaml",
					     "..2/it.yaml", "..1",   "..2",         "..data" };
	char where[256];
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(where, sizeof where, "%s/%s", folder, names[i]);
		remove(where);
	}
	return rmdir(folder);
}

/* A log that is written in the same folder would put each look off. */
static void what_happens_to_others_is_nothing(void **state)
{
	(void)state;
	write_file("it.yaml", "1");
	begin();
	write_file("other", "1");
	write_file("it.yaml.log", "1");
	assert_false(will_look());
	write_file("it.yaml", "2");
	assert_true(will_look());
	look();
	assert_int_equal(changes, 2);
	end();
}

static void a_file_that_goes_and_comes_back_is_looked_at(void **state)
{
	(void)state;
	write_file("it.yaml", "1");
	begin();
	assert_int_equal(unlink(path), 0);
	assert_true(will_look());
	look();
	assert_int_equal(changes, 2);
	write_file("it.yaml", "1");
	assert_true(will_look());
	look();
	assert_int_equal(changes, 3);
	write_file("it.yaml", "1");
	assert_true(will_look());
	look();
	assert_int_equal(changes, 3); /* it holds the same */
	end();
}

static void links_are_followed_as_they_turn(void **state)
{
	char where[256];
	(void)state;
	for (int i = 1; i <= 2; i++) {
		snprintf(where, sizeof where, "%s/..%d", folder, i);
		assert_int_equal(mkdir(where, 0700), 0);
		snprintf(where, sizeof where, "..%d/it.yaml", i);
		write_file(where, i == 1 ? "1" : "2");
	}
	link_to("..1", "..data");
	link_to("..data/it.yaml", "it.yaml");
	begin();
	link_to("..2", "..data");
	assert_true(will_look());
	look();
	assert_int_equal(changes, 2);
	write_file("..2/it.yaml", "3");
	assert_true(will_look());
	look();
	assert_int_equal(changes, 3);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_happens_to_others_is_nothing, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_file_that_goes_and_comes_back_is_looked_at, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(links_are_followed_as_they_turn, make_folder, remove_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
