/*
 * The choke point. policy_decide walks one list of checks in a fixed order; `allow` is set in one place, after
 * the last of them. A check either passes or says why not; none of them allocates or blocks.
 */
#include "policy/decision.h"

#include "policy/references.h"
#include "policy/rules.h"

/* What the checks of one decision share. */
struct question {
	const struct policy_table *table;
	const struct policy_request *request;
	const struct policy_entry *policy;
	const struct peer_rule *rule; /* NULL for a record of one's own */
	const struct rule_detail *detail; /* NULL when the rule restricts nothing further */
	bool self; /* the subject's own record */
	unsigned level; /* what the peer reaches; a pinned key reaches 0 whatever was said */
	struct policy_decision *decision;
};

typedef enum reason check(struct question *q);

static enum reason by(struct question *q, enum reason reason, const char *field, const char *part, uint32_t index)
{
	q->decision->rule = (struct policy_rule){field, part, index};
	return reason;
}

/* A denial by a field of the policy itself. */
static enum reason by_field(struct question *q, enum reason reason, const char *field, uint64_t had, uint64_t needed)
{
	q->decision->had = had;
	q->decision->needed = needed;
	return by(q, reason, field, "", POLICY_NO_INDEX);
}

/* A denial by a part of the entry that allows the peer. */
static enum reason by_part(struct question *q, enum reason reason, const char *part)
{
	return by(q, reason, "allowed_communicators", part, q->rule->index);
}

/* ---- The request itself --------------------------------------------------------------------------------- */

static bool party_is_complete(const struct policy_party *party)
{
	return party->name.len >= 1 && party->name.len <= POLICY_NAME_MAX &&
		(party->rot_id.len == 0 || party->rot_id.len == POLICY_ROT_ID_SIZE);
}

static bool direction_fits(const struct policy_request *request)
{
	switch (request->resource) {
	case RESOURCE_CHANNEL:
		return request->direction == DIRECTION_CONNECT || request->direction == DIRECTION_ACCEPT;
	case RESOURCE_RECORD:
	case RESOURCE_OPERATION:
		return request->direction == DIRECTION_SEND || request->direction == DIRECTION_RECEIVE;
	default:
		return true; /* guests' resources have none; they are refused further down */
	}
}

static enum reason check_complete(struct question *q)
{
	const struct policy_request *r = q->request;
	bool known = r->subject_kind >= SUBJECT_ENCLAVE && r->subject_kind <= SUBJECT_GUEST && r->state >= STATE_STARTING &&
		r->state <= STATE_QUARANTINED && r->resource >= RESOURCE_CHANNEL && r->resource <= RESOURCE_SYSCALL && direction_fits(r);
	bool sized = party_is_complete(&r->own) && party_is_complete(&r->peer) && r->peer_level <= 3 && r->peer_factors < 1u << POLICY_FACTORS &&
		(r->peer_core.len == 0 || r->peer_core.len == POLICY_CORE_SIZE);
	bool dated = r->now_ms != 0 && (r->resource != RESOURCE_RECORD || r->dac_depth != 0);
	return known && sized && dated ? OK : REQUEST_INCOMPLETE;
}

static enum reason check_endorsed(struct question *q)
{
	q->decision->about_own = q->request->own.proof == PROOF_NONE;
	if (q->decision->about_own || q->request->peer.proof == PROOF_NONE)
		return ID_NOT_ENDORSED;
	return OK;
}

/* ---- The policy ----------------------------------------------------------------------------------------- */

static enum reason check_policy(struct question *q)
{
	if (!q->table)
		return NO_POLICY;
	q->policy = table_policy(q->table, q->request->subject_kind, q->request->own.name);
	if (!q->policy)
		return NO_POLICY;
	q->decision->policy_version = q->policy->version;
	memcpy(q->decision->policy_digest, q->policy->digest, POLICY_DIGEST_SIZE);
	return OK;
}

static enum reason check_state(struct question *q)
{
	if (q->request->state == STATE_RUNNING)
		return OK;
	q->decision->had = q->request->state;
	q->decision->needed = STATE_RUNNING;
	return STATE_NOT_ALLOWED;
}

