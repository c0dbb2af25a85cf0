/* What `--revocations FILE` names: signed lists of operators whom the trust file names, all of them together. */
#ifndef TROTH_CMD_REVOCATION_FILES_H
#define TROTH_CMD_REVOCATION_FILES_H

#include "cmd/options.h"
#include "receipt/verify.h"

struct revocation_files {
	struct bytes files[REVOCATION_MAX_LISTS];
	size_t file_count;
	struct revocation_set set; /* borrows from the files */
};

void revocation_files_free(struct revocation_files *files); /* accepts a zeroed one */
/* Reads and opens them: as verify_revocations, and reasons of files. */
NODISCARD result revocation_files_read(const struct words *paths, const struct trust *trust, struct revocation_files *out);

#endif
