#include "job/foreign_roots.h"

#include <stdlib.h>

#include "object/epoch.h"

enum { ROOTS_MEMORY = 512 << 20 };

struct row {
	const char *host; /* of the job */
	uint8_t rot_id[OID_SIZE];
	struct epoch_chain *chain;
	uint32_t era; /* that the run began under */
};

struct key_node {
	struct key_node *next;
	struct key key;
};

struct foreign_roots {
	struct arena arena;
	struct peers *peers;
	uint64_t version; /* of the peers */
	struct row *rows;
	struct span *histories;
	size_t count;
	struct key_node *keys; /* that chains of records are verified with */
};

/* ---- What is known ------------------------------------------------------------------------------------ */

static result stopped(const struct row *row, const char *how)
{
	return fail(OTHER_ROOT_STOPPED, "the root of host '%s' %s", row->host, how);
}

static result require_live(const struct row *row)
{
	switch (epoch_chain_state(row->chain)) {
	case CHAIN_HALTED: return stopped(row, "was halted");
	case CHAIN_FROZEN: return stopped(row, "has forked");
	case CHAIN_LIVE: break;
	}
	return row->era && epoch_chain_head(row->chain)->era != row->era ? stopped(row, "was recovered") : OK;
}

static result read_row(struct foreign_roots *roots, size_t at)
{
	struct row *row = &roots->rows[at];
	struct peer peer;
	struct epoch_chain *chain;
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(row->rot_id, fingerprint);
	if (!roots->peers || peers_find(roots->peers, row->rot_id, &roots->arena, &peer) != OK)
		return fail(ROOT_UNKNOWN, "host '%s' of the job has root %s, which is not enrolled here", row->host, fingerprint);
	result read = epoch_chain_of_history(peer.history, &chain);
	if (read != OK)
		return fail_within(read, "root %s of host '%s'", fingerprint, row->host);
	epoch_chain_free(row->chain);
	row->chain = chain;
	roots->histories[at] = peer.history;
	return OK;
}

static bool has_enclave(const struct job *job, const struct job_host *host)
{
	for (size_t i = 0; i < job->enclave_count; i++)
		if (job->enclaves[i].host && strcmp(job->enclaves[i].host, host->name) == 0)
			return true;
	return false;
}

static result list_rows(struct foreign_roots *roots, const struct job *job, const uint8_t *own)
{
	void *rows, *histories;
	TRY(arena_alloc(&roots->arena, job->host_count + 1, sizeof(struct row), &rows));
	TRY(arena_alloc(&roots->arena, job->host_count + 1, sizeof(struct span), &histories));
	roots->rows = rows;
	roots->histories = histories;
	for (size_t i = 0; i < job->host_count; i++) {
		struct row *row = &roots->rows[roots->count];
		if (memcmp(job->hosts[i].rot_id, own, OID_SIZE) == 0 || !has_enclave(job, &job->hosts[i]))
			continue;
		memcpy(row->rot_id, job->hosts[i].rot_id, OID_SIZE);
		TRY(arena_string(&roots->arena, span_str(job->hosts[i].name), &row->host));
		roots->count++;
	}
	return OK;
}

static result begin(struct foreign_roots *roots, const struct job *job, const uint8_t *own)
{
	TRY(list_rows(roots, job, own));
	roots->version = roots->peers ? peers_version(roots->peers) : 0;
	for (size_t i = 0; i < roots->count; i++) {
		TRY(read_row(roots, i));
		TRY(require_live(&roots->rows[i]));
		roots->rows[i].era = epoch_chain_head(roots->rows[i].chain)->era;
	}
	return OK;
}

result foreign_roots_new(struct peers *peers, const struct job *job, const uint8_t own[static OID_SIZE], struct foreign_roots **out)
{
	struct foreign_roots *roots = calloc(1, sizeof(*roots));
	if (!roots)
		return fail(NO_MEMORY, "roots of other hosts");
	roots->arena = arena_of(ROOTS_MEMORY);
	roots->peers = peers;
	result begun = begin(roots, job, own);
	if (begun != OK) {
		foreign_roots_free(roots);
		return begun;
	}
	*out = roots;
	return OK;
}

