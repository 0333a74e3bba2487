/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor_proc.c: what /proc says of a supervisor's offspring: whom to kill, what they use. System calls only. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "upstream/process/supervisor.h"

enum { PATH_BYTES = 96, TEXT_BYTES = 4096, DEPTH_MAX = 16, PROCESSES_MAX = 512 };

static char *put_text(char *to, const char *text)
{
	return mempcpy(to, text, strlen(text));
}

static char *put_number(char *to, long number)
{
	char digits[20];
	size_t count = 0;
	do
		digits[count++] = (char)('0' + number % 10);
	while (number /= 10);
	while (count)
		*to++ = digits[--count];
	return to;
}

/* "/proc/PID" followed by `rest`; pid 0: this process. */
static char *put_proc(char *to, long pid, const char *rest)
{
	to = put_text(to, "/proc/");
	to = pid ? put_number(to, pid) : put_text(to, "self");
	return put_text(to, rest);
}

/* The first bytes of a file, NUL behind them. 0: nothing. */
static size_t read_text(const char *path, char text[TEXT_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t got = read(fd, text, TEXT_BYTES - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0 ? (size_t)got : 0;
}

/* The next number of a text; false at its end. */
static bool next_number(const char **at, uint64_t *number)
{
	const char *c = *at;
	while (*c && (*c < '0' || *c > '9'))
		c++;
	if (!*c)
		return false;
	for (*number = 0; *c >= '0' && *c <= '9'; c++)
		*number = *number * 10 + (uint64_t)(*c - '0');
	*at = c;
	return true;
}

static bool is_listed(const pid_t *list, size_t count, pid_t pid)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == pid)
			return true;
	return false;
}

void supervisor_kill_children(const pid_t *spared, size_t spared_count)
{
	char path[PATH_BYTES], text[TEXT_BYTES];
	*put_text(put_number(put_text(path, "/proc/self/task/"), getpid()), "/children") = '\0';
	if (read_text(path, text) == 0)
		return;
	const char *at = text;
	uint64_t pid;
	/* A list that was cut off ends in a number that may be cut off: that one waits for the next time. */
	while (next_number(&at, &pid) && *at)
		if (!is_listed(spared, spared_count, (pid_t)pid))
			kill((pid_t)pid, SIGKILL);
}

/* ---------------------------------------------------------------- what they use */

struct census {
	struct supervisor_usage *usage;
	unsigned left; /* processes still to be counted at most */
	uint64_t tick_us, page_bytes;
};

static void count_offspring(struct census *census, long pid, unsigned depth);

/* utime, stime, cutime and cstime are fields 14 to 17 of stat; the name, field 2, may hold anything but ends at the
 * last bracket (proc(5)). */
static void count_process(struct census *census, long pid)
{
	enum { SKIPPED = 10, TIMES = 4 }; /* numbers between the state and utime */
	char path[PATH_BYTES], text[TEXT_BYTES];
	uint64_t number = 0, ticks = 0;
	*put_proc(path, pid, "/stat") = '\0';
	if (read_text(path, text) == 0)
		return;
	const char *at = strrchr(text, ')');
	for (int i = 0; at && i < SKIPPED + TIMES; i++) {
		if (!next_number(&at, &number))
			break;
		ticks += i >= SKIPPED ? number : 0;
	}
	census->usage->cpu_us += ticks * census->tick_us;
	*put_proc(path, pid, "/statm") = '\0';
	at = text;
	if (read_text(path, text) && next_number(&at, &number) && next_number(&at, &number))
		census->usage->resident_bytes += number * census->page_bytes;
}

static void count_children_of_thread(struct census *census, long pid, long thread, unsigned depth)
{
	char path[PATH_BYTES], text[TEXT_BYTES];
	*put_text(put_number(put_proc(path, pid, "/task/"), thread), "/children") = '\0';
	if (read_text(path, text) == 0)
		return;
	const char *at = text;
	uint64_t child;
	while (census->left && next_number(&at, &child) && *at) {
		census->left--;
		count_process(census, (long)child);
		if (depth < DEPTH_MAX)
			count_offspring(census, (long)child, depth + 1);
	}
}

/* As getdents64(2) lays it out. */
struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short bytes;
	unsigned char type;
	char name[];
};

static void count_offspring(struct census *census, long pid, unsigned depth)
{
	char path[PATH_BYTES];
	union {
		struct entry align;
		char bytes[TEXT_BYTES];
	} listing;
	*put_proc(path, pid, "/task") = '\0';
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	long got;
	while ((got = syscall(SYS_getdents64, fd, listing.bytes, sizeof listing.bytes)) > 0) {
		for (long at = 0; at < got;) {
			const struct entry *entry = (const struct entry *)(const void *)(listing.bytes + at);
			const char *name = entry->name;
			uint64_t thread;
			if (*name != '.' && next_number(&name, &thread))
				count_children_of_thread(census, pid, (long)thread, depth);
			at += entry->bytes;
		}
	}
	close(fd);
}

void supervisor_measure(struct supervisor_usage *usage)
{
	struct rusage buried = { 0 };
	struct census census = { .usage = usage,
				 .left = PROCESSES_MAX,
				 .tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK),
				 .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE) };
	getrusage(RUSAGE_CHILDREN, &buried);
	usage->cpu_us += (uint64_t)(buried.ru_utime.tv_sec + buried.ru_stime.tv_sec) * 1000000 +
			 (uint64_t)(buried.ru_utime.tv_usec + buried.ru_stime.tv_usec);
	count_offspring(&census, 0, 0);
}
