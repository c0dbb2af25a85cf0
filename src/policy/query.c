#include "policy/query.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

enum { MOST_AGE_S = 1000 * 1000 * 1000, STEADY_MS = 1000 };

static const char *const fields[] = {"!own", "!peer", "subject", "resource", "direction", "operation", "scopes", "level", "factors", "rot",
	"own_rot", "core", "confinement", "own_confinement", "interpreter_open", "own_interpreter_open", "evidence_age_s", "depth", "proof",
	"state", "at", "repeat", NULL};
static const char *const expectation_fields[] = {"!own", "!peer", "subject", "resource", "direction", "operation", "scopes", "level",
	"factors", "rot", "own_rot", "core", "confinement", "own_confinement", "interpreter_open", "own_interpreter_open", "evidence_age_s",
	"depth", "proof", "state", "at", "repeat", "name", "!expect", NULL};

struct reading {
	const struct document *document;
	const struct node *node;
};

struct word {
	const char *text;
	unsigned value;
};

enum { MAX_WORDS = 8 };

static result read_word(const struct reading *r, const char *field, const struct word *words, size_t count, unsigned *out)
{
	const struct node *node = node_field(r->node, field);
	const char *text, *known[MAX_WORDS + 1] = {NULL};
	if (!node)
		return OK;
	TRY(node_text(r->document, node, &text));
	for (size_t i = 0; i < count; i++) {
		known[i] = words[i].text;
		if (strcmp(text, words[i].text) == 0) {
			*out = words[i].value;
			return OK;
		}
	}
	const char *nearest = document_nearest(text, known);
	return document_fail(r->document, node, BAD_VALUE, "%s is \"%s\"%s%s%s; it is one of %s to %s", field, text,
		nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "", words[0].text, words[count - 1].text);
}

static result read_text(const struct reading *r, const char *field, struct span *out)
{
	const struct node *node = node_field(r->node, field);
	const char *text;
	if (!node)
		return OK;
	TRY(node_text(r->document, node, &text));
	*out = span_of(text, node->text_len);
	return OK;
}

static result read_number(const struct reading *r, const char *field, uint64_t max, uint64_t *out)
{
	const struct node *node = node_field(r->node, field);
	return node ? node_uint(r->document, node, max, out) : OK;
}

static result read_bool(const struct reading *r, const char *field, bool *out)
{
	const struct node *node = node_field(r->node, field);
	return node ? node_bool(r->document, node, out) : OK;
}

static result read_bytes(const struct reading *r, const char *field, uint8_t *bytes, size_t len, struct span *out)
{
	const struct node *node = node_field(r->node, field);
	if (!node)
		return OK;
	TRY(node_hex(r->document, node, bytes, len));
	*out = span_of(bytes, len);
	return OK;
}

/* ---- The parts of a request ----------------------------------------------------------------------------- */

static result read_subject(const struct reading *r, struct policy_request *request)
{
	static const struct word subjects[] = {{"enclave", SUBJECT_ENCLAVE}, {"hsm-caller", SUBJECT_HSM_CALLER}, {"guest", SUBJECT_GUEST}};
	static const struct word resources[] = {{"channel", RESOURCE_CHANNEL}, {"operation", RESOURCE_OPERATION}, {"record", RESOURCE_RECORD}};
	static const struct word states[] = {{"running", STATE_RUNNING}, {"starting", STATE_STARTING}, {"suspect", STATE_SUSPECT},
		{"quarantined", STATE_QUARANTINED}};
	unsigned subject = SUBJECT_ENCLAVE, resource = RESOURCE_OPERATION, state = STATE_RUNNING;
	TRY(read_word(r, "subject", subjects, COUNT_OF(subjects), &subject));
	TRY(read_word(r, "resource", resources, COUNT_OF(resources), &resource));
	TRY(read_word(r, "state", states, COUNT_OF(states), &state));
	request->subject_kind = (enum policy_subject)subject;
	request->resource = (enum policy_resource)resource;
	request->state = (enum policy_state)state;
	return OK;
}

static result read_direction(const struct reading *r, struct policy_request *request)
{
	static const struct word moves[] = {{"send", DIRECTION_SEND}, {"receive", DIRECTION_RECEIVE}};
	static const struct word meets[] = {{"connect", DIRECTION_CONNECT}, {"accept", DIRECTION_ACCEPT}};
	bool channel = request->resource == RESOURCE_CHANNEL;
	unsigned direction = channel ? DIRECTION_CONNECT : DIRECTION_SEND;
	if (request->resource == RESOURCE_RECORD)
		direction = DIRECTION_RECEIVE;
	TRY(read_word(r, "direction", channel ? meets : moves, COUNT_OF(moves), &direction));
	request->direction = (enum policy_direction)direction;
	return OK;
}

