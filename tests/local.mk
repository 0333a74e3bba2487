# SPDX-License-Identifier: Apache-2.0
# Unit tests and fuzz targets: one file here is one line in the list of its layer. tests/README.md says more.
# A program NAME is tests/unit/NAME.c (or tests/fuzz/NAME.c), linked with its layer's archive and those below,
# so that a dependency in the wrong direction fails to link.
unit_base = \
	tests/unit/base/test_answer \
	tests/unit/base/test_blob \
	tests/unit/base/test_buf \
	tests/unit/base/test_clock \
	tests/unit/base/test_crash \
	tests/unit/base/test_due_heap \
	tests/unit/base/test_gzip \
	tests/unit/base/test_hash_table \
	tests/unit/base/test_json \
	tests/unit/base/test_json_arriving \
	tests/unit/base/test_json_canonical \
	tests/unit/base/test_json_chars \
	tests/unit/base/test_json_chars_portable \
	tests/unit/base/test_json_split \
	tests/unit/base/test_json_walk \
	tests/unit/base/test_log \
	tests/unit/base/test_log_gathers \
	tests/unit/base/test_loop \
	tests/unit/base/test_mailbox \
	tests/unit/base/test_owner \
	tests/unit/base/test_outcome \
	tests/unit/base/test_resolve \
	tests/unit/base/test_service \
	tests/unit/base/test_timed_wait
unit_metrics = \
	tests/unit/metrics/test_history \
	tests/unit/metrics/test_metric_catalogue \
	tests/unit/metrics/test_metrics \
	tests/unit/metrics/test_prometheus
unit_cache = \
	tests/unit/cache/test_cache \
	tests/unit/cache/test_cache_policy \
	tests/unit/cache/test_directives \
	tests/unit/cache/test_dump \
	tests/unit/cache/test_flight \
	tests/unit/cache/test_key \
	tests/unit/cache/test_key_random \
	tests/unit/cache/test_memory \
	tests/unit/cache/test_memory_eviction \
	tests/unit/cache/test_memory_load \
	tests/unit/cache/test_purges \
	tests/unit/cache/test_validity_random \
	tests/unit/cache/test_stored_value \
	tests/unit/cache/disk/test_disk \
	tests/unit/cache/redis/test_redis_connection \
	tests/unit/cache/redis/test_redis_tier \
	tests/unit/cache/redis/test_redis_tracking
unit_upstream = \
	tests/unit/upstream/test_provider_simulated \
	tests/unit/upstream/test_retry_budget \
	tests/unit/upstream/dialects/test_ahead \
	tests/unit/upstream/dialects/test_dialect \
	tests/unit/upstream/dialects/test_envelope \
	tests/unit/upstream/dialects/test_graphql \
	tests/unit/upstream/dialects/test_jsonrpc \
	tests/unit/upstream/dialects/test_key_list \
	tests/unit/upstream/dialects/test_openai_embeddings \
	tests/unit/upstream/dialects/test_rest \
	tests/unit/upstream/dialects/test_template \
	tests/unit/upstream/http/test_answer_bytes \
	tests/unit/upstream/http/test_client \
	tests/unit/upstream/http/test_endpoint \
	tests/unit/upstream/http/test_freshness \
	tests/unit/upstream/http/test_http_faults \
	tests/unit/upstream/http/test_provider_connections \
	tests/unit/upstream/http/test_provider_deliveries \
	tests/unit/upstream/http/test_provider_http \
	tests/unit/upstream/http/test_request_headers \
	tests/unit/upstream/http/test_roster \
	tests/unit/upstream/http/test_verdicts \
	tests/unit/upstream/mcp/test_list_tools \
	tests/unit/upstream/mcp/test_mcp_message \
	tests/unit/upstream/mcp/test_provider_mcp \
	tests/unit/upstream/mcp/test_session \
	tests/unit/upstream/mcp/test_sse \
	tests/unit/upstream/process/test_call_ids \
	tests/unit/upstream/process/test_pool \
	tests/unit/upstream/process/test_process \
	tests/unit/upstream/process/test_process_lines \
	tests/unit/upstream/process/test_whose_lines
