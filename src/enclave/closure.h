/*
 * The closure of a program: every file that must be in its root for it to run as it would outside. Found by reading
 * files, never by executing one: for an ELF program its interpreter and needed libraries, for a script its #! interpreter
 * and that one's closure. Links on a path become entries of their own, so that inside every path resolves as outside.
 *
 * Rules, so that the result is the same on every machine with the same files:
 * - a name without slash is looked for in /usr/local/bin, /usr/bin, /bin; never in the caller's PATH;
 * - libraries are looked for in DT_RPATH, DT_RUNPATH, the folders of /etc/ld.so.conf, the loader's own folders.
 *   LD_LIBRARY_PATH and the variants for newer processors (glibc-hwcaps) do not count, and /etc/ld.so.cache is not part
 *   of the root: a library outside the loader's own folders gets a link inside one of them;
 * - python3.N and Debian's perl bring the library along without which they do not start (no tests, no __pycache__);
 * - modes are 0555 or 0444, folders are implied by the files in them.
 *
 * Paths are those inside the root. They equal those of the host except below a folder that closure_map has put elsewhere
 * (the folder of a job, which lies at another place on each machine).
 *
 * A closure owns its entries; its arena is freed by closure_free.
 */
#ifndef TROTH_ENCLAVE_CLOSURE_H
#define TROTH_ENCLAVE_CLOSURE_H

#include "base/arena.h"
#include "base/result.h"
#include "object/manifest.h"

enum {
	CLOSURE_MAX_FILES = 32768,
	CLOSURE_MAX_MAPS = 8,
};
#define CLOSURE_MAX_BYTES ((uint64_t)4 << 30)

struct closure_map {
	const char *inside, *host;
};

struct closure {
	struct arena arena;
	struct manifest_file *files; /* sorted by path and unique after closure_finish */
	const char **sources;	     /* beside each file: its path on this host */
	size_t file_count, file_cap;
	uint64_t bytes; /* of all regular files */
	struct closure_map maps[CLOSURE_MAX_MAPS];
	size_t map_count;
	bool interpreter_open; /* see closure_interpreter */
	struct closure_work *work_; /* private */
};

/* `host_root`: "" for the machine's own root, else a folder that is read as the root (an image of another system). */
NODISCARD result closure_new(const char *host_root, struct closure *out);
void closure_free(struct closure *closure);

/* Files below the host's folder `host` appear below `inside` ("/job"). Call before anything is added. */
NODISCARD result closure_map(struct closure *closure, const char *inside, const char *host);

/*
 * Adds a program with all that it needs. `name` has no slash (fixed PATH) or is absolute inside the root. Gives the
 * absolute path to execute. PROGRAM_NOT_FOUND, NOT_A_PROGRAM, LIBRARY_NOT_FOUND, BAD_ELF; errno's reasons.
 */
NODISCARD result closure_add_program(struct closure *closure, const char *name, const char **out_path);

/*
 * Adds a file, or a folder with everything below it (special files are left out). A library or plug-in brings its own
 * needed libraries along where they can be found: that is how files opened with dlopen are listed.
 */
NODISCARD result closure_add_file(struct closure *closure, const char *path);

/* Sorts; after it nothing can be added. */
NODISCARD result closure_finish(struct closure *closure);

/*
 * "open" when a program in the root is known to execute what it reads (shells, awk, python, perl, sqlite3, ...): its
 * scratch folder and stdin are then code that nobody measured. "closed" otherwise. Policies may forbid "open".
 */
const char *closure_interpreter(const struct closure *closure);

#endif
