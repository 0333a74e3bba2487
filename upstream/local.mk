# Providers: dialects, connections. The only folder that uses curl.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES = \
	upstream/client.c upstream/client.h \
	upstream/dialect.c upstream/dialect.h \
	upstream/dialect_envelope.c \
	upstream/dialect_graphql.c \
	upstream/dialect_jsonrpc.c \
	upstream/dialect_key_list.c \
	upstream/dialect_mcp.c \
	upstream/dialect_openai_embeddings.c \
	upstream/dialect_rest.c \
	upstream/dialect_stdio.c \
	upstream/envelope.c upstream/envelope.h \
	upstream/envelope_item.c \
	upstream/envelope_private.h \
	upstream/graphql.h \
	upstream/graphql_text.c upstream/graphql_text.h \
	upstream/graphql_token.c upstream/graphql_token.h \
	upstream/http_exchange.c upstream/http_exchange.h \
	upstream/http_headers.c upstream/http_headers.h \
	upstream/http_reuse.c \
	upstream/json_path.c upstream/json_path.h \
	upstream/keeper.c upstream/keeper.h \
	upstream/keeper_proc.c \
	upstream/kind.h \
	upstream/key_list.h \
	upstream/list_reader.c upstream/list_reader.h \
	upstream/mcp_answer.c \
	upstream/mcp_control.c upstream/mcp_control.h \
	upstream/mcp_message.c upstream/mcp_message.h \
	upstream/mcp_mirror.c upstream/mcp_mirror.h \
	upstream/mcp_post.c upstream/mcp_post.h \
	upstream/mcp_ride.c upstream/mcp_ride.h \
	upstream/mcp_route.h \
	upstream/mcp_session.c upstream/mcp_session.h \
	upstream/mcp_tools.c upstream/mcp_tools.h \
	upstream/process.c upstream/process.h \
	upstream/process_member.c upstream/process_member.h \
	upstream/process_pool.c upstream/process_pool.h \
	upstream/process_settings.h \
	upstream/sse.c upstream/sse.h \
	upstream/tally.c upstream/tally.h \
	upstream/template.c upstream/template.h \
	upstream/transport.c upstream/transport.h \
	upstream/upstream.c upstream/upstream.h \
	upstream/upstream_http.c \
	upstream/upstream_mcp.c \
	upstream/upstream_process.c \
	upstream/upstream_simulated.c \
	upstream/warden.c upstream/warden.h
