/* "Acknowledged, so present; the head never regresses": under every crash and every failing call of a workload. */
#include "disk.h"
#include "expect.h"
#include "groups.h"
#include "store/journal.h"

#include <errno.h>
#include <stdlib.h>

enum { ENTRIES_MAX = 64, NOTES_MAX = 200 };

/* What the workload did, and when in terms of the disk's operations. */
enum note_kind { NOTE_APPEND, NOTE_ACKNOWLEDGED, NOTE_DISCARDING, NOTE_DISCARDED };

struct note {
	enum note_kind kind;
	size_t op_count;
	uint32_t value; /* the content of an appended entry */
};

struct history {
	struct note notes[NOTES_MAX];
	size_t count;
	uint32_t next_value;
	struct disk *disk;
};

static void note(struct history *history, enum note_kind kind, uint32_t value)
{
	assert_true(history->count < NOTES_MAX);
	history->notes[history->count++] = (struct note){kind, history->disk->op_count, value};
}

/* Entries have all sizes around the alignment, and are known by their first bytes. */
static struct span content_of(uint32_t value, uint8_t buffer[static 100])
{
	size_t len = 4 + value * 13 % 90;
	for (size_t i = 0; i < len; i++)
		buffer[i] = (uint8_t)(value >> (i % 4 * 8));
	return span_of(buffer, len);
}

static result append(struct history *history, struct journal *j)
{
	uint8_t buffer[100];
	uint32_t value = ++history->next_value;
	TRY(journal_append(j, 5, content_of(value, buffer), NULL));
	note(history, NOTE_APPEND, value);
	return OK;
}

static result commit(struct history *history, struct journal *j)
{
	TRY(journal_commit(j));
	note(history, NOTE_ACKNOWLEDGED, 0);
	return OK;
}

static result discard(struct history *history, struct journal *j)
{
	note(history, NOTE_DISCARDING, 0);
	TRY(journal_discard(j));
	note(history, NOTE_DISCARDED, 0);
	return OK;
}

/* Small batches, larger ones, discards and a few segments. */
static result work(struct history *history, struct journal *j)
{
	static const char script[] = "ac aac d aaad aaaac ac aad ac aaaaac ac";
	for (const char *at = script; *at; at++) {
		if (*at == 'a')
			TRY(append(history, j));
		else if (*at == 'c')
			TRY(commit(history, j));
		else if (*at == 'd')
			TRY(discard(history, j));
	}
	return OK;
}

static struct journal_options options_for(struct disk *disk, bool lazy)
{
	return (struct journal_options){.segment_max = 500, .preallocate = 128, .lazy_head = lazy, .zeros = lazy, .io = &disk->io};
}

/* What may be there after a crash at `op_count`: the acknowledged entries, then a prefix of the unsettled ones. */
struct expected {
	uint32_t values[ENTRIES_MAX];
	size_t acknowledged;
	size_t possible;
};

static struct expected expected_at(const struct history *history, size_t op_count)
{
	struct expected expected = {0};
	for (size_t i = 0; i < history->count && history->notes[i].op_count <= op_count; i++) {
		const struct note *at = &history->notes[i];
		if (at->kind == NOTE_APPEND)
			expected.values[expected.possible++] = at->value;
		else if (at->kind == NOTE_ACKNOWLEDGED)
			expected.acknowledged = expected.possible;
		else if (at->kind == NOTE_DISCARDED)
			expected.possible = expected.acknowledged;
	}
	return expected;
}

struct reading {
	const struct expected *expected;
	size_t count;
};

static result check_entry(void *arg, const struct journal_entry *entry)
{
	struct reading *reading = arg;
	uint8_t buffer[100];
	if (reading->count >= reading->expected->possible || entry->type != 5 || entry->sequence != reading->count + 1 ||
		!span_equal(entry->payload, content_of(reading->expected->values[reading->count], buffer)))
		return fail(BAD_VALUE, "entry %zu", reading->count);
	reading->count++;
	return OK;
}

/* Opens what a crash left, checks it, and goes on working with it. Returns how many entries there are. */
static size_t check_recovery(struct disk *disk, const struct expected *expected, bool lazy)
{
	struct journal_options options = options_for(disk, lazy);
	struct journal *j = NULL;
	struct reading reading = {.expected = expected};
	expect_ok(journal_open("", "j", &options, &j, NULL));
	expect_ok(journal_read(j, 1, check_entry, &reading));
	assert_true(reading.count >= expected->acknowledged);
	assert_true(journal_head(j).sequence == reading.count);
	journal_close(j);
	assert_int_equal(disk_open_count(disk), 0);
	return reading.count;
}

static void check_crash(const struct disk *disk, const struct history *history, size_t op_count, uint64_t seed, bool lazy)
{
	struct disk after, again;
	struct expected expected = expected_at(history, op_count);
	disk_crash(disk, op_count, seed, &after);
	size_t found = check_recovery(&after, &expected, lazy);
	/* What recovery showed once has been made durable: a crash right after it shows the same. */
	struct expected settled = expected;
	settled.acknowledged = settled.possible = found;
	disk_crash(&after, after.op_count, 0, &again);
	if (!lazy)
		(void)check_recovery(&again, &settled, lazy);
	disk_free(&again);
	/* And a crash within recovery loses nothing that was acknowledged before. */
	size_t within = after.op_count ? (size_t)(seed * 7 + op_count) % (after.op_count + 1) : 0;
	disk_crash(&after, within, seed + 17, &again);
	(void)check_recovery(&again, &expected, lazy);
	disk_free(&again);
	disk_free(&after);
}

