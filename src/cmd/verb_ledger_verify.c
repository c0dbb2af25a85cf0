/*
 * troth ledger verify, verify-fork: proofs and checkpoints judged offline, with the log's public key and nothing else. No
 * place, no network, no state folder.
 */
#include "cmd/ledger_words.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "ledger/client.h"
#include "ledger/decision.h"

enum { FILE_MAX = 1 << 20, JUDGE_MEMORY = 256 << 20, HEADS_MAX = 256 };

struct verify_words {
	const char *log, *of, *earlier;
	struct words witnesses;
	uint64_t quorum, at;
	bool has_at;
	const char *at_text;
};

struct verification {
	const struct verify_words *words;
	struct arena arena;
	struct note_key log;
	struct note_key *witnesses;
	size_t quorum;
	struct ledger_thing thing; /* --of */
	struct checkpoint earlier;
	bool has_earlier;
	struct head {
		struct checkpoint checkpoint;
		bool tied; /* to the earlier one */
	} heads[HEADS_MAX];
	size_t head_count;
	json_t *rows; /* NULL: lines for people */
};

static void verification_free(struct verification *v)
{
	arena_free(&v->arena);
	json_decref(v->rows);
}

static result take_file(struct verification *v, const char *path, struct span *out)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	TRY(file_read(path, FILE_MAX, &bytes));
	return arena_copy(&v->arena, bytes_span(&bytes), out);
}

/* ---- Heads --------------------------------------------------------------------------------------------- */

static result check_witnesses(const struct verification *v, struct span bytes)
{
	struct note note;
	size_t good = 0;
	if (v->quorum == 0)
		return OK;
	TRY(note_parse(bytes, &note));
	for (size_t i = 0; i < v->words->witnesses.count; i++) {
		result signed_by = note_verify(&note, &v->witnesses[i], NULL);
		if (signed_by != OK && signed_by != NOT_SIGNED)
			return fail_within(signed_by, "the cosignature of %s", v->witnesses[i].name);
		good += signed_by == OK;
	}
	if (good < v->quorum)
		return fail(NOT_SIGNED, "%zu of the named witnesses have cosigned the checkpoint; %zu must have", good, v->quorum);
	return OK;
}

static result same_root(const struct checkpoint *a, const struct checkpoint *b)
{
	if (a->size == b->size && memcmp(&a->root, &b->root, sizeof(a->root)) != 0)
		return fail(LEDGER_FORKED, "the log has signed two roots of size %" PRIu64 "; keep both files, `troth ledger verify-fork` shows it to anybody", a->size);
	return OK;
}

/* A checkpoint that the log signed: it must fit to all others. */
static result add_head(struct verification *v, const struct checkpoint *checkpoint, struct span note, bool tied)
{
	TRY(check_witnesses(v, note));
	if (v->has_earlier)
		TRY(same_root(checkpoint, &v->earlier));
	for (size_t i = 0; i < v->head_count; i++) {
		TRY(same_root(checkpoint, &v->heads[i].checkpoint));
		if (v->heads[i].checkpoint.size == checkpoint->size) {
			v->heads[i].tied |= tied;
			return OK;
		}
	}
	if (v->head_count == HEADS_MAX)
		return fail(TOO_LARGE, "more than %d checkpoints at once", HEADS_MAX);
	v->heads[v->head_count++] = (struct head){*checkpoint, tied || (v->has_earlier && checkpoint->size == v->earlier.size)};
	return OK;
}

static result check_tied(const struct verification *v)
{
	for (size_t i = 0; i < v->head_count && v->has_earlier; i++)
		if (!v->heads[i].tied)
			return fail(PROOF_INVALID,
				"nothing shows that the log of %" PRIu64 " leaves continues the earlier checkpoint of %" PRIu64
				"; `troth ledger prove --from` makes the file that does",
				v->heads[i].checkpoint.size, v->earlier.size);
	return OK;
}

/* ---- Rows ---------------------------------------------------------------------------------------------- */

static result add_row(struct verification *v, const char *path, json_t *row)
{
	if (!row || json_object_set_new(row, "file", json_string(path)) != 0 || json_array_append_new(v->rows, row) != 0)
		return fail(NO_MEMORY, "json");
	return OK;
}

static void print_file(const char *path, uint64_t size)
{
	printf("%s: as of %" PRIu64 " leaves, ", path, size);
}

