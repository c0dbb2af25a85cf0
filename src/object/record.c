#include "object/record.h"

static const struct field parent_fields[] = {
	F_TEXT(struct record_parent, 1, enclave, 1, URI_MAX_LEN),
	F_FIXED(struct record_parent, 2, oid),
};
const struct schema record_parent_schema = SCHEMA(struct record_parent, "parent", SHAPE_ARRAY, parent_fields);

static const struct field data_fields[] = {
	F_TEXT(struct record_data, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct record_data, 2, commit),
};
const struct schema record_data_schema = SCHEMA(struct record_data, "data", SHAPE_ARRAY, data_fields);

static const struct field record_fields[] = {
	F_VERSION(struct record, 1, v, 1),
	F_UINT(struct record, 2, kind, RECORD_RESPONSE),
	F_TEXT(struct record, 3, enclave, 1, URI_MAX_LEN),
	F_FIXED(struct record, 4, certificate),
	F_FIXED(struct record, 5, host_report),
	F_FIXED(struct record, 6, rot_id),
	F_UINT(struct record, 7, era, 0),
	F_UINT(struct record, 8, epoch, 0),
	F_UINT(struct record, 9, seq, 0),
	F_TIME(struct record, 10, time),
	F_LIST(struct record, 11, parents, parent_count, &record_parent_schema, FIELD_SORTED, 0, RECORD_MAX_PARENTS),
	F_TEXT_OR_NULL(struct record, 12, target, has_target, 1, URI_MAX_LEN),
	F_FIXED_OR_NULL(struct record, 13, call_id, has_call_id),
	F_TEXT(struct record, 14, operation, 1, NAME_MAX_LEN),
	F_LIST(struct record, 15, in, in_count, &record_data_schema, FIELD_SORTED, 0, 256),
	F_LIST(struct record, 16, out, out_count, &record_data_schema, FIELD_SORTED, 0, 256),
	F_FIXED(struct record, 17, policy_digest),
	F_FIXED_OR_NULL(struct record, 18, ledger_ref, has_ledger_ref),
	F_FIXED(struct record, 19, run_id),
};
const struct schema record_schema = SCHEMA(struct record, "record", SHAPE_MAP, record_fields);

const char *record_kind_name(enum record_kind kind)
{
	static const char *const names[] = {"?", "ORIGIN", "DERIVE", "REQUEST", "RESPONSE"};
	return (size_t)kind < COUNT_OF(names) ? names[kind] : names[0];
}

static const struct field statement_fields[] = {
	F_VERSION(struct statement, 1, v, 1),
	F_TEXT(struct statement, 2, enclave, 1, URI_MAX_LEN),
	F_FIXED(struct statement, 3, certificate),
	F_FIXED(struct statement, 4, run_id),
	F_TIME(struct statement, 5, time),
	F_TEXT(struct statement, 6, name, 1, NAME_MAX_LEN),
	F_TEXT(struct statement, 7, media_type, 1, 127),
	F_FIXED(struct statement, 8, digest),
	F_UINT(struct statement, 9, length, 0),
};
const struct schema statement_schema = SCHEMA(struct statement, "statement", SHAPE_MAP, statement_fields);
