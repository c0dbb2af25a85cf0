#include "ledger/note.h"

#include "crypto/hash.h"
#include "wire/text.h"

#include <inttypes.h>
#include <stdio.h>

static const char signature_start[] = "\xe2\x80\x94 "; /* em dash, space */
enum { START_LEN = 4, TIME_LEN = 8, UNKNOWN_MAX = 4096 };

/* ---- Keys -------------------------------------------------------------------------------------- */

static bool is_space(uint32_t code)
{
	return code <= 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
		code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000 || code == 0x7f;
}

static bool name_is_good(struct span name)
{
	if (name.len < 1 || name.len > NOTE_NAME_MAX || !utf8_valid(name))
		return false;
	for (const uint8_t *at = name.data; at < name.data + name.len;) {
		uint32_t code = utf8_next(&at);
		if (is_space(code) || code == '+')
			return false;
	}
	return true;
}

static void key_id(struct span name, enum note_key_type type, const uint8_t *public_key, uint8_t out[static NOTE_KEY_ID_SIZE])
{
	uint8_t input[NOTE_NAME_MAX + 2 + ED25519_PUBLIC_SIZE], digest[SHA256_SIZE];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_span(&w, name);
	writer_u8(&w, '\n');
	writer_u8(&w, (uint8_t)type);
	writer_put(&w, public_key, ED25519_PUBLIC_SIZE);
	sha256(span_of(input, w.len), digest);
	memcpy(out, digest, NOTE_KEY_ID_SIZE);
}

static result key_fill(struct span name, unsigned type, const uint8_t *public_key, struct note_key *out)
{
	if (!name_is_good(name))
		return fail(BAD_NAME, "a note key needs a name without spaces and '+'");
	if (type != NOTE_KEY_LOG && type != NOTE_KEY_COSIGNER)
		return fail(UNSUPPORTED_ALGORITHM, "note key of type %u", type);
	struct note_key key = {.type = type};
	memcpy(key.name, name.data, name.len);
	memcpy(key.public_key, public_key, ED25519_PUBLIC_SIZE);
	key_id(name, key.type, public_key, key.id);
	*out = key;
	return OK;
}

result note_key_new(const char *name, enum note_key_type type, const uint8_t public_key[static ED25519_PUBLIC_SIZE],
	struct note_key *out)
{
	return key_fill(span_str(name), type, public_key, out);
}

void note_key_format(const struct note_key *key, char out[static NOTE_VKEY_SIZE])
{
	uint8_t encoding[1 + ED25519_PUBLIC_SIZE] = {(uint8_t)key->type};
	char id[2 * NOTE_KEY_ID_SIZE + 1], text[BASE64_LENGTH(sizeof(encoding)) + 1];
	memcpy(encoding + 1, key->public_key, ED25519_PUBLIC_SIZE);
	hex_encode(SPAN_ARRAY(key->id), id);
	base64_encode(SPAN_ARRAY(encoding), text);
	snprintf(out, NOTE_VKEY_SIZE, "%s+%s+%s", key->name, id, text);
}

result note_key_parse(struct span text, struct note_key *out)
{
	uint8_t id[NOTE_KEY_ID_SIZE], encoding[BASE64_LENGTH(1 + ED25519_PUBLIC_SIZE)];
	size_t len;
	const uint8_t *plus = text.len ? memchr(text.data, '+', text.len) : NULL;
	if (!plus)
		return fail(BAD_VALUE, "a verifier key is NAME+ID+KEY");
	size_t name_len = (size_t)(plus - text.data), rest = text.len - name_len - 1;
	if (rest != 2 * NOTE_KEY_ID_SIZE + 1 + BASE64_LENGTH(1 + ED25519_PUBLIC_SIZE) || plus[1 + 2 * NOTE_KEY_ID_SIZE] != '+')
		return fail(BAD_VALUE, "a verifier key is NAME+ID+KEY of an Ed25519 key");
	TRY(hex_decode(span_of(plus + 1, 2 * NOTE_KEY_ID_SIZE), id, sizeof(id)));
	TRY(base64_decode(span_of(plus + 2 + 2 * NOTE_KEY_ID_SIZE, rest - 1 - 2 * NOTE_KEY_ID_SIZE), encoding, &len));
	if (len != 1 + ED25519_PUBLIC_SIZE)
		return fail(BAD_VALUE, "a public key of %zu bytes", len - 1);
	struct note_key key;
	TRY(key_fill(span_of(text.data, name_len), encoding[0], encoding + 1, &key));
	if (memcmp(id, key.id, sizeof(id)) != 0)
		return fail(DIGEST_MISMATCH, "the id of the key of '%s' is not that of its name and bytes", key.name);
	*out = key;
	return OK;
}

