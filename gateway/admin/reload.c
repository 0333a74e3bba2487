/* SPDX-License-Identifier: Apache-2.0 */
/* reload.c: who asks for a reload, the thread that does it, and what is told. */
#include "gateway/admin/reload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/service.h"
#include "gateway/admin/file_watch.h"
#include "gateway/admin/pages.h"
#include "gateway/admin/process_settings.h"
#include "gateway/call/listening.h"
#include "gateway/call/provider.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/config/difference.h"
#include "gateway/http/listeners.h"
#include "gateway/tools/registry.h"
#include "gateway/trace/exporter.h"

#define WATCH "watch" /* who asks, when a file has changed */
#define TOO_LATE "The gateway is shutting down."
#define RETRY_US (10 * CLOCK_US_PER_S) /* to watch, where the kernel has refused */
enum { TEXT_BYTES_MAX = 64 << 20, MESSAGES_LOGGED = 20, LOG_ERROR_BYTES = 512 };

struct reload {
	struct gateway *gateway;    /* c */
	struct meter *meter;        /* the thread's */
	struct loop *loop;          /* likewise */
	struct mailbox mailbox;     /* of asks */
	pthread_t thread;           /* main's */
	bool started;               /* main's */
	atomic_bool stopping;       /* a */
	pthread_mutex_t in_force;   /* while the one in force changes, or is told of */
	struct generation *current; /* held; f, and changed by the thread alone, which need not lock to read it */
	struct loop *wakes;         /* c once the thread runs: another thread's, NULL: nobody's */
	bool announced;             /* f: clients are served, see reload_announce */
	struct file_watch *watch;   /* the thread's; NULL: nothing is watched */
	struct buf refused_files;   /* likewise: what the file names that was refused last, each with a NUL behind it */
	struct buf refused;         /* likewise: why it was refused; empty: the last one was taken */
	bool looks_again; /* likewise: a watch is new since then, and its first look has nobody's change to tell */
	pthread_mutex_t mutex;
	struct buf last; /* m: what the last one came to, a JSON object; empty: there was none */
};
/* c constant, a atomic, m: under the mutex, f: under in_force */

/* What a reload came to. */
struct outcome_of_reload {
	bool good;
	bool silent;     /* it looked, nobody has asked, and nothing is new: not told */
	bool late;       /* the gateway ends: nothing was read, and nothing else is said here */
	struct buf text; /* good: the reply; else its errors, a JSON array of texts */
};

/* Somebody wants one: by mail there, and back if somebody waits. */
struct ask {
	struct mail mail;
	struct reload *reload;
	const char *who;
	struct worker *home;     /* NULL: nobody waits */
	struct request *request; /* the home's; NULL: its client has left */
	struct outcome_of_reload outcome;
};

/* ---------------------------------------------------------------- what is told */

static void put_lines(struct buf *out, const char *lines)
{
	const char *comma = "";
	buf_put_char(out, '[');
	for (size_t len; *lines; lines += len + (lines[len] == '\n')) {
		len = strcspn(lines, "\n");
		buf_put_text(out, comma);
		json_put_string(out, (struct slice){ lines, len });
		comma = ",";
	}
	buf_put_char(out, ']');
}

static void log_lines(const char *who, const char *lines)
{
	size_t logged = 0;
	for (size_t len; *lines && logged < MESSAGES_LOGGED; lines += len + (lines[len] == '\n'), logged++) {
		struct log_line line UNCLEARED;
		len = strcspn(lines, "\n");
		if (!log_begin(&line, &EVENT_CONFIG_REFUSED))
			continue;
		log_cstr(&line, "asked_by", who);
		log_text(&line, "reason", (struct slice){ lines, len });
		log_end(&line);
	}
}

/* Takes `lines`. */
static void report_failure(struct reload *reload, const char *who, struct buf *lines, struct outcome_of_reload *outcome)
{
	if (!lines->len)
		buf_put_text(lines, "the gateway is out of memory\n");
	outcome->good = false;
	put_lines(&outcome->text, buf_cstr(lines));
	outcome->silent = reload->looks_again && strcmp(who, WATCH) == 0 &&
			  slice_equal(buf_slice(&outcome->text), buf_slice(&reload->refused));
	if (!outcome->silent)
		log_lines(who, buf_cstr(lines));
	buf_fini(lines);
	if (outcome->silent)
		return;
	meter_add(reload->meter, METRIC_ID_CONFIG_RELOADS, RELOAD_FAILED, 0, 1);
	meter_set(reload->meter, METRIC_ID_CONFIG_LAST_RELOAD_SUCCESS, 0, 0, 0);
}

