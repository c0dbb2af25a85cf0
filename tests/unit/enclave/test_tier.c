#include "base/isolate.h"
#include "confined.h"
#include "enclave/landlock.h"
#include "enclave/tier.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_detect(void **state)
{
	(void)state;
	struct tier_report report;
	expect_ok(tier_detect(test_is_root() ? OWN_UID : 0, &report));
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

static void test_root_needs_a_uid(void **state)
{
	(void)state;
	if (!test_is_root())
		return; /* an ordinary user has one */
	struct tier_report report;
	expect_ok(tier_detect(0, &report));
	assert_string_equal(report.tier, "none");
	assert_string_equal(report.isolation, "none");
	assert_non_null(strstr(report.missing, "uid of its own"));
}

int group_tier(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_detect), cmocka_unit_test(test_root_needs_a_uid)};
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

static pid_t ended_process(void)
{
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	return child;
}

/* A host that ended is known by its pid, which says nothing about hosts of another pid namespace. */
static void test_sweep(void **state)
{
	(void)state;
	struct limits_group group;
	struct manifest_limits limits = {.memory = 16 << 20, .processes = 4};
	struct stat status;
	expect_ok(limits_group_new("sweep", &limits, &group));
	if (group.count > 0) { /* an ordinary user has no groups, and nothing to sweep */
		char folder[PATH_SIZE], ours[PATH_SIZE + 128], foreign[PATH_SIZE + 128];
		pid_t ended = ended_process();
		assert_int_equal(stat("/proc/self/ns/pid", &status), 0);
		snprintf(folder, sizeof(folder), "%s", group.paths[0]);
		*strrchr(folder, '/') = '\0';
		snprintf(ours, sizeof(ours), "%s/troth-%d-%llu-x", folder, (int)ended, (unsigned long long)status.st_ino);
		snprintf(foreign, sizeof(foreign), "%s/troth-%d-%llu-x", folder, (int)ended, (unsigned long long)status.st_ino + 1);
		assert_int_equal(mkdir(ours, 0755), 0);
		assert_int_equal(mkdir(foreign, 0755), 0);
		limits_sweep();
		bool ours_left = rmdir(ours) == 0, foreign_left = rmdir(foreign) == 0;
		assert_false(ours_left);
		assert_true(foreign_left);
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
