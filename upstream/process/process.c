/* SPDX-License-Identifier: Apache-2.0 */
/* process.c: four descriptors of a child (stdin, stdout, stderr, control) on the loop, what it says and what waits for it.
 */
#include "upstream/process/process.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "upstream/process/fork_server.h"

enum {
	READ_BYTES = 64 * 1024,      /* at once: what a pipe holds */
	READS_PER_TURN = 8,          /* then it is another's turn */
	KEPT_BYTES = 4 * READ_BYTES, /* a larger buffer is given back once it is empty; and so much is not counted */
	COMPLAINT_BYTES = 1024,
	WRITE_BYTES = 1024 * 1024, /* at once: a pipe holds far less, but its reader may be as fast as we are */
	LINES_PER_WRITE = 64
};

TAILQ_HEAD(line_list, process_line);

/* One that lies here: what was said, or the rest of a line whose owner has gone. */
struct copied_line {
	struct process_line line;
	char bytes[];
};

const char *const process_inherited[] = { "HOME",  "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH",
					  "SHELL", "TERM", "TMPDIR", "TZ",       "USER",    NULL };

struct process {
	const struct process_settings *settings;
	struct loop *loop;
	const struct process_events *events;
	void *context;
	struct loop_watch in, out, err, control; /* fd -1: closed */
	struct buf said;                         /* of stdout: what is no whole line yet */
	size_t held;                             /* bytes of it that are counted */
	bool skipping;                           /* an overlong line, to its end */
	size_t lines;                            /* given since the last read began, */
	bool of_use;                             /* and whether one of them was of use */
	size_t tail_len;
	char tail[PROCESS_TAIL_BYTES]; /* of that line so far */
	struct line_list queue;        /* for stdin; copies are those that are not of a caller's */
	size_t unwritten;              /* bytes of it */
	size_t copied, copies_held;    /* bytes of copies in it, and those of them that are counted */
	bool writable_wanted;          /* stdin is full: the loop tells when it is not */
	size_t complaint_len;
	char complaint[COMPLAINT_BYTES];
	int pid;
	bool stopping;
	bool cannot_start;
	char reason[PROCESS_REASON_BYTES]; /* "" until it is known */
};

/* --- what is counted --- */

/* All but the first KEPT_BYTES. False: there is no room. */
static bool count_held(struct process *process, enum process_holds what, size_t *held, size_t bytes)
{
	size_t counted = bytes > KEPT_BYTES ? bytes - KEPT_BYTES : 0;
	if (!process->events->hold || counted == *held)
		return true;
	if (counted < *held)
		process->events->let_go(process->context, what, *held - counted);
	else if (!process->events->hold(process->context, what, counted - *held))
		return false;
	*held = counted;
	return true;
}

/* What a long line takes. */
static bool count_line(struct process *process, size_t bytes)
{
	return count_held(process, PROCESS_HOLDS_SAID, &process->held, bytes);
}

static bool count_copies(struct process *process, size_t bytes)
{
	return count_held(process, PROCESS_HOLDS_QUEUED, &process->copies_held, bytes);
}

/* --- the queue --- */

static void drop_line(struct process *process, struct process_line *line)
{
	TAILQ_REMOVE(&process->queue, line, next);
	line->queued = false;
	process->unwritten -= line->text.len - line->written;
	if (!line->copied)
		return;
	process->copied -= line->text.len;
	count_copies(process, process->copied);
	free(container_of(line, struct copied_line, line));
}

/* --- descriptors --- */

static void drop_watch(struct process *process, struct loop_watch *watch)
{
	int fd = watch->fd;
	if (fd < 0)
		return;
	loop_unwatch(process->loop, watch);
	watch->fd = -1;
	close(fd);
}

static void drop_stdin(struct process *process)
{
	struct process_line *line;
	drop_watch(process, &process->in);
	while ((line = TAILQ_FIRST(&process->queue)))
		drop_line(process, line);
}

static void drop_all(struct process *process)
{
	drop_stdin(process);
	drop_watch(process, &process->out);
	drop_watch(process, &process->err);
	drop_watch(process, &process->control);
}

/* --- stdout --- */

