/* The decision: for each condition a request that meets it and one that differs in that alone. */
#include "policy_test.h"

/* The one request of most tests, its table, and what came out. */
struct asked {
	struct policy_table *table;
	struct policy_request request;
	struct policy_decision decision;
};

static struct asked asking(const char *policy)
{
	return (struct asked){.table = load(policy), .request = request_for("IRE-A", "IRE-B")};
}

static void asked_free(struct asked *asked)
{
	policy_table_free(asked->table);
}

#define ASKING(name, policy) CLEANUP(asked_free) struct asked name = asking(policy)

/* A denial never carries `allow`, an allowance never a reason; both name the policy. */
static void check(struct asked *asked, result expected)
{
	memset(&asked->decision, 0xa5, sizeof(asked->decision));
	result decided = policy_decide(asked->table, &asked->request, &asked->decision);
	if (decided != expected) {
		char text[600];
		policy_explain_text(&asked->decision, text, sizeof(text));
		fail_msg("%s, not %s: %s", reason_name(decided), reason_name(expected), text);
	}
	assert_int_equal(asked->decision.reason, expected);
	assert_int_equal(asked->decision.allow, expected == OK);
}

static void check_rule(const struct asked *asked, const char *field, const char *part, uint32_t index)
{
	assert_string_equal(asked->decision.rule.field, field);
	assert_string_equal(asked->decision.rule.part, part);
	assert_int_equal(asked->decision.rule.index, index);
}

#define ALLOW_B POLICY_A("allowed_communicators: [IRE-0, IRE-B]\n")

static void allowed_peer(void **state)
{
	ASKING(asked, ALLOW_B);
	check(&asked, OK);
	check_rule(&asked, "allowed_communicators", "", 1);
	assert_int_equal(asked.decision.policy_version, 1);
	struct policy_view view;
	policy_at(asked.table, 0, &view);
	assert_memory_equal(asked.decision.policy_digest, view.digest, POLICY_DIGEST_SIZE);
	assert_true(span_equal_str(asked.decision.subject, "IRE-A"));
	assert_true(span_equal_str(asked.decision.peer, "IRE-B"));
}

static void no_policy_denies(void **state)
{
	static const uint8_t zeros[POLICY_DIGEST_SIZE];
	ASKING(asked, ALLOW_B);
	asked.request.own.name = span_str("IRE-Z");
	check(&asked, NO_POLICY);
	assert_int_equal(asked.decision.policy_version, 0);
	assert_memory_equal(asked.decision.policy_digest, zeros, sizeof(zeros));
	asked.request = request_for("IRE-A", "IRE-B");
	asked.request.subject_kind = SUBJECT_HSM_CALLER;
	check(&asked, NO_POLICY);
	asked.request.subject_kind = SUBJECT_GUEST;
	check(&asked, NO_POLICY);
}

static void no_table_denies(void **state)
{
	struct asked asked = {.request = request_for("IRE-A", "IRE-B")};
	check(&asked, NO_POLICY);
}

static void other_subject_kinds_have_policies_of_their_own(void **state)
{
	ASKING(asked,
		"- {caller_id: IRE-A, max_dac_depth: 1, required_attestation_level: Level-1, allowed_communicators: [IRE-B]}\n"
		"- {guest_id: IRE-A, max_dac_depth: 1, required_attestation_level: Level-1, allowed_communicators: [IRE-C]}\n");
	check(&asked, NO_POLICY);
	asked.request.subject_kind = SUBJECT_HSM_CALLER;
	check(&asked, OK);
	asked.request.subject_kind = SUBJECT_GUEST;
	check(&asked, PEER_NOT_ALLOWED);
}

