/*
 * The trust policy of an IRE while it lives: the version in force, and what peers have left of their rates.
 *
 * A newer version is taken when its author is the one whom the measured policy names and its number is higher than any that
 * was seen here. It replaces the table between two events of the one thread that decides, so no decision sees half of it.
 * Everything that stands on an earlier decision is then asked about again: what the new version does not allow ends now.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "enclave/runtime_internal.h"

/* ---- Versions ----------------------------------------------------------------------------------- */

static void put_in_force(struct runtime *rt, const struct policy_table *table, const struct policy_view *view)
{
	rt->policy = table;
	rt->policy_version = view->version;
	policy_chain(view, rt->chain_limits);
	records_limit(rt);
	memcpy(rt->policy_digest, view->digest, SHA256_SIZE);
}

static result launched_policy(const struct runtime *rt, struct policy_view *out)
{
	return records_find_policy(rt, rt->manifest.policy_digest, out);
}

static result take(struct runtime *rt, struct span object)
{
	const struct policy_version *version;
	struct policy_view launched;
	TRY(launched_policy(rt, &launched));
	TRY(policy_versions_add(rt->versions, object, &version));
	TRY(policy_version_follows(&launched, version, rt->policy_version));
	put_in_force(rt, version->table, &version->policy);
	return OK;
}

result policy_begin(struct runtime *rt)
{
	struct policy_view launched;
	TRY(policy_versions_new(&rt->versions));
	TRY(launched_policy(rt, &launched));
	put_in_force(rt, rt->policies[0].table, &launched);
	if (!rt->prepare.has_policy_version)
		return OK;
	result taken = take(rt, rt->prepare.policy_version);
	return taken == OK ? OK : fail_within(taken, "the newer version of the policy that the host has");
}

result policy_add_version(struct runtime *rt, struct span object)
{
	return policy_versions_add(rt->versions, object, NULL);
}

result policy_follows(void *ctx, const uint8_t launched[static SHA256_SIZE], const uint8_t named[static SHA256_SIZE])
{
	const struct runtime *rt = ctx;
	const struct policy_version *version = policy_versions_find(rt->versions, named);
	struct policy_view view;
	if (!version)
		return fail(DAC_REPORT_MISMATCH, "the record names another policy than the one that was launched, and no version that is at hand");
	TRY(records_find_policy(rt, launched, &view));
	return policy_version_follows(&view, version, 0);
}

static bool is_named(const struct runtime *rt, const struct policy_version *version)
{
	for (size_t i = 0; i < dac_count(rt->dac); i++) {
		const struct record *record = dac_record(rt->dac, i);
		if (strcmp(record->enclave, rt->uri) == 0 && memcmp(record->policy_digest, version->policy.digest, SHA256_SIZE) == 0)
			return true;
	}
	return false;
}

result policy_versions_used(struct runtime *rt, struct control_finished *out)
{
	void *list;
	size_t count = policy_versions_count(rt->versions);
	TRY(arena_alloc(&rt->arena, count + 1, sizeof(struct bytes_item), &list));
	out->versions = list;
	for (size_t i = 0; i < count; i++) {
		const struct policy_version *version = policy_versions_at(rt->versions, i);
		if (is_named(rt, version))
			out->versions[out->version_count++].bytes = version->object;
	}
	out->has_versions = out->version_count > 0;
	return schema_sort(&bytes_item_schema, out->versions, out->version_count);
}

/* ---- A version comes while the enclave lives ---------------------------------------------------- */

struct denied {
	uint64_t count;
	result first;
	char text[CONTROL_TEXT_MAX]; /* why */
};

