/*
 * The ledger's service: an engine behind an HTTPS server (docs/PROTOCOL.ledger, "Service"). It owns both; everything it does is
 * a row of one table. Transactions go to the engine without waiting and are answered when their batch is durable; what reads
 * much runs on the server's workers.
 */
#ifndef TROTH_LEDGER_SERVICE_H
#define TROTH_LEDGER_SERVICE_H

#include "ledger/engine.h"
#include "net/https_server.h"

struct ledger_service;

/*
 * Work after batches, such as asking witnesses. `call` runs on a thread of its own, one call at a time, once soon after each
 * batch and once at the start; batches that become durable during a call are one more call. It may take its time, use the
 * engine (ledger_engine_checkpoint, _consistency, _add_cosignatures) and ledger_service_note, and should look at
 * ledger_service_stopping now and then. Failures are its own to note; `retry_ms` != 0 in *out_again_ms asks to be called again.
 */
typedef void ledger_after_batch(void *arg, struct ledger_service *service, struct ledger_engine *engine, unsigned *out_again_ms);

struct ledger_service_config {
	const char *dir; /* a ledger's folder (ledger/place.h) */
	const char *listen; /* HOST:PORT */
	unsigned connections, workers; /* 0: the defaults of net/https_server.h */
	unsigned rate, burst; /* transactions per second of one writer and at once; 0: no limit */
	ledger_after_batch *after_batch; /* NULL: none */
	void *after_batch_arg;
	bool confined;	  /* the process gives up what it does not need once it listens (base/confine.h): called with one thread */
	bool asks_others; /* after_batch connects to others */
	const struct ledger_engine_options *engine; /* NULL: defaults; `dir` in it does not count */
};

/* Opens the engine (BUSY: another program has it) and listens. Serves nothing yet. */
NODISCARD result ledger_service_open(const struct ledger_service_config *config, struct ledger_service **out);
void ledger_service_free(struct ledger_service *service); /* accepts NULL */
void ledger_service_cleanup(struct ledger_service **at);

const char *ledger_service_address(const struct ledger_service *service);
struct ledger_engine *ledger_service_engine(struct ledger_service *service);
struct https_server *ledger_service_server(struct ledger_service *service);

/* Until SIGTERM or SIGINT; then finishes what was taken and closes the engine's batch. */
NODISCARD result ledger_service_run(struct ledger_service *service);
void ledger_service_stop(struct ledger_service *service); /* any thread */
bool ledger_service_stopping(const struct ledger_service *service);

/*
 * How something beside the service does ("witness example.org/w1"): OK, or why not, with a text for people. Shown by /health,
 * which is then 503 unless `reason` is OK, by /v1/status and as troth_ledger_note in /metrics. Any thread. At most 16 subjects.
 */
void ledger_service_note(struct ledger_service *service, const char *subject, result reason, const char *text);

#endif
