#include "object/epoch_rules.h"

#include "object/epoch_chain.h"

#include <stdlib.h>

/* ---- Keys ---------------------------------------------------------------------------------------- */

void key_ring_free(struct key_ring *ring)
{
	for (size_t i = 0; i < ring->count; i++)
		key_free(&ring->keys[i]);
	free(ring->keys);
	*ring = (struct key_ring){0};
}

const struct key *key_ring_find(const struct key_ring *ring, const uint8_t id[static KEY_ID_SIZE])
{
	for (size_t i = 0; i < ring->count; i++)
		if (memcmp(ring->keys[i].id, id, KEY_ID_SIZE) == 0)
			return &ring->keys[i];
	return NULL;
}

static result make_room(struct key_ring *ring)
{
	if (ring->count < ring->cap)
		return OK;
	if (ring->count >= KEY_RING_MAX)
		return fail(TOO_LARGE, "more than %d recovery keys", KEY_RING_MAX);
	size_t cap = ring->cap ? ring->cap * 2 : 8;
	struct key *keys = realloc(ring->keys, cap * sizeof(*keys));
	if (!keys)
		return fail(NO_MEMORY, "recovery keys");
	ring->keys = keys;
	ring->cap = cap;
	return OK;
}

result key_ring_add(struct key_ring *ring, struct span spki)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	if (key_from_spki(spki, &key) != OK)
		return fail(BAD_VALUE, "a recovery key is no P-256 key: %s", failure_text());
	if (key_ring_find(ring, key.id))
		return OK;
	TRY(make_room(ring));
	ring->keys[ring->count++] = key;
	key = KEY_EMPTY;
	return OK;
}

/* ---- One record ---------------------------------------------------------------------------------- */

static result check_recovery(const struct epoch *epoch)
{
	const struct epoch_recovery *recovery = &epoch->recovery;
	if (!epoch->has_recovery)
		return OK;
	if (recovery->n != recovery->key_count || recovery->k < 1 || recovery->k > recovery->n)
		return fail(BAD_VALUE, "recovery %u of %u with %zu keys", recovery->k, recovery->n, recovery->key_count);
	return OK;
}

result epoch_check(const struct epoch *epoch)
{
	if (epoch->suite != SUITE_P256)
		return fail(UNSUPPORTED_ALGORITHM, "suite %u", epoch->suite);
	if (epoch->state != EPOCH_ACTIVE)
		return fail(BAD_VALUE, "state %u of an epoch record", epoch->state);
	if (epoch->not_before >= epoch->not_after)
		return fail(BAD_VALUE, "the record is valid at no time");
	if (epoch->counter.kind == COUNTER_NONE && epoch->counter.value != 0)
		return fail(EPOCH_COUNTER_WRONG, "a value of a counter that is not there");
	return check_recovery(epoch);
}

result epoch_check_kem(const struct epoch *epoch)
{
	uint8_t id[KEY_ID_SIZE];
	return point_key_id(SPAN_ARRAY(epoch->kem_pk), id);
}

result epoch_record_parse(struct span bytes, struct arena *arena, struct epoch_record *out)
{
	struct epoch_record record = {.bytes = bytes};
	if (bytes.len > EPOCH_RECORD_MAX)
		return fail(TOO_LARGE, "an epoch record of %zu bytes", bytes.len);
	TRY(cose_strict_sign_parse(bytes, &record.object));
	TRY(schema_decode(&epoch_schema, record.object.payload, arena, &record.epoch));
	TRY(epoch_check(&record.epoch));
	object_oid(KIND_EPOCH, record.object.payload, record.oid);
	*out = record;
	return OK;
}

enum { OBJECT_MEMORY = 64 * 1024 };

result epoch_object_is_halt(const struct cose_sign *object, bool *out)
{
	struct reader r = reader_of(object->payload);
	size_t fields;
	TRY(cbor_read_map(&r, &fields));
	*out = fields == halt_schema.field_count;
	return OK;
}