static void unknown_peer_denies(void **state)
{
	ASKING(asked, ALLOW_B);
	static const char *const others[] = {"IRE-C", "IRE-b", "IRE-", "IRE-BB", "ire-b", "IRE-A"};
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		asked.request.peer.name = span_str(others[i]);
		check(&asked, PEER_NOT_ALLOWED);
		check_rule(&asked, "allowed_communicators", "", POLICY_NO_INDEX);
	}
	asked.request.peer.name = span_of("IRE-B\0", 6);
	check(&asked, PEER_NOT_ALLOWED);
}

static void without_communicators_everybody_is_unknown(void **state)
{
	ASKING(asked, POLICY_A(""));
	check(&asked, PEER_NOT_ALLOWED);
}

static void deny_wins(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B, IRE-C]\ndeny: [IRE-0, IRE-B]\nallow_level0: [IRE-B]\n"));
	check(&asked, DENIED_BY_RULE);
	check_rule(&asked, "deny", "", 1);
	asked.request.peer.name = span_str("IRE-0");
	check(&asked, DENIED_BY_RULE);
	asked.request.peer.name = span_str("IRE-C");
	check(&asked, OK);
}

/* ---- Identities ----------------------------------------------------------------------------------------- */

static void claimed_names_are_denied(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B]\nallow_level0: [IRE-B]\n"));
	asked.request.peer.proof = PROOF_NONE;
	check(&asked, ID_NOT_ENDORSED);
	assert_false(asked.decision.about_own);
	asked.request.peer.proof = PROOF_ENDORSED;
	check(&asked, OK);
	asked.request.own.proof = PROOF_NONE;
	check(&asked, ID_NOT_ENDORSED);
	assert_true(asked.decision.about_own);
}

static void root_must_be_ones_own_by_default(void **state)
{
	ASKING(asked, ALLOW_B);
	asked.request.peer.rot_id = SPAN_ARRAY(root_b);
	check(&asked, ROT_NOT_ALLOWED);
	check_rule(&asked, "rot_ids", "", POLICY_NO_INDEX);
	asked.request.own.rot_id = SPAN_ARRAY(root_b);
	check(&asked, OK);
	asked.request.own.rot_id = asked.request.peer.rot_id = SPAN_EMPTY; /* two unknown roots are not the same */
	check(&asked, ROT_NOT_ALLOWED);
}

#define HEX_AA "aa01000000000000000000000000000000000000000000000000000000000000"
#define HEX_BB "bb02000000000000000000000000000000000000000000000000000000000000"
#define HEX_CC "cc03000000000000000000000000000000000000000000000000000000000000"

static void listed_roots_replace_ones_own(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B]\nrot_ids: [" HEX_BB ", " HEX_CC "]\n"));
	check(&asked, ROT_NOT_ALLOWED);
	asked.request.peer.rot_id = SPAN_ARRAY(root_b);
	check(&asked, OK);
	asked.request.peer.rot_id = SPAN_EMPTY;
	check(&asked, ROT_NOT_ALLOWED);
}

static void roots_of_a_peer_replace_those_of_the_policy(void **state)
{
	ASKING(asked,
		POLICY_A("allowed_communicators: [{id: IRE-B, rot_ids: [" HEX_BB "]}, {id: IRE-C, rot_ids: same}, IRE-D]\n"
			 "rot_ids: [" HEX_CC "]\n"));
	check(&asked, ROT_NOT_ALLOWED);
	check_rule(&asked, "allowed_communicators", "rot_ids", 0);
	asked.request.peer.rot_id = SPAN_ARRAY(root_b);
	check(&asked, OK);
	asked.request.peer.name = span_str("IRE-C");
	check(&asked, ROT_NOT_ALLOWED);
	asked.request.peer.rot_id = SPAN_ARRAY(root_a);
	check(&asked, OK);
	asked.request.peer.name = span_str("IRE-D");
	check(&asked, ROT_NOT_ALLOWED);
}

/* ---- Levels --------------------------------------------------------------------------------------------- */

