/* troth root verify-history: follows a root of trust through its epochs, offline, by the one engine that every verifier uses. */
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/file.h"
#include "object/epoch_chain.h"
#include "receipt/epochs.h"
#include "wire/json.h"

enum { PEM_MAX = 64 * 1024, LINK_MEMORY = 64 * 1024 };

struct history_words {
	const char *file, *fingerprint;
	struct words keys;
};

static void free_chain(struct epoch_chain **chain)
{
	epoch_chain_free(*chain);
}

static const char *kind_name(const struct epoch *epoch)
{
	static const char *const names[] = {"inception", "scheduled", "event", "operator", "set-recovery", "recovery"};
	return epoch->reason < COUNT_OF(names) ? names[epoch->reason] : "?";
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

static result read_key(const char *path, struct epoch_history *history, struct arena *arena)
{
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	uint8_t spki[SPKI_SIZE];
	TRY(file_read(path, PEM_MAX, &pem));
	result read = key_from_pem(bytes_span(&pem), &key);
	if (read != OK)
		return fail_within(read, "%s", path);
	key_spki(&key, spki);
	return arena_copy(arena, SPAN_ARRAY(spki), &history->keys[history->key_count++].bytes);
}

/* The file's recovery keys and those that were given. */
static result add_keys(const struct history_words *words, struct epoch_history *history, struct arena *arena)
{
	void *memory;
	TRY(arena_alloc(arena, history->key_count + words->keys.count + 1, sizeof(struct bytes_item), &memory));
	if (history->key_count)
		memcpy(memory, history->keys, history->key_count * sizeof(struct bytes_item));
	history->keys = memory;
	for (size_t i = 0; i < words->keys.count; i++)
		TRY(read_key(words->keys.items[i], history, arena));
	return OK;
}

static result follow_file(const struct history_words *words, struct epoch_chain **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of((size_t)EPOCH_HISTORY_MAX);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY, joined = BYTES_EMPTY;
	struct epoch_history history;
	TRY(file_read(words->file, EPOCH_HISTORY_MAX, &file));
	result parsed = epochs_file_parse(bytes_span(&file), &arena, &history);
	if (parsed != OK)
		return fail_within(parsed, "'%s' is no epoch history", words->file);
	TRY(add_keys(words, &history, &arena));
	TRY(schema_encode(&epoch_history_schema, &history, &joined));
	return epoch_chain_of_history(bytes_span(&joined), out);
}

static result check_fingerprint(const struct history_words *words, const struct epoch_chain *chain)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(epoch_chain_rot_id(chain), fingerprint);
	if (words->fingerprint && strcmp(words->fingerprint, fingerprint) != 0)
		return fail(EPOCH_FOREIGN, "the history is that of root %s", fingerprint);
	return OK;
}

/* ---- Printing ----------------------------------------------------------------------------------------- */

static result link_json(const struct epoch_link *link, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LINK_MEMORY);
	struct epoch epoch;
	TRY(epoch_chain_decode(link, &arena, &epoch));
	json_t *recovery = epoch.has_recovery ? json_pack("{s:i,s:i}", "k", epoch.recovery.k, "n", epoch.recovery.n) : json_null();
	*out = json_pack("{s:i,s:I,s:s,s:o,s:o,s:o,s:i,s:s,s:I,s:o,s:o,s:b}", "era", (int)link->era, "epoch", (json_int_t)link->epoch, "kind",
		kind_name(&epoch), "oid", json_hex(SPAN_ARRAY(link->oid)), "not_before", json_time(link->not_before), "not_after",
		json_time(link->not_after), "grace_s", (int)link->grace_s, "counter", epoch.counter.kind == COUNTER_NONE ? "none" : "tpm_nv",
		"counter_value", (json_int_t)epoch.counter.value, "recovery", recovery, "measurement",
		json_hex(SPAN_ARRAY(epoch.measurement)), "void", link->is_void);
	return *out ? OK : fail(NO_MEMORY, "history");
}

