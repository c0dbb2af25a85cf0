/* What upgrades are allowed: authors, versions of sets, programs; and the host's record of it. */
#include "../expect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "crypto/random.h"
#include "groups.h"
#include "root/pins.h"
#include "root/upgrade_store.h"

enum { NOW = 1000000 };

struct fixture {
	struct key author, other;
	struct arena arena;
	struct reference_row ap[3], host[1];
	struct reference_entry entries[2];
	struct reference_set set;
	struct upgrades upgrades;
	struct bytes object;
};

static void make(struct fixture *f)
{
	*f = (struct fixture){.arena = arena_of(4 << 20)};
	expect_ok(key_generate(&f->author));
	expect_ok(key_generate(&f->other));
	for (size_t i = 0; i < COUNT_OF(f->ap); i++) {
		f->ap[i] = (struct reference_row){.svn = (uint32_t)i + 1, .what = REFERENCE_PROGRAM};
		memset(f->ap[i].digest, (int)i + 1, SHA384_SIZE);
	}
	f->host[0] = (struct reference_row){.svn = 1, .what = REFERENCE_PROGRAM};
	memset(f->host[0].digest, 0x77, SHA384_SIZE);
	f->entries[0] = (struct reference_entry){"trothd", 1, f->host, 1};
	f->entries[1] = (struct reference_entry){"troth-ap", 1, f->ap, 2};
	f->set = (struct reference_set){.name = "hosts", .version = 3, .not_before = NOW - 10, .not_after = NOW + 10, .entries = f->entries,
		.entry_count = 2};
}

static void drop(struct fixture *f)
{
	key_free(&f->author);
	key_free(&f->other);
	arena_free(&f->arena);
	bytes_free(&f->object);
}

static result take(struct fixture *f, const struct key *author, bool enrol)
{
	struct reference_set taken;
	bytes_free(&f->object);
	expect_ok(reference_set_sign(&f->set, author, &f->object, NULL));
	return upgrades_take(&f->upgrades, bytes_span(&f->object), enrol, NOW, &f->arena, &taken);
}

static result allows(const struct fixture *f, enum upgrade_program program, int digest)
{
	uint8_t bytes[SHA384_SIZE];
	memset(bytes, digest, sizeof(bytes));
	return upgrades_allow(&f->upgrades, program, bytes);
}

static void only_enrolled_authors_count(void **unused)
{
	struct fixture f;
	make(&f);
	expect(take(&f, &f.author, false), AUTHOR_UNKNOWN);
	expect(allows(&f, UPGRADE_AP, 1), REFERENCE_MISSING);
	assert_int_equal(f.upgrades.set_count, 0);
	expect_ok(take(&f, &f.author, true));
	assert_true(upgrades_knows(&f.upgrades, f.author.id));
	expect_ok(allows(&f, UPGRADE_AP, 1));
	expect_ok(allows(&f, UPGRADE_AP, 2));
	expect(allows(&f, UPGRADE_AP, 3), REFERENCE_MISSING);
	expect_ok(allows(&f, UPGRADE_HOST, 0x77));
	expect(allows(&f, UPGRADE_IRE, 0x77), REFERENCE_MISSING); /* one program's digest is not another's */
	expect(take(&f, &f.other, false), AUTHOR_UNKNOWN);
	drop(&f);
}

static void versions_of_a_set_only_rise(void **unused)
{
	struct fixture f;
	make(&f);
	expect_ok(take(&f, &f.author, true));
	expect_ok(take(&f, &f.author, false)); /* the same again */
	assert_int_equal(upgrades_floor(&f.upgrades, f.author.id, "hosts"), 3);
	f.set.version = 2;
	expect(take(&f, &f.author, false), REFERENCE_OLD);
	f.set.version = 3;
	f.entries[1].row_count = 3;
	expect(take(&f, &f.author, false), REFERENCE_OLD); /* another set of the same version */
	expect(allows(&f, UPGRADE_AP, 3), REFERENCE_MISSING);
	f.set.version = 4;
	expect_ok(take(&f, &f.author, false));
	expect_ok(allows(&f, UPGRADE_AP, 3));
	/* What the newer set no longer lists is no longer allowed. */
	f.set.version = 5;
	f.entries[0] = (struct reference_entry){"troth-ap", 1, &f.ap[2], 1};
	f.set.entry_count = 1;
	expect_ok(take(&f, &f.author, false));
	expect(allows(&f, UPGRADE_AP, 1), REFERENCE_MISSING);
	expect(allows(&f, UPGRADE_HOST, 0x77), REFERENCE_MISSING);
	assert_int_equal(upgrades_floor(&f.upgrades, f.other.id, "hosts"), 0);
	assert_int_equal(upgrades_floor(&f.upgrades, f.author.id, "others"), 0);
	drop(&f);
}

