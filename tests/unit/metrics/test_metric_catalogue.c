/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue is the contract's and the documentation's: names to the letter, and docs/metrics.md holds the table
 * that this program prints when it is called with --table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "metrics/metrics.h"
#include "metrics/shape.h"
#include "tests/support/promtool.h"

static const char *const type_words[] = {
	[METRIC_COUNTER] = "counter",
	[METRIC_COUNTER_SECONDS] = "counter",
	[METRIC_GAUGE] = "gauge",
	[METRIC_GAUGE_RATIO] = "gauge",
	[METRIC_GAUGE_SECONDS] = "gauge",
	[METRIC_SECONDS] = "histogram, seconds",
	[METRIC_ITEMS] = "histogram, items",
	[METRIC_BYTES] = "histogram, bytes",
};

static void put_label(struct buf *out, enum metric_label label, const char *between)
{
	if (label == LABEL_NONE)
		return;
	buf_put_text(out, between);
	const char *before = label == LABEL_ENDPOINT ? "`upstream`, " : label == LABEL_ATTEMPT ? "`kind`, " : "";
	buf_printf(out, "%s`%s`", before, metric_label_name(label));
}

static void put_metrics_table(struct buf *out)
{
	buf_put_text(out, "| metric | type | labels | what it says |\n|---|---|---|---|\n");
	for (size_t id = 0; id < METRIC_ID_COUNT; id++) {
		const struct metric_entry *entry = &metric_entries[id];
		buf_printf(out, "| `jitney_%s` | %s | ", entry->name, type_words[entry->type]);
		put_label(out, entry->label1, "");
		put_label(out, entry->label2, ", ");
		buf_printf(out, "%s| %s |\n", entry->label1 == LABEL_NONE ? "" : " ", entry->help);
	}
}

/* How many values of a label are different: an attempt's outcomes are numbered over again for each kind. */
static size_t count_values(const struct metrics *none, enum metric_label label)
{
	return label == LABEL_ATTEMPT ? ATTEMPT_RESULT_COUNT : metrics_label_count(&none->names, label);
}

static void put_attempt_kinds(struct buf *out)
{
	buf_put_text(out, "| `kind` | `jitney_attempts_total` |");
	for (size_t i = 0; i < ATTEMPT_KIND_COUNT; i++)
		buf_printf(out, "%s `%s`", i ? "," : "", metrics_attempt_kind(attempt_label((enum attempt_kind)i, 0)));
	buf_put_text(out, " |\n");
}

/* The labels whose values are known without a configuration, with the metrics that carry them. */
static void put_values_table(struct buf *out)
{
	static const struct metrics none;
	buf_put_text(out, "\n| label | of | values |\n|---|---|---|\n");
	for (size_t label = LABEL_OUTCOME; label < LABEL_KIND_COUNT; label++) {
		const char *between = "";
		buf_printf(out, "| `%s` | ", metric_label_name((enum metric_label)label));
		for (size_t id = 0; id < METRIC_ID_COUNT; id++)
			if (metric_entries[id].label1 == label || metric_entries[id].label2 == label) {
				buf_printf(out, "%s`jitney_%s`", between, metric_entries[id].name);
				between = ", ";
			}
		buf_put_text(out, " |");
		for (size_t i = 0; i < count_values(&none, (enum metric_label)label); i++)
			buf_printf(out, "%s `%s`", i ? "," : "",
				   metrics_label_value(&none, (enum metric_label)label, i));
		buf_put_text(out, " |\n");
	}
	put_attempt_kinds(out);
}

static void put_tables(struct buf *out)
{
	put_metrics_table(out);
	put_values_table(out);
}

static struct buf doc, rules;

static bool read_source(struct buf *text, const char *name)
{
	char path[4096], piece[4096];
	const char *srcdir = getenv("srcdir");
	snprintf(path, sizeof path, "%s/%s", srcdir ? srcdir : ".", name);
	FILE *file = fopen(path, "r");
	if (!file) {
		print_error("cannot read %s (is srcdir set?)\n", path);
		return false;
	}
	buf_init(text, 1 << 20);
	for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0;)
		buf_put(text, (struct slice){ piece, got });
	fclose(file);
	return true;
}

static int read_sources(void **state)
{
	(void)state;
	return read_source(&doc, "docs/metrics.md") && read_source(&rules, "packaging/prometheus/jitney.rules.yml")
		       ? 0
		       : -1;
}

static int free_sources(void **state)
{
	(void)state;
	buf_fini(&doc);
	buf_fini(&rules);
	return 0;
}

