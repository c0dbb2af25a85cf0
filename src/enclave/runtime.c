#include "enclave/runtime.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "base/seccomp.h"
#include "crypto/crypto.h"
#include "enclave/runtime_internal.h"

/*
 * Theory of operation. Three stretches, each a straight line of messages:
 *   prepare   PREPARE -> sandbox, keys -> PREPARED; LAUNCHED; endorsement; unsealing -> READY
 *   wire      CHANNEL, INPUT, OUTPUT ... START
 *   run       handshakes, data, program, records (runtime_pump.c) -> FINISHED
 * and one way out of all of them, runtime_fail.
 */

uint64_t runtime_now_ms(void)
{
	return clock_wall_ms();
}

struct iecp_time runtime_time(void)
{
	return (struct iecp_time){clock_wall_ms(), clock_monotonic_ns() / 1000000};
}

void runtime_blame(struct runtime *rt, const char *peer)
{
	if (rt->cause[0] == '\0')
		snprintf(rt->cause, sizeof(rt->cause), "%s", peer);
}

result runtime_send(struct runtime *rt, enum control_type type, const void *body)
{
	/* A host that takes nothing any more must not keep channels open beyond the lease. */
	int patience = rt->channel_count ? revocation_patience(rt, RUNTIME_REPLY_MS) : RUNTIME_REPLY_MS;
	result sent = control_send(rt->control, type, control_schema(type), body, NULL, 0, patience);
	return sent == TIMED_OUT && patience < RUNTIME_REPLY_MS ? fail(LEASE_ENDED, "the host takes no messages") : sent;
}

static result stopped_by_host(const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct control_failed abort;
	TRY(control_decode(message, &arena, &abort));
	return fail(STAGE_ABORTED, "%s", abort.text);
}

result runtime_next(struct runtime *rt, int timeout_ms, struct control_message *message, bool *out_have)
{
	*out_have = false;
	TRY(control_receive(rt->control, timeout_ms, message));
	if (message->type == CONTROL_ABORT)
		return stopped_by_host(message);
	if (message->type == CONTROL_REISSUED)
		return epoch_reissued(rt, message);
	if (message->type == CONTROL_FOREIGN)
		return foreign_news(rt, message);
	if (message->type == CONTROL_POLICY)
		return policy_received(rt, message);
	if (message->type == CONTROL_BUNDLE)
		return bundle_asked(rt, message);
	if (message->type == CONTROL_CHANNEL_ASK)
		return channel_asked(rt, message);
	if (message->type == CONTROL_REVOKED)
		return revocation_told(rt, message);
	if (message->type == CONTROL_STOP) {
		calls_stop(rt);
		return OK;
	}
	*out_have = true;
	return OK;
}

result runtime_expect(struct runtime *rt, enum control_type type, int timeout_ms, struct control_message *message, void *out)
{
	for (bool have = false; !have;) {
		control_message_free(message);
		*message = CONTROL_MESSAGE_EMPTY;
		TRY(runtime_next(rt, timeout_ms, message, &have));
	}
	if (message->type != type)
		return fail(ILLEGAL_STATE, "the host sent %s instead of %s", control_type_name(message->type),
			control_type_name(type));
	return control_decode(message, &rt->arena, out);
}

const struct manifest_peer *runtime_peer(const struct runtime *rt, const char *name)
{
	for (size_t i = 0; i < rt->manifest.peer_count; i++)
		if (strcmp(rt->manifest.peers[i].name, name) == 0)
			return &rt->manifest.peers[i];
	return NULL;
}

/* ---- Prepare ----------------------------------------------------------------------------------- */

static result read_root(struct runtime *rt)
{
	TRY(epoch_begin(rt));
	TRY(foreign_begin(rt));
	return ire_uri(rt->prepare.rot_id, rt->prepare.trust_domain, rt->manifest.name, rt->uri);
}

