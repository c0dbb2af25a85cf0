#include "ledger/replay.h"

#include <inttypes.h>
#include <string.h>

#include "ledger/engine_internal.h"

struct walk {
	struct ledger_client *client;
	struct checkpoint head; /* where it ends */
	struct ledger_state *state;
	struct signature_cache *cache;
	struct frontier frontier;
	struct bytes tail_bytes; /* of the batch that is being applied */
	struct ledger_leaf tail;
	bool inside; /* a batch */
	struct ledger_audit audit;
};

static void walk_free(struct walk *walk)
{
	ledger_state_free(walk->state);
	signature_cache_free(walk->cache);
	bytes_free(&walk->tail_bytes);
}

static result differs(const struct walk *walk, const char *what)
{
	return fail(PROOF_INVALID, "leaf %" PRIu64 " does not come out as the log has it: %s", walk->frontier.size, what);
}

static void add_leaf(struct walk *walk, struct span bytes)
{
	struct merkle_hash hash;
	merkle_leaf(bytes, &hash);
	frontier_add(&walk->frontier, &hash);
}

/* The TAIL comes first: it has the time for which the batch was applied. */
static result begin_batch(struct walk *walk, uint64_t size)
{
	const struct ledger_head *before = &walk->audit.head;
	if (size <= walk->frontier.size + 1 || size > walk->head.size)
		return differs(walk, "its batch ends where none can");
	bytes_free(&walk->tail_bytes);
	TRY(ledger_client_leaf(walk->client, size - 1, &walk->tail_bytes));
	const struct ledger_leaf *tail = &walk->tail;
	if (ledger_leaf_decode(bytes_span(&walk->tail_bytes), &walk->tail) != OK || tail->kind != LEAF_TAIL || tail->first != walk->frontier.size ||
		tail->first + tail->count != size - 1 || tail->height != before->height + 1 || tail->time < before->time)
		return differs(walk, "its batch does not follow the one before");
	contract_begin(walk->state, tail->time);
	walk->inside = true;
	return OK;
}

static result end_batch(struct walk *walk)
{
	struct merkle_hash root;
	ledger_state_root(walk->state, &root);
	if (memcmp(root.bytes, walk->tail.state_root, SHA256_SIZE) != 0)
		return differs(walk, "another state");
	add_leaf(walk, bytes_span(&walk->tail_bytes));
	walk->inside = false;
	walk->audit.batches++;
	walk->audit.head.height = walk->tail.height;
	walk->audit.head.time = walk->tail.time;
	memcpy(walk->audit.head.state_root.bytes, walk->tail.state_root, SHA256_SIZE);
	return OK;
}

static result apply(struct walk *walk, const struct ledger_leaf *leaf)
{
	struct signatures signatures;
	struct contract_verdict verdict = {0};
	uint8_t events[SHA256_SIZE];
	unsigned type;
	signatures_prepare(walk->cache, leaf->tx, &signatures, &type);
	const struct contract_context ctx = {.height = walk->tail.height, .time_ms = walk->tail.time, .index = walk->frontier.size,
		.verify = signatures_answer, .verify_arg = &signatures};
	TRY(contract_apply(walk->state, leaf->tx, &ctx, &verdict));
	sha256(bytes_span(&verdict.events), events);
	bool same = verdict.counts && (uint32_t)verdict.code == leaf->code && memcmp(events, leaf->events_hash, SHA256_SIZE) == 0;
	contract_verdict_free(&verdict);
	return same ? OK : differs(walk, "another verdict");
}

static result visit(void *arg, const struct ledger_row *row)
{
	struct walk *walk = arg;
	if (walk->frontier.size == walk->head.size)
		return OK; /* what came after the checkpoint */
	if (row->index != walk->frontier.size)
		return differs(walk, "it was left out");
	if (!walk->inside)
		TRY(begin_batch(walk, row->size));
	TRY(apply(walk, row->leaf));
	add_leaf(walk, row->bytes);
	walk->audit.transactions++;
	walk->audit.refused += row->leaf->code != OK;
	return walk->frontier.size == walk->tail.first + walk->tail.count ? end_batch(walk) : OK;
}

static result check_end(struct walk *walk)
{
	frontier_root(&walk->frontier, &walk->audit.head.root);
	if (walk->frontier.size != walk->head.size || walk->inside)
		return differs(walk, "the log ends before its checkpoint");
	if (memcmp(&walk->audit.head.root, &walk->head.root, sizeof(walk->head.root)) != 0)
		return fail(PROOF_INVALID, "the leaves that were read do not make the root of the checkpoint of %" PRIu64, walk->head.size);
	walk->audit.size = walk->audit.head.size = walk->head.size;
	return OK;
}

/* The log that was read is the one that the place pins. */
static result check_config(struct walk *walk)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	const struct note_key *log = ledger_client_log_key(walk->client);
	uint8_t chain[CHAIN_ID_SIZE];
	struct ledger_config config;
	TRY(contract_config(walk->state, &arena, &config, chain));
	if (memcmp(chain, ledger_client_chain(walk->client), CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "the log begins with another configuration than this place knows");
	if (strcmp(config.log_name, log->name) != 0 || memcmp(config.log_key, log->public_key, sizeof(config.log_key)) != 0)
		return fail(PROOF_INVALID, "the configuration in force names another log, or another key of it");
	return OK;
}

result ledger_replay_from(struct ledger_client *client, struct ledger_audit *out)
{
	CLEANUP(walk_free) struct walk walk = {.client = client};
	const struct ledger_filter all = {.from = 0};
	TRY(ledger_client_checkpoint(client, NULL, &walk.head));
	TRY(ledger_state_new(&walk.state));
	TRY(signature_cache_new(&walk.cache));
	TRY(ledger_client_each(client, &all, visit, &walk));
	TRY(check_end(&walk));
	TRY(check_config(&walk));
	*out = walk.audit;
	return OK;
}
