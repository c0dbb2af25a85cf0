#include "root/ap.h"

#include <stdio.h>
#include <stdlib.h>

#include "crypto/box.h"
#include "crypto/random.h"
#include "crypto/x509.h"
#include "root/boot_log.h"
#include "root/rot_keys.h"

/*
 * Theory of operation. One table (`moves`) says which request may come in which state and who handles it. A handler
 * decodes its body into the scratch arena, checks, and writes the reply; one that changes durable state also asks for
 * AP_PERSIST, and its reply goes out only after the write was acknowledged.
 */

enum { SCRATCH_MAX = 1 << 20, REPLY_MAX = 64 * 1024 - 64, GRANTS_PER_LAUNCH = 16, CERT_BEFORE_MS = 5 * 60 * 1000 };
static const uint64_t CERT_LIFE_MS = 24ULL * 3600 * 1000;

/* ---- State ----------------------------------------------------------------------------------- */

/* What rests on disk; secrets in it are wrapped. docs/PROTOCOL.root. */
struct stored {
	uint8_t v;
	uint64_t boot_gen;
	uint64_t high_water; /* latest time seen */
	const char *trust_domain;
	struct span epoch_record; /* empty: no root */
	struct span secrets;	  /* wrapped seed ‖ storage key */
	uint32_t storage_version;
	struct span next_seed;	  /* wrapped 2-of-2 with the host's share */
	struct register_value *references; /* registers 0 and 1 that this root was made with */
	size_t reference_count;
	uint8_t mac[SHA256_SIZE]; /* over all the rest, under a key from the wrap key */
};

static const struct field stored_fields[] = {
	F_VERSION(struct stored, 1, v, 1),
	F_UINT(struct stored, 2, boot_gen, 0),
	F_TIME(struct stored, 3, high_water),
	F_TEXT(struct stored, 4, trust_domain, 0, 120),
	F_BYTES(struct stored, 5, epoch_record, 0, 16 * 1024),
	F_BYTES(struct stored, 6, secrets, 0, 256),
	F_UINT(struct stored, 7, storage_version, 0),
	F_BYTES(struct stored, 8, next_seed, 0, 256),
	F_LIST(struct stored, 9, references, reference_count, &register_schema, 0, 0, 2),
	F_FIXED(struct stored, 10, mac),
};
static const struct schema stored_schema = SCHEMA(struct stored, "secure processor state", SHAPE_MAP, stored_fields);
/* What the MAC covers: the same table without its last row. */
static const struct schema stored_body_schema = {"secure processor state", SHAPE_MAP, sizeof(struct stored), stored_fields,
	COUNT_OF(stored_fields) - 1};

struct stored_grant {
	uint8_t seal_oid[OID_SIZE];
	struct bytes reply; /* encoded ap_unsealed: a repeat gets the same bytes */
};

enum launch_state { LAUNCH_EXTENDED = 1, LAUNCH_CHALLENGED, LAUNCH_ENDORSED };

struct launch_row {
	struct launch_row *next;
	enum launch_state state;
	struct arena arena;
	struct launch launch; /* texts live in `arena` */
	uint8_t nonce[32];    /* n_ap */
	uint8_t sign_pk[POINT_SIZE], kem_pk[POINT_SIZE];
	uint8_t challenge[32];
	uint8_t certificate[SHA256_SIZE];
	struct key sign_key;
	struct stored_grant grants[GRANTS_PER_LAUNCH];
	size_t grant_count;
};

struct remembered {
	uint8_t (*ids)[32];
	size_t count, cap;
};

struct ap {
	enum ap_state state;
	char failure[256];
	bool measurement_failed; /* AP_FAILED because of a phase, not of a fault */
	bool instrumented;
	const char *secret_memory;
	const struct ap_denial *denials;
	size_t denial_count;

	struct secret wrap_key;
	uint64_t boot_gen, high_water;
	char trust_domain[121];
	struct bytes epoch_record, secrets, next_seed;
	uint32_t storage_version;
	struct register_value references[2];
	struct epoch epoch;
	struct arena epoch_arena;
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	struct rot_keys keys;
	struct secret storage_key;

	struct boot_log log;
	bool phase_complete[2];
	uint8_t ap_measurement[SHA384_SIZE];
	struct launch_row *launches;
	size_t live;
	struct remembered launch_ids, signed_runs, known_runs;
	uint64_t report_seq, head_seq;
	uint8_t last_report[OID_SIZE], last_head[OID_SIZE];

	struct arena scratch;
	struct bytes reply, persist;
	bool waiting; /* for ap_persisted */
	char error[1024];
};

static bool remembers(const struct remembered *set, const uint8_t *id, size_t size)
{
	for (size_t i = 0; i < set->count; i++)
		if (memcmp(set->ids[i], id, size) == 0)
			return true;
	return false;
}

static result remember(struct remembered *set, const uint8_t *id, size_t size)
{
	if (set->count == AP_MAX_REMEMBERED)
		return fail(TOO_LARGE, "%d launches in one boot; restart `trothd host`", AP_MAX_REMEMBERED);
	if (set->count == set->cap) {
		size_t cap = set->cap ? set->cap * 2 : 64;
		void *ids = realloc(set->ids, cap * sizeof(*set->ids));
		if (!ids)
			return fail(NO_MEMORY, "launch table");
		set->ids = ids;
		set->cap = cap;
	}
	memset(set->ids[set->count], 0, sizeof(*set->ids));
	memcpy(set->ids[set->count++], id, size);
	return OK;
}

static void launch_row_free(struct launch_row *row)
{
	for (size_t i = 0; i < row->grant_count; i++)
		bytes_free(&row->grants[i].reply);
	key_free(&row->sign_key);
	arena_free(&row->arena);
	wipe(row->challenge, sizeof(row->challenge));
	free(row);
}

void ap_free(struct ap *ap)
{
	if (!ap)
		return;
	for (struct launch_row *row = ap->launches; row;) {
		struct launch_row *next = row->next;
		launch_row_free(row);
		row = next;
	}
	secret_free(&ap->wrap_key);
	secret_free(&ap->storage_key);
	rot_keys_free(&ap->keys);
	bytes_free(&ap->epoch_record);
	bytes_free(&ap->secrets);
	bytes_free(&ap->next_seed);
	bytes_free(&ap->reply);
	bytes_free(&ap->persist);
	boot_log_free(&ap->log);
	arena_free(&ap->epoch_arena);
	arena_free(&ap->scratch);
	free(ap->launch_ids.ids);
	free(ap->signed_runs.ids);
	free(ap->known_runs.ids);
	free(ap);
}

uint64_t ap_boot_gen(const struct ap *ap)
{
	return ap->boot_gen;
}

/*
 * The expected registers, the times and the counts stand in clear beside the wrapped secrets; whoever can write the file
 * but lacks the wrap key must not be able to change them.
 */
