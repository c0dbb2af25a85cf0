/*
 * The secure processor across upgrades, backups and restores: which programs may follow, which seals open, what comes back on
 * another machine and what does not.
 */
#include "../expect.h"

#include "crypto/random.h"
#include "groups.h"
#include "object/epoch_chain.h"
#include "root/ap.h"

enum { HOLDERS = 3, QUORUM = 2, OLD = 1, NEW = 9 };
static const uint64_t T0 = 1800000000000ULL;

struct machine {
	struct ap *ap;
	struct secret wrap;
	struct bytes state;
	struct arena arena;
	uint32_t era;
	uint64_t epoch;
	struct epoch record;
	struct span inception, head;
	uint8_t rot_id[OID_SIZE];
	bool disk_full;
	enum { WRITES_HOLD, WRITE_LOST, WRITE_KEPT } writes; /* of a write that fails: the old or the new bytes are on the disk */
};

/* ---- A machine with a secure processor --------------------------------------------------------------- */

static void keep(struct machine *m, struct span state)
{
	bytes_free(&m->state);
	expect_ok(bytes_copy(state, &m->state));
}

static void boot(struct machine *m)
{
	struct ap_action action;
	struct ap_config config = {.state = bytes_span(&m->state), .wrap_key = &m->wrap, .secret_memory = "locked"};
	expect_ok(ap_new(&config, T0, &m->ap, &action));
	keep(m, action.persist);
	ap_persisted(m->ap, OK, &action);
}

static result write_state(void *ctx, struct span state)
{
	struct machine *m = ctx;
	if (m->disk_full)
		return fail(DISK_FULL, "no room");
	keep(m, state);
	return OK;
}

static enum reason ask(struct machine *m, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, void *reply)
{
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024);
	struct ap_action action;
	struct span kept;
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, (struct ipq_expected){m->era, m->epoch});
	if (schema)
		schema_put(schema, request, &w);
	assert_int_equal(w.failed, OK);
	ap_step(m->ap, type, span_of(w.data, w.len), T0, &action);
	if (action.kind == AP_PERSIST) {
		if (m->writes != WRITE_LOST)
			keep(m, action.persist);
		ap_persisted(m->ap, m->writes == WRITES_HOLD ? OK : fail(IO_ERROR, "as the test wants"), &action);
	} else if (action.kind == AP_ROTATE) {
		struct ap_rotation *rotation = action.rotation;
		ap_rotation_run(rotation, write_state, m);
		ap_rotated(m->ap, rotation, T0, &action);
	}
	if (action.kind == AP_REPLY_ERROR)
		return failure_note(action.reason, "%s", action.text);
	expect_ok(arena_copy(&m->arena, action.reply, &kept));
	if (reply_schema)
		expect_ok(schema_decode(reply_schema, kept, &m->arena, reply));
	return OK;
}

static void extend(struct machine *m, uint8_t index, const struct schema *schema, const void *event)
{
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	struct ap_extended reply;
	expect_ok(schema_encode(schema, event, &content));
	struct ap_extend request = {index, bytes_span(&content), true};
	expect_ok(ask(m, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &reply));
}

struct programs {
	uint8_t ap, host, ire;
	const char *build, *domain;
};
static const struct programs old_programs = {OLD, OLD, OLD, "release", "troth.internal"};

static void measure(struct machine *m, const struct programs *programs)
{
	struct digest32 lists[1] = {{{0}}};
	struct ap_measured_program ap = {.name = "troth-ap"};
	struct ap_measured_host host = {.build_mode = programs->build, .lists = lists, .list_count = 1, .trust_domain = programs->domain};
	memset(ap.digest, programs->ap, SHA384_SIZE);
	memset(host.host, programs->host, SHA384_SIZE);
	memset(host.ire, programs->ire, SHA384_SIZE);
	extend(m, REGISTER_AP, &ap_measured_program_schema, &ap);
	extend(m, REGISTER_HOST, &ap_measured_host_schema, &host);
}

/* Phase 0, and what phase 1 is to say. */
static void measure_half(struct machine *m, const struct programs *programs, struct ap_measured_program *ap, struct bytes *out_content)
{
	struct digest32 lists[1] = {{{0}}};
	struct ap_measured_host host = {.build_mode = programs->build, .lists = lists, .list_count = 1, .trust_domain = programs->domain};
	memset(ap->digest, programs->ap, SHA384_SIZE);
	memset(host.host, programs->host, SHA384_SIZE);
	memset(host.ire, programs->ire, SHA384_SIZE);
	extend(m, REGISTER_AP, &ap_measured_program_schema, ap);
	expect_ok(schema_encode(&ap_measured_host_schema, &host, out_content));
}

static enum ap_state state_of(struct machine *m)
{
	struct ap_health health;
	expect_ok(ask(m, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &health));
	return (enum ap_state)health.state;
}

static enum ap_state restart(struct machine *m, const struct programs *programs)
{
	ap_free(m->ap);
	boot(m);
	measure(m, programs);
	return state_of(m);
}

static void take_head(struct machine *m, struct span record)
{
	struct cose_sign object;
	m->head = record;
	expect_ok(cose_strict_sign_parse(record, &object));
	expect_ok(schema_decode(&epoch_schema, object.payload, &m->arena, &m->record));
	m->era = m->record.era;
	m->epoch = m->record.epoch;
}

