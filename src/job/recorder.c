#include "job/recorder.h"

#include <pthread.h>
#include <stdlib.h>

#include "store/journal.h"

static const struct field operation_fields[] = {
	F_VERSION(struct recorder_operation, 1, v, 1),
	F_FIXED(struct recorder_operation, 2, run_id),
	F_FIXED(struct recorder_operation, 3, job_digest),
	F_TEXT(struct recorder_operation, 4, job, 1, NAME_MAX_LEN),
	F_TIME(struct recorder_operation, 5, time),
};
const struct schema recorder_operation_schema = SCHEMA(struct recorder_operation, "operation", SHAPE_MAP, operation_fields);

static const struct field entry_fields[] = {
	F_VERSION(struct recorder_entry, 1, v, 1),
	F_FIXED(struct recorder_entry, 2, run_id),
	F_FIXED(struct recorder_entry, 3, head_oid),
	F_BYTES(struct recorder_entry, 4, head, 1, 64 * 1024),
	F_FIXED(struct recorder_entry, 5, receipt_digest),
	F_TIME(struct recorder_entry, 6, time),
};
const struct schema recorder_entry_schema = SCHEMA(struct recorder_entry, "entry", SHAPE_MAP, entry_fields);

static const struct field refusal_fields[] = {
	F_VERSION(struct recorder_refusal, 1, v, 1),
	F_FIXED(struct recorder_refusal, 2, run_id),
	F_UINT(struct recorder_refusal, 3, reason, 0),
	F_TEXT(struct recorder_refusal, 4, text, 0, 8 * 1024),
	F_TIME(struct recorder_refusal, 5, time),
};
const struct schema recorder_refusal_schema = SCHEMA(struct recorder_refusal, "refusal", SHAPE_MAP, refusal_fields);

struct journal_recorder {
	struct recorder recorder;
	pthread_mutex_t lock;
	struct journal *journal;
};

/* What could not be made durable is taken back, so that the next run does not commit it in passing. */
static result write_entry(struct recorder *recorder, enum recorder_journal_type type, const struct schema *schema, const void *object)
{
	struct journal_recorder *own = (struct journal_recorder *)recorder;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(schema, object, &encoding));
	pthread_mutex_lock(&own->lock);
	result written = journal_append(own->journal, (uint16_t)type, bytes_span(&encoding), NULL);
	if (written == OK)
		written = journal_commit(own->journal);
	if (written != OK && journal_discard(own->journal) != OK)
		written = fail_within(JOURNAL_POISONED, "the record of runs");
	pthread_mutex_unlock(&own->lock);
	return written;
}

static result journal_authorise(struct recorder *recorder, const struct recorder_operation *operation)
{
	return write_entry(recorder, RECORDED_OPERATION, &recorder_operation_schema, operation);
}

static result journal_record(struct recorder *recorder, const struct recorder_entry *entry)
{
	return write_entry(recorder, RECORDED_ENTRY, &recorder_entry_schema, entry);
}

static result journal_refuse(struct recorder *recorder, const struct recorder_refusal *refusal)
{
	return write_entry(recorder, RECORDED_REFUSAL, &recorder_refusal_schema, refusal);
}

static void journal_recorder_close(struct recorder *recorder)
{
	struct journal_recorder *own = (struct journal_recorder *)recorder;
	journal_close(own->journal);
	pthread_mutex_destroy(&own->lock);
	free(own);
}

static const struct recorder_backend journal_backend = {
	.name = "journal",
	.authorise = journal_authorise,
	.record = journal_record,
	.refuse = journal_refuse,
	.close = journal_recorder_close,
};

result recorder_journal_open(const char *dir, struct recorder **out)
{
	struct journal_recorder *own = calloc(1, sizeof(*own));
	if (!own)
		return fail(NO_MEMORY, "recorder");
	result opened = journal_open(dir, "runs", NULL, &own->journal, NULL);
	if (opened != OK) {
		free(own);
		return opened;
	}
	own->recorder.backend = &journal_backend;
	pthread_mutex_init(&own->lock, NULL);
	*out = &own->recorder;
	return OK;
}

void recorder_close(struct recorder *recorder)
{
	if (recorder)
		recorder->backend->close(recorder);
}
