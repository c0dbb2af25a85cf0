#include "receipt/chain.h"

#include <stdio.h>
#include <stdlib.h>

#include "evidence/platform.h"
#include "policy/table.h"
#include "policy/versions.h"
#include "wire/text.h"

enum { MEMORY = 1 << 30, TEXT_MAX = 1024 };

struct chain {
	const struct chain_options *options;
	const struct trust *trust;
	struct chain_report *report;
	struct epoch_history known;
};

void chain_report_free(struct chain_report *report)
{
	dac_free(report->dac);
	for (size_t i = 0; i < report->root_count; i++)
		receipt_epochs_free(&report->roots[i].epochs);
	for (size_t i = 0; i < report->policy_count; i++)
		policy_table_free(report->policies[i]);
	policy_references_free(report->references);
	policy_versions_free(report->versions);
	free(report->checks);
	free(report->verdicts);
	arena_free(&report->arena);
	*report = (struct chain_report){0};
}

/* ---- Checks of the whole ------------------------------------------------------------------------- */

static bool check(struct chain *c, const char *name, const char *object, result outcome)
{
	struct chain_report *report = c->report;
	struct verify_check row = {.name = name, .object = "", .ok = outcome == OK, .reason = outcome, .text = ""};
	char text[TEXT_MAX];
	snprintf(text, sizeof(text), "%s", outcome == OK ? "" : failure_text());
	if (outcome != OK && report->verdict == VERDICT_ACCEPTED)
		report->verdict = VERDICT_REFUSED;
	if (report->check_count == report->check_cap) {
		size_t cap = report->check_cap ? 2 * report->check_cap : 32;
		struct verify_check *grown = realloc(report->checks, cap * sizeof(*grown));
		if (!grown) {
			report->verdict = VERDICT_REFUSED;
			return false;
		}
		report->checks = grown;
		report->check_cap = cap;
	}
	if (arena_string(&report->arena, span_str(text), &row.text) != OK || arena_string(&report->arena, span_str(object), &row.object) != OK)
		report->verdict = VERDICT_REFUSED;
	report->checks[report->check_count++] = row;
	return outcome == OK;
}

static result alloc(struct chain *c, size_t count, size_t size, void *out)
{
	void *at;
	TRY(arena_alloc(&c->report->arena, count + 1, size, &at));
	memcpy(out, &at, sizeof(at));
	return OK;
}

/* ---- Roots and their epochs ------------------------------------------------------------------------ */

static const struct trust_root *trusted_root(const struct trust *trust, const uint8_t rot_id[static OID_SIZE])
{
	for (size_t i = 0; i < trust->root_count; i++)
		if (memcmp(trust->roots[i].rot_id, rot_id, OID_SIZE) == 0)
			return &trust->roots[i];
	return NULL;
}

static result read_chain(struct chain *c, const struct bundle_chain *given, struct chain_root *root)
{
	const struct bytes_list section = {given->objects, given->object_count};
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	root->trusted = trusted_root(c->trust, given->rot_id);
	rot_fingerprint(given->rot_id, fingerprint);
	if (!root->trusted)
		return fail(DAC_UNTRUSTED_ROOT, "the trust file does not name root %s", fingerprint);
	TRY(receipt_epochs_begin(root->trusted, &root->epochs));
	return receipt_epochs_read(&root->epochs, root->trusted, &section, c->trust, &c->known);
}

/* A root that is not trusted, or whose chain does not hold, fails the records under it and no others. */
static result read_roots(struct chain *c)
{
	struct chain_report *report = c->report;
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	TRY(alloc(c, report->bundle.chain_count, sizeof(*report->roots), &report->roots));
	for (size_t i = 0; i < report->bundle.chain_count; i++) {
		const struct bundle_chain *given = &report->bundle.chains[i];
		struct chain_root *root = &report->roots[i];
		memcpy(root->rot_id, given->rot_id, OID_SIZE);
		report->root_count++;
		rot_fingerprint(given->rot_id, fingerprint);
		if (!check(c, "epochs.chain", fingerprint, read_chain(c, given, root)))
			root->trusted = NULL;
	}
	return OK;
}

