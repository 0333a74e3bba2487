/* SPDX-License-Identifier: Apache-2.0 */
/* upstream_labels.c: names in two tables, sought from the front: there are few, and a reload has the time. */
#include "gateway/tools/upstream_labels.h"

#include <assert.h>
#include <stdlib.h>

enum { SPARE_UPSTREAMS = 256, SPARE_ENDPOINTS = 1024 };

/* What one label is: an upstream's name; or an endpoint's, and its upstream's label. */
struct names {
	const char **texts; /* owned */
	size_t *owners;
	size_t count, room;
};

struct upstream_labels {
	struct metrics *metrics; /* NULL: none yet */
	struct names upstreams, endpoints;
};

static bool names_init(struct names *names, size_t room)
{
	names->room = room;
	names->texts = calloc(room, sizeof *names->texts);
	names->owners = calloc(room, sizeof *names->owners);
	return names->texts && names->owners;
}

static void names_fini(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free((void *)(uintptr_t)names->texts[i]);
	free(names->texts);
	free(names->owners);
}

/* False: no room, or no memory. */
static bool find_or_add(struct names *names, const char *text, size_t owner, size_t *label)
{
	for (*label = 0; *label < names->count; ++*label)
		if (names->owners[*label] == owner && strcmp(names->texts[*label], text) == 0)
			return true;
	char *copy = names->count < names->room ? strdup(text) : NULL;
	if (!copy)
		return false;
	names->owners[names->count] = owner;
	names->texts[names->count++] = copy;
	return true;
}

static void forget_names(struct names *names, size_t from)
{
	while (names->count > from)
		free((void *)(uintptr_t)names->texts[--names->count]);
}

/* What has come into the table since `from`. */
static void publish_names(const struct upstream_labels *labels, enum metric_label label, const struct names *names,
			  size_t from)
{
	for (size_t i = from; labels->metrics && i < names->count; i++)
		metrics_name(labels->metrics, label, i, names->texts[i]);
}

static bool number_endpoints(struct upstream_labels *labels, struct upstream_settings *settings)
{
	unsigned *numbers = (unsigned *)(uintptr_t)settings->endpoint_labels; /* nobody uses them yet */
	size_t label;
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		if (!find_or_add(&labels->endpoints, settings->shown[i], settings->label, &label))
			return false;
		numbers[i] = (unsigned)label;
	}
	return true;
}

bool upstream_labels_give(struct upstream_labels *labels, struct generation *next)
{
	size_t upstreams = labels->upstreams.count, endpoints = labels->endpoints.count, label;
	bool good = true;
	for (size_t i = 0; i < next->upstream_count && good; i++) {
		struct upstream_settings *settings = &next->upstreams[i].settings;
		good = find_or_add(&labels->upstreams, settings->name, 0, &label);
		if (good)
			settings->label = (unsigned)label;
		good = good && number_endpoints(labels, settings);
	}
	if (!good) { /* nobody has been told: what is not used takes no room */
		forget_names(&labels->upstreams, upstreams);
		forget_names(&labels->endpoints, endpoints);
		return false;
	}
	publish_names(labels, LABEL_UPSTREAM, &labels->upstreams, upstreams);
	publish_names(labels, LABEL_ENDPOINT, &labels->endpoints, endpoints);
	return true;
}

struct upstream_labels *upstream_labels_new(struct generation *first)
{
	struct upstream_labels *labels = calloc(1, sizeof *labels);
	size_t endpoints = 0;
	if (!labels)
		return NULL;
	for (size_t i = 0; i < first->upstream_count; i++)
		endpoints += first->upstreams[i].settings.endpoint_count;
	if (names_init(&labels->upstreams, first->upstream_count + SPARE_UPSTREAMS) &&
	    names_init(&labels->endpoints, endpoints + SPARE_ENDPOINTS) && upstream_labels_give(labels, first))
		return labels;
	upstream_labels_free(labels);
	return NULL;
}

void upstream_labels_free(struct upstream_labels *labels)
{
	if (!labels)
		return;
	names_fini(&labels->upstreams);
	names_fini(&labels->endpoints);
	free(labels);
}

size_t upstream_labels_room(const struct upstream_labels *labels)
{
	return labels->upstreams.room;
}

void upstream_labels_fill_names(const struct upstream_labels *labels, struct metrics_names *names)
{
	names->upstreams = labels->upstreams.texts;
	names->upstream_count = labels->upstreams.room;
	names->endpoints = labels->endpoints.texts;
	names->endpoint_upstreams = labels->endpoints.owners;
	names->endpoint_count = labels->endpoints.room;
}

void upstream_labels_publish(struct upstream_labels *labels, struct metrics *metrics)
{
	assert(!labels->metrics);
	labels->metrics = metrics;
}