/* ---- Single files --------------------------------------------------------------------------------------- */

static result check_thing(const struct verification *v, const struct ledger_proof *proof)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	const struct ledger_thing *thing = &v->thing;
	struct transaction tx;
	uint8_t txid[OID_SIZE];
	if (thing->kind == THING_FACT) {
		if (proof->kind != PROOF_FACT || memcmp(proof->key, thing->key, SPARSE_KEY_SIZE) != 0)
			return fail(PROOF_INVALID, "it is about something else than %s", v->words->of);
		return OK;
	}
	if (proof->kind != PROOF_LEAF)
		return fail(PROOF_INVALID, "it proves a fact, no leaf");
	if (thing->kind == THING_LEAF)
		return proof->index == thing->index ? OK : fail(PROOF_INVALID, "it proves leaf %" PRIu64, proof->index);
	if (proof->leaf.kind != LEAF_TX || object_peek(KIND_TRANSACTION, proof->leaf.tx, &arena, &tx, txid) != OK ||
		memcmp(txid, thing->txid, OID_SIZE) != 0)
		return fail(PROOF_INVALID, "leaf %" PRIu64 " holds another transaction", proof->index);
	return OK;
}

static result check_interval(const struct verification *v, const struct span_of_log *span)
{
	uint64_t at = v->words->at;
	if (span->from > at)
		return fail(PROOF_INVALID, "it began at leaf %" PRIu64 ", after %" PRIu64, span->from, at);
	if (span->has_until && span->until <= at)
		return fail(PROOF_INVALID, "it had ended at leaf %" PRIu64 ", before %" PRIu64, span->until, at);
	return OK;
}

/* Whether what is proved held at the index that is asked about: a grant was alive, a revocation had not happened. */
static result check_at(struct verification *v, const struct ledger_proof *proof)
{
	union {
		struct grant_fact grant;
		struct registration_fact registration;
		struct revocation_fact revocation;
	} fact;
	enum fact_type type = v->thing.type;
	if (!v->words->has_at)
		return OK;
	if (proof->kind != PROOF_FACT || (type != FACT_GRANT && type != FACT_REGISTRATION && type != FACT_REVOCATION))
		return fail(USAGE, "--at goes with --of grant:, revocation: or registration:");
	if (v->words->at >= proof->checkpoint.size)
		return fail(PROOF_INVALID, "the proof is as of %" PRIu64 " leaves and says nothing about leaf %" PRIu64, proof->checkpoint.size, v->words->at);
	if (proof->value.len == 0)
		return type == FACT_REVOCATION ? OK : fail(PROOF_INVALID, "there is none");
	TRY(schema_decode(fact_schema(type), proof->value, &v->arena, &fact));
	if (type == FACT_REVOCATION)
		return fact.revocation.from > v->words->at ? OK :
							     fail(PROOF_INVALID, "the grant had been revoked at leaf %" PRIu64, fact.revocation.from);
	return check_interval(v, type == FACT_GRANT ? &fact.grant.span : &fact.registration.span);
}

static result verify_proof(struct verification *v, const char *path, struct span bytes)
{
	struct ledger_proof proof;
	TRY(ledger_proof_open(bytes, &v->log, &v->arena, &proof));
	if (v->words->of)
		TRY(check_thing(v, &proof));
	TRY(check_at(v, &proof));
	TRY(add_head(v, &proof.checkpoint, proof.note, false));
	if (v->rows)
		return add_row(v, path, ledger_proof_json(&proof, v->words->of ? v->thing.type : 0));
	print_file(path, proof.checkpoint.size);
	ledger_proof_print(&proof, v->words->of ? v->thing.type : 0);
	return OK;
}

static result verify_consistency(struct verification *v, const char *path, struct span bytes)
{
	struct consistency_proof proof;
	struct checkpoint newer;
	if (!v->has_earlier)
		return fail(USAGE, "a consistency proof is judged with the earlier checkpoint: --earlier FILE");
	TRY(consistency_proof_parse(bytes, &proof));
	TRY(consistency_proof_verify(&proof, &v->earlier, &v->log, &newer));
	TRY(add_head(v, &newer, proof.checkpoint, true));
	if (v->rows)
		return add_row(v, path, json_pack("{s:s, s:I, s:I, s:o}", "proves", "consistency", "from", (json_int_t)v->earlier.size, "size",
						(json_int_t)newer.size, "root", json_hex(SPAN_ARRAY(newer.root.bytes))));
	print_file(path, newer.size);
	printf("the log continues the earlier checkpoint of %" PRIu64 "\n", v->earlier.size);
	return OK;
}

