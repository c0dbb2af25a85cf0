#include "epoch_maker.h"

#include <stdio.h>
#include <stdlib.h>

#include "crypto/hash.h"

const uint64_t maker_time = 1800000000000ULL; /* 2027-01-15T08:00:00Z */

static void must(result done)
{
	if (done == OK)
		return;
	fprintf(stderr, "epoch maker: %s: %s\n", reason_name(done), failure_text());
	abort();
}

static void bytes_of(unsigned seed, unsigned branch, uint64_t number, const char *what, uint8_t out[static SHA384_SIZE])
{
	char text[128];
	snprintf(text, sizeof(text), "epoch maker %u %u %llu %s", seed, branch, (unsigned long long)number, what);
	sha384(span_str(text), out);
}

static void key_of(unsigned seed, unsigned branch, uint64_t number, const char *what, struct key *out)
{
	uint8_t bytes[SHA384_SIZE];
	bytes_of(seed, branch, number, what, bytes);
	must(key_from_seed48(SPAN_ARRAY(bytes), out));
}

static void pair_free(struct maker_pair *pair)
{
	key_free(&pair->sign);
	key_free(&pair->kem);
}

static void pair_of(const struct epoch_maker *m, const char *what, uint64_t number, struct maker_pair *out)
{
	uint8_t bytes[SHA384_SIZE];
	char text[64];
	snprintf(text, sizeof(text), "%s sign", what);
	key_of(m->seed, m->branch, number, text, &out->sign);
	snprintf(text, sizeof(text), "%s kem", what);
	key_of(m->seed, m->branch, number, text, &out->kem);
	snprintf(text, sizeof(text), "%s salt", what);
	bytes_of(m->seed, m->branch, number, text, bytes);
	memcpy(out->salt, bytes, sizeof(out->salt));
}

static void use_set(struct epoch_maker *m, struct epoch *epoch, size_t first, uint8_t k, uint8_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(m->set[i].bytes, m->recovery[first + i].id, KEY_ID_SIZE);
	must(schema_sort(&digest32_schema, m->set, n));
	epoch->has_recovery = n > 0;
	epoch->recovery = n ? (struct epoch_recovery){k, n, m->set, n} : (struct epoch_recovery){0};
}

/* Puts the keys into a record and commits to those of the record behind it. */
static void fill_keys(const struct epoch_maker *m, const struct maker_pair *pair, struct epoch *epoch)
{
	struct maker_pair next = {0};
	memcpy(epoch->sign_pk, pair->sign.point, POINT_SIZE);
	memcpy(epoch->kem_pk, pair->kem.point, POINT_SIZE);
	memcpy(epoch->salt, pair->salt, sizeof(epoch->salt));
	pair_of(m, epoch->era ? "recovered" : "scheduled", epoch->epoch + 1, &next);
	epoch_next_commitment(next.sign.point, next.kem.point, next.salt, epoch->next);
	pair_free(&next);
}

void epoch_maker_sign(const struct epoch_maker *m, const struct epoch *draft, unsigned signers, struct bytes *out)
{
	const struct key *keys[2 + MAKER_KEYS];
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	size_t count = 0;
	if (signers & SIGN_NEW)
		keys[count++] = &m->next.sign;
	if (signers & SIGN_OLD)
		keys[count++] = &m->pair.sign;
	for (size_t i = 0; i < MAKER_KEYS; i++)
		if (signers & (unsigned)SIGN_R0 << i)
			keys[count++] = &m->recovery[i];
	must(schema_encode(&epoch_schema, draft, &payload));
	bytes_free(out);
	must(cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_EPOCH), keys, count, out));
}

void epoch_maker_accept(struct epoch_maker *m, const struct epoch *draft, struct span record)
{
	struct cose_sign object;
	CLEANUP(bytes_free) struct bytes kept = BYTES_EMPTY;
	must(bytes_copy(record, &kept));
	bytes_free(&m->record);
	m->record = bytes_move(&kept);
	must(cose_strict_sign_parse(bytes_span(&m->record), &object));
	object_oid(KIND_EPOCH, object.payload, m->oid);
	pair_free(&m->pair);
	m->pair = m->next;
	m->next = (struct maker_pair){0};
	m->epoch = *draft;
	pair_of(m, draft->era ? "recovered" : "scheduled", draft->epoch + 1, &m->next);
}