result epoch_object_root(struct span bytes, uint8_t out_rot_id[static OID_SIZE])
{
	CLEANUP(arena_free) struct arena arena = arena_of(OBJECT_MEMORY);
	struct cose_sign object;
	struct epoch epoch;
	struct halt halt;
	bool is_halt;
	TRY(cose_strict_sign_parse(bytes, &object));
	TRY(epoch_object_is_halt(&object, &is_halt));
	if (is_halt) {
		TRY(schema_decode(&halt_schema, object.payload, &arena, &halt));
		memcpy(out_rot_id, halt.rot_id, OID_SIZE);
		return OK;
	}
	TRY(schema_decode(&epoch_schema, object.payload, &arena, &epoch));
	if (epoch.reason == EPOCH_INCEPTION)
		object_oid(KIND_EPOCH, object.payload, out_rot_id);
	else
		memcpy(out_rot_id, epoch.rot_id, OID_SIZE);
	return OK;
}

/* ---- Two records --------------------------------------------------------------------------------- */

bool epoch_is_recovery(const struct epoch *epoch)
{
	return epoch->reason == EPOCH_RECOVERY;
}

bool epoch_recovery_equal(const struct epoch *a, const struct epoch *b)
{
	if (a->has_recovery != b->has_recovery)
		return false;
	if (!a->has_recovery)
		return true;
	return a->recovery.k == b->recovery.k && a->recovery.n == b->recovery.n && a->recovery.key_count == b->recovery.key_count &&
		memcmp(a->recovery.keys, b->recovery.keys, a->recovery.key_count * sizeof(*a->recovery.keys)) == 0;
}

