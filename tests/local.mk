# Unit tests and fuzz targets: one file here is one line in the list of its layer. tests/README.md says more.
# A program NAME is tests/unit/NAME.c (or tests/fuzz/NAME.c), linked with its layer's archive and those below,
# so that a dependency in the wrong direction fails to link.
unit_base = \
	tests/unit/test_answer \
	tests/unit/test_blob \
	tests/unit/test_buf \
	tests/unit/test_json \
	tests/unit/test_json_chars \
	tests/unit/test_json_chars_portable \
	tests/unit/test_json_split \
	tests/unit/test_json_walk \
	tests/unit/test_log \
	tests/unit/test_loop \
	tests/unit/test_outcome
unit_metrics = \
	tests/unit/test_catalogue \
	tests/unit/test_metrics \
	tests/unit/test_prometheus
unit_cache = \
	tests/unit/test_cache \
	tests/unit/test_cache_policy \
	tests/unit/test_disk \
	tests/unit/test_dump \
	tests/unit/test_flight \
	tests/unit/test_key \
	tests/unit/test_key_random \
	tests/unit/test_memory \
	tests/unit/test_memory_load \
	tests/unit/test_purges \
	tests/unit/test_redis_connection \
	tests/unit/test_redis_tier \
	tests/unit/test_redis_tracking \
	tests/unit/test_stored_value \
	tests/unit/test_wish
unit_upstream = \
	tests/unit/test_client \
	tests/unit/test_dialect \
	tests/unit/test_dialect_envelope \
	tests/unit/test_dialect_graphql \
	tests/unit/test_dialect_jsonrpc \
	tests/unit/test_dialect_key_list \
	tests/unit/test_dialect_openai_embeddings \
	tests/unit/test_dialect_rest \
	tests/unit/test_http_headers \
	tests/unit/test_http_reuse \
	tests/unit/test_mcp_message \
	tests/unit/test_mcp_session \
	tests/unit/test_sse \
	tests/unit/test_process \
	tests/unit/test_process_pool \
	tests/unit/test_template \
	tests/unit/test_upstream \
	tests/unit/test_upstream_mcp
unit_batcher = \
	tests/unit/test_batcher \
	tests/unit/test_batcher_dialects \
	tests/unit/test_batcher_fairness \
	tests/unit/test_batcher_random \
	tests/unit/test_due \
	tests/unit/test_hunt \
	tests/unit/test_lane \
	tests/unit/test_model \
	tests/unit/test_pace \
	tests/unit/test_speed \
	tests/unit/test_table \
	tests/unit/test_window
unit_gateway = \
	tests/unit/test_asker \
	tests/unit/test_calls \
	tests/unit/test_calls_grace \
	tests/unit/test_calls_random \
	tests/unit/test_calls_tier \
	tests/unit/test_calls_refresh \
	tests/unit/test_config \
	tests/unit/test_config_refusals \
	tests/unit/test_definitions \
	tests/unit/test_embeddings \
	tests/unit/test_hit_path \
	tests/unit/test_http \
	tests/unit/test_http_random \
	tests/unit/test_import \
	tests/unit/test_mailbox \
	tests/unit/test_mcp \
	tests/unit/test_mcp_write \
	tests/unit/test_simulation \
	tests/unit/test_naming \
	tests/unit/test_options \
	tests/unit/test_registry \
	tests/unit/test_reply \
	tests/unit/test_schema

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
	tests/fuzz/fuzz_arrivals \
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
	tests/support/cache_keys.h \
	tests/support/dialect_feed.h \
	tests/support/dialect_fuzz.h \
	tests/support/front.h \
	tests/support/json_merged.h \
	tests/support/json_texts.h \
	tests/support/promtool.h

# The batcher's tests bring an upstream of their own, whose symbols come before the archive's.
batcher_world = tests/support/batcher_world.c tests/support/batcher_world.h \
	tests/support/fake_upstream.c tests/support/fake_upstream.h
