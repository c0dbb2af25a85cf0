/* troth host status: what the host of a state folder is, and whether its secure processor answers a fresh challenge. */
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"
#include "crypto/random.h"
#include "root/token_settings.h"
#include "wire/json.h"

struct facts {
	struct service_status status;
	bool has_root;
	struct epoch epoch;
	uint8_t rot_id[OID_SIZE];
	struct rot_challenge answer;
	struct token_source token; /* where the signing keys lie; module NULL: they come from seeds in the state */
};

/* Only the holder of the root's key answers a challenge that was drawn just now. */
static result challenge_root(struct client *client, struct arena *arena, struct facts *facts)
{
	CLEANUP(key_free) struct key sign = KEY_EMPTY;
	struct cose_sign head;
	struct epoch inception;
	struct service_attest ask;
	struct service_attested attested;
	const struct client_call call = {.type = SERVICE_ATTEST, .body = &ask, .expected = SERVICE_ATTESTED, .timeout_ms = 60 * 1000};
	random_bytes(ask.challenge, sizeof(ask.challenge));
	TRY(epoch_open_inception(facts->status.health.inception, arena, &inception, facts->rot_id));
	TRY(cose_strict_sign_parse(facts->status.health.epoch_record, &head));
	TRY(schema_decode(&epoch_schema, head.payload, arena, &facts->epoch));
	TRY(key_from_point(SPAN_ARRAY(facts->epoch.sign_pk), &sign));
	TRY(client_call(client, &call, arena, &attested, NULL));
	result opened = object_open(KIND_ROT_CHALLENGE, attested.challenge, &sign, arena, &facts->answer, NULL);
	if (opened != OK || memcmp(facts->answer.challenge, ask.challenge, sizeof(ask.challenge)) != 0)
		return fail(AP_UNTRUSTED, "its answer to a challenge is not one of its root");
	return OK;
}

static result print_json(const struct facts *facts)
{
	const struct service_status *status = &facts->status;
	json_t *json = schema_json(&service_status_schema, status);
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	if (!json)
		return fail(NO_MEMORY, "json");
	json_object_set_new(json, "has_root", json_boolean(facts->has_root));
	json_object_set_new(json, "token", facts->token.module ? json_string(facts->token.label ? facts->token.label : "") : json_null());
	if (facts->has_root) {
		rot_fingerprint(facts->rot_id, fingerprint);
		json_object_set_new(json, "fingerprint", json_string(fingerprint));
		json_object_set_new(json, "not_before", json_time(facts->epoch.not_before));
		json_object_set_new(json, "not_after", json_time(facts->epoch.not_after));
		json_object_set_new(json, "register0", json_hex(SPAN_ARRAY(facts->answer.registers[REGISTER_AP].value)));
		json_object_set_new(json, "register1", json_hex(SPAN_ARRAY(facts->answer.registers[REGISTER_HOST].value)));
	}
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

static void print_hex(const char *name, struct span bytes)
{
	printf("  %-17s ", name);
	verb_print_hex(bytes);
	printf("\n");
}

static void print_people(const struct facts *facts)
{
	const struct service_status *status = &facts->status;
	const struct ap_health *health = &status->health;
	char text[EPOCH_FINGERPRINT_SIZE];
	size_t refused = 0;
	for (size_t i = 0; i < health->denial_count; i++)
		refused += health->denials[i].refused;
	printf("Host of %s\n", status->state_dir);
	if (facts->has_root) {
		rot_fingerprint(facts->rot_id, text);
		printf("  %-17s %s\n", "fingerprint", text);
		printf("  %-17s era %u, epoch %llu\n", "epoch", health->era, (unsigned long long)health->epoch);
		if (health->draining)
			printf("  %-17s the keys of the epoch before are held for its grace\n", "draining");
		clock_format(facts->epoch.not_after, text);
		printf("  %-17s %.10s\n", "valid until", text);
		printf("  %-17s %s\n", "trust domain", health->trust_domain);
		printf("  %-17s %s\n", "fresh challenge", "answered under the root's key");
	} else {
		printf("  %-17s none yet; `troth host init` makes it\n", "root of trust");
	}
	printf("  %-17s %s%s%s\n", "secure processor", ap_state_name((enum ap_state)health->state), health->failure[0] ? ": " : "",
		health->failure);
	printf("  %-17s %llu\n", "boot generation", (unsigned long long)health->boot_gen);
	printf("  %-17s %s\n", "queue", status->queue);
	if (health->has_tpm)
		printf("  %-17s holds the wrap key; its counter is at %llu\n", "TPM", (unsigned long long)health->counter);
	else
		printf("  %-17s none: an old copy of the whole state folder is noticed by verifiers only\n", "TPM");
	printf("  %-17s %s\n", "keys in", health->secret_memory);
	if (facts->token.module)
		printf("  %-17s in the token '%s', by %s\n", "signing keys", facts->token.label ? facts->token.label : "(the only one)",
			facts->token.module);
	printf("  %-17s %zu of %zu forbidden things refused when tried\n", "confinement", refused, health->denial_count);
	print_hex("troth-ap", SPAN_ARRAY(status->ap_digest));
	if (facts->has_root) {
		print_hex("register 0", SPAN_ARRAY(facts->answer.registers[REGISTER_AP].value));
		print_hex("register 1", SPAN_ARRAY(facts->answer.registers[REGISTER_HOST].value));
	}
	printf("  %-17s %s, process %u, programs in %s\n", "host", status->private_host ? "private" : "service", status->pid,
		status->program_dir);
	printf("  %-17s `troth root status`\n", "rotation");
	printf("  %-17s head freshness rests on the epoch's end alone: there is no ledger\n", "exposure");
}

static result show(const struct host_options *host, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct facts facts = {.has_root = false};
	const struct client_call call = {.type = SERVICE_STATUS, .expected = SERVICE_STATUS_IS, .timeout_ms = 60 * 1000};
	TRY(verb_connect(host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &facts.status, NULL));
	facts.has_root = facts.status.health.epoch_record.len > 0;
	if (facts.has_root)
		TRY(challenge_root(&client, &arena, &facts));
	result in_token = token_settings_load(facts.status.state_dir, &arena, &facts.token);
	if (in_token != OK && in_token != NOT_FOUND)
		return in_token;
	if (json)
		return print_json(&facts);
	print_people(&facts);
	return OK;
}

int verb_host_status(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host status",
		.usage = "[--state DIR]",
		.description = "Says what the host's root of trust is, challenges it, and shows what was measured.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&host, options.json);
	return verb_end(done, argc, argv);
}