static result check_place(const struct epoch *epoch, const struct epoch *before, const uint8_t before_oid[static OID_SIZE],
	const uint8_t rot_id[static OID_SIZE])
{
	if (memcmp(epoch->rot_id, rot_id, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "the record is of another root");
	if (memcmp(epoch->prev, before_oid, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "the record does not follow the one before");
	if (epoch->epoch > before->epoch && epoch->epoch - before->epoch > 1)
		return fail(EPOCH_SKIPPED, "epoch %llu behind epoch %llu", (unsigned long long)epoch->epoch,
			(unsigned long long)before->epoch);
	if (epoch->epoch <= before->epoch)
		return fail(BAD_VALUE, "epoch %llu behind epoch %llu", (unsigned long long)epoch->epoch,
			(unsigned long long)before->epoch);
	return OK;
}

static result check_era(const struct epoch *epoch, const struct epoch *before)
{
	if (epoch->reason == EPOCH_INCEPTION)
		return fail(BAD_VALUE, "an inception record stands behind another record");
	if (epoch_is_recovery(epoch) ? epoch->era <= before->era : epoch->era != before->era)
		return fail(BAD_VALUE, "era %u behind era %u; only a recovery begins an era, and it must", epoch->era, before->era);
	return OK;
}

static result check_commitment(const struct epoch *epoch, const struct epoch *before)
{
	uint8_t opened[SHA256_SIZE];
	epoch_next_commitment(epoch->sign_pk, epoch->kem_pk, epoch->salt, opened);
	if (memcmp(epoch->sign_pk, before->sign_pk, POINT_SIZE) == 0)
		return fail(BAD_VALUE, "epoch %llu has the signing key of the epoch before", (unsigned long long)epoch->epoch);
	if (memcmp(opened, before->next, SHA256_SIZE) != 0)
		return fail(EPOCH_UNCOMMITTED, "keys and salt of epoch %llu do not open what epoch %llu committed to",
			(unsigned long long)epoch->epoch, (unsigned long long)before->epoch);
	return OK;
}

/* A counter never goes back; only a recovery, made after the device is lost, may do without. */
static result check_counter(const struct epoch *epoch, const struct epoch *before)
{
	if (epoch->counter.kind == COUNTER_NONE)
		return before->counter.kind == COUNTER_NONE || epoch_is_recovery(epoch) ?
			OK :
			fail(EPOCH_COUNTER_WRONG, "the record before has a counter and this one has none");
	if (before->counter.kind == COUNTER_TPM_NV && epoch->counter.value <= before->counter.value)
		return fail(EPOCH_COUNTER_WRONG, "counter %llu behind %llu", (unsigned long long)epoch->counter.value,
			(unsigned long long)before->counter.value);
	return OK;
}

result epoch_rules_link(const struct epoch *epoch, const struct epoch *before, const uint8_t before_oid[static OID_SIZE],
	const uint8_t rot_id[static OID_SIZE])
{
	bool is_set = epoch->reason == EPOCH_SET_RECOVERY;
	TRY(check_place(epoch, before, before_oid, rot_id));
	TRY(check_era(epoch, before));
	if (!epoch_is_recovery(epoch))
		TRY(check_commitment(epoch, before));
	if ((is_set || epoch_is_recovery(epoch)) && !before->has_recovery)
		return fail(NO_RECOVERY_SET, "epoch %llu names no recovery keys", (unsigned long long)before->epoch);
	if (!is_set && !epoch_recovery_equal(epoch, before))
		return fail(EPOCH_CHANGED_RECOVERY, "epoch %llu names another recovery set than epoch %llu",
			(unsigned long long)epoch->epoch, (unsigned long long)before->epoch);
	return check_counter(epoch, before);
}

/* ---- Signatures ---------------------------------------------------------------------------------- */

static bool in_set(const struct epoch *before, const uint8_t kid[static KEY_ID_SIZE])
{
	for (size_t i = 0; before->has_recovery && i < before->recovery.key_count; i++)
		if (memcmp(before->recovery.keys[i].bytes, kid, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

static result verify_vote(const struct cose_sign *object, const char *label, const uint8_t kid[static KEY_ID_SIZE],
	const struct epoch *before, const struct key_ring *ring)
{
	if (!in_set(before, kid))
		return fail(RECOVERY_QUORUM, "a key signs that is not in the recovery set");
	const struct key *key = key_ring_find(ring, kid);
	if (!key)
		return fail(RECOVERY_QUORUM, "the public key of a recovery key that signs is not known here; give it too");
	return cose_strict_sign_verify(object, label, key);
}

static result enough(size_t votes, const struct epoch *before)
{
	if (votes < before->recovery.k)
		return fail(RECOVERY_QUORUM, "%zu recovery keys have signed, %u of %u must", votes, before->recovery.k,
			before->recovery.n);
	return OK;
}

result epoch_rules_quorum(const struct cose_sign *object, enum object_kind kind, const struct epoch *before,
	const struct key_ring *recovery_keys)
{
	if (!before->has_recovery)
		return fail(NO_RECOVERY_SET, "epoch %llu names no recovery keys", (unsigned long long)before->epoch);
	for (size_t i = 0; i < object->count; i++)
		TRY(verify_vote(object, kind_label(kind), object->signatures[i].kid, before, recovery_keys));
	return enough(object->count, before);
}

/* A signature by a key of the record itself or of the one before. */
static result verify_own(const struct epoch_record *record, const struct key *key, const char *whose)
{
	result verified = cose_strict_sign_verify(&record->object, kind_label(KIND_EPOCH), key);
	return verified == OK ? OK : fail_within(verified, "by the %s key", whose);
}

result epoch_rules_signatures(const struct epoch_record *record, const struct epoch *before, const struct key_ring *recovery_keys)
{
	const struct epoch *epoch = &record->epoch;
	bool needs_old = !epoch_is_recovery(epoch), needs_votes = epoch_is_recovery(epoch) || epoch->reason == EPOCH_SET_RECOVERY;
	CLEANUP(key_free) struct key new_key = KEY_EMPTY, old_key = KEY_EMPTY;
	size_t votes = 0;
	TRY(key_from_point(SPAN_ARRAY(epoch->sign_pk), &new_key));
	TRY(verify_own(record, &new_key, "new"));
	if (needs_old) {
		TRY(key_from_point(SPAN_ARRAY(before->sign_pk), &old_key));
		TRY(verify_own(record, &old_key, "former"));
	}
	for (size_t i = 0; i < record->object.count; i++) {
		const uint8_t *kid = record->object.signatures[i].kid;
		if (memcmp(kid, new_key.id, KEY_ID_SIZE) == 0 || (needs_old && memcmp(kid, old_key.id, KEY_ID_SIZE) == 0))
			continue;
		if (!needs_votes)
			return fail(BAD_SIGNATURE, "a key signs that has no say in this record");
		TRY(verify_vote(&record->object, kind_label(KIND_EPOCH), kid, before, recovery_keys));
		votes++;
	}
	return needs_votes ? enough(votes, before) : OK;
}