static void seed_policy_denies_level1(void **state)
{
	ASKING(asked, SEED);
	asked.request.peer_level = 1;
	check(&asked, LEVEL_TOO_LOW);
	check_rule(&asked, "required_attestation_level", "", POLICY_NO_INDEX);
	assert_int_equal(asked.decision.had, 1);
	assert_int_equal(asked.decision.needed, 2);
	asked.request.peer_level = 2;
	check(&asked, OK);
	asked.request.peer_level = 3;
	check(&asked, OK);
	asked.request.peer_level = 0;
	check(&asked, LEVEL_TOO_LOW);
}

static void every_level_needs_itself(void **state)
{
	static const char *const policies[] = {
		"{enclave_id: IRE-A, max_dac_depth: 3, required_attestation_level: Level-1, allowed_communicators: [IRE-B]}",
		"{enclave_id: IRE-A, max_dac_depth: 3, required_attestation_level: Level-2, allowed_communicators: [IRE-B]}",
		"{enclave_id: IRE-A, max_dac_depth: 3, required_attestation_level: Level-3, allowed_communicators: [IRE-B]}"};
	for (unsigned required = 1; required <= 3; required++) {
		char yaml[256];
		snprintf(yaml, sizeof(yaml), "- %s\n", policies[required - 1]);
		ASKING(asked, yaml);
		for (unsigned level = 0; level <= 3; level++) {
			asked.request.peer_level = level;
			check(&asked, level >= required ? OK : LEVEL_TOO_LOW);
		}
	}
}

static void level0_is_accepted_by_name_only(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B, IRE-C]\nallow_level0: [IRE-C]\nmax_evidence_age_s: 5\n"));
	asked.request.peer_level = 0;
	asked.request.peer.confinement = CONFINEMENT_NONE;
	asked.request.evidence_time_ms = 0;
	check(&asked, LEVEL_TOO_LOW);
	asked.request.peer.name = span_str("IRE-C");
	check(&asked, OK);
}

static void level0_name_must_also_be_allowed(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-C]\nallow_level0: [IRE-B]\n"));
	asked.request.peer_level = 0;
	check(&asked, PEER_NOT_ALLOWED);
}

static void pinned_keys_are_level0(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B, {id: IRE-C, rot_ids: same}]\nallow_level0: [IRE-C]\n"));
	asked.request.peer.proof = PROOF_PINNED;
	asked.request.peer.rot_id = SPAN_EMPTY;
	asked.request.peer_level = 3; /* whatever is said, a pinned key proves nothing more */
	check(&asked, LEVEL_TOO_LOW);
	asked.request.peer.name = span_str("IRE-C");
	check(&asked, ROT_NOT_ALLOWED); /* its entry asks for a root */
}

static void pinned_keys_need_no_root(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B]\nallow_level0: [IRE-B]\n"));
	asked.request.peer.rot_id = SPAN_EMPTY;
	asked.request.peer_level = 0;
	check(&asked, ROT_NOT_ALLOWED);
	asked.request.peer.proof = PROOF_PINNED;
	check(&asked, OK);
}

/* ---- Evidence ------------------------------------------------------------------------------------------- */

static void cores_restrict_the_measurement(void **state)
{
	uint8_t ones[POLICY_CORE_SIZE], twos[POLICY_CORE_SIZE];
	memset(ones, 0x11, sizeof(ones));
	memset(twos, 0x22, sizeof(twos));
	ASKING(asked,
		POLICY_A("allowed_communicators:\n- id: IRE-B\n  cores: ['111111111111111111111111111111111111111111111111"
			 "111111111111111111111111111111111111111111111111']\n- IRE-C\n"));
	check(&asked, MEASUREMENT_NOT_ALLOWED);
	check_rule(&asked, "allowed_communicators", "cores", 0);
	asked.request.peer_core = SPAN_ARRAY(twos);
	check(&asked, MEASUREMENT_NOT_ALLOWED);
	asked.request.peer_core = SPAN_ARRAY(ones);
	check(&asked, OK);
	asked.request.peer.name = span_str("IRE-C");
	asked.request.peer_core = SPAN_ARRAY(twos);
	check(&asked, OK);
}

