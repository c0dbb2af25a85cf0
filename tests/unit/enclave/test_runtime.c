/*
 * The runtime of an IRE under a host that lies: the test is the host, with the secure processor's engine at hand, and real
 * runtimes as children. Every honest message has its dishonest twin (BI-01 to BI-05, BI-09, BI-10, CF-11).
 */
#include "../expect.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "confined.h"
#include "crypto/box.h"
#include "crypto/random.h"
#include "enclave/control.h"
#include "enclave/runtime.h"
#include "groups.h"
#include "object/epoch_chain.h"
#include "object/manifest.h"
#include "object/reference.h"
#include "object/seal.h"
#include "policy/schema.h"
#include "root/ap.h"
#include "wire/text.h"

enum { WAIT_MS = 20 * 1000 };

enum lie {
	NO_LIE,
	ANOTHER_POLICY,
	ANOTHER_PROGRAM,
	ANOTHER_EPOCH,
	ANOTHERS_CERTIFICATE,
	ANOTHERS_REPORT,
	CHALLENGE_FOR_ANOTHER,
	ANOTHERS_GRANT,
	FORGED_GRANT,
	OWN_BOX,
	START_TOO_EARLY,
	/* in a handshake */
	LAUNCH_REPORT_AS_EVIDENCE,
	EVIDENCE_OF_ANOTHER_CHANNEL,
	EVIDENCE_OF_ANOTHER_LAUNCH,
	EVIDENCE_WITH_ONE_BIT_FLIPPED,
};

struct host {
	struct ap *ap;
	struct secret wrap;
	struct arena arena;
	struct span epoch_record;
	uint8_t rot_id[OID_SIZE], kem_pk[POINT_SIZE], run_id[RUN_ID_SIZE];
	uint64_t epoch;
	struct bytes_item history[8]; /* records before epoch_record */
	struct key recovery_key;      /* 1 of 1 */
};

static result keep_nothing(void *context, struct span state)
{
	(void)context;
	(void)state;
	return OK;
}

/* ---- The secure processor, without a process around it ------------------------------------------------------- */

static enum reason ask(struct host *h, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, void *reply)
{
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024);
	struct ap_action action;
	struct span kept;
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, (struct ipq_expected){0, h->epoch});
	if (schema)
		schema_put(schema, request, &w);
	ap_step(h->ap, type, span_of(w.data, w.len), clock_wall_ms(), &action);
	if (action.kind == AP_PERSIST)
		ap_persisted(h->ap, OK, &action);
	if (action.kind == AP_ROTATE) {
		ap_rotation_run(action.rotation, keep_nothing, NULL);
		ap_rotated(h->ap, action.rotation, clock_wall_ms(), &action);
	}
	if (action.kind == AP_REPLY_ERROR)
		return action.reason;
	expect_ok(arena_copy(&h->arena, action.reply, &kept));
	expect_ok(schema_decode(reply_schema, kept, &h->arena, reply));
	return OK;
}

static void host_new(struct host *h)
{
	*h = (struct host){.arena = arena_of(16 << 20)};
	struct ap_action action;
	struct ap_extended extended;
	struct ap_rot_available root;
	struct epoch epoch;
	expect_ok(secret_new(32, &h->wrap));
	struct ap_config config = {.wrap_key = &h->wrap, .secret_memory = "locked"};
	expect_ok(ap_new(&config, clock_wall_ms(), &h->ap, &action));
	ap_persisted(h->ap, OK, &action);
	for (uint8_t index = REGISTER_AP; index <= REGISTER_HOST; index++) {
		struct ap_extend request = {index, span_str("event"), true};
		struct ap_measured_program program = {.name = "troth-ap"};
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		expect_ok(schema_encode(&ap_measured_program_schema, &program, &content));
		request.content = bytes_span(&content);
		expect_ok(ask(h, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &extended));
	}
	struct digest32 recovery;
	expect_ok(key_generate(&h->recovery_key));
	memcpy(recovery.bytes, h->recovery_key.id, sizeof(recovery.bytes));
	struct ap_generate generate = {.valid_ms = 86400000, .grace_s = 60, .trust_domain = "troth.internal", .has_recovery = true,
		.recovery = {.k = 1, .n = 1, .keys = &recovery, .key_count = 1}};
	random_bytes(generate.host_seed, sizeof(generate.host_seed));
	random_bytes(h->run_id, sizeof(h->run_id));
	expect_ok(ask(h, IPQ_GENERATE_ROT, &ap_generate_schema, &generate, &ap_rot_available_schema, &root));
	h->epoch_record = root.epoch_record;
	h->epoch = 1;
	expect_ok(epoch_open_inception(root.epoch_record, &h->arena, &epoch, h->rot_id));
	memcpy(h->kem_pk, epoch.kem_pk, POINT_SIZE);
}

/* The next epoch; the one before is drained at once, since nothing here waits for a grace of the secure processor. */
static void rotate(struct host *h, uint32_t grace_s)
{
	struct ap_rotate request = {.reason = EPOCH_OPERATOR, .valid_ms = 86400000, .grace_s = grace_s};
	struct ap_rot_available root;
	struct ap_done done;
	random_bytes(request.request_id, sizeof(request.request_id));
	random_bytes(request.host_seed, sizeof(request.host_seed));
	expect_ok(ask(h, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &root));
	assert_true(h->epoch < COUNT_OF(h->history));
	h->history[h->epoch - 1].bytes = h->epoch_record;
	h->epoch_record = root.epoch_record;
	h->epoch++;
	expect_ok(ask(h, IPQ_DRAIN, NULL, NULL, &ap_done_schema, &done));
}

static void host_free(struct host *h)
{
	ap_free(h->ap);
	secret_free(&h->wrap);
	key_free(&h->recovery_key);
	arena_free(&h->arena);
}

/* ---- One enclave and its runtime -------------------------------------------------------------------------------- */

struct guest {
	const char *name;
	struct host *host;
	enum lie lie;
	bool with_secret;
	const char *command; /* of the probe; NULL: one that ends at once */
	unsigned evidence; /* how often it was asked for */
	bool mute;	   /* the host does not answer that */
	struct control_finished end;
	pid_t pid;
	struct fd control;
	struct bytes policy, manifest;
	uint8_t launch_id[LAUNCH_ID_SIZE], measurement[SHA384_SIZE], core[SHA384_SIZE];
	struct control_prepared prepared;
	struct span report;
	struct span sealed;
	struct span reference; /* a signed set that comes with PREPARE; empty: none */
	struct bytes foreign;  /* history of another host's root that comes with it; empty: none */
	enum reason reason; /* why it failed */
	char text[CONTROL_TEXT_MAX];
	bool finished;
};

static const char *policy_more = ""; /* of the guests that are made next */
static const char *policy_of_b; /* instead of the name alone: how B's policy allows A */
static const uint8_t *peer_root; /* of the guests that are made next: on another host; NULL: on the same */
static const char *policy_level = "Level-1";

static void compile(const char *name, const char *peer, struct bytes *out)
{
	char text[512], elsewhere[256], hex[2 * OID_SIZE + 1];
	CLEANUP(document_free) struct document document = {0};
	if (policy_of_b && strcmp(name, "B") == 0)
		peer = policy_of_b;
	if (peer_root) {
		hex_encode(span_of(peer_root, OID_SIZE), hex);
		snprintf(elsewhere, sizeof(elsewhere), "{id: %s, rot_ids: ['%s']}", peer, hex);
		peer = elsewhere;
	}
	snprintf(text, sizeof(text), "enclave_id: %s\nallowed_communicators: [%s]\nmax_dac_depth: 4\nrequired_attestation_level: %s\n%s", name,
		peer, policy_level, policy_more);
	expect_ok(document_parse("policy", span_str(text), 1 << 20, &document));
	expect_ok(policy_compile_node(&document, document.root, out));
}

