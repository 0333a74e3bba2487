/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c: lines' writer. A line is built on the caller's stack (log_line.c), copied under one short mutex into the buffer
 * that fills, and written by a thread of its own, which swaps the two buffers. Whoever logs never waits for the file.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_private.h"

enum {
	QUEUE_BYTES = 1 << 20, /* lines waiting while the writer is busy; beyond it they are dropped and counted */
	MANY_BYTES = 1 << 16,  /* of lines, for which no writer rests */
	DIRECT_WAIT_MS = 100,  /* without a writer: how long one line may wait for stderr */
	POLL_MS = 50,          /* how often a writer held up by a full pipe looks whether it shall give up */
	CLOSE_WAIT_MS = 1000,  /* log_close: how long the writer may go on trying */
	CLOSE_GRACE_MS = 500   /* and then to come back from a write that hangs in the kernel */
};
#define GATHER_US (2 * CLOCK_US_PER_MS) /* from one write of lines to the next */

struct log_target {
	char *path; /* NULL: stderr or stdout, not ours to open again or close */
	int fd;
};

struct writer {
	pthread_t thread;
	char *path;                  /* w: of a target */
	int fd;                      /* w: likewise */
	bool chunked;                /* w: not a regular file: wait for poll, write what then fits */
	bool torn;                   /* w: a failed write has left half a line */
	uint64_t dropped_said;       /* w: how much of `dropped` the log itself has mentioned */
	pthread_cond_t wake;         /* for the writer: lines, or stop */
	pthread_cond_t ended;        /* for log_close */
	bool idle;                   /* m: the writer waits for `wake` */
	bool resting;                /* m: likewise, for many lines or a while */
	bool stop;                   /* m */
	bool done;                   /* m: the thread touches nothing any more */
	int filling;                 /* m: which buffer takes lines; the writer reads the other */
	size_t filled;               /* m: bytes in it */
	_Atomic uint64_t give_up_us; /* a: real_now_us() from which nothing is tried any more; CLOCK_NEVER while open */
	_Atomic bool reopen;         /* a */
	_Atomic(struct log_target *) next; /* a: taken by the writer; NULL: none */
	char buffers[2][QUEUE_BYTES];
};
/* c constant, w writer thread, m mutex `gate`, a atomic */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static struct writer *writer; /* m: NULL: lines go to stderr directly */
static _Atomic uint64_t dropped;
static _Atomic int wanted_level = LOG_LEVEL_INFO;
static _Atomic int wanted_format = LOG_FORMAT_LOGFMT;
static _Atomic int last_fd = STDERR_FILENO; /* the log's, for who cannot take a lock; the file may be another's soon */
static atomic_bool last_said;               /* the line of a process that dies is written: nothing comes after it */

/* --- a line --- */

bool log_wanted(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&wanted_level, memory_order_relaxed);
}

static void start_line(struct log_line *line, const struct log_event *event)
{
	log_line_start(line, event, (enum log_format)atomic_load_explicit(&wanted_format, memory_order_relaxed));
}

bool log_begin(struct log_line *line, const struct log_event *event)
{
	if (!log_wanted(event->level))
		return false;
	start_line(line, event);
	return true;
}

/* --- the writer thread --- */

/* The real clock, which tests do not turn: this thread waits in the real world. */
static uint64_t real_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CLOCK_US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

/* Wait until the descriptor takes bytes. False: it is time to give up. */
static bool wait_writable(const struct writer *w)
{
	struct pollfd target = { .fd = w->fd, .events = POLLOUT };
	while (real_now_us() < atomic_load_explicit(&w->give_up_us, memory_order_relaxed))
		if (poll(&target, 1, POLL_MS) != 0)
			return true; /* errors too: write() will say which */
	return false;
}

/* Write all, or until it fails; *at and *left are what remains. A pipe that poll calls writable takes PIPE_BUF bytes
 * without blocking, so a reader that sleeps cannot hold the thread beyond the time to give up. */
