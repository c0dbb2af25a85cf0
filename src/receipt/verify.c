#include "receipt/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crypto/x509.h"
#include "object/manifest.h"
#include "object/seal.h"
#include "policy/table.h"
#include "wire/text.h"

/*
 * Theory of operation. One struct carries what has been read so far; each step is a function that adds named checks. Steps
 * run in an order in which what a later one uses has been checked by an earlier one; when a step that others rest on fails,
 * the rest is not run. The judge is the trust file: the receipt's own copies of anything are compared with it, not used.
 */

enum { VERIFY_MEMORY = 512 << 20, CHAIN_MEMORY = 512 << 20, TEXT_MAX = 1024 };

struct verifier {
	const struct verify_options *options;
	const struct trust *trust;
	struct verify_report *report;
	const struct trust_root *root; /* of the head */
	const struct used_epoch *epoch; /* of the head */
	struct epoch_history known; /* what the verifier knows of roots beside the trust file */
	enum reason epochs_outcome; /* of reading the section of epochs, which comes before its turn */
	const char *epochs_text;
	struct bytes_list epochs, certificates, reports, records, manifest_list, policy_list, grant_list, statement_list, platform_list,
		reference_list;
	struct salt_list salts;
	struct receipt_roots roots_section;
	bool has_references;
	struct bytes_list version_list;
	bool has_versions;
	struct span job_bytes;
	struct manifest *manifests; /* by the job's order of enclaves */
	uint8_t (*policy_digests)[SHA256_SIZE];
	size_t policy_count;
	struct place *places; /* where each record of the run must stand; sorted */
	size_t place_count;
	struct statement *statements; /* decoded, as statement_list */
};

/* One record that the job's run must have: its kind, its signer and the data it is about. */
struct place {
	enum record_kind kind;
	const char *enclave;
	const char *data; /* ORIGIN: role or edge, REQUEST: edge, DERIVE: "" */
	size_t record; /* SIZE_MAX: not found */
};

const char *verify_verdict_name(enum verify_verdict verdict)
{
	static const char *const names[] = {"accepted", "refused", "cannot judge"};
	return names[verdict];
}

enum exit_code verify_exit_code(enum verify_verdict verdict)
{
	static const enum exit_code codes[] = {EXIT_OK, EXIT_REFUSED, EXIT_CANNOT_JUDGE};
	return codes[verdict];
}

void verify_report_free(struct verify_report *report)
{
	dac_free(report->dac);
	receipt_roots_free(&report->roots);
	policy_table_free(report->policies);
	policy_references_free(report->references);
	policy_versions_free(report->versions);
	free(report->checks);
	arena_free(&report->arena);
	*report = (struct verify_report){0};
}

const struct receipt_epochs *verify_epochs(const struct verify_report *report)
{
	return report->roots.count ? &report->roots.roots[0].epochs : NULL;
}

const struct verify_check *verify_first_failure(const struct verify_report *report)
{
	for (size_t i = 0; i < report->check_count; i++)
		if (!report->checks[i].ok)
			return &report->checks[i];
	return NULL;
}

/* ---- Checks ---------------------------------------------------------------------------------------- */

static result make_room(struct verify_report *report)
{
	if (report->check_count < report->check_cap)
		return OK;
	size_t cap = report->check_cap ? report->check_cap * 2 : 64;
	struct verify_check *checks = realloc(report->checks, cap * sizeof(*checks));
	if (!checks)
		return fail(NO_MEMORY, "list of checks");
	report->checks = checks;
	report->check_cap = cap;
	return OK;
}

/* Notes one check; yields whether it passed. When not even that can be noted the verdict is a refusal all the same. */
static bool check(struct verifier *v, const char *name, const char *object, result outcome)
{
	struct verify_report *report = v->report;
	struct verify_check row = {.name = name, .object = "", .ok = outcome == OK, .reason = outcome, .text = ""};
	char text[TEXT_MAX];
	snprintf(text, sizeof(text), "%s", outcome == OK ? "" : failure_text());
	if (outcome != OK && report->verdict == VERDICT_ACCEPTED)
		report->verdict = VERDICT_REFUSED;
	if (make_room(report) != OK || arena_string(&report->arena, span_str(text), &row.text) != OK ||
		arena_string(&report->arena, span_str(object), &row.object) != OK) {
		report->verdict = VERDICT_REFUSED;
		return false;
	}
	report->checks[report->check_count++] = row;
	return outcome == OK;
}

static result require(bool holds, enum reason reason, const char *what)
{
	return holds ? OK : fail(reason, "%s", what);
}

/* ---- Form, head, sections ---------------------------------------------------------------------------- */

static bool check_form(struct verifier *v)
{
	struct verify_report *report = v->report;
	return check(v, "receipt.form", "", receipt_decode(v->options->receipt, &report->arena, &report->receipt));
}

static result read_list(struct verifier *v, struct span bytes, struct bytes_list *out)
{
	return schema_decode(&bytes_list_schema, bytes, &v->report->arena, out);
}

static result find_trusted_root(struct verifier *v, const struct receipt_head *head)
{
	for (size_t i = 0; i < v->trust->root_count; i++)
		if (memcmp(v->trust->roots[i].rot_id, head->rot_id, OID_SIZE) == 0) {
			v->root = &v->trust->roots[i];
			return OK;
		}
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(head->rot_id, fingerprint);
	return fail(DAC_UNTRUSTED_ROOT, "the receipt is signed by root %s, which the trust file does not name", fingerprint);
}

/* As a root of the chain; of the inception record it is the trust file's own copy that speaks. */
static struct dac_root root_of(const struct trust_root *trusted, const struct used_epoch *used)
{
	const struct epoch_link *link = used->link;
	bool is_first = memcmp(link->oid, trusted->rot_id, OID_SIZE) == 0;
	struct dac_root root = {
		.era = link->era,
		.epoch = link->epoch,
		.not_before = is_first ? trusted->epoch.not_before : link->not_before,
		.not_after = is_first ? trusted->epoch.not_after : link->not_after,
		.key = &used->key,
	};
	memcpy(root.rot_id, trusted->rot_id, OID_SIZE);
	memcpy(root.epoch_oid, link->oid, OID_SIZE);
	return root;
}

/* The whole run is judged at the time of the head. */
static result require_valid_epoch(const struct verifier *v, const struct trust_root *trusted, const struct used_epoch *used)
{
	uint64_t time = v->report->head.time;
	const struct dac_root root = root_of(trusted, used);
	if (time < root.not_before || time > root.not_after)
		return fail(EPOCH_EXPIRED, "the receipt's time lies outside the validity of its root's era %u epoch %llu", root.era,
			(unsigned long long)root.epoch);
	return OK;
}

static result find_epochs(struct verifier *v)
{
	const struct receipt *receipt = &v->report->receipt;
	for (size_t i = 0; i < receipt->section_count; i++)
		if (receipt->sections[i].id == SECTION_EPOCHS)
			return read_list(v, receipt->sections[i].bytes, &v->epochs);
	return fail(MISSING_FIELD, "the receipt has no epochs");
}

static result read_epochs(struct verifier *v)
{
	struct receipt_epochs read = {0};
	TRY(find_epochs(v));
	TRY(receipt_epochs_begin(v->root, &read));
	result followed = receipt_epochs_read(&read, v->root, &v->epochs, v->trust, &v->known);
	if (followed != OK) {
		receipt_epochs_free(&read);
		return followed;
	}
	receipt_epochs_free(&v->report->roots.roots[0].epochs);
	v->report->roots.roots[0].epochs = read;
	return OK;
}

/*
 * The key that signed the head is found in a section whose digest the head holds; its records prove themselves, so they are
 * read first. When they do not, the pinned record alone may still show who signed the head; the section is refused later.
 */
static result begin_epochs(struct verifier *v)
{
	struct receipt_root *first = &v->report->roots.roots[0];
	TRY(receipt_epochs_begin(v->root, &first->epochs));
	first->trusted = v->root;
	first->name = receipt_roots_name(&v->trust->job, v->root->rot_id);
	v->report->roots.count = 1;
	v->epochs_outcome = read_epochs(v);
	v->epochs_text = "";
	return v->epochs_outcome == OK ? OK : arena_string(&v->report->arena, span_str(failure_text()), &v->epochs_text);
}

static result check_epoch(struct verifier *v, const struct receipt_head *head)
{
	TRY(begin_epochs(v));
	struct receipt_epochs *epochs = &v->report->roots.roots[0].epochs;
	result found = receipt_epochs_use(epochs, head->epoch_oid, &v->epoch);
	if (found != OK)
		return fail(DAC_UNTRUSTED_ROOT, "the head's epoch is not among the receipt's%s%s", *v->epochs_text ? ": " : "",
			v->epochs_text);
	if (v->epoch->link != epoch_chain_head(epochs->chain))
		return fail(DAC_UNTRUSTED_ROOT, "the head is signed under another epoch than the last of the receipt's");
	return require_valid_epoch(v, v->root, v->epoch);
}