static struct manifest a_manifest(struct guest *g, struct manifest_file *file, struct manifest_secret *secret)
{
	static struct text_item arguments[] = {{"/probe"}, {"cf-09"}}, passing[] = {{"/probe"}, {"pass"}};
	confined_manifest(file);
	*secret = (struct manifest_secret){"key", 9};
	struct manifest manifest = {
		.v = 1,
		.name = g->name,
		.program = "/probe",
		.arguments = g->command ? passing : arguments,
		.argument_count = 2,
		.files = file,
		.file_count = 1,
		.limits = {64 << 20, 1 << 20, 1 << 20, 8, 32, 5000, 10000},
		.interpreter = "closed",
		.backend = "process",
		.secrets = secret,
		.secret_count = g->with_secret,
	};
	if (g->command)
		manifest.limits.output = UINT64_C(1) << 40, manifest.limits.cpu_ms = manifest.limits.wall_ms = 60000;
	expect_ok(policy_digest(bytes_span(&g->policy), manifest.policy_digest));
	return manifest;
}

static const char *guest_command; /* of the guests that are made next */

/* `peer_core`: the code that the manifest expects of the peer; NULL: no peers. */
static void guest_new(struct host *h, struct guest *g, const char *name, const char *peer, const uint8_t *peer_core, bool with_secret)
{
	*g = (struct guest){.name = name, .host = h, .control = FD_NONE, .with_secret = with_secret};
	struct manifest_file file;
	struct manifest_secret secret;
	g->command = guest_command;
	compile(name, peer, &g->policy);
	struct manifest manifest = a_manifest(g, &file, &secret);
	struct manifest_peer row = {.name = peer, .rot_rule = PEER_ROT_SAME};
	struct digest32 root;
	expect_ok(manifest_core(&manifest, g->core));
	if (peer_root) {
		memcpy(root.bytes, peer_root, OID_SIZE);
		row.rot_rule = PEER_ROT_LISTED;
		row.rot_ids = &root;
		row.rot_id_count = 1;
	}
	if (peer_core) {
		memcpy(row.core, peer_core, SHA384_SIZE);
		manifest.peers = &row;
		manifest.peer_count = 1;
	}
	expect_ok(manifest_encode(&manifest, &g->manifest));
	manifest_measurement(bytes_span(&g->manifest), g->measurement);
	random_bytes(g->launch_id, LAUNCH_ID_SIZE);
}

static void guest_free(struct guest *g)
{
	fd_close(&g->control);
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
	}
	bytes_free(&g->policy);
	bytes_free(&g->manifest);
	bytes_free(&g->foreign);
}

static void guest_start(struct guest *g)
{
	struct fd pair[2];
	expect_ok(sock_pair(pair));
	g->pid = fork();
	if (g->pid == 0) {
		fd_close(&pair[0]);
		alarm(60);
		_exit(runtime_run(pair[1].n) == OK ? 0 : 1);
	}
	assert_true(g->pid > 0);
	fd_close(&pair[1]);
	g->control = pair[0];
}

static void tell(struct guest *g, enum control_type type, const void *body)
{
	/* A runtime that has refused already may be gone. */
	result sent = control_send(g->control.n, type, control_schema(type), body, NULL, 0, WAIT_MS);
	(void)sent;
}

/* The next message of this type. False when it was FAILED or the end: then `reason` says why. */
static bool hear(struct guest *g, enum control_type type, void *out)
{
	for (;;) {
		struct control_message message = CONTROL_MESSAGE_EMPTY;
		result received = control_receive(g->control.n, WAIT_MS, &message);
		if (received != OK) {
			g->reason = received;
			return false;
		}
		struct span kept;
		expect_ok(arena_copy(&g->host->arena, message.body, &kept));
		message.body = kept;
		struct control_failed failed;
		bool is_failure = message.type == CONTROL_FAILED, wanted = message.type == type;
		if (is_failure) {
			expect_ok(control_decode(&message, &g->host->arena, &failed));
			g->reason = (enum reason)failed.reason;
			snprintf(g->text, sizeof(g->text), "%s", failed.text);
		} else if (wanted) {
			expect_ok(control_decode(&message, &g->host->arena, out));
		}
		control_message_free(&message);
		if (is_failure || wanted)
			return wanted;
	}
}

static void seal_for(struct guest *g, const char *text, struct span *out)
{
	struct host *h = g->host;
	struct seal_policy policy = {.v = 1, .name = g->name};
	uint8_t box[256];
	struct bytes encoding = BYTES_EMPTY;
	struct ap_signed sealed;
	memcpy(policy.rot_id, h->rot_id, OID_SIZE);
	memcpy(policy.measurement, g->measurement, SHA384_SIZE);
	expect_ok(schema_encode(&seal_policy_schema, &policy, &encoding));
	expect_ok(box_seal(SPAN_ARRAY(h->kem_pk), "seal-in", bytes_span(&encoding), span_str(text), box));
	struct ap_seal request = {bytes_span(&encoding), span_of(box, strlen(text) + BOX_OVERHEAD)};
	expect_ok(ask(h, IPQ_SEAL, &ap_seal_schema, &request, &ap_signed_schema, &sealed));
	bytes_free(&encoding);
	*out = sealed.object;
}

static bool prepare(struct guest *g)
{
	struct host *h = g->host;
	struct text_item source = {confined_probe_path()};
	struct control_sealed sealed = {"key", SPAN_EMPTY};
	struct bytes other = BYTES_EMPTY;
	struct bytes_item reference = {g->reference}, foreign = {bytes_span(&g->foreign)};
	struct control_prepare body = {
		.v = 1,
		.manifest = bytes_span(&g->manifest),
		.sources = &source,
		.source_count = 1,
		.uid = test_is_root() ? OWN_UID : 0,
		.epoch_record = h->epoch_record,
		.history = h->history,
		.history_count = h->epoch - 1,
		.trust_domain = "troth.internal",
		.policy = bytes_span(&g->policy),
		.sealed = &sealed,
		.sealed_count = g->with_secret,
		.references = &reference,
		.reference_count = g->reference.len > 0,
		.foreign = &foreign,
		.foreign_count = g->foreign.len > 0,
	};
	memcpy(body.launch_id, g->launch_id, LAUNCH_ID_SIZE);
	memcpy(body.run_id, h->run_id, RUN_ID_SIZE);
	memcpy(body.rot_id, h->rot_id, OID_SIZE);
	if (g->with_secret)
		seal_for(g, "open sesame", &g->sealed);
	sealed.object = g->sealed;
	if (g->lie == ANOTHER_POLICY) {
		compile(g->name, "stranger", &other);
		body.policy = bytes_span(&other);
	}
	if (g->lie == ANOTHER_PROGRAM)
		source.text = "/bin/true";
	tell(g, CONTROL_PREPARE, &body);
	bytes_free(&other);
	return hear(g, CONTROL_PREPARED, &g->prepared);
}

/* A launch of which this test holds the keys: what a lying host can have endorsed beside the real one. */
struct impostor {
	struct key sign, kem;
	uint8_t launch_id[LAUNCH_ID_SIZE];
	struct ap_endorsed endorsed;
};

static void extend(struct host *h, const struct guest *g, const uint8_t *launch_id, const uint8_t *sign_pk, const uint8_t *kem_pk,
	struct ap_launch_extended *out)
{
	struct launch launch = {.v = 1, .name = g->name, .tier = "N", .isolation = "uid", .limits = "rlimit", .secret_memory = "locked",
		.interpreter = "closed"};
	memcpy(launch.launch_id, launch_id, LAUNCH_ID_SIZE);
	memcpy(launch.run_id, h->run_id, RUN_ID_SIZE);
	memcpy(launch.core, g->core, SHA384_SIZE);
	memcpy(launch.measurement, g->measurement, SHA384_SIZE);
	expect_ok(policy_digest(bytes_span(&g->policy), launch.policy_digest));
	launch_keys_hash(sign_pk, kem_pk, launch.keys_hash);
	expect_ok(ask(h, IPQ_EXTEND_LAUNCH, &launch_schema, &launch, &ap_launch_extended_schema, out));
}

static void key_hashes(const uint8_t *sign_pk, const uint8_t *kem_pk, uint8_t out[static 64])
{
	sha256(span_of(sign_pk, POINT_SIZE), out);
	sha256(span_of(kem_pk, POINT_SIZE), out + 32);
}

