/* troth tpm verify: judges a quote and an event log of any TPM 2.0, offline. Says nothing about whose TPM it is. */
#include "cmd/verb.h"

#include <stdio.h>
#include <stdlib.h>

#include "evidence/tpm.h"
#include "wire/json.h"
#include "wire/text.h"

enum { FILE_MOST = 64 * 1024, BOOT_PCRS = 0xff };

struct arguments {
	const char *attest, *signature, *ak, *pcrs, *nonce, *log, *bank;
	bool any_nonce;
};

struct inputs {
	struct bytes attest, signature, ak, pcr_text, log;
	struct platform_key key;
	struct tpm_public area;
	bool has_area;
	uint8_t values[TPM_PCR_COUNT][DIGEST_MAX], nonce[DIGEST_MAX];
	size_t nonce_len;
	struct pcr_value pcrs[TPM_PCR_COUNT];
	size_t pcr_count;
	uint16_t bank;
};

static void inputs_free(struct inputs *in)
{
	bytes_free(&in->attest);
	bytes_free(&in->signature);
	bytes_free(&in->ak);
	bytes_free(&in->pcr_text);
	bytes_free(&in->log);
	platform_key_free(&in->key);
}

static result parse_bank(const char *name, uint16_t *out)
{
	static const uint16_t banks[] = {TPM_SHA1, TPM_SHA256, TPM_SHA384, TPM_SHA512};
	for (size_t i = 0; i < COUNT_OF(banks); i++)
		if (strcmp(name, tpm_algorithm_name(banks[i])) == 0) {
			*out = banks[i];
			return OK;
		}
	return fail(USAGE, "'%s' is no bank; use sha1, sha256, sha384 or sha512", name);
}

/* "-----BEGIN PUBLIC KEY-----", or TPMT_PUBLIC with or without the size of a TPM2B before it. */
static result read_key(struct inputs *in)
{
	struct span bytes = bytes_span(&in->ak);
	if (bytes.len > 5 && memcmp(bytes.data, "-----", 5) == 0)
		return platform_key_from_pem(bytes, &in->key);
	if (bytes.len > 2 && (size_t)(bytes.data[0] << 8 | bytes.data[1]) == bytes.len - 2)
		bytes = span_of(bytes.data + 2, bytes.len - 2);
	TRY(tpm_public_parse(bytes, &in->area));
	in->has_area = true;
	TRY(tpm_ak_check(&in->area));
	return tpm_public_key(&in->area, &in->key);
}

/* One line, "index hex". */
static result read_pcr(struct inputs *in, const char *line)
{
	char *hex;
	unsigned long index = strtoul(line, &hex, 10);
	hex += strspn(hex, " \t:=");
	size_t size = platform_digest_size(tpm_digest(in->bank)), len = strcspn(hex, " \t\r");
	if (hex == line || index >= TPM_PCR_COUNT || in->pcr_count == TPM_PCR_COUNT || len != 2 * size)
		return fail(BAD_VALUE, "'%.80s' is not a PCR of bank %s: a number and its value in hex", line, tpm_algorithm_name(in->bank));
	TRY(hex_decode(span_of(hex, len), in->values[index], size));
	in->pcrs[in->pcr_count++] = (struct pcr_value){in->bank, (uint8_t)index, span_of(in->values[index], size)};
	return OK;
}

static result read_pcrs(struct inputs *in)
{
	char line[256];
	const char *at = (const char *)in->pcr_text.data, *end = at + in->pcr_text.len;
	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((stop ? stop : end) - at);
		if (len >= sizeof(line))
			return fail(TOO_LARGE, "a line of %zu bytes among the PCR values", len);
		memcpy(line, at, len);
		line[len] = '\0';
		if (len > 0)
			TRY(read_pcr(in, line));
		at += len + 1;
	}
	return OK;
}

/* TPMT_SIGNATURE, or the bare bytes of RSASSA with SHA-256. */
static result read_signature(const struct inputs *in, struct platform_signature *out)
{
	struct span bytes = bytes_span(&in->signature);
	if (tpm_signature_parse(bytes, out) == OK)
		return OK;
	if (in->key.type != PLATFORM_KEY_RSA)
		return fail_within(BAD_SIGNATURE, "the signature file");
	*out = (struct platform_signature){.scheme = SCHEME_RSASSA, .digest = DIGEST_SHA256, .rsa = bytes};
	return OK;
}

/* Values beyond the quoted ones may stand in the file; they prove nothing and are left out. */
static result select_quoted(struct inputs *in)
{
	struct tpm_attest attest;
	size_t kept = 0;
	TRY(tpm_attest_parse(bytes_span(&in->attest), &attest));
	for (size_t i = 0; i < in->pcr_count; i++)
		for (size_t s = 0; s < attest.selection_count; s++)
			if (attest.selections[s].bank == in->bank && attest.selections[s].pcrs & 1u << in->pcrs[i].index) {
				in->pcrs[kept++] = in->pcrs[i];
				break;
			}
	in->pcr_count = kept;
	return OK;
}

static result judge_quote(struct inputs *in, const struct arguments *arguments, struct tpm_attest *out)
{
	struct tpm_quote quote = {.attest = bytes_span(&in->attest), .ak = &in->key, .pcrs = in->pcrs, .bank = in->bank,
		.nonce = span_of(in->nonce, in->nonce_len), .any_nonce = arguments->any_nonce};
	TRY(read_key(in));
	TRY(read_signature(in, &quote.signature));
	TRY(select_quoted(in));
	quote.pcr_count = in->pcr_count;
	TRY(tpm_quote_verify(&quote, out));
	return in->has_area ? tpm_signer_check(out, &in->area) : OK;
}

