/* Acknowledged, so present; the head never regresses: under every crash and every failing call of a ledger's life. */
#include "../store/disk.h"
#include "groups.h"
#include "house.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SENT_MAX = 64, SEEDS = 4 };

/* What was acknowledged, and when in terms of the disk's operations. */
struct sent {
	struct span tx;
	struct ledger_receipt receipt;
	struct ledger_head head;
	size_t op_count;
};

struct life {
	struct house house;
	struct disk disk;
	struct sent sent[SENT_MAX];
	size_t count;
	size_t born; /* operations when init returned */
};

static void life_options(struct house *house)
{
	house->options.segment_max = 3000; /* a few batches */
	house->options.snapshot_every = 16;
}

static struct life *life_new(void)
{
	struct life *life = calloc(1, sizeof(*life));
	assert_non_null(life);
	disk_init(&life->disk);
	house_new(&life->house, &life->disk.io);
	life_options(&life->house);
	life->born = life->disk.op_count;
	return life;
}

static void life_free(struct life *life)
{
	house_free(&life->house);
	disk_free(&life->disk);
	free(life);
}

static void live(struct life *life, size_t count)
{
	struct house *house = &life->house;
	for (size_t i = 0; i < count; i++) {
		struct sent *sent = &life->sent[life->count++];
		sent->tx = house_event(house, (uint32_t)life->count);
		expect_ok(ledger_engine_submit(house->engine, sent->tx, &sent->receipt));
		assert_int_equal(sent->receipt.code, OK);
		ledger_engine_head(house->engine, &sent->head);
		sent->op_count = life->disk.op_count;
		house->w.time += 10;
	}
}

/*
 * What stands in a ledger that was opened again: all that was acknowledged, under the heads that were said. `same_life`: it has
 * lived no other life since, so what was on its way is there as it was, or not at all.
 */
static void check_present(struct ledger_engine *engine, const struct life *life, size_t op_count, bool same_life)
{
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	for (size_t i = 0; i < life->count; i++) {
		const struct sent *sent = &life->sent[i];
		if (sent->head.size == head.size && (same_life || sent->op_count <= op_count))
			assert_memory_equal(&sent->head, &head, sizeof(head));
		if (sent->op_count > op_count)
			continue;
		CLEANUP(bytes_free) struct bytes leaf = BYTES_EMPTY;
		struct ledger_receipt receipt;
		struct ledger_leaf decoded;
		struct merkle_proof path;
		assert_true(head.size >= sent->head.size);
		expect_ok(ledger_engine_find(engine, sent->receipt.txid, &receipt));
		assert_int_equal(receipt.index, sent->receipt.index);
		expect_ok(ledger_engine_leaf(engine, receipt.index, &leaf));
		expect_ok(ledger_leaf_decode(bytes_span(&leaf), &decoded));
		expect_span(decoded.tx, sent->tx);
		expect_ok(ledger_engine_consistency(engine, sent->head.size, head.size, &path));
		expect_ok(merkle_verify_consistency(sent->head.size, &sent->head.root, head.size, &head.root, &path));
	}
}

/* It goes on: another transaction, and another opening. */
static void check_goes_on(const struct ledger_engine_options *options, struct ledger_engine *engine, const struct life *life, size_t op_count,
	struct span tx)
{
	struct ledger_receipt receipt;
	expect_ok(ledger_engine_submit(engine, tx, &receipt));
	assert_int_equal(receipt.code, OK);
	ledger_engine_close(engine);
	expect_ok(ledger_engine_open(options, &engine, NULL));
	check_present(engine, life, op_count, false);
	ledger_engine_close(engine);
}

static void check_crash(struct life *life, size_t op_count, uint64_t seed, struct span extra)
{
	struct ledger_engine_options options = life->house.options;
	struct ledger_engine *engine;
	struct disk *disk = calloc(1, sizeof(*disk));
	assert_non_null(disk);
	disk_crash(&life->disk, op_count, seed, disk);
	options.io = &disk->io;
	result opened = ledger_engine_open(&options, &engine, NULL);
	if (op_count >= life->born)
		expect_ok(opened);
	else if (opened != OK)
		expect(opened, NOT_FOUND);
	if (opened == OK) {
		check_present(engine, life, op_count, true);
		check_goes_on(&options, engine, life, op_count, extra);
	}
	assert_int_equal(disk_open_count(disk), 0);
	disk_free(disk);
	free(disk);
}