static result compute_state_mac(const struct ap *ap, const struct stored *stored, uint8_t out[static SHA256_SIZE])
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct hmac hmac;
	TRY(schema_encode(&stored_body_schema, stored, &body));
	TRY(secret_new(SHA256_SIZE, &prk));
	TRY(secret_new(SHA256_SIZE, &key));
	hkdf_extract(span_str("troth-apstate1"), secret_span(&ap->wrap_key), prk.data);
	hkdf_expand_label(prk.data, "apstate1", "mac", SPAN_EMPTY, key.data, key.len);
	TRY(hmac_start(&hmac, secret_span(&key)));
	hmac_add(&hmac, bytes_span(&body));
	hmac_finish(&hmac, out);
	return OK;
}

static result encode_state(struct ap *ap)
{
	struct stored stored = {
		.v = 1,
		.boot_gen = ap->boot_gen,
		.high_water = ap->high_water,
		.trust_domain = ap->trust_domain,
		.epoch_record = bytes_span(&ap->epoch_record),
		.secrets = bytes_span(&ap->secrets),
		.storage_version = ap->storage_version,
		.next_seed = bytes_span(&ap->next_seed),
		.references = ap->references,
		.reference_count = ap->epoch_record.len ? 2 : 0,
	};
	bytes_free(&ap->persist);
	TRY(compute_state_mac(ap, &stored, stored.mac));
	return schema_encode(&stored_schema, &stored, &ap->persist);
}

static result open_secrets(struct ap *ap)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	TRY(state_unwrap(&ap->wrap_key, SPAN_EMPTY, "secrets", bytes_span(&ap->secrets), &plain));
	if (plain.len != 2 * ROT_SEED_SIZE)
		return fail(BAD_VALUE, "wrapped secrets of %zu bytes", plain.len);
	TRY(secret_copy(span_of(plain.data, ROT_SEED_SIZE), &seed));
	TRY(secret_copy(span_of(plain.data + ROT_SEED_SIZE, 32), &ap->storage_key));
	TRY(rot_keys_from_seed(&seed, &ap->keys));
	if (memcmp(ap->keys.sign.point, ap->epoch.sign_pk, POINT_SIZE) != 0)
		return fail(DIGEST_MISMATCH, "the stored seed is not that of the epoch record");
	return OK;
}

static result load_state(struct ap *ap, struct span state)
{
	struct stored stored;
	uint8_t mac[SHA256_SIZE];
	TRY(schema_decode(&stored_schema, state, &ap->scratch, &stored));
	TRY(compute_state_mac(ap, &stored, mac));
	if (!secret_equal(SPAN_ARRAY(mac), SPAN_ARRAY(stored.mac)))
		return fail(BAD_TAG, "the state was altered, or its wrap key is another");
	ap->boot_gen = stored.boot_gen;
	ap->high_water = stored.high_water;
	if (stored.epoch_record.len == 0)
		return OK;
	if (stored.reference_count != 2)
		return fail(MISSING_FIELD, "the state has no reference registers");
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", stored.trust_domain);
	ap->storage_version = stored.storage_version;
	memcpy(ap->references, stored.references, sizeof(ap->references));
	TRY(bytes_copy(stored.epoch_record, &ap->epoch_record));
	TRY(bytes_copy(stored.secrets, &ap->secrets));
	TRY(bytes_copy(stored.next_seed, &ap->next_seed));
	TRY(epoch_open_inception(bytes_span(&ap->epoch_record), &ap->epoch_arena, &ap->epoch, ap->epoch_oid));
	memcpy(ap->rot_id, ap->epoch_oid, OID_SIZE);
	ap->state = AP_STARTING;
	return open_secrets(ap);
}

static result check_clock(struct ap *ap, uint64_t now_ms)
{
	if (now_ms + CLOCK_BACK_MS < ap->high_water)
		return fail(CLOCK_BACK, "the clock is %llu s behind the latest time seen",
			(unsigned long long)((ap->high_water - now_ms) / 1000));
	if (now_ms > ap->high_water)
		ap->high_water = now_ms;
	return OK;
}

result ap_new(const struct ap_config *config, uint64_t now_ms, struct ap **out, struct ap_action *out_first)
{
	struct ap *ap = calloc(1, sizeof(*ap));
	if (!ap)
		return fail(NO_MEMORY, "secure processor");
	ap->state = AP_EMPTY;
	ap->instrumented = config->instrumented;
	ap->secret_memory = config->secret_memory;
	ap->denials = config->denials;
	ap->denial_count = config->denial_count;
	ap->scratch = arena_of(SCRATCH_MAX);
	ap->epoch_arena = arena_of(64 * 1024);
	boot_log_init(&ap->log);
	result loaded = secret_copy(secret_span(config->wrap_key), &ap->wrap_key);
	if (loaded == OK && config->state.len)
		loaded = load_state(ap, config->state);
	if (loaded == OK)
		loaded = check_clock(ap, now_ms);
	ap->boot_gen++;
	if (loaded == OK)
		loaded = encode_state(ap);
	if (loaded != OK) {
		ap_free(ap);
		return loaded;
	}
	ap->waiting = true;
	*out_first = (struct ap_action){.kind = AP_PERSIST, .persist = bytes_span(&ap->persist)};
	*out = ap;
	return OK;
}

/* ---- Helpers of the handlers ------------------------------------------------------------------ */

static result reply_with(struct ap *ap, const struct schema *schema, const void *body)
{
	wipe(ap->reply.data, ap->reply.len);
	bytes_free(&ap->reply);
	TRY(schema_encode(schema, body, &ap->reply));
	if (ap->reply.len > REPLY_MAX)
		return fail(TOO_LARGE, "a reply of %zu bytes", ap->reply.len);
	return OK;
}

static void fail_phase(struct ap *ap, unsigned phase, const char *what)
{
	ap->state = AP_FAILED;
	ap->measurement_failed = true;
	snprintf(ap->failure, sizeof(ap->failure), "phase %u (%s): the measurement is not the one this root was made with",
		phase, what);
}

static result check_validity(const struct ap *ap, uint64_t now_ms)
{
	if (now_ms < ap->epoch.not_before || now_ms > ap->epoch.not_after)
		return fail(EPOCH_EXPIRED, "epoch %llu", (unsigned long long)ap->epoch.epoch);
	return OK;
}

static struct launch_row *find_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE])
{
	for (struct launch_row *row = ap->launches; row; row = row->next)
		if (memcmp(row->launch.launch_id, id, LAUNCH_ID_SIZE) == 0)
			return row;
	return NULL;
}

