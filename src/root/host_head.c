#include "root/host_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "root/pins.h"

struct head {
	struct root_identity identity; /* first: what holders have a pointer to */
	atomic_size_t holders;
	struct arena arena;
};

/* An object that the chain has taken in and that is not durable yet. */
struct unsaved {
	struct arena arena;
	struct span note, object;
	struct span *keys;
	size_t key_count;
	bool in_history; /* only the pins are missing */
};

enum { HEAD_MEMORY = 256 * 1024, PINS_MEMORY = 128 * 1024, KEYS_MEMORY = 1 << 20 };

/* ---- Who we are now: immutable, counted ------------------------------------------------------------- */

static void head_release(struct head *head)
{
	if (!head || atomic_fetch_sub(&head->holders, 1) != 1)
		return;
	key_free(&head->identity.sign);
	arena_free(&head->arena);
	free(head);
}

void root_identity_release(const struct root_identity *const *identity)
{
	if (identity && *identity)
		head_release((struct head *)(uintptr_t)*identity);
}

const struct root_identity *root_host_hold(struct root_host *host)
{
	pthread_mutex_lock(&host->head_lock);
	struct head *head = host->head;
	if (head)
		atomic_fetch_add(&head->holders, 1);
	pthread_mutex_unlock(&host->head_lock);
	return head ? &head->identity : NULL;
}

static result fill_in(struct root_host *host, struct head *head)
{
	struct root_identity *identity = &head->identity;
	const struct epoch_link *link = epoch_chain_head(host->chain);
	TRY(arena_copy(&head->arena, link->record, &identity->epoch_record));
	TRY(arena_copy(&head->arena, epoch_chain_at(host->chain, 0)->record, &identity->inception));
	TRY(epoch_chain_decode(link, &head->arena, &identity->epoch));
	TRY(key_from_point(SPAN_ARRAY(link->sign_pk), &identity->sign));
	identity->records = epoch_chain_count(host->chain);
	memcpy(identity->epoch_oid, link->oid, OID_SIZE);
	memcpy(identity->rot_id, epoch_chain_rot_id(host->chain), OID_SIZE);
	snprintf(identity->trust_domain, sizeof(identity->trust_domain), "%s", host->trust_domain);
	return OK;
}

result host_put_chain_head(struct root_host *host)
{
	struct head *head = calloc(1, sizeof(*head));
	if (!head)
		return fail(NO_MEMORY, "the head of the root");
	atomic_init(&head->holders, 1);
	head->arena = arena_of(HEAD_MEMORY);
	pthread_mutex_lock(&host->head_lock);
	result filled = fill_in(host, head);
	struct head *old = filled == OK ? host->head : head;
	if (filled == OK) {
		host->head = head;
		host->expected = (struct ipq_expected){head->identity.epoch.era, head->identity.epoch.epoch};
	}
	pthread_mutex_unlock(&host->head_lock);
	head_release(old); /* whoever holds it keeps it */
	return filled;
}

static void unsaved_free(struct unsaved *unsaved)
{
	if (unsaved)
		arena_free(&unsaved->arena);
	free(unsaved);
}

void host_head_free(struct root_host *host)
{
	head_release(host->head);
	epoch_chain_free(host->chain);
	history_close(host->history);
	unsaved_free(host->unsaved);
	free(host->keys);
	arena_free(&host->key_arena);
}

struct ipq_expected host_expected(struct root_host *host)
{
	pthread_mutex_lock(&host->head_lock);
	struct ipq_expected expected = host->expected;
	pthread_mutex_unlock(&host->head_lock);
	return expected;
}

void host_set_expected(struct root_host *host, struct ipq_expected expected)
{
	pthread_mutex_lock(&host->head_lock);
	host->expected = expected;
	pthread_mutex_unlock(&host->head_lock);
}

void host_refuse(struct root_host *host, result reason, const char *text)
{
	pthread_mutex_lock(&host->head_lock);
	host->refusal = reason;
	snprintf(host->refusal_text, sizeof(host->refusal_text), "%s", text);
	pthread_mutex_unlock(&host->head_lock);
}

