#include "job/peers.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "net/tcp.h"
#include "object/object.h"
#include "wire/cose.h"

/*
 * Theory of operation. A peer in memory is its file as it was read (arena) and its chain. A change makes the new file first and
 * then the new row in memory, both under one lock; whoever asks gets copies. Histories are short (one record a day), so copies
 * are cheap.
 */

enum { FILE_MAX = 64 << 20, MEMORY = 80 << 20, OFFICERS_FILE_MAX = 4096 };

struct row {
	struct row *next;
	struct arena arena;
	struct peer peer; /* borrows from `bytes` and the arena */
	struct bytes bytes;
	struct epoch_chain *chain;
};

struct peers {
	pthread_mutex_t lock;
	char folder[PATH_SIZE], officers_path[PATH_SIZE];
	struct row *rows;
	size_t count;
	uint64_t version;
};

/* ---- The file --------------------------------------------------------------------------------------- */

struct stored {
	uint8_t v;
	struct peer peer;
};

static const struct field stored_fields[] = {
	F_VERSION(struct stored, 1, v, 1),
	F_TEXT(struct stored, 2, peer.name, 1, PEER_NAME_MAX),
	F_FIXED(struct stored, 3, peer.rot_id),
	F_LIST(struct stored, 4, peer.addresses, peer.address_count, &text_item_schema, 0, 0, PEER_ADDRESSES_MAX),
	F_TIME(struct stored, 5, peer.enrolled),
	F_TIME(struct stored, 6, peer.learned),
	F_BYTES(struct stored, 7, peer.history, 1, FILE_MAX),
	F_BYTES(struct stored, 8, peer.approval, 0, ENROLMENT_APPROVAL_MAX),
};
static const struct schema stored_schema = SCHEMA(struct stored, "peer", SHAPE_MAP, stored_fields);

static const struct field peer_fields[] = {
	F_TEXT(struct peer, 1, name, 1, PEER_NAME_MAX),
	F_FIXED(struct peer, 2, rot_id),
	F_LIST(struct peer, 3, addresses, address_count, &text_item_schema, 0, 0, PEER_ADDRESSES_MAX),
	F_TIME(struct peer, 4, enrolled),
	F_TIME(struct peer, 5, learned),
	F_UINT(struct peer, 6, era, 0),
	F_UINT(struct peer, 7, epoch, 0),
	F_UINT(struct peer, 8, state, CHAIN_FROZEN),
};
const struct schema peer_schema = SCHEMA(struct peer, "peer", SHAPE_MAP, peer_fields);

static void row_free(struct row *row)
{
	if (!row)
		return;
	epoch_chain_free(row->chain);
	bytes_free(&row->bytes);
	arena_free(&row->arena);
	free(row);
}

static void row_cleanup(struct row **row)
{
	row_free(*row);
}

static void tell_head(const struct epoch_chain *chain, struct peer *peer)
{
	const struct epoch_link *head = epoch_chain_head(chain);
	peer->era = head->era;
	peer->epoch = head->epoch;
	peer->state = (uint8_t)epoch_chain_state(chain);
}

/* A row from the bytes of its file, which it takes over. */
static result row_new(struct bytes *bytes, struct row **out)
{
	CLEANUP(row_cleanup) struct row *row = calloc(1, sizeof(*row));
	struct stored stored = {0};
	if (!row)
		return fail(NO_MEMORY, "a peer");
	row->arena = arena_of(MEMORY);
	row->bytes = bytes_move(bytes);
	TRY(schema_decode(&stored_schema, bytes_span(&row->bytes), &row->arena, &stored));
	TRY(epoch_chain_of_history(stored.peer.history, &row->chain));
	if (memcmp(epoch_chain_rot_id(row->chain), stored.peer.rot_id, OID_SIZE) != 0)
		return fail(DIGEST_MISMATCH, "the history of '%s' is of another root", stored.peer.name);
	row->peer = stored.peer;
	tell_head(row->chain, &row->peer);
	*out = row;
	row = NULL;
	return OK;
}

static result row_path(const struct peers *peers, const char *name, char out[static PATH_SIZE])
{
	return path_join(out, peers->folder, name);
}

