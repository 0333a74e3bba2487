/* SPDX-License-Identifier: Apache-2.0 */
/* crash.c: a handler that uses nothing but system calls and what was prepared for it. */
#include "base/crash.h"

#include <assert.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/log.h"

enum { MODULES_MAX = 64, NAME_BYTES = 48, FRAMES_MAX = 40, FRAME_BYTES = 80, STACK_BYTES = 64 * 1024 };

/* Programs and libraries as they were at the start, so that the handler need not ask the loader, who takes a lock. */
struct module {
	uintptr_t base, end;
	char name[NAME_BYTES];
};
static struct module modules[MODULES_MAX]; /* constant once the handler is installed, as module_count */
static size_t module_count;
static atomic_int dying; /* the thread that is in the handler; 0: none */
static bool installed;

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int note_module(struct dl_phdr_info *info, size_t bytes, void *context)
{
	(void)bytes;
	(void)context;
	if (module_count == MODULES_MAX)
		return 1;
	struct module *module = &modules[module_count++];
	module->base = info->dlpi_addr;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
		if (info->dlpi_phdr[i].p_type == PT_LOAD && end > module->end)
			module->end = end;
	}
	snprintf(module->name, sizeof module->name, "%s", *info->dlpi_name ? base_name(info->dlpi_name) : "jitney");
	return 0;
}

/* "module+0x123", which addr2line takes; the address itself if it is of none. */
static size_t put_frame(char *out, size_t room, uintptr_t address)
{
	for (size_t i = 0; i < module_count; i++)
		if (address >= modules[i].base && address < modules[i].end)
			return (size_t)snprintf(out, room, " %s+0x%zx", modules[i].name,
						(size_t)(address - modules[i].base));
	return (size_t)snprintf(out, room, " 0x%zx", (size_t)address);
}

static void put_backtrace(struct log_line *line)
{
	void *frames[FRAMES_MAX];
	char text[FRAMES_MAX * FRAME_BYTES];
	size_t len = 0;
	int count = backtrace(frames, FRAMES_MAX);
	for (int i = 0; i < count && len + FRAME_BYTES < sizeof text; i++)
		len += put_frame(text + len, FRAME_BYTES, (uintptr_t)frames[i]);
	log_text(line, "backtrace", len ? (struct slice){ text + 1, len - 1 } : (struct slice){ NULL, 0 });
}

static void report_end(int number, const siginfo_t *info)
{
	struct log_line line UNCLEARED;
	char address[24];
	log_begin_always(&line, &EVENT_DIED);
	log_u64(&line, "signal", (uint64_t)number);
	log_cstr(&line, "name", sigdescr_np(number)); /* strsignal allocates */
	if (info->si_code > 0) {                      /* a fault of our own, not sent by somebody */
		snprintf(address, sizeof address, "0x%zx", (size_t)(uintptr_t)info->si_addr);
		log_cstr(&line, "address", address);
	} else {
		log_u64(&line, "sender", (uint64_t)info->si_pid);
	}
	put_backtrace(&line);
	log_end_at_once(&line);
}

static void handle_signal(int number, siginfo_t *info, void *context)
{
	int nobody = 0, self = gettid();
	sigset_t mine;
	(void)context;
	signal(number, SIG_DFL);
	sigemptyset(&mine);
	sigaddset(&mine, number);
	pthread_sigmask(SIG_UNBLOCK, &mine, NULL); /* ThreadSanitizer runs handlers late, with all signals blocked */
	if (atomic_compare_exchange_strong(&dying, &nobody, self))
		report_end(number, info);
	else if (nobody != self) /* else it is a fault of the handler's own: there is no more to say */
		for (;;)
			pause(); /* another thread tells, and ends us all */
	raise(number);
	_exit(128 + number); /* not reached: the default of all of these is the end */
}

static void hear_signal(int number)
{
	struct sigaction action = { .sa_sigaction = handle_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	struct sigaction before;
	if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
		sigaction(number, &action, NULL);
}

void crash_handler_install(void)
{
	static const int numbers[] = { SIGSEGV,   SIGBUS,  SIGILL,    SIGFPE,  SIGABRT, SIGTRAP, SIGSYS, SIGQUIT,
				       SIGSTKFLT, SIGALRM, SIGVTALRM, SIGPROF, SIGIO,   SIGPWR,  SIGXCPU };
	void *frame;
	assert(!installed);
	(void)!backtrace(&frame, 1); /* loads what it needs now */
	module_count = 0;
	dl_iterate_phdr(note_module, NULL);
	for (size_t i = 0; i < countof(numbers); i++)
		hear_signal(numbers[i]);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	installed = true;
	crash_handler_thread();
}

void crash_handler_thread(void)
{
	static _Thread_local char stack[STACK_BYTES];
	stack_t before;
	if (!installed || sigaltstack(NULL, &before) < 0 || !(before.ss_flags & SS_DISABLE))
		return; /* a sanitizer has given it one */
	stack_t own = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&own, NULL);
}
