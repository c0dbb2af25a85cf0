#include "ledger/api.h"

#include <stdio.h>

#include "wire/text.h"

static const char *const basis_names[] = {"none", "owner", "rule", "grant"};

/* ---- JSON ------------------------------------------------------------------------------------------- */

static json_t *number_or_null(bool there, uint64_t value)
{
	return there ? json_integer((json_int_t)value) : json_null();
}

json_t *api_receipt_json(const struct ledger_receipt *receipt)
{
	return json_pack("{s:o, s:i, s:s, s:b, s:o, s:o, s:o, s:s}", "txid", json_hex(SPAN_ARRAY(receipt->txid)), "code", (int)receipt->code, "reason",
		reason_name(receipt->code), "on_ledger", (int)receipt->on_ledger, "index", number_or_null(receipt->on_ledger, receipt->index), "size",
		number_or_null(receipt->on_ledger, receipt->size), "time", number_or_null(receipt->on_ledger, receipt->time), "text", receipt->text);
}

static result broken(const char *what)
{
	return fail(ANSWER_BROKEN, "the service's answer has no right '%s'", what);
}

static result take_number(const json_t *json, const char *name, uint64_t *out)
{
	const json_t *at = json_object_get(json, name);
	if (!json_is_integer(at) || json_integer_value(at) < 0)
		return broken(name);
	*out = (uint64_t)json_integer_value(at);
	return OK;
}

static result take_hex(const json_t *at, const char *name, uint8_t *out, size_t len)
{
	const char *text = json_string_value(at);
	return text && hex_decode(span_str(text), out, len) == OK ? OK : broken(name);
}

/* Numbers that this version has no reason for are not judged by it. */
static result take_code(const json_t *json, enum reason *out)
{
	uint64_t code;
	TRY(take_number(json, "code", &code));
	if (code > INT16_MAX || (code != 0 && reason_row((enum reason)code)->reason != (enum reason)code))
		return broken("code");
	*out = (enum reason)code;
	return OK;
}

static result take_text(const json_t *json, const char *name, char *out, size_t size)
{
	const char *text = json_string_value(json_object_get(json, name));
	if (!text)
		return broken(name);
	snprintf(out, size, "%s", text);
	text_make_plain(out);
	return OK;
}

result api_receipt_parse(const json_t *json, struct ledger_receipt *out)
{
	struct ledger_receipt receipt = {0};
	const json_t *on_ledger = json_object_get(json, "on_ledger");
	TRY(take_hex(json_object_get(json, "txid"), "txid", receipt.txid, sizeof(receipt.txid)));
	TRY(take_code(json, &receipt.code));
	TRY(take_text(json, "text", receipt.text, sizeof(receipt.text)));
	if (!json_is_boolean(on_ledger))
		return broken("on_ledger");
	receipt.on_ledger = json_is_true(on_ledger);
	if (receipt.on_ledger) {
		TRY(take_number(json, "index", &receipt.index));
		TRY(take_number(json, "size", &receipt.size));
		TRY(take_number(json, "time", &receipt.time));
	}
	*out = receipt;
	return OK;
}

json_t *api_decision_json(const struct access_decision *decision, uint64_t size)
{
	json_t *grants = json_array();
	unsigned basis = (unsigned)decision->basis < COUNT_OF(basis_names) ? decision->basis : 0;
	for (size_t i = 0; i < decision->grant_count; i++)
		(void)json_array_append_new(grants, json_hex(SPAN_ARRAY(decision->grants[i])));
	return json_pack("{s:i, s:s, s:s, s:s, s:I, s:o, s:I, s:I}", "code", (int)decision->code, "reason", reason_name(decision->code), "basis",
		basis_names[basis], "rule_scope", decision->rule_scope, "rule", (json_int_t)decision->rule, "grants", grants, "at_link",
		(json_int_t)decision->at_link, "size", (json_int_t)size);
}

static result take_basis(const json_t *json, enum access_basis *out)
{
	const char *text = json_string_value(json_object_get(json, "basis"));
	for (size_t i = 0; text && i < COUNT_OF(basis_names); i++)
		if (span_equal_str(span_str(text), basis_names[i])) {
			*out = (enum access_basis)i;
			return OK;
		}
	return broken("basis");
}

result api_decision_parse(const json_t *json, struct access_decision *out, uint64_t *out_size)
{
	struct access_decision decision = {0};
	const json_t *grants = json_object_get(json, "grants");
	uint64_t rule, at_link, size;
	TRY(take_code(json, &decision.code));
	TRY(take_basis(json, &decision.basis));
	TRY(take_text(json, "rule_scope", decision.rule_scope, sizeof(decision.rule_scope)));
	TRY(take_number(json, "rule", &rule));
	TRY(take_number(json, "at_link", &at_link));
	TRY(take_number(json, "size", &size));
	if (!json_is_array(grants) || json_array_size(grants) > GRANT_CHAIN_MAX)
		return broken("grants");
	decision.rule = (size_t)rule;
	decision.at_link = (size_t)at_link;
	decision.grant_count = json_array_size(grants);
	for (size_t i = 0; i < decision.grant_count; i++)
		TRY(take_hex(json_array_get(grants, i), "grants", decision.grants[i], OID_SIZE));
	*out = decision;
	*out_size = size;
	return OK;
}

result api_failure_parse(struct span body, int status)
{
	json_t *json = body.len <= 16 * 1024 ? json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	enum reason code = OK;
	char text[400] = "";
	bool read = json && take_code(json, &code) == OK && code != OK && take_text(json, "text", text, sizeof(text)) == OK;
	json_decref(json);
	if (!read && status == 413)
		return fail(TOO_LARGE, "the service takes no requests as large as that");
	if (!read)
		return fail(ANSWER_BROKEN, "the service answers with status %d and nothing that explains it", status);
	return fail(code, "the ledger's service says: %s", text);
}

