#include "ap_bench.h"

#include <sys/mman.h>
#include <unistd.h>

#include "crypto/box.h"
#include "crypto/random.h"
#include "object/epoch_rules.h"
#include "root/state_file.h"

void keep(struct bench *b, struct span state)
{
	bytes_free(&b->state);
	assert_int_equal(bytes_copy(state, &b->state), OK);
}

result bench_write(void *bench, struct span state)
{
	struct bench *b = bench;
	b->writes++;
	if (b->disk)
		TRY(slots_write(&b->slots, state));
	keep(b, state);
	return OK;
}

void bench_use_disk(struct bench *b, const struct store_io *io)
{
	b->disk = true;
	b->io = io ? io : &store_io_system;
	b->fd = memfd_create("state", MFD_CLOEXEC);
	assert_true(b->fd >= 0);
	assert_int_equal(slots_format(b->fd, AP_STATE_SLOT), OK);
	assert_int_equal(slots_open_io(b->io, b->fd, AP_STATE_SLOT, &b->slots), OK);
	if (b->state.len)
		assert_int_equal(slots_write(&b->slots, bytes_span(&b->state)), OK);
}

result try_boot(struct bench *b)
{
	struct ap_action action;
	ap_free(b->ap);
	b->ap = NULL;
	if (b->disk) {
		bytes_free(&b->state);
		assert_int_equal(slots_open_io(b->io, b->fd, AP_STATE_SLOT, &b->slots), OK);
		assert_int_equal(slots_read(&b->slots, &b->state), OK);
	}
	struct ap_config config = {.state = bytes_span(&b->state), .wrap_key = &b->wrap, .secret_memory = "locked", .token = b->token,
		.platform = b->platform};
	TRY(ap_new(&config, b->now, &b->ap, &action));
	assert_int_equal(action.kind, AP_PERSIST);
	ap_persisted(b->ap, bench_write(b, action.persist), &action);
	return action.kind == AP_REPLY ? OK : action.reason;
}

void boot(struct bench *b)
{
	assert_int_equal(try_boot(b), OK);
}

/* What was handed out once is the only record of its era and epoch for ever. */
static void note_record(struct bench *b, struct span record)
{
	struct epoch_record parsed;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	assert_int_equal(epoch_record_parse(record, &arena, &parsed), OK);
	for (size_t i = 0; i < b->handed_count; i++) {
		const struct handed *h = &b->handed[i];
		if (h->era == parsed.epoch.era && h->epoch == parsed.epoch.epoch) {
			assert_memory_equal(h->oid, parsed.oid, OID_SIZE);
			return;
		}
	}
	assert_true(b->handed_count < COUNT_OF(b->handed));
	struct handed *h = &b->handed[b->handed_count++];
	*h = (struct handed){parsed.epoch.era, parsed.epoch.epoch, {0}};
	memcpy(h->oid, parsed.oid, OID_SIZE);
}

static void note_reply(struct bench *b, enum ipq_type type, struct span reply)
{
	struct ap_rot_available available;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	bool has_record = type == IPQ_GENERATE_ROT || type == IPQ_ROTATE_ROT || type == IPQ_ADOPT_CANDIDATE || type == IPQ_ATTEST;
	if (!has_record)
		return;
	assert_int_equal(schema_decode(&ap_rot_available_schema, reply, &arena, &available), OK);
	note_record(b, available.epoch_record);
}

enum reason settle(struct bench *b, enum ipq_type type, struct ap_action *action, struct bytes *out)
{
	if (action->kind == AP_PERSIST) {
		ap_persisted(b->ap, bench_write(b, action->persist), action);
	} else if (action->kind == AP_ROTATE) {
		struct ap_rotation *rotation = action->rotation;
		ap_rotation_run(rotation, bench_write, b);
		ap_rotated(b->ap, rotation, b->now, action);
	}
	assert_true(action->kind == AP_REPLY || action->kind == AP_REPLY_ERROR);
	if (action->kind == AP_REPLY_ERROR) {
		assert_int_not_equal(action->reason, OK);
		assert_true(strlen(action->text) > 0);
		return action->reason;
	}
	note_reply(b, type, action->reply);
	bytes_free(out);
	assert_int_equal(bytes_copy(action->reply, out), OK);
	return OK;
}