static result read_policy(struct runtime *rt)
{
	uint8_t digest[SHA256_SIZE];
	TRY(policy_digest(rt->prepare.policy, digest));
	if (memcmp(digest, rt->manifest.policy_digest, sizeof(digest)) != 0)
		return fail(MEASUREMENT_MISMATCH, "the policy is not the one that the manifest names");
	TRY(records_add_policy(rt, rt->prepare.policy));
	return policy_begin(rt);
}

static result make_products(struct runtime *rt)
{
	rt->products = calloc(rt->manifest.output_count + 1, sizeof(*rt->products));
	if (!rt->products)
		return fail(NO_MEMORY, "outputs");
	rt->products[rt->product_count++] = (struct product){.port = "stdout", .source = FD_NONE};
	for (size_t i = 0; i < rt->manifest.output_count; i++)
		rt->products[rt->product_count++] = (struct product){
			.port = rt->manifest.outputs[i].name, .path = rt->manifest.outputs[i].path, .source = FD_NONE};
	return OK;
}

static result read_prepare(struct runtime *rt)
{
	TRY(runtime_expect(rt, CONTROL_PREPARE, RUNTIME_REPLY_MS, &rt->prepare_message, &rt->prepare));
	struct control_prepare *prepare = &rt->prepare;
	TRY(manifest_decode(prepare->manifest, &rt->arena, &rt->manifest));
	manifest_measurement(prepare->manifest, rt->measurement);
	TRY(manifest_core(&rt->manifest, rt->core));
	if (strcmp(rt->manifest.backend, "process") != 0)
		return fail(NOT_SUPPORTED, "backend '%s'", rt->manifest.backend);
	if (prepare->source_count != 0 && prepare->source_count != rt->manifest.file_count)
		return fail(BAD_VALUE, "%zu sources for %zu files", prepare->source_count, rt->manifest.file_count);
	TRY(calls_begin(rt));
	if (rt->manifest.secret_count + 3 + (rt->calls != NULL) > SANDBOX_MAX_FDS)
		return fail(TOO_LARGE, "%zu secrets; an enclave takes at most %d, one less with calls", rt->manifest.secret_count, SANDBOX_MAX_FDS - 3);
	TRY(read_root(rt));
	TRY(platform_take(rt, prepare->platform));
	TRY(records_take_references(rt));
	return read_policy(rt);
}

/* The descriptors of the limits group came with PREPARE. */
static void fill_group(struct runtime *rt, struct limits_group *group)
{
	static char unnamed[] = "of this enclave";
	struct sock_message *raw = &rt->prepare_message.raw;
	*group = (struct limits_group){
		.kind = (enum limits_kind)rt->prepare.limits_kind,
		.memory = rt->prepare.group_memory,
		.processes = rt->prepare.group_processes,
	};
	for (size_t i = 0; i < raw->fd_count && i < LIMITS_MAX_GROUPS; i++) {
		group->procs[i] = fd_move(&raw->fds[i]);
		group->paths[i] = unnamed;
		group->count++;
	}
	rt->limits = limits_kind_name(group->kind);
}

static result string_array(struct runtime *rt, size_t count, const char ***out)
{
	void *memory;
	TRY(arena_alloc(&rt->arena, count + 1, sizeof(const char *), &memory));
	*out = memory;
	return OK;
}

static result fill_spec(struct runtime *rt, struct sandbox_spec *spec)
{
	const struct manifest *manifest = &rt->manifest;
	const char **argv, **env, **sources = NULL;
	TRY(string_array(rt, manifest->argument_count, &argv));
	for (size_t i = 0; i < manifest->argument_count; i++)
		argv[i] = manifest->arguments[i].text;
	TRY(string_array(rt, manifest->environment_count, &env));
	for (size_t i = 0; i < manifest->environment_count; i++) {
		size_t len = strlen(manifest->environment[i].name) + strlen(manifest->environment[i].value) + 2;
		void *text;
		TRY(arena_alloc(&rt->arena, len, 1, &text));
		snprintf(text, len, "%s=%s", manifest->environment[i].name, manifest->environment[i].value);
		env[i] = text;
	}
	if (rt->prepare.source_count)
		TRY(string_array(rt, manifest->file_count, &sources));
	for (size_t i = 0; i < rt->prepare.source_count; i++)
		sources[i] = rt->prepare.sources[i].text[0] ? rt->prepare.sources[i].text : NULL;
	*spec = (struct sandbox_spec){
		.files = manifest->files,
		.sources = sources,
		.file_count = manifest->file_count,
		.program = manifest->program,
		.argv = argv,
		.env = env,
		.limits = manifest->limits,
		.uid = (uid_t)rt->prepare.uid,
		.folder = rt->prepare.has_folder ? rt->prepare.folder : NULL,
	};
	for (size_t i = 0; i < manifest->permission_count; i++) {
		unsigned bit;
		TRY(seccomp_permission_find(manifest->permissions[i].text, &bit));
		spec->permissions |= bit;
	}
	return OK;
}

