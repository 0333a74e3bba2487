# SPDX-License-Identifier: Apache-2.0
# Everything that listens, and the binary. The only folder that uses microhttpd.
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES = \
	gateway/access/access.c gateway/access/access.h \
	gateway/admin/alert_latch.c gateway/admin/alert_latch.h \
	gateway/admin/alert_measures.c \
	gateway/admin/alert_news.c \
	gateway/admin/alerts.c gateway/admin/alerts.h gateway/admin/alerts_private.h \
	gateway/admin/alerts_page.c \
	gateway/admin/calls_page.c \
	gateway/admin/calls_survey.c gateway/admin/calls_survey.h \
	gateway/admin/cache_pages.c gateway/admin/cache_pages.h \
	gateway/admin/condition.c gateway/admin/condition.h \
	gateway/admin/config_page.c \
	gateway/admin/dashboard.c gateway/admin/dashboard.h \
	gateway/admin/export.c gateway/admin/export.h \
	gateway/admin/file_watch.c gateway/admin/file_watch.h \
	gateway/admin/health.c gateway/admin/health.h \
	gateway/admin/endpoints_page.c \
	gateway/admin/heap_page.c \
	gateway/admin/observation.h \
	gateway/admin/observer.c gateway/admin/observer.h \
	gateway/admin/pages.c gateway/admin/pages.h \
	gateway/admin/profile_page.c gateway/admin/profile_page.h \
	gateway/admin/process_settings.c gateway/admin/process_settings.h \
	gateway/admin/purge.c gateway/admin/purge.h \
	gateway/admin/reload.c gateway/admin/reload.h \
	gateway/admin/stats_page.c \
	gateway/admin/tenants_list.c \
	gateway/admin/threads_page.c \
	gateway/admin/tools_page.c \
	gateway/admin/webhook.c gateway/admin/webhook.h \
	gateway/call/await_lists.c gateway/call/await_lists.h \
	gateway/call/await_turn.c gateway/call/await_turn.h \
	gateway/call/call.c gateway/call/call.h \
	gateway/call/call_group.c gateway/call/call_group.h \
	gateway/call/call_group_held.c gateway/call/call_group_private.h \
	gateway/call/call_trace.c gateway/call/call_trace.h \
	gateway/call/caller.c gateway/call/caller.h \
	gateway/call/dispatch.c gateway/call/dispatch.h \
	gateway/call/dispatch_private.h \
	gateway/call/dispatch_tier.c \
	gateway/call/front.c gateway/call/front.h \
	gateway/call/listening.c gateway/call/listening.h \
	gateway/call/pieces.c gateway/call/pieces.h \
	gateway/call/provider.c gateway/call/provider.h \
	gateway/call/recent_calls.c gateway/call/recent_calls.h \
	gateway/call/tenants.c gateway/call/tenants.h \
	gateway/call/reply.c gateway/call/reply.h \
	gateway/call/route.h \
	gateway/call/under_way.c gateway/call/under_way.h \
	gateway/call/worker.c gateway/call/worker.h \
	gateway/call/world.h \
	gateway/cli/workload.c gateway/cli/workload.h \
	gateway/cli/cli.c gateway/cli/cli.h \
	gateway/cli/cli_cache.c \
	gateway/cli/cli_client.c gateway/cli/cli_client.h \
	gateway/cli/cli_reload.c \
	gateway/cli/explain.c \
	gateway/cli/gateway_stats.c gateway/cli/gateway_stats.h \
	gateway/cli/import.c gateway/cli/import.h \
	gateway/cli/import_secrets.c gateway/cli/import_secrets.h \
	gateway/cli/import_text.c gateway/cli/import_text.h \
	gateway/cli/load_pattern.c gateway/cli/load_pattern.h \
	gateway/cli/perf/benchmark.c gateway/cli/perf/benchmark.h \
	gateway/cli/perf/benchmark_run.c \
	gateway/cli/perf/call_list.c gateway/cli/perf/call_list.h \
	gateway/cli/perf/compare.c \
	gateway/cli/perf/latencies.c gateway/cli/perf/latencies.h \
	gateway/cli/perf/monitor.c \
	gateway/cli/perf/perf.c gateway/cli/perf/perf.h \
	gateway/cli/perf/plot.c \
	gateway/cli/perf/profile.c \
	gateway/cli/perf/report.c gateway/cli/perf/result.h \
	gateway/cli/perf/target.c gateway/cli/perf/target.h \
	gateway/cli/perf/traffic.c gateway/cli/perf/traffic.h \
	gateway/cli/perf/wire.c gateway/cli/perf/wire.h \
	gateway/cli/simulate.c \
	gateway/cli/simulate_plot.c gateway/cli/simulate_plot.h \
	gateway/cli/simulation.c gateway/cli/simulation.h \
	gateway/cli/text_table.c gateway/cli/text_table.h \
	gateway/cli/asker.c gateway/cli/asker.h \
	gateway/cli/top/condition.c gateway/cli/top/condition.h \
	gateway/cli/top/head.c \
	gateway/cli/top/picture.c \
	gateway/cli/top/screen.h \
	gateway/cli/top/top.c \
	gateway/cli/top/views.c gateway/cli/top/views.h \
	gateway/cli/top/watch.c gateway/cli/top/watch.h \
	gateway/cli/worlds.c gateway/cli/worlds.h \
	gateway/config/alert_options.h \
	gateway/config/check.c \
	gateway/config/check_alerts.c \
	gateway/config/check_arguments.c \
	gateway/config/check_dialect.c \
	gateway/config/check_endpoints.c \
	gateway/config/check_disk.c \
	gateway/config/check_listed.c \
	gateway/config/check_mcp.c \
	gateway/config/check_process.c \
	gateway/config/check_redis.c \
	gateway/config/check_tracing.c \
	gateway/config/config.c gateway/config/config.h \
	gateway/config/config_private.h \
	gateway/config/dialect_embeddings.c gateway/config/embeddings_options.h \
	gateway/config/dialect_envelope.c gateway/config/envelope_options.h \
	gateway/config/dialect_graphql.c gateway/config/graphql_options.h \
	gateway/config/dialect_jsonrpc.c \
	gateway/config/dialect_mcp.c \
	gateway/config/dialect_rest.c gateway/config/key_list_options.h \
	gateway/config/dialects.h \
	gateway/config/difference.c gateway/config/difference.h \
	gateway/config/errors.c \
	gateway/config/expand.c \
	gateway/config/file.c \
	gateway/config/field.c \
	gateway/config/json_schema.c \
	gateway/config/options.c gateway/config/options.h \
	gateway/config/read.c \
	gateway/config/secrets.c gateway/config/secrets.h \
	gateway/config/show.c \
	gateway/config/tool.h \
	gateway/config/values.c gateway/config/values.h \
	gateway/config/yaml.c gateway/config/yaml.h \
	gateway/http/accept.c \
	gateway/http/address.h \
	gateway/http/client_address.c gateway/http/client_address.h \
	gateway/http/connection.c \
	gateway/http/daemon.c \
	gateway/http/guard.c gateway/http/guard.h \
	gateway/http/held_bytes.c \
	gateway/http/http.c gateway/http/http.h \
	gateway/http/http_private.h \
	gateway/http/library_refusal.c \
	gateway/http/linger.c \
	gateway/http/listen.c gateway/http/listen.h \
	gateway/http/listeners.c gateway/http/listeners.h \
	gateway/http/response.c \
	gateway/http/settings.h \
	gateway/mcp/array.c \
	gateway/mcp/headers.c \
	gateway/mcp/mcp.c gateway/mcp/mcp.h \
	gateway/mcp/mcp_private.h \
	gateway/mcp/message.c gateway/mcp/message.h \
	gateway/mcp/notifications.c \
	gateway/mcp/origin.c \
	gateway/mcp/result.c \
	gateway/mcp/subscriptions.c \
	gateway/mcp/tools_call.c \
	gateway/mcp/tools_list.c \
	gateway/profile/flame.c \
	gateway/profile/places.c gateway/profile/places.h \
	gateway/profile/pprof.c \
	gateway/profile/profile.c gateway/profile/profile.h \
	gateway/profile/sampler.c gateway/profile/sampler.h \
	gateway/profile/stacks.c gateway/profile/stacks.h \
	gateway/profile/symbols.c gateway/profile/symbols.h \
	gateway/rest/call_batch.c \
	gateway/rest/call_tool.c gateway/rest/call_tool.h \
	gateway/rest/definitions_pages.c gateway/rest/definitions_pages.h \
	gateway/rest/embeddings.c gateway/rest/embeddings.h \
	gateway/server/adapt.c gateway/server/adapt.h \
	gateway/server/routes.c gateway/server/routes.h \
	gateway/server/main_thread.c gateway/server/main_thread.h \
	gateway/server/seats.c gateway/server/seats.h \
	gateway/server/serve.c gateway/server/serve.h \
	gateway/server/takeover.c gateway/server/takeover.h gateway/server/takeover_message.h \
	gateway/server/takeover_offer.c \
	gateway/server/worker_loop.c gateway/server/worker_loop.h gateway/server/worker_state.h \
	gateway/tools/catalogue.c gateway/tools/catalogue.h \
	gateway/tools/definitions.c gateway/tools/definitions.h \
	gateway/tools/list_store.c gateway/tools/list_store.h \
	gateway/tools/mcp_tool_list.c gateway/tools/mcp_tool_list.h \
	gateway/tools/name_map.c gateway/tools/name_map.h \
	gateway/tools/tool_names.c gateway/tools/tool_names.h \
	gateway/tools/openapi.c gateway/tools/openapi.h \
	gateway/tools/registry.c gateway/tools/registry.h gateway/tools/registry_private.h \
	gateway/tools/registry_kept.c \
	gateway/tools/schema.c gateway/tools/schema.h \
	gateway/tools/tool_labels.c gateway/tools/tool_labels.h \
	gateway/tools/upstream_labels.c gateway/tools/upstream_labels.h \
	gateway/trace/context.c gateway/trace/context.h \
	gateway/trace/exporter.c gateway/trace/exporter.h \
	gateway/trace/otlp.c gateway/trace/otlp.h \
	gateway/trace/otlp_metrics.c \
	gateway/trace/otlp_values.c gateway/trace/otlp_values.h \
	gateway/trace/reporter.c gateway/trace/reporter.h \
	gateway/trace/sender.c gateway/trace/sender.h \
	gateway/trace/settings.c gateway/trace/settings.h \
	gateway/trace/traced_call.h \
	gateway/trace/tracer.c gateway/trace/tracer.h

