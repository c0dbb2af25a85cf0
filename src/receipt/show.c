#include "receipt/show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "object/epoch_rules.h"
#include "object/seal.h"
#include "policy/table.h"
#include "receipt/tree.h"
#include "wire/text.h"

enum { VIEW_MEMORY = 512 << 20, TEXT_MAX_SIZE = 256 << 20 };

const char *level_sentence(unsigned level)
{
	static const char *const sentences[] = {
		"Level-0: no evidence; nothing but a key stands behind it.",
		("Level-1: signed by the host's secure processor; trusts the host's root user, kernel and `trothd host`, whose word the "
		 "measurements are."),
		"Level-2: as Level-1, and a TPM vouches for how the host was booted; its root user at run time is still trusted.",
		"Level-3: the host is not trusted; only the maker of the processor, the measured image and its TCB are.",
	};
	return level < COUNT_OF(sentences) ? sentences[level] : "an unknown level";
}

const char *recorder_sentence(const char *recorder)
{
	if (strcmp(recorder, "journal") == 0)
		return "order and time are this host's word; a later thief of this epoch key could make such a receipt";
	return NULL;
}

const char *const tier_l_sentence = "tier L: an enclave ran without namespaces, confined by Landlock and a call filter alone; docs/THREATS.md lists what that cannot stop";
const char *const weak_isolation_sentence = "isolation=weak: other processes of the same user could reach a program while it ran";
const char *const open_interpreter_sentence =
	"interpreter=open: a program could run scripts out of its data, which nobody measured, if its arguments tell it to";

/* ---- Reading ------------------------------------------------------------------------------------------ */

void receipt_view_free(struct receipt_view *view)
{
	dac_free(view->dac);
	arena_free(&view->arena);
	*view = (struct receipt_view){0};
}

static result read_list(struct receipt_view *view, struct span bytes, struct bytes_list *out)
{
	return schema_decode(&bytes_list_schema, bytes, &view->arena, out);
}

static result read_section(struct receipt_view *view, const struct receipt_section *section)
{
	switch (section->id) {
	case SECTION_EPOCHS:
		TRY(read_list(view, section->bytes, &view->epochs));
		for (size_t i = 0; i < view->epochs.count; i++)
			view->epoch_keys += view->epochs.items[i].bytes.len == SPKI_SIZE; /* no record is so short */
		return OK;
	case SECTION_CERTIFICATES:
		return read_list(view, section->bytes, &view->certificates);
	case SECTION_REPORTS:
		return read_list(view, section->bytes, &view->reports);
	case SECTION_RECORDS:
		return read_list(view, section->bytes, &view->records);
	case SECTION_MANIFESTS:
		return read_list(view, section->bytes, &view->manifests);
	case SECTION_POLICIES:
		return read_list(view, section->bytes, &view->policies);
	case SECTION_GRANTS:
		return read_list(view, section->bytes, &view->grants);
	case SECTION_STATEMENTS:
		return read_list(view, section->bytes, &view->statements);
	case SECTION_SALTS:
		return schema_decode(&salt_list_schema, section->bytes, &view->arena, &view->salts);
	case SECTION_PLATFORM:
		return read_list(view, section->bytes, &view->platform);
	case SECTION_ROOTS:
		return schema_decode(&receipt_roots_schema, section->bytes, &view->arena, &view->roots);
	case SECTION_JOB:
		return schema_decode(&job_schema, section->bytes, &view->arena, &view->job);
	default:
		return OK;
	}
}

static result open_view(struct span bytes, struct receipt_view *view)
{
	struct dac_config config = {.threads = 1};
	TRY(receipt_decode(bytes, &view->arena, &view->receipt));
	TRY(object_peek(KIND_RECEIPT_HEAD, view->receipt.head, &view->arena, &view->head, NULL));
	for (size_t i = 0; i < view->receipt.section_count; i++)
		TRY(read_section(view, &view->receipt.sections[i]));
	TRY(dac_new(&config, &view->dac));
	for (size_t i = 0; i < view->reports.count; i++)
		TRY(dac_add_report(view->dac, view->reports.items[i].bytes, NULL));
	for (size_t i = 0; i < view->records.count; i++)
		TRY(dac_add_record(view->dac, view->records.items[i].bytes, NULL));
	return OK;
}

result receipt_view_open(struct span bytes, struct receipt_view *out)
{
	struct receipt_view view = {.arena = arena_of(VIEW_MEMORY)};
	result opened = open_view(bytes, &view);
	if (opened != OK) {
		receipt_view_free(&view);
		return opened;
	}
	*out = view;
	return OK;
}