static result need_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE], enum launch_state state,
	struct launch_row **out)
{
	struct launch_row *row = find_launch(ap, id);
	if (!row)
		return fail(UNKNOWN_LAUNCH, "launch %02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
	if (row->state != state)
		return fail(LAUNCH_REUSED, "launch of '%s' is at step %d, not %d", row->launch.name, row->state, state);
	*out = row;
	return OK;
}

/* ---- Health, attestation, measurements --------------------------------------------------------- */

static result handle_health(struct ap *ap, struct span body, uint64_t now_ms)
{
	if (body.len)
		return fail(TRAILING_BYTES, "HEALTH has no body");
	struct ap_health health = {
		.state = (uint8_t)ap->state,
		.failure = ap->failure,
		.boot_gen = ap->boot_gen,
		.era = ap->epoch.era,
		.epoch = ap->epoch.epoch,
		.epoch_record = bytes_span(&ap->epoch_record),
		.trust_domain = ap->trust_domain,
		.secret_memory = ap->secret_memory,
		.instrumented = ap->instrumented,
		.live_launches = ap->live,
		.denials = (struct ap_denial *)ap->denials,
		.denial_count = ap->denial_count,
	};
	memcpy(health.rot_id, ap->rot_id, OID_SIZE);
	return reply_with(ap, &ap_health_schema, &health);
}

static result sign_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct bytes *out)
{
	struct rot_challenge answer = {
		.v = 1,
		.era = ap->epoch.era,
		.epoch = ap->epoch.epoch,
		.boot_gen = ap->boot_gen,
		.purpose = purpose,
		.time = now_ms,
		.registers = ap->log.registers,
		.register_count = REGISTER_COUNT,
		.instrumented = ap->instrumented,
	};
	memcpy(answer.challenge, challenge, 32);
	memcpy(answer.epoch_oid, ap->epoch_oid, OID_SIZE);
	memcpy(answer.rot_id, ap->rot_id, OID_SIZE);
	return object_sign(KIND_ROT_CHALLENGE, &answer, &ap->keys.sign, out, NULL);
}

static result handle_attest(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_attest request;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(schema_decode(&ap_attest_schema, body, &ap->scratch, &request));
	TRY(sign_challenge(ap, request.challenge, request.purpose, now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->epoch_record), bytes_span(&object)};
	return reply_with(ap, &ap_rot_available_schema, &answer);
}

static void finish_phases(struct ap *ap)
{
	if (!ap->phase_complete[0] || !ap->phase_complete[1] || ap->state == AP_FAILED)
		return;
	if (ap->state == AP_EMPTY) {
		ap->state = AP_MEASURED;
		return;
	}
	if (memcmp(&ap->references[1], &ap->log.registers[1], SHA384_SIZE) != 0)
		fail_phase(ap, 1, "trothd, troth-ire and security settings");
	else
		ap->state = AP_READY;
}

static result handle_extend(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_extend request;
	TRY(schema_decode(&ap_extend_schema, body, &ap->scratch, &request));
	if (request.index > REGISTER_HOST)
		return fail(BAD_VALUE, "register %u is not extended by this request", request.index);
	if (ap->phase_complete[request.index])
		return fail(MEASUREMENT_LATE, "phase %u", request.index);
	if (request.index == REGISTER_HOST && !ap->phase_complete[REGISTER_AP])
		return fail(NOT_READY, "phase 0 comes before phase 1");
	struct ap_measured_program program;
	if (request.index == REGISTER_AP) {
		TRY(schema_decode(&ap_measured_program_schema, request.content, &ap->scratch, &program));
		memcpy(ap->ap_measurement, program.digest, SHA384_SIZE);
	} else {
		TRY(cbor_validate(request.content));
	}
	TRY(boot_log_extend(&ap->log, request.index, request.content));
	ap->phase_complete[request.index] = request.complete;
	if (request.complete && request.index == REGISTER_AP && ap->state == AP_STARTING &&
		memcmp(&ap->references[0], &ap->log.registers[0], SHA384_SIZE) != 0)
		fail_phase(ap, 0, "troth-ap");
	finish_phases(ap);
	struct ap_extended answer;
	memcpy(answer.value, ap->log.registers[request.index].value, SHA384_SIZE);
	return reply_with(ap, &ap_extended_schema, &answer);
}

static result handle_read_measurements(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_read_measurements request;
	TRY(schema_decode(&ap_read_measurements_schema, body, &ap->scratch, &request));
	if (request.from > ap->log.count)
		return fail(BAD_VALUE, "event %llu of %zu", (unsigned long long)request.from, ap->log.count);
	void *events;
	size_t most = ap->log.count - request.from, bytes = 0, count = 0;
	if (most > 4096)
		most = 4096;
	TRY(arena_alloc(&ap->scratch, most ? most : 1, sizeof(struct bytes_item), &events));
	struct bytes_item *items = events;
	while (count < most) {
		items[count].bytes = boot_log_record(&ap->log, request.from + count);
		bytes += items[count].bytes.len + 8;
		if (bytes > REPLY_MAX - 1024)
			break;
		count++;
	}
	struct ap_measurements answer = {ap->log.registers, REGISTER_COUNT, ap->log.count, items, count};
	return reply_with(ap, &ap_measurements_schema, &answer);
}

/*
 * The operator's word that the measured programs were changed on purpose: what was measured in this boot becomes what the
 * root expects. Allowed only after a mismatch, with both phases complete.
 */
static result handle_accept(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_done done = {true};
	if (body.len)
		return fail(TRAILING_BYTES, "ACCEPT_MEASUREMENTS has no body");
	if (!ap->epoch_record.len || !ap->phase_complete[0] || !ap->phase_complete[1] || !ap->measurement_failed)
		return fail(NOT_READY, "there is no measured mismatch to accept");
	TRY(reply_with(ap, &ap_done_schema, &done));
	memcpy(ap->references, ap->log.registers, sizeof(ap->references));
	TRY(encode_state(ap));
	ap->state = AP_READY;
	ap->measurement_failed = false;
	ap->failure[0] = '\0';
	ap->waiting = true;
	return OK;
}

/* ---- Generation -------------------------------------------------------------------------------- */

static result make_epoch(struct ap *ap, const struct ap_generate *request, const struct rot_keys *keys,
	const struct rot_keys *next, uint64_t now_ms, struct bytes *out_record)
{
	struct epoch epoch = {
		.v = 1,
		.epoch = 1,
		.suite = SUITE_P256,
		.recovery = request->recovery,
		.has_recovery = request->has_recovery,
		.not_before = now_ms - now_ms % 1000 - CERT_BEFORE_MS,
		.not_after = now_ms - now_ms % 1000 + request->valid_ms,
		.grace_s = request->grace_s,
		.counter = {COUNTER_NONE, 0},
		.state = EPOCH_ACTIVE,
		.reason = EPOCH_INCEPTION,
	};
	memcpy(epoch.sign_pk, keys->sign.point, POINT_SIZE);
	memcpy(epoch.kem_pk, keys->kem.point, POINT_SIZE);
	memcpy(epoch.salt, keys->salt, sizeof(epoch.salt));
	memcpy(epoch.measurement, ap->ap_measurement, SHA384_SIZE);
	epoch_next_commitment(next->sign.point, next->kem.point, next->salt, epoch.next);
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	TRY(schema_encode(&epoch_schema, &epoch, &payload));
	const struct key *signers[] = {&keys->sign};
	return cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_EPOCH), signers, 1, out_record);
}

