#include "base/fault.h"
#include "base/file.h"
#include "disk.h"
#include "expect.h"
#include "groups.h"
#include "store/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

enum { SIZE = 512 };

static struct disk disk;
static int fd;

static int start(void **state)
{
	(void)state;
	disk_init(&disk);
	fd = disk.io.open_at(&disk, -1, "state", O_RDWR | O_CREAT, 0600);
	return slots_format_io(&disk.io, fd, SIZE) != OK;
}

static int stop(void **state)
{
	(void)state;
	disk_free(&disk);
	return 0;
}

static void expect_payload(const struct slots *slots, struct span wanted)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	expect_ok(slots_read(slots, &payload));
	expect_span(bytes_span(&payload), wanted);
}

static void the_newest_counts(void **state)
{
	struct slots slots, again;
	(void)state;
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	expect_payload(&slots, SPAN_EMPTY);
	for (uint64_t i = 0; i < 10; i++) {
		uint8_t payload[8] = {(uint8_t)i, 7};
		expect_ok(slots_write(&slots, span_of(payload, i)));
		expect_payload(&slots, span_of(payload, i));
		expect_ok(slots_open_io(&disk.io, fd, SIZE, &again));
		assert_true(again.sequence == slots.sequence);
		expect_payload(&again, span_of(payload, i));
		if (i == 7)
			break;
	}
	assert_int_equal(disk_find(&disk, "state")->size, 2 * SIZE);
}

static void sizes_are_checked(void **state)
{
	struct slots slots;
	uint8_t payload[SIZE] = {1};
	(void)state;
	expect(slots_open_io(&disk.io, fd, 0, &slots), BAD_VALUE);
	expect(slots_open_io(&disk.io, fd, 513, &slots), BAD_VALUE);
	expect(slots_open_io(&disk.io, fd, SLOT_SIZE_MAX + 512, &slots), BAD_VALUE);
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	expect_ok(slots_write(&slots, span_of(payload, SIZE - SLOT_HEADER_SIZE)));
	expect(slots_write(&slots, span_of(payload, SIZE - SLOT_HEADER_SIZE + 1)), TOO_LARGE);
	expect_payload(&slots, span_of(payload, SIZE - SLOT_HEADER_SIZE));
	/* A shorter payload leaves nothing of a longer one behind. */
	expect_ok(slots_write(&slots, SPAN_EMPTY));
	expect_ok(slots_write(&slots, SPAN_EMPTY));
	const struct disk_file *file = disk_find(&disk, "state");
	for (size_t i = 0; i < file->size; i++)
		if (i % SIZE >= SLOT_HEADER_SIZE)
			assert_int_equal(file->data[i], 0);
}

static void a_file_of_zeros_is_empty(void **state)
{
	struct slots slots;
	(void)state;
	struct disk_file *file = disk_find(&disk, "state");
	memset(file->data, 0, file->size);
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	assert_true(slots.sequence == 0);
	expect_payload(&slots, SPAN_EMPTY);
	expect_ok(slots_write(&slots, span_str("first")));
	expect_payload(&slots, span_str("first"));
	file->size = 2 * SIZE - 1;
	expect(slots_open_io(&disk.io, fd, SIZE, &slots), JOURNAL_DAMAGED);
}

