/* The values of registers 0 and 1 from program files, and the event log they are checked with. */
#include "../expect.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "groups.h"
#include "root/ap_message.h"
#include "root/boot_log.h"
#include "root/tcb.h"

static char folder[PATH_SIZE];
static const char *const programs[] = {"troth-ap", "trothd", "troth-ire"};

static const char *at(const char *name)
{
	static char path[PATH_SIZE];
	expect_ok(path_join(path, folder, name));
	return path;
}

static int make_folder(void **unused)
{
	snprintf(folder, sizeof(folder), "/tmp/troth-tcb-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	for (size_t i = 0; i < COUNT_OF(programs); i++)
		expect_ok(file_write_atomic(at(programs[i]), span_str(programs[i]), 0755));
	return 0;
}

static int drop_folder(void **unused)
{
	for (size_t i = 0; i < COUNT_OF(programs); i++)
		unlink(at(programs[i]));
	return rmdir(folder);
}

static void registers_follow_the_files(void **unused)
{
	struct tcb tcb, other;
	uint8_t digest[SHA384_SIZE], input[2 * SHA384_SIZE] = {0}, expected[SHA384_SIZE];
	expect_ok(tcb_measure(folder, "troth.internal", false, &tcb));
	sha384(span_str("troth-ap"), digest);
	assert_memory_equal(tcb.ap, digest, SHA384_SIZE);
	/* register = SHA-384(zeros ‖ SHA-384(event)), event = {1: "troth-ap", 2: digest}. */
	uint8_t event[13 + 2 + SHA384_SIZE] = "\xa2\x01\x68troth-ap\x02\x58\x30";
	memcpy(event + 14, digest, SHA384_SIZE);
	expect_span(bytes_span(&tcb.ap_event), span_of(event, 14 + SHA384_SIZE));
	sha384(bytes_span(&tcb.ap_event), input + SHA384_SIZE);
	sha384(SPAN_ARRAY(input), expected);
	assert_memory_equal(tcb.registers[0].value, expected, SHA384_SIZE);
	/* Each file and the trust domain count. */
	static const bool changes_first[] = {true, false, false};
	for (size_t i = 0; i < COUNT_OF(programs); i++) {
		expect_ok(file_write_atomic(at(programs[i]), span_str("altered"), 0755));
		expect_ok(tcb_measure(folder, "troth.internal", false, &other));
		assert_int_equal(memcmp(&tcb.registers[0], &other.registers[0], SHA384_SIZE) != 0, changes_first[i]);
		assert_int_equal(memcmp(&tcb.registers[1], &other.registers[1], SHA384_SIZE) != 0, !changes_first[i]);
		tcb_free(&other);
		expect_ok(file_write_atomic(at(programs[i]), span_str(programs[i]), 0755));
	}
	expect_ok(tcb_measure(folder, "other.internal", false, &other));
	assert_memory_equal(&tcb.registers[0], &other.registers[0], SHA384_SIZE);
	assert_memory_not_equal(&tcb.registers[1], &other.registers[1], SHA384_SIZE);
	tcb_free(&other);
	tcb_free(&tcb);
}

static void a_missing_program_is_told(void **unused)
{
	struct tcb tcb;
	unlink(at("troth-ire"));
	expect(tcb_measure(folder, "troth.internal", false, &tcb), NOT_FOUND);
	assert_non_null(strstr(failure_text(), "troth-ire"));
	expect_ok(file_write_atomic(at("troth-ire"), span_str("troth-ire"), 0755));
	assert_int_not_equal(tcb_measure(folder, "", false, &tcb), OK);
}

static void the_folder_of_the_running_program(void **unused)
{
	char link[PATH_SIZE] = "", found[PATH_SIZE];
	assert_true(readlink("/proc/self/exe", link, sizeof(link) - 1) > 0);
	expect_ok(program_folder(found, sizeof(found)));
	*strrchr(link, '/') = '\0';
	assert_string_equal(found, link);
}

int probe_program_folder(void)
{
	char found[PATH_SIZE];
	return program_folder(found, sizeof(found)) == NOT_FOUND ? 0 : 1;
}

/* A program without a file is at "/memfd:NAME": the part before the slash is no folder to take programs from. */
static void a_program_without_a_folder_is_refused(void **unused)
{
	struct stat status;
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), copy = memfd_create("alone", MFD_CLOEXEC), ended = -1;
	assert_true(file >= 0 && copy >= 0);
	assert_int_equal(fstat(file, &status), 0);
	for (off_t left = status.st_size; left > 0;) {
		ssize_t sent = sendfile(copy, file, NULL, (size_t)left);
		assert_true(sent > 0);
		left -= sent;
	}
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char *const argv[] = {(char[]){"test-root"}, (char[]){PROBE_PROGRAM_FOLDER}, NULL};
		alarm(20);
		fexecve(copy, argv, environ);
		_exit(126);
	}
	assert_int_equal(waitpid(child, &ended, 0), child);
	close(copy);
	close(file);
	assert_true(WIFEXITED(ended));
	assert_int_equal(WEXITSTATUS(ended), 0);
}

/* The host's measurement of itself is what the log of the secure processor then holds. */
static void the_log_replays_to_the_registers(void **unused)
{
	struct tcb tcb;
	struct boot_log log;
	struct register_value replayed[REGISTER_COUNT] = {0};
	expect_ok(tcb_measure(folder, "troth.internal", false, &tcb));
	boot_log_init(&log);
	expect_ok(boot_log_extend(&log, REGISTER_AP, bytes_span(&tcb.ap_event)));
	expect_ok(boot_log_extend(&log, REGISTER_HOST, bytes_span(&tcb.host_event)));
	expect(boot_log_extend(&log, REGISTER_COUNT, bytes_span(&tcb.host_event)), BAD_VALUE);
	for (size_t i = 0; i < log.count; i++) {
		struct span content;
		uint8_t index;
		expect_ok(boot_log_replay(replayed, i, boot_log_record(&log, i), &content, &index));
		assert_int_equal(index, i);
		expect_span(content, i ? bytes_span(&tcb.host_event) : bytes_span(&tcb.ap_event));
	}
	assert_memory_equal(replayed, log.registers, sizeof(replayed));
	assert_memory_equal(&replayed[0], &tcb.registers[0], 2 * SHA384_SIZE);
	boot_log_free(&log);
	tcb_free(&tcb);
}

static void an_altered_log_is_refused(void **unused)
{
	struct boot_log log;
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	boot_log_init(&log);
	expect_ok(boot_log_extend(&log, REGISTER_LAUNCHES, span_str("a launch")));
	expect_ok(bytes_copy(boot_log_record(&log, 0), &record));
	for (size_t bit = 0; bit < 8 * record.len; bit++) {
		struct register_value replayed[REGISTER_COUNT] = {0};
		struct span content;
		uint8_t index;
		record.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		/* The index alone is not under the digest: it shows in another register's value. */
		if (boot_log_replay(replayed, 0, bytes_span(&record), &content, &index) == OK)
			assert_memory_not_equal(replayed, log.registers, sizeof(replayed));
		record.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	boot_log_free(&log);
}

int test_tcb(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(registers_follow_the_files, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(a_missing_program_is_told, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(the_log_replays_to_the_registers, make_folder, drop_folder),
		cmocka_unit_test(an_altered_log_is_refused),
		cmocka_unit_test(the_folder_of_the_running_program),
		cmocka_unit_test(a_program_without_a_folder_is_refused),
	};
	return cmocka_run_group_tests_name("tcb", tests, NULL, NULL);
}
