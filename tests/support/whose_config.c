/* SPDX-License-Identifier: Apache-2.0 */
/* whose_config.c: see the header. */
#include "tests/support/whose_config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/support/whose_speech.h"

enum { VARIANTS = 32 };
#define TIMES "ttl: 20s, stale_while_revalidate: 10s, stale_if_error: 60s"

/* What became of an upstream, and of its tools with it. */
static struct variant {
	bool gone, moved, other;
	unsigned times; /* of its tools' policy, below */
} variants[VARIANTS];
static const char *const times[] = { TIMES, "ttl: 20s, stale_while_revalidate: 10s, stale_if_error: 0s",
				     "ttl: 5s, stale_while_revalidate: 0s, stale_if_error: 60s",
				     "ttl: 2s, stale_while_revalidate: 9s, stale_if_error: 20s" };
static unsigned *seed;
static int file = -1;
static char path[40];

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(seed) % sides;
}

static void put_replaced(struct buf *out, struct slice line, const char *from, const char *to)
{
	size_t len = strlen(from);
	while (line.len) {
		bool here = line.len >= len && memcmp(line.at, from, len) == 0;
		size_t step = here ? len : 1;
		if (here)
			buf_put_text(out, to);
		else
			buf_put_char(out, *line.at);
		line.at += step;
		line.len -= step;
	}
}

/* The upstream that an entry is, or is a tool of: of `  name: {` or of `upstream: name` in it. */
static const struct variant *variant_of(struct slice line, bool of_tool)
{
	const char *mark = of_tool ? memmem(line.at, line.len, "upstream: ", 10) : NULL;
	const char *name = mark ? mark + 10 : line.at + 2;
	size_t len = strcspn(name, ":, }");
	for (size_t i = 0; i < speech_count; i++)
		if (strlen(speeches[i].upstream) == len && memcmp(speeches[i].upstream, name, len) == 0)
			return &variants[i];
	return NULL;
}

static void put_line(struct buf *out, struct slice line, const struct variant *variant)
{
	struct buf moved = BUF_INIT(SIZE_MAX / 4), timed = BUF_INIT(SIZE_MAX / 4);
	put_replaced(&moved, line, ".test/", variant->moved ? ".moved/" : ".test/");
	put_replaced(&timed, buf_slice(&moved), TIMES, times[variant->times]);
	put_replaced(out, buf_slice(&timed), "timeout: 4s", variant->other ? "timeout: 5s" : "timeout: 4s");
	buf_fini(&moved);
	buf_fini(&timed);
}

static void write_file(void)
{
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	const struct variant *variant = NULL; /* of the entry that a line belongs to */
	bool tools = false;
	for (const char *at = spoken_yaml, *end; *at; at = end) {
		end = strchr(at, '\n') + 1;
		struct slice line = { at, (size_t)(end - at) };
		tools |= strncmp(at, "tools:", 6) == 0;
		if (strncmp(at, "  ", 2) != 0)
			variant = NULL;
		else if (at[2] != ' ')
			variant = variant_of(line, tools);
		if (!variant)
			buf_put(&out, line);
		else if (!variant->gone)
			put_line(&out, line, variant);
	}
	bool written = ftruncate(file, 0) == 0 && pwrite(file, out.store->bytes, out.len, 0) == (ssize_t)out.len;
	assert(written);
	buf_fini(&out);
}

void whose_config_begin(unsigned *the_seed)
{
	assert(speech_count <= VARIANTS);
	seed = the_seed;
	memset(variants, 0, sizeof variants);
	if (file < 0) {
		file = memfd_create("whose.yaml", MFD_CLOEXEC);
		assert(file >= 0);
		snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	}
	write_file();
}

void whose_config_change(void)
{
	for (unsigned n = roll(4); n > 0; n--) {
		struct variant *variant = &variants[roll((unsigned)speech_count)];
		variant->gone = !variant->gone && roll(4) == 0;
		variant->moved ^= roll(3) == 0;
		variant->other ^= roll(3) == 0;
		variant->times = roll(3) ? variant->times : roll(countof(times));
	}
	if (roll(6) == 0)
		memset(variants, 0, sizeof variants);
	write_file();
}

const char *whose_config_path(void)
{
	return path;
}
