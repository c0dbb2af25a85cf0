#include "root/host_upgrade.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "root/host_internal.h"

static result keep_set(const char *state_dir, struct span bytes, const struct reference_set *set)
{
	uint8_t author[KEY_ID_SIZE];
	TRY(point_key_id(SPAN_ARRAY(set->author_pk), author));
	return upgrade_store_keep(state_dir, author, set->name, bytes);
}

static result authorise(struct root_host *host, const struct ap_authorise *request, struct arena *arena, struct ap_authorised *out)
{
	struct upgrades upgrades;
	struct reference_set set;
	TRY(upgrade_store_load(host->state_dir, &upgrades));
	TRY(upgrades_take(&upgrades, request->set, request->enrol, clock_wall_ms(), arena, &set));
	TRY(root_host_call(host, IPQ_AUTHORISE, &ap_authorise_schema, request, &ap_authorised_schema, arena, out));
	TRY(upgrade_store_save(host->state_dir, &upgrades));
	TRY(keep_set(host->state_dir, request->set, &set));
	log_info(request->sealed.len ? "a secret was sealed anew under a reference set" : "a reference set was authorised",
		LOG_TEXT("set", set.name), LOG_NUMBER("version", set.version));
	return OK;
}

/* One at a time: the record is read, changed and written, and a set that another client gives meanwhile must not be lost. */
static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER;

result root_host_authorise(struct root_host *host, const struct ap_authorise *request, struct arena *arena, struct ap_authorised *out)
{
	pthread_mutex_lock(&record_lock);
	result authorised = authorise(host, request, arena, out);
	pthread_mutex_unlock(&record_lock);
	return authorised;
}

result root_host_reference(const struct root_host *host, const struct reference *reference, struct arena *arena, struct span *out)
{
	return upgrade_store_find(host->state_dir, reference, arena, out);
}

result host_upgrade_take(const char *state_dir, struct span bytes, uint64_t now_ms)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct upgrades upgrades;
	struct reference_set set;
	TRY(upgrade_store_load(state_dir, &upgrades));
	TRY(upgrades_take(&upgrades, bytes, false, now_ms, &arena, &set));
	TRY(upgrade_store_save(state_dir, &upgrades));
	return keep_set(state_dir, bytes, &set);
}

result host_upgrade_allows_ap(const char *state_dir, const uint8_t digest[static SHA384_SIZE])
{
	struct upgrades upgrades;
	TRY(upgrade_store_load(state_dir, &upgrades));
	return upgrades_allow(&upgrades, UPGRADE_AP, digest);
}

result root_host_backup(struct root_host *host, const struct ap_backup *request, struct arena *arena, struct ap_backed_up *out)
{
	TRY(root_host_call(host, IPQ_BACKUP, &ap_backup_schema, request, &ap_backed_up_schema, arena, out));
	log_info("a backup was made for the recovery set");
	return OK;
}

result root_host_restore(struct root_host *host, const struct ap_restore *request, struct arena *arena)
{
	CLEANUP(key_free) struct key signer = KEY_EMPTY;
	struct backup backup;
	struct epoch_link link;
	struct ap_done done;
	uint8_t oid[OID_SIZE];
	TRY(backup_peek(request->backup, arena, &backup, oid));
	if (root_host_find(host, backup.epoch_oid, &link) != OK)
		return fail(BACKUP_FOREIGN, "no epoch of this root has made it");
	TRY(key_from_point(SPAN_ARRAY(link.sign_pk), &signer));
	TRY(backup_open(request->backup, &signer, arena, &backup, oid));
	TRY(root_host_call(host, IPQ_RESTORE, &ap_restore_schema, request, &ap_done_schema, arena, &done));
	log_info("a backup was restored", LOG_NUMBER("era", backup.era), LOG_NUMBER("epoch", backup.epoch));
	return OK;
}