/* The gauges of what is in force. */
static void show_current(struct reload *reload)
{
	const struct generation *now = reload->current;
	struct meter *meter = reload->meter;
	meter_set(meter, METRIC_ID_CONFIG_GENERATION, 0, 0, (int64_t)now->number);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_CONNECTIONS, 0, (int64_t)now->http.connections);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_IN_FLIGHT, 0, (int64_t)now->limits.in_flight);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_IN_FLIGHT_BYTES, 0, (int64_t)now->http.held_bytes);
	meter_set(meter, METRIC_ID_LIMITS, LIMIT_CACHE_MEMORY, 0, (int64_t)now->memory_bytes);
}

static void report_success(struct reload *reload, const char *who, const struct difference *difference,
			   struct outcome_of_reload *outcome)
{
	struct buf *text = &outcome->text;
	struct log_line line UNCLEARED;
	outcome->good = true;
	buf_printf(text, "{\"generation\":%llu,\"changed\":", (unsigned long long)reload->current->number);
	buf_put(text, buf_slice(&difference->changed));
	buf_printf(text, ",\"unchanged\":%zu,\"needs_restart\":", difference->unchanged);
	buf_put(text, buf_slice(&difference->needs_restart));
	buf_put_char(text, '}');
	meter_add(reload->meter, METRIC_ID_CONFIG_RELOADS, RELOAD_OK, 0, 1);
	meter_set(reload->meter, METRIC_ID_CONFIG_LAST_RELOAD_SUCCESS, 0, 0, 1);
	show_current(reload);
	if (!log_begin(&line, &EVENT_CONFIG_RELOADED))
		return;
	log_u64(&line, "generation", reload->current->number);
	log_cstr(&line, "asked_by", who);
	log_text(&line, "changed", buf_slice(&difference->changed));
	log_text(&line, "needs_restart", buf_slice(&difference->needs_restart));
	log_end(&line);
}

static void note_last(struct reload *reload, const char *who, const struct outcome_of_reload *outcome)
{
	uint64_t now_us = clock_wall_us();
	meter_set(reload->meter, METRIC_ID_CONFIG_LAST_RELOAD, 0, 0, (int64_t)now_us);
	pthread_mutex_lock(&reload->mutex);
	buf_reset(&reload->last);
	buf_printf(&reload->last, "{\"result\":\"%s\",\"at\":%llu,\"asked_by\":", outcome->good ? "ok" : "failed",
		   (unsigned long long)(now_us / CLOCK_US_PER_S));
	json_put_string(&reload->last, slice_of(who));
	struct slice text = buf_slice(&outcome->text);
	if (outcome->good && text.len) { /* as it was answered: an object, of which the members go on here */
		buf_put_char(&reload->last, ',');
		buf_put(&reload->last, (struct slice){ text.at + 1, text.len - 1 });
	} else if (outcome->good) { /* memory was out */
		buf_put_char(&reload->last, '}');
	} else {
		buf_put_text(&reload->last, ",\"errors\":");
		buf_put(&reload->last, text);
		buf_put_char(&reload->last, '}');
	}
	pthread_mutex_unlock(&reload->mutex);
}

void reload_put_last(struct reload *reload, struct buf *out)
{
	pthread_mutex_lock(&reload->mutex);
	if (reload->last.len && !reload->last.failed) {
		buf_put_text(out, ",\"last_reload\":");
		buf_put(out, buf_slice(&reload->last));
	}
	pthread_mutex_unlock(&reload->mutex);
}

/* ---------------------------------------------------------------- the reload */

static void adopt_redis(const struct generation *before, struct generation *next)
{
	next->redis = before->redis;
	if (!before->redis)
		return;
	next->redis_of = before->redis_of ? before->redis_of : (struct generation *)(uintptr_t)before;
	generation_keep(next->redis_of);
}