static bool write_all(struct writer *w, const char **at, size_t *left)
{
	while (*left > 0) {
		if (atomic_load(&last_said))
			return false;
		if (w->chunked && !wait_writable(w))
			return false;
		ssize_t written = write(w->fd, *at, w->chunked && *left > PIPE_BUF ? PIPE_BUF : *left);
		if (written < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		if (written <= 0)
			continue;
		*at += written;
		*left -= (size_t)written;
		w->torn = (*at)[-1] != '\n';
	}
	return true;
}

/* Write lines; returns how many were lost. Half a line that a failed write left is ended before the next begins. */
static uint64_t write_lines(struct writer *w, const char *at, size_t left)
{
	const char *newline = "\n";
	size_t one = 1;
	if ((!w->torn || write_all(w, &newline, &one)) && write_all(w, &at, &left))
		return 0;
	uint64_t lost = 0;
	for (const char *end = at + left; at < end && (at = memchr(at, '\n', (size_t)(end - at))); at++)
		lost++;
	return lost;
}

static int open_file(const char *path)
{
	/* not blocking: a FIFO that nobody reads must not hold up the start */
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static bool is_chunked(int fd)
{
	struct stat status;
	return fstat(fd, &status) != 0 || !S_ISREG(status.st_mode);
}

static void take_target(struct writer *w, struct log_target *target)
{
	atomic_store(&last_fd, target->fd);
	if (w->path)
		close(w->fd);
	free(w->path);
	w->path = target->path;
	w->fd = target->fd;
	w->chunked = is_chunked(w->fd);
	w->torn = false;
	free(target);
}

/* When the new file cannot be opened the old one is kept: better a renamed log than none. */
static void reopen_file(struct writer *w)
{
	struct log_line line UNCLEARED;
	int fd = open_file(w->path);
	if (fd >= 0) {
		atomic_store(&last_fd, fd);
		close(w->fd);
		w->fd = fd;
		w->chunked = is_chunked(fd);
		w->torn = false;
		return;
	}
	start_line(&line, &EVENT_LOG_REOPEN_FAILED);
	log_cstr(&line, "message", strerror(errno));
	log_line_finish(&line);
	write_lines(w, line.text, line.len);
}

/* Leave a mark where lines are missing. Not through the queue, whose fullness it speaks of. */
static void mark_loss(struct writer *w, uint64_t dropped_by_now)
{
	struct log_line line UNCLEARED;
	start_line(&line, &EVENT_LOG_DROPPED);
	log_u64(&line, "lines", dropped_by_now - w->dropped_said);
	log_line_finish(&line);
	if (write_lines(w, line.text, line.len) == 0)
		w->dropped_said = dropped_by_now;
}

static void write_batch(struct writer *w, const char *lines, size_t len, uint64_t dropped_by_now)
{
	struct log_target *next = atomic_exchange(&w->next, NULL);
	if (next)
		take_target(w, next);
	if (atomic_exchange(&w->reopen, false) && w->path && !next)
		reopen_file(w);
	uint64_t lost = write_lines(w, lines, len);
	if (lost > 0)
		atomic_fetch_add_explicit(&dropped, lost, memory_order_relaxed);
	else if (dropped_by_now != w->dropped_said)
		mark_loss(w, dropped_by_now);
}

/* A line that comes alone is written at once; those that come soon after it gather, so that a busy gateway's cost one write
 * for many, and wake nobody. */
static void rest_locked(struct writer *w)
{
	uint64_t until_us = real_now_us() + GATHER_US;
	struct timespec until = { (time_t)(until_us / CLOCK_US_PER_S), (long)(until_us % CLOCK_US_PER_S * 1000) };
	w->resting = true;
	while (!w->stop && w->filled < MANY_BYTES &&
	       pthread_cond_clockwait(&w->wake, &gate, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
		continue;
	w->resting = false;
}

static void *run_writer(void *context)
{
	struct writer *w = context;
	pthread_mutex_lock(&gate);
	for (;;) {
		while (w->filled == 0 && !w->stop) {
			w->idle = true;
			pthread_cond_wait(&w->wake, &gate);
		}
		if (w->filled == 0)
			break;
		const char *lines = w->buffers[w->filling];
		size_t len = w->filled;
		uint64_t dropped_by_now = atomic_load_explicit(&dropped, memory_order_relaxed);
		w->filling = !w->filling;
		w->filled = 0;
		pthread_mutex_unlock(&gate);
		write_batch(w, lines, len, dropped_by_now);
		pthread_mutex_lock(&gate);
		rest_locked(w);
	}
	w->done = true;
	pthread_cond_signal(&w->ended);
	pthread_mutex_unlock(&gate);
	return NULL;
}

/* --- handing over --- */

/* One write(2) to stderr. A closed pipe there must not end the process, whatever is set for SIGPIPE. */
static bool write_directly(const struct log_line *line)
{
	struct pollfd target = { .fd = STDERR_FILENO, .events = POLLOUT };
	sigset_t sigpipe, pending, before;
	if (poll(&target, 1, DIRECT_WAIT_MS) == 0)
		return false;
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigemptyset(&pending);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
	ssize_t written = write(STDERR_FILENO, line->text, line->len);
	if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&sigpipe, NULL, &(struct timespec){ 0, 0 });
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return written == (ssize_t)line->len;
}

static bool enqueue_locked(struct writer *w, const struct log_line *line)
{
	if (line->len > QUEUE_BYTES - w->filled)
		return false;
	memcpy(w->buffers[w->filling] + w->filled, line->text, line->len);
	w->filled += line->len;
	if (w->idle || (w->resting && w->filled >= MANY_BYTES)) {
		w->idle = w->resting = false;
		pthread_cond_signal(&w->wake);
	}
	return true;
}

void log_end(struct log_line *line)
{
	log_line_finish(line);
	pthread_mutex_lock(&gate);
	bool queued = writer != NULL;
	bool kept = queued && enqueue_locked(writer, line);
	pthread_mutex_unlock(&gate);
	if (!queued)
		kept = write_directly(line);
	if (!kept)
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

void log_begin_always(struct log_line *line, const struct log_event *event)
{
	start_line(line, event);
}

static void write_once(int fd, const char *at, size_t left)
{
	while (left > 0) {
		ssize_t written = write(fd, at, left);
		if (written <= 0)
			return; /* full or gone: nobody waits for the last line of a process */
		at += written;
		left -= (size_t)written;
	}
}

void log_end_at_once(struct log_line *line)
{
	int fd = atomic_load(&last_fd);
	atomic_store(&last_said, true);
	log_line_finish(line);
	write_once(fd, line->text, line->len);
	if (fd != STDERR_FILENO && fd != STDOUT_FILENO)
		write_once(STDERR_FILENO, line->text, line->len);
}

void log_message(const struct log_event *event, const char *format, ...)
{
	struct log_line line UNCLEARED;
	if (!log_begin(&line, event))
		return;
	char text[LOG_LINE_BYTES]; /* as long as the line: what it cuts, the line would have cut */
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_cstr(&line, "message", text);
	log_end(&line);
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&dropped, memory_order_relaxed);
}

void log_reopen(void)
{
	pthread_mutex_lock(&gate);
	if (writer)
		atomic_store(&writer->reopen, true);
	pthread_mutex_unlock(&gate);
}

/* --- opening and closing --- */

static void lock_gate(void)
{
	pthread_mutex_lock(&gate);
}

static void unlock_gate(void)
{
	pthread_mutex_unlock(&gate);
}

/* A child has no writer thread, and the queued lines are its parent's to write. */
static void leave_writer(void)
{
	writer = NULL;
	pthread_mutex_unlock(&gate);
}

static void watch_forks(void)
{
	pthread_atfork(lock_gate, unlock_gate, leave_writer);
}

void log_target_free(struct log_target *target)
{
	if (!target)
		return;
	if (target->path && target->fd >= 0)
		close(target->fd);
	free(target->path);
	free(target);
}

struct log_target *log_target_open(const char *path, char *error, size_t error_bytes)
{
	struct log_target *target = calloc(1, sizeof *target);
	bool out = strcmp(path, "stdout") == 0, err = strcmp(path, "stderr") == 0;
	if (target && !out && !err) {
		target->path = strdup(path);
		target->fd = target->path ? open_file(path) : -1;
	} else if (target) {
		target->fd = out ? STDOUT_FILENO : STDERR_FILENO;
	}
	if (target && target->fd >= 0)
		return target;
	snprintf(error, error_bytes, "%s", target && target->path ? strerror(errno) : "out of memory");
	log_target_free(target);
	return NULL;
}

void log_change(struct log_target *target, enum log_level level, enum log_format format)
{
	pthread_mutex_lock(&gate);
	if (writer && target)
		target = atomic_exchange(&writer->next, target); /* the one before, if nobody has used it yet */
	pthread_mutex_unlock(&gate);
	log_target_free(target);
	atomic_store_explicit(&wanted_level, (int)level, memory_order_relaxed);
	atomic_store_explicit(&wanted_format, (int)format, memory_order_relaxed);
}

static void free_writer(struct writer *w)
{
	if (w->path)
		close(w->fd);
	free(w->path);
	log_target_free(atomic_load(&w->next));
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->ended);
	free(w);
}

/* Takes the target. NULL: out of memory. */
static struct writer *new_writer(struct log_target *target)
{
	struct writer *w = calloc(1, sizeof *w); /* untouched buffer pages cost nothing */
	if (!w) {
		log_target_free(target);
		return NULL;
	}
	pthread_cond_init(&w->wake, NULL);
	pthread_cond_init(&w->ended, NULL);
	atomic_init(&w->give_up_us, CLOCK_NEVER);
	w->dropped_said = log_dropped();
	take_target(w, target);
	return w;
}

/* With every signal blocked: they are the main thread's, and EPIPE shall come as an error only. */
static bool start_writer(struct writer *w)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	errno = pthread_create(&w->thread, NULL, run_writer, w);
	int failed = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!failed)
		pthread_setname_np(w->thread, "log");
	return !failed;
}

