/*
 * The attestation chain. The first byte says how:
 *   'r'  raw: pieces {kind, u16 length, bytes} go in as certificates, reports and records
 *   else a tape that makes enclaves sign records, right and wrong ones; they are added in two orders, one of them with
 *        verdicts in between, and both sets must agree and keep the rules that can be seen from outside
 */
#include "../tests/unit/enclave/dac_world.h"

#include <stdlib.h>

/* The world is the tests' own: one source, two programs. */
#include "../tests/unit/enclave/dac_world.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_RECORDS = 24 };

static void check(bool holds)
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

/* Made once: keys and certificates cost more than all the rest. */
static struct world *the_world(void)
{
	static struct world world;
	static bool made;
	if (!made) {
		world_new(&world, 0xaa);
		world_endorse(&world, "A", "allowed_communicators: [B, C]\nmax_dac_depth: 4\nrequired_attestation_level: Level-1\n");
		world_endorse(&world, "B", "allowed_communicators: [A, C]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
		world_endorse(&world, "C", "allowed_communicators: [B]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
		made = true;
	}
	return &world;
}

static void raw(struct tape *tape)
{
	struct world *world = the_world();
	struct dac *dac;
	struct dac_summary summary;
	check(dac_new(&world->config, &dac) == OK);
	while (tape->left > 3) {
		uint8_t kind = next(tape);
		size_t len = (size_t)next(tape) << 8 | next(tape);
		struct span piece = span_of(tape->data, len < tape->left ? len : tape->left);
		result added = kind % 3 == 0 ? dac_add_record(dac, piece, NULL) :
			kind % 3 == 1	     ? dac_add_report(dac, piece, NULL) :
					       dac_add_certificate(dac, piece, NULL);
		(void)(added == OK);
		tape->data += piece.len;
		tape->left -= piece.len;
	}
	check(dac_verify(dac, &summary) == OK);
	check(summary.accepted == 0); /* nobody signs under a fresh key */
	dac_free(dac);
}

static void make(struct tape *tape, struct world *world, struct made *made, size_t count)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	uint8_t how = next(tape), enclave = (uint8_t)(next(tape) % 3), twist = next(tape);
	struct record record = world_record(world, enclave, 1 + how % 4, how & 0x10 ? "other" : "rows");
	for (unsigned parents = how >> 6; parents && count; parents--)
		world_parent(world, &record, &made[next(tape) % count]);
	/* Two equal parents cannot be encoded. */
	for (size_t i = 1; i < record.parent_count; i++)
		for (size_t k = 0; k < i; k++)
			if (memcmp(record.parents[i].oid, record.parents[k].oid, OID_SIZE) == 0)
				record.parent_count = 1;
	if (how & 4)
		world_in(world, &record, names[twist & 3]);
	if (how & 8)
		world_out(world, &record, names[twist >> 2 & 3]);
	if (record.kind >= RECORD_REQUEST)
		world_target(world, &record, twist >> 4 & 1 ? (enclave + 1) % 3 : (enclave + 2) % 3, how & 0x20 ? 1 : 2);
	size_t signer = enclave;
	switch (twist >> 5) {
	case 1: record.seq = 1 + next(tape) % 4; break;
	case 2: record.time += (uint64_t)next(tape) * 1000; break;
	case 3: signer = next(tape) % 3; break;
	case 4: record.policy_digest[0] ^= 1; break;
	default: break;
	}
	world_sign(world, signer, &record, &made[count]);
}

static void judge_all(const struct world *world, const struct made *made, size_t count, bool backwards, bool in_between,
	struct dac **out)
{
	struct dac_summary summary;
	check(dac_new(&world->config, out) == OK);
	world_add_enclaves(world, *out);
	for (size_t i = 0; i < count; i++) {
		check(dac_add_record(*out, made[backwards ? count - 1 - i : i].object, NULL) == OK);
		if (in_between)
			check(dac_verify(*out, &summary) == OK);
	}
	check(dac_verify(*out, &summary) == OK);
	check(summary.accepted + summary.refused == summary.records && summary.records == dac_count(*out));
}

/* What must hold of every accepted record. */
static void check_accepted(const struct dac *dac, size_t at)
{
	const struct record *record = dac_record(dac, at);
	unsigned level = record->kind == RECORD_ORIGIN ? 1 : 0;
	struct digest32 root;
	size_t *closure, count;
	check((record->parent_count == 0) == (record->kind == RECORD_ORIGIN));
	for (size_t p = 0; p < record->parent_count; p++) {
		size_t parent = dac_find(dac, record->parents[p].oid);
		check(parent != SIZE_MAX);
		struct dac_verdict verdict = dac_verdict(dac, parent);
		const struct record *r = dac_record(dac, parent);
		bool foreign = strcmp(r->enclave, record->enclave) != 0;
		check(verdict.judged && verdict.reason == OK);
		check(!foreign || (r->has_target && strcmp(r->target, record->enclave) == 0));
		unsigned through = verdict.level + (foreign && r->kind == RECORD_REQUEST);
		if (through > level)
			level = through;
	}
	check(dac_verdict(dac, at).level == level);
	for (size_t i = 0; i < dac_count(dac); i++)
		check(i == at || dac_verdict(dac, i).reason != OK || dac_record(dac, i)->seq != record->seq ||
			strcmp(dac_record(dac, i)->enclave, record->enclave) != 0);
	memcpy(root.bytes, dac_oid(dac, at), OID_SIZE);
	check(dac_closure(dac, &root, 1, &closure, &count) == OK);
	check(count >= 1 && closure[count - 1] == at);
	free(closure);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape tape = {data, size};
	struct world *world = the_world();
	struct made made[MAX_RECORDS];
	size_t count = 0;
	if (size && data[0] == 'r') {
		next(&tape);
		raw(&tape);
		return 0;
	}
	for (size_t i = 0; i < world->enclave_count; i++)
		world->enclaves[i].seq = 0;
	world->now = WORLD_T0;
	while (tape.left && count < MAX_RECORDS)
		make(&tape, world, made, count++);
	struct dac *one, *two;
	judge_all(world, made, count, false, false, &one);
	judge_all(world, made, count, true, true, &two);
	check(dac_count(one) == dac_count(two));
	for (size_t i = 0; i < dac_count(one); i++) {
		struct dac_verdict a = dac_verdict(one, i), b = dac_verdict(two, dac_find(two, dac_oid(one, i)));
		check((a.reason == OK) == (b.reason == OK) && a.level == b.level);
		if (a.reason == OK)
			check_accepted(one, i);
	}
	dac_free(one);
	dac_free(two);
	arena_free(&world->arena);
	return 0;
}
