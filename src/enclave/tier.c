#include "enclave/tier.h"

#include "base/isolate.h"
#include "base/seccomp.h"
#include "base/secret.h"
#include "enclave/landlock.h"
#include "enclave/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_REFUSED = 0, DETECT_TIMEOUT_S = 30 };

/* Each returns the errno of the refusal, or NOT_REFUSED. They run inside a sandbox with an empty image. */

static int outcome(long value)
{
	return value < 0 ? errno : NOT_REFUSED;
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);
	int error = outcome(fd);
	if (fd >= 0)
		close(fd);
	return error;
}

static int read_host_file(void)
{
	return try_open("/etc/passwd", O_RDONLY);
}

static int read_other_process(void)
{
	return try_open("/proc/1/mem", O_RDONLY);
}

static int write_root(void)
{
	return try_open("/written", O_WRONLY | O_CREAT);
}

static int execute_scratch(void)
{
	int fd = open("probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	if (fd < 0 || write(fd, "#!/nothing\n", 11) != 11)
		return NOT_REFUSED;
	close(fd);
	char *const none[] = {NULL};
	int error = outcome(execve("probe", none, none));
	return error == EACCES ? error : NOT_REFUSED; /* ENOENT would mean that only the interpreter was missing */
}

static int map_scratch_as_code(void)
{
	int fd = open("code", O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	if (fd < 0 || ftruncate(fd, 4096) != 0)
		return NOT_REFUSED;
	void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	close(fd);
	return at == MAP_FAILED ? errno : NOT_REFUSED;
}

static int writable_code(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? errno : NOT_REFUSED;
}

static int execute_descriptor(void)
{
	char *const none[] = {NULL};
	int fd = open("/dev/null", O_PATH | O_CLOEXEC);
	int error = outcome(syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH));
	return error == EPERM ? error : NOT_REFUSED; /* EACCES would come from /dev/null not being executable */
}

static int memory_file(void)
{
	return outcome(syscall(SYS_memfd_create, "probe", 0));
}

static int internet(void)
{
	return outcome(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int unix_socket(void)
{
	return outcome(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int netlink(void)
{
	return outcome(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int new_mount(void)
{
	return outcome(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int new_user_namespace(void)
{
	return outcome(unshare(CLONE_NEWUSER));
}

static int enter_namespace(void)
{
	return outcome(setns(0, 0));
}

static int change_root(void)
{
	return outcome(chroot("/tmp"));
}

static int open_by_handle(void)
{
	return outcome(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, O_RDONLY));
}

static int trace(void)
{
	return outcome(ptrace(PTRACE_ATTACH, 1, NULL, NULL));
}

static int read_memory(void)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {&byte, 1};
	return outcome(process_vm_readv(1, &here, 1, &there, 1, 0));
}

static int take_descriptor(void)
{
	return outcome(syscall(SYS_pidfd_getfd, 0, 0, 0));
}

static int io_ring(void)
{
	return outcome(syscall(SYS_io_uring_setup, 1, NULL));
}

static int bpf(void)
{
	return outcome(syscall(SYS_bpf, 0, NULL, 0));
}

static int user_faults(void)
{
	return outcome(syscall(SYS_userfaultfd, 1));
}

static int performance_events(void)
{
	return outcome(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static int keyrings(void)
{
	return outcome(syscall(SYS_keyctl, 0, -3, 0, 0, 0)); /* KEYCTL_GET_KEYRING_ID of the session */
}

static int load_module(void)
{
	int error = outcome(syscall(SYS_init_module, NULL, 0, ""));
	return error == EPERM ? error : NOT_REFUSED;
}

static int type_on_terminal(void)
{
	int error = outcome(ioctl(0, TIOCSTI, "x"));
	return error == EPERM ? error : NOT_REFUSED;
}

/* A call of the i386 ABI kills; the child it kills is our own. */
static int other_abi(void)
{
#ifdef __x86_64__
	pid_t child = fork();
	if (child == 0) {
		long call = 20; /* getpid of i386 */
		__asm__ volatile("int $0x80" : "+a"(call) : : "memory");
		_exit(0);
	}
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child)
		return NOT_REFUSED;
	/* SIGSEGV: the kernel has no i386 calls at all. */
	bool killed = WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV);
	return killed ? ENOSYS : NOT_REFUSED;
#else
	return ENOSYS;
#endif
}

static const struct {
	const char *name, *mechanism;
	int (*attempt)(void);
	bool not_in_l; /* what tier L cannot refuse (docs/THREATS.md) */
} denials[] = {
	{"read /etc/passwd", "root of the manifest's files", read_host_file},
	{"read another process's memory through /proc", "undumpable process 1", read_other_process},
	{"write to the root", "read-only image", write_root},
	{"execute a file of its own", "noexec scratch", execute_scratch},
	{"map a file of its own as code", "noexec scratch", map_scratch_as_code, true},
	{"memory that is writable and executable", "seccomp", writable_code},
	{"execute a descriptor", "seccomp", execute_descriptor},
	{"make a file in memory", "seccomp", memory_file},
	{"TCP socket", "seccomp, network namespace", internet},
	{"Unix socket", "seccomp", unix_socket},
	{"netlink socket", "seccomp, network namespace", netlink},
	{"mount", "seccomp, no capabilities", new_mount},
	{"new user namespace", "seccomp", new_user_namespace},
	{"enter a namespace", "seccomp", enter_namespace},
	{"change its root", "seccomp, no capabilities", change_root},
	{"open a file by handle", "seccomp, no capabilities", open_by_handle},
	{"trace process 1", "seccomp, undumpable", trace},
	{"read the memory of process 1", "seccomp, undumpable", read_memory},
	{"take a descriptor of another process", "seccomp", take_descriptor},
	{"io_uring", "seccomp", io_ring},
	{"bpf", "seccomp", bpf},
	{"userfaultfd", "seccomp", user_faults},
	{"perf_event_open", "seccomp", performance_events},
	{"keyrings", "seccomp", keyrings},
	{"load a kernel module", "seccomp, no capabilities", load_module},
	{"type on a terminal", "seccomp", type_on_terminal},
	{"calls of another ABI", "seccomp", other_abi},
};
_Static_assert(COUNT_OF(denials) <= TIER_MAX_DENIALS, "TIER_MAX_DENIALS");

/* What the confined child and its parent share; nothing else comes out of there. */
struct findings {
	bool prepared, own_uid;
	enum reason reason;
	char text[TIER_MISSING_SIZE];
	int errors[COUNT_OF(denials)];
	bool tried[COUNT_OF(denials)];
};

static int attempt_all(void *arg)
{
	struct findings *findings = arg;
	for (size_t i = 0; i < COUNT_OF(denials); i++) {
		findings->errors[i] = denials[i].attempt();
		findings->tried[i] = true;
	}
	return 0;
}

static result run_confined(uid_t uid, const char *folder, const struct limits_group *group, struct findings *findings)
{
	struct sandbox_spec spec = {
		.limits = {.memory = 64 << 20, .scratch = 1 << 20, .processes = 8, .open_files = 64, .cpu_ms = 5000},
		.group = group, .uid = uid, .folder = folder, .probe = attempt_all, .probe_arg = findings};
	CLEANUP(sandbox_free) struct sandbox sandbox = SANDBOX_NONE;
	struct sandbox_end end;
	TRY(sandbox_prepare(&spec, &sandbox));
	findings->own_uid = sandbox.own_uid;
	TRY(sandbox_start(&sandbox, NULL, 0));
	TRY(sandbox_read_end(&sandbox, &end));
	if (!end.exited || end.code != 0)
		return fail(SANDBOX_FAILED, "the probe ended with %s %d", end.exited ? "exit code" : "signal", end.code);
	findings->prepared = true;
	return OK;
}

static result try_confinement(uid_t uid, const char *folder, const struct limits_group *group, struct findings *findings)
{
	pid_t child = fork();
	if (child < 0)
		return fail_errno("starting a process");
	if (child == 0) {
		alarm(DETECT_TIMEOUT_S);
		findings->reason = run_confined(uid, folder, group, findings);
		if (findings->reason != OK)
			snprintf(findings->text, sizeof(findings->text), "%s: %s", reason_name(findings->reason), failure_text());
		_exit(0);
	}
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return fail_errno("waiting for the probe");
	if (!findings->prepared && findings->text[0] == '\0')
		snprintf(findings->text, sizeof(findings->text), "the probe did not end by itself (status %d)", status);
	return OK;
}

static void conclude(const struct findings *findings, bool without_namespaces, struct tier_report *report)
{
	bool all = findings->prepared;
	for (size_t i = 0; findings->prepared && i < COUNT_OF(denials); i++) {
		bool refused = findings->tried[i] && findings->errors[i] != NOT_REFUSED;
		if (without_namespaces && denials[i].not_in_l)
			continue;
		report->denials[report->denial_count++] =
			(struct tier_denial){denials[i].name, denials[i].mechanism, refused, findings->errors[i]};
		if (!refused && all)
			snprintf(report->missing, sizeof(report->missing), "not refused: %s (%s)", denials[i].name, denials[i].mechanism);
		all &= refused;
	}
	report->tier = !all ? "none" : without_namespaces ? "L" : "N";
	report->isolation = !all ? "none" : findings->own_uid ? "uid" : "weak";
	if (!findings->prepared)
		snprintf(report->missing, sizeof(report->missing), "%s", findings->text);
	else if (all && !findings->own_uid)
		snprintf(report->missing, sizeof(report->missing),
			"run by root each enclave gets a uid of its own (isolation=uid); now other processes of this user can reach it");
}

/* In tier L the copy of an image, here an empty one, lies in a folder that the uid may pass through. */
static result try_with_copy(uid_t uid, const struct limits_group *group, struct findings *findings)
{
	char folder[PATH_SIZE];
	const char *base = getenv("TMPDIR");
	TRY(path_join(folder, base && base[0] == '/' ? base : "/tmp", "troth-tier-XXXXXX"));
	if (!mkdtemp(folder))
		return fail_errno("'%s'", folder);
	result tried = uid && (chmod(folder, 0710) != 0 || chown(folder, 0, uid) != 0) ? fail_errno("'%s'", folder)
										       : try_confinement(uid, folder, group, findings);
	result removed = file_remove_tree(AT_FDCWD, folder);
	return tried == OK ? removed : tried;
}

result tier_detect(uid_t uid, bool without_namespaces, struct tier_report *out)
{
	struct findings *findings = mmap(NULL, sizeof(*findings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (findings == MAP_FAILED)
		return fail_errno("memory");
	struct manifest_limits limits = {.memory = 64 << 20, .processes = 8};
	struct limits_group group = {.kind = LIMITS_RLIMIT};
	result tried = limits_group_new("probe", &limits, &group);
	struct tier_report report = {.limits = limits_kind_name(group.kind), .landlock_abi = landlock_abi(),
		.secret_memory = secret_memory_name(secret_memory()), .instrumented = seccomp_instrumented()};
	if (tried == OK) {
		tried = without_namespaces ? try_with_copy(uid, &group, findings) : try_confinement(uid, NULL, &group, findings);
		result removed = limits_group_remove(&group);
		tried = tried == OK ? removed : tried;
	}
	if (tried == OK) {
		conclude(findings, without_namespaces, &report);
		*out = report;
	}
	munmap(findings, sizeof(*findings));
	return tried;
}
