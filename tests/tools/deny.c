/*
 * deny: runs a program on a machine that has less than this one, for tests of what Troth says there.
 *
 *	deny [OPTION...] -- CMD [ARG...]
 *
 *	--no-userns		user namespaces refused: unshare and clone with CLONE_NEWUSER fail with EPERM, clone3 with ENOSYS
 *				(its flags are in memory that a filter cannot read; the C library then uses clone)
 *	--no-memfd-secret	as on a kernel without secret memory
 *	--no-landlock		as on a kernel without Landlock
 *	--landlock-abi N	as on a kernel whose Landlock has ABI N (6.1 has 2): the version query answers N, and a
 *				ruleset that asks for more is refused as that kernel would. An older kernel stays what it is
 *	--call NAME=ERRNO	any other call fails with that error (a name such as EPERM, or a number)
 *
 * The filter is inherited by everything that CMD starts. With --landlock-abi this process stays to answer for the kernel,
 * passes SIGTERM on and ends as CMD does; what outlives CMD then finds no Landlock at all. Otherwise it becomes CMD.
 * Nothing of Troth is linked. Exit 125 when the machine cannot be imitated.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CANNOT = 125, /* exit code: not CMD's */
	VERSION_QUERY = 1,
	LAST_ABI = 6,
};

static void die(const char *what)
{
	fprintf(stderr, "deny: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
	exit(CANNOT);
}

static void check(int outcome, const char *what)
{
	if (outcome < 0) {
		errno = -outcome;
		die(what);
	}
}

/* ---- the filter ---- */

static void fail_call(scmp_filter_ctx ctx, const char *name, int error)
{
	int number = seccomp_syscall_resolve_name(name);
	errno = 0;
	if (number == __NR_SCMP_ERROR)
		die(name);
	check(seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint16_t)error), number, 0), name);
}

static void refuse_user_namespaces(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp asks = SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER);
	check(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1, asks), "unshare");
	check(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, asks), "clone");
	fail_call(ctx, "clone3", ENOSYS);
}

static void refuse_landlock(scmp_filter_ctx ctx)
{
	fail_call(ctx, "landlock_create_ruleset", ENOSYS);
	fail_call(ctx, "landlock_add_rule", ENOSYS);
	fail_call(ctx, "landlock_restrict_self", ENOSYS);
}

static int error_of(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);
	if (*text && !*end && number > 0 && number < 4096)
		return (int)number;
	for (int error = 1; error < 200; error++) {
		const char *name = strerrorname_np(error);
		if (name && strcmp(name, text) == 0)
			return error;
	}
	errno = 0;
	die("--call takes NAME=ERRNO");
	return 0;
}

static void refuse_named(scmp_filter_ctx ctx, const char *text)
{
	char name[64];
	const char *equals = strchr(text, '=');
	size_t len = equals ? (size_t)(equals - text) : sizeof(name);
	errno = 0;
	if (len >= sizeof(name))
		die("--call takes NAME=ERRNO");
	memcpy(name, text, len);
	name[len] = '\0';
	fail_call(ctx, name, error_of(equals + 1));
}

/* ---- Landlock of an older kernel ---- */

/* What each ABI knows (include/uapi/linux/landlock.h): size of the attributes, rights of files, of the network, scopes. */
static const struct {
	size_t size;
	uint64_t known[3];
} abis[LAST_ABI + 1] = {
	[1] = {8, {(1 << 13) - 1}},
	[2] = {8, {(1 << 14) - 1}},
	[3] = {8, {(1 << 15) - 1}},
	[4] = {16, {(1 << 15) - 1, 3}},
	[5] = {16, {(1 << 16) - 1, 3}},
	[6] = {24, {(1 << 16) - 1, 3, 3}},
};

/* The error with which a kernel of `abi` refuses these attributes; 0: it would take them. */
static int judge_attributes(int abi, pid_t pid, uint64_t address, uint64_t size)
{
	uint64_t attributes[8] = {0};
	uint64_t len = size < sizeof(attributes) ? size : sizeof(attributes);
	struct iovec here = {attributes, (size_t)len}, there = {(void *)(uintptr_t)address, (size_t)len};
	/* An undumpable process cannot be read without privilege: then its size alone is judged. */
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)len)
		return size > abis[abi].size ? E2BIG : 0;
	for (size_t i = 0; i < 8; i++) {
		uint64_t known = i < 3 ? abis[abi].known[i] : 0;
		if (attributes[i] & ~known)
			return i * 8 >= abis[abi].size ? E2BIG : EINVAL;
	}
	return 0;
}

