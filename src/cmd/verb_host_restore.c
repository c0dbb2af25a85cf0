/*
 * troth host restore: a lost host comes back from its backup (docs/BACKUP.md). Three steps: `begin` on the new machine makes a
 * candidate record; `share` on each holder's machine checks and answers it; `finish` on the new machine adopts the record and
 * takes the storage keys.
 */
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>

#include "job/state.h"
#include "object/backup.h"
#include "object/epoch_chain.h"
#include "wire/json.h"
#include "wire/text.h"

enum { KEY_FILE_MAX = 64 * 1024, CALL_MS = 120 * 1000 };

struct arguments {
	struct host_options host;
	const char *backup, *history, *candidate, *key, *output;
	struct words shares;
	bool yes;
};

/* A backup that an epoch of the history has signed. */
struct verified {
	struct bytes file;
	struct arena arena;
	struct backup backup;
	uint8_t oid[OID_SIZE];
	struct epoch_chain *chain;
};

static void verified_free(struct verified *v)
{
	bytes_free(&v->file);
	arena_free(&v->arena);
	epoch_chain_free(v->chain);
}

static result verify(const struct arguments *arguments, struct verified *out)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	CLEANUP(key_free) struct key signer = KEY_EMPTY;
	out->arena = arena_of(1 << 20);
	if (!arguments->backup || !arguments->history)
		return fail(USAGE, "--backup and --history are needed");
	result read = file_read(arguments->backup, BACKUP_MAX, &out->file);
	if (read == TOO_LARGE)
		return fail(BACKUP_DAMAGED, "'%s' is larger than any backup", arguments->backup);
	TRY(read);
	TRY(file_read(arguments->history, EPOCH_HISTORY_MAX, &history));
	result followed = epoch_chain_of_history(bytes_span(&history), &out->chain);
	if (followed != OK)
		return fail_within(followed, "the history '%s'", arguments->history);
	TRY(backup_peek(bytes_span(&out->file), &out->arena, &out->backup, out->oid));
	if (memcmp(out->backup.rot_id, epoch_chain_rot_id(out->chain), OID_SIZE) != 0)
		return fail(BACKUP_FOREIGN, "'%s' and '%s' are of different roots", arguments->backup, arguments->history);
	const struct epoch_link *link = epoch_chain_find(out->chain, out->backup.epoch_oid);
	if (!link)
		return fail(BACKUP_FOREIGN, "the history does not hold era %u epoch %llu, which made the backup", out->backup.era,
			(unsigned long long)out->backup.epoch);
	TRY(key_from_point(SPAN_ARRAY(link->sign_pk), &signer));
	return backup_open(bytes_span(&out->file), &signer, &out->arena, &out->backup, out->oid);
}

static result connect_for_recovery(const struct arguments *arguments, bool create, struct client *out)
{
	char state[PATH_SIZE];
	TRY(state_path(arguments->host.state, state));
	const struct client_options options = {
		.state_dir = state,
		.create = create,
		.recovery = true,
		.wrap = arguments->host.wrap,
		.passphrase_fd = arguments->host.passphrase_fd ? (int)arguments->host.passphrase_fd : -1,
		.first_uid = arguments->host.first_uid,
	};
	return client_connect(&options, out);
}

static void print_hex(const char *name, struct span bytes)
{
	printf("  %-12s ", name);
	verb_print_hex(bytes);
	printf("\n");
}

/* What a holder has to look at before signing. */
static void print_candidate(const struct epoch *epoch, const uint8_t rot_id[static OID_SIZE], struct span payload)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	uint8_t digest[SHA256_SIZE];
	rot_fingerprint(rot_id, fingerprint);
	sha256(payload, digest);
	printf("  %-12s %s\n", "root", fingerprint);
	printf("  %-12s era %u, epoch %llu\n", "begins", epoch->era, (unsigned long long)epoch->epoch);
	print_hex("troth-ap", SPAN_ARRAY(epoch->measurement));
	print_hex("candidate", SPAN_ARRAY(digest));
}

