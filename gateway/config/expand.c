/* SPDX-License-Identifier: Apache-2.0 */
/* expand.c: ${NAME} and ${file:PATH} in values. It works on parsed values, so what comes in is never YAML. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/config/config_private.h"

enum { FILLED_BYTES = 65536, EXPANDED_BYTES = 1 << 20, FILES_FIRST = 8 };

static bool is_variable(struct slice name)
{
	static const char letters[] = "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	for (size_t i = 0; i < name.len; i++)
		if (!name.at[i] || !strchr(letters, name.at[i]))
			return false;
	return name.len && (name.at[0] < '0' || name.at[0] > '9');
}

/* A path that is not absolute starts at the configuration's folder, wherever jitney was started. */
static const char *resolve_path(struct config_load *load, struct slice path)
{
	const char *slash = strrchr(load->name, '/');
	int folder = slash && path.at[0] != '/' ? (int)(slash - load->name) + 1 : 0;
	return arena_printf(load->arena, "%.*s%.*s", folder, load->name, SLICE_ARG(path));
}

/* NULL: out of memory. */
static struct config_file *make_file_room(struct config_load *load)
{
	struct generation *generation = &load->config->generation;
	if (generation->file_count < load->file_room)
		return &load->files[generation->file_count];
	size_t room = load->file_room ? 2 * load->file_room : FILES_FIRST;
	struct config_file *files = arena_array(load->arena, room, sizeof *files);
	if (!files)
		return NULL;
	if (generation->file_count)
		memcpy(files, load->files, generation->file_count * sizeof *files);
	load->files = files;
	load->file_room = room;
	generation->files = files;
	return &files[generation->file_count];
}

void config_note_file(struct config_load *load, const char *path, const char *hash)
{
	struct generation *generation = &load->config->generation;
	struct config_file *file = NULL;
	for (size_t i = 0; i < generation->file_count && !file; i++)
		if (strcmp(load->files[i].path, path) == 0)
			file = &load->files[i];
	if (!file) {
		if (!(file = make_file_room(load)))
			return;
		*file = (struct config_file){ .path = path };
		generation->file_count++;
	}
	if (!file->hash)
		file->hash = hash;
}

static void fill_file(struct config_load *load, const struct node *node, const char *where, struct slice path,
		      struct buf *out)
{
	const char *full = resolve_path(load, path);
	if (memchr(path.at, '\0', path.len) || path.len == 0)
		return config_error_at(load, node, "%s: ${file:...} needs a path", where);
	if (!full)
		return;
	config_note_file(load, full, NULL);
	const char *wrong = config_read_file(full, FILLED_BYTES, "longer than 64KiB", out);
	if (!wrong && out->len && buf_slice(out).at[out->len - 1] == '\n')
		out->len--;
	if (wrong)
		config_error_at(load, node, "%s: ${file:%.*s}: %s", where, SLICE_ARG(path), wrong);
}

static void fill_variable(struct config_load *load, const struct node *node, const char *where, struct slice name,
			  struct buf *out)
{
	char *copy = is_variable(name) ? arena_text(load->arena, name) : NULL;
	if (!is_variable(name))
		return config_error_at(load, node,
				       "%s: ${%.*s} names no variable and no file: (write $${ for a plain ${)", where,
				       SLICE_ARG(name));
	const char *value = copy ? getenv(copy) : NULL;
	if (value)
		buf_put_text(out, value);
	else if (copy)
		config_error_at(load, node, "%s: the environment has no variable %s", where, copy);
}

/* What stands between the braces. Checked on its own, so that the message names the culprit and not its content. */
static void fill_reference(struct config_load *load, const struct node *node, const char *where, struct slice inside,
			   struct buf *out)
{
	struct buf found = BUF_INIT(FILLED_BYTES + 4096);
	size_t errors = load->fault_total;
	if (inside.len >= 5 && memcmp(inside.at, "file:", 5) == 0)
		fill_file(load, node, where, (struct slice){ inside.at + 5, inside.len - 5 }, &found);
	else
		fill_variable(load, node, where, inside, &found);
	struct slice bytes = buf_slice(&found);
	if (load->fault_total == errors && ((bytes.len && memchr(bytes.at, '\0', bytes.len)) || !json_utf8(bytes)))
		config_error_at(load, node, "%s: ${%.*s} is not text: it holds NUL or is not UTF-8", where,
				SLICE_ARG(inside));
	buf_put(out, bytes);
	out->failed |= found.failed;
	buf_fini(&found);
}

/* Walks over the text; true if something was filled in. */
static bool expand_text(struct config_load *load, const struct node *node, const char *where, struct buf *out)
{
	struct slice rest = node->text;
	bool filled = false;
	while (rest.len) {
		size_t taken = 1;
		if (rest.len >= 3 && memcmp(rest.at, "$${", 3) == 0) {
			buf_put(out, SLICE("${"));
			taken = 3;
		} else if (rest.len >= 2 && memcmp(rest.at, "${", 2) == 0) {
			const char *end = memchr(rest.at, '}', rest.len);
			if (!end) {
				config_error_at(load, node, "%s: ${ without } (write $${ for a plain ${)", where);
				return true;
			}
			taken = (size_t)(end - rest.at) + 1;
			fill_reference(load, node, where, (struct slice){ rest.at + 2, taken - 3 }, out);
			filled = true;
		} else {
			buf_put_char(out, rest.at[0]);
		}
		rest = (struct slice){ rest.at + taken, rest.len - taken };
	}
	return filled;
}

bool config_expand(struct config_load *load, const struct node *node, const char *where, struct slice *text,
		   bool *filled)
{
	*text = node->text;
	*filled = false;
	if (node->text.len && memchr(node->text.at, '\0', node->text.len)) {
		config_error_at(load, node, "%s: must not hold a NUL byte", where);
		return false;
	}
	if (!strstr(node->text.at, "${"))
		return true;
	size_t errors = load->fault_total;
	struct buf out = BUF_INIT(EXPANDED_BYTES);
	*filled = expand_text(load, node, where, &out);
	bool fits = !out.failed;
	char *copy = fits ? arena_text(load->arena, buf_slice(&out)) : NULL;
	*text = (struct slice){ copy, out.len };
	bool full = out.failed && out.len + FILLED_BYTES >= EXPANDED_BYTES;
	buf_fini(&out);
	if (copy && *filled)
		secrets_add(&load->config->secrets, load->arena, copy);
	if (full)
		config_error_at(load, node, "%s: longer than 1MiB when filled in", where);
	return copy && load->fault_total == errors;
}
