/* SPDX-License-Identifier: MIT */
/*
 * Symbol - looking a function up
 *
 * dladdr() knows only what a file exports, and a program exports nothing: so its symbol table is read, as a
 * debugger would. The file is input like any other: each offset in it is checked.
 */
#include "client/hub/symbol.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct image {
	const char *data;
	size_t len;
} image;

static const void *
image_at(const image *m, uint64_t offset, uint64_t len)
{
	return offset <= m->len && len <= m->len - offset ? m->data + offset : NULL;
}

static image
image_open(const char *path)
{
	image m = {NULL, 0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0)
		return m;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data != MAP_FAILED)
			m = (image){data, (size_t)st.st_size};
	}
	close(fd);
	return m;
}

static const ElfW(Shdr) * section_at(const image *m, const ElfW(Ehdr) * file, uint64_t index)
{
	return image_at(m, file->e_shoff + index * sizeof(ElfW(Shdr)), sizeof(ElfW(Shdr)));
}

/* The name of the function at an address of the file, in one of its symbol tables. */
static const char *
table_find(const image *m, const ElfW(Shdr) * table, const ElfW(Shdr) * strings, uintptr_t address)
{
	const ElfW(Sym) *symbols = image_at(m, table->sh_offset, table->sh_size);
	const char *names = image_at(m, strings->sh_offset, strings->sh_size);

	if (!symbols || !names || strings->sh_size == 0 || names[strings->sh_size - 1] != '\0')
		return NULL;
	for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++)
		if ((symbols[i].st_info & 0xf) == STT_FUNC && symbols[i].st_value == address &&
			symbols[i].st_name < strings->sh_size)
			return names + symbols[i].st_name;
	return NULL;
}

static const char *
image_find(const image *m, uintptr_t address)
{
	const ElfW(Ehdr) *file = image_at(m, 0, sizeof *file);

	if (!file || memcmp(file->e_ident, ELFMAG, SELFMAG) != 0)
		return NULL;
	for (uint64_t i = 0; i < file->e_shnum; i++) {
		const ElfW(Shdr) *table = section_at(m, file, i);
		const ElfW(Shdr) *strings = table ? section_at(m, file, table->sh_link) : NULL;
		const char *name = NULL;

		if (strings && table->sh_type == SHT_SYMTAB)
			name = table_find(m, table, strings, address);
		if (name)
			return name;
	}
	return NULL;
}

/* Programs that are not position-independent have their addresses in the file as they are. */
static uintptr_t
address_in_file(const image *m, uintptr_t address, uintptr_t base)
{
	const ElfW(Ehdr) *file = image_at(m, 0, sizeof *file);

	return file && file->e_type == ET_EXEC ? address : address - base;
}

/* The program's own name in dladdr() is argv[0], which need not be a path. */
static const char *
file_of(const Dl_info *where)
{
	uintptr_t headers = getauxval(AT_PHDR), base = (uintptr_t)where->dli_fbase;

	return headers - base == sizeof(ElfW(Ehdr)) ? "/proc/self/exe" : where->dli_fname;
}

/**
 * vn_symbol_name() - the name of a function
 * @function: its address
 * @name:     where the name goes; what does not fit is cut
 * @n:        room there
 */
void
vn_symbol_name(const void *function, char *name, size_t n)
{
	Dl_info where = {0};
	const char *found = NULL;
	uintptr_t address;
	image m;

	if (!dladdr(function, &where) || !where.dli_fname) {
		snprintf(name, n, "function %p", function);
		return;
	}
	m = image_open(file_of(&where));
	address = address_in_file(&m, (uintptr_t)function, (uintptr_t)where.dli_fbase);
	found = image_find(&m, address);
	if (!found && where.dli_saddr == function)
		found = where.dli_sname;
	if (found)
		snprintf(name, n, "%s", found);
	else
		snprintf(name, n, "%s+0x%zx", where.dli_fname, (size_t)address);
	if (m.data)
		munmap((void *)(uintptr_t)m.data, m.len);
}
