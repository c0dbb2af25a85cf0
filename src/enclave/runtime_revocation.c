/*
 * What the runtime of an enclave makes of revocation (constructions/iecp.md "Revocation"; docs/PROTOCOL.revocation). It obeys
 * heads that its own host's secure processor signed, and the lists that they name. A head holds for its lease, which runs on
 * the steady clock from when it was signed: neither a step of the wall clock nor a head that was held back makes it longer.
 *
 * Before the first head there is no lease and nothing is revoked: a host that obeys no operator costs nothing here.
 */
#include <poll.h>
#include <stdio.h>

#include "base/log.h"
#include "enclave/revocation_feed.h"
#include "enclave/runtime_internal.h"

/* In this log and in the host's, before anything else is done about it; the failure stays what it was. */
static void note(struct runtime *rt, enum reason reason, const char *text)
{
	char why[768];
	snprintf(why, sizeof(why), "%s", failure_text());
	log_warning("a channel was closed", LOG_TEXT("enclave", rt->manifest.name), LOG_TEXT("reason", reason_name(reason)),
		LOG_TEXT("text", text));
	struct control_note body = {(uint32_t)reason, text};
	if (control_send(rt->control, CONTROL_NOTE, &control_note_schema, &body, NULL, 0, 0) != OK)
		log_debug("the host was not told");
	(void)fail(reason, "%s", why);
}

static void note_channel(const struct channel *channel, enum reason reason)
{
	char text[768];
	snprintf(text, sizeof(text), "edge '%s' with '%s' was closed: %s", channel->spec.edge, channel->spec.peer, failure_text());
	note(channel->runtime, reason, text);
}

/* ---- News --------------------------------------------------------------------------------------------------- */

static void forget_lists(struct revocations *rev)
{
	revocation_set_free(&rev->set);
	for (size_t i = 0; i < REVOCATION_MAX_LISTS; i++)
		revocation_file_unmap(&rev->maps[i]);
}

void revocation_free(struct runtime *rt)
{
	forget_lists(&rt->revocations);
}

static bool is_named(const struct revocation_head_row *row, const struct revocation_view *list)
{
	return memcmp(row->operator_id, list->operator_id, KEY_ID_SIZE) == 0 && row->version == list->version &&
		memcmp(row->oid, list->oid, OID_SIZE) == 0;
}

/* Also a host that has lost its memory brings no older list of an operator than it brought before. */
static result check_floor(const struct revocations *rev, const struct revocation_head_row *row)
{
	for (size_t i = 0; i < rev->set.count; i++) {
		const struct revocation_view *list = &rev->set.lists[i];
		if (memcmp(row->operator_id, list->operator_id, KEY_ID_SIZE) == 0 && row->version < list->version)
			return fail(REVOCATION_OLD, "the host brings version %llu after %llu", (unsigned long long)row->version,
				(unsigned long long)list->version);
	}
	return OK;
}

static result open_lists(struct revocations *next, const struct revocation_head *head, const struct sock_message *raw)
{
	if (raw->fd_count != head->list_count)
		return fail(REVOCATION_HEAD_WRONG, "%zu lists came for the %zu that the head names", raw->fd_count, head->list_count);
	for (size_t i = 0; i < head->list_count; i++) {
		struct revocation_view *list = &next->set.lists[i];
		TRY(revocation_file_map(raw->fds[i].n, &next->maps[i]));
		TRY(revocation_open(next->maps[i], NULL, list));
		next->set.count++;
		if (!is_named(&head->lists[i], list))
			return fail(REVOCATION_HEAD_WRONG, "another list came than the head names");
	}
	return OK;
}

static result take_lists(struct runtime *rt, const struct revocation_head *head, const struct sock_message *raw)
{
	struct revocations *rev = &rt->revocations, next = *rev;
	memset(&next.set, 0, sizeof(next.set));
	memset(next.maps, 0, sizeof(next.maps));
	for (size_t i = 0; i < head->list_count; i++)
		TRY(check_floor(rev, &head->lists[i]));
	result opened = open_lists(&next, head, raw);
	if (opened != OK) {
		forget_lists(&next);
		return opened;
	}
	forget_lists(rev);
	*rev = next;
	log_debug("other revocation lists are in force", LOG_NUMBER("lists", rev->set.count));
	return OK;
}

