#include "ledger/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "ledger/api.h"
#include "ledger/place.h"
#include "net/https_client.h"
#include "net/tcp.h"
#include "wire/text.h"

/*
 * Theory of operation. Every answer that carries a signed head goes through judge: the head is compared with the one that the
 * place remembers, over a consistency proof that is fetched for it, and takes its place when it is newer. The file is replaced under
 * a lock that is never held while something is asked; when another process was faster, the comparison is made again.
 */

enum { PROBE_MS = 2000, TRIES = 16, PATH_MAX_ = 512, DECODE_MAX = 512 * 1024 };

struct ledger_client {
	struct ledger_place place;
	struct https_client *http;    /* NULL: direct */
	struct ledger_engine *engine; /* read-only; NULL: by the service */
	bool unproved, forked;
};

/* ---- Opening ---------------------------------------------------------------------------------------- */

static result evidence_is_there(const char *place)
{
	char path[PATH_SIZE];
	TRY(path_join(path, place, "evidence"));
	if (access(path, F_OK) != 0)
		return OK;
	return fail(LEDGER_FORKED, "'%s' holds two histories that this ledger has signed", path);
}

static result open_http(struct ledger_client *client, const struct ledger_client_options *options)
{
	const struct https_client_options http = {
		.url = client->place.url,
		.ca_pem = bytes_span(&client->place.ca_pem),
		.key = client->place.key.is_private ? &client->place.key : NULL,
		.certificate_pem = bytes_span(&client->place.certificate_pem),
		.timeout_ms = options->timeout_ms,
	};
	return https_client_new(&http, &client->http);
}

/* Whether anybody listens where the service last said that it does. */
static bool somebody_listens(const char *url)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	return url[0] && tcp_connect(url + strlen("https://"), PROBE_MS, &fd) == OK;
}

static result open_client(struct ledger_client *client, const struct ledger_client_options *options)
{
	TRY(ledger_place_read(options->place, &client->place));
	TRY(evidence_is_there(client->place.path));
	client->unproved = options->unproved;
	if (options->url) {
		if (strlen(options->url) > LEDGER_URL_MAX)
			return fail(BAD_VALUE, "the url");
		snprintf(client->place.url, sizeof(client->place.url), "%s", options->url);
		return open_http(client, options);
	}
	if (!client->place.ledger[0] || somebody_listens(client->place.url))
		return open_http(client, options);
	const struct ledger_engine_options engine = {.dir = client->place.ledger, .read_only = true};
	client->place.url[0] = '\0';
	return ledger_engine_open(&engine, &client->engine, NULL);
}

result ledger_client_open(const struct ledger_client_options *options, struct ledger_client **out)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = calloc(1, sizeof(*client));
	if (!client)
		return fail(NO_MEMORY, "a client");
	TRY(open_client(client, options));
	*out = client;
	client = NULL; /* transferred */
	return OK;
}

void ledger_client_free(struct ledger_client *client)
{
	if (!client)
		return;
	https_client_free(client->http);
	ledger_engine_close(client->engine);
	ledger_place_free(&client->place);
	free(client);
}

void ledger_client_cleanup(struct ledger_client **at)
{
	ledger_client_free(*at);
}

const uint8_t *ledger_client_chain(const struct ledger_client *client)
{
	return client->place.chain;
}

const struct note_key *ledger_client_log_key(const struct ledger_client *client)
{
	return &client->place.log;
}

const char *ledger_client_url(const struct ledger_client *client)
{
	return client->place.url;
}

bool ledger_client_is_direct(const struct ledger_client *client)
{
	return client->engine != NULL;
}

bool ledger_client_may_write(const struct ledger_client *client)
{
	return client->http && client->place.key.is_private;
}

/* ---- Asking ----------------------------------------------------------------------------------------- */

static result judge_answer(const struct ledger_client *client, result asked, struct https_answer *answer)
{
	if (asked == PEER_UNREACHABLE)
		return fail(LEDGER_NOT_RUNNING, "nobody answers at %s", client->place.url);
	TRY(asked);
	return answer->status == 200 ? OK : api_failure_parse(bytes_span(&answer->body), answer->status);
}

