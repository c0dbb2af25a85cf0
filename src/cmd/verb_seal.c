/*
 * troth seal: a data owner seals a secret to one enclave of a job, by its measurement. The secret is boxed here to the
 * secure processor's key, so that neither socket, host nor queue sees it (constructions/epochs.md SEAL in).
 */
#include "cmd/root_client.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/box.h"
#include "job/plan.h"
#include "object/seal.h"
#include "wire/json.h"

enum { MOST_TRIES = 8 };

struct arguments {
	struct host_options host;
	const char *job, *enclave, *secret, *root, *reference, *output;
	uint64_t min_svn;
};

/* What the owner knows of the root, and what the host adds to it. */
struct root {
	uint8_t rot_id[OID_SIZE], known[OID_SIZE]; /* known: the newest record that the owner has */
	const struct host_options *host;
	struct epoch_chain *chain; /* the host's, verified from the owner's inception record on */
};

static void root_free(struct root *root)
{
	epoch_chain_free(root->chain);
}

static result read_root(const char *path, struct root *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *own = NULL;
	TRY(file_read(path, EPOCH_HISTORY_MAX, &file));
	result opened = epoch_chain_of_history(bytes_span(&file), &own);
	if (opened != OK)
		return fail_within(opened, "'%s' is neither an inception record nor a history", path);
	memcpy(out->rot_id, epoch_chain_rot_id(own), OID_SIZE);
	memcpy(out->known, epoch_chain_head(own)->oid, OID_SIZE);
	return OK;
}

/* The host's chain, which must go on from what the owner has. */
static result follow(struct client *client, struct root *root)
{
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	uint64_t now = clock_wall_ms();
	TRY(root_fetch(client, &chain, NULL));
	if (memcmp(epoch_chain_rot_id(chain), root->rot_id, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "this host has another root than --root");
	if (!epoch_chain_find(chain, root->known))
		return fail(EPOCH_FOREIGN, "the host does not know of an epoch that --root has");
	if (epoch_chain_state(chain) == CHAIN_FROZEN)
		return fail(EPOCH_FORKED, "the root of --root");
	if (epoch_chain_state(chain) == CHAIN_HALTED)
		return fail(EPOCH_HALTED, "the root of --root");
	const struct epoch_link *head = epoch_chain_head(chain);
	if (now < head->not_before || now > head->not_after)
		return fail(EPOCH_EXPIRED, "epoch %llu of the root", (unsigned long long)head->epoch);
	epoch_chain_free(root->chain);
	root->chain = chain;
	chain = NULL;
	return OK;
}

/*
 * For whom, by reference: whatever the author lists under this enclave's name. What is here now must be among it: otherwise the
 * set is not about this job, and nobody would notice until the secret does not open.
 */
static result name_reference(const struct arguments *arguments, const struct job_stage *stage, struct arena *arena, struct seal_policy *policy)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span kept;
	struct reference_set set;
	struct reference *reference = &policy->reference;
	if (arguments->min_svn > UINT32_MAX)
		return fail(USAGE, "--min-svn is too large");
	TRY(file_read(arguments->reference, REFERENCE_SET_MAX, &file));
	TRY(arena_copy(arena, bytes_span(&file), &kept));
	result opened = reference_set_open(kept, arena, &set, reference->author, NULL);
	if (opened != OK)
		return fail_within(opened, "'%s' is no signed reference set", arguments->reference);
	reference->set = set.name;
	reference->min_svn = (uint32_t)arguments->min_svn;
	policy->v = SEAL_BY_REFERENCE;
	const struct reference_question question = {reference, stage->name, REFERENCE_MEASUREMENT, stage->measurement, 0, clock_wall_ms()};
	return reference_answer(&question, &set, reference->author, NULL);
}

/* For whom: the enclave as the job and the files on this machine make it. */
static result make_policy(const struct arguments *arguments, const struct root *root, struct arena *arena, struct bytes *out)
{
	CLEANUP(job_plan_free) struct job_plan plan = {.stage_count = 0};
	struct seal_policy policy = {.v = 1, .name = arguments->enclave};
	bool declared = false;
	TRY(job_plan_load(arguments->job, &plan));
	const struct job_stage *stage = job_plan_stage(&plan, arguments->enclave);
	if (!stage)
		return fail(UNKNOWN_ENCLAVE, "job '%s' has no enclave '%s'", plan.job.name, arguments->enclave);
	for (size_t i = 0; i < plan.job.input_count; i++) {
		const struct job_input *input = &plan.job.inputs[i];
		declared |= input->secret && strcmp(input->enclave, stage->name) == 0 &&
			(strcmp(input->role, arguments->secret) == 0 || strcmp(input->input, arguments->secret) == 0);
	}
	if (!declared)
		return fail(UNKNOWN_ROLE, "enclave '%s' takes no secret '%s'", stage->name, arguments->secret);
	memcpy(policy.rot_id, root->rot_id, OID_SIZE);
	if (arguments->reference)
		TRY(name_reference(arguments, stage, arena, &policy));
	else
		memcpy(policy.measurement, stage->measurement, SHA384_SIZE);
	return schema_encode(&seal_policy_schema, &policy, out);
}

static result read_secret(struct secret *out)
{
	if (isatty(STDIN_FILENO))
		return fail(USAGE, "the secret is read from stdin, which is a terminal here; redirect a file or pipe: < key");
	result read = file_read_secret(STDIN_FILENO, SECRET_MAX, out);
	return read == OK ? OK : fail_within(read, "the secret (1 to %d bytes on stdin)", SECRET_MAX);
}

