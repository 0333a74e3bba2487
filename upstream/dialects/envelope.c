/* SPDX-License-Identifier: Apache-2.0 */
/* envelope.c: the settings of an envelope: presets, defaults, and compiling them. */
#include "upstream/dialects/envelope.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/envelope_private.h"
#include "upstream/dialects/template.h"

/* --- presets and defaults --- */

/* docs/envelope.md says which published rules each line follows */
static const struct envelope_settings presets[] = {
	{ .preset = "microsoft-graph",
	  .path = "/$batch",
	  .body = "{\"requests\":{items}}",
	  .item = "{\"id\":{id},\"method\":{method},\"url\":{path},\"headers\":{headers?},\"body\":{body?}}",
	  .max = 20,
	  .list = "responses",
	  .match = "id",
	  .id = "id",
	  .result = "body",
	  .status = "status",
	  .retry_after = "headers.Retry-After" },
	{ .preset = "elasticsearch-msearch",
	  .path = "/_msearch",
	  .framing = "ndjson",
	  .item = "{}\n{arguments}",
	  .max = 100,
	  .list = "responses",
	  .match = "position",
	  .status = "status",
	  .error = "error" },
	{ .preset = "elasticsearch-bulk",
	  .path = "/_bulk",
	  .framing = "ndjson",
	  .item = "{\"index\":{\"_index\":{index}}}\n{document}",
	  .max = 1000,
	  .list = "items",
	  .match = "position",
	  .result = "*",
	  .status = "*.status",
	  .error = "*.error" },
	{ .preset = "odata-json",
	  .path = "/$batch",
	  .headers = "Prefer: continue-on-error, odata.continue-on-error\n",
	  .body = "{\"requests\":{items}}",
	  .item = "{\"id\":{id},\"method\":{method},\"url\":{relative_path},\"headers\":{headers?},\"body\":{body?}}",
	  .max = 100,
	  .list = "responses",
	  .match = "id",
	  .id = "id",
	  .result = "body",
	  .status = "status",
	  .retry_after = "headers.Retry-After" },
};

static void fill_default(const char **text, const char *with)
{
	if (!*text)
		*text = with;
}

static void fill_from(struct envelope_settings *settings, const struct envelope_settings *preset)
{
	fill_default(&settings->method, preset->method);
	fill_default(&settings->path, preset->path);
	fill_default(&settings->content_type, preset->content_type);
	fill_default(&settings->headers, preset->headers);
	fill_default(&settings->framing, preset->framing);
	fill_default(&settings->body, preset->body);
	fill_default(&settings->item, preset->item);
	fill_default(&settings->answer_framing, preset->answer_framing);
	fill_default(&settings->list, preset->list);
	fill_default(&settings->match, preset->match);
	fill_default(&settings->id, preset->id);
	fill_default(&settings->result, preset->result);
	fill_default(&settings->status, preset->status);
	fill_default(&settings->errors, preset->errors);
	fill_default(&settings->error, preset->error);
	fill_default(&settings->retry_after, preset->retry_after);
	if (!settings->max)
		settings->max = preset->max;
}

static bool is_word(const char *text, const char *word)
{
	return text && strcmp(text, word) == 0;
}

void envelope_fill(struct envelope_settings *settings)
{
	for (size_t i = 0; i < countof(presets); i++)
		if (is_word(settings->preset, presets[i].preset))
			fill_from(settings, &presets[i]);
	const struct envelope_settings defaults = {
		.method = "POST",
		.path = "",
		.headers = "",
		.framing = "json",
		.content_type = is_word(settings->framing, "ndjson") ? "application/x-ndjson" : "application/json",
		.body = is_word(settings->framing, "ndjson") ? NULL : "{items}",
		.max = 100,
		.answer_framing = "json",
		.list = is_word(settings->answer_framing, "ndjson") ? NULL : ".",
		.match = settings->id ? "id" : "position",
		.result = ".",
		.errors = "100-199, 300-599",
	};
	fill_from(settings, &defaults);
}

/* --- compiling --- */

static bool set_path(struct json_path *path, const char *text, const char *option, struct dialect_error *error)
{
	const char *what;
	if (json_path_set(path, text, &what))
		return true;
	return dialect_refuse(error, option, "%s", what);
}

/* One status or range. Behind it, or NULL if it is none. */
static const char *read_range(const char *at, struct envelope_range *range)
{
	int used = 0;
	if (sscanf(at, " %3u%n", &range->from, &used) != 1)
		return NULL;
	at += used;
	range->to = range->from;
	if (*at == '-') {
		if (sscanf(at, "-%3u%n", &range->to, &used) != 1)
			return NULL;
		at += used;
	}
	return range->from >= 100 && range->to <= 599 && range->from <= range->to ? at + strspn(at, " ") : NULL;
}