static void evidence_grows_old(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B]\nmax_evidence_age_s: 5\n"));
	asked.request.evidence_time_ms = NOW - 5000;
	check(&asked, OK);
	asked.request.evidence_time_ms = NOW - 5001;
	check(&asked, EVIDENCE_TOO_OLD);
	check_rule(&asked, "max_evidence_age_s", "", POLICY_NO_INDEX);
	assert_int_equal(asked.decision.had, 5001);
	assert_int_equal(asked.decision.needed, 5000);
	asked.request.evidence_time_ms = 0;
	check(&asked, EVIDENCE_TOO_OLD);
	asked.request.evidence_time_ms = NOW + POLICY_SKEW_MS;
	check(&asked, OK);
	asked.request.evidence_time_ms = NOW + POLICY_SKEW_MS + 1;
	check(&asked, EVIDENCE_TOO_OLD);
}

static void without_a_limit_age_does_not_matter(void **state)
{
	ASKING(asked, ALLOW_B);
	asked.request.evidence_time_ms = 0;
	check(&asked, OK);
}

static void confinement_of_both_sides(void **state)
{
	ASKING(asked, ALLOW_B);
	asked.request.own.confinement = CONFINEMENT_L;
	check(&asked, CONFINEMENT_TOO_LOW);
	assert_true(asked.decision.about_own);
	asked.request.own.confinement = CONFINEMENT_VM;
	check(&asked, OK);
	asked.request.peer.confinement = CONFINEMENT_L;
	check(&asked, CONFINEMENT_TOO_LOW);
	assert_false(asked.decision.about_own);
	check_rule(&asked, "min_confinement", "", POLICY_NO_INDEX);
	asked.request.peer.confinement = CONFINEMENT_TEE;
	check(&asked, OK);
}

static void weaker_confinement_by_policy(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B]\nmin_confinement: L\n"));
	asked.request.own.confinement = asked.request.peer.confinement = CONFINEMENT_L;
	check(&asked, OK);
	asked.request.peer.confinement = CONFINEMENT_NONE;
	check(&asked, CONFINEMENT_TOO_LOW);
}

static void open_interpreters_may_be_forbidden(void **state)
{
	ASKING(strict, POLICY_A("allowed_communicators: [IRE-B]\nallow_interpreter: false\n"));
	ASKING(loose, ALLOW_B);
	strict.request.peer.interpreter_open = loose.request.peer.interpreter_open = true;
	check(&strict, INTERPRETER_OPEN);
	assert_false(strict.decision.about_own);
	check(&loose, OK);
	strict.request.peer.interpreter_open = false;
	check(&strict, OK);
	strict.request.own.interpreter_open = true;
	check(&strict, INTERPRETER_OPEN);
	assert_true(strict.decision.about_own);
}

static void validity_window(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [IRE-B]\nnot_before: 2026-01-01T00:00:00Z\nnot_after: 2027-01-01T00:00:00Z\n"));
	static const uint64_t from = 1767225600000, to = 1798761600000;
	const struct {
		uint64_t now;
		result expected;
	} moments[] = {{from - 1, POLICY_NOT_VALID_NOW}, {from, OK}, {to, OK}, {to + 1, POLICY_NOT_VALID_NOW}};
	for (size_t i = 0; i < COUNT_OF(moments); i++) {
		asked.request.now_ms = moments[i].now;
		asked.request.evidence_time_ms = moments[i].now;
		check(&asked, moments[i].expected);
	}
	check_rule(&asked, "not_after", "", POLICY_NO_INDEX);
}