/* ---- Writing ------------------------------------------------------------------------------------------ */

struct show {
	const struct receipt_view *view;
	const struct show_options *options;
	struct writer w;
	struct tree *tree;
};

static void put(struct show *s, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(struct show *s, const char *format, ...)
{
	char line[2048];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	writer_str(&s->w, line);
}

static const char *epoch_kind(uint8_t reason)
{
	static const char *const names[] = {"inception", "rotation by period", "rotation after an event", "rotation by the operator",
		"new recovery set", "recovery"};
	return reason < COUNT_OF(names) ? names[reason] : "?";
}

/* The record with the head's epoch, as the receipt tells it. */
static void show_epoch(struct show *s)
{
	for (size_t i = 0; i < s->view->epochs.count; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct epoch_record record;
		if (epoch_record_parse(s->view->epochs.items[i].bytes, &arena, &record) != OK ||
			memcmp(record.oid, s->view->head.epoch_oid, OID_SIZE) != 0)
			continue;
		put(s, "  epoch     era %u, epoch %llu (%s), one of %zu\n", record.epoch.era, (unsigned long long)record.epoch.epoch,
			epoch_kind(record.epoch.reason), s->view->epochs.count - s->view->epoch_keys);
		return;
	}
	put(s, "  epoch     %s.. (whose record is not here)\n", tree_short_hex(s->view->head.epoch_oid));
}

/* A root that never rotated has nothing to tell. */
static void show_epochs(struct show *s)
{
	enum { MOST_SHOWN = 32 };
	size_t count = s->view->epochs.count - s->view->epoch_keys;
	if (count < 2)
		return;
	put(s, "\nEpochs of the root\n");
	if (count > MOST_SHOWN)
		put(s, "  (%zu earlier ones)\n", count - MOST_SHOWN);
	for (size_t i = count > MOST_SHOWN ? count - MOST_SHOWN : 0; i < count; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct epoch_record record;
		char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];
		if (epoch_record_parse(s->view->epochs.items[i].bytes, &arena, &record) != OK) {
			put(s, "  (a record that cannot be read)\n");
			continue;
		}
		clock_format(record.epoch.not_before, from);
		clock_format(record.epoch.not_after, to);
		put(s, "  %u.%-6llu %s..  %s to %s  %s%s\n", record.epoch.era, (unsigned long long)record.epoch.epoch, tree_short_hex(record.oid),
			from, to, epoch_kind(record.epoch.reason),
			memcmp(record.oid, s->view->head.epoch_oid, OID_SIZE) == 0 ? ", signed the receipt" : "");
	}
}

static const char *host_of_root(const struct job *job, const uint8_t *rot_id)
{
	for (size_t i = 0; i < job->host_count; i++)
		if (memcmp(job->hosts[i].rot_id, rot_id, OID_SIZE) == 0)
			return tree_plain(job->hosts[i].name);
	return "(no host of the job)";
}

static size_t count_epochs(const struct receipt_root_row *row)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	struct bytes_list list;
	size_t count = 0;
	if (schema_decode(&bytes_list_schema, row->epochs, &arena, &list) != OK)
		return 0;
	for (size_t i = 0; i < list.count; i++)
		count += list.items[i].bytes.len != SPKI_SIZE;
	return count;
}

static void put_root(struct show *s, const uint8_t *rot_id, size_t epochs, const char *more)
{
	const struct job *job = &s->view->job;
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(rot_id, fingerprint);
	put(s, "  %-16s root %s, %zu epoch%s%s\n", host_of_root(job, rot_id), fingerprint, epochs, epochs == 1 ? "" : "s", more);
}

/* Of a run on several hosts: whose word is in it. */
static void show_hosts(struct show *s)
{
	if (s->view->roots.count == 0)
		return;
	put(s, "\nHosts\n");
	put_root(s, s->view->head.rot_id, s->view->epochs.count - s->view->epoch_keys, ", coordinated the run and signed the receipt");
	for (size_t i = 0; i < s->view->roots.count; i++)
		put_root(s, s->view->roots.rows[i].rot_id, count_epochs(&s->view->roots.rows[i]), "");
}