static void every_crash_of_a_life(void **state)
{
	(void)state;
	struct life *life = life_new();
	house_open(&life->house);
	live(life, 10);
	house_close(&life->house);
	house_open(&life->house);
	live(life, 7);
	struct span extra = house_event(&life->house, 1000);
	size_t seeds = house_count(SEEDS, 1);
	for (size_t op_count = 0; op_count <= life->disk.op_count; op_count++)
		for (uint64_t seed = op_count % SEEDS; seed < op_count % SEEDS + seeds; seed++)
			check_crash(life, op_count, seed % SEEDS < 2 ? seed % SEEDS : op_count * SEEDS + seed, extra);
	life_free(life);
}

static result genesis_again(void *arg, const struct note_key *log, uint64_t now_ms, struct bytes *out_tx)
{
	const enum person signers[] = {MEMBER_1, MEMBER_2};
	struct world *w = arg;
	(void)now_ms;
	memcpy(w->log_key, log->public_key, sizeof(w->log_key));
	struct tx_config body = {world_config(w, 0, signers, 2)};
	return bytes_copy(world_tx(w, MEMBER_1, TX_CONFIG, &body), out_tx);
}

static void an_unfinished_init_is_begun_again(void **state)
{
	(void)state;
	struct life *life = life_new();
	for (size_t op_count = 0; op_count <= life->born; op_count++) {
		for (uint64_t seed = 0; seed < 3; seed++) {
			struct ledger_engine_options options = life->house.options;
			struct ledger_engine *engine;
			struct disk *disk = calloc(1, sizeof(*disk));
			assert_non_null(disk);
			disk_crash(&life->disk, op_count, seed < 2 ? seed : op_count, disk);
			options.io = &disk->io;
			result made = ledger_engine_init(&options, "example.com/ledger", genesis_again, &life->house.w);
			if (op_count == life->born || made != OK)
				expect(made, ALREADY_EXISTS);
			expect_ok(ledger_engine_open(&options, &engine, NULL));
			ledger_engine_close(engine);
			disk_free(disk);
			free(disk);
		}
	}
	life_free(life);
}

/* ---- Calls that fail -------------------------------------------------------------------------------- */

struct trouble {
	int error;
	bool persistent;
	size_t write_max;
	unsigned interrupts;
};

/* Reads go on whatever the disk says. */
static void check_reads(struct house *house)
{
	struct ledger_head head;
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	uint8_t key[SPARSE_KEY_SIZE] = {1};
	ledger_engine_head(house->engine, &head);
	expect_ok(ledger_engine_checkpoint(house->engine, &note));
	expect_ok(ledger_engine_fact_proof(house->engine, key, &file));
}

/* Sends with the n-th changing call failing; true when that call was reached. */
static bool check_trouble(const struct life *from, struct span *txs, size_t count, const struct trouble *trouble, unsigned n)
{
	struct life *life = calloc(1, sizeof(*life));
	assert_non_null(life);
	disk_crash(&from->disk, from->disk.op_count, 1, &life->disk);
	life->house.options = from->house.options;
	life->house.options.io = &life->disk.io;
	house_open(&life->house);
	life->disk.write_max = trouble->write_max;
	life->disk.interrupts = trouble->interrupts;
	life->disk.countdown = n;
	life->disk.error = trouble->error;
	life->disk.persistent = trouble->persistent;
	for (size_t i = 0; i < count; i++) {
		struct sent *sent = &life->sent[life->count];
		sent->tx = txs[i];
		result done = ledger_engine_submit(life->house.engine, txs[i], &sent->receipt);
		if (done == OK) {
			assert_int_equal(sent->receipt.code, OK);
			ledger_engine_head(life->house.engine, &sent->head);
			life->count++;
		} else {
			assert_true(done == IO_ERROR || done == DISK_FULL || done == JOURNAL_POISONED);
			/* What a full disk refused is taken when there is room, with the same bytes. */
			if (done == DISK_FULL && !trouble->persistent && ledger_engine_submit(life->house.engine, txs[i], &sent->receipt) == OK) {
				ledger_engine_head(life->house.engine, &sent->head);
				life->count++;
			}
			check_reads(&life->house);
		}
	}
	bool reached = life->disk.failures > 0;
	/* The process may still close it, or die. */
	life->disk.error = n % 2 ? 0 : life->disk.error;
	house_close(&life->house);
	life->disk.error = 0;
	life->disk.write_max = 0;
	house_open(&life->house);
	check_present(life->house.engine, life, SIZE_MAX, true);
	house_close(&life->house);
	assert_int_equal(disk_open_count(&life->disk), 0);
	disk_free(&life->disk);
	free(life);
	return reached;
}