void step(struct bench *b, enum ipq_type type, const struct schema *schema, const void *request, struct ap_action *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024);
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, (struct ipq_expected){b->era, b->epoch});
	if (schema)
		schema_put(schema, request, &w);
	assert_int_equal(w.failed, OK);
	ap_step(b->ap, type, span_of(w.data, w.len), b->now, out);
}

/* The decoded reply borrows from memory that lives until the bench ends. */
enum reason ask(struct bench *b, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, void *reply)
{
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	struct ap_action action;
	struct span kept;
	step(b, type, schema, request, &action);
	enum reason reason = settle(b, type, &action, &answer);
	if (reason != OK || !reply_schema)
		return reason;
	assert_int_equal(arena_copy(&b->arena, bytes_span(&answer), &kept), OK);
	assert_int_equal(schema_decode(reply_schema, kept, &b->arena, reply), OK);
	return OK;
}

enum reason extend(struct bench *b, uint8_t index, const char *name, uint8_t fill)
{
	struct ap_measured_program program = {.name = name};
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	memset(program.digest, fill, sizeof(program.digest));
	assert_int_equal(schema_encode(&ap_measured_program_schema, &program, &content), OK);
	struct ap_extend request = {index, bytes_span(&content), true};
	struct ap_extended reply;
	return ask(b, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &reply);
}

enum ap_state state_of(struct bench *b)
{
	struct ap_health health;
	assert_int_equal(ask(b, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &health), OK);
	return health.state;
}

struct ap_generate a_generate(void)
{
	struct ap_generate request = {.valid_ms = 397ULL * 86400000, .grace_s = 60, .trust_domain = "troth.internal"};
	memset(request.challenge, 7, sizeof(request.challenge));
	memset(request.host_seed, 8, sizeof(request.host_seed));
	memset(request.host_share, 9, sizeof(request.host_share));
	return request;
}

void generate(struct bench *b)
{
	struct ap_generate request = a_generate();
	request.recovery = b->recovery;
	request.has_recovery = b->has_recovery;
	struct ap_rot_available reply;
	struct epoch epoch;
	struct rot_challenge challenge;
	assert_int_equal(ask(b, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &reply), OK);
	assert_int_equal(epoch_open_inception(reply.epoch_record, &b->arena, &epoch, b->epoch_oid), OK);
	memcpy(b->rot_id, b->epoch_oid, OID_SIZE);
	memcpy(b->kem_pk, epoch.kem_pk, POINT_SIZE);
	assert_int_equal(key_from_point(SPAN_ARRAY(epoch.sign_pk), &b->root_sign), OK);
	assert_int_equal(object_open(KIND_ROT_CHALLENGE, reply.challenge, &b->root_sign, &b->arena, &challenge, NULL), OK);
	assert_memory_equal(challenge.challenge, request.challenge, 32);
	assert_memory_equal(challenge.epoch_oid, b->epoch_oid, OID_SIZE);
	b->era = 0;
	b->epoch = 1;
	epoch_chain_free(b->chain);
	assert_int_equal(epoch_chain_new(reply.epoch_record, &b->chain), OK);
}

/* The bench believes what its chain does: the head's number, key and name. */
void adopt_head(struct bench *b)
{
	const struct epoch_link *head = epoch_chain_head(b->chain);
	key_free(&b->root_sign);
	assert_int_equal(key_from_point(SPAN_ARRAY(head->sign_pk), &b->root_sign), OK);
	memcpy(b->epoch_oid, head->oid, OID_SIZE);
	memcpy(b->kem_pk, head->kem_pk, POINT_SIZE);
	b->era = head->era;
	b->epoch = head->epoch;
}

struct ap_rotate a_rotation(uint8_t id)
{
	struct ap_rotate request = {.reason = EPOCH_OPERATOR, .grace_s = 60};
	memset(request.request_id, id, sizeof(request.request_id));
	memset(request.challenge, id ^ 0x55, sizeof(request.challenge));
	memset(request.host_seed, 3, sizeof(request.host_seed));
	memset(request.host_share, 9, sizeof(request.host_share));
	return request;
}