static result check_nonce(struct verifier *v, const struct receipt_head *head)
{
	struct span wanted = v->options->nonce;
	if (wanted.len == 0)
		return OK;
	if (!head->has_nonce || !span_equal(wanted, SPAN_ARRAY(head->nonce)))
		return fail(BAD_VALUE, "the receipt does not carry the nonce that was asked for");
	return OK;
}

static result check_run_id(const struct receipt_head *head)
{
	uint8_t run_id[RUN_ID_SIZE];
	run_id_compute(head->job_digest, head->has_nonce ? SPAN_ARRAY(head->nonce) : SPAN_EMPTY, head->rand, run_id);
	return require(
		memcmp(run_id, head->run_id, RUN_ID_SIZE) == 0, BAD_VALUE, "the run id is not that of the job, nonce and random value");
}

/* Another recorder bounds time and order by rules that this version does not know. */
static result check_recorder(struct verifier *v, const struct receipt_head *head)
{
	if (strcmp(head->recorder, "journal") == 0)
		return OK;
	return fail(UNKNOWN_CRITICAL, "the run was recorded by '%s', which this version does not know", head->recorder);
}

/* The host that signed it, at its time. Enclaves are judged record by record (DA-12). */
static result check_head_revoked(const struct verifier *v, const struct receipt_head *head)
{
	const struct revocation_subject subject = {.rot_id = head->rot_id, .epoch = head->epoch_oid};
	return revocation_judge(v->options->revocations, &subject, head->time);
}

static bool check_head(struct verifier *v)
{
	struct verify_report *report = v->report;
	struct receipt_head *head = &report->head;
	if (!check(v, "head.form", "", object_peek(KIND_RECEIPT_HEAD, report->receipt.head, &report->arena, head, NULL)))
		return false;
	if (!check(v, "head.root", "", find_trusted_root(v, head)))
		return false;
	if (!check(v, "head.epoch", "", check_epoch(v, head)))
		return false;
	if (!check(v, "head.signature", "", object_verify(KIND_RECEIPT_HEAD, report->receipt.head, &v->epoch->key)))
		return false;
	report->has_head = true;
	check(v, "head.run_id", "", check_run_id(head));
	check(v, "head.recorder", "", check_recorder(v, head));
	if (v->options->revocations)
		check(v, "head.revoked", "", check_head_revoked(v, head));
	check(v, "head.nonce", "", check_nonce(v, head));
	return true;
}

static const char *section_name(uint16_t id)
{
	static const char *const names[] = {
		"?", "epochs", "certificates", "reports", "records", "manifests", "policies", "grants", "statements", "salts", "job", "platform",
		"references", "roots", "policy versions"};
	return id < COUNT_OF(names) ? names[id] : "unknown";
}

static result check_section_table(const struct receipt *receipt, const struct receipt_head *head)
{
	if (receipt->section_count != head->section_count)
		return fail(BAD_VALUE, "the head names %zu sections, the receipt has %zu", head->section_count, receipt->section_count);
	for (size_t i = 0; i < head->section_count; i++) {
		if (receipt->sections[i].id != head->sections[i].id)
			return fail(BAD_VALUE, "section %u stands where the head names %u", receipt->sections[i].id, head->sections[i].id);
		if (i && head->sections[i].id <= head->sections[i - 1].id)
			return fail(DUPLICATE_KEY, "section %u stands twice or out of order", head->sections[i].id);
	}
	return OK;
}

static result check_section_digest(const struct receipt_section *section, const struct receipt_section_row *row)
{
	uint8_t digest[SHA256_SIZE];
	sha256(section->bytes, digest);
	return require(memcmp(digest, row->digest, SHA256_SIZE) == 0, DIGEST_MISMATCH, "its bytes are not those that the head names");
}

static result read_section(struct verifier *v, const struct receipt_section *section)
{
	switch (section->id) {
	case SECTION_EPOCHS:
		return read_list(v, section->bytes, &v->epochs);
	case SECTION_CERTIFICATES:
		return read_list(v, section->bytes, &v->certificates);
	case SECTION_REPORTS:
		return read_list(v, section->bytes, &v->reports);
	case SECTION_RECORDS:
		return read_list(v, section->bytes, &v->records);
	case SECTION_MANIFESTS:
		return read_list(v, section->bytes, &v->manifest_list);
	case SECTION_POLICIES:
		return read_list(v, section->bytes, &v->policy_list);
	case SECTION_GRANTS:
		return read_list(v, section->bytes, &v->grant_list);
	case SECTION_STATEMENTS:
		return read_list(v, section->bytes, &v->statement_list);
	case SECTION_SALTS:
		return schema_decode(&salt_list_schema, section->bytes, &v->report->arena, &v->salts);
	case SECTION_JOB:
		v->job_bytes = section->bytes;
		return OK;
	case SECTION_PLATFORM:
		return read_list(v, section->bytes, &v->platform_list);
	case SECTION_POLICY_VERSIONS:
		v->has_versions = true;
		return read_list(v, section->bytes, &v->version_list);
	case SECTION_REFERENCES:
		v->has_references = true;
		return read_list(v, section->bytes, &v->reference_list);
	case SECTION_ROOTS:
		return schema_decode(&receipt_roots_schema, section->bytes, &v->report->arena, &v->roots_section);
	default:
		return OK;
	}
}

static bool is_known_section(uint16_t id)
{
	return id >= SECTION_EPOCHS && id <= SECTION_POLICY_VERSIONS;
}

static bool check_sections(struct verifier *v)
{
	const struct receipt *receipt = &v->report->receipt;
	const struct receipt_head *head = &v->report->head;
	bool good = check(v, "sections.table", "", check_section_table(receipt, head));
	uint32_t seen = 0;
	for (size_t i = 0; good && i < receipt->section_count; i++) {
		const struct receipt_section *section = &receipt->sections[i];
		char object[48];
		snprintf(object, sizeof(object), "%u %s", section->id, section_name(section->id));
		if (!check(v, "section.digest", object, check_section_digest(section, &head->sections[i])))
			return false;
		if (!is_known_section(section->id) && head->sections[i].critical) {
			check(v, "section.known", object,
				fail(UNKNOWN_CRITICAL, "cannot judge section %u; use a newer Troth", section->id));
			continue;
		}
		if (is_known_section(section->id))
			seen |= 1u << section->id;
		good &= check(v, "section.form", object, read_section(v, section));
	}
	for (uint16_t id = SECTION_EPOCHS; good && id <= SECTION_JOB; id++)
		if (!(seen & 1u << id))
			good &= check(v, "section.present", section_name(id), fail(MISSING_FIELD, "section %u is missing", id));
	return good;
}

static bool check_epoch_chain(struct verifier *v)
{
	return check(v, "epochs.chain", "", v->epochs_outcome == OK ? OK : fail(v->epochs_outcome, "%s", v->epochs_text));
}

/*
 * What an epoch's key signed names its epoch. What cannot be read, or names one that is not on the chain, is refused in its
 * own step.
 */
static void use_epochs(struct verifier *v)
{
	CLEANUP(arena_free) struct arena arena = arena_of(VERIFY_MEMORY);
	struct receipt_roots_read *roots = &v->report->roots;
	struct receipt_root *root;
	const struct used_epoch *used;
	struct unseal_grant grant;
	struct report report;
	for (size_t i = 0; i < v->reports.count; i++)
		if (object_peek(KIND_REPORT, v->reports.items[i].bytes, &arena, &report, NULL) == OK)
			(void)!receipt_roots_use(roots, report.epoch_oid, &root, &used);
	for (size_t i = 0; i < v->grant_list.count; i++)
		if (object_peek(KIND_UNSEAL_GRANT, v->grant_list.items[i].bytes, &arena, &grant, NULL) == OK)
			(void)!receipt_roots_use(roots, grant.epoch_oid, &root, &used);
}

static result check_epoch_times(const struct verifier *v, const struct receipt_root *root)
{
	for (const struct used_epoch *used = root->epochs.used; used; used = used->next)
		TRY(require_valid_epoch(v, root->trusted, used));
	return OK;
}

/* What is known of one root says nothing of another; what is about none of them was given by mistake. */
static result check_standing(struct verifier *v, const struct receipt_root *root)
{
	struct epoch_history mine;
	size_t about = 0;
	for (size_t i = 0; i < v->report->roots.count; i++) {
		TRY(receipt_roots_known(&v->known, v->report->roots.roots[i].trusted->rot_id, &v->report->arena, &mine));
		about += mine.object_count;
	}
	if (about)
		TRY(receipt_roots_known(&v->known, root->trusted->rot_id, &v->report->arena, &mine));
	return receipt_epochs_stand(&root->epochs, root->trusted, v->trust, about ? &mine : &v->known);
}

static void check_epochs_used(struct verifier *v)
{
	const struct receipt_roots_read *roots = &v->report->roots;
	use_epochs(v);
	for (size_t i = 0; i < roots->count; i++) {
		check(v, "epochs.valid", roots->roots[i].name, check_epoch_times(v, &roots->roots[i]));
		check(v, "epochs.standing", roots->roots[i].name, check_standing(v, &roots->roots[i]));
	}
}

/* ---- Several hosts --------------------------------------------------------------------------------------- */

