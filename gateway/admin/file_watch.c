/* SPDX-License-Identifier: Apache-2.0 */
/* file_watch.c: inotify on folders, a digest of files, and the patience between the two. */
#include "gateway/admin/file_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/buf.h"
#include "gateway/config/config.h"

enum { LINKS_MAX = 16, NAMES_BYTES_MAX = 16 << 20 };
#define QUIET_LEAST_US (20 * CLOCK_US_PER_MS)
#define QUIET_MOST_US (80 * CLOCK_US_PER_MS)
#define BURST_MOST_US (2 * CLOCK_US_PER_S) /* who writes without end is looked at all the same */

struct file_watch {
	struct loop *loop;
	struct loop_watch watch;
	struct loop_timer timer; /* armed since something was heard */
	uint64_t debounce_us;    /* 0: auto */
	uint64_t quiet_us;       /* auto: what is waited for in this burst */
	uint64_t heard_us;       /* when something was heard last */
	uint64_t burst_us;       /* and first, since it was looked */
	XXH128_hash_t digest;    /* of what they held when it was looked last; zero: it has not been */
	void (*changed)(void *context);
	void *context;
	char **paths; /* owned */
	size_t count;
	bool refused; /* the kernel has no watch left for a folder (fs.inotify.max_user_watches) */
	struct buf
		names; /* "/a/b/file/": these paths, and where their links lead: what happens to other names is nothing */
};

/* ---------------------------------------------------------------- what they hold */

/* No further than it may be long: it may be a device, which has no end. */
static void digest_file(XXH3_state_t *state, const char *path)
{
	char block[16384];
	ssize_t got = -1;
	size_t left = CONFIG_FILE_BYTES;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	while (fd >= 0 && left && (got = read(fd, block, sizeof block)) > 0) {
		XXH3_128bits_update(state, block, (size_t)got);
		left -= (size_t)got < left ? (size_t)got : left;
	}
	XXH3_128bits_update(state, got == 0 ? "+" : "-", 1); /* the end of one is not the beginning of the next */
	if (fd >= 0)
		close(fd);
}

static XXH128_hash_t digest_files(const struct file_watch *watch)
{
	XXH3_state_t state;
	XXH3_128bits_reset(&state);
	for (size_t i = 0; i < watch->count; i++)
		digest_file(&state, watch->paths[i]);
	return XXH3_128bits_digest(&state);
}

/* ---------------------------------------------------------------- where they are */

/* The folder of a path. False: too long. */
static bool take_folder(const char *path, char folder[PATH_MAX])
{
	size_t len = strlen(path);
	if (len >= PATH_MAX)
		return false;
	memcpy(folder, path, len + 1);
	const char *of = dirname(folder);
	memmove(folder, of, strlen(of) + 1);
	return true;
}

/* Of the file's own folder what is written counts; of those above it, where that folder comes and goes, names alone. */
static void watch_folder_of(struct file_watch *watch, const char *path, bool is_whole)
{
	const uint32_t names = IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE, writes = IN_CLOSE_WRITE | IN_MODIFY;
	char folder[PATH_MAX];
	if (take_folder(path, folder) &&
	    inotify_add_watch(watch->watch.fd, folder, names | (is_whole ? writes : 0) | IN_ONLYDIR | IN_MASK_ADD) < 0)
		watch->refused |= errno == ENOSPC || errno == ENOMEM; /* else it is not there yet, or not ours to see */
}

/* Where a link leads, with the rest of the path behind it; NULL: it is none, or leads too far. */
static const char *follow_link(const char *path, const char *rest, char next[PATH_MAX])
{
	char target[PATH_MAX], folder[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof target - 1);
	if (len < 0 || !take_folder(path, folder))
		return NULL;
	target[len] = '\0';
	bool absolute = target[0] == '/';
	int written = snprintf(next, PATH_MAX, "%s%s%s%s", absolute ? "" : folder, absolute ? "" : "/", target, rest);
	return written > 0 && written < PATH_MAX ? next : NULL;
}

/* The folders on the way to it, as far as the first link; where the path goes on from there, NULL: there is none. */
static const char *watch_way(struct file_watch *watch, const char *path, char next[PATH_MAX])
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	const char *onward = NULL;
	for (size_t at = 1; at <= len && len < PATH_MAX && !onward; at++) {
		if (at < len && path[at] != '/')
			continue;
		memcpy(part, path, at);
		part[at] = '\0';
		watch_folder_of(watch, part, at == len);
		onward = follow_link(part, path + at, next);
	}
	return onward;
}

/* The folders of each name, and those of the links on the way. Again after each change: they may lead elsewhere now. */
static void watch_folders(struct file_watch *watch)
{
	char places[2][PATH_MAX];
	buf_reset(&watch->names);
	for (size_t i = 0; i < watch->count; i++) {
		const char *path = watch->paths[i];
		for (size_t hop = 0; path && hop < LINKS_MAX; hop++) {
			buf_printf(&watch->names, "/%s/", path);
			path = watch_way(watch, path, places[hop % 2]);
		}
	}
}

/* ---------------------------------------------------------------- patience */

static uint64_t patience_us(const struct file_watch *watch)
{
	return watch->debounce_us ? watch->debounce_us : watch->quiet_us;
}