/* Forget the first bytes of a buffer. */
static void shift_buf(struct buf *buf, size_t bytes)
{
	buf->len -= bytes;
	if (buf->store && buf->len)
		memmove(buf->store->bytes, buf->store->bytes + bytes, buf->len);
	else if (buf->store && buf->store->len > KEPT_BYTES)
		buf_fini(buf);
}

/* The last bytes of what is skipped. */
static void keep_tail(struct process *process, struct slice text)
{
	size_t room = PROCESS_TAIL_BYTES;
	size_t fresh = text.len < room ? text.len : room;
	size_t old = process->tail_len < room - fresh ? process->tail_len : room - fresh;
	memmove(process->tail, process->tail + process->tail_len - old, old);
	if (fresh)
		memcpy(process->tail + old, text.at + text.len - fresh, fresh);
	process->tail_len = old + fresh;
}

static void end_overlong(struct process *process, struct slice rest)
{
	process->skipping = false;
	keep_tail(process, rest);
	process->events->overlong(process->context, (struct slice){ process->tail, process->tail_len }, true);
}

static void give_line(struct process *process, struct slice line)
{
	if (process->skipping) {
		end_overlong(process, line);
		return;
	}
	if (line.len > process->settings->line_bytes) { /* its end came with it */
		process->tail_len = 0;
		process->events->overlong(process->context, line, false);
		end_overlong(process, line);
		return;
	}
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	if (line.len) {
		process->lines++;
		process->of_use |= process->events->line(process->context, line);
	}
}

/* All whole lines; `from`: bytes that are known to hold no line's end. */
static void give_lines(struct process *process, size_t from)
{
	struct slice said = buf_slice(&process->said);
	size_t start = 0;
	const char *end;
	while ((end = memchr(said.at + from, '\n', said.len - from))) {
		size_t at = (size_t)(end - said.at);
		give_line(process, (struct slice){ said.at + start, at - start });
		start = from = at + 1;
	}
	shift_buf(&process->said, start);
}

static void give_up_line(struct process *process)
{
	if (!process->skipping) {
		process->tail_len = 0;
		keep_tail(process, buf_slice(&process->said));
		process->events->overlong(process->context, buf_slice(&process->said), false);
	}
	process->skipping = true;
	buf_fini(&process->said);
}

/* Room for the next piece of a line. */
static bool make_said_room(struct process *process)
{
	struct buf *said = &process->said;
	return said->len <= process->settings->line_bytes && count_line(process, said->len + READ_BYTES) &&
	       buf_reserve(said, READ_BYTES);
}

/* Once. 0: nothing there now; -1: the end. */
static int read_out(struct process *process)
{
	struct buf *said = &process->said;
	size_t from = said->len;
	if (!make_said_room(process)) {
		give_up_line(process); /* too long, or there is no room or memory: the same to its caller */
		count_line(process, 0);
		if (!buf_reserve(said, READ_BYTES)) {
			buf_fini(said);
			return 0;
		}
		from = 0;
	}
	ssize_t got = read(process->out.fd, said->store->bytes + said->len, READ_BYTES);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (got == 0)
		return -1;
	said->len += (size_t)got;
	loop_spend(process->loop, (size_t)got);
	give_lines(process, from);
	if (process->skipping) {
		keep_tail(process, buf_slice(said));
		buf_reset(said);
	} else if (said->len) {
		process->events->line_under_way(process->context, buf_slice(said));
	}
	count_line(process, said->len);
	return 1;
}

/* A child that closes its stdout cannot be talked to any more. */
static void on_out(struct loop_watch *watch, uint32_t events)
{
	struct process *process = container_of(watch, struct process, out);
	(void)events;
	for (int i = 0; i < READS_PER_TURN; i++) {
		process->lines = 0;
		process->of_use = false;
		if (loop_spent(process->loop))
			return; /* it stays readable: the next turn reads on */
		int more = read_out(process);
		if (more == 0 || (more > 0 && process->lines && !process->of_use))
			return; /* nothing there, or noise: it is another's turn */
		if (more < 0) {
			drop_watch(process, &process->out);
			process_stop(process);
			process->events->deafened(process->context);
			return;
		}
	}
}