static void impostor_new(struct host *h, const struct guest *g, struct impostor *i)
{
	struct ap_launch_extended extended;
	struct ap_endorse_begin begin;
	struct ap_endorse_challenge challenge;
	struct ap_endorse_finish finish;
	uint8_t text[14 + 16 + 32 + 64], proof[10 + 32 + 64];
	CLEANUP(secret_free) struct secret c = SECRET_EMPTY;
	*i = (struct impostor){.sign = KEY_EMPTY};
	expect_ok(key_generate(&i->sign));
	expect_ok(key_generate(&i->kem));
	random_bytes(i->launch_id, LAUNCH_ID_SIZE);
	extend(h, g, i->launch_id, i->sign.point, i->kem.point, &extended);
	memcpy(text, "troth endorse1", 14);
	memcpy(text + 14, i->launch_id, 16);
	memcpy(text + 30, extended.nonce, 32);
	key_hashes(i->sign.point, i->kem.point, text + 62);
	memcpy(begin.launch_id, i->launch_id, LAUNCH_ID_SIZE);
	memcpy(begin.sign_pk, i->sign.point, POINT_SIZE);
	memcpy(begin.kem_pk, i->kem.point, POINT_SIZE);
	expect_ok(key_sign(&i->sign, SPAN_ARRAY(text), begin.signature));
	expect_ok(ask(h, IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &begin, &ap_endorse_challenge_schema, &challenge));
	expect_ok(box_open(&i->kem, "pop", SPAN_ARRAY(i->launch_id), challenge.box, &c));
	memcpy(proof, "troth pop1", 10);
	memcpy(proof + 10, c.data, 32);
	key_hashes(i->sign.point, i->kem.point, proof + 42);
	memcpy(finish.launch_id, i->launch_id, LAUNCH_ID_SIZE);
	sha256(SPAN_ARRAY(proof), finish.proof);
	expect_ok(ask(h, IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &finish, &ap_endorsed_schema, &i->endorsed));
}

static void impostor_free(struct impostor *i)
{
	key_free(&i->sign);
	key_free(&i->kem);
}

static bool endorse(struct guest *g, struct impostor *impostor)
{
	struct host *h = g->host;
	struct ap_launch_extended extended;
	struct control_launched launched;
	struct control_endorse signature;
	struct ap_endorse_challenge challenge;
	struct control_proof proof;
	struct ap_endorsed endorsed;
	extend(h, g, g->launch_id, g->prepared.sign_pk, g->prepared.kem_pk, &extended);
	memcpy(launched.nonce, extended.nonce, 32);
	memcpy(launched.epoch_oid, extended.epoch_oid, OID_SIZE);
	if (g->lie == ANOTHER_EPOCH)
		launched.epoch_oid[0] ^= 1;
	tell(g, CONTROL_LAUNCHED, &launched);
	if (!hear(g, CONTROL_ENDORSE, &signature))
		return false;
	struct ap_endorse_begin begin;
	memcpy(begin.launch_id, g->launch_id, LAUNCH_ID_SIZE);
	memcpy(begin.sign_pk, g->prepared.sign_pk, POINT_SIZE);
	memcpy(begin.kem_pk, g->prepared.kem_pk, POINT_SIZE);
	memcpy(begin.signature, signature.signature, SIGNATURE_SIZE);
	expect_ok(ask(h, IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &begin, &ap_endorse_challenge_schema, &challenge));
	struct control_challenge box = {challenge.box};
	uint8_t wrong[32 + BOX_OVERHEAD];
	if (g->lie == CHALLENGE_FOR_ANOTHER) {
		expect_ok(box_seal(SPAN_ARRAY(g->prepared.kem_pk), "pop", SPAN_ARRAY(impostor->launch_id), SPAN_ARRAY(h->run_id), wrong));
		box.box = SPAN_ARRAY(wrong);
	}
	tell(g, CONTROL_CHALLENGE, &box);
	if (!hear(g, CONTROL_PROOF, &proof))
		return false;
	struct ap_endorse_finish finish;
	memcpy(finish.launch_id, g->launch_id, LAUNCH_ID_SIZE);
	memcpy(finish.proof, proof.proof, SHA256_SIZE);
	expect_ok(ask(h, IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &finish, &ap_endorsed_schema, &endorsed));
	struct control_endorsed body = {endorsed.certificate, endorsed.report};
	g->report = endorsed.report;
	if (g->lie == ANOTHERS_CERTIFICATE)
		body.certificate = impostor->endorsed.certificate;
	if (g->lie == ANOTHERS_REPORT)
		body.report = impostor->endorsed.report;
	tell(g, CONTROL_ENDORSED, &body);
	return true;
}

static void unseal_as(struct host *h, const struct impostor *i, struct span sealed, struct ap_unsealed *out)
{
	struct sealed content;
	struct unseal_request request = {.v = 1};
	struct bytes object = BYTES_EMPTY;
	expect_ok(object_peek(KIND_SEALED, sealed, &h->arena, &content, request.seal_oid));
	memcpy(request.launch_id, i->launch_id, LAUNCH_ID_SIZE);
	expect_ok(object_sign(KIND_UNSEAL_REQUEST, &request, &i->sign, &object, NULL));
	struct ap_unseal ask_for = {sealed, bytes_span(&object)};
	expect_ok(ask(h, IPQ_UNSEAL, &ap_unseal_schema, &ask_for, &ap_unsealed_schema, out));
	bytes_free(&object);
}

/* A grant over what was asked, right in every field, under a key that is not the root's. */
static struct span forge_grant(struct host *h, struct span genuine)
{
	struct unseal_grant grant;
	struct key key = KEY_EMPTY;
	struct bytes object = BYTES_EMPTY;
	struct span kept;
	expect_ok(object_peek(KIND_UNSEAL_GRANT, genuine, &h->arena, &grant, NULL));
	expect_ok(key_generate(&key));
	expect_ok(object_sign(KIND_UNSEAL_GRANT, &grant, &key, &object, NULL));
	expect_ok(arena_copy(&h->arena, bytes_span(&object), &kept));
	bytes_free(&object);
	key_free(&key);
	return kept;
}

static bool unseal(struct guest *g, struct impostor *impostor)
{
	struct host *h = g->host;
	struct control_unseal request;
	struct ap_unsealed answer;
	uint8_t own[64 + BOX_OVERHEAD];
	if (!hear(g, CONTROL_UNSEAL, &request))
		return false;
	struct ap_unseal body = {g->sealed, request.request};
	if (g->lie == ANOTHERS_GRANT)
		unseal_as(h, impostor, g->sealed, &answer);
	else
		expect_ok(ask(h, IPQ_UNSEAL, &ap_unseal_schema, &body, &ap_unsealed_schema, &answer));
	struct control_unsealed reply = {"key", answer.grant, answer.box};
	if (g->lie == FORGED_GRANT)
		reply.grant = forge_grant(h, answer.grant);
	if (g->lie == OWN_BOX) {
		struct unseal_request asked;
		uint8_t aad[16 + 32 + 32];
		expect_ok(object_peek(KIND_UNSEAL_REQUEST, request.request, &h->arena, &asked, NULL));
		memcpy(aad, asked.launch_id, 16);
		memcpy(aad + 16, asked.seal_oid, 32);
		memcpy(aad + 48, asked.nonce, 32);
		expect_ok(box_seal(SPAN_ARRAY(g->prepared.kem_pk), "unseal", SPAN_ARRAY(aad), span_str("the host's own idea"), own));
		reply.box = span_of(own, strlen("the host's own idea") + BOX_OVERHEAD);
	}
	tell(g, CONTROL_UNSEALED, &reply);
	return true;
}

/* Up to READY. */
static bool bring_up(struct guest *g, enum lie lie)
{
	struct impostor impostor;
	struct control_empty nothing = {false};
	g->lie = lie;
	impostor_new(g->host, g, &impostor);
	guest_start(g);
	bool ready = prepare(g);
	if (ready && lie == START_TOO_EARLY)
		tell(g, CONTROL_START, &nothing);
	ready = ready && endorse(g, &impostor) && (!g->with_secret || unseal(g, &impostor)) && hear(g, CONTROL_READY, &nothing);
	impostor_free(&impostor);
	return ready;
}

