/*
 * The secure processor engine. The first byte says how:
 *   'r'  raw: pieces {message number, u16 length, body} straight into the engine
 *   else a tape of requests, right and wrong ones, in any order, with failing writes, restarts and a moving clock
 * Beside it runs a model that knows which launches were extended, with which keys, and which proofs were given: an
 * endorsement, an unsealing, a signature that the model does not expect ends the run. Every signed object parses and
 * verifies under the root's key.
 */
#include "crypto/box.h"
#include "crypto/x509.h"
#include "object/epoch_chain.h"
#include "root/ap.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LAUNCHES = 3 };
static const uint64_t T0 = 1800000000000ULL;

static void must(bool holds)
{
	if (!holds)
		abort();
}

struct tape {
	const uint8_t *data;
	size_t left;
};

static uint8_t next(struct tape *tape)
{
	if (!tape->left)
		return 0;
	tape->left--;
	return *tape->data++;
}

/* Made once: key pairs for the model's enclaves. */
struct pair {
	struct key sign, kem;
};

static const struct pair *pair_of(size_t i)
{
	static struct pair pairs[LAUNCHES];
	if (!pairs[i].sign.pkey)
		must(key_generate(&pairs[i].sign) == OK && key_generate(&pairs[i].kem) == OK);
	return &pairs[i];
}

enum launch_stage { NEVER, EXTENDED, CHALLENGED, ENDORSED, ENDED };

struct model_launch {
	enum launch_stage stage;
	uint8_t generation; /* part of the id: ids are used once */
	size_t keys;	    /* whose pair was measured */
	uint8_t nonce[32], proof[SHA256_SIZE];
	bool unsealed;
};

struct machine {
	struct tape *tape;
	struct ap *ap;
	struct bytes state;
	struct secret wrap;
	struct arena arena;
	uint64_t now, epoch;
	uint32_t era;
	struct epoch_chain *chain; /* every record handed out: a second one for an epoch would freeze it */
	struct ap_rotation *rotation; /* under way */
	enum ipq_type rotating;
	bool draining;
	struct span candidate; /* payload; empty: none */
	bool candidate_recovers;
	uint8_t requests;
	bool rooted, broken; /* broken: a write failed in this boot */
	uint8_t measured;    /* which phases are complete */
	bool right;	     /* with the digests that the root was made with */
	struct key root;
	uint8_t rot_id[OID_SIZE], kem_pk[POINT_SIZE];
	struct model_launch launches[LAUNCHES];
	struct span sealed;
	uint8_t sealed_for;
	uint8_t seal_oid[OID_SIZE];
	bool extended_any;
};

static bool boot(struct machine *m)
{
	struct ap_action action;
	struct ap_config config = {.state = bytes_span(&m->state), .wrap_key = &m->wrap, .secret_memory = "locked"};
	if (ap_new(&config, m->now, &m->ap, &action) != OK) {
		m->ap = NULL;
		return false;
	}
	must(action.kind == AP_PERSIST);
	bytes_free(&m->state);
	must(bytes_copy(action.persist, &m->state) == OK);
	ap_persisted(m->ap, OK, &action);
	m->rotation = NULL;
	m->draining = false;
	m->measured = 0;
	m->right = true;
	m->broken = false;
	m->extended_any = false;
	memset(m->launches, 0, sizeof(m->launches));
	return true;
}

static void send(struct machine *m, enum ipq_type type, const struct schema *schema, const void *request, struct ap_action *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(256 * 1024);
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, (struct ipq_expected){m->era, m->epoch});
	if (schema)
		schema_put(schema, request, &w);
	if (w.failed != OK) { /* a body that cannot be sent */
		*out = (struct ap_action){.kind = AP_REPLY_ERROR, .reason = w.failed, .text = "no request"};
		return;
	}
	ap_step(m->ap, type, span_of(w.data, w.len), m->now, out);
}

