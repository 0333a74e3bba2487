/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: which command is meant. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "gateway/cli/cli.h"

#ifndef JITNEY_MALLOC
#define JITNEY_MALLOC "libc"
#endif

/* Read by jemalloc, if that is what allocates: what a burst took goes back to the system within seconds, by a thread of
 * jemalloc's own, since workers that sleep free nothing. The environment's MALLOC_CONF goes before. */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true,max_background_threads:1,dirty_decay_ms:1000,muzzy_decay_ms:0";

/*
 * A rotation, or a reload, that comes while libraries still start would end the process: what it asks for is kept until
 * somebody can hear it (serve.c). Before any constructor runs, those of sanitizers too, so by no function that they
 * watch; other commands have no use for it.
 */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void hold_signals(int argc, char **argv)
{
	static const char serve[] = "serve";
	const unsigned long both[8 / sizeof(long)] = { 1UL << (SIGHUP - 1) | 1UL << (SIGUSR1 - 1) }; /* the kernel's */
	size_t same = 0;
	while (argc > 1 && same < sizeof serve && argv[1][same] == serve[same])
		same++;
	if (same == sizeof serve)
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, both, NULL, sizeof both);
}

__attribute__((section(".preinit_array"), used)) static void (*const before_all)(int, char **) = hold_signals;

static int print_version(int argc, char **argv)
{
	bool help = argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
	if (argc > 1 && !help) {
		fputs("jitney version: it takes no words\n", stderr);
		return EXIT_USAGE;
	}
	puts(help ? "usage: jitney version\n\nPrints the version, and what allocates its memory."
		  : "jitney " JITNEY_VERSION "\nmalloc: " JITNEY_MALLOC);
	return EXIT_SUCCESS;
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "serve", cli_serve, "run the gateway" },
	{ "check", cli_check, "read a configuration and say what is wrong with it" },
	{ "explain", cli_explain, "say what a tool's flight, cache key and lane are made of, and why" },
	{ "call", cli_call, "call a tool through a running gateway" },
	{ "tools", cli_tools, "list the tools of a running gateway" },
	{ "reload", cli_reload, "have a running gateway read its configuration anew" },
	{ "top", cli_top, "watch a running gateway in the terminal" },
	{ "perf", cli_perf, "measure a running gateway: benchmark, monitor, profile, cache-stats" },
	{ "cache", cli_cache, "look at, move, or drop what a running gateway has cached" },
	{ "import", cli_import, "turn an MCP client's list of servers into a configuration" },
	{ "simulate", cli_simulate, "what other batch windows would have done to an access log" },
	{ "version", print_version, "print the version" },
};

static void print_help(FILE *out)
{
	fputs("usage: jitney COMMAND [OPTIONS]\n\n"
	      "The tool gateway for AI agents: answers repeats from memory, shares flights, batches the rest.\n\n",
	      out);
	for (size_t i = 0; i < countof(commands); i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
	fputs("\njitney COMMAND --help tells more.\n", out);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	const char *name = argv[1];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		print_help(stdout);
		return EXIT_SUCCESS;
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		return print_version(argc - 1, argv + 1);
	for (size_t i = 0; i < countof(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "jitney: there is no command \"%s\"; jitney --help lists them\n", name);
	return EXIT_USAGE;
}
