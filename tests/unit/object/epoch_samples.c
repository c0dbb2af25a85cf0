#include "epoch_samples.h"

#include <stdio.h>
#include <stdlib.h>

static void must(result done)
{
	if (done == OK)
		return;
	fprintf(stderr, "epoch samples: %s: %s\n", reason_name(done), failure_text());
	abort();
}

static void add(struct epoch_samples *s, const char *name, enum object_kind kind, struct span object)
{
	assert(s->row_count < EPOCH_SAMPLES);
	struct epoch_sample *row = &s->rows[s->row_count++];
	*row = (struct epoch_sample){name, kind, BYTES_EMPTY};
	must(bytes_copy(object, &row->object));
}

static void add_head(struct epoch_samples *s, const char *name, const struct epoch_maker *m)
{
	add(s, name, KIND_EPOCH, bytes_span(&m->record));
}

static struct epoch_forgery *forgery(struct epoch_samples *s, const char *name, enum reason reason)
{
	assert(s->forged_count < EPOCH_FORGERIES);
	struct epoch_forgery *f = &s->forged[s->forged_count++];
	*f = (struct epoch_forgery){name, s->row_count, BYTES_EMPTY, reason};
	return f;
}

static void forge(struct epoch_samples *s, const char *name, const struct epoch_maker *m, const struct epoch *draft, unsigned signers,
	enum reason reason)
{
	epoch_maker_sign(m, draft, signers, &forgery(s, name, reason)->object);
}

enum { BOTH = SIGN_NEW | SIGN_OLD };

#define FORGE(name, why, change, signers, reason)                                                                      \
	do {                                                                                                           \
		struct epoch_maker forger;                                                                             \
		struct epoch d;                                                                                        \
		epoch_maker_clone(m, 0, &forger);                                                                      \
		epoch_maker_draft(&forger, why, &d);                                                                   \
		change;                                                                                                \
		forge(s, name, &forger, &d, signers, reason);                                                          \
		epoch_maker_free(&forger);                                                                             \
	} while (0)

static void forge_scheduled(struct epoch_samples *s, struct epoch_maker *m)
{
	FORGE("signed by the old key alone", EPOCH_SCHEDULED, (void)d, SIGN_OLD, BAD_SIGNATURE);
	FORGE("signed by the new key alone", EPOCH_SCHEDULED, (void)d, SIGN_NEW, BAD_SIGNATURE);
	FORGE("keys that nobody committed to", EPOCH_SCHEDULED, d.salt[0] ^= 1, BOTH, EPOCH_UNCOMMITTED);
	FORGE("the recovery set changed by a rotation", EPOCH_SCHEDULED, d.recovery.k = 1, BOTH, EPOCH_CHANGED_RECOVERY);
	FORGE("an epoch left out", EPOCH_SCHEDULED, d.epoch++, BOTH, EPOCH_SKIPPED);
	FORGE("another root", EPOCH_SCHEDULED, d.rot_id[0] ^= 1, BOTH, EPOCH_FOREIGN);
	FORGE("behind an unknown record", EPOCH_SCHEDULED, d.prev[0] ^= 1, BOTH, EPOCH_FOREIGN);
	FORGE("an era that no recovery began", EPOCH_SCHEDULED, d.era = 1, BOTH, BAD_VALUE);
	FORGE("a third key signs", EPOCH_SCHEDULED, (void)d, BOTH | SIGN_R0, BAD_SIGNATURE);
	FORGE("a set-recovery with one vote", EPOCH_SET_RECOVERY, (void)d, BOTH | SIGN_R0, RECOVERY_QUORUM);
	FORGE("a recovery with one vote", EPOCH_RECOVERY, (void)d, SIGN_NEW | SIGN_R0, RECOVERY_QUORUM);
	FORGE("a recovery with the vote of a stranger", EPOCH_RECOVERY, (void)d, SIGN_NEW | SIGN_R0 | SIGN_R4, RECOVERY_QUORUM);
	FORGE("a recovery without its new key", EPOCH_RECOVERY, (void)d, SIGN_R0 | SIGN_R1, BAD_SIGNATURE);
	FORGE("a recovery that changes the set", EPOCH_RECOVERY, d.recovery.k = 1, SIGN_NEW | SIGN_R0 | SIGN_R1, EPOCH_CHANGED_RECOVERY);
	FORGE("two eras at once", EPOCH_RECOVERY, d.era = 2, SIGN_NEW | SIGN_R0 | SIGN_R1, EPOCH_SKIPPED);
}