static void answer(int abi, const struct seccomp_notif *request, struct seccomp_notif_resp *reply)
{
	const __u64 *args = request->data.args;
	memset(reply, 0, sizeof(*reply));
	reply->id = request->id;
	if (abi == 0)
		reply->error = -ENOSYS;
	else if (args[2] == VERSION_QUERY && args[0] == 0 && args[1] == 0)
		reply->val = abi;
	else if (args[2] != 0)
		reply->error = -EINVAL;
	else
		reply->error = -judge_attributes(abi, (pid_t)request->pid, args[0], args[1]);
	if (reply->error == 0 && reply->val == 0)
		reply->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
}

static pid_t child;

static void pass_on(int signal)
{
	kill(child, signal);
}

static int exit_as_child(void)
{
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			die("waiting for the program");
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

static int supervise(int listener, int abi)
{
	struct seccomp_notif *request;
	struct seccomp_notif_resp *reply;
	int ended = (int)syscall(SYS_pidfd_open, child, 0);
	if (ended < 0 || seccomp_notify_alloc(&request, &reply) != 0)
		die("supervising");
	for (;;) {
		struct pollfd wait[2] = {{.fd = listener, .events = POLLIN}, {.fd = ended, .events = POLLIN}};
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (wait[0].revents & POLLIN) {
			memset(request, 0, sizeof(*request)); /* the kernel insists */
			/* A caller may die in between: ENOENT, and nobody waits for the answer. */
			if (seccomp_notify_receive(listener, request) == 0) {
				answer(abi, request, reply);
				(void)seccomp_notify_respond(listener, reply);
			}
		} else if (wait[1].revents) {
			return exit_as_child();
		}
	}
}

/* The child installs the filter and hands the listener up before anything in it could need an answer. */
static void send_fd(int socket, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	char byte = 0;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(socket, &message, 0) != 1)
		die("handing over the listener");
}

static int receive_fd(int socket)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	char byte;
	int fd = -1;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
		return -1; /* the child has said why */
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static void become(char **command)
{
	execvp(command[0], command);
	die(command[0]);
}

static int run_supervised(scmp_filter_ctx ctx, int abi, char **command)
{
	long real = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_QUERY);
	if (real < abi)
		abi = real > 0 ? (int)real : 0;
	check(seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(landlock_create_ruleset), 0), "notification");
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair");
	pid_t parent = getpid();
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		/* This process's end must not leave the program without anybody who answers. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
			die("parent");
		check(seccomp_load(ctx), "loading the filter");
		int listener = seccomp_notify_fd(ctx);
		send_fd(pair[1], listener);
		close(listener);
		become(command);
	}
	close(pair[1]);
	signal(SIGTERM, pass_on);
	int listener = receive_fd(pair[0]);
	close(pair[0]);
	return listener < 0 ? exit_as_child() : supervise(listener, abi);
}

/* ---- options ---- */

static int parse(scmp_filter_ctx ctx, int argc, char **argv, int *out_abi)
{
	int at = 1;
	for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
		const char *option = argv[at], *value = at + 1 < argc ? argv[at + 1] : "";
		if (strcmp(option, "--no-userns") == 0) {
			refuse_user_namespaces(ctx);
		} else if (strcmp(option, "--no-memfd-secret") == 0) {
			fail_call(ctx, "memfd_secret", ENOSYS);
		} else if (strcmp(option, "--no-landlock") == 0) {
			refuse_landlock(ctx);
		} else if (strcmp(option, "--landlock-abi") == 0) {
			*out_abi = atoi(value);
			at++;
		} else if (strcmp(option, "--call") == 0) {
			refuse_named(ctx, value);
			at++;
		} else {
			at = argc;
		}
	}
	errno = 0;
	if (at + 1 >= argc || *out_abi < 0 || *out_abi > LAST_ABI)
		die("usage: deny [--no-userns] [--no-memfd-secret] [--no-landlock | --landlock-abi 1..6] [--call NAME=ERRNO]... -- CMD "
		    "[ARG...]");
	return at + 1;
}

int main(int argc, char **argv)
{
	int abi = 0;
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		die("seccomp_init");
	/* Calls of other ABIs stay what they are on this machine. */
	check(seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW), "other ABIs");
	char **command = argv + parse(ctx, argc, argv, &abi);
	if (abi > 0)
		return run_supervised(ctx, abi, command);
	check(seccomp_load(ctx), "loading the filter");
	become(command);
	return CANNOT;
}