static enum reason check_window(struct question *q)
{
	uint64_t now = q->request->now_ms;
	if (now < q->policy->not_before)
		return by_field(q, POLICY_NOT_VALID_NOW, "not_before", now, q->policy->not_before);
	if (now > q->policy->not_after)
		return by_field(q, POLICY_NOT_VALID_NOW, "not_after", now, q->policy->not_after);
	return OK;
}

static enum reason check_resource(struct question *q)
{
	return q->request->resource <= RESOURCE_OPERATION ? OK : RESOURCE_NOT_COVERED;
}

static enum reason check_own(struct question *q)
{
	const struct policy_party *own = &q->request->own;
	q->decision->about_own = true;
	if ((unsigned)own->confinement < q->policy->min_confinement)
		return by_field(q, CONFINEMENT_TOO_LOW, "min_confinement", own->confinement, q->policy->min_confinement);
	if (own->interpreter_open && !q->policy->allow_interpreter)
		return by_field(q, INTERPRETER_OPEN, "allow_interpreter", 1, 0);
	q->decision->about_own = false;
	return OK;
}

/* ---- The peer ------------------------------------------------------------------------------------------- */

/* A record of one's own needs no entry for oneself, but meets every other condition. */
static bool is_own_record(const struct policy_request *r)
{
	return r->resource == RESOURCE_RECORD && r->peer.proof == PROOF_ENDORSED && r->own.rot_id.len != 0 &&
		span_equal(r->own.name, r->peer.name) && span_equal(r->own.rot_id, r->peer.rot_id);
}

static enum reason check_peer(struct question *q)
{
	q->rule = table_rule(q->table, q->policy, q->request->peer.name);
	q->self = is_own_record(q->request);
	if (q->rule && q->rule->flags & RULE_DENIED)
		return by(q, DENIED_BY_RULE, "deny", "", q->rule->deny_index);
	if (q->self) {
		q->rule = NULL;
		by(q, OK, "enclave_id", "", POLICY_NO_INDEX);
		return OK;
	}
	if (!q->rule || !(q->rule->flags & RULE_ALLOWED))
		return by(q, PEER_NOT_ALLOWED, "allowed_communicators", "", POLICY_NO_INDEX);
	q->detail = table_detail(q->table, q->rule);
	by(q, OK, "allowed_communicators", "", q->rule->index);
	return OK;
}

static enum reason check_direction(struct question *q)
{
	if (q->self || q->rule->directions & q->request->direction)
		return OK;
	return by_part(q, DIRECTION_NOT_ALLOWED, "direction");
}

/* Level-0 is met by a name in allow_level0 only: required levels begin at 1. */
static enum reason check_level(struct question *q)
{
	q->level = q->request->peer.proof == PROOF_PINNED ? 0 : q->request->peer_level;
	if (q->level >= q->policy->required_level || (q->rule && q->rule->flags & RULE_LEVEL0))
		return OK;
	return by_field(q, LEVEL_TOO_LOW, "required_attestation_level", q->level, q->policy->required_level);
}

/* A pinned key comes without evidence, so it has no factors either. */
static enum reason check_factors(struct question *q)
{
	unsigned has = q->request->peer.proof == PROOF_PINNED ? 0 : q->request->peer_factors;
	unsigned missing = q->policy->factors & ~has;
	if (missing)
		return by_field(q, FACTOR_MISSING, "required_factors", has, missing);
	missing = q->detail ? q->detail->factors & ~has : 0;
	if (!missing)
		return OK;
	q->decision->had = has;
	q->decision->needed = missing;
	return by_part(q, FACTOR_MISSING, "required_factors");
}