/* Every bit of both slots: a flip in one is survived by the other, and never taken for content. */
static void any_flipped_bit_is_seen(void **state)
{
	struct slots slots;
	(void)state;
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	expect_ok(slots_write(&slots, span_str("older")));
	expect_ok(slots_write(&slots, span_str("newer")));
	struct disk_file *file = disk_find(&disk, "state");
	for (size_t slot = 0; slot < 2; slot++) {
		bool holds_newer = slot == (slots.sequence & 1);
		for (size_t bit = 0; bit < (SLOT_HEADER_SIZE + 5) * 8; bit++) {
			struct slots again;
			file->data[slot * SIZE + bit / 8] ^= (uint8_t)(1 << bit % 8);
			expect_ok(slots_open_io(&disk.io, fd, SIZE, &again));
			expect_payload(&again, span_str(holds_newer ? "older" : "newer"));
			file->data[slot * SIZE + bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	file->data[20] ^= 1;
	file->data[SIZE + 20] ^= 1;
	expect(slots_open_io(&disk.io, fd, SIZE, &slots), JOURNAL_DAMAGED);
}

static void damage_after_opening_is_seen(void **state)
{
	struct slots slots;
	(void)state;
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	expect_ok(slots_write(&slots, span_str("newer")));
	disk_find(&disk, "state")->data[(slots.sequence & 1) * SIZE + SLOT_HEADER_SIZE] ^= 1;
	expect(slots_read(&slots, &payload), JOURNAL_DAMAGED);
	assert_null(payload.data);
}

static void a_copied_slot_does_not_count(void **state)
{
	struct slots slots, again;
	(void)state;
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	expect_ok(slots_write(&slots, span_str("older")));
	expect_ok(slots_write(&slots, span_str("newer")));
	struct disk_file *file = disk_find(&disk, "state");
	size_t newer = (slots.sequence & 1) * SIZE;
	memcpy(file->data + newer, file->data + (SIZE - newer), SIZE);
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &again));
	expect_payload(&again, span_str("older"));
	assert_true(again.sequence == slots.sequence - 1);
}

/* The state a crash leaves at any point holds the last acknowledged payload or the one being written. */
static void no_crash_loses_what_was_acknowledged(void **state)
{
	enum { WRITES = 6 };
	size_t done[WRITES + 1], started = disk.op_count;
	struct slots slots;
	(void)state;
	expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
	disk.write_max = 100;
	for (uint8_t i = 0; i < WRITES; i++) {
		done[i] = disk.op_count;
		expect_ok(slots_write(&slots, span_of(&i, 1)));
	}
	done[WRITES] = disk.op_count;
	for (size_t t = started; t <= disk.op_count; t++) {
		size_t acknowledged = 0;
		while (acknowledged < WRITES && done[acknowledged + 1] <= t)
			acknowledged++;
		for (uint64_t seed = 0; seed < 12; seed++) {
			struct disk after;
			struct slots found;
			CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
			disk_crash(&disk, t, seed, &after);
			if (disk_find(&after, "state")) {
				int again = after.io.open_at(&after, -1, "state", O_RDWR, 0);
				expect_ok(slots_open_io(&after.io, again, SIZE, &found));
				expect_ok(slots_read(&found, &payload));
				/* Payload i is the (i+1)-th write; none is the formatted state. */
				size_t count = payload.len ? (size_t)payload.data[0] + 1 : 0;
				assert_true(count == acknowledged || count == acknowledged + 1);
			} else {
				/* Nobody made the name durable: that is the caller's part. */
				assert_true(seed != 1);
			}
			disk_free(&after);
		}
	}
}

static void errors_poison_or_leave_the_old(void **state)
{
	static const int errors[] = {EIO, ENOSPC};
	(void)state;
	for (size_t e = 0; e < COUNT_OF(errors); e++) {
		for (unsigned countdown = 1; countdown <= 3; countdown++) {
			struct slots slots, again;
			CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
			expect_ok(slots_open_io(&disk.io, fd, SIZE, &slots));
			expect_ok(slots_write(&slots, span_str("old")));
			disk.error = errors[e];
			disk.countdown = countdown;
			disk.failures = 0;
			result written = slots_write(&slots, span_str("new"));
			disk.error = 0;
			bool full_write = errors[e] == ENOSPC && countdown == 1;
			if (disk.failures == 0) {
				expect_ok(written);
				assert_int_equal(countdown, 3); /* a write and a sync */
			} else if (full_write) {
				expect(written, DISK_FULL);
				expect_payload(&slots, span_str("old"));
				expect_ok(slots_write(&slots, span_str("new")));
			} else {
				assert_int_not_equal(written, OK);
				expect(slots_write(&slots, span_str("x")), JOURNAL_POISONED);
				expect(slots_read(&slots, &payload), JOURNAL_POISONED);
				expect_ok(slots_open_io(&disk.io, fd, SIZE, &again));
			}
		}
	}
}

static void it_works_over_a_real_descriptor(void **state)
{
	struct slots slots;
	(void)state;
	CLEANUP(fd_close) struct fd memory = fd_of(memfd_create("slots", MFD_CLOEXEC));
	assert_true(memory.n >= 0);
	expect(slots_open(memory.n, SIZE, &slots), JOURNAL_DAMAGED);
	expect_ok(slots_format(memory.n, SIZE));
	expect_ok(slots_open(memory.n, SIZE, &slots));
	expect_ok(slots_write(&slots, span_str("state")));
	expect_payload(&slots, span_str("state"));
	fault_arm("slots.sync", 1, EIO, false);
	expect(slots_write(&slots, span_str("lost")), IO_ERROR);
	fault_disarm();
	expect(slots_write(&slots, span_str("lost")), JOURNAL_POISONED);
}

int group_slots(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_newest_counts, start, stop),
		cmocka_unit_test_setup_teardown(sizes_are_checked, start, stop),
		cmocka_unit_test_setup_teardown(a_file_of_zeros_is_empty, start, stop),
		cmocka_unit_test_setup_teardown(any_flipped_bit_is_seen, start, stop),
		cmocka_unit_test_setup_teardown(damage_after_opening_is_seen, start, stop),
		cmocka_unit_test_setup_teardown(a_copied_slot_does_not_count, start, stop),
		cmocka_unit_test_setup_teardown(no_crash_loses_what_was_acknowledged, start, stop),
		cmocka_unit_test_setup_teardown(errors_poison_or_leave_the_old, start, stop),
		cmocka_unit_test(it_works_over_a_real_descriptor),
	};
	return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
