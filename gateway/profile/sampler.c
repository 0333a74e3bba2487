/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.c: timers, one handler, one ring.
 *
 * What the handler does may interrupt anything: memory's allocator, the loader, a lock that is held. So it takes no lock
 * and no memory: it walks the stack into a slot of the ring. The walk is glibc's backtrace(), the only one that gets
 * through libraries built without frame pointers (all of Debian's, and we). It is safe here because it is called once
 * before, which loads libgcc; from then on it reads unwind tables that are mapped anyway, which it finds by
 * _dl_find_object (glibc 2.35: made for this, takes no lock).
 *
 * The handler stays for ever once there was one: a signal may still be under way when its timer has been deleted, and
 * would end the process. A SIGPROF of somebody else's goes to the handler that was there before.
 */
#include "gateway/profile/sampler.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
	RING_SLOTS = 512,
	OWN_FRAMES =
		6, /* of the handler and what calls it, sanitizers included: searched for the place it interrupted */
	NAME_BYTES = 16
};
#define NS_PER_S 1000000000L
#define PERIOD_NS (NS_PER_S / SAMPLER_HZ)

/* A slot is its writer's from TAKEN to FULL, and the drainer's from FULL to FREE. */
enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_FULL };

struct slot {
	atomic_uint state;
	unsigned thread; /* index of its timer */
	unsigned ticks;  /* of the timer that it stands for: more than 1 where signals were late */
	int depth;
	uintptr_t interrupted; /* the program counter; 0: not known on this machine */
	void *frames[STACK_FRAMES + OWN_FRAMES];
};

struct ring {
	atomic_uint next; /* slot to try first */
	atomic_ullong lost;
	struct slot slots[RING_SLOTS];
};

/* Once made it stays, as the handler does. */
static _Atomic(struct ring *) the_ring;
static atomic_bool sampling;
static struct sigaction before; /* constant once the handler is there */
/* What a timer's signal brings: a place in here, which says that it is ours and of which thread. */
static const char marks[SAMPLER_THREADS];

struct sampled_thread {
	pid_t tid;
	bool timed; /* there is a timer */
	timer_t timer;
	char name[NAME_BYTES];
};

struct sampler {
	bool running;
	uint64_t lost_before; /* by others before it */
	int why;              /* errno of the last timer that was not to be had; 0: all were */
	size_t count;
	struct sampled_thread threads[SAMPLER_THREADS];
};

/* --- in the handler --- */

static uintptr_t find_interrupted(const void *context)
{
	const ucontext_t *user = context;
#if defined(__x86_64__)
	return (uintptr_t)user->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)user->uc_mcontext.pc;
#else
	(void)user;
	return 0;
#endif
}

static struct slot *take_slot(struct ring *ring)
{
	unsigned first = atomic_fetch_add_explicit(&ring->next, 1, memory_order_relaxed);
	for (unsigned i = 0; i < RING_SLOTS; i++) {
		struct slot *slot = &ring->slots[(first + i) % RING_SLOTS];
		unsigned is = SLOT_FREE;
		if (atomic_compare_exchange_strong_explicit(&slot->state, &is, SLOT_TAKEN, memory_order_acquire,
							    memory_order_relaxed))
			return slot;
	}
	atomic_fetch_add_explicit(&ring->lost, 1, memory_order_relaxed);
	return NULL;
}

/* Somebody has sent it, whom none of this concerns. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
	} else if (before.sa_handler == SIG_DFL) {
		signal(number, SIG_DFL);
		raise(number);
	} else if (before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
	}
}

static void take_sample(int number, siginfo_t *info, void *context)
{
	const char *mark = info->si_code == SI_TIMER ? info->si_value.sival_ptr : NULL;
	if (mark < marks || mark >= marks + SAMPLER_THREADS) {
		pass_on(number, info, context);
		return;
	}
	int error = errno;
	struct ring *ring = atomic_load_explicit(&the_ring, memory_order_acquire);
	struct slot *slot = atomic_load_explicit(&sampling, memory_order_relaxed) ? take_slot(ring) : NULL;
	if (slot) {
		slot->thread = (unsigned)(mark - marks);
		slot->ticks = 1 + (unsigned)(info->si_overrun > 0 ? info->si_overrun : 0);
		slot->interrupted = find_interrupted(context);
		slot->depth = backtrace(slot->frames, countof(slot->frames));
		atomic_store_explicit(&slot->state, SLOT_FULL, memory_order_release);
	}
	errno = error;
}

/* --- timers --- */

/* The ring and the handler, once for the process. False: errno says why. */
static bool prepare_handler(void)
{
	void *frame;
	if (atomic_load(&the_ring))
		return true;
	struct ring *ring = calloc(1, sizeof *ring);
	if (!ring)
		return false;
	(void)!backtrace(&frame, 1); /* loads what it needs now */
	struct sigaction action = { .sa_sigaction = take_sample, .sa_flags = SA_SIGINFO | SA_RESTART };
	if (sigaction(SIGPROF, NULL, &before) < 0) {
		free(ring);
		return false;
	}
	atomic_store(&the_ring, ring);
	if (sigaction(SIGPROF, &action, NULL) == 0)
		return true;
	atomic_store(&the_ring, NULL); /* else the next one would take the handler to be there */
	free(ring);
	return false;
}