static struct chain_root *root_of(const struct chain *c, const uint8_t rot_id[static OID_SIZE])
{
	for (size_t i = 0; i < c->report->root_count; i++)
		if (memcmp(c->report->roots[i].rot_id, rot_id, OID_SIZE) == 0)
			return &c->report->roots[i];
	return NULL;
}

/* The epoch that a launch report names; a report that cannot be read is refused with its records. */
static result use_epoch(struct chain *c, struct span object)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	const struct used_epoch *used;
	struct report report;
	if (object_peek(KIND_REPORT, object, &arena, &report, NULL) != OK)
		return OK;
	struct chain_root *root = root_of(c, report.rot_id);
	if (!root || !root->trusted || receipt_epochs_use(&root->epochs, report.epoch_oid, &used) != OK)
		return OK;
	struct dac_root row = {
		.era = used->link->era,
		.epoch = used->link->epoch,
		.not_before = used->link->not_before,
		.not_after = used->link->not_after,
		.key = &used->key,
	};
	memcpy(row.rot_id, root->rot_id, OID_SIZE);
	memcpy(row.epoch_oid, used->link->oid, OID_SIZE);
	return dac_add_root(c->report->dac, &row);
}

static bool is_used(const struct receipt_epochs *epochs, const uint8_t oid[static OID_SIZE])
{
	for (const struct used_epoch *used = epochs->used; used; used = used->next)
		if (memcmp(used->link->oid, oid, OID_SIZE) == 0)
			return true;
	return false;
}

/* A chain ends with the newest epoch that something is of: one bundle has one form. */
static result require_end(const struct chain_root *root)
{
	const struct epoch_chain *chain = root->epochs.chain;
	size_t count = epoch_chain_count(chain);
	if (is_used(&root->epochs, epoch_chain_at(chain, count - 1)->oid))
		return OK;
	return fail(DAC_EXTRA_NODE, "epochs behind the newest one that a launch report names");
}

static void check_roots(struct chain *c)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	for (size_t i = 0; i < c->report->root_count; i++) {
		const struct chain_root *root = &c->report->roots[i];
		if (!root->trusted)
			continue;
		rot_fingerprint(root->rot_id, fingerprint);
		check(c, "epochs.closed", fingerprint, require_end(root));
		check(c, "epochs.standing", fingerprint, receipt_epochs_stand(&root->epochs, root->trusted, c->trust, &c->known));
	}
}

/* ---- Policies, reference sets, platforms ------------------------------------------------------------- */

static result load_policies(struct chain *c)
{
	struct chain_report *report = c->report;
	TRY(alloc(c, report->bundle.policy_count, sizeof(*report->policies), &report->policies));
	TRY(alloc(c, report->bundle.policy_count, SHA256_SIZE, &report->policy_digests));
	for (size_t i = 0; i < report->bundle.policy_count; i++) {
		CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
		struct span compiled = report->bundle.policies[i].bytes;
		TRY(policy_digest(compiled, report->policy_digests[i]));
		TRY(policy_set_join(&compiled, 1, &set));
		TRY(policy_table_load(bytes_span(&set), &report->policies[i]));
		report->policy_count++;
	}
	return OK;
}

static const struct policy_table *policy_of(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	const struct chain_report *report = ((const struct chain *)ctx)->report;
	for (size_t i = 0; i < report->policy_count; i++)
		if (memcmp(report->policy_digests[i], digest, SHA256_SIZE) == 0)
			return report->policies[i];
	const struct policy_version *version = policy_versions_find(report->versions, digest);
	return version ? version->table : NULL;
}

static result load_versions(struct chain *c)
{
	const struct bundle *bundle = &c->report->bundle;
	TRY(policy_versions_new(&c->report->versions));
	for (size_t i = 0; i < bundle->version_count; i++)
		TRY(policy_versions_add(c->report->versions, bundle->versions[i].bytes, NULL));
	return OK;
}

/* May a record name this policy instead of its launch's? */
static result policy_follows(void *ctx, const uint8_t launched[static SHA256_SIZE], const uint8_t named[static SHA256_SIZE])
{
	const struct chain_report *report = ((const struct chain *)ctx)->report;
	const struct policy_version *version = policy_versions_find(report->versions, named);
	struct policy_view view;
	if (!version)
		return fail(DAC_REPORT_MISMATCH, "the record names another policy than the one that was launched, and no version in the bundle");
	for (size_t i = 0; i < report->policy_count; i++)
		if (memcmp(report->policy_digests[i], launched, SHA256_SIZE) == 0) {
			policy_at(report->policies[i], 0, &view);
			return policy_version_follows(&view, version, 0);
		}
	return fail(NO_POLICY, "the policy of a launch is not in the bundle");
}

