#include "job/state.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/isolate.h"

static const char SYSTEM_STATE[] = "/var/lib/troth";

result state_path(const char *named, char out[static PATH_SIZE])
{
	char here[PATH_SIZE];
	if (named && !named[0])
		return fail(USAGE, "--state names no folder");
	if (named && named[0] == '/')
		return path_join(out, "", named);
	if (named) {
		if (!getcwd(here, sizeof(here)))
			return fail_errno("the working folder");
		return path_join(out, here, named);
	}
	if (isolate_is_root() || geteuid() == 0)
		return path_join(out, "", SYSTEM_STATE);
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	if (xdg && xdg[0] == '/')
		return path_join(out, xdg, "troth");
	if (home && home[0] == '/')
		return path_join(out, home, ".local/state/troth");
	return fail(USAGE, "HOME is not set; name a state folder with --state");
}

static bool has(const char *folder, const char *name)
{
	char path[PATH_SIZE];
	return path_join(path, folder, name) == OK && access(path, F_OK) == 0;
}

bool state_has_root(const char *path)
{
	return has(path, "pins") || has(path, "init.pending") || has(path, "ap/state");
}

result state_confinement(const char *path, const char *wanted, bool *out_without_namespaces)
{
	char file[PATH_SIZE];
	TRY(path_join(file, path, "confinement"));
	if (wanted && strcmp(wanted, "N") != 0 && strcmp(wanted, "L") != 0)
		return fail(USAGE, "--confinement is N or L, not '%s'", wanted);
	bool kept = has(path, "confinement");
	if (wanted && wanted[0] == 'L' && !kept)
		TRY(file_write_atomic(file, span_str("L\n"), 0600));
	if (wanted && wanted[0] == 'N' && kept && unlink(file) != 0)
		return fail_errno("'%s'", file);
	*out_without_namespaces = wanted ? wanted[0] == 'L' : kept;
	return OK;
}

result state_tpm_head(const char *path, bool wanted, bool *out_kept)
{
	char file[PATH_SIZE];
	TRY(path_join(file, path, "tpm-head"));
	bool kept = has(path, "tpm-head");
	if (wanted && !kept)
		TRY(file_write_atomic(file, span_str("1\n"), 0600));
	*out_kept = wanted || kept;
	return OK;
}

static result check_private(const char *path)
{
	struct stat at;
	if (lstat(path, &at) != 0)
		return fail_errno("'%s'", path);
	if (!S_ISDIR(at.st_mode))
		return fail(BAD_TYPE, "the state folder '%s' is not a folder", path);
	if (at.st_uid != geteuid())
		return fail(NO_PERMISSION, "the state folder '%s' belongs to somebody else", path);
	if ((at.st_mode & 077) != 0)
		return fail(NO_PERMISSION, "others may look into the state folder '%s'; run chmod 700 on it", path);
	return OK;
}

/* An empty folder that somebody made for us with the usual mode is closed to others; a filled one is not touched. */
static result make_private(const char *path)
{
	TRY(file_make_dirs(path, 0700));
	struct stat at;
	if (lstat(path, &at) == 0 && S_ISDIR(at.st_mode) && at.st_uid == geteuid() && !has(path, "ap") && !has(path, "lock") &&
		chmod(path, 0700) != 0)
		return fail_errno("'%s'", path);
	return OK;
}

static result fill_in(struct state_folder *folder)
{
	TRY(path_join(folder->socket, folder->path, "socket"));
	TRY(path_join(folder->journal, folder->path, "journal"));
	TRY(path_join(folder->scratch, folder->path, "tmp"));
	TRY(path_join(folder->issuers, folder->path, "issuers"));
	TRY(file_make_dirs(folder->journal, 0700));
	TRY(file_remove_tree(AT_FDCWD, folder->scratch));
	return file_make_dirs(folder->scratch, 0700);
}

result state_folder_open(const char *path, bool create, struct state_folder *out)
{
	struct state_folder folder = STATE_FOLDER_NONE;
	char lock[PATH_SIZE];
	TRY(path_join(folder.path, "", path));
	if (create)
		TRY(make_private(path));
	if (!create && !state_has_root(path))
		return fail(NO_ROOT, "'%s'", path);
	TRY(check_private(path));
	TRY(path_join(lock, path, "lock"));
	result locked = file_lock(lock, &folder.lock);
	if (locked == BUSY)
		return fail(STATE_BUSY, "'%s'", path);
	TRY(locked);
	result filled = fill_in(&folder);
	if (filled != OK) {
		state_folder_close(&folder);
		return filled;
	}
	*out = folder;
	return OK;
}

void state_folder_close(struct state_folder *folder)
{
	fd_close(&folder->lock);
}
