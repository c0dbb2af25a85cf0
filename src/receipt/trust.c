#include "receipt/trust.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "object/epoch_rules.h"
#include "wire/document.h"
#include "wire/text.h"

enum { TRUST_MEMORY = 64 << 20, MAX_INCEPTION = 16 * 1024, MAX_CERTIFICATE = 64 * 1024, DEFAULT_MAX_RUN_S = 24 * 3600, DEFAULT_SKEW_S = 60 };

void trust_free(struct trust *trust)
{
	for (size_t i = 0; i < trust->root_count; i++)
		key_free(&trust->roots[i].sign);
	arena_free(&trust->arena);
	*trust = (struct trust){0};
}

/* ---- Reading ------------------------------------------------------------------------------------- */

struct source {
	const struct document *document;
	struct trust *trust;
};

static result alloc(struct trust *trust, size_t count, size_t size, void *out)
{
	void *at;
	TRY(arena_alloc(&trust->arena, count ? count : 1, size, &at));
	memcpy(out, &at, sizeof(at));
	return OK;
}

static result read_text(struct source *s, const struct node *map, const char *field, const char **out)
{
	const char *text;
	TRY(node_text(s->document, node_field(map, field), &text));
	return arena_string(&s->trust->arena, span_str(text), out);
}

static result read_name(struct source *s, const struct node *map, const char *field, const char **out)
{
	TRY(read_text(s, map, field, out));
	if (!name_is_valid(*out))
		return document_fail(s->document, node_field(map, field), BAD_NAME, "'%s' is not a name", *out);
	return OK;
}

static result read_list(struct source *s, const struct node *map, const char *field, const struct node **out)
{
	*out = node_field(map, field);
	if ((*out)->kind != NODE_LIST)
		return document_fail(s->document, *out, BAD_TYPE, "'%s' must be a list", field);
	return OK;
}

static result read_hex(struct source *s, const struct node *map, const char *field, uint8_t *out, size_t len)
{
	return node_hex(s->document, node_field(map, field), out, len);
}

static result read_root(struct source *s, const struct node *map, struct trust_root *root)
{
	static const char *const fields[] = {"!inception", "fingerprint", NULL};
	TRY(document_fields(s->document, map, fields));
	const struct node *node = node_field(map, "inception");
	const char *hex;
	TRY(node_text(s->document, node, &hex));
	size_t len = strlen(hex) / 2;
	uint8_t *bytes;
	if (len == 0 || len > MAX_INCEPTION)
		return document_fail(s->document, node, BAD_VALUE, "an inception record of %zu bytes", len);
	TRY(alloc(s->trust, len, 1, &bytes));
	TRY(node_hex(s->document, node, bytes, len));
	root->inception = span_of(bytes, len);
	result opened = epoch_open_inception(root->inception, &s->trust->arena, &root->epoch, root->rot_id);
	if (opened != OK)
		return fail_within(opened, "%s:%u:%u: inception", s->document->name, node->line, node->column);
	if ((node = node_field(map, "fingerprint"))) {
		char expected[EPOCH_FINGERPRINT_SIZE];
		const char *text;
		rot_fingerprint(root->rot_id, expected);
		TRY(node_text(s->document, node, &text));
		if (strcmp(text, expected) != 0)
			return document_fail(s->document, node, BAD_VALUE, "the fingerprint is not that of the record");
	}
	return key_from_point(SPAN_ARRAY(root->epoch.sign_pk), &root->sign);
}

static result read_roots(struct source *s, const struct node *root)
{
	const struct node *list;
	TRY(read_list(s, root, "roots", &list));
	if (list->count == 0)
		return document_fail(s->document, list, BAD_VALUE, "a trust file without roots trusts nobody");
	TRY(alloc(s->trust, list->count, sizeof(*s->trust->roots), &s->trust->roots));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_root(s, &list->children[i], &s->trust->roots[i]));
		s->trust->root_count = i + 1;
	}
	return OK;
}

static size_t recovery_count(const struct trust_root *root)
{
	return root->epoch.has_recovery ? root->epoch.recovery.key_count : 0;
}

