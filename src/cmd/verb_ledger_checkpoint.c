/* troth ledger checkpoint: the latest signed head of the log, or an earlier one, to keep or to hand on. */
#include "cmd/ledger_options.h"
#include "cmd/verb.h"

#include <stdio.h>

struct checkpoint_words {
	struct ledger_options ledger;
	const char *output;
	uint64_t size;
};

static json_t *cosigner_json(const struct note_signature *signature)
{
	char name[NOTE_NAME_MAX + 1];
	snprintf(name, sizeof(name), "%.*s", (int)signature->name.len, (const char *)signature->name.data);
	return json_pack("{s:s, s:o}", "name", name, "key_id", json_hex(SPAN_ARRAY(signature->id)));
}

static result print_json(const struct note_key *log, struct span bytes, const struct checkpoint *checkpoint)
{
	struct note note;
	char vkey[NOTE_VKEY_SIZE];
	TRY(note_parse(bytes, &note));
	note_key_format(log, vkey);
	json_t *cosigners = json_array();
	for (size_t i = 0; i < note.count; i++)
		if (!span_equal_str(note.signatures[i].name, log->name) || memcmp(note.signatures[i].id, log->id, sizeof(log->id)) != 0)
			json_array_append_new(cosigners, cosigner_json(&note.signatures[i]));
	json_t *row = json_pack("{s:s, s:I, s:o, s:s, s:o, s:s%}", "origin", checkpoint->origin, "size", (json_int_t)checkpoint->size, "root",
		json_hex(SPAN_ARRAY(checkpoint->root.bytes)), "log", vkey, "cosigners", cosigners, "note", (const char *)bytes.data, bytes.len);
	result printed = row ? json_print(stdout, row) : fail(NO_MEMORY, "json");
	json_decref(row);
	return printed;
}

static result show(const struct checkpoint_words *words, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	struct checkpoint checkpoint;
	TRY(verb_ledger_open(&words->ledger, &client));
	TRY(words->size ? ledger_client_checkpoint_at(client, words->size, &note, &checkpoint) : ledger_client_checkpoint(client, &note, &checkpoint));
	if (words->output)
		TRY(file_write_atomic(words->output, bytes_span(&note), 0644));
	if (json)
		return print_json(ledger_client_log_key(client), bytes_span(&note), &checkpoint);
	if (words->output) {
		printf("%s is the signed checkpoint of %s with %llu leaves\n", words->output, checkpoint.origin, (unsigned long long)checkpoint.size);
		return OK;
	}
	return fwrite(note.data, 1, note.len, stdout) == note.len ? OK : fail_errno("writing the checkpoint");
}

int verb_ledger_checkpoint(int argc, char **argv)
{
	struct checkpoint_words words = {.output = NULL};
	const struct option_row rows[] = {
		{"size", OPTION_NUMBER, &words.size, "N", "the checkpoint of this size, at which a batch must end (default: the latest)"},
		{"output", OPTION_TEXT, &words.output, "FILE", "where it goes (default: stdout)"},
		LEDGER_ROWS(&words.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger checkpoint",
		.usage = "[--size N] [--output FILE]",
		.description = "Prints the signed head of the log (C2SP tlog-checkpoint) with the cosignatures of its witnesses, verified, and shown to continue the\n"
			       "latest one that was seen from this place. Keep it: `troth ledger prove --from FILE` shows later that nothing before it was changed.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&words, options.json);
	return verb_end(done, argc, argv);
}
