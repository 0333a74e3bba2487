/* SPDX-License-Identifier: Apache-2.0 */
/* symbols.c: the program's own table of symbols (ELF .symtab), and what the loader knows of all others (dladdr). */
#include "gateway/profile/symbols.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"

enum { MODULES_MAX = 128 };

/* A function of the program. */
struct function {
	uintptr_t start, end;
	const char *name; /* in the mapped file */
};

struct symbols {
	struct arena *arena;
	size_t module_count;
	struct module modules[MODULES_MAX]; /* the program first */
	uintptr_t base;                     /* of the program: its symbols count from there */
	void *file;                         /* the program's, mapped; MAP_FAILED: it cannot be read */
	size_t file_bytes;
	struct function *functions; /* sorted by start */
	size_t function_count;
	const char *unknown; /* what has no name and is in no module */
};

/* --- modules --- */

static const char *path_of(struct symbols *symbols, const struct dl_phdr_info *info)
{
	char path[PATH_MAX];
	if (symbols->module_count)
		return arena_text(symbols->arena, slice_of(*info->dlpi_name ? info->dlpi_name : "[unknown]"));
	ssize_t len = readlink("/proc/self/exe", path, sizeof path);
	return arena_text(symbols->arena, len > 0 ? (struct slice){ path, (size_t)len } : SLICE("jitney"));
}

static int note_module(struct dl_phdr_info *info, size_t bytes, void *context)
{
	struct symbols *symbols = context;
	(void)bytes;
	if (symbols->module_count == MODULES_MAX)
		return 1;
	struct module *module = &symbols->modules[symbols->module_count];
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
			continue;
		module->start = info->dlpi_addr + part->p_vaddr;
		module->end = module->start + part->p_memsz;
		module->offset = part->p_offset;
	}
	if (symbols->module_count == 0)
		symbols->base = info->dlpi_addr;
	module->path = path_of(symbols, info);
	symbols->module_count++;
	return module->path == NULL;
}

/* Its place + 1; 0: it is in none. */
static unsigned find_module(const struct symbols *symbols, uintptr_t address)
{
	for (unsigned i = 0; i < symbols->module_count; i++)
		if (address >= symbols->modules[i].start && address < symbols->modules[i].end)
			return i + 1;
	return 0;
}

/* --- the program's symbols --- */

static int by_start(const void *left, const void *right)
{
	const struct function *a = left, *b = right;
	return (a->start > b->start) - (a->start < b->start);
}

static bool fits_in(const struct symbols *symbols, uint64_t offset, uint64_t bytes)
{
	return offset <= symbols->file_bytes && bytes <= symbols->file_bytes - offset;
}

/* Those of a table, whose names are in `names`. */
static void note_functions(struct symbols *symbols, const ElfW(Shdr) * table, const ElfW(Shdr) * names)
{
	const char *file = symbols->file;
	size_t count = table->sh_size / sizeof(ElfW(Sym));
	if (!fits_in(symbols, table->sh_offset, table->sh_size) ||
	    !fits_in(symbols, names->sh_offset, names->sh_size) || table->sh_offset % _Alignof(ElfW(Sym)) ||
	    !names->sh_size || file[names->sh_offset + names->sh_size - 1] != '\0')
		return;
	const ElfW(Sym) *all = (const void *)(file + table->sh_offset);
	symbols->functions = arena_array(symbols->arena, count, sizeof *symbols->functions);
	for (size_t i = 0; symbols->functions && i < count; i++) {
		if (ELF64_ST_TYPE(all[i].st_info) != STT_FUNC || !all[i].st_size || all[i].st_name >= names->sh_size)
			continue;
		uintptr_t start = symbols->base + all[i].st_value;
		const char *name = file + names->sh_offset + all[i].st_name;
		symbols->functions[symbols->function_count++] =
			(struct function){ start, start + all[i].st_size, name };
	}
	if (symbols->function_count)
		qsort(symbols->functions, symbols->function_count, sizeof *symbols->functions, by_start);
}

/* A program that has been stripped has no such table: then the loader's is all there is. */
static void read_functions(struct symbols *symbols)
{
	const ElfW(Ehdr) *head = symbols->file;
	if (symbols->file_bytes < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
	    head->e_shentsize != sizeof(ElfW(Shdr)) || head->e_shoff % _Alignof(ElfW(Shdr)) ||
	    !fits_in(symbols, head->e_shoff, (uint64_t)head->e_shnum * sizeof(ElfW(Shdr))))
		return;
	const ElfW(Shdr) *parts = (const void *)((const char *)symbols->file + head->e_shoff);
	for (size_t i = 0; i < head->e_shnum; i++)
		if (parts[i].sh_type == SHT_SYMTAB && parts[i].sh_link < head->e_shnum) {
			note_functions(symbols, &parts[i], &parts[parts[i].sh_link]);
			return;
		}
}

static void map_program(struct symbols *symbols)
{
	struct stat about;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &about) == 0 && about.st_size > 0) {
		symbols->file_bytes = (size_t)about.st_size;
		symbols->file = mmap(NULL, symbols->file_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	if (symbols->file != MAP_FAILED)
		read_functions(symbols);
}

struct symbols *symbols_new(void)
{
	struct symbols *symbols = calloc(1, sizeof *symbols);
	if (!symbols)
		return NULL;
	symbols->file = MAP_FAILED;
	symbols->unknown = "[unknown]";
	symbols->arena = arena_new();
	if (symbols->arena) {
		dl_iterate_phdr(note_module, symbols);
		map_program(symbols);
	}
	if (symbols->arena && !arena_failed(symbols->arena))
		return symbols;
	symbols_free(symbols);
	return NULL;
}

void symbols_free(struct symbols *symbols)
{
	if (!symbols)
		return;
	if (symbols->file != MAP_FAILED)
		munmap(symbols->file, symbols->file_bytes);
	arena_free(symbols->arena);
	free(symbols);
}

/* --- names --- */

static const struct function *find_function(const struct symbols *symbols, uintptr_t address)
{
	size_t low = 0, high = symbols->function_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (symbols->functions[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && address < symbols->functions[low - 1].end ? &symbols->functions[low - 1] : NULL;
}

/* "[libfoo.so.1]": all that is known of a place in a library that does not export it. */
static const char *name_module(struct symbols *symbols, const struct module *module)
{
	const char *slash = strrchr(module->path, '/');
	const char *name = arena_printf(symbols->arena, "[%s]", slash ? slash + 1 : module->path);
	return *name ? name : symbols->unknown;
}

static struct symbol name_address(void *context, uintptr_t address)
{
	struct symbols *symbols = context;
	struct symbol symbol = { .module = find_module(symbols, address) };
	const struct function *function = find_function(symbols, address);
	Dl_info info;
	if (function) {
		symbol.name = function->name;
		symbol.start = function->start;
	} else if (dladdr((const void *)address, &info) && info.dli_sname) {
		symbol.name = info.dli_sname;
		symbol.start = (uintptr_t)info.dli_saddr;
	} else if (symbol.module) {
		symbol.name = name_module(symbols, &symbols->modules[symbol.module - 1]);
		return symbol;
	} else {
		symbol.name = symbols->unknown;
		return symbol;
	}
	if (symbol.module)
		symbols->modules[symbol.module - 1].named = true;
	return symbol;
}

struct namer symbols_namer(struct symbols *symbols)
{
	return (struct namer){ name_address, symbols, symbols->modules, symbols->module_count };
}