static void a_minimum_never_falls(void **unused)
{
	struct fixture f;
	make(&f);
	for (size_t i = 0; i < f.set.entry_count; i++)
		if (strcmp(f.entries[i].name, "troth-ap") == 0)
			f.entries[i].min_svn = 2;
	expect_ok(take(&f, &f.author, true));
	expect(allows(&f, UPGRADE_AP, 1), SVN_TOO_LOW);
	expect_ok(allows(&f, UPGRADE_AP, 2));
	/* Neither by a newer set of the same name nor by one of another name or author. */
	for (size_t i = 0; i < f.set.entry_count; i++)
		f.entries[i].min_svn = 1;
	f.set.version = 4;
	expect_ok(take(&f, &f.author, false));
	expect(allows(&f, UPGRADE_AP, 1), SVN_TOO_LOW);
	f.set.name = "others";
	expect_ok(take(&f, &f.other, true));
	expect(allows(&f, UPGRADE_AP, 1), SVN_TOO_LOW);
	drop(&f);
}

static void sets_out_of_their_time_are_not_taken(void **unused)
{
	struct fixture f;
	make(&f);
	f.set.not_after = NOW - 1;
	expect(take(&f, &f.author, true), REFERENCE_EXPIRED);
	f.set.not_after = NOW + 10;
	f.set.not_before = NOW + 1;
	expect(take(&f, &f.author, true), REFERENCE_EXPIRED);
	assert_int_equal(f.upgrades.author_count, 0);
	drop(&f);
}

static void tables_have_ends(void **unused)
{
	struct fixture f;
	char name[16];
	make(&f);
	for (int i = 0; i < UPGRADE_MAX_SETS; i++) {
		snprintf(name, sizeof(name), "set%d", i);
		f.set.name = name;
		expect_ok(take(&f, &f.author, true));
	}
	f.set.name = "one-more";
	expect(take(&f, &f.author, true), TOO_LARGE);
	for (int i = 1; i < UPGRADE_MAX_AUTHORS; i++) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		expect_ok(key_generate(&key));
		f.upgrades.set_count = 0;
		f.upgrades.row_count = 0;
		expect_ok(take(&f, &key, true));
	}
	f.upgrades.set_count = 0;
	expect(take(&f, &f.other, true), TOO_LARGE);
	drop(&f);
}

static void what_is_kept_comes_back(void **unused)
{
	struct fixture f;
	struct upgrades back;
	CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY, two = BYTES_EMPTY;
	make(&f);
	expect_ok(take(&f, &f.author, true));
	expect_ok(upgrades_encode(&f.upgrades, &one));
	expect_ok(upgrades_decode(bytes_span(&one), &back));
	expect_ok(upgrades_encode(&back, &two));
	expect_span(bytes_span(&one), bytes_span(&two));
	for (size_t len = 1; len < one.len; len += 3)
		assert_int_not_equal(upgrades_decode(span_of(one.data, len), &back), OK);
	f.upgrades.rows[0].set = 5; /* allowed by a set that is not there */
	bytes_free(&two);
	expect_ok(upgrades_encode(&f.upgrades, &two));
	expect(upgrades_decode(bytes_span(&two), &back), BAD_VALUE);
	expect_ok(upgrades_decode(SPAN_EMPTY, &back));
	assert_int_equal(back.author_count, 0);
	drop(&f);
}

static void alter(const char *folder, const char *name)
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	uint8_t byte;
	expect_ok(path_join(path, folder, name));
	expect_ok(file_open(path, O_RDWR, 0, &fd));
	expect_ok(file_pread(fd.n, &byte, 1, 40));
	byte ^= 1;
	expect_ok(file_pwrite(fd.n, span_of(&byte, 1), 40));
}