static bool has_key(const struct digest32 *keys, size_t count, const uint8_t *id)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(keys[i].bytes, id, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

static bool is_recovery_key(const struct trust *trust, const uint8_t *id)
{
	for (size_t r = 0; r < trust->root_count; r++)
		if (has_key(trust->roots[r].epoch.recovery.keys, recovery_count(&trust->roots[r]), id))
			return true;
	return false;
}

/* The recovery keys that the auditor knows must be those that the roots name: all of each, and no other. */
static result read_recovery(struct source *s, const struct node *root)
{
	const struct node *list;
	struct trust *trust = s->trust;
	TRY(read_list(s, root, "recovery_keys", &list));
	TRY(alloc(trust, list->count, sizeof(*trust->recovery_keys), &trust->recovery_keys));
	for (size_t i = 0; i < list->count; i++)
		TRY(node_hex(s->document, &list->children[i], trust->recovery_keys[i].bytes, KEY_ID_SIZE));
	trust->recovery_key_count = list->count;
	TRY(schema_sort(&digest32_schema, trust->recovery_keys, list->count));
	for (size_t r = 0; r < trust->root_count; r++)
		for (size_t i = 0; i < recovery_count(&trust->roots[r]); i++)
			if (!has_key(trust->recovery_keys, list->count, trust->roots[r].epoch.recovery.keys[i].bytes))
				return document_fail(s->document, list, BAD_VALUE, "the root names other recovery keys than this file");
	for (size_t i = 0; i < list->count; i++)
		if (!is_recovery_key(trust, trust->recovery_keys[i].bytes))
			return document_fail(s->document, &list->children[i], BAD_VALUE, "no root names this recovery key");
	return OK;
}

/* A list of byte strings in hex; an absent one is empty. */
static result read_hex_list(struct source *s, const struct node *list, size_t longest, struct span **out, size_t *out_count)
{
	struct span *items;
	if (!list)
		return OK;
	if (list->kind != NODE_LIST)
		return document_fail(s->document, list, BAD_TYPE, "%s", "a list of byte strings in hex is wanted here");
	TRY(alloc(s->trust, list->count, sizeof(*items), &items));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		const char *hex;
		uint8_t *bytes;
		TRY(node_text(s->document, node, &hex));
		size_t len = strlen(hex) / 2;
		if (len == 0 || len > longest)
			return document_fail(s->document, node, BAD_VALUE, "%zu bytes", len);
		TRY(alloc(s->trust, len, 1, &bytes));
		TRY(node_hex(s->document, node, bytes, len));
		items[i] = span_of(bytes, len);
	}
	*out = items;
	*out_count = list->count;
	return OK;
}

static result read_recovery_spki(struct source *s, const struct node *list)
{
	struct trust *trust = s->trust;
	TRY(read_hex_list(s, list, SPKI_SIZE, &trust->recovery_spki, &trust->recovery_spki_count));
	for (size_t i = 0; i < trust->recovery_spki_count; i++) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		if (key_from_spki(trust->recovery_spki[i], &key) != OK)
			return document_fail(s->document, &list->children[i], BAD_KEY, "%s", "not the DER SubjectPublicKeyInfo of a P-256 key");
	}
	return OK;
}

static bool is_root(const struct trust *trust, const uint8_t rot_id[static OID_SIZE])
{
	for (size_t i = 0; i < trust->root_count; i++)
		if (memcmp(trust->roots[i].rot_id, rot_id, OID_SIZE) == 0)
			return true;
	return false;
}

/* One that belongs to no root of the file would be believed to count and would not. */
static result read_epochs(struct source *s, const struct node *list)
{
	struct trust *trust = s->trust;
	TRY(read_hex_list(s, list, EPOCH_RECORD_MAX, &trust->epochs, &trust->epoch_count));
	for (size_t i = 0; i < trust->epoch_count; i++) {
		uint8_t rot_id[OID_SIZE];
		result read = epoch_object_root(trust->epochs[i], rot_id);
		if (read != OK)
			return document_fail(s->document, &list->children[i], read, "no epoch record and no HALT: %s", failure_text());
		if (!is_root(trust, rot_id))
			return document_fail(s->document, &list->children[i], EPOCH_FOREIGN, "%s", "an epoch record or HALT of a root that the file does not name");
	}
	return OK;
}

