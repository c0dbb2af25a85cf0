/*
 * The ledger's contract. The input is a stream of batches (docs/PROTOCOL.ledger, "The contract by itself"); when it begins with 't', then lv(stream)
 * and behind it a tape of {sender u8, type u8, length u16, body}: bodies alone, which are put into transactions of the stream's senders, since no
 * fuzzer gets past the envelopes for long. Nor can it sign: a signature is good here unless its last byte is zero, but for that of a configuration.
 *
 * Two states go the same way, one of them through a snapshot after every batch, and agree on everything; what does not count leaves no trace, and what
 * is refused leaves none but its nonce.
 */
#include "ledger/contract.h"

#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "base/writer.h"
#include "wire/cbor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAME_MAX = 1 << 16, BATCHES_MAX = 64, TRANSACTIONS_MAX = 256, SENDERS_MAX = 16, TAPE_STEP_MS = 7000 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

struct run {
	struct ledger_state *state, *twin;
	uint64_t time, size;
	size_t transactions;
	uint8_t chain[CHAIN_ID_SIZE];
	struct point senders[SENDERS_MAX];
	size_t sender_count;
};

static result signature(void *arg, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE])
{
	(void)arg;
	(void)kind;
	must(point[0] != 0xff || point[1] != 0xff);
	return bytes.len && bytes.data[bytes.len - 1] != 0 ? OK : fail(BAD_SIGNATURE, "the last byte");
}

static void note_sender(struct run *run, struct span tx)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct transaction found;
	if (run->sender_count == SENDERS_MAX || object_peek(KIND_TRANSACTION, tx, &arena, &found, NULL) != OK)
		return;
	memcpy(run->chain, found.chain, CHAIN_ID_SIZE);
	memcpy(run->senders[run->sender_count++].bytes, found.sender, POINT_SIZE);
}

/* The engine's word on what counts is the contract's; it must not depend on which copy of a state is asked. */
static void apply(struct run *run, struct span tx)
{
	const struct contract_context ctx = {.height = 1, .time_ms = run->time, .index = run->size, .verify = signature};
	struct contract_verdict verdict = {0}, again = {0};
	struct merkle_hash before, after;
	size_t facts = ledger_state_count(run->state);
	ledger_state_root(run->state, &before);
	must(contract_apply(run->state, tx, &ctx, &verdict) == OK);
	must(contract_apply(run->twin, tx, &ctx, &again) == OK);
	ledger_state_root(run->state, &after);
	must(verdict.code == again.code && verdict.counts == again.counts && span_equal(bytes_span(&verdict.events), bytes_span(&again.events)));
	must(memcmp(verdict.txid, again.txid, OID_SIZE) == 0 && verdict.events.len <= EVENTS_MAX);
	must(verdict.counts || (verdict.code != OK && memcmp(&before, &after, sizeof(before)) == 0));
	if (verdict.counts)
		must(memcmp(&before, &after, sizeof(before)) != 0 && ledger_state_count(run->state) > facts);
	if (verdict.counts && verdict.code != OK)
		must(ledger_state_count(run->state) == facts + 1);
	run->size += verdict.counts;
	contract_verdict_free(&verdict);
	contract_verdict_free(&again);
}

/* The twin goes through a snapshot. */
static void reload(struct run *run)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 24);
	struct ledger_state *loaded;
	struct state_place place;
	struct span bytes;
	struct merkle_hash root, twin;
	bool done;
	writer_u64(&w, 0);
	must(ledger_state_store(run->twin, true, &w, 0, &place) == OK);
	must(writer_finish(&w, &bytes) == OK);
	ledger_state_root(run->twin, &twin);
	must(ledger_state_open(bytes, &place, &twin, 0, &loaded) == OK);
	must(ledger_state_bring(loaded, SIZE_MAX, &done) == OK && done);
	ledger_state_free(run->twin);
	run->twin = loaded;
	ledger_state_root(run->state, &root);
	ledger_state_root(run->twin, &twin);
	must(memcmp(&root, &twin, sizeof(root)) == 0 && ledger_state_count(run->state) == ledger_state_count(run->twin));
}

static void begin(struct run *run)
{
	ledger_state_begin(run->state);
	contract_begin(run->state, run->time);
	contract_begin(run->twin, run->time);
}

static result batch(struct run *run, struct reader *r)
{
	uint64_t time;
	uint32_t count;
	TRY(reader_u64(r, &time));
	TRY(reader_u32(r, &count));
	run->time = time > run->time ? time : run->time;
	begin(run);
	for (uint32_t i = 0; i < count && run->transactions < TRANSACTIONS_MAX; i++) {
		struct span tx;
		if (reader_lv(r, FRAME_MAX, &tx) != OK)
			break;
		run->transactions++;
		note_sender(run, tx);
		apply(run, tx);
	}
	ledger_state_keep(run->state);
	reload(run);
	return OK;
}

/* A transaction by one of the senders, with a body from the tape. */
static void apply_body(struct run *run, uint8_t sender, uint8_t type, struct span body)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	static const uint8_t head[] = {0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa0};
	uint8_t seal[2 + 64] = {0x58, 0x40};
	struct transaction tx = {.v = 1, .valid_until = run->time + 1000, .type = type, .body = body};
	struct span bytes;
	memset(seal + 2, 1, 64);
	memcpy(tx.chain, run->chain, CHAIN_ID_SIZE);
	memcpy(tx.sender, run->senders[sender % run->sender_count].bytes, POINT_SIZE);
	memset(tx.nonce, 0xfe, sizeof(tx.nonce));
	memcpy(tx.nonce, &run->transactions, sizeof(run->transactions));
	if (schema_encode(&transaction_schema, &tx, &payload) != OK)
		return;
	writer_put(&w, head, sizeof(head));
	cbor_put_bytes(&w, bytes_span(&payload));
	writer_put(&w, seal, sizeof(seal));
	if (writer_finish(&w, &bytes) == OK)
		apply(run, bytes);
}

static void tape(struct run *run, struct reader *r)
{
	while (run->sender_count && run->transactions < TRANSACTIONS_MAX) {
		uint8_t sender, type;
		uint16_t len;
		struct span body;
		if (reader_u8(r, &sender) != OK || reader_u8(r, &type) != OK || reader_u16(r, &len) != OK)
			return;
		if (reader_take(r, len < reader_left(r) ? len : reader_left(r), &body) != OK)
			return;
		run->transactions++;
		run->time += sender & 0x80 ? TAPE_STEP_MS : 0;
		begin(run);
		apply_body(run, sender & 0x7f, type, body);
		ledger_state_keep(run->state);
		reload(run);
	}
}

static void batches(struct run *run, struct reader *r)
{
	for (size_t i = 0; i < BATCHES_MAX && reader_left(r); i++)
		if (batch(run, r) != OK)
			return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = {0};
	struct reader r = reader_of(span_of(data, size));
	must(ledger_state_new(&run.state) == OK && ledger_state_new(&run.twin) == OK);
	if (size && data[0] == 't') {
		struct span stream;
		if (reader_take(&r, 1, &stream) == OK && reader_lv(&r, 1 << 20, &stream) == OK) {
			struct reader before = reader_of(stream);
			batches(&run, &before);
			tape(&run, &r);
		}
	} else {
		batches(&run, &r);
	}
	ledger_state_free(run.state);
	ledger_state_free(run.twin);
	return 0;
}