static result check_same_lists(const struct revocations *rev, const struct revocation_head *head)
{
	if (head->list_count != rev->set.count)
		return fail(REVOCATION_HEAD_WRONG, "the head names lists that did not come");
	for (size_t i = 0; i < head->list_count; i++)
		if (!is_named(&head->lists[i], &rev->set.lists[i]))
			return fail(REVOCATION_HEAD_WRONG, "the head names a list that did not come");
	return OK;
}

/* In the order of the chain: once a head of an epoch came, keys of earlier ones sign none. */
static result check_epoch(struct runtime *rt, const struct revocation_head *head)
{
	const struct epoch_link *link = epoch_chain_find(rt->chain, head->epoch_oid);
	if (!link)
		return fail(EPOCH_FOREIGN, "a revocation head of an epoch that the host has not told of");
	if (link->era < rt->revocations.era || (link->era == rt->revocations.era && link->epoch < rt->revocations.epoch))
		return fail(REVOCATION_HEAD_WRONG, "it was signed in an epoch that is over");
	return OK;
}

/* Is it the next word of our own secure processor? */
static result check_head(struct runtime *rt, struct span object, const struct revocation_head *head)
{
	const struct revocations *rev = &rt->revocations;
	CLEANUP(key_free) struct key key = {0};
	if (memcmp(head->rot_id, rt->prepare.rot_id, OID_SIZE) != 0)
		return fail(REVOCATION_HEAD_WRONG, "it is of another root");
	TRY(check_epoch(rt, head));
	TRY(epoch_any_key(rt, head->epoch_oid, &key));
	TRY(object_verify(KIND_REVOCATION_HEAD, object, &key));
	TRY(revocation_lease_allowed(head->lease_ms, head->list_count));
	if (rev->seq && (head->boot_gen != rev->boot_gen || head->seq <= rev->seq))
		return fail(REVOCATION_HEAD_WRONG, "head %llu after %llu", (unsigned long long)head->seq, (unsigned long long)rev->seq);
	if (head->steady > runtime_time().steady_ms)
		return fail(REVOCATION_HEAD_WRONG, "it was signed in the future");
	return OK;
}

static void take_head(struct runtime *rt, const struct revocation_head *head)
{
	struct revocations *rev = &rt->revocations;
	const struct epoch_link *link = epoch_chain_find(rt->chain, head->epoch_oid);
	rev->era = link->era;
	rev->epoch = link->epoch;
	rev->boot_gen = head->boot_gen;
	rev->seq = head->seq;
	rev->time_ms = head->time > rev->time_ms ? head->time : rev->time_ms;
	rev->lease_ms = head->lease_ms;
	rev->until_ms = head->lease_ms ? head->steady + head->lease_ms : 0;
}

static result judge_own(const struct runtime *rt)
{
	const struct revocation_subject subject = {
		.measurement = rt->measurement,
		.core = rt->core,
		.key = rt->sign.pkey ? rt->sign.id : NULL,
		.certificate = rt->certificate.len ? rt->certificate_digest : NULL,
		.rot_id = rt->prepare.rot_id,
		.epoch = rt->shown.len ? rt->shown_epoch.oid : rt->epoch_oid,
		.policy = rt->policy_digest, /* in force */
	};
	return revocation_judge(&rt->revocations.set, &subject, rt->revocations.time_ms);
}

