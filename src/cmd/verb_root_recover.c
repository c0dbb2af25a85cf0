/*
 * troth root recover, set-recovery and halt: what the holders of recovery keys do. Each is prepared, signed offline by every
 * holder, and finished with the signatures.
 */
#include "cmd/recovery_files.h"
#include "cmd/root_client.h"
#include "cmd/root_describe.h"
#include "cmd/token_options.h"
#include "job/state.h"
#include "root/tcb.h"
#include "root/token_settings.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/json.h"

enum { MOST_DAYS = 3660, CALL_MS = 120 * 1000 };
#define DAY_MS (24ULL * 3600 * 1000)

struct arguments {
	struct host_options host;
	const char *candidate, *key, *key_id, *output, *from, *history, *trust_domain;
	struct words signatures, keys, recovery;
	bool no_recovery;
	struct token_options token;
	uint64_t days;
};

static result print_json_of(json_t *object)
{
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

/* ---- Signing and finishing, the same for all three ------------------------------------------------------ */

static result tell_candidate(const struct candidate *candidate, const char *path, bool json)
{
	const struct epoch_recovery *set = &candidate->base_epoch.recovery;
	if (!json) {
		candidate_print(candidate, path);
		return OK;
	}
	json_t *keys = json_array();
	for (size_t i = 0; i < set->key_count; i++)
		json_array_append_new(keys, json_hex(SPAN_ARRAY(set->keys[i].bytes)));
	return print_json_of(json_pack("{s:s, s:s, s:i, s:o}", "candidate", path, "label", candidate->label, "k", set->k, "keys", keys));
}

static result do_sign(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct candidate candidate;
	struct token_source token;
	char folder[PATH_SIZE];
	struct signer_source signer = {.program_dir = folder};
	bool in_token = token_options_given(&arguments->token) || arguments->key_id;
	if (!(arguments->key || arguments->key_id) || !arguments->output)
		return fail(USAGE, "--key and --output are needed");
	if (in_token) {
		TRY(token_options_source(&arguments->token, &arena, &token));
		signer.token = &token;
		signer.key_label = arguments->key;
		signer.key_id = arguments->key_id;
	} else {
		signer.pem_file = arguments->key;
	}
	TRY(program_folder(folder, sizeof(folder)));
	TRY(candidate_read(arguments->candidate, &arena, &candidate));
	TRY(candidate_sign(&candidate, &signer, arguments->output));
	if (json)
		return print_json_of(json_pack("{s:s}", "signature", arguments->output));
	printf("Signed. Give '%s' to whoever finishes it.\n", arguments->output);
	return OK;
}

static result do_finish(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(2 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct candidate candidate;
	struct recovery_signature *signatures;
	struct service_root root;
	struct epoch head;
	size_t count;
	TRY(candidate_read(arguments->candidate, &arena, &candidate));
	if (strcmp(candidate.label, kind_label(KIND_EPOCH)) != 0)
		return fail(WRONG_KIND, "'%s' is a HALT; finish it with `troth root halt assemble`", arguments->candidate);
	TRY(candidate_collect(&candidate, &arguments->signatures, &arguments->keys, &arena, &signatures, &count));
	const struct service_adopt ask = {candidate.payload, signatures, count};
	const struct client_call call = {.type = SERVICE_ADOPT, .body = &ask, .expected = SERVICE_ROOT_IS, .timeout_ms = CALL_MS};
	TRY(root_connect(&arguments->host, false, &client));
	TRY(client_call(&client, &call, &arena, &root, NULL));
	if (json)
		return root_print_json(&root, &arena);
	TRY(root_decode(root.head, &arena, &head));
	printf("The root is in era %u, epoch %llu now.\n", head.era, (unsigned long long)head.epoch);
	if (head.reason == EPOCH_RECOVERY)
		printf("Give `troth root history --output FILE` to every offline verifier: what the old era signed cannot be judged any more.\n");
	return OK;
}

/* ---- recover ------------------------------------------------------------------------------------------------ */

/* "12" or "1:12". */
static result parse_from(const char *text, struct service_recover *out)
{
	char *end;
	unsigned long long first = strtoull(text, &end, 10), second = 0;
	bool two = *end == ':';
	if (end != text && two)
		second = strtoull(end + 1, &end, 10);
	if (end == text || *end || (two && first > UINT32_MAX))
		return fail(USAGE, "--from takes an epoch, or ERA:EPOCH");
	out->era = two ? (uint32_t)first : 0;
	out->epoch = two ? second : first;
	out->from_head = false;
	return OK;
}

/* A root that moves to an empty state folder may move its signing keys into a token with it. */
static result choose_token(const struct arguments *arguments, struct arena *arena)
{
	char state[PATH_SIZE];
	struct token_source source;
	if (!token_options_given(&arguments->token))
		return OK;
	TRY(token_options_source(&arguments->token, arena, &source));
	TRY(state_path(arguments->host.state, state));
	if (state_has_root(state))
		return fail(ROOT_EXISTS, "its signing keys stay where they are; a token is chosen for an empty state folder, with --history FILE");
	return token_settings_save(state, &source);
}

static result prepare_recover(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(fd_close) struct fd history = FD_NONE;
	struct service_recover ask = {.from_head = true, .has_history = arguments->history != NULL,
		.trust_domain = arguments->trust_domain ? arguments->trust_domain : "troth.internal", .valid_ms = arguments->days * DAY_MS};
	struct service_candidate reply;
	struct candidate candidate;
	if (!arguments->output)
		return fail(USAGE, "--output FILE is needed: the candidate goes there");
	if (arguments->days > MOST_DAYS)
		return fail(USAGE, "--valid takes at most %d days", MOST_DAYS);
	if (arguments->from)
		TRY(parse_from(arguments->from, &ask));
	if (arguments->history)
		TRY(file_open(arguments->history, O_RDONLY, 0, &history));
	const struct client_call call = {.type = SERVICE_RECOVER, .body = &ask, .fds = &history.n, .fd_count = arguments->history ? 1 : 0,
		.expected = SERVICE_CANDIDATE, .timeout_ms = CALL_MS};
	TRY(choose_token(arguments, &arena));
	TRY(root_connect(&arguments->host, arguments->history != NULL, &client));
	TRY(client_call(&client, &call, &arena, &reply, NULL));
	TRY(candidate_write(arguments->output, KIND_EPOCH, reply.payload, reply.base, &arena, &candidate));
	return tell_candidate(&candidate, arguments->output, json);
}

/* ---- set-recovery --------------------------------------------------------------------------------------------- */

static result prepare_set_recovery(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_set_recovery ask = {.has_recovery = arguments->recovery.count > 0};
	struct service_candidate reply;
	struct candidate candidate;
	if (!arguments->output)
		return fail(USAGE, "--output FILE is needed: the candidate goes there");
	if ((arguments->recovery.count > 0) == arguments->no_recovery)
		return fail(USAGE, "either --recovery K FILE... or --no-recovery is needed");
	if (ask.has_recovery)
		TRY(recovery_read_set(&arguments->recovery, &arena, &ask.recovery));
	const struct client_call call = {
		.type = SERVICE_SET_RECOVERY, .body = &ask, .expected = SERVICE_CANDIDATE, .timeout_ms = CALL_MS};
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &reply, NULL));
	TRY(candidate_write(arguments->output, KIND_EPOCH, reply.payload, reply.base, &arena, &candidate));
	return tell_candidate(&candidate, arguments->output, json);
}