void epoch_maker_begin(struct epoch_maker *m, unsigned seed, uint8_t k, uint8_t n)
{
	*m = (struct epoch_maker){.seed = seed};
	struct epoch draft = {.v = 1, .epoch = 1, .suite = SUITE_P256, .not_before = maker_time,
		.not_after = maker_time + 397ULL * 86400000, .grace_s = 60, .state = EPOCH_ACTIVE, .reason = EPOCH_INCEPTION};
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	for (size_t i = 0; i < MAKER_KEYS; i++)
		key_of(seed, 0, i, "recovery", &m->recovery[i]);
	memset(draft.measurement, 0xa0, sizeof(draft.measurement));
	use_set(m, &draft, 0, k, n);
	pair_of(m, "scheduled", 1, &m->next);
	fill_keys(m, &m->next, &draft);
	epoch_maker_sign(m, &draft, SIGN_NEW, &record);
	epoch_maker_accept(m, &draft, bytes_span(&record));
	memcpy(m->rot_id, m->oid, OID_SIZE);
}

void epoch_maker_clone(const struct epoch_maker *from, unsigned branch, struct epoch_maker *out)
{
	*out = *from;
	out->branch = branch;
	out->record = BYTES_EMPTY;
	must(bytes_copy(bytes_span(&from->record), &out->record));
	out->pair.sign = key_ref(&from->pair.sign);
	out->pair.kem = key_ref(&from->pair.kem);
	out->next.sign = key_ref(&from->next.sign);
	out->next.kem = key_ref(&from->next.kem);
	for (size_t i = 0; i < MAKER_KEYS; i++)
		out->recovery[i] = key_ref(&from->recovery[i]);
	if (out->epoch.has_recovery)
		out->epoch.recovery.keys = out->set;
}

void epoch_maker_free(struct epoch_maker *m)
{
	pair_free(&m->pair);
	pair_free(&m->next);
	for (size_t i = 0; i < MAKER_KEYS; i++)
		key_free(&m->recovery[i]);
	bytes_free(&m->record);
}

void epoch_maker_draft(struct epoch_maker *m, enum epoch_reason reason, struct epoch *out)
{
	struct epoch draft = m->epoch;
	memcpy(draft.rot_id, m->rot_id, OID_SIZE);
	memcpy(draft.prev, m->oid, OID_SIZE);
	draft.epoch++;
	draft.not_before += 86400000;
	draft.not_after += 86400000;
	draft.reason = (uint8_t)reason;
	if (reason == EPOCH_RECOVERY) {
		draft.era++;
		pair_free(&m->next);
		pair_of(m, "fresh", draft.epoch, &m->next);
	}
	if (draft.counter.kind != COUNTER_NONE)
		draft.counter.value++;
	fill_keys(m, &m->next, &draft);
	*out = draft;
}

static void make(struct epoch_maker *m, const struct epoch *draft, unsigned signers)
{
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	epoch_maker_sign(m, draft, signers, &record);
	epoch_maker_accept(m, draft, bytes_span(&record));
}

void epoch_maker_rotate(struct epoch_maker *m)
{
	struct epoch draft;
	epoch_maker_draft(m, EPOCH_SCHEDULED, &draft);
	make(m, &draft, SIGN_NEW | SIGN_OLD);
}

void epoch_maker_set_recovery(struct epoch_maker *m, unsigned signers, size_t first, uint8_t k, uint8_t n)
{
	struct epoch draft;
	epoch_maker_draft(m, EPOCH_SET_RECOVERY, &draft);
	use_set(m, &draft, first, k, n);
	make(m, &draft, signers | SIGN_NEW | SIGN_OLD);
}

void epoch_maker_recover(struct epoch_maker *m, unsigned signers)
{
	struct epoch draft;
	epoch_maker_draft(m, EPOCH_RECOVERY, &draft);
	make(m, &draft, signers | SIGN_NEW);
}

void epoch_maker_halt(const struct epoch_maker *m, uint32_t era, uint64_t epoch, unsigned signers, struct bytes *out)
{
	struct halt halt = {.v = 1, .era = era, .epoch = epoch};
	const struct key *keys[MAKER_KEYS];
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	size_t count = 0;
	memcpy(halt.rot_id, m->rot_id, OID_SIZE);
	for (size_t i = 0; i < MAKER_KEYS; i++)
		if (signers & (unsigned)SIGN_R0 << i)
			keys[count++] = &m->recovery[i];
	must(schema_encode(&halt_schema, &halt, &payload));
	bytes_free(out);
	must(cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_HALT), keys, count, out));
}

void epoch_maker_give_keys(const struct epoch_maker *m, struct epoch_chain *chain)
{
	for (size_t i = 0; i < MAKER_KEYS; i++) {
		uint8_t spki[SPKI_SIZE];
		key_spki(&m->recovery[i], spki);
		must(epoch_chain_add_key(chain, SPAN_ARRAY(spki)));
	}
}
