/* SPDX-License-Identifier: Apache-2.0 */
/* json_order.c: members of an object put in the order of their names, which also shows whether a name is there
 * twice. */
#include <assert.h>
#include <stdlib.h>

#include "base/json_private.h"

enum {
	SORT_BINS = 32,    /* bin n holds a sorted chain of 2^n members */
	TINY_OBJECT = 6,   /* members up to which each is compared with all before it */
	SMALL_OBJECT = 32, /* members up to which chains are sorted as they are */
};

/* A member where members are sorted: what decides most comparisons is at hand, and read in order. */
struct ranked {
	uint64_t prefix;
	uint32_t index;
};

/* Merge two sorted chains. A name that is in both is left in *duplicate (the later member). */
static uint32_t merge_chains(struct scan *scan, uint32_t a, uint32_t b, uint32_t *duplicate)
{
	uint32_t head = NO_NODE, *tail = &head;
	while (a != NO_NODE && b != NO_NODE) {
		int order = compare_names(scan, &scan->nodes[a], &scan->nodes[b]);
		if (order == 0)
			*duplicate = a > b ? a : b;
		uint32_t *from = order < 0 ? &a : &b;
		*tail = *from;
		tail = &scan->nodes[*from].next;
		*from = *tail;
	}
	*tail = a != NO_NODE ? a : b;
	return head;
}

/* Sort a chain of a few members by putting one after the other into its place. */
static uint32_t sort_few(struct scan *scan, uint32_t first, uint32_t *duplicate)
{
	uint32_t sorted = NO_NODE;
	while (first != NO_NODE) {
		struct node *member = &scan->nodes[first];
		uint32_t *place = &sorted, next = member->next;
		int order = -1;
		while (*place != NO_NODE && (order = compare_names(scan, &scan->nodes[*place], member)) < 0)
			place = &scan->nodes[*place].next;
		if (order == 0)
			*duplicate = first;
		member->next = *place;
		*place = first;
		first = next;
	}
	return sorted;
}

/* Sort a chain of members: a merge sort, since its worst case is its usual case. */
static uint32_t sort_members(struct scan *scan, uint32_t first, uint32_t *duplicate)
{
	uint32_t bins[SORT_BINS] = { NO_NODE };
	unsigned used = 0;
	while (first != NO_NODE) {
		uint32_t chain = first;
		first = scan->nodes[chain].next;
		scan->nodes[chain].next = NO_NODE;
		unsigned bin = 0;
		for (; bin < used && bins[bin] != NO_NODE; bin++) {
			chain = merge_chains(scan, bins[bin], chain, duplicate);
			bins[bin] = NO_NODE;
		}
		bins[bin] = chain;
		if (bin == used)
			used++;
	}
	uint32_t sorted = NO_NODE;
	for (unsigned bin = 0; bin < used; bin++)
		sorted = merge_chains(scan, bins[bin], sorted, duplicate);
	return sorted;
}

static bool ranks_before(const struct scan *scan, const struct ranked *a, const struct ranked *b, uint32_t *duplicate)
{
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix;
	int order = compare_names(scan, &scan->nodes[a->index], &scan->nodes[b->index]);
	if (order == 0)
		*duplicate = a->index > b->index ? a->index : b->index;
	return order < 0;
}

/* Merge the sorted halves of from[low..high) at `middle` into `to`. */
static void merge_ranked(const struct scan *scan, const struct ranked *from, struct ranked *to, size_t low,
			 size_t middle, size_t high, uint32_t *duplicate)
{
	size_t a = low, b = middle;
	for (size_t i = low; i < high; i++) {
		bool second = a == middle || (b < high && ranks_before(scan, &from[b], &from[a], duplicate));
		to[i] = second ? from[b++] : from[a++];
	}
}

/* How many bytes all names of a chain begin with. */
static size_t common_beginning(const struct scan *scan, uint32_t first)
{
	const struct node *member = &scan->nodes[first];
	const char *name = name_bytes(scan, member);
	size_t common = member->name_len;
	for (uint32_t index = member->next; index != NO_NODE && common; index = scan->nodes[index].next) {
		const struct node *other = &scan->nodes[index];
		const char *bytes = name_bytes(scan, other);
		size_t len = other->name_len < common ? other->name_len : common;
		common = 0;
		while (common < len && name[common] == bytes[common])
			common++;
	}
	return common;
}

/* What decides between names that begin with the same `common` bytes. */
static uint64_t prefix_behind(const struct scan *scan, const struct node *member, size_t common)
{
	const char *name = name_bytes(scan, member) + common;
	size_t len = member->name_len - common;
	return name_prefix(name, len, member->escaped ? len : (size_t)(scan->end - name));
}

/* The same for many, as an array: chains of many members are read all over the memory. False: memory is out. */
static bool sort_many(struct scan *scan, struct node *object, size_t count, uint32_t *duplicate)
{
	assert(count > 0); /* so that a compiler that optimises little sees that there is a first one too */
	struct ranked *memory = malloc(2 * count * sizeof *memory);
	uint32_t index = object->next;
	if (!memory) {
		*scan->fault = (struct json_fault){ "out of memory", 0, true };
		return false;
	}
	struct ranked *from = memory, *to = memory + count;
	size_t common = common_beginning(scan, index);
	for (size_t i = 0; i < count; i++, index = scan->nodes[index].next)
		from[i] = (struct ranked){ prefix_behind(scan, &scan->nodes[index], common), index };
	for (size_t width = 1; width < count; width *= 2) {
		for (size_t low = 0; low < count; low += 2 * width) {
			size_t middle = low + width < count ? low + width : count;
			size_t high = middle + width < count ? middle + width : count;
			merge_ranked(scan, from, to, low, middle, high, duplicate);
		}
		struct ranked *sorted = to;
		to = from;
		from = sorted;
	}
	object->next = from[0].index;
	for (size_t i = 0; i < count; i++)
		scan->nodes[from[i].index].next = i + 1 < count ? from[i + 1].index : NO_NODE;
	free(memory);
	return true;
}

bool json_order_members(struct scan *scan, const struct frame *frame, const char *p)
{
	struct node *object = &scan->nodes[frame->object];
	uint32_t duplicate = NO_NODE;
	if (frame->members <= TINY_OBJECT) {
		object->next = sort_few(scan, object->next, &duplicate);
	} else if (frame->members <= SMALL_OBJECT) {
		object->next = sort_members(scan, object->next, &duplicate);
	} else {
		scan->unsorted += frame->members;
		if (scan->unsorted > JSON_UNSORTED_MAX) {
			json_refuse(scan, p, "too many member names that are not in order");
			return false;
		}
		if (!sort_many(scan, object, frame->members, &duplicate))
			return false;
	}
	if (duplicate == NO_NODE)
		return true;
	json_refuse(scan, scan->text + name_place(scan, &scan->nodes[duplicate]), "duplicate member name");
	return false;
}