static result read_tier(const struct reading *r, const char *field, enum policy_confinement *out)
{
	static const struct word tiers[] = {{"none", CONFINEMENT_NONE}, {"L", CONFINEMENT_L}, {"N", CONFINEMENT_N}, {"vm", CONFINEMENT_VM},
		{"tee", CONFINEMENT_TEE}};
	unsigned tier = CONFINEMENT_N;
	TRY(read_word(r, field, tiers, COUNT_OF(tiers), &tier));
	*out = (enum policy_confinement)tier;
	return OK;
}

static result read_parties(const struct reading *r, struct policy_query *query)
{
	static const struct word proofs[] = {{"endorsed", PROOF_ENDORSED}, {"pinned", PROOF_PINNED}, {"claimed", PROOF_NONE}};
	struct policy_party *own = &query->request.own, *peer = &query->request.peer;
	const struct node *rot = node_field(r->node, "rot");
	unsigned proof = PROOF_ENDORSED;
	TRY(read_text(r, "own", &own->name));
	TRY(read_text(r, "peer", &peer->name));
	TRY(read_word(r, "proof", proofs, COUNT_OF(proofs), &proof));
	own->proof = PROOF_ENDORSED;
	peer->proof = (enum policy_proof)proof;
	own->rot_id = SPAN_ARRAY(query->own_rot);
	TRY(read_bytes(r, "own_rot", query->own_rot, sizeof(query->own_rot), &own->rot_id));
	peer->rot_id = proof == PROOF_PINNED ? SPAN_EMPTY : own->rot_id;
	if (rot && !(rot->kind == NODE_SCALAR && strcmp(rot->text, "same") == 0))
		TRY(read_bytes(r, "rot", query->peer_rot, sizeof(query->peer_rot), &peer->rot_id));
	TRY(read_tier(r, "own_confinement", &own->confinement));
	TRY(read_tier(r, "confinement", &peer->confinement));
	TRY(read_bool(r, "own_interpreter_open", &own->interpreter_open));
	return read_bool(r, "interpreter_open", &peer->interpreter_open);
}

static result read_factors(const struct reading *r, unsigned *out)
{
	const struct node *list = node_field(r->node, "factors");
	if (!list)
		return OK;
	if (list->kind != NODE_LIST)
		return document_fail(r->document, list, BAD_TYPE, "factors must be a list");
	unsigned all = 0;
	for (size_t i = 0; i < list->count; i++) {
		const char *text;
		TRY(node_text(r->document, &list->children[i], &text));
		unsigned factor = strcmp(text, "tpm") == 0 ? FACTOR_TPM : strcmp(text, "tee") == 0 ? FACTOR_TEE : 0;
		if (!factor)
			return document_fail(r->document, &list->children[i], BAD_VALUE, "a factor is tpm or tee, not \"%s\"", text);
		all |= factor;
	}
	*out = all;
	return OK;
}

static result read_evidence(const struct reading *r, struct policy_query *query)
{
	static const struct word levels[] = {{"Level-0", 0}, {"Level-1", 1}, {"Level-2", 2}, {"Level-3", 3}};
	struct policy_request *request = &query->request;
	uint64_t age = 0;
	unsigned level = 1;
	TRY(read_word(r, "level", levels, COUNT_OF(levels), &level));
	request->peer_level = level;
	request->peer_factors = policy_factors_of_level(level);
	TRY(read_factors(r, &request->peer_factors));
	TRY(read_bytes(r, "core", query->core, sizeof(query->core), &request->peer_core));
	TRY(read_number(r, "evidence_age_s", MOST_AGE_S, &age));
	age *= 1000;
	request->evidence_time_ms = age < request->now_ms ? request->now_ms - age : 1;
	return OK;
}

static result read_scopes(const struct reading *r, struct policy_query *query)
{
	const struct node *list = node_field(r->node, "scopes");
	if (!list)
		return OK;
	if (list->kind != NODE_LIST || list->count > QUERY_MAX_SCOPES)
		return document_fail(r->document, list, BAD_TYPE, "scopes must be a list of at most %d names", QUERY_MAX_SCOPES);
	for (size_t i = 0; i < list->count; i++) {
		const char *text;
		TRY(node_text(r->document, &list->children[i], &text));
		query->scopes[i] = span_of(text, list->children[i].text_len);
	}
	query->request.scopes = query->scopes;
	query->request.scope_count = list->count;
	return OK;
}

static result read_time(const struct reading *r, struct policy_request *request)
{
	const struct node *at = node_field(r->node, "at");
	const char *text;
	if (!at)
		return OK;
	TRY(node_text(r->document, at, &text));
	if (clock_parse(text, &request->now_ms) != OK || request->now_ms == 0)
		return document_fail(r->document, at, BAD_VALUE, "at is \"%s\"; write a time like 2026-11-21T15:47:31Z", text);
	return OK;
}