tests_unit_test_batcher_SOURCES = tests/unit/test_batcher.c $(batcher_world)
tests_unit_test_batcher_fairness_SOURCES = tests/unit/test_batcher_fairness.c $(batcher_world)
tests_unit_test_batcher_random_SOURCES = tests/unit/test_batcher_random.c $(batcher_world)
tests_unit_test_pace_SOURCES = tests/unit/test_pace.c $(batcher_world)
tests_unit_test_speed_SOURCES = tests/unit/test_speed.c $(batcher_world)
tests_unit_test_batcher_dialects_SOURCES = tests/unit/test_batcher_dialects.c \
	tests/support/fake_wire.c tests/support/fake_wire.h
tests_unit_test_hunt_SOURCES = tests/unit/test_hunt.c $(batcher_world)

tests_unit_test_disk_SOURCES = tests/unit/test_disk.c tests/support/hard_disk.c tests/support/hard_disk.h

redis_server = tests/support/redis_server.c tests/support/redis_server.h
tests_unit_test_redis_connection_SOURCES = tests/unit/test_redis_connection.c $(redis_server)
tests_unit_test_redis_tier_SOURCES = tests/unit/test_redis_tier.c $(redis_server)
tests_unit_test_redis_tracking_SOURCES = tests/unit/test_redis_tracking.c $(redis_server)

# Whole workers, over the same fake.
gateway_world = tests/support/gateway_world.c tests/support/gateway_world.h \
	tests/support/fake_upstream.c tests/support/fake_upstream.h
tests_unit_test_calls_SOURCES = tests/unit/test_calls.c $(gateway_world)
tests_unit_test_calls_grace_SOURCES = tests/unit/test_calls_grace.c $(gateway_world)
tests_unit_test_hit_path_SOURCES = tests/unit/test_hit_path.c $(gateway_world)
tests_unit_test_registry_SOURCES = tests/unit/test_registry.c $(gateway_world)
tests_unit_test_reply_SOURCES = tests/unit/test_reply.c $(gateway_world)
tests_unit_test_calls_refresh_SOURCES = tests/unit/test_calls_refresh.c $(gateway_world)
tests_unit_test_calls_random_SOURCES = tests/unit/test_calls_random.c $(gateway_world)
tests_unit_test_calls_tier_SOURCES = tests/unit/test_calls_tier.c $(gateway_world)

# A daemon on a real socket.
http_world = tests/support/http_world.c tests/support/http_world.h
tests_unit_test_http_SOURCES = tests/unit/test_http.c $(http_world)
tests_unit_test_http_random_SOURCES = tests/unit/test_http_random.c $(http_world)
tests_fuzz_fuzz_batch_SOURCES = tests/fuzz/fuzz_batch.c $(gateway_world) $(http_world)
tests_fuzz_fuzz_http_SOURCES = tests/fuzz/fuzz_http.c $(http_world)

tests_unit_test_embeddings_SOURCES = tests/unit/test_embeddings.c $(gateway_world) $(http_world)
tests_unit_test_mcp_SOURCES = tests/unit/test_mcp.c $(gateway_world) $(http_world)

# The upstream's bring a provider over a real socket.
provider = tests/support/provider.c tests/support/provider.h
tests_unit_test_client_SOURCES = tests/unit/test_client.c $(provider)
tests_unit_test_http_reuse_SOURCES = tests/unit/test_http_reuse.c $(provider)
tests_unit_test_upstream_SOURCES = tests/unit/test_upstream.c $(provider)
tests_unit_test_upstream_mcp_SOURCES = tests/unit/test_upstream_mcp.c $(provider)

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
	UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 CC='$(CC)'; \
	export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS CC;

EXTRA_DIST += tests/README.md tests/layers.sh tests/integration tests/soak tests/conformance \
	tests/fuzz/corpus tests/unit/prometheus.golden \
	docs/configuration.md docs/jitney.schema.json docs/metrics.md

dist-hook:
	find '$(distdir)' -name __pycache__ -prune -exec rm -rf {} +