static result get(struct ledger_client *client, struct bytes *out, const char *format, ...) PRINTF_LIKE(3, 4);

static result get(struct ledger_client *client, struct bytes *out, const char *format, ...)
{
	CLEANUP(https_answer_free) struct https_answer answer = HTTPS_ANSWER_EMPTY;
	char path[PATH_MAX_];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	if (client->forked)
		return evidence_is_there(client->place.path);
	if (len < 0 || (size_t)len >= sizeof(path))
		return fail(TOO_LARGE, "a request");
	TRY(judge_answer(client, https_client_get(client->http, path, &answer), &answer));
	*out = bytes_move(&answer.body);
	return OK;
}

static result post(struct ledger_client *client, const char *path, struct span body, struct bytes *out)
{
	CLEANUP(https_answer_free) struct https_answer answer = HTTPS_ANSWER_EMPTY;
	/* A service that refuses to read on may be gone before its answer is read. */
	if (body.len > API_REQUEST_MAX)
		return fail(TOO_LARGE, "%zu bytes; a ledger's service takes %d", body.len, API_REQUEST_MAX);
	if (client->forked)
		return evidence_is_there(client->place.path);
	TRY(judge_answer(client, https_client_post(client->http, path, "application/octet-stream", body, &answer), &answer));
	*out = bytes_move(&answer.body);
	return OK;
}

static void free_json(json_t **at)
{
	json_decref(*at);
}

static result load_json(const struct bytes *text, json_t **out)
{
	json_t *json = json_loadb((const char *)text->data, text->len, JSON_REJECT_DUPLICATES, NULL);
	if (!json)
		return fail(ANSWER_BROKEN, "the service's answer is no JSON");
	*out = json;
	return OK;
}

/* ---- Heads ------------------------------------------------------------------------------------------ */

result ledger_fork_evident(const struct note_key *log, struct span one, struct span other)
{
	struct checkpoint a, b;
	TRY(checkpoint_open(one, log, &a, NULL));
	TRY(checkpoint_open(other, log, &b, NULL));
	if (a.size != b.size)
		return fail(PROOF_INVALID, "the checkpoints are of sizes %" PRIu64 " and %" PRIu64 ": a consistency proof would say whether they fit", a.size,
			b.size);
	if (memcmp(&a.root, &b.root, sizeof(a.root)) == 0)
		return fail(PROOF_INVALID, "the checkpoints say the same");
	return OK;
}

static result write_evidence(const struct ledger_client *client, struct span one, struct span other, const char *why)
{
	char folder[PATH_SIZE], path[PATH_SIZE], vkey[NOTE_VKEY_SIZE + 1];
	note_key_format(&client->place.log, vkey);
	memcpy(vkey + strlen(vkey), "\n", 2);
	TRY(path_join(folder, client->place.path, "evidence"));
	TRY(file_make_dirs(folder, 0700));
	const struct {
		const char *name;
		struct span content;
	} files[] = {{"one.checkpoint", one}, {"other.checkpoint", other}, {"log.vkey", span_str(vkey)}, {"why.txt", span_str(why)}};
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		TRY(path_join(path, folder, files[i].name));
		TRY(file_write_atomic(path, files[i].content, 0600));
	}
	return OK;
}

/* From here on this place is of no use, whatever is said to it. */
static result forked(struct ledger_client *client, struct span one, struct span other, const char *why)
{
	char text[400], when[CLOCK_TEXT_SIZE];
	clock_format(clock_wall_ms(), when);
	snprintf(text, sizeof(text), "Seen %s: %s\n", when, why);
	client->forked = true;
	if (write_evidence(client, one, other, text) != OK)
		return fail(LEDGER_FORKED, "%s; and the evidence could not be kept in '%s': %s", why, client->place.path, failure_text());
	return fail(LEDGER_FORKED, "%s; both heads are in '%s/evidence'", why, client->place.path);
}