/* --- stderr --- */

static void give_complaint(struct process *process)
{
	size_t len = process->complaint_len;
	process->complaint_len = 0;
	if (len && process->complaint[len - 1] == '\r')
		len--;
	if (len)
		process->events->complained(process->context, (struct slice){ process->complaint, len });
}

static void take_complaint(struct process *process, struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] == '\n')
			give_complaint(process);
		else if (process->complaint_len < COMPLAINT_BYTES)
			process->complaint[process->complaint_len++] = text.at[i];
}

static int read_err(struct process *process)
{
	char text[4 * COMPLAINT_BYTES];
	ssize_t got = read(process->err.fd, text, sizeof text);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	take_complaint(process, (struct slice){ text, (size_t)got });
	return got == 0 ? -1 : 1;
}

static void on_err(struct loop_watch *watch, uint32_t events)
{
	struct process *process = container_of(watch, struct process, err);
	(void)events;
	if (read_err(process) < 0)
		drop_watch(process, &process->err);
}

/* --- the control socket --- */

static void note_failed(struct process *process, const struct child_report *note)
{
	process->cannot_start = true;
	const struct process_settings *settings = process->settings;
	const char *cwd = settings->cwd_shown ? settings->cwd_shown : settings->cwd;
	switch (note->stage) {
	case STAGE_CWD:
		snprintf(process->reason, sizeof process->reason, "cannot start in cwd '%.150s': %s", cwd ? cwd : "",
			 strerror(note->error));
		break;
	case STAGE_EXEC:
		snprintf(process->reason, sizeof process->reason, "cannot execute '%.150s': %s",
			 process_program(settings), strerror(note->error));
		break;
	default:
		snprintf(process->reason, sizeof process->reason, "cannot be started: %s", strerror(note->error));
		break;
	}
}

