#include "root/head_log.h"

#include <pthread.h>
#include <stdlib.h>

#include "object/head.h"
#include "root/host_evidence.h"
#include "store/journal.h"

enum { LOG_BIRTH = 1, LOG_ENTRY = 2 }; /* docs/PROTOCOL.journal */
enum { ENTRY_MEMORY = 32 << 20, PROOF_MEMORY = 256 << 20, FIRST_SLOTS = 1024 };

/* Of the journal. */
struct born {
	uint32_t index;
	struct head_birth birth;
};
static const struct field born_fields[] = {
	F_UINT(struct born, 1, index, 0),
	F_STRUCT(struct born, 2, birth, &head_birth_schema),
};
static const struct schema born_schema = SCHEMA(struct born, "birth of a history", SHAPE_MAP, born_fields);

struct entry_content {
	struct digest32 *oids;
	size_t oid_count;
};
static const struct field content_fields[] = {
	F_LIST(struct entry_content, 1, oids, oid_count, &digest32_schema, 0, 1, HEAD_ENTRY_MAX),
};
static const struct schema content_schema = SCHEMA(struct entry_content, "entry of a history", SHAPE_MAP, content_fields);

struct entry {
	uint8_t digest[SHA256_SIZE];
	struct digest32 *oids; /* owned; NULL: the birth */
	size_t count;
};

/* Where an oid was entered. */
struct place {
	uint8_t oid[OID_SIZE];
	uint32_t at; /* 0: free */
};

struct head_log {
	struct root_host *root;
	pthread_mutex_t lock;
	struct journal *journal;
	struct born born;
	bool is_born;
	bool settled; /* the TPM holds `head` */
	struct entry *entries;
	size_t count, cap;
	struct place *places; /* open addressing; a power of two */
	size_t place_count, place_cap;
	uint8_t before[SHA256_SIZE], head[SHA256_SIZE]; /* without and with the last entry */
};

/* ---- In memory ---------------------------------------------------------------------------------------- */

static struct place *slot_of(struct place *places, size_t cap, const uint8_t oid[static OID_SIZE])
{
	uint64_t at;
	memcpy(&at, oid, sizeof(at));
	for (;; at++) {
		struct place *slot = &places[at & (cap - 1)];
		if (slot->at == 0 || memcmp(slot->oid, oid, OID_SIZE) == 0)
			return slot;
	}
}

static uint32_t where(const struct head_log *log, const uint8_t oid[static OID_SIZE])
{
	return log->place_cap ? slot_of(log->places, log->place_cap, oid)->at : 0;
}

static result make_room(struct head_log *log, size_t more)
{
	size_t cap = log->place_cap ? log->place_cap : FIRST_SLOTS;
	if (log->count >= HEAD_LOG_MAX)
		return fail(TOO_LARGE, "a history of %d entries; begin another one", HEAD_LOG_MAX);
	while (cap / 2 <= log->place_count + more)
		cap *= 2;
	if (cap != log->place_cap) {
		struct place *grown = calloc(cap, sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "a history");
		for (size_t i = 0; i < log->place_cap; i++)
			if (log->places[i].at)
				*slot_of(grown, cap, log->places[i].oid) = log->places[i];
		free(log->places);
		log->places = grown;
		log->place_cap = cap;
	}
	if (log->count == log->cap) {
		size_t wider = log->cap ? 2 * log->cap : 64;
		struct entry *grown = realloc(log->entries, wider * sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "a history");
		log->entries = grown;
		log->cap = wider;
	}
	return OK;
}

/* With room for it; `oids` is taken over. */
static void put(struct head_log *log, const uint8_t digest[static SHA256_SIZE], struct digest32 *oids, size_t count)
{
	struct entry *entry = &log->entries[log->count];
	*entry = (struct entry){.oids = oids, .count = count};
	memcpy(entry->digest, digest, SHA256_SIZE);
	for (size_t i = 0; i < count; i++) {
		struct place *slot = slot_of(log->places, log->place_cap, oids[i].bytes);
		log->place_count += slot->at == 0;
		memcpy(slot->oid, oids[i].bytes, OID_SIZE);
		slot->at = (uint32_t)log->count;
	}
	memcpy(log->before, log->head, SHA256_SIZE);
	head_step(log->head, digest);
	log->count++;
}

static result put_copy(struct head_log *log, const struct digest32 *oids, size_t count)
{
	uint8_t digest[SHA256_SIZE];
	TRY(make_room(log, count));
	TRY(head_entry_digest(oids, count, digest));
	struct digest32 *copy = malloc(count * sizeof(*copy));
	if (!copy)
		return fail(NO_MEMORY, "a history");
	memcpy(copy, oids, count * sizeof(*copy));
	put(log, digest, copy, count);
	return OK;
}

