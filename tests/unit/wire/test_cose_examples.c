/*
 * The examples of the COSE working group, each twice: the generic verdict must be the one the example states, and
 * the strict profile must refuse what its unprotected header says, by name. They are not part of the project:
 * TROTH_VECTORS names the folder that holds cose-wg-Examples; without it the test is skipped, and says so.
 * Files whose structure or algorithm Troth does not implement are counted and printed with their reason.
 */
#include "wire_test.h"

#include "crypto/key.h"
#include "wire/cose.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

struct example {
	const char *path;
	const json_t *input;
	bool fails; /* the verdict that the file states */
	uint64_t tag; /* of the structure that its input describes */
	const json_t *body; /* the part of input that describes it */
	struct bytes message; /* output.cbor */
};

struct tally {
	size_t files, judged, refused, strict_unprotected, strict_other, left_out;
};

/* ---- Reading an example ---- */

static void free_json(json_t **json)
{
	json_decref(*json);
}

static struct bytes base64url(const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	struct bytes out = {malloc(strlen(text) + 1), 0};
	uint32_t held = 0;
	unsigned bits = 0;
	assert_non_null(out.data);
	for (; *text; text++) {
		const char *digit = strchr(digits, *text);
		assert_non_null(digit);
		held = held << 6 | (uint32_t)(digit - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out.data[out.len++] = (uint8_t)(held >> bits);
		}
	}
	return out;
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* A value given as `name` in base64url or as `name`_hex. */
static struct bytes key_part(const json_t *key, const char *name)
{
	char hex_name[16];
	snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
	if (json_object_get(key, hex_name))
		return unhex(string_of(key, hex_name));
	return base64url(string_of(key, name));
}

static struct key public_key(const json_t *json)
{
	CLEANUP(bytes_free) struct bytes x = key_part(json, "x"), y = key_part(json, "y");
	uint8_t point[POINT_SIZE] = {4};
	struct key key = KEY_EMPTY;
	assert_int_equal(x.len, 32);
	assert_int_equal(y.len, 32);
	memcpy(point + 1, x.data, 32);
	memcpy(point + 33, y.data, 32);
	expect_ok(key_from_point(SPAN_ARRAY(point), &key));
	return key;
}

static const json_t *first_of(const json_t *body, const char *list)
{
	return json_array_get(json_object_get(body, list), 0);
}

/* ---- What is left out, and why ---- */

static bool is_one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}

/* The algorithm an example was made with: of the structure, its headers or its first signer. */
static const char *algorithm_of(const json_t *body)
{
	const json_t *const places[] = {body, json_object_get(body, "protected"), json_object_get(body, "unprotected"),
		json_object_get(first_of(body, "signers"), "protected")};
	for (size_t i = 0; i < COUNT_OF(places); i++)
		if (string_of(places[i], "alg")[0])
			return string_of(places[i], "alg");
	return "";
}

/* NULL when the example is judged. */
static const char *why_left_out(const json_t *input)
{
	static const char *const known[] = {"ES256", "HS256/64", "HS256", "HS384", "HS512", "A128GCM", "A192GCM", "A256GCM", NULL};
	static const char *const bodies[] = {"sign0", "sign", "mac0", "encrypted", NULL};
	if (json_object_get(input, "mac"))
		return "COSE_Mac: keys wrapped for recipients";
	if (json_object_get(input, "enveloped"))
		return "COSE_Encrypt: keys wrapped for recipients";
	for (const char *const *name = bodies; *name; name++) {
		const json_t *body = json_object_get(input, *name);
		if (!body)
			continue;
		const char *algorithm = algorithm_of(body);
		/* An algorithm that nobody knows must be refused, so those examples are judged. */
		if (!is_one_of(algorithm, known) && strcmp(algorithm, "unknown") != 0)
			return algorithm[0] ? algorithm : "no algorithm named";
		return NULL;
	}
	return "no COSE structure";
}

