/*
 * The root of trust as it moves on while an IRE lives (constructions/epochs.md "Sessions", "Live evidence"). The runtime follows
 * the chain by itself; what the host tells are records, and it is the chain that accepts them.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "enclave/runtime_internal.h"

enum { AWAIT_MS = 5000 };

/* A recovery or a change of the recovery set is signed by keys whose digests alone stand in the records. */
static result add_keys(struct runtime *rt, const struct bytes_item *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		TRY(epoch_chain_add_key(rt->chain, keys[i].bytes));
	return OK;
}

result epoch_begin(struct runtime *rt)
{
	const struct control_prepare *prepare = &rt->prepare;
	bool is_inception = prepare->history_count == 0;
	TRY(epoch_chain_new(is_inception ? prepare->epoch_record : prepare->history[0].bytes, &rt->chain));
	if (memcmp(epoch_chain_rot_id(rt->chain), prepare->rot_id, OID_SIZE) != 0)
		return fail(BAD_VALUE, "the epoch record is of another root than the host named");
	TRY(add_keys(rt, prepare->recovery_keys, prepare->recovery_key_count));
	for (size_t i = 1; i < prepare->history_count; i++)
		TRY(epoch_chain_learn(rt->chain, prepare->history[i].bytes));
	TRY(epoch_chain_follow(rt->chain, prepare->epoch_record));
	rt->learned_ms = runtime_now_ms();
	return epoch_use(rt, epoch_chain_head(rt->chain)->oid);
}

result epoch_use(struct runtime *rt, const uint8_t oid[static OID_SIZE])
{
	struct key key = {0};
	TRY(epoch_live_key(rt, oid, 0, 0, &key));
	key_free(&rt->root);
	rt->root = key;
	memmove(rt->epoch_oid, oid, OID_SIZE);
	return epoch_chain_decode(epoch_chain_find(rt->chain, oid), &rt->arena, &rt->epoch);
}

result epoch_live_key(struct runtime *rt, const uint8_t oid[static OID_SIZE], uint32_t floor_era, uint64_t floor_epoch,
	struct key *out)
{
	TRY(epoch_chain_judge_live(rt->chain, oid, floor_era, floor_epoch, rt->learned_ms, runtime_now_ms()));
	const struct epoch_link *link = epoch_chain_find(rt->chain, oid);
	return key_from_point(span_of(link->sign_pk, POINT_SIZE), out);
}

result epoch_any_key(struct runtime *rt, const uint8_t oid[static OID_SIZE], struct key *out)
{
	const struct epoch_link *link = epoch_chain_find(rt->chain, oid);
	if (!link)
		return fail(EPOCH_FOREIGN, "an epoch that is not on the chain of this root");
	if (link->is_void)
		return fail(EPOCH_VOID, "era %u epoch %llu", link->era, (unsigned long long)link->epoch);
	return key_from_point(span_of(link->sign_pk, POINT_SIZE), out);
}

static result add_root(struct runtime *rt, const struct epoch_link *link)
{
	struct dac_root root = {
		.era = link->era,
		.epoch = link->epoch,
		.not_before = link->not_before,
		.not_after = link->not_after,
	};
	/* More rotations than this in one run: records of the latest ones cannot be judged, and are refused. */
	if (rt->known_count == KNOWN_EPOCHS)
		return OK;
	memcpy(root.rot_id, rt->prepare.rot_id, OID_SIZE);
	memcpy(root.epoch_oid, link->oid, OID_SIZE);
	struct key *key = &rt->known[rt->known_count];
	TRY(key_from_point(span_of(link->sign_pk, POINT_SIZE), key));
	rt->known_count++;
	root.key = key;
	return dac_add_root(rt->dac, &root);
}

result epoch_add_roots(struct runtime *rt)
{
	size_t count = epoch_chain_count(rt->chain), before = KNOWN_EPOCHS / 2;
	for (size_t i = count > before ? count - before : 0; i < count; i++)
		if (!epoch_chain_at(rt->chain, i)->is_void)
			TRY(add_root(rt, epoch_chain_at(rt->chain, i)));
	return OK;
}

/* ---- The head moves ----------------------------------------------------------------------------- */

/* Both ends of a channel hear of it at about the same time: who starts is left to chance, over half of the grace. */
static void schedule(struct runtime *rt, const struct epoch_link *head)
{
	uint64_t now = runtime_time().steady_ms, grace = (uint64_t)head->grace_s * 1000;
	rt->rekey_by = now + grace;
	rt->start_by = now + grace / 2;
	log_info("the root of trust has moved on", LOG_NUMBER("epoch", head->epoch), LOG_NUMBER("grace_s", head->grace_s));
}

static result follow(struct runtime *rt, const struct control_reissued *told)
{
	const struct epoch_link *before = epoch_chain_head(rt->chain);
	TRY(add_keys(rt, told->recovery_keys, told->recovery_key_count));
	for (size_t i = 0; i < told->record_count; i++)
		TRY(epoch_chain_follow(rt->chain, told->records[i].bytes));
	const struct epoch_link *head = epoch_chain_head(rt->chain);
	if (head == before)
		return OK;
	if (head->era != before->era)
		return fail(ROTATED_EMERGENCY, "a recovery began era %u", head->era);
	rt->learned_ms = runtime_now_ms();
	schedule(rt, head);
	return rt->dac ? add_root(rt, head) : OK;
}

static result show(struct runtime *rt, const struct control_reissued *told)
{
	CLEANUP(key_free) struct key key = {0};
	uint8_t oid[OID_SIZE], digest[SHA256_SIZE], report_oid[OID_SIZE];
	struct span certificate, report;
	TRY(arena_copy(&rt->arena, told->certificate, &certificate));
	TRY(arena_copy(&rt->arena, told->report, &report));
	TRY(runtime_report_epoch(rt, report, oid));
	TRY(epoch_live_key(rt, oid, 0, 0, &key));
	TRY(runtime_check_endorsed(rt, certificate, report, oid, &key, digest, report_oid));
	const struct epoch_link *link = epoch_chain_find(rt->chain, oid);
	rt->shown = certificate;
	rt->shown_epoch.era = link->era;
	rt->shown_epoch.epoch = link->epoch;
	memcpy(rt->shown_epoch.oid, link->oid, OID_SIZE);
	rt->reissues++;
	return OK;
}

result epoch_reissued(struct runtime *rt, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	struct control_reissued told;
	TRY(control_decode(message, &arena, &told));
	if (!rt->chain)
		return fail(ILLEGAL_STATE, "REISSUED before PREPARE");
	TRY(follow(rt, &told));
	if (told.emergency)
		return fail(ROTATED_EMERGENCY, "an emergency");
	TRY(platform_take(rt, told.platform));
	if (told.certificate.len == 0)
		return OK;
	if (rt->certificate.len == 0)
		return fail(ILLEGAL_STATE, "a certificate was re-issued before there was one");
	return show(rt, &told);
}

result epoch_await(struct runtime *rt, const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE])
{
	uint64_t until = clock_monotonic_ns() + AWAIT_MS * UINT64_C(1000000);
	while (!epoch_chain_find(chain, oid)) {
		CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
		uint64_t now = clock_monotonic_ns();
		bool have;
		if (now >= until)
			return fail(EPOCH_FOREIGN, "the peer names an epoch that the host does not tell of");
		result next = runtime_next(rt, (int)((until - now) / 1000000 + 1), &message, &have);
		if (next == TIMED_OUT)
			continue;
		TRY(next);
		if (have)
			return fail(ILLEGAL_STATE, "the host sent %s instead of news of the root", control_type_name(message.type));
	}
	return OK;
}
