/* SPDX-License-Identifier: Apache-2.0 */
/* file.c: reading what the configuration is made of. Whoever waits for a pipe waits only so long: a reload that never ends
 * keeps the process from ending, too. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/config/config_private.h"

enum { BLOCK_BYTES = 16384 };
#define PATIENCE_US (5 * CLOCK_US_PER_S)

/* Until when it may take to read the descriptor. A regular file has an end and keeps nobody waiting: however long the process
 * itself stands still over it - a busy machine, one that sleeps - all of it counts. */
static uint64_t latest_us(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? CLOCK_NEVER
								  : clock_add(clock_now_us(), PATIENCE_US);
}

static int left_ms(uint64_t now_us, uint64_t until_us)
{
	return until_us == CLOCK_NEVER ? -1 : (int)((until_us - now_us) / CLOCK_US_PER_MS) + 1;
}

/* The next bytes, or 0 at the end; -1 and errno, ETIMEDOUT: none have come. */
static ssize_t read_block(int fd, char block[BLOCK_BYTES], uint64_t until_us)
{
	for (;;) {
		ssize_t got;
		struct pollfd wanted = { .fd = fd, .events = POLLIN };
		uint64_t now_us = clock_now_us();
		int ready = now_us < until_us ? poll(&wanted, 1, left_ms(now_us, until_us)) : 0;
		if (ready == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		if (ready > 0 && (got = read(fd, block, BLOCK_BYTES)) >= 0)
			return got;
		if (errno != EINTR && errno != EAGAIN)
			return -1;
	}
}

const char *config_read_file(const char *path, size_t max_bytes, const char *too_long, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return strerror(errno);
	char block[BLOCK_BYTES];
	uint64_t until_us = latest_us(fd);
	ssize_t got;
	size_t total = 0;
	while ((got = read_block(fd, block, until_us)) > 0 && (total += (size_t)got) <= max_bytes)
		buf_put(out, (struct slice){ block, (size_t)got });
	const char *wrong = total > max_bytes    ? too_long
			    : got == 0           ? NULL
			    : errno == ETIMEDOUT ? "is no regular file, and has not ended within 5 s"
						 : strerror(errno);
	close(fd);
	return wrong || !out->failed ? wrong : strerror(ENOMEM);
}
