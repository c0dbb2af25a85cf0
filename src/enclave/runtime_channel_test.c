/* How the channels with one peer are, for whoever asks the host (troth channel test). Nothing changes by being asked. */
#include <stdio.h>

#include "enclave/runtime_call.h"

static bool is_open(const struct channel *channel)
{
	return channel->open && !channel->closed_by_peer && !channel->ended && !channel->finished && !(channel->link && channel->link->dead);
}

static result describe(struct channel *channel, struct arena *arena, struct channel_state *out)
{
	char text[512] = "";
	*out = (struct channel_state){
		.edge = channel->spec.edge,
		.operation = channel->spec.operation,
		.connects = channel->spec.initiator,
		.open = is_open(channel),
		.suite = channel->open ? iecp_channel_suite(channel->open) : 0,
		.level = (uint8_t)channel->peer.level,
		.renewed = channel->handshakes,
	};
	/* A peer that never showed evidence cannot be judged. */
	if (channel->open) {
		result decided = channel_decide_again(channel);
		out->reason = (uint32_t)decided;
		snprintf(text, sizeof(text), "%s", decided == OK ? "" : failure_text());
	}
	return arena_string(arena, span_str(text), &out->text);
}

result channel_asked(struct runtime *rt, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct control_channel_ask asked;
	struct control_channel_is answer = {NULL, 0};
	void *rows;
	TRY(control_decode(message, &arena, &asked));
	TRY(arena_alloc(&arena, rt->channel_count + 1, sizeof(*answer.rows), &rows));
	answer.rows = rows;
	for (size_t i = 0; i < rt->channel_count; i++)
		if (strcmp(rt->channels[i]->spec.peer, asked.peer) == 0)
			TRY(describe(rt->channels[i], &arena, &answer.rows[answer.count++]));
	return runtime_send(rt, CONTROL_CHANNEL_IS, &answer);
}