unit_batcher = \
	tests/unit/batcher/test_admission \
	tests/unit/batcher/test_allowed_rates \
	tests/unit/batcher/test_arrays \
	tests/unit/batcher/test_bands \
	tests/unit/batcher/test_batcher \
	tests/unit/batcher/test_batcher_dialects \
	tests/unit/batcher/test_batcher_ends \
	tests/unit/batcher/test_batcher_fairness \
	tests/unit/batcher/test_batcher_random \
	tests/unit/batcher/test_common_batchers \
	tests/unit/batcher/test_common_learning \
	tests/unit/batcher/test_common_limits \
	tests/unit/batcher/test_pauses \
	tests/unit/batcher/test_costs \
	tests/unit/batcher/test_bisection \
	tests/unit/batcher/test_lane \
	tests/unit/batcher/test_latency_class \
	tests/unit/batcher/test_limiter \
	tests/unit/batcher/test_rate_limiter \
	tests/unit/batcher/test_retry \
	tests/unit/batcher/test_window
unit_gateway = \
	tests/unit/gateway/access/test_access \
	tests/unit/gateway/admin/test_alert_latch \
	tests/unit/gateway/admin/test_file_watch \
	tests/unit/gateway/call/test_caller \
	tests/unit/gateway/call/test_calls \
	tests/unit/gateway/call/test_await_lists \
	tests/unit/gateway/call/test_calls_grace \
	tests/unit/gateway/call/test_calls_large \
	tests/unit/gateway/call/test_calls_purged \
	tests/unit/gateway/call/test_calls_put_off \
	tests/unit/gateway/call/test_calls_random \
	tests/unit/gateway/call/test_calls_refresh \
	tests/unit/gateway/call/test_calls_tier \
	tests/unit/gateway/call/test_hit_path \
	tests/unit/gateway/call/test_pieces \
	tests/unit/gateway/call/test_reply \
	tests/unit/gateway/call/test_tenants \
	tests/unit/gateway/call/test_whose_whole \
	tests/unit/gateway/cli/test_import \
	tests/unit/gateway/cli/test_latencies \
	tests/unit/gateway/cli/test_regret \
	tests/unit/gateway/cli/test_simulation \
	tests/unit/gateway/cli/test_target \
	tests/unit/gateway/cli/test_text_table \
	tests/unit/gateway/config/test_config \
	tests/unit/gateway/config/test_config_refusals \
	tests/unit/gateway/config/test_file \
	tests/unit/gateway/config/test_options \
	tests/unit/gateway/config/test_owners \
	tests/unit/gateway/http/test_http \
	tests/unit/gateway/http/test_http_random \
	tests/unit/gateway/http/test_http_room \
	tests/unit/gateway/http/test_listeners \
	tests/unit/gateway/mcp/test_mcp \
	tests/unit/gateway/mcp/test_result \
	tests/unit/gateway/profile/test_profile \
	tests/unit/gateway/rest/test_embeddings \
	tests/unit/gateway/tools/test_definitions \
	tests/unit/gateway/tools/test_list_store \
	tests/unit/gateway/tools/test_tool_names \
	tests/unit/gateway/tools/test_registry \
	tests/unit/gateway/tools/test_schema \
	tests/unit/gateway/trace/test_otlp \
	tests/unit/gateway/trace/test_otlp_metrics

fuzz_base = \
	tests/fuzz/fuzz_json \
	tests/fuzz/fuzz_json_split
fuzz_cache = \
	tests/fuzz/fuzz_cache_control \
	tests/fuzz/fuzz_dump \
	tests/fuzz/fuzz_stored_value
fuzz_upstream = \
	tests/fuzz/fuzz_embeddings \
	tests/fuzz/fuzz_envelope \
	tests/fuzz/fuzz_graphql \
	tests/fuzz/fuzz_jsonrpc \
	tests/fuzz/fuzz_key_list \
	tests/fuzz/fuzz_mcp_message \
	tests/fuzz/fuzz_sse
fuzz_gateway = \
	tests/fuzz/fuzz_workload \
	tests/fuzz/fuzz_batch \
	tests/fuzz/fuzz_config \
	tests/fuzz/fuzz_http \
	tests/fuzz/fuzz_import \
	tests/fuzz/fuzz_listing \
	tests/fuzz/fuzz_mcp_request