/* The reply, decoded with `reply_schema`; false for an error reply. */
static bool take(struct machine *m, const struct ap_action *action, const struct schema *reply_schema, void *reply)
{
	struct span kept;
	must(action->kind == AP_REPLY || action->kind == AP_REPLY_ERROR);
	if (action->kind == AP_REPLY_ERROR) {
		must(action->reason != OK && action->text);
		return false;
	}
	must(arena_copy(&m->arena, action->reply, &kept) == OK);
	must(schema_decode(reply_schema, kept, &m->arena, reply) == OK);
	return true;
}

static bool ask(struct machine *m, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, void *reply)
{
	struct ap_action action;
	send(m, type, schema, request, &action);
	if (action.kind == AP_PERSIST) {
		must(action.persist.len <= AP_STATE_MAX && !m->rotation);
		bool written = next(m->tape) != 0xff;
		if (written) {
			bytes_free(&m->state);
			must(bytes_copy(action.persist, &m->state) == OK);
		}
		m->broken |= !written;
		ap_persisted(m->ap, written ? OK : IO_ERROR, &action);
		must(written || action.kind == AP_REPLY_ERROR);
	}
	return take(m, &action, reply_schema, reply);
}

/* May anything be endorsed, signed or unsealed now? */
static bool ready(const struct machine *m)
{
	return m->rooted && m->measured == 3 && m->right && !m->broken;
}

static void extend(struct machine *m)
{
	uint8_t choice = next(m->tape), fill = choice & 2 ? 99 : 7;
	uint8_t index = choice & 4 ? choice >> 3 & 7 : choice & 1;
	struct ap_measured_program program = {.name = index ? "trothd" : "troth-ap"};
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	struct ap_extended reply;
	memset(program.digest, fill, sizeof(program.digest));
	must(schema_encode(&ap_measured_program_schema, &program, &content) == OK);
	struct ap_extend request = {index, bytes_span(&content), true};
	if (!ask(m, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &reply))
		return;
	must(request.index <= REGISTER_HOST && !(m->measured & 1 << request.index)); /* once, before use */
	m->measured |= (uint8_t)(1 << request.index);
	if (m->rooted && fill == 99)
		m->right = false;
	else if (!m->rooted && fill == 99)
		m->tape->left = 0; /* a root of other digests is another story: end here */
}

/* One of two holders may recover; their keys are those of the first two pairs. */
static struct epoch_recovery holder_set(struct digest32 keys[static 2])
{
	for (size_t i = 0; i < 2; i++)
		memcpy(keys[i].bytes, pair_of(i)->sign.id, KEY_ID_SIZE);
	must(schema_sort(&digest32_schema, keys, 2) == OK);
	return (struct epoch_recovery){1, 2, keys, 2};
}

static void generate(struct machine *m)
{
	struct ap_generate request = {.valid_ms = 86400000, .grace_s = 60, .trust_domain = "troth.internal"};
	struct ap_rot_available reply;
	struct epoch epoch;
	struct rot_challenge challenge;
	struct digest32 holders[2];
	memset(request.challenge, next(m->tape), 32);
	request.recovery = holder_set(holders);
	request.has_recovery = true;
	if (!ask(m, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &reply))
		return;
	must(!m->rooted && m->measured == 3 && !m->broken);
	must(epoch_open_inception(reply.epoch_record, &m->arena, &epoch, m->rot_id) == OK);
	must(key_from_point(SPAN_ARRAY(epoch.sign_pk), &m->root) == OK);
	must(object_open(KIND_ROT_CHALLENGE, reply.challenge, &m->root, &m->arena, &challenge, NULL) == OK);
	memcpy(m->kem_pk, epoch.kem_pk, POINT_SIZE);
	m->rooted = true;
	m->epoch = 1;
	must(epoch_chain_new(reply.epoch_record, &m->chain) == OK);
	for (size_t i = 0; i < 2; i++) {
		uint8_t spki[SPKI_SIZE];
		key_spki(&pair_of(i)->sign, spki);
		must(epoch_chain_add_key(m->chain, SPAN_ARRAY(spki)) == OK);
	}
}

static void launch_id(const struct model_launch *l, size_t at, uint8_t out[static LAUNCH_ID_SIZE])
{
	memset(out, 0, LAUNCH_ID_SIZE);
	out[0] = (uint8_t)at;
	out[1] = l->generation;
}

