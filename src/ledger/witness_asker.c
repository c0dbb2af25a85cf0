#include "ledger/witness_asker.h"

#include "base/clock.h"
#include "base/log.h"
#include "ledger/witness.h"
#include "net/https_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ASK_TIMEOUT_MS = 10 * 1000, ANSWER_MAX = 64 * 1024, AGAIN_FIRST_MS = 1000, AGAIN_MOST_MS = 60 * 1000, SUBJECT_SIZE = NOTE_NAME_MAX + 16 };

struct peer {
	struct https_client *client;
	struct note_key key;
	char subject[SUBJECT_SIZE];
	uint64_t size; /* that it has cosigned last, as far as is known */
	unsigned again_ms; /* 0: the last time went well */
	uint64_t not_before_ns;
	result state;
};

struct witness_asker {
	struct peer peers[WITNESSES_MAX];
	size_t count;
};

static result peer_open(const struct witness_peer_config *config, struct peer *out)
{
	const struct https_client_options options = {.url = config->url, .ca_pem = config->ca_pem, .timeout_ms = ASK_TIMEOUT_MS,
		.answer_max = ANSWER_MAX};
	if (config->key.type != NOTE_KEY_COSIGNER)
		return fail(USAGE, "'%s' is not the key of a witness", config->key.name);
	TRY(https_client_new(&options, &out->client));
	out->key = config->key;
	snprintf(out->subject, sizeof(out->subject), "witness %s", config->key.name);
	return OK;
}

result witness_asker_new(const struct witness_peer_config *peers, size_t count, struct witness_asker **out)
{
	CLEANUP(witness_asker_cleanup) struct witness_asker *asker = calloc(1, sizeof(*asker));
	if (!asker)
		return fail(NO_MEMORY, "witnesses");
	if (count > WITNESSES_MAX)
		return fail(TOO_LARGE, "at most %d witnesses are asked", WITNESSES_MAX);
	for (size_t i = 0; i < count; i++) {
		TRY(peer_open(&peers[i], &asker->peers[i]));
		asker->count++;
	}
	*out = asker;
	asker = NULL; /* transferred */
	return OK;
}

void witness_asker_free(struct witness_asker *asker)
{
	for (size_t i = 0; asker && i < asker->count; i++)
		https_client_free(asker->peers[i].client);
	free(asker);
}

void witness_asker_cleanup(struct witness_asker **at)
{
	witness_asker_free(*at);
	*at = NULL;
}

/* ---- Asking one ---------------------------------------------------------------------------------- */

static result make_request(const struct peer *peer, struct ledger_engine *engine, struct span note, uint64_t size, struct writer *w)
{
	struct consistency_proof proof = {.old = peer->size, .checkpoint = note};
	if (peer->size > size)
		return fail(WITNESS_REFUSED, "it has cosigned size %" PRIu64 ", the ledger has %" PRIu64 ": was an old copy of the ledger put back?", peer->size,
			size);
	if (peer->size && peer->size < size)
		TRY(ledger_engine_consistency(engine, peer->size, size, &proof.path));
	return consistency_proof_put(&proof, w);
}

static result refused(const struct https_answer *answer)
{
	char text[160] = "";
	size_t len = 0;
	/* The first line of what it says, for people. */
	while (len < answer->body.len && len < sizeof(text) - 1 && answer->body.data[len] >= 0x20 && answer->body.data[len] < 0x7f) {
		text[len] = (char)answer->body.data[len];
		len++;
	}
	return fail(WITNESS_REFUSED, "it answers %d: %s", answer->status, text);
}

/* WITNESS_CONFLICT: it has another size, which peer->size now is. */
static result judge_answer(struct peer *peer, const struct https_answer *answer, struct span text, uint64_t size, struct writer *lines)
{
	uint64_t time, has;
	if (answer->status == 409 && strcmp(answer->type, "text/x.tlog.size") == 0) {
		TRY(witness_size_parse(bytes_span(&answer->body), &has));
		if (has == peer->size)
			return refused(answer);
		peer->size = has;
		return WITNESS_CONFLICT;
	}
	if (answer->status != 200)
		return refused(answer);
	TRY(witness_answer_open(text, bytes_span(&answer->body), &peer->key, lines, &time));
	peer->size = size;
	return OK;
}