static result read_tcbs(struct source *s, const struct node *root)
{
	static const char *const fields[] = {"!register0", "!register1", NULL};
	const struct node *list;
	struct trust *trust = s->trust;
	TRY(read_list(s, root, "tcb", &list));
	if (list->count == 0)
		return document_fail(s->document, list, BAD_VALUE, "no expected values of registers 0 and 1");
	TRY(alloc(trust, list->count, sizeof(*trust->tcbs), &trust->tcbs));
	for (size_t i = 0; i < list->count; i++) {
		TRY(document_fields(s->document, &list->children[i], fields));
		TRY(read_hex(s, &list->children[i], "register0", trust->tcbs[i].register0, SHA384_SIZE));
		TRY(read_hex(s, &list->children[i], "register1", trust->tcbs[i].register1, SHA384_SIZE));
	}
	trust->tcb_count = list->count;
	return OK;
}

static result read_enclaves(struct source *s, const struct node *map)
{
	static const char *const fields[] = {"!name", "!core", "!measurement", "!policy_digest", "host", NULL};
	const struct node *list;
	struct job *job = &s->trust->job;
	TRY(read_list(s, map, "enclaves", &list));
	TRY(alloc(s->trust, list->count, sizeof(*job->enclaves), &job->enclaves));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		struct job_enclave *enclave = &job->enclaves[i];
		TRY(document_fields(s->document, node, fields));
		TRY(read_name(s, node, "name", &enclave->name));
		TRY(read_hex(s, node, "core", enclave->core, SHA384_SIZE));
		TRY(read_hex(s, node, "measurement", enclave->measurement, SHA384_SIZE));
		TRY(read_hex(s, node, "policy_digest", enclave->policy_digest, SHA256_SIZE));
		if (node_field(node, "host"))
			TRY(read_name(s, node, "host", &enclave->host));
	}
	job->enclave_count = list->count;
	return OK;
}

static result read_edges(struct source *s, const struct node *map)
{
	static const char *const fields[] = {"!name", "!from", "!output", "!to", "!input", "!operation", "call", NULL};
	const struct node *list, *call;
	struct job *job = &s->trust->job;
	TRY(read_list(s, map, "edges", &list));
	TRY(alloc(s->trust, list->count, sizeof(*job->edges), &job->edges));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		struct job_edge *edge = &job->edges[i];
		TRY(document_fields(s->document, node, fields));
		TRY(read_name(s, node, "name", &edge->name));
		TRY(read_name(s, node, "from", &edge->from));
		TRY(read_name(s, node, "output", &edge->output));
		TRY(read_name(s, node, "to", &edge->to));
		TRY(read_name(s, node, "input", &edge->input));
		TRY(read_name(s, node, "operation", &edge->operation));
		if ((call = node_field(node, "call")))
			TRY(node_bool(s->document, call, &edge->call));
	}
	job->edge_count = list->count;
	return OK;
}

static result read_inputs(struct source *s, const struct node *map)
{
	static const char *const fields[] = {"!role", "!enclave", "!input", "!secret", NULL};
	const struct node *list;
	struct job *job = &s->trust->job;
	TRY(read_list(s, map, "inputs", &list));
	TRY(alloc(s->trust, list->count, sizeof(*job->inputs), &job->inputs));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		struct job_input *input = &job->inputs[i];
		TRY(document_fields(s->document, node, fields));
		TRY(read_name(s, node, "role", &input->role));
		TRY(read_name(s, node, "enclave", &input->enclave));
		TRY(read_name(s, node, "input", &input->input));
		TRY(node_bool(s->document, node_field(node, "secret"), &input->secret));
	}
	job->input_count = list->count;
	return OK;
}

