/* SPDX-License-Identifier: Apache-2.0 */
/* promtool.h: what Prometheus's own checker says about a text. For tests; promtool is in Debian's package prometheus.
 */
#ifndef TESTS_SUPPORT_PROMTOOL_H
#define TESTS_SUPPORT_PROMTOOL_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/slice.h"

enum { PROMTOOL_MISSING = 127 };

/* In the child: `promtool check metrics` reads standard input, `promtool check rules` a file. */
static inline void promtool_exec(const char *what, const char *path, int output)
{
	int input = open(path, O_RDONLY);
	dup2(input, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	if (strcmp(what, "rules") == 0)
		execlp("promtool", "promtool", "check", what, path, (char *)NULL);
	else
		execlp("promtool", "promtool", "check", what, (char *)NULL);
	_exit(PROMTOOL_MISSING);
}

/* Run `promtool check WHAT` ("metrics", "rules") over `text`: its exit status, all it printed in `said`;
 * PROMTOOL_MISSING when it is not installed (then it says so); -1 when it could not be run. */
static inline int promtool_check(const char *what, struct slice text, char *said, size_t said_bytes)
{
	char path[] = "/tmp/jitney-promtool-XXXXXX";
	int ends[2], status = -1, fd = mkstemp(path);
	size_t len = 0;
	if (fd < 0 || write(fd, text.at, text.len) != (ssize_t)text.len || close(fd) != 0 ||
	    pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	pid_t child = fork();
	if (child == 0)
		promtool_exec(what, path, ends[1]);
	close(ends[1]);
	for (ssize_t got; len + 1 < said_bytes && (got = read(ends[0], said + len, said_bytes - len - 1)) > 0;)
		len += (size_t)got;
	said[len] = '\0';
	close(ends[0]);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		status = -1;
	else
		status = WEXITSTATUS(status);
	unlink(path);
	if (status == PROMTOOL_MISSING)
		fprintf(stderr, "promtool is missing (Debian: apt-get install prometheus): NOT checked\n");
	return status;
}

#endif
