/*
 * The policy engine from three sides; the first byte of an input says which:
 *   'd'  a document: what compiles must load, and be the same after being shown as JSON
 *   'c'  a compiled set: what loads must be the only encoding of its meaning
 *   'v'  a signed version: what is taken follows what it must and nothing else
 *   'q'  a request of a person, or a list of expectations: what is read can be asked
 *   't'  a tape of choices that makes a small policy and a request; the decision is compared with a plain model
 */
#include "policy/lint.h"
#include "policy/query.h"
#include "policy/schema.h"
#include "policy/table.h"
#include "policy/versions.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT = 64 * 1024, MAX_MEMORY = 16 * 1024 * 1024 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Shown as JSON and compiled again, a policy is the same bytes. */
static void must_survive_rendering(struct span compiled)
{
	CLEANUP(bytes_free) struct bytes json = BYTES_EMPTY, again = BYTES_EMPTY;
	CLEANUP(document_free) struct document document = {0};
	must(policy_render_json(compiled, &json) == OK);
	must(document_parse("rendered.json", bytes_span(&json), MAX_MEMORY, &document) == OK);
	must(policy_compile_node(&document, document.root, &again) == OK);
	must(span_equal(compiled, bytes_span(&again)));
}

/* Asks about everything that the table names, so that every offset in it is followed. */
static void ask_about_all(const struct policy_table *table)
{
	static const uint8_t root[POLICY_ROT_ID_SIZE] = {1};
	for (size_t i = 0; i < policy_count(table); i++) {
		struct policy_view view;
		policy_at(table, i, &view);
		must_survive_rendering(view.compiled);
		for (size_t j = 0; j < view.peer_count; j++) {
			struct policy_peer_view peer;
			struct policy_decision decision;
			char text[256];
			policy_peer(table, &view, j, &peer);
			for (size_t k = 0; k < peer.rot_count; k++)
				must(policy_peer_rot(table, &peer, k).len == POLICY_ROT_ID_SIZE);
			struct policy_peer_reference named;
			if (policy_peer_reference(table, &peer, &named))
				must(named.author.len == POLICY_AUTHOR_SIZE && named.set.len > 0 && named.min_svn > 0 && peer.core_count == 0);
			struct policy_request request = {.subject_kind = view.kind,
				.state = STATE_RUNNING,
				.resource = RESOURCE_OPERATION,
				.direction = DIRECTION_SEND,
				.own = {view.id, PROOF_ENDORSED, SPAN_ARRAY(root), CONFINEMENT_N, false},
				.peer = {peer.id, PROOF_ENDORSED, peer.rot_count ? policy_peer_rot(table, &peer, 0) : SPAN_ARRAY(root),
					CONFINEMENT_N, false},
				.peer_level = 3,
				.peer_core = peer.core_count ? policy_peer_core(table, &peer, 0) : SPAN_EMPTY,
				.evidence_time_ms = 1,
				.operation = peer.id,
				.now_ms = 1};
			result decided = policy_decide(table, &request, &decision);
			must(decision.allow == (decided == OK) && decided != NO_POLICY && decided != PEER_NOT_ALLOWED);
			must(peer.denied ? decided == DENIED_BY_RULE || decided == POLICY_NOT_VALID_NOW : decided != DENIED_BY_RULE);
			policy_explain_text(&decision, text, sizeof(text));
		}
	}
}

static void try_compiled(struct span set)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	result loaded = policy_table_load(set, &table);
	must((loaded == OK) == (table != NULL));
	must(policy_set_check(set) == loaded);
	if (table)
		ask_about_all(table);
}

static void try_document(struct span text)
{
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	struct lint_findings findings = {0};
	if (document_parse("policy", text, MAX_MEMORY, &document) != OK)
		return;
	result compiled = policy_compile(&document, &set);
	must(policy_lint(&document, 1, &findings) == compiled);
	lint_findings_free(&findings);
	if (compiled == OK)
		try_compiled(bytes_span(&set));
}

