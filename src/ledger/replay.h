/*
 * A whole log gone through from outside, by whoever can only ask a service: every leaf from the first to the latest checkpoint is
 * read, put into a tree of one's own, and applied again by the contract. Verdicts, hashes of events, states and the signed root must
 * come out as they stand in the log, so neither what it says nor that nothing was left out rests on anybody's word.
 */
#ifndef TROTH_LEDGER_REPLAY_H
#define TROTH_LEDGER_REPLAY_H

#include "ledger/client.h"

/* PROOF_INVALID names the first leaf that does not come out; the failures of the client. */
NODISCARD result ledger_replay_from(struct ledger_client *client, struct ledger_audit *out);

#endif