/* ---- Reading ----------------------------------------------------------------------------------- */

static result check_characters(struct span bytes)
{
	if (bytes.len > NOTE_MAX)
		return fail(TOO_LARGE, "a note of %zu bytes", bytes.len);
	if (!utf8_valid(bytes))
		return fail(BAD_UTF8, "a note");
	for (size_t i = 0; i < bytes.len; i++)
		if (bytes.data[i] < 0x20 && bytes.data[i] != '\n')
			return fail(BAD_VALUE, "a control character in a note");
	return OK;
}

/* The text runs to the last empty line. */
static result split(struct span bytes, struct span *out_text, struct span *out_lines)
{
	if (bytes.len < 3 || bytes.data[bytes.len - 1] != '\n')
		return fail(TRUNCATED, "a note ends with a newline after its signatures");
	for (size_t i = bytes.len - 2; i > 0; i--)
		if (bytes.data[i] == '\n' && bytes.data[i - 1] == '\n') {
			*out_text = span_of(bytes.data, i);
			*out_lines = span_of(bytes.data + i + 1, bytes.len - i - 1);
			return OK;
		}
	return fail(NOT_SIGNED, "a note without an empty line before its signatures");
}

static result parse_line(struct span line, struct note_signature *out)
{
	if (line.len <= START_LEN || memcmp(line.data, signature_start, START_LEN) != 0)
		return fail(BAD_VALUE, "a line after the note that is no signature");
	struct span rest = span_of(line.data + START_LEN, line.len - START_LEN);
	const uint8_t *space = memchr(rest.data, ' ', rest.len);
	if (!space)
		return fail(BAD_VALUE, "a signature without a key name");
	struct span name = span_of(rest.data, (size_t)(space - rest.data));
	struct span text = span_of(space + 1, rest.len - name.len - 1);
	uint8_t decoded[UNKNOWN_MAX * 3 / 4 + 3];
	size_t len;
	if (!name_is_good(name))
		return fail(BAD_NAME, "the key name of a signature");
	if (text.len > UNKNOWN_MAX)
		return fail(TOO_LARGE, "a signature of %zu characters", text.len);
	TRY(base64_decode(text, decoded, &len));
	if (len <= NOTE_KEY_ID_SIZE)
		return fail(TRUNCATED, "a signature of %zu bytes", len);
	out->name = name;
	memcpy(out->id, decoded, NOTE_KEY_ID_SIZE);
	out->len = len - NOTE_KEY_ID_SIZE;
	memcpy(out->bytes, decoded + NOTE_KEY_ID_SIZE, out->len < sizeof(out->bytes) ? out->len : sizeof(out->bytes));
	return OK;
}

result note_parse(struct span bytes, struct note *out)
{
	struct span lines;
	TRY(check_characters(bytes));
	TRY(split(bytes, &out->text, &lines));
	out->count = 0;
	while (lines.len) {
		const uint8_t *end = memchr(lines.data, '\n', lines.len); /* there is one: the last byte */
		size_t len = (size_t)(end - lines.data);
		if (out->count == NOTE_SIGNATURES_MAX)
			return fail(TOO_LARGE, "more than %d signatures", NOTE_SIGNATURES_MAX);
		TRY(parse_line(span_of(lines.data, len), &out->signatures[out->count++]));
		lines = span_of(lines.data + len + 1, lines.len - len - 1);
	}
	return out->count ? OK : fail(NOT_SIGNED, "a note without signatures");
}

