/* Reference sets: what they allow, what they forbid, and the form in which people write them. */
#include "../expect.h"

#include <stdlib.h>

#include "groups.h"
#include "object/reference_text.h"

enum { NOW = 1000000 };

struct fixture {
	struct key author, other;
	struct arena arena;
	struct reference_row rows[3];
	struct reference_entry entries[2];
	struct reference_set set;
};

static void make(struct fixture *f)
{
	expect_ok(key_generate(&f->author));
	expect_ok(key_generate(&f->other));
	f->arena = arena_of(1 << 20);
	for (size_t i = 0; i < COUNT_OF(f->rows); i++) {
		f->rows[i] = (struct reference_row){.svn = (uint32_t)i + 1, .what = REFERENCE_MEASUREMENT};
		memset(f->rows[i].digest, (int)i + 1, SHA384_SIZE);
	}
	f->entries[0] = (struct reference_entry){"wages", 2, f->rows, 3};
	f->entries[1] = (struct reference_entry){"sums", 1, f->rows, 1};
	f->set = (struct reference_set){.name = "payroll", .version = 7, .not_before = NOW - 1000, .not_after = NOW + 1000,
		.entries = f->entries, .entry_count = 2};
}

static void drop(struct fixture *f)
{
	key_free(&f->author);
	key_free(&f->other);
	arena_free(&f->arena);
}

static result open_set(struct fixture *f, const struct bytes *object, struct reference_set *out, uint8_t author[KEY_ID_SIZE])
{
	return reference_set_open(bytes_span(object), &f->arena, out, author, NULL);
}

static void a_signed_set_opens_under_the_key_it_names(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE];
	make(&f);
	expect_ok(reference_set_sign(&f.set, &f.author, &object, NULL));
	expect_ok(open_set(&f, &object, &set, author));
	assert_memory_equal(author, f.author.id, KEY_ID_SIZE);
	assert_string_equal(set.name, "payroll");
	assert_int_equal(set.entry_count, 2);
	assert_non_null(reference_set_entry(&set, "sums"));
	assert_null(reference_set_entry(&set, "sum"));
	for (size_t at = 0; at < object.len; at += 7) { /* any changed byte is refused, with whatever reason */
		object.data[at] ^= 1;
		assert_int_not_equal(open_set(&f, &object, &set, author), OK);
		object.data[at] ^= 1;
	}
	object.len--;
	assert_int_not_equal(open_set(&f, &object, &set, author), OK);
	object.len++;
	expect_ok(open_set(&f, &object, &set, author));
	drop(&f);
}

static void a_set_signed_by_another_key_than_it_names_is_refused(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE];
	make(&f);
	f.set.v = 1;
	memcpy(f.set.author_pk, f.author.point, POINT_SIZE);
	expect_ok(schema_sort(&reference_entry_schema, f.entries, 2));
	expect_ok(object_sign(KIND_REFERENCE_SET, &f.set, &f.other, &object, NULL));
	expect(open_set(&f, &object, &set, author), BAD_SIGNATURE);
	drop(&f);
}

static void values_resolve_by_name_kind_and_svn(void **unused)
{
	struct fixture f;
	uint8_t digest[SHA384_SIZE];
	uint32_t svn = 0;
	make(&f);
	memset(digest, 3, sizeof(digest));
	expect_ok(reference_resolve(&f.set, "wages", REFERENCE_MEASUREMENT, digest, 0, &svn));
	assert_int_equal(svn, 3);
	expect_ok(reference_resolve(&f.set, "wages", REFERENCE_MEASUREMENT, digest, 3, NULL));
	expect(reference_resolve(&f.set, "wages", REFERENCE_MEASUREMENT, digest, 4, NULL), SVN_TOO_LOW);
	expect(reference_resolve(&f.set, "wages", REFERENCE_CORE, digest, 0, NULL), REFERENCE_MISSING);
	expect(reference_resolve(&f.set, "sums", REFERENCE_MEASUREMENT, digest, 0, NULL), REFERENCE_MISSING);
	expect(reference_resolve(&f.set, "nobody", REFERENCE_MEASUREMENT, digest, 0, NULL), REFERENCE_MISSING);
	memset(digest, 1, sizeof(digest)); /* listed, but below the entry's own minimum: a downgrade */
	expect(reference_resolve(&f.set, "wages", REFERENCE_MEASUREMENT, digest, 0, NULL), SVN_TOO_LOW);
	expect_ok(reference_resolve(&f.set, "sums", REFERENCE_MEASUREMENT, digest, 0, NULL));
	drop(&f);
}

static void only_the_named_set_answers(void **unused)
{
	struct fixture f;
	uint8_t digest[SHA384_SIZE];
	make(&f);
	memset(digest, 2, sizeof(digest));
	struct reference reference = {.set = "payroll", .min_svn = 1};
	memcpy(reference.author, f.author.id, KEY_ID_SIZE);
	struct reference_question ask = {&reference, "wages", REFERENCE_MEASUREMENT, digest, 7, NOW};
	expect_ok(reference_answer(&ask, &f.set, f.author.id, NULL));
	expect(reference_answer(&ask, &f.set, f.other.id, NULL), REFERENCE_MISSING);
	ask.floor = 8;
	expect(reference_answer(&ask, &f.set, f.author.id, NULL), REFERENCE_OLD);
	ask.floor = 0;
	ask.now_ms = NOW + 1001;
	expect(reference_answer(&ask, &f.set, f.author.id, NULL), REFERENCE_EXPIRED);
	ask.now_ms = NOW - 1001;
	expect(reference_answer(&ask, &f.set, f.author.id, NULL), REFERENCE_EXPIRED);
	ask.now_ms = NOW;
	reference.set = "payrol";
	expect(reference_answer(&ask, &f.set, f.author.id, NULL), REFERENCE_MISSING);
	reference.set = "payroll";
	reference.min_svn = 3;
	expect(reference_answer(&ask, &f.set, f.author.id, NULL), SVN_TOO_LOW);
	drop(&f);
}