static json_t *candidate_json(const struct epoch *epoch, struct span payload)
{
	uint8_t digest[SHA256_SIZE];
	sha256(payload, digest);
	return json_pack("{s:I, s:I, s:o, s:o}", "era", (json_int_t)epoch->era, "epoch", (json_int_t)epoch->epoch, "measurement",
		json_hex(SPAN_ARRAY(epoch->measurement)), "candidate", json_hex(SPAN_ARRAY(digest)));
}

static result put_json(json_t *json)
{
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

/* ---- begin ------------------------------------------------------------------------------------------------- */

/* Into an empty state folder only: a host that has a root is recovered, not overwritten. */
static result check_empty(struct client *client, struct arena *arena)
{
	struct service_status status;
	const struct client_call call = {.type = SERVICE_STATUS, .expected = SERVICE_STATUS_IS, .timeout_ms = CALL_MS};
	TRY(client_call(client, &call, arena, &status, NULL));
	if (status.health.epoch_record.len)
		return fail(ROOT_EXISTS, "'%s' has a root; a backup is restored into an empty state folder", status.state_dir);
	return OK;
}

static result ask_candidate(struct client *client, const struct arguments *arguments, const struct verified *v, struct arena *arena,
	struct service_candidate *out)
{
	CLEANUP(fd_close) struct fd history = FD_NONE;
	TRY(file_open(arguments->history, O_RDONLY, 0, &history));
	const struct service_recover body = {.from_head = true, .has_history = true, .trust_domain = v->backup.trust_domain};
	const struct client_call call = {.type = SERVICE_RECOVER, .body = &body, .fds = &history.n, .fd_count = 1,
		.expected = SERVICE_CANDIDATE, .timeout_ms = CALL_MS};
	return client_call(client, &call, arena, out, NULL);
}

static result begin(const struct arguments *arguments, bool json)
{
	CLEANUP(verified_free) struct verified v = {.chain = NULL};
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_candidate candidate;
	struct epoch epoch;
	if (!arguments->candidate)
		return fail(USAGE, "--candidate FILE is needed: what the holders are to look at goes there");
	TRY(verify(arguments, &v));
	TRY(connect_for_recovery(arguments, true, &client));
	TRY(check_empty(&client, &arena));
	TRY(ask_candidate(&client, arguments, &v, &arena, &candidate));
	TRY(schema_decode(&epoch_schema, candidate.payload, &arena, &epoch));
	TRY(file_write_atomic(arguments->candidate, candidate.payload, 0644));
	if (json)
		return put_json(candidate_json(&epoch, candidate.payload));
	printf("%s written: the record that %u of %zu holders have to sign, each with\n", arguments->candidate, v.backup.k,
		v.backup.holder_count);
	printf("  troth host restore share --key KEY.pem --backup %s --history %s --candidate %s --output SHARE\n", arguments->backup,
		arguments->history, arguments->candidate);
	print_candidate(&epoch, v.backup.rot_id, candidate.payload);
	printf("Then: troth host restore finish --backup %s --history %s --candidate %s --share SHARE...\n", arguments->backup, arguments->history,
		arguments->candidate);
	return OK;
}

/* ---- share --------------------------------------------------------------------------------------------------- */

static result read_holder(const char *path, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, KEY_FILE_MAX, &pem));
	result read = key_from_private_pem(secret_span(&pem), out);
	return read == OK ? OK : fail_within(read, "'%s' is no private key (P-256, PEM, without a passphrase)", path);
}

/* The candidate must stand on the history that the holder has: otherwise it is another root's, or another's idea of this one. */
static result read_candidate(const struct arguments *arguments, const struct verified *v, struct arena *arena, struct bytes *out,
	struct epoch *out_epoch)
{
	TRY(file_read(arguments->candidate, EPOCH_RECORD_MAX, out));
	result decoded = schema_decode(&epoch_schema, bytes_span(out), arena, out_epoch);
	if (decoded != OK)
		return fail_within(decoded, "'%s' is no candidate record", arguments->candidate);
	const struct epoch_link *base = epoch_chain_find(v->chain, out_epoch->prev);
	if (memcmp(out_epoch->rot_id, v->backup.rot_id, OID_SIZE) != 0 || !base)
		return fail(EPOCH_FOREIGN, "'%s' does not continue this root's history", arguments->candidate);
	if (out_epoch->era <= epoch_chain_head(v->chain)->era)
		return fail(EPOCH_VOID, "'%s' begins era %u, but the history has era %u", arguments->candidate, out_epoch->era,
			epoch_chain_head(v->chain)->era);
	return OK;
}

