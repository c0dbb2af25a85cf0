/*
 * The policy decision at 100 and 10^4 policies, every check on, and what a table of 10^4 costs to load and to keep.
 * Policies have the seed's shape: two allowed communicators, depth, level. Then one policy of 10, 10^4 and 10^6 rules: half of
 * its communicators are restricted to an operation.
 *
 * Each decision is timed alone, with another subject and peer each time, and the cost of reading the clock (the
 * median of an empty measurement) is taken off. Floor: two look-ups, subject and peer, by plain hash and compare in
 * a table of the same names; for loading, the SHA-256 digests of the same policies, and both are the best tenth of
 * their runs, because other load only ever adds. Peers (OPA, Cedar) are not in
 * Debian and are not measured here.
 */
#include "bench.h"

#include "base/clock.h"
#include "crypto/hash.h"
#include "policy/schema.h"

#include <string.h>

enum { SAMPLES = 200000, BLOCK = 10000, PAIRS = 4096, LOADS = 41, NAME = 16, DOCUMENT_MEMORY = 256 * 1024 * 1024 };

static const uint8_t root[POLICY_ROT_ID_SIZE] = {1};

struct pair {
	char own[NAME], peer[NAME];
};

static struct pair pairs[PAIRS];
static double decided[SAMPLES], looked_up[SAMPLES], empty[SAMPLES];