static void note_exited(struct process *process, int status)
{
	if (process->reason[0])
		return;
	if (WIFSIGNALED(status))
		snprintf(process->reason, sizeof process->reason, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(process->reason, sizeof process->reason, "exited with status %d", WEXITSTATUS(status));
}

/* It and its offspring are gone, so what the pipes hold is all there will be. */
static void finish_process(struct process *process)
{
	if (!process->reason[0])
		snprintf(process->reason, sizeof process->reason, "was lost: its supervisor has ended");
	while (process->out.fd >= 0 && read_out(process) > 0)
		continue;
	while (process->err.fd >= 0 && read_err(process) > 0)
		continue;
	give_complaint(process);
	drop_all(process);
	process->events->ended(process->context, process->cannot_start, process->reason);
}

/* False: it was the last one. */
static bool take_note(struct process *process, const struct child_report *note)
{
	switch (note->kind) {
	case CHILD_STARTED:
		process->pid = note->pid;
		return true;
	case CHILD_FAILED:
		note_failed(process, note);
		return true;
	case CHILD_SAMPLE:
		process->events->sampled(process->context, note->cpu_us, note->resident_bytes);
		return true;
	default:
		note_exited(process, note->status);
		return false;
	}
}

static void on_control(struct loop_watch *watch, uint32_t events)
{
	struct process *process = container_of(watch, struct process, control);
	(void)events;
	for (;;) {
		struct child_report note;
		ssize_t got = recv(process->control.fd, &note, sizeof note, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got < 0 && errno == ECONNRESET)
			continue; /* it ended with a word of ours unread; told once, and its own last words follow */
		if (got == (ssize_t)sizeof note && take_note(process, &note))
			continue;
		finish_process(process);
		return;
	}
}

/* --- stdin --- */

static void want_writable(struct process *process, bool wanted)
{
	if (wanted == process->writable_wanted)
		return;
	process->writable_wanted = wanted;
	loop_rewatch(process->loop, &process->in, wanted ? EPOLLOUT : 0);
}

/* So much of the queue has left. */
static void note_written(struct process *process, size_t bytes)
{
	while (bytes) {
		struct process_line *line = TAILQ_FIRST(&process->queue);
		size_t left = line->text.len - line->written, gone = bytes < left ? bytes : left;
		line->written += gone;
		process->unwritten -= gone;
		bytes -= gone;
		if (gone == left)
			drop_line(process, line);
	}
}

static ssize_t write_some(struct process *process)
{
	struct iovec pieces[LINES_PER_WRITE];
	const struct process_line *line;
	size_t count = 0, room = WRITE_BYTES;
	TAILQ_FOREACH (line, &process->queue, next) {
		size_t left = line->text.len - line->written;
		left = left < room ? left : room;
		pieces[count++] = (struct iovec){ (char *)line->text.at + line->written, left };
		room -= left;
		if (count == LINES_PER_WRITE || room == 0)
			break;
	}
	return writev(process->in.fd, pieces, (int)count);
}

/* As much as it takes, and as one turn may give. False: its stdin is closed on the other side. */
static bool write_queue(struct process *process)
{
	for (size_t written = 0; !TAILQ_EMPTY(&process->queue) && written < WRITE_BYTES;) {
		ssize_t put = write_some(process);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return errno == EAGAIN;
		note_written(process, (size_t)put);
		written += (size_t)put;
	}
	return true;
}

void process_flush(struct process *process)
{
	if (process->in.fd < 0)
		return;
	if (write_queue(process))
		want_writable(process, !TAILQ_EMPTY(&process->queue));
	else
		process_stop(process); /* how it ended is told by the control socket */
}

bool process_put(struct process *process, struct process_line *line)
{
	assert_owner(loop_owner(process->loop));
	assert(!line->queued && line->text.len);
	if (process->in.fd < 0 || process->unwritten + line->text.len > process->settings->queue_bytes)
		return false;
	line->written = 0;
	line->queued = true;
	TAILQ_INSERT_TAIL(&process->queue, line, next);
	process->unwritten += line->text.len;
	return true;
}

/* NULL: out of memory. */
static struct process_line *copy_line(struct process *process, struct slice text)
{
	struct copied_line *copy = malloc(sizeof *copy + text.len);
	if (!copy)
		return NULL;
	memcpy(copy->bytes, text.at, text.len);
	copy->line = (struct process_line){ .text = { copy->bytes, text.len }, .copied = true };
	process->copied += text.len;
	return &copy->line;
}

bool process_say(struct process *process, struct slice text)
{
	struct process_line *line;
	if (process->in.fd < 0 || process->unwritten + text.len > process->settings->queue_bytes ||
	    !count_copies(process, process->copied + text.len))
		return false;
	if ((line = copy_line(process, text)) && process_put(process, line))
		return true;
	count_copies(process, process->copied);
	return false;
}

void process_take_back(struct process *process, struct process_line *line)
{
	assert_owner(loop_owner(process->loop));
	if (!line->queued)
		return;
	struct slice rest = { line->text.at + line->written, line->text.len - line->written };
	struct process_line *copy = line->written ? copy_line(process, rest) : NULL;
	drop_line(process, line);
	if (copy) { /* it was the first one. It is counted if there is room: it has to be held */
		copy->queued = true;
		TAILQ_INSERT_HEAD(&process->queue, copy, next);
		process->unwritten += rest.len;
		count_copies(process, process->copied);
	} else if (line->written) {
		process_stop(process);
	}
}

bool process_takes_lines(const struct process *process)
{
	return process->in.fd >= 0;
}

size_t process_unwritten(const struct process *process)
{
	return process->unwritten;
}

static void on_in(struct loop_watch *watch, uint32_t events)
{
	struct process *process = container_of(watch, struct process, in);
	if (events & EPOLLERR)
		process_stop(process); /* it has closed its stdin: it takes no calls any more */
	else
		process_flush(process);
	if (process->in.fd < 0)
		process->events->deafened(process->context);
}

/* --- life --- */

static void send_stop(struct process *process, uint64_t grace_us, uint64_t term_us)
{
	struct child_stop stop = { grace_us, term_us };
	if (process->control.fd < 0)
		return;
	if (send(process->control.fd, &stop, sizeof stop, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof stop)
		shutdown(process->control.fd, SHUT_WR); /* the supervisor takes that for the end of the gateway */
}

void process_stop(struct process *process)
{
	assert_owner(loop_owner(process->loop));
	if (process->stopping)
		return;
	process->stopping = true;
	drop_stdin(process);
	send_stop(process, process->settings->grace_us, process->settings->term_us);
}

void process_kill(struct process *process)
{
	assert_owner(loop_owner(process->loop));
	process->stopping = true;
	drop_stdin(process);
	send_stop(process, 0, 0);
}

int process_pid(const struct process *process)
{
	return process->pid;
}

static bool is_configured(const struct process_settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->variable_count; i++)
		if (strcmp(settings->variables[i].name, name) == 0)
			return true;
	return false;
}

/* "NAME=value" texts in `text`, their places in the list that is returned (to be freed): what is inherited, then what
 * is configured. NULL: out of memory. */
static const char **make_environment(const struct process_settings *settings, struct buf *text)
{
	const char **list = calloc(countof(process_inherited) + settings->variable_count + 1, sizeof *list);
	size_t count = 0, at = 0;
	for (size_t i = 0; process_inherited[i]; i++) {
		const char *value = getenv(process_inherited[i]);
		if (!value || is_configured(settings, process_inherited[i]))
			continue;
		buf_printf(text, "%s=%s%c", process_inherited[i], value, '\0');
		count++;
	}
	for (size_t i = 0; i < settings->variable_count; i++, count++)
		buf_printf(text, "%s=%s%c", settings->variables[i].name, settings->variables[i].value, '\0');
	if (!list || text->failed) {
		free(list);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		list[i] = text->store->bytes + at;
		at += strlen(list[i]) + 1;
	}
	return list;
}

static bool spawn_child(const struct process_settings *settings, struct fork_server_child *child, char *error,
			size_t error_bytes)
{
	struct buf text = BUF_INIT(SIZE_MAX / 4);
	const char **environment = make_environment(settings, &text);
	const struct fork_server_order order = { settings->argv, environment, settings->cwd, settings->memory_bytes,
						 settings->sample_us };
	bool ok = environment && fork_server_spawn(&order, child, error, error_bytes);
	if (!environment)
		snprintf(error, error_bytes, "out of memory");
	free(environment);
	buf_fini(&text);
	return ok;
}

static bool watch_all(struct process *process, const struct fork_server_child *child)
{
	process->control.fd = child->control_fd; /* so that all are closed if one cannot be watched */
	process->in.fd = child->stdin_fd;
	process->out.fd = child->stdout_fd;
	process->err.fd = child->stderr_fd;
	return loop_watch(process->loop, &process->control, child->control_fd, EPOLLIN) &&
	       loop_watch(process->loop, &process->in, child->stdin_fd, 0) &&
	       loop_watch(process->loop, &process->out, child->stdout_fd, EPOLLIN) &&
	       loop_watch(process->loop, &process->err, child->stderr_fd, EPOLLIN);
}

struct process *process_start(const struct process_settings *settings, struct loop *loop,
			      const struct process_events *events, void *context, char *error, size_t error_bytes)
{
	struct process *process = calloc(1, sizeof *process);
	struct fork_server_child child;
	if (!process) {
		snprintf(error, error_bytes, "out of memory");
		return NULL;
	}
	process->settings = settings;
	process->loop = loop;
	process->events = events;
	process->context = context;
	process->in = (struct loop_watch){ on_in, -1 };
	process->out = (struct loop_watch){ on_out, -1 };
	process->err = (struct loop_watch){ on_err, -1 };
	process->control = (struct loop_watch){ on_control, -1 };
	buf_init(&process->said, SIZE_MAX / 4);
	TAILQ_INIT(&process->queue);
	if (!spawn_child(settings, &child, error, error_bytes)) {
		free(process);
		return NULL;
	}
	if (watch_all(process, &child))
		return process;
	snprintf(error, error_bytes, "cannot watch a child process: %s", strerror(errno));
	process_free(process);
	return NULL;
}

void process_free(struct process *process)
{
	if (!process)
		return;
	process_stop(process);
	drop_all(process);
	count_line(process, 0);
	buf_fini(&process->said);
	free(process);
}
