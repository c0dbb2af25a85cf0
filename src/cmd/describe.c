#include "cmd/describe.h"

#include <stdlib.h>

#include "crypto/x509.h"
#include "object/epoch_rules.h"
#include "object/ledger.h"
#include "object/backup.h"
#include "object/manifest.h"
#include "object/seal.h"
#include "object/transport.h"
#include "object/policy_version.h"
#include "policy/schema.h"
#include "wire/document.h"

enum { DESCRIBE_MEMORY = 1 << 30, DOCUMENT_MEMORY = 64 << 20 };

const char *file_kind_name(enum file_kind kind)
{
	static const char *const names[] = {"receipt", "signed object", "epoch record", "HALT", "epoch history", "certificate", "trust file", "job file", "policy"};
	return names[kind];
}

/* ---- Objects ------------------------------------------------------------------------------------------ */

union any_object {
	struct report report;
	struct record record;
	struct sealed sealed;
	struct unseal_request unseal_request;
	struct unseal_grant unseal_grant;
	struct rot_challenge rot_challenge;
	struct derive_answer derive_answer;
	struct queue_hello queue_hello;
	struct statement statement;
	struct receipt_head head;
	struct reference_set reference_set;
	struct backup backup;
	struct transport_key transport_key;
	struct policy_version_object policy_version;
	struct transaction transaction;
	struct grant grant;
	struct access_request access_request;
	struct operation operation;
	struct endorsement endorsement;
};

/* The kind is in what is signed, not in the bytes: the one whose fields fit is named. */
static const enum object_kind signed_kinds[] = {KIND_REPORT, KIND_RECORD, KIND_SEALED, KIND_UNSEAL_REQUEST, KIND_UNSEAL_GRANT,
	KIND_ROT_CHALLENGE, KIND_DERIVE_ANSWER, KIND_QUEUE_HELLO, KIND_STATEMENT, KIND_RECEIPT_HEAD, KIND_REFERENCE_SET,
	KIND_BACKUP, KIND_TRANSPORT_KEY, KIND_POLICY_VERSION, KIND_TRANSACTION, KIND_GRANT, KIND_ACCESS_REQUEST, KIND_OPERATION,
	KIND_REGISTRATION};

static result policy_json(struct span bytes, json_t **out);

static void add_body(const struct transaction *tx, json_t *content)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	const struct schema *schema = transaction_body_schema(tx->type);
	void *body;
	json_object_set_new(content, "type_name", json_string(transaction_type_name(tx->type)));
	if (schema && arena_alloc(&arena, 1, schema->struct_size, &body) == OK && schema_decode(schema, tx->body, &arena, body) == OK)
		json_object_set_new(content, "body", schema_json(schema, body));
}

/* What a structure carries as bytes that can be read further is shown as that. */
static void add_inner(enum object_kind kind, const union any_object *object, json_t *json)
{
	json_t *policy;
	if (json && kind == KIND_TRANSACTION)
		add_body(&object->transaction, json_object_get(json, "content"));
	if (json && kind == KIND_POLICY_VERSION && policy_json(object->policy_version.policy, &policy) == OK)
		json_object_set_new(json_object_get(json, "content"), "policy", policy);
}

static result object_json(enum object_kind kind, struct span bytes, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DESCRIBE_MEMORY);
	union any_object object;
	uint8_t oid[OID_SIZE];
	TRY(object_peek(kind, bytes, &arena, &object, oid));
	*out = json_pack("{s:s,s:o,s:o}", "kind", kind_label(kind), "oid", json_hex(SPAN_ARRAY(oid)), "content",
		schema_json(kind_schema(kind), &object));
	add_inner(kind, &object, *out);
	return *out ? OK : fail(NO_MEMORY, "object");
}

static result any_object_json(struct span bytes, json_t **out)
{
	struct cose_sign1 sign1;
	TRY(cose_strict_sign1_parse(bytes, &sign1));
	for (size_t i = 0; i < COUNT_OF(signed_kinds); i++)
		if (object_json(signed_kinds[i], bytes, out) == OK)
			return OK;
	return fail(WRONG_KIND, "a signed object of a kind that this version does not know");
}

static json_t *signers_json(const struct cose_sign *sign)
{
	json_t *list = json_array();
	for (size_t i = 0; i < sign->count; i++)
		json_array_append_new(list, json_hex(SPAN_ARRAY(sign->signatures[i].kid)));
	return list;
}

