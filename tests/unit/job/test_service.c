#include "job/service.h"

#include "expect.h"
#include "groups.h"

static void pair(struct fd *a, struct fd *b)
{
	struct fd ends[2];
	expect_ok(sock_pair(ends));
	*a = ends[0];
	*b = ends[1];
}

static void test_a_request_arrives_as_it_was_sent(void **state)
{
	CLEANUP(fd_close) struct fd a = FD_NONE;
	CLEANUP(fd_close) struct fd b = FD_NONE;
	CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct flow_file input = {.role = "rows", .path = "", .fd = 0, .has_fd = true}, sealed = {.role = "key", .path = "/a/b"};
	struct text_item words[] = {{"sort"}, {"-n"}};
	struct flow_request sent = {.job = "",
		.argv = words,
		.argc = 2,
		.folder = "/x",
		.inputs = &input,
		.input_count = 1,
		.sealed = &sealed,
		.sealed_count = 1,
		.out = "/out",
		.replace = true,
		.has_nonce = true};
	struct flow_request got;
	memset(sent.nonce, 7, sizeof(sent.nonce));
	pair(&a, &b);
	expect_ok(service_send(a.n, SERVICE_RUN, &sent, &b.n, 1, 1000));
	expect_ok(service_receive(b.n, 1000, &message));
	assert_int_equal(message.type, SERVICE_RUN);
	assert_int_equal(message.raw.fd_count, 1);
	expect_ok(service_decode(&message, &arena, &got));
	assert_string_equal(got.argv[1].text, "-n");
	assert_string_equal(got.inputs[0].role, "rows");
	assert_true(got.inputs[0].has_fd && got.replace && got.has_nonce);
	assert_string_equal(got.sealed[0].path, "/a/b");
	assert_memory_equal(got.nonce, sent.nonce, sizeof(sent.nonce));
}

static void test_every_type_has_a_name_and_a_form(void **state)
{
	size_t known = 0;
	for (unsigned type = 0; type < 256; type++)
		if (service_schema((enum service_type)type)) {
			assert_string_not_equal(service_type_name((enum service_type)type), "unknown");
			known++;
		}
	assert_int_equal(known, 62);
	assert_string_equal(service_type_name((enum service_type)255), "unknown");
}

static void test_what_is_no_message(void **state)
{
	static const uint8_t unknown_type[] = {0xa2, 0x01, 0x18, 0xc8, 0x02, 0x41, 0xa0};
	static const uint8_t trailing[] = {0xa2, 0x01, 0x01, 0x02, 0x41, 0xa0, 0x00};
	static const uint8_t empty[] = {0xa2, 0x01, 0x01, 0x02, 0x40};
	enum service_type type;
	struct span body;
	expect(service_parse(SPAN_ARRAY(unknown_type), &type, &body), WRONG_KIND);
	expect(service_parse(SPAN_ARRAY(trailing), &type, &body), TRAILING_BYTES);
	assert_int_not_equal(service_parse(SPAN_ARRAY(empty), &type, &body), OK);
	assert_int_not_equal(service_parse(SPAN_EMPTY, &type, &body), OK);
}

static void test_too_large(void **state)
{
	CLEANUP(fd_close) struct fd a = FD_NONE;
	CLEANUP(fd_close) struct fd b = FD_NONE;
	CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
	static const uint8_t length[] = {0x7f, 0xff, 0xff, 0xff};
	pair(&a, &b);
	expect_ok(write_all(a.n, SPAN_ARRAY(length)));
	expect(service_receive(b.n, 1000, &message), TOO_LARGE);
}

int group_service(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_arrives_as_it_was_sent),
		cmocka_unit_test(test_every_type_has_a_name_and_a_form),
		cmocka_unit_test(test_what_is_no_message),
		cmocka_unit_test(test_too_large),
	};
	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
