/*
 * troth ledger prove: files that anybody can check with the log's key alone. Of one thing (ledger_words.h), of a decision with
 * all that it rested on (ledger/decision.h), or that the log continues a checkpoint from before.
 */
#include "cmd/ledger_options.h"
#include "cmd/ledger_words.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>

#include "ledger/decision.h"
#include "wire/text.h"

enum { NOTE_FILE_MAX = NOTE_MAX };

struct prove_words {
	struct ledger_options ledger;
	const char *decision, *from, *output;
	uint64_t size;
};

/* ---- One proof --------------------------------------------------------------------------------------- */

static result put_out(const char *path, struct span bytes)
{
	if (path)
		return file_write_atomic(path, bytes, 0644);
	return fwrite(bytes.data, 1, bytes.len, stdout) == bytes.len ? OK : fail_errno("writing the proof");
}

static result prove_thing(struct ledger_client *client, const struct ledger_thing *thing, uint64_t size, struct bytes *out)
{
	struct ledger_receipt receipt;
	if (thing->kind == THING_FACT && size)
		return fail(USAGE, "--size is for leaves: a fact is proved by the latest state, which says since when it holds");
	if (thing->kind == THING_FACT)
		return ledger_client_fact_proof(client, thing->key, out);
	uint64_t index = thing->index;
	if (thing->kind == THING_TRANSACTION) {
		TRY(ledger_client_find(client, thing->txid, &receipt));
		index = receipt.index;
	}
	return ledger_client_leaf_proof(client, index, size, out);
}

static result print_thing(const struct prove_words *words, bool json, const struct note_key *log, const struct ledger_thing *thing, struct span file)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ledger_proof proof;
	TRY(ledger_proof_open(file, log, &arena, &proof));
	if (json) {
		json_t *row = ledger_proof_json(&proof, thing->type);
		if (!row || json_object_set_new(row, "file", json_string(words->output)) != 0)
			return fail(NO_MEMORY, "json");
		result printed = json_print(stdout, row);
		json_decref(row);
		return printed;
	}
	printf("%s proves, as of %" PRIu64 " leaves: ", words->output, proof.checkpoint.size);
	ledger_proof_print(&proof, thing->type);
	return OK;
}

static result prove_one(const struct prove_words *words, const char *word, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct ledger_thing thing;
	TRY(ledger_thing_parse(word, &thing));
	TRY(verb_ledger_open(&words->ledger, &client));
	TRY(prove_thing(client, &thing, words->size, &file));
	TRY(put_out(words->output, bytes_span(&file)));
	return words->output ? print_thing(words, json, ledger_client_log_key(client), &thing, bytes_span(&file)) : OK;
}

/* ---- Consistency --------------------------------------------------------------------------------------- */

static result consistency_file(struct ledger_client *client, const char *from, struct checkpoint *out_old, struct checkpoint *out_newest, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes first = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes second = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(2 * NOTE_FILE_MAX);
	struct consistency_proof proof = {0};
	TRY(file_read(from, NOTE_FILE_MAX, &first));
	result opened = checkpoint_open(bytes_span(&first), ledger_client_log_key(client), out_old, NULL);
	if (opened != OK)
		return fail_within(opened, "%s", from);
	TRY(ledger_client_consistency(client, bytes_span(&first), &proof.path, &second));
	proof.old = out_old->size;
	proof.checkpoint = bytes_span(&second);
	TRY(consistency_proof_put(&proof, &w));
	TRY(consistency_proof_verify(&proof, out_old, ledger_client_log_key(client), out_newest));
	return writer_take(&w, out);
}

static result prove_consistency(const struct prove_words *words, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct checkpoint old, newest;
	TRY(verb_ledger_open(&words->ledger, &client));
	TRY(consistency_file(client, words->from, &old, &newest, &file));
	TRY(put_out(words->output, bytes_span(&file)));
	if (!words->output)
		return OK;
	if (!json) {
		printf("%s proves that the log of %" PRIu64 " leaves continues the one of %" PRIu64 "\n", words->output, newest.size, old.size);
		return OK;
	}
	json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:o}", "proves", "consistency", "file", words->output, "from", (json_int_t)old.size, "size",
		(json_int_t)newest.size, "root", json_hex(SPAN_ARRAY(newest.root.bytes)));
	result printed = row ? json_print(stdout, row) : fail(NO_MEMORY, "json");
	json_decref(row);
	return printed;
}