/* The host cannot give namespaces. Whether that is enough is for the policy to say, which is measured. */
static result require_tier_l(const struct runtime *rt)
{
	struct policy_view policy;
	TRY(policy_find(rt->policies[0].table, SUBJECT_ENCLAVE, span_str(rt->manifest.name), &policy));
	if (policy.min_confinement > CONFINEMENT_L)
		return fail(CONFINEMENT_TOO_LOW, "this host reaches tier L, the policy of '%s' asks for %s", rt->manifest.name,
			policy_confinement_name(policy.min_confinement));
	return OK;
}

static result confine(struct runtime *rt)
{
	struct sandbox_spec spec;
	struct limits_group group;
	fill_group(rt, &group);
	TRY(fill_spec(rt, &spec));
	if (rt->prepare.has_folder)
		TRY(require_tier_l(rt));
	spec.group = group.count ? &group : NULL;
	result prepared = sandbox_prepare(&spec, &rt->sandbox);
	for (size_t i = 0; i < group.count; i++)
		fd_close(&group.procs[i]);
	return prepared;
}

static result report_prepared(struct runtime *rt)
{
	struct control_prepared prepared = {
		.tier = rt->sandbox.without_namespaces ? "L" : "N",
		.isolation = rt->sandbox.own_uid ? "uid" : "weak",
		.limits = rt->limits,
		.secret_memory = secret_memory_name(secret_memory()),
		.interpreter = rt->manifest.interpreter,
		.instrumented = rt->sandbox.instrumented,
	};
	memcpy(prepared.measurement, rt->measurement, SHA384_SIZE);
	memcpy(prepared.core, rt->core, SHA384_SIZE);
	memcpy(prepared.sign_pk, rt->sign.point, POINT_SIZE);
	memcpy(prepared.kem_pk, rt->kem.point, POINT_SIZE);
	return runtime_send(rt, CONTROL_PREPARED, &prepared);
}

static result prepare(struct runtime *rt, const struct seccomp_filter *filter)
{
	static const struct control_empty nothing;
	TRY(read_prepare(rt));
	/* Forks once; what is secret is made only afterwards, undumpable and with no capability left. */
	TRY(confine(rt));
	crypto_warm_up();
	TRY(fabric_prepare(rt));
	TRY(seccomp_install(filter));
	TRY(runtime_make_keys(rt));
	TRY(make_products(rt));
	TRY(report_prepared(rt));
	TRY(runtime_endorse(rt));
	TRY(records_begin(rt));
	TRY(runtime_unseal(rt));
	return runtime_send(rt, CONTROL_READY, &nothing);
}

/* ---- Wire -------------------------------------------------------------------------------------- */

static result wire(struct runtime *rt)
{
	for (;;) {
		CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
		bool have;
		TRY(runtime_next(rt, -1, &message, &have));
		if (!have)
			continue;
		if (message.type == CONTROL_START)
			return OK;
		TRY(pump_accept(rt, &message));
	}
}

/* ---- The end ----------------------------------------------------------------------------------- */

static void secret_row_free(struct secret_row *row)
{
	secret_free(&row->value);
}

