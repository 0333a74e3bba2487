/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c: the forms by their names, and the plainest of them. */
#include "gateway/profile/profile.h"

#include "gateway/profile/places.h"

static const struct {
	const char *word, *content_type;
} formats[] = {
	[PROFILE_PPROF] = { "pprof", "application/octet-stream" },
	[PROFILE_FOLDED] = { "folded", "text/plain; charset=utf-8" },
	[PROFILE_SVG] = { "svg", "image/svg+xml" },
};

bool profile_format_of(struct slice word, enum profile_format *format)
{
	for (int i = 0; i < PROFILE_FORMAT_COUNT; i++)
		if (slice_equal(word, slice_of(formats[i].word))) {
			*format = (enum profile_format)i;
			return true;
		}
	return false;
}

const char *profile_content_type(enum profile_format format)
{
	return formats[format].content_type;
}

/* A semicolon parts frames, and a line's last blank its number. */
static void put_folded_name(struct buf *out, const char *name)
{
	for (; *name; name++)
		buf_put_char(out, *name == ';' || *name == '\n' ? ':' : *name);
}

static void put_folded(const struct profile *profile, const struct places *places, struct buf *out)
{
	for (size_t i = 0; i < profile->stacks->count; i++) {
		const struct stack *stack = profile->stacks->all[i];
		put_folded_name(out, stack->root ? stack->root : profile->kind);
		for (unsigned j = stack->depth; j-- > 0;) {
			buf_put_char(out, ';');
			put_folded_name(out, places_find(places, stack->frames[j])->symbol.name);
		}
		buf_printf(out, " %llu\n", (unsigned long long)(profile->counted ? stack->count : stack->value));
	}
}

bool profile_put(const struct profile *profile, enum profile_format format, struct buf *out)
{
	struct places places;
	if (!places_init(&places, profile->stacks, &profile->namer))
		return false;
	bool ok = true;
	switch (format) {
	case PROFILE_PPROF:
		ok = profile_put_pprof(profile, &places, out);
		break;
	case PROFILE_FOLDED:
		put_folded(profile, &places, out);
		break;
	case PROFILE_SVG:
		ok = profile_put_svg(profile, &places, out);
		break;
	case PROFILE_FORMAT_COUNT:
		break;
	}
	places_fini(&places);
	return ok && !out->failed;
}
