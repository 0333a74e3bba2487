/* SPDX-License-Identifier: Apache-2.0 */
/* proc.h: what the kernel says of the test's own process: its threads and children, by name. */
#ifndef TESTS_SUPPORT_PROC_H
#define TESTS_SUPPORT_PROC_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { PROC_PATH_BYTES = 300 };

/* Whether the first line of the file is that. */
static inline bool proc_says(const char *path, const char *text)
{
	char line[64] = "";
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	bool is = fgets(line, sizeof line, file) && strcspn(line, "\n") == strlen(text) &&
		  strncmp(line, text, strlen(text)) == 0;
	fclose(file);
	return is;
}

/* How many threads of this process bear the name. */
static inline size_t proc_threads(const char *name)
{
	size_t count = 0;
	char path[PROC_PATH_BYTES];
	DIR *tasks = opendir("/proc/self/task");
	if (!tasks)
		abort();
	for (struct dirent *entry; (entry = readdir(tasks));) {
		snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
		count += proc_says(path, name);
	}
	closedir(tasks);
	return count;
}

/* The child of this process that bears the name; 0: none. */
static inline pid_t proc_child(const char *name)
{
	char path[PROC_PATH_BYTES];
	DIR *tasks = opendir("/proc/self/task");
	pid_t found = 0;
	if (!tasks)
		abort();
	for (struct dirent *entry; (entry = readdir(tasks));) {
		int pid;
		snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
		FILE *children = fopen(path, "re");
		while (children && fscanf(children, "%d", &pid) == 1) {
			snprintf(path, sizeof path, "/proc/%d/comm", pid);
			found = proc_says(path, name) ? pid : found;
		}
		if (children)
			fclose(children);
	}
	closedir(tasks);
	return found;
}

#endif
