/* The embedded engine on a real folder: what is sent, what is answered, what is there after the next opening. */
#include "groups.h"
#include "house.h"

#include "base/file.h"
#include "ledger/proof.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EVENTS = 40 };

static void fill(struct house *house, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct ledger_receipt receipt = house_send(house, house_event(house, first + i));
		assert_int_equal(receipt.code, OK);
		assert_true(receipt.on_ledger);
		house->w.time += 10;
	}
}

/* Every leaf is in the tree under the checkpoint, and the checkpoint is signed. */
static void check_all(struct house *house)
{
	struct ledger_engine *engine = house->engine;
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	for (uint64_t index = 0; index < head.size; index++) {
		CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct ledger_proof proof;
		expect_ok(ledger_engine_leaf_proof(engine, index, 0, &file));
		expect_ok(ledger_proof_open(bytes_span(&file), ledger_engine_log_key(engine), &arena, &proof));
		assert_int_equal(proof.index, index);
		assert_int_equal(proof.checkpoint.size, head.size);
	}
}

static void commits_and_answers(void **state)
{
	(void)state;
	struct house house;
	struct ledger_head head;
	house_new(&house, NULL);
	house_open(&house);
	assert_false(house.recovery.from_start && house.recovery.replayed);
	ledger_engine_head(house.engine, &head);
	assert_int_equal(head.size, 2); /* configuration and TAIL */
	fill(&house, 0, EVENTS);
	ledger_engine_head(house.engine, &head);
	assert_int_equal(head.size, 2 + 2 * EVENTS);
	assert_int_equal(head.height, 1 + EVENTS);
	check_all(&house);
	house_free(&house);
}