static const struct reason_row *reason_find(const char *name)
{
	for (size_t i = 0; i < reason_table_len; i++)
		if (strcmp(reason_name(reason_table[i].reason), name) == 0)
			return &reason_table[i];
	return NULL;
}

static result read_expected(const struct reading *r, struct policy_query *query)
{
	const struct node *expect = node_field(r->node, "expect"), *name = node_field(r->node, "name");
	const char *text;
	if (name)
		TRY(node_text(r->document, name, &query->name));
	TRY(node_text(r->document, expect, &text));
	query->has_expected = true;
	query->expected = OK;
	if (strcmp(text, "allow") == 0)
		return OK;
	const struct reason_row *row = reason_find(text);
	if (!row || row->reason == OK)
		return document_fail(r->document, expect, BAD_VALUE, "expect is \"%s\"; write allow, or the reason of a refusal like PEER_NOT_ALLOWED", text);
	query->expected = row->reason;
	return OK;
}

result policy_query_read(const struct document *document, const struct node *node, uint64_t now_ms, bool expectation, struct policy_query *out)
{
	const struct reading r = {document, node};
	uint64_t depth = 0;
	*out = (struct policy_query){.request = {.now_ms = now_ms}, .own_rot = {1}, .repeat = 1, .name = ""};
	TRY(document_fields(document, node, expectation ? expectation_fields : fields));
	TRY(read_subject(&r, &out->request));
	TRY(read_direction(&r, &out->request));
	TRY(read_time(&r, &out->request));
	TRY(read_parties(&r, out));
	TRY(read_evidence(&r, out));
	TRY(read_scopes(&r, out));
	TRY(read_text(&r, "operation", &out->request.operation));
	depth = out->request.resource == RESOURCE_RECORD ? 2 : 0;
	TRY(read_number(&r, "depth", POLICY_MAX_DEPTH, &depth));
	out->request.dac_depth = (uint32_t)depth;
	TRY(read_number(&r, "repeat", QUERY_MAX_REPEAT, &out->repeat));
	if (out->repeat == 0)
		return document_fail(document, node_field(node, "repeat"), BAD_VALUE, "repeat must be at least 1");
	return expectation ? read_expected(&r, out) : OK;
}

/* ---- Asking --------------------------------------------------------------------------------------------- */

result policy_query_ask(const struct policy_table *table, const struct policy_query *query, struct policy_decision *decision)
{
	struct policy_meter meter = {0};
	struct policy_request request = query->request;
	result asked = OK;
	request.meter = &meter;
	request.steady_ms = STEADY_MS;
	for (uint64_t i = 0; i < query->repeat; i++)
		asked = policy_decide(table, &request, decision);
	return asked;
}

void policy_query_mirror(const struct policy_query *query, struct policy_query *out)
{
	static const enum policy_direction other[] = {[DIRECTION_SEND] = DIRECTION_RECEIVE,
		[DIRECTION_RECEIVE] = DIRECTION_SEND,
		[DIRECTION_CONNECT] = DIRECTION_ACCEPT,
		[DIRECTION_ACCEPT] = DIRECTION_CONNECT};
	*out = *query;
	out->request.own = query->request.peer;
	out->request.own.proof = PROOF_ENDORSED;
	out->request.peer = query->request.own;
	out->request.direction = other[query->request.direction];
	out->request.peer_core = SPAN_EMPTY;
	out->request.scopes = query->request.scope_count ? out->scopes : NULL;
}

/* ---- What would change the answer ----------------------------------------------------------------------- */

struct varying {
	const struct policy_table *table;
	const struct policy_query *query;
	bool allowed;
	struct policy_variation *out;
	size_t count;
};

PRINTF_LIKE(3, 4) static void try_change(struct varying *v, const struct policy_query *changed, const char *format, ...)
{
	struct policy_decision decision;
	result asked = policy_query_ask(v->table, changed, &decision);
	va_list args;
	if ((asked == OK) == v->allowed || v->count == POLICY_MAX_VARIATIONS)
		return;
	struct policy_variation *variation = &v->out[v->count++];
	variation->reason = asked;
	va_start(args, format);
	vsnprintf(variation->what, sizeof(variation->what), format, args);
	va_end(args);
}