static bool fill_example(const json_t *input, struct example *example)
{
	const struct {
		const char *name;
		uint64_t tag;
	} kinds[] = {{"sign0", COSE_TAG_SIGN1}, {"sign", COSE_TAG_SIGN}, {"mac0", COSE_TAG_MAC0}, {"encrypted", COSE_TAG_ENCRYPT0}};
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		example->body = json_object_get(input, kinds[i].name);
		example->tag = kinds[i].tag;
		if (example->body)
			return true;
	}
	return false;
}

/* ---- The two verdicts ---- */

static result open_and_compare(const struct cose_message *message, struct span external, struct span key, struct span plain)
{
	CLEANUP(bytes_free) struct bytes opened = BYTES_EMPTY;
	TRY(cose_encrypt0_open(message, external, key, &opened));
	assert_true(span_equal(bytes_span(&opened), plain));
	return OK;
}

static result generic_verdict(const struct example *example)
{
	CLEANUP(bytes_free) struct bytes external = unhex(string_of(example->body, "external"));
	CLEANUP(bytes_free) struct bytes plain = BYTES_EMPTY;
	if (json_object_get(example->input, "plaintext_hex"))
		plain = unhex(string_of(example->input, "plaintext_hex"));
	else
		expect_ok(bytes_copy(span_str(string_of(example->input, "plaintext")), &plain));
	struct cose_message message;
	TRY(cose_parse(bytes_span(&example->message), example->tag, &message));
	if (message.detached)
		message.payload = bytes_span(&plain);
	if (example->tag == COSE_TAG_SIGN1 || example->tag == COSE_TAG_SIGN) {
		const json_t *signer = example->tag == COSE_TAG_SIGN ? first_of(example->body, "signers") : example->body;
		CLEANUP(bytes_free) struct bytes signer_external = unhex(string_of(signer, "external"));
		struct span aad = signer_external.len ? bytes_span(&signer_external) : bytes_span(&external);
		CLEANUP(key_free) struct key key = public_key(json_object_get(signer, "key"));
		TRY(example->tag == COSE_TAG_SIGN ? cose_sign_verify(&message, aad, &key) : cose_sign1_verify(&message, aad, &key));
		assert_true(span_equal(message.payload, bytes_span(&plain)));
		return OK;
	}
	CLEANUP(bytes_free) struct bytes key = key_part(json_object_get(first_of(example->body, "recipients"), "key"), "k");
	if (example->tag == COSE_TAG_MAC0)
		return cose_mac0_verify(&message, bytes_span(&external), bytes_span(&key));
	return open_and_compare(&message, bytes_span(&external), bytes_span(&key), bytes_span(&plain));
}

static result strict_verdict(const struct example *example)
{
	struct span bytes = bytes_span(&example->message);
	struct cose_message message;
	struct cose_sign1 one;
	struct cose_sign many;
	switch (example->tag) {
	case COSE_TAG_SIGN1:
		return cose_strict_sign1_parse(bytes, &one);
	case COSE_TAG_SIGN:
		return cose_strict_sign_parse(bytes, &many);
	case COSE_TAG_MAC0:
		return cose_strict_mac0_parse(bytes, &message);
	default:
		return cose_strict_encrypt0_parse(bytes, &message);
	}
}

static bool is_tagged(const struct example *example)
{
	const uint8_t *bytes = example->message.data;
	return example->tag == COSE_TAG_SIGN ? bytes[0] == 0xd8 && bytes[1] == COSE_TAG_SIGN : bytes[0] == (0xc0 | example->tag);
}

/*
 * What the profile must say follows from the example: a missing or other tag comes first, then the unprotected
 * header of the body, then its protected one, then what each signer has.
 */
static enum reason strict_expected(const struct example *example)
{
	struct cose_message message;
	if (!is_tagged(example))
		return WRONG_TAG;
	expect_ok(cose_parse(bytes_span(&example->message), example->tag, &message));
	if (message.headers.unprotected_count > 0)
		return UNPROTECTED_HEADER;
	if (example->tag == COSE_TAG_SIGN)
		return message.headers.protected_bytes.len > 0 ? BAD_VALUE : UNPROTECTED_HEADER; /* each signer has a kid there */
	assert_int_equal(example->tag, COSE_TAG_MAC0);
	return message.headers.alg == COSE_ALG_HMAC256 ? OK : UNSUPPORTED_ALGORITHM;
}

