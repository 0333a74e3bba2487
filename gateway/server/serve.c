/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c: the composition root: what is made in which order, who hears signals, and everything undone in reverse. */
#include "gateway/server/serve.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/service.h"
#include "gateway/admin/export.h"
#include "gateway/http/listeners.h"
#include "gateway/admin/health.h"
#include "gateway/admin/profile_page.h"
#include "gateway/admin/observer.h"
#include "gateway/admin/process_settings.h"
#include "gateway/admin/reload.h"
#include "gateway/call/listening.h"
#include "gateway/call/provider.h"
#include "gateway/tools/registry.h"
#include "gateway/trace/exporter.h"
#include "gateway/server/main_thread.h"
#include "gateway/server/takeover.h"
#include "gateway/server/seats.h"
#include "gateway/server/worker_loop.h"
#include "upstream/upstream.h"

enum { EXIT_START = 2, ERROR_BYTES = 512 };
#define START_US (30 * CLOCK_US_PER_S)      /* how long a start may take, beside waiting for lists */
#define CLIENTS_US CLOCK_US_PER_S           /* how long a stop waits for clients to be told that they go elsewhere */
#define STOP_SPARE_US (15 * CLOCK_US_PER_S) /* what a stop may take beside drain_timeout and the snapshot */
#define CHILDREN_US (6 * CLOCK_US_PER_S)    /* longer than a child's grace and its SIGTERM: check_process.c */

