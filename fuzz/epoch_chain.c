/*
 * The state machine of a root's epochs. The input is a tape of steps; each makes a record or a HALT out of one that was made
 * before and offers it: rotations, set-recoveries, recoveries, forks, repeats, some with a wrong field. Links are real,
 * signatures are not (epoch_chain_follow_trusted), so that thousands of steps a second are tried.
 *
 * A step is 3 bytes: what to do, which object it stands on, a variant that makes siblings differ.
 */
#include "object/epoch_chain.h"

#include <stdlib.h>

#include "crypto/crypto.h"
#include "crypto/hash.h"
#include "object/epoch_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * OpenSSL keeps its generators in its secure heap, where the leak checker does not look for pointers: what is made at the
 * start is not counted. The functions are there only in sanitizer builds.
 */
__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);

enum { MOST_STEPS = 96 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

struct made {
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
	uint8_t seed; /* of its keys */
	struct bytes object;
};

struct tape {
	struct made made[MOST_STEPS + 1];
	size_t count;
	struct bytes halts[MOST_STEPS];
	size_t halt_count;
	struct digest32 set[2];
	struct epoch_chain *chain;
};

/* Bytes that look like keys; nothing here agrees or verifies with them. */
static void keys_of(uint8_t seed, struct epoch *out)
{
	memset(out->sign_pk, seed, sizeof(out->sign_pk));
	memset(out->kem_pk, seed ^ 0x55, sizeof(out->kem_pk));
	memset(out->salt, seed ^ 0xaa, sizeof(out->salt));
}

static void commit_to(uint8_t seed, struct epoch *out)
{
	struct epoch next;
	keys_of(seed, &next);
	epoch_next_commitment(next.sign_pk, next.kem_pk, next.salt, out->next);
}

static void envelope(const struct schema *schema, const void *object, struct bytes *out)
{
	struct cose_signer signer = {{0}, {0}};
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	must(schema_encode(schema, object, &payload) == OK);
	must(cose_strict_sign_assemble(bytes_span(&payload), &signer, 1, out) == OK);
}

static void add(struct tape *t, const struct epoch *epoch, uint8_t seed)
{
	struct made *made = &t->made[t->count++];
	struct cose_sign object;
	made->epoch = *epoch;
	made->seed = seed;
	envelope(&epoch_schema, epoch, &made->object);
	must(cose_strict_sign_parse(bytes_span(&made->object), &object) == OK);
	object_oid(KIND_EPOCH, object.payload, made->oid);
}

static const uint8_t scalar[SCALAR_SIZE] = {1, 2, 3};

/* Signed once, for all tapes: it is the one object whose signature is always looked at. */
static struct span inception_of(const struct epoch *epoch, const struct key *key)
{
	static uint8_t object[1024];
	static size_t len;
	if (len)
		return span_of(object, len);
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY, made = BYTES_EMPTY;
	if (__lsan_disable)
		__lsan_disable();
	crypto_warm_up();
	must(schema_encode(&epoch_schema, epoch, &payload) == OK);
	must(cose_strict_sign_make(bytes_span(&payload), "troth epoch", &key, 1, &made) == OK);
	if (__lsan_enable)
		__lsan_enable();
	must(made.len <= sizeof(object));
	memcpy(object, made.data, made.len);
	len = made.len;
	return span_of(object, len);
}

static void begin(struct tape *t)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	struct epoch epoch = {.v = 1, .epoch = 1, .suite = SUITE_P256, .has_recovery = true, .recovery = {1, 2, t->set, 2}, .not_before = 1000,
		.not_after = 1u << 30, .grace_s = 10, .state = EPOCH_ACTIVE};
	t->set[1].bytes[0] = 1;
	must(key_from_scalar(SPAN_ARRAY(scalar), &key) == OK);
	memcpy(epoch.sign_pk, key.point, POINT_SIZE);
	memcpy(epoch.kem_pk, key.point, POINT_SIZE);
	commit_to(2, &epoch);
	add(t, &epoch, 1);
	bytes_free(&t->made[0].object);
	must(bytes_copy(inception_of(&epoch, &key), &t->made[0].object) == OK);
	must(epoch_chain_new(bytes_span(&t->made[0].object), &t->chain) == OK);
}