/* Every host of the job as the trust file has it stands under a root that the trust file names. Asks nothing of the receipt. */
static bool check_hosts_trusted(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	bool good = true;
	for (size_t i = 0; i < job->host_count; i++)
		good &= check(v, "host.trusted", job->hosts[i].name, receipt_roots_trusted(v->trust, &job->hosts[i]));
	return good;
}

/* The receipt brings the epochs of each of them, but no root. */
static bool check_hosts(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	bool good = true;
	if (job->host_count == 0 && v->roots_section.count == 0)
		return true;
	if (!check(v, "hosts.complete", "", receipt_roots_complete(job, &v->roots_section, v->report->head.rot_id)))
		return false;
	for (size_t i = 0; i < v->roots_section.count; i++) {
		const struct receipt_root_row *row = &v->roots_section.rows[i];
		char label[ROT_LABEL_SIZE];
		rot_label(row->rot_id, label);
		good &= check(v, "host.epochs", label, receipt_roots_add(&v->report->roots, v->trust, row, &v->known, &v->report->arena));
	}
	return good;
}

/* An enclave ran where the job has it run, and every launch there is of one start of that host. */
static result check_host(struct verifier *v, const struct job_enclave *enclave, const struct report *report)
{
	const struct receipt_head *head = &v->report->head;
	const uint8_t *expected = job_enclave_root(&v->trust->job, enclave, head->rot_id);
	struct receipt_root *root;
	const struct used_epoch *used;
	if (memcmp(report->rot_id, expected, OID_SIZE) != 0)
		return fail(ROOT_WRONG_HOST, "'%s' ran under another root than that of %s%s", enclave->name,
			enclave->host ? "host " : "the host that coordinated", enclave->host ? enclave->host : "");
	TRY(receipt_roots_use(&v->report->roots, report->epoch_oid, &root, &used));
	if (memcmp(root->trusted->rot_id, expected, OID_SIZE) != 0)
		return fail(ROOT_WRONG_HOST, "the launch of '%s' stands under an epoch of another host", enclave->name);
	bool is_head = memcmp(expected, head->rot_id, OID_SIZE) == 0;
	uint64_t start = is_head ? head->boot_gen : root->has_boot_gen ? root->boot_gen : report->boot_gen;
	root->boot_gen = start;
	root->has_boot_gen = true;
	return require(report->boot_gen == start, DAC_REPORT_MISMATCH, "the launch is of another start of the host");
}

/* ---- Job, manifests, policies -------------------------------------------------------------------------- */

static bool check_job(struct verifier *v)
{
	struct verify_report *report = v->report;
	uint8_t digest[SHA256_SIZE];
	job_digest(v->job_bytes, digest);
	result expected = memcmp(v->trust->job_digest, report->head.job_digest, SHA256_SIZE) == 0
		? OK
		: fail(DIGEST_MISMATCH, "the receipt is about another job than the trust file's '%s'", v->trust->job.name);
	if (!check(v, "job.expected", v->trust->job.name, expected))
		return false;
	if (!check(v, "job.digest", v->trust->job.name,
		    require(memcmp(digest, v->trust->job_digest, SHA256_SIZE) == 0, DIGEST_MISMATCH,
			    "the compiled job is not the one that the head names")))
		return false;
	report->has_job = check(v, "job.form", v->trust->job.name, schema_decode(&job_schema, v->job_bytes, &report->arena, &report->job));
	return report->has_job;
}

static bool is_revoked(const struct trust *trust, const uint8_t measurement[static SHA384_SIZE])
{
	for (size_t i = 0; i < trust->revoked_count; i++)
		if (memcmp(trust->revoked[i].value, measurement, SHA384_SIZE) == 0)
			return true;
	return false;
}

static result check_manifest(struct verifier *v, size_t at)
{
	const struct job_enclave *enclave = &v->trust->job.enclaves[at];
	struct span bytes = v->manifest_list.items[at].bytes;
	struct manifest *manifest = &v->manifests[at];
	uint8_t digest[SHA384_SIZE];
	TRY(manifest_decode(bytes, &v->report->arena, manifest));
	manifest_measurement(bytes, digest);
	if (memcmp(digest, enclave->measurement, SHA384_SIZE) != 0)
		return fail(MEASUREMENT_MISMATCH, "the manifest is not the expected one");
	TRY(manifest_core(manifest, digest));
	if (memcmp(digest, enclave->core, SHA384_SIZE) != 0)
		return fail(MEASUREMENT_MISMATCH, "the manifest's core is not the expected one");
	if (strcmp(manifest->name, enclave->name) != 0)
		return fail(MEASUREMENT_MISMATCH, "the manifest is that of '%s'", manifest->name);
	if (memcmp(manifest->policy_digest, enclave->policy_digest, SHA256_SIZE) != 0)
		return fail(MEASUREMENT_MISMATCH, "the manifest names another policy");
	if (is_revoked(v->trust, enclave->measurement) || is_revoked(v->trust, enclave->core))
		return fail(MEASUREMENT_REVOKED, "the trust file revokes this measurement");
	return OK;
}

static bool check_manifests(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	void *manifests;
	if (v->manifest_list.count != job->enclave_count)
		return check(v, "manifests.count", "",
			fail(BAD_VALUE, "%zu manifests for %zu enclaves", v->manifest_list.count, job->enclave_count));
	if (arena_alloc(&v->report->arena, job->enclave_count, sizeof(*v->manifests), &manifests) != OK)
		return check(v, "manifests.count", "", NO_MEMORY);
	v->manifests = manifests;
	bool good = true;
	for (size_t i = 0; i < job->enclave_count; i++)
		good &= check(v, "enclave.measurement", job->enclaves[i].name, check_manifest(v, i));
	return good;
}

static result load_policies(struct verifier *v)
{
	const struct bytes_list *list = &v->policy_list;
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	void *spans, *digests;
	TRY(arena_alloc(&v->report->arena, list->count + 1, sizeof(struct span), &spans));
	TRY(arena_alloc(&v->report->arena, list->count + 1, SHA256_SIZE, &digests));
	v->policy_digests = digests;
	v->policy_count = list->count;
	for (size_t i = 0; i < list->count; i++) {
		((struct span *)spans)[i] = list->items[i].bytes;
		TRY(policy_digest(list->items[i].bytes, v->policy_digests[i]));
		if (i && span_compare(list->items[i - 1].bytes, list->items[i].bytes) >= 0)
			return fail(NOT_DETERMINISTIC, "policies are not in ascending order");
	}
	TRY(policy_set_join(spans, list->count, &set));
	return policy_table_load(bytes_span(&set), &v->report->policies);
}

/* Exactly the policies that the enclaves' manifests name. */
static result check_policy_set(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	TRY(load_policies(v));
	for (size_t p = 0; p < v->policy_count; p++) {
		bool named = false;
		for (size_t e = 0; e < job->enclave_count; e++)
			named |= memcmp(job->enclaves[e].policy_digest, v->policy_digests[p], SHA256_SIZE) == 0;
		if (!named)
			return fail(DAC_EXTRA_NODE, "a policy that no enclave has");
	}
	for (size_t e = 0; e < job->enclave_count; e++) {
		bool found = false;
		for (size_t p = 0; p < v->policy_count; p++)
			found |= memcmp(job->enclaves[e].policy_digest, v->policy_digests[p], SHA256_SIZE) == 0;
		if (!found)
			return fail(NO_POLICY, "the policy of '%s' is missing", job->enclaves[e].name);
	}
	return OK;
}

static result require_ascending(const struct bytes_list *list, const char *what)
{
	for (size_t i = 1; i < list->count; i++)
		if (span_compare(list->items[i - 1].bytes, list->items[i].bytes) >= 0)
			return fail(NOT_DETERMINISTIC, "%s are not in ascending order", what);
	return OK;
}

/* ---- Reference sets that policies name ------------------------------------------------------------------ */

static result require_author(const struct verifier *v, const struct policy_reference_view *set)
{
	char author[2 * KEY_ID_SIZE + 1];
	for (size_t i = 0; i < v->trust->author_count; i++)
		if (span_equal(SPAN_ARRAY(v->trust->authors[i].bytes), set->author))
			return OK;
	hex_encode(set->author, author);
	return fail(AUTHOR_UNKNOWN, "set '%.*s' is signed by %s, whom the trust file does not name among its authors", (int)set->set.len,
		(const char *)set->set.data, author);
}

static result load_references(struct verifier *v)
{
	const struct bytes_list *list = &v->reference_list;
	struct span sets[POLICY_MAX_REFERENCES];
	if (list->count == 0 || list->count > POLICY_MAX_REFERENCES)
		return fail(BAD_VALUE, "%zu reference sets; a receipt has 1 to %d, or no such section", list->count, POLICY_MAX_REFERENCES);
	TRY(require_ascending(list, "reference sets"));
	for (size_t i = 0; i < list->count; i++)
		sets[i] = list->items[i].bytes;
	return policy_references_load(sets, list->count, &v->report->references);
}

