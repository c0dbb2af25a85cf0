/* Certificates of authorities and paths of them (docs/PROTOCOL.certificate): one that is good, and every wrong shape. */
#include "tests.h"

#include "../ca_builder.h"
#include "base/arena.h"
#include "crypto/x509.h"

#define LEAF "spiffe://test.example/ire/payroll"
#define NOW UINT64_C(1795276051000)

static struct key ca, middle, issuer, subject, kem;

static int make_keys(void **state)
{
	struct key *const keys[] = {&ca, &middle, &issuer, &subject, &kem};
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		assert_int_equal(key_generate(keys[i]), OK);
	return 0;
}

static int free_keys(void **state)
{
	struct key *const keys[] = {&ca, &middle, &issuer, &subject, &kem};
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		key_free(keys[i]);
	return 0;
}

static struct bytes leaf_of(const char *uri, const char *issuer_name, const struct key *issuer_key)
{
	struct certificate_fields fields = {.serial = {1}, .uri = uri, .not_before = NOW - 1000, .not_after = NOW + 1000};
	struct bytes der = BYTES_EMPTY;
	memcpy(fields.sign_point, subject.point, POINT_SIZE);
	memcpy(fields.kem_point, kem.point, POINT_SIZE);
	assert_int_equal(certificate_issue(&fields, issuer_key, issuer_name, &der), OK);
	return der;
}

/* Parses leaf and authorities and judges the path; all are freed. */
static result judge(struct bytes leaf, struct bytes above, struct bytes top, uint64_t at)
{
	CLEANUP(arena_free) struct arena arena = arena_of(16384);
	struct certificate path[CERTIFICATE_PATH_MAX] = {0};
	size_t count = top.data ? 3 : 2;
	assert_int_equal(certificate_parse(bytes_span(&leaf), &arena, &path[0]), OK);
	result r = certificate_parse_ca(bytes_span(&above), &arena, &path[1]);
	if (r == OK && top.data)
		r = certificate_parse_ca(bytes_span(&top), &arena, &path[2]);
	if (r == OK)
		r = certificate_path_verify(path, count, &ca, at);
	for (size_t i = 0; i < count; i++)
		certificate_free(&path[i]);
	bytes_free(&leaf);
	bytes_free(&above);
	bytes_free(&top);
	return r;
}

static struct ca_fields good(void)
{
	return ca_good("epoch", &issuer, "authority", &ca, NOW);
}

static result judge_fields(const struct ca_fields *fields)
{
	return judge(leaf_of(LEAF, "epoch", &issuer), ca_issue(fields), BYTES_EMPTY, NOW);
}

static void a_path_of_two(void **state)
{
	struct ca_fields f = good();
	assert_int_equal(judge_fields(&f), OK);
	f.usage = "critical,keyCertSign,cRLSign";
	assert_int_equal(judge_fields(&f), OK);
	f.names = "critical,permitted;URI:other.example,permitted;URI:.example";
	assert_int_equal(judge_fields(&f), OK);
}

static void a_path_of_three(void **state)
{
	for (int good_names = 0; good_names < 2; good_names++) {
		struct ca_fields above = ca_good("epoch", &issuer, "middle", &middle, NOW), top = ca_good("middle", &middle, "authority", &ca, NOW);
		top.constraints = "critical,CA:TRUE,pathlen:1";
		top.names = good_names ? NULL : "critical,permitted;URI:.other.example";
		assert_int_equal(judge(leaf_of(LEAF, "epoch", &issuer), ca_issue(&above), ca_issue(&top), NOW), good_names ? OK : CA_NAME);
	}
	/* The one on top must allow an authority below it. */
	struct ca_fields above = ca_good("epoch", &issuer, "middle", &middle, NOW), top = ca_good("middle", &middle, "authority", &ca, NOW);
	assert_int_equal(judge(leaf_of(LEAF, "epoch", &issuer), ca_issue(&above), ca_issue(&top), NOW), CA_PATH);
}

struct wrong {
	const char *constraints, *usage, *names;
	result expected;
};

