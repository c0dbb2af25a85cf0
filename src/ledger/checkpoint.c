#include "ledger/checkpoint.h"

#include "wire/text.h"

#include <inttypes.h>
#include <stdio.h>

static const char proof_head[] = "c2sp.org/tlog-proof@v1";

/* The next line without its newline; TRUNCATED when there is none. */
static result take_line(struct span *rest, struct span *out)
{
	const uint8_t *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
	if (!end)
		return fail(TRUNCATED, "a line is missing");
	size_t len = (size_t)(end - rest->data);
	*out = span_of(rest->data, len);
	*rest = span_of(rest->data + len + 1, rest->len - len - 1);
	return OK;
}

/* Decimal without leading zeros, below 2^63. */
static result parse_number(struct span text, uint64_t *out)
{
	uint64_t value = 0;
	if (text.len < 1 || text.len > 19 || (text.len > 1 && text.data[0] == '0'))
		return fail(BAD_VALUE, "a number of %zu digits", text.len);
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return fail(BAD_VALUE, "a number with other characters than digits");
		value = value * 10 + (uint64_t)(text.data[i] - '0');
	}
	if (value > INT64_MAX)
		return fail(BAD_VALUE, "a number above 2^63 - 1");
	*out = value;
	return OK;
}

static result parse_hash(struct span text, struct merkle_hash *out)
{
	uint8_t decoded[BASE64_LENGTH(SHA256_SIZE)];
	size_t len;
	if (text.len != BASE64_LENGTH(SHA256_SIZE))
		return fail(BAD_VALUE, "a hash of %zu characters", text.len);
	TRY(base64_decode(text, decoded, &len));
	if (len != SHA256_SIZE)
		return fail(BAD_VALUE, "a hash of %zu bytes", len);
	memcpy(out->bytes, decoded, SHA256_SIZE);
	return OK;
}

static void put_hash(const struct merkle_hash *hash, struct writer *w)
{
	char text[BASE64_LENGTH(SHA256_SIZE) + 1];
	base64_encode(SPAN_ARRAY(hash->bytes), text);
	writer_str(w, text);
	writer_str(w, "\n");
}

static void put_number(uint64_t number, struct writer *w)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64 "\n", number);
	writer_str(w, text);
}

void checkpoint_put(const struct checkpoint *checkpoint, struct writer *w)
{
	writer_str(w, checkpoint->origin);
	writer_str(w, "\n");
	put_number(checkpoint->size, w);
	put_hash(&checkpoint->root, w);
}

result checkpoint_parse(struct span text, struct checkpoint *out)
{
	struct checkpoint checkpoint = {0};
	struct span line;
	TRY(take_line(&text, &line));
	if (line.len < 1 || line.len > NOTE_NAME_MAX)
		return fail(BAD_VALUE, "an origin of %zu bytes", line.len);
	if (memchr(line.data, '\0', line.len))
		return fail(BAD_VALUE, "an origin with a zero byte");
	memcpy(checkpoint.origin, line.data, line.len);
	TRY(take_line(&text, &line));
	TRY(parse_number(line, &checkpoint.size));
	TRY(take_line(&text, &line));
	TRY(parse_hash(line, &checkpoint.root));
	if (text.len)
		return fail(TRAILING_BYTES, "a checkpoint of this log has three lines");
	*out = checkpoint;
	return OK;
}

result checkpoint_open(struct span bytes, const struct note_key *log, struct checkpoint *out, struct note *out_note)
{
	struct note note;
	struct checkpoint checkpoint;
	TRY(note_parse(bytes, &note));
	TRY(note_verify(&note, log, NULL));
	TRY(checkpoint_parse(note.text, &checkpoint));
	if (strcmp(checkpoint.origin, log->name) != 0)
		return fail(CHECKPOINT_FOREIGN, "it is of '%s', asked for was '%s'", checkpoint.origin, log->name);
	*out = checkpoint;
	if (out_note)
		*out_note = note;
	return OK;
}

/* ---- Proof files ------------------------------------------------------------------------------- */

result tlog_proof_put(const struct tlog_proof *proof, struct writer *w)
{
	enum { EXTRA_MAX = 64 * 1024 };
	writer_str(w, proof_head);
	writer_str(w, "\n");
	if (proof->extra.len) {
		if (proof->extra.len > EXTRA_MAX)
			return fail(TOO_LARGE, "%zu bytes beside a proof", proof->extra.len);
		CLEANUP(writer_free) struct writer text = writer_growing(BASE64_LENGTH(EXTRA_MAX) + 1);
		uint8_t *at = writer_reserve(&text, BASE64_LENGTH(proof->extra.len) + 1);
		if (!at)
			return fail(NO_MEMORY, "proof");
		base64_encode(proof->extra, (char *)at);
		writer_str(w, "extra ");
		writer_str(w, (const char *)at);
		writer_str(w, "\n");
	}
	writer_str(w, "index ");
	put_number(proof->index, w);
	for (size_t i = 0; i < proof->path.count; i++)
		put_hash(&proof->path.hashes[i], w);
	writer_str(w, "\n");
	writer_span(w, proof->checkpoint);
	struct span all;
	return writer_finish(w, &all);
}

