/* SPDX-License-Identifier: Apache-2.0 */
/* process.c: what the system says of this process: /proc, its limits, its clocks. */
#include "metrics/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

bool process_read(struct process *process)
{
	char text[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t len = read(fd, text, sizeof text - 1);
	close(fd);
	if (len <= 0)
		return false;
	text[len] = '\0';
	/* the second field is the program's name in brackets, which may hold anything: count from behind it */
	const char *third = strrchr(text, ')');
	return third &&
	       sscanf(third + 1,
		      " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64 " %*s %" SCNu64
		      " %" SCNu64 " %" SCNu64,
		      &process->threads, &process->start_ticks, &process->virtual_bytes, &process->resident_pages) == 4;
}

uint64_t process_start_us(void)
{
	struct process process;
	if (!process_read(&process))
		return 0;
	uint64_t booted_us = clock_wall_us() - clock_since_boot_us();
	return booted_us + process.start_ticks * CLOCK_US_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
}

enum { FDS_WALKED_MAX = 2000 };

/* Open descriptors, 0 when the system does not say. */
static uint64_t count_fds(void)
{
	struct stat status;
	/* since Linux 6.2 the directory's size is the count: no walk over ten thousand connections */
	if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0)
		return (uint64_t)status.st_size;
	DIR *dir = opendir("/proc/self/fd");
	if (!dir)
		return 0;
	uint64_t count = 0;
	for (const struct dirent *entry; count < FDS_WALKED_MAX && (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	/* So many would take a worker milliseconds: the lowest that is free is their number, but for holes. */
	int lowest = count == FDS_WALKED_MAX ? fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 0) : -1;
	closedir(dir);
	if (lowest >= 0)
		close(lowest);
	return (lowest > FDS_WALKED_MAX ? (uint64_t)lowest : count) - 1; /* less the one we looked with */
}

void process_descriptors(uint64_t *open, uint64_t *most)
{
	struct rlimit files;
	*open = count_fds();
	*most = getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : 0;
}