unit_programs = $(unit_base) $(unit_metrics) $(unit_cache) $(unit_upstream) $(unit_batcher) $(unit_gateway)
fuzz_programs = $(fuzz_base) $(fuzz_cache) $(fuzz_upstream) $(fuzz_gateway)

# ---- what they link (GNU make's target-specific variables; the LIBS_ lists are in Makefile.am) ----

LDADD = $(PROGRAM_LIBS) $(PROGRAM_HARNESS)
$(unit_base) $(fuzz_base): PROGRAM_LIBS = $(LIBS_BASE)
$(unit_base) $(fuzz_base): $(filter %.a, $(LIBS_BASE))
$(unit_metrics): PROGRAM_LIBS = $(LIBS_METRICS)
$(unit_metrics): $(filter %.a, $(LIBS_METRICS))
$(unit_cache) $(fuzz_cache): PROGRAM_LIBS = $(LIBS_CACHE)
$(unit_cache) $(fuzz_cache): $(filter %.a, $(LIBS_CACHE))
$(unit_upstream) $(fuzz_upstream): PROGRAM_LIBS = $(LIBS_UPSTREAM)
$(unit_upstream) $(fuzz_upstream): $(filter %.a, $(LIBS_UPSTREAM))
$(unit_batcher): PROGRAM_LIBS = $(LIBS_BATCHER)
$(unit_batcher): $(filter %.a, $(LIBS_BATCHER))
$(unit_gateway) $(fuzz_gateway): PROGRAM_LIBS = $(LIBS_GATEWAY)
$(unit_gateway) $(fuzz_gateway): $(filter %.a, $(LIBS_GATEWAY))

noinst_HEADERS = \
	tests/support/cache_ask.h \
	tests/support/cache_fixture.h \
	tests/support/cache_keys.h \
	tests/support/cache_store.h \
	tests/support/config_tools.h \
	tests/support/curls_clock.h \
	tests/support/damage.h \
	tests/support/dialect_error.h \
	tests/support/dialect_expect.h tests/support/dialect_feed.h \
	tests/support/dialect_fuzz.h \
	tests/support/dialect_speeches.h \
	tests/support/fake_tier.h \
	tests/support/front.h tests/support/fuzz.h \
	tests/support/json_members.h \
	tests/support/json_merged.h \
	tests/support/json_texts.h \
	tests/support/memory_entries.h tests/support/memory_purge.h \
	tests/support/proc.h \
	tests/support/process_witness.h \
	tests/support/promtool.h \
	tests/support/until.h \
	tests/support/upstream_world.h \
	tests/support/instructions.h tests/support/valgrind.h

# The batcher's tests bring an upstream of their own, whose symbols come before the archive's.
batcher_world = tests/support/batcher_world.c tests/support/batcher_world.h tests/support/batcher_test.h \
	tests/support/fake_upstream.c tests/support/fake_upstream.h
tests_unit_batcher_test_admission_SOURCES = tests/unit/batcher/test_admission.c $(batcher_world)
tests_unit_batcher_test_batcher_SOURCES = tests/unit/batcher/test_batcher.c $(batcher_world)
tests_unit_batcher_test_batcher_ends_SOURCES = tests/unit/batcher/test_batcher_ends.c $(batcher_world)
tests_unit_batcher_test_bands_SOURCES = tests/unit/batcher/test_bands.c $(batcher_world)
tests_unit_batcher_test_batcher_fairness_SOURCES = tests/unit/batcher/test_batcher_fairness.c $(batcher_world)
tests_unit_batcher_test_common_batchers_SOURCES = tests/unit/batcher/test_common_batchers.c $(batcher_world)
tests_unit_batcher_test_batcher_random_SOURCES = tests/unit/batcher/test_batcher_random.c $(batcher_world)
tests_unit_batcher_test_rate_limiter_SOURCES = tests/unit/batcher/test_rate_limiter.c $(batcher_world)
tests_unit_batcher_test_latency_class_SOURCES = tests/unit/batcher/test_latency_class.c $(batcher_world)
tests_unit_batcher_test_batcher_dialects_SOURCES = tests/unit/batcher/test_batcher_dialects.c \
	tests/support/fake_wire.c tests/support/fake_wire.h
