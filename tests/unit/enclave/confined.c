#include "confined.h"

#include "base/isolate.h"
#include "base/seccomp.h"
#include "crypto/hash.h"
#include "expect.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[PATH_SIZE], probe[PATH_SIZE + 8];
static struct manifest_file manifest;

bool test_is_root(void)
{
	return isolate_is_root();
}

const char *confined_probe_path(void)
{
	return probe;
}

void confined_manifest(struct manifest_file *out)
{
	*out = manifest;
}

int confined_start(void **state)
{
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof(folder), "%s/test-confined-XXXXXX", base ? base : "/tmp");
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	if (!mkdtemp(folder) || chmod(folder, 0755) != 0 || file_read(TROTH_PROBE, 64 << 20, &content) != OK)
		return 1;
	snprintf(probe, sizeof(probe), "%s/probe", folder);
	manifest = (struct manifest_file){
		.path = "/probe", .type = FILE_REGULAR, .mode = 0555, .size = content.len, .has_digest = true};
	sha384(bytes_span(&content), manifest.digest);
	return file_write_atomic(probe, bytes_span(&content), 0755) != OK;
}

int confined_stop(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, folder) != OK;
}

static void become_ordinary(void)
{
	if (!isolate_is_root())
		return;
	assert_int_equal(setgroups(0, NULL), 0);
	assert_int_equal(setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID), 0);
	assert_int_equal(setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID), 0);
	prctl(PR_SET_DUMPABLE, 1);
}

static void fetch(struct sandbox *sandbox, struct confined *run)
{
	CLEANUP(fd_close) struct fd file = FD_NONE;
	run->fetched = sandbox_open_output(sandbox, run->fetch, &file);
	if (run->fetched == OK && read(file.n, run->file, CONFINED_FILE) < 0)
		run->fetched = IO_ERROR;
}

static void run_in_child(struct confined *run, const struct limits_group *group, int output)
{
	static const char *const env[] = {"PATH=/usr/bin:/bin", "MARK=1", NULL};
	struct manifest_file file = manifest;
	const char *source = probe;
	file.digest[0] ^= run->damage;
	struct sandbox_spec spec = {.files = &file, .sources = &source, .file_count = 1, .program = run->argv ? "/probe" : NULL,
		.argv = run->argv, .env = env, .limits = run->limits, .group = group, .permissions = run->permissions,
		.uid = isolate_is_root() ? OWN_UID : 0, .probe = run->argv ? NULL : run->probe, .probe_arg = run->probe_arg};
	CLEANUP(sandbox_free) struct sandbox sandbox = SANDBOX_NONE;
	run->prepared = sandbox_prepare(&spec, &sandbox);
	if (run->prepared != OK)
		return;
	/* As troth-ire does: from here on it has no files, sockets or processes to make. */
	struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	run->started = seccomp_filter_new(SECCOMP_IRE, 0, &filter);
	if (run->started == OK)
		run->started = seccomp_install(&filter);
	seccomp_filter_free(&filter);
	if (run->started != OK)
		return;
	run->own_uid = sandbox.own_uid;
	run->landlock_abi = sandbox.landlock_abi;
	struct sandbox_fd fds[SANDBOX_MAX_FDS] = {{output, 1}, {output, 2}};
	for (size_t i = 0; i < run->fd_count; i++)
		fds[2 + i] = run->fds[i];
	run->started = sandbox_start(&sandbox, fds, 2 + run->fd_count);
	close(output); /* its end must be the program's */
	if (run->started != OK)
		return;
	struct pollfd wait = {.fd = sandbox_fd(&sandbox), .events = POLLIN};
	if (run->kill_after_ms && poll(&wait, 1, run->kill_after_ms) == 0)
		sandbox_kill(&sandbox);
	run->ended = sandbox_read_end(&sandbox, &run->end);
	if (run->ended == OK && run->fetch)
		fetch(&sandbox, run);
}

/* Reads to the end: as long as anything inside lives, it holds the other end. */
static void collect(int from, struct confined *run)
{
	char piece[4096];
	for (ssize_t len; (len = read(from, piece, sizeof(piece))) > 0; run->output_len += (size_t)len) {
		size_t room = run->output_len < CONFINED_OUTPUT ? CONFINED_OUTPUT - run->output_len : 0;
		memcpy(run->output + (CONFINED_OUTPUT - room), piece, (size_t)len < room ? (size_t)len : room);
	}
	run->output_ended = true;
}

/* The caller of the sandbox, which does not survive it unchanged. */
static NORETURN void inner_main(struct confined *shared, const struct limits_group *group, int output)
{
	alarm(40);
	signal(SIGPIPE, SIG_IGN);
	if (shared->before)
		shared->before();
	run_in_child(shared, group, output);
	snprintf(shared->text, sizeof(shared->text), "%s", failure_text());
	_exit(0);
}

/* The part of the host: makes the group as the user it is, outlives the caller of the sandbox, removes the group. */
static NORETURN void outer_main(struct confined *shared, int output)
{
	if (shared->who == AS_ORDINARY_USER)
		become_ordinary();
	struct limits_group group;
	if (limits_group_new("test", &shared->limits, &group) != OK)
		_exit(3);
	shared->kind = group.kind;
	pid_t child = fork();
	if (child == 0)
		inner_main(shared, &group, output);
	close(output);
	int status;
	uint64_t refused;
	waitpid(child, &status, 0);
	limits_group_events(&group, &shared->oom_kills, &refused);
	_exit(limits_group_remove(&group) == OK ? 0 : 4);
}

static void defaults(struct manifest_limits *limits)
{
	limits->memory = limits->memory ? limits->memory : 64 << 20;
	limits->scratch = limits->scratch ? limits->scratch : 4 << 20;
	limits->processes = limits->processes ? limits->processes : 12;
	limits->open_files = limits->open_files ? limits->open_files : 256;
	limits->cpu_ms = limits->cpu_ms ? limits->cpu_ms : 20000;
}

void confined_run(struct confined *run)
{
	defaults(&run->limits);
	run->started = run->ended = run->fetched = INTERNAL;
	struct confined *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	*shared = *run;
	struct fd output[2] = {FD_NONE, FD_NONE};
	expect_ok(fd_pipe(output));
	pid_t outer = fork();
	assert_true(outer >= 0);
	if (outer == 0) {
		fd_close(&output[0]);
		outer_main(shared, output[1].n);
	}
	fd_close(&output[1]);
	collect(output[0].n, shared);
	fd_close(&output[0]);
	int status;
	assert_int_equal(waitpid(outer, &status, 0), outer);
	*run = *shared;
	munmap(shared, sizeof(*shared));
	assert_int_equal(status, 0);
}

void confined_expect_refused(enum who who, const char *const *argv)
{
	struct confined *run = calloc(1, sizeof(*run));
	assert_non_null(run);
	run->who = who;
	run->argv = argv;
	confined_run(run);
	bool good = run->prepared == OK && run->started == OK && run->ended == OK && run->end.exited && run->end.code == 0;
	if (!good)
		print_error("%s: prepared %s, started %s, ended %s (%s), code %d\n%s\n", argv[1], reason_name(run->prepared),
			reason_name(run->started), reason_name(run->ended), run->text, run->end.code, run->output);
	assert_true(good);
	assert_true(run->output_len > 0);
	assert_int_equal(run->own_uid, who == AS_STARTED && test_is_root());
	free(run);
}