static result remembered(const struct ledger_client *client, struct bytes *out_note, struct checkpoint *out)
{
	char path[PATH_SIZE];
	TRY(path_join(path, client->place.path, "head"));
	TRY(file_read(path, NOTE_MAX, out_note));
	result opened = checkpoint_open(bytes_span(out_note), &client->place.log, out, NULL);
	return opened == OK ? OK : fail_within(opened, "'%s'", path);
}

result ledger_client_remembered(struct ledger_client *client, struct bytes *out_note, struct checkpoint *out)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	struct checkpoint head;
	TRY(remembered(client, &note, &head));
	if (out_note)
		*out_note = bytes_move(&note);
	if (out)
		*out = head;
	return OK;
}

/* Size of what is remembered; 0 for nothing. What cannot be read is no reason to believe anything. */
static result remembered_size(const struct ledger_client *client, uint64_t *out)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	struct checkpoint head;
	result read = remembered(client, &note, &head);
	*out = read == OK ? head.size : 0;
	return read == NOT_FOUND ? OK : read;
}

static result fetch_consistency(struct ledger_client *client, uint64_t from, uint64_t to, struct merkle_proof *out)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	if (client->engine)
		return ledger_engine_consistency(client->engine, from, to, out);
	result got = get(client, &text, "/v1/consistency?from=%" PRIu64 "&to=%" PRIu64, from, to);
	if (got == NOT_FOUND)
		return fail(LEDGER_ROLLED_BACK, "the ledger does not know sizes %" PRIu64 " and %" PRIu64 ", of which it has signed both", from, to);
	TRY(got);
	return api_hashes_take(bytes_span(&text), out);
}

/* Two heads of this log, whichever is older: one history? */
static result compare(struct ledger_client *client, struct span a_note, const struct checkpoint *a, struct span b_note, const struct checkpoint *b,
	struct merkle_proof *out)
{
	struct merkle_proof proof = {0};
	char why[256];
	if (a->size > b->size)
		return compare(client, b_note, b, a_note, a, out);
	if (a->size == b->size) {
		if (memcmp(&a->root, &b->root, sizeof(a->root)) == 0)
			return OK;
		snprintf(why, sizeof(why), "two heads of size %" PRIu64 " have different roots", a->size);
		return forked(client, a_note, b_note, why);
	}
	TRY(fetch_consistency(client, a->size, b->size, &proof));
	if (merkle_verify_consistency(a->size, &a->root, b->size, &b->root, &proof) != OK) {
		snprintf(why, sizeof(why), "the head of size %" PRIu64 " does not continue that of size %" PRIu64, b->size, a->size);
		return forked(client, a_note, b_note, why);
	}
	if (out)
		*out = proof;
	return OK;
}

static result lock_head(const struct ledger_client *client, struct fd *out)
{
	char path[PATH_SIZE];
	int locked;
	TRY(path_join(path, client->place.path, "head.lock"));
	TRY(file_open(path, O_RDWR | O_CREAT, 0600, out));
	do
		locked = flock(out->n, LOCK_EX);
	while (locked != 0 && errno == EINTR);
	return locked == 0 ? OK : fail_errno("locking '%s'", path);
}

/* Puts the note in the place of `known` (empty: of nothing). *out_done false: another process has put one there meanwhile. */
static result remember(const struct ledger_client *client, struct span known, struct span note, bool *out_done)
{
	CLEANUP(fd_close) struct fd lock = FD_NONE;
	CLEANUP(bytes_free) struct bytes now = BYTES_EMPTY;
	char path[PATH_SIZE];
	*out_done = false;
	TRY(path_join(path, client->place.path, "head"));
	TRY(lock_head(client, &lock));
	result read = file_read(path, NOTE_MAX, &now);
	if (read != OK && read != NOT_FOUND)
		return read;
	if (!span_equal(bytes_span(&now), known))
		return OK;
	TRY(file_write_atomic(path, note, 0600));
	*out_done = true;
	return OK;
}

/*
 * A signed head that came from the service. `before`: the size that was remembered when it was asked, when it is to be the latest;
 * else 0. Gives the checkpoint.
 */
