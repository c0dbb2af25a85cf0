#include "root/host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/random.h"

/*
 * Every change is asked of the secure processor first, which makes it durable; what it answers is verified like a
 * stranger's record, kept in the history, pinned, and only then given out (host_take_in).
 */

enum { SHARE_SIZE = 32, ROOM = 256 * 1024, REPLY_MEMORY = 256 * 1024, IMPORT_MEMORY = 512 << 20 };

static result begin_change(struct root_host *host)
{
	if (pthread_mutex_trylock(&host->change_lock) != 0)
		return fail(ROTATION_RUNNING, "another change of the root");
	return OK;
}

static void end_change(struct root_host *host)
{
	pthread_mutex_unlock(&host->change_lock);
}

/* ---- What the host gives to a change ------------------------------------------------------------------------ */

static result share_path(const struct root_host *host, char out[static PATH_SIZE])
{
	return path_join(out, host->state_dir, "share");
}

result host_keep_share(struct root_host *host, const uint8_t share[static 32])
{
	char path[PATH_SIZE];
	TRY(share_path(host, path));
	return file_write_atomic(path, span_of(share, SHARE_SIZE), 0600);
}

static result read_share(const struct root_host *host, uint8_t out[static SHARE_SIZE])
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret share = SECRET_EMPTY;
	TRY(share_path(host, path));
	TRY(file_open(path, O_RDONLY | O_NOFOLLOW, 0, &fd));
	TRY(file_read_secret(fd.n, SHARE_SIZE, &share));
	if (share.len != SHARE_SIZE)
		return fail(TRUNCATED, "'%s' has the wrong size", path);
	memcpy(out, share.data, SHARE_SIZE);
	return OK;
}

static result share_or_new(struct root_host *host, uint8_t out[static SHARE_SIZE])
{
	result read = read_share(host, out);
	if (read != NOT_FOUND)
		return read;
	random_bytes(out, SHARE_SIZE);
	return host_keep_share(host, out);
}

/* Refused before the secure processor changes anything; what fills up in between is healed by host_catch_up. */
static result check_room(const struct root_host *host)
{
	struct statvfs disk;
	if (statvfs(host->state_dir, &disk) != 0)
		return fail_errno("'%s'", host->state_dir);
	if ((uint64_t)disk.f_bavail * disk.f_frsize < ROOM)
		return fail(DISK_FULL, "'%s' has no room for another epoch", host->state_dir);
	return OK;
}

/* ---- What the secure processor made ----------------------------------------------------------------------------- */

static result check_answer(struct root_host *host, struct span challenge_object, const uint8_t challenge[static 32], struct arena *arena)
{
	CLEANUP(key_free) struct key sign = KEY_EMPTY;
	struct rot_challenge answer;
	struct epoch_link head;
	pthread_mutex_lock(&host->head_lock);
	head = *epoch_chain_head(host->chain);
	pthread_mutex_unlock(&host->head_lock);
	TRY(key_from_point(SPAN_ARRAY(head.sign_pk), &sign));
	if (object_open(KIND_ROT_CHALLENGE, challenge_object, &sign, arena, &answer, NULL) != OK ||
		memcmp(answer.challenge, challenge, sizeof(answer.challenge)) != 0 || memcmp(answer.epoch_oid, head.oid, OID_SIZE) != 0)
		return fail(AP_UNTRUSTED, "its new record is good, but its answer under the new key is not");
	return OK;
}

static result adopt_record(struct root_host *host, const struct ap_rot_available *reply, const uint8_t challenge[static 32],
	const struct history_note *note, const struct span *keys, size_t key_count, struct arena *arena)
{
	bool changed;
	result taken = host_take_in(host, reply->epoch_record, note, keys, key_count, &changed);
	if (taken != OK)
		return taken;
	if (!changed)
		return fail(AP_UNTRUSTED, "it answered with a record that is known already");
	TRY(check_answer(host, reply->challenge, challenge, arena));
	return host_put_chain_head(host);
}

/* ---- Rotation ------------------------------------------------------------------------------------------------------ */

static void wipe_rotate(struct ap_rotate *request)
{
	wipe(request->host_seed, sizeof(request->host_seed));
	wipe(request->host_share, sizeof(request->host_share));
}

