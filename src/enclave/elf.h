/*
 * Reads what a dynamic loader would read first of an ELF file: interpreter, needed libraries, where to look for them.
 * Works over bytes, executes nothing, allocates nothing; every offset is checked before it is used. 64-bit little-endian
 * files of x86-64 and aarch64. All spans borrow from the file's bytes and hold no NUL.
 */
#ifndef TROTH_ENCLAVE_ELF_H
#define TROTH_ENCLAVE_ELF_H

#include "base/result.h"
#include "base/span.h"

enum elf_machine { ELF_X86_64 = 62, ELF_AARCH64 = 183 };

/* What the file is. A position-independent program and a library are both ET_DYN; the interpreter tells them apart. */
struct elf {
	enum elf_machine machine;
	bool is_object_or_core; /* ET_REL, ET_CORE: nothing to load */
	bool has_interpreter;
	bool is_dynamic; /* has a dynamic section; a static-pie binary has one without needed libraries */
	bool no_default_libraries; /* DF_1_NODEFLIB */
	struct span interpreter;
	struct span soname, rpath, runpath; /* empty when absent */
	struct span dynamic_, strings_;	    /* private */
};

enum { ELF_MAX_DYNAMIC = 65536 };

/* True when the bytes begin like an ELF file of any kind. */
bool elf_is_elf(struct span file);

/* BAD_ELF names what is wrong. NOT_SUPPORTED for a good file of another class or machine. */
NODISCARD result elf_parse(struct span file, struct elf *out);

/* Steps through DT_NEEDED; *cursor starts at 0. False after the last one. elf_parse has checked them all. */
bool elf_next_needed(const struct elf *elf, size_t *cursor, struct span *out);

/* The machine of this build, which programs must have. */
enum elf_machine elf_native_machine(void);

#endif