/* What runs on runs on, by what it is: `next` has options of it that may be other ones. */
static void adopt_running(const struct generation *before, struct generation *next, const struct difference *difference)
{
	for (size_t i = 0; i < next->upstream_count; i++)
		if (difference->same[i] != SIZE_MAX)
			provider_adopt(&next->upstreams[i], &before->upstreams[difference->same[i]]);
	if (difference->same_redis)
		adopt_redis(before, next);
	if (difference->same_memory)
		next->memory_bytes = before->memory_bytes;
}

/* NULL: it stays where it is, or (false) `errors` says why it cannot be opened. */
static bool open_log(const struct generation *before, const struct config *config, struct log_target **log,
		     struct buf *errors)
{
	const char *file = config->generation.log.file;
	char error[LOG_ERROR_BYTES];
	*log = NULL;
	if (strcmp(before->log.file, file) == 0)
		return true;
	*log = log_target_open(file, error, sizeof error);
	if (!*log)
		buf_printf(errors, "%s: log.file: cannot open the log %s: %s\n", config->path,
			   secrets_shown(&config->secrets, file), error);
	return *log != NULL;
}

/* False: `errors` says why. */
static bool open_listeners(struct gateway *gateway, struct config *config, struct buf *errors)
{
	char error[LOG_ERROR_BYTES];
	if (!gateway->listeners) /* a test's gateway has sockets of its own */
		return true;
	if (gateway_listen(gateway, &config->generation, error, sizeof error))
		return true;
	buf_printf(errors, "%s: %s\n", config->path, error);
	return false;
}

/* False: `errors` says why. */
static bool prepare_traces(struct gateway *gateway, const struct config *config, struct trace_settings **traces,
			   struct buf *errors)
{
	*traces = NULL;
	if (!gateway->exporter || exporter_prepare(gateway->exporter, config->generation.traces, traces))
		return true;
	buf_printf(errors, "%s: tracing.otlp: cannot start a thread: %s\n", config->path, strerror(errno));
	return false;
}

/* What is not the workers' to take: it is the process's. Takes `traces`. */
static void use_process_settings(struct gateway *gateway, const struct generation *before,
				 const struct generation *next, struct log_target *log, struct trace_settings *traces)
{
	log_change(log, next->log.level, next->log.format);
	if (gateway->exporter)
		exporter_use(gateway->exporter, traces);
	atomic_store(&gateway->drain_timeout_us, next->drain_timeout_us);
	if (before->core_dumps != next->core_dumps)
		process_guard_memory(next);
	process_raise_file_limit(gateway->config->workers, before, next);
	if (before->memory_bytes != next->memory_bytes)
		cache_resize(gateway->cache, next->memory_bytes);
}

/* Number and adopt it, and put it in force. False: out of memory, or out of labels: `errors` says so. */
static bool publish_generation(struct reload *reload, struct config *config, const struct difference *difference,
			       struct buf *errors)
{
	struct gateway *gateway = reload->gateway;
	struct generation *next = &config->generation;
	if (!registry_number(gateway->registry, next)) {
		buf_printf(errors, "%s: has more new names than metrics have room for until the gateway is restarted\n",
			   config->path);
		return false;
	}
	adopt_running(reload->current, next, difference);
	return gateway_seat(gateway, next, reload->current) && registry_use(gateway->registry, next);
}

/* The workers have it. What is listened on is told once clients are served: before that, reload_announce does it. */
static void put_in_force(struct reload *reload, struct generation *next)
{
	struct generation *before = reload->current;
	pthread_mutex_lock(&reload->in_force);
	if (reload->announced) {
		gateway_announce(before, next);
		listeners_store(reload->gateway->listeners);
	}
	gateway_unlisten(reload->gateway, before, next);
	reload->current = next;
	pthread_mutex_unlock(&reload->in_force);
	generation_unref(before);
	if (reload->wakes)
		loop_wake(reload->wakes);
}