static result share(const struct arguments *arguments, bool json)
{
	CLEANUP(verified_free) struct verified v = {.chain = NULL};
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes candidate = BYTES_EMPTY, answer = BYTES_EMPTY;
	CLEANUP(key_free) struct key holder = KEY_EMPTY;
	struct epoch epoch;
	if (!arguments->candidate || !arguments->key || !arguments->output)
		return fail(USAGE, "--candidate, --key and --output are needed");
	TRY(verify(arguments, &v));
	TRY(read_candidate(arguments, &v, &arena, &candidate, &epoch));
	TRY(read_holder(arguments->key, &holder));
	TRY(restore_share_make(&v.backup, v.oid, bytes_span(&candidate), &holder, &answer));
	TRY(file_write_atomic(arguments->output, bytes_span(&answer), 0644));
	if (json)
		return put_json(candidate_json(&epoch, bytes_span(&candidate)));
	printf("You have signed this record and opened your share for it alone:\n");
	print_candidate(&epoch, v.backup.rot_id, bytes_span(&candidate));
	printf("%s written. If this is not the secure processor that you mean to recover, do not hand it on.\n", arguments->output);
	return OK;
}

/* ---- finish ---------------------------------------------------------------------------------------------------- */

struct answers {
	struct recovery_signature signatures[BACKUP_MAX_HOLDERS];
	struct ap_restored_share shares[BACKUP_MAX_HOLDERS];
	size_t count;
};

static result add_answer(const char *path, const struct verified *v, const uint8_t digest[static SHA256_SIZE], struct arena *arena,
	struct answers *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct restore_share share;
	struct span kept;
	if (out->count == BACKUP_MAX_HOLDERS)
		return fail(SHARE_DUPLICATE, "more shares than holders");
	TRY(file_read(path, RESTORE_SHARE_MAX, &file));
	TRY(arena_copy(arena, bytes_span(&file), &kept));
	result decoded = schema_decode(&restore_share_schema, kept, arena, &share);
	if (decoded != OK)
		return fail_within(SHARE_INVALID, "'%s'", path);
	if (!span_equal(SPAN_ARRAY(share.backup_oid), span_of(v->oid, OID_SIZE)) ||
		!span_equal(SPAN_ARRAY(share.payload_digest), span_of(digest, SHA256_SIZE)))
		return fail(SHARES_MIXED, "'%s' is of another backup or candidate", path);
	for (size_t i = 0; i < out->count; i++)
		if (out->shares[i].number == share.number)
			return fail(SHARE_DUPLICATE, "'%s' has number %u, like one before", path, share.number);
	struct recovery_signature *signature = &out->signatures[out->count];
	signature->spki = share.spki;
	memcpy(signature->signature, share.signature, SIGNATURE_SIZE);
	out->shares[out->count].number = share.number;
	memcpy(out->shares[out->count].box, share.box, BACKUP_SHARE_BOX);
	out->count++;
	return OK;
}

/* The record is adopted once; after a step that was interrupted only the keys are still to be taken. */
static result is_adopted(struct client *client, struct span candidate, struct arena *arena, bool *out)
{
	struct service_status status;
	struct cose_sign record;
	const struct client_call call = {.type = SERVICE_STATUS, .expected = SERVICE_STATUS_IS, .timeout_ms = CALL_MS};
	TRY(client_call(client, &call, arena, &status, NULL));
	*out = status.health.epoch_record.len > 0 && cose_strict_sign_parse(status.health.epoch_record, &record) == OK &&
		span_equal(record.payload, candidate);
	return OK;
}