/* ---- Signed versions, requests -------------------------------------------------------------------------- */

static void try_version(struct span object)
{
	CLEANUP(policy_versions_cleanup) struct policy_versions *versions = NULL;
	const struct policy_version *version = NULL;
	must(policy_versions_new(&versions) == OK);
	result added = policy_versions_add(versions, object, &version);
	must((added == OK) == (policy_versions_count(versions) == 1));
	if (added != OK)
		return;
	must(version->policy.author.len == POLICY_AUTHOR_SIZE && policy_versions_find(versions, version->policy.digest) == version);
	must(policy_version_follows(&version->policy, version, 0) == POLICY_OLD);
	ask_about_all(version->table);
}

static void ask_query(const struct document *document, const struct node *node, bool expectation, const struct policy_table *table)
{
	struct policy_query query;
	struct policy_variation variations[POLICY_MAX_VARIATIONS];
	struct policy_decision decision;
	size_t count = 0;
	if (policy_query_read(document, node, 1, expectation, &query) != OK)
		return;
	if (query.repeat > 1000)
		query.repeat = 1000;
	result asked = policy_query_ask(table, &query, &decision);
	must((asked == OK) == decision.allow);
	must(policy_query_vary(table, &query, variations, &count) == OK && count <= POLICY_MAX_VARIATIONS);
	for (size_t i = 0; i < count; i++)
		must((variations[i].reason == OK) != decision.allow);
}

static void try_query(struct span text)
{
	static const char policy[] = "enclave_id: A\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\nallowed_communicators:\n"
				     "- {id: B, operations: [x], rate: {operations: 1, per_s: 1}}\n- C\n";
	CLEANUP(document_free) struct document document = {0}, rules = {0};
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	must(document_parse("rules", span_str(policy), MAX_MEMORY, &rules) == OK);
	must(policy_load_document(&rules, &table) == OK);
	if (document_parse("query", text, MAX_MEMORY, &document) != OK || !document.root)
		return;
	if (document.root->kind == NODE_MAP)
		ask_query(&document, document.root, false, table);
	for (size_t i = 0; document.root->kind == NODE_LIST && i < document.root->count; i++)
		ask_query(&document, &document.root->children[i], true, table);
}

/* ---- The tape ------------------------------------------------------------------------------------------- */

static unsigned choose(struct span *tape, unsigned choices)
{
	if (tape->len == 0)
		return 0;
	unsigned chosen = tape->data[0] % choices;
	tape->data++;
	tape->len--;
	return chosen;
}

/* What a policy of the model says about each of four peers, and in general. */
enum { PEERS = 4 };
struct model {
	bool allowed[PEERS], denied[PEERS], level0[PEERS], sends[PEERS], restricted[PEERS];
	unsigned level, depth, confinement;
	bool no_interpreter;
};

static void put_list(struct writer *w, const char *field, const bool *names)
{
	bool any = false;
	for (int i = 0; i < PEERS; i++) {
		char name[64];
		if (!names[i])
			continue;
		snprintf(name, sizeof(name), "%s p%d", any ? "," : "", i);
		if (!any)
			writer_str(w, field);
		any = true;
		writer_str(w, name);
	}
	writer_str(w, any ? "]\n" : "");
}

static void put_model(struct writer *w, const struct model *m)
{
	char text[256];
	bool any = false;
	snprintf(text, sizeof(text),
		"enclave_id: me\nmax_dac_depth: %u\nrequired_attestation_level: Level-%u\nmin_confinement: %s\nallow_interpreter: %s\n",
		m->depth, m->level, m->confinement == CONFINEMENT_L ? "L" : "N", m->no_interpreter ? "false" : "true");
	writer_str(w, text);
	for (int i = 0; i < PEERS; i++) {
		if (!m->allowed[i])
			continue;
		snprintf(text, sizeof(text), "%s- {id: p%d, direction: %s%s}\n", any ? "" : "allowed_communicators:\n", i,
			m->sends[i] ? "both" : "receive", m->restricted[i] ? ", operations: [good]" : "");
		writer_str(w, text);
		any = true;
	}
	put_list(w, "deny: [", m->denied);
	put_list(w, "allow_level0: [", m->level0);
}

