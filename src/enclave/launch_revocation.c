#include "enclave/launch_revocation.h"

#include <stdio.h>

#include "base/clock.h"
#include "enclave/control.h"

enum { LAST_WORDS_MS = 600 };

void launch_revocation_begin(struct launch_revocation *rev, struct revocation_feed *feed, void (*ring)(void *ctx), void *ctx)
{
	*rev = (struct launch_revocation){.feed = feed, .subscriber = {.changed = ring, .ctx = ctx}};
}

void launch_revocation_end(struct launch_revocation *rev)
{
	if (rev->feed && rev->subscriber.known.name[0])
		revocation_feed_unsubscribe(rev->feed, &rev->subscriber);
	rev->feed = NULL;
}

static result judge(struct launch_revocation *rev, const struct revocation_known *known)
{
	struct revocation_state state;
	struct revocation_subject subject = revocation_known_subject(known);
	subject.policy = NULL; /* a newer version may be in force: the runtime knows, and judges */
	result judged = OK;
	revocation_feed_hold(rev->feed, &state);
	if (state.snapshot)
		judged = revocation_judge(&state.snapshot->set, &subject, revocation_feed_time(rev->feed));
	revocation_feed_release(rev->feed, state.snapshot);
	return judged;
}

result launch_revocation_judge_launch(struct launch_revocation *rev, const struct launch *launch,
	const uint8_t rot_id[static OID_SIZE], const uint8_t epoch[static OID_SIZE])
{
	struct revocation_known known = {.has_keys = false};
	if (!rev->feed)
		return OK;
	snprintf(known.name, sizeof(known.name), "%s", launch->name);
	memcpy(known.run_id, launch->run_id, RUN_ID_SIZE);
	memcpy(known.measurement, launch->measurement, SHA384_SIZE);
	memcpy(known.core, launch->core, SHA384_SIZE);
	memcpy(known.policy, launch->policy_digest, SHA256_SIZE);
	memcpy(known.rot_id, rot_id, OID_SIZE);
	memcpy(known.epoch, epoch, OID_SIZE);
	bool is_new = rev->subscriber.known.name[0] == '\0';
	rev->subscriber.known = known;
	if (is_new)
		revocation_feed_subscribe(rev->feed, &rev->subscriber);
	return judge(rev, &known);
}

result launch_revocation_judge_certificate(struct launch_revocation *rev, struct span der, const uint8_t *sign_point, const uint8_t *epoch)
{
	struct revocation_known known;
	if (!rev->feed)
		return OK;
	known = rev->subscriber.known;
	sha256(der, known.certificate);
	known.has_certificate = true;
	TRY(point_key_id(span_of(sign_point, POINT_SIZE), known.key));
	known.has_keys = true;
	if (epoch)
		memcpy(known.epoch, epoch, OID_SIZE);
	revocation_feed_note(rev->feed, &rev->subscriber, &known);
	return judge(rev, &known);
}

result launch_revocation_judge(struct launch_revocation *rev)
{
	return rev->feed && rev->subscriber.known.name[0] ? judge(rev, &rev->subscriber.known) : OK;
}

/* ---- To the runtime ------------------------------------------------------------------------------------------- */

static result send_state(struct launch_revocation *rev, const struct revocation_state *state, int control, int timeout_ms)
{
	int fds[REVOCATION_MAX_LISTS];
	size_t count = 0;
	struct control_revoked body = {.head = span_of(state->head, state->head_len), .fresh = state->number != rev->told};
	if (body.fresh && state->snapshot)
		for (; count < state->snapshot->set.count; count++)
			fds[count] = state->snapshot->files[count].n;
	TRY(control_send(control, CONTROL_REVOKED, &control_revoked_schema, &body, fds, count, timeout_ms));
	rev->told = state->number;
	return OK;
}

result launch_revocation_send(struct launch_revocation *rev, int control, int timeout_ms)
{
	struct revocation_state state;
	if (!rev->feed)
		return OK;
	revocation_feed_hold(rev->feed, &state);
	result sent = state.head_len ? send_state(rev, &state, control, timeout_ms) : OK;
	revocation_feed_release(rev->feed, state.snapshot);
	/* One that has just ended has said why. */
	return sent == PEER_CLOSED ? OK : sent;
}

void launch_revocation_condemn(struct launch_revocation *rev)
{
	if (rev->overdue_ns)
		return;
	snprintf(rev->text, sizeof(rev->text), "%s", failure_text());
	rev->overdue_ns = clock_monotonic_ns() + LAST_WORDS_MS * UINT64_C(1000000);
}

bool launch_revocation_is_overdue(const struct launch_revocation *rev)
{
	return rev->overdue_ns && clock_monotonic_ns() >= rev->overdue_ns;
}

uint64_t launch_revocation_deadline(const struct launch_revocation *rev)
{
	return rev->overdue_ns ? rev->overdue_ns : UINT64_MAX;
}