static void extend_launch(struct machine *m, size_t at)
{
	static const char *const names[LAUNCHES] = {"IRE-A", "IRE-B", "IRE-C"};
	struct model_launch *l = &m->launches[at];
	struct launch launch = {.v = 1, .name = names[at], .tier = "N", .isolation = "uid", .limits = "cgroup2",
		.secret_memory = "locked", .interpreter = "closed"};
	struct ap_launch_extended reply;
	size_t keys = next(m->tape) % LAUNCHES;
	launch_id(l, at, launch.launch_id);
	memset(launch.measurement, (int)at, SHA384_SIZE);
	uint8_t job[SHA256_SIZE] = {1}, rand[32] = {2};
	run_id_compute(job, SPAN_EMPTY, rand, launch.run_id);
	launch_keys_hash(pair_of(keys)->sign.point, pair_of(keys)->kem.point, launch.keys_hash);
	if (!ask(m, IPQ_EXTEND_LAUNCH, &launch_schema, &launch, &ap_launch_extended_schema, &reply))
		return;
	must(ready(m) && l->stage == NEVER);
	memcpy(l->nonce, reply.nonce, 32);
	l->keys = keys;
	l->stage = EXTENDED;
	m->extended_any = true;
}

static void begin(struct machine *m, size_t at)
{
	struct model_launch *l = &m->launches[at];
	uint8_t how = next(m->tape);
	const struct pair *pair = pair_of(how & 1 ? next(m->tape) % LAUNCHES : l->keys);
	const struct pair *signer = how & 2 ? pair_of(next(m->tape) % LAUNCHES) : pair;
	struct ap_endorse_begin request;
	struct ap_endorse_challenge reply;
	uint8_t message[14 + 16 + 32 + 64], input[10 + 32 + 64];
	CLEANUP(secret_free) struct secret c = SECRET_EMPTY;
	launch_id(l, at, request.launch_id);
	memcpy(request.sign_pk, pair->sign.point, POINT_SIZE);
	memcpy(request.kem_pk, pair->kem.point, POINT_SIZE);
	memcpy(message, "troth endorse1", 14);
	memcpy(message + 14, request.launch_id, 16);
	memcpy(message + 30, l->nonce, 32);
	sha256(SPAN_ARRAY(pair->sign.point), message + 62);
	sha256(SPAN_ARRAY(pair->kem.point), message + 94);
	must(key_sign(&signer->sign, SPAN_ARRAY(message), request.signature) == OK);
	if (!ask(m, IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &request, &ap_endorse_challenge_schema, &reply))
		return;
	must(ready(m) && l->stage == EXTENDED && pair == pair_of(l->keys) && signer == pair);
	must(box_open(&pair->kem, "pop", SPAN_ARRAY(request.launch_id), reply.box, &c) == OK);
	memcpy(input, "troth pop1", 10);
	memcpy(input + 10, c.data, 32);
	memcpy(input + 42, message + 62, 64);
	sha256(SPAN_ARRAY(input), l->proof);
	l->stage = CHALLENGED;
}

static void finish(struct machine *m, size_t at)
{
	struct model_launch *l = &m->launches[at];
	struct ap_endorse_finish request;
	struct ap_endorsed reply;
	struct certificate certificate;
	struct report report;
	launch_id(l, at, request.launch_id);
	memcpy(request.proof, l->proof, SHA256_SIZE);
	bool wrong = next(m->tape) & 1;
	request.proof[0] ^= wrong;
	if (!ask(m, IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &request, &ap_endorsed_schema, &reply))
		return;
	must(ready(m) && l->stage == CHALLENGED && !wrong);
	must(certificate_parse(reply.certificate, &m->arena, &certificate) == OK);
	must(certificate_verify(&certificate, &m->root) == OK);
	must(memcmp(certificate.key.point, pair_of(l->keys)->sign.point, POINT_SIZE) == 0);
	certificate_free(&certificate);
	must(object_open(KIND_REPORT, reply.report, &m->root, &m->arena, &report, NULL) == OK);
	must(report.purpose == REPORT_LAUNCH && report.has_launch);
	l->stage = ENDORSED;
}