static void one_lie(enum lie lie, bool with_secret, enum reason expected)
{
	struct host h;
	struct guest g;
	host_new(&h);
	guest_new(&h, &g, "P", "Q", NULL, with_secret);
	bool ready = bring_up(&g, lie);
	if (ready != (expected == OK) || g.reason != expected)
		print_error("lie %d: %s (%s), not %s\n", (int)lie, reason_name(g.reason), g.text, reason_name(expected));
	assert_true(ready == (expected == OK));
	assert_int_equal(g.reason, expected);
	guest_free(&g);
	host_free(&h);
}

static void an_honest_host_gets_an_enclave_up(void **unused)
{
	one_lie(NO_LIE, true, OK);
}

static void what_is_started_is_what_was_measured(void **unused)
{
	one_lie(ANOTHER_POLICY, false, MEASUREMENT_MISMATCH);
	one_lie(ANOTHER_PROGRAM, false, MEASUREMENT_MISMATCH);
}

static void an_endorsement_is_about_this_launch(void **unused)
{
	one_lie(ANOTHER_EPOCH, false, EPOCH_OLD);
	one_lie(CHALLENGE_FOR_ANOTHER, false, BAD_TAG);
	one_lie(ANOTHERS_CERTIFICATE, false, BAD_CERTIFICATE);
	one_lie(ANOTHERS_REPORT, false, EVIDENCE_MISMATCH);
	one_lie(START_TOO_EARLY, false, ILLEGAL_STATE);
}

static void a_secret_needs_its_grant(void **unused)
{
	one_lie(ANOTHERS_GRANT, true, GRANT_MISMATCH);
	one_lie(FORGED_GRANT, true, BAD_SIGNATURE);
	one_lie(OWN_BOX, true, GRANT_MISMATCH);
}

/* ---- Two enclaves, one channel ------------------------------------------------------------------------------------ */

static void answer_evidence(struct guest *g, const struct control_evidence *request, struct impostor *impostor)
{
	struct host *h = g->host;
	struct ap_sign_report sign = {.has_launch_id = true, .challenge = SPAN_ARRAY(request->bind)};
	struct control_evidence other = *request;
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	struct ap_signed reply;
	memcpy(sign.launch_id, g->lie == EVIDENCE_OF_ANOTHER_LAUNCH ? impostor->launch_id : g->launch_id, LAUNCH_ID_SIZE);
	if (g->lie == EVIDENCE_OF_ANOTHER_CHANNEL)
		random_bytes(other.bind, sizeof(other.bind));
	if (g->lie == EVIDENCE_WITH_ONE_BIT_FLIPPED)
		other.bind[63] ^= 1; /* the last byte counts as well (BI-05) */
	sign.challenge = SPAN_ARRAY(other.bind);
	expect_ok(schema_encode(&ap_sign_report_schema, &sign, &body));
	struct ap_sign question = {KIND_REPORT, bytes_span(&body)};
	expect_ok(ask(h, IPQ_SIGN, &ap_sign_schema, &question, &ap_signed_schema, &reply));
	struct control_evidence_reply answer = {g->lie == LAUNCH_REPORT_AS_EVIDENCE ? g->report : reply.object};
	tell(g, CONTROL_EVIDENCE_REPLY, &answer);
}

static void give_channel(struct guest *g, const char *peer, bool initiator, int fd)
{
	struct control_channel body = {.edge = "A-B", .peer = peer, .operation = "rows", .port = initiator ? "stdout" : "stdin",
		.initiator = initiator};
	expect_ok(control_send(g->control.n, CONTROL_CHANNEL, &control_channel_schema, &body, &fd, 1, WAIT_MS));
}

/* One message of a running guest. */
static void serve(struct guest *g, struct impostor *impostor)
{
	struct control_message message = CONTROL_MESSAGE_EMPTY;
	struct control_evidence evidence;
	struct control_failed failed;
	result received = control_receive(g->control.n, WAIT_MS, &message);
	if (received != OK) {
		g->reason = received;
		return;
	}
	if (message.type == CONTROL_EVIDENCE) {
		expect_ok(control_decode(&message, &g->host->arena, &evidence));
		g->evidence++;
		if (!g->mute)
			answer_evidence(g, &evidence, impostor);
	} else if (message.type == CONTROL_FAILED) {
		expect_ok(control_decode(&message, &g->host->arena, &failed));
		g->reason = (enum reason)failed.reason;
		snprintf(g->text, sizeof(g->text), "%s", failed.text);
	} else if (message.type == CONTROL_FINISHED) {
		struct span kept;
		expect_ok(arena_copy(&g->host->arena, message.body, &kept));
		expect_ok(schema_decode(&control_finished_schema, kept, &g->host->arena, &g->end));
		g->finished = true;
	}
	control_message_free(&message);
}

static void run_pair(struct guest *a, struct guest *b)
{
	struct control_empty nothing = {false};
	struct impostor impostor_a, impostor_b;
	struct fd pair[2];
	enum lie lie_a = a->lie, lie_b = b->lie;
	assert_true(bring_up(a, NO_LIE));
	assert_true(bring_up(b, NO_LIE));
	a->lie = lie_a;
	b->lie = lie_b;
	impostor_new(a->host, a, &impostor_a);
	impostor_new(b->host, b, &impostor_b);
	expect_ok(sock_pair(pair));
	give_channel(a, "B", true, pair[0].n);
	give_channel(b, "A", false, pair[1].n);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	tell(a, CONTROL_START, &nothing);
	tell(b, CONTROL_START, &nothing);
	struct guest *guests[] = {a, b};
	struct impostor *impostors[] = {&impostor_a, &impostor_b};
	for (;;) {
		struct pollfd wait[2];
		bool live = false;
		for (int i = 0; i < 2; i++) {
			bool going = !guests[i]->finished && guests[i]->reason == OK;
			wait[i] = (struct pollfd){.fd = going ? guests[i]->control.n : -1, .events = POLLIN};
			live |= going;
		}
		if (!live)
			break;
		assert_true(poll(wait, 2, WAIT_MS) > 0);
		for (int i = 0; i < 2; i++)
			if (wait[i].revents)
				serve(guests[i], impostors[i]);
	}
	impostor_free(&impostor_a);
	impostor_free(&impostor_b);
}

/* `judge_is_b`: who must see through it. */
static void one_pair(enum lie lie_a, enum lie lie_b, bool wrong_core, bool judge_is_b, enum reason expected)
{
	struct host h;
	struct guest a, b;
	uint8_t cores[2][SHA384_SIZE];
	host_new(&h);
	/* Cores do not depend on peers, so each can name the other. */
	guest_new(&h, &a, "A", "B", NULL, false);
	guest_new(&h, &b, "B", "A", NULL, false);
	memcpy(cores[0], a.core, SHA384_SIZE);
	memcpy(cores[1], b.core, SHA384_SIZE);
	guest_free(&a);
	guest_free(&b);
	if (wrong_core)
		cores[0][0] ^= 1;
	guest_new(&h, &a, "A", "B", cores[1], false);
	guest_new(&h, &b, "B", "A", cores[0], false);
	a.lie = lie_a;
	b.lie = lie_b;
	run_pair(&a, &b);
	const struct guest *judge = judge_is_b ? &b : &a;
	if (judge->reason != expected)
		print_error("%s: %s (%s), not %s\n", judge->name, reason_name(judge->reason), judge->text, reason_name(expected));
	assert_int_equal(judge->reason, expected);
	assert_true(a.finished == (expected == OK) && b.finished == (expected == OK));
	guest_free(&a);
	guest_free(&b);
	host_free(&h);
}

static void honest_enclaves_meet(void **unused)
{
	one_pair(NO_LIE, NO_LIE, false, true, OK);
}

