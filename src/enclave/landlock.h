/*
 * Landlock rules for one program: executes and reads its image, reads /proc, uses /dev, writes its scratch folder, and
 * nothing else; no TCP, no signal or abstract socket out of its domain where the kernel knows such rules.
 *
 * In tier N the seal comes on top of mounts and namespaces, so a kernel without Landlock weakens nothing by itself; reports
 * carry the ABI. landlock_restrict runs between fork and exec: it allocates nothing. no_new_privs must be set.
 */
#ifndef TROTH_ENCLAVE_LANDLOCK_H
#define TROTH_ENCLAVE_LANDLOCK_H

#include "base/result.h"

/* ABI version of the running kernel; 0 for none (before 5.13, not built in or switched off). */
int landlock_abi(void);

/* `tops`: the image's folders and files directly below "/", "/usr" for instance. 0, or an errno. */
int landlock_restrict(int abi, const char *const *tops, size_t top_count);

/*
 * Tier L, where Landlock is all that keeps the host's files away: ENOSYS without it. The image is a copy in the host's tree.
 * NULL: nothing at all by name.
 */
struct landlock_copy {
	const char *const *tops; /* absolute paths of the copy's folders and files directly below its root */
	size_t top_count;
	const char *scratch; /* absolute path */
};
int landlock_restrict_copy(int abi, const struct landlock_copy *copy);

#endif