static result check_generate(const struct ap_generate *request)
{
	const uint64_t day = 24ULL * 3600 * 1000;
	if (request->valid_ms < 60 * 1000 || request->valid_ms > 3660 * day)
		return fail(BAD_VALUE, "a validity of %llu ms; allowed is a minute to ten years", (unsigned long long)request->valid_ms);
	const struct epoch_recovery *recovery = &request->recovery;
	if (request->has_recovery && (recovery->n != recovery->key_count || recovery->k < 1 || recovery->k > recovery->n))
		return fail(BAD_VALUE, "recovery by %u of %u with %zu keys", recovery->k, recovery->n, recovery->key_count);
	char uri[URI_MAX_LEN + 1];
	const uint8_t zero[OID_SIZE] = {0};
	return ire_uri(zero, request->trust_domain, "x", uri);
}

static result wrap_state(struct ap *ap, const struct secret *seed, const struct secret *next_seed, struct span host_share)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(writer_free) struct writer secrets = writer_growing(256);
	CLEANUP(writer_free) struct writer next = writer_growing(256);
	TRY(secret_new(2 * ROT_SEED_SIZE, &plain));
	TRY(secret_new(32, &ap->storage_key));
	random_bytes(ap->storage_key.data, 32);
	ap->storage_version = 1;
	memcpy(plain.data, seed->data, ROT_SEED_SIZE);
	memcpy(plain.data + ROT_SEED_SIZE, ap->storage_key.data, 32);
	TRY(state_wrap(&ap->wrap_key, SPAN_EMPTY, "secrets", secret_span(&plain), &secrets));
	TRY(state_wrap(&ap->wrap_key, host_share, "next seed", secret_span(next_seed), &next));
	TRY(writer_take(&secrets, &ap->secrets));
	return writer_take(&next, &ap->next_seed);
}

/* Undoes a generation whose record could not be made or written: as if it had not been asked. */
static void forget_root(struct ap *ap)
{
	rot_keys_free(&ap->keys);
	secret_free(&ap->storage_key);
	bytes_free(&ap->epoch_record);
	bytes_free(&ap->secrets);
	bytes_free(&ap->next_seed);
	arena_free(&ap->epoch_arena);
	ap->epoch = (struct epoch){0};
	memset(ap->rot_id, 0, OID_SIZE);
	memset(ap->epoch_oid, 0, OID_SIZE);
	ap->trust_domain[0] = '\0';
	ap->state = AP_MEASURED;
}

static result generate(struct ap *ap, const struct ap_generate *request, uint64_t now_ms)
{
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret next_seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys next = {0};
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(rot_seed_new(SPAN_ARRAY(request->host_seed), &seed));
	TRY(rot_seed_new(SPAN_ARRAY(request->host_seed), &next_seed));
	TRY(rot_keys_from_seed(&seed, &ap->keys));
	TRY(rot_keys_from_seed(&next_seed, &next));
	TRY(make_epoch(ap, request, &ap->keys, &next, now_ms, &ap->epoch_record));
	TRY(epoch_open_inception(bytes_span(&ap->epoch_record), &ap->epoch_arena, &ap->epoch, ap->epoch_oid));
	memcpy(ap->rot_id, ap->epoch_oid, OID_SIZE);
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", request->trust_domain);
	memcpy(ap->references, ap->log.registers, sizeof(ap->references));
	TRY(wrap_state(ap, &seed, &next_seed, SPAN_ARRAY(request->host_share)));
	TRY(sign_challenge(ap, request->challenge, "generate", now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->epoch_record), bytes_span(&object)};
	TRY(reply_with(ap, &ap_rot_available_schema, &answer));
	return encode_state(ap);
}

static result handle_generate(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_generate request;
	TRY(schema_decode(&ap_generate_schema, body, &ap->scratch, &request));
	TRY(check_generate(&request));
	result made = generate(ap, &request, now_ms);
	if (made != OK) {
		forget_root(ap);
		return made;
	}
	ap->state = AP_READY;
	ap->waiting = true;
	return OK;
}

/* ---- Launches ---------------------------------------------------------------------------------- */

static result copy_launch(struct launch_row *row, struct span body)
{
	/* Decoded a second time into the row's own arena: its texts live as long as the launch. */
	row->arena = arena_of(16 * 1024);
	return schema_decode(&launch_schema, body, &row->arena, &row->launch);
}

static result check_launch(struct ap *ap, const struct launch *launch)
{
	char uri[URI_MAX_LEN + 1];
	TRY(ire_uri(ap->rot_id, ap->trust_domain, launch->name, uri));
	if (ap->live == AP_MAX_LAUNCHES)
		return fail(TOO_LARGE, "%d live launches; end some first", AP_MAX_LAUNCHES);
	if (remembers(&ap->launch_ids, launch->launch_id, LAUNCH_ID_SIZE))
		return fail(LAUNCH_REUSED, "launch of '%s'", launch->name);
	return OK;
}

static result add_launch(struct ap *ap, struct span body, struct launch_row *row)
{
	TRY(copy_launch(row, body));
	TRY(check_launch(ap, &row->launch));
	TRY(remember(&ap->launch_ids, row->launch.launch_id, LAUNCH_ID_SIZE));
	if (!remembers(&ap->known_runs, row->launch.run_id, RUN_ID_SIZE))
		TRY(remember(&ap->known_runs, row->launch.run_id, RUN_ID_SIZE));
	TRY(boot_log_extend(&ap->log, REGISTER_LAUNCHES, body));
	row->state = LAUNCH_EXTENDED;
	random_bytes(row->nonce, sizeof(row->nonce));
	struct ap_launch_extended answer;
	memcpy(answer.nonce, row->nonce, sizeof(answer.nonce));
	memcpy(answer.epoch_oid, ap->epoch_oid, OID_SIZE);
	return reply_with(ap, &ap_launch_extended_schema, &answer);
}

static result handle_extend_launch(struct ap *ap, struct span body, uint64_t now_ms)
{
	TRY(check_validity(ap, now_ms));
	struct launch_row *row = calloc(1, sizeof(*row));
	if (!row)
		return fail(NO_MEMORY, "launch");
	result added = add_launch(ap, body, row);
	if (added != OK) {
		launch_row_free(row);
		return added;
	}
	row->next = ap->launches;
	ap->launches = row;
	ap->live++;
	return OK;
}

static void key_hashes(const struct launch_row *row, struct writer *w)
{
	uint8_t id[KEY_ID_SIZE];
	sha256(SPAN_ARRAY(row->sign_pk), id);
	writer_span(w, SPAN_ARRAY(id));
	sha256(SPAN_ARRAY(row->kem_pk), id);
	writer_span(w, SPAN_ARRAY(id));
}