/* Put it in force. False: `errors` says why, unless memory is out; the one before stays, whole. Takes config. */
static bool use_config(struct reload *reload, const char *who, struct config *config,
		       const struct difference *difference, struct buf *errors)
{
	struct generation *next = &config->generation;
	struct log_target *log;
	struct trace_settings *traces = NULL;
	next->number = reload->current->number + 1;
	next->loaded_us = clock_wall_us();
	next->asked_by = who;
	if (!open_log(reload->current, config, &log, errors) || !open_listeners(reload->gateway, config, errors) ||
	    !prepare_traces(reload->gateway, config, &traces, errors) ||
	    !publish_generation(reload, config, difference, errors)) {
		trace_settings_unref(traces);
		gateway_unlisten(reload->gateway, next, reload->current);
		generation_forget_listeners(next);
		log_target_free(log);
		config_free(config);
		return false;
	}
	use_process_settings(reload->gateway, reload->current, next, log, traces);
	put_in_force(reload, next);
	return true;
}

/* It is read, and is whole. Takes config. */
static void take_config(struct reload *reload, const char *who, struct config *config,
			struct outcome_of_reload *outcome)
{
	struct buf errors = BUF_INIT(TEXT_BYTES_MAX);
	struct difference difference;
	const struct config *process = reload->gateway->config;
	bool good = difference_find(&difference, process, reload->current, &config->generation);
	if (good && strcmp(who, WATCH) == 0 && difference.any)
		log_reopen();
	bool nothing = good && !difference.any && strcmp(config->generation.hash, reload->current->hash) == 0;
	if (nothing || !good)
		config_free(config);
	else
		good = use_config(reload, who, config, &difference, &errors);
	outcome->silent = nothing && strcmp(who, WATCH) == 0 && !reload->refused.len;
	if (outcome->silent)
		outcome->good = true;
	else if (good)
		report_success(reload, who, &difference, outcome);
	else
		report_failure(reload, who, &errors, outcome);
	buf_fini(&errors);
	difference_fini(&difference);
}

/* What a file names that was refused is watched, too: the mistake may be mended there. */
static void note_refused(struct reload *reload, const struct outcome_of_reload *outcome)
{
	buf_reset(&reload->refused);
	reload->looks_again = false;
	if (outcome->good)
		buf_reset(&reload->refused_files);
	else
		buf_put(&reload->refused, buf_slice(&outcome->text));
}

static void read_anew(struct reload *reload, const char *who, struct outcome_of_reload *outcome)
{
	struct buf errors = BUF_INIT(TEXT_BYTES_MAX);
	service_tell_reloading();
	buf_reset(&reload->refused_files);
	struct config *config = config_load_noting(reload->gateway->config->path, &errors, &reload->refused_files);
	buf_init(&outcome->text, TEXT_BYTES_MAX);
	if (strcmp(who, WATCH) != 0)
		log_reopen();
	if (config && !config->generation.bytes) { /* good for a start; here somebody is about to write it */
		buf_printf(&errors, "%s: the file is empty\n", config->path);
		config_free(config);
		config = NULL;
	}
	if (config)
		take_config(reload, who, config, outcome);
	else
		report_failure(reload, who, &errors, outcome);
	buf_fini(&errors);
	if (!outcome->silent)
		note_last(reload, who, outcome);
	note_refused(reload, outcome);
	service_tell("READY=1\nSTATUS=Serving%s",
		     outcome->good ? "" : "; the last reload was refused, the log says why");
}

struct generation *reload_current(struct reload *reload)
{
	pthread_mutex_lock(&reload->in_force);
	struct generation *now = generation_ref(reload->current);
	pthread_mutex_unlock(&reload->in_force);
	return now;
}

void reload_wake(struct reload *reload, struct loop *loop)
{
	reload->wakes = loop;
}

struct generation *reload_announce(struct reload *reload)
{
	pthread_mutex_lock(&reload->in_force);
	struct generation *now = generation_ref(reload->current);
	gateway_announce(NULL, now);
	listeners_store(reload->gateway->listeners);
	reload->announced = true;
	pthread_mutex_unlock(&reload->in_force);
	return now;
}

/* ---------------------------------------------------------------- watching */

static void on_files_changed(void *context)
{
	struct outcome_of_reload outcome = { 0 };
	read_anew(context, WATCH, &outcome);
	buf_fini(&outcome.text);
}

