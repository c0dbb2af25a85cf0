/* The pin store: what was pinned is what comes back, whatever was done to its files or to the disk under it (RO-16). */
#include "../expect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "groups.h"
#include "root/pins.h"

static char folder[PATH_SIZE];

static int make_folder(void **unused)
{
	snprintf(folder, sizeof(folder), "/tmp/troth-pins-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static const char *at(const char *name)
{
	static char path[PATH_SIZE];
	expect_ok(path_join(path, folder, name));
	return path;
}

static int drop_folder(void **unused)
{
	unlink(at("pins"));
	unlink(at("pins.key"));
	return rmdir(folder);
}

static struct pins some_pins(void)
{
	struct pins pins = {.head = span_str("the head record"), .era = 0, .epoch = 1};
	memset(pins.rot_id, 0x11, OID_SIZE);
	memset(pins.ap_digest, 0x22, SHA384_SIZE);
	memset(pins.history.digest, 0x33, SHA256_SIZE);
	pins.history.count = 7;
	pins.trust_domain = "troth.internal";
	return pins;
}

static void store(struct pins *pins)
{
	expect_ok(pins_store(folder, pins));
}

static result load(struct pins *out)
{
	static struct arena arena;
	arena_free(&arena);
	arena = arena_of(1 << 20);
	return pins_load(folder, &arena, out);
}

static void comes_back_as_it_was(void **unused)
{
	struct pins pins = some_pins(), back;
	struct stat st;
	expect(load(&back), NOT_FOUND);
	store(&pins);
	expect_ok(load(&back));
	expect_span(back.head, pins.head);
	assert_memory_equal(back.rot_id, pins.rot_id, OID_SIZE);
	assert_memory_equal(back.ap_digest, pins.ap_digest, SHA384_SIZE);
	assert_int_equal(back.seq, 1);
	assert_int_equal(back.v, 2);
	assert_int_equal(back.history.count, 7);
	assert_memory_equal(back.history.digest, pins.history.digest, SHA256_SIZE);
	assert_string_equal(back.trust_domain, "troth.internal");
	store(&back);
	expect_ok(load(&pins));
	assert_int_equal(pins.seq, 2);
	assert_int_equal(stat(at("pins.key"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(at("pins"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void every_altered_byte_is_noticed(void **unused)
{
	struct pins pins = some_pins(), back;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	store(&pins);
	expect_ok(file_read(at("pins"), 1 << 16, &file));
	for (size_t i = 0; i < file.len; i++) {
		file.data[i] ^= 1;
		expect_ok(file_write_atomic(at("pins"), bytes_span(&file), 0600));
		expect(load(&back), PIN_DAMAGED);
		file.data[i] ^= 1;
	}
	for (size_t len = 0; len < file.len; len += 5) {
		expect_ok(file_write_atomic(at("pins"), span_of(file.data, len), 0600));
		expect(load(&back), PIN_DAMAGED);
	}
	expect_ok(file_write_atomic(at("pins"), bytes_span(&file), 0600));
	expect_ok(load(&back));
}

static void the_key_must_be_there_and_the_same(void **unused)
{
	static const uint8_t other[32] = {1};
	struct pins pins = some_pins(), back;
	store(&pins);
	expect_ok(file_write_atomic(at("pins.key"), SPAN_ARRAY(other), 0600));
	expect(load(&back), PIN_DAMAGED);
	expect_ok(file_write_atomic(at("pins.key"), span_of(other, 31), 0600));
	expect(load(&back), PIN_DAMAGED);
	expect(pins_store(folder, &pins), PIN_DAMAGED);
	assert_int_equal(unlink(at("pins.key")), 0);
	expect(load(&back), PIN_DAMAGED);
	/* A link is not followed: the key is a file of this folder. */
	assert_int_equal(symlink("/dev/zero", at("pins.key")), 0);
	expect(load(&back), PIN_DAMAGED);
}

/* Every step that can fail, with each error: afterwards the old pins are there, or the new ones, never neither. */
static void survives_every_failing_step(void **unused)
{
	static const int errors[] = {EIO, ENOSPC};
	for (size_t e = 0; e < COUNT_OF(errors); e++) {
		struct pins first = some_pins(), back;
		unlink(at("pins"));
		unlink(at("pins.key"));
		store(&first);
		unsigned failed = 0, step = 1;
		for (;; step++) {
			struct pins next = first;
			next.epoch = 2;
			fault_arm(NULL, step, errors[e], false);
			result stored = pins_store(folder, &next);
			bool hit = fault_disarm() > 0;
			expect_ok(load(&back));
			assert_true(back.epoch == 1 || back.epoch == 2);
			if (stored == OK)
				assert_int_equal(back.epoch, 2);
			failed += stored != OK;
			if (!hit)
				break;
			struct pins restored = first;
			store(&restored);
		}
		assert_true(failed >= 3);
		assert_true(step < 40);
	}
}

/* As the version before wrote it: eight fields, the MAC under its own label. */
static void a_store_of_the_first_version_is_read(void **unused)
{
	struct pins pins = some_pins(), back;
	CLEANUP(bytes_free) struct bytes key = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	uint8_t mac[SHA256_SIZE];
	struct span body, file;
	store(&pins); /* makes the key */
	expect_ok(file_read(at("pins.key"), 64, &key));
	static const uint8_t head[] = {0x01, 0x01, 0x02, 0x58, 0x20};
	writer_u8(&w, 0xa7);
	writer_put(&w, head, sizeof(head));
	writer_put(&w, pins.rot_id, OID_SIZE);
	static const uint8_t record[] = {0x03, 0x43, 'a', 'b', 'c', 0x04, 0x00, 0x05, 0x01, 0x06, 0x03, 0x07, 0x58, 0x30};
	writer_put(&w, record, sizeof(record));
	writer_put(&w, pins.ap_digest, SHA384_SIZE);
	expect_ok(writer_finish(&w, &body));
	struct hmac hmac;
	expect_ok(hmac_start(&hmac, bytes_span(&key)));
	hmac_add(&hmac, span_str("troth pins1"));
	hmac_add(&hmac, body);
	hmac_finish(&hmac, mac);
	static const uint8_t tail[] = {0x08, 0x58, 0x20};
	writer_put(&w, tail, sizeof(tail));
	writer_put(&w, mac, sizeof(mac));
	expect_ok(writer_finish(&w, &file));
	w.data[0] = 0xa8;
	expect_ok(file_write_atomic(at("pins"), file, 0600));
	expect_ok(load(&back));
	assert_int_equal(back.v, 1);
	assert_int_equal(back.epoch, 1);
	assert_int_equal(back.seq, 3);
	expect_span(back.head, span_str("abc"));
	assert_string_equal(back.trust_domain, "");
	assert_int_equal(back.history.count, 0);
	/* A MAC of one version is none of the other. */
	w.data[w.len - 1] ^= 1;
	expect_ok(file_write_atomic(at("pins"), span_of(w.data, w.len), 0600));
	expect(load(&back), PIN_DAMAGED);
	/* What is stored next is of this version. */
	w.data[w.len - 1] ^= 1;
	expect_ok(file_write_atomic(at("pins"), span_of(w.data, w.len), 0600));
	expect_ok(load(&back));
	store(&back);
	expect_ok(load(&pins));
	assert_int_equal(pins.v, 2);
	assert_int_equal(pins.seq, 4);
}

int test_pins(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(comes_back_as_it_was, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(every_altered_byte_is_noticed, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(the_key_must_be_there_and_the_same, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(a_store_of_the_first_version_is_read, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(survives_every_failing_step, make_folder, drop_folder),
	};
	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
