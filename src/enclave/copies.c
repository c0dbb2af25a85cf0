#include "enclave/copies.h"

#include "base/isolate.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "wire/text.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_ROUNDS = 50, REMOVE_PAUSE_MS = 10 };
static const char of_root[] = "/run/troth-copies";

/* One folder per state folder, which is locked: nobody else uses it. */
static result place_of_root(const char *state, char out[static PATH_SIZE])
{
	uint8_t digest[SHA256_SIZE];
	char name[17];
	struct stat at;
	sha256(span_str(state), digest);
	hex_encode(span_of(digest, 8), name);
	TRY(file_make_dirs(of_root, 0711));
	if (lstat(of_root, &at) != 0 || !S_ISDIR(at.st_mode) || at.st_uid != 0 || (at.st_mode & 022) != 0)
		return fail(NO_PERMISSION, "'%s' is not a folder of root's alone", of_root);
	return path_join(out, of_root, name);
}

result copies_open(const char *state, const char *scratch, char out[static PATH_SIZE])
{
	char folder[PATH_SIZE];
	bool root = isolate_is_root();
	TRY(root ? place_of_root(state, folder) : path_join(folder, scratch, "copies"));
	TRY(file_remove_tree(AT_FDCWD, folder));
	TRY(file_make_dirs(folder, root ? 0711 : 0700));
	memcpy(out, folder, sizeof(folder));
	return OK;
}

void copies_close(const char *folder)
{
	if (folder[0] && file_remove_tree(AT_FDCWD, folder) != OK)
		log_warning("a folder of copies could not be removed", LOG_TEXT("folder", folder));
	if (isolate_is_root())
		(void)rmdir(of_root); /* unless other hosts use it */
}

result copies_new(const char *folder, const uint8_t launch_id[static LAUNCH_ID_SIZE], uid_t uid, char out[static PATH_SIZE])
{
	char name[2 * LAUNCH_ID_SIZE + 1], copy[PATH_SIZE];
	hex_encode(span_of(launch_id, LAUNCH_ID_SIZE), name);
	TRY(path_join(copy, folder, name));
	if (mkdir(copy, uid ? 0710 : 0700) != 0 || chmod(copy, uid ? 0710 : 0700) != 0 || (uid && chown(copy, 0, uid) != 0))
		return fail_errno("'%s'", copy);
	memcpy(out, copy, sizeof(copy));
	return OK;
}

void copies_remove(const char *copy)
{
	for (int i = 0; i < REMOVE_ROUNDS; i++) {
		if (file_remove_tree(AT_FDCWD, copy) == OK)
			return;
		(void)poll(NULL, 0, REMOVE_PAUSE_MS);
	}
	log_warning("a copy of an image could not be removed", LOG_TEXT("folder", copy));
}