static void machine_empty(struct machine *m)
{
	*m = (struct machine){.arena = arena_of(16 << 20)};
	expect_ok(secret_new(32, &m->wrap));
	random_bytes(m->wrap.data, 32);
	boot(m);
	measure(m, &old_programs);
}

static void machine_new(struct machine *m, const struct key *holders)
{
	struct digest32 ids[HOLDERS];
	struct ap_generate request = {.valid_ms = 86400000, .grace_s = 60, .trust_domain = "troth.internal", .has_recovery = holders != NULL};
	struct ap_rot_available reply;
	machine_empty(m);
	for (size_t i = 0; holders && i < HOLDERS; i++)
		memcpy(ids[i].bytes, holders[i].id, KEY_ID_SIZE);
	expect_ok(schema_sort(&digest32_schema, ids, holders ? HOLDERS : 0));
	request.recovery = (struct epoch_recovery){QUORUM, HOLDERS, ids, HOLDERS};
	expect_ok(ask(m, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &reply));
	m->inception = reply.epoch_record;
	take_head(m, reply.epoch_record);
	expect_ok(epoch_open_inception(reply.epoch_record, &m->arena, &m->record, m->rot_id));
}

static void machine_free(struct machine *m)
{
	ap_free(m->ap);
	secret_free(&m->wrap);
	bytes_free(&m->state);
	arena_free(&m->arena);
}

/* ---- Authors and their sets ---------------------------------------------------------------------------- */

struct word {
	struct key author;
	struct reference_row rows[4][3];
	struct reference_entry entries[4];
	struct reference_set set;
};

static void put_rows(struct reference_row *rows, enum reference_what what)
{
	rows[0] = (struct reference_row){.svn = 1, .what = (uint8_t)what};
	rows[1] = (struct reference_row){.svn = 2, .what = (uint8_t)what};
	memset(rows[0].digest, OLD, SHA384_SIZE);
	memset(rows[1].digest, NEW, SHA384_SIZE);
}

static void word_make(struct word *w)
{
	static const char *const names[] = {"troth-ap", "troth-ire", "trothd", "wages"};
	*w = (struct word){.set = {.name = "hosts", .version = 1, .not_before = T0 - 1, .not_after = T0 + 1, .entries = w->entries,
		.entry_count = 4}};
	expect_ok(key_generate(&w->author));
	for (size_t i = 0; i < 4; i++) {
		put_rows(w->rows[i], i < 3 ? REFERENCE_PROGRAM : REFERENCE_MEASUREMENT);
		w->entries[i] = (struct reference_entry){names[i], 1, w->rows[i], 2};
	}
}

/* Signing sorts the entries. */
static struct reference_entry *entry_of(struct word *w, const char *name)
{
	for (size_t i = 0; i < 4; i++)
		if (strcmp(w->entries[i].name, name) == 0)
			return &w->entries[i];
	return NULL;
}

static struct span signed_set(struct machine *m, struct word *w)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct span kept;
	expect_ok(reference_set_sign(&w->set, &w->author, &object, NULL));
	expect_ok(arena_copy(&m->arena, bytes_span(&object), &kept));
	return kept;
}

static enum reason authorise(struct machine *m, struct word *w, bool enrol, struct span sealed, struct ap_authorised *out)
{
	struct ap_authorise request = {signed_set(m, w), enrol, sealed};
	struct ap_authorised reply;
	return ask(m, IPQ_AUTHORISE, &ap_authorise_schema, &request, &ap_authorised_schema, out ? out : &reply);
}

/* ---- Seals and launches ---------------------------------------------------------------------------------- */

struct enclave {
	struct key sign, kem;
	struct launch launch;
};

static void enclave_free(struct enclave *e)
{
	key_free(&e->sign);
	key_free(&e->kem);
}