/* An epoch record, a HALT, or one of the recovery keys that stand among them. */
static result epoch_json(struct span bytes, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	struct cose_sign sign;
	uint8_t oid[OID_SIZE], rot_id[OID_SIZE];
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	union {
		struct epoch epoch;
		struct halt halt;
	} object;
	bool is_halt;
	if (bytes.len == SPKI_SIZE && key_from_spki(bytes, &key) == OK) {
		*out = json_pack("{s:s,s:o}", "kind", "recovery key", "digest", json_hex(SPAN_ARRAY(key.id)));
		return *out ? OK : fail(NO_MEMORY, "recovery key");
	}
	TRY(cose_strict_sign_parse(bytes, &sign));
	TRY(epoch_object_is_halt(&sign, &is_halt));
	enum object_kind kind = is_halt ? KIND_HALT : KIND_EPOCH;
	TRY(schema_decode(kind_schema(kind), sign.payload, &arena, &object));
	TRY(epoch_object_root(bytes, rot_id));
	object_oid(kind, sign.payload, oid);
	rot_fingerprint(rot_id, fingerprint);
	*out = json_pack("{s:s,s:o,s:s,s:i,s:o,s:o}", "kind", kind_label(kind), "oid", json_hex(SPAN_ARRAY(oid)), "fingerprint",
		fingerprint, "signers", (int)sign.count, "signer_keys", signers_json(&sign), "content",
		schema_json(kind_schema(kind), &object));
	return *out ? OK : fail(NO_MEMORY, "epoch record");
}

static result certificate_json(struct span der, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(certificate_free) struct certificate certificate = CERTIFICATE_EMPTY;
	TRY(certificate_parse(der, &arena, &certificate));
	*out = json_pack("{s:o,s:s,s:o,s:o,s:o,s:o}", "digest", json_hex(SPAN_ARRAY(certificate.digest)), "uri", certificate.uri,
		"not_before", json_time(certificate.not_before), "not_after", json_time(certificate.not_after), "sign_point",
		json_hex(SPAN_ARRAY(certificate.key.point)), "kem_point", json_hex(SPAN_ARRAY(certificate.kem_point)));
	return *out ? OK : fail(NO_MEMORY, "certificate");
}

static result manifest_json(struct span bytes, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DESCRIBE_MEMORY);
	struct manifest manifest;
	uint8_t measurement[SHA384_SIZE];
	TRY(manifest_decode(bytes, &arena, &manifest));
	manifest_measurement(bytes, measurement);
	*out = json_pack(
		"{s:o,s:o}", "measurement", json_hex(SPAN_ARRAY(measurement)), "content", schema_json(&manifest_schema, &manifest));
	return *out ? OK : fail(NO_MEMORY, "manifest");
}

static result policy_json(struct span bytes, json_t **out)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	uint8_t digest[POLICY_DIGEST_SIZE];
	TRY(policy_render_json(bytes, &text));
	TRY(policy_digest(bytes, digest));
	json_t *content = json_loadb((const char *)text.data, text.len, 0, NULL);
	*out = content ? json_pack("{s:o,s:o}", "digest", json_hex(SPAN_ARRAY(digest)), "content", content) : NULL;
	return *out ? OK : fail(NO_MEMORY, "policy");
}

static result record_json(struct span bytes, json_t **out)
{
	return object_json(KIND_RECORD, bytes, out);
}

static result report_json(struct span bytes, json_t **out)
{
	return object_json(KIND_REPORT, bytes, out);
}

static result grant_json(struct span bytes, json_t **out)
{
	return object_json(KIND_UNSEAL_GRANT, bytes, out);
}

static result statement_json(struct span bytes, json_t **out)
{
	return object_json(KIND_STATEMENT, bytes, out);
}

static result reference_json(struct span bytes, json_t **out)
{
	return object_json(KIND_REFERENCE_SET, bytes, out);
}

static result version_json(struct span bytes, json_t **out)
{
	return object_json(KIND_POLICY_VERSION, bytes, out);
}

/* ---- Sections ----------------------------------------------------------------------------------------- */

static const struct section_row {
	uint16_t id;
	const char *name;
	result (*item)(struct span bytes, json_t **out); /* of a list of byte strings */
} section_table[] = {
	{SECTION_EPOCHS, "epochs", epoch_json},
	{SECTION_CERTIFICATES, "certificates", certificate_json},
	{SECTION_REPORTS, "reports", report_json},
	{SECTION_RECORDS, "records", record_json},
	{SECTION_MANIFESTS, "manifests", manifest_json},
	{SECTION_POLICIES, "policies", policy_json},
	{SECTION_GRANTS, "grants", grant_json},
	{SECTION_STATEMENTS, "statements", statement_json},
	{SECTION_SALTS, "salts", NULL},
	{SECTION_JOB, "job", NULL},
	{SECTION_REFERENCES, "references", reference_json},
	{SECTION_POLICY_VERSIONS, "policy_versions", version_json},
};