result root_host_refusal(struct root_host *host)
{
	char text[sizeof(host->refusal_text)];
	pthread_mutex_lock(&host->head_lock);
	result refusal = host->refusal;
	memcpy(text, host->refusal_text, sizeof(text));
	pthread_mutex_unlock(&host->head_lock);
	return refusal == OK ? OK : fail(refusal, "%s", text);
}

/* ---- What is known of the chain ----------------------------------------------------------------------- */

result root_host_records(struct root_host *host, size_t from, size_t to, struct arena *arena, struct span **out)
{
	void *list;
	TRY(arena_alloc(arena, to > from ? to - from : 1, sizeof(struct span), &list));
	pthread_mutex_lock(&host->head_lock);
	bool there = host->chain && from <= to && to <= epoch_chain_count(host->chain);
	for (size_t i = from; there && i < to; i++)
		((struct span *)list)[i - from] = epoch_chain_at(host->chain, i)->record;
	pthread_mutex_unlock(&host->head_lock);
	if (!there)
		return fail(BAD_VALUE, "records %zu to %zu of the root", from, to);
	*out = list;
	return OK;
}

result root_host_find(struct root_host *host, const uint8_t oid[static OID_SIZE], struct epoch_link *out)
{
	pthread_mutex_lock(&host->head_lock);
	const struct epoch_link *link = host->chain ? epoch_chain_find(host->chain, oid) : NULL;
	if (link)
		*out = *link;
	pthread_mutex_unlock(&host->head_lock);
	return link ? OK : fail(EPOCH_FOREIGN, "the epoch is not one of this root");
}

result root_host_history(struct root_host *host, struct bytes *out)
{
	pthread_mutex_lock(&host->head_lock);
	result encoded = host->chain ? epoch_chain_history(host->chain, out) : fail(NO_ROOT, "'%s'", host->state_dir);
	pthread_mutex_unlock(&host->head_lock);
	return encoded;
}

/* The chain keeps its keys to itself. */
result host_add_key(struct root_host *host, struct span spki)
{
	for (size_t i = 0; i < host->key_count; i++)
		if (span_equal(host->keys[i], spki))
			return OK;
	struct span *keys = realloc(host->keys, (host->key_count + 1) * sizeof(*keys));
	if (!keys)
		return fail(NO_MEMORY, "recovery keys");
	host->keys = keys;
	if (host->key_arena.max == 0)
		host->key_arena = arena_of(KEYS_MEMORY);
	TRY(epoch_chain_add_key(host->chain, spki));
	TRY(arena_copy(&host->key_arena, spki, &host->keys[host->key_count]));
	host->key_count++;
	return OK;
}

result root_host_recovery_keys(struct root_host *host, struct arena *arena, struct span **out, size_t *out_count)
{
	void *list;
	pthread_mutex_lock(&host->head_lock);
	size_t count = host->key_count;
	result made = arena_alloc(arena, count + 1, sizeof(struct span), &list);
	for (size_t i = 0; i < count && made == OK; i++)
		made = arena_copy(arena, host->keys[i], &((struct span *)list)[i]);
	pthread_mutex_unlock(&host->head_lock);
	TRY(made);
	*out = list;
	*out_count = count;
	return OK;
}

static void keep_note(struct root_host *host, const struct history_note *note)
{
	pthread_mutex_lock(&host->head_lock);
	struct root_note *kept = &host->notes[host->note_count++ % ROOT_NOTES];
	*kept = (struct root_note){note->time, note->epoch, note->era, note->reason, note->emergency, ""};
	snprintf(kept->text, sizeof(kept->text), "%s", note->text);
	pthread_mutex_unlock(&host->head_lock);
}

size_t root_host_notes(struct root_host *host, struct root_note out[static ROOT_NOTES])
{
	pthread_mutex_lock(&host->head_lock);
	size_t count = host->note_count < ROOT_NOTES ? host->note_count : ROOT_NOTES;
	for (size_t i = 0; i < count; i++)
		out[i] = host->notes[(host->note_count - 1 - i) % ROOT_NOTES];
	pthread_mutex_unlock(&host->head_lock);
	return count;
}

/* ---- Reading the history -------------------------------------------------------------------------------- */

/* A record that stopped the chain is as much part of it as one that went on. */
static bool was_taken_in(result followed)
{
	return followed == OK || followed == EPOCH_FORKED || followed == EPOCH_HALTED;
}

