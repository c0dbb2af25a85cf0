/* A folder that somebody or something changed: it is refused with the file named, or what it answers is right. */
#include "groups.h"
#include "house.h"

#include "base/clock.h"
#include "base/file.h"
#include "ledger/proof.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EVENTS = 30, FILES = 24, LEAVES = 2 * EVENTS + 10, FLIPS = 500 };

/* What the ledger said before it was damaged. */
struct truth {
	struct house house;
	struct ledger_head head;
	struct bytes leaves[LEAVES];
	struct bytes checkpoint, fact, absence;
	uint8_t txids[LEAVES][OID_SIZE];
	bool is_tx[LEAVES];
	uint8_t fact_key[SPARSE_KEY_SIZE], absent_key[SPARSE_KEY_SIZE];
	struct {
		char name[256];
		struct bytes content;
	} files[FILES];
	size_t file_count, total;
	size_t refusals; /* of answers */
};

static void read_folder(struct truth *truth)
{
	DIR *dir = opendir(truth->house.dir);
	struct dirent *entry;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[PATH_SIZE];
		if (entry->d_name[0] == '.')
			continue;
		assert_true(truth->file_count < FILES);
		snprintf(truth->files[truth->file_count].name, 256, "%s", entry->d_name);
		expect_ok(path_join(path, truth->house.dir, entry->d_name));
		expect_ok(file_read(path, 64 << 20, &truth->files[truth->file_count].content));
		truth->total += truth->files[truth->file_count++].content.len;
	}
	closedir(dir);
}

static void write_folder(const struct truth *truth)
{
	DIR *dir = opendir(truth->house.dir);
	struct dirent *entry;
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	closedir(dir);
	for (size_t i = 0; i < truth->file_count; i++) {
		char path[PATH_SIZE];
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		expect_ok(path_join(path, truth->house.dir, truth->files[i].name));
		expect_ok(file_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &fd));
		expect_ok(write_all(fd.n, bytes_span(&truth->files[i].content)));
	}
}

static struct truth *truth_new(void)
{
	struct truth *truth = calloc(1, sizeof(*truth));
	struct house *house = &truth->house;
	uint8_t oid[OID_SIZE];
	assert_non_null(truth);
	house_new(house, NULL);
	house->options.segment_max = 6000;
	house->options.snapshot_every = 20;
	house_open(house);
	struct grant grant = world_grant(&house->w, OWNER, ACTOR, world_scope(&house->w, OWNER, "/data"));
	struct bytes_item link = world_sign_grant(&house->w, OWNER, &grant, oid);
	struct tx_grant body = {&link, 1};
	assert_int_equal(house_send_type(house, OWNER, TX_GRANT, &body), OK);
	fact_key(FACT_GRANT, SPAN_ARRAY(oid), truth->fact_key);
	fact_key(FACT_REVOCATION, SPAN_ARRAY(oid), truth->absent_key);
	for (uint32_t i = 0; i < EVENTS; i++)
		assert_int_equal(house_send(house, house_event(house, i)).code, OK);
	ledger_engine_head(house->engine, &truth->head);
	assert_true(truth->head.size <= LEAVES);
	for (uint64_t i = 0; i < truth->head.size; i++) {
		struct ledger_leaf leaf;
		struct transaction tx;
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		expect_ok(ledger_engine_leaf(house->engine, i, &truth->leaves[i]));
		expect_ok(ledger_leaf_decode(bytes_span(&truth->leaves[i]), &leaf));
		truth->is_tx[i] = leaf.kind == LEAF_TX;
		if (truth->is_tx[i])
			expect_ok(object_peek(KIND_TRANSACTION, leaf.tx, &arena, &tx, truth->txids[i]));
	}
	expect_ok(ledger_engine_checkpoint(house->engine, &truth->checkpoint));
	expect_ok(ledger_engine_fact_proof(house->engine, truth->fact_key, &truth->fact));
	expect_ok(ledger_engine_fact_proof(house->engine, truth->absent_key, &truth->absence));
	house_close(house);
	read_folder(truth);
	return truth;
}

static void truth_free(struct truth *truth)
{
	for (size_t i = 0; i < LEAVES; i++)
		bytes_free(&truth->leaves[i]);
	for (size_t i = 0; i < truth->file_count; i++)
		bytes_free(&truth->files[i].content);
	bytes_free(&truth->checkpoint);
	bytes_free(&truth->fact);
	bytes_free(&truth->absence);
	house_free(&truth->house);
	free(truth);
}

/* A refusal has one of these reasons and names a file of the folder. */
static void check_refusal(result refused, const char *what)
{
	static const char *const names[] = {"log", "state.snapshot", "tree", "index"};
	bool named = false;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		named |= strstr(failure_text(), names[i]) != NULL;
	bool typed = refused == LEDGER_DAMAGED || refused == JOURNAL_DAMAGED || refused == UNKNOWN_VERSION;
	if (!typed || !named)
		fail_msg("%s: %s: '%s' does not say which file is damaged", what, reason_name(refused), failure_text());
}

