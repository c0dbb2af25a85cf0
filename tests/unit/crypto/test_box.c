#include "tests.h"

#include "crypto/box.h"

#include <stdlib.h>

#define RECIPIENT "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53"

static struct key recipient(void)
{
	struct key key = KEY_EMPTY;
	struct hex scalar = unhex(RECIPIENT);
	assert_ok(key_from_scalar(hex_span(&scalar), &key));
	return key;
}

/* "a sealed secret" under label "seal-in" and aad "policy", made by another implementation with the ephemeral key i of RFC 5903. */
static const char foreign_box[] = "04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
				  "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
				  "08870c4e5ef4901c068833a1d5db41e032c4ac8d8ca4e1ceda8bb3f480469a";

static void box_of_another_implementation_opens(void **state)
{
	struct key key = recipient();
	struct hex box = unhex(foreign_box);
	struct secret opened = SECRET_EMPTY;

	assert_ok(box_open(&key, "seal-in", span_str("policy"), hex_span(&box), &opened));
	assert_true(secret_equal(secret_span(&opened), span_str("a sealed secret")));
	secret_free(&opened);
	key_free(&key);
}

static void box_opens_only_as_it_was_made(void **state)
{
	struct key key = recipient(), other = KEY_EMPTY, public_half = KEY_EMPTY;
	struct secret opened = SECRET_EMPTY;
	uint8_t box[BOX_OVERHEAD + 6], second[BOX_OVERHEAD + 6];

	assert_ok(key_generate(&other));
	assert_ok(key_from_point(SPAN_ARRAY(key.point), &public_half));
	assert_ok(box_seal(SPAN_ARRAY(key.point), "pop", span_str("id"), span_str("secret"), box));
	assert_ok(box_seal(SPAN_ARRAY(key.point), "pop", span_str("id"), span_str("secret"), second));
	assert_memory_not_equal(box, second, POINT_SIZE);
	assert_ok(box_open(&key, "pop", span_str("id"), SPAN_ARRAY(box), &opened));
	assert_true(secret_equal(secret_span(&opened), span_str("secret")));
	secret_free(&opened);

	assert_result(box_open(&other, "pop", span_str("id"), SPAN_ARRAY(box), &opened), BAD_TAG);
	assert_result(box_open(&key, "unseal", span_str("id"), SPAN_ARRAY(box), &opened), BAD_TAG);
	assert_result(box_open(&key, "pop", span_str("iD"), SPAN_ARRAY(box), &opened), BAD_TAG);
	assert_result(box_open(&public_half, "pop", span_str("id"), SPAN_ARRAY(box), &opened), BAD_KEY);
	assert_null(opened.data);
	key_free(&key);
	key_free(&other);
	key_free(&public_half);
}

static void altered_or_cut_boxes_are_refused(void **state)
{
	struct key key = recipient();
	struct secret opened = SECRET_EMPTY;
	uint8_t box[BOX_OVERHEAD + 6];

	assert_ok(box_seal(SPAN_ARRAY(key.point), "pop", SPAN_EMPTY, span_str("secret"), box));
	for (size_t i = 0; i < sizeof box; i++) {
		box[i] ^= 1;
		result opening = box_open(&key, "pop", SPAN_EMPTY, SPAN_ARRAY(box), &opened);
		assert_true(i < POINT_SIZE ? opening == BAD_POINT || opening == BAD_TAG : opening == BAD_TAG);
		box[i] ^= 1;
	}
	for (size_t len = 0; len < sizeof box; len++) {
		result opening = box_open(&key, "pop", SPAN_EMPTY, span_of(box, len), &opened);
		assert_int_equal(opening, len <= BOX_OVERHEAD ? TRUNCATED : BAD_TAG);
	}
	assert_null(opened.data);
	key_free(&key);
}

static void what_cannot_be_boxed(void **state)
{
	struct key key = recipient();
	uint8_t box[BOX_OVERHEAD + 6], point[POINT_SIZE];

	assert_result(box_seal(SPAN_ARRAY(key.point), "pop", SPAN_EMPTY, SPAN_EMPTY, box), BAD_VALUE);
	memcpy(point, key.point, sizeof point);
	point[64] ^= 1;
	assert_result(box_seal(SPAN_ARRAY(point), "pop", SPAN_EMPTY, span_str("secret"), box), BAD_POINT);
	assert_result(box_seal(span_of(point, 33), "pop", SPAN_EMPTY, span_str("secret"), box), BAD_POINT);
	key_free(&key);
}

static void box_of_a_large_message(void **state)
{
	enum { LARGE = 300000 };
	struct key key = recipient();
	struct secret opened = SECRET_EMPTY;
	uint8_t *plain = malloc(LARGE), *box = malloc(LARGE + BOX_OVERHEAD);

	assert_non_null(plain);
	assert_non_null(box);
	memset(plain, 0x5a, LARGE);
	assert_ok(box_seal(SPAN_ARRAY(key.point), "pop", SPAN_EMPTY, span_of(plain, LARGE), box));
	assert_ok(box_open(&key, "pop", SPAN_EMPTY, span_of(box, LARGE + BOX_OVERHEAD), &opened));
	assert_true(secret_equal(secret_span(&opened), span_of(plain, LARGE)));
	secret_free(&opened);
	free(plain);
	free(box);
	key_free(&key);
}

int test_box(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(box_of_another_implementation_opens),
		cmocka_unit_test(box_opens_only_as_it_was_made),
		cmocka_unit_test(altered_or_cut_boxes_are_refused),
		cmocka_unit_test(what_cannot_be_boxed),
		cmocka_unit_test(box_of_a_large_message),
	};
	return cmocka_run_group_tests_name("box", tests, NULL, NULL);
}
