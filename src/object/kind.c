#include "object/kind.h"

#include "object/backup.h"
#include "object/epoch_chain.h"
#include "object/head.h"
#include "object/job.h"
#include "object/ledger.h"
#include "object/manifest.h"
#include "object/policy_version.h"
#include "object/receipt.h"
#include "object/record.h"
#include "object/reference.h"
#include "object/revocation.h"
#include "object/seal.h"
#include "object/transport.h"

enum { EMITTED = 1, RESERVED = 0 };

/* The payload's schema by kind; kinds without one are reserved or have a codec of their own. */
static const struct schema *const payload_schemas[] = {
	[KIND_REPORT] = &report_schema,
	[KIND_EPOCH] = &epoch_schema,
	[KIND_MANIFEST] = &manifest_schema,
	[KIND_REFERENCE_SET] = &reference_set_schema,
	[KIND_RECORD] = &record_schema,
	[KIND_LAUNCH] = &launch_schema,
	[KIND_SEALED] = &sealed_schema,
	[KIND_UNSEAL_REQUEST] = &unseal_request_schema,
	[KIND_UNSEAL_GRANT] = &unseal_grant_schema,
	[KIND_ROT_CHALLENGE] = &rot_challenge_schema,
	[KIND_DERIVE_ANSWER] = &derive_answer_schema,
	[KIND_QUEUE_HELLO] = &queue_hello_schema,
	[KIND_STATEMENT] = &statement_schema,
	[KIND_RECEIPT_HEAD] = &receipt_head_schema,
	[KIND_HALT] = &halt_schema,
	[KIND_JOB] = &job_schema,
	[KIND_OPERATION] = &operation_schema,
	[KIND_GRANT] = &grant_schema,
	[KIND_REGISTRATION] = &endorsement_schema,
	[KIND_TRANSACTION] = &transaction_schema,
	[KIND_ACCESS_REQUEST] = &access_request_schema,
	[KIND_LEDGER_CONFIG] = &ledger_config_schema,
	[KIND_BACKUP] = &backup_schema,
	[KIND_TRANSPORT_KEY] = &transport_key_schema,
	[KIND_ENROLMENT] = &enrolment_schema,
	[KIND_POLICY_VERSION] = &policy_version_schema,
	[KIND_HEAD_PROOF] = &head_statement_schema,
	[KIND_REVOCATION_HEAD] = &revocation_head_schema,
	[KIND_REVOCATION_LIST] = &revocation_list_schema,
};

const struct kind_row kind_table[] = {
#define KIND(number, name, label, envelope, status) {name, &#name[5], label, ENVELOPE_##envelope, status},
#include "object/kind.def"
#undef KIND
};
const size_t kind_table_len = COUNT_OF(kind_table);

const struct kind_row *kind_row(enum object_kind kind)
{
	for (size_t i = 0; i < kind_table_len; i++)
		if (kind_table[i].kind == kind)
			return &kind_table[i];
	return NULL;
}

const char *kind_label(enum object_kind kind)
{
	const struct kind_row *row = kind_row(kind);
	assert(row);
	return row->label;
}

const struct schema *kind_schema(enum object_kind kind)
{
	return (size_t)kind < COUNT_OF(payload_schemas) ? payload_schemas[kind] : NULL;
}