static result require_author(const struct chain *c, const struct policy_reference_view *set)
{
	for (size_t i = 0; i < c->trust->author_count; i++)
		if (span_equal(SPAN_ARRAY(c->trust->authors[i].bytes), set->author))
			return OK;
	return fail(AUTHOR_UNKNOWN, "set '%.*s' is signed by somebody whom the trust file does not name among its authors", (int)set->set.len,
		(const char *)set->set.data);
}

static result load_references(struct chain *c)
{
	const struct bundle *bundle = &c->report->bundle;
	struct span sets[POLICY_MAX_REFERENCES];
	struct policy_reference_view set;
	if (bundle->reference_count == 0)
		return OK;
	for (size_t i = 0; i < bundle->reference_count; i++)
		sets[i] = bundle->references[i].bytes;
	TRY(policy_references_load(sets, bundle->reference_count, &c->report->references));
	for (size_t i = 0; i < policy_references_count(c->report->references); i++) {
		policy_references_at(c->report->references, i, &set);
		TRY(require_author(c, &set));
	}
	return OK;
}

static result judge_platform(struct chain *c)
{
	const struct platform_expectation expected = {.trust = &c->trust->platform, .at_ms = c->options->at_ms};
	return platform_judge(c->report->bundle.platform, c->report->bundle.platform_count, &expected, &c->report->platform);
}

/* ---- Enclaves as expected ------------------------------------------------------------------------------ */

static result require_registers(const struct trust *trust, const struct report *report)
{
	for (size_t i = 0; i < trust->tcb_count; i++)
		if (memcmp(report->registers[REGISTER_AP].value, trust->tcbs[i].register0, SHA384_SIZE) == 0 &&
			memcmp(report->registers[REGISTER_HOST].value, trust->tcbs[i].register1, SHA384_SIZE) == 0)
			return OK;
	return fail(MEASUREMENT_MISMATCH, "the host's measured programs (registers 0 and 1) are not those of the trust file");
}

static result require_not_revoked(const struct trust *trust, const struct launch *launch)
{
	for (size_t i = 0; i < trust->revoked_count; i++)
		if (memcmp(trust->revoked[i].value, launch->measurement, SHA384_SIZE) == 0 ||
			memcmp(trust->revoked[i].value, launch->core, SHA384_SIZE) == 0)
			return fail(MEASUREMENT_REVOKED, "the trust file revokes the measurement of '%s'", launch->name);
	return OK;
}

static result require_expected(const struct trust *trust, const struct launch *launch)
{
	if (!trust->has_job)
		return OK;
	for (size_t i = 0; i < trust->job.enclave_count; i++) {
		const struct job_enclave *enclave = &trust->job.enclaves[i];
		if (strcmp(enclave->name, launch->name) != 0)
			continue;
		if (memcmp(enclave->measurement, launch->measurement, SHA384_SIZE) != 0)
			return fail(MEASUREMENT_MISMATCH, "'%s' is not the program of the trust file", launch->name);
		if (memcmp(enclave->policy_digest, launch->policy_digest, SHA256_SIZE) != 0)
			return fail(MEASUREMENT_MISMATCH, "'%s' was launched with another policy than that of the trust file", launch->name);
		return OK;
	}
	return fail(MEASUREMENT_MISMATCH, "the trust file's job has no enclave '%s'", launch->name);
}

static result judge_enclave(struct chain *c, const struct report *report)
{
	if (!report || !report->has_launch)
		return fail(DAC_UNKNOWN_REPORT, "no launch report");
	unsigned level = report->instrumented ? 0 : platform_level(&c->report->platform, report);
	if (level < c->report->level)
		c->report->level = level;
	TRY(require_not_revoked(c->trust, &report->launch));
	if (c->trust->tcb_count)
		TRY(require_registers(c->trust, report));
	return require_expected(c->trust, &report->launch);
}

/* ---- Records --------------------------------------------------------------------------------------------- */