static bool take_word(struct span *line, const char *word)
{
	size_t len = strlen(word);
	if (line->len < len || memcmp(line->data, word, len) != 0)
		return false;
	*line = span_of(line->data + len, line->len - len);
	return true;
}

static result parse_extra(struct span text, struct arena *arena, struct span *out)
{
	void *decoded;
	size_t len;
	if (text.len == 0)
		return fail(BAD_VALUE, "an empty line of extra data");
	TRY(arena_alloc(arena, text.len / 4 * 3 + 3, 1, &decoded));
	TRY(base64_decode(text, decoded, &len));
	*out = span_of(decoded, len);
	return OK;
}

/* Hashes, one a line, and the empty line after them. */
static result take_path(struct span *rest, struct merkle_proof *out)
{
	struct span line;
	out->count = 0;
	for (;;) {
		TRY(take_line(rest, &line));
		if (line.len == 0)
			return OK;
		if (out->count == MERKLE_PROOF_MAX)
			return fail(TOO_LARGE, "a path of more than %d hashes", MERKLE_PROOF_MAX);
		TRY(parse_hash(line, &out->hashes[out->count++]));
	}
}

result tlog_proof_parse(struct span bytes, struct arena *arena, struct tlog_proof *out)
{
	struct tlog_proof proof = {0};
	struct span line;
	TRY(take_line(&bytes, &line));
	if (!span_equal(line, span_str(proof_head)))
		return fail(UNKNOWN_VERSION, "the first line of a proof is '%s'", proof_head);
	TRY(take_line(&bytes, &line));
	if (take_word(&line, "extra ")) {
		TRY(parse_extra(line, arena, &proof.extra));
		TRY(take_line(&bytes, &line));
	}
	if (!take_word(&line, "index "))
		return fail(BAD_VALUE, "a proof without an index");
	TRY(parse_number(line, &proof.index));
	TRY(take_path(&bytes, &proof.path));
	proof.checkpoint = bytes;
	*out = proof;
	return OK;
}

result tlog_proof_verify(const struct tlog_proof *proof, const struct merkle_hash *leaf, const struct note_key *log,
	struct checkpoint *out)
{
	struct checkpoint checkpoint;
	TRY(checkpoint_open(proof->checkpoint, log, &checkpoint, NULL));
	TRY(merkle_verify_inclusion(leaf, proof->index, checkpoint.size, &proof->path, &checkpoint.root));
	*out = checkpoint;
	return OK;
}

result consistency_proof_put(const struct consistency_proof *proof, struct writer *w)
{
	struct span all;
	writer_str(w, "old ");
	put_number(proof->old, w);
	for (size_t i = 0; i < proof->path.count; i++)
		put_hash(&proof->path.hashes[i], w);
	writer_str(w, "\n");
	writer_span(w, proof->checkpoint);
	return writer_finish(w, &all);
}

result consistency_proof_parse(struct span bytes, struct consistency_proof *out)
{
	struct consistency_proof proof = {0};
	struct span line;
	TRY(take_line(&bytes, &line));
	if (!take_word(&line, "old "))
		return fail(BAD_VALUE, "the first line of a consistency proof is 'old SIZE'");
	TRY(parse_number(line, &proof.old));
	TRY(take_path(&bytes, &proof.path));
	if (proof.old == 0 && proof.path.count)
		return fail(BAD_VALUE, "a proof from nothing has no hashes");
	proof.checkpoint = bytes;
	*out = proof;
	return OK;
}

result consistency_proof_verify(const struct consistency_proof *proof, const struct checkpoint *old, const struct note_key *log,
	struct checkpoint *out)
{
	struct checkpoint newer;
	TRY(checkpoint_open(proof->checkpoint, log, &newer, NULL));
	if (proof->old != old->size || old->size == 0)
		return fail(PROOF_INVALID, "the consistency proof is from size %" PRIu64 ", the older checkpoint has %" PRIu64, proof->old, old->size);
	TRY(merkle_verify_consistency(old->size, &old->root, newer.size, &newer.root, &proof->path));
	*out = newer;
	return OK;
}