static void the_next_opening_has_it_all(void **state)
{
	(void)state;
	struct house house;
	struct ledger_head before, after;
	house_new(&house, NULL);
	house_open(&house);
	fill(&house, 0, EVENTS);
	ledger_engine_head(house.engine, &before);
	for (int i = 0; i < 2; i++) {
		house_close(&house);
		house_open(&house);
		assert_int_equal(house.recovery.replayed, 0);
		assert_false(house.recovery.from_start);
		assert_false(house.recovery.tree_made);
		assert_string_equal(house.recovery.text, "");
		ledger_engine_head(house.engine, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		check_all(&house);
	}
	house_free(&house);
}

static void copy_folder(const char *from, const char *to)
{
	char command[256];
	snprintf(command, sizeof(command), "cp -a %s/. %s", from, to);
	assert_int_equal(system(command), 0);
}

/* A folder as a killed process leaves it: the snapshot is old, the head slot may be. */
static void a_killed_one_replays_its_tail(void **state)
{
	(void)state;
	struct house house;
	struct ledger_head before, after;
	char copy[] = "/tmp/troth-ledger-XXXXXX";
	assert_non_null(mkdtemp(copy));
	house_new(&house, NULL);
	house_open(&house);
	fill(&house, 0, EVENTS);
	house_close(&house);
	house_open(&house);
	fill(&house, EVENTS, 90);
	ledger_engine_head(house.engine, &before);
	copy_folder(house.dir, copy);
	house_close(&house);
	house.options.dir = copy;
	house_open(&house);
	assert_int_equal(house.recovery.replayed, 180);
	assert_false(house.recovery.from_start);
	ledger_engine_head(house.engine, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	check_all(&house);
	house_remove_folder(copy);
	house_free(&house);
}

static void the_same_again_has_the_same_receipt(void **state)
{
	(void)state;
	struct house house;
	house_new(&house, NULL);
	house_open(&house);
	struct span tx = house_event(&house, 1);
	struct ledger_receipt first = house_send(&house, tx);
	for (int i = 0; i < 3; i++) {
		struct ledger_receipt again = house_send(&house, tx);
		assert_true(again.on_ledger);
		assert_int_equal(again.index, first.index);
		assert_int_equal(again.size, first.size);
		assert_int_equal(again.time, first.time);
		assert_int_equal(again.code, OK);
		if (i == 0) {
			house_close(&house);
			house_open(&house);
		} else {
			/* Long after its nonce was forgotten. */
			house.w.time += 3600 * 1000;
			fill(&house, 100, 1);
		}
	}
	/* Another one that was never sent is expired, and stays so. */
	house.w.time -= 120 * 1000;
	struct span late = house_event(&house, 2);
	house.w.time += 120 * 1000;
	struct ledger_receipt receipt = house_send(&house, late);
	assert_int_equal(receipt.code, TX_EXPIRED);
	assert_false(receipt.on_ledger);
	house_free(&house);
}

static void what_does_not_count_leaves_no_trace(void **state)
{
	(void)state;
	struct house house;
	struct ledger_head before, after;
	house_new(&house, NULL);
	house_open(&house);
	fill(&house, 0, 3);
	ledger_engine_head(house.engine, &before);
	house.w.time += 3600 * 1000; /* nonces are due, and nothing may happen to them without a batch */
	struct span tx = house_event(&house, 9);
	uint8_t *bytes = (uint8_t *)(uintptr_t)tx.data;
	bytes[tx.len - 1] ^= 1;
	assert_int_equal(house_send(&house, tx).code, BAD_SIGNATURE);
	assert_int_equal(house_send(&house, span_str("no transaction")).code, TX_MALFORMED);
	ledger_engine_head(house.engine, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	bytes[tx.len - 1] ^= 1;
	assert_int_equal(house_send(&house, tx).code, OK);
	check_all(&house);
	house_close(&house);
	house_open(&house);
	house_free(&house);
}

static void nonces_are_forgotten(void **state)
{
	(void)state;
	struct house house;
	struct ledger_statistics s;
	house_new(&house, NULL);
	house_open(&house);
	for (int round = 0; round < 4; round++) {
		fill(&house, 0, 20);
		house.w.time += 61 * 1000;
		fill(&house, 0, 1);
		ledger_engine_statistics(house.engine, &s);
		assert_true(s.facts <= 4);
	}
	house_free(&house);
}

static void proves_facts_and_their_absence(void **state)
{
	(void)state;
	struct house house;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ledger_proof proof;
	uint8_t oid[OID_SIZE], key[SPARSE_KEY_SIZE];
	house_new(&house, NULL);
	house_open(&house);
	struct grant grant = world_grant(&house.w, OWNER, ACTOR, world_scope(&house.w, OWNER, "/data"));
	struct bytes_item link = world_sign_grant(&house.w, OWNER, &grant, oid);
	struct tx_grant body = {&link, 1};
	assert_int_equal(house_send_type(&house, OWNER, TX_GRANT, &body), OK);
	fact_key(FACT_GRANT, SPAN_ARRAY(oid), key);
	expect_ok(ledger_engine_fact_proof(house.engine, key, &file));
	expect_ok(ledger_proof_open(bytes_span(&file), ledger_engine_log_key(house.engine), &arena, &proof));
	assert_int_equal(proof.kind, PROOF_FACT);
	assert_true(proof.value.len > 0);
	fact_key(FACT_REVOCATION, SPAN_ARRAY(oid), key);
	bytes_free(&file);
	expect_ok(ledger_engine_fact_proof(house.engine, key, &file));
	expect_ok(ledger_proof_open(bytes_span(&file), ledger_engine_log_key(house.engine), &arena, &proof));
	assert_int_equal(proof.value.len, 0);
	/* Revoked: the next decision and the next proof say so. */
	const struct bytes_item links[] = {link};
	struct access_question question = {.operation = 0, .scope = grant.scope, .links = links, .link_count = 1};
	struct access_decision decision;
	memcpy(question.actor, house.w.addresses[ACTOR], ADDRESS_SIZE);
	expect_ok(ledger_engine_decide(house.engine, &question, &decision, NULL));
	assert_int_equal(decision.code, OK);
	struct tx_revoke revoke = {&link, 1, {0}};
	memcpy(revoke.target, oid, OID_SIZE);
	assert_int_equal(house_send_type(&house, OWNER, TX_REVOKE, &revoke), OK);
	expect_ok(ledger_engine_decide(house.engine, &question, &decision, NULL));
	assert_int_equal(decision.code, GRANT_REVOKED);
	bytes_free(&file);
	expect_ok(ledger_engine_fact_proof(house.engine, key, &file));
	expect_ok(ledger_proof_open(bytes_span(&file), ledger_engine_log_key(house.engine), &arena, &proof));
	assert_true(proof.value.len > 0);
	/* Any flipped bit of a proof file is noticed; one in the key makes it a proof about another key, which has no fact. */
	for (size_t i = 0; i < file.len; i++) {
		CLEANUP(arena_free) struct arena room = arena_of(1 << 20);
		struct ledger_proof ignored;
		file.data[i] ^= 1;
		if (ledger_proof_open(bytes_span(&file), ledger_engine_log_key(house.engine), &room, &ignored) == OK)
			assert_true(memcmp(ignored.key, key, sizeof(key)) != 0 && ignored.value.len == 0);
		file.data[i] ^= 1;
	}
	house_free(&house);
}

static void heads_of_before(void **state)
{
	(void)state;
	struct house house;
	struct merkle_proof path;
	struct merkle_hash roots[64];
	uint64_t size, sizes[64];
	house_new(&house, NULL);
	house_open(&house);
	for (size_t i = 0; i < 30; i++) {
		CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
		struct checkpoint checkpoint;
		fill(&house, (uint32_t)i, 1);
		expect_ok(ledger_engine_checkpoint(house.engine, &note));
		expect_ok(checkpoint_open(bytes_span(&note), ledger_engine_log_key(house.engine), &checkpoint, NULL));
		sizes[i] = checkpoint.size;
		roots[i] = checkpoint.root;
	}
	for (size_t i = 0; i < 30; i++) {
		CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
		struct checkpoint checkpoint;
		expect_ok(ledger_engine_checkpoint_at(house.engine, sizes[i], &note));
		expect_ok(checkpoint_open(bytes_span(&note), ledger_engine_log_key(house.engine), &checkpoint, NULL));
		assert_memory_equal(&checkpoint.root, &roots[i], sizeof(roots[i]));
		expect(ledger_engine_checkpoint_at(house.engine, sizes[i] - 1, &note), NOT_FOUND);
		for (size_t k = i; k < 30; k++) {
			expect_ok(ledger_engine_consistency(house.engine, sizes[i], sizes[k], &path));
			expect_ok(merkle_verify_consistency(sizes[i], &roots[i], sizes[k], &roots[k], &path));
		}
		expect_ok(ledger_engine_prove(house.engine, 1, sizes[i], &path, &size));
		assert_int_equal(size, sizes[i]);
	}
	expect(ledger_engine_prove(house.engine, sizes[29], 0, &path, &size), NOT_FOUND);
	expect(ledger_engine_consistency(house.engine, 1, sizes[29] + 1, &path), NOT_FOUND);
	CLEANUP(bytes_free) struct bytes none = BYTES_EMPTY;
	expect(ledger_engine_leaf(house.engine, sizes[29], &none), NOT_FOUND);
	house_free(&house);
}

static void expect_checkpoint(struct house *house, const char *end, bool with)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	expect_ok(ledger_engine_checkpoint(house->engine, &note));
	size_t len = strlen(end);
	assert_true(note.len > len);
	assert_int_equal(memcmp(note.data + note.len - len, end, len) == 0, with);
}

/* What witnesses said is there again, with that checkpoint and no other. */
static void cosignatures_survive(void **state)
{
	(void)state;
	static const char first[] = "\u2014 witness.example one\n", second[] = "\u2014 witness.example two\n";
	struct house house;
	struct ledger_head head;
	char path[PATH_SIZE];
	struct bytes file = BYTES_EMPTY;
	house_new(&house, NULL);
	house_open(&house);
	fill(&house, 1, 1);
	ledger_engine_head(house.engine, &head);
	expect(ledger_engine_add_cosignatures(house.engine, head.size - 1, span_str(first)), NOT_FOUND);
	expect_ok(ledger_engine_add_cosignatures(house.engine, head.size, span_str(first)));
	expect_ok(ledger_engine_add_cosignatures(house.engine, head.size, span_str(second)));
	house_close(&house);
	house_open(&house);
	expect_checkpoint(&house, "\u2014 witness.example one\n\u2014 witness.example two\n", true);
	house_close(&house);
	/* A damaged file says nothing. */
	expect_ok(path_join(path, house.dir, "cosignatures"));
	expect_ok(file_read(path, 1 << 16, &file));
	file.data[file.len - 10] ^= 1;
	expect_ok(file_write_atomic(path, bytes_span(&file), 0600));
	house_open(&house);
	expect_checkpoint(&house, second, false);
	house_close(&house);
	file.data[file.len - 10] ^= 1;
	expect_ok(file_write_atomic(path, bytes_span(&file), 0600));
	house_open(&house);
	expect_checkpoint(&house, second, true);
	fill(&house, 2, 1);
	expect_checkpoint(&house, second, false);
	expect(ledger_engine_add_cosignatures(house.engine, head.size, span_str(first)), NOT_FOUND);
	house_close(&house);
	house_open(&house);
	expect_checkpoint(&house, second, false);
	bytes_free(&file);
	house_free(&house);
}

struct visited {
	size_t count;
	uint64_t last;
};

static result note_row(void *arg, const struct ledger_row *row)
{
	struct visited *visited = arg;
	assert_true(visited->count == 0 || row->index > visited->last);
	assert_int_equal(row->leaf->kind, LEAF_TX);
	visited->last = row->index;
	visited->count++;
	return OK;
}

static size_t count_rows(struct house *house, struct ledger_filter filter)
{
	struct visited visited = {0};
	expect_ok(ledger_engine_each(house->engine, &filter, note_row, &visited));
	return visited.count;
}

static void goes_through_what_was_sent(void **state)
{
	(void)state;
	struct house house;
	house_new(&house, NULL);
	house_open(&house);
	uint64_t begin = house.w.time;
	fill(&house, 0, 300);
	assert_int_equal(count_rows(&house, (struct ledger_filter){0}), 301);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.type = TX_EVENT}), 300);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.type = TX_CONFIG}), 1);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.sender = house.w.addresses[PROCESSOR]}), 300);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.sender = house.w.addresses[STRANGER]}), 0);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.limit = 7}), 7);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.from = 2 + 2 * 299}), 1);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.since_ms = begin + 2990}), 1);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.until_ms = begin, .type = TX_EVENT}), 1);
	assert_int_equal(count_rows(&house, (struct ledger_filter){.only_ok = true}), 301);
	/* Beside the one that writes. */
	struct house reader = house;
	reader.options.read_only = true;
	house_open(&reader);
	assert_int_equal(count_rows(&reader, (struct ledger_filter){.type = TX_EVENT}), 300);
	struct ledger_receipt receipt;
	expect(ledger_engine_submit(reader.engine, house_event(&house, 1), &receipt), BAD_VALUE);
	house_close(&reader);
	house_free(&house);
}