static result print_json(const struct epoch_chain *chain)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	const struct epoch_link *head = epoch_chain_head(chain);
	struct span proof[2];
	json_t *list = json_array(), *proofs = json_array();
	for (size_t i = 0; i < epoch_chain_count(chain); i++) {
		json_t *row;
		result made = link_json(epoch_chain_at(chain, i), &row);
		if (made != OK) {
			json_decref(list);
			json_decref(proofs);
			return made;
		}
		json_array_append_new(list, row);
	}
	epoch_chain_proof(chain, proof);
	for (size_t i = 0; i < COUNT_OF(proof); i++)
		if (proof[i].len)
			json_array_append_new(proofs, json_hex(proof[i]));
	rot_fingerprint(epoch_chain_rot_id(chain), fingerprint);
	json_t *json = json_pack("{s:o,s:s,s:s,s:i,s:I,s:o,s:o,s:o}", "rot_id", json_hex(span_of(epoch_chain_rot_id(chain), OID_SIZE)),
		"fingerprint", fingerprint, "state", epoch_chain_state_name(chain), "era", (int)head->era, "epoch", (json_int_t)head->epoch, "head",
		json_hex(SPAN_ARRAY(head->oid)), "proof", proofs, "records", list);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "history");
	json_decref(json);
	return printed;
}

static result print_link(const struct epoch_link *link)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LINK_MEMORY);
	struct epoch epoch;
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE], recovery[32] = "no recovery", counter[40] = "no counter";
	TRY(epoch_chain_decode(link, &arena, &epoch));
	clock_format(link->not_before, from);
	clock_format(link->not_after, to);
	if (epoch.has_recovery)
		snprintf(recovery, sizeof(recovery), "recovery %u of %u", epoch.recovery.k, epoch.recovery.n);
	if (epoch.counter.kind != COUNTER_NONE)
		snprintf(counter, sizeof(counter), "counter %llu", (unsigned long long)epoch.counter.value);
	printf("  %u.%-8llu %-12s  %s to %s  %s  %s%s\n", link->era, (unsigned long long)link->epoch, kind_name(&epoch), from, to, recovery,
		counter, link->is_void ? "  VOID" : "");
	return OK;
}

static result print_people(const struct epoch_chain *chain)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	const struct epoch_link *head = epoch_chain_head(chain);
	rot_fingerprint(epoch_chain_rot_id(chain), fingerprint);
	printf("root   %s\nstate  %s\nhead   era %u, epoch %llu\n", fingerprint, epoch_chain_state_name(chain), head->era, (unsigned long long)head->epoch);
	for (size_t i = 0; i < epoch_chain_count(chain); i++)
		TRY(print_link(epoch_chain_at(chain, i)));
	printf("Every record follows from the first one; that this is the right root, compare its fingerprint by another way.\n");
	return OK;
}

/* A root that is stopped has a good history; it is no root to rely on all the same. */
static result judgement(const struct epoch_chain *chain)
{
	switch (epoch_chain_state(chain)) {
	case CHAIN_LIVE:
		return OK;
	case CHAIN_HALTED:
		return fail(EPOCH_HALTED, "the history ends with a HALT");
	case CHAIN_FROZEN:
		return fail(EPOCH_FORKED, "the history holds two valid records for one epoch");
	}
	return fail(INTERNAL, "state of a chain");
}

static result verify_history(const struct options *options, const struct history_words *words)
{
	CLEANUP(free_chain) struct epoch_chain *chain = NULL;
	TRY(follow_file(words, &chain));
	TRY(check_fingerprint(words, chain));
	TRY(options->json ? print_json(chain) : print_people(chain));
	return judgement(chain);
}

int verb_root_verify_history(int argc, char **argv)
{
	struct history_words words = {0};
	const struct option_row rows[] = {
		{"key", OPTION_LIST, &words.keys, "FILE", "public recovery key, PEM, if the history lacks it (repeat)"},
		{"fingerprint", OPTION_TEXT, &words.fingerprint, "TEXT", "the root that it must be, as `troth host init` printed it"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root verify-history",
		.usage = "FILE [--key FILE]... [--fingerprint TEXT]",
		.description = "Checks the epochs of a root of trust offline: each record against the one before, set-recoveries, HALTs and\n"
			       "recoveries by their quorum. FILE is a history or an inception record.\n"
			       "Exit code 0: good, and the root is live. 1: refused, or the root is halted or frozen by a fork.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		words.file = options.operands.items[0];
		done = verify_history(&options, &words);
	}
	return verb_end(done, argc, argv);
}