static void check_same(struct truth *truth, result got, struct bytes *bytes, const struct bytes *wanted, const char *what)
{
	truth->refusals += got != OK;
	if (got != OK)
		check_refusal(got, what);
	else if (!span_equal(bytes_span(bytes), bytes_span(wanted)))
		fail_msg("%s: another answer than before the damage", what);
	bytes_free(bytes);
}

static result count_row(void *arg, const struct ledger_row *row)
{
	size_t *count = arg;
	(void)row;
	++*count;
	return OK;
}

static void check_answers(struct truth *truth)
{
	struct ledger_engine *engine = truth->house.engine;
	struct bytes got = BYTES_EMPTY;
	struct ledger_head head;
	struct ledger_filter all = {0};
	size_t count = 0, txs = 0;
	ledger_engine_head(engine, &head);
	assert_memory_equal(&head, &truth->head, sizeof(head));
	check_same(truth, ledger_engine_checkpoint(engine, &got), &got, &truth->checkpoint, "checkpoint");
	check_same(truth, ledger_engine_fact_proof(engine, truth->fact_key, &got), &got, &truth->fact, "fact");
	check_same(truth, ledger_engine_fact_proof(engine, truth->absent_key, &got), &got, &truth->absence, "absence");
	for (uint64_t i = 0; i < head.size; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct ledger_proof proof;
		struct ledger_receipt receipt;
		check_same(truth, ledger_engine_leaf(engine, i, &got), &got, &truth->leaves[i], "leaf");
		result proved = ledger_engine_leaf_proof(engine, i, 0, &got);
		if (proved != OK)
			check_refusal(proved, "proof");
		else
			expect_ok(ledger_proof_open(bytes_span(&got), ledger_engine_log_key(engine), &arena, &proof));
		bytes_free(&got);
		txs += truth->is_tx[i];
		if (!truth->is_tx[i])
			continue;
		result found = ledger_engine_find(engine, truth->txids[i], &receipt);
		if (found != OK)
			check_refusal(found, "find");
		else
			assert_int_equal(receipt.index, i);
	}
	result walked = ledger_engine_each(engine, &all, count_row, &count);
	if (walked != OK)
		check_refusal(walked, "each");
	else
		assert_int_equal(count, txs);
}

/* A byte anywhere in the folder; `used`: one that is not zero, as the space that was only reserved is. */
static uint8_t *pick(struct truth *truth, uint64_t *random, bool used, size_t *out_file)
{
	for (;;) {
		*random ^= *random << 13;
		*random ^= *random >> 7;
		*random ^= *random << 17;
		size_t at = (size_t)(*random >> 8) % truth->total, file = 0;
		while (at >= truth->files[file].content.len)
			at -= truth->files[file++].content.len;
		*out_file = file;
		if (!used || truth->files[file].content.data[at])
			return &truth->files[file].content.data[at];
	}
}

static void one_flipped_bit(void **state)
{
	(void)state;
	struct truth *truth = truth_new();
	uint64_t random = 0x9e3779b97f4a7c15;
	size_t refused = 0, unaudited = 0;
	size_t flips = house_count(FLIPS, FLIPS / 5);
	for (size_t i = 0; i < flips; i++) {
		size_t file;
		uint8_t *byte = pick(truth, &random, i % 4 != 0, &file);
		uint8_t mask = (uint8_t)(1 << (random & 7));
		*byte ^= mask;
		write_folder(truth);
		*byte ^= mask;
		struct ledger_audit audit;
		result audited = ledger_engine_audit(&truth->house.options, AUDIT_HASHES, &audit);
		if (audited != OK)
			check_refusal(audited, "audit");
		else
			assert_memory_equal(&audit.head, &truth->head, sizeof(audit.head));
		unaudited += audited != OK;
		result opened = ledger_engine_open(&truth->house.options, &truth->house.engine, NULL);
		if (opened != OK) {
			check_refusal(opened, truth->files[file].name);
			refused++;
			continue;
		}
		check_answers(truth);
		house_close(&truth->house);
	}
	print_message("%zu of %zu refused at the opening, %zu audits, %zu answers refused, %zu bytes\n", refused, flips, unaudited, truth->refusals, truth->total);
	assert_true(refused < flips && refused + truth->refusals > 0 && unaudited > 0);
	truth_free(truth);
}

