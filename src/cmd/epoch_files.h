/* What `--epochs FILE` names: histories, records and HALTs, together one history of what a verifier knows of roots. */
#ifndef TROTH_CMD_EPOCH_FILES_H
#define TROTH_CMD_EPOCH_FILES_H

#include "cmd/options.h"
#include "receipt/epochs.h"

struct epoch_files {
	struct arena arena;
	struct bytes *files;
	size_t file_count;
	struct epoch_history history; /* of all of them */
};

void epoch_files_free(struct epoch_files *files); /* accepts a zeroed one */
NODISCARD result epoch_files_read(const struct words *paths, struct epoch_files *out);

#endif
