/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target without a fuzzer: runs every file of its corpus once, so that what fuzzing ever found stays an
 * ordinary test. Arguments are files or directories; without any: $srcdir/tests/fuzz/corpus/<name>, where the
 * program is fuzz_<name>.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t inputs_run;

static _Noreturn void give_up(const char *path, const char *why)
{
	fprintf(stderr, "%s: %s\n", path, why);
	exit(1);
}

/* A heap block of exactly the input's size: AddressSanitizer then sees a read of one byte too many. */
static void run_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(size ? size : 1);
	if (!file || !data || fread(data, 1, size, file) != size)
		give_up(path, strerror(errno));
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	inputs_run++;
}

static void run_path(const char *path);

static void run_directory(const char *path)
{
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		give_up(path, strerror(errno));
	for (int i = 0; i < count; i++) {
		char *child;
		if (entries[i]->d_name[0] != '.') {
			if (asprintf(&child, "%s/%s", path, entries[i]->d_name) < 0)
				give_up(path, "out of memory");
			run_path(child);
			free(child);
		}
		free(entries[i]);
	}
	free(entries);
}

static void run_path(const char *path)
{
	struct stat found;
	if (stat(path, &found) < 0)
		give_up(path, strerror(errno));
	if (S_ISDIR(found.st_mode)) {
		run_directory(path);
		return;
	}
	/* the name of the input in hand is the last line before a crash */
	printf("%s\n", path);
	fflush(stdout);
	run_file(path, (size_t)found.st_size);
}

static void run_own_corpus(void)
{
	const char *srcdir = getenv("srcdir");
	const char *name = strstr(program_invocation_short_name, "fuzz_");
	char *path;
	if (!name)
		give_up(program_invocation_short_name, "not called fuzz_<name>: say which corpus");
	if (asprintf(&path, "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name + strlen("fuzz_")) < 0)
		give_up(name, "out of memory");
	run_path(path);
	free(path);
}

int main(int argc, char **argv)
{
	/* libFuzzer starts with nothing as well */
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (argc == 1)
		run_own_corpus();
	if (!inputs_run)
		give_up(argv[0], "an empty corpus tests nothing");
	printf("%zu inputs\n", inputs_run);
	return 0;
}
