/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c: the composition root: what is made in which order, who hears signals, and everything undone in reverse. */
#include "gateway/server/serve.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"
#include "gateway/admin/export.h"
#include "gateway/http/listen.h"
#include "gateway/admin/health.h"
#include "gateway/admin/reload.h"
#include "gateway/call/provider.h"
#include "gateway/tools/registry.h"
#include "gateway/server/worker_loop.h"
#include "metrics/history.h"
#include "upstream/upstream.h"

enum { EXIT_START = 2, ERROR_BYTES = 512, SPARE_FILES = 256, FILES_OF_PROCESS = 4 };
#define CHILDREN_US (6 * CLOCK_US_PER_S) /* longer than a child's grace and its SIGTERM: check_process.c */

/* Everything that is undone at the end. */
struct process {
	struct config *config;
	struct gateway gateway;
	bool library;
	bool logging;
	bool keeps; /* the memory of config, not its generation, which ends as the others do */
	bool ran;   /* the start was whole: its end is told, when the programs behind have ended too */
	bool hangs; /* a thread that waits for the disk and goes on using what it has */
	struct listen_file *files;
	size_t file_count;
};

static bool complain_of(const char *what, const char *why)
{
	fprintf(stderr, "jitney: %s%s%s\n", what, *why ? ": " : "", why);
	return false;
}

/* The library found itself in an impossible state. It must not go on. */
static void library_panic(void *context, const char *file, unsigned line, const char *reason)
{
	(void)context;
	fprintf(stderr, "jitney: libmicrohttpd gave up at %s:%u: %s\n", file, line, reason ? reason : "");
	abort();
}

static void fill_http_settings(struct http_settings *settings, const struct config *config)
{
	*settings = (struct http_settings){
		.body_bytes = config->limits.body_bytes,
		.header_bytes = config->limits.header_bytes,
		.header_timeout_us = config->limits.header_timeout_us,
		.body_timeout_us = config->limits.body_timeout_us,
		.idle_timeout_us = config->limits.idle_timeout_us,
		.send_rate = config->limits.send_rate,
		.connections = config->limits.connections,
		.held_bytes = config->limits.in_flight_bytes,
		.trusted_proxies = config->trusted_proxies,
		.trusted_proxy_count = config->trusted_proxy_count,
		.tenant_header = config->tenant_header,
	};
}

static void raise_file_limit(const struct config *config)
{
	struct rlimit limit;
	struct http_settings http;
	fill_http_settings(&http, config);
	size_t wanted = config->limits.connections + SPARE_FILES +
			http_descriptors(&http, config->listen_count * config->workers + config->admin_count);
	for (size_t i = 0; i < config->generation.upstream_count; i++) {
		const struct upstream_settings *settings = &config->generation.upstreams[i].settings;
		wanted += settings->pool_max * (settings->process ? FILES_OF_PROCESS : 1);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < wanted)
		log_message(&EVENT_FD_LIMIT_LOW,
			    "the limit on open files is %llu; limits.connections and the pools may want %zu",
			    (unsigned long long)limit.rlim_max, wanted);
}

/* ---------------------------------------------------------------- start */

static void count_dropped_lines(void *context, struct meter *meter)
{
	(void)context;
	meter_set(meter, METRIC_ID_LOG_DROPPED, 0, 0, (int64_t)log_dropped());
}

static void show_limits(void *context, struct meter *meter)
{
	const struct config *config = context;
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_CONNECTIONS, 0, (int64_t)config->limits.connections);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_IN_FLIGHT, 0, (int64_t)config->limits.in_flight);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_IN_FLIGHT_BYTES, 0, (int64_t)config->limits.in_flight_bytes);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_CACHE_MEMORY, 0, (int64_t)config->memory_bytes);
}

/* Redis is up when every worker has it and asks it. */
static void show_redis(void *context, struct meter *meter)
{
	meter_set(meter, METRIC_ID_REDIS_UP, 0, 0,
		  redis_workers(context) == ((struct gateway *)context)->config->workers);
}