static result read_outputs(struct source *s, const struct node *map)
{
	static const char *const fields[] = {"!name", "!enclave", "!output", "!file", "!statement", "!media_type", NULL};
	const struct node *list;
	struct job *job = &s->trust->job;
	TRY(read_list(s, map, "outputs", &list));
	TRY(alloc(s->trust, list->count, sizeof(*job->outputs), &job->outputs));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		struct job_output *output = &job->outputs[i];
		TRY(document_fields(s->document, node, fields));
		TRY(read_name(s, node, "name", &output->name));
		TRY(read_name(s, node, "enclave", &output->enclave));
		TRY(read_name(s, node, "output", &output->output));
		TRY(read_text(s, node, "file", &output->file));
		TRY(node_bool(s->document, node_field(node, "statement"), &output->statement));
		TRY(read_text(s, node, "media_type", &output->media_type));
	}
	job->output_count = list->count;
	return OK;
}

static result read_externals(struct source *s, const struct node *map)
{
	static const char *const fields[] = {"!name", "!spki", "uri", "show", NULL};
	const struct node *list, *uri, *show;
	struct job *job = &s->trust->job;
	TRY(read_list(s, map, "externals", &list));
	TRY(alloc(s->trust, list->count, sizeof(*job->externals), &job->externals));
	for (size_t i = 0; i < list->count; i++) {
		TRY(document_fields(s->document, &list->children[i], fields));
		TRY(read_name(s, &list->children[i], "name", &job->externals[i].name));
		TRY(read_hex(s, &list->children[i], "spki", job->externals[i].spki, KEY_ID_SIZE));
		if ((uri = node_field(&list->children[i], "uri")))
			TRY(node_text(s->document, uri, &job->externals[i].uri));
		if ((show = node_field(&list->children[i], "show")))
			TRY(node_text(s->document, show, &job->externals[i].shown));
	}
	job->external_count = list->count;
	return OK;
}

/* The lists must be those of the digest: a file whose parts disagree would say two things. */
static result check_job_digest(struct source *s, const struct node *map)
{
	struct trust *trust = s->trust;
	uint8_t digest[SHA256_SIZE];
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	if (schema_encode(&job_schema, &trust->job, &encoding) != OK)
		return document_fail(s->document, map, BAD_VALUE, "the job's lists are not in order: %s", failure_text());
	job_digest(bytes_span(&encoding), digest);
	if (memcmp(digest, trust->job_digest, sizeof(digest)) != 0)
		return document_fail(s->document, map, DIGEST_MISMATCH, "the job's parts do not have the digest that is given");
	return OK;
}

/* Only in a job of several hosts. */
static result read_hosts(struct source *s, const struct node *map)
{
	static const char *const fields[] = {"!name", "!rot_id", NULL};
	const struct node *list;
	struct job *job = &s->trust->job;
	if (!node_field(map, "hosts"))
		return job_check_hosts(job);
	TRY(read_list(s, map, "hosts", &list));
	TRY(alloc(s->trust, list->count, sizeof(*job->hosts), &job->hosts));
	for (size_t i = 0; i < list->count; i++) {
		TRY(document_fields(s->document, &list->children[i], fields));
		TRY(read_name(s, &list->children[i], "name", &job->hosts[i].name));
		TRY(read_hex(s, &list->children[i], "rot_id", job->hosts[i].rot_id, OID_SIZE));
	}
	job->host_count = list->count;
	result checked = job_check_hosts(job);
	return checked == OK ? OK : fail_within(checked, "%s:%u:%u: hosts", s->document->name, list->line, list->column);
}

static result read_job(struct source *s, const struct node *root)
{
	static const char *const fields[] = {"!name", "!digest", "!enclaves", "!edges", "!inputs", "!outputs", "!externals", "hosts", NULL};
	const struct node *map = node_field(root, "job");
	TRY(document_fields(s->document, map, fields));
	s->trust->job.v = 1;
	TRY(read_name(s, map, "name", &s->trust->job.name));
	TRY(read_hex(s, map, "digest", s->trust->job_digest, SHA256_SIZE));
	TRY(read_enclaves(s, map));
	TRY(read_edges(s, map));
	TRY(read_inputs(s, map));
	TRY(read_outputs(s, map));
	TRY(read_externals(s, map));
	TRY(read_hosts(s, map));
	s->trust->has_job = true;
	return check_job_digest(s, map);
}