static void prove(struct machine *m, struct enclave *e, const uint8_t nonce[32])
{
	struct ap_endorse_begin begin;
	struct ap_endorse_challenge challenge;
	struct ap_endorse_finish finish;
	struct ap_endorsed endorsed;
	CLEANUP(secret_free) struct secret c = SECRET_EMPTY;
	uint8_t message[14 + 16 + 32 + 64], proof[10 + 32 + 64];
	memcpy(message, "troth endorse1", 14);
	memcpy(message + 14, e->launch.launch_id, 16);
	memcpy(message + 30, nonce, 32);
	sha256(SPAN_ARRAY(e->sign.point), message + 62);
	sha256(SPAN_ARRAY(e->kem.point), message + 94);
	memcpy(begin.launch_id, e->launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(begin.sign_pk, e->sign.point, POINT_SIZE);
	memcpy(begin.kem_pk, e->kem.point, POINT_SIZE);
	expect_ok(key_sign(&e->sign, SPAN_ARRAY(message), begin.signature));
	expect_ok(ask(m, IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &begin, &ap_endorse_challenge_schema, &challenge));
	expect_ok(box_open(&e->kem, "pop", SPAN_ARRAY(e->launch.launch_id), challenge.box, &c));
	memcpy(proof, "troth pop1", 10);
	memcpy(proof + 10, c.data, 32);
	memcpy(proof + 42, message + 62, 64);
	memcpy(finish.launch_id, e->launch.launch_id, LAUNCH_ID_SIZE);
	sha256(SPAN_ARRAY(proof), finish.proof);
	expect_ok(ask(m, IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &finish, &ap_endorsed_schema, &endorsed));
}

static void launch(struct machine *m, const char *name, uint8_t measurement, struct enclave *e)
{
	struct ap_launch_extended reply;
	*e = (struct enclave){.launch = {.v = 1, .name = name, .tier = "N", .isolation = "weak", .limits = "rlimit",
		.secret_memory = "locked", .interpreter = "closed"}};
	expect_ok(key_generate(&e->sign));
	expect_ok(key_generate(&e->kem));
	random_bytes(e->launch.launch_id, LAUNCH_ID_SIZE);
	memset(e->launch.measurement, measurement, SHA384_SIZE);
	launch_keys_hash(e->sign.point, e->kem.point, e->launch.keys_hash);
	expect_ok(ask(m, IPQ_EXTEND_LAUNCH, &launch_schema, &e->launch, &ap_launch_extended_schema, &reply));
	prove(m, e, reply.nonce);
}

static struct span seal(struct machine *m, const struct seal_policy *policy)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	uint8_t box[BOX_OVERHEAD + 6];
	struct ap_signed reply;
	expect_ok(schema_encode(&seal_policy_schema, policy, &encoding));
	expect_ok(box_seal(SPAN_ARRAY(m->record.kem_pk), "seal-in", bytes_span(&encoding), span_str("secret"), box));
	struct ap_seal request = {bytes_span(&encoding), SPAN_ARRAY(box)};
	expect_ok(ask(m, IPQ_SEAL, &ap_seal_schema, &request, &ap_signed_schema, &reply));
	return reply.object;
}

static struct span seal_to(struct machine *m, const char *name, uint8_t measurement)
{
	struct seal_policy policy = {.v = SEAL_BY_MEASUREMENT, .name = name};
	memcpy(policy.rot_id, m->rot_id, OID_SIZE);
	memset(policy.measurement, measurement, SHA384_SIZE);
	return seal(m, &policy);
}

static struct span seal_by_reference(struct machine *m, const struct word *w, uint32_t min_svn)
{
	struct seal_policy policy = {.v = SEAL_BY_REFERENCE, .name = "wages", .reference = {.set = "hosts", .min_svn = min_svn}};
	memcpy(policy.rot_id, m->rot_id, OID_SIZE);
	memcpy(policy.reference.author, w->author.id, KEY_ID_SIZE);
	return seal(m, &policy);
}

