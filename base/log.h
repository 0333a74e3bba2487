/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h: one line per event, logfmt or JSON, every byte escaped. A line is built on the stack and handed to a writer
 * thread through a bounded queue: a slow disk or a full pipe costs lines (counted, and marked in the log by an event
 * log_dropped where they are missing), never a worker's time.
 * Nothing secret and no bodies: what is logged is chosen field by field.
 */
#ifndef JITNEY_BASE_LOG_H
#define JITNEY_BASE_LOG_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/log_events.h"
#include "base/slice.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

/* One row of log_events.h, as EVENT_CALL and so on. */
struct log_event {
	enum log_level level;
	const char *name;
};
#define LOG_DECLARE_EVENT(ID, NAME, LEVEL, FIELDS, WHEN) extern const struct log_event EVENT_##ID;
LOG_EVENTS(LOG_DECLARE_EVENT)
#undef LOG_DECLARE_EVENT

enum { LOG_LINE_BYTES = 2048 }; /* a longer line loses its last fields and gets truncated=true */

/* One line under construction; lives on the stack. */
struct log_line {
	size_t len;
	bool truncated;
	char text[LOG_LINE_BYTES];
};

/* Open `path` ("stderr", "stdout" or a file, appended to) and start the writer thread. Before log_open and after
 * log_close lines go to stderr directly. False: `error` says why. Main thread. */
bool log_open(const char *path, enum log_level level, enum log_format format, char *error,
	      size_t error_bytes) MUST_CHECK;
/* Write what is queued (at most about a second's worth of trying), stop the thread. Main thread. */
void log_close(void);
/* Lines lost since the start because the queue was full or the write failed. Any thread. */
uint64_t log_dropped(void);
/* Another place for it, opened as log_open does, to be used later: so that nothing is half changed. NULL: `error` says
 * why. Any thread. */
struct log_target;
struct log_target *log_target_open(const char *path, char *error, size_t error_bytes) MUST_CHECK;
/* NULL is allowed. */
void log_target_free(struct log_target *target);
/* From the next line that is written on: there (taken; NULL: where it was), from this level on, in this form. After
 * log_open. Any thread. */
void log_change(struct log_target *target, enum log_level level, enum log_format format);
/* Close and open the file again (after rotation). Any thread; takes effect with the next line written. */
void log_reopen(void);

/* Whether a line of this level would be written. Any thread, cheap. */
bool log_wanted(enum log_level level);

/* Start a line: time, level, event. False when its level is not wanted: then skip the fields and log_end. */
bool log_begin(struct log_line *line, const struct log_event *event);
/* A field. Names are ours: [a-z_]+. Values are escaped: quotes, backslash, control bytes, invalid UTF-8. */
void log_text(struct log_line *line, const char *name, struct slice value);
void log_cstr(struct log_line *line, const char *name, const char *value); /* NULL: the field is left out */
/* A value of ours which needs no quotes and no escape: letters, digits, '_', '-', '.'; it is not looked at. */
void log_word(struct log_line *line, const char *name, const char *word);
void log_u64(struct log_line *line, const char *name, uint64_t value);
/* Microseconds, printed as seconds: 0.001234 */
void log_seconds(struct log_line *line, const char *name, uint64_t value_us);
/* Hand the line over. Any thread; never blocks longer than a memcpy under a short mutex. */
void log_end(struct log_line *line);

/* For the last line of a process that dies (crash.h), from a signal's handler: begun whatever the level, written at
 * once, past the queue, to the log and, if that is a file, to stderr. What is still in the queue then is lost. */
void log_begin_always(struct log_line *line, const struct log_event *event);
void log_end_at_once(struct log_line *line);

/* A whole line with one free-text field `message`, for start-up and rare events. */
void log_message(const struct log_event *event, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