static void every_failing_call(void **state)
{
	(void)state;
	static const struct trouble troubles[] = {
		{EIO, false, 0, 0}, {EIO, true, 0, 0}, {ENOSPC, false, 0, 0}, {ENOSPC, true, 0, 0}, {ENOSPC, false, 100, 3}, {EIO, false, 77, 1}};
	struct life *life = life_new();
	struct span txs[12];
	for (size_t i = 0; i < COUNT_OF(txs); i++)
		txs[i] = house_event(&life->house, (uint32_t)i);
	for (size_t i = 0; i < COUNT_OF(troubles); i++) {
		unsigned n = 1, step = (unsigned)house_count(1, 4);
		while (n < 400 && check_trouble(life, txs, COUNT_OF(txs), &troubles[i], n))
			n += troubles[i].write_max ? 7 * step : step;
		assert_true(n > 20);
	}
	life_free(life);
}

/* ---- kill -9 ---------------------------------------------------------------------------------------- */

enum { KILLS = 12, PER_LIFE = 400 };

/* Sends until it is killed; each acknowledged index goes to the pipe. */
static void work_until_killed(struct house *house, struct span *txs, int out)
{
	struct ledger_engine *engine;
	if (ledger_engine_open(&house->options, &engine, NULL) != OK)
		_exit(3);
	for (uint32_t i = 0; i < PER_LIFE; i++) {
		struct ledger_receipt receipt;
		if (ledger_engine_submit(engine, txs[i], &receipt) != OK || !receipt.on_ledger)
			_exit(4);
		struct ledger_head head;
		ledger_engine_head(engine, &head);
		if (write(out, &receipt, sizeof(receipt)) != sizeof(receipt) || write(out, &head, sizeof(head)) != sizeof(head))
			_exit(5);
	}
	_exit(0);
}

static void killed_at_any_moment(void **state)
{
	(void)state;
	struct house house;
	struct span *txs = calloc(PER_LIFE, sizeof(*txs));
	struct ledger_head last = {0};
	assert_non_null(txs);
	house_new(&house, NULL);
	house.options.snapshot_every = 64;
	house.options.segment_max = 1 << 16;
	house_open(&house);
	house_close(&house);
	uint32_t kills = (uint32_t)house_count(KILLS, 3);
	for (uint32_t life = 0; life < kills; life++) {
		int pipe_fds[2];
		struct ledger_receipt receipt;
		struct ledger_head head;
		size_t count = 0;
		for (uint32_t i = 0; i < PER_LIFE; i++)
			txs[i] = house_event(&house, life * PER_LIFE + i);
		assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0)
			work_until_killed(&house, txs, pipe_fds[1]);
		close(pipe_fds[1]);
		while (count < 5 + life * 9 && read(pipe_fds[0], &receipt, sizeof(receipt)) == sizeof(receipt) &&
			read(pipe_fds[0], &head, sizeof(head)) == sizeof(head))
			count++;
		assert_int_equal(kill(child, SIGKILL), 0);
		while (read(pipe_fds[0], &receipt, sizeof(receipt)) == sizeof(receipt) && read(pipe_fds[0], &head, sizeof(head)) == sizeof(head))
			count++;
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		close(pipe_fds[0]);
		assert_true(count >= 5 + life * 9);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		house_open(&house);
		struct ledger_head now;
		struct merkle_proof path;
		ledger_engine_head(house.engine, &now);
		assert_true(now.size >= head.size);
		expect_ok(ledger_engine_consistency(house.engine, head.size, now.size, &path));
		expect_ok(merkle_verify_consistency(head.size, &head.root, now.size, &now.root, &path));
		if (last.size) {
			expect_ok(ledger_engine_consistency(house.engine, last.size, now.size, &path));
			expect_ok(merkle_verify_consistency(last.size, &last.root, now.size, &now.root, &path));
		}
		last = now;
		for (size_t i = 0; i < count; i++) {
			/* Sent again, each is known. */
			struct ledger_receipt again = house_send(&house, txs[i]);
			assert_true(again.on_ledger && again.index < now.size);
		}
		house_close(&house);
	}
	struct ledger_audit audit;
	expect_ok(ledger_engine_audit(&house.options, AUDIT_EVERYTHING, &audit));
	assert_int_equal(audit.size, last.size);
	free(txs);
	house_free(&house);
}

int group_engine_crash(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_crash_of_a_life),
		cmocka_unit_test(an_unfinished_init_is_begun_again),
		cmocka_unit_test(every_failing_call),
		cmocka_unit_test(killed_at_any_moment),
	};
	return cmocka_run_group_tests_name("engine crash", tests, NULL, NULL);
}