/* "" keeps what is good; NULL leaves it out. */
static const struct wrong wrongs[] = {
	{NULL, "", "", BAD_CERTIFICATE},
	{"CA:TRUE,pathlen:0", "", "", BAD_CERTIFICATE}, /* not critical */
	{"critical,CA:FALSE", "", "", BAD_CERTIFICATE},
	{"critical,CA:TRUE", "", "", BAD_CERTIFICATE}, /* any path length */
	{"critical,CA:TRUE,pathlen:1", "", "", CA_PATH},
	{"critical,CA:TRUE,pathlen:9", "", "", BAD_CERTIFICATE},
	{"", NULL, "", BAD_CERTIFICATE},
	{"", "keyCertSign", "", BAD_CERTIFICATE},
	{"", "critical,digitalSignature", "", BAD_CERTIFICATE},
	{"", "critical,keyCertSign,digitalSignature", "", BAD_CERTIFICATE},
	{"", "", NULL, CA_NAME}, /* vouches for everybody */
	{"", "", "permitted;URI:test.example", BAD_CERTIFICATE},
	{"", "", "critical,permitted;DNS:test.example", BAD_CERTIFICATE},
	{"", "", "critical,permitted;URI:test.example,permitted;DNS:test.example", BAD_CERTIFICATE},
	{"", "", "critical,permitted;URI:test.example,excluded;URI:evil.example", BAD_CERTIFICATE},
	{"", "", "critical,permitted;URI:.", BAD_CERTIFICATE},
	{"", "", "critical,permitted;URI:TEST.example", BAD_CERTIFICATE},
	{"", "", "critical,permitted;URI:example", CA_NAME}, /* a host, not a domain */
	{"", "", "critical,permitted;URI:.test.example", CA_NAME}, /* hosts below, not itself */
	{"", "", "critical,permitted;URI:est.example", CA_NAME},
	{"", "", "critical,permitted;URI:test.example.evil", CA_NAME},
};

static void every_wrong_shape(void **state)
{
	for (size_t i = 0; i < COUNT_OF(wrongs); i++) {
		const struct wrong *w = &wrongs[i];
		struct ca_fields f = good();
		f.constraints = w->constraints && !*w->constraints ? f.constraints : w->constraints;
		f.usage = w->usage && !*w->usage ? f.usage : w->usage;
		f.names = w->names && !*w->names ? f.names : w->names;
		result r = judge_fields(&f);
		if (r != w->expected)
			fail_test("wrong %zu: %s (%s), not %s", i, reason_name(r), failure_text(), reason_name(w->expected));
	}
}

static void wrong_keys_names_and_times(void **state)
{
	struct ca_fields f = good();
	f.issuer_key = &middle; /* another authority of the same name */
	assert_int_equal(judge_fields(&f), CERTIFICATE_FOREIGN);
	f = good();
	f.key = &middle; /* vouches for another key than the one that issued the leaf */
	assert_int_equal(judge_fields(&f), CERTIFICATE_FOREIGN);
	f = good();
	f.subject = "another epoch";
	assert_int_equal(judge_fields(&f), CA_PATH);
	f = good();
	f.not_after = NOW - 500;
	assert_int_equal(judge_fields(&f), CERTIFICATE_EXPIRED);
	f = good();
	f.not_before = NOW + 1000;
	assert_int_equal(judge_fields(&f), CERTIFICATE_EXPIRED);
	f = good();
	assert_int_equal(judge(leaf_of(LEAF, "epoch", &issuer), ca_issue(&f), BYTES_EMPTY, NOW + 2000), CERTIFICATE_EXPIRED);
	assert_int_equal(judge(leaf_of("spiffe://evil.example/ire/payroll", "epoch", &issuer), ca_issue(&f), BYTES_EMPTY, NOW), CA_NAME);
}

/* The two profiles never pass for one another, and every cut or altered byte is noticed. */
static void kinds_and_bytes(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ca_fields f = good();
	CLEANUP(bytes_free) struct bytes leaf = leaf_of(LEAF, "epoch", &issuer), above = ca_issue(&f);
	CLEANUP(certificate_free) struct certificate parsed = {0};
	struct certificate path[2] = {0};

	assert_int_equal(certificate_parse_ca(bytes_span(&leaf), &arena, &parsed), BAD_CERTIFICATE);
	assert_int_equal(certificate_parse(bytes_span(&above), &arena, &parsed), BAD_CERTIFICATE);
	assert_int_equal(certificate_parse(bytes_span(&leaf), &arena, &path[0]), OK);
	assert_int_equal(certificate_path_verify(path, 1, &issuer, NOW), CA_PATH); /* a leaf alone is no path */
	path[1] = path[0]; /* a leaf as an authority */
	assert_int_equal(certificate_path_verify(path, 2, &issuer, NOW), CA_PATH);
	path[1] = (struct certificate){0};
	for (size_t len = 0; len < above.len; len++)
		assert_int_not_equal(certificate_parse_ca(span_of(above.data, len), &arena, &parsed), OK);
	for (size_t at = 0; at < above.len; at++) {
		above.data[at] ^= 1;
		result r = certificate_parse_ca(bytes_span(&above), &arena, &path[1]);
		if (r == OK)
			r = certificate_path_verify(path, 2, &ca, NOW);
		if (r == OK)
			fail_test("byte %zu may be altered", at);
		certificate_free(&path[1]);
		above.data[at] ^= 1;
	}
	certificate_free(&path[0]);
}

int test_x509_ca(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_of_two),
		cmocka_unit_test(a_path_of_three),
		cmocka_unit_test(every_wrong_shape),
		cmocka_unit_test(wrong_keys_names_and_times),
		cmocka_unit_test(kinds_and_bytes),
	};
	return cmocka_run_group_tests_name("x509_ca", tests, make_keys, free_keys);
}
