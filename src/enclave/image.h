/*
 * The private copy of an IRE's files: a tmpfs that no other process can see, filled from the manifest, hashed while it is
 * filled, then made read-only after its last writer is gone. What is executed later is this copy, so there is no window
 * between check and use.
 *
 * The tmpfs is not attached anywhere; the image is a descriptor. It holds exactly the manifest's files, the folders on
 * their paths, and empty mount points /proc, /dev (null, zero, urandom and the fd links) and /tmp. Under those three
 * the manifest may name nothing.
 *
 * Needs CAP_SYS_ADMIN in the user namespace of the mount namespace: call it as root before giving up uid 0, so that the
 * files belong to nobody inside, or as an ordinary user after isolate_enter_namespaces. It needs the host's paths.
 */
#ifndef TROTH_ENCLAVE_IMAGE_H
#define TROTH_ENCLAVE_IMAGE_H

#include "base/file.h"
#include "base/result.h"
#include "object/manifest.h"

struct image {
	struct fd mount; /* O_PATH descriptor of the detached mount's root */
	uint64_t bytes;	 /* copied */
};

#define IMAGE_NONE ((struct image){{-1}, 0})

/*
 * `sources[i]` is the host's path of files[i] (NULL array, or NULL entry: the same path).
 * MEASUREMENT_MISMATCH names the file whose bytes, size or kind differ from the manifest; NOT_FOUND and errno's reasons
 * when it cannot be read; BAD_VALUE for a path that does not belong there; NO_NAMESPACES when mounting is refused.
 */
NODISCARD result image_build(const struct manifest_file *files, const char *const *sources, size_t count, struct image *out);
void image_free(struct image *image);

/*
 * Tier L, where nothing can be mounted: the same files, checked in the same way, below an empty folder of the host that
 * nobody else may enter, and an empty scratch folder `tmp` there, which is given to `owner` unless that is 0. Links to
 * absolute paths lead into the copy. The caller removes the folder.
 */
NODISCARD result image_copy(
	const char *folder, uid_t owner, const struct manifest_file *files, const char *const *sources, size_t count);

static inline struct image image_move(struct image *from)
{
	struct image taken = *from;
	*from = IMAGE_NONE;
	return taken;
}

#endif
