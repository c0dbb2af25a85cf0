#include "base/fault.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "disk.h"
#include "expect.h"
#include "groups.h"
#include "store/crc32c.h"
#include "store/frame.h"
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[PATH_SIZE];

static int start(void **state)
{
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof(folder), "%s/test-store-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) == NULL;
}

static int stop(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, folder) != OK;
}

/* Entry n is known by its number alone. */
static struct span payload_of(uint64_t n, uint8_t buffer[static 300])
{
	size_t len = (size_t)(n * 37 % 300);
	for (size_t i = 0; i < len; i++)
		buffer[i] = (uint8_t)(n * 11 + i);
	return span_of(buffer, len);
}

static void append(struct journal *j, uint64_t n)
{
	uint8_t buffer[300];
	uint64_t sequence;
	expect_ok(journal_append(j, (uint16_t)(n % 65536), payload_of(n, buffer), &sequence));
	assert_true(sequence == n);
}

struct count {
	uint64_t next;
};

static result check_entry(void *arg, const struct journal_entry *entry)
{
	struct count *count = arg;
	uint8_t buffer[300];
	if (entry->sequence != count->next || entry->type != entry->sequence % 65536 ||
		!span_equal(entry->payload, payload_of(entry->sequence, buffer)))
		return fail(BAD_VALUE, "entry %llu", (unsigned long long)entry->sequence);
	count->next++;
	return OK;
}

static void expect_entries(struct journal *j, uint64_t from, uint64_t last)
{
	struct count count = {.next = from};
	expect_ok(journal_read(j, from, check_entry, &count));
	assert_true(count.next == last + 1);
	assert_true(journal_head(j).sequence == last);
}

static void entries_come_back(void **state)
{
	(void)state;
	struct journal_recovery recovery;
	CLEANUP(journal_cleanup) struct journal *j = NULL;
	expect_ok(journal_open(folder, "first", NULL, &j, &recovery));
	assert_true(recovery.created && recovery.kept == 0 && recovery.cut_bytes == 0);
	expect_entries(j, 1, 0);
	expect_ok(journal_commit(j));
	for (uint64_t n = 1; n <= 1000; n++) {
		append(j, n);
		if (n % 100 == 0)
			expect_ok(journal_commit(j));
	}
	expect_entries(j, 1, 1000);
	expect_entries(j, 257, 1000);
	expect_entries(j, 999, 1000);
	expect_entries(j, 1001, 1000);
	struct journal_head head = journal_head(j);
	append(j, 1001); /* is not committed */
	expect_entries(j, 1000, 1000);
	journal_close(j);
	j = NULL;
	expect_ok(journal_open(folder, "first", NULL, &j, &recovery));
	assert_true(!recovery.created && recovery.kept == 0 && recovery.cut_bytes == 0);
	expect_entries(j, 1, 1000);
	assert_memory_equal(journal_head(j).hash, head.hash, sizeof(head.hash));
	append(j, 1001);
	expect_ok(journal_commit(j));
	expect_entries(j, 1, 1001);
	assert_memory_not_equal(journal_head(j).hash, head.hash, sizeof(head.hash));
}

static void a_journal_has_one_owner(void **state)
{
	(void)state;
	CLEANUP(journal_cleanup) struct journal *j = NULL;
	struct journal *other = NULL;
	const struct journal_options must_exist = {.must_exist = true};
	expect(journal_open(folder, "owned", &must_exist, &other, NULL), NOT_FOUND);
	expect_ok(journal_open(folder, "owned", NULL, &j, NULL));
	expect(journal_open(folder, "owned", NULL, &other, NULL), BUSY);
	assert_null(other);
	journal_close(j);
	j = NULL;
	expect_ok(journal_open(folder, "owned", &must_exist, &j, NULL));
}