static void the_contracts_metrics_are_there_to_the_letter(void **state)
{
	(void)state;
	static const char *const contract[] = {
		"requests_total{tool,outcome}",
		"request_duration_seconds{tool}",
		"in_flight_requests",
		"in_flight_bytes",
		"rejected_total{reason}",
		"cache_requests_total{tier,result}",
		"cache_entries{tier}",
		"cache_bytes{tier}",
		"cache_evictions_total{tier,reason}",
		"coalesced_total{tool}",
		"batch_items{upstream}",
		"batch_bytes{upstream}",
		"batch_wait_seconds{upstream}",
		"batch_flushes_total{upstream,reason}",
		"batch_saved_requests_total{upstream}",
		"upstream_requests_total{endpoint,outcome}", /* an endpoint prints its upstream too */
		"upstream_duration_seconds{upstream}",
		"upstream_connections{upstream,state}",
		"upstream_connects_total{upstream}",
		"upstream_healthy{endpoint}",
		"redis_up",
	};
	for (size_t i = 0; i < countof(contract); i++) {
		bool found = false;
		for (size_t id = 0; id < METRIC_ID_COUNT && !found; id++) {
			const struct metric_entry *entry = &metric_entries[id];
			const char *label1 = metric_label_name(entry->label1),
				   *label2 = metric_label_name(entry->label2);
			char text[200];
			snprintf(text, sizeof text, "%s%s%s%s%s%s", entry->name, label1 ? "{" : "",
				 label1 ? label1 : "", label2 ? "," : "", label2 ? label2 : "", label1 ? "}" : "");
			found = strcmp(text, contract[i]) == 0;
		}
		if (!found)
			fail_msg("the catalogue lacks %s", contract[i]);
	}
}

static void names_say_their_type_and_help_is_a_sentence(void **state)
{
	(void)state;
	for (size_t id = 0; id < METRIC_ID_COUNT; id++) {
		const struct metric_entry *entry = &metric_entries[id];
		struct slice name = slice_of(entry->name);
		bool total = name.len > 6 && strcmp(entry->name + name.len - 6, "_total") == 0;
		bool seconds = name.len > 8 && strcmp(entry->name + name.len - 8, "_seconds") == 0;
		assert_true(total == (entry->type == METRIC_COUNTER));
		assert_true(seconds == (entry->type == METRIC_SECONDS || entry->type == METRIC_GAUGE_SECONDS));
		assert_true(strlen(entry->help) > 5 && entry->help[strlen(entry->help) - 1] == '.');
		assert_null(strpbrk(entry->help, "\n\\|")); /* stands unescaped in exposition and table */
		for (size_t other = 0; other < id; other++)
			assert_string_not_equal(entry->name, metric_entries[other].name);
	}
}

static void the_document_holds_the_table_as_it_is(void **state)
{
	(void)state;
	struct buf tables = BUF_INIT(1 << 20);
	put_tables(&tables);
	bool there = strstr(buf_cstr(&doc), buf_cstr(&tables)) != NULL;
	buf_fini(&tables);
	if (!there)
		fail_msg("the tables of docs/metrics.md are not the catalogue's: replace them with what this program "
			 "prints "
			 "when called with --table");
}

/* Whether "jitney_" `name` is exposed: a metric, a part of a histogram, or build_info. */
static bool is_exposed(struct slice name)
{
	static const char *const parts[] = { "", "_bucket", "_sum", "_count" };
	if (name.len == 0 || slice_equal(name, SLICE("build_info"))) /* nothing: the prefix alone */
		return true;
	for (size_t id = 0; id < METRIC_ID_COUNT; id++)
		for (size_t part = 0; part < (metric_entries[id].type >= METRIC_SECONDS ? countof(parts) : 1); part++) {
			char text[200];
			snprintf(text, sizeof text, "%s%s", metric_entries[id].name, parts[part]);
			if (slice_equal(name, slice_of(text)))
				return true;
		}
	return false;
}

static void names_only_what_is_exposed(struct buf *text, const char *whose)
{
	for (const char *at = buf_cstr(text); (at = strstr(at, "jitney_"));) {
		struct slice name = { at + strlen("jitney_"), 0 };
		while (islower((unsigned char)name.at[name.len]) || name.at[name.len] == '_')
			name.len++;
		if (!is_exposed(name) && name.at[name.len] != ':') /* a recorded one has its operation behind a colon */
			fail_msg("%s speaks of jitney_%.*s", whose, SLICE_ARG(name));
		at = name.at;
	}
}

static void document_and_rules_name_no_metric_that_is_not_there(void **state)
{
	(void)state;
	names_only_what_is_exposed(&doc, "docs/metrics.md");
	names_only_what_is_exposed(&rules, "jitney.rules.yml");
}

static void the_rules_are_valid(void **state)
{
	(void)state;
	char said[4096];
	int status = promtool_check("rules", buf_slice(&rules), said, sizeof said);
	if (status == PROMTOOL_MISSING)
		skip();
	if (status != 0 || !strstr(said, "SUCCESS"))
		fail_msg("%s", said);
}

static int print_tables(void)
{
	struct buf tables = BUF_INIT(1 << 20);
	put_tables(&tables);
	fputs(buf_cstr(&tables), stdout);
	buf_fini(&tables);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_contracts_metrics_are_there_to_the_letter),
		cmocka_unit_test(names_say_their_type_and_help_is_a_sentence),
		cmocka_unit_test(the_document_holds_the_table_as_it_is),
		cmocka_unit_test(document_and_rules_name_no_metric_that_is_not_there),
		cmocka_unit_test(the_rules_are_valid),
	};
	if (argc == 2 && strcmp(argv[1], "--table") == 0)
		return print_tables();
	return cmocka_run_group_tests(tests, read_sources, free_sources);
}
