/*
 * A witness of logs (c2sp.org/tlog-witness): it cosigns a log's checkpoint only when that continues the last one it has
 * cosigned, so a log cannot show two histories under one witness's name. Pure: what a request says, whether it may be
 * cosigned, what an answer is worth. What a witness remembers: witness_store.h. Over HTTPS: witness_service.h (the
 * witness) and witness_asker.h (who asks several).
 *
 * A request is a consistency proof (ledger/checkpoint.h) of at most 63 hashes. Read strictly, three-line checkpoints only, as
 * everywhere in Troth.
 */
#ifndef TROTH_LEDGER_WITNESS_H
#define TROTH_LEDGER_WITNESS_H

#include "ledger/checkpoint.h"

enum { WITNESS_KEYS_MAX = 4, WITNESS_PROOF_MAX = 63, WITNESS_REQUEST_MAX = NOTE_MAX + WITNESS_PROOF_MAX * 45 + 32 };

/* What a witness knows of one log: its keys as the operator gave them, and the last checkpoint that was cosigned. */
struct witness_log {
	char origin[NOTE_NAME_MAX + 1]; /* a checkpoint's first line; often, not always, the name of the key */
	struct note_key keys[WITNESS_KEYS_MAX]; /* any of them speaks for the log */
	size_t key_count;
	uint64_t size; /* 0: nothing was cosigned yet */
	struct merkle_hash root;
};
/* A log of which nothing was seen. BAD_VALUE, BAD_NAME. `origin` NULL: the key's name. */
NODISCARD result witness_log_new(const char *origin, const struct note_key *key, struct witness_log *out);

/* Borrows from the body. */
struct witness_request {
	struct consistency_proof proof;
	struct note note; /* of proof.checkpoint */
	struct checkpoint checkpoint;
};
/* The reasons of the parsers: BAD_VALUE, TRUNCATED, NOT_SIGNED, TOO_LARGE ... */
NODISCARD result witness_request_parse(struct span body, struct witness_request *out);

/*
 * Whether the witness that knows `log` cosigns, in the order of the specification: NOT_SIGNED or BAD_SIGNATURE (no key of the
 * log signed it), BAD_VALUE (older than what it says it continues), WITNESS_CONFLICT (another size than `log` has),
 * LEDGER_FORKED (the size that `log` has under another root: the log has signed two histories), PROOF_INVALID.
 * Whoever gets OK makes request->checkpoint durable as the log's latest before it lets the cosignature out.
 */
NODISCARD result witness_judge(const struct witness_log *log, const struct witness_request *request);
/* The key of the log that signed it; NULL after witness_judge gave NOT_SIGNED or BAD_SIGNATURE. */
const struct note_key *witness_signer(const struct witness_log *log, const struct witness_request *request);

/* The answer's status for what judging gave: 200, 400, 403, 404, 409, 422; 500 for what is no verdict. */
int witness_status(result judged);

/* The body of a 409: the size that the witness has. */
NODISCARD result witness_size_parse(struct span body, uint64_t *out);

/*
 * What a witness answered to the checkpoint whose text is `text`: appends the lines that are its cosignatures, each verified,
 * and gives the time of the last. Lines of other keys are passed over. NOT_SIGNED when none is left, BAD_SIGNATURE, and the
 * parser's.
 */
NODISCARD result witness_answer_open(struct span text, struct span answer, const struct note_key *witness, struct writer *out_lines,
	uint64_t *out_time_s);

#endif