static result ask_once(struct peer *peer, struct ledger_engine *engine, struct span note, const struct checkpoint *checkpoint, struct span text,
	struct writer *lines)
{
	CLEANUP(writer_free) struct writer request = writer_growing(WITNESS_REQUEST_MAX);
	CLEANUP(https_answer_free) struct https_answer answer = HTTPS_ANSWER_EMPTY;
	TRY(make_request(peer, engine, note, checkpoint->size, &request));
	TRY(https_client_post(peer->client, "/add-checkpoint", "text/plain; charset=utf-8", span_of(request.data, request.len), &answer));
	return judge_answer(peer, &answer, text, checkpoint->size, lines);
}

static result ask(struct peer *peer, struct ledger_engine *engine)
{
	CLEANUP(bytes_free) struct bytes note_bytes = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer lines = writer_growing(NOTE_MAX);
	struct note note;
	struct checkpoint checkpoint;
	TRY(ledger_engine_checkpoint(engine, &note_bytes));
	TRY(checkpoint_open(bytes_span(&note_bytes), ledger_engine_log_key(engine), &checkpoint, &note));
	if (peer->size == checkpoint.size && note_verify(&note, &peer->key, NULL) == OK)
		return OK;
	result asked = ask_once(peer, engine, bytes_span(&note_bytes), &checkpoint, note.text, &lines);
	/* It says which size it has: once more, from there. */
	if (asked == WITNESS_CONFLICT)
		asked = ask_once(peer, engine, bytes_span(&note_bytes), &checkpoint, note.text, &lines);
	TRY(asked);
	result added = ledger_engine_add_cosignatures(engine, checkpoint.size, span_of(lines.data, lines.len));
	return added == NOT_FOUND ? OK : added; /* there is a newer checkpoint by now, and one more call for it */
}

/* ---- After a batch --------------------------------------------------------------------------------- */

static void note_outcome(struct peer *peer, struct ledger_service *service, result asked)
{
	char text[300];
	snprintf(text, sizeof(text), "%s", asked == OK ? "" : failure_text());
	ledger_service_note(service, peer->subject, asked, text);
	if (asked != peer->state && asked != OK)
		log_warning("a witness did not cosign", LOG_TEXT("witness", peer->key.name), LOG_TEXT("reason", reason_name(asked)), LOG_TEXT("text", text));
	else if (asked != peer->state)
		log_info("a witness cosigns again", LOG_TEXT("witness", peer->key.name), LOG_NUMBER("size", (int64_t)peer->size));
	peer->state = asked;
}

static void plan_again(struct peer *peer, result asked)
{
	if (asked == OK)
		peer->again_ms = 0;
	else if (peer->again_ms == 0)
		peer->again_ms = AGAIN_FIRST_MS;
	else
		peer->again_ms = peer->again_ms >= AGAIN_MOST_MS / 2 ? AGAIN_MOST_MS : 2 * peer->again_ms;
	peer->not_before_ns = clock_monotonic_ns() + (uint64_t)peer->again_ms * 1000 * 1000;
}

/* How long until this one is to be asked again; 0: with the next batch. */
static unsigned waits_ms(const struct peer *peer, uint64_t now_ns)
{
	if (peer->again_ms == 0)
		return 0;
	return peer->not_before_ns > now_ns ? (unsigned)((peer->not_before_ns - now_ns) / (1000 * 1000)) + 1 : 1;
}

void witness_asker_after_batch(void *arg, struct ledger_service *service, struct ledger_engine *engine, unsigned *out_again_ms)
{
	struct witness_asker *asker = arg;
	unsigned again = 0;
	for (size_t i = 0; i < asker->count && !ledger_service_stopping(service); i++) {
		struct peer *peer = &asker->peers[i];
		if (peer->again_ms == 0 || peer->not_before_ns <= clock_monotonic_ns()) {
			result asked = ask(peer, engine);
			note_outcome(peer, service, asked);
			plan_again(peer, asked);
		}
		unsigned wait = waits_ms(peer, clock_monotonic_ns());
		if (wait && (again == 0 || wait < again))
			again = wait;
	}
	*out_again_ms = again;
}
