/*
 * Where runs are recorded: asked before anything is launched, told what came of it. The journal backend writes to the
 * host's own journal; a ledger backend comes beside it and may refuse.
 *
 * Thread-safe: several runs share one recorder.
 */
#ifndef TROTH_JOB_RECORDER_H
#define TROTH_JOB_RECORDER_H

#include "object/receipt.h"

/* What somebody wants to do. */
struct recorder_operation {
	uint8_t v;
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t job_digest[SHA256_SIZE];
	const char *job;
	uint64_t time;
};

/* What a run left. */
struct recorder_entry {
	uint8_t v;
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t head_oid[OID_SIZE];
	struct span head;
	uint8_t receipt_digest[SHA256_SIZE];
	uint64_t time;
};

/* What was refused or failed. */
struct recorder_refusal {
	uint8_t v;
	uint8_t run_id[RUN_ID_SIZE];
	uint32_t reason;
	const char *text;
	uint64_t time;
};

extern const struct schema recorder_operation_schema, recorder_entry_schema, recorder_refusal_schema;

struct recorder;

struct recorder_backend {
	const char *name; /* `recorder` of the receipt's head */
	/* May the run begin? What was asked is durable when this returns OK. */
	result (*authorise)(struct recorder *recorder, const struct recorder_operation *operation);
	/* Durable when this returns OK. */
	result (*record)(struct recorder *recorder, const struct recorder_entry *entry);
	result (*refuse)(struct recorder *recorder, const struct recorder_refusal *refusal);
	void (*close)(struct recorder *recorder);
};

/* Begins each backend's own structure. */
struct recorder {
	const struct recorder_backend *backend;
};

/* Entry types of the journal `runs` in the state folder (docs/PROTOCOL.journal). */
enum recorder_journal_type { RECORDED_OPERATION = 1, RECORDED_ENTRY = 2, RECORDED_REFUSAL = 3 };

/* The journal backend: `runs` in the folder `dir`. Close with recorder_close. */
NODISCARD result recorder_journal_open(const char *dir, struct recorder **out);

static inline result recorder_authorise(struct recorder *recorder, const struct recorder_operation *operation)
{
	return recorder->backend->authorise(recorder, operation);
}

static inline result recorder_record(struct recorder *recorder, const struct recorder_entry *entry)
{
	return recorder->backend->record(recorder, entry);
}

static inline result recorder_refuse(struct recorder *recorder, const struct recorder_refusal *refusal)
{
	return recorder->backend->refuse(recorder, refusal);
}

void recorder_close(struct recorder *recorder); /* accepts NULL */

#endif
