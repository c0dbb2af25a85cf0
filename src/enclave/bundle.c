#include "enclave/bundle.h"

#include <stdlib.h>

#include "crypto/x509.h"
#include "object/epoch_rules.h"
#include "object/policy_version.h"
#include "policy/references.h"
#include "policy/table.h"
#include "policy/versions.h"
#include "wire/text.h"

enum { MOST_EPOCHS = 1 << 17, MOST_PLATFORM = 1024, MOST_PROOFS = 64, ENCODE_MEMORY = 512 << 20, SHORT_HEX = 12 };

static const struct field chain_fields[] = {
	F_FIXED(struct bundle_chain, 1, rot_id),
	F_LIST(struct bundle_chain, 2, objects, object_count, &bytes_item_schema, 0, 1, MOST_EPOCHS),
};
static const struct schema chain_schema = SCHEMA(struct bundle_chain, "epochs", SHAPE_ARRAY, chain_fields);

static const struct field bundle_fields[] = {
	F_VERSION(struct bundle, 1, v, 1),
	F_LIST(struct bundle, 2, roots, root_count, &digest32_schema, FIELD_SORTED, 1, BUNDLE_MAX_ROOTS),
	F_LIST(struct bundle, 3, records, record_count, &bytes_item_schema, 0, 1, DAC_MAX_RECORDS),
	F_LIST(struct bundle, 4, certificates, certificate_count, &bytes_item_schema, FIELD_SORTED, 1, DAC_MAX_RECORDS),
	F_LIST(struct bundle, 5, reports, report_count, &bytes_item_schema, FIELD_SORTED, 1, DAC_MAX_RECORDS),
	F_LIST(struct bundle, 6, policies, policy_count, &bytes_item_schema, FIELD_SORTED, 1, DAC_MAX_RECORDS),
	F_LIST(struct bundle, 7, chains, chain_count, &chain_schema, FIELD_SORTED, 1, BUNDLE_MAX_CHAINS),
	F_LIST(struct bundle, 8, references, reference_count, &bytes_item_schema, FIELD_SORTED, 0, POLICY_MAX_REFERENCES),
	F_LIST(struct bundle, 9, platform, platform_count, &bytes_item_schema, FIELD_SORTED, 0, MOST_PLATFORM),
	F_LIST(struct bundle, 10, proofs, proof_count, &bytes_item_schema, FIELD_SORTED, 0, MOST_PROOFS),
	F_LIST(struct bundle, 11, versions, version_count, &bytes_item_schema, FIELD_SORTED, 0, POLICY_MAX_VERSIONS),
};
const struct schema bundle_schema = SCHEMA(struct bundle, "bundle", SHAPE_MAP, bundle_fields);

/* For messages: a few at once. */
static const char *short_hex(const uint8_t *bytes)
{
	static _Thread_local char texts[4][SHORT_HEX + 1];
	static _Thread_local unsigned next;
	char *text = texts[next++ % COUNT_OF(texts)];
	hex_encode(span_of(bytes, SHORT_HEX / 2), text);
	return text;
}

/* ---- Making one --------------------------------------------------------------------------------- */

/* As FIELD_SORTED asks for: byte strings of the same type, the shorter one first. */
static int compare_items(const void *a, const void *b)
{
	const struct bytes_item *x = a, *y = b;
	if (x->bytes.len != y->bytes.len)
		return x->bytes.len < y->bytes.len ? -1 : 1;
	return x->bytes.len ? memcmp(x->bytes.data, y->bytes.data, x->bytes.len) : 0;
}

/* Sorted, each once. */
static void make_set(struct bytes_item *items, size_t *count)
{
	size_t kept = 0;
	if (*count)
		qsort(items, *count, sizeof(*items), compare_items);
	for (size_t i = 0; i < *count; i++)
		if (kept == 0 || !span_equal(items[kept - 1].bytes, items[i].bytes))
			items[kept++] = items[i];
	*count = kept;
}

static result new_items(struct arena *arena, size_t count, struct bytes_item **out)
{
	void *memory;
	TRY(arena_alloc(arena, count + 1, sizeof(**out), &memory));
	*out = memory;
	return OK;
}

static result copy_set(const struct bytes_item *items, size_t count, struct arena *arena, struct bytes_item **out, size_t *out_count)
{
	TRY(new_items(arena, count, out));
	for (size_t i = 0; i < count; i++)
		(*out)[i] = items[i];
	*out_count = count;
	make_set(*out, out_count);
	return OK;
}

