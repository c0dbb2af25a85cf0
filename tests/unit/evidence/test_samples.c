/*
 * Quotes and event logs of real machines, with the verdict that their collection states. They are not part of the project:
 * TROTH_VECTORS names the folder that holds VERDICTS.json; without it these tests are skipped, and say so.
 */
#include "expect.h"

#include "groups.h"
#include "platform.h"

#include "base/file.h"

#include <jansson.h>
#include <stdlib.h>

static const char *folder(void)
{
	const char *given = getenv("TROTH_VECTORS");
	return given && *given ? given : getenv("TROTH_VECTORS_DEFAULT");
}

static bool load(const char *name, struct bytes *out)
{
	char path[PATH_SIZE];
	const char *root = folder();
	if (!root || path_join(path, root, name) != OK || file_read(path, 16 << 20, out) != OK) {
		print_message("no %s: name its folder in TROTH_VECTORS\n", name);
		return false;
	}
	return true;
}

static json_t *load_json(const char *name)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	if (!load(name, &text))
		skip();
	json_t *json = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(json);
	return json;
}

static size_t from_hex(const char *hex, size_t len, uint8_t *out)
{
	for (size_t i = 0; i < len / 2; i++) {
		char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
		out[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return len / 2;
}

struct pcr_file {
	uint8_t values[24][DIGEST_MAX];
	struct pcr_value rows[24];
	size_t count;
};

/* Lines of "index hex". */
static void read_pcrs(struct span text, struct pcr_file *out)
{
	const char *at = (const char *)text.data, *end = at + text.len;
	while (at < end) {
		char *hex;
		unsigned long index = strtoul(at, &hex, 10);
		size_t len = strspn(++hex, "0123456789abcdef");
		assert_true(index < 24 && len <= 2 * (size_t)DIGEST_MAX);
		size_t size = from_hex(hex, len, out->values[index]);
		uint16_t bank = size == 20 ? TPM_SHA1 : size == 32 ? TPM_SHA256 : TPM_SHA384;
		out->rows[index] = (struct pcr_value){bank, (uint8_t)index, span_of(out->values[index], size)};
		out->count++;
		at = hex + len;
		while (at < end && *at == '\n')
			at++;
	}
}

static const char *file_of(const json_t *sample, const char *suffix)
{
	size_t i;
	json_t *name;
	json_array_foreach(json_object_get(sample, "files"), i, name)
	{
		const char *text = json_string_value(name);
		size_t len = strlen(text), tail = strlen(suffix);
		if (len > tail && strcmp(text + len - tail, suffix) == 0)
			return text;
	}
	return NULL;
}

/* The challenge that the collection states: "... extraData HEX; ...". */
static size_t stated_nonce(const json_t *sample, uint8_t *out)
{
	const char *at = strstr(json_string_value(json_object_get(sample, "reason")), "extraData ");
	assert_non_null(at);
	at += strlen("extraData ");
	return from_hex(at, strspn(at, "0123456789abcdef"), out);
}

/* Only the selected of all given values are handed over. */
static size_t select_pcrs(struct span attest_bytes, const struct pcr_file *file, struct pcr_value *out)
{
	struct tpm_attest attest;
	size_t count = 0;
	expect_ok(tpm_attest_parse(attest_bytes, &attest));
	assert_int_equal(attest.selection_count, 1);
	for (size_t i = 0; i < 24; i++)
		if (attest.selections[0].pcrs & 1u << i)
			out[count++] = file->rows[i];
	return count;
}

static result judge_sample(const json_t *sample)
{
	CLEANUP(bytes_free) struct bytes attest_file = BYTES_EMPTY, signature = BYTES_EMPTY, pem = BYTES_EMPTY, pcr_text = BYTES_EMPTY;
	CLEANUP(platform_key_free) struct platform_key ak = PLATFORM_KEY_EMPTY;
	struct pcr_file pcrs = {0};
	struct pcr_value selected[24];
	uint8_t nonce[64];
	struct tpm_attest attest;

	assert_true(load(file_of(sample, ".attest.bin"), &attest_file));
	assert_true(load(file_of(sample, ".sig.bin"), &signature));
	assert_true(load(file_of(sample, ".ak.pem"), &pem));
	if (file_of(sample, ".pcrs.txt")) {
		assert_true(load(file_of(sample, ".pcrs.txt"), &pcr_text));
		read_pcrs(bytes_span(&pcr_text), &pcrs);
	}
	TRY(platform_key_from_pem(bytes_span(&pem), &ak));
	struct tpm_quote quote = {
		.attest = bytes_span(&attest_file),
		.signature = {.scheme = SCHEME_RSASSA, .digest = DIGEST_SHA256, .rsa = bytes_span(&signature)},
		.ak = &ak,
		.pcrs = selected,
		.pcr_count = select_pcrs(bytes_span(&attest_file), &pcrs, selected),
		.nonce = span_of(nonce, stated_nonce(sample, nonce)),
	};
	TRY(tpm_quote_verify(&quote, &attest));
	/* And each of them is refused with one bit changed. */
	struct tpm_quote wrong = quote;
	selected[0].value.len--;
	assert_true(tpm_quote_verify(&wrong, &attest) != OK);
	selected[0].value.len++;
	signature.data[5] ^= 4;
	expect(tpm_quote_verify(&wrong, &attest), BAD_SIGNATURE);
	return OK;
}

static void tpm_samples_have_their_stated_verdict(void **state)
{
	json_t *samples = load_json("VERDICTS.json"), *sample;
	size_t i, judged = 0, refused = 0;
	json_array_foreach(samples, i, sample)
	{
		if (strcmp(json_string_value(json_object_get(sample, "kind")), "tpm-quote") != 0)
			continue;
		bool valid = strcmp(json_string_value(json_object_get(sample, "verdict")), "valid") == 0;
		result verdict = judge_sample(sample);
		if ((verdict == OK) != valid)
			fail_msg("%s: %s: %s", json_string_value(json_object_get(sample, "id")), reason_name(verdict), failure_text());
		if (!valid)
			assert_int_equal(verdict, BAD_SIGNATURE);
		judged++;
		refused += !valid;
	}
	json_decref(samples);
	print_message("%zu quotes, %zu of them refused\n", judged, refused);
	assert_true(judged >= 11 && refused >= 1);
}

static void check_bank(const char *name, struct span log, const char *bank_name, const json_t *bank)
{
	uint16_t algorithm = strcmp(bank_name, "sha1") == 0 ? TPM_SHA1 : strcmp(bank_name, "sha256") == 0 ? TPM_SHA256 : TPM_SHA384;
	struct replay replay;
	const char *index;
	json_t *value;
	result replayed = event_log_replay(log, algorithm, &replay);
	if (replayed != OK)
		fail_msg("%s, %s: %s: %s", name, bank_name, reason_name(replayed), failure_text());
	json_object_foreach((json_t *)bank, index, value)
	{
		uint8_t expected[DIGEST_MAX];
		const char *hex = json_string_value(value);
		size_t size = from_hex(hex, strlen(hex), expected);
		unsigned long pcr = strtoul(index, NULL, 10);
		if (!span_equal(span_of(replay.value[pcr], replay.size), span_of(expected, size)))
			fail_msg("%s: PCR %lu of %s", name, pcr, bank_name);
	}
}

static void logs_lead_to_the_known_pcrs(void **state)
{
	json_t *logs = load_json("google-go-tpm-tools/expected_pcrs.json"), *entry, *bank;
	const char *name, *bank_name;
	size_t count = 0;
	json_object_foreach(logs, name, entry)
	{
		CLEANUP(bytes_free) struct bytes log = BYTES_EMPTY;
		char path[512];
		const char *file = json_string_value(json_object_get(entry, "file"));
		const char *base = strrchr(file, '/') + 1;
		/* The table names paths of one collection; most of its logs lie in the other. */
		static const char *const own[] = {"gdc-host.bin", "ubuntu-2404-amd-sevsnp.bin", "eventlogwithsp800155.bin", "confidential-gke-debug-251000_eventlog.bin"};
		const char *place = "google-go-eventlog/testdata/eventlogs/tpm";
		for (size_t i = 0; i < COUNT_OF(own); i++)
			if (strcmp(base, own[i]) == 0)
				place = "google-go-tpm-tools/internal/test/eventlogs";
		snprintf(path, sizeof(path), "%s/%s", place, base);
		assert_true(load(path, &log));
		json_object_foreach(json_object_get(entry, "expected_pcrs"), bank_name, bank)
			check_bank(name, bytes_span(&log), bank_name, bank);
		count++;
	}
	json_decref(logs);
	assert_true(count >= 10);
}

/* A quote and the log of the same machine: the log covers what was quoted, and no value of it can be changed. */
static void log_and_quote_of_one_machine(void **state)
{
	CLEANUP(bytes_free) struct bytes log = BYTES_EMPTY, text = BYTES_EMPTY;
	struct pcr_file pcrs = {0};
	struct replay replay;
	if (!load("_extracted/tpm/gce-nonce9009.eventlog.bin", &log) || !load("_extracted/tpm/gce-nonce9009-sha256.pcrs.txt", &text))
		skip();
	read_pcrs(bytes_span(&text), &pcrs);
	expect_ok(tpm_log_check(bytes_span(&log), TPM_SHA256, pcrs.rows, 24, 0xff, &replay));
	assert_int_equal(replay.separators, 0xff);
	assert_int_equal(replay.touched, 0x3ff);
	for (unsigned i = 0; i < 24; i++) {
		pcrs.values[i][0] ^= 1;
		result checked = tpm_log_check(bytes_span(&log), TPM_SHA256, pcrs.rows, 24, 0xff, &replay);
		assert_int_equal(checked, 0x3ff & 1u << i ? EVENT_LOG_MISMATCH : OK);
		pcrs.values[i][0] ^= 1;
	}
}

static void public_area_of_a_machine(void **state)
{
	CLEANUP(bytes_free) struct bytes area = BYTES_EMPTY, attest_file = BYTES_EMPTY, pem = BYTES_EMPTY;
	CLEANUP(platform_key_free) struct platform_key of_area = PLATFORM_KEY_EMPTY, of_pem = PLATFORM_KEY_EMPTY;
	struct tpm_public public;
	struct tpm_attest attest;
	if (!load("_extracted/tpm/gce-nonce9009.ak.tpmt_public.bin", &area) || !load("_extracted/tpm/gce-nonce9009-sha256.attest.bin", &attest_file) ||
		!load("_extracted/tpm/gce-nonce9009-sha256.ak.pem", &pem))
		skip();
	expect_ok(tpm_public_parse(bytes_span(&area), &public));
	expect_ok(tpm_ak_check(&public));
	expect_ok(tpm_public_key(&public, &of_area));
	expect_ok(platform_key_from_pem(bytes_span(&pem), &of_pem));
	assert_memory_equal(of_area.id, of_pem.id, sizeof(of_area.id));
	expect_ok(tpm_attest_parse(bytes_span(&attest_file), &attest));
	expect_ok(tpm_signer_check(&attest, &public));
}

static void duplicate_separators_of_a_machine(void **state)
{
	CLEANUP(bytes_free) struct bytes twice = BYTES_EMPTY, once = BYTES_EMPTY;
	struct replay replay;
	if (!load("google-go-eventlog/testdata/eventlogs/ccel/cos-113-intel-tdx-dupe-separator.bin", &twice) ||
		!load("google-go-eventlog/testdata/eventlogs/ccel/cos-113-intel-tdx.bin", &once))
		skip();
	expect(event_log_replay(bytes_span(&twice), TPM_SHA384, &replay), EVENT_SEPARATOR_WRONG);
	expect_ok(event_log_replay(bytes_span(&once), TPM_SHA384, &replay));
}

int sample_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tpm_samples_have_their_stated_verdict),
		cmocka_unit_test(logs_lead_to_the_known_pcrs),
		cmocka_unit_test(log_and_quote_of_one_machine),
		cmocka_unit_test(public_area_of_a_machine),
		cmocka_unit_test(duplicate_separators_of_a_machine),
	};
	return cmocka_run_group_tests_name("tpm samples", tests, NULL, NULL);
}