static result judge(struct ledger_client *client, struct span note, uint64_t before, struct checkpoint *out)
{
	struct checkpoint head, known;
	TRY(checkpoint_open(note, &client->place.log, &head, NULL));
	if (head.size == 0)
		return fail(PROOF_INVALID, "a head of an empty log");
	if (head.size < before)
		return fail(LEDGER_ROLLED_BACK, "the ledger shows a head of size %" PRIu64 "; it has shown %" PRIu64 " before", head.size, before);
	for (int i = 0; i < TRIES; i++) {
		CLEANUP(bytes_free) struct bytes known_note = BYTES_EMPTY;
		bool done = true;
		result read = remembered(client, &known_note, &known);
		if (read != OK && read != NOT_FOUND)
			return read;
		if (read == OK)
			TRY(compare(client, bytes_span(&known_note), &known, note, &head, NULL));
		if (read == NOT_FOUND || head.size > known.size)
			TRY(remember(client, bytes_span(&known_note), note, &done));
		if (done) {
			if (out)
				*out = head;
			return OK;
		}
	}
	return fail(BUSY, "other processes keep changing '%s/head'", client->place.path);
}

static result fetch_head(struct ledger_client *client, struct bytes *out)
{
	if (client->engine)
		return ledger_engine_checkpoint(client->engine, out);
	return get(client, out, "/checkpoint");
}

result ledger_client_checkpoint(struct ledger_client *client, struct bytes *out_note, struct checkpoint *out)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	uint64_t before;
	TRY(remembered_size(client, &before));
	TRY(fetch_head(client, &note));
	TRY(judge(client, bytes_span(&note), before, out));
	if (out_note)
		*out_note = bytes_move(&note);
	return OK;
}

result ledger_client_checkpoint_at(struct ledger_client *client, uint64_t size, struct bytes *out_note, struct checkpoint *out)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	struct checkpoint head;
	if (client->engine)
		TRY(ledger_engine_checkpoint_at(client->engine, size, &note));
	else
		TRY(get(client, &note, "/v1/checkpoints/%" PRIu64, size));
	TRY(judge(client, bytes_span(&note), 0, &head));
	if (head.size != size)
		return fail(ANSWER_BROKEN, "a checkpoint of size %" PRIu64 " instead of %" PRIu64, head.size, size);
	if (out_note)
		*out_note = bytes_move(&note);
	if (out)
		*out = head;
	return OK;
}

result ledger_client_consistency(struct ledger_client *client, struct span first_note, struct merkle_proof *out, struct bytes *out_second_note)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	struct merkle_proof proof = {0};
	struct checkpoint first, second;
	TRY(checkpoint_open(first_note, &client->place.log, &first, NULL));
	TRY(ledger_client_checkpoint(client, &note, &second));
	if (first.size > second.size)
		return fail(LEDGER_ROLLED_BACK, "the checkpoint is of size %" PRIu64 ", the ledger's latest of %" PRIu64, first.size, second.size);
	TRY(compare(client, first_note, &first, bytes_span(&note), &second, &proof));
	*out = proof;
	if (out_second_note)
		*out_second_note = bytes_move(&note);
	return OK;
}

/* ---- Proofs ----------------------------------------------------------------------------------------- */

result ledger_client_leaf_proof(struct ledger_client *client, uint64_t index, uint64_t size, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(DECODE_MAX);
	struct ledger_proof proof;
	uint64_t before = 0;
	if (size == 0)
		TRY(remembered_size(client, &before));
	if (client->engine)
		TRY(ledger_engine_leaf_proof(client->engine, index, size, &bytes));
	else
		TRY(get(client, &bytes, "/v1/proofs/leaf/%" PRIu64 "?size=%" PRIu64, index, size));
	TRY(ledger_proof_open(bytes_span(&bytes), &client->place.log, &arena, &proof));
	if (proof.kind != PROOF_LEAF || proof.index != index || (size != 0 && proof.checkpoint.size != size))
		return fail(PROOF_INVALID, "a proof of something else than leaf %" PRIu64, index);
	TRY(judge(client, proof.note, before, NULL));
	*out = bytes_move(&bytes);
	return OK;
}

