/*
 * A hostile program: tries from inside an enclave what adversary.md lists under Confinement. One sub-command per id:
 *
 *	probe cf-01 [HOST-FILE...]   each attempt is printed; exit 0 when all were refused, 1 when one was not
 *
 * Sub-commands that cannot judge themselves (endless output, never ending, children left behind) misbehave and leave the
 * verdict to whoever started them. Static, so that it needs nothing but itself. It links nothing of Troth.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int allowed; /* attempts that were not refused */
static const char *self_path = "/probe"; /* argv[0] */

/* A run that fails shows the end of stderr, not what went to stdout. */
static void tell_stderr(const char *verdict, const char *what)
{
	fprintf(stderr, "%s %s\n", verdict, what);
}

/* Refused: the call failed. Reports errno for people. */
static void refused(const char *what, long outcome)
{
	int error = errno;
	if (outcome < 0) {
		printf("refused  %s: %s\n", what, strerror(error));
		return;
	}
	printf("ALLOWED  %s\n", what);
	tell_stderr("ALLOWED", what);
	allowed++;
}

/* Something that must hold. */
static void must(const char *what, bool holds)
{
	printf("%s  %s\n", holds ? "holds  " : "BROKEN ", what);
	if (!holds)
		tell_stderr("BROKEN", what);
	allowed += !holds;
}

static void try_open(const char *path, int flags)
{
	char what[4200];
	int fd = open(path, flags | O_CLOEXEC, 0600);
	snprintf(what, sizeof(what), "open %s%s", path, flags & O_ACCMODE ? " for writing" : "");
	refused(what, fd);
	if (fd >= 0)
		close(fd);
}

static int spawn(int (*body)(void))
{
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(body());
	int status = -1;
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return status;
}

/* ---- CF-01 ---- */

static void only_own_processes(void)
{
	DIR *folder = opendir("/proc");
	must("/proc can be listed", folder != NULL);
	for (const struct dirent *entry; folder && (entry = readdir(folder));) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		if (*end == '\0' && pid > 0)
			must(entry->d_name, pid == getpid());
	}
	if (folder)
		closedir(folder);
}

