/* SPDX-License-Identifier: Apache-2.0 */
/* list_reader.c: finds a list in an answer whose bytes are still arriving, and its elements. */
#include "upstream/dialects/list_reader.h"

#include "base/json.h"

void list_reader_init(struct list_reader *reader)
{
	*reader = (struct list_reader){ .hit = true };
	json_split_init(&reader->split);
}

static void in_string(struct list_reader *reader, char c)
{
	if (reader->escaped)
		reader->escaped = false;
	else if (c == '\\')
		reader->escaped = true;
	else if (c == '"') {
		reader->in_string = false;
		reader->key_end = reader->at + 1;
	}
}

static bool is_key(const struct list_reader *reader, const struct json_path *path, struct slice body)
{
	if (reader->depth != reader->level || reader->level == 0 || reader->level > path->count ||
	    reader->key_end < reader->key_start + 2)
		return false;
	struct slice key = { body.at + reader->key_start, reader->key_end - reader->key_start };
	return json_string_is(key, path->names[reader->level - 1]);
}

static void open_bracket(struct list_reader *reader, const struct json_path *path, char c)
{
	bool on_path = reader->hit;
	reader->hit = false;
	if (on_path && c == '[' && reader->level == path->count) {
		reader->found = true;
		return;
	}
	if (on_path && c == '{' && reader->level < path->count)
		reader->level++;
	reader->depth++;
}

static void close_bracket(struct list_reader *reader)
{
	if (reader->depth == reader->level && reader->level)
		reader->level--;
	if (reader->depth)
		reader->depth--;
	reader->over = reader->depth == 0;
}

static void look_at(struct list_reader *reader, const struct json_path *path, struct slice body)
{
	char c = body.at[reader->at];
	switch (c) {
	case '"':
		reader->hit = false;
		reader->in_string = true;
		reader->key_start = reader->at;
		reader->key_end = 0;
		break;
	case ':':
		reader->hit = is_key(reader, path, body);
		break;
	case '{':
	case '[':
		open_bracket(reader, path, c);
		break;
	case '}':
	case ']':
		close_bracket(reader);
		break;
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		break;
	default:
		reader->hit = false;
	}
}

/* True: reader->at is the list's first byte. */
static bool find_list(struct list_reader *reader, const struct json_path *path, struct slice body)
{
	while (!reader->found && !reader->over && reader->at < body.len) {
		if (reader->in_string)
			in_string(reader, body.at[reader->at]);
		else
			look_at(reader, path, body);
		if (!reader->found)
			reader->at++;
	}
	return reader->found;
}

enum json_split_event list_reader_next(struct list_reader *reader, const struct json_path *path, struct slice body,
				       bool last, unsigned max_depth, struct slice *element, size_t *at)
{
	if (!find_list(reader, path, body))
		return JSON_SPLIT_MORE;
	if (reader->ended)
		return JSON_SPLIT_END;
	struct slice list = { body.at + reader->at, body.len - reader->at };
	enum json_split_event event = json_split_next(&reader->split, list, last, max_depth, element);
	/* behind the list's end, at what follows it in the object around it, the splitter stumbles */
	reader->ended = event == JSON_SPLIT_END ||
			(event == JSON_SPLIT_BROKEN && reader->split.array && reader->split.depth == 0);
	*at = reader->at + reader->split.at;
	return reader->ended ? JSON_SPLIT_END : event;
}