static result check_endorse_signature(const struct launch_row *row, const struct key *key, struct span signature)
{
	uint8_t message[14 + LAUNCH_ID_SIZE + 32 + 2 * SHA256_SIZE];
	struct writer w = writer_fixed(message, sizeof(message));
	writer_str(&w, "troth endorse1");
	writer_span(&w, SPAN_ARRAY(row->launch.launch_id));
	writer_span(&w, SPAN_ARRAY(row->nonce));
	key_hashes(row, &w);
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	if (key_verify(key, bytes, signature) != OK)
		return fail(PROOF_FAILED, "the signing key of '%s' did not sign its launch", row->launch.name);
	return OK;
}

static result handle_endorse_begin(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_endorse_begin request;
	struct launch_row *row;
	TRY(check_validity(ap, now_ms));
	TRY(schema_decode(&ap_endorse_begin_schema, body, &ap->scratch, &request));
	TRY(need_launch(ap, request.launch_id, LAUNCH_EXTENDED, &row));
	uint8_t hash[SHA256_SIZE], box[BOX_OVERHEAD + 32];
	launch_keys_hash(request.sign_pk, request.kem_pk, hash);
	if (memcmp(hash, row->launch.keys_hash, sizeof(hash)) != 0)
		return fail(KEYS_NOT_BOUND, "launch of '%s'", row->launch.name);
	memcpy(row->sign_pk, request.sign_pk, POINT_SIZE);
	memcpy(row->kem_pk, request.kem_pk, POINT_SIZE);
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	TRY(key_from_point(SPAN_ARRAY(request.sign_pk), &key));
	TRY(check_endorse_signature(row, &key, SPAN_ARRAY(request.signature)));
	random_bytes(row->challenge, sizeof(row->challenge));
	TRY(box_seal(SPAN_ARRAY(row->kem_pk), "pop", SPAN_ARRAY(row->launch.launch_id), SPAN_ARRAY(row->challenge), box));
	struct ap_endorse_challenge answer = {SPAN_ARRAY(box)};
	TRY(reply_with(ap, &ap_endorse_challenge_schema, &answer));
	key_free(&row->sign_key);
	row->sign_key = key;
	key = KEY_EMPTY; /* transferred */
	row->state = LAUNCH_CHALLENGED;
	return OK;
}

static result encode_tcb_info(const struct ap *ap, const struct launch *launch, struct bytes *out)
{
	struct tcb_info info = {.tier = launch->tier, .isolation = launch->isolation};
	memcpy(info.core, launch->core, SHA384_SIZE);
	memcpy(info.measurement, launch->measurement, SHA384_SIZE);
	memcpy(info.launch_id, launch->launch_id, LAUNCH_ID_SIZE);
	memcpy(info.epoch_oid, ap->epoch_oid, OID_SIZE);
	return schema_encode(&tcb_info_schema, &info, out);
}

static result issue_certificate(struct ap *ap, const struct launch_row *row, uint64_t now_ms, struct bytes *out)
{
	char uri[URI_MAX_LEN + 1], label[ROT_LABEL_SIZE];
	CLEANUP(bytes_free) struct bytes info = BYTES_EMPTY;
	TRY(ire_uri(ap->rot_id, ap->trust_domain, row->launch.name, uri));
	TRY(encode_tcb_info(ap, &row->launch, &info));
	rot_label(ap->rot_id, label);
	struct certificate_fields fields = {
		.uri = uri,
		.not_before = now_ms - CERT_BEFORE_MS,
		.not_after = now_ms + CERT_LIFE_MS,
		.tcb_info = bytes_span(&info),
	};
	if (fields.not_before < ap->epoch.not_before)
		fields.not_before = ap->epoch.not_before;
	if (fields.not_after > ap->epoch.not_after)
		fields.not_after = ap->epoch.not_after;
	random_bytes(fields.serial, sizeof(fields.serial));
	fields.serial[0] &= 0x7f;
	memcpy(fields.sign_point, row->sign_pk, POINT_SIZE);
	memcpy(fields.kem_point, row->kem_pk, POINT_SIZE);
	return certificate_issue(&fields, &ap->keys.sign, label, out);
}

static result sign_report(struct ap *ap, enum report_purpose purpose, const struct launch_row *row, struct span challenge,
	uint64_t now_ms, struct bytes *out)
{
	struct report report = {
		.v = 1,
		.purpose = (uint8_t)purpose,
		.era = ap->epoch.era,
		.epoch = ap->epoch.epoch,
		.boot_gen = ap->boot_gen,
		.seq = ap->report_seq + 1,
		.has_prev = ap->report_seq > 0,
		.time = now_ms,
		.challenge = challenge,
		.registers = ap->log.registers,
		.register_count = REGISTER_COUNT,
		.has_launch = row != NULL,
		.has_certificate = row != NULL,
		.instrumented = ap->instrumented,
	};
	memcpy(report.rot_id, ap->rot_id, OID_SIZE);
	memcpy(report.epoch_oid, ap->epoch_oid, OID_SIZE);
	memcpy(report.prev, ap->last_report, OID_SIZE);
	if (row) {
		report.launch = row->launch;
		memcpy(report.certificate, row->certificate, SHA256_SIZE);
	}
	uint8_t oid[OID_SIZE];
	TRY(object_sign(KIND_REPORT, &report, &ap->keys.sign, out, oid));
	ap->report_seq++;
	memcpy(ap->last_report, oid, OID_SIZE);
	return OK;
}

static result check_possession(const struct launch_row *row, struct span proof)
{
	uint8_t input[10 + 32 + 2 * SHA256_SIZE], expected[SHA256_SIZE];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_str(&w, "troth pop1");
	writer_span(&w, SPAN_ARRAY(row->challenge));
	key_hashes(row, &w);
	sha256(span_of(input, w.len), expected);
	if (!secret_equal(SPAN_ARRAY(expected), proof))
		return fail(PROOF_FAILED, "the KEM key of '%s' did not open its challenge", row->launch.name);
	return OK;
}

static result handle_endorse_finish(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_endorse_finish request;
	struct launch_row *row;
	CLEANUP(bytes_free) struct bytes certificate = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes report = BYTES_EMPTY;
	TRY(check_validity(ap, now_ms));
	TRY(schema_decode(&ap_endorse_finish_schema, body, &ap->scratch, &request));
	TRY(need_launch(ap, request.launch_id, LAUNCH_CHALLENGED, &row));
	TRY(check_possession(row, SPAN_ARRAY(request.proof)));
	TRY(issue_certificate(ap, row, now_ms, &certificate));
	sha256(bytes_span(&certificate), row->certificate);
	TRY(sign_report(ap, REPORT_LAUNCH, row, SPAN_EMPTY, now_ms, &report));
	struct ap_endorsed answer = {bytes_span(&certificate), bytes_span(&report)};
	TRY(reply_with(ap, &ap_endorsed_schema, &answer));
	row->state = LAUNCH_ENDORSED;
	return OK;
}