static enum reason check_rot(struct question *q)
{
	const struct policy_request *r = q->request;
	bool said = q->detail && q->detail->rot_said;
	struct digest_run rots = said ? q->detail->rots : q->policy->rots;
	if (q->self)
		return OK;
	if (r->peer.proof == PROOF_PINNED && !said)
		return OK; /* its key is pinned; no root vouches for it */
	bool met = rots.count == 0 ? r->own.rot_id.len != 0 && span_equal(r->own.rot_id, r->peer.rot_id)
				   : table_digests_have(q->table, rots, POLICY_ROT_ID_SIZE, r->peer.rot_id);
	if (met)
		return OK;
	q->decision->needed = rots.count;
	return said ? by_part(q, ROT_NOT_ALLOWED, "rot_ids") : by(q, ROT_NOT_ALLOWED, "rot_ids", "", POLICY_NO_INDEX);
}

/* The entry leaves it to an author which code counts: his set must be at hand, and valid when this is asked. */
static enum reason check_reference(struct question *q, struct span author, struct span set)
{
	const struct policy_reference_question question = {
		.author = author,
		.set = set,
		.min_svn = q->detail->reference.min_svn,
		.entry = q->request->peer.name,
		.core = q->request->peer_core,
		.now_ms = q->request->now_ms,
	};
	struct policy_reference_answer answer;
	enum reason asked = policy_references_ask(q->request->references, &question, &answer);
	if (asked == OK)
		return OK;
	q->decision->item = set;
	q->decision->had = asked == SVN_TOO_LOW ? answer.svn : answer.at_hand;
	q->decision->needed = answer.least;
	return by_part(q, asked, "reference");
}

static enum reason check_core(struct question *q)
{
	struct span author, set;
	if (table_reference(q->table, q->detail, &author, &set))
		return check_reference(q, author, set);
	if (!q->detail || q->detail->cores.count == 0)
		return OK;
	if (table_digests_have(q->table, q->detail->cores, POLICY_CORE_SIZE, q->request->peer_core))
		return OK;
	q->decision->needed = q->detail->cores.count;
	return by_part(q, MEASUREMENT_NOT_ALLOWED, "cores");
}

/* What evidence says is only asked of a peer that has any; who may come without was decided in check_level. */
static enum reason check_age(struct question *q)
{
	uint64_t made = q->request->evidence_time_ms, now = q->request->now_ms, limit = q->policy->max_age_ms;
	if (q->level == 0 || limit == UINT64_MAX)
		return OK;
	bool usable = made != 0 && (made <= now || made - now <= POLICY_SKEW_MS);
	uint64_t age = made < now ? now - made : 0;
	if (usable && age <= limit)
		return OK;
	return by_field(q, EVIDENCE_TOO_OLD, "max_evidence_age_s", usable ? age : UINT64_MAX, limit);
}

static enum reason check_peer_confinement(struct question *q)
{
	const struct policy_party *peer = &q->request->peer;
	if (q->level == 0)
		return OK;
	if ((unsigned)peer->confinement < q->policy->min_confinement)
		return by_field(q, CONFINEMENT_TOO_LOW, "min_confinement", peer->confinement, q->policy->min_confinement);
	if (peer->interpreter_open && !q->policy->allow_interpreter)
		return by_field(q, INTERPRETER_OPEN, "allow_interpreter", 1, 0);
	return OK;
}

/* ---- What moves ----------------------------------------------------------------------------------------- */

static enum reason check_operation(struct question *q)
{
	if (!q->detail || q->request->resource == RESOURCE_CHANNEL || q->detail->operations.count == 0)
		return OK;
	if (table_texts_have(q->table, q->detail->operations, q->request->operation))
		return OK;
	return by_part(q, OPERATION_NOT_ALLOWED, "operations");
}

static enum reason check_scopes(struct question *q)
{
	const struct policy_request *r = q->request;
	if (!q->detail || r->resource == RESOURCE_CHANNEL || q->detail->scopes.count == 0)
		return OK;
	if (r->scope_count == 0) {
		q->decision->item = SPAN_EMPTY;
		return by_part(q, SCOPE_NOT_ALLOWED, "scopes");
	}
	for (size_t i = 0; i < r->scope_count; i++) {
		if (table_texts_have(q->table, q->detail->scopes, r->scopes[i]))
			continue;
		q->decision->item = r->scopes[i];
		return by_part(q, SCOPE_NOT_ALLOWED, "scopes");
	}
	return OK;
}