static void end(struct machine *m, size_t at)
{
	struct ap_end_launch request;
	struct ap_done reply;
	launch_id(&m->launches[at], at, request.launch_id);
	if (ask(m, IPQ_END_LAUNCH, &ap_end_launch_schema, &request, &ap_done_schema, &reply)) {
		must(m->launches[at].stage != NEVER && m->launches[at].stage != ENDED);
		m->launches[at].stage = ENDED;
	}
	if (m->launches[at].stage == ENDED && next(m->tape) & 1) {
		m->launches[at].stage = NEVER;
		m->launches[at].generation++;
	}
}

static void sign(struct machine *m)
{
	uint8_t how = next(m->tape), body[256];
	struct ap_sign request;
	struct ap_signed reply;
	CLEANUP(bytes_free) struct bytes made = BYTES_EMPTY;
	if (how & 1) {
		struct ap_sign_report report = {.has_launch_id = how & 2, .challenge = span_of("0123456789abcdef", 16)};
		launch_id(&m->launches[0], 0, report.launch_id);
		must(schema_encode(&ap_sign_report_schema, &report, &made) == OK);
		request = (struct ap_sign){KIND_REPORT, bytes_span(&made)};
	} else if (how & 2) {
		struct digest32 root = {{1}};
		struct receipt_section_row section = {SECTION_RECORDS, {2}, true};
		struct ap_sign_head head = {.recorder = "journal", .roots = &root, .root_count = 1, .sections = &section, .section_count = 1};
		head.job_digest[0] = 1;
		head.rand[0] = how & 4 ? 3 : 2;
		run_id_compute(head.job_digest, SPAN_EMPTY, head.rand, head.run_id);
		must(schema_encode(&ap_sign_head_schema, &head, &made) == OK);
		request = (struct ap_sign){KIND_RECEIPT_HEAD, bytes_span(&made)};
	} else {
		size_t len = next(m->tape);
		for (size_t i = 0; i < len; i++)
			body[i] = next(m->tape);
		request = (struct ap_sign){how >> 2, span_of(body, len)};
	}
	if (!ask(m, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, &reply))
		return;
	must(ready(m) && (request.kind == KIND_REPORT || request.kind == KIND_RECEIPT_HEAD));
	struct report report;
	struct receipt_head head;
	if (request.kind == KIND_REPORT) {
		must(object_open(KIND_REPORT, reply.object, &m->root, &m->arena, &report, NULL) == OK);
		must(!report.has_launch || m->launches[report.launch.launch_id[0] % LAUNCHES].stage == ENDORSED);
	} else {
		must(object_open(KIND_RECEIPT_HEAD, reply.object, &m->root, &m->arena, &head, NULL) == OK);
		must(m->extended_any && memcmp(head.rot_id, m->rot_id, OID_SIZE) == 0);
	}
}

static void seal(struct machine *m, size_t at)
{
	static const char *const names[LAUNCHES] = {"IRE-A", "IRE-B", "IRE-C"};
	struct seal_policy policy = {.v = 1, .name = names[at]};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	uint8_t box[6 + BOX_OVERHEAD];
	struct ap_signed reply;
	struct sealed sealed;
	if (!m->rooted)
		return;
	memcpy(policy.rot_id, m->rot_id, OID_SIZE);
	memset(policy.measurement, (int)at, SHA384_SIZE);
	must(schema_encode(&seal_policy_schema, &policy, &encoding) == OK);
	must(box_seal(SPAN_ARRAY(m->kem_pk), "seal-in", bytes_span(&encoding), span_of("secret", 6), box) == OK);
	struct ap_seal request = {bytes_span(&encoding), SPAN_ARRAY(box)};
	if (!ask(m, IPQ_SEAL, &ap_seal_schema, &request, &ap_signed_schema, &reply))
		return;
	must(ready(m));
	must(object_open(KIND_SEALED, reply.object, &m->root, &m->arena, &sealed, m->seal_oid) == OK);
	m->sealed = reply.object;
	m->sealed_for = (uint8_t)at;
}