static result put_birth(struct head_log *log, const struct born *born)
{
	uint8_t digest[SHA256_SIZE];
	TRY(make_room(log, 0));
	log->born = *born;
	log->is_born = true;
	head_begin(log->head);
	head_birth_digest(&born->birth, digest);
	put(log, digest, NULL, 0);
	return OK;
}

/* ---- On disk -------------------------------------------------------------------------------------------- */

static result read_entry(void *arg, const struct journal_entry *entry)
{
	struct head_log *log = arg;
	CLEANUP(arena_free) struct arena arena = arena_of(ENTRY_MEMORY);
	struct entry_content content;
	struct born born;
	if ((entry->type == LOG_BIRTH) == log->is_born || (entry->type != LOG_BIRTH && entry->type != LOG_ENTRY))
		return fail(HEAD_MISMATCH, "the host's history does not begin with its birth, or begins twice");
	if (entry->type == LOG_BIRTH) {
		TRY(schema_decode(&born_schema, entry->payload, &arena, &born));
		return put_birth(log, &born);
	}
	TRY(schema_decode(&content_schema, entry->payload, &arena, &content));
	return put_copy(log, content.oids, content.oid_count);
}

static result append(struct head_log *log, uint16_t type, const struct schema *schema, const void *object)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(schema, object, &encoding));
	result written = journal_append(log->journal, type, bytes_span(&encoding), NULL);
	if (written == OK)
		written = journal_commit(log->journal);
	if (written != OK && journal_discard(log->journal) != OK)
		written = fail_within(JOURNAL_POISONED, "the host's history");
	return written;
}

result head_log_open(struct root_host *root, const char *dir, struct head_log **out)
{
	struct head_log *log = calloc(1, sizeof(*log));
	if (!log)
		return fail(NO_MEMORY, "a history");
	log->root = root;
	pthread_mutex_init(&log->lock, NULL);
	result opened = journal_open(dir, "heads", NULL, &log->journal, NULL);
	if (opened == OK)
		opened = journal_read(log->journal, 1, read_entry, log);
	if (opened != OK) {
		head_log_close(log);
		return opened;
	}
	*out = log;
	return OK;
}

void head_log_close(struct head_log *log)
{
	if (!log)
		return;
	journal_close(log->journal);
	for (size_t i = 0; i < log->count; i++)
		free(log->entries[i].oids);
	free(log->entries);
	free(log->places);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

/* ---- In the TPM -------------------------------------------------------------------------------------------- */

static result ask(struct head_log *log, const uint8_t *digest, struct span nonce, struct arena *arena, struct ap_headed *out)
{
	struct ap_head request = {.index = log->born.index, .has_digest = digest != NULL, .nonce = nonce};
	if (digest)
		memcpy(request.digest, digest, SHA256_SIZE);
	return root_host_tpm_head(log->root, &request, arena, out);
}

static result begin(struct head_log *log, struct arena *arena)
{
	struct ap_headed made;
	TRY(ask(log, NULL, SPAN_EMPTY, arena, &made));
	if (!made.has_birth)
		return fail(AP_UNTRUSTED, "an index without its birth");
	struct born born = {made.index, made.birth};
	TRY(append(log, LOG_BIRTH, &born_schema, &born));
	return put_birth(log, &born);
}

static result require_head(struct head_log *log, const struct ap_headed *said)
{
	log->settled = memcmp(said->head, log->head, SHA256_SIZE) == 0;
	if (log->settled)
		return OK;
	return fail(HEAD_MISMATCH, "the %zu entries of this host's own history do not lead to index %08x of its TPM", log->count, log->born.index);
}

/* The TPM may have missed the last entry. */
static result settle(struct head_log *log, struct arena *arena)
{
	struct ap_headed said;
	if (log->settled)
		return OK;
	if (!log->is_born)
		TRY(begin(log, arena));
	TRY(ask(log, NULL, SPAN_EMPTY, arena, &said));
	if (log->count > 1 && memcmp(said.head, log->before, SHA256_SIZE) == 0)
		TRY(ask(log, log->entries[log->count - 1].digest, SPAN_EMPTY, arena, &said));
	return require_head(log, &said);
}

static size_t only_new(const struct head_log *log, const struct digest32 *oids, size_t count, struct digest32 *out)
{
	size_t fresh = 0;
	for (size_t i = 0; i < count; i++)
		if (where(log, oids[i].bytes) == 0)
			out[fresh++] = oids[i];
	return fresh;
}

static result enter_content(struct head_log *log, const struct entry_content *content, struct arena *arena)
{
	struct ap_headed said;
	if (content->oid_count == 0)
		return OK;
	TRY(append(log, LOG_ENTRY, &content_schema, content));
	log->settled = false;
	TRY(put_copy(log, content->oids, content->oid_count));
	TRY(ask(log, log->entries[log->count - 1].digest, SPAN_EMPTY, arena, &said));
	return require_head(log, &said);
}

static result enter(struct head_log *log, const struct digest32 *oids, size_t count, struct arena *arena)
{
	struct entry_content content = {0};
	void *memory;
	if (count > HEAD_ENTRY_MAX)
		return fail(TOO_LARGE, "%zu records at once", count);
	TRY(settle(log, arena));
	TRY(make_room(log, count));
	TRY(arena_alloc(arena, count + 1, sizeof(*content.oids), &memory));
	content.oids = memory;
	content.oid_count = only_new(log, oids, count, content.oids);
	return enter_content(log, &content, arena);
}

result head_log_enter(struct head_log *log, const struct digest32 *oids, size_t count)
{
	CLEANUP(arena_free) struct arena arena = arena_of(ENTRY_MEMORY);
	pthread_mutex_lock(&log->lock);
	result entered = enter(log, oids, count, &arena);
	pthread_mutex_unlock(&log->lock);
	return entered;
}

/* ---- Proof ------------------------------------------------------------------------------------------------------ */

static int compare_places(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* The entries that these are in, each once. */
static result open_entries(struct head_log *log, const struct digest32 *oids, size_t count, struct arena *arena, struct head_proof *proof)
{
	void *memory, *opened;
	TRY(arena_alloc(arena, count + 1, sizeof(uint32_t), &memory));
	TRY(arena_alloc(arena, count + 1, sizeof(*proof->opened), &opened));
	uint32_t *places = memory;
	proof->opened = opened;
	for (size_t i = 0; i < count; i++)
		places[i] = where(log, oids[i].bytes);
	qsort(places, count, sizeof(*places), compare_places);
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && places[i] == places[i - 1])
			continue;
		const struct entry *entry = &log->entries[places[i]];
		proof->opened[proof->opened_count++] = (struct head_opened){places[i], entry->oids, entry->count};
	}
	return OK;
}