static void show_head(struct show *s)
{
	const struct receipt_head *head = &s->view->head;
	char time[CLOCK_TEXT_SIZE], fingerprint[EPOCH_FINGERPRINT_SIZE], run[2 * RUN_ID_SIZE + 1];
	clock_format(head->time, time);
	rot_fingerprint(head->rot_id, fingerprint);
	hex_encode(SPAN_ARRAY(head->run_id), run);
	put(s, "Receipt of job '%s'\n", tree_plain(s->view->job.name));
	put(s, "  root      %s\n", fingerprint);
	show_epoch(s);
	put(s, "  time      %s (boot %llu, head %llu)\n", time, (unsigned long long)head->boot_gen, (unsigned long long)head->seq);
	put(s, "  run       %s\n", run);
	if (head->has_nonce) {
		char nonce[2 * sizeof(head->nonce) + 1];
		hex_encode(SPAN_ARRAY(head->nonce), nonce);
		put(s, "  nonce     %s\n", nonce);
	}
	put(s, "  recorder  %s\n", tree_plain(head->recorder));
	put(s, "  size      %zu records, %zu sections\n", s->view->records.count, head->section_count);
}

/* Launch report of an enclave by its name. */
static const struct report *report_of(const struct receipt_view *view, const char *name)
{
	for (size_t i = 0; i < dac_count(view->dac); i++) {
		const struct report *report = dac_report_of(view->dac, dac_record(view->dac, i)->host_report);
		if (report && report->has_launch && strcmp(report->launch.name, name) == 0)
			return report;
	}
	return NULL;
}

static void show_enclaves(struct show *s)
{
	const struct job *job = &s->view->job;
	put(s, "\nEnclaves\n");
	for (size_t i = 0; i < job->enclave_count; i++) {
		const struct job_enclave *enclave = &job->enclaves[i];
		const struct report *report = report_of(s->view, enclave->name);
		put(s, "  %-16s measurement %s..  core %s..", tree_plain(enclave->name), tree_short_hex(enclave->measurement),
			tree_short_hex(enclave->core));
		if (!report) {
			put(s, "  (never launched)\n");
			continue;
		}
		put(s, "  tier %s  isolation %s  limits %s  memory %s  interpreter %s%s\n", tree_plain(report->launch.tier),
			tree_plain(report->launch.isolation), tree_plain(report->launch.limits), tree_plain(report->launch.secret_memory),
			tree_plain(report->launch.interpreter), report->instrumented ? "  INSTRUMENTED BUILD" : "");
		if (s->view->roots.count)
			put(s, "  %-16s ran on %s\n", "", host_of_root(job, report->rot_id));
	}
	for (size_t i = 0; i < job->external_count; i++) {
		const struct job_external *external = &job->externals[i];
		put(s, "  %-16s outside Troth (Level-0), %s %s..%s%s%s\n", tree_plain(external->name), external->uri ? "authority" : "key",
			tree_short_hex(external->spki), external->uri ? " for " : "", external->uri ? tree_plain(external->uri) : "",
			external->shown ? "; is shown a path to an authority" : "");
	}
}

static void show_policies(struct show *s)
{
	struct policy_table *table;
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	struct span *spans = calloc(s->view->policies.count + 1, sizeof(*spans));
	put(s, "\nPolicies in force\n");
	if (!spans) {
		put(s, "  (not enough memory)\n");
		return;
	}
	for (size_t i = 0; i < s->view->policies.count; i++)
		spans[i] = s->view->policies.items[i].bytes;
	result joined = policy_set_join(spans, s->view->policies.count, &set);
	free(spans);
	if (joined != OK || policy_table_load(bytes_span(&set), &table) != OK) {
		put(s, "  (they cannot be read)\n");
		return;
	}
	for (size_t i = 0; i < policy_count(table); i++) {
		struct policy_view view;
		char id[POLICY_NAME_MAX + 1];
		policy_at(table, i, &view);
		snprintf(id, sizeof(id), "%.*s", (int)view.id.len, (const char *)view.id.data);
		put(s, "  %-16s version %llu  digest %s..  Level-%u, depth %u, peers", tree_plain(id), (unsigned long long)view.version,
			tree_short_hex(view.digest), view.required_level, view.max_dac_depth);
		for (size_t p = 0; p < view.peer_count; p++) {
			struct policy_peer_view peer;
			policy_peer(table, &view, p, &peer);
			snprintf(id, sizeof(id), "%.*s", (int)peer.id.len, (const char *)peer.id.data);
			put(s, " %s%s", tree_plain(id), peer.denied ? " (denied)" : peer.level0 ? " (Level-0)" : "");
		}
		put(s, view.peer_count ? "\n" : " none\n");
	}
	policy_table_free(table);
}

