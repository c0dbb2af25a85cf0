/* Revocation lists: one form, every entry found and nothing else, and the form in which people write them. */
#include "../expect.h"

#include <stdlib.h>

#include "groups.h"
#include "object/revocation_text.h"

enum { NOW = 1000000, COUNT = 12 };

struct fixture {
	struct key operator, other;
	struct arena arena;
	uint8_t values[COUNT][SHA384_SIZE];
	struct revocation_entry entries[COUNT];
	struct revocation_list list;
};

static void make(struct fixture *f)
{
	expect_ok(key_generate(&f->operator));
	expect_ok(key_generate(&f->other));
	f->arena = arena_of(1 << 20);
	for (size_t i = 0; i < COUNT; i++) {
		enum revocation_class class = (enum revocation_class)(1 + i % (REVOKE_CLASSES - 1));
		memset(f->values[i], (int)(0xf0 - i), SHA384_SIZE);
		f->entries[i] = (struct revocation_entry){(uint8_t)class, span_of(f->values[i], revocation_class_size(class)), NOW, "why"};
	}
	f->list = (struct revocation_list){.version = 3, .time = NOW, .not_after = 2 * NOW, .entries = f->entries, .entry_count = COUNT};
}

static void drop(struct fixture *f)
{
	key_free(&f->operator);
	key_free(&f->other);
	arena_free(&f->arena);
}

static void a_signed_list_finds_its_entries_and_no_others(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	struct revocation_row row;
	uint8_t oid[OID_SIZE], stranger[SHA384_SIZE];
	make(&f);
	expect_ok(revocation_list_sign(&f.list, &f.operator, &object, oid));
	expect_ok(revocation_open(bytes_span(&object), NULL, &view));
	assert_memory_equal(view.operator_id, f.operator.id, KEY_ID_SIZE);
	assert_memory_equal(view.oid, oid, OID_SIZE);
	assert_int_equal(view.version, 3);
	assert_int_equal(view.count, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		const struct revocation_entry *entry = &f.entries[i];
		assert_true(revocation_find(&view, (enum revocation_class)entry->class, entry->value, &row));
		assert_int_equal(row.from, NOW);
		expect_span(row.why, span_str("why"));
		/* The same value of another class, and its neighbours, are something else. */
		for (int class = REVOKE_MEASUREMENT; class < REVOKE_CLASSES; class++)
			if (class != entry->class && revocation_class_size((enum revocation_class)class) == entry->value.len)
				assert_false(revocation_find(&view, (enum revocation_class)class, entry->value, &row));
		for (int by = -1; by <= 1; by += 2) {
			memcpy(stranger, entry->value.data, entry->value.len);
			stranger[entry->value.len - 1] = (uint8_t)(stranger[entry->value.len - 1] + by);
			assert_false(revocation_find(&view, (enum revocation_class)entry->class, span_of(stranger, entry->value.len), &row));
		}
	}
	expect_ok(revocation_valid_at(&view, NOW));
	expect(revocation_valid_at(&view, 2 * NOW + 1), REVOCATION_EXPIRED);
	view.time = NOW + REVOCATION_SKEW_MS + 1;
	expect(revocation_valid_at(&view, NOW), REVOCATION_EXPIRED);
	drop(&f);
}

static void every_flipped_byte_is_refused(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct revocation_view view = REVOCATION_VIEW_EMPTY;
	make(&f);
	expect_ok(revocation_list_sign(&f.list, &f.operator, &object, NULL));
	for (size_t at = 0; at < object.len; at += 3) {
		object.data[at] ^= 1;
		assert_int_not_equal(revocation_open(bytes_span(&object), NULL, &view), OK);
		object.data[at] ^= 1;
	}
	for (size_t len = 0; len < object.len; len += 5)
		assert_int_not_equal(revocation_open(span_of(object.data, len), NULL, &view), OK);
	drop(&f);
}

/* Whatever the schema's encoder would refuse to write. */
static result open_forged(struct fixture *f, const struct revocation_list *list, const struct key *key)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	expect_ok(object_sign(KIND_REVOCATION_LIST, list, key, &object, NULL));
	return revocation_open(bytes_span(&object), &f->operator, &view);
}

