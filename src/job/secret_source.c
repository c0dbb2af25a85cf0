#include "job/secret_source.h"

#include "base/file.h"
#include "object/seal.h"

/*
 * What the secure processor would refuse later is told here, before anything is launched. The signature is looked at while its
 * epoch is the current one; an object of an older epoch is authenticated by the secure processor itself.
 */
static result check_signature(const struct root_identity *identity, const struct job_input *input, const struct sealed *sealed,
	struct span object)
{
	result verified = OK;
	if (memcmp(sealed->epoch_oid, identity->epoch_oid, OID_SIZE) == 0)
		verified = object_verify(KIND_SEALED, object, &identity->sign);
	if (verified == BAD_SIGNATURE || memcmp(sealed->policy.rot_id, identity->rot_id, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "'%s' was sealed by another host", input->role);
	return verified;
}

static result check_sealed(const struct root_identity *identity, const struct job_stage *stage, const struct job_input *input,
	struct span object, struct arena *arena)
{
	struct sealed sealed;
	result opened = object_peek(KIND_SEALED, object, arena, &sealed, NULL);
	if (opened != OK)
		return fail_within(opened, "'%s' is no sealed secret", input->role);
	TRY(check_signature(identity, input, &sealed, object));
	if (strcmp(sealed.policy.name, stage->name) != 0)
		return fail(SEAL_FOREIGN, "'%s' is sealed for enclave '%s', not for '%s'", input->role, sealed.policy.name, stage->name);
	if (sealed.policy.v == SEAL_BY_MEASUREMENT && memcmp(sealed.policy.measurement, stage->measurement, SHA384_SIZE) != 0)
		return fail(SEAL_FOREIGN, "'%s' is sealed for another measurement of '%s'; the job or a file of it has changed",
			input->role, stage->name);
	return OK;
}

static result load_sealed(const struct secret_source *source, const struct job_stage *stage, const struct job_input *input,
	struct arena *arena, struct span *out)
{
	const struct sealed_source *own = (const struct sealed_source *)source;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	const struct sealed_file *file = NULL;
	struct span kept;
	for (size_t i = 0; i < own->file_count; i++)
		if (strcmp(own->files[i].role, input->role) == 0)
			file = &own->files[i];
	if (!file)
		return fail(MISSING_INPUT, "'%s' of enclave '%s' (a sealed secret)", input->role, input->enclave);
	result read = file_read_stream(file->fd, SEALED_MAX, &object);
	if (read != OK)
		return fail_within(read, "the sealed secret '%s'", input->role);
	TRY(arena_copy(arena, bytes_span(&object), &kept));
	TRY(check_sealed(own->identity, stage, input, kept, arena));
	*out = kept;
	return OK;
}

static const struct secret_backend sealed_backend = {"sealed", load_sealed};

struct sealed_source sealed_source_new(const struct root_identity *identity, const struct sealed_file *files, size_t count)
{
	return (struct sealed_source){{&sealed_backend}, identity, files, count};
}