static void product_free(struct product *product)
{
	hash_free(&product->digest);
	fd_close(&product->source);
	for (size_t i = 0; i < product->consumer_count; i++) {
		hmac_free(&product->consumers[i].hmac);
		fd_close(&product->consumers[i].sink);
		backlog_free(&product->consumers[i].writing);
	}
}

static void input_free(struct input *input)
{
	hmac_free(&input->hmac);
	fd_close(&input->source);
	fd_close(&input->sink);
	fd_close(&input->spool);
	free(input->buffer);
}

static void runtime_free(struct runtime *rt)
{
	sandbox_free(&rt->sandbox);
	key_free(&rt->sign);
	key_free(&rt->kem);
	key_free(&rt->root);
	for (size_t i = 0; i < rt->known_count; i++)
		key_free(&rt->known[i]);
	epoch_chain_free(rt->chain);
	foreign_free(rt);
	platform_free(rt);
	revocation_free(rt);
	for (size_t i = 0; i < rt->secret_count; i++)
		secret_row_free(&rt->secrets[i]);
	calls_free(rt);
	free(rt->records);
	for (size_t i = 0; i < rt->channel_count; i++)
		channel_free(rt->channels[i]);
	for (size_t i = 0; i < rt->input_count; i++)
		input_free(&rt->inputs[i]);
	for (size_t i = 0; i < rt->product_count; i++)
		product_free(&rt->products[i]);
	free(rt->products);
	for (size_t i = 0; i < rt->policy_count; i++)
		policy_table_free(rt->policies[i].table);
	policy_references_free(rt->references);
	policy_versions_free(rt->versions);
	free(rt->meters);
	fd_close(&rt->errors);
	dac_free(rt->dac);
	control_message_free(&rt->prepare_message);
	arena_free(&rt->arena);
	free(rt);
}

/* The text may quote the program: one byte of it must not make the message invalid or drive a terminal. */
static void make_plain(char *text)
{
	for (; *text; text++)
		if (*text == '\t')
			*text = ' ';
		else if (*text != '\n' && (*text < ' ' || *text > '~'))
			*text = '?';
}

/* Ends the program first, so that nothing more of it gets out; then everybody who waits for us is told. */
static void runtime_fail(struct runtime *rt, result why)
{
	char text[CONTROL_TEXT_MAX], cause[NAME_MAX_LEN + 1];
	snprintf(text, sizeof(text), "%s", failure_text());
	/* As it was when it failed: telling the others may meet peers that are gone already. */
	snprintf(cause, sizeof(cause), "%s", rt->cause);
	make_plain(text);
	sandbox_kill(&rt->sandbox);
	for (size_t i = 0; i < rt->channel_count; i++)
		channel_give_up(rt->channels[i], why, cause);
	struct control_failed failed = {.reason = (uint32_t)why, .text = text, .cause = cause};
	if (runtime_send(rt, CONTROL_FAILED, &failed) != OK)
		log_debug("the host did not take the reason", LOG_TEXT("reason", reason_name(why)), LOG_TEXT("text", text));
}

static result run(struct runtime *rt)
{
	CLEANUP(seccomp_filter_free) struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	struct control_finished finished;
	TRY(seccomp_filter_new(SECCOMP_IRE, 0, &filter));
	TRY(prepare(rt, &filter));
	TRY(wire(rt));
	TRY(pump_run(rt));
	TRY(records_finished(rt, &finished));
	return runtime_send(rt, CONTROL_FINISHED, &finished);
}

result runtime_run(int control)
{
	struct runtime *rt = calloc(1, sizeof(*rt));
	if (!rt)
		return fail(NO_MEMORY, "runtime");
	rt->control = control;
	rt->arena = arena_of((size_t)512 << 20);
	rt->sandbox = SANDBOX_NONE;
	rt->errors = FD_NONE;
	/* A peer or program that closes its end is told by the call, not by a signal. */
	signal(SIGPIPE, SIG_IGN);
	result ran = run(rt);
	if (ran != OK)
		runtime_fail(rt, ran);
	runtime_free(rt);
	return ran;
}