/* A writer that pauses is given twice its pause. */
static void learn_pause(struct file_watch *watch, uint64_t now_us)
{
	uint64_t wanted_us = 2 * (now_us - watch->heard_us);
	wanted_us = wanted_us < QUIET_MOST_US ? wanted_us : QUIET_MOST_US;
	watch->quiet_us = wanted_us > watch->quiet_us ? wanted_us : watch->quiet_us;
}

static void wait_for_quiet(struct file_watch *watch)
{
	uint64_t now_us = clock_now_us();
	if (watch->timer.place) {
		learn_pause(watch, now_us);
	} else {
		watch->burst_us = now_us;
		watch->quiet_us = QUIET_LEAST_US;
	}
	watch->heard_us = now_us;
	uint64_t due_us = clock_add(now_us, patience_us(watch));
	uint64_t latest_us = clock_add(watch->burst_us, patience_us(watch) + BURST_MOST_US);
	loop_arm(watch->loop, &watch->timer, due_us < latest_us ? due_us : latest_us);
}

/* Whether it may concern the files: a part of a path to them, or the folder itself. A log in the same folder, say, does
 * not. */
static bool concerns_files(const struct file_watch *watch, const struct inotify_event *event)
{
	char part[NAME_MAX + 3];
	if (event->len == 0 || watch->names.failed)
		return true;
	int len = snprintf(part, sizeof part, "/%s/", event->name);
	return memmem(watch->names.store ? buf_slice(&watch->names).at : "", watch->names.len, part, (size_t)len);
}

static void hear_folders(struct loop_watch *heard, uint32_t events)
{
	struct file_watch *watch = container_of(heard, struct file_watch, watch);
	_Alignas(struct inotify_event) char block[4096];
	bool concerned = false;
	ssize_t got;
	(void)events;
	while ((got = read(watch->watch.fd, block, sizeof block)) > 0)
		for (ssize_t at = 0; at < got;) {
			const struct inotify_event *event = (const struct inotify_event *)(const void *)(block + at);
			concerned |= concerns_files(watch, event);
			at += (ssize_t)(sizeof *event + event->len);
		}
	if (concerned)
		wait_for_quiet(watch);
}

static void look_at_files(struct loop_timer *timer, uint64_t now_us)
{
	struct file_watch *watch = container_of(timer, struct file_watch, timer);
	(void)now_us;
	watch_folders(watch);
	XXH128_hash_t digest = digest_files(watch);
	if (XXH128_isEqual(digest, watch->digest))
		return;
	watch->digest = digest;
	watch->changed(watch->context);
}

/* ---------------------------------------------------------------- life */

static bool copy_paths(struct file_watch *watch, const char *const *paths, size_t count)
{
	watch->paths = calloc(count + 1, sizeof *watch->paths);
	for (size_t i = 0; watch->paths && i < count; i++) {
		if (!(watch->paths[i] = strdup(paths[i])))
			return false;
		watch->count++;
	}
	return watch->paths != NULL;
}

/* False: the kernel refuses. */
static bool begin_to_hear(struct file_watch *watch)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd >= 0 && loop_watch(watch->loop, &watch->watch, fd, EPOLLIN))
		return true;
	if (fd >= 0)
		close(fd);
	watch->watch.fd = -1;
	return false;
}

struct file_watch *file_watch_new(struct loop *loop, const char *const *paths, size_t count, uint64_t debounce_us,
				  void (*changed)(void *context), void *context)
{
	struct file_watch *watch = calloc(1, sizeof *watch);
	if (!watch || !loop_timers_reserve(loop, 1)) {
		free(watch);
		return NULL;
	}
	watch->loop = loop;
	watch->watch = (struct loop_watch){ hear_folders, -1 };
	buf_init(&watch->names, NAMES_BYTES_MAX);
	watch->timer = LOOP_TIMER_INIT(look_at_files);
	watch->debounce_us = debounce_us;
	watch->changed = changed;
	watch->context = context;
	if (!copy_paths(watch, paths, count) || !begin_to_hear(watch)) {
		file_watch_free(watch);
		return NULL;
	}
	watch_folders(watch);
	if (watch->refused) {
		file_watch_free(watch);
		return NULL;
	}
	loop_arm(loop, &watch->timer, loop_now(loop)); /* for what has changed before anybody listened */
	return watch;
}

void file_watch_free(struct file_watch *watch)
{
	if (!watch)
		return;
	int fd = watch->watch.fd;
	loop_unwatch(watch->loop, &watch->watch);
	if (fd >= 0)
		close(fd);
	loop_disarm(watch->loop, &watch->timer);
	loop_timers_release(watch->loop, 1);
	for (size_t i = 0; i < watch->count; i++)
		free(watch->paths[i]);
	free(watch->paths);
	buf_fini(&watch->names);
	free(watch);
}

bool file_watch_is_of(const struct file_watch *watch, const char *const *paths, size_t count, uint64_t debounce_us)
{
	bool same = watch->count == count && watch->debounce_us == debounce_us;
	for (size_t i = 0; same && i < count; i++)
		same = strcmp(watch->paths[i], paths[i]) == 0;
	return same;
}
