/*
 * Leaves of the log (docs/PROTOCOL.ledger, "The log"): what was sent with its verdict, and at the end of each batch a TAIL
 * that says when it was, what it holds and which state it led to.
 *
 *   transaction  CBOR [1, tx, code, SHA-256(events)]
 *   TAIL         CBOR [2, height, time, first index, count, state root]
 */
#ifndef TROTH_LEDGER_LEAF_H
#define TROTH_LEDGER_LEAF_H

#include "base/writer.h"
#include "crypto/hash.h"

enum { LEAF_MAX = 60 * 1024 };
enum leaf_kind { LEAF_TX = 1, LEAF_TAIL = 2 };

struct ledger_leaf {
	uint8_t kind;
	/* LEAF_TX */
	struct span tx;
	uint32_t code;
	uint8_t events_hash[SHA256_SIZE];
	/* LEAF_TAIL */
	uint64_t height, time, first, count; /* `count` without the TAIL itself, whose index is first + count */
	uint8_t state_root[SHA256_SIZE];
};

/* Appends the leaf's one encoding; what cannot be encoded fails the writer. */
void ledger_leaf_put(const struct ledger_leaf *leaf, struct writer *w);
/* Strict; borrows. BAD_VALUE, BAD_TYPE, NOT_DETERMINISTIC, TRAILING_BYTES, TOO_LARGE, TRUNCATED. */
NODISCARD result ledger_leaf_decode(struct span bytes, struct ledger_leaf *out);

#endif