static void only_a_running_subject_may(void **state)
{
	ASKING(asked, ALLOW_B);
	for (unsigned subject = STATE_STARTING; subject <= STATE_QUARANTINED; subject++) {
		asked.request.state = (enum policy_state)subject;
		check(&asked, subject == STATE_RUNNING ? OK : STATE_NOT_ALLOWED);
	}
}

/* ---- What moves ----------------------------------------------------------------------------------------- */

static void directions(void **state)
{
	static const struct {
		const char *said;
		unsigned allowed;
	} rules[] = {
		{"both", 15},
		{"send", 1 | 12},
		{"receive", 2 | 12},
		{"connect", 3 | 4},
		{"accept", 3 | 8},
		{"[send, connect]", 1 | 4},
		{"[receive, accept]", 2 | 8},
		{"[send, receive]", 15},
		{"[connect, accept, send]", 1 | 12},
	};
	for (size_t i = 0; i < COUNT_OF(rules); i++) {
		char yaml[256];
		snprintf(yaml, sizeof(yaml), POLICY_A("allowed_communicators: [{id: IRE-B, direction: %s}]\n"), rules[i].said);
		ASKING(asked, yaml);
		for (unsigned direction = 1; direction <= 8; direction *= 2) {
			asked.request.direction = (enum policy_direction)direction;
			asked.request.resource = direction >= DIRECTION_CONNECT ? RESOURCE_CHANNEL : RESOURCE_OPERATION;
			check(&asked, rules[i].allowed & direction ? OK : DIRECTION_NOT_ALLOWED);
			if (!asked.decision.allow)
				check_rule(&asked, "allowed_communicators", "direction", 0);
		}
	}
}

static void operations(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [{id: IRE-B, operations: [clean, aggregate]}, IRE-C]\n"));
	check(&asked, OPERATION_NOT_ALLOWED);
	check_rule(&asked, "allowed_communicators", "operations", 0);
	assert_true(span_equal_str(asked.decision.item, "push"));
	static const char *const good[] = {"clean", "aggregate"}, *const bad[] = {"", "clea", "cleann", "Clean", "b", "zzz"};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		asked.request.operation = span_str(good[i]);
		check(&asked, OK);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		asked.request.operation = span_str(bad[i]);
		check(&asked, OPERATION_NOT_ALLOWED);
	}
	asked.request.peer.name = span_str("IRE-C");
	check(&asked, OK);
}

static void a_channel_asks_for_no_operation(void **state)
{
	ASKING(asked, POLICY_A("allowed_communicators: [{id: IRE-B, operations: [clean], scopes: [rows]}]\n"));
	asked.request.operation = SPAN_EMPTY;
	check(&asked, OPERATION_NOT_ALLOWED);
	asked.request.resource = RESOURCE_CHANNEL;
	asked.request.direction = DIRECTION_CONNECT;
	check(&asked, OK);
}

static void scopes(void **state)
{
	const struct span good[] = {span_str("rows"), span_str("keys")}, mixed[] = {span_str("rows"), span_str("names")};
	ASKING(asked, POLICY_A("allowed_communicators: [{id: IRE-B, scopes: [rows, keys]}]\n"));
	check(&asked, SCOPE_NOT_ALLOWED); /* data without a name is in no scope */
	check_rule(&asked, "allowed_communicators", "scopes", 0);
	asked.request.scopes = good;
	asked.request.scope_count = 2;
	check(&asked, OK);
	asked.request.scopes = mixed;
	check(&asked, SCOPE_NOT_ALLOWED);
	assert_true(span_equal_str(asked.decision.item, "names"));
	asked.request.scope_count = 1;
	check(&asked, OK);
}

static void depth(void **state)
{
	ASKING(asked, ALLOW_B);
	asked.request.resource = RESOURCE_RECORD;
	asked.request.direction = DIRECTION_RECEIVE;
	for (uint32_t level = 1; level <= 5; level++) {
		asked.request.dac_depth = level;
		check(&asked, level <= 3 ? OK : DEPTH_EXCEEDED);
	}
	check_rule(&asked, "max_dac_depth", "", POLICY_NO_INDEX);
	asked.request.dac_depth = 0;
	check(&asked, REQUEST_INCOMPLETE);
}