/* How far one root's chain must reach. */
struct reach {
	uint8_t rot_id[OID_SIZE];
	const struct epoch_chain *chain;
	size_t newest;
};

static result note_epoch(const struct bundle_parts *parts, const struct report *report, struct reach *reaches, size_t *count)
{
	struct reach *reach = NULL;
	for (size_t i = 0; i < *count; i++)
		if (memcmp(reaches[i].rot_id, report->rot_id, OID_SIZE) == 0)
			reach = &reaches[i];
	if (!reach) {
		if (*count == BUNDLE_MAX_CHAINS)
			return fail(DAC_TOO_LARGE, "more than %d roots in one chain", BUNDLE_MAX_CHAINS);
		reach = &reaches[(*count)++];
		*reach = (struct reach){.chain = parts->chain(parts->ctx, report->rot_id)};
		memcpy(reach->rot_id, report->rot_id, OID_SIZE);
		if (!reach->chain)
			return fail(DAC_UNTRUSTED_ROOT, "the epochs of the root of '%s' are not known here", report->launch.name);
	}
	for (size_t i = epoch_chain_count(reach->chain); i-- > 0;)
		if (memcmp(epoch_chain_at(reach->chain, i)->oid, report->epoch_oid, OID_SIZE) == 0) {
			reach->newest = i > reach->newest ? i : reach->newest;
			return OK;
		}
	return fail(EPOCH_FOREIGN, "the epoch of '%s' is not on the chain that is known here", report->launch.name);
}

