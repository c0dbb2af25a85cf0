/*
 * The folder of a run's results: built beside its final place under a temporary name, then put there in one step, so that
 * whoever looks sees the old content or the new one, whole. A folder of a run that was killed is removed by the next run
 * to the same place.
 */
#ifndef TROTH_JOB_OUTPUT_FOLDER_H
#define TROTH_JOB_OUTPUT_FOLDER_H

#include "base/file.h"

struct output_folder {
	char target[PATH_SIZE], parent[PATH_SIZE], temporary[PATH_SIZE];
	struct fd fd; /* of the temporary folder, locked while it is in use */
	bool replace;
};

#define OUTPUT_FOLDER_NONE ((struct output_folder){.fd = {-1}})

/* OUTPUT_EXISTS unless `target` (absolute) is missing, empty or, with `replace`, a flat folder of files. */
NODISCARD result output_folder_begin(const char *target, bool replace, struct output_folder *out);

/* A new file in it, open for writing. */
NODISCARD result output_folder_file(const struct output_folder *folder, const char *name, struct fd *out);

/* Makes everything durable and puts it in place. */
NODISCARD result output_folder_publish(struct output_folder *folder);

/* Removes what was not published; accepts one that is not open. */
void output_folder_discard(struct output_folder *folder);

#endif
