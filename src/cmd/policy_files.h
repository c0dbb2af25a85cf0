/* Policies of several files as one table, for the verbs that ask questions. */
#ifndef TROTH_CMD_POLICY_FILES_H
#define TROTH_CMD_POLICY_FILES_H

#include "cmd/options.h"
#include "policy/table.h"

/* A file holds policies (JSON, YAML) or one signed version. POLICY_CONFLICT: one subject in two of them. */
NODISCARD result policy_files_load(const char *const *paths, size_t count, struct policy_table **out);

#endif