result ledger_client_fact_proof(struct ledger_client *client, const uint8_t key[static SPARSE_KEY_SIZE], struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(DECODE_MAX);
	struct ledger_proof proof;
	char hex[2 * SPARSE_KEY_SIZE + 1];
	uint64_t before;
	hex_encode(span_of(key, SPARSE_KEY_SIZE), hex);
	TRY(remembered_size(client, &before));
	if (client->engine)
		TRY(ledger_engine_fact_proof(client->engine, key, &bytes));
	else
		TRY(get(client, &bytes, "/v1/proofs/fact/%s", hex));
	TRY(ledger_proof_open(bytes_span(&bytes), &client->place.log, &arena, &proof));
	if (proof.kind != PROOF_FACT || memcmp(proof.key, key, SPARSE_KEY_SIZE) != 0)
		return fail(PROOF_INVALID, "a proof of another fact");
	TRY(judge(client, proof.note, before, NULL));
	*out = bytes_move(&bytes);
	return OK;
}

result ledger_client_leaf(struct ledger_client *client, uint64_t index, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(DECODE_MAX);
	struct ledger_proof proof;
	TRY(ledger_client_leaf_proof(client, index, 0, &bytes));
	TRY(ledger_proof_open(bytes_span(&bytes), &client->place.log, &arena, &proof));
	return bytes_copy(proof.leaf_bytes, out);
}

result ledger_client_fact(struct ledger_client *client, enum fact_type type, struct span id, struct arena *arena, void *out, bool *out_there,
	uint64_t *out_size)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena opened = arena_of(DECODE_MAX);
	const struct schema *schema = fact_schema(type);
	struct ledger_proof proof;
	struct span value;
	uint8_t key[SPARSE_KEY_SIZE];
	if (!schema)
		return fail(BAD_VALUE, "facts of type %d", (int)type);
	fact_key(type, id, key);
	TRY(ledger_client_fact_proof(client, key, &bytes));
	TRY(ledger_proof_open(bytes_span(&bytes), &client->place.log, &opened, &proof));
	bool there = proof.value.len > 0;
	if (there) {
		TRY(arena_copy(arena, proof.value, &value));
		TRY(schema_decode(schema, value, arena, out));
	}
	*out_there = there;
	if (out_size)
		*out_size = proof.checkpoint.size;
	return OK;
}

result ledger_client_config(struct ledger_client *client, struct arena *arena, struct ledger_config *out)
{
	struct config_fact fact;
	bool there;
	TRY(ledger_client_fact(client, FACT_CONFIG, SPAN_EMPTY, arena, &fact, &there, NULL));
	if (!there)
		return fail(NOT_FOUND, "the ledger has no configuration");
	return schema_decode(&ledger_config_schema, fact.config, arena, out);
}

/* ---- Sending and finding ---------------------------------------------------------------------------- */

/* The leaf at the receipt's index holds a transaction of its name with its code. */
static result prove_receipt(struct ledger_client *client, const struct ledger_receipt *receipt)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(DECODE_MAX);
	struct ledger_proof proof;
	struct transaction tx;
	uint8_t txid[OID_SIZE];
	TRY(ledger_client_leaf_proof(client, receipt->index, receipt->size, &bytes));
	TRY(ledger_proof_open(bytes_span(&bytes), &client->place.log, &arena, &proof));
	if (proof.leaf.kind != LEAF_TX || object_peek(KIND_TRANSACTION, proof.leaf.tx, &arena, &tx, txid) != OK)
		return fail(PROOF_INVALID, "leaf %" PRIu64 " is no transaction", receipt->index);
	if (memcmp(txid, receipt->txid, OID_SIZE) != 0 || proof.leaf.code != (uint32_t)receipt->code)
		return fail(PROOF_INVALID, "leaf %" PRIu64 " is not what the service says that it is", receipt->index);
	return OK;
}