/* A set counts by its signature and by the trust file's word for its author, whatever the policy asks for. */
static bool check_references(struct verifier *v)
{
	struct policy_reference_view set;
	char name[REFERENCE_NAME_MAX + 1];
	bool good = true;
	if (!v->has_references)
		return true;
	if (!check(v, "references", "", load_references(v)))
		return false;
	for (size_t i = 0; i < policy_references_count(v->report->references); i++) {
		policy_references_at(v->report->references, i, &set);
		snprintf(name, sizeof(name), "%.*s", (int)set.set.len, (const char *)set.set.data);
		good &= check(v, "references.author", name, require_author(v, &set));
	}
	return good;
}

/* ---- Newer versions of policies ------------------------------------------------------------------------- */

static result load_versions(struct verifier *v)
{
	const struct bytes_list *list = &v->version_list;
	TRY(policy_versions_new(&v->report->versions));
	if (list->count == 0)
		return fail(BAD_VALUE, "an empty section of policy versions");
	TRY(require_ascending(list, "policy versions"));
	for (size_t i = 0; i < list->count; i++)
		TRY(policy_versions_add(v->report->versions, list->items[i].bytes, NULL));
	return OK;
}

/* Whoever may write a newer version was measured with the enclave: the author whom its policy names. */
static result require_subject(const struct verifier *v, const struct policy_version *version)
{
	struct policy_view launched;
	TRY(policy_find(v->report->policies, version->policy.kind, version->policy.id, &launched));
	return policy_version_follows(&launched, version, 0);
}

static bool check_versions(struct verifier *v)
{
	char name[POLICY_NAME_MAX + 1];
	bool good = true;
	if (!v->has_versions)
		return true;
	if (!check(v, "policies.versions", "", load_versions(v)))
		return false;
	for (size_t i = 0; i < policy_versions_count(v->report->versions); i++) {
		const struct policy_version *version = policy_versions_at(v->report->versions, i);
		snprintf(name, sizeof(name), "%.*s", (int)version->policy.id.len, (const char *)version->policy.id.data);
		good &= check(v, "policies.author", name, require_subject(v, version));
	}
	return good;
}

/* Every version that is there was used. */
static result require_versions_named(const struct verifier *v)
{
	for (size_t i = 0; i < policy_versions_count(v->report->versions); i++) {
		const struct policy_version *version = policy_versions_at(v->report->versions, i);
		bool named = false;
		for (size_t r = 0; r < dac_count(v->report->dac) && !named; r++)
			named = memcmp(dac_record(v->report->dac, r)->policy_digest, version->policy.digest, SHA256_SIZE) == 0;
		if (!named)
			return fail(DAC_EXTRA_NODE, "a policy version that no record names");
	}
	return OK;
}

/* For the chain's rule 6: may a record name this policy instead of its launch's? */
static result policy_follows(void *ctx, const uint8_t launched[static SHA256_SIZE], const uint8_t named[static SHA256_SIZE])
{
	const struct verifier *v = ctx;
	const struct policy_version *version = policy_versions_find(v->report->versions, named);
	struct policy_view view;
	if (!version)
		return fail(DAC_REPORT_MISMATCH, "the record names another policy than the one that was launched, and no version in the receipt");
	for (size_t i = 0; i < policy_count(v->report->policies); i++) {
		policy_at(v->report->policies, i, &view);
		if (memcmp(view.digest, launched, SHA256_SIZE) == 0)
			return policy_version_follows(&view, version, 0);
	}
	return fail(NO_POLICY, "the policy of a launch is not in the receipt");
}

/* For the chain's rule 6: the one table, but only for a digest that is in the receipt. */
static const struct policy_table *policy_of(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	const struct verifier *v = ctx;
	for (size_t p = 0; p < v->policy_count; p++)
		if (memcmp(v->policy_digests[p], digest, SHA256_SIZE) == 0)
			return v->report->policies;
	const struct policy_version *version = policy_versions_find(v->report->versions, digest);
	return version ? version->table : NULL;
}

/* ---- Chain ---------------------------------------------------------------------------------------------- */

/* An enclave without inputs derives from the empty stdin that it got: one ORIGIN of this name. */
#define NO_INPUT "stdin"

/* With calls the flow does not say how many records there are; this bounds what is read. */
enum { MOST_OF_CALLS = 1 << 20 };

static bool has_calls(const struct job *job)
{
	for (size_t i = 0; i < job->edge_count; i++)
		if (job->edges[i].call)
			return true;
	return false;
}

static size_t most_records(const struct job *job)
{
	return 2 * job->enclave_count + job->input_count + job->edge_count;
}

/* Does the manifest of this enclave let its program ask its runtime for records? */
static bool has_fabric(const struct verifier *v, const char *enclave)
{
	const struct job *job = &v->trust->job;
	int fd = -1;
	for (size_t i = 0; i < job->enclave_count; i++)
		if (strcmp(job->enclaves[i].name, enclave) == 0)
			return manifest_fabric(&v->manifests[i], &fd) == OK && fd >= 0;
	return false;
}

static bool records_by_programs(const struct verifier *v)
{
	bool any = false;
	for (size_t i = 0; i < v->trust->job.enclave_count; i++)
		any |= has_fabric(v, v->trust->job.enclaves[i].name);
	return any;
}

/* Before anything is verified: a receipt costs no more than its job can account for. */
static result check_chain_size(const struct verifier *v)
{
	const struct job *job = &v->trust->job;
	size_t most = has_calls(job) || records_by_programs(v) ? MOST_OF_CALLS : most_records(job);
	if (v->records.count > most)
		return fail(DAC_EXTRA_NODE, "%zu records where the job has at most %zu", v->records.count, most);
	/* Records name the certificate of the launch, whatever was made anew for channels after a rotation. */
	if (v->certificates.count > job->enclave_count || v->reports.count > job->enclave_count)
		return fail(DAC_EXTRA_NODE, "%zu certificates and %zu launch reports of %zu enclaves", v->certificates.count,
			v->reports.count, job->enclave_count);
	return OK;
}

static result add_dac_roots(const struct verifier *v, struct dac *dac)
{
	const struct receipt_roots_read *roots = &v->report->roots;
	for (size_t i = 0; i < roots->count; i++)
		for (const struct used_epoch *used = roots->roots[i].epochs.used; used; used = used->next) {
			const struct dac_root root = root_of(roots->roots[i].trusted, used);
			TRY(dac_add_root(dac, &root));
		}
	return OK;
}

/* What the machine's TPM says of the epochs of this run. A piece that does not count leaves the level as it is, and is shown. */
static result judge_platform(struct verifier *v)
{
	const struct trust *trust = v->trust;
	struct register_value *registers;
	void *memory;
	TRY(arena_alloc(&v->report->arena, 2 * trust->tcb_count + 1, sizeof(*registers), &memory));
	registers = memory;
	for (size_t i = 0; i < trust->tcb_count; i++) {
		memcpy(registers[2 * i].value, trust->tcbs[i].register0, SHA384_SIZE);
		memcpy(registers[2 * i + 1].value, trust->tcbs[i].register1, SHA384_SIZE);
	}
	const struct platform_expectation expected = {
		.trust = &trust->platform,
		.at_ms = v->report->head.time,
		.max_age_ms = trust->max_run_ms,
		/* Of other hosts each piece is matched with the reports of its own start alone. */
		.boot_gen = v->report->roots.count == 1 ? &v->report->head.boot_gen : NULL,
		.registers = registers,
		.register_pairs = trust->tcb_count,
	};
	v->report->has_platform = v->platform_list.count > 0;
	return platform_judge(v->platform_list.items, v->platform_list.count, &expected, &v->report->platform);
}

static result read_chain(struct verifier *v)
{
	const struct receipt_head *head = &v->report->head;
	TRY(judge_platform(v));
	struct dac_config config = {
		.skew_ms = v->trust->skew_ms,
		.earliest_ms = head->time > v->trust->max_run_ms ? head->time - v->trust->max_run_ms : 0,
		.latest_ms = head->time + v->trust->skew_ms,
		.run_id = head->run_id,
		.threads = v->options->threads,
		.max_memory = CHAIN_MEMORY,
		.policy = policy_of,
		.follows = policy_follows,
		.policy_ctx = v,
		.platform = &v->report->platform,
		.references = v->report->references,
		.revocations = v->options->revocations,
	};
	TRY(dac_new(&config, &v->report->dac));
	TRY(add_dac_roots(v, v->report->dac));
	for (size_t i = 0; i < v->certificates.count; i++)
		TRY(dac_add_certificate(v->report->dac, v->certificates.items[i].bytes, NULL));
	for (size_t i = 0; i < v->reports.count; i++)
		TRY(dac_add_report(v->report->dac, v->reports.items[i].bytes, NULL));
	for (size_t i = 0; i < v->records.count; i++)
		TRY(dac_add_record(v->report->dac, v->records.items[i].bytes, NULL));
	if (dac_count(v->report->dac) != v->records.count)
		return fail(DAC_DUPLICATE, "a record stands twice");
	return OK;
}