static int cf_01(int count, char **files)
{
	static const char *const paths[] = {"/etc/passwd", "/etc/shadow", "/etc/hostname", "/root", "/home", "/var", "/sys", "/run",
		"/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/tty", "/dev/ptmx", "/dev/shm", "/dev/fuse", "/proc/1/environ",
		"/proc/1/mem", "/proc/1/maps", "/proc/1/fd", "/proc/1/root", "/proc/1/root/etc/passwd", "/proc/1/cwd", "/proc/kcore",
		"/proc/kallsyms", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/keys", "/proc/self/root/etc/passwd",
		"/proc/self/cwd/../etc/passwd", "/tmp/../../../../etc/passwd", "/proc/self/task/../../1/environ"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		try_open(paths[i], O_RDONLY);
	for (int i = 0; i < count; i++)
		try_open(files[i], O_RDONLY);
	only_own_processes();
	return 0;
}

/* ---- CF-02 ---- */

static int cf_02(int count, char **files)
{
	static const char *const paths[] = {"/new", "/usr/new", "/dev/new", "/proc/new", "/dev/shm/new",
		"/proc/self/oom_score_adj", "/proc/self/uid_map", "/proc/self/attr/current", "/proc/self/loginuid", "/proc/self/clear_refs"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		try_open(paths[i], O_WRONLY | O_CREAT);
	for (int i = 0; i < count; i++)
		try_open(files[i], O_WRONLY);
	try_open(self_path, O_WRONLY);
	refused("mkdir /new", mkdir("/new", 0700));
	refused("unlink /probe", unlink(self_path));
	refused("rename /probe", rename(self_path, "/probe2"));
	refused("rename /probe into scratch", rename(self_path, "/tmp/probe"));
	refused("chmod /probe", chmod(self_path, 0777));
	refused("truncate /probe", truncate(self_path, 0));
	refused("utimes of /probe", utimensat(AT_FDCWD, self_path, NULL, 0));
	refused("link of /probe in scratch", link(self_path, "/tmp/linked"));
	refused("mount point /tmp removed", rmdir("/tmp"));
	refused("block device", mknod("/tmp/block", S_IFBLK | 0600, 0xfe00));
	refused("character device", mknod("/tmp/mem", S_IFCHR | 0600, 0x0101));
	refused("socket file", mknod("/tmp/sock", S_IFSOCK | 0600, 0));
	int fd = open("mine", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must("the scratch folder can be written", fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
	return 0;
}

/* ---- CF-03 ---- */

static int cf_03(int count, char **files)
{
	(void)count;
	(void)files;
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
	int made = 0;
	for (int family = 0; family < 64; family++)
		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
			made += socket(family, types[i], 0) >= 0;
	must("no socket of any family and type", made == 0);
	int pair[2];
	refused("datagram pair", socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	must("a stream pair is a pipe", socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0troth-probe"};
	socklen_t len = sizeof(address);
	refused("connect to an abstract address", connect(pair[0], (struct sockaddr *)&address, len));
	refused("bind to an abstract address", bind(pair[0], (struct sockaddr *)&address, len));
	refused("listen", listen(pair[0], 1));
	refused("accept", accept(pair[0], NULL, NULL));
	refused("send to an abstract address", sendto(pair[0], "x", 1, 0, (struct sockaddr *)&address, len));
	struct iovec piece = {(void *)(uintptr_t)"x", 1};
	struct msghdr message = {.msg_name = &address, .msg_namelen = len, .msg_iov = &piece, .msg_iovlen = 1};
	refused("send a message to an abstract address", sendmsg(pair[0], &message, 0));
	return 0;
}

/* ---- CF-04, CF-05, CF-12 ---- */

static bool is_listed(int n, int count, char **list)
{
	for (int i = 0; i < count; i++)
		if (atoi(list[i]) == n)
			return true;
	return false;
}

/* The arguments are the descriptors that the manifest names besides 0, 1, 2. */
static int cf_04(int count, char **fds)
{
	char what[64];
	for (int n = 0; n < 4096; n++) {
		bool open = fcntl(n, F_GETFD) >= 0, wanted = n < 3 || is_listed(n, count, fds);
		snprintf(what, sizeof(what), "descriptor %d", n);
		if (open != wanted)
			must(what, false);
	}
	must("only descriptors of the manifest are open", true);
	return 0;
}

/* The arguments are the variables that the manifest names; argv is what the caller sees in the printed lines. */
static int cf_05(int count, char **variables)
{
	for (int i = 0; i < count; i++)
		printf("argument %s\n", variables[i]);
	for (char **variable = environ; *variable; variable++) {
		bool wanted = false;
		for (int i = 0; i < count; i++)
			wanted |= strcmp(*variable, variables[i]) == 0;
		must(*variable, wanted);
	}
	for (int i = 0; i < count; i++) {
		char name[256];
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(variables[i], "="), variables[i]);
		const char *value = getenv(name), *expected = strchr(variables[i], '=');
		must(variables[i], value && expected && strcmp(value, expected + 1) == 0);
	}
	must("no LD_PRELOAD", !getenv("LD_PRELOAD") && !getenv("LD_AUDIT") && !getenv("LD_LIBRARY_PATH"));
	must("no GLIBC_TUNABLES", !getenv("GLIBC_TUNABLES"));
	return 0;
}

/* ---- CF-06 ---- */

static int cf_06(int count, char **pids)
{
	char byte = 0;
	struct iovec here = {&byte, 1}, there = {&byte, 1};
	refused("trace process 1", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
	refused("seize process 1", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
	refused("be traced", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	refused("read memory of process 1", process_vm_readv(1, &here, 1, &there, 1, 0));
	refused("write memory of process 1", process_vm_writev(1, &here, 1, &there, 1, 0));
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
	refused("take a descriptor of process 1", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
	refused("limits of process 1", syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &(struct rlimit){0, 0}, NULL));
	refused("compare with process 1", syscall(SYS_kcmp, getpid(), 1, 0, 0, 0));
	try_open("/proc/1/mem", O_RDWR);
	for (int i = 0; i < count; i++) {
		char what[64];
		pid_t pid = atoi(pids[i]);
		snprintf(what, sizeof(what), "signal to process %d of the host", (int)pid);
		/* A small number may be one of ours by chance. */
		if (pid > 100)
			refused(what, kill(pid, SIGKILL));
	}
	int others = 0;
	for (pid_t pid = 2; pid < 70000; pid++)
		others += pid != getpid() && kill(pid, 0) == 0;
	must("no other process can be signalled", others == 0);
	/* Process 1 ignores it or the kernel refuses; had it worked, the whole namespace would be gone. */
	kill(1, SIGKILL);
	kill(1, SIGSTOP);
	kill(1, SIGTERM);
	must("process 1 survives signals", getppid() >= 0);
	return 0;
}

/* ---- CF-07 ---- */

static int cf_07(int count, char **files)
{
	(void)count;
	(void)files;
	static const struct {
		const char *name;
		int flag;
	} namespaces[] = {{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
		{"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80}};
	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		char what[64];
		snprintf(what, sizeof(what), "unshare %s namespace", namespaces[i].name);
		refused(what, unshare(namespaces[i].flag));
		if (namespaces[i].flag == 0x80)
			continue; /* collides with the exit signal of clone */
		long child = syscall(SYS_clone, namespaces[i].flag | SIGCHLD, NULL, NULL, NULL, NULL);
		if (child == 0)
			_exit(0);
		snprintf(what, sizeof(what), "clone into %s namespace", namespaces[i].name);
		refused(what, child);
	}
	uint64_t arguments[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0};
	refused("clone3", syscall(SYS_clone3, arguments, sizeof(arguments)));
	int self = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	refused("setns", setns(self, 0));
	refused("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
	refused("bind mount", mount("/tmp", "/usr", NULL, MS_BIND, NULL));
	refused("remount writable", mount(NULL, "/", NULL, MS_REMOUNT, NULL));
	refused("umount /tmp", umount2("/tmp", MNT_DETACH));
	refused("umount /", umount2("/", MNT_DETACH));
	refused("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
	refused("chroot", chroot("/tmp"));
	refused("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	refused("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
	refused("move_mount", syscall(SYS_move_mount, 0, "", AT_FDCWD, "/tmp", 4));
	refused("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0));
	struct {
		unsigned size;
		int type;
		unsigned char bytes[64];
	} handle = {.size = 64};
	int mount_id;
	refused("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &handle, &mount_id, 0));
	handle.size = 8;
	handle.type = 1;
	refused("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY));
	return 0;
}

/* ---- CF-08 ---- */

static bool copy_self(const char *to)
{
	char buffer[65536];
	int from = open(self_path, O_RDONLY | O_CLOEXEC), out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t len = -1;
	while (from >= 0 && out >= 0 && (len = read(from, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, (size_t)len) != len)
			break;
	bool whole = len == 0 && fchmod(out, 0755) == 0;
	close(from);
	close(out);
	return whole;
}

static char *const ran[] = {(char *)(uintptr_t)"probe", (char *)(uintptr_t)"ran", NULL};
static char *const nothing[] = {NULL};

static int exec_copy(void)
{
	execve("copy", ran, nothing);
	return errno == EACCES ? 0 : 1;
}

static int exec_script(void)
{
	execve("script", ran, nothing);
	return errno == EACCES ? 0 : 1;
}

static int exec_deleted(void)
{
	int fd = open("deleted", O_RDONLY);
	unlink("deleted");
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	execve(path, ran, nothing);
	return fd >= 0 && errno == EACCES ? 0 : 1;
}

static int exec_descriptor(void)
{
	int fd = open("copy", O_PATH);
	syscall(SYS_execveat, fd, "", ran, nothing, AT_EMPTY_PATH);
	int by_descriptor = errno;
	syscall(SYS_execveat, AT_FDCWD, "copy", ran, nothing, 0);
	return by_descriptor == EPERM && errno == EACCES ? 0 : 1;
}

/* Through a loader of the image, where it has one: it must not map the file as code. */
static int exec_loader(void)
{
	char *const arguments[] = {(char *)(uintptr_t)"ld.so", (char *)(uintptr_t)"copy", (char *)(uintptr_t)"ran", NULL};
	int silent = open("/dev/null", O_WRONLY);
	dup2(silent, 2);
	execve("/lib64/ld-linux-x86-64.so.2", arguments, nothing);
	return errno == ENOENT ? 0 : 1;
}

static int exec_link(void)
{
	execve("link", ran, nothing);
	return 1;
}

static int cf_08(int count, char **files)
{
	(void)count;
	(void)files;
	enum { RAN = 77 };
	must("the probe can be copied", copy_self("copy") && copy_self("deleted"));
	int script = open("script", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	must("a script can be written", script >= 0 && dprintf(script, "#!%s\n", self_path) > 0);
	close(script);
	must("copied program is refused", spawn(exec_copy) == 0);
	must("script written by itself is refused", spawn(exec_script) == 0);
	must("deleted file is refused", spawn(exec_deleted) == 0);
	must("descriptor is refused", spawn(exec_descriptor) == 0);
	int loader = spawn(exec_loader);
	must("loader does not run it", !(WIFEXITED(loader) && WEXITSTATUS(loader) == RAN));
	must("a link in scratch to the manifest's file is the manifest's file",
		symlink(self_path, "link") == 0 && WEXITSTATUS(spawn(exec_link)) == RAN);
	refused("memfd", syscall(SYS_memfd_create, "x", 0));
	refused("secret memfd", syscall(SYS_memfd_secret, 0));
	int fd = open("copy", O_RDONLY | O_CLOEXEC);
	refused("map a file of its own as code", mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
	refused("writable code", mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	refused("make written memory executable", mprotect(page, 4096, PROT_READ | PROT_EXEC));
	refused("shared memory", shmget(IPC_PRIVATE, 4096, 0700));
	return 0;
}

/* ---- CF-09 ---- */

#ifdef __x86_64__
static int call_i386(void)
{
	long call = 20; /* getpid */
	__asm__ volatile("int $0x80" : "+a"(call) : : "memory");
	return 0;
}

static int call_x32(void)
{
	syscall(0x40000000 + SYS_getpid);
	return 0;
}
#endif

static int cf_09(int count, char **files)
{
	(void)count;
	(void)files;
	static const struct {
		const char *name;
		long number;
	} calls[] = {{"io_uring_setup", 425}, {"io_uring_enter", 426}, {"io_uring_register", 427}, {"bpf", SYS_bpf},
		{"userfaultfd", SYS_userfaultfd}, {"perf_event_open", SYS_perf_event_open}, {"keyctl", SYS_keyctl},
		{"add_key", SYS_add_key}, {"request_key", SYS_request_key}, {"init_module", SYS_init_module},
		{"finit_module", SYS_finit_module}, {"delete_module", SYS_delete_module}, {"kexec_load", SYS_kexec_load},
		{"kexec_file_load", SYS_kexec_file_load}, {"reboot", SYS_reboot}, {"syslog", SYS_syslog}, {"acct", SYS_acct},
		{"swapon", SYS_swapon}, {"quotactl", SYS_quotactl}, {"settimeofday", SYS_settimeofday},
		{"clock_settime", SYS_clock_settime}, {"adjtimex", SYS_adjtimex}, {"sethostname", SYS_sethostname},
		{"fanotify_init", SYS_fanotify_init}, {"io_setup", SYS_io_setup}, {"vmsplice", SYS_vmsplice},
		{"landlock_create_ruleset", 444}, {"seccomp", SYS_seccomp}, {"setuid", SYS_setuid}, {"move_pages", SYS_move_pages},
		{"remap_file_pages", SYS_remap_file_pages}, {"mseal", 462}, {"a call of the future", 600}};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		long outcome = syscall(calls[i].number, 0, 0, 0, 0, 0, 0);
		refused(calls[i].name, outcome);
		if (outcome < 0 && errno != EPERM && errno != ENOSYS && errno != EINVAL)
			must("refused by the filter, not by chance", false);
	}
	refused("personality without randomisation", syscall(SYS_personality, 0x0040000));
	refused("TIOCSTI", ioctl(0, TIOCSTI, "x"));
	refused("TIOCSTI with high bits", syscall(SYS_ioctl, 0, 0x100000000ull | TIOCSTI, "x"));
#ifdef __x86_64__
	int status = spawn(call_i386);
	must("an i386 call kills", WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
	status = spawn(call_x32);
	must("an x32 call kills", WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
#endif
	return 0;
}

/* ---- CF-10: the limits are given by whoever starts it ---- */

static int cf_10_forks(int count, char **limits)
{
	int limit = count ? atoi(limits[0]) : 64, made = 0;
	while (made < 10000) {
		pid_t child = fork();
		if (child == 0) {
			pause();
			_exit(0);
		}
		if (child < 0)
			break;
		made++;
	}
	printf("%d children, then %s\n", made, strerror(errno));
	must("processes are bounded", made <= limit && errno == EAGAIN);
	return 0;
}

static int cf_10_memory(int count, char **limits)
{
	size_t limit = (count ? (size_t)atol(limits[0]) : 64) << 20, taken = 0, step = 1 << 20;
	while (taken < (size_t)10 << 30) {
		char *piece = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (piece == MAP_FAILED)
			break;
		memset(piece, 1, step);
		taken += step;
	}
	printf("%zu MiB\n", taken >> 20);
	must("memory is bounded", taken <= limit);
	return 0;
}

static int cf_10_disk(int count, char **limits)
{
	size_t limit = (count ? (size_t)atol(limits[0]) : 16) << 20, taken = 0;
	static char piece[1 << 16];
	signal(SIGXFSZ, SIG_IGN);
	memset(piece, 1, sizeof(piece));
	for (int i = 0; i < 8; i++) {
		char path[32];
		snprintf(path, sizeof(path), "/tmp/full%d", i);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		ssize_t len;
		while (fd >= 0 && (len = write(fd, piece, sizeof(piece))) > 0 && taken <= 2 * limit)
			taken += (size_t)len;
		close(fd);
	}
	printf("%zu KiB, then %s\n", taken >> 10, strerror(errno));
	must("the scratch folder is bounded", taken <= limit);
	return 0;
}

static int cf_10_output(int count, char **limits)
{
	(void)count;
	(void)limits;
	static char piece[65536];
	memset(piece, 'x', sizeof(piece));
	while (write(1, piece, sizeof(piece)) > 0)
		;
	return 0;
}

static int cf_10_forever(int count, char **limits)
{
	(void)count;
	(void)limits;
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	while (pause() < 0)
		;
	return 0;
}

static int cf_10_spin(int count, char **limits)
{
	(void)count;
	(void)limits;
	volatile unsigned long turns = 0;
	do
		turns++;
	while (turns % 1000000 != 0 || getpid() > 0);
	return 0;
}

/* ---- CF-13, CF-15 ---- */

static int die(void)
{
	abort();
}

static int cf_13(int count, char **files)
{
	(void)count;
	(void)files;
	struct rlimit core;
	must("no core of useful size", getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur <= 1 && core.rlim_max <= 1);
	prctl(PR_SET_DUMPABLE, 1);
	int status = spawn(die);
	must("an abort leaves no core", WIFSIGNALED(status) && !WCOREDUMP(status));
	must("no core file", access("core", F_OK) != 0);
	refused("a larger core limit", setrlimit(RLIMIT_CORE, &(struct rlimit){1 << 30, 1 << 30}));
	return 0;
}

/* Leaves a daemon behind that ignores everything and holds stdout open; whoever reads stdout must see its end. */
static int cf_15(int count, char **files)
{
	(void)count;
	(void)files;
	for (int i = 0; i < 4; i++) {
		fflush(stdout);
		if (fork() == 0) {
			setsid();
			if (fork() == 0)
				return cf_10_forever(0, NULL);
			_exit(0);
		}
	}
	int fd = open("/tmp/left", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must("a file is left", fd >= 0);
	must("a FIFO is left", mkfifo("/tmp/fifo", 0600) == 0 && symlink(self_path, "/tmp/sym") == 0);
	return 0;
}

static int just_ran(int count, char **files)
{
	(void)count;
	(void)files;
	exit(77);
}

/* Not an attack: its input is its output, for tests of what lies in between. */
static int pass_on(int count, char **arguments)
{
	static char piece[65536];
	ssize_t got;
	(void)count;
	(void)arguments;
	while ((got = read(0, piece, sizeof(piece))) > 0)
		for (ssize_t done = 0, written; done < got; done += written)
			if ((written = write(1, piece + done, (size_t)(got - done))) < 0)
				return 1;
	return 0;
}

static const struct {
	const char *id;
	int (*run)(int count, char **arguments);
} commands[] = {{"cf-01", cf_01}, {"cf-02", cf_02}, {"cf-03", cf_03}, {"cf-04", cf_04}, {"cf-05", cf_05}, {"cf-06", cf_06},
	{"cf-07", cf_07}, {"cf-08", cf_08}, {"cf-09", cf_09}, {"cf-10-forks", cf_10_forks}, {"cf-10-memory", cf_10_memory},
	{"cf-10-disk", cf_10_disk}, {"cf-10-output", cf_10_output}, {"cf-10-forever", cf_10_forever}, {"cf-10-spin", cf_10_spin},
	{"cf-12", cf_05}, {"cf-13", cf_13}, {"cf-15", cf_15}, {"ran", just_ran}, {"pass", pass_on}};

int main(int argc, char **argv)
{
	if (argv[0] && argv[0][0] == '/')
		self_path = argv[0];
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].id) != 0)
			continue;
		commands[i].run(argc - 2, argv + 2);
		fflush(stdout);
		return allowed ? 1 : 0;
	}
	fprintf(stderr, "usage: probe ID [ARGUMENT...]; ids:");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, " %s", commands[i].id);
	fprintf(stderr, "\n");
	return 2;
}