static result rotate(struct root_host *host, const struct root_host_rotation *rotation)
{
	CLEANUP(arena_free) struct arena arena = arena_of(REPLY_MEMORY);
	CLEANUP(wipe_rotate) struct ap_rotate request = {.reason = (uint8_t)rotation->reason, .emergency = rotation->emergency};
	struct ap_rot_available reply;
	TRY(host_catch_up(host));
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	if (!root)
		return fail(NO_ROOT, "'%s'", host->state_dir);
	TRY(check_room(host));
	request.grace_s = root->epoch.grace_s;
	random_bytes(request.request_id, sizeof(request.request_id));
	random_bytes(request.challenge, sizeof(request.challenge));
	random_bytes(request.host_seed, sizeof(request.host_seed));
	TRY(read_share(host, request.host_share));
	TRY(root_host_call(host, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &arena, &reply));
	struct history_note note = {1, clock_wall_ms(), root->epoch.era, root->epoch.epoch, (uint8_t)rotation->reason, rotation->emergency,
		rotation->text};
	return adopt_record(host, &reply, request.challenge, &note, NULL, 0, &arena);
}

result root_host_rotate(struct root_host *host, const struct root_host_rotation *rotation)
{
	TRY(begin_change(host));
	result rotated = rotate(host, rotation);
	end_change(host);
	TRY(rotated);
	host_publish(host, ROOT_ROTATED);
	return OK;
}

result root_host_drain(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct ap_done done;
	TRY(begin_change(host));
	result drained = host_catch_up(host);
	if (drained == OK)
		drained = root_host_call(host, IPQ_DRAIN, NULL, NULL, &ap_done_schema, &arena, &done);
	end_change(host);
	return drained;
}

/* ---- Candidates ------------------------------------------------------------------------------------------------------ */

static void wipe_set_recovery(struct ap_set_recovery *request)
{
	wipe(request->host_seed, sizeof(request->host_seed));
	wipe(request->host_share, sizeof(request->host_share));
}

static result set_recovery(
	struct root_host *host, const struct root_host_set_recovery *wanted, struct arena *arena, struct span *out_payload)
{
	CLEANUP(wipe_set_recovery) struct ap_set_recovery request = {.recovery = wanted->recovery, .has_recovery = wanted->has_recovery};
	struct ap_candidate reply;
	TRY(host_catch_up(host));
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	if (!root)
		return fail(NO_ROOT, "'%s'", host->state_dir);
	request.grace_s = root->epoch.grace_s;
	random_bytes(request.host_seed, sizeof(request.host_seed));
	TRY(read_share(host, request.host_share));
	TRY(root_host_call(host, IPQ_SET_RECOVERY, &ap_set_recovery_schema, &request, &ap_candidate_schema, arena, &reply));
	*out_payload = reply.payload;
	return OK;
}

result root_host_set_recovery(
	struct root_host *host, const struct root_host_set_recovery *wanted, struct arena *arena, struct span *out_payload)
{
	TRY(begin_change(host));
	result made = set_recovery(host, wanted, arena, out_payload);
	end_change(host);
	return made;
}

/* What cannot be used any more is kept beside, for whoever wants to know what happened. */
static result put_aside(const struct root_host *host, const char *name)
{
	char from[PATH_SIZE], to[PATH_SIZE], aside[64];
	TRY(path_join(from, host->state_dir, name));
	snprintf(aside, sizeof(aside), "%s.replaced-%llu", name, (unsigned long long)clock_wall_ms());
	TRY(path_join(to, host->state_dir, aside));
	result moved = file_rename_durable(from, to, 0);
	return moved == NOT_FOUND ? OK : moved;
}

static result begin_import(struct root_host *host, const struct epoch_history *history)
{
	history_close(host->history);
	host->history = NULL;
	TRY(put_aside(host, "epochs"));
	TRY(put_aside(host, "pins"));
	pthread_mutex_lock(&host->head_lock);
	struct epoch_chain *old = host->chain;
	host->chain = NULL;
	pthread_mutex_unlock(&host->head_lock);
	epoch_chain_free(old); /* nobody holds records of a root that could not start */
	TRY(history_open(host->state_dir, true, &host->history));
	TRY(history_add(host->history, HISTORY_OBJECT, history->objects[0].bytes));
	for (size_t i = 0; i < history->key_count; i++)
		TRY(history_add(host->history, HISTORY_KEY, history->keys[i].bytes));
	for (size_t i = 1; i < history->object_count; i++)
		TRY(history_add(host->history, HISTORY_OBJECT, history->objects[i].bytes));
	return history_commit(host->history);
}

static bool knows_root(struct root_host *host, const uint8_t rot_id[static OID_SIZE])
{
	pthread_mutex_lock(&host->head_lock);
	bool known = host->chain && memcmp(epoch_chain_rot_id(host->chain), rot_id, OID_SIZE) == 0 && host->refusal != HISTORY_DAMAGED &&
		host->refusal != PIN_DAMAGED;
	pthread_mutex_unlock(&host->head_lock);
	return known;
}

