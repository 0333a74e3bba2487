# SPDX-License-Identifier: Apache-2.0
# Providers: dialects, connections. The only folder that uses curl.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES = \
	upstream/provider.h upstream/provider_model.h \
	upstream/provider_simulated.c \
	upstream/retry_budget.c upstream/retry_budget.h \
	upstream/upstream.c upstream/upstream.h \
	upstream/dialects/answer_tracker.c upstream/dialects/answer_tracker.h \
	upstream/dialects/call.h \
	upstream/dialects/dialect.c upstream/dialects/dialect.h \
	upstream/dialects/envelope.c upstream/dialects/envelope.h \
	upstream/dialects/envelope_decode.c \
	upstream/dialects/envelope_encode.c \
	upstream/dialects/envelope_private.h \
	upstream/dialects/error.c upstream/dialects/error.h \
	upstream/dialects/graphql.c upstream/dialects/graphql.h \
	upstream/dialects/graphql_text.c upstream/dialects/graphql_text.h \
	upstream/dialects/graphql_token.c upstream/dialects/graphql_token.h \
	upstream/dialects/json_path.c upstream/dialects/json_path.h \
	upstream/dialects/jsonrpc.c \
	upstream/dialects/key_list.c upstream/dialects/key_list.h \
	upstream/dialects/list_reader.c upstream/dialects/list_reader.h \
	upstream/dialects/openai_embeddings.c \
	upstream/dialects/media.h \
	upstream/dialects/path_guard.c upstream/dialects/path_guard.h \
	upstream/dialects/rest.c \
	upstream/dialects/template.c upstream/dialects/template.h \
	upstream/http/answers.c upstream/http/http_request.h \
	upstream/http/roster.c upstream/http/roster.h upstream/http/place.h \
	upstream/http/attempt.c \
	upstream/authorities.c upstream/authorities.h \
	upstream/http/check.c upstream/http/check.h \
	upstream/http/client.c upstream/http/client.h \
	upstream/endpoint_board.c upstream/endpoint_settings.h \
	upstream/http/endpoint.c upstream/http/endpoint.h \
	upstream/http/exchange.c upstream/http/exchange.h \
	upstream/http/failure.c upstream/http/failure.h \
	upstream/http/freshness.c \
	upstream/http/addresses.c upstream/http/addresses.h \
	upstream/http/lookup.c upstream/http/lookup.h \
	upstream/http/names.c \
	upstream/http/unconnected.c \
	upstream/http/provider_http.c \
	upstream/http/request_headers.c upstream/http/request_headers.h \
	upstream/http/connections.c \
	upstream/http/verdicts.c upstream/http/verdicts.h \
	upstream/http/version.c \
	upstream/http/sockets.c upstream/http/transport.c upstream/http/transport.h upstream/http/transport_private.h \
	upstream/mcp/call_messages.c \
	upstream/mcp/control.c upstream/mcp/control.h upstream/mcp/control_private.h \
	upstream/mcp/farewell.c \
	upstream/mcp/list_tools.c upstream/mcp/list_tools.h \
	upstream/mcp/mcp_dialect.c \
	upstream/mcp/mcp_exchange.c upstream/mcp/mcp_exchange.h \
	upstream/mcp/mcp_message.c upstream/mcp/mcp_message.h \
	upstream/mcp/mcp_route.h \
	upstream/mcp/notes.c \
	upstream/mcp/param_headers.c upstream/mcp/param_headers.h \
	upstream/mcp/post.c upstream/mcp/post.h \
	upstream/mcp/provider_mcp.c \
	upstream/mcp/session.c upstream/mcp/session.h \
	upstream/mcp/sse.c upstream/mcp/sse.h \
	upstream/mcp/tool_result.c \
	upstream/process/call_ids.c upstream/process/call_ids.h \
	upstream/process/fork_server.c upstream/process/fork_server.h \
	upstream/process/member.c upstream/process/member.h \
	upstream/process/pool.c upstream/process/pool.h \
	upstream/process/pool_board.c upstream/process/pool_calls.c upstream/process/pool_tools.c \
	upstream/process/process.c upstream/process/process.h \
	upstream/process_settings.h \
	upstream/process/provider_process.c \
	upstream/process/stdio_dialect.c \
	upstream/process/supervisor.c upstream/process/supervisor.h \
	upstream/process/supervisor_proc.c
