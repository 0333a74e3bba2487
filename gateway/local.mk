# Everything that listens, and the binary. The only folder that uses microhttpd.
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES = \
	gateway/arrivals.c gateway/arrivals.h \
	gateway/asker.c gateway/asker.h \
	gateway/batches.c \
	gateway/call.c gateway/call.h \
	gateway/catalogue.c gateway/catalogue.h \
	gateway/cli.c gateway/cli.h \
	gateway/cli_cache.c \
	gateway/cli_client.c gateway/cli_client.h \
	gateway/config.c gateway/config.h \
	gateway/config_arena.c gateway/config_arena.h \
	gateway/config_check.c \
	gateway/config_dialect.c \
	gateway/config_disk.c \
	gateway/config_errors.c \
	gateway/config_expand.c \
	gateway/config_field.c \
	gateway/config_json.c \
	gateway/config_listed.c \
	gateway/config_mcp.c \
	gateway/config_private.h \
	gateway/config_process.c \
	gateway/config_read.c \
	gateway/config_redis.c \
	gateway/config_schema.c \
	gateway/config_values.c gateway/config_values.h \
	gateway/config_yaml.c gateway/config_yaml.h \
	gateway/definitions.c gateway/definitions.h \
	gateway/dispatch.c gateway/dispatch.h gateway/dispatch_private.h \
	gateway/dispatch_look.c \
	gateway/embeddings.c gateway/embeddings.h \
	gateway/export.c gateway/export.h \
	gateway/http.c gateway/http.h \
	gateway/http_connection.c \
	gateway/http_guard.c gateway/http_guard.h \
	gateway/http_held.c \
	gateway/http_linger.c \
	gateway/http_private.h \
	gateway/http_reply.c \
	gateway/import.c gateway/import.h \
	gateway/listen.c gateway/listen.h \
	gateway/listing.c gateway/listing.h \
	gateway/mailbox.c gateway/mailbox.h \
	gateway/mcp.c gateway/mcp.h \
	gateway/mcp_call.c \
	gateway/mcp_headers.c \
	gateway/mcp_listen.c \
	gateway/mcp_note.c \
	gateway/mcp_origin.c \
	gateway/mcp_private.h \
	gateway/mcp_request.c gateway/mcp_request.h \
	gateway/mcp_tools.c \
	gateway/mcp_write.c \
	gateway/naming.c gateway/naming.h \
	gateway/options.c gateway/options.h \
	gateway/pages.c gateway/pages.h \
	gateway/pages_listing.c \
	gateway/purging.c gateway/purging.h \
	gateway/reply.c gateway/reply.h \
	gateway/registry.c gateway/registry.h \
	gateway/rest.c gateway/rest.h \
	gateway/routes.c gateway/routes.h \
	gateway/schema.c gateway/schema.h \
	gateway/serve.c gateway/serve.h \
	gateway/simulate.c \
	gateway/simulate_plot.c gateway/simulate_plot.h \
	gateway/simulation.c gateway/simulation.h \
	gateway/slots.c gateway/slots.h \
	gateway/worker.c gateway/worker.h

bin_PROGRAMS += jitney
jitney_SOURCES = gateway/main.c
jitney_LDADD = $(LIBS_GATEWAY) -lpthread