/* ---- The chain ------------------------------------------------------------------------------------------ */

static result show_chain(struct show *s)
{
	put(s, "\nFrom results back to inputs\n");
	for (size_t i = 0; i < s->view->head.root_count; i++) {
		size_t at = dac_find(s->view->dac, s->view->head.roots[i].bytes);
		if (at == SIZE_MAX)
			put(s, "  (a result whose record is not here)\n");
		else
			TRY(tree_put(s->tree, at, &s->w));
	}
	return OK;
}

/* ---- Grants, statements, outputs ------------------------------------------------------------------------ */

static void show_grants(struct show *s)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	if (s->view->grants.count)
		put(s, "\nSecrets released\n");
	for (size_t i = 0; i < s->view->grants.count; i++) {
		struct unseal_grant grant;
		uint8_t oid[OID_SIZE];
		if (object_peek(KIND_UNSEAL_GRANT, s->view->grants.items[i].bytes, &arena, &grant, oid) != OK)
			put(s, "  (a grant that cannot be read)\n");
		else
			put(s, "  grant %s..  sealed object %s..  launch %s..\n", tree_short_hex(oid), tree_short_hex(grant.seal_oid),
				tree_short_hex(grant.launch_id));
	}
}

static void show_statements(struct show *s)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	if (s->view->statements.count)
		put(s, "\nStatements\n");
	for (size_t i = 0; i < s->view->statements.count; i++) {
		struct statement statement;
		char digest[2 * SHA256_SIZE + 1];
		if (object_peek(KIND_STATEMENT, s->view->statements.items[i].bytes, &arena, &statement, NULL) != OK) {
			put(s, "  (a statement that cannot be read)\n");
			continue;
		}
		hex_encode(SPAN_ARRAY(statement.digest), digest);
		put(s, "  %s signs %s: %s, %llu bytes, SHA-256 %s\n", tree_last_part(statement.enclave), tree_plain(statement.name),
			tree_plain(statement.media_type), (unsigned long long)statement.length, digest);
	}
}

static void show_outputs(struct show *s)
{
	const struct job *job = &s->view->job;
	put(s, "\nOutputs\n");
	for (size_t i = 0; i < job->output_count; i++)
		put(s, "  %-16s %s of %s, file %s%s\n", tree_plain(job->outputs[i].name), tree_plain(job->outputs[i].output),
			tree_plain(job->outputs[i].enclave), tree_plain(job->outputs[i].file), job->outputs[i].statement ? ", signed" : "");
}

static void show_limits(struct show *s)
{
	const char *sentence = recorder_sentence(s->view->head.recorder);
	bool weak = false, instrumented = false, open = false, alone = false;
	for (size_t i = 0; i < s->view->job.enclave_count; i++) {
		const struct report *report = report_of(s->view, s->view->job.enclaves[i].name);
		alone |= report && strcmp(report->launch.tier, "L") == 0;
		weak |= report && strcmp(report->launch.isolation, "uid") != 0;
		instrumented |= report && report->instrumented;
		open |= report && strcmp(report->launch.interpreter, "closed") != 0;
	}
	put(s, "\nWhat this proves, and what not\n  %s\n", level_sentence(instrumented ? 0 : 1));
	if (sentence)
		put(s, "  Recorder journal: %s.\n", sentence);
	if (alone)
		put(s, "  %s.\n", tier_l_sentence);
	if (weak)
		put(s, "  %s.\n", weak_isolation_sentence);
	if (open)
		put(s, "  %s.\n", open_interpreter_sentence);
	put(s, "  A record proves what a measured enclave said about data its runtime moved, not that a function was computed right.\n");
}

static result show_all(struct show *s)
{
	show_head(s);
	show_hosts(s);
	show_epochs(s);
	show_enclaves(s);
	TRY(show_chain(s));
	show_policies(s);
	show_grants(s);
	show_statements(s);
	show_outputs(s);
	show_limits(s);
	return OK;
}

result receipt_show(const struct receipt_view *view, const struct show_options *options, struct bytes *out_text)
{
	struct show s = {.view = view, .options = options, .w = writer_growing(TEXT_MAX_SIZE)};
	result shown = tree_new(view->dac, NULL, options->unicode, &s.tree);
	if (shown == OK)
		shown = show_all(&s);
	if (shown == OK)
		shown = writer_take(&s.w, out_text);
	writer_free(&s.w);
	tree_free(s.tree);
	return shown;
}
