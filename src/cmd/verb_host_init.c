/* troth host init: makes the root of trust of this host, once, and hands out its public record. */
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"
#include "cmd/recovery_files.h"
#include "cmd/token_options.h"
#include "job/state.h"
#include "root/token_settings.h"
#include "root/wrap.h"
#include "wire/json.h"

enum { DAYS = 397, MOST_DAYS = 36500, GRACE_S = 3600, MOST_GRACE_S = 7 * 24 * 3600 };
#define DAY_MS (24ULL * 3600 * 1000)

struct arguments {
	struct host_options host;
	struct words recovery;
	bool no_recovery;
	const char *sign_with;
	struct token_options token;
	uint64_t days, grace_s;
	const char *trust_domain, *output;
};

static bool same_recovery(const struct epoch *epoch, const struct service_init *init)
{
	if (epoch->has_recovery != init->has_recovery)
		return false;
	if (!epoch->has_recovery)
		return true;
	return epoch->recovery.k == init->recovery.k && epoch->recovery.key_count == init->recovery.key_count &&
		memcmp(epoch->recovery.keys, init->recovery.keys, init->recovery.key_count * sizeof(struct digest32)) == 0;
}

static result read_status(struct client *client, struct arena *arena, struct service_status *out)
{
	const struct client_call call = {.type = SERVICE_STATUS, .expected = SERVICE_STATUS_IS, .timeout_ms = 60 * 1000};
	return client_call(client, &call, arena, out, NULL);
}

static result make_root(struct client *client, const struct service_init *init, struct arena *arena)
{
	const struct client_call call = {.type = SERVICE_INIT, .body = init, .expected = SERVICE_DONE, .timeout_ms = 60 * 1000};
	return client_call(client, &call, arena, NULL, NULL);
}

/* Asked again: nothing is made, and nothing is silently other than asked. */
static result check_existing(
	const struct service_status *status, const struct service_init *init, const struct arguments *arguments, struct arena *arena)
{
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
	TRY(epoch_open_inception(status->health.inception, arena, &epoch, oid));
	if ((init->has_recovery || arguments->no_recovery) && !same_recovery(&epoch, init))
		return fail(ROOT_EXISTS, "it has other recovery keys than these");
	if (arguments->trust_domain && strcmp(arguments->trust_domain, status->health.trust_domain) != 0)
		return fail(ROOT_EXISTS, "its trust domain is '%s'", status->health.trust_domain);
	return OK;
}

