/* troth tpm quote: a fresh quote of this host over somebody's challenge, as one file for verifiers and taken apart for tools. */
#include "cmd/verb.h"

#include <stdio.h>
#include <sys/stat.h>

#include "object/evidence.h"
#include "wire/json.h"
#include "wire/text.h"

enum { QUOTE_MS = 120 * 1000 };

struct arguments {
	struct host_options host;
	const char *nonce, *output;
};

static result write_part(const char *folder, const char *name, struct span content)
{
	char path[PATH_SIZE];
	TRY(path_join(path, folder, name));
	return file_write_atomic(path, content, 0644);
}

static result write_pcrs(const char *folder, const struct tpm_evidence *body)
{
	CLEANUP(writer_free) struct writer w = writer_growing(24 * 1024);
	struct span text;
	for (size_t i = 0; i < body->pcr_count; i++) {
		char number[8], hex[2 * SHA512_SIZE + 1];
		snprintf(number, sizeof(number), "%u ", body->pcrs[i].index);
		hex_encode(body->pcrs[i].value, hex);
		writer_str(&w, number);
		writer_str(&w, hex);
		writer_str(&w, "\n");
	}
	TRY(writer_finish(&w, &text));
	return write_part(folder, "pcrs", text);
}

static result write_log(const char *folder, const struct tpm_evidence *body)
{
	CLEANUP(writer_free) struct writer w = writer_growing(EVIDENCE_MAX);
	struct span log;
	for (size_t i = 0; i < body->log_count; i++)
		writer_span(&w, body->log[i].bytes);
	TRY(writer_finish(&w, &log));
	return write_part(folder, "log", log);
}

static result write_all_parts(const char *folder, struct span evidence, const struct tpm_evidence *body)
{
	TRY(write_part(folder, "evidence", evidence));
	TRY(write_part(folder, "attest", body->attest));
	TRY(write_part(folder, "signature", body->signature));
	TRY(write_part(folder, "ak", body->ak_public));
	TRY(write_pcrs(folder, body));
	return write_log(folder, body);
}

static result tell(const struct arguments *arguments, const struct evidence *envelope, const struct tpm_evidence *body, bool json)
{
	uint8_t binding[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];
	TRY(tpm_evidence_binding(envelope, body, binding));
	hex_encode(SPAN_ARRAY(binding), hex);
	if (json) {
		json_t *object = json_pack("{s:s,s:s,s:I,s:o}", "written", arguments->output, "extra_data", hex, "boot_gen", (json_int_t)body->boot_gen,
			"epoch", json_hex(SPAN_ARRAY(body->epoch_oid)));
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("%s written: evidence (docs/PROTOCOL.evidence), and taken apart attest, signature, ak, pcrs, log.\n"
	       "The quote's challenge binds nonce, epoch and boot log: %s\n",
		arguments->output, hex);
	return OK;
}

static result quote(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	uint8_t nonce[PLATFORM_NONCE_MAX];
	size_t len = arguments->nonce ? strlen(arguments->nonce) / 2 : 0;
	struct ap_quote request;
	struct ap_quoted reply;
	struct evidence envelope;
	struct tpm_evidence body;
	const struct client_call call = {.type = SERVICE_QUOTE, .body = &request, .expected = SERVICE_QUOTED, .timeout_ms = QUOTE_MS};
	if (!arguments->nonce || !arguments->output || len > sizeof(nonce))
		return fail(USAGE, "--nonce takes up to %zu bytes in hex, --output a folder that does not exist yet", sizeof(nonce));
	TRY(hex_decode(span_str(arguments->nonce), nonce, len));
	request.nonce = span_of(nonce, len);
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &reply, NULL));
	TRY(schema_decode(&evidence_schema, reply.evidence, &arena, &envelope));
	TRY(schema_decode(&tpm_evidence_schema, envelope.body, &arena, &body));
	if (mkdir(arguments->output, 0755) != 0)
		return fail_errno("'%s'", arguments->output);
	TRY(write_all_parts(arguments->output, reply.evidence, &body));
	return tell(arguments, &envelope, &body, json);
}

int verb_tpm_quote(int argc, char **argv)
{
	struct arguments arguments = {.output = NULL};
	const struct option_row rows[] = {
		{"nonce", OPTION_TEXT, &arguments.nonce, "HEX", "challenge of whoever will verify"},
		{"output", OPTION_TEXT, &arguments.output, "DIR", "new folder for the evidence and its parts"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "tpm quote",
		.usage = "--nonce HEX --output DIR [--state DIR]",
		.description = "Has this host's TPM vouch for its root of trust now: boot PCRs, the epoch's record, the measured programs. The parts\n"
			       "are what `troth tpm verify` and tpm2_checkquote read.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = quote(&arguments, options.json);
	return verb_end(done, argc, argv);
}