static result verify_checkpoint(struct verification *v, const char *path, struct span bytes)
{
	struct checkpoint checkpoint;
	TRY(checkpoint_open(bytes, &v->log, &checkpoint, NULL));
	TRY(add_head(v, &checkpoint, bytes, false));
	if (v->rows)
		return add_row(v, path, json_pack("{s:s, s:s, s:I, s:o}", "proves", "checkpoint", "origin", checkpoint.origin, "size",
						(json_int_t)checkpoint.size, "root", json_hex(SPAN_ARRAY(checkpoint.root.bytes))));
	printf("%s: a checkpoint of %" PRIu64 " leaves\n", path, checkpoint.size);
	return OK;
}

static bool begins_with(struct span bytes, const char *text)
{
	return bytes.len >= strlen(text) && memcmp(bytes.data, text, strlen(text)) == 0;
}

static result verify_file(struct verification *v, const char *path)
{
	struct span bytes;
	TRY(take_file(v, path, &bytes));
	if (begins_with(bytes, "c2sp.org/tlog-proof@"))
		return verify_proof(v, path, bytes);
	if (v->words->of)
		return fail(BAD_TYPE, "it is no proof file, so it does not prove %s", v->words->of);
	return begins_with(bytes, "old ") ? verify_consistency(v, path, bytes) : verify_checkpoint(v, path, bytes);
}

/* ---- A decision with all that it rested on ---------------------------------------------------------------- */

struct bundle {
	struct verification *v;
	const char *folder;
	struct checkpoint head; /* that everything is shown under */
	struct decision decision;
	uint64_t time;
};

/* What is not there is not shown. */
static result take_part(const struct bundle *bundle, const char *name, struct span *out)
{
	char path[PATH_SIZE];
	TRY(path_join(path, bundle->folder, name));
	result taken = take_file(bundle->v, path, out);
	return taken == NOT_FOUND ? fail(PROOF_INVALID, "it is not in the folder") : taken;
}

static result open_part(struct bundle *bundle, const char *name, struct ledger_proof *out)
{
	struct span bytes;
	result done = take_part(bundle, name, &bytes);
	if (done == OK)
		done = ledger_proof_open(bytes, &bundle->v->log, &bundle->v->arena, out);
	if (done == OK)
		done = add_head(bundle->v, &out->checkpoint, out->note, true);
	return done == OK ? OK : fail_within(done, "%s", name);
}

static result open_leaf(struct bundle *bundle, const char *name, struct ledger_proof *out)
{
	TRY(open_part(bundle, name, out));
	if (out->kind != PROOF_LEAF || out->checkpoint.size != bundle->head.size)
		return fail(PROOF_INVALID, "%s: it proves no leaf under the checkpoint of decision.proof", name);
	return OK;
}

static result open_decision(struct bundle *bundle)
{
	struct ledger_proof proof;
	TRY(open_part(bundle, "decision.proof", &proof));
	bundle->head = proof.checkpoint;
	if (proof.kind != PROOF_LEAF)
		return fail(PROOF_INVALID, "decision.proof: it proves no leaf");
	result opened = decision_open(proof.index, &proof.leaf, &bundle->v->arena, &bundle->decision);
	return opened == OK ? OK : fail_within(opened, "decision.proof");
}

static result open_time(struct bundle *bundle)
{
	struct ledger_proof proof;
	uint64_t index = bundle->decision.index;
	TRY(open_leaf(bundle, "tail.proof", &proof));
	const struct ledger_leaf *tail = &proof.leaf;
	if (tail->kind != LEAF_TAIL || tail->first > index || index - tail->first >= tail->count || proof.index - tail->first != tail->count)
		return fail(PROOF_INVALID, "tail.proof: it is not the TAIL of the decision's batch");
	bundle->time = tail->time;
	return OK;
}

