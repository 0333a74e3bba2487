/* SPDX-License-Identifier: Apache-2.0 */
/* process_settings.c: see the header. */
#include "gateway/admin/process_settings.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.h"
#include "gateway/http/http.h"

enum { SPARE_FILES = 256, FILES_OF_PROCESS = 4 };

void process_guard_memory(const struct generation *next)
{
	if (prctl(PR_SET_DUMPABLE, next->core_dumps ? 1 : 0) < 0)
		log_message(&EVENT_MEMORY_NOT_GUARDED, "prctl(PR_SET_DUMPABLE): %s", strerror(errno));
}

static size_t wanted_files(unsigned workers, const struct generation *generation)
{
	const struct http_settings *http = &generation->http;
	size_t wanted = http->connections + SPARE_FILES +
			http_descriptors(http, generation->listen_count * workers + generation->admin_count);
	for (size_t i = 0; i < generation->upstream_count; i++) {
		const struct upstream_settings *settings = &generation->upstreams[i].settings;
		wanted += settings->pool_max * (settings->process ? FILES_OF_PROCESS : 1);
	}
	return wanted;
}

void process_raise_file_limit(unsigned workers, const struct generation *before, const struct generation *next)
{
	struct rlimit limit;
	size_t wanted = wanted_files(workers, next);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < wanted && (!before || wanted_files(workers, before) != wanted))
		log_message(&EVENT_FD_LIMIT_LOW,
			    "the limit on open files is %llu; limits.connections and the pools may want %zu",
			    (unsigned long long)limit.rlim_max, wanted);
}
