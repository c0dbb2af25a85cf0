/* troth tpm believe: which TPMs, of other hosts too, the enclaves of this host believe where a policy asks for Level-2. */
#include "cmd/verb.h"

#include <stdio.h>

#include "cmd/platform_files.h"
#include "wire/json.h"
#include "wire/text.h"

struct arguments {
	struct host_options host;
	const char *remove;
	bool allow_synthetic;
};

static void print(const struct platform_trust *trust)
{
	if (trust->enrolled_count == 0)
		printf("The enclaves of this host believe no TPM: policies that ask for Level-2 deny.\n");
	for (size_t i = 0; i < trust->enrolled_count; i++) {
		char ak[2 * SHA256_SIZE + 1], ek[2 * SHA256_SIZE + 1];
		hex_encode(SPAN_ARRAY(trust->enrolled[i].ak), ak);
		hex_encode(SPAN_ARRAY(trust->enrolled[i].ek), ek);
		printf("attestation key  %s\n  endorsement key  %s\n", ak, ek);
	}
	if (trust->enrolled_count && trust->allow_synthetic)
		printf("Test platforms count as Level-2 here.\n");
}

static result change(const struct arguments *arguments, const struct words *files, struct arena *arena, struct platform_trust *trust)
{
	uint8_t ak[SHA256_SIZE];
	for (size_t i = 0; i < files->count; i++) {
		struct platform_trust one;
		TRY(platform_trust_read(files->items[i], arena, &one));
		TRY(platform_trust_add(trust, &one, arena));
	}
	if (arguments->remove) {
		if (hex_decode(span_str(arguments->remove), ak, sizeof(ak)) != OK)
			return fail(USAGE, "--remove takes the 64 hex digits of an attestation key");
		TRY(platform_trust_remove(trust, ak));
	}
	trust->allow_synthetic |= arguments->allow_synthetic;
	return OK;
}

static result believe(const struct arguments *arguments, const struct words *files, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	struct platform_trust trust;
	TRY(platform_trust_load(arguments->host.state, &arena, &trust));
	TRY(change(arguments, files, &arena, &trust));
	if (files->count || arguments->remove || arguments->allow_synthetic)
		TRY(platform_trust_save(arguments->host.state, &trust));
	if (!json) {
		print(&trust);
		return OK;
	}
	json_t *value = schema_json(&platform_trust_schema, &trust);
	if (!value)
		return fail(NO_MEMORY, "json");
	result printed = json_print(stdout, value);
	json_decref(value);
	return printed;
}

int verb_tpm_believe(int argc, char **argv)
{
	struct arguments arguments = {.remove = NULL};
	const struct option_row rows[] = {
		{"remove", OPTION_TEXT, &arguments.remove, "AK", "take out the TPM with this attestation key (64 hex digits)"},
		{"allow-synthetic", OPTION_FLAG, &arguments.allow_synthetic, NULL, "let a simulated or self-made platform count as Level-2; for tests"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "tpm believe",
		.usage = "[ENROLMENT...] [--remove AK] [--state DIR]",
		.description = "Lets the enclaves of this host believe the TPMs of these enrolments (`troth tpm enrol --output` on the other host), where\n"
			       "a policy asks for Level-2 of a peer there; without operands lists those that are believed. An enrolment says what the\n"
			       "other operator found: take it over a way that you trust. Runs that have begun go on by what was believed then.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 64,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = believe(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