result revocation_told(struct runtime *rt, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct control_revoked told;
	struct revocation_head head;
	TRY(control_decode(message, &arena, &told));
	if (!rt->chain)
		return fail(ILLEGAL_STATE, "REVOKED before PREPARE");
	TRY(object_peek(KIND_REVOCATION_HEAD, told.head, &arena, &head, NULL));
	TRY(check_head(rt, told.head, &head));
	if (told.fresh)
		TRY(take_lists(rt, &head, &message->raw));
	else
		TRY(check_same_lists(&rt->revocations, &head));
	take_head(rt, &head);
	result judged = judge_own(rt);
	for (size_t i = 0; judged != OK && i < rt->channel_count; i++)
		if (rt->channels[i]->open)
			note_channel(rt->channels[i], judged);
	return judged;
}

/* ---- The lease ------------------------------------------------------------------------------------------------ */

static bool is_over(const struct revocations *rev)
{
	return rev->lease_ms && runtime_time().steady_ms >= rev->until_ms;
}

/* Heads that wait to be read because this thread was busy count. */
static result read_waiting(struct runtime *rt)
{
	struct pollfd wait = {.fd = rt->control, .events = POLLIN};
	while (is_over(&rt->revocations) && poll(&wait, 1, 0) > 0) {
		CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
		bool have;
		TRY(runtime_next(rt, RUNTIME_REPLY_MS, &message, &have));
		if (have)
			return fail(ILLEGAL_STATE, "the host sent %s unasked", control_type_name(message.type));
	}
	return OK;
}

result revocation_check_lease(struct runtime *rt)
{
	struct revocations *rev = &rt->revocations;
	if (!is_over(rev))
		return OK;
	if (!rt->awaits_reply)
		TRY(read_waiting(rt));
	if (!is_over(rev))
		return OK;
	return fail(LEASE_ENDED, "the last head of this host was signed %llu ms ago, and holds for %u",
		(unsigned long long)(runtime_time().steady_ms - (rev->until_ms - rev->lease_ms)), rev->lease_ms);
}

uint64_t revocation_due(const struct runtime *rt)
{
	return rt->revocations.lease_ms ? rt->revocations.until_ms : UINT64_MAX;
}

int revocation_patience(const struct runtime *rt, int ms)
{
	uint64_t now = runtime_time().steady_ms, until = revocation_due(rt);
	if (until == UINT64_MAX)
		return ms;
	uint64_t left = until > now ? until - now : 0;
	return left < (uint64_t)ms ? (int)left : ms;
}

/* ---- Peers ------------------------------------------------------------------------------------------------------ */

/* Which version of its policy is in force a peer knows itself, and obeys; its records say so, and are judged by that. */
static result judge_peer(const struct channel *channel, const struct iecp_peer *peer)
{
	const struct revocations *rev = &channel->runtime->revocations;
	struct revocation_subject subject = {.key = peer->sign_key.id, .certificate = channel->peer.certificate};
	if (!channel->spec.external) {
		subject.measurement = channel->peer.measurement;
		subject.core = channel->peer.core;
		subject.rot_id = peer->epoch.rot_id;
		subject.epoch = peer->epoch.oid;
	}
	result judged = revocation_judge(&rev->set, &subject, rev->time_ms);
	return judged == OK ? OK : fail_within(judged, "'%s'", channel->spec.peer);
}

result revocation_check_peer(const struct channel *channel, const struct iecp_peer *peer)
{
	if (channel->runtime->revocations.seq == 0)
		return OK;
	TRY(revocation_check_lease(channel->runtime));
	return judge_peer(channel, peer);
}

result revocation_closed_by_peer(const struct channel *channel, enum reason reason)
{
	result closed = fail(reason, "'%s' heard of it first", channel->spec.peer);
	note_channel(channel, reason);
	return closed;
}

result revocation_keep(struct channel *channel)
{
	struct runtime *rt = channel->runtime;
	if (rt->revocations.seq == 0)
		return OK;
	result kept = revocation_check_lease(rt);
	if (kept == OK && channel->judged_seq != rt->revocations.seq)
		kept = judge_peer(channel, iecp_channel_peer(channel->open));
	channel->judged_seq = rt->revocations.seq;
	if (kept == REVOKED || kept == LEASE_ENDED)
		note_channel(channel, kept);
	return kept;
}
