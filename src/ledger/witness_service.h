/*
 * A witness over HTTPS (c2sp.org/tlog-witness; docs/PROTOCOL.ledger, "Witness"): POST /add-checkpoint for the logs that its
 * operator has added, and for people GET /witness.vkey, /v1/status, /health and /metrics. Whoever can reach it may ask: what
 * counts is the log's signature.
 */
#ifndef TROTH_LEDGER_WITNESS_SERVICE_H
#define TROTH_LEDGER_WITNESS_SERVICE_H

#include "ledger/witness_store.h"

struct witness_service;

/*
 * Makes a witness's folder: a store (witness_store_init), service/ with a CA and a certificate for `hosts` (localhost,
 * 127.0.0.1 and ::1 always), and client/ with what a ledger's operator needs: ca.crt and witness.vkey. ALREADY_EXISTS.
 */
struct witness_new {
	const char *dir;
	const char *name; /* of the key: example.org/w1 */
	const char *const *hosts;
	size_t host_count;
};
NODISCARD result witness_service_init(const struct witness_new *what, struct note_key *out);

/*
 * Opens the store, listens, and gives up what the process does not need (base/confine.h): called with one thread. BUSY,
 * WITNESS_DAMAGED, NOT_FOUND.
 */
NODISCARD result witness_service_open(const char *dir, const char *listen, struct witness_service **out);
void witness_service_free(struct witness_service *service); /* accepts NULL */
void witness_service_cleanup(struct witness_service **at);

const char *witness_service_address(const struct witness_service *service);
const struct note_key *witness_service_key(const struct witness_service *service);
NODISCARD result witness_service_run(struct witness_service *service); /* until SIGTERM or SIGINT */

#endif