/* ---- halt --------------------------------------------------------------------------------------------------------- */

static result read_history(const char *path, struct bytes *out_bytes, struct epoch_chain **out_chain)
{
	if (!path)
		return fail(USAGE, "--history FILE is needed: what `troth root history --output` wrote, or an inception record");
	TRY(file_read(path, EPOCH_HISTORY_MAX, out_bytes));
	result read = epoch_chain_of_history(bytes_span(out_bytes), out_chain);
	return read == OK ? OK : fail_within(read, "'%s'", path);
}

/* Needs no host: a root that somebody else controls is halted without it. */
static result prepare_halt(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	struct candidate candidate;
	if (!arguments->output)
		return fail(USAGE, "--output FILE is needed: the candidate goes there");
	TRY(read_history(arguments->history, &history, &chain));
	const struct epoch_link *head = epoch_chain_head(chain);
	struct halt halt = {.v = 1, .era = head->era, .epoch = head->epoch};
	memcpy(halt.rot_id, epoch_chain_rot_id(chain), OID_SIZE);
	TRY(schema_encode(&halt_schema, &halt, &payload));
	TRY(candidate_write(arguments->output, KIND_HALT, bytes_span(&payload), head->record, &arena, &candidate));
	return tell_candidate(&candidate, arguments->output, json);
}

