/* SPDX-License-Identifier: Apache-2.0 */
/* control_private.h: jobs, for the files that make up a control: control.c, notes.c, farewell.c. */
#ifndef JITNEY_UPSTREAM_MCP_CONTROL_PRIVATE_H
#define JITNEY_UPSTREAM_MCP_CONTROL_PRIVATE_H

#include "upstream/mcp/control.h"

#define MCP_NOTE_TIMEOUT_US (10 * CLOCK_US_PER_S)

/* Whose exchange it is. */
struct mcp_job *mcp_job_of(struct mcp_post *post);
/* For one exchange, in the session that there is. */
void mcp_job_prepare(struct mcp_job *job, struct mcp_control *control, const struct mcp_post_ops *ops);
/* False: it could not even set out; job->why says why. */
bool mcp_job_send(struct mcp_job *job, uint64_t timeout_us, const struct upstream_events *events) MUST_CHECK;
void mcp_job_stop(struct mcp_job *job);
/* The upstream_events' `answered` of every job: keeps why it failed. */
void mcp_job_answered(void *context, size_t index, struct answer *answer);
/* mcp_post_ops, for whoever has no need of his own. */
void mcp_job_foreign(struct mcp_post *post, const struct mcp_message *message);
void mcp_job_ignore(struct mcp_post *post, const struct mcp_message *message);

/* Nobody hears of them any more. */
void mcp_notes_drop(struct mcp_control *control);

/* --- farewell.c: sessions of the legacy era that the server may have kept, each ended with DELETE --- */

/* The session, if it has an id, is not ours from now on: it is ended once no call is in it. */
void mcp_farewell_begin(struct mcp_control *control);
/* All of them are told now, within timeout_us. */
void mcp_farewell_hurry(struct mcp_control *control, uint64_t timeout_us);
/* Those that are not through with it are left to the server's own expiry. */
void mcp_farewells_drop(struct mcp_control *control);
void mcp_farewell_due(struct loop_timer *timer, uint64_t now_us);

#endif