/* Durable first, then in memory. */
static result store(struct peers *peers, const struct peer *peer, struct row **out)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(row_cleanup) struct row *row = NULL;
	const struct stored stored = {1, *peer};
	char path[PATH_SIZE];
	TRY(schema_encode(&stored_schema, &stored, &bytes));
	TRY(row_path(peers, peer->name, path));
	struct bytes copy;
	TRY(bytes_copy(bytes_span(&bytes), &copy));
	result made = row_new(&copy, &row);
	bytes_free(&copy);
	TRY(made);
	TRY(file_write_atomic(path, bytes_span(&bytes), 0600));
	*out = row;
	row = NULL;
	return OK;
}

static result load(struct peers *peers, const char *name)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct row *row;
	char path[PATH_SIZE];
	TRY(row_path(peers, name, path));
	TRY(file_read(path, FILE_MAX, &bytes));
	result made = row_new(&bytes, &row);
	if (made != OK)
		return fail_within(made, "'%s'", path);
	row->next = peers->rows;
	peers->rows = row;
	peers->count++;
	return OK;
}

static result load_all(struct peers *peers)
{
	DIR *folder = opendir(peers->folder);
	result loaded = OK;
	if (!folder)
		return fail_errno("'%s'", peers->folder);
	for (const struct dirent *entry; loaded == OK && (entry = readdir(folder));) {
		if (entry->d_name[0] == '.')
			continue;
		/* What file_write_atomic left half-written when the machine went down. */
		loaded = strchr(entry->d_name, '~') || strchr(entry->d_name, '.') ? OK : load(peers, entry->d_name);
	}
	closedir(folder);
	return loaded;
}

result peers_open(const char *state_dir, struct peers **out)
{
	struct peers *peers = calloc(1, sizeof(*peers));
	if (!peers)
		return fail(NO_MEMORY, "peers");
	pthread_mutex_init(&peers->lock, NULL);
	result opened = path_join(peers->folder, state_dir, "peers");
	if (opened == OK)
		opened = path_join(peers->officers_path, state_dir, "officers");
	if (opened == OK)
		opened = file_make_dirs(peers->folder, 0700);
	if (opened == OK)
		opened = load_all(peers);
	if (opened != OK) {
		peers_close(peers);
		return opened;
	}
	*out = peers;
	return OK;
}

void peers_close(struct peers *peers)
{
	if (!peers)
		return;
	for (struct row *row = peers->rows, *next; row; row = next) {
		next = row->next;
		row_free(row);
	}
	pthread_mutex_destroy(&peers->lock);
	free(peers);
}

/* ---- Finding ---------------------------------------------------------------------------------------- */

static struct row **find(struct peers *peers, const uint8_t *rot_id, const char *name)
{
	struct row **at = &peers->rows;
	while (*at && !(rot_id && memcmp((*at)->peer.rot_id, rot_id, OID_SIZE) == 0) && !(name && strcmp((*at)->peer.name, name) == 0))
		at = &(*at)->next;
	return at;
}

static result unknown_root(const uint8_t rot_id[static OID_SIZE])
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(rot_id, fingerprint);
	return fail(PEER_UNKNOWN, "the host with root %s", fingerprint);
}

static result copy(const struct peer *from, struct arena *arena, struct peer *out)
{
	struct peer peer = *from;
	void *addresses;
	TRY(arena_string(arena, span_str(from->name), &peer.name));
	TRY(arena_alloc(arena, from->address_count + 1, sizeof(struct text_item), &addresses));
	peer.addresses = addresses;
	for (size_t i = 0; i < from->address_count; i++)
		TRY(arena_string(arena, span_str(from->addresses[i].text), &peer.addresses[i].text));
	TRY(arena_copy(arena, from->history, &peer.history));
	TRY(arena_copy(arena, from->approval, &peer.approval));
	*out = peer;
	return OK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct peer *)a)->name, ((const struct peer *)b)->name);
}

static result list_locked(struct peers *peers, struct arena *arena, struct peer **out, size_t *out_count)
{
	void *list;
	size_t count = 0;
	TRY(arena_alloc(arena, peers->count + 1, sizeof(struct peer), &list));
	for (const struct row *row = peers->rows; row; row = row->next)
		TRY(copy(&row->peer, arena, (struct peer *)list + count++));
	qsort(list, count, sizeof(struct peer), by_name);
	*out = list;
	*out_count = count;
	return OK;
}