static result read_revoked(struct source *s, const struct node *root)
{
	const struct node *list;
	struct trust *trust = s->trust;
	TRY(read_list(s, root, "revoked", &list));
	TRY(alloc(trust, list->count, sizeof(*trust->revoked), &trust->revoked));
	for (size_t i = 0; i < list->count; i++)
		TRY(node_hex(s->document, &list->children[i], trust->revoked[i].value, SHA384_SIZE));
	trust->revoked_count = list->count;
	return OK;
}

/* Sections of later parts: they must be there, and empty in a file of this version. */
static result read_reserved(struct source *s, const struct node *root)
{
	static const char *const names[] = {"ledger", "guests", "services"};
	static const char *const nothing[] = {NULL};
	for (size_t i = 0; i < COUNT_OF(names); i++)
		TRY(document_fields(s->document, node_field(root, names[i]), nothing));
	return OK;
}

/* Whose reference sets may say which code a policy meant. */
/* Files of before have no such field. */
static result read_revocation_keys(struct source *s, const struct node *list)
{
	struct trust *trust = s->trust;
	if (!list)
		return OK;
	if (list->kind != NODE_LIST)
		return document_fail(s->document, list, BAD_TYPE, "'revocation_keys' must be a list");
	TRY(alloc(trust, list->count, sizeof(*trust->revocation_keys), &trust->revocation_keys));
	for (size_t i = 0; i < list->count; i++)
		TRY(node_hex(s->document, &list->children[i], trust->revocation_keys[i].bytes, KEY_ID_SIZE));
	trust->revocation_key_count = list->count;
	return OK;
}

static result read_authors(struct source *s, const struct node *root)
{
	const struct node *list;
	struct trust *trust = s->trust;
	TRY(read_list(s, root, "authors", &list));
	TRY(alloc(trust, list->count, sizeof(*trust->authors), &trust->authors));
	for (size_t i = 0; i < list->count; i++)
		TRY(node_hex(s->document, &list->children[i], trust->authors[i].bytes, KEY_ID_SIZE));
	trust->author_count = list->count;
	return OK;
}

static result read_tpm_roots(struct source *s, const struct node *list, struct platform_trust *out)
{
	TRY(alloc(s->trust, list->count, sizeof(*out->roots), &out->roots));
	for (size_t i = 0; i < list->count; i++) {
		const char *hex;
		TRY(node_text(s->document, &list->children[i], &hex));
		size_t len = strlen(hex) / 2;
		uint8_t *der;
		if (len == 0 || len > MAX_CERTIFICATE)
			return document_fail(s->document, &list->children[i], BAD_VALUE, "%s", "a certificate in hex (DER)");
		TRY(alloc(s->trust, len, 1, &der));
		TRY(node_hex(s->document, &list->children[i], der, len));
		out->roots[i].bytes = span_of(der, len);
	}
	out->root_count = list->count;
	return OK;
}

static result read_tpm_enrolled(struct source *s, const struct node *list, struct platform_trust *out)
{
	static const char *const fields[] = {"!ak", "!ek", NULL};
	TRY(alloc(s->trust, list->count, sizeof(*out->enrolled), &out->enrolled));
	for (size_t i = 0; i < list->count; i++) {
		TRY(document_fields(s->document, &list->children[i], fields));
		TRY(read_hex(s, &list->children[i], "ak", out->enrolled[i].ak, SHA256_SIZE));
		TRY(read_hex(s, &list->children[i], "ek", out->enrolled[i].ek, SHA256_SIZE));
	}
	out->enrolled_count = list->count;
	return OK;
}

static result read_tpm_pcrs(struct source *s, const struct node *list, struct platform_trust *out)
{
	static const char *const fields[] = {"!pcr", "!value", NULL};
	TRY(alloc(s->trust, list->count, sizeof(*out->pcrs), &out->pcrs));
	for (size_t i = 0; i < list->count; i++) {
		uint64_t index;
		TRY(document_fields(s->document, &list->children[i], fields));
		TRY(node_uint(s->document, node_field(&list->children[i], "pcr"), 23, &index));
		out->pcrs[i].index = (uint8_t)index;
		TRY(read_hex(s, &list->children[i], "value", out->pcrs[i].value, SHA256_SIZE));
	}
	out->pcr_count = list->count;
	return OK;
}

