#include "job/output_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "crypto/random.h"
#include "wire/text.h"

static const char MARK[] = ".troth-"; /* "." name MARK random: a folder that is being built */

/* ---- What stands at the target ------------------------------------------------------------------- */

enum { HOLDS_NOTHING, HOLDS_FILES, HOLDS_MORE };
enum { TRIES = 8 };

static result look_into(const char *path, int *out)
{
	DIR *dir = opendir(path);
	if (!dir)
		return errno == ENOTDIR ? fail(OUTPUT_EXISTS, "'%s' is not a folder", path) : fail_errno("'%s'", path);
	*out = HOLDS_NOTHING;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		struct stat at;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		bool is_folder = fstatat(dirfd(dir), entry->d_name, &at, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(at.st_mode);
		if (is_folder)
			*out = HOLDS_MORE;
		else if (*out == HOLDS_NOTHING)
			*out = HOLDS_FILES;
	}
	closedir(dir);
	return OK;
}

static result check_target(const char *target, bool replace)
{
	int holds;
	result looked = look_into(target, &holds);
	if (looked == NOT_FOUND)
		return OK;
	TRY(looked);
	if (holds == HOLDS_NOTHING)
		return OK;
	if (!replace)
		return fail(OUTPUT_EXISTS, "'%s'", target);
	if (holds == HOLDS_MORE) /* a slip of the pen must not cost somebody's home */
		return fail(OUTPUT_EXISTS, "'%s' holds folders, so it is not the output of a run and is not replaced", target);
	return OK;
}

/* ---- The temporary folder ------------------------------------------------------------------------ */

static result lock_folder(const char *path, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(file_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd));
	if (flock(fd.n, LOCK_EX | LOCK_NB) != 0)
		return fail(BUSY, "'%s'", path);
	*out = fd_move(&fd);
	return OK;
}

/* Folders of runs to the same target that nobody is building any more. */
static void remove_stale(const char *parent, const char *name)
{
	char prefix[NAME_MAX + sizeof(MARK) + 2];
	DIR *dir = opendir(parent);
	if (!dir)
		return;
	snprintf(prefix, sizeof(prefix), ".%s%s", name, MARK);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char path[PATH_SIZE];
		CLEANUP(fd_close) struct fd lock = FD_NONE;
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || path_join(path, parent, entry->d_name) != OK)
			continue;
		if (lock_folder(path, &lock) == OK && file_remove_tree(AT_FDCWD, path) != OK)
			continue; /* it stays for the next one */
	}
	closedir(dir);
}

static result split_target(struct output_folder *folder, const char **out_name)
{
	size_t len = strlen(folder->target);
	while (len > 1 && folder->target[len - 1] == '/')
		folder->target[--len] = '\0';
	char *slash = strrchr(folder->target, '/');
	if (!slash || !path_name_ok(slash + 1) || strlen(slash + 1) > NAME_MAX - 32)
		return fail(BAD_VALUE, "'%s' cannot be an output folder", folder->target);
	snprintf(folder->parent, sizeof(folder->parent), "%.*s", (int)(slash == folder->target ? 1 : slash - folder->target),
		folder->target);
	*out_name = slash + 1;
	return OK;
}

