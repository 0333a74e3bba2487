/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.h: a profile in the form that somebody wants it in: pprof's (gzip'd protobuf, `go tool pprof` reads it), folded
 * stacks (a line each, flame graph tools read them), or a flame graph as SVG. One thread, which may take its time.
 */
#ifndef JITNEY_GATEWAY_PROFILE_PROFILE_H
#define JITNEY_GATEWAY_PROFILE_PROFILE_H

#include "base/buf.h"
#include "gateway/profile/stacks.h"

enum profile_format { PROFILE_PPROF, PROFILE_FOLDED, PROFILE_SVG, PROFILE_FORMAT_COUNT };

/* What was measured. */
struct profile {
	const struct stacks *stacks;
	struct namer namer;
	const char *title;   /* for people */
	const char *kind;    /* what a stack's value is of: "cpu", "inuse_space" */
	const char *unit;    /* its unit, in pprof's words: "nanoseconds", "bytes" */
	const char *counted; /* what its count is of: "samples"; NULL: counts say nothing */
	uint64_t period;     /* so much of the value was between two samples; 0: it was not sampled */
	uint64_t at_us;      /* wall clock, when it began */
	uint64_t duration_us;
	uint64_t lost; /* samples that are missing */
};

/* By its word in ?format= ("pprof", "folded", "svg"); false: there is none such. */
bool profile_format_of(struct slice word, enum profile_format *format) MUST_CHECK;
/* What it is, for Content-Type: static storage. */
const char *profile_content_type(enum profile_format format);

/* Append it. False: out of memory, or it is larger than `out` may become. */
bool profile_put(const struct profile *profile, enum profile_format format, struct buf *out) MUST_CHECK;

struct places;
/* A form each, for profile_put: append it. False: out of memory. */
bool profile_put_pprof(const struct profile *profile, const struct places *places, struct buf *out) MUST_CHECK;
bool profile_put_svg(const struct profile *profile, const struct places *places, struct buf *out) MUST_CHECK;

#endif