void foreign_roots_free(struct foreign_roots *roots)
{
	if (!roots)
		return;
	for (size_t i = 0; i < roots->count; i++)
		epoch_chain_free(roots->rows[i].chain);
	while (roots->keys) {
		struct key_node *node = roots->keys;
		roots->keys = node->next;
		key_free(&node->key);
		free(node);
	}
	arena_free(&roots->arena);
	free(roots);
}

const struct span *foreign_roots_histories(const struct foreign_roots *roots, size_t *out_count)
{
	*out_count = roots->count;
	return roots->histories;
}

result foreign_roots_refresh(struct foreign_roots *roots, bool *out_changed)
{
	*out_changed = false;
	uint64_t version = roots->peers ? peers_version(roots->peers) : 0;
	if (version == roots->version)
		return OK;
	for (size_t i = 0; i < roots->count; i++)
		TRY(read_row(roots, i));
	roots->version = version;
	*out_changed = roots->count > 0;
	for (size_t i = 0; i < roots->count; i++)
		TRY(require_live(&roots->rows[i]));
	return OK;
}

/* ---- Verifying, and the receipt -------------------------------------------------------------------------- */

static result add_link(struct foreign_roots *roots, const struct row *row, const struct epoch_link *link, struct dac *dac)
{
	struct key_node *node = calloc(1, sizeof(*node));
	struct dac_root root = {
		.era = link->era, .epoch = link->epoch, .not_before = link->not_before, .not_after = link->not_after};
	if (!node)
		return fail(NO_MEMORY, "roots of other hosts");
	node->next = roots->keys;
	roots->keys = node;
	TRY(key_from_point(SPAN_ARRAY(link->sign_pk), &node->key));
	memcpy(root.rot_id, row->rot_id, OID_SIZE);
	memcpy(root.epoch_oid, link->oid, OID_SIZE);
	root.key = &node->key;
	return dac_add_root(dac, &root);
}

result foreign_roots_add_dac(struct foreign_roots *roots, struct dac *dac)
{
	for (size_t i = 0; i < roots->count; i++)
		for (size_t e = 0; e < epoch_chain_count(roots->rows[i].chain); e++)
			if (!epoch_chain_at(roots->rows[i].chain, e)->is_void)
				TRY(add_link(roots, &roots->rows[i], epoch_chain_at(roots->rows[i].chain, e), dac));
	return OK;
}

/* Public keys that some record of the chain was signed with; they come with the history. */
static result put_keys(struct foreign_roots *roots, size_t at, struct receipt_foreign *out)
{
	struct epoch_history history;
	void *keys;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct span kept;
	TRY(epoch_chain_history(roots->rows[at].chain, &encoding));
	TRY(arena_copy(&roots->arena, bytes_span(&encoding), &kept));
	TRY(schema_decode(&epoch_history_schema, kept, &roots->arena, &history));
	TRY(arena_alloc(&roots->arena, history.key_count + 1, sizeof(struct span), &keys));
	for (size_t i = 0; i < history.key_count; i++)
		((struct span *)keys)[i] = history.keys[i].bytes;
	out->recovery_keys = keys;
	out->recovery_key_count = history.key_count;
	return OK;
}

static result put_row(struct foreign_roots *roots, size_t at, struct receipt_foreign *out)
{
	const struct epoch_chain *chain = roots->rows[at].chain;
	size_t count = epoch_chain_count(chain);
	void *memory;
	TRY(arena_alloc(&roots->arena, count, sizeof(struct span), &memory));
	struct span *epochs = memory;
	for (size_t i = 0; i < count; i++)
		TRY(arena_copy(&roots->arena, epoch_chain_at(chain, i)->record, &epochs[i]));
	memcpy(out->rot_id, roots->rows[at].rot_id, OID_SIZE);
	out->epochs = epochs;
	out->epoch_count = count;
	return put_keys(roots, at, out);
}

result foreign_roots_put(struct foreign_roots *roots, struct receipt_parts *parts)
{
	void *foreign;
	TRY(arena_alloc(&roots->arena, roots->count + 1, sizeof(struct receipt_foreign), &foreign));
	for (size_t i = 0; i < roots->count; i++)
		TRY(put_row(roots, i, &((struct receipt_foreign *)foreign)[i]));
	parts->foreign = foreign;
	parts->foreign_count = roots->count;
	return OK;
}