/* What must always hold. */
static void check(const struct epoch_chain *chain)
{
	const struct epoch_link *head = epoch_chain_head(chain), *at = head;
	struct span proof[2];
	must(!head->is_void && epoch_chain_find(chain, head->oid) == head);
	for (const struct epoch_link *before; (before = epoch_chain_before(chain, at)); at = before) {
		must(!before->is_void && before->epoch + 1 == at->epoch && before->era <= at->era && before->era <= head->era);
		must(epoch_chain_find(chain, before->oid) == before);
	}
	must(at == epoch_chain_at(chain, 0));
	size_t standing = 0;
	for (size_t i = 0; i < epoch_chain_count(chain); i++)
		standing += !epoch_chain_at(chain, i)->is_void;
	must(standing == head->epoch); /* one for each number, and nothing beside */
	epoch_chain_proof(chain, proof);
	bool live = epoch_chain_state(chain) == CHAIN_LIVE, frozen = epoch_chain_state(chain) == CHAIN_FROZEN;
	must((proof[0].len > 0) == !live && (proof[1].len > 0) == frozen);
	must(!frozen || !span_equal(proof[0], proof[1]));
	must((epoch_chain_judge_live(chain, head->oid, 0, 0, 2000, 2000) == OK) == live);
}

static void offer(struct tape *t, struct span object)
{
	const struct epoch_link before = *epoch_chain_head(t->chain);
	enum epoch_chain_state state = epoch_chain_state(t->chain);
	size_t count = epoch_chain_count(t->chain);
	result followed = epoch_chain_follow_trusted(t->chain, object);
	const struct epoch_link *head = epoch_chain_head(t->chain);
	check(t->chain);
	must(followed == OK || followed == EPOCH_FORKED || memcmp(head->oid, before.oid, OID_SIZE) == 0);
	must(followed == OK || epoch_chain_count(t->chain) == count);
	must(followed == OK || followed == EPOCH_FORKED || epoch_chain_state(t->chain) == state);
	must(head->era >= before.era && (head->era > before.era || head->epoch >= before.epoch));
	/* Only a new era makes it live again. */
	must(state == CHAIN_LIVE || epoch_chain_state(t->chain) != CHAIN_LIVE || head->era == before.era + 1);
	must(state == CHAIN_LIVE || head->era > before.era || head->epoch == before.epoch);
}

static void make(struct tape *t, uint8_t what, uint8_t on, uint8_t variant)
{
	const struct made *parent = &t->made[on % t->count];
	struct epoch epoch = parent->epoch;
	uint8_t seed = (uint8_t)(parent->seed + 1);
	memcpy(epoch.rot_id, t->made[0].oid, OID_SIZE);
	memcpy(epoch.prev, parent->oid, OID_SIZE);
	epoch.epoch++;
	epoch.not_after += variant;
	epoch.reason = EPOCH_SCHEDULED;
	switch (what % 8) {
	case 0:
	case 1:
		break;
	case 2:
		epoch.reason = EPOCH_SET_RECOVERY;
		epoch.recovery.k = 1 + variant % 2;
		break;
	case 3:
	case 4:
		epoch.reason = EPOCH_RECOVERY;
		epoch.era += 1 + (what / 8) % 3;
		seed = (uint8_t)(128 + variant);
		break;
	case 5:
		epoch.counter = (struct epoch_counter){COUNTER_TPM_NV, epoch.counter.value + variant % 3};
		break;
	case 6:
		epoch.epoch += variant % 3;
		epoch.era += variant / 3 % 2;
		break;
	default:
		seed = (uint8_t)(seed + variant % 2);
		break;
	}
	keys_of(seed, &epoch);
	commit_to((uint8_t)(seed + 1), &epoch);
	add(t, &epoch, seed);
	offer(t, bytes_span(&t->made[t->count - 1].object));
}