static void one_folder_one_program(void **state)
{
	(void)state;
	struct house house;
	struct ledger_engine *second;
	house_new(&house, NULL);
	house_open(&house);
	expect(ledger_engine_open(&house.options, &second, NULL), BUSY);
	expect(ledger_engine_reindex(&house.options), BUSY);
	house_close(&house);
	struct ledger_engine_options nowhere = {.dir = "/tmp"};
	expect(ledger_engine_open(&nowhere, &second, NULL), NOT_FOUND);
	house_free(&house);
}

static void audits_and_reindexes(void **state)
{
	(void)state;
	struct house house;
	struct ledger_audit audit;
	struct ledger_head before, after;
	house_new(&house, NULL);
	house_open(&house);
	fill(&house, 0, 50);
	ledger_engine_head(house.engine, &before);
	expect_ok(ledger_engine_audit(&house.options, AUDIT_EVERYTHING, &audit)); /* in use */
	assert_int_equal(audit.size, before.size);
	house_close(&house);
	expect_ok(ledger_engine_audit(&house.options, AUDIT_HASHES, &audit));
	assert_int_equal(audit.transactions, 51);
	assert_memory_equal(&audit.head, &before, sizeof(before));
	expect_ok(ledger_engine_reindex(&house.options));
	house_open(&house);
	assert_int_equal(house.recovery.replayed, 0);
	ledger_engine_head(house.engine, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	check_all(&house);
	house_free(&house);
}

/* ---- Many at once ---------------------------------------------------------------------------------- */

enum { THREADS = 8, EACH = 25 };

struct sender {
	struct house *house;
	struct span txs[EACH];
	struct ledger_receipt receipts[EACH];
	result failed;
};

static void *send_all(void *arg)
{
	struct sender *sender = arg;
	for (size_t i = 0; i < EACH && sender->failed == OK; i++)
		sender->failed = ledger_engine_submit(sender->house->engine, sender->txs[i], &sender->receipts[i]);
	return NULL;
}

static const char *read_some(struct house *house)
{
	for (size_t i = 0; i < 60; i++) {
		CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct ledger_proof proof;
		struct merkle_proof path;
		struct ledger_statistics s;
		struct ledger_head head;
		uint8_t key[SPARSE_KEY_SIZE] = {(uint8_t)i};
		ledger_engine_head(house->engine, &head);
		if (ledger_engine_fact_proof(house->engine, key, &file) != OK ||
			ledger_proof_open(bytes_span(&file), ledger_engine_log_key(house->engine), &arena, &proof) != OK)
			return "a proof of a fact";
		if (ledger_engine_consistency(house->engine, 2, head.size, &path) != OK)
			return "consistency";
		bytes_free(&file);
		if (ledger_engine_leaf_proof(house->engine, head.size - 1, head.size, &file) != OK ||
			ledger_proof_open(bytes_span(&file), ledger_engine_log_key(house->engine), &arena, &proof) != OK)
			return "a proof of a leaf";
		ledger_engine_statistics(house->engine, &s);
	}
	return NULL;
}

struct reading {
	struct house *house;
	const char *wrong;
};

static void *read_all(void *arg)
{
	struct reading *reading = arg;
	reading->wrong = read_some(reading->house);
	return NULL;
}

static void many_threads_at_once(void **state)
{
	(void)state;
	struct house house;
	struct sender senders[THREADS] = {0};
	pthread_t threads[THREADS], reader;
	struct reading reading = {.house = &house};
	house_new(&house, NULL);
	house.options.snapshot_every = 50;
	house_open(&house);
	for (size_t t = 0; t < THREADS; t++) {
		senders[t].house = &house;
		for (size_t i = 0; i < EACH; i++)
			senders[t].txs[i] = house_event(&house, (uint32_t)(t * EACH + i));
	}
	for (size_t t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, send_all, &senders[t]), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_all, &reading), 0);
	for (size_t t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	pthread_join(reader, NULL);
	if (reading.wrong)
		fail_msg("%s could not be had beside others", reading.wrong);
	for (size_t t = 0; t < THREADS; t++) {
		expect_ok(senders[t].failed);
		for (size_t i = 0; i < EACH; i++) {
			CLEANUP(bytes_free) struct bytes leaf = BYTES_EMPTY;
			struct ledger_leaf decoded;
			assert_true(senders[t].receipts[i].on_ledger);
			expect_ok(ledger_engine_leaf(house.engine, senders[t].receipts[i].index, &leaf));
			expect_ok(ledger_leaf_decode(bytes_span(&leaf), &decoded));
			expect_span(decoded.tx, senders[t].txs[i]);
		}
	}
	check_all(&house);
	house_free(&house);
}

