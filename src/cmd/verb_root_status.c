/* troth root status: the root of trust of a host, how fresh it is, and what was done to it last. */
#include "cmd/root_client.h"
#include "cmd/root_describe.h"

#include <stdio.h>

#include "base/clock.h"

static void print_duration(const char *name, uint64_t ms, const char *what)
{
	uint64_t s = ms / 1000;
	if (s >= 2 * 86400)
		printf("  %-14s in %llu days%s\n", name, (unsigned long long)(s / 86400), what);
	else if (s >= 2 * 3600)
		printf("  %-14s in %llu hours%s\n", name, (unsigned long long)(s / 3600), what);
	else
		printf("  %-14s in %llu s%s\n", name, (unsigned long long)s, what);
}

static void print_head(const struct service_root *root, const struct epoch *head, const uint8_t rot_id[static OID_SIZE])
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE], time[CLOCK_TEXT_SIZE];
	uint64_t now = clock_wall_ms();
	rot_fingerprint(rot_id, fingerprint);
	printf("  %-14s %s\n", "fingerprint", fingerprint);
	printf("  %-14s era %u, epoch %llu (%s), %llu records since the inception\n", "head", head->era, (unsigned long long)head->epoch,
		epoch_reason_name(head->reason), (unsigned long long)root->records);
	clock_format(head->not_after, time);
	printf("  %-14s %.16s\n", "valid until", time);
	printf("  %-14s %u s\n", "grace", head->grace_s);
	printf("  %-14s %s\n", "counter", head->counter.kind == COUNTER_TPM_NV ? "TPM" :
		"none: an old copy of the whole state folder is noticed only by verifiers that saw a later epoch");
	if (head->has_recovery)
		printf("  %-14s any %u of %u keys\n", "recovery", head->recovery.k, head->recovery.n);
	else
		printf("  %-14s none: nobody can ever start this root over\n", "recovery");
	if (head->not_after > now)
		print_duration("exposure", head->not_after - now,
			": without a ledger only the end of validity bounds how long a verifier that is cut off believes a stolen key");
	else
		printf("  %-14s the record's validity is over\n", "exposure");
}

static void print_notes(const struct service_root *root)
{
	for (size_t i = 0; i < root->note_count; i++) {
		const struct service_note *note = &root->notes[i];
		char time[CLOCK_TEXT_SIZE];
		clock_format(note->time, time);
		printf("  %-14s %.19s  left era %u, epoch %llu (%s%s): %s\n", i == 0 ? "last changes" : "", time, note->era,
			(unsigned long long)note->epoch, epoch_reason_name(note->reason), note->emergency ? ", emergency" : "", note->text);
	}
}

static result print_people(const struct service_root *root, struct arena *arena)
{
	struct epoch head, first;
	uint8_t rot_id[OID_SIZE];
	printf("Root of trust\n");
	if (root->head.len == 0)
		printf("  none here; `troth host init` makes one, `troth root recover prepare --history FILE` takes a lost one over\n");
	if (root->refusal)
		printf("  %-14s %s: %s\n", "STOPPED", reason_name((enum reason)root->refusal), root->refusal_text);
	if (root->head.len == 0)
		return OK;
	TRY(root_decode(root->head, arena, &head));
	TRY(epoch_open_inception(root->inception, arena, &first, rot_id));
	print_head(root, &head, rot_id);
	if (root->draining)
		print_duration("draining", root->drain_in_ms, ": the keys of the epoch before go then");
	if (root->has_next)
		print_duration("next rotation", root->next_in_ms, root->period_ms ? "" : " (no period is set)");
	else if (!root->refusal)
		printf("  %-14s before the validity ends, on events, and on request\n", "next rotation");
	if (root->candidate.len)
		printf("  %-14s a record waits for signatures of the recovery keys\n", "candidate");
	if (root->failures)
		printf("  %-14s %llu; the last: %s\n", "failures", (unsigned long long)root->failures, root->last_failure);
	print_notes(root);
	return OK;
}

static result show(const struct host_options *host, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_root root;
	TRY(root_connect(host, false, &client));
	TRY(root_read(&client, &arena, &root));
	return json ? root_print_json(&root, &arena) : print_people(&root, &arena);
}

int verb_root_status(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root status",
		.usage = "[--state DIR]",
		.description = "Shows the root of trust of this host: the head of its epochs, when it rotates next, why it did last, and\n"
			       "what bounds the harm of a stolen key. Works also where the root cannot go on, and says why.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&host, options.json);
	return verb_end(done, argc, argv);
}