static void hash_box(struct span box, struct span policy, uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		return;
	hash_add(&hash, box);
	hash_add(&hash, policy);
	hash_finish(&hash, out);
}

/* Only an answer over our own box, signed by the root that was named, is accepted: boxing authenticates nobody. */
static result check_answer(struct span object, const struct root *root, struct span box, struct span policy, struct arena *arena)
{
	struct sealed sealed;
	CLEANUP(bytes_free) struct bytes named = BYTES_EMPTY;
	CLEANUP(key_free) struct key sign = KEY_EMPTY;
	uint8_t expected[SHA256_SIZE] = {0};
	TRY(object_peek(KIND_SEALED, object, arena, &sealed, NULL));
	const struct epoch_link *link = epoch_chain_find(root->chain, sealed.epoch_oid);
	if (!link || link->is_void)
		return fail(EPOCH_OLD, "the host's answer is of an epoch that was not known when it was asked");
	TRY(key_from_point(SPAN_ARRAY(link->sign_pk), &sign));
	result opened = object_open(KIND_SEALED, object, &sign, arena, &sealed, NULL);
	if (opened != OK)
		return fail_within(opened, "the host's answer is not signed by the root of --root");
	hash_box(box, policy, expected);
	TRY(schema_encode(&seal_policy_schema, &sealed.policy, &named));
	if (memcmp(sealed.box_hash, expected, sizeof(expected)) != 0 || !span_equal(bytes_span(&named), policy))
		return fail(DIGEST_MISMATCH, "the host's answer is about another secret or another enclave");
	return OK;
}

static result print(struct span object, const struct arguments *arguments, bool json)
{
	uint8_t digest[SHA256_SIZE];
	if (!arguments->output)
		return write_all(STDOUT_FILENO, object);
	TRY(file_write_atomic(arguments->output, object, 0644));
	if (!json)
		return OK;
	sha256(object, digest);
	json_t *told = json_pack("{s:s, s:s, s:s, s:o}", "enclave", arguments->enclave, "secret", arguments->secret, "file",
		arguments->output, "sha256", json_hex(SPAN_ARRAY(digest)));
	result printed = told ? json_print(stdout, told) : fail(NO_MEMORY, "json");
	json_decref(told);
	return printed;
}

/* Boxed to the head; when the root rotates in between, once more. */
static result ask_host(struct client *client, struct root *root, struct span policy, struct span secret, struct arena *arena,
	struct service_sealed *out)
{
	uint8_t box[BOX_OVERHEAD + SECRET_MAX];
	for (int tries = 0;; tries++) {
		TRY(follow(client, root));
		TRY(box_seal(SPAN_ARRAY(epoch_chain_head(root->chain)->kem_pk), "seal-in", policy, secret, box));
		struct service_seal ask = {policy, span_of(box, BOX_OVERHEAD + secret.len)};
		const struct client_call call = {.type = SERVICE_SEAL, .body = &ask, .expected = SERVICE_SEALED, .timeout_ms = 60 * 1000};
		result sealed = client_call(client, &call, arena, out, NULL);
		if (sealed == OK)
			sealed = check_answer(out->object, root, ask.box, ask.policy, arena);
		if (sealed != EPOCH_OLD || tries == MOST_TRIES)
			return sealed;
		client_close(client);
		TRY(verb_connect(root->host, false, NULL, client));
	}
}

static result seal(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	CLEANUP(root_free) struct root root = {.host = &arguments->host};
	CLEANUP(bytes_free) struct bytes policy = BYTES_EMPTY;
	struct service_sealed answer;
	if (!arguments->job || !arguments->enclave || !arguments->secret || !arguments->root)
		return fail(USAGE, "--job, --enclave, --as and --root are needed");
	if (!arguments->output && isatty(STDOUT_FILENO))
		return fail(USAGE, "the sealed secret is binary and stdout is a terminal; redirect it or use --output FILE");
	TRY(read_root(arguments->root, &root));
	TRY(make_policy(arguments, &root, &arena, &policy));
	TRY(read_secret(&secret));
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(ask_host(&client, &root, bytes_span(&policy), secret_span(&secret), &arena, &answer));
	return print(answer.object, arguments, json);
}

int verb_seal(int argc, char **argv)
{
	struct arguments arguments = {.job = NULL};
	const struct option_row rows[] = {
		{"job", OPTION_TEXT, &arguments.job, "JOB", "the job file"},
		{"enclave", OPTION_TEXT, &arguments.enclave, "NAME", "the enclave of the job that may open the secret"},
		{"as", OPTION_TEXT, &arguments.secret, "SECRET", "which of its secrets this is"},
		{"root", OPTION_TEXT, &arguments.root, "FILE", "inception record of the host, compared by its fingerprint, or its history"},
		{"reference", OPTION_TEXT, &arguments.reference, "SET",
			"seal to what the author of this signed set lists for the enclave, now and in later sets of his"},
		{"min-svn", OPTION_NUMBER, &arguments.min_svn, "N", "with --reference: never to a security version below this"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the sealed secret goes (stdout)"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "seal",
		.usage = "--job JOB --enclave NAME --as SECRET --root FILE < key > key.sealed",
		.description = "Seals a secret, read from stdin, so that only this enclave can open it: this program with these files, "
			       "arguments,\n"
			       "policy and direct peers, on the host with this root. Nobody else sees it, not even the host's own service. "
			       "It does\n"
			       "not say who sealed it. A change of the job or of a file of it needs a new seal, unless it is sealed with\n"
			       "--reference: then the author of that set decides which versions of the enclave open it (docs/UPGRADE.md).",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = seal(&arguments, options.json);
	return verb_end(done, argc, argv);
}