static result take_all(struct root_host *host, const struct epoch_history *history, bool *out_changed)
{
	struct span *keys = calloc(history->key_count + 1, sizeof(*keys));
	if (!keys)
		return fail(NO_MEMORY, "keys of a history");
	for (size_t i = 0; i < history->key_count; i++)
		keys[i] = history->keys[i].bytes;
	result taken = OK;
	for (size_t i = 0; i < history->object_count && taken == OK; i++) {
		bool changed;
		taken = host_take_in(host, history->objects[i].bytes, NULL, keys, history->key_count, &changed);
		*out_changed |= changed;
		if (taken == EPOCH_FORKED || taken == EPOCH_HALTED)
			taken = OK; /* it is valid, and that is what it says */
	}
	free(keys);
	return taken;
}

static void chain_cleanup(struct epoch_chain **chain)
{
	epoch_chain_free(*chain);
}

static result export_inception(const struct root_host *host, struct span record)
{
	char path[PATH_SIZE];
	TRY(path_join(path, host->state_dir, "inception.epoch"));
	return file_write_atomic(path, record, 0644);
}

/* Another's history: verified whole before anything here is replaced. */
static result import_history(struct root_host *host, struct span bytes, const char *trust_domain)
{
	CLEANUP(arena_free) struct arena arena = arena_of(IMPORT_MEMORY);
	CLEANUP(chain_cleanup) struct epoch_chain *chain = NULL;
	struct epoch_history history;
	bool changed = false;
	result kept = OK;
	TRY(epoch_chain_of_history(bytes, &chain));
	TRY(schema_decode(&epoch_history_schema, bytes, &arena, &history));
	if (knows_root(host, epoch_chain_rot_id(chain)))
		return take_all(host, &history, &changed);
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	if (root && root_host_refusal(host) == OK)
		return fail(EPOCH_FOREIGN, "the history is of another root than this host's, which is in order");
	TRY(begin_import(host, &history));
	TRY(export_inception(host, history.objects[0].bytes));
	snprintf(host->trust_domain, sizeof(host->trust_domain), "%s", trust_domain);
	pthread_mutex_lock(&host->head_lock);
	host->chain = chain;
	chain = NULL;
	for (size_t i = 0; i < history.key_count && kept == OK; i++)
		kept = host_add_key(host, history.keys[i].bytes);
	struct ipq_expected expected = host->expected;
	pthread_mutex_unlock(&host->head_lock);
	TRY(kept);
	TRY(host_pin(host));
	TRY(host_put_chain_head(host));
	host_set_expected(host, expected); /* the secure processor does not know of it */
	host_refuse(host, STALE_STATE, "a history was taken over; a recovery must follow");
	return OK;
}

static result find_base(struct root_host *host, const struct root_host_recover *wanted, struct epoch_link *out)
{
	bool found = false;
	pthread_mutex_lock(&host->head_lock);
	if (wanted->from_head && host->chain) {
		*out = *epoch_chain_head(host->chain);
		found = true;
	}
	for (size_t i = 0; !found && host->chain && i < epoch_chain_count(host->chain); i++) {
		const struct epoch_link *link = epoch_chain_at(host->chain, i);
		if (link->era == wanted->era && link->epoch == wanted->epoch && !link->is_void) {
			*out = *link;
			found = true;
		}
	}
	bool has_chain = host->chain != NULL;
	pthread_mutex_unlock(&host->head_lock);
	if (found)
		return OK;
	return has_chain ? fail(EPOCH_FOREIGN, "era %u epoch %llu is not on this root's chain", wanted->era, (unsigned long long)wanted->epoch)
			 : fail(NO_ROOT, "'%s' has no history; give one", host->state_dir);
}

static void wipe_recover(struct ap_recover *request)
{
	wipe(request->host_seed, sizeof(request->host_seed));
	wipe(request->host_share, sizeof(request->host_share));
}