/* Judges a new record as everyone does, and the challenge under its key. */
void take_record(struct bench *b, const struct ap_rot_available *reply, const uint8_t challenge[static 32])
{
	struct rot_challenge answer;
	assert_int_equal(epoch_chain_follow(b->chain, reply->epoch_record), OK);
	adopt_head(b);
	assert_int_equal(object_open(KIND_ROT_CHALLENGE, reply->challenge, &b->root_sign, &b->arena, &answer, NULL), OK);
	assert_memory_equal(answer.challenge, challenge, 32);
	assert_memory_equal(answer.epoch_oid, b->epoch_oid, OID_SIZE);
	assert_memory_equal(answer.rot_id, b->rot_id, OID_SIZE);
	assert_int_equal(answer.epoch, b->epoch);
	assert_int_equal(answer.era, b->era);
}

enum reason rotate_as(struct bench *b, const struct ap_rotate *request)
{
	struct ap_rot_available reply;
	enum reason reason = ask(b, IPQ_ROTATE_ROT, &ap_rotate_schema, request, &ap_rot_available_schema, &reply);
	if (reason == OK)
		take_record(b, &reply, request->challenge);
	return reason;
}

void rotate(struct bench *b)
{
	struct ap_rotate request = a_rotation((uint8_t)(b->epoch + 100));
	uint64_t epoch = b->epoch;
	assert_int_equal(rotate_as(b, &request), OK);
	assert_int_equal(b->epoch, epoch + 1);
}

enum reason drain(struct bench *b)
{
	return ask(b, IPQ_DRAIN, NULL, NULL, NULL, NULL);
}

void health_of(struct bench *b, struct ap_health *out)
{
	assert_int_equal(ask(b, IPQ_HEALTH, NULL, NULL, &ap_health_schema, out), OK);
}

void bench_empty(struct bench *b)
{
	*b = (struct bench){.arena = arena_of(64 << 20), .now = T0, .fd = -1};
	assert_int_equal(secret_new(32, &b->wrap), OK);
	memset(b->wrap.data, 0x5a, 32);
	boot(b);
}

static void start_root(struct bench *b)
{
	assert_int_equal(extend(b, REGISTER_AP, "troth-ap", 1), OK);
	assert_int_equal(extend(b, REGISTER_HOST, "trothd", 2), OK);
	assert_int_equal(state_of(b), AP_MEASURED);
	generate(b);
	assert_int_equal(state_of(b), AP_READY);
}

void bench_new(struct bench *b)
{
	bench_empty(b);
	start_root(b);
}

void bench_new_recoverable(struct bench *b, const struct epoch_recovery *recovery)
{
	bench_empty(b);
	b->recovery = *recovery;
	b->has_recovery = true;
	start_root(b);
}

void bench_free(struct bench *b)
{
	ap_free(b->ap);
	secret_free(&b->wrap);
	bytes_free(&b->state);
	key_free(&b->root_sign);
	epoch_chain_free(b->chain);
	arena_free(&b->arena);
	if (b->disk)
		close(b->fd);
	*b = (struct bench){0};
}

void measure(struct bench *b, uint8_t ap_fill, uint8_t host_fill)
{
	assert_int_equal(extend(b, REGISTER_AP, "troth-ap", ap_fill), OK);
	assert_int_equal(extend(b, REGISTER_HOST, "trothd", host_fill), OK);
}

/* As a host does at its start: a head one ahead of the one known is followed; an older one is what it is. */
static void meet(struct bench *b)
{
	struct ap_health health;
	health_of(b, &health);
	if (health.epoch_record.len && b->chain && health.era == b->era && health.epoch == b->epoch + 1) {
		note_record(b, health.epoch_record);
		assert_int_equal(epoch_chain_follow(b->chain, health.epoch_record), OK);
		adopt_head(b);
	}
	b->era = health.era;
	b->epoch = health.epoch;
}

void restart(struct bench *b, uint8_t ap_fill, uint8_t host_fill)
{
	boot(b);
	meet(b);
	measure(b, ap_fill, host_fill);
}

void enclave_free(struct enclave *e)
{
	key_free(&e->sign);
	key_free(&e->kem);
}