# The terminal of `jitney top`: ncurses', or none.
if TOP
libgateway_a_SOURCES += gateway/cli/top/screen.c gateway/cli/top/screen_known.c
gateway/cli/top/screen.$(OBJEXT) gateway/cli/top/screen_known.$(OBJEXT): AM_CPPFLAGS += $(NCURSES_CFLAGS)
else
libgateway_a_SOURCES += gateway/cli/top/screen_none.c
endif

dashboard_files = gateway/admin/dashboard/dashboard.js gateway/admin/dashboard/dashboard.css
EXTRA_DIST += $(dashboard_files)
gateway/admin/dashboard.$(OBJEXT): $(dashboard_files)
gateway/admin/dashboard.$(OBJEXT): AM_CPPFLAGS += -DDASHBOARD_FOLDER='"$(abs_top_srcdir)/gateway/admin/dashboard"'

# What protobuf's messages look like in C is made from their schema, in the build's folder.
protobuf_schemas = gateway/profile/pprof.proto gateway/trace/otlp.proto
EXTRA_DIST += $(protobuf_schemas)
protobuf_made = $(protobuf_schemas:.proto=.pb-c.c) $(protobuf_schemas:.proto=.pb-c.h)
nodist_libgateway_a_SOURCES = gateway/profile/pprof.pb-c.c gateway/profile/pprof.pb-c.h \
	gateway/trace/otlp.pb-c.c gateway/trace/otlp.pb-c.h
CLEANFILES += $(protobuf_made)
.PRECIOUS: $(protobuf_made)
%.pb-c.c %.pb-c.h: %.proto
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(PROTOC_C) --proto_path=$(top_srcdir) --c_out=. $<
gateway/profile/pprof.$(OBJEXT): gateway/profile/pprof.pb-c.h
gateway/trace/otlp.$(OBJEXT) gateway/trace/otlp_metrics.$(OBJEXT) gateway/trace/otlp_values.$(OBJEXT): gateway/trace/otlp.pb-c.h

bin_PROGRAMS += jitney
jitney_SOURCES = gateway/main.c
jitney_CPPFLAGS = $(AM_CPPFLAGS) -DJITNEY_MALLOC='"$(MALLOC_NAME)"'
jitney_LDADD = $(LIBS_GATEWAY) $(MALLOC_LIBS) -lpthread