/* Which TPMs vouch: certificates of makers, enrolled keys, and, if wanted, what a machine must have booted. */
static result read_tpm(struct source *s, const struct node *tpm)
{
	static const char *const fields[] = {"!roots", "!enrolled", "pcrs", NULL};
	struct platform_trust *platform = &s->trust->platform;
	const struct node *list;
	if (!tpm)
		return OK;
	TRY(document_fields(s->document, tpm, fields));
	TRY(read_list(s, tpm, "roots", &list));
	TRY(read_tpm_roots(s, list, platform));
	TRY(read_list(s, tpm, "enrolled", &list));
	TRY(read_tpm_enrolled(s, list, platform));
	if (!node_field(tpm, "pcrs"))
		return OK;
	TRY(read_list(s, tpm, "pcrs", &list));
	return read_tpm_pcrs(s, list, platform);
}

static result read_bounds(struct source *s, const struct node *root)
{
	struct trust *trust = s->trust;
	uint64_t seconds;
	TRY(node_uint(s->document, node_field(root, "max_run_s"), 366 * 86400, &seconds));
	trust->max_run_ms = seconds * 1000;
	TRY(node_uint(s->document, node_field(root, "skew_s"), 86400, &seconds));
	trust->skew_ms = seconds * 1000;
	TRY(node_bool(s->document, node_field(root, "allow_synthetic"), &trust->allow_synthetic));
	if (node_field(root, "require_tpm_head"))
		TRY(node_bool(s->document, node_field(root, "require_tpm_head"), &trust->require_tpm_head));
	const struct node *expires = node_field(root, "expires");
	if (!expires)
		return OK;
	const char *text;
	TRY(node_text(s->document, expires, &text));
	if (clock_parse(text, &trust->expires_ms) != OK)
		return document_fail(s->document, expires, BAD_VALUE, "%s", "'expires' is a time like 2027-11-21T15:47:31Z");
	trust->has_expires = true;
	return OK;
}

static result read_trust(struct source *s)
{
	static const char *const fields[] = {"!troth_trust", "!roots", "!recovery_keys", "!tcb", "!job", "!authors", "!revoked", "revocation_keys",
		"recovery_spki", "epochs", "tpm", "require_tpm_head", "!allow_synthetic", "!max_run_s", "!skew_s", "expires", "!ledger", "!guests", "!services", NULL};
	const struct node *root = s->document->root;
	uint64_t version;
	TRY(document_fields(s->document, root, fields));
	TRY(node_uint(s->document, node_field(root, "troth_trust"), UINT32_MAX, &version));
	if (version != 1)
		return document_fail(
			s->document, node_field(root, "troth_trust"), UNKNOWN_VERSION, "version %llu", (unsigned long long)version);
	TRY(read_roots(s, root));
	TRY(read_recovery(s, root));
	TRY(read_recovery_spki(s, node_field(root, "recovery_spki")));
	TRY(read_epochs(s, node_field(root, "epochs")));
	TRY(read_tcbs(s, root));
	TRY(read_job(s, root));
	TRY(read_authors(s, root));
	TRY(read_revocation_keys(s, node_field(root, "revocation_keys")));
	TRY(read_revoked(s, root));
	TRY(read_reserved(s, root));
	TRY(read_tpm(s, node_field(root, "tpm")));
	TRY(read_bounds(s, root));
	s->trust->platform.allow_synthetic = s->trust->allow_synthetic;
	return OK;
}

static result read_document(const struct document *document, struct trust *out)
{
	struct trust trust = {.arena = arena_of(TRUST_MEMORY)};
	struct source source = {document, &trust};
	result read = read_trust(&source);
	if (read != OK) {
		trust_free(&trust);
		return read;
	}
	*out = trust;
	return OK;
}

result trust_parse(const char *name, struct span text, struct trust *out)
{
	CLEANUP(document_free) struct document document = {0};
	TRY(document_parse(name, text, TRUST_MEMORY, &document));
	return read_document(&document, out);
}