result peers_list(struct peers *peers, struct arena *arena, struct peer **out, size_t *out_count)
{
	pthread_mutex_lock(&peers->lock);
	result listed = list_locked(peers, arena, out, out_count);
	pthread_mutex_unlock(&peers->lock);
	return listed;
}

result peers_find(struct peers *peers, const uint8_t rot_id[static OID_SIZE], struct arena *arena, struct peer *out)
{
	pthread_mutex_lock(&peers->lock);
	const struct row *row = *find(peers, rot_id, NULL);
	result found = row ? copy(&row->peer, arena, out) : unknown_root(rot_id);
	pthread_mutex_unlock(&peers->lock);
	return found;
}

result peers_find_name(struct peers *peers, const char *name, struct arena *arena, struct peer *out)
{
	pthread_mutex_lock(&peers->lock);
	const struct row *row = *find(peers, NULL, name);
	result found = row ? copy(&row->peer, arena, out) : fail(PEER_UNKNOWN, "'%s'", name);
	pthread_mutex_unlock(&peers->lock);
	return found;
}

uint64_t peers_version(struct peers *peers)
{
	pthread_mutex_lock(&peers->lock);
	uint64_t version = peers->version;
	pthread_mutex_unlock(&peers->lock);
	return version;
}

/* ---- Officers --------------------------------------------------------------------------------------- */

static result officers_locked(struct peers *peers, struct arena *arena, struct epoch_recovery *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span kept;
	result read = file_read(peers->officers_path, OFFICERS_FILE_MAX, &file);
	*out = (struct epoch_recovery){0};
	if (read == NOT_FOUND)
		return OK;
	TRY(read);
	TRY(arena_copy(arena, bytes_span(&file), &kept));
	return schema_decode(&epoch_recovery_schema, kept, arena, out);
}

result peers_officers(struct peers *peers, struct arena *arena, struct epoch_recovery *out)
{
	pthread_mutex_lock(&peers->lock);
	result read = officers_locked(peers, arena, out);
	pthread_mutex_unlock(&peers->lock);
	return read;
}

static result set_officers_locked(struct peers *peers, const struct epoch_recovery *officers)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct epoch_recovery known;
	TRY(officers_locked(peers, &arena, &known));
	if (known.k)
		return fail(PEER_EXISTS, "officers of this host are pinned already, once and for all");
	if (officers->k == 0 || officers->k > officers->key_count || officers->key_count > OFFICERS_MAX || officers->n != officers->key_count)
		return fail(BAD_VALUE, "%u of %zu officers", officers->k, officers->key_count);
	TRY(schema_encode(&epoch_recovery_schema, officers, &file));
	return file_write_atomic(peers->officers_path, bytes_span(&file), 0600);
}

result peers_set_officers(struct peers *peers, const struct epoch_recovery *officers)
{
	pthread_mutex_lock(&peers->lock);
	result set = set_officers_locked(peers, officers);
	pthread_mutex_unlock(&peers->lock);
	return set;
}

