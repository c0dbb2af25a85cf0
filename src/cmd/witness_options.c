#include "cmd/witness_options.h"

#include "base/file.h"

#include <string.h>

enum { CA_MAX = 64 * 1024 };

result witness_options_key(const char *word, struct note_key *out)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	if (strchr(word, '+') && note_key_parse(span_str(word), out) == OK)
		return OK;
	result read = file_read(word, 2 * NOTE_VKEY_SIZE, &text);
	if (read == NOT_FOUND)
		return fail(USAGE, "'%s' is neither a verifier key nor a file that holds one", word);
	TRY(read);
	if (text.len && text.data[text.len - 1] == '\n')
		text.len--;
	read = note_key_parse(bytes_span(&text), out);
	return read == OK ? OK : fail_within(read, "'%s' is no verifier key", word);
}

static result read_cas(const struct witness_options *options, struct bytes *cas)
{
	for (size_t i = 0; i < options->cas.count; i++)
		TRY(file_read(options->cas.items[i], CA_MAX, &cas[i]));
	return OK;
}

static result open_with(const struct witness_options *options, const struct bytes *cas, struct witness_asker **out)
{
	struct witness_peer_config peers[WITNESSES_MAX];
	for (size_t i = 0; i < options->urls.count; i++) {
		size_t ca = options->cas.count == 1 ? 0 : i;
		peers[i] = (struct witness_peer_config){.url = options->urls.items[i], .ca_pem = options->cas.count ? bytes_span(&cas[ca]) : SPAN_EMPTY};
		TRY(witness_options_key(options->keys.items[i], &peers[i].key));
		for (size_t j = 0; j < i; j++)
			if (strcmp(peers[j].key.name, peers[i].key.name) == 0)
				return fail(USAGE, "the witness '%s' is named twice", peers[i].key.name);
	}
	return witness_asker_new(peers, options->urls.count, out);
}

result witness_options_open(const struct witness_options *options, struct witness_asker **out)
{
	struct bytes cas[WITNESSES_MAX] = {BYTES_EMPTY};
	size_t count = options->urls.count;
	if (count > WITNESSES_MAX)
		return fail(USAGE, "at most %d witnesses are asked", WITNESSES_MAX);
	if (options->keys.count != count)
		return fail(USAGE, "%zu times --witness-url and %zu times --witness-key: each witness has one of both", count, options->keys.count);
	if (options->cas.count > 1 && options->cas.count != count)
		return fail(USAGE, "--witness-ca stands once for all witnesses, or once for each");
	if (count == 0 && options->cas.count)
		return fail(USAGE, "--witness-ca needs --witness-url");
	if (count == 0) {
		*out = NULL;
		return OK;
	}
	result opened = read_cas(options, cas);
	if (opened == OK)
		opened = open_with(options, cas, out);
	for (size_t i = 0; i < WITNESSES_MAX; i++)
		bytes_free(&cas[i]);
	return opened;
}
