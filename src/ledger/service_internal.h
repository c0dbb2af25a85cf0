/* What the files of the service share; not for others. */
#ifndef TROTH_LEDGER_SERVICE_INTERNAL_H
#define TROTH_LEDGER_SERVICE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "ledger/api.h"
#include "ledger/place.h"
#include "ledger/service.h"

enum { SERVICE_NOTES_MAX = 16, SERVICE_WRITERS_MAX = 512 };

struct ledger_service {
	struct ledger_service_config config;
	char dir[PATH_SIZE];
	struct ledger_engine *engine;
	struct https_server *server;
	bool address_written; /* ours to remove: another process may serve this folder */
	uint64_t started_ms;
	struct ledger_recovery recovery;

	/* Of the loop's thread alone. */
	struct writer_rate {
		uint8_t key[KEY_ID_SIZE];
		uint64_t last_ns;
		double tokens;
	} rates[SERVICE_WRITERS_MAX];
	size_t rate_count;
	struct ledger_removed removed; /* writers who may not send any more */
	struct timespec removed_changed;
	atomic_uint_fast64_t limited; /* transactions that came too fast */

	pthread_mutex_t lock; /* of what follows */
	struct service_note {
		char subject[96], text[200];
		enum reason reason;
	} notes[SERVICE_NOTES_MAX];
	size_t note_count;
	pthread_cond_t batch_there;
	bool batch, after_ends; /* something became durable since the last call; no more calls */
	pthread_t after_thread;
	bool after_runs;
};

/* Routes that read (service_read.c). */
https_handler service_check, service_transaction, service_leaf, service_leaf_proof, service_fact_proof, service_consistency, service_fact,
	service_decide, service_entries, service_checkpoint, service_checkpoint_at, service_status, service_health, service_metrics;

/* The JSON is taken over. */
void service_answer_json(struct https_exchange *exchange, int status, json_t *json);
json_t *service_notes_json(struct ledger_service *service, bool *out_all_well);

#endif