tests_unit_batcher_test_bisection_SOURCES = tests/unit/batcher/test_bisection.c $(batcher_world)
tests_unit_batcher_test_retry_SOURCES = tests/unit/batcher/test_retry.c $(batcher_world)

tests_unit_cache_disk_test_disk_SOURCES = tests/unit/cache/disk/test_disk.c tests/support/hard_disk.c tests/support/hard_disk.h

redis_server = tests/support/redis_server.c tests/support/redis_server.h
tests_unit_cache_redis_test_redis_connection_SOURCES = tests/unit/cache/redis/test_redis_connection.c $(redis_server)
tests_unit_cache_redis_test_redis_tier_SOURCES = tests/unit/cache/redis/test_redis_tier.c $(redis_server)
tests_unit_cache_redis_test_redis_tracking_SOURCES = tests/unit/cache/redis/test_redis_tracking.c $(redis_server)

# Whole workers, over the same fake.
gateway_world = tests/support/gateway_world.c tests/support/gateway_world.h tests/support/gateway_test.h \
	tests/support/fake_upstream.c tests/support/fake_upstream.h
tests_unit_gateway_call_test_calls_SOURCES = tests/unit/gateway/call/test_calls.c $(gateway_world)
tests_unit_gateway_call_test_await_lists_SOURCES = tests/unit/gateway/call/test_await_lists.c $(gateway_world)
tests_unit_gateway_call_test_calls_purged_SOURCES = tests/unit/gateway/call/test_calls_purged.c $(gateway_world)
tests_unit_gateway_call_test_calls_put_off_SOURCES = tests/unit/gateway/call/test_calls_put_off.c $(gateway_world)
tests_unit_gateway_call_test_calls_large_SOURCES = tests/unit/gateway/call/test_calls_large.c $(gateway_world)
tests_unit_gateway_call_test_calls_grace_SOURCES = tests/unit/gateway/call/test_calls_grace.c $(gateway_world)
tests_unit_gateway_call_test_hit_path_SOURCES = tests/unit/gateway/call/test_hit_path.c $(gateway_world)
tests_unit_gateway_tools_test_list_store_SOURCES = tests/unit/gateway/tools/test_list_store.c $(gateway_world)
tests_unit_gateway_tools_test_registry_SOURCES = tests/unit/gateway/tools/test_registry.c $(gateway_world)
tests_unit_gateway_call_test_reply_SOURCES = tests/unit/gateway/call/test_reply.c $(gateway_world)
tests_unit_gateway_call_test_calls_refresh_SOURCES = tests/unit/gateway/call/test_calls_refresh.c $(gateway_world)
tests_unit_gateway_call_test_calls_random_SOURCES = tests/unit/gateway/call/test_calls_random.c $(gateway_world)
tests_unit_gateway_call_test_calls_tier_SOURCES = tests/unit/gateway/call/test_calls_tier.c $(gateway_world)

# Whole workers over the real upstreams, whose requests the test answers.
tests_unit_gateway_call_test_whose_whole_SOURCES = tests/unit/gateway/call/test_whose_whole.c \
	tests/support/gateway_world.c tests/support/gateway_world.h tests/support/fake_wire.c tests/support/fake_wire.h \
	tests/support/outside.c tests/support/outside_fleet.c tests/support/outside.h tests/support/outside_private.h \
	tests/support/whose_mcp.c tests/support/whose_mcp.h tests/support/whose_provider.c tests/support/whose_provider.h \
	tests/support/whose_config.c tests/support/whose_config.h \
	tests/support/whose_speech.c tests/support/whose_speech.h tests/support/whose_truth.c tests/support/whose_truth.h

tests_unit_gateway_cli_test_regret_SOURCES = tests/unit/gateway/cli/test_regret.c \
	tests/support/regret.c tests/support/regret.h tests/support/regret_best.inc

# A daemon on a real socket.
http_world = tests/support/http_world.c tests/support/http_world.h
tests_unit_gateway_http_test_http_SOURCES = tests/unit/gateway/http/test_http.c $(http_world)
tests_unit_gateway_http_test_http_random_SOURCES = tests/unit/gateway/http/test_http_random.c $(http_world)
tests_unit_gateway_http_test_http_room_SOURCES = tests/unit/gateway/http/test_http_room.c $(http_world)
tests_fuzz_fuzz_batch_SOURCES = tests/fuzz/fuzz_batch.c $(gateway_world) $(http_world)
tests_fuzz_fuzz_http_SOURCES = tests/fuzz/fuzz_http.c $(http_world)