static void judge_strictly(const struct example *example, struct tally *tally)
{
	result verdict = strict_verdict(example);
	enum reason expected = strict_expected(example);
	if (verdict != expected)
		fail_msg("%s: strict verdict %s (%s), not %s", example->path, reason_name(verdict), failure_text(), reason_name(expected));
	tally->strict_unprotected += verdict == UNPROTECTED_HEADER;
	tally->strict_other += verdict != UNPROTECTED_HEADER && verdict != OK;
}

static void judge(const struct example *example, struct tally *tally)
{
	result verdict = generic_verdict(example);
	if ((verdict != OK) != example->fails)
		fail_msg("%s: %s (%s), but the example %s", example->path, reason_name(verdict), failure_text(),
			example->fails ? "must fail" : "must pass");
	if (verdict == NO_MEMORY || verdict == CRYPTO_FAILED || verdict == INTERNAL)
		fail_msg("%s: %s is no verdict", example->path, reason_name(verdict));
	tally->judged++;
	tally->refused += verdict != OK;
	judge_strictly(example, tally);
}

static void run_file(const char *root, const char *path, struct tally *tally)
{
	json_error_t error;
	CLEANUP(free_json) json_t *json = json_load_file(path, 0, &error);
	if (!json)
		fail_msg("%s:%d: %s", path, error.line, error.text);
	const json_t *input = json_object_get(json, "input");
	const char *name = path + strlen(root) + 1, *why = why_left_out(input);
	tally->files++;
	if (why) {
		tally->left_out++;
		print_message("  left out: %s: %s\n", name, why);
		return;
	}
	struct example example = {.path = name, .input = input};
	example.fails = json_is_true(json_object_get(json, "fail")) || json_is_true(json_object_get(input, "fail"));
	assert_true(fill_example(input, &example));
	example.message = unhex(string_of(json_object_get(json, "output"), "cbor"));
	assert_true(example.message.len > 2);
	judge(&example, tally);
	bytes_free(&example.message);
}

/* Folders come one level deep. */
static void run_folder(const char *root, const char *folder, struct tally *tally)
{
	struct dirent **names = NULL;
	int count = scandir(folder, &names, NULL, alphasort);
	assert_true(count >= 0);
	for (int i = 0; i < count; i++) {
		char path[4096];
		struct stat about;
		const char *name = names[i]->d_name, *dot = strrchr(name, '.');
		snprintf(path, sizeof(path), "%s/%s", folder, name);
		if (name[0] != '.' && stat(path, &about) == 0) {
			if (S_ISDIR(about.st_mode) && strcmp(root, folder) == 0)
				run_folder(root, path, tally);
			else if (dot && strcmp(dot, ".json") == 0)
				run_file(root, path, tally);
		}
		free(names[i]);
	}
	free(names);
}

static void cose_wg_examples(void **state)
{
	const char *vectors = getenv("TROTH_VECTORS");
	char root[4096];
	struct stat about;
	if (!vectors || !vectors[0])
		vectors = getenv("TROTH_VECTORS_DEFAULT");
	snprintf(root, sizeof(root), "%s/cose-wg-Examples", vectors ? vectors : "../shared/vectors");
	if (stat(root, &about) != 0) {
		print_message("no test vectors at %s: name their folder in TROTH_VECTORS\n", root);
		skip();
	}
	struct tally tally = {0};
	run_folder(root, root, &tally);
	print_message("  %zu files: %zu judged (%zu refused as stated), %zu left out; strict: %zu UNPROTECTED_HEADER, %zu refused "
		      "for another reason, %zu accepted\n",
		tally.files, tally.judged, tally.refused, tally.left_out, tally.strict_unprotected, tally.strict_other,
		tally.judged - tally.strict_unprotected - tally.strict_other);
	assert_true(tally.judged >= 20);
	assert_true(tally.refused >= 8);
	assert_true(tally.strict_unprotected >= 15);
	assert_int_equal(tally.files, tally.judged + tally.left_out);
}

int run_cose_example_tests(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(cose_wg_examples)};
	return cmocka_run_group_tests_name("cose examples", tests, NULL, NULL);
}