/* What the workers share, then the workers. */
static bool make_gateway(struct process *process)
{
	struct gateway *gateway = &process->gateway;
	struct config *config = process->config;
	gateway->config = config;
	gateway->started_us = clock_now_us();
	fill_http_settings(&gateway->http_settings, config);
	struct metrics_names names = { .worker_count = config->workers };
	config->generation.loaded_us = clock_wall_us();
	config->generation.asked_by = "start";
	if (!(gateway->registry = registry_new(config)))
		return complain_of("cannot start", "out of memory");
	registry_fill_names(gateway->registry, &names);
	if (!(gateway->metrics = metrics_new(&names)) || !(gateway->history = history_new(gateway->metrics)) ||
	    !registry_attach(gateway->registry, gateway->metrics) ||
	    !(gateway->cache = cache_new(config->memory_bytes, gateway->metrics)) ||
	    (config->disk && !(gateway->disk = disk_new(config->disk, gateway->cache, gateway->metrics))) ||
	    !(gateway->refreshes = calloc(registry_upstream_room(gateway->registry), sizeof *gateway->refreshes)) ||
	    !(gateway->reload = reload_new(gateway)) || !gateway_seat(gateway, &config->generation) ||
	    !(gateway->workers = calloc(config->workers, sizeof(struct worker *))))
		return complain_of("cannot start", "out of memory");
	registry_load(gateway->registry);
	metrics_on_scrape(gateway->metrics, count_dropped_lines, NULL);
	metrics_on_scrape(gateway->metrics, show_limits, config);
	if (config->redis || config->disk)
		cache_publish_purges(gateway->cache);
	if (config->redis && config->redis->tracking)
		validity_share(cache_rule(gateway->cache), config->redis->untracked_us);
	if (config->redis)
		metrics_on_scrape(gateway->metrics, show_redis, gateway);
	for (unsigned i = 0; i < config->workers; i++)
		if (!(gateway->workers[i] = worker_new(gateway, i)))
			return complain_of("cannot start a worker", strerror(errno));
	generation_keep(&config->generation);
	process->keeps = true;
	config_free(config); /* as its user; registry, reload and workers have holds of their own */
	return true;
}

static void announce_listener(int fd, const struct listen_address *address, const char *listener)
{
	char text[256];
	struct log_line line UNCLEARED;
	listen_text(fd, address, text, sizeof text);
	if (!log_begin(&line, &EVENT_LISTENING))
		return;
	log_cstr(&line, "address", text);
	log_cstr(&line, "listener", listener);
	log_end(&line);
}

/* One address on its first `count` workers. */
static bool listen_on(struct process *process, const struct listen_address *address, size_t count, bool admin)
{
	char error[ERROR_BYTES];
	int *fds = calloc(count, sizeof *fds);
	struct listen_file *file = &process->files[process->file_count];
	if (!fds || !listen_open(address, fds, count, file, error, sizeof error)) {
		free(fds);
		return complain_of(fds ? error : "out of memory", "");
	}
	announce_listener(fds[0], address, admin ? "admin" : "data");
	bool ok = true;
	for (size_t i = 0; i < count; i++) {
		if (!ok)
			close(fds[i]);
		else
			ok = worker_listen(process->gateway.workers[i], fds[i], admin, error, sizeof error);
	}
	free(fds);
	process->file_count++;
	return ok || complain_of(address->text, error);
}

static bool listen_everywhere(struct process *process)
{
	const struct config *config = process->config;
	process->files = calloc(config->listen_count + config->admin_count + 1, sizeof *process->files);
	if (!process->files)
		return complain_of("cannot start", "out of memory");
	for (size_t i = 0; i < config->listen_count; i++)
		if (!listen_on(process, &config->listen[i], config->workers, false))
			return false;
	for (size_t i = 0; i < config->admin_count; i++)
		if (!listen_on(process, &config->admin[i], 1, true))
			return false;
	return true;
}

/* The programs behind run as our user, and what they are told to do comes from strangers: unless the operator wants
 * core dumps and debuggers, nobody of our user may read our memory or our environment (/proc/PID/mem, environ,
 * ptrace). */
static void guard_memory(const struct config *config)
{
	if (prctl(PR_SET_DUMPABLE, config->core_dumps ? 1 : 0) < 0)
		log_message(&EVENT_MEMORY_NOT_GUARDED, "prctl(PR_SET_DUMPABLE): %s", strerror(errno));
}

static bool start_process(struct process *process, const char *config_path)
{
	struct buf errors = BUF_INIT(1 << 20);
	char error[ERROR_BYTES];
	process->library = upstream_library_init();
	if (!process->library)
		return complain_of("cannot start", "libcurl cannot be initialised");
	process->config = config_load(config_path, &errors);
	fputs(buf_cstr(&errors), stderr);
	buf_fini(&errors);
	if (!process->config)
		return false;
	if (process->config->warnings)
		fputs(process->config->warnings, stderr);
	const struct config *config = process->config;
	process->logging = log_open(config->log.file, config->log.level, config->log.format, error, sizeof error);
	if (!process->logging)
		return complain_of("cannot start", error);
	guard_memory(config);
	raise_file_limit(config);
	bool ok = make_gateway(process) && listen_everywhere(process);
	malloc_trim(0); /* what reading the configuration took lies between what is kept: 1.5 KiB a tool */
	return ok;
}

/* ---------------------------------------------------------------- run */

static void begin_drain(struct gateway *gateway)
{
	uint64_t now_us = clock_now_us();
	atomic_store(&gateway->drain_until_us, clock_add(now_us, gateway->config->drain_timeout_us));
	atomic_store(&gateway->draining, true);
	for (unsigned i = 0; i < gateway->config->workers; i++)
		loop_wake(gateway->workers[i]->loop);
}