struct counter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	size_t left, good, same;
};

static void count_done(void *arg, result failed, const char *text, const struct ledger_receipt *receipt)
{
	struct counter *counter = arg;
	(void)text;
	pthread_mutex_lock(&counter->lock);
	counter->good += failed == OK && receipt->on_ledger && receipt->code == OK;
	if (--counter->left == 0)
		pthread_cond_signal(&counter->cond);
	pthread_mutex_unlock(&counter->lock);
}

static void without_waiting(void **state)
{
	(void)state;
	struct house house;
	struct counter counter = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .left = 2 * 200};
	struct ledger_statistics s;
	struct span txs[200];
	house_new(&house, NULL);
	house_open(&house);
	for (uint32_t i = 0; i < 200; i++)
		txs[i] = house_event(&house, i);
	/* Each twice: the second is answered with the first one's receipt. */
	for (uint32_t i = 0; i < 400; i++)
		expect_ok(ledger_engine_submit_async(house.engine, txs[i / 2], count_done, &counter));
	pthread_mutex_lock(&counter.lock);
	while (counter.left)
		pthread_cond_wait(&counter.cond, &counter.lock);
	pthread_mutex_unlock(&counter.lock);
	assert_int_equal(counter.good, 400);
	ledger_engine_statistics(house.engine, &s);
	assert_int_equal(s.counted, 200);
	check_all(&house);
	house_free(&house);
}

int group_engine(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_and_answers),
		cmocka_unit_test(the_next_opening_has_it_all),
		cmocka_unit_test(a_killed_one_replays_its_tail),
		cmocka_unit_test(the_same_again_has_the_same_receipt),
		cmocka_unit_test(what_does_not_count_leaves_no_trace),
		cmocka_unit_test(nonces_are_forgotten),
		cmocka_unit_test(proves_facts_and_their_absence),
		cmocka_unit_test(heads_of_before),
		cmocka_unit_test(cosignatures_survive),
		cmocka_unit_test(goes_through_what_was_sent),
		cmocka_unit_test(one_folder_one_program),
		cmocka_unit_test(audits_and_reindexes),
		cmocka_unit_test(many_threads_at_once),
		cmocka_unit_test(without_waiting),
	};
	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