/* Taken after the statement, so that its epoch is among them. */
static result put_epochs(struct head_log *log, struct arena *arena, struct head_proof *proof)
{
	ROOT_IDENTITY_HELD now = root_host_hold(log->root);
	struct span *records, *keys;
	size_t key_count;
	void *memory;
	if (!now)
		return fail(NO_ROOT, "for a history");
	TRY(root_host_records(log->root, 0, now->records, arena, &records));
	TRY(root_host_recovery_keys(log->root, arena, &keys, &key_count));
	TRY(arena_alloc(arena, now->records + key_count, sizeof(*proof->epochs), &memory));
	proof->epochs = memory;
	for (size_t i = 0; i < now->records; i++)
		proof->epochs[proof->epoch_count++].bytes = records[i];
	for (size_t i = 0; i < key_count; i++)
		proof->epochs[proof->epoch_count++].bytes = keys[i];
	return OK;
}

static result encode_proof(const struct head_proof *proof, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	TRY(schema_encode(&head_proof_schema, proof, &encoded));
	if (encoded.len > HEAD_PROOF_MAX)
		return fail(TOO_LARGE, "a proof of %zu bytes; begin another history", encoded.len);
	*out = bytes_move(&encoded);
	return OK;
}

static result prove(struct head_log *log, const struct digest32 *oids, size_t count, struct span nonce, struct arena *arena, struct bytes *out)
{
	struct head_proof proof = {.v = 1};
	struct ap_headed said;
	void *memory;
	TRY(enter(log, oids, count, arena));
	TRY(ask(log, NULL, nonce, arena, &said));
	TRY(require_head(log, &said));
	proof.statement = said.statement;
	proof.birth = log->born.birth;
	TRY(arena_alloc(arena, log->count, sizeof(*proof.log), &memory));
	proof.log = memory;
	proof.log_count = log->count;
	for (size_t i = 0; i < log->count; i++)
		memcpy(proof.log[i].bytes, log->entries[i].digest, SHA256_SIZE);
	TRY(open_entries(log, oids, count, arena, &proof));
	TRY(put_epochs(log, arena, &proof));
	return encode_proof(&proof, out);
}

result head_log_prove(struct head_log *log, const struct digest32 *oids, size_t count, struct span nonce, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(PROOF_MEMORY);
	if (nonce.len < 1 || nonce.len > HEAD_NONCE_MAX)
		return fail(USAGE, "a nonce has 1 to %d bytes", HEAD_NONCE_MAX);
	pthread_mutex_lock(&log->lock);
	result proved = prove(log, oids, count, nonce, &arena, out);
	pthread_mutex_unlock(&log->lock);
	return proved;
}