static result read_object(struct root_host *host, struct span object, bool is_pinned)
{
	if (!host->chain)
		return epoch_chain_new(object, &host->chain);
	result followed = is_pinned ? epoch_chain_follow_trusted(host->chain, object) : epoch_chain_follow(host->chain, object);
	return was_taken_in(followed) ? OK : fail_within(HISTORY_DAMAGED, "a stored epoch record");
}

static result read_note(struct root_host *host, struct span payload)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct history_note note;
	if (schema_decode(&history_note_schema, payload, &arena, &note) != OK)
		return fail_within(HISTORY_DAMAGED, "a note");
	struct root_note *kept = &host->notes[host->note_count++ % ROOT_NOTES];
	*kept = (struct root_note){note.time, note.epoch, note.era, note.reason, note.emergency, ""};
	snprintf(kept->text, sizeof(kept->text), "%s", note.text);
	return OK;
}

static result read_entry(void *ctx, enum history_type type, struct span payload, bool is_pinned)
{
	struct root_host *host = ctx;
	switch (type) {
	case HISTORY_OBJECT:
		return read_object(host, payload, is_pinned);
	case HISTORY_KEY:
		return host->chain ? host_add_key(host, payload) : fail(HISTORY_DAMAGED, "a key before the first record");
	default:
		return read_note(host, payload);
	}
}

result host_history_load(struct root_host *host, const struct history_mark *pinned)
{
	if (!host->history)
		TRY(history_open(host->state_dir, false, &host->history));
	pthread_mutex_lock(&host->head_lock);
	result read = history_read(host->history, pinned, read_entry, host);
	pthread_mutex_unlock(&host->head_lock);
	TRY(read);
	return host->chain ? OK : fail(HISTORY_DAMAGED, "the history has no record");
}

result host_history_begin(struct root_host *host, struct span inception)
{
	const struct history_mark nothing = {0};
	TRY(history_open(host->state_dir, true, &host->history));
	pthread_mutex_lock(&host->head_lock);
	result read = history_read(host->history, &nothing, read_entry, host);
	if (read == OK && !host->chain) /* else one that was begun before a crash */
		read = epoch_chain_new(inception, &host->chain);
	bool same = read == OK && span_equal(epoch_chain_at(host->chain, 0)->record, inception);
	pthread_mutex_unlock(&host->head_lock);
	TRY(read);
	if (!same)
		return fail(HISTORY_DAMAGED, "the history begins with another root's record");
	if (history_mark(host->history).count > 0)
		return OK;
	TRY(history_add(host->history, HISTORY_OBJECT, inception));
	return history_commit(host->history);
}

/* ---- Taking in one more ---------------------------------------------------------------------------------- */

/* `pins` NULL: only asks what is mirrored. */
static result mirror(struct root_host *host, const struct pins *pins)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct ap_pin request = {0};
	struct ap_pinned reply;
	if (pins) {
		request = (struct ap_pin){pins->seq, pins->era, pins->epoch, {0}};
		memcpy(request.digest, pins->digest, sizeof(request.digest));
	}
	TRY(root_host_call(host, IPQ_PIN, &ap_pin_schema, &request, &ap_pinned_schema, &arena, &reply));
	host->has_mirror = reply.mirrored;
	host->mirrored_seq = reply.seq;
	return OK;
}

result host_check_mirror(struct root_host *host, const struct pins *pins)
{
	if (!host->has_tpm)
		return OK;
	TRY(mirror(host, NULL)); /* a recovery goes on from there */
	return pins ? mirror(host, pins) : OK;
}

/* The pins that lie there, the latest of which may have missed the TPM. */
static result load_pins(struct root_host *host, struct arena *arena, struct pins *out)
{
	result loaded = pins_load(host->state_dir, arena, out);
	if (loaded != OK && loaded != NOT_FOUND)
		return loaded;
	bool disowned = root_host_refusal(host) == PIN_STALE; /* a recovery begins here: what it pins is the latest */
	if (host->has_mirror && !disowned && out->seq > host->mirrored_seq)
		TRY(mirror(host, out));
	if (disowned || out->seq < host->mirrored_seq)
		out->seq = host->mirrored_seq;
	return OK;
}