result trust_load(const char *path, struct trust *out)
{
	CLEANUP(document_free) struct document document = {0};
	TRY(document_load(path, TRUST_FILE_MAX, &document));
	return read_document(&document, out);
}

const struct trust_root *trust_root_find(const struct trust *trust, const uint8_t rot_id[static OID_SIZE])
{
	for (size_t i = 0; i < trust->root_count; i++)
		if (memcmp(trust->roots[i].rot_id, rot_id, OID_SIZE) == 0)
			return &trust->roots[i];
	return NULL;
}

/* ---- Writing ------------------------------------------------------------------------------------- */

static json_t *hex_json(const uint8_t *bytes, size_t len)
{
	char *hex = malloc(2 * len + 1);
	if (!hex)
		return NULL;
	hex_encode(span_of(bytes, len), hex);
	json_t *text = json_string(hex);
	free(hex);
	return text;
}

static json_t *enclaves_json(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->enclave_count; i++) {
		const struct job_enclave *e = &job->enclaves[i];
		json_t *row = json_pack("{s:s,s:o,s:o,s:o}", "name", e->name, "core", hex_json(e->core, SHA384_SIZE), "measurement",
			hex_json(e->measurement, SHA384_SIZE), "policy_digest", hex_json(e->policy_digest, SHA256_SIZE));
		if (e->host)
			json_object_set_new(row, "host", json_string(e->host));
		json_array_append_new(list, row);
	}
	return list;
}

static json_t *edges_json(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->edge_count; i++) {
		const struct job_edge *e = &job->edges[i];
		json_t *edge = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "name", e->name, "from", e->from, "output", e->output, "to", e->to, "input",
			e->input, "operation", e->operation);
		if (e->call)
			json_object_set_new(edge, "call", json_true());
		json_array_append_new(list, edge);
	}
	return list;
}

static json_t *inputs_json(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->input_count; i++) {
		const struct job_input *e = &job->inputs[i];
		json_array_append_new(list,
			json_pack("{s:s,s:s,s:s,s:b}", "role", e->role, "enclave", e->enclave, "input", e->input, "secret", e->secret));
	}
	return list;
}

static json_t *outputs_json(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->output_count; i++) {
		const struct job_output *e = &job->outputs[i];
		json_array_append_new(list,
			json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "name", e->name, "enclave", e->enclave, "output", e->output, "file", e->file,
				"statement", e->statement, "media_type", e->media_type));
	}
	return list;
}

static json_t *externals_json(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->external_count; i++) {
		const struct job_external *external = &job->externals[i];
		json_t *row = json_pack("{s:s,s:o}", "name", external->name, "spki", hex_json(external->spki, KEY_ID_SIZE));
		if (external->uri)
			json_object_set_new(row, "uri", json_string(external->uri));
		if (external->shown)
			json_object_set_new(row, "show", json_string(external->shown));
		json_array_append_new(list, row);
	}
	return list;
}

static json_t *hosts_json(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->host_count; i++)
		json_array_append_new(list,
			json_pack("{s:s,s:o}", "name", job->hosts[i].name, "rot_id", hex_json(job->hosts[i].rot_id, OID_SIZE)));
	return list;
}

static json_t *job_json(const struct trust_parts *parts)
{
	const struct job *job = parts->job;
	json_t *json = json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "name", job->name, "digest", hex_json(parts->job_digest, SHA256_SIZE), "enclaves",
		enclaves_json(job), "edges", edges_json(job), "inputs", inputs_json(job), "outputs", outputs_json(job), "externals",
		externals_json(job));
	if (job->host_count)
		json_object_set_new(json, "hosts", hosts_json(job));
	return json;
}

static result roots_json(const struct trust_parts *parts, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	json_t *list = json_array();
	for (size_t i = 0; i < parts->inception_count; i++) {
		struct epoch epoch;
		uint8_t rot_id[OID_SIZE];
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		result opened = epoch_open_inception(parts->inceptions[i], &arena, &epoch, rot_id);
		if (opened != OK) {
			json_decref(list);
			return fail_within(opened, "inception record %zu", i + 1);
		}
		rot_fingerprint(rot_id, fingerprint);
		json_array_append_new(list,
			json_pack("{s:o,s:s}", "inception", hex_json(parts->inceptions[i].data, parts->inceptions[i].len), "fingerprint",
				fingerprint));
	}
	*out = list;
	return OK;
}