static void the_hosts_record_is_its_own(void **unused)
{
	char folder[] = "/tmp/troth-upgrades.XXXXXX";
	struct fixture f;
	struct upgrades back;
	struct pins pins = {.trust_domain = "troth.internal", .head = span_str("head")};
	struct span set;
	assert_non_null(mkdtemp(folder));
	make(&f);
	expect_ok(take(&f, &f.author, true));
	expect_ok(upgrade_store_load(folder, &back));
	assert_int_equal(back.author_count, 0);
	expect(upgrade_store_save(folder, &f.upgrades), NOT_FOUND); /* nothing is pinned, so there is no key */
	expect_ok(pins_store(folder, &pins));
	expect_ok(upgrade_store_save(folder, &f.upgrades));
	expect_ok(upgrade_store_load(folder, &back));
	assert_true(upgrades_knows(&back, f.author.id));
	struct reference reference = {.set = "hosts"};
	memcpy(reference.author, f.author.id, KEY_ID_SIZE);
	expect(upgrade_store_find(folder, &reference, &f.arena, &set), REFERENCE_MISSING);
	expect_ok(upgrade_store_keep(folder, f.author.id, "hosts", bytes_span(&f.object)));
	expect_ok(upgrade_store_find(folder, &reference, &f.arena, &set));
	expect_span(set, bytes_span(&f.object));
	alter(folder, "upgrades");
	expect(upgrade_store_load(folder, &back), PIN_DAMAGED);
	expect_ok(file_remove_tree(AT_FDCWD, folder));
	drop(&f);
}

/* What the folder holds afterwards: the old record or the new one, whole. */
static void expect_whole(const char *folder, const struct upgrades *former, const struct upgrades *wanted)
{
	struct upgrades found;
	CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY, two = BYTES_EMPTY, three = BYTES_EMPTY;
	expect_ok(upgrade_store_load(folder, &found));
	expect_ok(upgrades_encode(&found, &one));
	expect_ok(upgrades_encode(former, &two));
	expect_ok(upgrades_encode(wanted, &three));
	assert_true(span_equal(bytes_span(&one), bytes_span(&two)) || span_equal(bytes_span(&one), bytes_span(&three)));
}

static result save_all(const char *folder, struct fixture *f, const struct upgrades *upgrades)
{
	TRY(upgrade_store_save(folder, upgrades));
	return upgrade_store_keep(folder, f->author.id, "hosts", bytes_span(&f->object));
}

/* At which steps, counted from 1, a write of the record was broken: by an error, or by the end of the process. */
static unsigned break_at(const char *folder, struct fixture *f, const struct upgrades *wanted, unsigned step, int how)
{
	if (how == FAULT_KILL) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			fault_arm(NULL, step, FAULT_KILL, false);
			_exit(save_all(folder, f, wanted) == OK ? 0 : 1);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		return WIFSIGNALED(status);
	}
	fault_arm(NULL, step, how, false);
	result saved = save_all(folder, f, wanted);
	unsigned broken = fault_disarm();
	assert_int_equal(saved != OK, broken > 0);
	return broken;
}

static void a_broken_write_leaves_the_old_record_or_the_new(void **unused)
{
	static const int faults[] = {EIO, ENOSPC, FAULT_KILL};
	char folder[] = "/tmp/troth-upgrades.XXXXXX";
	struct fixture f;
	struct pins pins = {.trust_domain = "troth.internal", .head = span_str("head")};
	assert_non_null(mkdtemp(folder));
	make(&f);
	expect_ok(pins_store(folder, &pins));
	expect_ok(take(&f, &f.author, true));
	struct upgrades former = f.upgrades;
	f.set.version++;
	expect_ok(take(&f, &f.author, false));
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		unsigned step = 0;
		do {
			expect_ok(upgrade_store_save(folder, &former));
			step++;
			assert_true(step < 100);
			unsigned broken = break_at(folder, &f, &f.upgrades, step, faults[i]);
			expect_whole(folder, &former, &f.upgrades);
			expect_ok(save_all(folder, &f, &f.upgrades)); /* and it can be done again */
			expect_whole(folder, &f.upgrades, &f.upgrades);
			if (!broken)
				break;
		} while (true);
		assert_true(step > 3);
	}
	expect_ok(file_remove_tree(AT_FDCWD, folder));
	drop(&f);
}

int test_upgrades(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_enrolled_authors_count),
		cmocka_unit_test(versions_of_a_set_only_rise),
		cmocka_unit_test(a_minimum_never_falls),
		cmocka_unit_test(sets_out_of_their_time_are_not_taken),
		cmocka_unit_test(tables_have_ends),
		cmocka_unit_test(what_is_kept_comes_back),
		cmocka_unit_test(the_hosts_record_is_its_own),
		cmocka_unit_test(a_broken_write_leaves_the_old_record_or_the_new),
	};
	return cmocka_run_group_tests_name("upgrades", tests, NULL, NULL);
}