/* They are durable: what the TPM did not take now it takes before the next, or at the next start. */
static void mirror_latest(struct root_host *host, const struct pins *pins)
{
	if (!host->has_tpm)
		return;
	result mirrored = mirror(host, pins);
	if (mirrored != OK)
		log_failure(LOG_LEVEL_WARNING, "the TPM did not take the latest pin store", mirrored);
}

result host_pin(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(PINS_MEMORY);
	struct pins pins = {0};
	TRY(load_pins(host, &arena, &pins));
	pthread_mutex_lock(&host->head_lock);
	const struct epoch_link *head = epoch_chain_head(host->chain);
	memcpy(pins.rot_id, epoch_chain_rot_id(host->chain), OID_SIZE);
	pins.head = head->record; /* lives as long as the chain */
	pins.era = head->era;
	pins.epoch = head->epoch;
	pthread_mutex_unlock(&host->head_lock);
	memcpy(pins.ap_digest, host->ap_digest, SHA384_SIZE);
	pins.history = history_mark(host->history);
	pins.trust_domain = host->trust_domain;
	TRY(pins_store(host->state_dir, &pins));
	mirror_latest(host, &pins);
	return OK;
}

static void unsaved_cleanup(struct unsaved **unsaved)
{
	unsaved_free(*unsaved);
}

static result remember_unsaved(struct root_host *host, struct span object, const struct history_note *note, const struct span *keys,
	size_t key_count)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(unsaved_cleanup) struct unsaved *unsaved = calloc(1, sizeof(*unsaved));
	void *list;
	if (!unsaved)
		return fail(NO_MEMORY, "an epoch record");
	unsaved->arena = arena_of(HEAD_MEMORY);
	TRY(arena_copy(&unsaved->arena, object, &unsaved->object));
	TRY(arena_alloc(&unsaved->arena, key_count + 1, sizeof(struct span), &list));
	unsaved->keys = list;
	for (size_t i = 0; i < key_count; i++)
		TRY(arena_copy(&unsaved->arena, keys[i], &unsaved->keys[unsaved->key_count++]));
	if (note) {
		TRY(schema_encode(&history_note_schema, note, &encoding));
		TRY(arena_copy(&unsaved->arena, bytes_span(&encoding), &unsaved->note));
		keep_note(host, note);
	}
	host->unsaved = unsaved;
	unsaved = NULL;
	return OK;
}

static result add_to_history(struct root_host *host, const struct unsaved *unsaved)
{
	if (unsaved->note.len)
		TRY(history_add(host->history, HISTORY_NOTE, unsaved->note));
	for (size_t i = 0; i < unsaved->key_count; i++)
		TRY(history_add(host->history, HISTORY_KEY, unsaved->keys[i]));
	TRY(history_add(host->history, HISTORY_OBJECT, unsaved->object));
	return history_commit(host->history);
}

static result ignore_entry(void *ctx, enum history_type type, struct span payload, bool is_pinned)
{
	(void)ctx, (void)type, (void)payload, (void)is_pinned;
	return OK;
}

/* A journal that has failed is looked at anew: what is on the disk counts. */
static result reopen_history(struct root_host *host)
{
	const struct history_mark nothing = {0};
	history_close(host->history);
	host->history = NULL;
	TRY(history_open(host->state_dir, false, &host->history));
	return history_read(host->history, &nothing, ignore_entry, NULL);
}

/* The new head is given out only when it is durable and pinned. */
static result save(struct root_host *host)
{
	struct unsaved *unsaved = host->unsaved;
	result added = OK;
	if (!host->history)
		TRY(reopen_history(host));
	if (!unsaved->in_history)
		added = add_to_history(host, unsaved);
	if (added == JOURNAL_POISONED && reopen_history(host) == OK)
		added = add_to_history(host, unsaved); /* what was written the first time may stand there twice: it is known then */
	TRY(added);
	unsaved->in_history = true;
	TRY(host_pin(host));
	unsaved_free(unsaved);
	host->unsaved = NULL;
	return OK;
}