/* ---- A decision ---------------------------------------------------------------------------------------- */

struct bundle {
	struct ledger_client *client;
	const char *folder;
	uint64_t size; /* of the checkpoint that all of it is shown under */
	struct decision decision;
	struct decision_fact facts[DECISION_FACTS_MAX];
	size_t count;
	uint64_t tails[DECISION_FACTS_MAX]; /* sizes of other checkpoints that facts came with */
	size_t tail_count;
	size_t files;
};

static result put_file(struct bundle *bundle, const char *name, struct span bytes)
{
	char path[PATH_SIZE];
	TRY(path_join(path, bundle->folder, name));
	TRY(file_write_atomic(path, bytes, 0644));
	bundle->files++;
	return OK;
}

/* The ledger may have gone on between two facts: whichever TAIL vouches for one is itself shown in the log at the end. */
static void note_size(struct bundle *bundle, uint64_t size)
{
	for (size_t i = 0; i < bundle->tail_count; i++)
		if (bundle->tails[i] == size)
			return;
	bundle->tails[bundle->tail_count++] = size;
}

static result put_fact(struct bundle *bundle, struct decision_fact *fact, struct arena *arena)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct ledger_proof proof;
	TRY(ledger_client_fact_proof(bundle->client, fact->key, &file));
	TRY(ledger_proof_open(bytes_span(&file), ledger_client_log_key(bundle->client), arena, &proof));
	TRY(arena_copy(arena, proof.value, &fact->value));
	note_size(bundle, proof.checkpoint.size);
	return put_file(bundle, fact->name, bytes_span(&file));
}

static result put_leaf(struct bundle *bundle, uint64_t index, const char *name)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	TRY(ledger_client_leaf_proof(bundle->client, index, bundle->size, &file));
	return put_file(bundle, name, bytes_span(&file));
}

static result put_tails(struct bundle *bundle)
{
	char name[48];
	for (size_t i = 0; i < bundle->tail_count; i++) {
		if (bundle->tails[i] == bundle->size)
			continue;
		snprintf(name, sizeof(name), "tail-%" PRIu64 ".proof", bundle->tails[i]);
		TRY(put_leaf(bundle, bundle->tails[i] - 1, name));
	}
	return OK;
}

/* The newest checkpoint: of the proof that it continues the auditor's, or just the latest. */
static result put_newest(struct bundle *bundle, const char *from)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct checkpoint old, newest;
	if (!from) {
		TRY(ledger_client_checkpoint(bundle->client, NULL, &newest));
		bundle->size = newest.size;
		return OK;
	}
	TRY(consistency_file(bundle->client, from, &old, &newest, &file));
	bundle->size = newest.size;
	return put_file(bundle, "earlier.consistency", bytes_span(&file));
}

/* A transaction's id, or its index. */
static result find_decision(struct bundle *bundle, const char *word, struct arena *arena, struct ledger_receipt *out)
{
	CLEANUP(bytes_free) struct bytes leaf = BYTES_EMPTY;
	struct ledger_thing thing = {.kind = THING_TRANSACTION};
	struct ledger_leaf decoded;
	struct span kept;
	if (hex_decode(span_str(word), thing.txid, OID_SIZE) == OK) {
		TRY(ledger_client_find(bundle->client, thing.txid, out));
		thing.index = out->index;
	} else {
		char named[40];
		snprintf(named, sizeof(named), "leaf:%.30s", word);
		if (ledger_thing_parse(named, &thing) != OK)
			return fail(USAGE, "--decision takes the id of a transaction or the index of its leaf, not '%.80s'", word);
	}
	TRY(ledger_client_leaf(bundle->client, thing.index, &leaf));
	TRY(arena_copy(arena, bytes_span(&leaf), &kept));
	TRY(ledger_leaf_decode(kept, &decoded));
	TRY(decision_open(thing.index, &decoded, arena, &bundle->decision));
	return ledger_client_find(bundle->client, bundle->decision.txid, out);
}