static void crash_everywhere(bool lazy, uint64_t seeds)
{
	struct disk disk;
	struct history history = {.disk = &disk};
	struct journal *j = NULL;
	disk_init(&disk);
	struct journal_options options = options_for(&disk, lazy);
	expect_ok(journal_open("", "j", &options, &j, NULL));
	expect_ok(work(&history, j));
	journal_close(j);
	assert_true(disk.op_count > 40);
	for (size_t t = 0; t <= disk.op_count; t++)
		for (uint64_t seed = 0; seed < seeds; seed++)
			check_crash(&disk, &history, t, seed, lazy);
	disk_free(&disk);
}

static void no_crash_loses_an_acknowledged_entry(void **state)
{
	(void)state;
	crash_everywhere(false, 24);
}

static void nor_with_a_lazy_head(void **state)
{
	(void)state;
	crash_everywhere(true, 24);
}

/* Every changing call fails in turn; afterwards the disk works again and the journal is opened anew. */
static void fail_everywhere(int error, bool persistent)
{
	for (unsigned countdown = 1;; countdown++) {
		struct disk disk;
		struct history history = {.disk = &disk};
		struct journal *j = NULL;
		disk_init(&disk);
		struct journal_options options = options_for(&disk, false);
		disk.error = error;
		disk.countdown = countdown;
		disk.persistent = persistent;
		result done = journal_open("", "j", &options, &j, NULL);
		if (done == OK)
			done = work(&history, j);
		/* A failed allocation ahead of need is no failure. */
		if (done != OK && j && error == EIO)
			expect(journal_commit(j), JOURNAL_POISONED);
		disk.error = 0;
		journal_close(j);
		assert_int_equal(disk_open_count(&disk), 0);
		struct expected expected = expected_at(&history, SIZE_MAX);
		(void)check_recovery(&disk, &expected, false);
		struct disk after;
		disk_crash(&disk, disk.op_count, countdown + 2, &after);
		(void)check_recovery(&after, &expected, false);
		disk_free(&after);
		unsigned failures = disk.failures;
		disk_free(&disk);
		if (failures == 0) {
			expect_ok(done);
			assert_true(countdown > 50);
			return;
		}
	}
}

static void input_output_errors_poison(void **state)
{
	(void)state;
	fail_everywhere(EIO, false);
	fail_everywhere(EIO, true);
}

static void a_full_disk_loses_nothing(void **state)
{
	(void)state;
	fail_everywhere(ENOSPC, false);
	fail_everywhere(ENOSPC, true);
}

/* After DISK_FULL the same handle goes on when there is room again. */
static void a_commit_can_be_tried_again(void **state)
{
	(void)state;
	for (unsigned countdown = 1; countdown <= 4; countdown++) {
		struct disk disk;
		struct history history = {.disk = &disk};
		struct journal *j = NULL;
		disk_init(&disk);
		struct journal_options options = options_for(&disk, false);
		options.preallocate = 1 << 16; /* done by the first commit */
		expect_ok(journal_open("", "j", &options, &j, NULL));
		expect_ok(append(&history, j));
		expect_ok(commit(&history, j));
		for (int i = 0; i < 3; i++)
			expect_ok(append(&history, j));
		disk.error = ENOSPC;
		disk.countdown = countdown;
		result committed = commit(&history, j);
		disk.error = 0;
		/* A write, its sync, a head slot, its sync: a sync that fails is never tried again. */
		bool is_write = countdown == 1 || countdown == 3;
		expect(committed, DISK_FULL);
		if (is_write) {
			expect_ok(commit(&history, j));
			expect_ok(append(&history, j));
			expect_ok(commit(&history, j));
		} else {
			expect(journal_commit(j), JOURNAL_POISONED);
			expect(journal_append(j, 1, SPAN_EMPTY, NULL), JOURNAL_POISONED);
			expect(journal_discard(j), JOURNAL_POISONED);
		}
		journal_close(j);
		struct expected expected = expected_at(&history, SIZE_MAX);
		size_t found = check_recovery(&disk, &expected, false);
		assert_true(!is_write || found == 5);
		disk_free(&disk);
	}
}

static void short_and_interrupted_transfers_are_finished(void **state)
{
	(void)state;
	static const size_t limits[] = {1, 7, 100};
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		struct disk disk;
		struct history history = {.disk = &disk};
		struct journal *j = NULL;
		disk_init(&disk);
		disk.write_max = limits[i];
		disk.interrupts = 50;
		struct journal_options options = options_for(&disk, false);
		expect_ok(journal_open("", "j", &options, &j, NULL));
		expect_ok(work(&history, j));
		journal_close(j);
		struct expected expected = expected_at(&history, SIZE_MAX);
		disk.interrupts = 50;
		assert_true(check_recovery(&disk, &expected, false) == expected.acknowledged);
		disk_free(&disk);
	}
}

int group_crash(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_crash_loses_an_acknowledged_entry),
		cmocka_unit_test(nor_with_a_lazy_head),
		cmocka_unit_test(input_output_errors_poison),
		cmocka_unit_test(a_full_disk_loses_nothing),
		cmocka_unit_test(a_commit_can_be_tried_again),
		cmocka_unit_test(short_and_interrupted_transfers_are_finished),
	};
	return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