static void unseal(struct machine *m, size_t at)
{
	struct model_launch *l = &m->launches[at];
	struct unseal_request request = {.v = 1};
	struct ap_unsealed reply;
	struct unseal_grant grant;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	if (!m->sealed.len)
		return;
	size_t signer = next(m->tape) & 1 ? next(m->tape) % LAUNCHES : l->keys;
	memcpy(request.seal_oid, m->seal_oid, OID_SIZE);
	launch_id(l, at, request.launch_id);
	must(object_sign(KIND_UNSEAL_REQUEST, &request, &pair_of(signer)->sign, &object, NULL) == OK);
	struct ap_unseal message = {m->sealed, bytes_span(&object)};
	if (!ask(m, IPQ_UNSEAL, &ap_unseal_schema, &message, &ap_unsealed_schema, &reply))
		return;
	must(ready(m) && l->stage == ENDORSED && signer == l->keys && at == m->sealed_for);
	/* A repeat has the first grant, which may be of an earlier epoch of this boot. */
	CLEANUP(key_free) struct key signer_key = KEY_EMPTY;
	must(object_peek(KIND_UNSEAL_GRANT, reply.grant, &m->arena, &grant, NULL) == OK);
	const struct epoch_link *link = epoch_chain_find(m->chain, grant.epoch_oid);
	must(link && key_from_point(SPAN_ARRAY(link->sign_pk), &signer_key) == OK);
	must(object_verify(KIND_UNSEAL_GRANT, reply.grant, &signer_key) == OK);
	must(memcmp(grant.seal_oid, m->seal_oid, OID_SIZE) == 0);
}

/* ---- Rotation -------------------------------------------------------------------------------- */

static result write_state(void *machine, struct span state)
{
	struct machine *m = machine;
	uint8_t how = next(m->tape);
	must(state.len <= AP_STATE_MAX);
	if (how == 0xff)
		return fail(IO_ERROR, "the disk failed");
	if (how == 0xfe)
		return fail(DISK_FULL, "the disk is full");
	bytes_free(&m->state);
	must(bytes_copy(state, &m->state) == OK);
	return OK;
}

static void follow(struct machine *m, const struct ap_rot_available *reply)
{
	struct rot_challenge challenge;
	uint32_t era = m->era;
	must(epoch_chain_follow(m->chain, reply->epoch_record) == OK);
	const struct epoch_link *head = epoch_chain_head(m->chain);
	must(span_equal(head->record, reply->epoch_record));
	key_free(&m->root);
	must(key_from_point(SPAN_ARRAY(head->sign_pk), &m->root) == OK);
	must(object_open(KIND_ROT_CHALLENGE, reply->challenge, &m->root, &m->arena, &challenge, NULL) == OK);
	must(memcmp(challenge.epoch_oid, head->oid, OID_SIZE) == 0);
	memcpy(m->kem_pk, head->kem_pk, POINT_SIZE);
	m->era = head->era;
	m->epoch = head->epoch;
	if (m->era == era && m->candidate_recovers)
		return;
	m->candidate = SPAN_EMPTY;
	if (m->era == era)
		return;
	for (size_t i = 0; i < LAUNCHES; i++) /* all are over, their ids used up */
		if (m->launches[i].stage != NEVER) {
			m->launches[i].stage = NEVER;
			m->launches[i].generation++;
		}
	m->extended_any = false;
	if (!m->right)
		m->tape->left = 0; /* a root of other digests is another story */
	m->right = true;
}

static bool is_draining(struct machine *m)
{
	struct ap_action action;
	struct ap_health reply;
	send(m, IPQ_HEALTH, NULL, NULL, &action);
	must(take(m, &action, &ap_health_schema, &reply));
	return reply.draining;
}

static void finish_rotation(struct machine *m)
{
	struct ap_action action;
	struct ap_rot_available reply;
	struct ap_done done;
	struct ap_rotation *rotation = m->rotation;
	m->rotation = NULL;
	ap_rotation_run(rotation, write_state, m);
	ap_rotated(m->ap, rotation, m->now, &action);
	if (action.kind == AP_REPLY_ERROR) {
		must(action.reason != OK && action.text);
		m->broken |= action.reason == IO_ERROR;
	} else if (m->rotating == IPQ_DRAIN) {
		must(take(m, &action, &ap_done_schema, &done));
	} else {
		must(take(m, &action, &ap_rot_available_schema, &reply));
		follow(m, &reply);
	}
	m->draining = is_draining(m);
	must(!m->draining || action.kind == AP_REPLY_ERROR || m->rotating != IPQ_DRAIN);
}

