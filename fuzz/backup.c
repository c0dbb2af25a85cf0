/* Backup files and holders' answers: what is accepted keeps its own rules, and no foreign key gets a share out of it. */
#include "object/backup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static const struct key *stranger(void)
{
	static struct key key;
	if (!key.pkey) {
		uint8_t scalar[SCALAR_SIZE] = {1};
		must(key_from_scalar(SPAN_ARRAY(scalar), &key) == OK);
	}
	return &key;
}

static void try_backup(struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	struct backup backup;
	uint8_t oid[OID_SIZE];
	result peeked = backup_peek(bytes, &arena, &backup, oid);
	must(peeked == OK || peeked == BACKUP_DAMAGED);
	if (peeked != OK)
		return;
	must(backup.k >= 1 && backup.k <= backup.holder_count && backup.holder_count <= BACKUP_MAX_HOLDERS);
	for (size_t i = 0; i < backup.holder_count; i++)
		must(backup_find_holder(&backup, backup.holders[i].key) == &backup.holders[i] && backup.holders[i].number == i + 1);
	must(restore_share_make(&backup, oid, bytes, stranger(), &answer) != OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	struct restore_share share;
	struct span bytes = span_of(data, size);
	try_backup(bytes);
	if (schema_decode(&restore_share_schema, bytes, &arena, &share) == OK) {
		must(schema_encode(&restore_share_schema, &share, &again) == OK);
		must(span_equal(bytes_span(&again), bytes));
	}
	return 0;
}