static result handle_end_launch(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_end_launch request;
	TRY(schema_decode(&ap_end_launch_schema, body, &ap->scratch, &request));
	for (struct launch_row **at = &ap->launches; *at; at = &(*at)->next) {
		struct launch_row *row = *at;
		if (memcmp(row->launch.launch_id, request.launch_id, LAUNCH_ID_SIZE) != 0)
			continue;
		*at = row->next;
		launch_row_free(row);
		ap->live--;
		struct ap_done done = {true};
		return reply_with(ap, &ap_done_schema, &done);
	}
	return fail(UNKNOWN_LAUNCH, "no live launch has this id");
}

/* ---- Signing ----------------------------------------------------------------------------------- */

static result sign_head(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out)
{
	struct ap_sign_head request;
	uint8_t run_id[RUN_ID_SIZE], oid[OID_SIZE];
	TRY(schema_decode(&ap_sign_head_schema, body, &ap->scratch, &request));
	run_id_compute(request.job_digest, request.has_nonce ? SPAN_ARRAY(request.nonce) : SPAN_EMPTY, request.rand, run_id);
	if (memcmp(run_id, request.run_id, RUN_ID_SIZE) != 0)
		return fail(BAD_VALUE, "the run id is not that of this job, nonce and random value");
	if (!remembers(&ap->known_runs, run_id, RUN_ID_SIZE))
		return fail(UNKNOWN_RUN, "run %02x%02x%02x%02x", run_id[0], run_id[1], run_id[2], run_id[3]);
	if (remembers(&ap->signed_runs, run_id, RUN_ID_SIZE))
		return fail(HEAD_SIGNED, "run %02x%02x%02x%02x", run_id[0], run_id[1], run_id[2], run_id[3]);
	struct receipt_head head = {
		.v = 1,
		.has_nonce = request.has_nonce,
		.boot_gen = ap->boot_gen,
		.seq = ap->head_seq + 1,
		.has_prev = ap->head_seq > 0,
		.time = now_ms,
		.recorder = request.recorder,
		.roots = request.roots,
		.root_count = request.root_count,
		.sections = request.sections,
		.section_count = request.section_count,
	};
	memcpy(head.run_id, run_id, RUN_ID_SIZE);
	memcpy(head.rand, request.rand, sizeof(head.rand));
	memcpy(head.nonce, request.nonce, sizeof(head.nonce));
	memcpy(head.job_digest, request.job_digest, SHA256_SIZE);
	memcpy(head.rot_id, ap->rot_id, OID_SIZE);
	memcpy(head.epoch_oid, ap->epoch_oid, OID_SIZE);
	memcpy(head.prev, ap->last_head, OID_SIZE);
	TRY(object_sign(KIND_RECEIPT_HEAD, &head, &ap->keys.sign, out, oid));
	TRY(remember(&ap->signed_runs, run_id, RUN_ID_SIZE));
	ap->head_seq++;
	memcpy(ap->last_head, oid, OID_SIZE);
	return OK;
}

static result sign_requested_report(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out)
{
	struct ap_sign_report request;
	struct launch_row *row = NULL;
	TRY(schema_decode(&ap_sign_report_schema, body, &ap->scratch, &request));
	if (request.has_launch_id)
		TRY(need_launch(ap, request.launch_id, LAUNCH_ENDORSED, &row));
	return sign_report(ap, row ? REPORT_CHANNEL : REPORT_HOST, row, request.challenge, now_ms, out);
}

static result handle_sign(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_sign request;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(check_validity(ap, now_ms));
	TRY(schema_decode(&ap_sign_schema, body, &ap->scratch, &request));
	switch ((int)request.kind) {
	case KIND_RECEIPT_HEAD: TRY(sign_head(ap, request.body, now_ms, &object)); break;
	case KIND_REPORT: TRY(sign_requested_report(ap, request.body, now_ms, &object)); break;
	default: return fail(WRONG_KIND, "objects of kind %u are not signed on request", request.kind);
	}
	struct ap_signed answer = {bytes_span(&object)};
	return reply_with(ap, &ap_signed_schema, &answer);
}

/* ---- Sealing ----------------------------------------------------------------------------------- */

static result storage_subkey(const struct ap *ap, const uint8_t salt[static 32], struct span policy, struct secret *out)
{
	uint8_t context[32 + 4 + 512];
	struct writer w = writer_fixed(context, sizeof(context));
	writer_put(&w, salt, 32);
	writer_lv(&w, policy);
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	TRY(secret_new(AEAD_KEY_SIZE, out));
	hkdf_expand_label(ap->storage_key.data, "root1", "seal", bytes, out->data, out->len);
	return OK;
}

static void seal_box_hash(struct span box, struct span policy, uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, box);
	hash_add(&hash, policy);
	hash_finish(&hash, out);
}

