/*
 * Starting a sibling program from a private copy: what was measured is what is executed, whatever happens to the file
 * meanwhile (constructions/objects.md "Process backend, measured").
 */
#ifndef TROTH_ROOT_PROGRAM_H
#define TROTH_ROOT_PROGRAM_H

#include "base/file.h"
#include "crypto/hash.h"

/*
 * Copies `folder`/`name` into sealed memory and measures the copy (SHA-384). The descriptor can be executed
 * (process_spec.exec_fd). NOT_FOUND and errno's reasons.
 */
NODISCARD result program_copy(const char *folder, const char *name, struct fd *out, uint8_t out_digest[static SHA384_SIZE]);

#endif