static void halt(struct tape *t, uint8_t on, uint8_t variant)
{
	const struct made *made = &t->made[on % t->count];
	struct halt halt = {.v = 1, .era = made->epoch.era, .epoch = made->epoch.epoch + (variant == 1)};
	memcpy(halt.rot_id, t->made[0].oid, OID_SIZE);
	envelope(&halt_schema, &halt, &t->halts[t->halt_count]);
	offer(t, bytes_span(&t->halts[t->halt_count++]));
}

/* What the chain tells of itself makes the same chain. */
static void replay(const struct epoch_chain *chain)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct epoch_history history;
	struct epoch_chain *copy;
	must(epoch_chain_history(chain, &bytes) == OK);
	must(schema_decode(&epoch_history_schema, bytes_span(&bytes), &arena, &history) == OK);
	must(epoch_chain_new(history.objects[0].bytes, &copy) == OK);
	for (size_t i = 1; i < history.object_count; i++) {
		result followed = epoch_chain_follow_trusted(copy, history.objects[i].bytes);
		must(followed == OK || followed == EPOCH_FORKED || followed == EPOCH_HALTED || followed == EPOCH_VOID);
	}
	must(epoch_chain_state(copy) == epoch_chain_state(chain) && epoch_chain_count(copy) == epoch_chain_count(chain));
	for (size_t i = 0; i < epoch_chain_count(chain); i++) {
		const struct epoch_link *a = epoch_chain_at(chain, i), *b = epoch_chain_at(copy, i);
		must(memcmp(a->oid, b->oid, OID_SIZE) == 0 && a->is_void == b->is_void);
	}
	epoch_chain_free(copy);
}

/* Recovery keys that begin an era twice, or go back an era, may be seen differently for ever. */
static bool eras_only_grow(const struct tape *t)
{
	uint32_t era = 0;
	for (size_t i = 0; i < t->count; i++) {
		if (!epoch_is_recovery(&t->made[i].epoch))
			continue;
		if (t->made[i].epoch.era <= era)
			return false;
		era = t->made[i].epoch.era;
	}
	return true;
}

static void tell(struct tape *t, struct epoch_chain *chain, bool backwards)
{
	for (size_t i = 0; i < t->count; i++)
		(void)!epoch_chain_follow_trusted(chain, bytes_span(&t->made[backwards ? t->count - 1 - i : i].object));
	for (size_t i = 0; i < t->halt_count; i++)
		(void)!epoch_chain_follow_trusted(chain, bytes_span(&t->halts[backwards ? t->halt_count - 1 - i : i]));
}

/* Another verifier is told the same things the other way round, again and again: both end up alike. */
static void agree(struct tape *t)
{
	enum { MOST_TOLD = 16 };
	struct epoch_chain *other;
	if (t->count > MOST_TOLD || !eras_only_grow(t))
		return;
	must(epoch_chain_new(bytes_span(&t->made[0].object), &other) == OK);
	for (size_t round = 0; round <= t->count; round++) {
		tell(t, t->chain, false);
		tell(t, other, true);
	}
	must(epoch_chain_state(other) == epoch_chain_state(t->chain));
	must(epoch_chain_head(other)->era == epoch_chain_head(t->chain)->era);
	if (epoch_chain_state(other) == CHAIN_LIVE)
		must(memcmp(epoch_chain_head(other)->oid, epoch_chain_head(t->chain)->oid, OID_SIZE) == 0);
	epoch_chain_free(other);
}

static void tape_free(struct tape *t)
{
	epoch_chain_free(t->chain);
	for (size_t i = 0; i < t->count; i++)
		bytes_free(&t->made[i].object);
	for (size_t i = 0; i < t->halt_count; i++)
		bytes_free(&t->halts[i]);
	free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape *t = calloc(1, sizeof(*t));
	must(t != NULL);
	begin(t);
	for (size_t i = 0; i + 3 <= size && i < 3 * (size_t)MOST_STEPS; i += 3) {
		if (data[i] >= 0xf0)
			halt(t, data[i + 1], data[i + 2]);
		else if (data[i] >= 0xe0)
			offer(t, bytes_span(&t->made[data[i + 1] % t->count].object)); /* again */
		else
			make(t, data[i], data[i + 1], data[i + 2]);
	}
	replay(t->chain);
	agree(t);
	tape_free(t);
	return 0;
}