static result read_receipt(const struct bytes *answer, const uint8_t *txid, struct ledger_receipt *out)
{
	CLEANUP(free_json) json_t *json = NULL;
	TRY(load_json(answer, &json));
	TRY(api_receipt_parse(json, out));
	if (txid && memcmp(out->txid, txid, OID_SIZE) != 0)
		return fail(ANSWER_BROKEN, "a receipt of another transaction");
	return OK;
}

static result name_of(struct span tx, uint8_t out[static OID_SIZE], const uint8_t **out_name)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DECODE_MAX);
	struct transaction decoded;
	/* What is no transaction has no name, and is for the ledger to refuse. */
	*out_name = object_peek(KIND_TRANSACTION, tx, &arena, &decoded, out) == OK ? out : NULL;
	return OK;
}

result ledger_client_submit(struct ledger_client *client, struct span tx, struct ledger_receipt *out)
{
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	struct ledger_receipt receipt;
	uint8_t txid[OID_SIZE];
	const uint8_t *name;
	if (client->engine)
		return fail(LEDGER_NOT_RUNNING, "'%s' is only read without its service", client->place.ledger);
	TRY(name_of(tx, txid, &name));
	TRY(post(client, "/v1/transactions", tx, &answer));
	TRY(read_receipt(&answer, name, &receipt));
	if (receipt.on_ledger && !client->unproved)
		TRY(prove_receipt(client, &receipt));
	*out = receipt;
	return OK;
}

result ledger_client_check(struct ledger_client *client, struct span tx, struct ledger_receipt *out)
{
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	uint8_t txid[OID_SIZE];
	const uint8_t *name;
	if (client->engine)
		return ledger_engine_check(client->engine, tx, out);
	TRY(name_of(tx, txid, &name));
	TRY(post(client, "/v1/check", tx, &answer));
	return read_receipt(&answer, name, out);
}

result ledger_client_find(struct ledger_client *client, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out)
{
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	struct ledger_receipt receipt;
	char hex[2 * OID_SIZE + 1];
	hex_encode(span_of(txid, OID_SIZE), hex);
	if (client->engine) {
		TRY(ledger_engine_find(client->engine, txid, &receipt));
	} else {
		TRY(get(client, &answer, "/v1/transactions/%s", hex));
		TRY(read_receipt(&answer, txid, &receipt));
		if (!receipt.on_ledger)
			return fail(ANSWER_BROKEN, "a receipt of what is not on the ledger");
	}
	TRY(prove_receipt(client, &receipt));
	*out = receipt;
	return OK;
}

result ledger_client_decide(struct ledger_client *client, const struct access_question *question, struct access_decision *out, uint64_t *out_size)
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	CLEANUP(free_json) json_t *json = NULL;
	uint64_t size;
	if (client->engine) {
		TRY(ledger_engine_decide(client->engine, question, out, &size));
	} else {
		TRY(api_question_encode(question, &body));
		TRY(post(client, "/v1/decide", bytes_span(&body), &answer));
		TRY(load_json(&answer, &json));
		TRY(api_decision_parse(json, out, &size));
	}
	if (out_size)
		*out_size = size;
	return OK;
}

/* ---- Walking ---------------------------------------------------------------------------------------- */

struct walk {
	const struct ledger_filter *filter;
	struct checkpoint head;
	uint64_t next, left; /* index to go on from; rows that may still be given */
	ledger_visit *each;
	void *arg;
};

