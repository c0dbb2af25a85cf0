#include "object/job.h"

static const struct field enclave_fields[] = {
	F_TEXT(struct job_enclave, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct job_enclave, 2, core),
	F_FIXED(struct job_enclave, 3, measurement),
	F_FIXED(struct job_enclave, 4, policy_digest),
};
const struct schema job_enclave_schema = SCHEMA(struct job_enclave, "enclave", SHAPE_MAP, enclave_fields);

static const struct field edge_fields[] = {
	F_TEXT(struct job_edge, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 2, from, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 3, output, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 4, to, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 5, input, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 6, operation, 1, NAME_MAX_LEN),
};
const struct schema job_edge_schema = SCHEMA(struct job_edge, "edge", SHAPE_MAP, edge_fields);

static const struct field input_fields[] = {
	F_TEXT(struct job_input, 1, role, 1, NAME_MAX_LEN),
	F_TEXT(struct job_input, 2, enclave, 1, NAME_MAX_LEN),
	F_TEXT(struct job_input, 3, input, 1, NAME_MAX_LEN),
	F_BOOL(struct job_input, 4, secret),
};
const struct schema job_input_schema = SCHEMA(struct job_input, "input", SHAPE_MAP, input_fields);

static const struct field output_fields[] = {
	F_TEXT(struct job_output, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct job_output, 2, enclave, 1, NAME_MAX_LEN),
	F_TEXT(struct job_output, 3, output, 1, NAME_MAX_LEN),
	F_TEXT(struct job_output, 4, file, 1, 255),
	F_BOOL(struct job_output, 5, statement),
	F_TEXT(struct job_output, 6, media_type, 1, 127),
};
const struct schema job_output_schema = SCHEMA(struct job_output, "output", SHAPE_MAP, output_fields);

static const struct field external_fields[] = {
	F_TEXT(struct job_external, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct job_external, 2, spki),
};
const struct schema job_external_schema = SCHEMA(struct job_external, "external peer", SHAPE_MAP, external_fields);

static const struct field job_fields[] = {
	F_VERSION(struct job, 1, v, 1),
	F_TEXT(struct job, 2, name, 1, NAME_MAX_LEN),
	F_LIST(struct job, 3, enclaves, enclave_count, &job_enclave_schema, FIELD_SORTED, 1, 256),
	F_LIST(struct job, 4, edges, edge_count, &job_edge_schema, FIELD_SORTED, 0, 4096),
	F_LIST(struct job, 5, inputs, input_count, &job_input_schema, FIELD_SORTED, 0, 1024),
	F_LIST(struct job, 6, outputs, output_count, &job_output_schema, FIELD_SORTED, 0, 1024),
	F_LIST(struct job, 7, externals, external_count, &job_external_schema, FIELD_SORTED, 0, 64),
};
const struct schema job_schema = SCHEMA(struct job, "job", SHAPE_MAP, job_fields);

void job_digest(struct span encoding, uint8_t out[static SHA256_SIZE])
{
	object_digest(KIND_JOB, encoding, out);
}