bool log_open(const char *path, enum log_level level, enum log_format format, char *error, size_t error_bytes)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	assert(!writer);
	pthread_once(&once, watch_forks);
	struct log_target *target = log_target_open(path, error, error_bytes);
	struct writer *w = target ? new_writer(target) : NULL;
	if (w && !start_writer(w)) {
		atomic_store(&last_fd, STDERR_FILENO);
		free_writer(w);
		w = NULL;
	}
	if (target && !w)
		snprintf(error, error_bytes, "out of memory or threads");
	if (!w)
		return false;
	atomic_store_explicit(&wanted_level, (int)level, memory_order_relaxed);
	atomic_store_explicit(&wanted_format, (int)format, memory_order_relaxed);
	pthread_mutex_lock(&gate);
	writer = w;
	pthread_mutex_unlock(&gate);
	return true;
}

void log_close(void)
{
	pthread_mutex_lock(&gate);
	struct writer *w = writer;
	writer = NULL;
	atomic_store(&last_fd, STDERR_FILENO);
	if (!w) {
		pthread_mutex_unlock(&gate);
		return;
	}
	uint64_t give_up_us = real_now_us() + CLOSE_WAIT_MS * CLOCK_US_PER_MS;
	uint64_t leave_us = give_up_us + CLOSE_GRACE_MS * CLOCK_US_PER_MS;
	struct timespec leave = { (time_t)(leave_us / CLOCK_US_PER_S), (long)(leave_us % CLOCK_US_PER_S * 1000) };
	atomic_store_explicit(&w->give_up_us, give_up_us, memory_order_relaxed);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	while (!w->done && pthread_cond_clockwait(&w->ended, &gate, CLOCK_MONOTONIC, &leave) != ETIMEDOUT)
		continue;
	bool done = w->done;
	pthread_mutex_unlock(&gate);
	if (!done) {
		pthread_detach(w->thread); /* hangs in the kernel; what it may still touch is left to it */
		return;
	}
	pthread_join(w->thread, NULL);
	free_writer(w);
}