/* A fixed start, so that every run asks the same questions. */
static uint64_t next_random(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* ---- Policies ------------------------------------------------------------------------------------------- */

static void name_of(size_t number, char out[static NAME])
{
	snprintf(out, NAME, "IRE-%06zu", number);
}

static struct bytes make_set(size_t count)
{
	CLEANUP(writer_free) struct writer w = writer_growing(64 * 1024 * 1024);
	CLEANUP(document_free) struct document document = {0};
	struct bytes set = BYTES_EMPTY;
	struct span text;
	for (size_t i = 0; i < count; i++) {
		char policy[256], own[NAME], first[NAME], second[NAME];
		name_of(i, own);
		name_of((i + 1) % count, first);
		name_of((i + 2) % count, second);
		snprintf(policy, sizeof(policy),
			"%c{\"enclave_id\":\"%s\",\"allowed_communicators\":[\"%s\",\"%s\"],\"max_dac_depth\":3,"
			"\"required_attestation_level\":\"Level-2\"}\n",
			i ? ',' : '[', own, first, second);
		writer_str(&w, policy);
	}
	writer_u8(&w, ']');
	BENCH_REQUIRE(writer_finish(&w, &text) == OK);
	BENCH_REQUIRE(document_parse("bench.json", text, DOCUMENT_MEMORY, &document) == OK);
	BENCH_REQUIRE(policy_compile(&document, &set) == OK);
	return set;
}

static void make_pairs(size_t count)
{
	for (size_t i = 0; i < PAIRS; i++) {
		size_t own = next_random() % count;
		name_of(own, pairs[i].own);
		name_of((own + 1 + next_random() % 2) % count, pairs[i].peer);
	}
}

/* ---- Floor ---------------------------------------------------------------------------------------------- */

struct plain_slot {
	uint64_t within;
	char name[NAME];
	bool used;
};

struct plain_table {
	struct plain_slot *slots;
	size_t mask;
};

static uint64_t plain_hash(uint64_t within, const char *name, size_t len)
{
	uint64_t words[2] = {0};
	memcpy(words, name, len);
	uint64_t hash = (words[0] ^ within * 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd;
	hash = (hash ^ hash >> 32 ^ words[1]) * 0xc4ceb9fe1a85ec53;
	return hash ^ hash >> 29;
}

static struct plain_slot *plain_find(const struct plain_table *table, uint64_t within, const char *name, size_t len)
{
	size_t at = plain_hash(within, name, len) & table->mask;
	while (table->slots[at].used && (table->slots[at].within != within || memcmp(table->slots[at].name, name, len) != 0))
		at = (at + 1) & table->mask;
	return &table->slots[at];
}

static void plain_put(const struct plain_table *table, uint64_t within, size_t number)
{
	char name[NAME];
	name_of(number, name);
	struct plain_slot *slot = plain_find(table, within, name, strlen(name));
	slot->used = true;
	slot->within = within;
	memcpy(slot->name, name, NAME);
}

/* Subjects are within 0, the peers of subject n within n + 1. */
static struct plain_table plain_new(size_t count)
{
	size_t slots = 8;
	while (slots < 6 * count)
		slots *= 2;
	struct plain_table table = {calloc(slots, sizeof(struct plain_slot)), slots - 1};
	BENCH_REQUIRE(table.slots);
	for (size_t i = 0; i < count; i++) {
		plain_put(&table, 0, i);
		plain_put(&table, i + 1, (i + 1) % count);
		plain_put(&table, i + 1, (i + 2) % count);
	}
	return table;
}

/* ---- Decisions ------------------------------------------------------------------------------------------ */

static double time_decision(const struct policy_table *table, const struct pair *pair)
{
	struct policy_decision decision;
	const struct policy_request request = {.subject_kind = SUBJECT_ENCLAVE,
		.state = STATE_RUNNING,
		.resource = RESOURCE_OPERATION,
		.direction = DIRECTION_SEND,
		.own = {span_str(pair->own), PROOF_ENDORSED, SPAN_ARRAY(root), CONFINEMENT_N, false},
		.peer = {span_str(pair->peer), PROOF_ENDORSED, SPAN_ARRAY(root), CONFINEMENT_N, false},
		.peer_level = 2,
		.evidence_time_ms = 1,
		.operation = span_str("push"),
		.now_ms = 1};
	uint64_t start = clock_monotonic_ns();
	result outcome = policy_decide(table, &request, &decision);
	uint64_t end = clock_monotonic_ns();
	BENCH_REQUIRE(outcome == OK && decision.allow);
	return (double)(end - start);
}

static double time_lookups(const struct plain_table *table, const struct pair *pair)
{
	size_t own_len = strlen(pair->own), peer_len = strlen(pair->peer);
	uint64_t start = clock_monotonic_ns();
	const struct plain_slot *own = plain_find(table, 0, pair->own, own_len);
	uint64_t number = own->used ? strtoul(own->name + 4, NULL, 10) : 0;
	const struct plain_slot *peer = plain_find(table, number + 1, pair->peer, peer_len);
	uint64_t end = clock_monotonic_ns();
	BENCH_REQUIRE(own->used && peer->used);
	return (double)(end - start);
}

static double time_nothing(void)
{
	uint64_t start = clock_monotonic_ns();
	return (double)(clock_monotonic_ns() - start);
}

static void row_of(const char *name, double value, const char *unit, double floor)
{
	bench_row(&(struct bench_row){.name = name, .value = value, .unit = unit, .floor = floor});
}

static void bench_decisions(size_t count, const char *median_name, const char *tail_name)
{
	size_t samples = bench_quick() ? SAMPLES / 20 : SAMPLES;
	struct bytes set = make_set(count);
	struct policy_table *table = NULL;
	struct plain_table plain = plain_new(count);
	BENCH_REQUIRE(policy_table_load(bytes_span(&set), &table) == OK);
	make_pairs(count);
	/* In turns, so that other load touches all alike; in blocks, so that they do not share the caches. */
	for (size_t from = 0; from < samples; from += BLOCK) {
		for (size_t i = from; i < from + BLOCK; i++)
			decided[i] = time_decision(table, &pairs[next_random() % PAIRS]);
		for (size_t i = from; i < from + BLOCK; i++)
			looked_up[i] = time_lookups(&plain, &pairs[next_random() % PAIRS]);
		for (size_t i = from; i < from + BLOCK; i++)
			empty[i] = time_nothing();
	}
	double clock = bench_quantile(empty, samples, 0.5);
	row_of(median_name, bench_quantile(decided, samples, 0.5) - clock, "ns", bench_quantile(looked_up, samples, 0.5) - clock);
	row_of(tail_name, bench_quantile(decided, samples, 0.99) - clock, "ns", bench_quantile(looked_up, samples, 0.99) - clock);
	free(plain.slots);
	policy_table_free(table);
	bytes_free(&set);
}

static double time_digests(const struct policy_table *table)
{
	uint64_t start = clock_monotonic_ns();
	for (size_t i = 0; i < policy_count(table); i++) {
		struct policy_view view;
		uint8_t digest[POLICY_DIGEST_SIZE];
		policy_at(table, i, &view);
		BENCH_REQUIRE(policy_digest(view.compiled, digest) == OK);
	}
	return (double)(clock_monotonic_ns() - start) / 1e6;
}

/* ---- One policy of many rules --------------------------------------------------------------------------- */

static struct bytes make_rules(size_t count)
{
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024 * 1024);
	CLEANUP(document_free) struct document document = {0};
	struct bytes set = BYTES_EMPTY;
	struct span text;
	writer_str(&w, "enclave_id: IRE-000000\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\nallowed_communicators:\n");
	/* An operation is a rule of its own: of three rules two are communicators. */
	for (size_t i = 0; i < count * 2 / 3; i++) {
		char line[96], peer[NAME];
		name_of(i + 1, peer);
		snprintf(line, sizeof(line), i % 2 ? "- {id: %s, operations: [push]}\n" : "- %s\n", peer);
		writer_str(&w, line);
	}
	BENCH_REQUIRE(writer_finish(&w, &text) == OK);
	BENCH_REQUIRE(document_parse("bench.yaml", text, 4u * DOCUMENT_MEMORY, &document) == OK);
	BENCH_REQUIRE(policy_compile(&document, &set) == OK);
	return set;
}

static struct plain_table plain_rules(size_t peers)
{
	size_t slots = 8;
	while (slots < 2 * (peers + 1))
		slots *= 2;
	struct plain_table table = {calloc(slots, sizeof(struct plain_slot)), slots - 1};
	BENCH_REQUIRE(table.slots);
	plain_put(&table, 0, 0);
	for (size_t i = 0; i < peers; i++)
		plain_put(&table, 1, i + 1);
	return table;
}

/* Load: the best tenth of a few runs, and the digest of the same bytes as the floor. */
static void bench_rules_load(struct span set, size_t runs, const char *load_name, const char *memory_name)
{
	double loads[LOADS], digests[LOADS], megabytes = 0;
	for (size_t i = 0; i < runs; i++) {
		struct policy_table *table = NULL;
		uint64_t start = clock_monotonic_ns();
		BENCH_REQUIRE(policy_table_load(set, &table) == OK);
		loads[i] = (double)(clock_monotonic_ns() - start) / 1e6;
		digests[i] = time_digests(table);
		megabytes = (double)policy_table_memory(table) / 1e6;
		policy_table_free(table);
	}
	row_of(load_name, bench_quantile(loads, runs, 0.1), "ms", bench_quantile(digests, runs, 0.1));
	row_of(memory_name, megabytes, "MB", (double)set.len / 1e6);
}

static void bench_rules(size_t count, const char *median_name, const char *tail_name, const char *load_name, const char *memory_name)
{
	size_t samples = bench_quick() ? SAMPLES / 20 : SAMPLES, peers = count * 2 / 3;
	struct bytes set = make_rules(count);
	struct policy_table *table = NULL;
	struct plain_table plain = plain_rules(peers);
	BENCH_REQUIRE(policy_table_load(bytes_span(&set), &table) == OK);
	for (size_t i = 0; i < PAIRS; i++) {
		name_of(0, pairs[i].own);
		name_of(1 + next_random() % peers, pairs[i].peer);
	}
	for (size_t from = 0; from < samples; from += BLOCK) {
		for (size_t i = from; i < from + BLOCK; i++)
			decided[i] = time_decision(table, &pairs[next_random() % PAIRS]);
		for (size_t i = from; i < from + BLOCK; i++)
			looked_up[i] = time_lookups(&plain, &pairs[next_random() % PAIRS]);
		for (size_t i = from; i < from + BLOCK; i++)
			empty[i] = time_nothing();
	}
	double clock = bench_quantile(empty, samples, 0.5);
	row_of(median_name, bench_quantile(decided, samples, 0.5) - clock, "ns", bench_quantile(looked_up, samples, 0.5) - clock);
	row_of(tail_name, bench_quantile(decided, samples, 0.99) - clock, "ns", bench_quantile(looked_up, samples, 0.99) - clock);
	free(plain.slots);
	policy_table_free(table);
	if (load_name)
		bench_rules_load(bytes_span(&set), bench_quick() ? 2 : 11, load_name, memory_name);
	bytes_free(&set);
}

/* ---- Loading -------------------------------------------------------------------------------------------- */

static void bench_load(size_t count)
{
	struct bytes set = make_set(count);
	double loads[LOADS], digests[LOADS], megabytes = 0;
	for (size_t i = 0; i < LOADS; i++) {
		struct policy_table *table = NULL;
		uint64_t start = clock_monotonic_ns();
		BENCH_REQUIRE(policy_table_load(bytes_span(&set), &table) == OK);
		loads[i] = (double)(clock_monotonic_ns() - start) / 1e6;
		digests[i] = time_digests(table);
		megabytes = (double)policy_table_memory(table) / 1e6;
		policy_table_free(table);
	}
	row_of("policy load 10^4", bench_quantile(loads, LOADS, 0.1), "ms", bench_quantile(digests, LOADS, 0.1));
	row_of("policy table 10^4", megabytes, "MB", (double)set.len / 1e6);
	bytes_free(&set);
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "policy");
	bench_decisions(100, "policy decision p50, 100 policies", "policy decision p99, 100 policies");
	bench_decisions(10000, "policy decision p50, 10^4 policies", "policy decision p99, 10^4 policies");
	bench_load(10000);
	bench_note("floor: two hash look-ups of the same names; SHA-256 of the same policies; their bytes");
	bench_rules(10, "policy decision p50, 10 rules", "policy decision p99, 10 rules", NULL, NULL);
	bench_rules(10000, "policy decision p50, 10^4 rules", "policy decision p99, 10^4 rules", NULL, NULL);
	bench_rules(1000000, "policy decision p50, 10^6 rules", "policy decision p99, 10^6 rules", "policy load 10^6 rules", "policy table 10^6 rules");
	bench_note("no peer is measured here: OPA and Cedar are not Debian packages");
	bench_note("for reference, measured elsewhere on another machine at 100 / 10^4 policies: OPA 11.9 / 14.2 us, Cedar 2.4 / 3.9 us (form per enclave: 11 ms), Casbin 3.6 ms");
	bench_close();
	return 0;
}