tests_unit_gateway_rest_test_embeddings_SOURCES = tests/unit/gateway/rest/test_embeddings.c $(gateway_world) $(http_world)
tests_unit_gateway_mcp_test_mcp_SOURCES = tests/unit/gateway/mcp/test_mcp.c $(gateway_world) $(http_world)

# The upstream's bring a provider over a real socket.
provider = tests/support/provider.c tests/support/provider.h
tests_unit_upstream_http_test_answer_bytes_SOURCES = tests/unit/upstream/http/test_answer_bytes.c $(provider)
tests_unit_upstream_http_test_client_SOURCES = tests/unit/upstream/http/test_client.c $(provider)
tests_unit_upstream_http_test_freshness_SOURCES = tests/unit/upstream/http/test_freshness.c $(provider)
tests_unit_upstream_http_test_http_faults_SOURCES = tests/unit/upstream/http/test_http_faults.c $(provider)
tests_unit_upstream_http_test_provider_http_SOURCES = tests/unit/upstream/http/test_provider_http.c $(provider)
tests_unit_upstream_http_test_provider_connections_SOURCES = \
	tests/unit/upstream/http/test_provider_connections.c $(provider)
tests_unit_upstream_http_test_provider_deliveries_SOURCES = \
	tests/unit/upstream/http/test_provider_deliveries.c $(provider)
tests_unit_upstream_http_test_roster_SOURCES = tests/unit/upstream/http/test_roster.c $(provider)
tests_unit_upstream_mcp_test_provider_mcp_SOURCES = tests/unit/upstream/mcp/test_provider_mcp.c $(provider)

# Unit tests: cmocka, json-c as an independent judge of JSON, and allocation that can be made to fail.
# (-u: a compiler's own library at the end of the line, such as gcov's, needs the wrappers as well.)
check_LIBRARIES += tests/support/liballoc_fail.a
tests_support_liballoc_fail_a_SOURCES = tests/support/alloc_fail.c tests/support/alloc_fail.h
wrap_allocation = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=aligned_alloc \
	-Wl,--wrap=posix_memalign,--wrap=strdup,--wrap=strndup,-u,alloc_reset
$(unit_programs): PROGRAM_HARNESS = $(wrap_allocation) tests/support/liballoc_fail.a $(CMOCKA_LIBS) $(JSONC_LIBS)
$(unit_programs): tests/support/liballoc_fail.a

# Fuzz targets: libFuzzer brings main under --enable-fuzz; else replay.c does and runs tests/fuzz/corpus/<name>/.
if FUZZ
$(fuzz_programs): PROGRAM_HARNESS = -fsanitize=fuzzer
else
check_LIBRARIES += tests/fuzz/libreplay.a
tests_fuzz_libreplay_a_SOURCES = tests/fuzz/replay.c
$(fuzz_programs): PROGRAM_HARNESS = tests/fuzz/libreplay.a
$(fuzz_programs): tests/fuzz/libreplay.a
endif

fuzzers: $(fuzz_programs)

# ---- make check ----

if HAVE_CMOCKA
check_PROGRAMS += $(unit_programs)
else
check-local:
	@echo "cmocka is missing: the unit tests were NOT run (Debian: apt-get install libcmocka-dev)" >&2
endif
check_PROGRAMS += $(fuzz_programs)
TESTS = $(check_PROGRAMS) tests/layers.sh
LOG_COMPILER = timeout 300
AM_TESTS_ENVIRONMENT = \
	ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 \
	UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS="suppressions='$(abs_top_srcdir)/tests/support/tsan.supp':halt_on_error=1:second_deadlock_stack=1" CC='$(CC)'; \
	export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS CC;

EXTRA_DIST += tests/README.md tests/layers.sh tests/integration tests/soak tests/conformance \
	tests/fuzz/corpus tests/unit/metrics/prometheus.golden tests/support/memcheck.supp tests/support/tsan.supp \
	docs/configuration.md docs/jitney.schema.json docs/metrics.md

dist-hook:
	find '$(distdir)' -name __pycache__ -prune -exec rm -rf {} +
