/*
 * The kernel's mount calls of Linux 5.2 and 5.12 that confinement uses, each with an errno result (0: done).
 * All descriptors are close-on-exec.
 */
#ifndef TROTH_BASE_MOUNTS_H
#define TROTH_BASE_MOUNTS_H

#include "base/file.h"

struct mount_option {
	const char *name, *value;
};

/* Makes a file system `type` and a detached mount of it. `out_context` may be NULL; else it can reconfigure it later. */
int mounts_new(const char *type, const struct mount_option *options, size_t count, unsigned attributes, struct fd *out_mount,
	struct fd *out_context);

/* Makes the file system itself read-only: EBUSY while anything in it is open for writing. */
int mounts_seal(int context);

/* A detached copy of the mount at `path` with further attributes. */
int mounts_clone(const char *path, unsigned attributes, struct fd *out);

int mounts_set(int mount, unsigned attributes);
int mounts_attach(int mount, const char *path);

/* Makes `mount` the root of this mount namespace and lets go of everything else. */
int mounts_become_root(int mount);

#endif