/* BI-01: everything about the peer is genuine, but vouched for by another host's secure processor. */
static void enclaves_of_two_hosts_do_not_meet(void **unused)
{
	struct host here, there;
	struct guest a, b;
	uint8_t core[SHA384_SIZE];
	host_new(&here);
	host_new(&there);
	memcpy(there.run_id, here.run_id, RUN_ID_SIZE);
	guest_new(&there, &a, "A", "B", NULL, false);
	memcpy(core, a.core, SHA384_SIZE);
	guest_free(&a);
	guest_new(&here, &b, "B", "A", core, false);
	memcpy(core, b.core, SHA384_SIZE);
	guest_new(&there, &a, "A", "B", core, false);
	run_pair(&a, &b);
	assert_int_equal(b.reason, CERTIFICATE_FOREIGN);
	assert_false(a.finished || b.finished);
	guest_free(&a);
	guest_free(&b);
	host_free(&here);
	host_free(&there);
}

static void evidence_is_about_this_channel(void **unused)
{
	static const enum lie lies[] = {LAUNCH_REPORT_AS_EVIDENCE, EVIDENCE_OF_ANOTHER_CHANNEL, EVIDENCE_OF_ANOTHER_LAUNCH,
		EVIDENCE_WITH_ONE_BIT_FLIPPED};
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		one_pair(lies[i], NO_LIE, false, true, EVIDENCE_MISMATCH);
		one_pair(NO_LIE, lies[i], false, false, EVIDENCE_MISMATCH);
	}
}

static void a_peer_runs_the_code_that_the_manifest_names(void **unused)
{
	one_pair(NO_LIE, NO_LIE, true, true, MEASUREMENT_NOT_ALLOWED);
}

/* What B's policy says of A is in a set; the host hands it over, and no word of it is the host's. */
struct given_set {
	uint32_t svn;
	bool other_code, by_stranger, altered, none, expired;
	enum reason expected;
};

static void sign_given(const struct given_set *given, const struct key *author, const uint8_t core[static SHA384_SIZE], struct bytes *out)
{
	struct reference_row row = {.svn = given->svn, .what = REFERENCE_CORE};
	struct reference_entry entry = {"A", 1, &row, 1};
	uint64_t now = clock_wall_ms();
	struct reference_set set = {.name = "good", .version = 1, .not_before = 1, .not_after = given->expired ? now - 1000 : now + 3600 * 1000,
		.entries = &entry, .entry_count = 1};
	memcpy(row.digest, core, SHA384_SIZE);
	row.digest[0] ^= given->other_code;
	expect_ok(reference_set_sign(&set, author, out, NULL));
	out->data[out->len - 1] ^= given->altered;
}

static void meets_by_reference(const struct given_set *given)
{
	struct host h;
	struct guest a, b;
	uint8_t cores[2][SHA384_SIZE];
	char hex[2 * KEY_ID_SIZE + 1], terms[256];
	CLEANUP(key_free) struct key author = KEY_EMPTY, stranger = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	expect_ok(key_generate(&author));
	expect_ok(key_generate(&stranger));
	hex_encode(SPAN_ARRAY(author.id), hex);
	snprintf(terms, sizeof(terms), "{id: A, reference: {author: %s, set: good, min_svn: 2}}", hex);
	host_new(&h);
	policy_of_b = terms;
	guest_new(&h, &a, "A", "B", NULL, false);
	guest_new(&h, &b, "B", "A", NULL, false);
	memcpy(cores[0], a.core, SHA384_SIZE);
	memcpy(cores[1], b.core, SHA384_SIZE);
	guest_free(&a);
	guest_free(&b);
	guest_new(&h, &a, "A", "B", cores[1], false);
	guest_new(&h, &b, "B", "A", cores[0], false);
	policy_of_b = NULL;
	sign_given(given, given->by_stranger ? &stranger : &author, cores[0], &set);
	b.reference = given->none ? SPAN_EMPTY : bytes_span(&set);
	if (given->altered)
		assert_false(bring_up(&b, NO_LIE));
	else
		run_pair(&a, &b);
	if (b.reason != given->expected)
		print_error("%s: %s, not %s\n", reason_name(b.reason), b.text, reason_name(given->expected));
	assert_int_equal(b.reason, given->expected);
	assert_true(given->altered || (a.finished == (given->expected == OK) && b.finished == a.finished));
	guest_free(&a);
	guest_free(&b);
	host_free(&h);
}