/* A thread's CPU clock by its number, as glibc's pthread_getcpuclockid makes it: the kernel's way of writing it. */
static clockid_t cpu_clock_of(pid_t tid)
{
	return (clockid_t)(~(unsigned)tid << 3 | 6);
}

static bool start_timer(struct sampled_thread *thread, size_t index)
{
	const struct timespec period = { PERIOD_NS / NS_PER_S, PERIOD_NS % NS_PER_S };
	const struct itimerspec every = { period, period };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	event.sigev_value.sival_ptr = (void *)&marks[index];
	event.sigev_notify_thread_id = thread->tid;
	if (timer_create(cpu_clock_of(thread->tid), &event, &thread->timer) < 0)
		return false;
	thread->timed = timer_settime(thread->timer, 0, &every, NULL) == 0;
	if (!thread->timed)
		timer_delete(thread->timer);
	return thread->timed;
}

static void read_name(struct sampled_thread *thread)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/comm", (int)thread->tid);
	FILE *file = fopen(path, "re");
	if (!file || !fgets(thread->name, sizeof thread->name, file))
		snprintf(thread->name, sizeof thread->name, "%d", (int)thread->tid);
	if (file)
		fclose(file);
	thread->name[strcspn(thread->name, "\n")] = '\0';
}

static bool is_known(const struct sampler *sampler, pid_t tid)
{
	for (size_t i = 0; i < sampler->count; i++)
		if (sampler->threads[i].tid == tid)
			return true;
	return false;
}

/* The one that profiles is left out: nobody asks for its own work. */
static void add_thread(struct sampler *sampler, pid_t tid)
{
	if (tid <= 0 || tid == gettid() || sampler->count == SAMPLER_THREADS || is_known(sampler, tid))
		return;
	struct sampled_thread *thread = &sampler->threads[sampler->count];
	thread->tid = tid;
	read_name(thread);
	if (start_timer(thread, sampler->count))
		sampler->count++;
	else
		sampler->why = errno;
}

void sampler_look(struct sampler *sampler)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	while (tasks && (entry = readdir(tasks))) /* one thread has the stream: NOLINT(concurrency-mt-unsafe) */
		add_thread(sampler, (pid_t)strtol(entry->d_name, NULL, 10));
	if (tasks)
		closedir(tasks);
}

struct sampler *sampler_start(char *error, size_t error_bytes)
{
	bool nobody = false;
	if (!atomic_compare_exchange_strong(&sampling, &nobody, true)) {
		snprintf(error, error_bytes, "the process is being sampled already");
		return NULL;
	}
	struct sampler *sampler = calloc(1, sizeof *sampler);
	if (!sampler || !prepare_handler()) {
		snprintf(error, error_bytes, "%s", strerror(errno));
		goto fail;
	}
	sampler->running = true;
	sampler->lost_before = atomic_load(&atomic_load(&the_ring)->lost);
	sampler_look(sampler);
	if (sampler->count || !sampler->why)
		return sampler;
	snprintf(error, error_bytes, "the kernel gives no timer of a thread's CPU time: %s", strerror(sampler->why));
fail:
	free(sampler);
	atomic_store(&sampling, false);
	return NULL;
}

void sampler_stop(struct sampler *sampler)
{
	if (!sampler->running)
		return;
	for (size_t i = 0; i < sampler->count; i++)
		timer_delete(sampler->threads[i].timer);
	sampler->running = false;
}

/* --- samples --- */

/* The handler's own frames are above the place it interrupted. Callers are named by where they call, not by where they
 * are returned to, which may be another function. */
static unsigned strip_stack(const struct slot *slot, uintptr_t frames[STACK_FRAMES])
{
	int first = 0, depth = 0;
	while (first < slot->depth && first < OWN_FRAMES && (uintptr_t)slot->frames[first] != slot->interrupted)
		first++;
	if (first == slot->depth || (uintptr_t)slot->frames[first] != slot->interrupted)
		first = slot->depth > 2 ? 2 : 0; /* the handler, and what the kernel returns it to */
	for (int i = first; i < slot->depth && depth < STACK_FRAMES; i++)
		frames[depth++] = (uintptr_t)slot->frames[i] - (i > first);
	return (unsigned)depth;
}

void sampler_drain(struct sampler *sampler, struct stacks *to)
{
	struct ring *ring = atomic_load(&the_ring);
	uintptr_t frames[STACK_FRAMES];
	for (size_t i = 0; i < RING_SLOTS; i++) {
		struct slot *slot = &ring->slots[i];
		if (atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_FULL)
			continue;
		unsigned depth = strip_stack(slot, frames);
		if (slot->thread < sampler->count)
			stacks_add(to, sampler->threads[slot->thread].name, frames, depth,
				   (uint64_t)slot->ticks * PERIOD_NS);
		atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_release);
	}
}

uint64_t sampler_lost(const struct sampler *sampler)
{
	return atomic_load(&atomic_load(&the_ring)->lost) - sampler->lost_before;
}

void sampler_free(struct sampler *sampler)
{
	if (!sampler)
		return;
	struct stacks nowhere;
	stacks_init(&nowhere, 0);
	sampler_stop(sampler);
	sampler_drain(sampler, &nowhere); /* they are not the next one's */
	stacks_fini(&nowhere);
	free(sampler);
	atomic_store(&sampling, false);
}