static void own_records_need_no_entry(void **state)
{
	ASKING(asked, SEED);
	asked.request = request_for("IRE-A", "IRE-A");
	asked.request.peer_level = 2;
	check(&asked, PEER_NOT_ALLOWED); /* an operation on a channel to oneself */
	asked.request.resource = RESOURCE_RECORD;
	asked.request.dac_depth = 3;
	check(&asked, OK);
	check_rule(&asked, "enclave_id", "", POLICY_NO_INDEX);
	asked.request.dac_depth = 4;
	check(&asked, DEPTH_EXCEEDED);
	asked.request.dac_depth = 1;
	asked.request.peer_level = 1;
	check(&asked, LEVEL_TOO_LOW);
	asked.request.peer_level = 2;
	asked.request.peer.rot_id = SPAN_ARRAY(root_b); /* the same name under another root is somebody else */
	check(&asked, PEER_NOT_ALLOWED);
	asked.request.peer.rot_id = asked.request.own.rot_id = SPAN_EMPTY;
	check(&asked, PEER_NOT_ALLOWED);
}

static void guests_resources_are_not_covered(void **state)
{
	ASKING(asked, ALLOW_B);
	for (unsigned resource = RESOURCE_EXEC; resource <= RESOURCE_SYSCALL; resource++) {
		asked.request.resource = (enum policy_resource)resource;
		check(&asked, RESOURCE_NOT_COVERED);
	}
}

/* ---- Incomplete requests -------------------------------------------------------------------------------- */

static void zeroed_request_is_denied(void **state)
{
	ASKING(asked, ALLOW_B);
	asked.request = (struct policy_request){0};
	check(&asked, REQUEST_INCOMPLETE);
}

#define SPOILT(change)                                                                                                                     \
	do {                                                                                                                               \
		asked.request = request_for("IRE-A", "IRE-B");                                                                             \
		check(&asked, OK);                                                                                                         \
		change;                                                                                                                    \
		check(&asked, REQUEST_INCOMPLETE);                                                                                         \
	} while (0)

static void each_missing_part_is_denied(void **state)
{
	ASKING(asked, ALLOW_B);
	SPOILT(asked.request.subject_kind = (enum policy_subject)0);
	SPOILT(asked.request.subject_kind = (enum policy_subject)4);
	SPOILT(asked.request.state = (enum policy_state)0);
	SPOILT(asked.request.state = (enum policy_state)5);
	SPOILT(asked.request.resource = (enum policy_resource)0);
	SPOILT(asked.request.resource = (enum policy_resource)8);
	SPOILT(asked.request.direction = (enum policy_direction)0);
	SPOILT(asked.request.direction = (enum policy_direction)3);
	SPOILT(asked.request.direction = DIRECTION_CONNECT);
	SPOILT(asked.request.resource = RESOURCE_CHANNEL);
	SPOILT(asked.request.resource = RESOURCE_RECORD);
	SPOILT(asked.request.own.name = SPAN_EMPTY);
	SPOILT(asked.request.peer.name = SPAN_EMPTY);
	SPOILT(asked.request.peer.rot_id.len = 31);
	SPOILT(asked.request.own.rot_id.len = 31);
	SPOILT(asked.request.peer_core = span_of(root_a, 32));
	SPOILT(asked.request.peer_level = 4);
	SPOILT(asked.request.now_ms = 0);
}

static void overlong_names_are_denied(void **state)
{
	char name[POLICY_NAME_MAX + 2];
	memset(name, 'x', sizeof(name));
	ASKING(asked, ALLOW_B);
	asked.request.peer.name = span_of(name, POLICY_NAME_MAX);
	check(&asked, PEER_NOT_ALLOWED);
	asked.request.peer.name = span_of(name, POLICY_NAME_MAX + 1);
	check(&asked, REQUEST_INCOMPLETE);
}