/* Until the first SIGTERM or SIGINT. A second one ends the process at once, by its default action. */
static void wait_for_the_end(struct gateway *gateway, const sigset_t *signals)
{
	for (;;) {
		int number = 0;
		if (sigwait(signals, &number) != 0)
			continue;
		if (number == SIGUSR1 || number == SIGHUP) {
			log_reopen();
			log_message(&EVENT_LOG_REOPENED, "signal %s", number == SIGUSR1 ? "USR1" : "HUP");
			if (number == SIGHUP)
				reload_ask(gateway->reload, "signal HUP");
		} else {
			log_message(&EVENT_DRAINING, "signal %s; a second one ends at once", strsignal(number));
			break;
		}
	}
	sigset_t again;
	sigemptyset(&again);
	sigaddset(&again, SIGTERM);
	sigaddset(&again, SIGINT);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, &again, NULL);
}

/* The unix sockets' files. */
static void remove_files(struct process *process)
{
	for (size_t i = 0; i < process->file_count; i++)
		listen_remove(&process->files[i]);
}

static bool run_process(struct process *process, const sigset_t *signals)
{
	struct gateway *gateway = &process->gateway;
	unsigned started = 0;
	while (started < gateway->config->workers && worker_start(gateway->workers[started]))
		started++;
	bool ok = started == gateway->config->workers &&
		  registry_start(gateway->registry, gateway_offer_catalogue, gateway) &&
		  reload_start(gateway->reload) && (!gateway->disk || disk_start(gateway->disk));
	if (ok) {
		log_message(&EVENT_READY, "jitney " JITNEY_VERSION ": %zu tools, %zu upstreams, %u workers",
			    gateway->config->generation.tool_count, gateway->config->generation.upstream_count,
			    gateway->config->workers);
		wait_for_the_end(gateway, signals);
	} else {
		complain_of("cannot start a thread", strerror(errno));
	}
	remove_files(process); /* before the workers stop listening: a successor may take the path from then on */
	begin_drain(gateway);
	reload_stop(gateway->reload);
	process->hangs = !registry_stop(gateway->registry);
	for (unsigned i = 0; i < started; i++)
		pthread_join(gateway->workers[i]->thread, NULL);
	export_end(gateway);
	process->hangs |= gateway->disk && !disk_stop(gateway->disk);
	return ok;
}

/* ---------------------------------------------------------------- stop */

static void settle_gateway(struct gateway *gateway)
{
	bool quiet;
	do {
		quiet = true;
		for (unsigned i = 0; i < gateway->config->workers; i++)
			if (!worker_settle(gateway->workers[i]))
				quiet = false;
	} while (!quiet);
}

static void stop_process(struct process *process)
{
	struct gateway *gateway = &process->gateway;
	struct config *config = process->config;
	if (gateway->reload)
		reload_settle(gateway->reload);
	if (gateway->workers) {
		bool all = true;
		for (unsigned i = 0; i < config->workers; i++)
			all = all && gateway->workers[i];
		if (all)
			settle_gateway(gateway);
		gateway->settled = true;
		for (unsigned i = 0; i < config->workers; i++)
			worker_free(gateway->workers[i]);
	}
	if (!upstream_await_children(CHILDREN_US))
		log_message(&EVENT_CHILDREN_LEFT,
			    "some child processes have not ended; their supervisors will see them out");
	if (process->ran)
		log_message(&EVENT_STOPPED, "jitney " JITNEY_VERSION);
	remove_files(process);
	free(process->files);
	free(gateway->workers);
	free(gateway->refreshes);
	disk_free(gateway->disk);
	cache_free(gateway->cache);
	history_free(gateway->history);
	metrics_free(gateway->metrics);
	gateway->settled = true;
	reload_free(gateway->reload);
	registry_free(gateway->registry);
	if (process->keeps)
		generation_unkeep(&config->generation);
	else
		config_free(config);
	if (process->library)
		upstream_library_fini();
	if (process->logging)
		log_close();
}

/* Nothing may be freed; the process ends with all it has, the hanging thread included. */
static void stop_hanging(struct process *process)
{
	if (process->ran)
		log_message(&EVENT_STOPPED, "jitney " JITNEY_VERSION);
	remove_files(process);
	log_close();
}

int serve(const char *config_path)
{
	struct process process = { 0 };
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	/* before any thread is made, so that all of them leave signals to this one */
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	crash_handler_install();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* whoever has started us may have ignored it; we wait for the fork server */
	http_library_init(library_panic);
	int code = EXIT_START;
	if (start_process(&process, config_path)) {
		code = run_process(&process, &signals) ? EXIT_SUCCESS : EXIT_START;
		process.ran = true;
	}
	if (process.hangs) {
		stop_hanging(&process);
		return code; /* NOLINT(clang-analyzer-unix.Malloc): all of it stays, see above */
	}
	stop_process(&process);
	return code;
}
