#include "job/dac_query.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "job/history.h"

enum { ASK_MS = 60 * 1000 };

static result decode_answer(struct span encoded, struct arena *arena, struct span *out)
{
	struct control_bundle_is answer;
	TRY(schema_decode(&control_bundle_is_schema, encoded, arena, &answer));
	if (answer.reason != OK)
		return fail(reason_row((enum reason)answer.reason)->reason, "%s", answer.text);
	if (answer.bundle.len == 0)
		return fail(BAD_VALUE, "an empty chain");
	*out = answer.bundle;
	return OK;
}

result dac_query(const struct flow_host *host, const struct service_dac_get *asked, int fd, struct service_dac_got *out)
{
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY, proved = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct control_bundle question = {.has_record = asked->has_record};
	struct span bundle;
	memcpy(question.record, asked->record, OID_SIZE);
	TRY(live_ask(host->live, asked->target, CONTROL_BUNDLE, &question, CONTROL_BUNDLE_IS, ASK_MS, &encoded));
	TRY(decode_answer(bytes_span(&encoded), &arena, &bundle));
	if (asked->nonce.len) {
		ROOT_IDENTITY_HELD root = root_host_hold(host->root);
		if (!root)
			return fail(NO_ROOT, "for a history");
		TRY(history_prove(host->heads, root->rot_id, bundle, asked->nonce, &proved));
		bundle = bytes_span(&proved);
	}
	TRY(write_all(fd, bundle));
	out->bytes = bundle.len;
	return OK;
}

/* NAME of "NAME@RUN". */
static result ask_end(struct live *live, const char *target, const char *peer, struct arena *arena, struct control_channel_is *out)
{
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	char name[2 * NAME_MAX_LEN + 1];
	struct span kept;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(peer, "@"), peer);
	const struct control_channel_ask question = {name};
	TRY(live_ask(live, target, CONTROL_CHANNEL_ASK, &question, CONTROL_CHANNEL_IS, ASK_MS, &encoded));
	TRY(arena_copy(arena, bytes_span(&encoded), &kept));
	return schema_decode(&control_channel_is_schema, kept, arena, out);
}

result channel_query(struct live *live, const struct service_channel_test *asked, struct arena *arena, struct service_channel_tested *out)
{
	struct control_channel_is one, other;
	TRY(ask_end(live, asked->one, asked->other, arena, &one));
	TRY(ask_end(live, asked->other, asked->one, arena, &other));
	*out = (struct service_channel_tested){one.rows, other.rows, one.count, other.count};
	return OK;
}