static const struct section_row *section_row(uint16_t id)
{
	for (size_t i = 0; i < COUNT_OF(section_table); i++)
		if (section_table[i].id == id)
			return &section_table[i];
	return NULL;
}

/* An item that cannot be read is shown as its bytes: to look into a damaged receipt is what this is for. */
static json_t *item_json(const struct section_row *row, struct span bytes)
{
	json_t *item;
	if (row->item(bytes, &item) == OK)
		return item;
	return json_pack("{s:s,s:o}", "unreadable", failure_text(), "bytes", json_hex(bytes));
}

static result list_json(const struct section_row *row, struct span bytes, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DESCRIBE_MEMORY);
	struct bytes_list list;
	TRY(schema_decode(&bytes_list_schema, bytes, &arena, &list));
	json_t *items = json_array();
	for (size_t i = 0; items && i < list.count; i++)
		json_array_append_new(items, item_json(row, list.items[i].bytes));
	*out = items;
	return items ? OK : fail(NO_MEMORY, "section");
}

static result history_json(struct span bytes, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DESCRIBE_MEMORY);
	const struct section_row row = {.item = epoch_json};
	struct epoch_history history;
	TRY(schema_decode(&epoch_history_schema, bytes, &arena, &history));
	json_t *objects = json_array(), *keys = json_array();
	for (size_t i = 0; i < history.object_count; i++)
		json_array_append_new(objects, item_json(&row, history.objects[i].bytes));
	for (size_t i = 0; i < history.key_count; i++)
		json_array_append_new(keys, item_json(&row, history.keys[i].bytes));
	*out = json_pack("{s:o,s:o}", "objects", objects, "keys", keys);
	return *out ? OK : fail(NO_MEMORY, "epoch history");
}

static result schema_section_json(const struct schema *schema, struct span bytes, void *object, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DESCRIBE_MEMORY);
	TRY(schema_decode(schema, bytes, &arena, object));
	*out = schema_json(schema, object);
	return *out ? OK : fail(NO_MEMORY, "section");
}

result describe_section(uint16_t id, struct span bytes, json_t **out)
{
	const struct section_row *row = section_row(id);
	struct salt_list salts;
	struct job job;
	if (id == 0)
		return object_json(KIND_RECEIPT_HEAD, bytes, out);
	if (row && row->item)
		return list_json(row, bytes, out);
	if (id == SECTION_SALTS)
		return schema_section_json(&salt_list_schema, bytes, &salts, out);
	if (id == SECTION_JOB)
		return schema_section_json(&job_schema, bytes, &job, out);
	*out = json_hex(bytes);
	return *out ? OK : fail(NO_MEMORY, "section");
}

result describe_section_bytes(const struct receipt *receipt, const char *name, struct span *out, uint16_t *out_id)
{
	if (strcmp(name, "head") == 0) {
		*out = receipt->head;
		*out_id = 0;
		return OK;
	}
	for (size_t i = 0; i < receipt->section_count; i++) {
		const struct section_row *row = section_row(receipt->sections[i].id);
		char number[8];
		snprintf(number, sizeof(number), "%u", receipt->sections[i].id);
		if (strcmp(name, number) != 0 && !(row && strcmp(row->name, name) == 0))
			continue;
		*out = receipt->sections[i].bytes;
		*out_id = receipt->sections[i].id;
		return OK;
	}
	return fail(NOT_FOUND,
		"the receipt has no section '%s'; there are head, epochs, certificates, reports, records, manifests, "
		"policies, grants, statements, salts, job",
		name);
}

result describe_receipt(const struct receipt_view *view, json_t **out)
{
	json_t *head, *sections = json_object();
	result described = object_json(KIND_RECEIPT_HEAD, view->receipt.head, &head);
	for (size_t i = 0; described == OK && i < view->receipt.section_count; i++) {
		const struct receipt_section *section = &view->receipt.sections[i];
		const struct section_row *row = section_row(section->id);
		char number[8];
		json_t *content;
		snprintf(number, sizeof(number), "%u", section->id);
		described = describe_section(section->id, section->bytes, &content);
		if (described == OK)
			json_object_set_new(sections, row ? row->name : number, content);
	}
	if (described != OK) {
		json_decref(sections);
		return described;
	}
	*out = json_pack("{s:o,s:o}", "head", head, "sections", sections);
	return *out ? OK : fail(NO_MEMORY, "receipt");
}