/* One receipt has one form: records stand in the order that dac_closure gives. */
static result check_order(struct verifier *v)
{
	const struct receipt_head *head = &v->report->head;
	size_t *closure, count;
	TRY(require_ascending(&v->certificates, "certificates"));
	TRY(require_ascending(&v->reports, "reports"));
	TRY(dac_require_closed(v->report->dac, head->roots, head->root_count));
	TRY(dac_closure(v->report->dac, head->roots, head->root_count, &closure, &count));
	bool ordered = count == v->records.count;
	for (size_t i = 0; ordered && i < count; i++)
		ordered = span_equal(dac_bytes(v->report->dac, closure[i]), v->records.items[i].bytes);
	free(closure);
	return require(ordered, NOT_DETERMINISTIC, "records are not in topological order");
}

static bool check_records(struct verifier *v)
{
	struct dac_summary summary;
	struct dac *dac = v->report->dac;
	if (!check(v, "chain.verified", "", dac_verify(dac, &summary)))
		return false;
	for (size_t i = 0; i < dac_count(dac); i++) {
		char object[64 + URI_MAX_LEN];
		const struct record *record = dac_record(dac, i);
		const char *slash = strrchr(record->enclave, '/');
		snprintf(object, sizeof(object), "%s %llu of %s", record_kind_name(record->kind), (unsigned long long)record->seq,
			slash ? slash + 1 : record->enclave);
		check(v, "record", object, dac_require(dac, dac_oid(dac, i)));
	}
	return summary.refused == 0;
}

static bool check_chain(struct verifier *v)
{
	return check(v, "chain.size", "", check_chain_size(v)) && check(v, "chain.form", "", read_chain(v)) &&
		check(v, "chain.closed", "", check_order(v)) && (!v->has_versions || check(v, "policies.used", "", require_versions_named(v))) &&
		check_records(v);
}

/* ---- Places: which record is which ---------------------------------------------------------------------------- */

static const char *last_part(const char *uri)
{
	const char *slash = strrchr(uri, '/');
	return slash ? slash + 1 : uri;
}

/* The name of the enclave that signed a record; its URI was checked with its certificate. */
static const char *signer(const struct record *record)
{
	return last_part(record->enclave);
}

static bool is_job_enclave(const struct job *job, const char *name)
{
	for (size_t i = 0; i < job->enclave_count; i++)
		if (strcmp(job->enclaves[i].name, name) == 0)
			return true;
	return false;
}

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	int order = strcmp(x->enclave, y->enclave);
	return order ? order : strcmp(x->data, y->data);
}

static struct place *find_place(const struct verifier *v, enum record_kind kind, const char *enclave, const char *data)
{
	const struct place key = {.kind = kind, .enclave = enclave, .data = data};
	return bsearch(&key, v->places, v->place_count, sizeof(key), compare_places);
}

/* What an input's data are called in records: a secret by the name under which its enclave asked for it. */
static const char *data_name(const struct job_input *input)
{
	return input->secret ? input->input : input->role;
}

/* Roles and edges that lead into an enclave. */
static size_t inputs_of(const struct job *job, const char *enclave)
{
	size_t count = 0;
	for (size_t i = 0; i < job->input_count; i++)
		count += strcmp(job->inputs[i].enclave, enclave) == 0;
	for (size_t i = 0; i < job->edge_count; i++)
		count += !job->edges[i].call && strcmp(job->edges[i].to, enclave) == 0;
	return count;
}

static result list_places(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	size_t count = 0;
	void *memory;
	TRY(arena_alloc(&v->report->arena, most_records(job), sizeof(*v->places), &memory));
	struct place *places = memory;
	for (size_t i = 0; i < job->enclave_count; i++) {
		places[count++] = (struct place){RECORD_DERIVE, job->enclaves[i].name, "", SIZE_MAX};
		if (inputs_of(job, job->enclaves[i].name) == 0)
			places[count++] = (struct place){RECORD_ORIGIN, job->enclaves[i].name, NO_INPUT, SIZE_MAX};
	}
	for (size_t i = 0; i < job->input_count; i++)
		places[count++] = (struct place){RECORD_ORIGIN, job->inputs[i].enclave, data_name(&job->inputs[i]), SIZE_MAX};
	for (size_t i = 0; i < job->edge_count; i++) {
		const struct job_edge *edge = &job->edges[i];
		bool from_enclave = is_job_enclave(job, edge->from), to_enclave = is_job_enclave(job, edge->to);
		/* An external peer keeps no records: what it sends enters as an ORIGIN, what it gets leaves with the DERIVE. */
		if (edge->call)
			continue; /* as often as it is asked: judge_call */
		if (from_enclave && to_enclave)
			places[count++] = (struct place){RECORD_REQUEST, edge->from, edge->name, SIZE_MAX};
		else if (to_enclave)
			places[count++] = (struct place){RECORD_ORIGIN, edge->to, edge->name, SIZE_MAX};
	}
	qsort(places, count, sizeof(*places), compare_places);
	for (size_t i = 1; i < count; i++)
		if (compare_places(&places[i - 1], &places[i]) == 0)
			return fail(BAD_VALUE, "the job uses the name '%s' twice at '%s'", places[i].data, places[i].enclave);
	v->places = places;
	v->place_count = count;
	return OK;
}

/* What a record is about; NULL when it is about more than one thing. */
static const char *subject_of(const struct record *record)
{
	switch ((enum record_kind)record->kind) {
	case RECORD_ORIGIN:
		return record->out_count == 1 ? record->out[0].name : NULL;
	case RECORD_REQUEST:
		return record->in_count == 1 ? record->in[0].name : NULL;
	case RECORD_DERIVE:
		return "";
	case RECORD_RESPONSE:
		break;
	}
	return NULL;
}

static const struct job_edge *call_edge(const struct job *job, const char *name)
{
	for (size_t i = 0; i < job->edge_count; i++)
		if (job->edges[i].call && strcmp(job->edges[i].name, name) == 0)
			return &job->edges[i];
	return NULL;
}

/* A question or an answer lies on a declared edge, in its direction and for its operation. */
static bool lies_on_call(const struct job *job, const struct record *record)
{
	bool asks = record->kind == RECORD_REQUEST;
	const struct record_data *data = asks ? record->in : record->out;
	size_t count = asks ? record->in_count : record->out_count;
	const struct job_edge *edge = count == 1 ? call_edge(job, data[0].name) : NULL;
	return edge && strcmp(edge->operation, record->operation) == 0 && strcmp(asks ? edge->from : edge->to, signer(record)) == 0 &&
		strcmp(asks ? edge->to : edge->from, last_part(record->target)) == 0;
}

/* Steps of a program that calls, serves or records; its last word is the DERIVE "run". */
static bool is_step(const struct verifier *v, const struct record *record)
{
	static const char *const operations[] = {"base", "call", "fold", "record"};
	for (size_t i = 0; i < COUNT_OF(operations); i++)
		if (strcmp(record->operation, operations[i]) == 0)
			return has_fabric(v, signer(record));
	return false;
}

/* What a program had sealed to its own enclave and got back; the job does not say how much that is. Each has its grant. */
static bool is_unsealed(const struct verifier *v, const struct record *record)
{
	return record->kind == RECORD_ORIGIN && strcmp(record->operation, "unseal") == 0 && record->out_count == 1 &&
		strcmp(record->out[0].name, "unsealed") == 0 && has_fabric(v, signer(record));
}

static bool belongs_to_calls(const struct verifier *v, const struct record *record)
{
	switch ((enum record_kind)record->kind) {
	case RECORD_REQUEST:
	case RECORD_RESPONSE: return lies_on_call(&v->trust->job, record);
	case RECORD_DERIVE: return is_step(v, record);
	case RECORD_ORIGIN: return is_unsealed(v, record);
	}
	return false;
}

/* Every record has its place, and every place its record: no more and no less than the job's run, and what calls leave. */
static result fill_places(struct verifier *v)
{
	const struct dac *dac = v->report->dac;
	result outcome = OK;
	TRY(list_places(v));
	for (size_t i = 0; i < dac_count(dac); i++) {
		const struct record *record = dac_record(dac, i);
		const char *subject = subject_of(record);
		if (belongs_to_calls(v, record))
			continue;
		struct place *place = subject ? find_place(v, (enum record_kind)record->kind, signer(record), subject) : NULL;
		if (place && place->record == SIZE_MAX)
			place->record = i;
		else
			outcome = fail(DAC_EXTRA_NODE, "a %s of '%s' about '%s' that the job does not have",
				record_kind_name((enum record_kind)record->kind), signer(record), subject ? subject : "several things");
	}
	for (size_t i = 0; i < v->place_count && outcome == OK; i++)
		if (v->places[i].record == SIZE_MAX)
			outcome = fail(DAC_MISSING_PARENT, "the %s of '%s'%s%s is missing: a stage did not run or was left out",
				record_kind_name(v->places[i].kind), v->places[i].enclave, *v->places[i].data ? " about " : "",
				v->places[i].data);
	return outcome;
}

static result find_record(const struct verifier *v, enum record_kind kind, const char *enclave, const char *data, const struct record **out)
{
	const struct place *place = find_place(v, kind, enclave, data);
	if (!place || place->record == SIZE_MAX)
		return fail(DAC_MISSING_PARENT, "no %s of '%s'%s%s", record_kind_name(kind), enclave, *data ? " about " : "", data);
	*out = dac_record(v->report->dac, place->record);
	return OK;
}