static void a_set_says_which_code_of_a_peer_counts(void **unused)
{
	static const struct given_set cases[] = {
		{.svn = 2, .expected = OK},
		{.svn = 1, .expected = SVN_TOO_LOW},
		{.svn = 2, .other_code = true, .expected = REFERENCE_MISSING},
		{.svn = 2, .by_stranger = true, .expected = REFERENCE_MISSING},
		{.svn = 2, .none = true, .expected = REFERENCE_MISSING},
		{.svn = 2, .expired = true, .expected = REFERENCE_EXPIRED},
		{.svn = 2, .altered = true, .expected = BAD_SIGNATURE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		meets_by_reference(&cases[i]);
}

/* ---- Rotations while they run ------------------------------------------------------------------------------------- */

/* A takes what the test writes, hands it to B, and B gives it back. */
struct relay {
	struct host host, there; /* there: of B, when it runs on another */
	bool is_apart;
	struct guest a, b;
	struct impostor impostor;
	struct fd into, out_of; /* the test's ends */
	uint64_t written, read;
	bool stalled;	     /* the test does not read */
	bool rotate_between; /* between the launches of A and B */
};

static void relay_new(struct relay *r)
{
	uint8_t cores[2][SHA384_SIZE];
	*r = (struct relay){.stalled = false};
	host_new(&r->host);
	guest_command = "pass";
	guest_new(&r->host, &r->a, "A", "B", NULL, false);
	guest_new(&r->host, &r->b, "B", "A", NULL, false);
	memcpy(cores[0], r->a.core, SHA384_SIZE);
	memcpy(cores[1], r->b.core, SHA384_SIZE);
	guest_free(&r->a);
	guest_free(&r->b);
	guest_new(&r->host, &r->a, "A", "B", cores[1], false);
	guest_new(&r->host, &r->b, "B", "A", cores[0], false);
	guest_command = NULL;
}

static void reissue(struct relay *r, struct guest *g, struct control_reissued *out)
{
	struct ap_reissue request;
	struct ap_endorsed reply;
	void *item;
	*out = (struct control_reissued){.record_count = 1};
	(void)r;
	expect_ok(arena_alloc(&g->host->arena, 1, sizeof(struct bytes_item), &item));
	out->records = item;
	out->records[0].bytes = g->host->epoch_record;
	memcpy(request.launch_id, g->launch_id, LAUNCH_ID_SIZE);
	expect_ok(ask(g->host, IPQ_REISSUE, &ap_reissue_schema, &request, &ap_endorsed_schema, &reply));
	out->certificate = reply.certificate;
	out->report = reply.report;
}

static void tell_rotated(struct relay *r, struct guest *g)
{
	struct control_reissued body;
	reissue(r, g, &body);
	tell(g, CONTROL_REISSUED, &body);
}

static void relay_start(struct relay *r)
{
	struct control_empty nothing = {false};
	struct fd in[2], out[2], pair[2];
	assert_true(bring_up(&r->a, NO_LIE));
	if (r->rotate_between) {
		rotate(&r->host, 4);
		tell_rotated(r, &r->a);
	}
	assert_true(bring_up(&r->b, NO_LIE));
	impostor_new(&r->host, &r->a, &r->impostor);
	expect_ok(sock_pair(pair));
	give_channel(&r->a, "B", true, pair[0].n);
	give_channel(&r->b, "A", false, pair[1].n);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	expect_ok(fd_pipe(in));
	expect_ok(fd_pipe(out));
	struct control_input input = {"rows", "stdin"};
	struct control_output output = {"copy", "stdout", false, "text/plain"};
	expect_ok(control_send(r->a.control.n, CONTROL_INPUT, &control_input_schema, &input, &in[0].n, 1, WAIT_MS));
	expect_ok(control_send(r->b.control.n, CONTROL_OUTPUT, &control_output_schema, &output, &out[1].n, 1, WAIT_MS));
	fd_close(&in[0]);
	fd_close(&out[1]);
	r->into = in[1];
	r->out_of = out[0];
	assert_int_equal(fcntl(r->into.n, F_SETFL, O_NONBLOCK), 0);
	tell(&r->a, CONTROL_START, &nothing);
	tell(&r->b, CONTROL_START, &nothing);
}

static void relay_free(struct relay *r)
{
	fd_close(&r->into);
	fd_close(&r->out_of);
	guest_free(&r->a);
	guest_free(&r->b);
	impostor_free(&r->impostor);
	host_free(&r->host);
	if (r->is_apart)
		host_free(&r->there);
}

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void feed(struct relay *r)
{
	uint8_t piece[4096];
	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = byte_at(r->written + i);
	ssize_t written = write(r->into.n, piece, sizeof(piece));
	if (written > 0)
		r->written += (uint64_t)written;
}

static void drain_some(struct relay *r)
{
	uint8_t piece[65536];
	ssize_t got = read(r->out_of.n, piece, sizeof(piece));
	if (got <= 0)
		fd_close(&r->out_of);
	for (ssize_t i = 0; i < got; i++)
		if (piece[i] != byte_at(r->read++))
			fail_msg("byte %llu differs", (unsigned long long)r->read);
}

/* One turn: control messages, and data as far as they flow. */
static void relay_turn(struct relay *r, bool feeds)
{
	struct pollfd wait[4] = {
		{.fd = r->a.finished || r->a.reason ? -1 : r->a.control.n, .events = POLLIN},
		{.fd = r->b.finished || r->b.reason ? -1 : r->b.control.n, .events = POLLIN},
		{.fd = r->stalled ? -1 : r->out_of.n, .events = POLLIN},
		{.fd = feeds ? r->into.n : -1, .events = POLLOUT},
	};
	assert_true(poll(wait, 4, 100) >= 0);
	if (wait[0].revents)
		serve(&r->a, &r->impostor);
	if (wait[1].revents)
		serve(&r->b, &r->impostor);
	if (wait[2].revents)
		drain_some(r);
	if (wait[3].revents & POLLOUT)
		feed(r);
}

static bool going(const struct relay *r)
{
	return r->a.reason == OK && r->b.reason == OK;
}

static void relay_until_open(struct relay *r)
{
	while (going(r) && r->read < 20000)
		relay_turn(r, true);
}

/* Until both were asked for evidence once more: a re-handshake is under way or over. */
static void relay_until_renewed(struct relay *r, unsigned evidence)
{
	uint64_t until = clock_monotonic_ns() + WAIT_MS * UINT64_C(1000000);
	while (going(r) && (r->a.evidence < evidence || r->b.evidence < evidence)) {
		assert_true(clock_monotonic_ns() < until);
		relay_turn(r, r->written - r->read < 1 << 20);
	}
}

/* Until so much more has come through that whoever was switching keys has switched. */
static void relay_some_more(struct relay *r)
{
	uint64_t until = clock_monotonic_ns() + WAIT_MS * UINT64_C(1000000), enough = r->written + (4 << 20);
	while (going(r) && r->read < enough) {
		assert_true(clock_monotonic_ns() < until);
		relay_turn(r, r->written - r->read < 1 << 20);
	}
}

static void relay_finish(struct relay *r)
{
	fd_close(&r->into);
	r->stalled = false;
	while (going(r) && (!r->a.finished || !r->b.finished || r->out_of.n >= 0))
		relay_turn(r, false);
}

static void expect_whole(const struct relay *r)
{
	if (!going(r))
		print_error("A: %s (%s), B: %s (%s)\n", reason_name(r->a.reason), r->a.text, reason_name(r->b.reason), r->b.text);
	assert_int_equal(r->a.reason, OK);
	assert_int_equal(r->b.reason, OK);
	assert_int_equal(r->read, r->written);
}

/* Everything they signed still names what they were launched with. */
static void expect_launch_certificate(struct relay *r, const struct guest *g)
{
	struct report launch;
	uint8_t oid[OID_SIZE];
	expect_ok(object_peek(KIND_REPORT, g->report, &r->host.arena, &launch, oid));
	for (size_t i = 0; i < g->end.record_count; i++) {
		struct record record;
		expect_ok(object_peek(KIND_RECORD, g->end.records[i].bytes, &r->host.arena, &record, NULL));
		assert_memory_equal(record.host_report, oid, OID_SIZE);
		assert_int_equal(record.epoch, launch.epoch);
		assert_int_equal(record.seq, i + 1);
	}
}

static void a_run_goes_on_across_three_rotations(void **unused)
{
	struct relay r;
	relay_new(&r);
	relay_start(&r);
	relay_until_open(&r);
	for (unsigned i = 0; i < 3 && going(&r); i++) {
		rotate(&r.host, 8);
		tell_rotated(&r, i % 2 ? &r.b : &r.a);
		tell_rotated(&r, i % 2 ? &r.a : &r.b);
		relay_until_renewed(&r, i + 2);
	}
	relay_some_more(&r);
	relay_finish(&r);
	expect_whole(&r);
	assert_int_equal(r.a.end.reissues, 3);
	assert_int_equal(r.b.end.reissues, 3);
	assert_int_equal(r.a.end.rekeys, 3);
	assert_int_equal(r.b.end.rekeys, 3);
	expect_launch_certificate(&r, &r.a);
	expect_launch_certificate(&r, &r.b);
	relay_free(&r);
}

static void launches_of_two_epochs_meet(void **unused)
{
	struct relay r;
	relay_new(&r);
	/* Both get a history with PREPARE; A is launched before another rotation, B after it. */
	rotate(&r.host, 8);
	r.rotate_between = true;
	relay_start(&r);
	relay_until_open(&r);
	relay_finish(&r);
	expect_whole(&r);
	assert_int_equal(r.a.end.reissues, 1);
	assert_int_equal(r.b.end.reissues, 0);
	assert_int_equal(r.a.end.rekeys, 0); /* it showed the new certificate from the beginning */
	expect_launch_certificate(&r, &r.a);
	relay_free(&r);
}

/* Data lies between the handshake's messages and a program that does not read: they are found all the same. */
static void a_reader_that_stalls_does_not_miss_it(void **unused)
{
	struct relay r;
	relay_new(&r);
	relay_start(&r);
	relay_until_open(&r);
	r.stalled = true;
	uint64_t before;
	do {
		before = r.written;
		for (int i = 0; i < 20; i++)
			relay_turn(&r, true);
	} while (r.written > before && going(&r));
	rotate(&r.host, 8);
	tell_rotated(&r, &r.a);
	tell_rotated(&r, &r.b);
	relay_until_renewed(&r, 2);
	r.stalled = false;
	relay_some_more(&r);
	relay_finish(&r);
	expect_whole(&r);
	assert_int_equal(r.a.end.rekeys, 1);
	assert_int_equal(r.b.end.rekeys, 1);
	relay_free(&r);
}

/* A policy that wants fresh evidence gets it again and again, without a rotation. */
static void evidence_is_renewed_before_it_is_too_old(void **unused)
{
	struct relay r;
	policy_more = "max_evidence_age_s: 13\n";
	relay_new(&r);
	policy_more = "";
	relay_start(&r);
	relay_until_open(&r);
	relay_until_renewed(&r, 2);
	relay_some_more(&r);
	relay_finish(&r);
	expect_whole(&r);
	assert_true(r.b.end.rekeys >= 1);
	assert_int_equal(r.b.end.reissues, 0);
	relay_free(&r);
}

enum bad_news { ANOTHERS_REISSUE, REPORT_OF_ANOTHER, OLD_REPORT, SKIPPED_RECORD, FORGED_RECORD, EMERGENCY, NOT_TOLD, MUTE, BAD_NEWS };

static void bad_news(struct relay *r, enum bad_news news)
{
	struct control_reissued good, other;
	struct guest other_guest = r->a;
	struct bytes altered = BYTES_EMPTY;
	rotate(&r->host, 1);
	if (news == SKIPPED_RECORD)
		rotate(&r->host, 1);
	reissue(r, &r->a, &good);
	memcpy(other_guest.launch_id, r->impostor.launch_id, LAUNCH_ID_SIZE);
	reissue(r, &other_guest, &other);
	switch (news) {
	case ANOTHERS_REISSUE: good.certificate = other.certificate; break;
	case REPORT_OF_ANOTHER: good.report = other.report; break;
	case OLD_REPORT: good.report = r->a.report; break;
	case FORGED_RECORD:
		altered = (struct bytes){malloc(good.records[0].bytes.len), good.records[0].bytes.len};
		memcpy(altered.data, good.records[0].bytes.data, altered.len);
		altered.data[altered.len - 5] ^= 1;
		good.records[0].bytes = bytes_span(&altered);
		break;
	case EMERGENCY: good.emergency = true; break;
	case MUTE: r->a.mute = r->b.mute = true; tell_rotated(r, &r->b); break;
	default: break;
	}
	tell(&r->a, CONTROL_REISSUED, &good);
	bytes_free(&altered);
	uint64_t until = clock_monotonic_ns() + WAIT_MS * UINT64_C(1000000);
	while (r->a.reason == OK && r->b.reason == OK) {
		assert_true(clock_monotonic_ns() < until);
		relay_turn(r, r->written - r->read < 1 << 20);
	}
	while (r->a.reason == OK || r->b.reason == OK) {
		assert_true(clock_monotonic_ns() < until);
		relay_turn(r, false);
	}
}

static void news_of_a_rotation_that_are_wrong(void **unused) /* BI-04 */
{
	static const enum reason expected[BAD_NEWS] = {
		[ANOTHERS_REISSUE] = BAD_CERTIFICATE,
		[REPORT_OF_ANOTHER] = EVIDENCE_MISMATCH,
		[OLD_REPORT] = CERTIFICATE_FOREIGN,
		[SKIPPED_RECORD] = EPOCH_SKIPPED,
		[FORGED_RECORD] = BAD_SIGNATURE,
		[EMERGENCY] = ROTATED_EMERGENCY,
	};
	for (int news = 0; news <= EMERGENCY; news++) {
		struct relay r;
		relay_new(&r);
		relay_start(&r);
		relay_until_open(&r);
		bad_news(&r, (enum bad_news)news);
		if (r.a.reason != expected[news])
			print_error("news %d: %s (%s)\n", news, reason_name(r.a.reason), r.a.text);
		assert_int_equal(r.a.reason, expected[news]);
		assert_int_not_equal(r.b.reason, OK);
		relay_free(&r);
	}
}

/* The host tells one side only; or lets nobody prove anything until the grace is over. */
static void a_rekey_that_is_not_finished_ends_the_channel(void **unused)
{
	for (int news = NOT_TOLD; news <= MUTE; news++) {
		struct relay r;
		relay_new(&r);
		relay_start(&r);
		relay_until_open(&r);
		bad_news(&r, (enum bad_news)news);
		const struct guest *first = news == NOT_TOLD ? &r.b : r.a.reason == TIMED_OUT ? &r.a : &r.b;
		if (first->reason != (news == NOT_TOLD ? EPOCH_FOREIGN : TIMED_OUT))
			print_error("A: %s (%s), B: %s (%s)\n", reason_name(r.a.reason), r.a.text, reason_name(r.b.reason), r.b.text);
		assert_int_equal(first->reason, news == NOT_TOLD ? EPOCH_FOREIGN : TIMED_OUT);
		assert_int_not_equal(r.a.reason, OK);
		assert_int_not_equal(r.b.reason, OK);
		assert_false(r.a.finished || r.b.finished);
		relay_free(&r);
	}
}

/* ---- Two hosts ------------------------------------------------------------------------------------------------------ */

static void history_of(const struct host *h, struct span halt, struct bytes *out)
{
	struct bytes_item objects[COUNT_OF(h->history) + 2], key;
	struct epoch_history history = {.v = 1, .objects = objects, .keys = &key, .key_count = 1};
	uint8_t spki[SPKI_SIZE];
	for (uint64_t i = 0; i + 1 < h->epoch; i++)
		objects[history.object_count++] = h->history[i];
	objects[history.object_count++].bytes = h->epoch_record;
	if (halt.len)
		objects[history.object_count++].bytes = halt;
	key_spki(&h->recovery_key, spki);
	key.bytes = SPAN_ARRAY(spki);
	bytes_free(out);
	expect_ok(schema_encode(&epoch_history_schema, &history, out));
}

static void halted_history_of(const struct host *h, struct bytes *out)
{
	struct halt halt = {.v = 1, .epoch = h->epoch};
	const struct key *keys[] = {&h->recovery_key};
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY, object = BYTES_EMPTY;
	memcpy(halt.rot_id, h->rot_id, OID_SIZE);
	expect_ok(schema_encode(&halt_schema, &halt, &payload));
	expect_ok(cose_strict_sign_make(bytes_span(&payload), "troth halt", keys, 1, &object));
	history_of(h, bytes_span(&object), out);
}

static void tell_foreign(struct guest *g, const struct host *of)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	history_of(of, SPAN_EMPTY, &history);
	struct bytes_item item = {bytes_span(&history)};
	struct control_foreign body = {&item, 1};
	tell(g, CONTROL_FOREIGN, &body);
}

/* A here, B there; each names the other's root, and is handed its history. */
static void apart(struct host *here, struct host *there, struct guest *a, struct guest *b)
{
	uint8_t cores[2][SHA384_SIZE];
	memcpy(there->run_id, here->run_id, RUN_ID_SIZE);
	for (int measured = 0; measured < 2; measured++) {
		peer_root = there->rot_id;
		guest_new(here, a, "A", "B", measured ? cores[1] : NULL, false);
		peer_root = here->rot_id;
		guest_new(there, b, "B", "A", measured ? cores[0] : NULL, false);
		peer_root = NULL;
		memcpy(cores[0], a->core, SHA384_SIZE);
		memcpy(cores[1], b->core, SHA384_SIZE);
		if (measured)
			break;
		guest_free(a);
		guest_free(b);
	}
	history_of(there, SPAN_EMPTY, &a->foreign);
	history_of(here, SPAN_EMPTY, &b->foreign);
}

enum apart { TOGETHER, NOTHING_KNOWN, ANOTHER_KNOWN, ALTERED, HALTED, OTHER_EVIDENCE, OTHER_KEY, TOO_LOW, THIRD_HOST };

/* What is done to A, or to what B knows of A's root; B is the judge. */
static void prepare_apart(enum apart how, struct host *here, struct host *third, struct guest *a, struct guest *b)
{
	switch (how) {
	case NOTHING_KNOWN: bytes_free(&b->foreign); break;
	case ANOTHER_KNOWN: history_of(third, SPAN_EMPTY, &b->foreign); break;
	case ALTERED: b->foreign.data[b->foreign.len / 2] ^= 1; break;
	case HALTED: halted_history_of(here, &b->foreign); break;
	case OTHER_EVIDENCE: a->lie = EVIDENCE_OF_ANOTHER_CHANNEL; break;
	case OTHER_KEY: a->lie = EVIDENCE_OF_ANOTHER_LAUNCH; break;
	default: break;
	}
}

static void meet_apart(enum apart how, enum reason expected)
{
	struct host here, there, third;
	struct guest a, b;
	host_new(&here);
	host_new(&there);
	host_new(&third);
	policy_level = how == TOO_LOW ? "Level-2" : "Level-1";
	apart(&here, &there, &a, &b);
	policy_level = "Level-1";
	if (how == THIRD_HOST) {
		/* The same code with a genuine launch, on a host that nobody named. */
		a.host = &third;
		memcpy(third.run_id, here.run_id, RUN_ID_SIZE);
	}
	prepare_apart(how, &here, &third, &a, &b);
	if (how == ALTERED)
		assert_false(bring_up(&b, NO_LIE));
	else
		run_pair(&a, &b);
	/* The initiator is the first to see evidence. */
	const struct guest *judge = how == TOO_LOW ? &a : &b;
	if (judge->reason != expected)
		print_error("%d: %s (%s), not %s; A: %s (%s)\n", (int)how, reason_name(b.reason), b.text, reason_name(expected), reason_name(a.reason), a.text);
	assert_int_equal(judge->reason, expected);
	if (how != ALTERED)
		assert_true(a.finished == (expected == OK) && b.finished == a.finished);
	guest_free(&a);
	guest_free(&b);
	host_free(&here);
	host_free(&there);
	host_free(&third);
}

static void enclaves_of_two_hosts_meet_where_both_say_so(void **unused)
{
	meet_apart(TOGETHER, OK);
}

static void a_peer_on_another_host_is_judged_by_its_root(void **unused)
{
	meet_apart(NOTHING_KNOWN, ROOT_UNKNOWN);
	meet_apart(ANOTHER_KNOWN, ROOT_UNKNOWN);
	meet_apart(ALTERED, ROOT_HISTORY_REFUSED);
	meet_apart(HALTED, OTHER_ROOT_STOPPED);
	meet_apart(OTHER_EVIDENCE, EVIDENCE_MISMATCH);
	meet_apart(OTHER_KEY, EVIDENCE_MISMATCH);
	meet_apart(TOO_LOW, LEVEL_TOO_LOW);
	meet_apart(THIRD_HOST, ROOT_NOT_EXPECTED);
}

static void relay_apart(struct relay *r)
{
	*r = (struct relay){.is_apart = true};
	host_new(&r->host);
	host_new(&r->there);
	guest_command = "pass";
	apart(&r->host, &r->there, &r->a, &r->b);
	guest_command = NULL;
	relay_start(r);
	relay_until_open(r);
}

/* Either root moves on under a running channel: its own side shows the new certificate, the other is told of the epoch. */
static void either_root_of_a_channel_may_rotate(void **unused)
{
	struct relay r;
	relay_apart(&r);
	for (unsigned i = 0; i < 4 && going(&r); i++) {
		struct host *moved = i % 2 ? &r.there : &r.host;
		struct guest *own = i % 2 ? &r.b : &r.a, *other = i % 2 ? &r.a : &r.b;
		rotate(moved, 8);
		if (i < 2)
			tell_foreign(other, moved);
		tell_rotated(&r, own);
		if (i >= 2)
			tell_foreign(other, moved);
		relay_until_renewed(&r, i + 2);
	}
	relay_some_more(&r);
	relay_finish(&r);
	expect_whole(&r);
	assert_int_equal(r.a.end.reissues, 2);
	assert_int_equal(r.b.end.reissues, 2);
	assert_int_equal(r.a.end.rekeys, 4);
	assert_int_equal(r.b.end.rekeys, 4);
	expect_launch_certificate(&r, &r.a);
	expect_launch_certificate(&r, &r.b);
	relay_free(&r);
}

enum foreign_news { NOBODY_TELLS, PEER_STAYS, OTHER_HALTED, OTHER_ALTERED, FOREIGN_NEWS };

/* A's root moves on, or is stopped; B hears of it in the wrong way or not at all. */
static void foreign_news_to_b(struct relay *r, enum foreign_news news)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	uint64_t until = clock_monotonic_ns() + WAIT_MS * UINT64_C(1000000);
	if (news == OTHER_HALTED)
		halted_history_of(&r->host, &history);
	else
		rotate(&r->host, 1);
	if (news == NOBODY_TELLS)
		tell_rotated(r, &r->a);
	if (news == PEER_STAYS)
		tell_foreign(&r->b, &r->host);
	if (news == OTHER_ALTERED) {
		history_of(&r->host, SPAN_EMPTY, &history);
		/* Within the last record, behind all that is known already. */
		uint8_t *at = memmem(history.data, history.len, r->host.epoch_record.data, r->host.epoch_record.len);
		assert_non_null(at);
		at[r->host.epoch_record.len - 3] ^= 1;
	}
	if (history.len) {
		struct bytes_item item = {bytes_span(&history)};
		struct control_foreign body = {&item, 1};
		tell(&r->b, CONTROL_FOREIGN, &body);
	}
	while (r->b.reason == OK) {
		assert_true(clock_monotonic_ns() < until);
		relay_turn(r, r->a.reason == OK && r->written - r->read < 1 << 20);
	}
	while (r->a.reason == OK) {
		assert_true(clock_monotonic_ns() < until);
		relay_turn(r, false);
	}
}

