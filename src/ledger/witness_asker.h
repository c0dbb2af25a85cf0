/*
 * Asks witnesses to cosign a ledger's checkpoints (c2sp.org/tlog-witness), after each batch: every witness for the latest
 * checkpoint, from the size that it has cosigned last. What it answers is verified under its key before it goes out with
 * /checkpoint. A witness that cannot be reached is asked again, at growing intervals; one that refuses is told of in the
 * service's health. The ledger goes on either way: who demands a cosignature looks for it.
 */
#ifndef TROTH_LEDGER_WITNESS_ASKER_H
#define TROTH_LEDGER_WITNESS_ASKER_H

#include "ledger/service.h"

enum { WITNESSES_MAX = 8 };

struct witness_peer_config {
	const char *url; /* https://HOST[:PORT][/PREFIX], the submission prefix */
	struct note_key key;
	struct span ca_pem; /* who vouches for its certificate; empty: what the system trusts */
};

struct witness_asker;
NODISCARD result witness_asker_new(const struct witness_peer_config *peers, size_t count, struct witness_asker **out);
void witness_asker_free(struct witness_asker *asker); /* accepts NULL; after the service */
void witness_asker_cleanup(struct witness_asker **at);

/* A ledger_after_batch whose `arg` is the asker. */
void witness_asker_after_batch(void *arg, struct ledger_service *service, struct ledger_engine *engine, unsigned *out_again_ms);

#endif