/* The first condition that fails gives the reason; the order is part of the format. */
static void reasons_come_in_order(void **state)
{
	ASKING(asked,
		POLICY_A("allowed_communicators: [{id: IRE-B, operations: [x], scopes: [x], direction: receive,\n"
			 "  cores: ['111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111']}]\n"
			 "allow_interpreter: false\nmax_evidence_age_s: 1\nnot_before: 2026-01-01T00:00:00Z\ndeny: [IRE-X]\n"));
	uint8_t core[POLICY_CORE_SIZE];
	const struct span scope = span_str("x");
	memset(core, 0x11, sizeof(core));
	struct policy_request *r = &asked.request;
	*r = (struct policy_request){.subject_kind = SUBJECT_ENCLAVE, .state = STATE_STARTING, .resource = RESOURCE_EXEC};
	r->own.name = span_str("IRE-Z");
	r->peer.name = span_str("IRE-X");
	check(&asked, REQUEST_INCOMPLETE);
	r->now_ms = 1;
	check(&asked, ID_NOT_ENDORSED);
	r->own.proof = PROOF_ENDORSED;
	check(&asked, ID_NOT_ENDORSED);
	r->peer.proof = PROOF_ENDORSED;
	check(&asked, NO_POLICY);
	r->own.name = span_str("IRE-A");
	check(&asked, STATE_NOT_ALLOWED);
	r->state = STATE_RUNNING;
	check(&asked, POLICY_NOT_VALID_NOW);
	r->now_ms = 1767225600000;
	check(&asked, RESOURCE_NOT_COVERED);
	r->resource = RESOURCE_RECORD;
	r->dac_depth = 9;
	r->direction = DIRECTION_SEND;
	check(&asked, DENIED_BY_RULE);
	r->peer.name = span_str("IRE-C");
	check(&asked, PEER_NOT_ALLOWED);
	r->peer.name = span_str("IRE-B");
	check(&asked, DIRECTION_NOT_ALLOWED);
	r->direction = DIRECTION_RECEIVE;
	check(&asked, CONFINEMENT_TOO_LOW);
	r->own.confinement = CONFINEMENT_N;
	check(&asked, LEVEL_TOO_LOW);
	r->peer_level = 1;
	check(&asked, ROT_NOT_ALLOWED);
	r->own.rot_id = r->peer.rot_id = SPAN_ARRAY(root_a);
	check(&asked, MEASUREMENT_NOT_ALLOWED);
	r->peer_core = SPAN_ARRAY(core);
	check(&asked, EVIDENCE_TOO_OLD);
	r->evidence_time_ms = r->now_ms;
	r->peer.interpreter_open = true;
	check(&asked, CONFINEMENT_TOO_LOW);
	r->peer.confinement = CONFINEMENT_N;
	check(&asked, INTERPRETER_OPEN);
	r->peer.interpreter_open = false;
	check(&asked, OPERATION_NOT_ALLOWED);
	r->operation = scope;
	check(&asked, SCOPE_NOT_ALLOWED);
	r->scopes = &scope;
	r->scope_count = 1;
	check(&asked, DEPTH_EXCEEDED);
	r->dac_depth = 3;
	check(&asked, OK);
}

