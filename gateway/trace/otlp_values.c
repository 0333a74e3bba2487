/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_values.c: see the header. */
#include "gateway/trace/otlp_values.h"

#include <string.h>

#include "gateway/trace/otlp.pb-c.h"

enum { RESOURCE_ATTRIBUTES_MOST = 28 };

struct attributes attributes_begin(struct arena *arena, size_t most)
{
	return (struct attributes){ arena, arena_array(arena, most, sizeof(Otlp__KeyValue *)), 0, most };
}

/* NULL: out of memory. */
static Otlp__AnyValue *add_attribute(struct attributes *list, const char *name)
{
	struct arena *arena = list->arena;
	Otlp__KeyValue *pair = arena_alloc(arena, sizeof *pair);
	Otlp__AnyValue *value = arena_alloc(arena, sizeof *value);
	if (!list->all || !pair || !value || list->count == list->most)
		return NULL;
	*pair = (Otlp__KeyValue)OTLP__KEY_VALUE__INIT;
	*value = (Otlp__AnyValue)OTLP__ANY_VALUE__INIT;
	pair->key = (char *)name;
	pair->value = value;
	list->all[list->count++] = pair;
	return value;
}

void attributes_put_text(struct attributes *list, const char *name, const char *text)
{
	Otlp__AnyValue *value = text && *text ? add_attribute(list, name) : NULL;
	if (!value)
		return;
	value->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
	value->string_value = (char *)text;
}

void attributes_put_number(struct attributes *list, const char *name, uint64_t number)
{
	Otlp__AnyValue *value = add_attribute(list, name);
	if (!value)
		return;
	value->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
	value->int_value = (int64_t)number;
}

void attributes_put_seconds(struct attributes *list, const char *name, uint64_t us)
{
	Otlp__AnyValue *value = add_attribute(list, name);
	if (!value)
		return;
	value->value_case = OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE;
	value->double_value = (double)us / 1e6;
}

void otlp_put_origin(struct arena *arena, const struct trace_settings *settings, const char *instance,
		     struct otlp_origin *origin)
{
	static const char name[] = "service.instance.id";
	struct attributes list = attributes_begin(arena, RESOURCE_ATTRIBUTES_MOST);
	bool named = false;
	for (size_t i = 0; i < settings->attribute_count; i++) {
		attributes_put_text(&list, settings->attributes[i].name, settings->attributes[i].value);
		named = named || strcmp(settings->attributes[i].name, name) == 0;
	}
	attributes_put_text(&list, name, named ? NULL : instance);
	Otlp__Resource *resource = arena_alloc(arena, sizeof *resource);
	Otlp__InstrumentationScope *scope = arena_alloc(arena, sizeof *scope);
	*origin = (struct otlp_origin){ resource, scope };
	if (!resource || !scope)
		return;
	*resource = (Otlp__Resource)OTLP__RESOURCE__INIT;
	*scope = (Otlp__InstrumentationScope)OTLP__INSTRUMENTATION_SCOPE__INIT;
	resource->attributes = list.all;
	resource->n_attributes = list.count;
	scope->name = (char *)"jitney";
	scope->version = (char *)JITNEY_VERSION;
}

void otlp_pack(const struct arena *arena, const ProtobufCMessage *message, struct buf *out)
{
	size_t bytes = arena_failed(arena) ? 0 : protobuf_c_message_get_packed_size(message);
	if (arena_failed(arena) || !buf_reserve(out, bytes)) {
		out->failed = true;
		return;
	}
	protobuf_c_message_pack(message, (uint8_t *)out->store->bytes + out->len);
	out->len += bytes;
}