void host_stop_if_stopped(struct root_host *host)
{
	pthread_mutex_lock(&host->head_lock);
	enum epoch_chain_state state = epoch_chain_state(host->chain);
	pthread_mutex_unlock(&host->head_lock);
	if (state == CHAIN_FROZEN)
		host_refuse(host, EPOCH_FORKED, "two valid records exist for one epoch of this root; both are in its history");
	if (state == CHAIN_HALTED)
		host_refuse(host, EPOCH_HALTED, "the recovery keys have halted this root");
}

result host_take_in(struct root_host *host, struct span object, const struct history_note *note, const struct span *keys, size_t key_count,
	bool *out_changed)
{
	if (host->unsaved)
		TRY(save(host));
	pthread_mutex_lock(&host->head_lock);
	size_t count = epoch_chain_count(host->chain);
	enum epoch_chain_state state = epoch_chain_state(host->chain);
	result followed = OK;
	for (size_t i = 0; i < key_count && followed == OK; i++)
		followed = host_add_key(host, keys[i]);
	if (followed == OK)
		followed = epoch_chain_follow(host->chain, object);
	bool changed = was_taken_in(followed) && (epoch_chain_count(host->chain) != count || epoch_chain_state(host->chain) != state);
	pthread_mutex_unlock(&host->head_lock);
	*out_changed = changed;
	if (!changed)
		return followed;
	host_stop_if_stopped(host); /* at once, whatever the disk says */
	char text[512];
	snprintf(text, sizeof(text), "%s", followed == OK ? "" : failure_text());
	TRY(remember_unsaved(host, object, note, keys, key_count));
	TRY(save(host));
	return followed == OK ? OK : fail(followed, "%s", text);
}

/* ---- Following the secure processor ----------------------------------------------------------------------- */

static result follow_ap(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ap_health health;
	bool changed;
	if (host->unsaved) {
		TRY(save(host));
		TRY(host_put_chain_head(host));
	}
	TRY(host_read_health(host, &arena, &health));
	struct ipq_expected expected = host_expected(host);
	if (health.epoch_record.len == 0 || (health.era == expected.era && health.epoch == expected.epoch))
		return OK;
	struct history_note note = {1, clock_wall_ms(), expected.era, expected.epoch, EPOCH_OPERATOR, false, "followed the secure processor"};
	TRY(host_take_in(host, health.epoch_record, &note, NULL, 0, &changed));
	return host_put_chain_head(host);
}

result host_catch_up(struct root_host *host)
{
	return host->chain ? follow_ap(host) : OK;
}

bool host_moved_on(struct root_host *host, struct ipq_expected old)
{
	bool caught_up = false;
	pthread_mutex_lock(&host->change_lock);
	struct ipq_expected now = host_expected(host);
	if (now.era == old.era && now.epoch == old.epoch && host_catch_up(host) == OK) {
		now = host_expected(host);
		caught_up = true;
	}
	pthread_mutex_unlock(&host->change_lock);
	bool moved = now.era != old.era || now.epoch != old.epoch;
	if (moved && caught_up)
		host_publish(host, now.era != old.era ? ROOT_RECOVERED : ROOT_ROTATED);
	return moved;
}

void root_host_catch_up(struct root_host *host)
{
	(void)host_moved_on(host, host_expected(host));
}

/* ---- Who hears of changes ---------------------------------------------------------------------------- */

void root_host_subscribe(struct root_host *host, struct root_subscription *subscription)
{
	pthread_mutex_lock(&host->list_lock);
	subscription->next = host->subscriptions;
	host->subscriptions = subscription;
	pthread_mutex_unlock(&host->list_lock);
}

void root_host_unsubscribe(struct root_host *host, struct root_subscription *subscription)
{
	pthread_mutex_lock(&host->list_lock);
	for (struct root_subscription **at = &host->subscriptions; *at; at = &(*at)->next)
		if (*at == subscription) {
			*at = subscription->next;
			break;
		}
	pthread_mutex_unlock(&host->list_lock);
}

void host_publish(struct root_host *host, enum root_change change)
{
	ROOT_IDENTITY_HELD now = root_host_hold(host);
	pthread_mutex_lock(&host->list_lock);
	for (struct root_subscription *at = host->subscriptions; at; at = at->next)
		at->changed(at->ctx, change, now);
	pthread_mutex_unlock(&host->list_lock);
}
