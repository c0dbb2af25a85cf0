/* Any bytes as an ELF file: every name it gives out lies inside them. */
#include "enclave/elf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span file, struct span part)
{
	if (part.len && (part.data < file.data || part.len > file.len || part.data > file.data + file.len - part.len))
		abort();
	for (size_t i = 0; i < part.len; i++)
		if (part.data[i] == 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span file = span_of(data, size), needed;
	struct elf elf;
	if (elf_parse(file, &elf) != OK)
		return 0;
	check_inside(file, elf.interpreter);
	check_inside(file, elf.soname);
	check_inside(file, elf.rpath);
	check_inside(file, elf.runpath);
	size_t count = 0;
	for (size_t cursor = 0; elf_next_needed(&elf, &cursor, &needed); count++)
		check_inside(file, needed);
	if (count > ELF_MAX_DYNAMIC)
		abort();
	return 0;
}