static void forge_second(struct epoch_samples *s, const struct epoch_maker *before)
{
	struct epoch_maker clone;
	epoch_maker_clone(before, 9, &clone);
	epoch_maker_rotate(&clone);
	must(bytes_copy(bytes_span(&clone.record), &forgery(s, "a second record for an epoch", EPOCH_FORKED)->object));
	epoch_maker_free(&clone);
}

static void with_counter(struct epoch_maker *m, uint64_t value)
{
	struct epoch draft;
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	epoch_maker_draft(m, EPOCH_OPERATOR, &draft);
	draft.counter = (struct epoch_counter){COUNTER_TPM_NV, value};
	epoch_maker_sign(m, &draft, BOTH, &record);
	epoch_maker_accept(m, &draft, bytes_span(&record));
}

static void tell(struct epoch_samples *s, struct epoch_maker *m, struct epoch_maker *first, struct epoch_maker *third)
{
	CLEANUP(bytes_free) struct bytes halt = BYTES_EMPTY;
	add_head(s, "inception", m);
	epoch_maker_clone(m, 0, first);
	epoch_maker_rotate(m);
	add_head(s, "scheduled", m);
	forge_second(s, first);
	forge_scheduled(s, m);
	epoch_maker_set_recovery(m, SIGN_R0 | SIGN_R2, 1, 2, 4);
	add_head(s, "set-recovery", m);
	epoch_maker_clone(m, 0, third);
	epoch_maker_halt(m, 0, 3, SIGN_R0 | SIGN_R1, &forgery(s, "a HALT by a key that left the set", RECOVERY_QUORUM)->object);
	epoch_maker_halt(m, 0, 4, SIGN_R1 | SIGN_R2, &forgery(s, "a HALT of an epoch that is not there", EPOCH_SKIPPED)->object);
	epoch_maker_halt(m, 0, 3, SIGN_R1 | SIGN_R4, &halt);
	add(s, "HALT", KIND_HALT, bytes_span(&halt));
	FORGE("a rotation of a halted root", EPOCH_SCHEDULED, (void)d, BOTH, EPOCH_HALTED);
	epoch_maker_recover(m, SIGN_R2 | SIGN_R3);
	add_head(s, "recovery", m);
	epoch_maker_rotate(third);
	must(bytes_copy(bytes_span(&third->record), &forgery(s, "an epoch of the era that has ended", EPOCH_VOID)->object));
	with_counter(m, 7);
	add_head(s, "scheduled with a counter", m);
	FORGE("a counter that goes back", EPOCH_EVENT, d.counter.value = 7, BOTH, EPOCH_COUNTER_WRONG);
	FORGE("a counter that is gone", EPOCH_EVENT, d.counter = (struct epoch_counter){0}, BOTH, EPOCH_COUNTER_WRONG);
	epoch_maker_rotate(m);
	add_head(s, "scheduled again", m);
}

void epoch_samples_make(struct epoch_samples *out)
{
	struct epoch_maker m, first, third;
	*out = (struct epoch_samples){0};
	epoch_maker_begin(&m, 5, 2, 3);
	tell(out, &m, &first, &third);
	for (size_t i = 0; i < MAKER_KEYS; i++)
		key_spki(&m.recovery[i], out->keys[i]);
	epoch_maker_free(&m);
	epoch_maker_free(&first);
	epoch_maker_free(&third);
}

void epoch_samples_free(struct epoch_samples *samples)
{
	for (size_t i = 0; i < samples->row_count; i++)
		bytes_free(&samples->rows[i].object);
	for (size_t i = 0; i < samples->forged_count; i++)
		bytes_free(&samples->forged[i].object);
}

void epoch_samples_history(const struct epoch_samples *samples, size_t count, struct span more, struct bytes *out)
{
	struct bytes_item objects[EPOCH_SAMPLES + 1], keys[MAKER_KEYS];
	struct epoch_history history = {.v = 1, .objects = objects, .keys = keys, .key_count = MAKER_KEYS};
	for (size_t i = 0; i < count; i++)
		objects[i].bytes = bytes_span(&samples->rows[i].object);
	if (more.len)
		objects[count].bytes = more;
	history.object_count = count + (more.len > 0);
	for (size_t i = 0; i < MAKER_KEYS; i++)
		keys[i].bytes = SPAN_ARRAY(samples->keys[i]);
	must(schema_encode(&epoch_history_schema, &history, out));
}
