#include "base/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static int error_of(long outcome)
{
	return outcome < 0 ? errno : 0;
}

int mounts_new(const char *type, const struct mount_option *options, size_t count, unsigned attributes, struct fd *out_mount,
	struct fd *out_context)
{
	CLEANUP(fd_close) struct fd context = fd_of((int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
	if (context.n < 0)
		return errno;
	for (size_t i = 0; i < count; i++)
		if (syscall(SYS_fsconfig, context.n, FSCONFIG_SET_STRING, options[i].name, options[i].value, 0) != 0)
			return errno;
	if (syscall(SYS_fsconfig, context.n, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		return errno;
	int mount = (int)syscall(SYS_fsmount, context.n, FSMOUNT_CLOEXEC, attributes);
	if (mount < 0)
		return errno;
	*out_mount = fd_of(mount);
	if (out_context)
		*out_context = fd_move(&context);
	return 0;
}

int mounts_seal(int context)
{
	if (syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "ro", NULL, 0) != 0)
		return errno;
	return error_of(syscall(SYS_fsconfig, context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
}

int mounts_set(int mount, unsigned attributes)
{
	struct mount_attr attr = {.attr_set = attributes};
	return error_of(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
}

int mounts_clone(const char *path, unsigned attributes, struct fd *out)
{
	CLEANUP(fd_close) struct fd copy =
		fd_of((int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	if (copy.n < 0)
		return errno;
	int error = mounts_set(copy.n, attributes);
	if (error)
		return error;
	*out = fd_move(&copy);
	return 0;
}

int mounts_attach(int mount, const char *path)
{
	return error_of(syscall(SYS_move_mount, mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

int mounts_become_root(int mount)
{
	/* It must be attached somewhere before it can be the root; this namespace is ours, so any folder will do. */
	int error = mounts_attach(mount, "/usr");
	if (error)
		return error;
	if (fchdir(mount) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		return errno;
	return 0;
}
