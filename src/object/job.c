#include "object/job.h"

static const struct field enclave_fields[] = {
	F_TEXT(struct job_enclave, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct job_enclave, 2, core),
	F_FIXED(struct job_enclave, 3, measurement),
	F_FIXED(struct job_enclave, 4, policy_digest),
	F_TEXT_ABSENT(struct job_enclave, 5, host, 1, NAME_MAX_LEN),
};
const struct schema job_enclave_schema = SCHEMA(struct job_enclave, "enclave", SHAPE_MAP, enclave_fields);

static const struct field edge_fields[] = {
	F_TEXT(struct job_edge, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 2, from, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 3, output, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 4, to, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 5, input, 1, NAME_MAX_LEN),
	F_TEXT(struct job_edge, 6, operation, 1, NAME_MAX_LEN),
	F_FLAG_OR_ABSENT(struct job_edge, 7, call),
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
	F_TEXT_ABSENT(struct job_external, 3, uri, 1, 512),
	F_TEXT_ABSENT(struct job_external, 4, shown, 4, 4),
};
const struct schema job_external_schema = SCHEMA(struct job_external, "external peer", SHAPE_MAP, external_fields);

static const struct field host_fields[] = {
	F_TEXT(struct job_host, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct job_host, 2, rot_id),
};
const struct schema job_host_schema = SCHEMA(struct job_host, "host", SHAPE_MAP, host_fields);

static const struct field job_fields[] = {
	F_VERSION(struct job, 1, v, 1),
	F_TEXT(struct job, 2, name, 1, NAME_MAX_LEN),
	F_LIST(struct job, 3, enclaves, enclave_count, &job_enclave_schema, FIELD_SORTED, 1, 256),
	F_LIST(struct job, 4, edges, edge_count, &job_edge_schema, FIELD_SORTED, 0, 4096),
	F_LIST(struct job, 5, inputs, input_count, &job_input_schema, FIELD_SORTED, 0, 1024),
	F_LIST(struct job, 6, outputs, output_count, &job_output_schema, FIELD_SORTED, 0, 1024),
	F_LIST(struct job, 7, externals, external_count, &job_external_schema, FIELD_SORTED, 0, 64),
	F_LIST_ABSENT(struct job, 8, hosts, host_count, &job_host_schema, FIELD_SORTED, 1, 64),
};
const struct schema job_schema = SCHEMA(struct job, "job", SHAPE_MAP, job_fields);

const struct job_host *job_host_find(const struct job *job, const char *name)
{
	for (size_t i = 0; i < job->host_count; i++)
		if (strcmp(job->hosts[i].name, name) == 0)
			return &job->hosts[i];
	return NULL;
}

const struct job_enclave *job_enclave_find(const struct job *job, const char *name)
{
	for (size_t i = 0; i < job->enclave_count; i++)
		if (strcmp(job->enclaves[i].name, name) == 0)
			return &job->enclaves[i];
	return NULL;
}

const uint8_t *job_enclave_root(const struct job *job, const struct job_enclave *enclave, const uint8_t *here)
{
	const struct job_host *host = enclave->host ? job_host_find(job, enclave->host) : NULL;
	return host ? host->rot_id : here;
}

result job_check_hosts(const struct job *job)
{
	for (size_t i = 0; i < job->host_count; i++)
		for (size_t j = 0; j < i; j++) {
			if (strcmp(job->hosts[i].name, job->hosts[j].name) == 0)
				return fail(JOB_INCONSISTENT, "a second host '%s'", job->hosts[i].name);
			if (memcmp(job->hosts[i].rot_id, job->hosts[j].rot_id, OID_SIZE) == 0)
				return fail(JOB_INCONSISTENT, "hosts '%s' and '%s' have one root of trust, so they are one host",
					job->hosts[j].name, job->hosts[i].name);
		}
	for (size_t i = 0; i < job->enclave_count; i++)
		if (job->enclaves[i].host && !job_host_find(job, job->enclaves[i].host))
			return fail(JOB_INCONSISTENT, "enclave '%s' runs on host '%s', which the job does not have", job->enclaves[i].name,
				job->enclaves[i].host);
	return OK;
}

void job_digest(struct span encoding, uint8_t out[static SHA256_SIZE])
{
	object_digest(KIND_JOB, encoding, out);
}