static result encode_history(struct epoch_chain *chain, const char *path)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(epoch_chain_history(chain, &encoding));
	return file_write_atomic(path, bytes_span(&encoding), 0644);
}

static result assemble_halt(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(2 << 20);
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	struct candidate candidate;
	struct recovery_signature *signatures;
	struct cose_signer signers[COSE_MAX_SIGNERS];
	size_t count;
	if (!arguments->output)
		return fail(USAGE, "--output FILE is needed: the history with the HALT goes there");
	TRY(candidate_read(arguments->candidate, &arena, &candidate));
	if (strcmp(candidate.label, kind_label(KIND_HALT)) != 0)
		return fail(WRONG_KIND, "'%s' is no HALT; finish it with `troth root recover finish`", arguments->candidate);
	TRY(candidate_collect(&candidate, &arguments->signatures, &arguments->keys, &arena, &signatures, &count));
	TRY(read_history(arguments->history, &history, &chain));
	for (size_t i = 0; i < count; i++) {
		sha256(signatures[i].spki, signers[i].kid);
		memcpy(signers[i].signature, signatures[i].signature, SIGNATURE_SIZE);
		TRY(epoch_chain_add_key(chain, signatures[i].spki));
	}
	TRY(cose_strict_sign_assemble(candidate.payload, signers, count, &object));
	TRY(epoch_chain_follow(chain, bytes_span(&object)));
	TRY(encode_history(chain, arguments->output));
	if (json)
		return print_json_of(json_pack("{s:s, s:i}", "history", arguments->output, "signatures", (int)count));
	printf("'%s' halts this root for whoever reads it: give it to every verifier (`troth verify --epochs`), and to the host\n"
	       "(`troth root halt apply`).\n",
		arguments->output);
	return OK;
}

static result apply_halt(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(fd_close) struct fd file = FD_NONE;
	struct service_taken taken;
	if (!arguments->history)
		return fail(USAGE, "--history FILE is needed: what `troth root halt assemble` wrote");
	TRY(file_open(arguments->history, O_RDONLY, 0, &file));
	const struct client_call call = {
		.type = SERVICE_TAKE, .fds = &file.n, .fd_count = 1, .expected = SERVICE_TAKEN, .timeout_ms = CALL_MS};
	TRY(root_connect(&arguments->host, false, &client));
	TRY(client_call(&client, &call, &arena, &taken, NULL));
	if (json)
		return print_json_of(json_pack("{s:b, s:s, s:s}", "changed", taken.changed, "refusal",
			taken.refusal ? reason_name((enum reason)taken.refusal) : "", "text", taken.refusal_text));
	if (taken.refusal)
		printf("This host endorses nothing any more: %s\n", taken.refusal_text);
	else
		printf(taken.changed ? "The host took it over.\n" : "The host knew all of it.\n");
	return OK;
}

/* ---- Words -------------------------------------------------------------------------------------------------------- */

struct step {
	const char *word;
	result (*run)(const struct arguments *arguments, bool json);
};

