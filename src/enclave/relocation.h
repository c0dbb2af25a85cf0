/*
 * Starting a program from a copy of its image somewhere in the host's tree (tier L: no mount makes that copy the root). The
 * kernel would load a program's dynamic loader and a script's interpreter from the host, so both are started from the copy:
 *
 *	ELF with an interpreter	   COPY/ld.so --inhibit-cache --library-path COPY/lib:... --argv0 NAME COPY/program arguments
 *	script			   its interpreter in the copy, in the same way, with the script as its argument
 *
 * An argument or a value of the environment that is the path of a file or folder of the image, or lies in /tmp, is given as
 * its place in the copy; so is each folder of PATH. Nothing else is changed: a program that has paths of its own
 * compiled in, or starts dynamic programs, does not find them here, and the copy's files cannot be taken for the host's.
 */
#ifndef TROTH_ENCLAVE_RELOCATION_H
#define TROTH_ENCLAVE_RELOCATION_H

#include "base/arena.h"
#include "enclave/landlock.h"
#include "object/manifest.h"

struct relocation {
	struct arena arena;
	const char *path; /* to execute */
	const char *const *argv, *const *env;
	struct landlock_copy copy;
};
#define RELOCATION_NONE ((struct relocation){.path = NULL})

struct relocation_spec {
	const char *folder; /* absolute; holds the copy */
	const struct manifest_file *files;
	size_t file_count;
	const char *program; /* absolute path inside the image; NULL: only `copy` is made */
	const char *const *argv, *const *env; /* NULL-terminated */
};

/*
 * Reads the copy, so it comes after image_copy. PROGRAM_FAILED_TO_START says what cannot be started in tier L: an
 * interpreter that the copy does not have, or one that /usr/bin/env would look for.
 */
NODISCARD result relocation_make(const struct relocation_spec *spec, struct relocation *out);
void relocation_free(struct relocation *relocation);

#endif
