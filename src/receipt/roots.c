#include "receipt/roots.h"

#include "object/epoch_rules.h"

void receipt_roots_free(struct receipt_roots_read *roots)
{
	for (size_t i = 0; i < roots->count; i++)
		receipt_epochs_free(&roots->roots[i].epochs);
	roots->count = 0;
}

struct receipt_root *receipt_roots_find(struct receipt_roots_read *roots, const uint8_t rot_id[static OID_SIZE])
{
	for (size_t i = 0; i < roots->count; i++)
		if (memcmp(roots->roots[i].trusted->rot_id, rot_id, OID_SIZE) == 0)
			return &roots->roots[i];
	return NULL;
}

result receipt_roots_use(struct receipt_roots_read *roots, const uint8_t oid[static OID_SIZE], struct receipt_root **out_root,
	const struct used_epoch **out)
{
	for (size_t i = 0; i < roots->count; i++) {
		const struct epoch_link *link = epoch_chain_find(roots->roots[i].epochs.chain, oid);
		if (!link || link->is_void)
			continue;
		*out_root = &roots->roots[i];
		return receipt_epochs_use(&roots->roots[i].epochs, oid, out);
	}
	return fail(DAC_UNTRUSTED_ROOT, "an epoch that is on no chain of the receipt");
}

const char *receipt_roots_name(const struct job *job, const uint8_t *rot_id)
{
	for (size_t i = 0; i < job->host_count; i++)
		if (memcmp(job->hosts[i].rot_id, rot_id, OID_SIZE) == 0)
			return job->hosts[i].name;
	return "";
}

result receipt_roots_trusted(const struct trust *trust, const struct job_host *host)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	if (trust_root_find(trust, host->rot_id))
		return OK;
	rot_fingerprint(host->rot_id, fingerprint);
	return fail(TRUST_ROOT_MISSING, "root %s of host '%s'", fingerprint, host->name);
}

/* Does an enclave of the job run under it? */
static bool is_used(const struct job *job, const uint8_t *rot_id)
{
	for (size_t i = 0; i < job->enclave_count; i++) {
		const uint8_t *root = job_enclave_root(job, &job->enclaves[i], NULL);
		if (root && memcmp(root, rot_id, OID_SIZE) == 0)
			return true;
	}
	return false;
}

static bool has_row(const struct receipt_roots *section, const uint8_t *rot_id)
{
	for (size_t i = 0; i < section->count; i++)
		if (memcmp(section->rows[i].rot_id, rot_id, OID_SIZE) == 0)
			return true;
	return false;
}

result receipt_roots_complete(const struct job *job, const struct receipt_roots *section, const uint8_t head[static OID_SIZE])
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	for (size_t i = 0; i < section->count; i++) {
		const uint8_t *rot_id = section->rows[i].rot_id;
		rot_fingerprint(rot_id, fingerprint);
		if (memcmp(rot_id, head, OID_SIZE) == 0 || !is_used(job, rot_id))
			return fail(DAC_EXTRA_NODE, "root %s, under which no enclave of another host runs", fingerprint);
		if (i && memcmp(section->rows[i - 1].rot_id, rot_id, OID_SIZE) == 0)
			return fail(DAC_DUPLICATE, "root %s stands twice", fingerprint);
	}
	for (size_t i = 0; i < job->host_count; i++) {
		const struct job_host *host = &job->hosts[i];
		if (memcmp(host->rot_id, head, OID_SIZE) == 0 || !is_used(job, host->rot_id) || has_row(section, host->rot_id))
			continue;
		rot_fingerprint(host->rot_id, fingerprint);
		return fail(MISSING_FIELD, "the epochs of root %s of host '%s' are not in the receipt", fingerprint, host->name);
	}
	return OK;
}

static result read_chain(struct receipt_root *root, const struct trust *trust, const struct receipt_root_row *row,
	const struct epoch_history *known, struct arena *arena)
{
	struct bytes_list section;
	TRY(schema_decode(&bytes_list_schema, row->epochs, arena, &section));
	TRY(receipt_epochs_begin(root->trusted, &root->epochs));
	return receipt_epochs_read(&root->epochs, root->trusted, &section, trust, known);
}

result receipt_roots_add(struct receipt_roots_read *roots, const struct trust *trust, const struct receipt_root_row *row,
	const struct epoch_history *known, struct arena *arena)
{
	struct receipt_root root = {.trusted = trust_root_find(trust, row->rot_id), .name = receipt_roots_name(&trust->job, row->rot_id)};
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(row->rot_id, fingerprint);
	if (!root.trusted)
		return fail(TRUST_ROOT_MISSING, "root %s", fingerprint);
	if (roots->count == RECEIPT_ROOTS_MAX)
		return fail(TOO_LARGE, "more than %d roots", RECEIPT_ROOTS_MAX);
	result read = read_chain(&root, trust, row, known, arena);
	if (read != OK) {
		receipt_epochs_free(&root.epochs);
		return fail_within(read, "root %s of host '%s'", fingerprint, root.name);
	}
	roots->roots[roots->count++] = root;
	return OK;
}

result receipt_roots_known(const struct epoch_history *known, const uint8_t rot_id[static OID_SIZE], struct arena *arena,
	struct epoch_history *out)
{
	struct epoch_history mine = *known;
	void *objects;
	TRY(arena_alloc(arena, known->object_count + 1, sizeof(struct bytes_item), &objects));
	mine.objects = objects;
	mine.object_count = 0;
	for (size_t i = 0; i < known->object_count; i++) {
		uint8_t of[OID_SIZE];
		if (epoch_object_root(known->objects[i].bytes, of) != OK || memcmp(of, rot_id, OID_SIZE) == 0)
			mine.objects[mine.object_count++] = known->objects[i];
	}
	*out = mine;
	return OK;
}