static void names_and_sizes_are_checked(void **state)
{
	(void)state;
	struct journal *j = NULL;
	char name[JOURNAL_NAME_MAX + 2];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	expect(journal_open(folder, "a/b", NULL, &j, NULL), BAD_VALUE);
	expect(journal_open(folder, "..", NULL, &j, NULL), BAD_VALUE);
	expect(journal_open(folder, name, NULL, &j, NULL), BAD_VALUE);
	expect(journal_open("/nowhere/at/all", "x", NULL, &j, NULL), NOT_FOUND);
	assert_null(j);
	name[JOURNAL_NAME_MAX] = '\0';
	expect_ok(journal_open(folder, name, NULL, &j, NULL));
	uint8_t *large = calloc(1, JOURNAL_PAYLOAD_MAX + 1);
	uint64_t sequence = 0;
	expect(journal_append(j, 1, span_of(large, JOURNAL_PAYLOAD_MAX + 1), &sequence), TOO_LARGE);
	expect_ok(journal_append(j, 1, span_of(large, JOURNAL_PAYLOAD_MAX), &sequence));
	assert_true(sequence == 1);
	expect_ok(journal_commit(j));
	journal_close(j);
	free(large);
	expect_ok(journal_open(folder, name, NULL, &j, NULL));
	assert_true(journal_head(j).sequence == 1);
	journal_close(j);
	journal_close(NULL);
	journal_cursor_close(NULL);
}

static void segments_follow_each_other(void **state)
{
	(void)state;
	const struct journal_options small = {.segment_max = 500, .preallocate = 512};
	CLEANUP(journal_cleanup) struct journal *j = NULL;
	CLEANUP(journal_cursor_cleanup) struct journal_cursor *cursor = NULL;
	expect_ok(journal_open(folder, "many", &small, &j, NULL));
	expect_ok(journal_cursor_open(j, 1, &cursor));
	for (uint64_t n = 1; n <= 600; n += 5) {
		struct journal_entry entry;
		bool more = true;
		struct count count = {.next = n};
		for (uint64_t i = 0; i < 5; i++)
			append(j, n + i);
		expect_ok(journal_cursor_next(cursor, &entry, &more));
		assert_false(more); /* not committed yet */
		expect_ok(journal_commit(j));
		for (int i = 0; i < 5; i++) {
			expect_ok(journal_cursor_next(cursor, &entry, &more));
			assert_true(more);
			expect_ok(check_entry(&count, &entry));
		}
	}
	expect_entries(j, 1, 600);
	for (uint64_t from = 1; from <= 600; from += 7)
		expect_entries(j, from, 600);
	journal_cursor_close(cursor);
	cursor = NULL;
	journal_close(j);
	j = NULL;
	char path[PATH_SIZE];
	struct stat info;
	expect_ok(path_join(path, folder, "many-00000050.log"));
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	expect_ok(journal_open(folder, "many", &small, &j, NULL));
	expect_entries(j, 1, 600);
	expect_entries(j, 300, 600);
}

static void discarded_entries_are_gone(void **state)
{
	(void)state;
	CLEANUP(journal_cleanup) struct journal *j = NULL;
	struct journal_recovery recovery;
	uint8_t *large = calloc(1, 1 << 20);
	expect_ok(journal_open(folder, "drop", NULL, &j, NULL));
	append(j, 1);
	expect_ok(journal_commit(j));
	for (int i = 0; i < 4; i++) /* so much that a part reaches the file */
		expect_ok(journal_append(j, 9, span_of(large, 1 << 20), NULL));
	expect_ok(journal_discard(j));
	expect_ok(journal_discard(j));
	append(j, 2);
	expect_ok(journal_commit(j));
	for (int i = 0; i < 4; i++)
		expect_ok(journal_append(j, 9, span_of(large, 1 << 20), NULL));
	journal_close(j); /* without a commit */
	j = NULL;
	expect_ok(journal_open(folder, "drop", NULL, &j, &recovery));
	assert_true(recovery.kept == 0 && recovery.cut_bytes == 0);
	expect_entries(j, 1, 2);
	free(large);
}