/* The same rules, written down once more without any table. */
static bool model_allows(const struct model *m, const struct policy_request *r, unsigned peer, bool good)
{
	bool exempt = m->level0[peer] && r->peer_level == 0;
	if (!m->allowed[peer] || m->denied[peer] || (r->direction == DIRECTION_SEND && !m->sends[peer]))
		return false;
	if (r->peer_level < m->level && !m->level0[peer])
		return false;
	if (r->own.confinement < m->confinement || (!exempt && r->peer.confinement < m->confinement))
		return false;
	if (m->no_interpreter && (r->own.interpreter_open || (!exempt && r->peer.interpreter_open)))
		return false;
	return (good || !m->restricted[peer]) && r->dac_depth <= m->depth && r->state == STATE_RUNNING;
}

static void try_tape(struct span tape)
{
	static const uint8_t root[POLICY_ROT_ID_SIZE] = {1};
	static const char *const names[] = {"p0", "p1", "p2", "p3"};
	CLEANUP(writer_free) struct writer w = writer_growing(8192);
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	struct model m = {.level = 1 + choose(&tape, 3),
		.depth = 1 + choose(&tape, 4),
		.confinement = CONFINEMENT_L + choose(&tape, 2),
		.no_interpreter = choose(&tape, 2)};
	for (int i = 0; i < PEERS; i++) {
		unsigned said = choose(&tape, 32);
		m.allowed[i] = said & 1, m.denied[i] = (said & 6) == 6, m.level0[i] = said & 8;
		m.sends[i] = said & 16, m.restricted[i] = (said & 6) == 2;
	}
	struct span text;
	put_model(&w, &m);
	must(writer_finish(&w, &text) == OK);
	must(document_parse("model", text, MAX_MEMORY, &document) == OK);
	must(policy_load_document(&document, &table) == OK);
	for (int i = 0; i < 16; i++) {
		unsigned peer = choose(&tape, PEERS);
		bool good = choose(&tape, 2), own_open = choose(&tape, 8) == 7, peer_open = choose(&tape, 8) == 7;
		struct policy_request request = {.subject_kind = SUBJECT_ENCLAVE,
			.state = choose(&tape, 8) == 7 ? STATE_SUSPECT : STATE_RUNNING,
			.resource = RESOURCE_RECORD,
			.direction = choose(&tape, 2) ? DIRECTION_SEND : DIRECTION_RECEIVE,
			.own = {span_str("me"), PROOF_ENDORSED, SPAN_ARRAY(root), (enum policy_confinement)(1 + choose(&tape, 2)),
				own_open},
			.peer = {span_str(names[peer]), PROOF_ENDORSED, SPAN_ARRAY(root), (enum policy_confinement)choose(&tape, 3),
				peer_open},
			.peer_level = choose(&tape, 4),
			.operation = span_str(good ? "good" : "bad"),
			.dac_depth = 1 + choose(&tape, 5),
			.now_ms = 1};
		struct policy_decision decision;
		must((policy_decide(table, &request, &decision) == OK) == model_allows(&m, &request, peer, good));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > MAX_INPUT)
		return 0;
	struct span rest = span_of(data + 1, size - 1);
	if (data[0] == 'd')
		try_document(rest);
	else if (data[0] == 'c')
		try_compiled(rest);
	else if (data[0] == 'v')
		try_version(rest);
	else if (data[0] == 'q')
		try_query(rest);
	else if (data[0] == 't')
		try_tape(rest);
	return 0;
}