static result load(const struct arguments *arguments, struct inputs *in)
{
	bool quote = arguments->attest || arguments->signature || arguments->ak;
	if (quote && (!arguments->attest || !arguments->signature || !arguments->ak || !arguments->pcrs))
		return fail(USAGE, "a quote is judged by --attest, --signature, --ak and --pcrs together");
	if (!quote && !arguments->log)
		return fail(USAGE, "nothing to judge: give a quote, --log or both");
	if (quote && !arguments->nonce && !arguments->any_nonce)
		return fail(USAGE, "say which challenge the quote must answer: --nonce HEX, or --any-nonce");
	TRY(parse_bank(arguments->bank, &in->bank));
	if (arguments->nonce) {
		in->nonce_len = strlen(arguments->nonce) / 2;
		if (in->nonce_len > sizeof(in->nonce))
			return fail(USAGE, "--nonce takes at most %zu bytes", sizeof(in->nonce));
		TRY(hex_decode(span_str(arguments->nonce), in->nonce, in->nonce_len));
	}
	if (quote) {
		TRY(file_read(arguments->attest, FILE_MOST, &in->attest));
		TRY(file_read(arguments->signature, FILE_MOST, &in->signature));
		TRY(file_read(arguments->ak, FILE_MOST, &in->ak));
	}
	if (arguments->log)
		TRY(file_read(arguments->log, EVENT_LOG_MAX, &in->log));
	if (!arguments->pcrs)
		return OK;
	TRY(file_read(arguments->pcrs, FILE_MOST, &in->pcr_text));
	return read_pcrs(in);
}

static json_t *replay_json(const struct replay *replay)
{
	json_t *pcrs = json_object();
	for (unsigned i = 0; i < TPM_PCR_COUNT; i++) {
		char name[8];
		snprintf(name, sizeof(name), "%u", i);
		if (replay->touched & 1u << i)
			json_object_set_new(pcrs, name, json_hex(span_of(replay->value[i], replay->size)));
	}
	return json_pack("{s:s,s:I,s:I,s:o}", "bank", tpm_algorithm_name(replay->bank), "events", (json_int_t)replay->events, "unbound",
		(json_int_t)replay->unbound, "pcrs", pcrs);
}

static result tell(const struct tpm_attest *attest, const struct replay *replay, bool json)
{
	if (json) {
		json_t *object = json_pack("{s:s,s:o,s:o}", "verdict", "accepted", "quote",
			attest ? json_pack("{s:o,s:I,s:b}", "nonce", json_hex(attest->extra_data), "resets", (json_int_t)attest->reset_count, "clock_safe",
					 attest->clock_safe)
			       : json_null(),
			"log", replay ? replay_json(replay) : json_null());
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	if (attest)
		printf("The quote is signed by this key and is over these PCR values.\n");
	for (unsigned i = 0; replay && i < TPM_PCR_COUNT; i++)
		if (replay->touched & 1u << i) {
			printf("  PCR %-2u  ", i);
			verb_print_hex(span_of(replay->value[i], replay->size));
			printf("\n");
		}
	if (replay)
		printf("The log of %zu events leads there; what %zu of them say about themselves is covered by no digest.\n", replay->events, replay->unbound);
	return OK;
}

static result verify(const struct arguments *arguments, bool json)
{
	CLEANUP(inputs_free) struct inputs in = {0};
	struct tpm_attest attest;
	struct replay replay;
	TRY(load(arguments, &in));
	if (arguments->attest)
		TRY(judge_quote(&in, arguments, &attest));
	if (arguments->log)
		TRY(tpm_log_check(bytes_span(&in.log), in.bank, in.pcrs, in.pcr_count, arguments->attest ? BOOT_PCRS : 0, &replay));
	return tell(arguments->attest ? &attest : NULL, arguments->log ? &replay : NULL, json);
}

int verb_tpm_verify(int argc, char **argv)
{
	struct arguments arguments = {.bank = "sha256"};
	const struct option_row rows[] = {
		{"attest", OPTION_TEXT, &arguments.attest, "FILE", "TPMS_ATTEST of the quote"},
		{"signature", OPTION_TEXT, &arguments.signature, "FILE", "TPMT_SIGNATURE, or the bare bytes of RSASSA with SHA-256"},
		{"ak", OPTION_TEXT, &arguments.ak, "FILE", "attestation key: TPMT_PUBLIC, TPM2B_PUBLIC or PEM (of a PEM no attributes are known)"},
		{"pcrs", OPTION_TEXT, &arguments.pcrs, "FILE", "PCR values, a line each: number and hex"},
		{"bank", OPTION_TEXT, &arguments.bank, "NAME", "sha1, sha256, sha384 or sha512 (sha256)"},
		{"nonce", OPTION_TEXT, &arguments.nonce, "HEX", "the challenge that must stand in the quote"},
		{"any-nonce", OPTION_FLAG, &arguments.any_nonce, NULL, "whatever challenge: an old quote would pass"},
		{"log", OPTION_TEXT, &arguments.log, "FILE", "event log that must lead to the values: TCG (binary_bios_measurements) or canonical (TLV, CBOR)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "tpm verify",
		.usage = "[--attest FILE --signature FILE --ak FILE --pcrs FILE --nonce HEX] [--log FILE] [--bank NAME]",
		.description = "Judges a quote of any TPM 2.0 and the event log beside it, offline. Whose TPM it is, its endorsement certificate\n"
			       "says: `troth tpm enrol` and `troth verify` look at that.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = verify(&arguments, options.json);
	return verb_end(done, argc, argv);
}