/* The TAIL that vouches for a fact is the last of the newest checkpoint, or a leaf of its log. */
static result tie_fact(struct bundle *bundle, const struct ledger_proof *fact)
{
	struct ledger_proof proof;
	char name[48];
	if (fact->checkpoint.size == bundle->head.size)
		return OK;
	snprintf(name, sizeof(name), "tail-%" PRIu64 ".proof", fact->checkpoint.size);
	TRY(open_leaf(bundle, name, &proof));
	if (proof.index != fact->index || !span_equal(proof.leaf_bytes, fact->leaf_bytes))
		return fail(PROOF_INVALID, "%s: it is another leaf than the one that vouches for a fact", name);
	return OK;
}

static result open_facts(struct bundle *bundle, struct decision_fact *facts, size_t count)
{
	struct ledger_proof proof;
	for (size_t i = 0; i < count; i++) {
		TRY(open_part(bundle, facts[i].name, &proof));
		if (proof.kind != PROOF_FACT || memcmp(proof.key, facts[i].key, SPARSE_KEY_SIZE) != 0)
			return fail(PROOF_INVALID, "%s: it is about something else", facts[i].name);
		if (proof.checkpoint.size <= bundle->decision.index)
			return fail(PROOF_INVALID, "%s: it is from before the decision", facts[i].name);
		TRY(tie_fact(bundle, &proof));
		facts[i].value = proof.value;
	}
	return OK;
}

static result tie_earlier(struct bundle *bundle)
{
	struct verification *v = bundle->v;
	struct consistency_proof proof;
	struct checkpoint newer;
	struct span bytes;
	if (!v->has_earlier || v->earlier.size == bundle->head.size)
		return OK;
	result done = take_part(bundle, "earlier.consistency", &bytes);
	if (done == OK)
		done = consistency_proof_parse(bytes, &proof);
	if (done == OK)
		done = consistency_proof_verify(&proof, &v->earlier, &v->log, &newer);
	if (done == OK && (newer.size != bundle->head.size || memcmp(&newer.root, &bundle->head.root, sizeof(newer.root)) != 0))
		done = fail(PROOF_INVALID, "it leads to another checkpoint than the bundle's");
	return done == OK ? OK : fail_within(done, "earlier.consistency");
}

static json_t *bundle_json(const struct bundle *bundle, const struct decision_report *report)
{
	const struct decision *decision = &bundle->decision;
	char actor[ADDRESS_TEXT_SIZE], operation[OPERATION_NAME_SIZE];
	json_t *lines = json_array(), *grants = json_array();
	for (size_t i = 0; i < report->count; i++)
		json_array_append_new(lines, json_pack("{s:s, s:s}", "kind", report->lines[i].remark ? "note" : "ok", "text", report->lines[i].text));
	for (size_t i = 0; i < decision->link_count; i++)
		json_array_append_new(grants, json_hex(SPAN_ARRAY(decision->links[i].oid)));
	address_format(decision->actor, actor);
	operation_name(decision->request.operation, operation);
	return json_pack("{s:s, s:I, s:o, s:i, s:s, s:o, s:s, s:s, s:s, s:o, s:I, s:o, s:o}", "proves", "decision", "index",
		(json_int_t)decision->index, "txid", json_hex(SPAN_ARRAY(decision->txid)), "code", (int)decision->code, "reason",
		reason_name((enum reason)decision->code), "time", json_time(bundle->time), "actor", actor, "operation", operation, "scope",
		decision->request.scope, "grants", grants, "size", (json_int_t)bundle->head.size, "root",
		json_hex(SPAN_ARRAY(bundle->head.root.bytes)), "checks", lines);
}

static result show_bundle(const struct bundle *bundle, const struct decision_report *report)
{
	const struct decision *decision = &bundle->decision;
	char actor[ADDRESS_TEXT_SIZE], operation[OPERATION_NAME_SIZE], time[CLOCK_TEXT_SIZE];
	if (bundle->v->rows)
		return add_row(bundle->v, bundle->folder, bundle_json(bundle, report));
	address_format(decision->actor, actor);
	operation_name(decision->request.operation, operation);
	clock_format(bundle->time, time);
	print_file(bundle->folder, bundle->head.size);
	printf("leaf %" PRIu64 " of %s: %s asked for \"%s\" on %s, and the ledger said %s\n", decision->index, time, actor, operation,
		decision->request.scope, reason_name((enum reason)decision->code));
	for (size_t i = 0; i < report->count; i++)
		printf("  %s %s\n", report->lines[i].remark ? "note:" : "ok   ", report->lines[i].text);
	return OK;
}

