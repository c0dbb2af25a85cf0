#include "base/isolate.h"
#include "confined.h"
#include "enclave/landlock.h"
#include "enclave/tier.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_detect(void **state)
{
	(void)state;
	struct tier_report report;
	expect_ok(tier_detect(test_is_root() ? OWN_UID : 0, false, &report));
	if (strcmp(report.tier, "N") != 0)
		print_error("%s\n", report.missing);
	assert_string_equal(report.tier, "N");
	assert_string_equal(report.isolation, test_is_root() ? "uid" : "weak");
	assert_int_equal(report.landlock_abi, landlock_abi());
	assert_true(report.denial_count >= 20);
	for (size_t i = 0; i < report.denial_count; i++) {
		if (!report.denials[i].refused)
			print_error("%s\n", report.denials[i].name);
		assert_true(report.denials[i].refused);
	}
}

static void test_detect_without_namespaces(void **state)
{
	(void)state;
	struct tier_report report;
	expect_ok(tier_detect(test_is_root() ? OWN_UID : 0, true, &report));
	if (landlock_abi() == 0) {
		assert_string_equal(report.tier, "none");
		assert_non_null(strstr(report.missing, "Landlock"));
		return;
	}
	if (strcmp(report.tier, "L") != 0)
		print_error("%s\n", report.missing);
	assert_string_equal(report.tier, "L");
	assert_true(report.denial_count >= 20);
	for (size_t i = 0; i < report.denial_count; i++) {
		assert_true(report.denials[i].refused);
		assert_string_not_equal(report.denials[i].name, "map a file of its own as code"); /* which tier L cannot refuse */
	}
}

static void test_root_needs_a_uid(void **state)
{
	(void)state;
	if (!test_is_root())
		return; /* an ordinary user has one */
	struct tier_report report;
	expect_ok(tier_detect(0, false, &report));
	assert_string_equal(report.tier, "none");
	assert_string_equal(report.isolation, "none");
	assert_non_null(strstr(report.missing, "uid of its own"));
}

int group_tier(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_detect), cmocka_unit_test(test_detect_without_namespaces),
		cmocka_unit_test(test_root_needs_a_uid)};
	return cmocka_run_group_tests_name("tier", tests, NULL, NULL);
}

static void test_group(void **state)
{
	(void)state;
	struct limits_group group;
	struct manifest_limits limits = {.memory = 16 << 20, .processes = 4};
	expect(limits_group_new("a/b", &limits, &group), BAD_VALUE);
	expect(limits_group_new("", &limits, &group), BAD_VALUE);
	expect_ok(limits_group_new("unit", &limits, &group));
	char first[PATH_SIZE] = "";
	for (size_t i = 0; i < group.count; i++) {
		struct stat status;
		assert_int_equal(stat(group.paths[i], &status), 0);
		snprintf(first, sizeof(first), "%s", group.paths[i]);
	}
	assert_int_equal(group.count > 0, group.kind != LIMITS_RLIMIT);
	limits_sweep(); /* ours is alive, so it stays */
	assert_true(!first[0] || access(first, F_OK) == 0);
	expect_ok(limits_group_remove(&group));
	assert_true(!first[0] || (access(first, F_OK) != 0 && errno == ENOENT));
	expect_ok(limits_group_remove(&group)); /* again: nothing */
	assert_string_equal(limits_kind_name(LIMITS_CGROUP1), "cgroup1");
	assert_string_equal(limits_kind_name(LIMITS_CGROUP2), "cgroup2");
	assert_string_equal(limits_kind_name(LIMITS_RLIMIT), "rlimit");
}

