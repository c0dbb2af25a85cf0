/*
 * The loop of troth-token: takes one request after the other from its client and has the module carry it out. A request
 * that cannot be decoded is answered with its reason; one that is too long ends the connection, as the stream is out of
 * step then. OK when the client has closed.
 *
 * A module that hangs longer than TOKEN_CALL_SECONDS in one call ends the process.
 */
#ifndef TROTH_CRYPTO_TOKEN_WORKER_H
#define TROTH_CRYPTO_TOKEN_WORKER_H

#include "crypto/token_module.h"

enum { TOKEN_CALL_SECONDS = 120 };

NODISCARD result token_worker_serve(int socket, struct token_module *module, uint8_t confinement);

/* For a worker that could not start: answers the first request with why, within a bounded time. */
void token_worker_refuse(int socket, result reason);

/* One request as the loop handles it, without I/O: the reply is always filled. */
void token_worker_answer(struct token_module *module, uint8_t confinement, struct span request, struct token_reply *out);

#endif