static result verify_bundle(struct verification *v, const char *folder)
{
	struct bundle bundle = {.v = v, .folder = folder};
	struct decision_fact facts[DECISION_FACTS_MAX];
	struct decision_report report;
	TRY(open_decision(&bundle));
	TRY(open_time(&bundle));
	size_t count = decision_facts(&bundle.decision, facts);
	TRY(open_facts(&bundle, facts, count));
	TRY(tie_earlier(&bundle));
	TRY(decision_judge(&bundle.decision, bundle.time, facts, count, &report));
	return show_bundle(&bundle, &report);
}

/* ---- All of it ------------------------------------------------------------------------------------------- */

static result read_witnesses(struct verification *v)
{
	const struct words *words = &v->words->witnesses;
	void *room;
	if (words->count == 0)
		return v->words->quorum ? fail(USAGE, "--quorum goes with --witness") : OK;
	if (v->words->quorum > words->count)
		return fail(USAGE, "--quorum is more than there are witnesses");
	TRY(arena_alloc(&v->arena, words->count, sizeof(struct note_key), &room));
	v->witnesses = room;
	for (size_t i = 0; i < words->count; i++)
		TRY(ledger_witness_key_read(words->items[i], &v->witnesses[i]));
	v->quorum = v->words->quorum ? v->words->quorum : words->count;
	return OK;
}

static result prepare(struct verification *v, const struct options *options)
{
	const struct verify_words *words = v->words;
	struct span note;
	if (!words->log)
		return fail(USAGE, "say whose log it is: --log FILE, the log's verifier key (log.vkey), from a source that you trust");
	TRY(ledger_log_key_read(words->log, &v->log));
	TRY(read_witnesses(v));
	if (words->of) {
		if (options->operands.count != 1)
			return fail(USAGE, "--of goes with one file");
		TRY(ledger_thing_parse(words->of, &v->thing));
	}
	if (words->has_at && !words->of)
		return fail(USAGE, "--at goes with --of");
	if (words->earlier) {
		TRY(take_file(v, words->earlier, &note));
		result opened = checkpoint_open(note, &v->log, &v->earlier, NULL);
		if (opened != OK)
			return fail_within(opened, "%s", words->earlier);
		v->has_earlier = true;
	}
	v->rows = options->json ? json_array() : NULL;
	return OK;
}

