#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"

int folder_setup(void **state)
{
	char pattern[] = "/tmp/troth-job-XXXXXX";
	if (!mkdtemp(pattern))
		return -1;
	*state = strdup(pattern);
	return *state ? 0 : -1;
}

int folder_teardown(void **state)
{
	result removed = file_remove_tree(AT_FDCWD, *state);
	free(*state);
	return removed == OK ? 0 : -1;
}

const char *folder_path(void *state, const char *name)
{
	static char paths[16][PATH_SIZE];
	static size_t next;
	char *path = paths[next++ % COUNT_OF(paths)];
	expect_ok(path_join(path, state, name));
	return path;
}

const char *folder_write(void *state, const char *name, const char *text)
{
	static char path[PATH_SIZE];
	expect_ok(path_join(path, state, name));
	expect_ok(file_write_atomic(path, span_str(text), 0644));
	return path;
}

int folder_count(const char *path)
{
	DIR *dir = opendir(path);
	int count = 0;
	if (!dir)
		return -1;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return count;
}
