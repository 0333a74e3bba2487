/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_values.h: what messages of spans and of metrics have in common: attributes, and who tells. Of this folder alone. All
 * that is made is in an arena, as protobuf-c wants it; where memory is out arena_failed says so, and what was to be put is
 * not there. */
#ifndef JITNEY_GATEWAY_TRACE_OTLP_VALUES_H
#define JITNEY_GATEWAY_TRACE_OTLP_VALUES_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/buf.h"
#include "gateway/trace/settings.h"

/* Of otlp.pb-c.h, which is made from otlp.proto. */
struct Otlp__InstrumentationScope;
struct Otlp__KeyValue;
struct Otlp__Resource;

/* A list that is filled up to `most`; what has no place is left out. Names and texts are borrowed. */
struct attributes {
	struct arena *arena;
	struct Otlp__KeyValue **all;
	size_t count, most;
};

/* An empty list of at most so many. Out of memory: everything is left out. */
struct attributes attributes_begin(struct arena *arena, size_t most);
/* Nothing for an empty text, or NULL. */
void attributes_put_text(struct attributes *list, const char *name, const char *text);
void attributes_put_number(struct attributes *list, const char *name, uint64_t number);
void attributes_put_seconds(struct attributes *list, const char *name, uint64_t us);

/* Who tells: the resource that a request is about, and the scope. `instance`: service.instance.id, unless the settings
 * name another. */
struct otlp_origin {
	struct Otlp__Resource *resource; /* NULL: out of memory */
	struct Otlp__InstrumentationScope *scope;
};
void otlp_put_origin(struct arena *arena, const struct trace_settings *settings, const char *instance,
		     struct otlp_origin *origin);

/* Append the message, if no memory was out in its making; else `out` has failed. */
void otlp_pack(const struct arena *arena, const ProtobufCMessage *message, struct buf *out);

#endif