static void lists_that_contradict_themselves_are_refused(void **unused)
{
	struct fixture f;
	make(&f);
	f.list.v = 1;
	memcpy(f.list.operator_pk, f.operator.point, POINT_SIZE);
	f.list.entry_count = 1;
	expect_ok(open_forged(&f, &f.list, &f.operator));
	expect(open_forged(&f, &f.list, &f.other), BAD_SIGNATURE);
	f.list.version = 0;
	expect(open_forged(&f, &f.list, &f.operator), BAD_VALUE);
	f.list.version = 1;
	f.list.not_after = f.list.time;
	expect(open_forged(&f, &f.list, &f.operator), BAD_VALUE);
	f.list.not_after++;
	f.entries[0].class = REVOKE_CLASSES;
	expect(open_forged(&f, &f.list, &f.operator), REVOCATION_CLASS_UNKNOWN);
	f.entries[0].class = REVOKE_KEY; /* with a value of 48 bytes */
	expect(open_forged(&f, &f.list, &f.operator), BAD_VALUE);
	/* One thing twice, in ascending order of the encodings but with two dates. */
	f.entries[0] = f.entries[1] = (struct revocation_entry){REVOKE_KEY, span_of(f.values[0], KEY_ID_SIZE), 1, ""};
	f.entries[1].from = 2;
	f.list.entry_count = 2;
	expect(open_forged(&f, &f.list, &f.operator), NOT_DETERMINISTIC);
	memcpy(f.list.operator_pk, f.other.point, POINT_SIZE);
	f.list.entry_count = 1;
	expect(open_forged(&f, &f.list, &f.other), REVOCATION_KEY_UNKNOWN);
	drop(&f);
}

static void signing_refuses_what_opening_would(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	make(&f);
	f.entries[1] = f.entries[0];
	expect(revocation_list_sign(&f.list, &f.operator, &object, NULL), BAD_VALUE);
	f.entries[1].class = 9;
	expect(revocation_list_sign(&f.list, &f.operator, &object, NULL), REVOCATION_CLASS_UNKNOWN);
	f.list.entry_count = 1;
	f.list.version = 0;
	expect(revocation_list_sign(&f.list, &f.operator, &object, NULL), BAD_VALUE);
	f.list.version = 1;
	expect_ok(revocation_list_sign(&f.list, &f.operator, &object, NULL));
	drop(&f);
}

static result judge(const struct revocation_set *set, struct revocation_subject subject, uint64_t at)
{
	return revocation_judge(set, &subject, at);
}

static void each_class_is_judged_by_its_own_member(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct revocation_set set = {.count = 1};
	make(&f);
	expect_ok(revocation_list_sign(&f.list, &f.operator, &object, NULL));
	expect_ok(revocation_open(bytes_span(&object), NULL, &set.lists[0]));
	const uint8_t *v[REVOKE_CLASSES];
	for (size_t i = 0; i < COUNT; i++)
		v[f.entries[i].class] = f.entries[i].value.data;
	expect(judge(&set, (struct revocation_subject){.measurement = v[REVOKE_MEASUREMENT]}, NOW), REVOKED);
	expect(judge(&set, (struct revocation_subject){.core = v[REVOKE_MEASUREMENT]}, NOW), REVOKED);
	expect(judge(&set, (struct revocation_subject){.key = v[REVOKE_KEY]}, NOW), REVOKED);
	expect(judge(&set, (struct revocation_subject){.certificate = v[REVOKE_CERTIFICATE]}, NOW), REVOKED);
	expect(judge(&set, (struct revocation_subject){.rot_id = v[REVOKE_HOST]}, NOW), REVOKED);
	expect(judge(&set, (struct revocation_subject){.epoch = v[REVOKE_EPOCH]}, NOW), REVOKED);
	expect(judge(&set, (struct revocation_subject){.policy = v[REVOKE_POLICY]}, NOW), REVOKED);
	/* Before `from`, and as something else than it is, nothing is revoked. */
	expect_ok(judge(&set, (struct revocation_subject){.policy = v[REVOKE_POLICY]}, NOW - 1));
	expect_ok(judge(&set, (struct revocation_subject){.key = v[REVOKE_HOST], .rot_id = v[REVOKE_KEY]}, NOW));
	expect_ok(judge(&set, (struct revocation_subject){.key = NULL}, NOW));
	revocation_set_free(&set);
	expect_ok(judge(&set, (struct revocation_subject){.key = v[REVOKE_KEY]}, NOW));
	drop(&f);
}

