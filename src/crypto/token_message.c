#include "crypto/token_message.h"

#include "base/reader.h"

#include <stdio.h>

enum { VERSION = 1 };

/* ---- names ---- */

static bool is_printable(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] < 0x20 || text.data[i] > 0x7e)
			return false;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static result id_from_hex(const char *hex, struct token_name *name)
{
	size_t len = strlen(hex);
	if (len == 0 || len % 2 || len / 2 > TOKEN_ID_MAX)
		return fail(BAD_VALUE, "a key id of %zu hexadecimal digits; an even number up to %d is expected", len, 2 * TOKEN_ID_MAX);
	for (size_t i = 0; i < len / 2; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
		if (high < 0 || low < 0)
			return fail(BAD_VALUE, "a key id has the character '%c', which is no hexadecimal digit", hex[2 * i + (high >= 0)]);
		name->id[i] = (uint8_t)(high << 4 | low);
	}
	name->id_len = (uint8_t)(len / 2);
	return OK;
}

result token_name_check(const struct token_name *name)
{
	size_t len = strnlen(name->label, sizeof(name->label));
	if (name->id_len > TOKEN_ID_MAX || len > TOKEN_LABEL_MAX)
		return fail(BAD_VALUE, "the name of a key in a token is too long");
	if (name->id_len == 0 && len == 0)
		return fail(BAD_VALUE, "a key in a token needs an id or a label");
	if (!is_printable(span_of(name->label, len)))
		return fail(BAD_VALUE, "the label of a key in a token has characters other than printable ASCII");
	return OK;
}

result token_name_from_text(const char *id_hex, const char *label, struct token_name *out)
{
	struct token_name name = {.id_len = 0};
	if (id_hex)
		TRY(id_from_hex(id_hex, &name));
	if (label) {
		size_t len = strlen(label);
		if (len > TOKEN_LABEL_MAX)
			return fail(BAD_VALUE, "a key's label of %zu bytes; at most %d are possible", len, TOKEN_LABEL_MAX);
		memcpy(name.label, label, len);
	}
	TRY(token_name_check(&name));
	*out = name;
	return OK;
}

bool token_name_equal(const struct token_name *a, const struct token_name *b)
{
	return span_equal(span_of(a->id, a->id_len), span_of(b->id, b->id_len)) && strcmp(a->label, b->label) == 0;
}

void token_name_text(const struct token_name *name, char out[static TOKEN_NAME_TEXT_SIZE])
{
	char hex[2 * TOKEN_ID_MAX + 1] = "";
	for (size_t i = 0; i < name->id_len; i++)
		snprintf(hex + 2 * i, 3, "%02x", name->id[i]);
	bool both = name->id_len && name->label[0];
	snprintf(out, TOKEN_NAME_TEXT_SIZE, "%s%.*s%s%s%s%s", name->label[0] ? "label '" : "", TOKEN_LABEL_MAX, name->label,
		name->label[0] ? "'" : "", both ? ", " : "", name->id_len ? "id " : "", hex);
}

static void put_text(const char *text, size_t max, struct writer *w)
{
	size_t len = strnlen(text, max + 1);
	if (len > max || len > UINT8_MAX) {
		writer_fail(w, BAD_VALUE);
		return;
	}
	writer_u8(w, (uint8_t)len);
	writer_put(w, text, len);
}

static result read_text(struct reader *r, size_t max, char *out)
{
	uint8_t len;
	struct span text;
	TRY(reader_u8(r, &len));
	if (len > max)
		return fail(TOO_LARGE, "a text of %d bytes in a token message; %zu are allowed", len, max);
	TRY(reader_take(r, len, &text));
	if (!is_printable(text))
		return fail(BAD_VALUE, "a text in a token message is not printable ASCII");
	if (len)
		memcpy(out, text.data, len);
	out[len] = '\0';
	return OK;
}

static void put_name(const struct token_name *name, struct writer *w)
{
	if (name->id_len > TOKEN_ID_MAX) {
		writer_fail(w, BAD_VALUE);
		return;
	}
	writer_u8(w, name->id_len);
	writer_put(w, name->id, name->id_len);
	put_text(name->label, TOKEN_LABEL_MAX, w);
}

static result read_name(struct reader *r, struct token_name *out)
{
	TRY(reader_u8(r, &out->id_len));
	if (out->id_len > TOKEN_ID_MAX)
		return fail(TOO_LARGE, "a key id of %d bytes; %d are allowed", out->id_len, TOKEN_ID_MAX);
	TRY(reader_copy(r, out->id, out->id_len));
	return read_text(r, TOKEN_LABEL_MAX, out->label);
}

/* ---- requests ---- */