static bool is_folder(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static result verify(const struct options *options, struct verify_words *words)
{
	CLEANUP(verification_free) struct verification v = {.words = words, .arena = arena_of(JUDGE_MEMORY)};
	TRY(prepare(&v, options));
	for (size_t i = 0; i < options->operands.count; i++) {
		const char *path = options->operands.items[i];
		if (words->of && is_folder(path))
			return fail(USAGE, "--of goes with a proof file; a folder is the bundle of a decision");
		result done = is_folder(path) ? verify_bundle(&v, path) : verify_file(&v, path);
		if (done != OK)
			return fail_within(done, "%s", path);
	}
	TRY(check_tied(&v));
	if (!v.rows) {
		printf("ACCEPTED: signed by %s%s%s\n", v.log.name, v.quorum ? ", cosigned by the quorum of witnesses" : "",
			v.has_earlier ? ", continues the earlier checkpoint" : "");
		return OK;
	}
	json_t *row = json_pack("{s:b, s:s, s:I, s:O}", "accepted", true, "log", v.log.name, "witnesses", (json_int_t)v.quorum, "files", v.rows);
	result printed = row ? json_print(stdout, row) : fail(NO_MEMORY, "json");
	json_decref(row);
	return printed;
}

static result parse_at(struct verify_words *words)
{
	char named[40];
	struct ledger_thing thing;
	if (!words->at_text)
		return OK;
	snprintf(named, sizeof(named), "leaf:%.30s", words->at_text);
	if (ledger_thing_parse(named, &thing) != OK)
		return fail(USAGE, "--at takes the index of a leaf");
	words->at = thing.index;
	words->has_at = true;
	return OK;
}

int verb_ledger_verify(int argc, char **argv)
{
	struct verify_words words = {.log = NULL};
	const struct option_row rows[] = {
		{"log", OPTION_TEXT, &words.log, "VKEY", "the log's verifier key: a file (log.vkey), or its text"},
		{"of", OPTION_TEXT, &words.of, "WHAT", "what the proof must be about, in the words of `troth ledger prove`"},
		{"at", OPTION_TEXT, &words.at_text, "INDEX", "and must show for this leaf: grant or registration alive, revocation not before"},
		{"earlier", OPTION_TEXT, &words.earlier, "CHECKPOINT", "a checkpoint kept from before, which all must continue"},
		{"witness", OPTION_LIST, &words.witnesses, "VKEY", "a witness that must have cosigned each checkpoint; several times"},
		{"quorum", OPTION_NUMBER, &words.quorum, "N", "how many of these witnesses suffice (default: all)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger verify",
		.usage = "FILE|FOLDER... --log VKEY",
		.description = "Judges offline what `troth ledger prove` and `troth ledger checkpoint` made: proofs of leaves and facts, consistency proofs,\n"
			       "checkpoints, and the folder of a decision with all that it rested on. Nothing but the log's key is believed. What a proof is about\n"
			       "is told by its key alone, which is a hash: name with --of what you asked for. WHAT is one of " LEDGER_THINGS ".",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 256,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = parse_at(&words);
	if (done == OK && !options.help)
		done = verify(&options, &words);
	return verb_end(done, argc, argv);
}

/* ---- Evidence of a fork ------------------------------------------------------------------------------------ */

/* A folder of evidence, or two files. */
static result evidence_paths(const struct options *options, char one[static PATH_SIZE], char other[static PATH_SIZE])
{
	const struct words *operands = &options->operands;
	if (operands->count == 2) {
		TRY(path_join(one, "", operands->items[0]));
		return path_join(other, "", operands->items[1]);
	}
	if (!is_folder(operands->items[0]))
		return fail(USAGE, "evidence is a folder, or two signed checkpoints");
	TRY(path_join(one, operands->items[0], "one.checkpoint"));
	return path_join(other, operands->items[0], "other.checkpoint");
}

static result verify_evidence(const struct options *options, const char *vkey)
{
	CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes other = BYTES_EMPTY;
	char one_path[PATH_SIZE], other_path[PATH_SIZE];
	struct note_key log;
	struct checkpoint first, second;
	if (!vkey)
		return fail(USAGE, "say whose log it is: --log FILE, the log's verifier key (log.vkey), from a source that you trust");
	TRY(ledger_log_key_read(vkey, &log));
	TRY(evidence_paths(options, one_path, other_path));
	TRY(file_read(one_path, FILE_MAX, &one));
	TRY(file_read(other_path, FILE_MAX, &other));
	TRY(ledger_fork_evident(&log, bytes_span(&one), bytes_span(&other)));
	TRY(checkpoint_open(bytes_span(&one), &log, &first, NULL));
	TRY(checkpoint_open(bytes_span(&other), &log, &second, NULL));
	if (!options->json) {
		printf("FORKED: %s has signed two roots of size %" PRIu64 ", which no honest log does; nothing it says can be relied on\n  ", log.name, first.size);
		verb_print_hex(SPAN_ARRAY(first.root.bytes));
		printf("  %s\n  ", one_path);
		verb_print_hex(SPAN_ARRAY(second.root.bytes));
		printf("  %s\n", other_path);
		return OK;
	}
	json_t *row = json_pack("{s:b, s:s, s:I, s:[o,o]}", "forked", true, "log", log.name, "size", (json_int_t)first.size, "roots",
		json_hex(SPAN_ARRAY(first.root.bytes)), json_hex(SPAN_ARRAY(second.root.bytes)));
	result printed = row ? json_print(stdout, row) : fail(NO_MEMORY, "json");
	json_decref(row);
	return printed;
}

int verb_ledger_verify_fork(int argc, char **argv)
{
	const char *log = NULL;
	const struct option_row rows[] = {{"log", OPTION_TEXT, &log, "VKEY", "the log's verifier key: a file (log.vkey), or its text"}};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger verify-fork",
		.usage = "FOLDER | CHECKPOINT CHECKPOINT --log VKEY",
		.description = "Checks evidence that a log was forked: two checkpoints of one size and two roots, both signed by its key. Exit 0 when it holds:\n"
			       "then the log has told two stories, and whoever holds its public key can see it. FOLDER is the `evidence` that a client keeps\n"
			       "when it meets a fork; the log.vkey in it says which log is meant, but the key to check with is yours.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = verify_evidence(&options, log);
	return verb_end(done, argc, argv);
}