/* What an enclave of this measurement gets: OK only with the right secret in its box. */
static enum reason unseal(struct machine *m, const char *name, uint8_t measurement, struct span sealed, struct span set)
{
	CLEANUP(enclave_free) struct enclave e;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	struct unseal_request request = {.v = 1};
	struct sealed parsed;
	struct ap_unsealed reply;
	uint8_t aad[LAUNCH_ID_SIZE + OID_SIZE + 32];
	launch(m, name, measurement, &e);
	expect_ok(object_peek(KIND_SEALED, sealed, &m->arena, &parsed, request.seal_oid));
	memcpy(request.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	expect_ok(object_sign(KIND_UNSEAL_REQUEST, &request, &e.sign, &object, NULL));
	struct ap_unseal message = {sealed, bytes_span(&object), set};
	enum reason unsealed = ask(m, IPQ_UNSEAL, &ap_unseal_schema, &message, &ap_unsealed_schema, &reply);
	if (unsealed != OK)
		return unsealed;
	memcpy(aad, request.launch_id, LAUNCH_ID_SIZE);
	memcpy(aad + LAUNCH_ID_SIZE, request.seal_oid, OID_SIZE);
	memcpy(aad + LAUNCH_ID_SIZE + OID_SIZE, request.nonce, 32);
	expect_ok(box_open(&e.kem, "unseal", SPAN_ARRAY(aad), reply.box, &secret));
	assert_true(secret_equal(secret_span(&secret), span_str("secret")));
	return OK;
}

/* ---- Upgrades --------------------------------------------------------------------------------------------- */

static void changed_programs_run_only_when_authorised(void **unused)
{
	static const struct {
		struct programs programs;
		enum ap_state before, after;
	} cases[] = {
		{{OLD, OLD, OLD, "release", "troth.internal"}, AP_READY, AP_READY},
		{{NEW, OLD, OLD, "release", "troth.internal"}, AP_FAILED, AP_READY},
		{{OLD, NEW, OLD, "release", "troth.internal"}, AP_FAILED, AP_READY},
		{{OLD, OLD, NEW, "release", "troth.internal"}, AP_FAILED, AP_READY},
		{{NEW, NEW, NEW, "release", "troth.internal"}, AP_FAILED, AP_READY},
		{{7, NEW, NEW, "release", "troth.internal"}, AP_FAILED, AP_FAILED}, /* nobody listed this one */
		{{NEW, 7, NEW, "release", "troth.internal"}, AP_FAILED, AP_FAILED},
		{{NEW, NEW, 7, "release", "troth.internal"}, AP_FAILED, AP_FAILED},
		/* listed programs with other settings */
		{{NEW, NEW, NEW, "instrumented", "troth.internal"}, AP_FAILED, AP_FAILED},
		{{NEW, NEW, NEW, "release", "elsewhere"}, AP_FAILED, AP_FAILED},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct machine m;
		struct word w;
		machine_new(&m, NULL);
		word_make(&w);
		assert_int_equal(restart(&m, &cases[i].programs), cases[i].before);
		assert_int_equal(restart(&m, &old_programs), AP_READY);
		expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
		assert_int_equal(state_of(&m), AP_READY); /* nothing changes for what runs */
		assert_int_equal(restart(&m, &cases[i].programs), cases[i].after);
		assert_int_equal(restart(&m, &cases[i].programs), cases[i].after);
		key_free(&w.author);
		machine_free(&m);
	}
}

static void an_upgrade_is_not_undone_below_the_minimum(void **unused)
{
	static const struct programs new_programs = {NEW, NEW, NEW, "release", "troth.internal"};
	struct machine m;
	struct word w;
	machine_new(&m, NULL);
	word_make(&w);
	expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
	assert_int_equal(restart(&m, &new_programs), AP_READY);
	assert_int_equal(restart(&m, &old_programs), AP_READY); /* listed, and no minimum forbids it */
	assert_int_equal(restart(&m, &new_programs), AP_READY);
	w.set.version = 2;
	entry_of(&w, "troth-ap")->min_svn = 2;
	expect_ok(authorise(&m, &w, false, SPAN_EMPTY, NULL));
	assert_int_equal(restart(&m, &old_programs), AP_FAILED);
	w.set.version = 1; /* the old set again does not bring it back */
	entry_of(&w, "troth-ap")->min_svn = 1;
	expect(authorise(&m, &w, false, SPAN_EMPTY, NULL), REFERENCE_OLD);
	assert_int_equal(state_of(&m), AP_FAILED);
	assert_int_equal(restart(&m, &new_programs), AP_READY);
	key_free(&w.author);
	machine_free(&m);
}

static void a_set_given_after_the_mismatch_ends_it(void **unused)
{
	static const struct programs new_programs = {NEW, NEW, NEW, "release", "troth.internal"};
	struct machine m;
	struct word w, stranger;
	machine_new(&m, NULL);
	word_make(&w);
	word_make(&stranger);
	for (size_t i = 0; i < 4; i++)
		w.entries[i].row_count = 1;
	expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
	assert_int_equal(restart(&m, &new_programs), AP_FAILED);
	expect(authorise(&m, &w, false, SPAN_EMPTY, NULL), REFERENCE_MISSING); /* this one does not list them */
	expect(authorise(&m, &stranger, false, SPAN_EMPTY, NULL), AUTHOR_UNKNOWN);
	expect(authorise(&m, &stranger, true, SPAN_EMPTY, NULL), MEASUREMENT_WRONG); /* changed programs enrol nobody */
	assert_int_equal(state_of(&m), AP_FAILED);
	for (size_t i = 0; i < 4; i++)
		w.entries[i].row_count = 2;
	w.set.version = 2;
	expect_ok(authorise(&m, &w, false, SPAN_EMPTY, NULL));
	assert_int_equal(state_of(&m), AP_READY);
	assert_int_equal(restart(&m, &new_programs), AP_READY);
	key_free(&w.author);
	key_free(&stranger.author);
	machine_free(&m);
}

/* A rotation that was made but not written will write what it was made from: nothing else may change the state before it. */
static void an_unwritten_rotation_comes_first(void **unused)
{
	struct machine m;
	struct word w;
	struct ap_rotate request = {.reason = EPOCH_OPERATOR, .emergency = true};
	struct ap_rot_available reply;
	machine_new(&m, NULL);
	word_make(&w);
	m.disk_full = true;
	expect(ask(&m, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply), DISK_FULL);
	m.disk_full = false;
	expect(authorise(&m, &w, true, SPAN_EMPTY, NULL), ROTATION_RUNNING);
	expect_ok(ask(&m, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply));
	take_head(&m, reply.epoch_record);
	assert_int_equal(m.epoch, 2);
	expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
	assert_int_equal(restart(&m, &old_programs), AP_READY);
	expect_ok(authorise(&m, &w, false, SPAN_EMPTY, NULL));
	key_free(&w.author);
	machine_free(&m);
}

/* What is authorised and what is restored stays through rotations. */
static void authorisations_survive_rotations(void **unused)
{
	static const struct programs new_programs = {NEW, NEW, NEW, "release", "troth.internal"};
	struct machine m;
	struct word w;
	struct ap_rotate request = {.reason = EPOCH_OPERATOR, .emergency = true};
	struct ap_rot_available reply;
	machine_new(&m, NULL);
	word_make(&w);
	expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
	for (uint8_t i = 1; i <= 3; i++) {
		request.request_id[0] = i;
		expect_ok(ask(&m, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply));
		take_head(&m, reply.epoch_record);
	}
	assert_int_equal(restart(&m, &new_programs), AP_READY);
	struct span sealed = seal_by_reference(&m, &w, 1);
	expect_ok(unseal(&m, "wages", OLD, sealed, signed_set(&m, &w)));
	key_free(&w.author);
	machine_free(&m);
}

/* ---- Seals across upgrades -------------------------------------------------------------------------------- */

static void a_seal_by_reference_follows_its_authors_set(void **unused)
{
	struct machine m;
	struct word w, stranger;
	machine_new(&m, NULL);
	word_make(&w);
	word_make(&stranger);
	struct span sealed = seal_by_reference(&m, &w, 1), set = signed_set(&m, &w);
	expect_ok(unseal(&m, "wages", OLD, sealed, set));
	expect_ok(unseal(&m, "wages", NEW, sealed, set));
	expect(unseal(&m, "wages", 7, sealed, set), REFERENCE_MISSING);
	expect(unseal(&m, "sums", OLD, sealed, set), SEAL_FOREIGN);
	expect(unseal(&m, "wages", OLD, sealed, SPAN_EMPTY), REFERENCE_MISSING);
	expect(unseal(&m, "wages", OLD, sealed, signed_set(&m, &stranger)), REFERENCE_MISSING);
	struct span strict = seal_by_reference(&m, &w, 2);
	expect(unseal(&m, "wages", OLD, strict, set), SVN_TOO_LOW);
	expect_ok(unseal(&m, "wages", NEW, strict, set));
	/* Once this processor has seen a newer set of an enrolled author, the older one no longer counts. */
	w.set.version = 2;
	entry_of(&w, "wages")->min_svn = 2;
	expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
	expect(unseal(&m, "wages", OLD, sealed, set), REFERENCE_OLD);
	expect(unseal(&m, "wages", OLD, sealed, signed_set(&m, &w)), SVN_TOO_LOW);
	expect_ok(unseal(&m, "wages", NEW, sealed, signed_set(&m, &w)));
	w.set.version = 3;
	w.set.not_after = T0 - 1;
	w.set.not_before = T0 - 2;
	expect(unseal(&m, "wages", NEW, sealed, signed_set(&m, &w)), REFERENCE_EXPIRED);
	key_free(&w.author);
	key_free(&stranger.author);
	machine_free(&m);
}

static void a_seal_to_a_measurement_moves_only_as_the_set_says(void **unused)
{
	struct machine m;
	struct word w;
	struct ap_authorised moved;
	machine_new(&m, NULL);
	word_make(&w);
	struct span sealed = seal_to(&m, "wages", OLD), foreign = seal_to(&m, "sums", OLD), unlisted = seal_to(&m, "wages", 7);
	expect_ok(unseal(&m, "wages", OLD, sealed, SPAN_EMPTY));
	expect(unseal(&m, "wages", NEW, sealed, SPAN_EMPTY), SEAL_FOREIGN);
	expect(authorise(&m, &w, false, sealed, &moved), AUTHOR_UNKNOWN);
	expect(unseal(&m, "wages", NEW, sealed, signed_set(&m, &w)), SEAL_FOREIGN);
	expect_ok(authorise(&m, &w, true, sealed, &moved));
	struct span again = moved.sealed;
	expect_ok(unseal(&m, "wages", NEW, again, SPAN_EMPTY));
	expect(unseal(&m, "wages", OLD, again, SPAN_EMPTY), SEAL_FOREIGN);
	expect(authorise(&m, &w, false, foreign, &moved), REFERENCE_MISSING);
	expect(authorise(&m, &w, false, unlisted, &moved), REFERENCE_MISSING);
	expect(authorise(&m, &w, false, seal_by_reference(&m, &w, 1), &moved), BAD_VALUE);
	/* Never back. */
	w.set.version = 2;
	entry_of(&w, "wages")->rows[0].svn = 5;
	entry_of(&w, "wages")->rows[1].svn = 4;
	entry_of(&w, "wages")->min_svn = 6;
	assert_int_not_equal(reference_set_check(&w.set), OK);
	key_free(&w.author);
	machine_free(&m);
}

static void an_altered_seal_is_not_moved(void **unused)
{
	struct machine m;
	struct word w;
	struct ap_authorised moved;
	struct sealed parsed;
	CLEANUP(key_free) struct key thief = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes forged = BYTES_EMPTY;
	machine_new(&m, NULL);
	word_make(&w);
	struct span sealed = seal_to(&m, "sums", OLD);
	/* Another name on the same ciphertext: the encryption covers the policy. */
	expect_ok(object_peek(KIND_SEALED, sealed, &m.arena, &parsed, (uint8_t[OID_SIZE]){0}));
	expect_ok(key_generate(&thief));
	parsed.policy.name = "wages";
	expect_ok(object_sign(KIND_SEALED, &parsed, &thief, &forged, NULL));
	expect(authorise(&m, &w, true, bytes_span(&forged), &moved), BAD_TAG);
	parsed.policy.rot_id[0] ^= 1;
	bytes_free(&forged);
	expect_ok(object_sign(KIND_SEALED, &parsed, &thief, &forged, NULL));
	expect(authorise(&m, &w, true, bytes_span(&forged), &moved), SEAL_FOREIGN);
	/* What failed enrolled nobody. */
	expect(authorise(&m, &w, false, SPAN_EMPTY, NULL), AUTHOR_UNKNOWN);
	key_free(&w.author);
	machine_free(&m);
}

/* ---- Backup and restore ------------------------------------------------------------------------------------ */

struct holders {
	struct key keys[HOLDERS];
	uint8_t spki[HOLDERS][SPKI_SIZE];
	struct bytes_item items[HOLDERS];
};

static void holders_make(struct holders *h)
{
	for (size_t i = 0; i < HOLDERS; i++) {
		expect_ok(key_generate(&h->keys[i]));
		key_spki(&h->keys[i], h->spki[i]);
		h->items[i].bytes = SPAN_ARRAY(h->spki[i]);
	}
}

static void holders_free(struct holders *h)
{
	for (size_t i = 0; i < HOLDERS; i++)
		key_free(&h->keys[i]);
}

static enum reason back_up(struct machine *m, struct holders *h, size_t count, struct span *out)
{
	struct ap_backup request = {h->items, count};
	struct ap_backed_up reply;
	enum reason backed_up = ask(m, IPQ_BACKUP, &ap_backup_schema, &request, &ap_backed_up_schema, &reply);
	if (backed_up == OK)
		*out = reply.object;
	return backed_up;
}

/* A recovery of `from` on another machine, up to the adopted record. `out_payload` is what the holders were shown. */
static void recover(struct machine *m, const struct machine *from, struct holders *h, struct span *out_payload)
{
	struct ap_recover request = {.inception = from->inception, .base = from->head, .trust_domain = "troth.internal", .grace_s = 60};
	struct ap_candidate candidate;
	struct recovery_signature signatures[QUORUM];
	struct ap_adopt_candidate adopt = {.signatures = signatures, .signature_count = QUORUM};
	struct ap_rot_available reply;
	random_bytes(request.host_seed, 32);
	memset(request.host_share, 3, 32);
	memset(adopt.host_share, 3, 32);
	expect_ok(ask(m, IPQ_RECOVER, &ap_recover_schema, &request, &ap_candidate_schema, &candidate));
	for (size_t i = 0; i < QUORUM; i++) {
		CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
		expect_ok(cose_strict_sign_tbs(candidate.payload, kind_label(KIND_EPOCH), h->keys[i].id, &tbs));
		expect_ok(key_sign(&h->keys[i], bytes_span(&tbs), signatures[i].signature));
		signatures[i].spki = h->items[i].bytes;
	}
	sha256(candidate.payload, adopt.payload_digest);
	expect_ok(ask(m, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &adopt, &ap_rot_available_schema, &reply));
	memcpy(m->rot_id, from->rot_id, OID_SIZE);
	m->inception = from->inception;
	take_head(m, reply.epoch_record);
	*out_payload = candidate.payload;
}

static void answer_share(struct machine *m, struct span backup_bytes, struct span payload, const struct key *holder,
	struct ap_restored_share *out)
{
	struct backup backup;
	struct restore_share share;
	uint8_t oid[OID_SIZE];
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	expect_ok(backup_peek(backup_bytes, &m->arena, &backup, oid));
	expect_ok(restore_share_make(&backup, oid, payload, holder, &answer));
	expect_ok(schema_decode(&restore_share_schema, bytes_span(&answer), &m->arena, &share));
	out->number = share.number;
	memcpy(out->box, share.box, sizeof(out->box));
}

static enum reason restore(struct machine *m, struct span backup, const struct ap_restored_share *shares, size_t count)
{
	struct ap_restore request = {backup, (struct ap_restored_share *)shares, count};
	struct ap_done done;
	return ask(m, IPQ_RESTORE, &ap_restore_schema, &request, &ap_done_schema, &done);
}

static void a_restored_machine_opens_what_was_sealed_before(void **unused)
{
	struct machine lost, found;
	struct holders h;
	struct span backup, payload;
	struct ap_restored_share shares[HOLDERS];
	holders_make(&h);
	machine_new(&lost, h.keys);
	machine_empty(&found);
	struct span sealed = seal_to(&lost, "wages", OLD);
	expect_ok(back_up(&lost, &h, HOLDERS, &backup));
	recover(&found, &lost, &h, &payload);
	assert_int_equal(found.era, 1);
	assert_memory_not_equal(found.record.sign_pk, lost.record.sign_pk, POINT_SIZE); /* never a clone */
	expect(unseal(&found, "wages", OLD, sealed, SPAN_EMPTY), EPOCH_OLD);
	for (size_t i = 0; i < HOLDERS; i++)
		answer_share(&found, backup, payload, &h.keys[i], &shares[i]);
	expect_ok(restore(&found, backup, shares + 1, QUORUM));
	expect_ok(unseal(&found, "wages", OLD, sealed, SPAN_EMPTY));
	expect(unseal(&found, "wages", NEW, sealed, SPAN_EMPTY), SEAL_FOREIGN);
	expect_ok(restore(&found, backup, shares, QUORUM)); /* again: nothing changes */
	assert_int_equal(restart(&found, &old_programs), AP_READY); /* and it is durable */
	expect_ok(unseal(&found, "wages", OLD, sealed, SPAN_EMPTY));
	expect_ok(unseal(&found, "wages", OLD, seal_to(&found, "wages", OLD), SPAN_EMPTY));
	machine_free(&lost);
	machine_free(&found);
	holders_free(&h);
}

static void wrong_quorums_shares_and_backups_are_refused(void **unused)
{
	struct machine lost, found, other;
	struct holders h;
	struct span backup, second, foreign, payload, other_payload;
	struct ap_restored_share shares[HOLDERS], mixed[2];
	holders_make(&h);
	machine_new(&lost, h.keys);
	machine_new(&other, h.keys);
	machine_empty(&found);
	expect_ok(back_up(&lost, &h, HOLDERS, &backup));
	expect_ok(back_up(&lost, &h, HOLDERS, &second));
	expect_ok(back_up(&other, &h, HOLDERS, &foreign));
	expect(restore(&lost, backup, shares, 0), NOT_READY); /* only after a recovery */
	recover(&found, &lost, &h, &payload);
	for (size_t i = 0; i < HOLDERS; i++)
		answer_share(&found, backup, payload, &h.keys[i], &shares[i]);
	expect(restore(&found, backup, shares, 0), SHARES_TOO_FEW);
	expect(restore(&found, backup, shares, 1), SHARES_TOO_FEW);
	mixed[0] = mixed[1] = shares[0];
	expect(restore(&found, backup, mixed, 2), SHARE_DUPLICATE);
	mixed[1].number = shares[1].number; /* one share under another's number */
	expect(restore(&found, backup, mixed, 2), SHARES_MIXED);
	mixed[1].number = 0;
	expect(restore(&found, backup, mixed, 2), SHARES_MIXED);
	answer_share(&found, second, payload, &h.keys[1], &mixed[1]); /* of another backup of the same host */
	expect(restore(&found, backup, mixed, 2), SHARES_MIXED);
	expect(restore(&found, foreign, shares, 2), BACKUP_FOREIGN);
	/* Shares for another recovery of the same root do not open here. */
	struct machine third;
	machine_empty(&third);
	recover(&third, &lost, &h, &other_payload);
	answer_share(&third, backup, other_payload, &h.keys[0], &mixed[0]);
	mixed[1] = shares[1];
	expect(restore(&found, backup, mixed, 2), SHARES_MIXED);
	/* Damaged anywhere: refused, whatever is told. */
	for (size_t at = 0; at < backup.len; at += 11) {
		CLEANUP(bytes_free) struct bytes damaged = BYTES_EMPTY;
		expect_ok(bytes_copy(backup, &damaged));
		damaged.data[at] ^= 1;
		struct backup parsed;
		uint8_t oid[OID_SIZE], true_oid[OID_SIZE];
		expect_ok(backup_peek(backup, &found.arena, &parsed, true_oid));
		bool same = backup_peek(bytes_span(&damaged), &found.arena, &parsed, oid) == OK && memcmp(oid, true_oid, OID_SIZE) == 0;
		/* A changed signature is for the host to notice, which knows the chain; the content is what was backed up. */
		if (!same)
			assert_int_not_equal(restore(&found, bytes_span(&damaged), shares, 2), OK);
	}
	expect_ok(restore(&found, backup, shares, 2));
	machine_free(&third);
	machine_free(&lost);
	machine_free(&other);
	machine_free(&found);
	holders_free(&h);
}

/* Two hosts from one backup: whoever sees both records freezes the root and keeps them as proof; nothing is silently double. */
static void two_restores_of_one_backup_fork_visibly(void **unused)
{
	struct machine lost, one, two;
	struct holders h;
	struct span backup, payload;
	struct ap_restored_share shares[QUORUM];
	struct machine *restored[] = {&one, &two};
	struct epoch_chain *chain;
	struct span proof[2];
	holders_make(&h);
	machine_new(&lost, h.keys);
	expect_ok(back_up(&lost, &h, HOLDERS, &backup));
	for (size_t i = 0; i < 2; i++) {
		machine_empty(restored[i]);
		recover(restored[i], &lost, &h, &payload);
		for (size_t k = 0; k < QUORUM; k++)
			answer_share(restored[i], backup, payload, &h.keys[k], &shares[k]);
		expect_ok(restore(restored[i], backup, shares, QUORUM));
	}
	expect_ok(epoch_chain_new(lost.inception, &chain));
	for (size_t i = 0; i < HOLDERS; i++)
		expect_ok(epoch_chain_add_key(chain, h.items[i].bytes));
	expect_ok(epoch_chain_follow(chain, one.head));
	assert_int_equal(epoch_chain_state(chain), CHAIN_LIVE);
	expect(epoch_chain_follow(chain, two.head), EPOCH_FORKED);
	assert_int_equal(epoch_chain_state(chain), CHAIN_FROZEN);
	epoch_chain_proof(chain, proof);
	expect_span(proof[0], one.head);
	expect_span(proof[1], two.head);
	epoch_chain_free(chain);
	machine_free(&lost);
	machine_free(&one);
	machine_free(&two);
	holders_free(&h);
}

/* Whatever is on the disk after a write that failed, the request can be made again after a restart and is done once. */
static void a_failed_write_of_an_authorisation_is_repeated(void **unused)
{
	static const struct programs new_programs = {NEW, NEW, NEW, "release", "troth.internal"};
	for (int kept = WRITE_LOST; kept <= WRITE_KEPT; kept++) {
		struct machine m;
		struct word w;
		machine_new(&m, NULL);
		word_make(&w);
		m.writes = kept;
		expect(authorise(&m, &w, true, SPAN_EMPTY, NULL), IO_ERROR);
		assert_int_equal(state_of(&m), AP_FAILED); /* nothing is believed until a restart has read the disk */
		expect(authorise(&m, &w, false, SPAN_EMPTY, NULL), NOT_READY);
		m.writes = WRITES_HOLD;
		assert_int_equal(restart(&m, &old_programs), AP_READY);
		expect(authorise(&m, &w, false, SPAN_EMPTY, NULL), kept == WRITE_KEPT ? OK : AUTHOR_UNKNOWN);
		expect_ok(authorise(&m, &w, true, SPAN_EMPTY, NULL));
		/* The write by which new programs become the expected ones. */
		ap_free(m.ap);
		boot(&m);
		struct ap_measured_program ap = {.name = "troth-ap"};
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		struct ap_extended reply;
		measure_half(&m, &new_programs, &ap, &content);
		struct ap_extend request = {REGISTER_HOST, bytes_span(&content), true};
		m.writes = kept;
		expect(ask(&m, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &reply), IO_ERROR);
		assert_int_equal(state_of(&m), AP_FAILED);
		m.writes = WRITES_HOLD;
		assert_int_equal(restart(&m, &new_programs), AP_READY);
		key_free(&w.author);
		machine_free(&m);
	}
}

static void a_failed_write_of_a_restore_is_repeated(void **unused)
{
	for (int kept = WRITE_LOST; kept <= WRITE_KEPT; kept++) {
		struct machine lost, found;
		struct holders h;
		struct span backup, payload;
		struct ap_restored_share shares[QUORUM];
		holders_make(&h);
		machine_new(&lost, h.keys);
		machine_empty(&found);
		struct span sealed = seal_to(&lost, "wages", OLD);
		expect_ok(back_up(&lost, &h, HOLDERS, &backup));
		recover(&found, &lost, &h, &payload);
		for (size_t i = 0; i < QUORUM; i++)
			answer_share(&found, backup, payload, &h.keys[i], &shares[i]);
		found.writes = kept;
		expect(restore(&found, backup, shares, QUORUM), IO_ERROR);
		found.writes = WRITES_HOLD;
		assert_int_equal(restart(&found, &old_programs), AP_READY);
		expect(unseal(&found, "wages", OLD, sealed, SPAN_EMPTY), kept == WRITE_KEPT ? OK : EPOCH_OLD);
		expect_ok(restore(&found, backup, shares, QUORUM));
		expect_ok(unseal(&found, "wages", OLD, sealed, SPAN_EMPTY));
		machine_free(&lost);
		machine_free(&found);
		holders_free(&h);
	}
}

static void backups_go_to_the_recovery_set_and_nobody_else(void **unused)
{
	struct machine m, alone;
	struct holders h, strangers;
	struct span backup = SPAN_EMPTY;
	holders_make(&h);
	holders_make(&strangers);
	machine_new(&m, h.keys);
	machine_new(&alone, NULL);
	expect(back_up(&alone, &h, HOLDERS, &backup), NO_RECOVERY_SET);
	expect(back_up(&m, &h, HOLDERS - 1, &backup), HOLDER_FOREIGN);
	expect(back_up(&m, &strangers, HOLDERS, &backup), HOLDER_FOREIGN);
	struct bytes_item kept = h.items[1];
	h.items[1] = h.items[0];
	expect(back_up(&m, &h, HOLDERS, &backup), HOLDER_FOREIGN);
	h.items[1] = kept;
	expect_ok(back_up(&m, &h, HOLDERS, &backup));
	/* No storage key stands in it in clear, and two backups have nothing in common but what is public. */
	struct span second;
	expect_ok(back_up(&m, &h, HOLDERS, &second));
	struct backup one, two;
	uint8_t oid[OID_SIZE];
	expect_ok(backup_peek(backup, &m.arena, &one, oid));
	expect_ok(backup_peek(second, &m.arena, &two, oid));
	assert_memory_not_equal(one.id, two.id, BACKUP_ID_SIZE);
	assert_memory_not_equal(one.ciphertext.data, two.ciphertext.data, one.ciphertext.len);
	machine_free(&m);
	machine_free(&alone);
	holders_free(&h);
	holders_free(&strangers);
}

int test_ap_upgrade(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changed_programs_run_only_when_authorised),
		cmocka_unit_test(an_upgrade_is_not_undone_below_the_minimum),
		cmocka_unit_test(a_set_given_after_the_mismatch_ends_it),
		cmocka_unit_test(an_unwritten_rotation_comes_first),
		cmocka_unit_test(authorisations_survive_rotations),
		cmocka_unit_test(a_seal_by_reference_follows_its_authors_set),
		cmocka_unit_test(a_seal_to_a_measurement_moves_only_as_the_set_says),
		cmocka_unit_test(an_altered_seal_is_not_moved),
		cmocka_unit_test(a_restored_machine_opens_what_was_sealed_before),
		cmocka_unit_test(wrong_quorums_shares_and_backups_are_refused),
		cmocka_unit_test(a_failed_write_of_an_authorisation_is_repeated),
		cmocka_unit_test(a_failed_write_of_a_restore_is_repeated),
		cmocka_unit_test(two_restores_of_one_backup_fork_visibly),
		cmocka_unit_test(backups_go_to_the_recovery_set_and_nobody_else),
	};
	return cmocka_run_group_tests_name("secure processor across upgrades and backups", tests, NULL, NULL);
}