static result print(const struct service_status *status, bool existed, bool json, struct arena *arena)
{
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
	char fingerprint[EPOCH_FINGERPRINT_SIZE], until[CLOCK_TEXT_SIZE], path[PATH_SIZE];
	TRY(epoch_open_inception(status->health.inception, arena, &epoch, oid));
	rot_fingerprint(oid, fingerprint);
	clock_format(epoch.not_after, until);
	TRY(path_join(path, status->state_dir, "inception.epoch"));
	if (json) {
		json_t *object = json_pack("{s:b, s:s, s:o, s:s, s:s, s:s, s:s, s:b}", "created", !existed, "fingerprint", fingerprint,
			"rot_id", json_hex(SPAN_ARRAY(oid)), "not_after", until, "trust_domain", status->health.trust_domain, "state",
			status->state_dir, "inception", path, "recovery", epoch.has_recovery);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("%s\n", existed ? "This host has its root of trust already." : "This host now has a root of trust.");
	printf("  fingerprint   %s\n", fingerprint);
	printf("  record        %s\n", path);
	printf("  valid until   %.10s\n", until);
	printf("  trust domain  %s\n", status->health.trust_domain);
	if (epoch.has_recovery)
		printf("  recovery      any %u of %u keys\n", epoch.recovery.k, epoch.recovery.n);
	else
		printf("  recovery      none: nobody can ever start this root over. Keys are given with --recovery when it is made.\n");
	printf("The root rotates its keys every day while a host runs (`troth root status`); verifiers follow it from this record.\n");
	if (!existed && !epoch.has_recovery)
		printf("Next: `troth root ceremony` makes recovery keys, but they count only for a root that is made with them.\n");
	printf("Give the record to whoever will verify receipts, and compare the fingerprint with them by another way.\n");
	return OK;
}

/* ---- Where the signing keys lie --------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A root that is there keeps its keys where they are; asked again for the same token nothing is to be done. */
static result check_same_token(const char *state, const struct token_source *source, bool in_token, struct arena *arena)
{
	struct token_source before;
	if (!in_token)
		return token_settings_there(state) ? fail(ROOT_EXISTS, "its signing keys lie in a token") : OK;
	result loaded = token_settings_load(state, arena, &before);
	if (loaded == NOT_FOUND)
		return fail(ROOT_EXISTS, "its signing keys come from seeds in its state; keys do not move into a token later");
	TRY(loaded);
	if (!same_text(before.label, source->label) || !same_text(before.serial, source->serial))
		return fail(ROOT_EXISTS, "its signing keys lie in another token, '%s'", before.label ? before.label : "(the only one)");
	return OK;
}

/* Before any host runs on the folder: it reads this when it starts. */
static result choose_signing(const struct arguments *arguments, struct arena *arena)
{
	char state[PATH_SIZE];
	struct token_source source = {0};
	bool in_token = arguments->sign_with && strcmp(arguments->sign_with, "pkcs11") == 0;
	if (!in_token && token_options_given(&arguments->token))
		return fail(USAGE, "a token is used with --sign-with pkcs11 only");
	if (!arguments->sign_with)
		return OK;
	if (!in_token && strcmp(arguments->sign_with, "seed") != 0)
		return fail(USAGE, "--sign-with takes seed or pkcs11, not '%s'", arguments->sign_with);
	if (in_token)
		TRY(token_options_source(&arguments->token, arena, &source));
	TRY(state_path(arguments->host.state, state));
	if (state_has_root(state))
		return check_same_token(state, &source, in_token, arena);
	return in_token ? token_settings_save(state, &source) : token_settings_remove(state);
}

static result init(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_status status;
	struct service_init init = {
		.valid_ms = arguments->days * DAY_MS,
		.trust_domain = arguments->trust_domain ? arguments->trust_domain : "troth.internal",
		.grace_s = (uint32_t)arguments->grace_s,
	};
	if (arguments->days < 1 || arguments->days > MOST_DAYS)
		return fail(USAGE, "--valid takes 1 to %d days", MOST_DAYS);
	if (arguments->grace_s > MOST_GRACE_S)
		return fail(USAGE, "--grace takes at most %d s, a week", MOST_GRACE_S);
	enum wrap_kind wrap = WRAP_UNSAID;
	if (arguments->host.wrap)
		TRY(wrap_kind_parse(arguments->host.wrap, &wrap)); /* here, where whoever typed it is told */
	if (arguments->host.tpm_head && (!arguments->host.wrap || wrap != WRAP_TPM))
		return fail(USAGE, "--tpm-head goes with --wrap tpm");
	if (arguments->recovery.count && arguments->no_recovery)
		return fail(USAGE, "--recovery and --no-recovery exclude each other");
	if (arguments->recovery.count)
		TRY(recovery_read_set(&arguments->recovery, &arena, &init.recovery));
	init.has_recovery = arguments->recovery.count > 0;
	TRY(choose_signing(arguments, &arena));
	TRY(verb_connect(&arguments->host, true, NULL, &client));
	TRY(read_status(&client, &arena, &status));
	bool existed = status.health.epoch_record.len > 0;
	if (existed)
		TRY(check_existing(&status, &init, arguments, &arena));
	else
		TRY(make_root(&client, &init, &arena));
	TRY(read_status(&client, &arena, &status));
	if (arguments->output)
		TRY(file_write_atomic(arguments->output, status.health.inception, 0644));
	return print(&status, existed, json, &arena);
}

int verb_host_init(int argc, char **argv)
{
	struct arguments arguments = {.days = DAYS, .grace_s = GRACE_S};
	const struct option_row rows[] = {
		HOST_ROWS(&arguments.host),
		{"recovery", OPTION_WORDS, &arguments.recovery, "K FILE...",
			"public keys (PEM, P-256); any K of them can start this root over"},
		{"no-recovery", OPTION_FLAG, &arguments.no_recovery, NULL, "no recovery keys, on purpose"},
		{"valid", OPTION_NUMBER, &arguments.days, "DAYS", "how long the root's first epoch is valid (397)"},
		{"grace", OPTION_NUMBER, &arguments.grace_s, "SECONDS",
			"after a rotation, how long the epoch before still answers what was begun under it (3600)"},
		{"trust-domain", OPTION_TEXT, &arguments.trust_domain, "NAME", "last part of the enclaves' names (troth.internal)"},
		{"wrap", OPTION_TEXT, &arguments.host.wrap, "KIND",
			"where the key of the state comes from: file, keyring, credential, passphrase, tpm"},
		{"tpm-pcrs", OPTION_TEXT, &arguments.host.tpm_pcrs, "LIST", "PCRs that a key in a TPM is sealed to (7)"},
		{"tpm-head", OPTION_FLAG, &arguments.host.tpm_head, NULL,
			"with --wrap tpm: the TPM holds the head of the history of what enclaves sign here (kept; docs/TPM.md)"},
		{"confinement", OPTION_TEXT, &arguments.host.confinement, "TIER",
			"N, or L where namespaces are refused, as in many containers (kept; docs/THREATS.md says what L cannot stop)"},
		{"sign-with", OPTION_TEXT, &arguments.sign_with, "WHERE",
			"where signing keys lie: seed (wrapped in the state, default) or pkcs11 (in a token, docs/TOKENS.md)"},
		TOKEN_ROWS(&arguments.token),
		{"output", OPTION_TEXT, &arguments.output, "FILE", "write the inception record here too"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host init",
		.usage = "[--state DIR] [--recovery K FILE... | --no-recovery] [--sign-with pkcs11 --pkcs11-module FILE ...]",
		.description =
			"Makes this host's root of trust: starts and attests the secure processor and lets it make its keys, which never\n"
			"leave it. The public record goes to inception.epoch in the state folder. Done once; asked again, it only tells.\n"
			"A wrap key in a file protects nothing against its owner; keyring, credential and passphrase do better.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = init(&arguments, options.json);
	return verb_end(done, argc, argv);
}
