/*
 * troth ledger apply: the contract by itself. Batches of transactions come in, verdicts and state roots go out; nothing else
 * is read or written. Another implementation of docs/PROTOCOL.ledger is compared with this one line by line.
 */
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/reader.h"
#include "crypto/hash.h"
#include "ledger/contract.h"
#include "ledger/signatures.h"
#include "wire/text.h"

/* A transaction above TX_MAX is for the contract to turn away; beyond this it is no stream of transactions. */
enum { BATCH_HEAD = 8 + 4, TRANSACTION_FRAME_MAX = 1 << 20, BATCH_TRANSACTIONS_MAX = 1 << 20 };

struct run {
	struct ledger_state *state;
	struct signature_cache *cache;
	struct bytes frame; /* grows to the longest transaction */
	struct batch_state {
		uint64_t height, time, first;
		uint32_t count; /* of those that became leaves */
	} batch;
	uint64_t size; /* leaves of the log so far */
	bool events; /* print them in full */
};

static void run_free(struct run *run)
{
	ledger_state_free(run->state);
	signature_cache_free(run->cache);
	bytes_free(&run->frame);
}

/* Exactly `len` bytes of stdin. *out_end: there was none at all. */
static result take(void *out, size_t len, bool *out_end)
{
	size_t got = fread(out, 1, len, stdin);
	*out_end = got == 0 && len > 0 && feof(stdin);
	if (ferror(stdin))
		return fail_errno("stdin");
	if (got < len && !*out_end)
		return fail(TRUNCATED, "stdin ends within a batch: %zu bytes are there of %zu", got, len);
	return OK;
}

static result take_all(void *out, size_t len)
{
	bool end;
	TRY(take(out, len, &end));
	return end ? fail(TRUNCATED, "stdin ends within a batch") : OK;
}

static result take_transaction(struct run *run, struct span *out)
{
	uint8_t head[4];
	uint32_t len;
	TRY(take_all(head, sizeof(head)));
	struct reader r = reader_of(SPAN_ARRAY(head));
	TRY(reader_u32(&r, &len));
	if (len > TRANSACTION_FRAME_MAX)
		return fail(TOO_LARGE, "a transaction of %" PRIu32 " bytes; at most %d can stand in a stream", len, TRANSACTION_FRAME_MAX);
	if (len > 0)
		TRY(take_all(run->frame.data, len));
	*out = span_of(run->frame.data, len);
	return OK;
}

/* Everything is ASCII of our own making, so no JSON library is asked for each of a million lines. */
static result print_verdict(const struct run *run, const struct contract_verdict *verdict)
{
	uint8_t digest[SHA256_SIZE];
	char hash[2 * SHA256_SIZE + 1], txid[2 * OID_SIZE + 1];
	sha256(bytes_span(&verdict->events), digest);
	hex_encode(SPAN_ARRAY(digest), hash);
	hex_encode(SPAN_ARRAY(verdict->txid), txid);
	printf("{\"code\":%d,\"reason\":\"%s\",\"index\":", (int)verdict->code, reason_name(verdict->code));
	if (verdict->counts)
		printf("%" PRIu64, run->size);
	else
		printf("null");
	printf(",\"txid\":\"%s\",\"events\":\"%s\"", txid, hash);
	if (run->events) {
		char *hex = malloc(2 * verdict->events.len + 1);
		if (!hex)
			return fail(NO_MEMORY, "events");
		hex_encode(bytes_span(&verdict->events), hex);
		printf(",\"events_cbor\":\"%s\"", hex);
		free(hex);
	}
	printf("}\n");
	return OK;
}

static result print_batch(struct run *run)
{
	struct merkle_hash root;
	char hex[2 * SHA256_SIZE + 1];
	ledger_state_root(run->state, &root);
	hex_encode(SPAN_ARRAY(root.bytes), hex);
	printf("{\"height\":%" PRIu64 ",\"time\":%" PRIu64 ",\"first\":%" PRIu64 ",\"count\":%" PRIu32 ",\"size\":%" PRIu64 ",\"root\":\"%s\"}\n",
		run->batch.height, run->batch.time, run->batch.first, run->batch.count, run->size, hex);
	return ferror(stdout) ? fail_errno("stdout") : OK;
}