static bool has_path(const char *const *paths, size_t count, const char *path)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(paths[i], path) == 0)
			return true;
	return false;
}

/* The configuration's own, those that it names as it is in force, and those of one that was refused since. NULL: out of
 * memory. The caller's to free; what it points to is not. */
static const char **list_files(const struct reload *reload, size_t *count)
{
	const struct generation *now = reload->current;
	struct slice rest = buf_slice(&reload->refused_files);
	size_t refused = 0;
	for (size_t i = 0; i < rest.len; i++)
		refused += !rest.at[i];
	const char **paths = calloc(1 + now->file_count + refused, sizeof *paths);
	if (!paths)
		return NULL;
	paths[0] = reload->gateway->config->path;
	*count = 1;
	for (size_t i = 0; i < now->file_count; i++)
		paths[(*count)++] = now->files[i].path;
	for (size_t i = 0; i < refused; i++) {
		if (!has_path(paths, *count, rest.at))
			paths[(*count)++] = rest.at;
		rest.at += strlen(rest.at) + 1;
	}
	return paths;
}

/* A watch that goes on misses nothing. */
static void watch_these(struct reload *reload, const char *const *paths, size_t count)
{
	uint64_t debounce_us = reload->current->debounce_us;
	if (reload->watch && file_watch_is_of(reload->watch, paths, count, debounce_us))
		return;
	file_watch_free(reload->watch);
	reload->watch = file_watch_new(reload->loop, paths, count, debounce_us, on_files_changed, reload);
	reload->looks_again = reload->watch && reload->refused.len;
	if (!reload->watch)
		log_lines(
			WATCH,
			"reload.watch: the kernel refuses (fs.inotify.max_user_watches), or memory is out; nothing is watched");
}

/* If the generation in force says so. */
static void watch_files(struct reload *reload)
{
	size_t count = 0;
	const char **paths = reload->current->watch ? list_files(reload, &count) : NULL;
	if (paths) {
		watch_these(reload, paths, count);
	} else if (!reload->current->watch) {
		file_watch_free(reload->watch);
		reload->watch = NULL;
	}
	free(paths);
}

/* ---------------------------------------------------------------- who asks */

static void reply_outcome(struct request *request, struct outcome_of_reload *outcome)
{
	if (outcome->late) {
		reply_problem(request, OUTCOME_SHUTTING_DOWN, NULL, TOO_LATE);
		return;
	}
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	buf_put(&text, buf_slice(&outcome->text));
	if (!outcome->good) {
		buf_reset(&text);
		buf_put_text(&text, "{\"type\":\"about:blank\",\"title\":\"Unprocessable Content\",\"status\":422,"
				    "\"detail\":\"The configuration is not in order; the one before stays in force.\","
				    "\"errors\":");
		buf_put(&text, buf_slice(&outcome->text));
		buf_put_char(&text, '}');
	}
	buf_put_char(&text, '\n');
	reply_text(request, outcome->good ? 200 : 422, outcome->good ? "application/json" : "application/problem+json",
		   &text);
}

static void free_ask(struct ask *ask)
{
	buf_fini(&ask->outcome.text);
	free(ask);
}

/* Back at its worker. */
static void came_home(struct mail *mail)
{
	struct ask *ask = container_of(mail, struct ask, mail);
	struct request *request = ask->request;
	if (request) {
		request->waits_for = NULL;
		request->gone = NULL;
		reply_outcome(request, &ask->outcome);
	}
	free_ask(ask);
}

/* On the reload's thread; or on main's, once that has ended. */
static void open_ask(struct mail *mail)
{
	struct ask *ask = container_of(mail, struct ask, mail);
	struct reload *reload = ask->reload;
	ask->outcome.late = atomic_load_explicit(&reload->stopping, memory_order_acquire);
	if (!ask->outcome.late)
		read_anew(reload, ask->who, &ask->outcome);
	if (!ask->home) {
		free_ask(ask);
		return;
	}
	ask->mail.open = came_home;
	worker_post(ask->home, &ask->mail);
}