static void sets_that_contradict_themselves_are_not_signed(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	make(&f);
	f.set.version = 0;
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_VALUE);
	f.set.version = 7;
	f.set.name = "../payroll";
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_NAME);
	f.set.name = "payroll";
	f.set.not_after = f.set.not_before;
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_VALUE);
	f.set.not_after = NOW + 1000;
	f.entries[0].min_svn = 4; /* would allow nothing */
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_VALUE);
	f.entries[0].min_svn = 2;
	f.rows[1].svn = 0;
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_VALUE);
	f.rows[1].svn = 2;
	memcpy(f.rows[2].digest, f.rows[1].digest, SHA384_SIZE); /* one program with two versions */
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_VALUE);
	f.rows[2].digest[0]++;
	f.entries[1].name = "wages";
	expect(reference_set_sign(&f.set, &f.author, &object, NULL), BAD_VALUE);
	f.entries[1].name = "sums";
	expect_ok(reference_set_sign(&f.set, &f.author, &object, NULL));
	drop(&f);
}

#define DIGEST "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
static const char source[] = "name: payroll\nversion: 3\nnot_before: 2026-11-21T00:00:00Z\nnot_after: 2027-11-21T00:00:00Z\n"
			     "entries:\n  - name: wages\n    min_svn: 2\n    rows:\n      - {svn: 2, measurement: " DIGEST "}\n"
			     "      - {svn: 3, core: " DIGEST "}\n";

static void the_source_form_is_read_and_written_alike(void **unused)
{
	struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY, one = BYTES_EMPTY, two = BYTES_EMPTY;
	struct reference_set set, again;
	expect_ok(reference_text_parse("set.yaml", span_str(source), &arena, &set));
	assert_int_equal(set.version, 3);
	assert_int_equal(set.entries[0].rows[1].what, REFERENCE_CORE);
	expect_ok(reference_text_write(&set, &text));
	expect_ok(reference_text_parse("set.json", bytes_span(&text), &arena, &again));
	expect_ok(schema_encode(&reference_set_schema, &set, &one));
	expect_ok(schema_encode(&reference_set_schema, &again, &two));
	expect_span(bytes_span(&one), bytes_span(&two));
	arena_free(&arena);
}

static void expect_refused(const char *from, const char *to, result reason, const char *position)
{
	struct arena arena = arena_of(1 << 20);
	struct reference_set set;
	char text[2048];
	const char *at = strstr(source, from);
	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - source), source, to, at + strlen(from));
	expect(reference_text_parse("set.yaml", span_str(text), &arena, &set), reason);
	if (!strstr(failure_text(), position))
		fail_msg("'%s' does not say '%s'", failure_text(), position);
	arena_free(&arena);
}

static void errors_of_the_source_name_their_place(void **unused)
{
	expect_refused("version: 3", "version: 0", BAD_VALUE, "set.yaml:2:10");
	expect_refused("version: 3", "versoin: 3", UNKNOWN_FIELD, "did you mean \"version\"");
	expect_refused("version: 3\n", "", MISSING_FIELD, "version");
	expect_refused("name: payroll", "name: pay/roll", BAD_NAME, "set.yaml:1:7");
	expect_refused("2027-11-21", "2025-11-21", BAD_VALUE, "set.yaml:4:12");
	expect_refused("2027-11-21T00:00:00Z", "tomorrow", BAD_VALUE, "set.yaml:4:12");
	expect_refused("min_svn: 2", "min_svn: 9", BAD_VALUE, "set.yaml:6");
	expect_refused("svn: 3, core: " DIGEST, "svn: 3", MISSING_FIELD, "set.yaml:10");
	expect_refused("svn: 3, core: " DIGEST, "svn: 3, core: 00", BAD_VALUE, "set.yaml:10");
	expect_refused("svn: 3, core: ", "svn: 3, measurement: ", BAD_VALUE, "line 9 already");
	expect_refused("svn: 2, ", "svn: 2, program: " DIGEST ", ", BAD_VALUE, "set.yaml:9");
	expect_refused("{svn: 2, measurement: " DIGEST "}", "{svn: 2, measure: " DIGEST "}", UNKNOWN_FIELD, "set.yaml:9");
}

int group_reference(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signed_set_opens_under_the_key_it_names),
		cmocka_unit_test(a_set_signed_by_another_key_than_it_names_is_refused),
		cmocka_unit_test(values_resolve_by_name_kind_and_svn),
		cmocka_unit_test(only_the_named_set_answers),
		cmocka_unit_test(sets_that_contradict_themselves_are_not_signed),
		cmocka_unit_test(the_source_form_is_read_and_written_alike),
		cmocka_unit_test(errors_of_the_source_name_their_place),
	};
	return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
