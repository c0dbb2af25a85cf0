/* A private folder for one test: setup and teardown of cmocka; *state is the path. */
#ifndef TROTH_TESTS_JOB_FOLDER_H
#define TROTH_TESTS_JOB_FOLDER_H

#include "base/file.h"

int folder_setup(void **state);
int folder_teardown(void **state);

/* Writes a file below the folder and gives its path (static memory, until the next call). */
const char *folder_write(void *state, const char *name, const char *text);
/* The path of `name` below it (static memory, until the 16th next call). */
const char *folder_path(void *state, const char *name);
/* How many entries a folder has; -1 when it does not exist. */
int folder_count(const char *path);

#endif