static void put_request_body(const struct token_request *request, struct writer *w)
{
	switch (request->type) {
	case TOKEN_INFO:
	case TOKEN_CLOSE: return;
	case TOKEN_LIST: writer_u16(w, request->first); return;
	case TOKEN_RANDOM: writer_u16(w, request->size); return;
	case TOKEN_FIND:
	case TOKEN_DESTROY: put_name(&request->name, w); return;
	case TOKEN_GENERATE:
		put_name(&request->name, w);
		writer_u8(w, request->uses);
		return;
	case TOKEN_SIGN:
		put_name(&request->name, w);
		writer_span(w, SPAN_ARRAY(request->digest));
		return;
	case TOKEN_AGREE:
		put_name(&request->name, w);
		writer_span(w, SPAN_ARRAY(request->point));
		return;
	default: writer_fail(w, BAD_VALUE);
	}
}

void token_request_put(const struct token_request *request, struct writer *w)
{
	writer_u8(w, VERSION);
	writer_u8(w, request->type);
	writer_u32(w, request->number);
	put_request_body(request, w);
}

static result read_checked_name(struct reader *r, struct token_name *out)
{
	TRY(read_name(r, out));
	return token_name_check(out);
}

static result read_uses(struct reader *r, struct token_request *out)
{
	TRY(reader_u8(r, &out->uses));
	if (out->uses == 0 || (out->uses & ~(TOKEN_SIGNS | TOKEN_AGREES)))
		return fail(BAD_VALUE, "a new key for uses 0x%02x", out->uses);
	/* A new key that could not be told from others by either part would be lost. */
	if (out->name.id_len == 0 || out->name.label[0] == '\0')
		return fail(BAD_VALUE, "a new key needs an id and a label");
	return OK;
}

static result read_size(struct reader *r, uint16_t *out)
{
	TRY(reader_u16(r, out));
	if (*out == 0 || *out > TOKEN_RANDOM_MAX)
		return fail(BAD_VALUE, "%u random bytes; 1 to %d may be asked for", *out, TOKEN_RANDOM_MAX);
	return OK;
}

static result read_request_body(struct reader *r, struct token_request *out)
{
	switch (out->type) {
	case TOKEN_INFO:
	case TOKEN_CLOSE: return OK;
	case TOKEN_LIST: return reader_u16(r, &out->first);
	case TOKEN_RANDOM: return read_size(r, &out->size);
	case TOKEN_FIND:
	case TOKEN_DESTROY: return read_checked_name(r, &out->name);
	case TOKEN_GENERATE:
		TRY(read_checked_name(r, &out->name));
		return read_uses(r, out);
	case TOKEN_SIGN:
		TRY(read_checked_name(r, &out->name));
		return reader_copy(r, out->digest, sizeof(out->digest));
	case TOKEN_AGREE:
		TRY(read_checked_name(r, &out->name));
		return reader_copy(r, out->point, sizeof(out->point));
	default: return fail(NOT_SUPPORTED, "token request %d", out->type);
	}
}

static result read_head(struct reader *r, uint8_t *out_type, uint32_t *out_number)
{
	uint8_t version;
	TRY(reader_u8(r, &version));
	if (version != VERSION)
		return fail(UNKNOWN_VERSION, "token message of version %d", version);
	TRY(reader_u8(r, out_type));
	return reader_u32(r, out_number);
}

result token_request_decode(struct span bytes, struct token_request *out)
{
	struct token_request request = {.type = 0};
	struct reader r = reader_of(bytes);
	if (bytes.len > TOKEN_REQUEST_MAX)
		return fail(TOO_LARGE, "a token request of %zu bytes", bytes.len);
	TRY(read_head(&r, &request.type, &request.number));
	TRY(read_request_body(&r, &request));
	TRY(reader_finish(&r));
	*out = request;
	return OK;
}

/* ---- replies ---- */

static void put_key(const struct token_key *key, struct writer *w)
{
	put_name(&key->name, w);
	writer_u8(w, key->abilities);
	writer_span(w, SPAN_ARRAY(key->point));
}

static void put_info(const struct token_info *info, struct writer *w)
{
	put_text(info->label, sizeof(info->label) - 1, w);
	put_text(info->manufacturer, sizeof(info->manufacturer) - 1, w);
	put_text(info->model, sizeof(info->model) - 1, w);
	put_text(info->serial, sizeof(info->serial) - 1, w);
	writer_u8(w, info->abilities);
	writer_u8(w, info->confinement);
}

static void put_keys(const struct token_reply *reply, struct writer *w)
{
	writer_u16(w, reply->total);
	writer_u8(w, reply->count);
	if (reply->count > TOKEN_LIST_MAX) {
		writer_fail(w, BAD_VALUE);
		return;
	}
	for (size_t i = 0; i < reply->count; i++)
		put_key(&reply->keys[i], w);
}

static void put_random(const struct token_reply *reply, struct writer *w)
{
	writer_u16(w, reply->size);
	if (reply->size == 0 || reply->size > TOKEN_RANDOM_MAX)
		writer_fail(w, BAD_VALUE);
	else
		writer_put(w, reply->random, reply->size);
}