/* ---- Files -------------------------------------------------------------------------------------------- */

static bool begins(struct span bytes, const char *with, size_t len)
{
	return bytes.len >= len && memcmp(bytes.data, with, len) == 0;
}

static result kind_of_document(const char *name, struct span bytes, enum file_kind *out)
{
	CLEANUP(document_free) struct document document = {0};
	TRY(document_parse(name, bytes, DOCUMENT_MEMORY, &document));
	const struct node *root = document.root;
	const struct node *first = root->kind == NODE_LIST && root->count ? &root->children[0] : root;
	if (first->kind != NODE_MAP)
		return fail(BAD_VALUE, "%s is neither a receipt, nor a signed object, nor a trust, job or policy file", name);
	if (node_field(first, "troth_trust"))
		*out = FILE_TRUST;
	else if (node_field(first, "enclaves"))
		*out = FILE_JOB;
	else if (node_field(first, "enclave_id") || node_field(first, "caller_id") || node_field(first, "guest_id"))
		*out = FILE_POLICY;
	else
		return fail(BAD_VALUE, "%s is a document, but neither a trust, nor a job, nor a policy file", name);
	return OK;
}

static result kind_of_signed(struct span bytes, enum file_kind *out)
{
	struct cose_sign sign;
	bool is_halt;
	TRY(cose_strict_sign_parse(bytes, &sign));
	TRY(epoch_object_is_halt(&sign, &is_halt));
	*out = is_halt ? FILE_HALT : FILE_EPOCH;
	return OK;
}

result describe_kind(const char *name, struct span bytes, enum file_kind *out)
{
	if (bytes.len == 0)
		return fail(TRUNCATED, "%s is empty", name);
	if (begins(bytes, "\xa3\x01\x01", 3))
		*out = FILE_HISTORY;
	else if (begins(bytes, "\xa3\x01", 2))
		*out = FILE_RECEIPT;
	else if (begins(bytes, "\xd2\x84", 2))
		*out = FILE_OBJECT;
	else if (begins(bytes, "\xd8\x62\x84", 3))
		return kind_of_signed(bytes, out);
	else if (begins(bytes, "\x30\x82", 2))
		*out = FILE_CERTIFICATE;
	else
		return kind_of_document(name, bytes, out);
	return OK;
}

/* Trust, job and policy files are documents already; what is shown is what Troth reads in them. */
static result document_json(const char *name, struct span bytes, enum file_kind kind, json_t **out)
{
	CLEANUP(trust_free) struct trust trust = {0};
	if (kind == FILE_TRUST) {
		TRY(trust_parse(name, bytes, &trust));
		json_t *roots = json_array();
		for (size_t i = 0; i < trust.root_count; i++) {
			char fingerprint[EPOCH_FINGERPRINT_SIZE];
			rot_fingerprint(trust.roots[i].rot_id, fingerprint);
			json_array_append_new(roots,
				json_pack("{s:s,s:o}", "fingerprint", fingerprint, "epoch",
					schema_json(&epoch_schema, &trust.roots[i].epoch)));
		}
		*out = json_pack("{s:o,s:o,s:o,s:i,s:i,s:o}", "roots", roots, "job_digest", json_hex(SPAN_ARRAY(trust.job_digest)), "job",
			schema_json(&job_schema, &trust.job), "tcb", (int)trust.tcb_count, "revoked", (int)trust.revoked_count, "expires",
			trust.has_expires ? json_time(trust.expires_ms) : json_null());
		return *out ? OK : fail(NO_MEMORY, "trust file");
	}
	*out = json_stringn((const char *)bytes.data, bytes.len);
	return *out ? OK : fail(BAD_UTF8, "%s", name);
}

static result receipt_file_json(struct span bytes, json_t **out)
{
	CLEANUP(receipt_view_free) struct receipt_view view = {0};
	TRY(receipt_view_open(bytes, &view));
	return describe_receipt(&view, out);
}

result describe_file(const char *name, struct span bytes, json_t **out)
{
	enum file_kind kind;
	TRY(describe_kind(name, bytes, &kind));
	switch (kind) {
	case FILE_RECEIPT:
		return receipt_file_json(bytes, out);
	case FILE_OBJECT:
		return any_object_json(bytes, out);
	case FILE_EPOCH:
	case FILE_HALT:
		return epoch_json(bytes, out);
	case FILE_HISTORY:
		return history_json(bytes, out);
	case FILE_CERTIFICATE:
		return certificate_json(bytes, out);
	default:
		return document_json(name, bytes, kind, out);
	}
}