static void a_lazy_head_catches_up(void **state)
{
	(void)state;
	const struct journal_options lazy = {.lazy_head = true};
	struct journal_recovery recovery;
	CLEANUP(journal_cleanup) struct journal *j = NULL;
	int status;
	/* A process that is killed between two commits loses none of them. */
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		uint8_t buffer[300];
		if (journal_open(folder, "lazy", &lazy, &j, NULL) != OK)
			_exit(1);
		for (uint64_t n = 1; n <= 100; n++)
			if (journal_append(j, (uint16_t)n, payload_of(n, buffer), NULL) != OK || journal_commit(j) != OK)
				_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	expect_ok(journal_open(folder, "lazy", &lazy, &j, &recovery));
	assert_true(recovery.kept == 36); /* the head is written with every 64th commit */
	expect_entries(j, 1, 100);
	append(j, 101);
	expect_ok(journal_commit(j));
	journal_close(j);
	j = NULL;
	expect_ok(journal_open(folder, "lazy", &lazy, &j, &recovery));
	assert_true(recovery.kept == 0);
	expect_entries(j, 1, 101);
}

/* A journal on a disk in memory, where every byte can be changed. */
static struct disk disk;
static struct journal_options on_disk;

static int start_disk(void **state)
{
	struct journal *j = NULL;
	(void)state;
	disk_init(&disk);
	on_disk = (struct journal_options){.segment_max = 250, .preallocate = 256, .io = &disk.io};
	if (journal_open("", "d", &on_disk, &j, NULL) != OK)
		return 1;
	for (uint64_t n = 1; n <= 6; n++) {
		append(j, n);
		if (n % 2 == 0 && journal_commit(j) != OK)
			return 1;
	}
	journal_close(j);
	return 0;
}

static int stop_disk(void **state)
{
	(void)state;
	disk_free(&disk);
	return 0;
}

/* Where the frames of the last segment end. */
static size_t used_of(const struct disk_file *file)
{
	size_t used = file->size;
	while (used && file->data[used - 1] == 0)
		used--;
	return used;
}

static void damage_before_the_head_is_refused(void **state)
{
	(void)state;
	size_t segments = 0;
	for (char name[] = "d-00000001.log"; disk_find(&disk, name); name[9]++) {
		struct disk_file *file = disk_find(&disk, name);
		segments++;
		for (size_t i = 0; i < used_of(file); i++) {
			for (int bit = 0; bit < 8; bit += 3) {
				struct journal *j = NULL;
				file->data[i] ^= (uint8_t)(1 << bit);
				/* Also of the version digit: the checksum is looked at first. */
				expect(journal_open("", "d", &on_disk, &j, NULL), JOURNAL_DAMAGED);
				assert_null(j);
				file->data[i] ^= (uint8_t)(1 << bit);
			}
		}
	}
	assert_int_equal(segments, 3);
	struct journal *j = NULL;
	expect_ok(journal_open("", "d", &on_disk, &j, NULL));
	expect_entries(j, 1, 6);
	journal_close(j);
}

static void a_refusal_changes_nothing_and_says_where(void **state)
{
	(void)state;
	struct journal *j = NULL;
	size_t ops = disk.op_count;
	struct disk_file *file = disk_find(&disk, "d-00000002.log");
	file->data[JOURNAL_SEGMENT_HEADER_SIZE + 60] ^= 1;
	expect(journal_open("", "d", &on_disk, &j, NULL), JOURNAL_DAMAGED);
	assert_non_null(strstr(failure_text(), "d-00000002.log, offset 72: "));
	assert_non_null(strstr(failure_text(), "entries 1 to "));
	assert_int_equal(disk.op_count, ops);
}

static void missing_files_are_damage(void **state)
{
	static const char *const names[] = {"d-00000001.log", "d-00000002.log", "d-00000003.log", "d.head"};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct disk copy;
		struct journal *j = NULL;
		disk_crash(&disk, disk.op_count, 1, &copy);
		const struct journal_options options = {.io = &copy.io};
		disk_remove(&copy, names[i]);
		expect(journal_open("", "d", &options, &j, NULL), JOURNAL_DAMAGED);
		disk_free(&copy);
	}
}

static void a_cut_file_is_damage(void **state)
{
	(void)state;
	struct disk_file *file = disk_find(&disk, "d-00000003.log");
	struct journal *j = NULL;
	size_t used = frame_size(used_of(file) - JOURNAL_FRAME_HEADER_SIZE);
	for (size_t size = 0; size < used - 8; size++) {
		file->size = size;
		expect(journal_open("", "d", &on_disk, &j, NULL), JOURNAL_DAMAGED);
	}
}