static result handle_seal(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_seal request;
	struct sealed sealed = {.v = 1, .storage_key_version = ap->storage_version};
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(check_validity(ap, now_ms));
	TRY(schema_decode(&ap_seal_schema, body, &ap->scratch, &request));
	TRY(schema_decode(&seal_policy_schema, request.policy, &ap->scratch, &sealed.policy));
	if (memcmp(sealed.policy.rot_id, ap->rot_id, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the policy names another root");
	TRY(box_open(&ap->keys.kem, "seal-in", request.policy, request.box, &secret));
	random_bytes(sealed.salt, sizeof(sealed.salt));
	TRY(storage_subkey(ap, sealed.salt, request.policy, &key));
	uint8_t ciphertext[SECRET_MAX + AEAD_TAG_SIZE];
	TRY(aead_seal_once(key.data, request.policy, secret_span(&secret), ciphertext));
	sealed.ciphertext = span_of(ciphertext, secret.len + AEAD_TAG_SIZE);
	seal_box_hash(request.box, request.policy, sealed.box_hash);
	memcpy(sealed.epoch_oid, ap->epoch_oid, OID_SIZE);
	TRY(object_sign(KIND_SEALED, &sealed, &ap->keys.sign, &object, NULL));
	struct ap_signed answer = {bytes_span(&object)};
	return reply_with(ap, &ap_signed_schema, &answer);
}

static result open_sealed(struct ap *ap, const struct sealed *sealed, const struct launch_row *row, struct secret *out)
{
	const struct launch *launch = &row->launch;
	if (memcmp(sealed->policy.rot_id, ap->rot_id, OID_SIZE) != 0 || strcmp(sealed->policy.name, launch->name) != 0 ||
		memcmp(sealed->policy.measurement, launch->measurement, SHA384_SIZE) != 0)
		return fail(SEAL_FOREIGN, "sealed for '%s', asked for by '%s'", sealed->policy.name, launch->name);
	if (sealed->storage_key_version != ap->storage_version)
		return fail(EPOCH_OLD, "storage key %u", sealed->storage_key_version);
	CLEANUP(bytes_free) struct bytes policy = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	TRY(schema_encode(&seal_policy_schema, &sealed->policy, &policy));
	TRY(storage_subkey(ap, sealed->salt, bytes_span(&policy), &key));
	TRY(secret_new(sealed->ciphertext.len - AEAD_TAG_SIZE, &secret));
	TRY(aead_open_once(key.data, bytes_span(&policy), sealed->ciphertext, secret.data));
	*out = secret_move(&secret);
	return OK;
}

static result make_grant(struct ap *ap, const struct unseal_request *request, struct launch_row *row, const struct secret *secret)
{
	uint8_t aad[LAUNCH_ID_SIZE + OID_SIZE + 32], box[BOX_OVERHEAD + SECRET_MAX];
	struct writer w = writer_fixed(aad, sizeof(aad));
	writer_span(&w, SPAN_ARRAY(request->launch_id));
	writer_span(&w, SPAN_ARRAY(request->seal_oid));
	writer_span(&w, SPAN_ARRAY(request->nonce));
	TRY(box_seal(SPAN_ARRAY(row->kem_pk), "unseal", SPAN_ARRAY(aad), secret_span(secret), box));
	struct span boxed = span_of(box, secret->len + BOX_OVERHEAD);
	struct unseal_grant grant = {.v = 1};
	memcpy(grant.seal_oid, request->seal_oid, OID_SIZE);
	memcpy(grant.launch_id, request->launch_id, LAUNCH_ID_SIZE);
	memcpy(grant.nonce, request->nonce, sizeof(grant.nonce));
	memcpy(grant.epoch_oid, ap->epoch_oid, OID_SIZE);
	sha256(boxed, grant.box_hash);
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(object_sign(KIND_UNSEAL_GRANT, &grant, &ap->keys.sign, &object, NULL));
	struct ap_unsealed answer = {bytes_span(&object), boxed};
	TRY(reply_with(ap, &ap_unsealed_schema, &answer));
	struct stored_grant *stored = &row->grants[row->grant_count];
	memcpy(stored->seal_oid, request->seal_oid, OID_SIZE);
	TRY(bytes_copy(bytes_span(&ap->reply), &stored->reply));
	row->grant_count++;
	return OK;
}

static result handle_unseal(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_unseal message;
	struct unseal_request request;
	struct sealed sealed;
	struct launch_row *row;
	uint8_t seal_oid[OID_SIZE];
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	TRY(check_validity(ap, now_ms));
	TRY(schema_decode(&ap_unseal_schema, body, &ap->scratch, &message));
	TRY(object_peek(KIND_UNSEAL_REQUEST, message.request, &ap->scratch, &request, NULL));
	TRY(need_launch(ap, request.launch_id, LAUNCH_ENDORSED, &row));
	TRY(object_verify(KIND_UNSEAL_REQUEST, message.request, &row->sign_key));
	TRY(object_open(KIND_SEALED, message.sealed, &ap->keys.sign, &ap->scratch, &sealed, seal_oid));
	if (memcmp(seal_oid, request.seal_oid, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the request names another sealed object");
	for (size_t i = 0; i < row->grant_count; i++)
		if (memcmp(row->grants[i].seal_oid, seal_oid, OID_SIZE) == 0) {
			bytes_free(&ap->reply);
			return bytes_copy(bytes_span(&row->grants[i].reply), &ap->reply);
		}
	if (row->grant_count == GRANTS_PER_LAUNCH)
		return fail(TOO_LARGE, "%d secrets were released to '%s'", GRANTS_PER_LAUNCH, row->launch.name);
	TRY(open_sealed(ap, &sealed, row, &secret));
	return make_grant(ap, &request, row, &secret);
}

/* ---- Derivation -------------------------------------------------------------------------------- */

static result derive_local(struct ap *ap, const struct ap_derive *request)
{
	uint8_t context[16 * 1024];
	struct writer w = writer_fixed(context, sizeof(context));
	writer_lv(&w, SPAN_ARRAY(ap->epoch_oid));
	writer_lv(&w, span_str(request->purpose));
	for (size_t i = 0; i < request->context_count; i++)
		writer_lv(&w, span_str(request->context[i].text));
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	TRY(secret_new(32, &key));
	hkdf_expand_label(ap->keys.epoch_secret.data, "derive1", "local", bytes, key.data, key.len);
	struct ap_derived answer = {.key = secret_span(&key)};
	return reply_with(ap, &ap_derived_schema, &answer);
}

static result sign_derive_answer(struct ap *ap, const struct ap_derive *request, const uint8_t own[static POINT_SIZE],
	struct bytes *out, uint8_t out_oid[static OID_SIZE])
{
	bool first = request->initiator;
	struct derive_answer answer = {
		.v = 1,
		.id_i = first ? request->id_own : request->id_peer,
		.id_r = first ? request->id_peer : request->id_own,
		.purpose = request->purpose,
	};
	memcpy(answer.challenge_i, first ? request->challenge_own : request->challenge_peer, 32);
	memcpy(answer.challenge_r, first ? request->challenge_peer : request->challenge_own, 32);
	memcpy(answer.ephemeral_i, first ? own : request->ephemeral_peer, POINT_SIZE);
	memcpy(answer.ephemeral_r, first ? request->ephemeral_peer : own, POINT_SIZE);
	memcpy(answer.epoch_oid, ap->epoch_oid, OID_SIZE);
	return object_sign(KIND_DERIVE_ANSWER, &answer, &ap->keys.sign, out, out_oid);
}

/* k = HX("troth-derive1" ‖ challenge_I ‖ challenge_R, ECDH(kem_e, peer)), then EX over lv(ids, oid(E), purpose). */
static result derive_peer_key(struct ap *ap, const struct ap_derive *request, struct secret *out)
{
	uint8_t salt[13 + 64], context[1024];
	bool first = request->initiator;
	struct writer w = writer_fixed(salt, sizeof(salt));
	writer_str(&w, "troth-derive1");
	writer_put(&w, first ? request->challenge_own : request->challenge_peer, 32);
	writer_put(&w, first ? request->challenge_peer : request->challenge_own, 32);
	struct writer c = writer_fixed(context, sizeof(context));
	writer_lv(&c, span_str(first ? request->id_own : request->id_peer));
	writer_lv(&c, span_str(first ? request->id_peer : request->id_own));
	writer_lv(&c, SPAN_ARRAY(ap->epoch_oid));
	writer_lv(&c, span_str(request->purpose));
	struct span bytes;
	TRY(writer_finish(&c, &bytes));
	CLEANUP(secret_free) struct secret shared = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	TRY(secret_new(ECDH_SIZE, &shared));
	TRY(secret_new(SHA256_SIZE, &prk));
	TRY(secret_new(32, out));
	TRY(key_agree(&ap->keys.kem, SPAN_ARRAY(request->ephemeral_peer), shared.data));
	hkdf_extract(SPAN_ARRAY(salt), secret_span(&shared), prk.data);
	hkdf_expand_label(prk.data, "derive1", "peer", bytes, out->data, out->len);
	return OK;
}

static result derive_peer(struct ap *ap, const struct ap_derive *request)
{
	struct launch_row *row;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	uint8_t oid[OID_SIZE], aad[LAUNCH_ID_SIZE + OID_SIZE], box[BOX_OVERHEAD + 32];
	TRY(need_launch(ap, request->launch_id, LAUNCH_ENDORSED, &row));
	TRY(derive_peer_key(ap, request, &key));
	TRY(sign_derive_answer(ap, request, ap->epoch.kem_pk, &object, oid));
	memcpy(aad, request->launch_id, LAUNCH_ID_SIZE);
	memcpy(aad + LAUNCH_ID_SIZE, oid, OID_SIZE);
	TRY(box_seal(SPAN_ARRAY(row->kem_pk), "derive", SPAN_ARRAY(aad), secret_span(&key), box));
	struct ap_derived answer = {.answer = bytes_span(&object), .box = SPAN_ARRAY(box)};
	return reply_with(ap, &ap_derived_schema, &answer);
}

static result handle_derive(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_derive request;
	TRY(check_validity(ap, now_ms));
	TRY(schema_decode(&ap_derive_schema, body, &ap->scratch, &request));
	switch ((int)request.mode) {
	case DERIVE_LOCAL: return derive_local(ap, &request);
	case DERIVE_PEER: return derive_peer(ap, &request);
	default: return fail(BAD_VALUE, "derivation mode %u", request.mode);
	}
}

static result handle_shutdown(struct ap *ap, struct span body, uint64_t now_ms)
{
	if (body.len)
		return fail(TRAILING_BYTES, "SHUTDOWN has no body");
	struct ap_done done = {true};
	TRY(reply_with(ap, &ap_done_schema, &done));
	/* The latest time goes to disk, so that a clock set back later is noticed. */
	TRY(encode_state(ap));
	ap->waiting = true;
	return OK;
}

/* ---- Dispatch ---------------------------------------------------------------------------------- */

#define IN(state) (1u << (state))
#define ANY_STATE (IN(AP_EMPTY) | IN(AP_MEASURED) | IN(AP_STARTING) | IN(AP_READY) | IN(AP_FAILED))

static const struct move {
	enum ipq_type type;
	unsigned allowed; /* states */
	result (*handle)(struct ap *ap, struct span body, uint64_t now_ms);
} moves[] = {
	{IPQ_HEALTH, ANY_STATE, handle_health},
	{IPQ_SHUTDOWN, ANY_STATE, handle_shutdown},
	{IPQ_READ_MEASUREMENTS, ANY_STATE, handle_read_measurements},
	{IPQ_EXTEND, ANY_STATE, handle_extend},
	{IPQ_ACCEPT_MEASUREMENTS, IN(AP_FAILED), handle_accept},
	{IPQ_GENERATE_ROT, IN(AP_MEASURED), handle_generate},
	{IPQ_ATTEST, IN(AP_STARTING) | IN(AP_READY) | IN(AP_FAILED), handle_attest},
	{IPQ_EXTEND_LAUNCH, IN(AP_READY), handle_extend_launch},
	{IPQ_ENDORSE_BEGIN, IN(AP_READY), handle_endorse_begin},
	{IPQ_ENDORSE_FINISH, IN(AP_READY), handle_endorse_finish},
	{IPQ_END_LAUNCH, IN(AP_READY), handle_end_launch},
	{IPQ_SIGN, IN(AP_READY), handle_sign},
	{IPQ_SEAL, IN(AP_READY), handle_seal},
	{IPQ_UNSEAL, IN(AP_READY), handle_unseal},
	{IPQ_DERIVE, IN(AP_READY), handle_derive},
};

static result refuse_state(const struct ap *ap, const char *name)
{
	if (ap->state == AP_FAILED)
		return fail(MEASUREMENT_WRONG, "%s: %s", name, ap->failure);
	return fail(ap->state == AP_EMPTY || ap->state == AP_MEASURED ? NO_ROOT : NOT_READY, "%s while %s", name,
		ap_state_name(ap->state));
}

static result take_epoch(const struct ap *ap, const struct ipq_message_row *message, struct span *body)
{
	if (!message->expects_epoch)
		return OK;
	struct reader r = reader_of(*body);
	struct ipq_expected expected;
	TRY(ipq_take_expected(&r, &expected));
	*body = span_of(r.at, reader_left(&r));
	if (expected.era == ap->epoch.era && expected.epoch == ap->epoch.epoch)
		return OK;
	if (message->type == IPQ_GENERATE_ROT && ap->epoch_record.len)
		return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)ap->epoch.epoch);
	return fail(EPOCH_OLD, "asked for era %u epoch %llu, current is %u, %llu", expected.era,
		(unsigned long long)expected.epoch, ap->epoch.era, (unsigned long long)ap->epoch.epoch);
}

static result dispatch(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms)
{
	const struct ipq_message_row *message = ipq_message_row(type);
	for (size_t i = 0; message && i < COUNT_OF(moves); i++) {
		if (moves[i].type != type)
			continue;
		TRY(check_clock(ap, now_ms));
		TRY(take_epoch(ap, message, &body));
		if (type == IPQ_GENERATE_ROT && ap->epoch_record.len)
			return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)ap->epoch.epoch);
		if (!(moves[i].allowed & IN(ap->state)))
			return refuse_state(ap, message->name);
		return moves[i].handle(ap, body, now_ms);
	}
	return fail(NOT_SUPPORTED, "request %s (%d)", ipq_message_name(type), type);
}

static void error_action(struct ap *ap, result reason, struct ap_action *out)
{
	snprintf(ap->error, sizeof(ap->error), "%s", failure_text());
	*out = (struct ap_action){.kind = AP_REPLY_ERROR, .reason = reason, .text = ap->error};
}

void ap_step(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms, struct ap_action *out)
{
	result handled = ap->waiting ? fail(ILLEGAL_STATE, "a request while a write is under way") :
				       dispatch(ap, type, body, now_ms);
	arena_free(&ap->scratch);
	if (handled != OK)
		error_action(ap, handled, out);
	else if (ap->waiting)
		*out = (struct ap_action){.kind = AP_PERSIST, .persist = bytes_span(&ap->persist)};
	else
		*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
}

void ap_persisted(struct ap *ap, result written, struct ap_action *out)
{
	ap->waiting = false;
	if (written == OK) {
		*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
		return;
	}
	/* Whether the bytes reached the disk is unknown: nothing of this state is used any more. */
	ap->state = AP_FAILED;
	snprintf(ap->failure, sizeof(ap->failure), "the state could not be written");
	error_action(ap, written, out);
}