/* Everything that is undone at the end. */
struct process {
	struct config *config;
	struct gateway gateway;
	bool library;
	bool logging;
	bool keeps;                /* the memory of config, not its generation, which ends as the others do */
	bool ran;                  /* the start was whole: its end is told, when the programs behind have ended too */
	struct takeover *takeover; /* from a predecessor; NULL: there is none */
	bool hangs;                /* a thread that waits for the disk and goes on using what it has */
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

/* ---------------------------------------------------------------- start */

static void count_dropped_lines(void *context, struct meter *meter)
{
	(void)context;
	meter_set(meter, METRIC_ID_LOG_DROPPED, 0, 0, (int64_t)log_dropped());
}

/* Redis is up when every worker has it and asks it. */
static void show_redis(void *context, struct meter *meter)
{
	const struct gateway *gateway = context;
	bool is = atomic_load_explicit(&gateway->redis, memory_order_relaxed);
	if (is || metrics_read(gateway->metrics, METRIC_ID_REDIS_UP, 0, 0)) /* else there never was one */
		meter_set(meter, METRIC_ID_REDIS_UP, 0, 0, is && redis_workers(gateway) == gateway->config->workers);
}

/* What the workers share, then the workers. */
static bool make_gateway(struct process *process)
{
	struct gateway *gateway = &process->gateway;
	struct config *config = process->config;
	gateway->config = config;
	atomic_store(&gateway->drain_timeout_us, config->generation.drain_timeout_us);
	gateway->started_us = clock_now_us();
	struct metrics_names names = { .worker_count = config->workers };
	config->generation.loaded_us = clock_wall_us();
	config->generation.asked_by = "start";
	if (!(gateway->registry = registry_new(config)))
		return complain_of("cannot start", "out of memory");
	registry_fill_names(gateway->registry, &names);
	if (!(gateway->metrics = metrics_new(&names)) || !registry_attach(gateway->registry, gateway->metrics) ||
	    !(gateway->cache = cache_new(config->generation.memory_bytes, gateway->metrics)) ||
	    (config->disk && !(gateway->disk = disk_new(config->disk, gateway->cache, gateway->metrics))) ||
	    !(gateway->refreshes = calloc(registry_upstream_room(gateway->registry), sizeof *gateway->refreshes)) ||
	    !(gateway->reload = reload_new(gateway)) || !gateway_seat(gateway, &config->generation, NULL) ||
	    !(gateway->workers = calloc(config->workers, sizeof(struct worker *))))
		return complain_of("cannot start", "out of memory");
	if (!(gateway->exporter = exporter_new(gateway->metrics)))
		return complain_of("cannot start", "out of memory");
	registry_load(gateway->registry);
	if (!(gateway->observer = observer_new(gateway)))
		return complain_of("cannot start", "out of memory");
	metrics_on_scrape(gateway->metrics, count_dropped_lines, NULL);
	cache_publish_purges(gateway->cache, config->disk != NULL);
	metrics_on_scrape(gateway->metrics, show_redis, gateway);
	for (unsigned i = 0; i < config->workers; i++)
		if (!(gateway->workers[i] = worker_new(gateway, i)))
			return complain_of("cannot start a worker", strerror(errno));
	generation_keep(&config->generation);
	process->keeps = true;
	config_free(config); /* as its user; registry, reload and workers have holds of their own */
	return true;
}

static bool listen_everywhere(struct gateway *gateway, struct generation *first)
{
	char error[ERROR_BYTES];
	if (!gateway_listen(gateway, first, error, sizeof error))
		return complain_of(error, "");
	for (unsigned i = 0; i < gateway->config->workers; i++)
		if (!worker_take_seats(gateway->workers[i]))
			return complain_of("cannot listen", strerror(errno));
	return true;
}

static void inherit_socket(void *context, int fd, const char *name)
{
	listeners_inherit(context, fd, name, GIVER_MANAGER);
}

/* What listens already: for us by the service manager, or a predecessor's. */
static bool take_sockets(struct process *process, const struct serve_options *options)
{
	char path[TAKEOVER_PATH_BYTES], error[ERROR_BYTES];
	const struct config *config = process->config;
	struct listeners *listeners = process->gateway.listeners = listeners_new();
	if (!listeners)
		return complain_of("cannot start", "out of memory");
	service_take_descriptors(inherit_socket, listeners);
	if (!options->takeover)
		return true;
	if (options->door)
		snprintf(path, sizeof path, "%s", options->door);
	else if (!takeover_path(config, &config->generation, path))
		return complain_of(
			"cannot take over",
			"the configuration says of no socket to ask at: takeover.socket, or --takeover=PATH");
	uint64_t patience_us = clock_add(config->generation.mcp.await_lists_us, START_US);
	process->takeover = takeover_begin(path, patience_us, listeners, error, sizeof error);
	return process->takeover || complain_of("cannot take over", error);
}

/* What listens already and is not in the configuration. */
static bool leave_sockets(struct process *process)
{
	char name[LISTENER_NAME_BYTES];
	if (process->takeover && !takeover_is_useful(process->takeover))
		return complain_of("cannot take over",
				   "the running gateway listens on no address of this configuration");
	size_t unused = listeners_drop_unused(process->gateway.listeners, name);
	if (unused)
		log_message(&EVENT_LISTENERS_NOT_USED,
			    "%zu sockets that were handed over, %s among them, are not in the configuration", unused,
			    name);
	return true;
}

static bool complain_of_log(const struct config *config, const char *why)
{
	fprintf(stderr, "jitney: cannot start: cannot open the log %s: %s\n",
		secrets_shown(&config->secrets, config->generation.log.file), why);
	return false;
}

static bool start_process(struct process *process, const struct serve_options *options)
{
	struct buf errors = BUF_INIT(1 << 20);
	char error[ERROR_BYTES];
	process->library = upstream_library_init();
	if (!process->library)
		return complain_of("cannot start", "libcurl cannot be initialised");
	process->config = config_load(options->config_path, &errors);
	fputs(buf_cstr(&errors), stderr);
	buf_fini(&errors);
	if (!process->config)
		return false;
	if (process->config->warnings)
		fputs(process->config->warnings, stderr);
	const struct config *config = process->config;
	process->logging = log_open(config->generation.log.file, config->generation.log.level,
				    config->generation.log.format, error, sizeof error);
	if (!process->logging)
		return complain_of_log(config, error);
	process_guard_memory(&config->generation);
	process_raise_file_limit(config->workers, NULL, &config->generation);
	bool ok = take_sockets(process, options) && make_gateway(process) &&
		  listen_everywhere(&process->gateway, &process->config->generation) && leave_sockets(process);
	malloc_trim(0); /* what reading the configuration took lies between what is kept: 1.5 KiB a tool */
	return ok;
}

/* ---------------------------------------------------------------- run */

static void begin_drain(struct gateway *gateway)
{
	uint64_t now_us = clock_now_us();
	atomic_store(&gateway->leaving, true);
	atomic_store(&gateway->drain_until_us, clock_add(now_us, atomic_load(&gateway->drain_timeout_us)));
	atomic_store(&gateway->draining, true);
	for (unsigned i = 0; i < gateway->config->workers; i++)
		loop_wake(gateway->workers[i]->loop);
}

/* Who has a place to go on at closes nothing on clients that are about to ask: they are told with their next answer. A
 * successor serves already, so there is time; after a stop somebody waits for us to end. */
static void set_patience(struct gateway *gateway, bool taken_over)
{
	uint64_t drain_us = atomic_load(&gateway->drain_timeout_us);
	uint64_t patience_us = taken_over || drain_us < CLIENTS_US ? drain_us : CLIENTS_US;
	if (listeners_end(gateway->listeners))
		atomic_store(&gateway->clients_until_us, clock_add(clock_now_us(), patience_us));
}

static void tell_of_stop(const struct gateway *gateway, uint64_t notice_us)
{
	const struct config *config = gateway->config;
	uint64_t snapshot_us = config->disk ? config->disk->snapshot_us : 0;
	uint64_t most_us = notice_us + atomic_load(&gateway->drain_timeout_us) + snapshot_us + STOP_SPARE_US;
	service_tell("STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=%llu", (unsigned long long)most_us);
}

/* Readiness goes before the listeners do: whoever asks for it, on a new connection too, has drain_notice to go elsewhere. */
static void give_notice(struct gateway *gateway, struct main_thread *main_thread)
{
	struct generation *now = reload_current(gateway->reload);
	uint64_t notice_us = now->drain_notice_us;
	generation_unref(now);
	tell_of_stop(gateway, notice_us);
	atomic_store(&gateway->leaving, true);
	main_thread_wait(main_thread, notice_us);
}

/* All threads, which accept nothing yet. */
static bool start_threads(struct process *process, unsigned *started)
{
	struct gateway *gateway = &process->gateway;
	for (*started = 0; *started < gateway->config->workers; ++*started)
		if (!worker_start(gateway->workers[*started]))
			return false;
	struct trace_settings *traces;
	if (!exporter_prepare(gateway->exporter, process->config->generation.traces, &traces))
		return false;
	exporter_use(gateway->exporter, traces);
	return registry_start(gateway->registry, gateway_offer_catalogue, gateway) && reload_start(gateway->reload) &&
	       observer_start(gateway->observer) && (process->takeover || !gateway->disk || disk_start(gateway->disk));
}

/* From here on clients are served. */
static void open_up(struct gateway *gateway, struct main_thread *main_thread)
{
	const struct config *config = gateway->config;
	listeners_take_charge(gateway->listeners);
	for (unsigned i = 0; i < config->workers; i++)
		worker_open(gateway->workers[i]);
	struct generation *first = reload_announce(gateway->reload);
	main_thread_offer(main_thread);
	log_message(&EVENT_READY, "jitney " JITNEY_VERSION ": %zu tools, %zu upstreams, %u workers", first->tool_count,
		    first->upstream_count, config->workers);
	generation_unref(first);
	service_tell("READY=1\nSTATUS=Serving");
}

/* Until the end, in order or because there is no beginning. False: the latter. *taken_over: a successor serves. */
static bool serve_clients(struct process *process, struct main_thread *main_thread, bool *taken_over)
{
	char error[ERROR_BYTES];
	if (process->takeover && !main_thread_take_over(main_thread, error, sizeof error))
		return complain_of("cannot take over", error);
	open_up(&process->gateway, main_thread);
	*taken_over = !main_thread_run(main_thread);
	return true;
}

static bool run_process(struct process *process, const sigset_t *signals)
{
	struct gateway *gateway = &process->gateway;
	unsigned started = 0;
	bool taken_over = false;
	struct main_thread *main_thread = main_thread_new(gateway, signals, process->takeover);
	bool threads = main_thread && start_threads(process, &started);
	if (!threads)
		complain_of("cannot start a thread", strerror(errno));
	bool ok = threads && serve_clients(process, main_thread, &taken_over);
	if (ok && !taken_over)
		give_notice(gateway, main_thread);
	set_patience(gateway, taken_over);
	begin_drain(gateway);
	reload_stop(gateway->reload);
	process->hangs = !registry_stop(gateway->registry);
	for (unsigned i = 0; i < started; i++)
		worker_join(gateway->workers[i]);
	observer_stop(gateway->observer);
	export_end(gateway);
	profile_end(gateway);
	exporter_stop(gateway->exporter);
	process->hangs |= gateway->disk && !disk_stop(gateway->disk);
	main_thread_free(main_thread);
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
	if (gateway->observer)
		observer_settle(gateway->observer);
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
	takeover_free(process->takeover);
	listeners_free(gateway->listeners);
	free(gateway->workers);
	free(gateway->refreshes);
	disk_free(gateway->disk);
	cache_free(gateway->cache);
	observer_free(gateway->observer);
	exporter_free(gateway->exporter);
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
	log_close();
}

int serve(const struct serve_options *options)
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
	service_open();
	int code = EXIT_START;
	if (start_process(&process, options)) {
		code = run_process(&process, &signals) ? EXIT_SUCCESS : EXIT_START;
		process.ran = true;
	}
	if (process.hangs) {
		stop_hanging(&process);
		return code; /* NOLINT(clang-analyzer-unix.Malloc): all of it stays, see above */
	}
	stop_process(&process);
	service_close();
	return code;
}