static void one_damaged_head_slot_is_survived(void **state)
{
	(void)state;
	struct disk_file *head = disk_find(&disk, "d.head");
	for (size_t slot = 0; slot < 2; slot++) {
		struct disk copy;
		struct journal *j = NULL;
		disk_crash(&disk, disk.op_count, 1, &copy);
		const struct journal_options options = {.io = &copy.io};
		disk_find(&copy, "d.head")->data[slot * 4096 + 30] ^= 1;
		expect_ok(journal_open("", "d", &options, &j, NULL));
		expect_entries(j, 1, 6);
		journal_close(j);
		expect_ok(journal_open("", "d", &options, &j, NULL));
		journal_close(j);
		disk_free(&copy);
	}
	head->data[30] ^= 1;
	head->data[4096 + 30] ^= 1;
	struct journal *j = NULL;
	expect(journal_open("", "d", &on_disk, &j, NULL), JOURNAL_DAMAGED);
}

static void bytes_past_the_head_are_cut(void **state)
{
	(void)state;
	struct journal_recovery recovery;
	struct journal *j = NULL;
	struct disk_file *file = disk_find(&disk, "d-00000003.log");
	size_t used = frame_size(used_of(file) - JOURNAL_FRAME_HEADER_SIZE);
	assert_true(used < file->size);
	file->data[file->size - 1] = 7;
	expect_ok(journal_open("", "d", &on_disk, &j, &recovery));
	assert_true(recovery.cut_bytes > 0 && recovery.kept == 0);
	expect_entries(j, 1, 6);
	append(j, 7);
	expect_ok(journal_commit(j));
	journal_close(j);
	expect_ok(journal_open("", "d", &on_disk, &j, &recovery));
	assert_true(recovery.cut_bytes == 0);
	expect_entries(j, 1, 7);
	journal_close(j);
}

static void another_version_is_named(void **state)
{
	(void)state;
	struct journal *j = NULL;
	struct disk_file *file = disk_find(&disk, "d-00000001.log");
	file->data[3] = '2';
	uint32_t sum = crc32c(0, span_of(file->data, 64));
	for (int i = 0; i < 4; i++)
		file->data[64 + i] = (uint8_t)(sum >> (24 - 8 * i));
	expect(journal_open("", "d", &on_disk, &j, NULL), UNKNOWN_VERSION);
}

/* A forger who mends the checksum still breaks the chain at the next frame, or at the head. */
static void a_forged_frame_breaks_the_chain(void **state)
{
	(void)state;
	struct disk_file *file = disk_find(&disk, "d-00000003.log");
	size_t first = JOURNAL_SEGMENT_HEADER_SIZE, len, offsets[2] = {first, 0};
	expect_ok(frame_payload_len(span_of(file->data + first, JOURNAL_FRAME_HEADER_SIZE), &len));
	offsets[1] = first + frame_size(len);
	for (size_t i = 0; i < 2; i++) {
		struct journal *j = NULL;
		struct disk copy;
		struct frame frame;
		uint8_t forged[512], hash[JOURNAL_HASH_SIZE], payload[300];
		disk_crash(&disk, disk.op_count, 1, &copy);
		const struct journal_options options = {.io = &copy.io};
		uint8_t *at = disk_find(&copy, "d-00000003.log")->data + offsets[i];
		expect_ok(frame_payload_len(span_of(at, JOURNAL_FRAME_HEADER_SIZE), &len));
		expect_ok(frame_decode(span_of(at, frame_size(len)), &frame));
		memcpy(payload, frame.payload.data, len);
		payload[0] ^= 1;
		frame.payload = span_of(payload, len);
		frame_encode(&frame, forged, hash);
		memcpy(at, forged, frame_size(len));
		expect(journal_open("", "d", &options, &j, NULL), JOURNAL_DAMAGED);
		disk_free(&copy);
	}
}