static int run_steps(const struct step *steps, size_t count, const char *verb, const char *usage, const char *description, int argc,
	char **argv)
{
	struct arguments arguments = {.days = 0};
	const struct option_row rows[] = {
		{"candidate", OPTION_TEXT, &arguments.candidate, "FILE", "sign, finish, assemble: what `prepare` wrote"},
		{"key", OPTION_LIST, &arguments.keys, "FILE",
			"sign: the private key (PEM), or its label in a token; finish, assemble: a public key (PEM) for signatures made by openssl"},
		{"key-id", OPTION_TEXT, &arguments.key_id, "HEX", "sign: the id of the key in a token, with or without its label"},
		TOKEN_ROWS(&arguments.token),
		{"signature", OPTION_WORDS, &arguments.signatures, "FILE...", "finish, assemble: of troth or of openssl"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the candidate, signature or history goes"},
		{"history", OPTION_TEXT, &arguments.history, "FILE", "an exported history, for a host that lost its own, and for a HALT"},
		{"from", OPTION_TEXT, &arguments.from, "[ERA:]EPOCH", "recover: the last epoch to be kept (the head)"},
		{"trust-domain", OPTION_TEXT, &arguments.trust_domain, "NAME", "recover, with --history (troth.internal)"},
		{"valid", OPTION_NUMBER, &arguments.days, "DAYS", "recover: how long the new record is valid (as the one it stands on)"},
		{"recovery", OPTION_WORDS, &arguments.recovery, "K FILE...", "set-recovery: the new public keys (PEM, P-256)"},
		{"no-recovery", OPTION_FLAG, &arguments.no_recovery, NULL, "set-recovery: none from now on"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = verb,
		.usage = usage,
		.description = description,
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done != OK || options.help)
		return verb_end(done, argc, argv);
	if (arguments.keys.count > 0)
		arguments.key = arguments.keys.items[0];
	done = fail(USAGE, "'%s' is no step of `troth %s`; %s", options.operands.items[0], verb, usage);
	for (size_t i = 0; i < count; i++)
		if (strcmp(steps[i].word, options.operands.items[0]) == 0)
			done = steps[i].run(&arguments, options.json);
	return verb_end(done, argc, argv);
}

int verb_root_recover(int argc, char **argv)
{
	static const struct step steps[] = {{"prepare", prepare_recover}, {"sign", do_sign}, {"finish", do_finish}};
	return run_steps(steps, COUNT_OF(steps), "root recover",
		"prepare --output CANDIDATE | sign --candidate CANDIDATE (--key KEY.pem | --pkcs11-module FILE --token LABEL --key LABEL) --output SIGNATURE | finish --candidate CANDIDATE "
		"--signature FILE...",
		"Starts this root over in a new era after theft or loss, by its recovery keys: a fresh secure processor proposes a record,\n"
		"the holders compare its measurement and sign it offline, and every later record of the old era is void. Works on a host\n"
		"that refuses to start (STALE_STATE, EPOCH_FORKED, EPOCH_HALTED, HISTORY_DAMAGED), and in an empty state folder with\n"
		"--history FILE; there prepare also takes the options of a token, in which the new signing keys are made then. After a theft give --from: the last epoch that is certainly yours.",
		argc, argv);
}

int verb_root_set_recovery(int argc, char **argv)
{
	static const struct step steps[] = {{"prepare", prepare_set_recovery}, {"sign", do_sign}, {"finish", do_finish}};
	return run_steps(steps, COUNT_OF(steps), "root set-recovery",
		"prepare --recovery K FILE.. --output CANDIDATE | sign --candidate CANDIDATE (--key KEY.pem | --pkcs11-module FILE --token LABEL --key LABEL) --output SIGNATURE | finish "
		"--candidate CANDIDATE --signature FILE...",
		"Replaces the recovery keys of this root. The present ones must sign it, offline; nothing else can change them.", argc, argv);
}

int verb_root_halt(int argc, char **argv)
{
	static const struct step steps[] = {
		{"prepare", prepare_halt}, {"sign", do_sign}, {"assemble", assemble_halt}, {"apply", apply_halt}};
	return run_steps(steps, COUNT_OF(steps), "root halt",
		"prepare --history FILE --output CANDIDATE | sign ... | assemble --candidate CANDIDATE --history FILE --signature FILE... "
		"--output HALTED | apply --history HALTED",
		"Stops a root without its host: what the recovery keys have halted counts for no verifier that knows of it, until they begin\n"
		"the next era. prepare, sign and assemble need no host; `apply` tells a host to endorse nothing any more.",
		argc, argv);
}
