/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_events.h: every event of the log, a row each: identifier, word in the log, level, its fields, when it is written.
 * docs/operations.md#logs shows the same rows (tests/integration/test_papers.py compares); a name or a field here is a
 * promise to those who search their logs for it.
 */
#ifndef JITNEY_BASE_LOG_EVENTS_H
#define JITNEY_BASE_LOG_EVENTS_H

/* clang-format off */
#define LOG_EVENTS(X) \
	X(LISTENING, "listening", INFO, "address listener", "A listener takes connections.") \
	X(LISTENING_NO_MORE, "listening_no_more", INFO, "address listener", "A reload has taken a listener away; its connections end by and by.") \
	X(READY, "ready", INFO, "message", "All listeners do: the start is over.") \
	X(TAKEOVER_ASKED, "takeover_asked", INFO, "message", "Another process wants to take over (jitney serve --takeover).") \
	X(TAKEOVER_FAILED, "takeover_failed", WARN, "message", "It did not, and why: this one goes on.") \
	X(TAKEN_OVER, "taken_over", INFO, "message", "It has: it accepts now what this one did.") \
	X(TOOK_OVER, "took_over", INFO, "message", "The other side of it: this process has taken over.") \
	X(PREDECESSOR_ENDED, "predecessor_ended", INFO, "message", "The process that was taken over from has drained and ended.") \
	X(PREDECESSOR_DIED, "predecessor_died", WARN, "message", "It ended in mid hand-over: this process serves, with what it had handed over and sockets of its own.") \
	X(TAKEOVER_NOT_OFFERED, "takeover_not_offered", WARN, "message", "takeover.socket cannot be made, and why: nobody can take over from this process.") \
	X(LISTENERS_NOT_USED, "listeners_not_used", WARN, "message", "Listening sockets were handed over that are not in the configuration: they are closed.") \
	X(WORKER_STUCK, "worker_stuck", WARN, "message", "A worker's loop does not turn, so the service manager's watchdog gets no sign of life; one line a spell.") \
	X(DRAINING, "draining", INFO, "message", "A signal, POST /admin/drain, or a successor that has taken over: no new connections, calls in flight are finished.") \
	X(STOPPED, "stopped", INFO, "message", "The last line of an ordered end.") \
	X(DIED, "died", ERROR, "signal name backtrace", "The last line of another one: the process got a deadly signal.") \
	X(CALL, "call", INFO, "request_id tenant client mcp_client tool outcome status cache bytes seconds batch_id batch_items attempts queue_seconds upstream_seconds trace_id detail", "A call was answered; batch_id and what follows it if it was sent.") \
	X(REQUEST, "request", INFO, "request_id tenant client mcp_client method path query status bytes seconds", "Any other request was, refused ones too; query: what an operator wants done to what (DELETE /admin/cache?tag=news).") \
	X(PROBE, "request", DEBUG, "request_id tenant client mcp_client method path query status bytes seconds", "The same of /healthz, /readyz and /metrics that went well.") \
	X(REQUEST_REFUSED, "request_refused", DEBUG, "dialect status calls said", "What a provider said of a request with several calls, its first 1,000 bytes; no caller is shown it.") \
	X(ENDPOINT_REACHED, "endpoint_reached", INFO, "upstream endpoint reason", "An endpoint is back.") \
	X(ENDPOINT_NOT_REACHED, "endpoint_not_reached", WARN, "upstream endpoint reason", "An endpoint went: one line a change, not a call.") \
	X(ENDPOINT_UP, "endpoint_state", INFO, "upstream endpoint address state reason", "It is used as the others are.") \
	X(ENDPOINT_STATE, "endpoint_state", WARN, "upstream endpoint address state reason", "It is not, and why: ejected, failed_check or draining.") \
	X(ENDPOINT_ADDRESSES, "endpoint_addresses", INFO, "upstream endpoint addresses", "What its host name stands for now; one line a change.") \
	X(OUT_OF_DESCRIPTORS, "out_of_descriptors", WARN, "message", "New connections are turned away until there are descriptors again; one line a spell.") \
	X(TOOLS_LISTED, "tools_listed", INFO, "message", "The tools of an MCP server are in use; again when their number changes.") \
	X(TOOLS_FAILED, "tools_failed", WARN, "message", "They could not be listed, or not be used.") \
	X(LIST_KEPT, "list_kept", INFO, "message", "The tools of an MCP server are those it had before the start (mcp.lists), until it lists them.") \
	X(LISTS_NOT_USED, "lists_not_used", WARN, "message", "The file of mcp.lists is damaged or cannot be read, and why: it is passed over.") \
	X(LISTS_NOT_WRITTEN, "lists_not_written", WARN, "message", "It cannot be written, and why; one line a spell.") \
	X(TOOL_CHANGED, "tool_changed", WARN, "upstream tool old new", "The server changed what it says of a tool: digests of the old and the new definition.") \
	X(TOOL_REFUSED, "tool_refused", WARN, "upstream tool reason", "A listed tool is not offered, and why.") \
	X(MCP_OPENED, "mcp_opened", INFO, "upstream protocol", "An MCP server over HTTP was discovered or initialized.") \
	X(MCP_NOT_OPENED, "mcp_not_opened", WARN, "upstream reason", "It was not.") \
	X(MCP_SESSION_LOST, "mcp_session_lost", INFO, "upstream protocol", "It no longer knows the session: a new one is opened.") \
	X(MCP_SESSION_LEFT, "mcp_session_left", INFO, "upstream reason", "A session that is not used any more could not be ended: the server keeps it until it expires.") \
	X(MCP_TOOLS_LISTED, "mcp_tools_listed", INFO, "upstream tools left_out reason", "It has listed its tools.") \
	X(MCP_TOOLS_LISTED_AGAIN, "mcp_tools_listed", DEBUG, "upstream tools left_out reason", "It has listed the same tools again.") \
	X(MCP_TOOLS_NOT_LISTED, "mcp_tools_not_listed", WARN, "upstream protocol reason", "It has not.") \
	X(MCP_ARRAYS_REFUSED, "mcp_arrays_refused", WARN, "message", "It takes no JSON-RPC arrays: its calls go one by one from now on.") \
	X(PROCESS_READY, "process_ready", INFO, "upstream command after", "A child process is ready for calls.") \
	X(PROCESS_NOT_STARTED, "process_not_started", WARN, "upstream command reason after", "A child process came to nothing.") \
	X(PROCESS_CRASHED, "process_crashed", WARN, "upstream command reason after", "A child process ended unasked.") \
	X(PROCESS_TOO_LARGE, "process_too_large", WARN, "upstream command reason after", "It holds more than upstreams.*.memory and is replaced.") \
	X(PROCESS_STDERR, "process_stderr", INFO, "upstream pid text", "A line of its standard error, 10 a second at most.") \
	X(PROCESS_STDERR_LEFT_OUT, "process_stderr_left_out", WARN, "message", "How many were left out.") \
	X(CHILDREN_LEFT, "children_left", WARN, "message", "At the end some child processes have not ended yet.") \
	X(REDIS_CONNECTED, "redis_connected", INFO, "message", "A worker has its connection to Redis.") \
	X(REDIS_FAILED, "redis_failed", WARN, "message", "It could not be made.") \
	X(REDIS_LOST, "redis_lost", WARN, "message", "It broke.") \
	X(REDIS_TRACKED, "redis_tracked", INFO, "message", "What other gateways change is heard of.") \
	X(REDIS_UNTRACKED, "redis_untracked", WARN, "message", "It is not, and why.") \
	X(REDIS_BREAKER_OPEN, "redis_breaker_open", WARN, "message", "Redis is too slow or fails: calls go on without it.") \
	X(REDIS_BREAKER_CLOSED, "redis_breaker_closed", INFO, "message", "It answers in time again.") \
	X(REDIS_NO_SCRIPTS, "redis_no_scripts", WARN, "message", "Redis runs no scripts for this gateway: purges are published without, in the order of the gateways' clocks.") \
	X(REDIS_NO_LEASES, "redis_no_leases", WARN, "message", "Redis refused the script of cache.redis.lease: every gateway fetches for itself.") \
	X(PURGE_NOT_SHARED, "purge_not_shared", WARN, "message", "Redis refused to tell the others of a purge: it holds on this gateway only.") \
	X(DISK_CACHE_UP, "disk_cache_up", INFO, "message", "The disk tier is open, with how many answers.") \
	X(DISK_CACHE_UNAVAILABLE, "disk_cache_unavailable", ERROR, "message", "It cannot be used, and why.") \
	X(DISK_CACHE_RECREATED, "disk_cache_recreated", WARN, "message", "Its file is begun anew, and why.") \
	X(DISK_CACHE_CLEARED, "disk_cache_cleared", WARN, "message", "All of it was removed, because a removal could not be queued.") \
	X(DISK_CACHE_HUNG, "disk_cache_hung", ERROR, "message", "At the end: the disk does not answer, the process ends without its snapshot.") \
	X(FD_LIMIT_LOW, "fd_limit_low", WARN, "message", "The limit on open files is lower than limits.connections and the pools may want.") \
	X(MEMORY_NOT_GUARDED, "memory_not_guarded", WARN, "message", "The kernel did not let the gateway keep its memory from programs of the same user.") \
	X(CONFIG_RELOADED, "config_reloaded", INFO, "generation asked_by changed needs_restart", "The configuration was read anew and is in force.") \
	X(CONFIG_REFUSED, "config_refused", WARN, "asked_by reason", "It is not in order: a line for each mistake; the one before stays in force.") \
	X(ALERT_FIRING, "alert_firing", WARN, "alert severity subject upstream detail", "An alert fires as a warning, or is no worse any more.") \
	X(ALERT_CRITICAL, "alert_firing", ERROR, "alert severity subject upstream detail", "It fires, and is critical.") \
	X(ALERT_CLEARED, "alert_cleared", INFO, "alert subject upstream seconds", "It is over, after how long.") \
	X(ALERT_NOT_POSTED, "alert_not_posted", WARN, "message", "alerts.webhook did not take a post, and it is given up; why.") \
	X(TRACES_NOT_SENT, "traces_not_sent", WARN, "message", "The collector refused traces or was not reached, and why; one line a spell.") \
	X(TRACES_SENT, "traces_sent", INFO, "message", "It takes them again.") \
	X(TRACES_REJECTED, "traces_rejected", WARN, "message", "It took a request without some of its spans, and says why.") \
	X(METRICS_NOT_SENT, "metrics_not_sent", WARN, "message", "The collector refused metrics or was not reached, and why; one line a spell.") \
	X(METRICS_SENT, "metrics_sent", INFO, "message", "It takes them again.") \
	X(METRICS_REJECTED, "metrics_rejected", WARN, "message", "It took a request without some of its data points, and says why.") \
	X(LOG_REOPENED, "log_reopened", INFO, "message", "USR1 or HUP: the log file was closed and opened.") \
	X(LOG_REOPEN_FAILED, "log_reopen_failed", ERROR, "message", "It could not be opened: lines go to the old one.") \
	X(LOG_DROPPED, "log_dropped", WARN, "lines", "So many lines are missing here: the disk or the pipe was too slow.")
/* clang-format on */

#endif