/* Begins it; whether it is done at once is the tape's choice. */
static void begin_rotation(struct machine *m, enum ipq_type type, const struct schema *schema, const void *request)
{
	struct ap_action action;
	bool at_once = next(m->tape) & 1;
	send(m, type, schema, request, &action);
	must(action.kind == AP_ROTATE || action.kind == AP_REPLY_ERROR || type == IPQ_DRAIN);
	if (action.kind != AP_ROTATE)
		return;
	must(!m->rotation && !m->broken && m->measured == 3);
	m->rotation = action.rotation;
	m->rotating = type;
	if (at_once)
		finish_rotation(m);
}

static void rotate(struct machine *m)
{
	uint8_t how = next(m->tape);
	struct ap_rotate request = {.reason = 1 + how % 3, .emergency = how & 8, .grace_s = how & 16 ? 0 : 60};
	bool was_under_way = m->rotation != NULL, may = ready(m) && !was_under_way && (!m->draining || request.emergency);
	uint64_t epoch = m->epoch;
	if (how & 64 && m->rotation) {
		finish_rotation(m);
		return;
	}
	memset(request.host_share, how & 32 ? 1 : 0, sizeof(request.host_share));
	request.request_id[0] = ++m->requests;
	request.request_id[1] = 1;
	begin_rotation(m, IPQ_ROTATE_ROT, &ap_rotate_schema, &request);
	bool began = m->epoch != epoch || (m->rotation && !was_under_way);
	must(!began || may);
}

static void drain(struct machine *m)
{
	begin_rotation(m, IPQ_DRAIN, NULL, NULL);
}

static void reissue(struct machine *m, size_t at)
{
	struct ap_reissue request;
	struct ap_endorsed reply;
	struct certificate certificate;
	launch_id(&m->launches[at], at, request.launch_id);
	if (!ask(m, IPQ_REISSUE, &ap_reissue_schema, &request, &ap_endorsed_schema, &reply))
		return;
	must(ready(m) && m->launches[at].stage == ENDORSED);
	must(certificate_parse(reply.certificate, &m->arena, &certificate) == OK);
	must(certificate_verify(&certificate, &m->root) == OK);
	certificate_free(&certificate);
}

static void make_candidate(struct machine *m, bool recovers)
{
	struct digest32 holders[2];
	struct ap_candidate reply;
	struct ap_set_recovery set = {.recovery = holder_set(holders), .has_recovery = true, .grace_s = 60};
	struct ap_recover recover = {.trust_domain = "troth.internal", .valid_ms = 86400000};
	bool made;
	if (!m->rooted)
		return;
	if (recovers) {
		recover.inception = epoch_chain_at(m->chain, 0)->record;
		const struct epoch_link *base = epoch_chain_at(m->chain, next(m->tape) % epoch_chain_count(m->chain));
		if (base->is_void)
			return; /* a host knows its chain, and asks for no record behind one that a recovery has voided */
		recover.base = base->record;
		made = ask(m, IPQ_RECOVER, &ap_recover_schema, &recover, &ap_candidate_schema, &reply);
	} else {
		made = ask(m, IPQ_SET_RECOVERY, &ap_set_recovery_schema, &set, &ap_candidate_schema, &reply);
	}
	if (!made)
		return;
	must(!m->rotation && !m->broken && m->measured == 3 && (recovers || m->right));
	m->candidate = reply.payload;
	m->candidate_recovers = recovers;
}