static result recover(struct root_host *host, const struct root_host_recover *wanted, struct arena *arena, struct span *out_payload)
{
	CLEANUP(wipe_recover) struct ap_recover request = {.valid_ms = wanted->valid_ms, .trust_domain = host->trust_domain};
	struct ap_candidate reply;
	struct epoch_link base;
	if (wanted->history.len)
		TRY(import_history(host, wanted->history, wanted->trust_domain));
	TRY(find_base(host, wanted, &base));
	TRY(host_measure_phases(host, host->trust_domain));
	pthread_mutex_lock(&host->head_lock);
	request.inception = epoch_chain_at(host->chain, 0)->record;
	pthread_mutex_unlock(&host->head_lock);
	request.base = base.record;
	request.grace_s = base.grace_s;
	if (!request.valid_ms)
		request.valid_ms = base.not_after - base.not_before;
	random_bytes(request.host_seed, sizeof(request.host_seed));
	TRY(share_or_new(host, request.host_share));
	TRY(root_host_call(host, IPQ_RECOVER, &ap_recover_schema, &request, &ap_candidate_schema, arena, &reply));
	*out_payload = reply.payload;
	return OK;
}

result root_host_recover(struct root_host *host, const struct root_host_recover *wanted, struct arena *arena, struct span *out_payload)
{
	TRY(begin_change(host));
	result made = recover(host, wanted, arena, out_payload);
	end_change(host);
	return made;
}

static void wipe_adopt(struct ap_adopt_candidate *request)
{
	wipe(request->host_share, sizeof(request->host_share));
}

static result adopt(struct root_host *host, struct span payload, struct recovery_signature *signatures, size_t count,
	enum root_change *out_change)
{
	CLEANUP(arena_free) struct arena arena = arena_of(REPLY_MEMORY);
	CLEANUP(wipe_adopt) struct ap_adopt_candidate request = {.signatures = signatures, .signature_count = count};
	struct ap_rot_available reply;
	struct epoch candidate;
	struct span keys[COSE_MAX_SIGNERS];
	ROOT_IDENTITY_HELD before = root_host_hold(host);
	if (!before)
		return fail(NO_ROOT, "'%s'", host->state_dir);
	if (count > COUNT_OF(keys))
		return fail(TOO_LARGE, "%zu signatures", count);
	TRY(schema_decode(&epoch_schema, payload, &arena, &candidate));
	TRY(check_room(host));
	TRY(host_measure_phases(host, host->trust_domain)); /* the host may have been started anew since the candidate was made */
	for (size_t i = 0; i < count; i++)
		keys[i] = signatures[i].spki;
	sha256(payload, request.payload_digest);
	random_bytes(request.challenge, sizeof(request.challenge));
	TRY(read_share(host, request.host_share));
	TRY(root_host_call(
		host, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &request, &ap_rot_available_schema, &arena, &reply));
	struct history_note note = {1, clock_wall_ms(), before->epoch.era, before->epoch.epoch, candidate.reason, false,
		candidate.reason == EPOCH_RECOVERY ? "signed by the recovery keys" : "other recovery keys, signed by those before"};
	TRY(adopt_record(host, &reply, request.challenge, &note, keys, count, &arena));
	host_refuse(host, OK, "");
	*out_change = candidate.reason == EPOCH_RECOVERY ? ROOT_RECOVERED : ROOT_ROTATED;
	return OK;
}

result root_host_adopt(struct root_host *host, struct span payload, struct recovery_signature *signatures, size_t count)
{
	enum root_change change;
	TRY(begin_change(host));
	result adopted = adopt(host, payload, signatures, count, &change);
	end_change(host);
	TRY(adopted);
	log_warning("the recovery keys have signed a new record", LOG_NUMBER("signatures", count));
	host_publish(host, change);
	return OK;
}

/* ---- From outside -------------------------------------------------------------------------------------------------------- */

static result take(struct root_host *host, struct span bytes, bool *out_changed)
{
	CLEANUP(arena_free) struct arena arena = arena_of(IMPORT_MEMORY);
	struct epoch_history history;
	ROOT_IDENTITY_HELD before = root_host_hold(host);
	if (!before)
		return fail(NO_ROOT, "'%s'", host->state_dir);
	TRY(schema_decode(&epoch_history_schema, bytes, &arena, &history));
	TRY(take_all(host, &history, out_changed));
	pthread_mutex_lock(&host->head_lock);
	bool ahead = memcmp(epoch_chain_head(host->chain)->oid, before->epoch_oid, OID_SIZE) != 0;
	pthread_mutex_unlock(&host->head_lock);
	/* Somebody else made a record that this host's secure processor did not. */
	if (ahead)
		host_refuse(host, STALE_STATE, "there is a valid record of this root that this secure processor did not make");
	return OK;
}

result root_host_take(struct root_host *host, struct span history, bool *out_changed)
{
	bool changed = false;
	TRY(begin_change(host));
	result taken = take(host, history, &changed);
	end_change(host);
	TRY(taken);
	*out_changed = changed;
	if (changed && root_host_refusal(host) != OK)
		host_publish(host, ROOT_STOPPED);
	return OK;
}