/* ---- Launch reports --------------------------------------------------------------------------------------- */

static result check_registers(const struct trust *trust, const struct report *report)
{
	for (size_t i = 0; i < trust->tcb_count; i++)
		if (memcmp(report->registers[REGISTER_AP].value, trust->tcbs[i].register0, SHA384_SIZE) == 0 &&
			memcmp(report->registers[REGISTER_HOST].value, trust->tcbs[i].register1, SHA384_SIZE) == 0)
			return OK;
	return fail(MEASUREMENT_MISMATCH, "the host's measured programs (registers 0 and 1) are not those of the trust file");
}

/* Within the run: not before it can have begun, not after the head was signed. */
static result require_in_run(const struct verifier *v, uint64_t time, const char *what)
{
	uint64_t head = v->report->head.time;
	if (time > head + v->trust->skew_ms || (head > v->trust->max_run_ms && time < head - v->trust->max_run_ms))
		return fail(DAC_TIME, "%s is dated outside the run", what);
	return OK;
}

/* A receipt is judged at the time of its head: the certificate must be valid then. */
static result check_certificate_time(struct verifier *v, const struct record *record)
{
	CLEANUP(certificate_free) struct certificate certificate = CERTIFICATE_EMPTY;
	TRY(certificate_parse(dac_certificate(v->report->dac, record->certificate), &v->report->arena, &certificate));
	return certificate_valid_at(&certificate, v->report->head.time);
}

/* As the enclave's own policy asks; also where no other enclave had to judge it. */
static result check_confinement(const struct verifier *v, const struct launch *launch)
{
	struct policy_view policy;
	TRY(policy_find(v->report->policies, SUBJECT_ENCLAVE, span_str(launch->name), &policy));
	bool is_n = strcmp(launch->tier, "N") == 0, is_l = strcmp(launch->tier, "L") == 0;
	if (!is_n && !(is_l && policy.min_confinement <= CONFINEMENT_L))
		return fail(CONFINEMENT_TOO_LOW, "'%s' was confined in tier %s", launch->name, launch->tier);
	if (!policy.allow_interpreter && strcmp(launch->interpreter, "closed") != 0)
		return fail(INTERPRETER_OPEN, "'%s' may not have an open interpreter", launch->name);
	return OK;
}

static result check_launch(struct verifier *v, const struct job_enclave *enclave, const struct report **out)
{
	const struct receipt_head *head = &v->report->head;
	const struct record *record;
	TRY(find_record(v, RECORD_DERIVE, enclave->name, "", &record));
	const struct report *report = dac_report_of(v->report->dac, record->host_report);
	if (!report || !report->has_launch || strcmp(report->launch.name, enclave->name) != 0)
		return fail(MISSING_FIELD, "no launch report of '%s'", enclave->name);
	*out = report;
	if (memcmp(report->launch.measurement, enclave->measurement, SHA384_SIZE) != 0 ||
		memcmp(report->launch.core, enclave->core, SHA384_SIZE) != 0 ||
		memcmp(report->launch.policy_digest, enclave->policy_digest, SHA256_SIZE) != 0)
		return fail(MEASUREMENT_MISMATCH, "what was launched as '%s' is not what the trust file expects", enclave->name);
	if (memcmp(report->launch.run_id, head->run_id, RUN_ID_SIZE) != 0)
		return fail(DAC_FOREIGN_RUN, "the launch of '%s'", enclave->name);
	TRY(check_host(v, enclave, report));
	TRY(check_confinement(v, &report->launch));
	if (report->instrumented)
		return fail(LEVEL_TOO_LOW, "an instrumented build counts as Level-0");
	TRY(require_in_run(v, report->time, "the launch"));
	TRY(check_certificate_time(v, record));
	return check_registers(v->trust, report);
}

/* Hosts of one run need not be equally good: each is told with its own. */
static void note_level(struct verifier *v, const struct report *report, unsigned level)
{
	struct receipt_root *root = report ? receipt_roots_find(&v->report->roots, report->rot_id) : NULL;
	if (!root)
		return;
	if (root->enclaves++ == 0 || level < root->level)
		root->level = level;
}

static void check_launches(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	/* Each report is named by a record, each record by an enclave's name: so many of them, one each. */
	check(v, "launches.count", "",
		v->reports.count == job->enclave_count && v->certificates.count == job->enclave_count
			? OK
			: fail(MISSING_FIELD, "%zu certificates and %zu launch reports of %zu enclaves", v->certificates.count,
				  v->reports.count, job->enclave_count));
	v->report->level = platform_level_of(&v->report->platform, v->report->head.epoch_oid);
	v->report->weakest_isolation = "uid";
	for (size_t i = 0; i < job->enclave_count; i++) {
		const struct report *report = NULL;
		check(v, "enclave.launch", job->enclaves[i].name, check_launch(v, &job->enclaves[i], &report));
		unsigned level = report ? platform_level(&v->report->platform, report) : 1;
		if (level < v->report->level)
			v->report->level = level;
		note_level(v, report, level);
		if (report && strcmp(report->launch.isolation, "uid") != 0)
			v->report->weakest_isolation = report->launch.isolation;
		v->report->without_namespaces |= report && strcmp(report->launch.tier, "L") == 0;
		v->report->interpreter_open |= report && strcmp(report->launch.interpreter, "closed") != 0;
	}
}

/* ---- The flow: what the records say is exactly what the job says -------------------------------------------- */