/* The row is of the log, and is one that was asked for. */
static result check_entry(const struct walk *walk, const struct api_entry *entry, struct ledger_leaf *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DECODE_MAX);
	const struct ledger_filter *filter = walk->filter;
	struct merkle_hash hash;
	struct transaction tx;
	uint8_t sender[ADDRESS_SIZE];
	merkle_leaf(entry->leaf, &hash);
	if (!entry->has_path || entry->index < walk->next || entry->index >= walk->head.size)
		return fail(ANSWER_BROKEN, "entry %" PRIu64 " out of order", entry->index);
	TRY(merkle_verify_inclusion(&hash, entry->index, walk->head.size, &entry->path, &walk->head.root));
	TRY(ledger_leaf_decode(entry->leaf, out));
	if (out->kind != LEAF_TX)
		return fail(ANSWER_BROKEN, "entry %" PRIu64 " is no transaction", entry->index);
	TRY(object_peek(KIND_TRANSACTION, out->tx, &arena, &tx, NULL));
	address_of(tx.sender, sender);
	if ((filter->sender && memcmp(filter->sender, sender, ADDRESS_SIZE) != 0) || (filter->type && filter->type != tx.type) ||
		(filter->only_ok && out->code != OK))
		return fail(ANSWER_BROKEN, "entry %" PRIu64 " is not one that was asked for", entry->index);
	return OK;
}

static result give_page(struct walk *walk, struct span page, bool *out_empty)
{
	struct reader r = reader_of(page);
	*out_empty = page.len == 0;
	while (reader_left(&r) > 0 && walk->left > 0) {
		struct api_entry entry;
		struct ledger_leaf leaf;
		TRY(api_entry_take(&r, &entry));
		TRY(check_entry(walk, &entry, &leaf));
		const struct ledger_row row = {.index = entry.index, .size = entry.size, .time = entry.time, .bytes = entry.leaf, .leaf = &leaf};
		walk->next = entry.index + 1;
		walk->left--;
		TRY(walk->each(walk->arg, &row));
	}
	return OK;
}

static result fetch_page(struct ledger_client *client, const struct walk *walk, struct bytes *out)
{
	const struct ledger_filter *filter = walk->filter;
	char sender[ADDRESS_TEXT_SIZE + 16] = "", address[ADDRESS_TEXT_SIZE];
	if (filter->sender) {
		address_format(filter->sender, address);
		snprintf(sender, sizeof(sender), "&sender=%s", address);
	}
	return get(client, out,
		"/v1/entries?from=%" PRIu64 "&since=%" PRIu64 "&until=%" PRIu64 "&type=%u&ok=%d&limit=%" PRIu64 "&paths=%" PRIu64 "%s", walk->next,
		filter->since_ms, filter->until_ms, filter->type, (int)filter->only_ok, walk->left < ENTRIES_MAX ? walk->left : (uint64_t)ENTRIES_MAX,
		walk->head.size, sender);
}

result ledger_client_each(struct ledger_client *client, const struct ledger_filter *filter, ledger_visit *each, void *arg)
{
	struct walk walk = {.filter = filter, .next = filter->from, .left = filter->limit ? filter->limit : UINT64_MAX, .each = each, .arg = arg};
	bool empty = false;
	if (client->engine)
		return ledger_engine_each(client->engine, filter, each, arg);
	TRY(ledger_client_checkpoint(client, NULL, &walk.head));
	while (!empty && walk.left > 0 && walk.next < walk.head.size) {
		CLEANUP(bytes_free) struct bytes page = BYTES_EMPTY;
		TRY(fetch_page(client, &walk, &page));
		TRY(give_page(&walk, bytes_span(&page), &empty));
	}
	return OK;
}

/* ---- Status ----------------------------------------------------------------------------------------- */

result ledger_client_status(struct ledger_client *client, json_t **out)
{
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	struct ledger_statistics statistics;
	struct ledger_head head;
	char vkey[NOTE_VKEY_SIZE];
	if (client->http) {
		TRY(get(client, &answer, "/v1/status"));
		return load_json(&answer, out);
	}
	ledger_engine_head(client->engine, &head);
	ledger_engine_statistics(client->engine, &statistics);
	note_key_format(&client->place.log, vkey);
	*out = json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:I}", "log", client->place.log.name, "vkey", vkey, "chain",
		json_hex(SPAN_ARRAY(client->place.chain)), "size", (json_int_t)head.size, "height", (json_int_t)head.height, "time", json_time(head.time),
		"root", json_hex(SPAN_ARRAY(head.root.bytes)), "facts", (json_int_t)statistics.facts);
	return *out ? OK : fail(NO_MEMORY, "the status");
}