/* Found only after the opening: what was asked before is refused, and then the state is made again from the log. */
static void a_damaged_record_is_made_again(void **state)
{
	(void)state;
	struct truth *truth = truth_new();
	struct house *house = &truth->house;
	struct bytes *content = NULL, got = BYTES_EMPTY;
	write_folder(truth);
	for (size_t i = 0; i < truth->file_count; i++)
		if (strcmp(truth->files[i].name, "state.snapshot") == 0)
			content = &truth->files[i].content;
	assert_non_null(content);
	uint8_t *key = memmem(content->data, content->len, truth->fact_key, SPARSE_KEY_SIZE);
	assert_non_null(key);
	/* Its value, wherever the file holds it. */
	for (uint8_t *at = key; at; at = memmem(at, (size_t)(content->data + content->len - at), truth->fact_key, SPARSE_KEY_SIZE)) {
		at += SPARSE_KEY_SIZE;
		*at ^= 1;
	}
	write_folder(truth);
	house_open(house);
	assert_false(house->recovery.from_start);
	result answered;
	for (uint64_t begin = clock_monotonic_ns();;) {
		answered = ledger_engine_fact_proof(house->engine, truth->fact_key, &got);
		if (answered == OK || clock_monotonic_ns() - begin > UINT64_C(60000000000))
			break;
		check_refusal(answered, "fact");
	}
	expect_ok(answered);
	expect_span(bytes_span(&got), bytes_span(&truth->fact));
	bytes_free(&got);
	assert_int_equal(house_send(house, house_event(house, 78)).code, OK);
	house_close(house);
	house_open(house);
	assert_false(house->recovery.from_start);
	assert_int_equal(house->recovery.replayed, 0);
	expect_ok(ledger_engine_fact_proof(house->engine, truth->fact_key, &got));
	bytes_free(&got);
	truth_free(truth);
}

/* Each file missing, empty, and cut in half: the log and the keys are missed, the rest is made again. */
static void whole_files(void **state)
{
	(void)state;
	struct truth *truth = truth_new();
	for (size_t file = 0; file < truth->file_count; file++) {
		for (int how = 0; how < 3; how++) {
			char path[PATH_SIZE];
			const char *name = truth->files[file].name;
			write_folder(truth);
			expect_ok(path_join(path, truth->house.dir, name));
			if (how == 0)
				assert_int_equal(unlink(path), 0);
			else
				assert_int_equal(truncate(path, how == 1 ? 0 : (off_t)truth->files[file].content.len / 2), 0);
			bool is_truth = strncmp(name, "log", 3) == 0 && strcmp(name, "log.lock") != 0;
			result opened = ledger_engine_open(&truth->house.options, &truth->house.engine, NULL);
			if (opened == OK) {
				check_answers(truth);
				house_close(&truth->house);
			}
			/* Half of a segment that was preallocated may be all of what it holds. */
			if (!is_truth)
				expect_ok(opened);
			else if (how < 2)
				assert_int_not_equal(opened, OK);
		}
	}
	truth_free(truth);
}

/* Damage and a repair that was named: after it all is as it was. */
static void reindexing_repairs(void **state)
{
	(void)state;
	struct truth *truth = truth_new();
	for (size_t file = 0; file < truth->file_count; file++) {
		const char *name = truth->files[file].name;
		char path[PATH_SIZE];
		if (strncmp(name, "log", 3) == 0)
			continue;
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		write_folder(truth);
		expect_ok(path_join(path, truth->house.dir, name));
		expect_ok(file_open(path, O_WRONLY, 0, &fd));
		for (size_t at = 0; at < truth->files[file].content.len; at += 64)
			expect_ok(file_pwrite(fd.n, span_str("damage"), at));
		expect_ok(ledger_engine_reindex(&truth->house.options));
		house_open(&truth->house);
		assert_int_equal(truth->house.recovery.replayed, 0);
		check_answers(truth);
		house_close(&truth->house);
	}
	truth_free(truth);
}

/* An old copy of the log under a newer snapshot: whoever has seen the newer head would see a fork. */
static void an_old_log_is_refused(void **state)
{
	(void)state;
	struct truth *truth = truth_new();
	struct house *house = &truth->house;
	house_open(house);
	assert_int_equal(house_send(house, house_event(house, 77)).code, OK);
	house_close(house);
	char path[PATH_SIZE];
	struct bytes newer = BYTES_EMPTY;
	expect_ok(path_join(path, house->dir, "state.snapshot"));
	expect_ok(file_read(path, 1 << 20, &newer));
	write_folder(truth);
	expect_ok(file_write_atomic(path, bytes_span(&newer), 0600));
	bytes_free(&newer);
	expect(ledger_engine_open(&house->options, &house->engine, NULL), LEDGER_ROLLED_BACK);
	expect_ok(ledger_engine_reindex(&house->options));
	house_open(house);
	check_answers(truth);
	truth_free(truth);
}

int group_engine_damage(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_flipped_bit),
		cmocka_unit_test(a_damaged_record_is_made_again),
		cmocka_unit_test(whole_files),
		cmocka_unit_test(reindexing_repairs),
		cmocka_unit_test(an_old_log_is_refused),
	};
	return cmocka_run_group_tests_name("engine damage", tests, NULL, NULL);
}