static void refuse(struct chain_report *report, size_t at, enum reason reason, const char *text)
{
	struct chain_verdict *verdict = &report->verdicts[at];
	if (verdict->reason != OK)
		return;
	verdict->reason = reason;
	verdict->level = 0;
	if (arena_string(&report->arena, span_str(text), &verdict->text) != OK)
		verdict->text = "";
}

static bool has_broken_parent(const struct chain_report *report, const struct record *record)
{
	for (size_t p = 0; p < record->parent_count; p++) {
		size_t parent = dac_find(report->dac, record->parents[p].oid);
		if (parent == SIZE_MAX || report->verdicts[parent].reason != OK)
			return true;
	}
	return false;
}

/* What the set says of each record, then what the trust file says of its enclave, which it hands down like any other fault. */
static result judge_records(struct chain *c)
{
	struct chain_report *report = c->report;
	size_t count = dac_count(report->dac);
	report->verdicts = calloc(count + 1, sizeof(*report->verdicts));
	if (!report->verdicts)
		return fail(NO_MEMORY, "verdicts");
	report->level = 3;
	for (size_t i = 0; i < count; i++) {
		const struct record *record = dac_record(report->dac, i);
		struct dac_verdict verdict = dac_verdict(report->dac, i);
		report->verdicts[i] = (struct chain_verdict){verdict.reason, verdict.text, verdict.level};
		result judged = verdict.reason == OK ? judge_enclave(c, dac_report_of(report->dac, record->host_report)) : OK;
		if (judged != OK)
			refuse(report, i, judged, failure_text());
		if (report->verdicts[i].reason == OK && has_broken_parent(report, record))
			refuse(report, i, DAC_BROKEN_ANCESTOR, "one of its parents was refused");
	}
	for (size_t i = 0; i < count; i++) {
		const struct chain_verdict *verdict = &report->verdicts[i];
		report->accepted += verdict->reason == OK;
		report->refused += verdict->reason != OK;
		report->depth = verdict->level > report->depth ? verdict->level : report->depth;
	}
	return report->refused ? fail(DAC_BROKEN_ANCESTOR, "%zu of %zu records were refused", report->refused, count) : OK;
}

static result make_set(struct chain *c)
{
	struct chain_report *report = c->report;
	struct dac_config config = {
		.skew_ms = c->trust->skew_ms,
		.latest_ms = c->options->at_ms + c->trust->skew_ms,
		.threads = c->options->threads,
		.policy = policy_of,
		.follows = policy_follows,
		.policy_ctx = c,
		.references = report->references,
		.platform = &report->platform,
		.revocations = c->options->revocations,
	};
	uint8_t run_id[RUN_ID_SIZE];
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct record first;
	/* One bundle is about one run, that of its first record unless the verifier knows which it must be. */
	TRY(object_peek(KIND_RECORD, report->bundle.records[0].bytes, &arena, &first, NULL));
	memcpy(run_id, c->options->run_id ? c->options->run_id : first.run_id, RUN_ID_SIZE);
	void *kept;
	TRY(arena_alloc(&report->arena, 1, RUN_ID_SIZE, &kept));
	memcpy(kept, run_id, RUN_ID_SIZE);
	config.run_id = kept;
	TRY(dac_new(&config, &report->dac));
	for (size_t i = 0; i < report->bundle.report_count; i++)
		TRY(use_epoch(c, report->bundle.reports[i].bytes));
	return bundle_load(&report->bundle, report->dac);
}

/* ---- All of it ---------------------------------------------------------------------------------------------- */

static result check_expiry(const struct chain *c)
{
	if (c->trust->has_expires && c->options->at_ms > c->trust->expires_ms)
		return fail(TRUST_EXPIRED, "the trust file has expired");
	return OK;
}

/* ---- Histories of hosts ------------------------------------------------------------------------------------- */

static const struct head_verdict *head_of(const struct chain_report *report, const uint8_t rot_id[static OID_SIZE])
{
	for (size_t i = 0; i < report->head_count; i++)
		if (memcmp(report->heads[i].rot_id, rot_id, OID_SIZE) == 0)
			return &report->heads[i];
	return NULL;
}