static result put_bundle(struct bundle *bundle, const struct prove_words *words, struct arena *arena)
{
	struct ledger_receipt receipt;
	TRY(find_decision(bundle, words->decision, arena, &receipt));
	TRY(file_make_dirs(bundle->folder, 0755));
	bundle->count = decision_facts(&bundle->decision, bundle->facts);
	for (size_t i = 0; i < bundle->count; i++)
		TRY(put_fact(bundle, &bundle->facts[i], arena));
	TRY(put_newest(bundle, words->from));
	TRY(put_leaf(bundle, receipt.index, "decision.proof"));
	TRY(put_leaf(bundle, receipt.size - 1, "tail.proof"));
	return put_tails(bundle);
}

static result prove_decision(const struct prove_words *words, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	struct bundle bundle = {.folder = words->output};
	if (!words->output)
		return fail(USAGE, "say where to: --output FOLDER");
	TRY(verb_ledger_open(&words->ledger, &client));
	bundle.client = client;
	TRY(put_bundle(&bundle, words, &arena));
	const struct decision *decision = &bundle.decision;
	if (!json) {
		printf("%s proves the decision at leaf %" PRIu64 " (%s) and what it rested on, as of %" PRIu64 " leaves: %zu files\n", bundle.folder,
			decision->index, reason_name((enum reason)decision->code), bundle.size, bundle.files);
		return OK;
	}
	json_t *row = json_pack("{s:s, s:s, s:I, s:o, s:i, s:s, s:I, s:I, s:I}", "proves", "decision", "folder", bundle.folder, "index",
		(json_int_t)decision->index, "txid", json_hex(SPAN_ARRAY(decision->txid)), "code", (int)decision->code, "reason",
		reason_name((enum reason)decision->code), "grants", (json_int_t)decision->link_count, "size", (json_int_t)bundle.size, "files",
		(json_int_t)bundle.files);
	result printed = row ? json_print(stdout, row) : fail(NO_MEMORY, "json");
	json_decref(row);
	return printed;
}

static result prove(const struct options *options, const struct prove_words *words)
{
	bool named = options->operands.count == 1;
	if (named && !words->decision && !words->from)
		return prove_one(words, options->operands.items[0], options->json);
	if (!named && words->size)
		return fail(USAGE, "--size goes with one leaf or transaction");
	if (!named && words->decision)
		return prove_decision(words, options->json);
	if (!named && words->from)
		return prove_consistency(words, options->json);
	return fail(USAGE, "say what to prove: WHAT, or --decision, or --from, or the two together");
}

int verb_ledger_prove(int argc, char **argv)
{
	struct prove_words words = {.decision = NULL};
	const struct option_row rows[] = {
		{"decision", OPTION_TEXT, &words.decision, "TXID|INDEX", "a decision of the ledger and all that it rested on, into the folder --output"},
		{"from", OPTION_TEXT, &words.from, "CHECKPOINT", "that the log continues this one, which an auditor kept from before"},
		{"size", OPTION_NUMBER, &words.size, "N", "for a leaf: as of the checkpoint of this size (default: the latest)"},
		{"output", OPTION_TEXT, &words.output, "FILE", "where the proof goes (default: stdout)"},
		LEDGER_ROWS(&words.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger prove",
		.usage = "WHAT | --decision TXID|INDEX --output FOLDER | --from CHECKPOINT",
		.description = "Makes proofs that anybody can check offline with the log's public key alone: `troth ledger verify`, examples/audit, or any tool\n"
			       "that knows C2SP tlog-proofs. WHAT is one of " LEDGER_THINGS ".\n"
			       "A fact that is not there is proved not to be: `revocation:` of a grant shows that it was never revoked, as of the latest\n"
			       "checkpoint. --decision proves an operation's leaf and verdict, when it was, each grant that was shown and its revocation,\n"
			       "the rules on the way to the data, and both measurements.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = prove(&options, &words);
	return verb_end(done, argc, argv);
}