/* ---- Signing and verifying --------------------------------------------------------------------- */

/* What a cosigner signs: two lines before the text. */
static result cosigned(struct span text, uint64_t time_s, struct writer *out)
{
	char head[64];
	snprintf(head, sizeof(head), "cosignature/v1\ntime %" PRIu64 "\n", time_s);
	writer_str(out, head);
	writer_span(out, text);
	struct span all;
	return writer_finish(out, &all);
}

static uint64_t time_of(const uint8_t *bytes)
{
	uint64_t time = 0;
	for (size_t i = 0; i < TIME_LEN; i++)
		time = time << 8 | bytes[i];
	return time;
}

static result verify_one(struct span text, const struct note_signature *signature, const struct note_key *key, uint64_t *out_time)
{
	size_t before = key->type == NOTE_KEY_COSIGNER ? TIME_LEN : 0;
	if (signature->len != before + ED25519_SIGNATURE_SIZE)
		return fail(BAD_SIGNATURE, "a signature of '%s' of %zu bytes", key->name, signature->len);
	CLEANUP(writer_free) struct writer w = writer_growing(NOTE_MAX + 64);
	uint64_t time = before ? time_of(signature->bytes) : 0;
	if (time > INT64_MAX)
		return fail(BAD_VALUE, "the time of a cosignature of '%s'", key->name);
	if (before) {
		TRY(cosigned(text, time, &w));
		text = span_of(w.data, w.len);
	}
	if (ed25519_verify(key->public_key, text, signature->bytes + before) != OK)
		return fail(BAD_SIGNATURE, "of '%s'", key->name);
	*out_time = time;
	return OK;
}

result note_verify(const struct note *note, const struct note_key *key, uint64_t *out_time)
{
	uint64_t time = 0;
	bool found = false;
	for (size_t i = 0; i < note->count; i++) {
		const struct note_signature *signature = &note->signatures[i];
		if (!span_equal(signature->name, span_str(key->name)) || memcmp(signature->id, key->id, sizeof(key->id)) != 0)
			continue;
		TRY(verify_one(note->text, signature, key, &time));
		found = true;
	}
	if (!found)
		return fail(NOT_SIGNED, "no signature of '%s'", key->name);
	if (out_time)
		*out_time = time;
	return OK;
}

result note_sign(struct span text, const struct note_key *key, const struct secret *seed, uint64_t time_s, struct writer *out)
{
	uint8_t blob[NOTE_KEY_ID_SIZE + TIME_LEN + ED25519_SIGNATURE_SIZE], signature[ED25519_SIGNATURE_SIZE];
	char line[BASE64_LENGTH(sizeof(blob)) + 1];
	CLEANUP(writer_free) struct writer message = writer_growing(NOTE_MAX + 64);
	struct writer w = writer_fixed(blob, sizeof(blob));
	if (text.len < 1 || text.data[text.len - 1] != '\n')
		return fail(BAD_VALUE, "the text of a note ends in a newline");
	writer_put(&w, key->id, sizeof(key->id));
	if (key->type == NOTE_KEY_COSIGNER) {
		TRY(cosigned(text, time_s, &message));
		text = span_of(message.data, message.len);
		writer_u64(&w, time_s);
	}
	TRY(ed25519_sign(seed, text, signature));
	writer_put(&w, signature, sizeof(signature));
	base64_encode(span_of(blob, w.len), line);
	writer_str(out, signature_start);
	writer_str(out, key->name);
	writer_str(out, " ");
	writer_str(out, line);
	writer_str(out, "\n");
	struct span all;
	return writer_finish(out, &all);
}