/* Ten thousand policies, each of which allows its two neighbours and nobody else. */
static void many_policies_keep_apart(void **state)
{
	enum { MANY = 10000 };
	char *text = malloc(160 * MANY), *at = text;
	assert_non_null(text);
	for (int i = 0; i < MANY; i++)
		at += sprintf(at,
			"- {enclave_id: e%d, max_dac_depth: 1, required_attestation_level: Level-1, allowed_communicators: [e%d, e%d]}\n",
			i, (i + 1) % MANY, (i + 2) % MANY);
	struct asked asked = {.table = load(text)};
	for (int i = 0; i < MANY; i++) {
		for (int step = 0; step <= 3; step++) {
			char own[16], peer[16];
			snprintf(own, sizeof(own), "e%d", i);
			snprintf(peer, sizeof(peer), "e%d", (i + step) % MANY);
			asked.request = request_for(own, peer);
			check(&asked, step == 1 || step == 2 ? OK : PEER_NOT_ALLOWED);
		}
	}
	assert_true(policy_table_memory(asked.table) <= 6 * 1000 * 1000);
	asked_free(&asked);
	free(text);
}

/* Around the size at which a policy's rules get an index of their own. */
static void policies_of_every_size(void **state)
{
	for (int size = 1; size <= 20; size++) {
		char yaml[1024], *at = yaml;
		at += sprintf(at, "%s", POLICY_A("deny: [p3]\nallow_level0: [zz]\nallowed_communicators:\n"));
		for (int i = 0; i < size; i++)
			at += sprintf(at, "- p%d\n", i);
		ASKING(asked, yaml);
		for (int i = 0; i <= size; i++) {
			char name[8];
			snprintf(name, sizeof(name), "p%d", i);
			asked.request.peer.name = span_str(name);
			check(&asked, i == 3 ? DENIED_BY_RULE : i < size ? OK : PEER_NOT_ALLOWED);
		}
		asked.request.peer.name = span_str("zz");
		check(&asked, PEER_NOT_ALLOWED);
	}
}

int test_decision(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allowed_peer),
		cmocka_unit_test(no_policy_denies),
		cmocka_unit_test(no_table_denies),
		cmocka_unit_test(other_subject_kinds_have_policies_of_their_own),
		cmocka_unit_test(unknown_peer_denies),
		cmocka_unit_test(without_communicators_everybody_is_unknown),
		cmocka_unit_test(deny_wins),
		cmocka_unit_test(claimed_names_are_denied),
		cmocka_unit_test(root_must_be_ones_own_by_default),
		cmocka_unit_test(listed_roots_replace_ones_own),
		cmocka_unit_test(roots_of_a_peer_replace_those_of_the_policy),
		cmocka_unit_test(seed_policy_denies_level1),
		cmocka_unit_test(every_level_needs_itself),
		cmocka_unit_test(level0_is_accepted_by_name_only),
		cmocka_unit_test(level0_name_must_also_be_allowed),
		cmocka_unit_test(pinned_keys_are_level0),
		cmocka_unit_test(pinned_keys_need_no_root),
		cmocka_unit_test(cores_restrict_the_measurement),
		cmocka_unit_test(evidence_grows_old),
		cmocka_unit_test(without_a_limit_age_does_not_matter),
		cmocka_unit_test(confinement_of_both_sides),
		cmocka_unit_test(weaker_confinement_by_policy),
		cmocka_unit_test(open_interpreters_may_be_forbidden),
		cmocka_unit_test(validity_window),
		cmocka_unit_test(only_a_running_subject_may),
		cmocka_unit_test(directions),
		cmocka_unit_test(operations),
		cmocka_unit_test(a_channel_asks_for_no_operation),
		cmocka_unit_test(scopes),
		cmocka_unit_test(depth),
		cmocka_unit_test(own_records_need_no_entry),
		cmocka_unit_test(guests_resources_are_not_covered),
		cmocka_unit_test(zeroed_request_is_denied),
		cmocka_unit_test(each_missing_part_is_denied),
		cmocka_unit_test(overlong_names_are_denied),
		cmocka_unit_test(reasons_come_in_order),
		cmocka_unit_test(many_policies_keep_apart),
		cmocka_unit_test(policies_of_every_size),
	};
	return cmocka_run_group_tests_name("decision", tests, NULL, NULL);
}
