/*
 * troth tpm enrol: makes sure that the attestation key of a host lies in the TPM of an endorsement certificate, and writes down
 * both, for trust files (`troth trust new --tpm FILE`) and, with --local, for the live decisions of this host's enclaves.
 */
#include "cmd/verb.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "cmd/platform_files.h"
#include "crypto/random.h"
#include "evidence/credential.h"
#include "evidence/tpm.h"
#include "wire/json.h"
#include "wire/text.h"

enum { PEM_MAX = 256 * 1024, MOST_CERTIFICATES = 64, ENROL_MS = 120 * 1000 };

struct arguments {
	struct host_options host;
	struct words roots;
	const char *output;
	bool local, allow_synthetic;
};

struct enrolment {
	struct arena arena;
	struct platform_trust trust;
	struct platform_enrolled enrolled;
	struct tpm_public ek, ak;
	size_t root; /* which one vouches */
};

static void enrolment_free(struct enrolment *e)
{
	arena_free(&e->arena);
}

static result read_roots(const struct words *files, struct enrolment *e)
{
	void *items;
	TRY(arena_alloc(&e->arena, MOST_CERTIFICATES, sizeof(struct bytes_item), &items));
	e->trust.roots = items;
	for (size_t i = 0; i < files->count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		TRY(file_read(files->items[i], PEM_MAX, &pem));
		struct span rest = bytes_span(&pem);
		size_t before = e->trust.root_count;
		for (;;) {
			CLEANUP(bytes_free) struct bytes der = BYTES_EMPTY;
			if (certificate_next_from_pem(&rest, &der) != OK)
				break;
			if (e->trust.root_count == MOST_CERTIFICATES)
				return fail(USAGE, "more than %d certificates", MOST_CERTIFICATES);
			TRY(arena_copy(&e->arena, bytes_span(&der), &e->trust.roots[e->trust.root_count++].bytes));
		}
		if (e->trust.root_count == before)
			return fail(BAD_CERTIFICATE, "'%s' holds no certificate in PEM form", files->items[i]);
	}
	return e->trust.root_count ? OK : fail(USAGE, "name the maker's certificates: --tpm-root FILE.pem");
}

static result ask(struct client *client, const struct ap_enrol *request, struct arena *arena, struct ap_enrolled *out)
{
	const struct client_call call = {.type = SERVICE_TPM, .body = request, .expected = SERVICE_TPM_IS, .timeout_ms = ENROL_MS};
	return client_call(client, &call, arena, out, NULL);
}

/* The certificate of the endorsement key leads to a named root, and is of the key that the TPM says it has. */
static result check_endorsement(struct enrolment *e, const struct ap_enrolled *who)
{
	CLEANUP(platform_key_free) struct platform_key leaf = PLATFORM_KEY_EMPTY, ek = PLATFORM_KEY_EMPTY;
	struct span roots[MOST_CERTIFICATES];
	for (size_t i = 0; i < e->trust.root_count; i++)
		roots[i] = e->trust.roots[i].bytes;
	if (who->ek_certificate.len == 0)
		return fail(EK_UNTRUSTED, "the TPM has no endorsement certificate");
	TRY(certificate_chain_verify(&who->ek_certificate, 1, roots, e->trust.root_count, clock_wall_ms(), &e->root, &leaf));
	TRY(tpm_public_parse(who->ek_public, &e->ek));
	TRY(tpm_public_key(&e->ek, &ek));
	if (memcmp(leaf.id, ek.id, sizeof(ek.id)) != 0)
		return fail(EK_UNTRUSTED, "the endorsement certificate is of another key");
	memcpy(e->enrolled.ek, ek.id, SHA256_SIZE);
	return OK;
}

static result name_key(struct enrolment *e, const struct ap_enrolled *who)
{
	uint8_t name[TPM_NAME_MAX];
	size_t len;
	TRY(tpm_public_parse(who->ak_public, &e->ak));
	TRY(tpm_ak_check(&e->ak));
	TRY(tpm_public_name(&e->ak, name, &len));
	sha256(span_of(name, len), e->enrolled.ak);
	return OK;
}