/* A host in a child: it makes a group, says so, and is killed; with `new_namespace` it was process 1 of a namespace that is gone then. */
static void killed_host(bool new_namespace, char out_path[static PATH_SIZE])
{
	struct manifest_limits limits = {.memory = 16 << 20, .processes = 4};
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	pid_t child = fork();
	if (child == 0) {
		struct limits_group group;
		if (new_namespace && (unshare(CLONE_NEWPID) != 0 || fork() != 0))
			_exit(wait(NULL) < 0);
		if (limits_group_new("killed", &limits, &group) != OK || group.count == 0)
			_exit(1);
		(void)!write(pipes[1], group.paths[0], strlen(group.paths[0]));
		close(pipes[1]);
		if (new_namespace)
			_exit(0);
		pause();
	}
	close(pipes[1]);
	ssize_t got, len = 0;
	while ((got = read(pipes[0], out_path + len, PATH_SIZE - 1 - (size_t)len)) > 0)
		len += got;
	out_path[len] = '\0';
	close(pipes[0]);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/* What a host holds is left alone, whoever asks; what nobody holds any more goes, whatever its pid says now. */
static void test_sweep(void **state)
{
	(void)state;
	struct limits_group group;
	struct manifest_limits limits = {.memory = 16 << 20, .processes = 4};
	expect_ok(limits_group_new("sweep", &limits, &group));
	if (group.count > 0) { /* an ordinary user has no groups, and nothing to sweep */
		char held[PATH_SIZE], killed[PATH_SIZE], gone[PATH_SIZE] = "", living[PATH_SIZE + 64], other[PATH_SIZE + 64];
		snprintf(held, sizeof(held), "%s", group.paths[0]);
		killed_host(false, killed);
		if (geteuid() == 0)
			killed_host(true, gone);
		assert_int_equal(access(killed, F_OK), 0);
		/* Nobody's, though its pid is alive: ours. And one whose name is not of a group. */
		char folder[PATH_SIZE];
		snprintf(folder, sizeof(folder), "%s", held);
		*strrchr(folder, '/') = '\0';
		snprintf(living, sizeof(living), "%s/troth-%d-held-left", folder, (int)getpid());
		snprintf(other, sizeof(other), "%s/troth-%d-other", folder, (int)getpid());
		assert_int_equal(mkdir(living, 0700), 0);
		assert_int_equal(mkdir(other, 0700), 0);
		limits_sweep();
		bool held_left = access(held, F_OK) == 0, killed_left = access(killed, F_OK) == 0, living_left = rmdir(living) == 0;
		bool other_left = rmdir(other) == 0, gone_left = gone[0] && access(gone, F_OK) == 0;
		assert_true(held_left);
		assert_false(killed_left);
		assert_false(living_left);
		assert_true(other_left);
		assert_false(gone_left);
	}
	expect_ok(limits_group_remove(&group));
}

/* Its folder is there already, in each place where one can be made: the last resort claims no bound and has nothing to remove. */
static void test_no_place_for_a_group(void **state)
{
	(void)state;
	enum { TRIES = 32 }; /* more than folders between ours and the mount point */
	struct limits_group groups[TRIES];
	struct manifest_limits limits = {.memory = 16 << 20, .processes = 4};
	size_t made = 0;
	do {
		assert_true(made < TRIES);
		expect_ok(limits_group_new("taken", &limits, &groups[made]));
	} while (groups[made++].kind != LIMITS_RLIMIT);
	const struct limits_group *last = &groups[made - 1];
	bool bounds_nothing = !last->memory && !last->processes;
	size_t folders = last->count;
	while (made > 0)
		expect_ok(limits_group_remove(&groups[--made]));
	assert_true(bounds_nothing);
	assert_int_equal(folders, 0);
}

/* The kernel takes no such number of processes: that bound is not claimed, and its folder is gone again. */
static void test_limit_that_the_kernel_refuses(void **state)
{
	(void)state;
	struct limits_group group;
	struct manifest_limits limits = {.memory = 16 << 20, .processes = 1 << 30};
	expect_ok(limits_group_new("refused", &limits, &group));
	bool claims_processes = group.processes;
	size_t folders = group.count, bounds = (size_t)group.memory;
	expect_ok(limits_group_remove(&group));
	assert_false(claims_processes);
	assert_int_equal(folders, bounds);
}

int group_limits(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_group), cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_no_place_for_a_group), cmocka_unit_test(test_limit_that_the_kernel_refuses)};
	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