static void adopt(struct machine *m)
{
	uint8_t how = next(m->tape), spki[SPKI_SIZE];
	struct recovery_signature vote = {.spki = SPAN_ARRAY(spki)};
	struct ap_adopt_candidate request = {.signatures = &vote, .signature_count = 1};
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	const struct key *signer = &pair_of(how % LAUNCHES)->sign; /* the third is no holder */
	uint32_t era = m->era;
	uint64_t epoch = m->epoch;
	bool good = how % LAUNCHES < 2 && !(how & 0x18) && m->candidate.len && !m->broken && (m->right || m->candidate_recovers);
	key_spki(signer, spki);
	must(cose_strict_sign_tbs(m->candidate, kind_label(KIND_EPOCH), signer->id, &tbs) == OK);
	must(key_sign(signer, bytes_span(&tbs), vote.signature) == OK);
	vote.signature[5] ^= how & 8;
	sha256(m->candidate, request.payload_digest);
	request.host_share[0] = how & 16;
	bool recovers = m->candidate_recovers;
	begin_rotation(m, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &request);
	if (m->rotation)
		finish_rotation(m);
	if (m->era == era && m->epoch == epoch)
		return;
	/* What was prepared earlier may be what was finished now; a new era comes from its candidate alone. */
	must(m->era == era || (good && recovers));
}

static void rotation(struct machine *m, size_t at)
{
	switch (next(m->tape) % 6) {
	case 0: rotate(m); break;
	case 1: drain(m); break;
	case 2: reissue(m, at); break;
	case 3: make_candidate(m, false); break;
	case 4: make_candidate(m, true); break;
	default:
		if (!m->rotation)
			adopt(m);
	}
}

static void health(struct machine *m)
{
	struct ap_health reply;
	if (!ask(m, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &reply))
		return;
	must((reply.state == AP_READY) == ready(m));
	must(reply.rotating == (m->rotation != NULL));
	must(m->broken || (reply.era == m->era && reply.epoch == m->epoch && reply.draining == m->draining));
	must(m->broken || span_equal(reply.candidate, m->candidate));
	must((reply.epoch_record.len > 0) == m->rooted || m->broken);
}

static bool restart(struct machine *m)
{
	ap_free(m->ap);
	m->ap = NULL;
	/* After a failed write the model does not know what is on disk: it ends there. */
	return !m->broken && boot(m);
}

static bool step(struct machine *m)
{
	uint8_t op = next(m->tape);
	size_t at = op >> 4 & 3;
	at = at < LAUNCHES ? at : 0;
	switch (op & 15) {
	case 0: extend(m); break;
	case 1: generate(m); break;
	case 2: extend_launch(m, at); break;
	case 3: begin(m, at); break;
	case 4: finish(m, at); break;
	case 5: end(m, at); break;
	case 6: sign(m); break;
	case 7: seal(m, at); break;
	case 8: unseal(m, at); break;
	case 9: health(m); break;
	case 10: return restart(m);
	case 12: rotation(m, at); break;
	case 11: m->now += (uint64_t)(op >> 4) * 1000; break;
	default: break;
	}
	return true;
}

static void raw(struct machine *m)
{
	while (m->tape->left > 3) {
		struct ap_action action;
		enum ipq_type type = next(m->tape);
		size_t len = (size_t)next(m->tape) << 8 | next(m->tape);
		struct span body = span_of(m->tape->data, len < m->tape->left ? len : m->tape->left);
		ap_step(m->ap, type, body, m->now, &action);
		if (action.kind == AP_PERSIST)
			ap_persisted(m->ap, OK, &action);
		if (action.kind == AP_ROTATE) {
			struct ap_rotation *begun = action.rotation;
			ap_rotation_run(begun, write_state, m);
			ap_rotated(m->ap, begun, m->now, &action);
		}
		must(action.kind == AP_REPLY || (action.reason != OK && action.text));
		m->tape->data += body.len;
		m->tape->left -= body.len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape tape = {data, size};
	struct machine m = {.tape = &tape, .arena = arena_of(16 << 20), .now = T0};
	must(secret_new(32, &m.wrap) == OK);
	memset(m.wrap.data, 0x5a, 32);
	must(boot(&m));
	if (next(&tape) == 'r')
		raw(&m);
	else
		for (unsigned steps = 0; steps < 200 && tape.left && step(&m); steps++)
			continue;
	ap_free(m.ap);
	secret_free(&m.wrap);
	bytes_free(&m.state);
	key_free(&m.root);
	epoch_chain_free(m.chain);
	arena_free(&m.arena);
	return 0;
}