/* What only the TPM that holds both keys can open. */
static result challenge(struct enrolment *e, struct client *client)
{
	CLEANUP(credential_free) struct credential credential = {0};
	struct ap_enrolled answer;
	uint8_t secret[CREDENTIAL_SECRET_MAX];
	random_bytes(secret, sizeof(secret));
	TRY(credential_make(&e->ek, &e->ak, SPAN_ARRAY(secret), &credential));
	const struct ap_enrol request = {bytes_span(&credential.object), bytes_span(&credential.encrypted)};
	TRY(ask(client, &request, &e->arena, &answer));
	bool right = secret_equal(answer.answer, SPAN_ARRAY(secret));
	wipe(secret, sizeof(secret));
	return right ? OK : fail(TPM_CHALLENGE_FAILED, "the answer is not the content of the challenge");
}

/* Beside the TPMs of other hosts that are believed already; whether test platforms count is said anew. */
static result keep_local(struct enrolment *e, const struct arguments *arguments)
{
	struct platform_trust kept;
	TRY(platform_trust_load(arguments->host.state, &e->arena, &kept));
	TRY(platform_trust_add(&kept, &e->trust, &e->arena));
	kept.allow_synthetic = arguments->allow_synthetic;
	return platform_trust_save(arguments->host.state, &kept);
}

static result write_enrolment(const struct enrolment *e, const char *path)
{
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	struct stat status;
	if (lstat(path, &status) == 0)
		return fail(ALREADY_EXISTS, "%s", path);
	TRY(schema_encode(&platform_trust_schema, &e->trust, &encoded));
	return file_write_atomic(path, bytes_span(&encoded), 0644);
}

static result tell(const struct enrolment *e, const struct arguments *arguments, bool json)
{
	bool synthetic = !tpm_root_is_builtin(e->trust.roots[e->root].bytes);
	char ak[2 * SHA256_SIZE + 1], ek[2 * SHA256_SIZE + 1];
	hex_encode(SPAN_ARRAY(e->enrolled.ak), ak);
	hex_encode(SPAN_ARRAY(e->enrolled.ek), ek);
	if (json) {
		json_t *object = json_pack("{s:s,s:s,s:b,s:s?,s:b}", "ak", ak, "ek", ek, "synthetic", synthetic, "written", arguments->output, "local",
			arguments->local);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("The attestation key of this host lies in the TPM of the endorsement certificate.\n  attestation key  %s\n  endorsement key  %s\n", ak, ek);
	if (synthetic)
		printf("Its root is none of a known maker: it counts as a test platform, as Level-1 unless --allow-synthetic was given.\n");
	if (arguments->output)
		printf("%s written: `troth trust new --tpm %s` puts it into a trust file.\n", arguments->output, arguments->output);
	return OK;
}

static result enrol(const struct arguments *arguments, bool json)
{
	CLEANUP(enrolment_free) struct enrolment e = {.arena = arena_of(4 << 20)};
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct ap_enrolled who;
	if (!arguments->output && !arguments->local)
		return fail(USAGE, "say where it goes: --output FILE, --local or both");
	TRY(read_roots(&arguments->roots, &e));
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(ask(&client, &(struct ap_enrol){0}, &e.arena, &who));
	TRY(check_endorsement(&e, &who));
	TRY(name_key(&e, &who));
	TRY(challenge(&e, &client));
	e.trust.enrolled = &e.enrolled;
	e.trust.enrolled_count = 1;
	e.trust.allow_synthetic = arguments->allow_synthetic;
	if (arguments->local)
		TRY(keep_local(&e, arguments));
	if (arguments->output)
		TRY(write_enrolment(&e, arguments->output));
	return tell(&e, arguments, json);
}

int verb_tpm_enrol(int argc, char **argv)
{
	struct arguments arguments = {.output = NULL};
	const struct option_row rows[] = {
		{"tpm-root", OPTION_LIST, &arguments.roots, "FILE", "certificates of TPM makers that are believed, PEM (repeat)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "the enrolment, for `troth trust new --tpm`; never over an existing file"},
		{"local", OPTION_FLAG, &arguments.local, NULL, "keep it in the state folder too, for policies that ask for Level-2"},
		{"allow-synthetic", OPTION_FLAG, &arguments.allow_synthetic, NULL, "let a simulated or self-made platform count as Level-2; for tests"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "tpm enrol",
		.usage = "--tpm-root FILE... (--output FILE | --local) [--state DIR]",
		.description = "Challenges the TPM of this host: only the one that holds both its endorsement key, whose certificate the maker\n"
			       "signed, and the attestation key of its quotes can answer. See docs/TPM.md.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = enrol(&arguments, options.json);
	return verb_end(done, argc, argv);
}