static void many_entries_are_all_found(void **unused)
{
	enum { MANY = 20000 };
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	struct revocation_entry *entries = calloc(MANY, sizeof(*entries));
	uint8_t (*values)[KEY_ID_SIZE] = calloc(MANY, KEY_ID_SIZE);
	struct revocation_row row;
	make(&f);
	for (size_t i = 0; i < MANY; i++) {
		sha256(span_of(&i, sizeof(i)), values[i]);
		entries[i] = (struct revocation_entry){REVOKE_KEY, span_of(values[i], KEY_ID_SIZE), i, ""};
	}
	f.list.entries = entries;
	f.list.entry_count = MANY;
	expect_ok(revocation_list_sign(&f.list, &f.operator, &object, NULL));
	expect_ok(revocation_open(bytes_span(&object), &f.operator, &view));
	for (size_t i = 0; i < MANY; i++) {
		assert_true(revocation_find(&view, REVOKE_KEY, span_of(values[i], KEY_ID_SIZE), &row));
		values[i][0] ^= 0x80;
		assert_false(revocation_find(&view, REVOKE_KEY, span_of(values[i], KEY_ID_SIZE), &row));
	}
	free(entries);
	free(values);
	drop(&f);
}

static const char source_text[] = "version: 4\nnot_after: 2030-01-01T00:00:00Z\nentries:\n"
				  "  - host: \"1111111111111111111111111111111111111111111111111111111111111111\"\n"
				  "    from: 2027-01-01T00:00:00Z\n    why: sold\n"
				  "  - key: \"2222222222222222222222222222222222222222222222222222222222222222\"\n";

static void the_source_form_round_trips(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes written = BYTES_EMPTY, again = BYTES_EMPTY;
	struct revocation_list list, back;
	expect_ok(revocation_text_parse("list.yaml", span_str(source_text), &arena, &list));
	assert_int_equal(list.version, 4);
	assert_int_equal(list.entry_count, 2);
	assert_int_equal(list.entries[0].class, REVOKE_HOST);
	assert_string_equal(list.entries[0].why, "sold");
	assert_int_equal(list.entries[1].from, 0);
	expect_ok(revocation_text_write(&list, &written));
	expect_ok(revocation_text_parse("list.json", bytes_span(&written), &arena, &back));
	expect_ok(revocation_text_write(&back, &again));
	expect_span(bytes_span(&again), bytes_span(&written));
}

static void sources_that_say_too_little_or_too_much_are_refused(void **unused)
{
	static const struct {
		const char *text;
		enum reason reason;
	} rows[] = {
		{"{\"not_after\": \"2030-01-01T00:00:00Z\", \"entries\": []}", MISSING_FIELD},
		{"{\"version\": 0, \"not_after\": \"2030-01-01T00:00:00Z\", \"entries\": []}", BAD_VALUE},
		{"{\"version\": 1, \"not_after\": \"soon\", \"entries\": []}", BAD_VALUE},
		{"{\"version\": 1, \"not_after\": \"2030-01-01T00:00:00Z\", \"entries\": {}}", BAD_TYPE},
		{"{\"version\": 1, \"not_after\": \"2030-01-01T00:00:00Z\", \"entries\": [{\"why\": \"x\"}]}", MISSING_FIELD},
		{"{\"version\": 1, \"not_after\": \"2030-01-01T00:00:00Z\", \"entries\": [{\"key\": \"00\"}]}", BAD_VALUE},
		{"{\"version\": 1, \"not_after\": \"2030-01-01T00:00:00Z\", \"entries\": [{\"kye\": \"00\"}]}", UNKNOWN_FIELD},
	};
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct revocation_list list;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		expect(revocation_text_parse("list.json", span_str(rows[i].text), &arena, &list), rows[i].reason);
}

static void leases_have_bounds(void **unused)
{
	expect_ok(revocation_lease_allowed(0, 0));
	expect(revocation_lease_allowed(0, 1), BAD_VALUE);
	expect(revocation_lease_allowed(REVOCATION_LEASE_LEAST_MS - 1, 0), BAD_VALUE);
	expect_ok(revocation_lease_allowed(REVOCATION_LEASE_LEAST_MS, 0));
	expect_ok(revocation_lease_allowed(REVOCATION_LEASE_MOST_MS, 1));
	expect(revocation_lease_allowed(REVOCATION_LEASE_MOST_MS + 1, 1), BAD_VALUE);
}

int group_revocation(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signed_list_finds_its_entries_and_no_others),
		cmocka_unit_test(every_flipped_byte_is_refused),
		cmocka_unit_test(lists_that_contradict_themselves_are_refused),
		cmocka_unit_test(signing_refuses_what_opening_would),
		cmocka_unit_test(each_class_is_judged_by_its_own_member),
		cmocka_unit_test(many_entries_are_all_found),
		cmocka_unit_test(the_source_form_round_trips),
		cmocka_unit_test(sources_that_say_too_little_or_too_much_are_refused),
		cmocka_unit_test(leases_have_bounds),
	};
	return cmocka_run_group_tests_name("revocation", tests, NULL, NULL);
}