static bool has_signed(struct span record, struct span spki)
{
	struct cose_sign object;
	uint8_t id[SHA256_SIZE];
	if (cose_strict_sign_parse(record, &object) != OK)
		return false;
	sha256(spki, id);
	for (size_t i = 0; i < object.count; i++)
		if (memcmp(object.signatures[i].kid, id, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

/* Recovery keys that signed one of these records, and no other: whoever knows more gives the same. */
static result add_keys(const struct reach *reach, struct bundle_chain *out, struct arena *arena)
{
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena scratch = arena_of(ENCODE_MEMORY);
	struct epoch_history history;
	size_t records = out->object_count;
	TRY(epoch_chain_history(reach->chain, &encoded));
	TRY(schema_decode(&epoch_history_schema, bytes_span(&encoded), &scratch, &history));
	struct bytes_item *joined;
	TRY(new_items(arena, records + history.key_count, &joined));
	for (size_t i = 0; i < records; i++)
		joined[i] = out->objects[i];
	size_t keys = 0;
	for (size_t k = 0; k < history.key_count; k++) {
		bool used = false;
		for (size_t i = 0; i < records && !used; i++)
			used = has_signed(joined[i].bytes, history.keys[k].bytes);
		if (used)
			TRY(arena_copy(arena, history.keys[k].bytes, &joined[records + keys++].bytes));
	}
	make_set(joined + records, &keys);
	out->objects = joined;
	out->object_count = records + keys;
	return OK;
}

static result put_chain(const struct reach *reach, struct arena *arena, struct bundle_chain *out)
{
	memcpy(out->rot_id, reach->rot_id, OID_SIZE);
	TRY(new_items(arena, reach->newest + 1, &out->objects));
	for (size_t i = 0; i <= reach->newest; i++)
		out->objects[i].bytes = epoch_chain_at(reach->chain, i)->record;
	out->object_count = reach->newest + 1;
	return add_keys(reach, out, arena);
}

static result fill_chains(const struct bundle_parts *parts, const size_t *closure, size_t count, struct arena *arena, struct bundle *out)
{
	struct reach reaches[BUNDLE_MAX_CHAINS];
	size_t reach_count = 0;
	void *memory;
	for (size_t i = 0; i < count; i++) {
		const struct record *record = dac_record(parts->dac, closure[i]);
		const struct report *report = dac_report_of(parts->dac, record->host_report);
		if (!report)
			return fail(DAC_UNKNOWN_REPORT, "of %s", record->enclave);
		TRY(note_epoch(parts, report, reaches, &reach_count));
	}
	TRY(arena_alloc(arena, reach_count + 1, sizeof(*out->chains), &memory));
	out->chains = memory;
	out->chain_count = reach_count;
	for (size_t i = 0; i < reach_count; i++)
		TRY(put_chain(&reaches[i], arena, &out->chains[i]));
	return schema_sort(&chain_schema, out->chains, out->chain_count);
}

static result fill_nodes(const struct bundle_parts *parts, const size_t *closure, size_t count, struct arena *arena, struct bundle *out)
{
	TRY(new_items(arena, count, &out->records));
	TRY(new_items(arena, count, &out->certificates));
	TRY(new_items(arena, count, &out->reports));
	TRY(new_items(arena, count, &out->policies));
	TRY(new_items(arena, count, &out->versions));
	for (size_t i = 0; i < count; i++) {
		const struct record *record = dac_record(parts->dac, closure[i]);
		out->records[i].bytes = dac_bytes(parts->dac, closure[i]);
		out->certificates[i].bytes = dac_certificate(parts->dac, record->certificate);
		out->reports[i].bytes = dac_report(parts->dac, record->host_report);
		const struct report *report = dac_report_of(parts->dac, record->host_report);
		if (!report)
			return fail(DAC_UNKNOWN_REPORT, "of %s", record->enclave);
		out->policies[i].bytes = parts->policy(parts->ctx, report->launch.policy_digest);
		if (memcmp(report->launch.policy_digest, record->policy_digest, SHA256_SIZE) != 0) {
			struct span version = parts->version ? parts->version(parts->ctx, record->policy_digest) : SPAN_EMPTY;
			if (version.len == 0)
				return fail(NO_POLICY, "the version of a policy that a record of %s names is not known here", record->enclave);
			out->versions[out->version_count++].bytes = version;
		}
		if (out->certificates[i].bytes.len == 0)
			return fail(DAC_UNKNOWN_CERTIFICATE, "of %s", record->enclave);
		if (out->policies[i].bytes.len == 0)
			return fail(NO_POLICY, "the policy of %s is not known here", record->enclave);
	}
	out->record_count = out->certificate_count = out->report_count = out->policy_count = count;
	make_set(out->certificates, &out->certificate_count);
	make_set(out->reports, &out->report_count);
	make_set(out->policies, &out->policy_count);
	make_set(out->versions, &out->version_count);
	return OK;
}

static result encode(const struct bundle_parts *parts, const size_t *closure, size_t count, struct arena *arena, struct bytes *out)
{
	struct bundle bundle = {.v = 1, .roots = (struct digest32 *)parts->roots, .root_count = parts->root_count};
	TRY(fill_nodes(parts, closure, count, arena, &bundle));
	TRY(fill_chains(parts, closure, count, arena, &bundle));
	TRY(copy_set(parts->references, parts->reference_count, arena, &bundle.references, &bundle.reference_count));
	TRY(copy_set(parts->platform, parts->platform_count, arena, &bundle.platform, &bundle.platform_count));
	return schema_encode(&bundle_schema, &bundle, out);
}

result bundle_encode(const struct bundle_parts *parts, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(ENCODE_MEMORY);
	size_t *closure, count;
	TRY(dac_closure(parts->dac, parts->roots, parts->root_count, &closure, &count));
	result encoded = encode(parts, closure, count, &arena, out);
	free(closure);
	return encoded;
}

/* ---- Reading one --------------------------------------------------------------------------------- */

result bundle_decode(struct span bytes, struct arena *arena, struct bundle *out)
{
	if (bytes.len > BUNDLE_FILE_MAX)
		return fail(DAC_TOO_LARGE, "a bundle of %zu bytes; at most %zu", bytes.len, BUNDLE_FILE_MAX);
	return schema_decode(&bundle_schema, bytes, arena, out);
}

result bundle_load(const struct bundle *bundle, struct dac *dac)
{
	uint8_t oid[OID_SIZE];
	for (size_t i = 0; i < bundle->certificate_count; i++) {
		result added = dac_add_certificate(dac, bundle->certificates[i].bytes, NULL);
		if (added != OK)
			return fail_within(added, "certificate %zu", i + 1);
	}
	for (size_t i = 0; i < bundle->report_count; i++) {
		result added = dac_add_report(dac, bundle->reports[i].bytes, NULL);
		if (added != OK)
			return fail_within(added, "launch report %zu", i + 1);
	}
	for (size_t i = 0; i < bundle->record_count; i++) {
		result added = dac_add_record(dac, bundle->records[i].bytes, oid);
		if (added != OK)
			return fail_within(added, "record %zu", i + 1);
		if (dac_count(dac) != i + 1)
			return fail(DAC_DUPLICATE, "record %s.. stands twice", short_hex(oid));
	}
	return OK;
}

/* A name that some record uses, or an object that is there. */
struct named {
	uint8_t name[32];
	size_t at; /* the record that uses it, or the object's place */
};

static int compare_named(const void *a, const void *b)
{
	return memcmp(((const struct named *)a)->name, ((const struct named *)b)->name, 32);
}

struct names {
	struct named *items;
	size_t count;
};

static void names_free(struct names *names)
{
	free(names->items);
}

static bool is_named(const struct names *names, const uint8_t name[static 32])
{
	struct named key;
	memcpy(key.name, name, sizeof(key.name));
	return names->count && bsearch(&key, names->items, names->count, sizeof(key), compare_named);
}

/* What a record needs: the name of something beside it; NULL: nothing of this kind. */
typedef const uint8_t *(*need)(const struct dac *dac, const struct record *record);

static const uint8_t *needs_certificate(const struct dac *dac, const struct record *record)
{
	(void)dac;
	return record->certificate;
}

static const uint8_t *needs_report(const struct dac *dac, const struct record *record)
{
	(void)dac;
	return record->host_report;
}

static const uint8_t *needs_root(const struct dac *dac, const struct record *record)
{
	(void)dac;
	return record->rot_id;
}

static const uint8_t *needs_policy(const struct dac *dac, const struct record *record)
{
	const struct report *report = dac_report_of(dac, record->host_report);
	return report ? report->launch.policy_digest : NULL;
}

static const uint8_t *needs_version(const struct dac *dac, const struct record *record)
{
	const uint8_t *launched = needs_policy(dac, record);
	return launched && memcmp(launched, record->policy_digest, SHA256_SIZE) != 0 ? record->policy_digest : NULL;
}

static result collect_names(const struct dac *dac, need need_of, struct names *out)
{
	size_t count = dac_count(dac);
	out->items = calloc(count + 1, sizeof(*out->items));
	if (!out->items)
		return fail(NO_MEMORY, "bundle");
	for (size_t i = 0; i < count; i++) {
		const uint8_t *name = need_of(dac, dac_record(dac, i));
		if (!name)
			continue;
		memcpy(out->items[out->count].name, name, 32);
		out->items[out->count++].at = i;
	}
	count = out->count;
	qsort(out->items, count, sizeof(*out->items), compare_named);
	return OK;
}

typedef result (*namer)(struct span bytes, uint8_t out[static 32]);

static result name_certificate(struct span bytes, uint8_t out[static 32])
{
	sha256(bytes, out);
	return OK;
}

static result name_report(struct span bytes, uint8_t out[static 32])
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct report report;
	return object_peek(KIND_REPORT, bytes, &arena, &report, out);
}

static result name_policy(struct span bytes, uint8_t out[static 32])
{
	return policy_digest(bytes, out);
}

/* Of the policy in a signed version; whose signature it is, is judged elsewhere. */
static result name_version(struct span bytes, uint8_t out[static 32])
{
	struct cose_sign1 object;
	CLEANUP(arena_free) struct arena arena = arena_of(32 << 20);
	struct policy_version_object version;
	TRY(cose_strict_sign1_parse(bytes, &object));
	TRY(schema_decode(&policy_version_schema, object.payload, &arena, &version));
	return policy_digest(version.policy, out);
}

/* Exactly the objects that records name, no matter how often. */
static result require_exactly(const struct dac *dac, need need_of, const struct bytes_item *items, size_t count, namer name_of,
	enum reason missing, const char *what)
{
	CLEANUP(names_free) struct names wanted = {0};
	CLEANUP(names_free) struct names here = {calloc(count + 1, sizeof(struct named)), count};
	TRY(collect_names(dac, need_of, &wanted));
	if (!here.items)
		return fail(NO_MEMORY, "bundle");
	for (size_t i = 0; i < count; i++) {
		TRY(name_of(items[i].bytes, here.items[i].name));
		if (!is_named(&wanted, here.items[i].name))
			return fail(DAC_EXTRA_NODE, "%s %s.. that no record names", what, short_hex(here.items[i].name));
	}
	qsort(here.items, count, sizeof(*here.items), compare_named);
	for (size_t i = 1; i < count; i++)
		if (compare_named(&here.items[i - 1], &here.items[i]) == 0)
			return fail(DAC_DUPLICATE, "%s %s.. stands twice", what, short_hex(here.items[i].name));
	for (size_t i = 0; i < wanted.count; i++)
		if (!is_named(&here, wanted.items[i].name))
			return fail(missing, "record %s.. names %s %s.., which is not here",
				short_hex(dac_oid(dac, wanted.items[i].at)), what, short_hex(wanted.items[i].name));
	return OK;
}

static result require_chains(const struct bundle *bundle, const struct dac *dac)
{
	CLEANUP(names_free) struct names wanted = {0};
	CLEANUP(names_free) struct names here = {calloc(bundle->chain_count + 1, sizeof(struct named)), bundle->chain_count};
	TRY(collect_names(dac, needs_root, &wanted));
	if (!here.items)
		return fail(NO_MEMORY, "bundle");
	for (size_t i = 0; i < bundle->chain_count; i++) {
		memcpy(here.items[i].name, bundle->chains[i].rot_id, OID_SIZE);
		if (!is_named(&wanted, here.items[i].name))
			return fail(DAC_EXTRA_NODE, "epochs of root %s.. that no record names", short_hex(here.items[i].name));
		if (i && memcmp(bundle->chains[i - 1].rot_id, bundle->chains[i].rot_id, OID_SIZE) >= 0)
			return fail(DAC_DUPLICATE, "epochs of root %s.. stand twice", short_hex(here.items[i].name));
	}
	for (size_t i = 0; i < wanted.count; i++)
		if (!is_named(&here, wanted.items[i].name))
			return fail(DAC_UNTRUSTED_ROOT, "record %s.. is of root %s.., whose epochs are not here",
				short_hex(dac_oid(dac, wanted.items[i].at)), short_hex(wanted.items[i].name));
	return OK;
}

static result require_roots(const struct bundle *bundle, const struct dac *dac)
{
	for (size_t i = 0; i < bundle->root_count; i++)
		if (dac_find(dac, bundle->roots[i].bytes) == SIZE_MAX)
			return fail(DAC_MISSING_PARENT, "the result %s.. is not in the bundle", short_hex(bundle->roots[i].bytes));
	return OK;
}

static result require_parents(const struct dac *dac)
{
	for (size_t i = 0; i < dac_count(dac); i++) {
		const struct record *record = dac_record(dac, i);
		for (size_t p = 0; p < record->parent_count; p++) {
			if (dac_find(dac, record->parents[p].oid) != SIZE_MAX)
				continue;
			return fail(DAC_MISSING_PARENT, "record %s.. names %s.., which is not in the bundle", short_hex(dac_oid(dac, i)),
				short_hex(record->parents[p].oid));
		}
	}
	return OK;
}

/* Exactly the closure, in its order. */
static result require_order(const struct bundle *bundle, const struct dac *dac, const size_t *closure, size_t count)
{
	if (count != bundle->record_count) {
		uint8_t *wanted = calloc(bundle->record_count + 1, 1);
		size_t extra = 0;
		if (!wanted)
			return fail(NO_MEMORY, "bundle");
		for (size_t i = 0; i < count; i++)
			wanted[closure[i]] = 1;
		while (extra < bundle->record_count && wanted[extra])
			extra++;
		free(wanted);
		return fail(DAC_EXTRA_NODE, "no result depends on record %s..", short_hex(dac_oid(dac, extra)));
	}
	for (size_t i = 0; i < count; i++)
		if (closure[i] != i)
			return fail(NOT_DETERMINISTIC, "record %s.. stands out of order", short_hex(dac_oid(dac, i)));
	return OK;
}

result bundle_check(const struct bundle *bundle, const struct dac *dac)
{
	size_t *closure, count;
	TRY(require_roots(bundle, dac));
	TRY(require_parents(dac));
	TRY(dac_closure(dac, bundle->roots, bundle->root_count, &closure, &count));
	result ordered = require_order(bundle, dac, closure, count);
	free(closure);
	TRY(ordered);
	TRY(require_exactly(dac, needs_certificate, bundle->certificates, bundle->certificate_count, name_certificate,
		DAC_UNKNOWN_CERTIFICATE, "certificate"));
	TRY(require_exactly(dac, needs_report, bundle->reports, bundle->report_count, name_report,
		DAC_UNKNOWN_REPORT, "launch report"));
	TRY(require_exactly(dac, needs_policy, bundle->policies, bundle->policy_count, name_policy, NO_POLICY,
		"policy"));
	TRY(require_exactly(dac, needs_version, bundle->versions, bundle->version_count, name_version, DAC_REPORT_MISMATCH,
		"policy version"));
	return require_chains(bundle, dac);
}