static bool set_errors(struct envelope *envelope, const char *text, struct dialect_error *error)
{
	const char *at = text;
	bool good = *at != '\0';
	for (size_t i = 0; good && *at; i++) {
		good = i < ENVELOPE_RANGES && (at = read_range(at, &envelope->errors[i]));
		if (!good)
			break;
		envelope->error_count = i + 1;
		good = *at == '\0' || (*at == ',' && at[1]);
		at += *at == ',';
	}
	if (!good)
		dialect_refuse(error, "errors", "must be up to %d statuses or ranges of them, such as 400-599, 207",
			       ENVELOPE_RANGES);
	return good;
}

/* The request's body around the list. */
static bool set_body(struct envelope *envelope, const char *text, struct dialect_error *error)
{
	static const char items[] = "{items}";
	if (envelope->ndjson) {
		if (text)
			dialect_refuse(error, "body", "NDJSON has none around its items");
		return !text;
	}
	const char *at = strstr(text, items);
	if (!at || strstr(at + 1, items)) {
		dialect_refuse(error, "body", "needs {items} once, where the list goes");
		return false;
	}
	struct template *template = template_new(text, TEMPLATE_BODY, error);
	bool good = template && template_check_json(template, error);
	template_free(template);
	if (!good)
		dialect_error_in(error, "body");
	envelope->before = (struct slice){ text, (size_t)(at - text) };
	envelope->after = slice_of(at + strlen(items));
	return good;
}

/* What is appended to the endpoint's URL. */
static bool check_target(const char *path, struct dialect_error *error)
{
	bool good = !*path || *path == '/' || *path == '?';
	for (const char *at = path; *at; at++)
		good &= (unsigned char)*at > ' ' && (unsigned char)*at < 0x7f && !strchr("\"#<>\\^`{|}", *at);
	if (!good)
		dialect_refuse(error, "path",
			       "must begin with '/' and hold no blanks, '#' or braces (percent-encode what needs it)");
	return good;
}

static bool set_match(struct envelope *envelope, struct dialect_error *error)
{
	const struct envelope_settings *settings = envelope->settings;
	envelope->by_id = is_word(settings->match, "id");
	if (!settings->item || !*settings->item)
		return dialect_refuse(error, "item", "is missing");
	if (envelope->by_id && !settings->id)
		return dialect_refuse(error, "id", "is missing, where is the id in an item of the answer?");
	if (envelope->by_id && !strstr(settings->item, "{id}") && !strstr(settings->item, "{id_number}"))
		return dialect_refuse(error, "item", "needs {id} (or {id_number}), for answers are matched by id");
	if (envelope->answer_ndjson && settings->list)
		return dialect_refuse(error, "list", "NDJSON has none, each of its lines is an item");
	return true;
}

static bool compile_envelope(struct envelope *envelope, struct dialect_error *error)
{
	const struct envelope_settings *settings = envelope->settings;
	return set_match(envelope, error) && check_target(settings->path, error) &&
	       set_body(envelope, settings->body, error) && set_path(&envelope->list, settings->list, "list", error) &&
	       set_path(&envelope->id, settings->id, "id", error) &&
	       set_path(&envelope->result, settings->result, "result", error) &&
	       set_path(&envelope->status, settings->status, "status", error) &&
	       set_path(&envelope->error, settings->error, "error", error) &&
	       set_path(&envelope->retry_after, settings->retry_after, "retry_after", error) &&
	       set_errors(envelope, settings->errors, error);
}

struct dialect *envelope_new(const struct envelope_settings *settings, struct dialect_error *error)
{
	struct envelope *envelope = calloc(1, sizeof *envelope);
	if (!envelope) {
		dialect_no_memory(error);
		return NULL;
	}
	envelope->dialect = dialect_envelope;
	envelope->dialect.max_calls = settings->max;
	envelope->settings = settings;
	envelope->ndjson = is_word(settings->framing, "ndjson");
	envelope->answer_ndjson = is_word(settings->answer_framing, "ndjson");
	if (compile_envelope(envelope, error))
		return &envelope->dialect;
	free(envelope);
	return NULL;
}

void envelope_free(struct dialect *dialect)
{
	if (dialect)
		free(container_of(dialect, struct envelope, dialect));
}

bool envelope_is_error(const struct envelope *envelope, uint64_t status)
{
	for (size_t i = 0; i < envelope->error_count; i++)
		if (status >= envelope->errors[i].from && status <= envelope->errors[i].to)
			return true;
	return false;
}