static void put_refusal(const struct token_reply *reply, struct writer *w)
{
	size_t len = strnlen(reply->text, TOKEN_TEXT_MAX);
	writer_u16(w, (uint16_t)len);
	writer_put(w, reply->text, len);
}

void token_reply_put(const struct token_reply *reply, struct writer *w)
{
	writer_u8(w, VERSION);
	writer_u8(w, reply->type);
	writer_u32(w, reply->number);
	writer_u16(w, (uint16_t)reply->reason);
	if (reply->reason != OK) {
		put_refusal(reply, w);
		return;
	}
	switch (reply->type) {
	case TOKEN_INFO: put_info(&reply->info, w); return;
	case TOKEN_LIST: put_keys(reply, w); return;
	case TOKEN_FIND:
	case TOKEN_GENERATE: put_key(&reply->keys[0], w); return;
	case TOKEN_SIGN: writer_span(w, SPAN_ARRAY(reply->signature)); return;
	case TOKEN_AGREE: writer_span(w, SPAN_ARRAY(reply->shared)); return;
	case TOKEN_RANDOM: put_random(reply, w); return;
	case TOKEN_DESTROY:
	case TOKEN_CLOSE: return;
	default: writer_fail(w, BAD_VALUE);
	}
}

static result read_key(struct reader *r, struct token_key *out)
{
	TRY(read_name(r, &out->name));
	TRY(reader_u8(r, &out->abilities));
	if (out->abilities & ~(TOKEN_SIGNS | TOKEN_AGREES | TOKEN_KEEPS | TOKEN_MADE))
		return fail(BAD_VALUE, "a key in a token has abilities 0x%02x", out->abilities);
	return reader_copy(r, out->point, sizeof(out->point));
}

static result read_info(struct reader *r, struct token_info *out)
{
	TRY(read_text(r, sizeof(out->label) - 1, out->label));
	TRY(read_text(r, sizeof(out->manufacturer) - 1, out->manufacturer));
	TRY(read_text(r, sizeof(out->model) - 1, out->model));
	TRY(read_text(r, sizeof(out->serial) - 1, out->serial));
	TRY(reader_u8(r, &out->abilities));
	return reader_u8(r, &out->confinement);
}

static result read_keys(struct reader *r, struct token_reply *out)
{
	TRY(reader_u16(r, &out->total));
	TRY(reader_u8(r, &out->count));
	if (out->count > TOKEN_LIST_MAX || out->count > out->total)
		return fail(BAD_VALUE, "%d of %u keys in one token reply", out->count, out->total);
	for (size_t i = 0; i < out->count; i++)
		TRY(read_key(r, &out->keys[i]));
	return OK;
}

static result read_random(struct reader *r, struct token_reply *out)
{
	TRY(read_size(r, &out->size));
	return reader_copy(r, out->random, out->size);
}

static result read_refusal(struct reader *r, struct token_reply *out)
{
	uint16_t len;
	struct span text;
	TRY(reader_u16(r, &len));
	if (len > TOKEN_TEXT_MAX)
		return fail(TOO_LARGE, "a text of %u bytes in a token message", len);
	TRY(reader_take(r, len, &text));
	if (!is_printable(text))
		return fail(BAD_VALUE, "a text in a token message is not printable ASCII");
	if (len)
		memcpy(out->text, text.data, len);
	return OK;
}

static result read_reply_body(struct reader *r, struct token_reply *out)
{
	switch (out->type) {
	case TOKEN_INFO: return read_info(r, &out->info);
	case TOKEN_LIST: return read_keys(r, out);
	case TOKEN_FIND:
	case TOKEN_GENERATE: return read_key(r, &out->keys[0]);
	case TOKEN_SIGN: return reader_copy(r, out->signature, sizeof(out->signature));
	case TOKEN_AGREE: return reader_copy(r, out->shared, sizeof(out->shared));
	case TOKEN_RANDOM: return read_random(r, out);
	case TOKEN_DESTROY:
	case TOKEN_CLOSE: return OK;
	default: return fail(BAD_VALUE, "a token reply of type %d", out->type);
	}
}

result token_reply_decode(struct span bytes, struct token_reply *out)
{
	uint16_t reason;
	struct reader r = reader_of(bytes);
	if (bytes.len > TOKEN_REPLY_MAX)
		return fail(TOO_LARGE, "a token reply of %zu bytes", bytes.len);
	*out = (struct token_reply){.type = 0};
	TRY(read_head(&r, &out->type, &out->number));
	TRY(reader_u16(&r, &reason));
	out->reason = (enum reason)reason;
	if (reason_row(out->reason)->reason != out->reason)
		return fail(BAD_VALUE, "a token reply with reason %u", reason);
	TRY(reason == OK ? read_reply_body(&r, out) : read_refusal(&r, out));
	return reader_finish(&r);
}