/* What a crash left of a segment that was being begun. */
static void a_stray_segment_is_removed(void **state)
{
	(void)state;
	struct journal *j = NULL;
	int fd = disk.io.open_at(&disk, -1, "d-00000004.log", O_RDWR | O_CREAT, 0600);
	assert_int_equal(disk.io.pwrite(&disk, fd, "TJS1 torn", 9, 0), 9);
	assert_int_equal(disk.io.close(&disk, fd), 0);
	expect_ok(journal_open("", "d", &on_disk, &j, NULL));
	expect_entries(j, 1, 6);
	journal_close(j);
	assert_null(disk_find(&disk, "d-00000004.log"));
}

/* An older folder put in the place of a part of it does not fit the chain. */
static void segments_of_another_journal_do_not_fit(void **state)
{
	(void)state;
	struct journal *j = NULL;
	struct disk other;
	disk_init(&other);
	const struct journal_options options = {.segment_max = 250, .preallocate = 256, .io = &other.io};
	expect_ok(journal_open("", "d", &options, &j, NULL));
	for (uint64_t n = 1; n <= 6; n++) {
		append(j, n);
		if (n % 2 == 0)
			expect_ok(journal_commit(j));
	}
	journal_close(j);
	struct disk_file *ours = disk_find(&disk, "d-00000002.log"), *theirs = disk_find(&other, "d-00000002.log");
	struct disk_file kept = *ours;
	*ours = *theirs;
	expect(journal_open("", "d", &on_disk, &j, NULL), JOURNAL_DAMAGED);
	*ours = kept;
	disk_free(&other);
}

static void damage_after_opening_is_seen_by_a_reader(void **state)
{
	(void)state;
	struct journal *j = NULL;
	struct count count = {.next = 1};
	expect_ok(journal_open("", "d", &on_disk, &j, NULL));
	disk_find(&disk, "d-00000002.log")->data[JOURNAL_SEGMENT_HEADER_SIZE + 57] ^= 1;
	expect(journal_read(j, 1, check_entry, &count), JOURNAL_DAMAGED);
	assert_true(count.next > 1);
	journal_close(j);
}

static void a_failed_head_poisons(void **state)
{
	(void)state;
	struct journal *j = NULL;
	expect_ok(journal_open("", "d", &on_disk, &j, NULL));
	append(j, 7);
	fault_arm("journal.head", 1, EIO, false);
	result committed = journal_commit(j);
	assert_int_equal(fault_disarm(), 1);
	expect(committed, IO_ERROR);
	expect(journal_commit(j), JOURNAL_POISONED);
	assert_true(journal_head(j).sequence == 6);
	journal_close(j);
	expect_ok(journal_open("", "d", &on_disk, &j, NULL));
	expect_entries(j, 1, 7); /* it was durable, though not acknowledged */
	journal_close(j);
}

static void a_failing_reader_stops(void **state)
{
	(void)state;
	struct journal *j = NULL;
	struct count count = {.next = 5};
	expect_ok(journal_open("", "d", &on_disk, &j, NULL));
	expect(journal_read(j, 4, check_entry, &count), BAD_VALUE);
	journal_close(j);
}

/* Each fault point in turn, through the real file system. */
static void every_fault_point_is_reported(void **state)
{
	static const char *const points[] = {"journal.open", "journal.write", "journal.sync", "journal.head", "journal.rename",
		"slots.write", "slots.sync", "slots.format"};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(points); i++) {
		struct journal *j = NULL;
		char name[16];
		snprintf(name, sizeof(name), "fault%zu", i);
		fault_arm(points[i], 1, EIO, false);
		result opened = journal_open(folder, name, NULL, &j, NULL);
		assert_int_equal(fault_disarm(), 1);
		expect(opened, IO_ERROR);
		expect_ok(journal_open(folder, name, NULL, &j, NULL));
		append(j, 1);
		journal_close(j);
	}
}