static enum reason check_depth(struct question *q)
{
	if (q->request->dac_depth <= q->policy->max_dac_depth)
		return OK;
	return by_field(q, DEPTH_EXCEEDED, "max_dac_depth", q->request->dac_depth, q->policy->max_dac_depth);
}

/* ---- How often ------------------------------------------------------------------------------------------ */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * A token bucket in whole numbers, so that the same questions at the same times have the same answers everywhere: what is
 * left is counted in 1/per_ms operation, of which each millisecond brings `operations`. `full` is below 2^47.
 */
static void fill_meter(struct policy_meter *meter, const struct rule_detail *rule, uint64_t steady_ms)
{
	uint64_t per_ms = (uint64_t)rule->rate_per_s * 1000, full = rule->rate_burst * per_ms;
	if (meter->per_ms == 0)
		*meter = (struct policy_meter){.left = full, .at_ms = steady_ms, .per_ms = per_ms};
	if (meter->per_ms != per_ms) /* the rule has changed; whole operations stay */
		*meter = (struct policy_meter){.left = meter->left / meter->per_ms * per_ms, .at_ms = meter->at_ms, .per_ms = per_ms};
	uint64_t passed = steady_ms > meter->at_ms ? steady_ms - meter->at_ms : 0;
	uint64_t enough = full / rule->rate_operations + 1;
	meter->left = least(full, least(meter->left, full) + least(passed, enough) * rule->rate_operations);
	meter->at_ms += passed;
}

/* The last condition, so that only what is allowed otherwise is counted. */
static enum reason check_rate(struct question *q)
{
	struct policy_meter *meter = q->request->meter;
	const struct rule_detail *rule = q->detail;
	if (!rule || q->request->resource != RESOURCE_OPERATION || rule->rate_operations == 0)
		return OK;
	if (!meter)
		return by_part(q, REQUEST_INCOMPLETE, "rate");
	fill_meter(meter, rule, q->request->steady_ms);
	if (meter->left >= meter->per_ms) {
		meter->left -= meter->per_ms;
		return OK;
	}
	q->decision->had = (meter->per_ms - meter->left + rule->rate_operations - 1) / rule->rate_operations; /* ms to wait */
	q->decision->needed = (uint64_t)rule->rate_operations << 32 | rule->rate_per_s;
	return by_part(q, RATE_EXCEEDED, "rate");
}

unsigned policy_factors_of_level(unsigned level)
{
	static const unsigned factors[] = {0, 0, FACTOR_TPM, FACTOR_TEE};
	return level < COUNT_OF(factors) ? factors[level] : 0;
}

/* ---- The decision --------------------------------------------------------------------------------------- */

/* The order is part of the format: docs/PROTOCOL.policy, "Decision". */
static check *const checks[] = {
	check_complete,
	check_endorsed,
	check_policy,
	check_state,
	check_window,
	check_resource,
	check_peer,
	check_direction,
	check_own,
	check_level,
	check_factors,
	check_rot,
	check_core,
	check_age,
	check_peer_confinement,
	check_operation,
	check_scopes,
	check_depth,
	check_rate,
};

result policy_decide(const struct policy_table *table, const struct policy_request *request, struct policy_decision *decision)
{
	struct question q = {.table = table, .request = request, .decision = decision};
	*decision = (struct policy_decision){
		.rule = {"", "", POLICY_NO_INDEX},
		.resource = request->resource,
		.direction = request->direction,
		.subject = request->own.name,
		.peer = request->peer.name,
		.item = request->operation,
	};
	for (size_t i = 0; i < COUNT_OF(checks); i++) {
		decision->reason = checks[i](&q);
		if (decision->reason != OK)
			return decision->reason;
	}
	decision->allow = true;
	return OK;
}

result policy_require(const struct policy_table *table, const struct policy_request *request, struct policy_decision *decision)
{
	char text[768];
	result decided = policy_decide(table, request, decision);
	if (decided == OK)
		return OK;
	policy_explain_text(decision, text, sizeof(text));
	return fail(decided, "%s", text);
}