/* ---- Questions -------------------------------------------------------------------------------------- */

struct question {
	uint8_t actor[ADDRESS_SIZE];
	uint8_t operation;
	const char *scope;
	uint8_t measurement[SHA384_SIZE];
	bool has_measurement;
	struct bytes_item *links;
	size_t link_count;
};

static const struct field question_link_fields[] = {F_BYTES(struct bytes_item, 0, bytes, 1, LEDGER_BODY_MAX)};
static const struct schema question_link_schema = SCHEMA(struct bytes_item, "grant", SHAPE_BARE, question_link_fields);

static const struct field question_fields[] = {
	F_FIXED(struct question, 1, actor),
	F_UINT(struct question, 2, operation, 63),
	F_TEXT(struct question, 3, scope, 1, SCOPE_MAX),
	F_FIXED_OR_NULL(struct question, 4, measurement, has_measurement),
	F_LIST(struct question, 5, links, link_count, &question_link_schema, 0, 0, GRANT_CHAIN_MAX),
};
static const struct schema question_schema = SCHEMA(struct question, "access question", SHAPE_MAP, question_fields);

result api_question_encode(const struct access_question *question, struct bytes *out)
{
	struct question wire = {.operation = (uint8_t)question->operation, .scope = question->scope, .has_measurement = question->measurement != NULL,
		.links = (struct bytes_item *)question->links, .link_count = question->link_count};
	if (question->operation > 63)
		return fail(BAD_VALUE, "operation %u", question->operation);
	memcpy(wire.actor, question->actor, ADDRESS_SIZE);
	if (question->measurement)
		memcpy(wire.measurement, question->measurement, SHA384_SIZE);
	return schema_encode(&question_schema, &wire, out);
}

result api_question_decode(struct span bytes, struct arena *arena, struct access_question *out)
{
	void *memory;
	TRY(arena_alloc(arena, 1, sizeof(struct question), &memory));
	struct question *wire = memory;
	TRY(schema_decode(&question_schema, bytes, arena, wire));
	*out = (struct access_question){.operation = wire->operation, .scope = wire->scope,
		.measurement = wire->has_measurement ? wire->measurement : NULL, .links = wire->links, .link_count = wire->link_count};
	memcpy(out->actor, wire->actor, ADDRESS_SIZE);
	return OK;
}

/* ---- Entries and paths ------------------------------------------------------------------------------ */

void api_entry_put(const struct api_entry *entry, struct writer *w)
{
	cbor_put_array(w, entry->has_path ? 5 : 4);
	cbor_put_uint(w, entry->index);
	cbor_put_uint(w, entry->size);
	cbor_put_uint(w, entry->time);
	cbor_put_bytes(w, entry->leaf);
	if (entry->has_path)
		cbor_put_bytes(w, span_of(entry->path.hashes, entry->path.count * sizeof(struct merkle_hash)));
}

result api_entry_take(struct reader *r, struct api_entry *out)
{
	struct api_entry entry = {0};
	struct span path = SPAN_EMPTY;
	size_t count;
	TRY(cbor_read_array(r, &count));
	if (count != 4 && count != 5)
		return fail(ANSWER_BROKEN, "an entry of %zu", count);
	TRY(cbor_read_uint(r, &entry.index));
	TRY(cbor_read_uint(r, &entry.size));
	TRY(cbor_read_uint(r, &entry.time));
	TRY(cbor_read_bytes(r, &entry.leaf));
	entry.has_path = count == 5;
	if (entry.has_path)
		TRY(cbor_read_bytes(r, &path));
	if (path.len % sizeof(struct merkle_hash) || path.len / sizeof(struct merkle_hash) > MERKLE_PROOF_MAX)
		return fail(ANSWER_BROKEN, "the path of entry %llu", (unsigned long long)entry.index);
	entry.path.count = path.len / sizeof(struct merkle_hash);
	if (path.len)
		memcpy(entry.path.hashes, path.data, path.len);
	*out = entry;
	return OK;
}

enum { HASH_LINE = BASE64_LENGTH(SHA256_SIZE) + 1 };

result api_hashes_put(const struct merkle_proof *proof, struct writer *w)
{
	char line[HASH_LINE + 1];
	for (size_t i = 0; i < proof->count; i++) {
		base64_encode(SPAN_ARRAY(proof->hashes[i].bytes), line);
		writer_str(w, line);
		writer_str(w, "\n");
	}
	return w->failed;
}

result api_hashes_take(struct span text, struct merkle_proof *out)
{
	if (text.len % HASH_LINE || text.len / HASH_LINE > MERKLE_PROOF_MAX)
		return fail(ANSWER_BROKEN, "a list of hashes of %zu bytes", text.len);
	for (size_t i = 0; i < text.len / HASH_LINE; i++) {
		const uint8_t *line = text.data + i * HASH_LINE;
		uint8_t hash[BASE64_LENGTH(SHA256_SIZE) / 4 * 3];
		size_t len;
		if (line[HASH_LINE - 1] != '\n' || base64_decode(span_of(line, HASH_LINE - 1), hash, &len) != OK || len != SHA256_SIZE)
			return fail(ANSWER_BROKEN, "line %zu of a list of hashes", i + 1);
		memcpy(out->hashes[i].bytes, hash, SHA256_SIZE);
	}
	out->count = text.len / HASH_LINE;
	return OK;
}