/* DA-12: whoever vouches for a history may have been revoked like any enclave. */
static result require_head_not_revoked(const struct chain *c, const struct head_verdict *head)
{
	const struct revocation_subject subject = {.rot_id = head->rot_id, .epoch = head->statement.epoch_oid};
	if (!c->options->revocations)
		return OK;
	return revocation_judge(c->options->revocations, &subject, head->statement.time);
}

static result judge_head(struct chain *c, struct span proof)
{
	struct chain_report *report = c->report;
	struct head_verdict *verdict = &report->heads[report->head_count];
	const struct head_expectation expected = {.trust = c->trust, .known = &c->known, .nonce = c->options->nonce, .dac = report->dac,
		.latest_ms = c->options->at_ms + c->trust->skew_ms};
	TRY(head_proof_judge(proof, &expected, &report->arena, verdict));
	TRY(require_head_not_revoked(c, verdict));
	if (head_of(report, verdict->rot_id))
		return fail(DAC_DUPLICATE, "two proofs of one root's history");
	if (!root_of(c, verdict->rot_id))
		return fail(DAC_EXTRA_NODE, "a history of a root that no record names");
	report->head_count++;
	return OK;
}

/* The proofs of an earlier bundle were judged then. */
static result follow_earlier(struct chain *c)
{
	struct chain_report *report = c->report;
	struct bundle earlier;
	TRY(bundle_decode(c->options->earlier, &report->arena, &earlier));
	if (earlier.proof_count == 0)
		return fail(HEAD_MISSING, "in the bundle that was shown earlier");
	for (size_t i = 0; i < earlier.proof_count; i++) {
		struct head_proof proof;
		struct head_statement statement;
		TRY(schema_decode(&head_proof_schema, earlier.proofs[i].bytes, &report->arena, &proof));
		TRY(object_peek(KIND_HEAD_PROOF, proof.statement, &report->arena, &statement, NULL));
		const struct head_verdict *now = head_of(report, statement.rot_id);
		if (!now)
			return fail(HEAD_MISSING, "the root of the history that was shown earlier shows none now");
		TRY(head_proof_follows(&proof, &now->proof));
	}
	return OK;
}

static result require_head(const struct chain *c, const struct chain_root *root)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(root->rot_id, fingerprint);
	return head_of(c->report, root->rot_id) ? OK : fail(HEAD_MISSING, "of root %s", fingerprint);
}

/* A chain of several hosts: each of them proves its own history, and gives the proof with its own bundle. */
static result read_beside(struct chain *c, struct bundle *out)
{
	for (size_t i = 0; i < c->options->beside_count; i++) {
		struct bundle *bundle = &out[i];
		TRY(bundle_decode(c->options->beside[i], &c->report->arena, bundle));
		bool same = bundle->root_count == c->report->bundle.root_count &&
			memcmp(bundle->roots, c->report->bundle.roots, bundle->root_count * sizeof(*bundle->roots)) == 0;
		if (!same)
			return fail(HEAD_RECORD_MISSING, "bundle %zu that stands beside it is about other records", i + 1);
		if (bundle->proof_count == 0)
			return fail(HEAD_MISSING, "in bundle %zu that stands beside it", i + 1);
	}
	return OK;
}

static bool is_there(const struct chain *c, const struct bundle *beside, size_t count, struct span proof)
{
	for (size_t i = 0; i < c->report->bundle.proof_count; i++)
		if (span_equal(c->report->bundle.proofs[i].bytes, proof))
			return true;
	for (size_t k = 0; k < count; k++)
		for (size_t i = 0; i < beside[k].proof_count; i++)
			if (span_equal(beside[k].proofs[i].bytes, proof))
				return true;
	return false;
}

static result judge_proofs(struct chain *c)
{
	struct chain_report *report = c->report;
	struct bundle *beside;
	size_t proofs = report->bundle.proof_count;
	TRY(alloc(c, c->options->beside_count, sizeof(*beside), &beside));
	memset(beside, 0, c->options->beside_count * sizeof(*beside));
	bool read = check(c, "history.beside", "", read_beside(c, beside));
	for (size_t k = 0; k < c->options->beside_count && read; k++)
		proofs += beside[k].proof_count;
	TRY(alloc(c, proofs, sizeof(*report->heads), &report->heads));
	for (size_t i = 0; i < report->bundle.proof_count; i++)
		check(c, "history", "", judge_head(c, report->bundle.proofs[i].bytes));
	for (size_t k = 0; k < c->options->beside_count && read; k++)
		for (size_t i = 0; i < beside[k].proof_count; i++)
			if (!is_there(c, beside, k, beside[k].proofs[i].bytes))
				check(c, "history", "", judge_head(c, beside[k].proofs[i].bytes));
	return OK;
}