static json_t *digests_json(const struct digest32 *digests, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, hex_json(digests[i].bytes, 32));
	return list;
}

static json_t *spans_json(const struct span *items, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, hex_json(items[i].data, items[i].len));
	return list;
}

static json_t *tcbs_json(const struct trust_parts *parts)
{
	json_t *list = json_array();
	for (size_t i = 0; i < parts->tcb_count; i++)
		json_array_append_new(list,
			json_pack("{s:o,s:o}", "register0", hex_json(parts->tcbs[i].register0, SHA384_SIZE), "register1",
				hex_json(parts->tcbs[i].register1, SHA384_SIZE)));
	return list;
}

static json_t *tpm_json(const struct platform_trust *platform)
{
	json_t *roots = json_array(), *enrolled = json_array(), *pcrs = json_array();
	for (size_t i = 0; i < platform->root_count; i++)
		json_array_append_new(roots, hex_json(platform->roots[i].bytes.data, platform->roots[i].bytes.len));
	for (size_t i = 0; i < platform->enrolled_count; i++)
		json_array_append_new(enrolled,
			json_pack("{s:o,s:o}", "ak", hex_json(platform->enrolled[i].ak, SHA256_SIZE), "ek",
				hex_json(platform->enrolled[i].ek, SHA256_SIZE)));
	for (size_t i = 0; i < platform->pcr_count; i++)
		json_array_append_new(pcrs,
			json_pack("{s:i,s:o}", "pcr", platform->pcrs[i].index, "value", hex_json(platform->pcrs[i].value, SHA256_SIZE)));
	return json_pack("{s:o,s:o,s:o}", "roots", roots, "enrolled", enrolled, "pcrs", pcrs);
}

result trust_write(const struct trust_parts *parts, struct bytes *out_text)
{
	json_t *roots;
	TRY(roots_json(parts, &roots));
	json_t *file = json_pack("{s:i,s:o,s:o,s:o,s:o,s:o,s:[],s:b,s:I,s:I}", "troth_trust", 1, "roots", roots, "recovery_keys",
		digests_json(parts->recovery_keys, parts->recovery_key_count), "tcb", tcbs_json(parts), "job", job_json(parts), "authors",
		digests_json(parts->authors, parts->author_count),
		"revoked", "allow_synthetic", parts->platform && parts->platform->allow_synthetic, "max_run_s", (json_int_t)(parts->max_run_s ? parts->max_run_s : DEFAULT_MAX_RUN_S),
		"skew_s", (json_int_t)(parts->skew_s ? parts->skew_s : DEFAULT_SKEW_S));
	if (!file)
		return fail(NO_MEMORY, "trust file");
	if (parts->require_tpm_head)
		json_object_set_new(file, "require_tpm_head", json_true());
	if (parts->revocation_key_count)
		json_object_set_new(file, "revocation_keys", digests_json(parts->revocation_keys, parts->revocation_key_count));
	if (parts->recovery_spki_count)
		json_object_set_new(file, "recovery_spki", spans_json(parts->recovery_spki, parts->recovery_spki_count));
	if (parts->epoch_count)
		json_object_set_new(file, "epochs", spans_json(parts->epochs, parts->epoch_count));
	if (parts->platform)
		json_object_set_new(file, "tpm", tpm_json(parts->platform));
	if (parts->expires)
		json_object_set_new(file, "expires", json_string(parts->expires));
	json_object_set_new(file, "ledger", json_object());
	json_object_set_new(file, "guests", json_object());
	json_object_set_new(file, "services", json_object());
	char *text = json_dumps(file, JSON_INDENT(2));
	json_decref(file);
	if (!text)
		return fail(NO_MEMORY, "trust file");
	result copied = bytes_copy(span_str(text), out_text);
	free(text);
	return copied;
}