static void news_of_another_root_end_what_rests_on_it(void **unused) /* BI-04 of two hosts */
{
	static const enum reason expected[FOREIGN_NEWS] = {
		[NOBODY_TELLS] = EPOCH_FOREIGN,
		[PEER_STAYS] = REKEY_NEEDED,
		[OTHER_HALTED] = OTHER_ROOT_STOPPED,
		[OTHER_ALTERED] = ROOT_HISTORY_REFUSED,
	};
	for (int news = 0; news < FOREIGN_NEWS; news++) {
		struct relay r;
		relay_apart(&r);
		foreign_news_to_b(&r, (enum foreign_news)news);
		if (r.b.reason != expected[news])
			print_error("news %d: %s (%s)\n", news, reason_name(r.b.reason), r.b.text);
		assert_int_equal(r.b.reason, expected[news]);
		assert_false(r.a.finished || r.b.finished);
		relay_free(&r);
	}
}

/* A certificate two epochs behind what the judge knows of its root is no good, whoever shows it (BI-04). */
static void a_peer_that_is_two_epochs_behind_is_refused(void **unused)
{
	struct host here, there;
	struct guest a, b;
	host_new(&here);
	host_new(&there);
	apart(&here, &there, &a, &b);
	struct relay r = {.is_apart = false, .host = here, .a = a, .b = b};
	r.a.host = &r.host;
	assert_true(bring_up(&r.a, NO_LIE));
	rotate(&r.host, 1);
	rotate(&r.host, 1);
	history_of(&r.host, SPAN_EMPTY, &r.b.foreign);
	assert_true(bring_up(&r.b, NO_LIE));
	struct fd pair[2];
	struct control_empty nothing = {false};
	impostor_new(&r.host, &r.a, &r.impostor);
	expect_ok(sock_pair(pair));
	give_channel(&r.a, "B", true, pair[0].n);
	give_channel(&r.b, "A", false, pair[1].n);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	tell(&r.a, CONTROL_START, &nothing);
	tell(&r.b, CONTROL_START, &nothing);
	while (r.b.reason == OK && !r.b.finished)
		serve(&r.b, &r.impostor);
	if (r.b.reason != EPOCH_TOO_OLD)
		print_error("%s (%s)\n", reason_name(r.b.reason), r.b.text);
	assert_int_equal(r.b.reason, EPOCH_TOO_OLD);
	impostor_free(&r.impostor);
	guest_free(&r.a);
	guest_free(&r.b);
	host_free(&r.host);
	host_free(&there);
}

