/* SPDX-License-Identifier: Apache-2.0 */
/* log_private.h: how a line begins and ends, for log.c, which hands it over. Its fields are put by log.h's functions. */
#ifndef JITNEY_BASE_LOG_PRIVATE_H
#define JITNEY_BASE_LOG_PRIVATE_H

#include "base/log.h"

/* Time, level and event, whatever the level. No lock and no memory: a signal's handler may, too. */
void log_line_start(struct log_line *line, const struct log_event *event, enum log_format format);
/* No field after it. */
void log_line_finish(struct log_line *line);

#endif
