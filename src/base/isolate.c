#include "base/isolate.h"

#include "base/file.h"
#include "base/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS };

/* The first `size - 1` bytes of a small file of /proc as text; "" when it cannot be read. */
static void read_switch(const char *path, char *out, size_t size)
{
	out[0] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t len = read(fd, out, size - 1);
	close(fd);
	out[len > 0 ? len : 0] = '\0';
}

bool isolate_is_root(void)
{
	if (geteuid() != 0)
		return false;
	char map[256];
	read_switch("/proc/self/uid_map", map, sizeof(map));
	unsigned inside = 1, outside = 1, count = 0;
	/* Without /proc nothing says that uid 0 is a harmless one, so it counts as root. */
	return sscanf(map, "%u %u %u", &inside, &outside, &count) != 3 || (inside == 0 && outside == 0);
}

/*
 * The kernel forgets the wish to end with the parent (process_spec.die_with_parent) whenever credentials change, be it by
 * another uid or by the capabilities in a new user namespace. It is read before and set again after.
 */
struct death_wish {
	int signal;
	pid_t parent;
};

static struct death_wish read_death_wish(void)
{
	struct death_wish wish = {0, getppid()};
	if (prctl(PR_GET_PDEATHSIG, &wish.signal, 0, 0, 0) != 0)
		wish.signal = 0;
	return wish;
}

static result renew_death_wish(const struct death_wish *wish)
{
	if (wish->signal == 0)
		return OK;
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)wish->signal, 0, 0, 0) != 0)
		return fail_errno("ending together with the parent");
	if (getppid() != wish->parent)
		_exit(EXIT_INTERNAL); /* it ended in between */
	return OK;
}

result isolate_drop_uid(uid_t uid)
{
	struct death_wish wish = read_death_wish();
	if (!isolate_is_root()) {
		if (uid != 0 && uid != geteuid())
			return fail(NO_PERMISSION, "only root can give a process uid %u", (unsigned)uid);
		return OK;
	}
	if (uid == 0)
		return fail(BAD_VALUE, "a confined process needs a uid of its own when root starts it");
	if (setgroups(0, NULL) != 0)
		return fail_errno("dropping groups");
	if (setresgid(uid, uid, uid) != 0)
		return fail_errno("gid %u", (unsigned)uid);
	if (setresuid(uid, uid, uid) != 0)
		return fail_errno("uid %u", (unsigned)uid);
	/* Changing uid made us undumpable, so /proc/self belongs to root and the maps could not be written. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
		return fail_errno("becoming dumpable until the maps are written");
	return renew_death_wish(&wish);
}

result isolate_drop_bounds(void)
{
	bool privileged = isolate_is_root();
	for (unsigned long capability = 0; privileged && capability < 64; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL && errno != EPERM)
			return fail_errno("dropping capability %lu", capability);
	return OK;
}

void isolate_why_refused(int error, char out[static ISOLATE_WHY_SIZE])
{
	char value[64];
	struct stat root, real_root;
	read_switch("/proc/sys/user/max_user_namespaces", value, sizeof(value));
	if (value[0] == '0' && (error == ENOSPC || error == EUSERS)) {
		snprintf(out, ISOLATE_WHY_SIZE, "user namespaces are switched off or used up here (sysctl user.max_user_namespaces = 0)");
		return;
	}
	read_switch("/proc/sys/kernel/unprivileged_userns_clone", value, sizeof(value));
	if (value[0] == '0') {
		snprintf(out, ISOLATE_WHY_SIZE, "user namespaces are root's alone (sysctl kernel.unprivileged_userns_clone = 0)");
		return;
	}
	read_switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", value, sizeof(value));
	if (value[0] == '1') {
		snprintf(out, ISOLATE_WHY_SIZE,
			"AppArmor forbids them to programs without a profile (sysctl kernel.apparmor_restrict_unprivileged_userns = 1)");
		return;
	}
	if (error == EPERM && stat("/", &root) == 0 && stat("/proc/1/root/.", &real_root) == 0 &&
		(root.st_dev != real_root.st_dev || root.st_ino != real_root.st_ino)) {
		snprintf(out, ISOLATE_WHY_SIZE, "the kernel refuses them inside a chroot; enter the folder with pivot_root instead");
		return;
	}
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) > 0) {
		snprintf(out, ISOLATE_WHY_SIZE,
			"a seccomp filter is in force, as in containers; allow unshare and mount there, or run outside the container");
		return;
	}
	snprintf(out, ISOLATE_WHY_SIZE, "the kernel says \"%s\"", strerror(error));
}

static result refused(const char *step, int error)
{
	char why[ISOLATE_WHY_SIZE];
	isolate_why_refused(error, why);
	return fail(NO_NAMESPACES, "%s: %s", step, why);
}

static result write_map(const char *path, const char *text)
{
	CLEANUP(fd_close) struct fd fd = fd_of(open(path, O_WRONLY | O_CLOEXEC));
	if (fd.n < 0 || write(fd.n, text, strlen(text)) != (ssize_t)strlen(text))
		return refused(path, errno);
	return OK;
}

/* One uid and one gid exist inside. As nobody can hold another gid, setgroups is switched off, as the kernel asks. */
static result write_maps(uid_t uid, gid_t gid)
{
	char line[64];
	TRY(write_map("/proc/self/setgroups", "deny"));
	snprintf(line, sizeof(line), "%d %u 1", ISOLATE_INSIDE_ID, (unsigned)uid);
	TRY(write_map("/proc/self/uid_map", line));
	snprintf(line, sizeof(line), "%d %u 1", ISOLATE_INSIDE_ID, (unsigned)gid);
	return write_map("/proc/self/gid_map", line);
}

/* Belt and braces: the call filters forbid nested namespaces as well. Where /proc/sys is read-only this does nothing. */
static void forbid_nested_namespaces(void)
{
	CLEANUP(fd_close) struct fd fd = fd_of(open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC));
	if (fd.n >= 0 && write(fd.n, "0", 1) != 1)
		return;
}