static result adopt(struct client *client, struct span candidate, struct answers *answers, struct arena *arena)
{
	const struct service_adopt body = {candidate, answers->signatures, answers->count};
	const struct client_call call = {.type = SERVICE_ADOPT, .body = &body, .expected = SERVICE_ROOT_IS, .timeout_ms = CALL_MS};
	struct service_root root;
	return client_call(client, &call, arena, &root, NULL);
}

static result finish(const struct arguments *arguments, bool json)
{
	CLEANUP(verified_free) struct verified v = {.chain = NULL};
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes candidate = BYTES_EMPTY;
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct answers answers = {.count = 0};
	struct epoch epoch;
	uint8_t digest[SHA256_SIZE];
	bool adopted;
	if (!arguments->candidate || !arguments->shares.count)
		return fail(USAGE, "--candidate and --share are needed");
	TRY(verify(arguments, &v));
	TRY(read_candidate(arguments, &v, &arena, &candidate, &epoch));
	sha256(bytes_span(&candidate), digest);
	for (size_t i = 0; i < arguments->shares.count; i++)
		TRY(add_answer(arguments->shares.items[i], &v, digest, &arena, &answers));
	if (answers.count < v.backup.k)
		return fail(SHARES_TOO_FEW, "%zu of %u", answers.count, v.backup.k);
	TRY(connect_for_recovery(arguments, false, &client));
	TRY(is_adopted(&client, bytes_span(&candidate), &arena, &adopted));
	if (!adopted)
		TRY(adopt(&client, bytes_span(&candidate), &answers, &arena));
	const struct ap_restore body = {bytes_span(&v.file), answers.shares, answers.count};
	const struct client_call call = {.type = SERVICE_RESTORE, .body = &body, .expected = SERVICE_DONE, .timeout_ms = CALL_MS};
	TRY(client_call(&client, &call, &arena, NULL, NULL));
	if (json)
		return put_json(candidate_json(&epoch, bytes_span(&candidate)));
	printf("Restored: era %u begins, and what was sealed before opens here. Give the new history (`troth root history`) to whoever\n"
	       "verifies this root, and destroy what is left of the old host: if it goes on, both are frozen as a fork.\n",
		epoch.era);
	return OK;
}

/* ---- The verb ---------------------------------------------------------------------------------------------------- */

static result run(const struct arguments *arguments, const struct words *operands, bool json)
{
	const char *step = operands->count ? operands->items[0] : "begin";
	if (strcmp(step, "begin") == 0)
		return begin(arguments, json);
	if (strcmp(step, "share") == 0)
		return share(arguments, json);
	if (strcmp(step, "finish") == 0)
		return finish(arguments, json);
	return fail(USAGE, "there is no step '%s'; the steps are begin, share and finish", step);
}

int verb_host_restore(int argc, char **argv)
{
	struct arguments arguments = {.backup = NULL};
	const struct option_row rows[] = {
		{"backup", OPTION_TEXT, &arguments.backup, "FILE", "the backup"},
		{"history", OPTION_TEXT, &arguments.history, "FILE", "the history of its root (`troth root history`)"},
		{"candidate", OPTION_TEXT, &arguments.candidate, "FILE", "the record to be signed: written by begin, read by share and finish"},
		{"key", OPTION_TEXT, &arguments.key, "FILE", "share: the holder's private key (PEM)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "share: where the holder's answer goes"},
		{"share", OPTION_WORDS, &arguments.shares, "FILE...", "finish: answers of a quorum of holders"},
		{"wrap", OPTION_TEXT, &arguments.host.wrap, "KIND",
			"begin: where the key of the new state comes from: file, keyring, credential, passphrase"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host restore",
		.usage = "[begin | share | finish] --backup FILE --history FILE --candidate FILE ...",
		.description = "Brings a lost host back from its backup, in an empty state folder and as a new era: never as a copy of the old one.\n"
			       "begin   on the new machine: makes the record that the holders of the recovery keys are to sign\n"
			       "share   on each holder's machine, offline: shows the record, signs it, opens the holder's share for it alone\n"
			       "finish  on the new machine: adopts the signed record and takes the storage keys from the shares",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = run(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