/* Whether the folder that is locked is the one of that name. */
static bool is_there(const struct output_folder *folder)
{
	struct stat locked, named;
	return fstat(folder->fd.n, &locked) == 0 && stat(folder->temporary, &named) == 0 && locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

static result try_temporary(struct output_folder *folder, const char *name)
{
	uint8_t salt[8];
	char unique[NAME_MAX + 1], digits[2 * sizeof(salt) + 1];
	random_bytes(salt, sizeof(salt));
	hex_encode(SPAN_ARRAY(salt), digits);
	if (snprintf(unique, sizeof(unique), ".%s%s%s", name, MARK, digits) >= (int)sizeof(unique))
		return fail(TOO_LARGE, "the name of '%s'", folder->target);
	TRY(path_join(folder->temporary, folder->parent, unique));
	if (mkdir(folder->temporary, 0777) != 0)
		return fail_errno("making a folder beside '%s'", folder->target);
	result locked = lock_folder(folder->temporary, &folder->fd);
	if (locked == OK && !is_there(folder)) {
		fd_close(&folder->fd);
		return fail(NOT_FOUND, "'%s'", folder->temporary);
	}
	if (locked != OK && rmdir(folder->temporary) != 0 && errno != ENOENT)
		return fail_within(locked, "'%s' is left behind", folder->temporary);
	return locked;
}

/* Until it is locked, another run may take it for one that was left behind, and remove it. */
static result make_temporary(struct output_folder *folder, const char *name)
{
	result made = NOT_FOUND;
	for (int i = 0; i < TRIES && (made == NOT_FOUND || made == BUSY); i++)
		made = try_temporary(folder, name);
	return made;
}

result output_folder_begin(const char *target, bool replace, struct output_folder *out)
{
	struct output_folder folder = OUTPUT_FOLDER_NONE;
	char resolved[PATH_SIZE];
	const char *name;
	/* Behind a link the folder itself is replaced, not the link. */
	if (target[0] == '/' && realpath(target, resolved))
		target = resolved;
	if (target[0] != '/' || snprintf(folder.target, sizeof(folder.target), "%s", target) >= (int)sizeof(folder.target))
		return fail(BAD_VALUE, "an output folder needs an absolute path");
	folder.replace = replace;
	TRY(split_target(&folder, &name));
	TRY(check_target(folder.target, replace));
	remove_stale(folder.parent, name);
	TRY(make_temporary(&folder, name));
	*out = folder;
	return OK;
}

result output_folder_file(const struct output_folder *folder, const char *name, struct fd *out)
{
	if (!path_name_ok(name))
		return fail(BAD_VALUE, "'%s' is not a file name", name);
	return file_open_at(folder->fd.n, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666, out);
}

/* ---- Publishing ---------------------------------------------------------------------------------- */

static result sync_content(const struct output_folder *folder)
{
	DIR *dir = opendir(folder->temporary);
	if (!dir)
		return fail_errno("'%s'", folder->temporary);
	result synced = OK;
	for (struct dirent *entry; synced == OK && (entry = readdir(dir)) != NULL;) {
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		if (entry->d_name[0] == '.' && (entry->d_name[1] == '\0' || strcmp(entry->d_name, "..") == 0))
			continue;
		synced = file_open_at(dirfd(dir), entry->d_name, O_RDONLY | O_NOFOLLOW, 0, &fd);
		if (synced == OK && fsync(fd.n) != 0)
			synced = fail_errno("'%s'", entry->d_name);
	}
	closedir(dir);
	if (synced == OK && fsync(folder->fd.n) != 0)
		synced = fail_errno("'%s'", folder->temporary);
	return synced;
}

/* The old content is what the temporary name holds afterwards. */
static result exchange(struct output_folder *folder)
{
	TRY(file_rename_durable(folder->temporary, folder->target, RENAME_EXCHANGE));
	fd_close(&folder->fd);
	result removed = file_remove_tree(AT_FDCWD, folder->temporary);
	if (removed != OK) /* the next run to this place tries again */
		log_failure(LOG_LEVEL_WARNING, "what was replaced could not be removed", removed);
	return OK;
}

result output_folder_publish(struct output_folder *folder)
{
	struct stat at;
	TRY(sync_content(folder));
	/* Looked at again: the run took its time. */
	TRY(check_target(folder->target, folder->replace));
	if (lstat(folder->target, &at) == 0 && folder->replace)
		return exchange(folder);
	/* An empty folder gives way; one that was filled meanwhile does not. */
	result renamed = file_rename_durable(folder->temporary, folder->target, 0);
	if (renamed == ALREADY_EXISTS)
		return fail(OUTPUT_EXISTS, "'%s' was filled while the job ran", folder->target);
	TRY(renamed);
	fd_close(&folder->fd);
	return OK;
}

void output_folder_discard(struct output_folder *folder)
{
	if (folder->fd.n < 0)
		return;
	result removed = file_remove_tree(AT_FDCWD, folder->temporary);
	if (removed != OK)
		log_failure(LOG_LEVEL_WARNING, "an unfinished output folder could not be removed", removed);
	fd_close(&folder->fd);
}