static bool is_officer(const struct epoch_recovery *officers, const uint8_t id[static KEY_ID_SIZE])
{
	for (size_t i = 0; i < officers->key_count; i++)
		if (memcmp(officers->keys[i].bytes, id, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

static result count_signatures(const struct enrolment_approval *approval, const struct cose_sign *object, const struct epoch_recovery *officers, unsigned *out)
{
	*out = 0;
	for (size_t i = 0; i < approval->key_count; i++) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		TRY(key_from_spki(approval->keys[i].bytes, &key));
		bool is_repeated = false;
		for (size_t j = 0; j < i; j++)
			is_repeated |= span_equal(approval->keys[i].bytes, approval->keys[j].bytes);
		if (is_officer(officers, key.id) && !is_repeated && cose_strict_sign_verify(object, kind_label(KIND_ENROLMENT), &key) == OK)
			(*out)++;
	}
	return OK;
}

static result check_approval(const struct peer_enrolment *asked, const uint8_t rot_id[static OID_SIZE], const struct epoch_recovery *officers)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct enrolment_approval approval;
	struct cose_sign object;
	struct host_enrolment enrolment;
	unsigned signers;
	if (officers->k == 0)
		return asked->approval.len == 0 ? OK : fail(BAD_VALUE, "signatures of officers, but this host has none");
	if (asked->approval.len == 0)
		return fail(ENROLMENT_QUORUM, "'%s' needs %u of %zu", asked->name, officers->k, officers->key_count);
	TRY(schema_decode(&enrolment_approval_schema, asked->approval, &arena, &approval));
	TRY(cose_strict_sign_parse(approval.object, &object));
	TRY(schema_decode(&enrolment_schema, object.payload, &arena, &enrolment));
	bool same = strcmp(enrolment.name, asked->name) == 0 && memcmp(enrolment.peer, rot_id, OID_SIZE) == 0 &&
		    asked->own_rot && memcmp(enrolment.rot_id, asked->own_rot, OID_SIZE) == 0 && enrolment.address_count == asked->address_count;
	for (size_t i = 0; same && i < asked->address_count; i++)
		same = strcmp(enrolment.addresses[i].text, asked->addresses[i].text) == 0;
	if (!same)
		return fail(ENROLMENT_QUORUM, "what the officers signed is about something else");
	TRY(count_signatures(&approval, &object, officers, &signers));
	return signers >= officers->k ? OK : fail(ENROLMENT_QUORUM, "'%s': %u good signatures, %u are needed", asked->name, signers, officers->k);
}

/* ---- Changes ---------------------------------------------------------------------------------------- */

static bool name_ok(const char *name)
{
	size_t len = strlen(name);
	if (len == 0 || len > PEER_NAME_MAX)
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == len && name[0] != '-';
}

static void epoch_chain_cleanup(struct epoch_chain **chain)
{
	epoch_chain_free(*chain);
}

static result enrol_locked(struct peers *peers, const struct peer_enrolment *asked)
{
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct epoch_recovery officers;
	struct row *row;
	if (peers->count >= PEERS_MAX)
		return fail(TOO_LARGE, "%d peers are enrolled already", PEERS_MAX);
	if (!name_ok(asked->name))
		return fail(BAD_NAME, "'%.80s'; a host's name has letters, digits, - and _", asked->name);
	for (size_t i = 0; i < asked->address_count; i++)
		TRY(tcp_address_check(asked->addresses[i].text));
	TRY(epoch_chain_of_history(asked->history, &chain));
	const uint8_t *rot_id = epoch_chain_rot_id(chain);
	if (asked->own_rot && memcmp(rot_id, asked->own_rot, OID_SIZE) == 0)
		return fail(PEER_EXISTS, "this is this host's own root");
	if (*find(peers, rot_id, asked->name))
		return fail(PEER_EXISTS, "'%s' is enrolled with this name or this root", (*find(peers, rot_id, asked->name))->peer.name);
	TRY(officers_locked(peers, &arena, &officers));
	TRY(check_approval(asked, rot_id, &officers));
	TRY(epoch_chain_history(chain, &history));
	struct peer peer = {
		.name = asked->name,
		.addresses = (struct text_item *)(uintptr_t)asked->addresses,
		.address_count = asked->address_count,
		.enrolled = asked->now_ms,
		.learned = asked->now_ms,
		.history = bytes_span(&history),
		.approval = asked->approval,
	};
	memcpy(peer.rot_id, rot_id, OID_SIZE);
	TRY(store(peers, &peer, &row));
	row->next = peers->rows;
	peers->rows = row;
	peers->count++;
	peers->version++;
	return OK;
}

result peers_enrol(struct peers *peers, const struct peer_enrolment *enrolment)
{
	pthread_mutex_lock(&peers->lock);
	result enrolled = enrol_locked(peers, enrolment);
	pthread_mutex_unlock(&peers->lock);
	return enrolled;
}

static result remove_locked(struct peers *peers, const char *name)
{
	struct row **at = find(peers, NULL, name), *row = *at;
	char path[PATH_SIZE];
	if (!row)
		return fail(PEER_UNKNOWN, "'%s'", name);
	TRY(row_path(peers, row->peer.name, path));
	if (unlink(path) != 0)
		return fail_errno("'%s'", path);
	TRY(file_sync_folder(peers->folder));
	*at = row->next;
	row_free(row);
	peers->count--;
	peers->version++;
	return OK;
}

result peers_remove(struct peers *peers, const char *name)
{
	pthread_mutex_lock(&peers->lock);
	result removed = remove_locked(peers, name);
	pthread_mutex_unlock(&peers->lock);
	return removed;
}

/* All of `history` on top of what is known, into a chain of its own: what is refused changes nothing. */
static result learn(const struct row *row, struct span history, struct epoch_chain **out)
{
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	CLEANUP(arena_free) struct arena arena = arena_of(MEMORY);
	struct epoch_history news;
	TRY(epoch_chain_of_history(row->peer.history, &chain));
	TRY(schema_decode(&epoch_history_schema, history, &arena, &news));
	for (size_t i = 0; i < news.key_count; i++)
		TRY(epoch_chain_add_key(chain, news.keys[i].bytes));
	for (size_t i = 0; i < news.object_count; i++)
		TRY(epoch_chain_learn(chain, news.objects[i].bytes));
	*out = chain;
	chain = NULL;
	return OK;
}

static result state_of(const struct row *row)
{
	if (row->peer.state == CHAIN_FROZEN)
		return fail(EPOCH_FORKED, "the root of '%s'", row->peer.name);
	if (row->peer.state == CHAIN_HALTED)
		return fail(EPOCH_HALTED, "the root of '%s'", row->peer.name);
	return OK;
}

static result follow_locked(struct peers *peers, const uint8_t rot_id[static OID_SIZE], struct span history, uint64_t now_ms, bool *out_changed)
{
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	CLEANUP(bytes_free) struct bytes all = BYTES_EMPTY;
	struct row **at = find(peers, rot_id, NULL), *old = *at, *row;
	*out_changed = false;
	if (!old)
		return unknown_root(rot_id);
	TRY(learn(old, history, &chain));
	TRY(epoch_chain_history(chain, &all));
	if (span_equal(bytes_span(&all), old->peer.history))
		return state_of(old);
	struct peer peer = old->peer;
	peer.history = bytes_span(&all);
	if (memcmp(epoch_chain_head(chain)->oid, epoch_chain_head(old->chain)->oid, OID_SIZE) != 0)
		peer.learned = now_ms;
	TRY(store(peers, &peer, &row));
	row->next = old->next;
	*at = row;
	row_free(old);
	peers->version++;
	*out_changed = true;
	log_info("the root of another host has moved on", LOG_TEXT("peer", row->peer.name), LOG_NUMBER("epoch", row->peer.epoch),
		LOG_TEXT("state", epoch_chain_state_name(row->chain)));
	return state_of(row);
}

/* Which root a history is about: that of its first object. */
static result root_of(struct span history, uint8_t out[static OID_SIZE])
{
	CLEANUP(arena_free) struct arena arena = arena_of(MEMORY);
	struct epoch_history news;
	struct epoch epoch;
	TRY(schema_decode(&epoch_history_schema, history, &arena, &news));
	if (news.object_count == 0)
		return fail(BAD_VALUE, "an empty history");
	return epoch_open_inception(news.objects[0].bytes, &arena, &epoch, out);
}

result peers_follow(struct peers *peers, struct span history, uint64_t now_ms, bool *out_changed)
{
	uint8_t rot_id[OID_SIZE];
	TRY(root_of(history, rot_id));
	pthread_mutex_lock(&peers->lock);
	result followed = follow_locked(peers, rot_id, history, now_ms, out_changed);
	pthread_mutex_unlock(&peers->lock);
	return followed;
}

static result judge_locked(struct peers *peers, const uint8_t rot_id[static OID_SIZE], const uint8_t epoch_oid[static OID_SIZE], uint64_t now_ms,
	struct key *out)
{
	const struct row *row = *find(peers, rot_id, NULL);
	if (!row)
		return unknown_root(rot_id);
	const struct epoch_link *link = epoch_chain_find(row->chain, epoch_oid);
	if (!link)
		return fail(EPOCH_FOREIGN, "the root of '%s'", row->peer.name);
	TRY(epoch_chain_judge_live(row->chain, epoch_oid, link->era, link->epoch, row->peer.learned, now_ms));
	return key_from_point(span_of(link->sign_pk, POINT_SIZE), out);
}

result peers_judge(struct peers *peers, const uint8_t rot_id[static OID_SIZE], const uint8_t epoch_oid[static OID_SIZE], uint64_t now_ms,
	struct key *out_sign)
{
	pthread_mutex_lock(&peers->lock);
	result judged = judge_locked(peers, rot_id, epoch_oid, now_ms, out_sign);
	pthread_mutex_unlock(&peers->lock);
	return judged;
}