static result apply_one(struct run *run)
{
	struct span tx;
	struct signatures signatures;
	struct contract_verdict verdict = {0};
	unsigned type;
	TRY(take_transaction(run, &tx));
	signatures_prepare(run->cache, tx, &signatures, &type);
	const struct contract_context ctx = {.height = run->batch.height + 1, .time_ms = run->batch.time, .index = run->size,
		.verify = signatures_answer, .verify_arg = &signatures};
	result done = contract_apply(run->state, tx, &ctx, &verdict);
	if (done == OK)
		done = print_verdict(run, &verdict);
	run->size += verdict.counts;
	run->batch.count += verdict.counts;
	contract_verdict_free(&verdict);
	return done;
}

/* A batch in which nothing counts is none. */
static result end_batch(struct run *run)
{
	if (run->batch.count == 0) {
		TRY(ledger_state_rollback(run->state));
		return print_batch(run);
	}
	ledger_state_keep(run->state);
	run->batch.height++;
	run->size++; /* the TAIL */
	return print_batch(run);
}

static result apply_batch(struct run *run, struct span head)
{
	struct reader r = reader_of(head);
	uint64_t time;
	uint32_t count;
	TRY(reader_u64(&r, &time));
	TRY(reader_u32(&r, &count));
	if (time < run->batch.time)
		return fail(BAD_VALUE, "the time of a batch is before that of an earlier one");
	if (count > BATCH_TRANSACTIONS_MAX)
		return fail(TOO_LARGE, "a batch of %" PRIu32 " transactions; at most %d", count, BATCH_TRANSACTIONS_MAX);
	uint64_t before = run->batch.time;
	run->batch = (struct batch_state){.height = run->batch.height, .time = time, .first = run->size};
	ledger_state_begin(run->state);
	contract_begin(run->state, time);
	for (uint32_t i = 0; i < count; i++)
		TRY(apply_one(run));
	TRY(end_batch(run));
	if (run->batch.count == 0)
		run->batch.time = before;
	return OK;
}

static result apply_stream(struct run *run)
{
	uint8_t head[BATCH_HEAD];
	TRY(ledger_state_new(&run->state));
	TRY(signature_cache_new(&run->cache));
	run->frame.data = malloc(TRANSACTION_FRAME_MAX);
	if (!run->frame.data)
		return fail(NO_MEMORY, "a transaction");
	run->frame.len = TRANSACTION_FRAME_MAX;
	for (;;) {
		bool end;
		TRY(take(head, sizeof(head), &end));
		if (end)
			return fflush(stdout) == 0 ? OK : fail_errno("stdout");
		TRY(apply_batch(run, SPAN_ARRAY(head)));
	}
}

int verb_ledger_apply(int argc, char **argv)
{
	CLEANUP(run_free) struct run run = {0};
	bool from_stdin = false;
	const struct option_row rows[] = {
		{"stdin", OPTION_FLAG, &from_stdin, NULL, "read the batches from stdin"},
		{"events", OPTION_FLAG, &run.events, NULL, "print the events of each transaction, not only their hash"},
	};
	struct options options = {
		.verb = "ledger apply",
		.usage = "--stdin",
		.description = "Applies the ledger's contract to batches of transactions, beginning with an empty ledger, and prints one JSON line for\n"
			       "each transaction (its code and the hash of its events) and one for each batch (the state root). It keeps nothing and asks\n"
			       "no ledger: with it, another implementation of the contract is compared with this one. Format: docs/PROTOCOL.ledger.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = from_stdin ? apply_stream(&run) : fail(USAGE, "--stdin is missing: batches are read from stdin alone");
	options_free(&options);
	return verb_end(done, argc, argv);
}