int group_runtime(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_honest_host_gets_an_enclave_up),
		cmocka_unit_test(what_is_started_is_what_was_measured),
		cmocka_unit_test(an_endorsement_is_about_this_launch),
		cmocka_unit_test(a_secret_needs_its_grant),
		cmocka_unit_test(honest_enclaves_meet),
		cmocka_unit_test(enclaves_of_two_hosts_do_not_meet),
		cmocka_unit_test(evidence_is_about_this_channel),
		cmocka_unit_test(a_peer_runs_the_code_that_the_manifest_names),
		cmocka_unit_test(a_set_says_which_code_of_a_peer_counts),
		cmocka_unit_test(a_run_goes_on_across_three_rotations),
		cmocka_unit_test(launches_of_two_epochs_meet),
		cmocka_unit_test(a_reader_that_stalls_does_not_miss_it),
		cmocka_unit_test(evidence_is_renewed_before_it_is_too_old),
		cmocka_unit_test(news_of_a_rotation_that_are_wrong),
		cmocka_unit_test(a_rekey_that_is_not_finished_ends_the_channel),
		cmocka_unit_test(enclaves_of_two_hosts_meet_where_both_say_so),
		cmocka_unit_test(a_peer_on_another_host_is_judged_by_its_root),
		cmocka_unit_test(either_root_of_a_channel_may_rotate),
		cmocka_unit_test(news_of_another_root_end_what_rests_on_it),
		cmocka_unit_test(a_peer_that_is_two_epochs_behind_is_refused),
	};
	return cmocka_run_group_tests_name("runtime", tests, confined_start, confined_stop);
}