static void vary_evidence(struct varying *v)
{
	const struct policy_request *r = &v->query->request;
	for (unsigned level = 0; level <= POLICY_LEVEL_MAX; level++) {
		struct policy_query q = *v->query;
		q.request.peer_level = level;
		q.request.peer_factors |= policy_factors_of_level(level);
		if (level < r->peer_level)
			q.request.peer_factors = policy_factors_of_level(level);
		if (level != r->peer_level)
			try_change(v, &q, "evidence of Level-%u", level);
	}
	struct policy_query q = *v->query;
	q.request.peer_factors = FACTOR_TPM | FACTOR_TEE;
	try_change(v, &q, "evidence with the factors tpm and tee");
	q = *v->query;
	q.request.evidence_time_ms = r->now_ms;
	try_change(v, &q, "evidence made just now");
}

static void vary_confinement(struct varying *v)
{
	static const enum policy_confinement tiers[] = {CONFINEMENT_L, CONFINEMENT_N};
	for (size_t i = 0; i < COUNT_OF(tiers); i++) {
		struct policy_query q = *v->query;
		q.request.peer.confinement = tiers[i];
		try_change(v, &q, "a peer confined in tier %s", policy_confinement_name(tiers[i]));
		q = *v->query;
		q.request.own.confinement = tiers[i];
		try_change(v, &q, "the subject confined in tier %s", policy_confinement_name(tiers[i]));
	}
	struct policy_query q = *v->query;
	q.request.peer.interpreter_open = !q.request.peer.interpreter_open;
	try_change(v, &q, "a peer %s an open interpreter", q.request.peer.interpreter_open ? "with" : "without");
	q = *v->query;
	q.request.own.interpreter_open = !q.request.own.interpreter_open;
	try_change(v, &q, "the subject %s an open interpreter", q.request.own.interpreter_open ? "with" : "without");
}

static void vary_root(struct varying *v)
{
	struct policy_query q = *v->query;
	if (q.request.peer.proof != PROOF_ENDORSED) {
		q.request.peer.proof = PROOF_ENDORSED;
		q.request.peer.rot_id = q.request.own.rot_id;
		try_change(v, &q, "a name endorsed by the subject's own root");
		return;
	}
	bool same = span_equal(q.request.peer.rot_id, q.request.own.rot_id);
	memset(q.peer_rot, 0xff, sizeof(q.peer_rot));
	q.request.peer.rot_id = same ? SPAN_ARRAY(q.peer_rot) : q.request.own.rot_id;
	try_change(v, &q, "a peer of %s root", same ? "another" : "the subject's own");
}

static void vary_direction(struct varying *v)
{
	static const enum policy_direction other[] = {[DIRECTION_SEND] = DIRECTION_RECEIVE,
		[DIRECTION_RECEIVE] = DIRECTION_SEND,
		[DIRECTION_CONNECT] = DIRECTION_ACCEPT,
		[DIRECTION_ACCEPT] = DIRECTION_CONNECT};
	struct policy_query q = *v->query;
	q.request.direction = other[q.request.direction];
	try_change(v, &q, "the direction %s", policy_direction_name(q.request.direction));
}

static void vary_depth(struct varying *v)
{
	struct policy_view view;
	struct policy_query q = *v->query;
	if (policy_find(v->table, q.request.subject_kind, q.request.own.name, &view) != OK)
		return;
	q.request.dac_depth = v->allowed ? view.max_dac_depth + 1 : view.max_dac_depth;
	try_change(v, &q, "a chain of depth %" PRIu32, q.request.dac_depth);
}

static void vary_peer(struct varying *v)
{
	struct policy_view view;
	struct policy_query q = *v->query;
	if (v->allowed || policy_find(v->table, q.request.subject_kind, q.request.own.name, &view) != OK)
		return;
	for (size_t i = 0; i < view.peer_count && i < 8; i++) {
		struct policy_peer_view peer;
		policy_peer(v->table, &view, i, &peer);
		q.request.peer.name = peer.id;
		if (!span_equal(peer.id, v->query->request.peer.name))
			try_change(v, &q, "peer %.*s instead", (int)peer.id.len, (const char *)peer.id.data);
	}
}

static void vary_repeat(struct varying *v)
{
	struct policy_query q = *v->query;
	if (q.repeat > 1) {
		q.repeat = 1;
		try_change(v, &q, "one operation instead of %" PRIu64, v->query->repeat);
	}
}

result policy_query_vary(const struct policy_table *table, const struct policy_query *query, struct policy_variation *out, size_t *out_count)
{
	struct policy_decision decision;
	struct varying v = {.table = table, .query = query, .out = out};
	v.allowed = policy_query_ask(table, query, &decision) == OK;
	vary_evidence(&v);
	vary_confinement(&v);
	vary_root(&v);
	vary_direction(&v);
	vary_depth(&v);
	vary_peer(&v);
	vary_repeat(&v);
	failure_clear();
	*out_count = v.count;
	return OK;
}
