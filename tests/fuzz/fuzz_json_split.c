/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements of an array in pieces. The first byte seeds the sizes of the pieces, the second is the depth. Properties:
 * pieces give what the whole gives; what the scanner accepts splits into the elements that walking gives; what splits
 * into sound elements only, the scanner accepts too.
 */
#include "base/json.h"
#include "base/json_split.h"
#include "tests/support/fuzz.h"

/* The next thing the splitter says that is not "more", showing it ever more of the text. */
static enum json_split_event next_in_pieces(struct json_split *split, struct slice text, size_t *shown, uint32_t *seed,
					    unsigned max_depth, struct slice *element)
{
	for (;;) {
		bool last = *shown == text.len;
		enum json_split_event event =
			json_split_next(split, (struct slice){ text.at, *shown }, last, max_depth, element);
		if ((event != JSON_SPLIT_MORE && event != JSON_SPLIT_END) || last)
			return event;
		*seed = *seed * 1103515245 + 12345;
		*shown += 1 + (*seed >> 16) % 8;
		if (*shown > text.len)
			*shown = text.len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	uint32_t seed = data[0];
	unsigned max_depth = data[1];
	struct slice text = { (const char *)data + 2, size - 2 }, part, element, walked;
	struct json_split whole, pieces;
	struct json_fault fault;
	size_t shown = seed % (text.len + 1);
	bool sound = json_check(text, max_depth, NULL, &fault),
	     array = json_trim(text).len && *json_trim(text).at == '[';
	bool elements_sound = true;
	enum json_split_event event;
	struct json_walk walk = json_walk(text);
	json_split_init(&whole);
	json_split_init(&pieces);
	do {
		event = json_split_next(&whole, text, true, max_depth, &element);
		must(event != JSON_SPLIT_MORE);
		must(next_in_pieces(&pieces, text, &shown, &seed, max_depth, &part) == event);
		if (event != JSON_SPLIT_ELEMENT)
			break;
		must(part.at == element.at && part.len == element.len && element.len > 0);
		elements_sound = elements_sound && json_check(element, max_depth - array, NULL, &fault);
		if (sound && array)
			must(json_next_element(&walk, &walked) && walked.at == element.at && walked.len == element.len);
	} while (true);
	must(sound == (event == JSON_SPLIT_END && elements_sound));
	if (sound && array)
		must(!json_next_element(&walk, &walked));
	return 0;
}