static struct ask *ask_new(struct reload *reload, const char *who)
{
	struct ask *ask = calloc(1, sizeof *ask);
	if (!ask)
		return NULL;
	ask->mail.open = open_ask;
	ask->reload = reload;
	ask->who = who;
	return ask;
}

void reload_ask(struct reload *reload, const char *who)
{
	struct ask *ask = ask_new(reload, who);
	if (ask)
		mailbox_post(&reload->mailbox, &ask->mail);
	else
		log_lines(who, "the gateway is out of memory");
}

static void on_left(struct request *request)
{
	struct ask *ask = request->waits_for;
	ask->request = NULL;
}

void page_admin_reload(struct worker *worker, struct request *request, struct slice rest)
{
	struct reload *reload = worker_gateway(worker)->reload;
	(void)rest;
	if (!page_body_is_empty(worker, request))
		return;
	if (!reload || atomic_load_explicit(&worker_gateway(worker)->draining, memory_order_relaxed)) {
		reply_problem(request, OUTCOME_SHUTTING_DOWN, NULL, TOO_LATE);
		return;
	}
	struct ask *ask = ask_new(reload, "POST /admin/reload");
	if (!ask) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory; nothing was reloaded.");
		return;
	}
	ask->home = worker;
	ask->request = request;
	request->waits_for = ask;
	request->gone = on_left;
	mailbox_post(&reload->mailbox, &ask->mail);
}

/* ---------------------------------------------------------------- life */

static void *run_reload(void *context)
{
	struct reload *reload = context;
	crash_handler_thread();
	while (!atomic_load_explicit(&reload->stopping, memory_order_acquire)) {
		watch_files(reload);
		loop_wait(reload->loop,
			  reload->current->watch && !reload->watch ? loop_now(reload->loop) + RETRY_US : CLOCK_NEVER);
		mailbox_open(&reload->mailbox);
		loop_run_timers(reload->loop);
	}
	mailbox_open(
		&reload->mailbox); /* who has asked meanwhile, and whose worker would drain for as long as it may */
	loop_release(reload->loop);
	return NULL;
}

struct reload *reload_new(struct gateway *gateway)
{
	struct reload *reload = calloc(1, sizeof *reload);
	if (!reload)
		return NULL;
	pthread_mutex_init(&reload->mutex, NULL);
	pthread_mutex_init(&reload->in_force, NULL);
	buf_init(&reload->last, TEXT_BYTES_MAX);
	buf_init(&reload->refused, TEXT_BYTES_MAX);
	buf_init(&reload->refused_files, TEXT_BYTES_MAX);
	reload->gateway = gateway;
	reload->current = generation_ref(&gateway->config->generation);
	reload->loop = loop_new();
	reload->meter = metrics_meter(gateway->metrics);
	if (!reload->loop || !reload->meter) {
		reload_free(reload);
		return NULL;
	}
	mailbox_init(&reload->mailbox, reload->loop);
	show_current(reload);
	meter_set(reload->meter, METRIC_ID_CONFIG_LAST_RELOAD_SUCCESS, 0, 0, 1);
	meter_set(reload->meter, METRIC_ID_CONFIG_LAST_RELOAD, 0, 0, (int64_t)reload->current->loaded_us);
	return reload;
}

bool reload_start(struct reload *reload)
{
	int result = pthread_create(&reload->thread, NULL, run_reload, reload);
	if (result) {
		errno = result;
		return false;
	}
	reload->started = true;
	pthread_setname_np(reload->thread, "reload");
	return true;
}

void reload_stop(struct reload *reload)
{
	atomic_store_explicit(&reload->stopping, true, memory_order_release);
	if (!reload->started)
		return;
	loop_wake(reload->loop);
	pthread_join(reload->thread, NULL);
	reload->started = false;
}

void reload_settle(struct reload *reload)
{
	while (mailbox_open(&reload->mailbox))
		;
}

void reload_free(struct reload *reload)
{
	if (!reload)
		return;
	file_watch_free(reload->watch);
	generation_unref(reload->current);
	loop_free(reload->loop);
	buf_fini(&reload->last);
	buf_fini(&reload->refused);
	buf_fini(&reload->refused_files);
	pthread_mutex_destroy(&reload->in_force);
	pthread_mutex_destroy(&reload->mutex);
	free(reload);
}
