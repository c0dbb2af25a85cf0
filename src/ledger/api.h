/*
 * The forms in which service and client talk, beside those that the log itself has (docs/PROTOCOL.ledger, "Service"): what one
 * writes the other reads, so both stand here. Pure.
 */
#ifndef TROTH_LEDGER_API_H
#define TROTH_LEDGER_API_H

#include "ledger/engine.h"
#include "wire/json.h"

enum { API_REQUEST_MAX = 64 * 1024, ENTRIES_MAX = 1000, ENTRIES_BYTES_MAX = 1 << 20 };

/* {"txid", "code", "reason", "on_ledger", "index", "size", "time", "text"}; the three in the middle are null off the ledger. */
json_t *api_receipt_json(const struct ledger_receipt *receipt);
NODISCARD result api_receipt_parse(const json_t *json, struct ledger_receipt *out);

/* {"code", "reason", "basis", "rule_scope", "rule", "grants", "at_link", "size"} */
json_t *api_decision_json(const struct access_decision *decision, uint64_t size);
NODISCARD result api_decision_parse(const json_t *json, struct access_decision *out, uint64_t *out_size);

/* A failure: {"error", "code", "text", "do"}. Gives the reason that it names, with its text as the failure's. ANSWER_BROKEN. */
NODISCARD result api_failure_parse(struct span body, int status);

/* CBOR {1: actor, 2: operation, 3: scope, 4: measurement or null, 5: links}. */
NODISCARD result api_question_encode(const struct access_question *question, struct bytes *out);
/* `arena` holds the lists; the rest borrows. */
NODISCARD result api_question_decode(struct span bytes, struct arena *arena, struct access_question *out);

/* One item of a CBOR sequence: [index, size, time, leaf] or, with its path at some size, [index, size, time, leaf, path]. */
struct api_entry {
	uint64_t index, size, time;
	struct span leaf;
	bool has_path;
	struct merkle_proof path;
};
void api_entry_put(const struct api_entry *entry, struct writer *w);
NODISCARD result api_entry_take(struct reader *r, struct api_entry *out); /* borrows */

/* One base64 hash per line. */
NODISCARD result api_hashes_put(const struct merkle_proof *proof, struct writer *w);
NODISCARD result api_hashes_take(struct span text, struct merkle_proof *out);

#endif