static const struct record_data *data_of(const struct record_data *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

static bool same_commit(const struct record_data *a, const struct record_data *b)
{
	return a && b && memcmp(a->commit, b->commit, SHA256_SIZE) == 0;
}

/* DERIVE of the sender put the data out, a REQUEST carried it. */
static result check_sent(struct verifier *v, const struct job_edge *edge, const struct record *sent)
{
	const struct record *derive;
	TRY(find_record(v, RECORD_DERIVE, edge->from, "", &derive));
	if (strcmp(sent->operation, edge->operation) != 0)
		return fail(OPERATION_NOT_ALLOWED, "the data was sent for '%s', the job says '%s'", sent->operation, edge->operation);
	return require(same_commit(data_of(derive->out, derive->out_count, edge->name), &sent->in[0]), DAC_COMMITMENT,
		"what was sent is not what its sender put out");
}

/* DERIVE of the receiver took the data in: what a REQUEST carried to it, or what entered from outside. */
static result check_taken(struct verifier *v, const struct job_edge *edge, const struct record *carrier)
{
	const struct record *derive;
	TRY(find_record(v, RECORD_DERIVE, edge->to, "", &derive));
	const struct record_data *carried = carrier->kind == RECORD_REQUEST ? &carrier->in[0] : &carrier->out[0];
	if (carrier->kind == RECORD_REQUEST && strcmp(carrier->target, derive->enclave) != 0)
		return fail(DAC_SPLICED, "the data was sent to %s", carrier->target);
	return require(same_commit(data_of(derive->in, derive->in_count, edge->name), carried), DAC_COMMITMENT,
		"the receiver did not take in what was sent");
}

/* To an external peer: the data is among what its sender put out. */
static result check_given_away(struct verifier *v, const struct job_edge *edge)
{
	const struct record *derive;
	TRY(find_record(v, RECORD_DERIVE, edge->from, "", &derive));
	return require(data_of(derive->out, derive->out_count, edge->name), DAC_COMMITMENT, "its sender did not put it out");
}

static result check_edge(struct verifier *v, const struct job_edge *edge)
{
	const struct job *job = &v->trust->job;
	const struct record *carrier;
	if (edge->call)
		return OK; /* judged record by record */
	if (!is_job_enclave(job, edge->to))
		return check_given_away(v, edge);
	if (is_job_enclave(job, edge->from)) {
		TRY(find_record(v, RECORD_REQUEST, edge->from, edge->name, &carrier));
		TRY(check_sent(v, edge, carrier));
		return check_taken(v, edge, carrier);
	}
	TRY(find_record(v, RECORD_ORIGIN, edge->to, edge->name, &carrier));
	if (carrier->has_ledger_ref || strcmp(carrier->operation, "external") != 0)
		return fail(DAC_KIND_RULE, "what came from '%s' is recorded as something else", edge->from);
	return check_taken(v, edge, carrier);
}

static result check_input(struct verifier *v, const struct job_input *input)
{
	const struct record *origin, *derive;
	TRY(find_record(v, RECORD_ORIGIN, input->enclave, data_name(input), &origin));
	TRY(find_record(v, RECORD_DERIVE, input->enclave, "", &derive));
	if (!same_commit(data_of(derive->in, derive->in_count, data_name(input)), &origin->out[0]))
		return fail(DAC_COMMITMENT, "'%s' did not take in its input", input->enclave);
	if (input->secret != origin->has_ledger_ref)
		return fail(DAC_KIND_RULE, input->secret ? "the secret was not released by a grant" : "a plain input names a grant");
	return OK;
}

static result find_output(const struct verifier *v, const struct job_output *output, const struct record_data **out)
{
	const struct record *derive;
	TRY(find_record(v, RECORD_DERIVE, output->enclave, "", &derive));
	const struct record_data *data = data_of(derive->out, derive->out_count, output->name);
	if (!data)
		return fail(DAC_COMMITMENT, "'%s' did not put it out", output->enclave);
	*out = data;
	return OK;
}

static result check_output(const struct verifier *v, const struct job_output *output)
{
	const struct record_data *data;
	return find_output(v, output, &data);
}

/* What came in by calls stands beside what the flow gives. */
static bool is_end_of(const struct job_edge *edge, const char *enclave)
{
	return edge && (strcmp(edge->from, enclave) == 0 || strcmp(edge->to, enclave) == 0);
}

/* An enclave took in and put out what the job gives it, and nothing else. */
static result check_enclave_data(struct verifier *v, const char *name)
{
	const struct job *job = &v->trust->job;
	const struct record *derive;
	size_t in = inputs_of(job, name), out = 0;
	TRY(find_record(v, RECORD_DERIVE, name, "", &derive));
	if (in == 0)
		in = 1; /* NO_INPUT */
	for (size_t i = 0; i < job->output_count; i++)
		out += strcmp(job->outputs[i].enclave, name) == 0;
	for (size_t i = 0; i < job->edge_count; i++)
		out += !job->edges[i].call && strcmp(job->edges[i].from, name) == 0;
	for (size_t i = 0; i < derive->in_count; i++)
		in += is_end_of(call_edge(job, derive->in[i].name), name);
	if (derive->in_count != in || derive->out_count != out)
		return fail(DAC_COMMITMENT, "%zu inputs and %zu outputs where the job has %zu and %zu", derive->in_count, derive->out_count,
			in, out);
	return OK;
}

static bool is_result(const struct job *job, const char *enclave)
{
	bool is_sink = true, has_output = false;
	for (size_t i = 0; i < job->edge_count; i++)
		if (!job->edges[i].call && strcmp(job->edges[i].from, enclave) == 0 && is_job_enclave(job, job->edges[i].to))
			is_sink = false;
	for (size_t i = 0; i < job->output_count; i++)
		has_output |= strcmp(job->outputs[i].enclave, enclave) == 0;
	return is_sink || has_output;
}

static result require_root(const struct verifier *v, const char *enclave)
{
	const struct receipt_head *head = &v->report->head;
	const struct place *place = find_place(v, RECORD_DERIVE, enclave, "");
	for (size_t i = 0; place && place->record != SIZE_MAX && i < head->root_count; i++)
		if (memcmp(head->roots[i].bytes, dac_oid(v->report->dac, place->record), OID_SIZE) == 0)
			return OK;
	return fail(DAC_MISSING_PARENT, "the result of '%s' is not among the receipt's results", enclave);
}

/* Roots are the DERIVE of every enclave with a declared output or without an edge to another enclave. */
static result check_roots(const struct verifier *v)
{
	const struct job *job = &v->trust->job;
	size_t expected = 0;
	for (size_t i = 0; i < job->enclave_count; i++)
		if (is_result(job, job->enclaves[i].name)) {
			expected++;
			TRY(require_root(v, job->enclaves[i].name));
		}
	if (v->report->head.root_count != expected)
		return fail(DAC_EXTRA_NODE, "%zu results where the job has %zu", v->report->head.root_count, expected);
	return OK;
}

static void check_flow(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	check(v, "flow.roots", "", check_roots(v));
	for (size_t i = 0; i < job->enclave_count; i++)
		check(v, "flow.enclave", job->enclaves[i].name, check_enclave_data(v, job->enclaves[i].name));
	for (size_t i = 0; i < job->edge_count; i++)
		check(v, "flow.edge", job->edges[i].name, check_edge(v, &job->edges[i]));
	for (size_t i = 0; i < job->input_count; i++)
		check(v, "flow.input", job->inputs[i].role, check_input(v, &job->inputs[i]));
	for (size_t i = 0; i < job->output_count; i++)
		check(v, "flow.output", job->outputs[i].name, check_output(v, &job->outputs[i]));
}

/* ---- Grants, statements, salts, files ------------------------------------------------------------------------ */

struct grant_row {
	struct unseal_grant grant;
	uint8_t oid[OID_SIZE];
	const struct receipt_root *root; /* of the host that released it */
	bool used;
};

/* Under the key of the epoch that it names, which like every other must stand and be valid. */
static result read_grant(struct verifier *v, struct span bytes, struct grant_row *row)
{
	const struct used_epoch *used;
	struct receipt_root *root;
	TRY(object_peek(KIND_UNSEAL_GRANT, bytes, &v->report->arena, &row->grant, row->oid));
	TRY(receipt_roots_use(&v->report->roots, row->grant.epoch_oid, &root, &used));
	row->root = root;
	return object_verify(KIND_UNSEAL_GRANT, bytes, &used->key);
}

static result read_grants(struct verifier *v, struct grant_row **out)
{
	void *memory;
	TRY(arena_alloc(&v->report->arena, v->grant_list.count + 1, sizeof(struct grant_row), &memory));
	struct grant_row *rows = memory;
	for (size_t i = 0; i < v->grant_list.count; i++)
		TRY(read_grant(v, v->grant_list.items[i].bytes, &rows[i]));
	*out = rows;
	return OK;
}

static result check_grant(const struct verifier *v, const struct record *origin, struct grant_row *row)
{
	const struct report *report = dac_report_of(v->report->dac, origin->host_report);
	if (row->used)
		return fail(DAC_DUPLICATE, "one grant for two secrets");
	row->used = true;
	if (report && memcmp(report->rot_id, row->root->trusted->rot_id, OID_SIZE) != 0)
		return fail(DAC_REPORT_MISMATCH, "the grant is of another host than the launch");
	return require(report && memcmp(report->launch.launch_id, row->grant.launch_id, LAUNCH_ID_SIZE) == 0, DAC_REPORT_MISMATCH,
		"the grant was for another launch");
}

static result check_released(const struct verifier *v, const struct record *origin, struct grant_row *rows)
{
	for (size_t i = 0; origin->has_ledger_ref && i < v->grant_list.count; i++)
		if (memcmp(rows[i].oid, origin->ledger_ref, OID_SIZE) == 0)
			return check_grant(v, origin, &rows[i]);
	return fail(MISSING_FIELD, "no grant released the secret");
}

static result check_secret(const struct verifier *v, const struct job_input *input, struct grant_row *rows)
{
	const struct record *origin;
	TRY(find_record(v, RECORD_ORIGIN, input->enclave, data_name(input), &origin));
	return check_released(v, origin, rows);
}

static result check_grant_count(const struct verifier *v)
{
	size_t secrets = 0;
	for (size_t i = 0; i < v->trust->job.input_count; i++)
		secrets += v->trust->job.inputs[i].secret;
	for (size_t i = 0; i < dac_count(v->report->dac); i++)
		secrets += is_unsealed(v, dac_record(v->report->dac, i));
	if (secrets != v->grant_list.count)
		return fail(DAC_EXTRA_NODE, "%zu grants for %zu secrets", v->grant_list.count, secrets);
	return require_ascending(&v->grant_list, "grants");
}

static void check_grants(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	struct grant_row *rows;
	if (!check(v, "grants.count", "", check_grant_count(v)) || !check(v, "grants.form", "", read_grants(v, &rows)))
		return;
	for (size_t i = 0; i < job->input_count; i++)
		if (job->inputs[i].secret)
			check(v, "grant", job->inputs[i].role, check_secret(v, &job->inputs[i], rows));
	for (size_t i = 0; i < dac_count(v->report->dac); i++) {
		const struct record *record = dac_record(v->report->dac, i);
		if (is_unsealed(v, record))
			check(v, "grant.unsealed", signer(record), check_released(v, record, rows));
	}
}

struct file_digest {
	uint8_t commit[SHA256_SIZE]; /* HMAC under the salt */
	uint8_t digest[SHA256_SIZE];
	uint64_t length;
};

static result digest_file(int fd, const uint8_t salt[static 32], struct file_digest *out)
{
	CLEANUP(hmac_free) struct hmac hmac = {0};
	CLEANUP(hash_free) struct hash hash = {0};
	uint8_t buffer[64 * 1024];
	TRY(hmac_start(&hmac, span_of(salt, 32)));
	TRY(hash_start(&hash, HASH_SHA256));
	out->length = 0;
	for (;;) {
		ssize_t got = pread(fd, buffer, sizeof(buffer), (off_t)out->length);
		if (got < 0)
			return fail_errno("reading the file");
		if (got == 0)
			break;
		hmac_add(&hmac, span_of(buffer, (size_t)got));
		hash_add(&hash, span_of(buffer, (size_t)got));
		out->length += (uint64_t)got;
	}
	hmac_finish(&hmac, out->commit);
	hash_finish(&hash, out->digest);
	return OK;
}

static int compare_salt(const void *key, const void *row)
{
	return memcmp(key, ((const struct salt_row *)row)->commit, SHA256_SIZE);
}

static result find_salt(const struct verifier *v, const uint8_t commit[static SHA256_SIZE], const struct salt_row **out)
{
	const struct salt_row *row =
		v->salts.count ? bsearch(commit, v->salts.rows, v->salts.count, sizeof(*v->salts.rows), compare_salt) : NULL;
	if (!row)
		return fail(MISSING_FIELD, "the salt of its commitment is missing");
	*out = row;
	return OK;
}

/* Statements are decoded once; each is judged with the output that it is about. */
static result read_statements(struct verifier *v)
{
	void *memory;
	TRY(require_ascending(&v->statement_list, "statements"));
	TRY(arena_alloc(&v->report->arena, v->statement_list.count + 1, sizeof(struct statement), &memory));
	struct statement *rows = memory;
	for (size_t i = 0; i < v->statement_list.count; i++)
		TRY(object_peek(KIND_STATEMENT, v->statement_list.items[i].bytes, &v->report->arena, &rows[i], NULL));
	v->statements = rows;
	return OK;
}

static result check_statement(struct verifier *v, const struct job_output *output, const struct record *record, size_t at)
{
	const struct statement *statement = &v->statements[at];
	CLEANUP(certificate_free) struct certificate certificate = CERTIFICATE_EMPTY;
	TRY(certificate_parse(dac_certificate(v->report->dac, record->certificate), &v->report->arena, &certificate));
	TRY(object_verify(KIND_STATEMENT, v->statement_list.items[at].bytes, &certificate.key));
	if (memcmp(statement->certificate, record->certificate, SHA256_SIZE) != 0 ||
		memcmp(statement->run_id, v->report->head.run_id, RUN_ID_SIZE) != 0)
		return fail(DAC_FOREIGN_RUN, "the statement is of another run or key");
	if (strcmp(statement->media_type, output->media_type) != 0)
		return fail(BAD_VALUE, "the statement is about %s", statement->media_type);
	return require_in_run(v, statement->time, "the statement");
}

static result find_statement(struct verifier *v, const struct job_output *output, const struct statement **out)
{
	const struct record *record;
	size_t found = 0;
	TRY(find_record(v, RECORD_DERIVE, output->enclave, "", &record));
	for (size_t i = 0; v->statements && i < v->statement_list.count; i++) {
		const struct statement *statement = &v->statements[i];
		if (strcmp(statement->name, output->name) != 0 || strcmp(statement->enclave, record->enclave) != 0)
			continue;
		TRY(check_statement(v, output, record, i));
		*out = statement;
		found++;
	}
	return found == 1 ? OK : fail(found ? DAC_EXTRA_NODE : MISSING_FIELD, "%zu statements about '%s'", found, output->name);
}

static void check_statements(struct verifier *v)
{
	const struct job *job = &v->trust->job;
	const struct statement *statement;
	for (size_t i = 0; i < job->output_count; i++)
		if (job->outputs[i].statement)
			check(v, "output.statement", job->outputs[i].name, find_statement(v, &job->outputs[i], &statement));
}

static result check_commitment(
	const struct verifier *v, const struct verify_file *file, const struct record_data *data, struct file_digest *out)
{
	const struct salt_row *salt;
	TRY(find_salt(v, data->commit, &salt));
	TRY(digest_file(file->fd, salt->salt, out));
	return require(memcmp(out->commit, data->commit, SHA256_SIZE) == 0, DIGEST_MISMATCH,
		file->is_input ? "the file is not the input of this run" : "the file is not the output of this run");
}

static result check_output_file(struct verifier *v, const struct job_output *output, const struct verify_file *file)
{
	const struct record_data *data;
	struct file_digest digest;
	const struct statement *statement;
	TRY(find_output(v, output, &data));
	TRY(check_commitment(v, file, data, &digest));
	if (!output->statement)
		return OK;
	TRY(find_statement(v, output, &statement));
	return require(memcmp(digest.digest, statement->digest, SHA256_SIZE) == 0 && digest.length == statement->length, DIGEST_MISMATCH,
		"the file is not what the enclave signed");
}

static result check_input_file(struct verifier *v, const struct job_input *input, const struct verify_file *file)
{
	const struct record *origin;
	struct file_digest digest;
	if (input->secret)
		return fail(BAD_VALUE, "a secret's commitment is never opened; it cannot be compared with a file");
	TRY(find_record(v, RECORD_ORIGIN, input->enclave, data_name(input), &origin));
	return check_commitment(v, file, &origin->out[0], &digest);
}

/* A name that the job does not have must not pass unnoticed. */
static result check_file(struct verifier *v, const struct verify_file *file)
{
	const struct job *job = &v->trust->job;
	for (size_t i = 0; !file->is_input && i < job->output_count; i++)
		if (strcmp(job->outputs[i].name, file->name) == 0)
			return check_output_file(v, &job->outputs[i], file);
	for (size_t i = 0; file->is_input && i < job->input_count; i++)
		if (strcmp(job->inputs[i].role, file->name) == 0)
			return check_input_file(v, &job->inputs[i], file);
	return fail(UNKNOWN_ROLE, "the job has no %s '%s'", file->is_input ? "input" : "output", file->name);
}

static void check_files(struct verifier *v)
{
	for (size_t i = 0; i < v->options->file_count; i++) {
		const struct verify_file *file = &v->options->files[i];
		check(v, file->is_input ? "input.file" : "output.file", file->name, check_file(v, file));
	}
}

static result use_salt(const struct verifier *v, const uint8_t commit[static SHA256_SIZE], const char *what)
{
	const struct salt_row *salt;
	result found = find_salt(v, commit, &salt);
	return found == OK ? OK : fail_within(found, "'%s'", what);
}

/* Salts of exactly the declared inputs (but secrets) and outputs: an edge's would open its data to guessing. */
static result check_salts(const struct verifier *v)
{
	const struct job *job = &v->trust->job;
	size_t expected = 0;
	for (size_t i = 0; i < job->output_count; i++, expected++) {
		const struct record_data *data;
		TRY(find_output(v, &job->outputs[i], &data));
		TRY(use_salt(v, data->commit, job->outputs[i].name));
	}
	for (size_t i = 0; i < job->input_count; i++) {
		const struct record *origin;
		if (job->inputs[i].secret)
			continue;
		expected++;
		TRY(find_record(v, RECORD_ORIGIN, job->inputs[i].enclave, job->inputs[i].role, &origin));
		TRY(use_salt(v, origin->out[0].commit, job->inputs[i].role));
	}
	if (v->salts.count != expected)
		return fail(DAC_EXTRA_NODE, "%zu salts for %zu declared inputs and outputs", v->salts.count, expected);
	return OK;
}

static result check_statement_count(const struct verifier *v)
{
	size_t expected = 0;
	for (size_t i = 0; i < v->trust->job.output_count; i++)
		expected += v->trust->job.outputs[i].statement;
	if (v->statement_list.count != expected)
		return fail(DAC_EXTRA_NODE, "%zu statements for %zu outputs that need one", v->statement_list.count, expected);
	return OK;
}

static result check_expiry(const struct verifier *v)
{
	if (v->trust->has_expires && v->options->at_ms > v->trust->expires_ms)
		return fail(TRUST_EXPIRED, "the trust file has expired");
	return OK;
}

/* ---- All of it ------------------------------------------------------------------------------------------------ */

static void run(struct verifier *v)
{
	check(v, "trust.valid", "", check_expiry(v));
	if (!check_form(v) || !check_hosts_trusted(v) || !check_head(v) || !check_sections(v) || !check_epoch_chain(v) || !check_hosts(v))
		return;
	check_epochs_used(v);
	if (!check_job(v))
		return;
	if (!check_manifests(v) || !check(v, "policies", "", check_policy_set(v)) || !check_references(v) || !check_versions(v) || !check_chain(v))
		return;
	if (!check(v, "flow.complete", "", fill_places(v)) && !v->places)
		return;
	check_launches(v);
	check_flow(v);
	check_grants(v);
	check(v, "statements.count", "", check_statement_count(v));
	check(v, "statements.form", "", read_statements(v));
	check_statements(v);
	check(v, "salts", "", check_salts(v));
	check_files(v);
}

/* Only if nothing else speaks against the receipt is "cannot judge" the honest answer. */
static bool is_refused(const struct verify_report *report)
{
	bool unjudged = false;
	for (size_t i = 0; i < report->check_count; i++) {
		const struct verify_check *row = &report->checks[i];
		if (row->ok)
			continue;
		if (row->reason != UNKNOWN_CRITICAL && row->reason != RECEIPT_UNJUDGED)
			return true;
		unjudged = true;
	}
	return !unjudged;
}

result receipt_verify(const struct verify_options *options, struct verify_report *out)
{
	struct verify_report report = {.verdict = VERDICT_ACCEPTED, .arena = arena_of(VERIFY_MEMORY)};
	struct verifier verifier = {.options = options, .trust = options->trust, .report = &report};
	if (options->epochs)
		verifier.known = *options->epochs;
	run(&verifier);
	if (report.check_count == 0) {
		verify_report_free(&report);
		return fail(NO_MEMORY, "verification");
	}
	if (report.verdict == VERDICT_REFUSED && !is_refused(&report))
		report.verdict = VERDICT_CANNOT_JUDGE;
	*out = report;
	return OK;
}