static bool is_called(const struct chain *c, const struct chain_root *root, const char *who)
{
	char text[EPOCH_FINGERPRINT_SIZE], hex[2 * OID_SIZE + 1];
	rot_fingerprint(root->rot_id, text);
	hex_encode(SPAN_ARRAY(root->rot_id), hex);
	if (strcmp(who, text) == 0 || strcmp(who, hex) == 0)
		return true;
	for (size_t i = 0; c->trust->has_job && i < c->trust->job.host_count; i++)
		if (strcmp(c->trust->job.hosts[i].name, who) == 0 && memcmp(c->trust->job.hosts[i].rot_id, root->rot_id, OID_SIZE) == 0)
			return true;
	return false;
}

static result require_head_of(const struct chain *c, const char *who)
{
	for (size_t i = 0; i < c->report->root_count; i++)
		if (is_called(c, &c->report->roots[i], who))
			return require_head(c, &c->report->roots[i]);
	return fail(HEAD_MISSING, "no record of this chain is of '%s': give the name of a host in the trust file's job, 64 hex digits of its root, "
				  "or its fingerprint", who);
}

static result judge_heads(struct chain *c)
{
	struct chain_report *report = c->report;
	char fingerprint[EPOCH_FINGERPRINT_SIZE] = "";
	TRY(judge_proofs(c));
	for (size_t i = 0; (c->options->require_head || c->trust->require_tpm_head) && i < report->root_count; i++) {
		rot_fingerprint(report->roots[i].rot_id, fingerprint);
		check(c, "history.shown", fingerprint, require_head(c, &report->roots[i]));
	}
	for (size_t i = 0; i < c->options->head_of_count; i++)
		check(c, "history.shown", c->options->heads_of[i], require_head_of(c, c->options->heads_of[i]));
	if (c->options->earlier.len)
		check(c, "history.goes-on", "", follow_earlier(c));
	return OK;
}

static result run(struct chain *c)
{
	struct chain_report *report = c->report;
	struct dac_summary summary;
	check(c, "trust.valid", "", check_expiry(c));
	if (!check(c, "bundle.form", "", bundle_decode(c->options->bundle, &report->arena, &report->bundle)))
		return OK;
	TRY(read_roots(c));
	if (!check(c, "policies", "", load_policies(c)) || !check(c, "references", "", load_references(c)) ||
		!check(c, "policies.versions", "", load_versions(c)))
		return OK;
	TRY(judge_platform(c));
	if (!check(c, "bundle.objects", "", make_set(c)))
		return OK;
	check(c, "bundle.closed", "", bundle_check(&report->bundle, report->dac));
	TRY(dac_verify(report->dac, &summary));
	check_roots(c);
	check(c, "records", "", judge_records(c));
	TRY(judge_heads(c));
	report->compared = c->trust->has_job;
	return OK;
}

/* Only if nothing else speaks against it is "cannot judge" the honest answer. */
static bool is_refused(const struct chain_report *report)
{
	bool unjudged = false;
	for (size_t i = 0; i < report->check_count; i++) {
		if (report->checks[i].ok)
			continue;
		if (report->checks[i].reason != RECEIPT_UNJUDGED)
			return true;
		unjudged = true;
	}
	return !unjudged;
}

result chain_verify(const struct chain_options *options, struct chain_report *out)
{
	struct chain_report report = {.verdict = VERDICT_ACCEPTED, .arena = arena_of(MEMORY)};
	struct chain c = {.options = options, .trust = options->trust, .report = &report};
	if (options->epochs)
		c.known = *options->epochs;
	result ran = run(&c);
	if (ran != OK) {
		chain_report_free(&report);
		return ran;
	}
	if (report.verdict == VERDICT_REFUSED && !is_refused(&report))
		report.verdict = VERDICT_CANNOT_JUDGE;
	*out = report;
	return OK;
}