/* The chain, recomputed from the bytes as PROTOCOL.journal tells it. */
static void the_bytes_are_as_documented(void **state)
{
	static const uint8_t id[JOURNAL_ID_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	uint8_t genesis[32], hash[32], wanted[32], bytes[64];
	(void)state;
	static const uint8_t domain[] = "\0\0\0\x0dtroth journal\0\0\0\x10\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20";
	journal_genesis(id, genesis);
	sha256(span_of(domain, sizeof(domain) - 1), wanted);
	assert_memory_equal(genesis, wanted, 32);
	struct frame frame = {.sequence = 1, .type = 0x0203, .previous = genesis, .payload = span_str("hello")};
	assert_int_equal(frame_size(5), 64);
	frame_encode(&frame, bytes, hash);
	assert_memory_equal(bytes, "TJF1\0\0\0\5\0\0\0\0\0\0\0\1\2\3\0\0", 20);
	assert_memory_equal(bytes + 20, genesis, 32);
	assert_memory_equal(bytes + 56, "hello\0\0\0", 8);
	uint32_t sum = crc32c(crc32c(0, span_of(bytes, 52)), span_str("hello"));
	assert_int_equal((uint32_t)bytes[52] << 24 | (uint32_t)bytes[53] << 16 | (uint32_t)bytes[54] << 8 | bytes[55], sum);
	sha256(span_of(bytes, 61), wanted);
	assert_memory_equal(hash, wanted, 32);
	/* The example of the page, computed there by other code. */
	static const uint8_t example[] = {0x54, 0x4a, 0x46, 0x31, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
		0x02, 0x03, 0x00, 0x00, 0xbf, 0x4b, 0x3a, 0x7f, 0xb2, 0x83, 0x4d, 0xd0, 0xaf, 0x46, 0x84, 0xc3, 0x4c, 0x5a, 0x40, 0x91,
		0x2a, 0x75, 0x7b, 0x40, 0x49, 0x3d, 0x29, 0xdb, 0xcf, 0xd4, 0x16, 0xcb, 0xe2, 0x16, 0xc7, 0x8a, 0x0c, 0x24, 0xb0, 0xb0,
		0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x00, 0x00, 0x00};
	static const uint8_t example_hash[] = {0x60, 0xc4, 0xd7, 0x5d, 0xd7, 0x5e, 0x3f, 0x04, 0x50, 0xcc, 0xb7, 0x87, 0xd9, 0xf1, 0xbf,
		0x3e, 0x25, 0xbe, 0xf8, 0x6c, 0x39, 0xb4, 0xc6, 0x0d, 0x7c, 0x96, 0x51, 0x0b, 0xc9, 0xac, 0xf2, 0x76};
	assert_memory_equal(bytes, example, 64);
	assert_memory_equal(hash, example_hash, 32);
	struct frame back;
	expect_ok(frame_decode(SPAN_ARRAY(bytes), &back));
	assert_true(back.sequence == 1 && back.type == 0x0203);
	expect_span(back.payload, span_str("hello"));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect(frame_decode(SPAN_ARRAY(bytes), &back), JOURNAL_DAMAGED);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < sizeof(bytes); len++)
		expect(frame_decode(span_of(bytes, len), &back), JOURNAL_DAMAGED);
}

int group_journal(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_come_back),
		cmocka_unit_test(a_journal_has_one_owner),
		cmocka_unit_test(names_and_sizes_are_checked),
		cmocka_unit_test(segments_follow_each_other),
		cmocka_unit_test(discarded_entries_are_gone),
		cmocka_unit_test(a_lazy_head_catches_up),
		cmocka_unit_test_setup_teardown(damage_before_the_head_is_refused, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(a_refusal_changes_nothing_and_says_where, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(missing_files_are_damage, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(a_cut_file_is_damage, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(one_damaged_head_slot_is_survived, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(bytes_past_the_head_are_cut, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(another_version_is_named, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(segments_of_another_journal_do_not_fit, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(a_forged_frame_breaks_the_chain, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(a_stray_segment_is_removed, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(damage_after_opening_is_seen_by_a_reader, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(a_failed_head_poisons, start_disk, stop_disk),
		cmocka_unit_test_setup_teardown(a_failing_reader_stops, start_disk, stop_disk),
		cmocka_unit_test(every_fault_point_is_reported),
		cmocka_unit_test(the_bytes_are_as_documented),
	};
	return cmocka_run_group_tests_name("journal", tests, start, stop);
}
