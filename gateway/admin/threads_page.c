/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads_page.c: GET /debug/pprof/threads: how busy each worker's loop is and how long its longest turn was, and what CPU
 * time each thread of the process has used.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/admin/pages.h"
#include "gateway/admin/profile_page.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

/* A thread costs some 20 us to read, of a turn's millisecond. */
enum { PAGE_BYTES_MAX = 1 << 20, THREADS_SHOWN = 40, STAT_BYTES = 512 };

static void put_workers(struct buf *out, const struct gateway *gateway)
{
	buf_put_text(out, "{\"workers\":[");
	for (unsigned i = 0; i < gateway->config->workers; i++) {
		buf_printf(out, "%s{\"worker\":%u", i ? "," : "", i);
		buf_printf(out, ",\"busy_ratio\":%.4f",
			   (double)metrics_read(gateway->metrics, METRIC_ID_WORKER_BUSY, i, 0) / 1e6);
		page_put_count(out, gateway, "lag_us", METRIC_ID_WORKER_LAG, i, 0);
		buf_put_char(out, '}');
	}
	buf_put_char(out, ']');
}

/* What /proc says of a thread: "123 (name) S ..."; fields are counted from behind the name (proc(5), stat). */
static bool read_thread(const char *tid, char *text, size_t room, struct slice *name, char *state, uint64_t ticks[2])
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%.16s/stat", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, text, room - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = '\0';
	char *open_at = strchr(text, '('), *close_at = strrchr(text, ')');
	if (!open_at || !close_at || close_at < open_at)
		return false;
	*name = (struct slice){ open_at + 1, (size_t)(close_at - open_at - 1) };
	unsigned long long user, kernel;
	if (sscanf(close_at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", state, &user, &kernel) != 3)
		return false;
	ticks[0] = user;
	ticks[1] = kernel;
	return true;
}

static void put_thread(struct buf *out, const char *tid, const char **comma)
{
	char text[STAT_BYTES], state;
	struct slice name;
	uint64_t ticks[2], a_second = (uint64_t)sysconf(_SC_CLK_TCK);
	if (!read_thread(tid, text, sizeof text, &name, &state, ticks))
		return; /* it has ended meanwhile */
	buf_printf(out, "%s{\"tid\":%s,\"name\":", *comma, tid);
	json_put_string(out, name);
	buf_printf(out, ",\"state\":\"%c\",\"user_us\":%llu,\"kernel_us\":%llu}", state,
		   (unsigned long long)(ticks[0] * CLOCK_US_PER_S / a_second),
		   (unsigned long long)(ticks[1] * CLOCK_US_PER_S / a_second));
	*comma = ",";
}

void page_threads(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	const char *comma = "";
	unsigned long count = 0;
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	(void)rest;
	put_workers(&text, worker_gateway(worker));
	buf_put_text(&text, ",\"threads\":[");
	while (tasks && (entry = readdir(tasks))) { /* one thread has the stream */
		if (entry->d_name[0] == '.')
			continue;
		if (count++ < THREADS_SHOWN)
			put_thread(&text, entry->d_name, &comma);
	}
	if (tasks)
		closedir(tasks);
	buf_printf(&text, "],\"thread_count\":%lu}\n", count);
	reply_text(request, 200, "application/json", &text);
}