result isolate_enter_namespaces(void)
{
	return isolate_enter_namespaces_with(false);
}

result isolate_enter_namespaces_with(bool network)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	struct death_wish wish = read_death_wish();
	if (unshare(network ? NAMESPACES & ~CLONE_NEWNET : NAMESPACES) != 0)
		return refused(network ? "user, mount, pid, ipc and uts namespaces" : "user, mount, pid, net, ipc and uts namespaces", errno);
	TRY(write_maps(uid, gid));
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return refused("private mounts", errno);
	forbid_nested_namespaces();
	TRY(renew_death_wish(&wish));
	return isolate_no_dumps();
}

/* ---- the process left outside the pid namespace ---- */

static volatile sig_atomic_t inner_pid;

static void pass_on(int signal)
{
	if (inner_pid > 0)
		kill((pid_t)inner_pid, signal);
}

static NORETURN void stand_by(pid_t child, int alive)
{
	inner_pid = (sig_atomic_t)child;
	struct sigaction action = {.sa_handler = pass_on};
	sigaction(SIGTERM, &action, NULL);
	if (alive > 0)
		close_range(0, (unsigned)alive - 1, 0);
	close_range((unsigned)alive + 1, ~0u, 0);
	int status = 0;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			_exit(EXIT_INTERNAL);
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_INTERNAL);
}

result isolate_enter_pid_namespace(void)
{
	struct fd alive[2] = {FD_NONE, FD_NONE};
	TRY(fd_pipe(alive));
	pid_t child = fork();
	if (child < 0) {
		fd_close(&alive[0]);
		fd_close(&alive[1]);
		return refused("process 1 of a pid namespace", errno);
	}
	if (child > 0)
		stand_by(child, alive[1].n);
	fd_close(&alive[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return fail_errno("ending together with the parent");
	/* A parent that had died before that line is noticed on the pipe, of which only it holds the other end. */
	struct pollfd gone = {.fd = alive[0].n, .events = POLLIN};
	if (poll(&gone, 1, 0) != 0)
		_exit(EXIT_INTERNAL);
	fd_close(&alive[0]);
	return OK;
}

/* ---- files, capabilities, dumps ---- */

result isolate_empty_root(void)
{
	struct mount_option size = {"size", "4k"};
	CLEANUP(fd_close) struct fd root = FD_NONE;
	int error = mounts_new("tmpfs", &size, 1, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
		&root, NULL);
	if (!error)
		error = mounts_become_root(root.n);
	return error ? refused("an empty root", error) : OK;
}

enum { WRITABLE_MAX = 16 };

static result hide(const char *path)
{
	struct mount_option size = {"size", "4k"};
	CLEANUP(fd_close) struct fd empty = FD_NONE;
	int error = mounts_new("tmpfs", &size, 1, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
		&empty, NULL);
	if (!error)
		error = mounts_attach(empty.n, path);
	return error && error != ENOENT && error != ENOTDIR ? refused(path, error) : OK;
}

/* Copies of the writable folders are made before all is read-only, and put back over themselves afterwards. */
result isolate_limit_files(const char *const *writable, const char *const *hidden)
{
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
	struct fd kept[WRITABLE_MAX];
	size_t count = 0;
	int error = 0;
	for (; writable && writable[count] && !error; count++) {
		kept[count] = FD_NONE;
		error = count == WRITABLE_MAX - 1 ? E2BIG : mounts_clone(writable[count], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, &kept[count]);
	}
	result limited = error ? refused(writable[count - 1], error) : OK;
	if (limited == OK && syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof(read_only)) != 0)
		limited = refused("read-only files", errno);
	for (size_t i = 0; i < count; i++) {
		error = limited == OK ? mounts_attach(kept[i].n, writable[i]) : 0;
		if (error)
			limited = refused(writable[i], error);
		fd_close(&kept[i]);
	}
	for (size_t i = 0; limited == OK && hidden && hidden[i]; i++)
		limited = hide(hidden[i]);
	return limited;
}

result isolate_drop_capabilities(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail_errno("no_new_privs");
	/* The bounding set and securebits need capabilities, so they go first; without any there is nothing to take. */
	bool privileged = prctl(PR_CAPBSET_DROP, 0, 0, 0, 0) == 0;
	for (unsigned long capability = 1; privileged && capability < 64; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL)
			return fail_errno("dropping capability %lu", capability);
	unsigned long locked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
		SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	if (privileged && prctl(PR_SET_SECUREBITS, locked, 0, 0, 0) != 0)
		return fail_errno("locking securebits");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		return fail_errno("ambient capabilities");
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};
	if (syscall(SYS_capset, &header, none) != 0)
		return fail_errno("dropping all capabilities");
	return OK;
}

result isolate_no_dumps(void)
{
	struct rlimit one = {1, 1};
	if (setrlimit(RLIMIT_CORE, &one) != 0)
		return fail_errno("RLIMIT_CORE");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return fail_errno("becoming undumpable");
	return OK;
}