/* In this log and in the host's; the failure stays what it was. */
static void tell(const struct channel *channel, result why)
{
	char text[1024], reason[640];
	snprintf(reason, sizeof(reason), "%s", failure_text());
	snprintf(text, sizeof(text), "edge '%s' with '%s' was closed, as version %" PRIu64 " of the policy does not allow it: %s",
		channel->spec.edge, channel->spec.peer, channel->runtime->policy_version, reason);
	const struct control_note body = {(uint32_t)why, text};
	if (control_send(channel->runtime->control, CONTROL_NOTE, &control_note_schema, &body, NULL, 0, 0) != OK)
		log_debug("the host was not told");
	(void)fail(why, "%s", reason);
}

static void note(struct denied *denied, const struct channel *channel, result why)
{
	log_warning("a channel is closed: the new version of the policy does not allow it", LOG_TEXT("peer", channel->spec.peer),
		LOG_TEXT("reason", reason_name(why)));
	tell(channel, why);
	denied->count++;
	if (channel->link || denied->first != OK)
		return; /* a channel of calls ends its calls, not the enclave */
	denied->first = why;
	snprintf(denied->text, sizeof(denied->text), "%s", failure_text());
}

/* Handshakes under way ask by themselves, and what was handed over already was allowed when it was. */
static void decide_channels(struct runtime *rt, struct denied *denied)
{
	for (size_t i = 0; i < rt->channel_count; i++) {
		struct channel *channel = rt->channels[i];
		if (!channel->open || channel->finished || channel->ended)
			continue;
		failure_clear();
		result decided = channel_decide_again(channel);
		if (decided == OK)
			continue;
		note(denied, channel, decided);
		if (channel->link)
			call_channel_failed(rt, channel, decided);
	}
}

static result answer(struct runtime *rt, result taken, const struct denied *denied)
{
	char text[CONTROL_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", taken == OK ? "" : failure_text());
	struct control_policy_taken body = {
		.reason = (uint32_t)taken, .text = text, .version = rt->policy_version, .closed = denied->count};
	memcpy(body.digest, rt->policy_digest, SHA256_SIZE);
	return runtime_send(rt, CONTROL_POLICY_TAKEN, &body);
}

result policy_received(struct runtime *rt, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(2 * CONTROL_MAX);
	struct control_policy body;
	struct denied denied = {.first = OK};
	if (!rt->policy || !rt->dac)
		return fail(ILLEGAL_STATE, "POLICY before READY");
	TRY(control_decode(message, &arena, &body));
	failure_clear();
	result taken = take(rt, body.version);
	if (taken != OK)
		return answer(rt, taken, &denied);
	log_info("a newer version of the policy is in force", LOG_NUMBER("version", rt->policy_version));
	decide_channels(rt, &denied);
	TRY(answer(rt, OK, &denied));
	if (denied.first != OK)
		return fail(denied.first, "version %" PRIu64 " of the policy came while the channel was open: %s", rt->policy_version,
			denied.text);
	return records_decide_inputs(rt);
}

/* ---- Rates -------------------------------------------------------------------------------------- */

static result grow_meters(struct runtime *rt)
{
	size_t cap = rt->meter_cap ? 2 * rt->meter_cap : 8;
	struct peer_meter *grown = realloc(rt->meters, cap * sizeof(*grown));
	if (!grown)
		return fail(NO_MEMORY, "meters of %zu peers", cap);
	rt->meters = grown;
	rt->meter_cap = cap;
	return OK;
}

/* Peers are those of the job: there are never more meters than the manifest and the job name. */
result policy_meter_of(struct runtime *rt, const char *peer, struct policy_request *request)
{
	size_t at = 0;
	while (at < rt->meter_count && strcmp(rt->meters[at].peer, peer) != 0)
		at++;
	if (at == rt->meter_count) {
		struct span name;
		TRY(arena_copy(&rt->arena, span_of(peer, strlen(peer) + 1), &name));
		if (rt->meter_count == rt->meter_cap)
			TRY(grow_meters(rt));
		rt->meters[rt->meter_count++] = (struct peer_meter){.peer = (const char *)name.data};
	}
	request->meter = &rt->meters[at].meter;
	request->steady_ms = runtime_time().steady_ms;
	return OK;
}