enum reason launch(struct bench *b, const char *name, struct enclave *e)
{
	struct ap_launch_extended reply;
	memset(e, 0, sizeof(*e));
	assert_int_equal(key_generate(&e->sign), OK);
	assert_int_equal(key_generate(&e->kem), OK);
	e->launch = (struct launch){.v = 1, .name = name, .tier = "N", .isolation = "weak", .limits = "rlimit",
		.secret_memory = "locked", .interpreter = "closed"};
	random_bytes(e->launch.launch_id, LAUNCH_ID_SIZE);
	memset(e->launch.measurement, 0x33, SHA384_SIZE);
	launch_keys_hash(e->sign.point, e->kem.point, e->launch.keys_hash);
	enum reason reason = ask(b, IPQ_EXTEND_LAUNCH, &launch_schema, &e->launch, &ap_launch_extended_schema, &reply);
	if (reason == OK)
		memcpy(e->nonce, reply.nonce, 32);
	return reason;
}

void endorse_message(const struct enclave *e, uint8_t out[14 + 16 + 32 + 64])
{
	memcpy(out, "troth endorse1", 14);
	memcpy(out + 14, e->launch.launch_id, 16);
	memcpy(out + 30, e->nonce, 32);
	sha256(SPAN_ARRAY(e->sign.point), out + 62);
	sha256(SPAN_ARRAY(e->kem.point), out + 94);
}

enum reason endorse_begin(struct bench *b, const struct enclave *e, struct ap_endorse_challenge *out)
{
	struct ap_endorse_begin request;
	uint8_t message[14 + 16 + 32 + 64];
	memcpy(request.launch_id, e->launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(request.sign_pk, e->sign.point, POINT_SIZE);
	memcpy(request.kem_pk, e->kem.point, POINT_SIZE);
	endorse_message(e, message);
	assert_int_equal(key_sign(&e->sign, SPAN_ARRAY(message), request.signature), OK);
	return ask(b, IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &request, &ap_endorse_challenge_schema, out);
}

enum reason endorse_finish(struct bench *b, const struct enclave *e, struct span challenge, struct ap_endorsed *out)
{
	struct ap_endorse_finish request;
	uint8_t input[10 + 32 + 64];
	memcpy(request.launch_id, e->launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(input, "troth pop1", 10);
	memcpy(input + 10, challenge.data, 32);
	sha256(SPAN_ARRAY(e->sign.point), input + 42);
	sha256(SPAN_ARRAY(e->kem.point), input + 74);
	sha256(SPAN_ARRAY(input), request.proof);
	return ask(b, IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &request, &ap_endorsed_schema, out);
}

void endorse(struct bench *b, const char *name, struct enclave *e, struct ap_endorsed *out)
{
	struct ap_endorse_challenge challenge;
	CLEANUP(secret_free) struct secret c = SECRET_EMPTY;
	assert_int_equal(launch(b, name, e), OK);
	assert_int_equal(endorse_begin(b, e, &challenge), OK);
	assert_int_equal(box_open(&e->kem, "pop", SPAN_ARRAY(e->launch.launch_id), challenge.box, &c), OK);
	assert_int_equal(endorse_finish(b, e, secret_span(&c), out), OK);
}struct span seal_secret(struct bench *b, const char *name, const char *text, enum reason expected)
{
	struct seal_policy policy = {.v = 1, .name = name};
	static uint8_t box[256];
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct ap_signed reply = {0};
	memcpy(policy.rot_id, b->rot_id, OID_SIZE);
	memset(policy.measurement, 0x33, SHA384_SIZE);
	assert_int_equal(schema_encode(&seal_policy_schema, &policy, &encoding), OK);
	assert_int_equal(box_seal(SPAN_ARRAY(b->kem_pk), "seal-in", bytes_span(&encoding), span_str(text), box), OK);
	struct ap_seal request = {bytes_span(&encoding), span_of(box, strlen(text) + BOX_OVERHEAD)};
	assert_int_equal(ask(b, IPQ_SEAL, &ap_seal_schema, &request, &ap_signed_schema, &reply), expected);
	return reply.object;
}

enum reason unseal(struct bench *b, const struct enclave *e, const struct key *signer, struct span sealed,
	const uint8_t *seal_oid, struct unseal_request *request, struct ap_unsealed *out)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	request->v = 1;
	memcpy(request->seal_oid, seal_oid, OID_SIZE);
	memcpy(request->launch_id, e->launch.launch_id, LAUNCH_ID_SIZE);
	assert_int_equal(object_sign(KIND_UNSEAL_REQUEST, request, signer, &object, NULL), OK);
	struct ap_unseal message = {sealed, bytes_span(&object)};
	return ask(b, IPQ_UNSEAL, &ap_unseal_schema, &message, &ap_unsealed_schema, out);
}

