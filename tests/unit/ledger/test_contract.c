#include "world.h"

#include "../epoch_maker.h"
#include "groups.h"

#include <string.h>

static struct world w;

static int setup(void **state)
{
	(void)state;
	world_new(&w);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&w);
	return 0;
}

/* ---- Envelope ---------------------------------------------------------------------------------- */

static struct tx_event report(void)
{
	return (struct tx_event){.event_class = EVENT_VIOLATION, .subject = "guest 7", .time = w.time};
}

static void envelope(void **state)
{
	(void)state;
	struct tx_event body = report();
	struct merkle_hash before, after;
	struct span tx = world_tx(&w, PROCESSOR, TX_EVENT, &body);
	assert_int_equal(world_apply(&w, tx), OK);
	assert_true(w.last.counts);
	/* LE-02, LE-08: the same again, and the same nonce under something else */
	assert_int_equal(world_apply(&w, tx), TX_REPLAYED);
	assert_false(w.last.counts);
	w.nonce--;
	body.event_class = EVENT_HSM_DENY;
	assert_int_equal(world_send(&w, PROCESSOR, TX_EVENT, &body), TX_REPLAYED);
	w.nonce++;
	/* once it has expired it is refused for that, and its nonce is forgotten */
	size_t count = ledger_state_count(w.state);
	w.time += 61 * 1000;
	assert_int_equal(world_apply(&w, tx), TX_EXPIRED);
	assert_true(ledger_state_count(w.state) < count);
	world_root(&w, &before);
	/* too far ahead, of another chain, badly signed: nothing changes, and it is not for the log */
	body = report();
	w.time += 700 * 1000;
	tx = world_tx(&w, PROCESSOR, TX_EVENT, &body);
	w.time -= 700 * 1000;
	assert_int_equal(world_apply(&w, tx), TX_TOO_FAR);
	w.chain[0] ^= 1;
	assert_int_equal(world_send(&w, PROCESSOR, TX_EVENT, &body), CHAIN_FOREIGN);
	w.chain[0] ^= 1;
	tx = world_tx(&w, PROCESSOR, TX_EVENT, &body);
	uint8_t *bytes = (uint8_t *)tx.data;
	bytes[tx.len - 1] ^= 1;
	assert_int_equal(world_apply(&w, tx), BAD_SIGNATURE);
	assert_false(w.last.counts);
	world_root(&w, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	/* the good one is not spoilt by the bad one */
	bytes[tx.len - 1] ^= 1;
	assert_int_equal(world_apply(&w, tx), OK);
}

/* LE-07: a transaction has one form; every flipped bit is refused. */
static void every_bit(void **state)
{
	(void)state;
	struct tx_event body = report();
	struct span tx = world_tx(&w, PROCESSOR, TX_EVENT, &body);
	uint8_t *bytes = (uint8_t *)tx.data;
	uint64_t time = w.time;
	for (size_t bit = 0; bit < tx.len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		w.time = time;
		assert_int_not_equal(world_apply(&w, tx), OK);
		assert_false(w.last.counts);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < tx.len; len++) {
		w.time = time;
		assert_int_equal(world_apply(&w, span_of(bytes, len)), TX_MALFORMED);
	}
	w.time = time;
	assert_int_equal(world_apply(&w, tx), OK);
}

/* A refused transaction that was in order has had its one verdict. */
static void one_verdict(void **state)
{
	(void)state;
	struct tx_event body = report();
	struct span tx = world_tx(&w, STRANGER, TX_EVENT, &body);
	assert_int_equal(world_apply(&w, tx), SENDER_NOT_ALLOWED);
	assert_true(w.last.counts);
	assert_int_equal(w.last.events.len, 1);
	assert_int_equal(world_apply(&w, tx), TX_REPLAYED);
}

/* ---- Configuration ----------------------------------------------------------------------------- */

static void configuration(void **state)
{
	(void)state;
	const enum person two[] = {MEMBER_1, MEMBER_3}, one[] = {MEMBER_1}, strange[] = {MEMBER_1, STRANGER};
	struct tx_config body = {world_config(&w, 1, one, 1)};
	assert_int_equal(world_send(&w, MEMBER_1, TX_CONFIG, &body), CONFIG_QUORUM);
	body.config = world_config(&w, 1, strange, 2);
	assert_int_equal(world_send(&w, MEMBER_1, TX_CONFIG, &body), CONFIG_QUORUM);
	body.config = world_config(&w, 2, two, 2);
	assert_int_equal(world_send(&w, MEMBER_1, TX_CONFIG, &body), VERSION_BELOW_FLOOR);
	body.config = world_config(&w, 1, two, 2);
	assert_int_equal(world_send(&w, MEMBER_1, TX_CONFIG, &body), OK);
	assert_int_equal(world_send(&w, MEMBER_1, TX_CONFIG, &body), VERSION_BELOW_FLOOR);
	w.chain[3] ^= 1;
	body.config = world_config(&w, 2, two, 2);
	w.chain[3] ^= 1;
	assert_int_equal(world_send(&w, MEMBER_1, TX_CONFIG, &body), CHAIN_FOREIGN);
}

static void nothing_before_the_first(void **state)
{
	(void)state;
	struct world fresh;
	const enum person signers[] = {MEMBER_1, MEMBER_2}, one[] = {MEMBER_2};
	world_empty(&fresh);
	struct tx_event event = {.event_class = EVENT_VIOLATION, .subject = "x", .time = fresh.time};
	assert_int_equal(world_send(&fresh, PROCESSOR, TX_EVENT, &event), CHAIN_FOREIGN);
	struct tx_config body = {world_config(&fresh, 0, one, 1)};
	assert_int_equal(world_send(&fresh, MEMBER_1, TX_CONFIG, &body), CONFIG_QUORUM);
	body.config = world_config(&fresh, 0, signers, 2);
	assert_int_equal(world_send(&fresh, MEMBER_1, TX_CONFIG, &body), OK);
	world_free(&fresh);
}

/* ---- Access ------------------------------------------------------------------------------------ */

static void set_rules(const char *scope, uint64_t version, struct access_rule *rules, size_t count, enum reason wanted)
{
	struct tx_access body = {scope, version, rules, count};
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), wanted);
}

static void rules_of_owners(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/r/data"), *below = world_scope(&w, OWNER, "/r/data/2026"), *beside = world_scope(&w, OWNER, "/r/database");
	struct address actors[1];
	struct digest48 codes[1];
	memcpy(actors[0].bytes, w.addresses[ACTOR], ADDRESS_SIZE);
	memcpy(codes[0].bytes, w.code_1, SHA384_SIZE);
	struct access_rule allow = {.effect = ACCESS_ALLOW, .actors = {actors, 1}, .has_actors = true, .operations = 1 << 0 | 1 << 2, .scope = scope,
		.measurements = {codes, 1}, .has_measurements = true};
	struct operation_spec spec = {.actor = ACTOR, .operation = 2, .scope = below};
	/* default deny; the owner may */
	assert_int_equal(world_operate(&w, &spec), ACCESS_NOT_GRANTED);
	spec.actor = OWNER;
	assert_int_equal(world_operate(&w, &spec), OK);
	spec.actor = ACTOR;
	set_rules(scope, 1, &allow, 1, OK);
	assert_int_equal(world_operate(&w, &spec), OK);
	spec.operation = 0;
	assert_int_equal(world_operate(&w, &spec), OK);
	spec.operation = 1;
	assert_int_equal(world_operate(&w, &spec), ACCESS_NOT_GRANTED);
	spec.operation = 2;
	spec.scope = beside;
	assert_int_equal(world_operate(&w, &spec), ACCESS_NOT_GRANTED);
	spec.scope = world_scope(&w, OWNER, "/r");
	assert_int_equal(world_operate(&w, &spec), ACCESS_NOT_GRANTED);
	spec.scope = below;
	spec.actor = STRANGER;
	assert_int_equal(world_operate(&w, &spec), ACCESS_NOT_GRANTED);
	spec.actor = ACTOR;
	/* deny wins, wherever it stands: below, above, beside an allowance, for the owner too */
	struct access_rule deny = {.effect = ACCESS_DENY, .operations = UINT64_MAX, .scope = below};
	set_rules(below, 1, &deny, 1, OK);
	assert_int_equal(world_operate(&w, &spec), ACCESS_DENIED);
	spec.actor = OWNER;
	assert_int_equal(world_operate(&w, &spec), ACCESS_DENIED);
	spec.actor = ACTOR;
	set_rules(below, 2, NULL, 0, OK);
	assert_int_equal(world_operate(&w, &spec), OK);
	struct access_rule both[2] = {allow, deny};
	both[1].scope = scope;
	set_rules(scope, 2, both, 2, OK);
	assert_int_equal(world_operate(&w, &spec), ACCESS_DENIED);
	/* a denial of other code does not meet this code */
	memcpy(codes[0].bytes, w.code_2, SHA384_SIZE);
	both[1].measurements = (struct measurement_set){codes, 1};
	both[1].has_measurements = true;
	struct digest48 own[1];
	memcpy(own[0].bytes, w.code_1, SHA384_SIZE);
	both[0].measurements.items = own;
	set_rules(scope, 3, both, 2, OK);
	assert_int_equal(world_operate(&w, &spec), OK);
}

static void rules_are_refused(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/s/data");
	struct access_rule rule = {.effect = ACCESS_ALLOW, .operations = 1, .scope = scope};
	struct tx_access body = {scope, 1, &rule, 1};
	assert_int_equal(world_send(&w, ACTOR, TX_ACCESS, &body), SCOPE_NOT_OWNED);
	rule.scope = world_scope(&w, OWNER, "/s");
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), TX_MALFORMED);
	rule.scope = scope;
	rule.effect = 0;
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), TX_MALFORMED);
	rule.effect = ACCESS_ALLOW;
	rule.operations = 0;
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), TX_MALFORMED);
	rule.operations = 1;
	body.version = 2;
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), VERSION_BELOW_FLOOR);
	body.version = 1;
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), OK);
	assert_int_equal(world_send(&w, OWNER, TX_ACCESS, &body), VERSION_BELOW_FLOOR);
}

/* ---- Grants ------------------------------------------------------------------------------------ */

static void one_grant(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/g1/data");
	uint8_t oid[OID_SIZE];
	struct grant grant = world_grant(&w, OWNER, ACTOR, scope);
	grant.operations = 1 << 2;
	grant.max_uses = 2;
	grant.has_max_uses = true;
	struct bytes_item link = world_sign_grant(&w, OWNER, &grant, oid);
	struct operation_spec spec = {.actor = ACTOR, .operation = 2, .scope = scope, .links = &link, .link_count = 1};
	assert_int_equal(world_operate(&w, &spec), OK);
	/* LE-01: for another, for something else, elsewhere, more often, later */
	struct operation_spec other = spec;
	other.actor = STRANGER;
	assert_int_equal(world_operate(&w, &other), GRANT_NOT_FOR_THIS);
	other = spec;
	other.operation = 3;
	assert_int_equal(world_operate(&w, &other), GRANT_NOT_FOR_THIS);
	other = spec;
	other.scope = world_scope(&w, OWNER, "/g1");
	assert_int_equal(world_operate(&w, &other), GRANT_NOT_FOR_THIS);
	assert_int_equal(world_operate(&w, &spec), OK);
	assert_int_equal(world_operate(&w, &spec), GRANT_EXHAUSTED);
	struct grant late = world_grant(&w, OWNER, ACTOR, scope);
	late.not_before = w.time - 2000;
	late.not_after = w.time - 1;
	link = world_sign_grant(&w, OWNER, &late, oid);
	assert_int_equal(world_operate(&w, &spec), GRANT_EXPIRED);
	late.not_before = w.time + 60 * 1000;
	late.not_after = w.time + 120 * 1000;
	link = world_sign_grant(&w, OWNER, &late, oid);
	assert_int_equal(world_operate(&w, &spec), GRANT_EXPIRED);
	/* a grant that its owner did not sign, or that somebody signed in the owner's name */
	struct grant forged = world_grant(&w, STRANGER, ACTOR, scope);
	link = world_sign_grant(&w, STRANGER, &forged, oid);
	assert_int_equal(world_operate(&w, &spec), GRANT_BROKEN);
	forged = world_grant(&w, OWNER, ACTOR, scope);
	link = world_sign_grant(&w, STRANGER, &forged, oid);
	assert_int_equal(world_operate(&w, &spec), BAD_SIGNATURE);
	forged.chain[0] ^= 1;
	link = world_sign_grant(&w, OWNER, &forged, oid);
	assert_int_equal(world_operate(&w, &spec), CHAIN_FOREIGN);
}

struct chain {
	struct grant grants[GRANT_CHAIN_MAX + 1];
	struct bytes_item links[GRANT_CHAIN_MAX + 1];
	uint8_t oids[GRANT_CHAIN_MAX + 1][OID_SIZE];
};

/* owner -> delegate -> actor */
static void make_two(struct chain *chain, const char *scope)
{
	chain->grants[0] = world_grant(&w, OWNER, DELEGATE, scope);
	chain->grants[1] = world_grant(&w, DELEGATE, ACTOR, scope);
	chain->grants[1].max_depth = 6;
}

static void sign_two(struct chain *chain)
{
	chain->links[0] = world_sign_grant(&w, OWNER, &chain->grants[0], chain->oids[0]);
	chain->grants[1].has_parent = true;
	memcpy(chain->grants[1].parent, chain->oids[0], OID_SIZE);
	chain->links[1] = world_sign_grant(&w, DELEGATE, &chain->grants[1], chain->oids[1]);
}

static void delegation(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/g2/data"), *below = world_scope(&w, OWNER, "/g2/data/x");
	struct chain chain;
	make_two(&chain, scope);
	chain.grants[0].has_max_uses = true;
	chain.grants[0].max_uses = 3;
	chain.grants[1].has_max_uses = true;
	chain.grants[1].max_uses = 1;
	chain.grants[1].scope = below;
	chain.grants[1].operations = 4;
	sign_two(&chain);
	struct operation_spec spec = {.actor = ACTOR, .operation = 2, .scope = below, .links = chain.links, .link_count = 2};
	assert_int_equal(world_operate(&w, &spec), OK);
	assert_int_equal(world_operate(&w, &spec), GRANT_EXHAUSTED);
	/* The use counted above too: two are left there, for however many children. */
	for (int i = 0; i < 3; i++) {
		w.nonce++;
		memcpy(chain.grants[1].nonce, &w.nonce, sizeof(w.nonce));
		chain.links[1] = world_sign_grant(&w, DELEGATE, &chain.grants[1], chain.oids[1]);
		assert_int_equal(world_operate(&w, &spec), i < 2 ? OK : GRANT_EXHAUSTED);
	}
	/* The links alone, in another order, or twice say nothing. */
	spec.link_count = 1;
	assert_int_equal(world_operate(&w, &spec), GRANT_NOT_FOR_THIS);
	struct bytes_item turned[2] = {chain.links[1], chain.links[0]};
	spec.links = turned;
	spec.link_count = 2;
	assert_int_equal(world_operate(&w, &spec), GRANT_BROKEN);
	turned[0] = chain.links[0];
	assert_int_equal(world_operate(&w, &spec), GRANT_BROKEN);
}

static void widened(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/g3/data"), *above = world_scope(&w, OWNER, "/g3");
	struct digest48 codes[2];
	memcpy(codes[0].bytes, w.code_1, SHA384_SIZE);
	memcpy(codes[1].bytes, w.code_2, SHA384_SIZE);
	for (int field = 0; field < 9; field++) {
		struct chain chain;
		const char *name = NULL;
		enum reason wanted = GRANT_WIDENED;
		make_two(&chain, scope);
		chain.grants[0].operations = 4;
		chain.grants[1].operations = 4;
		chain.grants[0].measurements = (struct measurement_set){codes, 1};
		chain.grants[0].has_measurements = true;
		chain.grants[1].measurements = (struct measurement_set){codes, 1};
		chain.grants[1].has_measurements = true;
		chain.grants[0].has_max_uses = chain.grants[1].has_max_uses = true;
		chain.grants[0].max_uses = chain.grants[1].max_uses = 5;
		switch (field) {
		case 0: wanted = OK; break;
		case 1: chain.grants[1].scope = above; name = "scope"; break;
		case 2: chain.grants[1].operations = 6; name = "operations"; break;
		case 3: chain.grants[1].measurements.count = 2; name = "measurements"; break;
		case 4: chain.grants[1].has_measurements = false; name = "measurements"; break;
		case 5: chain.grants[1].not_before--; name = "not_before"; break;
		case 6: chain.grants[1].not_after++; name = "not_after"; break;
		case 7: chain.grants[1].max_uses = 6; name = "max_uses"; break;
		case 8: chain.grants[1].has_max_uses = false; name = "max_uses"; break;
		}
		sign_two(&chain);
		struct operation_spec spec = {.actor = ACTOR, .operation = 2, .scope = scope, .links = chain.links, .link_count = 2};
		assert_int_equal(world_operate(&w, &spec), wanted);
		if (name)
			assert_non_null(strstr(w.last.text, name));
	}
}

static void depth(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/g4/data");
	struct chain chain;
	struct operation_spec spec = {.actor = ACTOR, .operation = 2, .scope = scope, .links = chain.links};
	make_two(&chain, scope);
	chain.grants[0].max_depth = 0;
	chain.grants[1].max_depth = 0;
	sign_two(&chain);
	spec.link_count = 2;
	assert_int_equal(world_operate(&w, &spec), GRANT_TOO_DEEP);
	make_two(&chain, scope);
	chain.grants[0].max_depth = 1;
	chain.grants[1].max_depth = 1;
	sign_two(&chain);
	assert_int_equal(world_operate(&w, &spec), GRANT_WIDENED);
	assert_non_null(strstr(w.last.text, "max_depth"));
	/* eight links, then one more */
	for (size_t i = 0; i <= GRANT_CHAIN_MAX; i++) {
		enum person from = i == 0 ? OWNER : DELEGATE;
		chain.grants[i] = world_grant(&w, from, DELEGATE, scope);
		chain.grants[i].max_depth = (uint8_t)(i < GRANT_CHAIN_MAX ? GRANT_CHAIN_MAX - 1 - i : 0);
		chain.grants[i].has_parent = i > 0;
		if (i)
			memcpy(chain.grants[i].parent, chain.oids[i - 1], OID_SIZE);
		chain.links[i] = world_sign_grant(&w, from, &chain.grants[i], chain.oids[i]);
	}
	spec.actor = DELEGATE;
	spec.link_count = GRANT_CHAIN_MAX;
	assert_int_equal(world_operate(&w, &spec), OK);
}

static void revocation(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/g5/data");
	struct chain chain;
	make_two(&chain, scope);
	sign_two(&chain);
	struct operation_spec spec = {.actor = ACTOR, .operation = 2, .scope = scope, .links = chain.links, .link_count = 2};
	struct tx_revoke revoke = {.links = chain.links, .link_count = 2};
	memcpy(revoke.target, chain.oids[1], OID_SIZE);
	assert_int_equal(world_operate(&w, &spec), OK);
	assert_int_equal(world_send(&w, STRANGER, TX_REVOKE, &revoke), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, ACTOR, TX_REVOKE, &revoke), SENDER_NOT_ALLOWED);
	/* another target than the chain's last, and one nobody has seen */
	struct tx_revoke other = {.links = chain.links, .link_count = 2};
	memcpy(other.target, chain.oids[0], OID_SIZE);
	assert_int_equal(world_send(&w, OWNER, TX_REVOKE, &other), GRANT_BROKEN);
	other.link_count = 0;
	memset(other.target, 9, OID_SIZE);
	assert_int_equal(world_send(&w, OWNER, TX_REVOKE, &other), GRANT_BROKEN);
	/* the upstream issuer may */
	assert_int_equal(world_send(&w, OWNER, TX_REVOKE, &revoke), OK);
	assert_int_equal(world_operate(&w, &spec), GRANT_REVOKED);
	assert_int_equal(world_send(&w, OWNER, TX_REVOKE, &revoke), GRANT_REVOKED);
	/* A revoked parent ends all its children; the ledger knows it by its use, so no chain is needed. */
	make_two(&chain, scope);
	sign_two(&chain);
	assert_int_equal(world_operate(&w, &spec), OK);
	struct tx_revoke parent = {0};
	memcpy(parent.target, chain.oids[0], OID_SIZE);
	assert_int_equal(world_send(&w, DELEGATE, TX_REVOKE, &parent), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, OWNER, TX_REVOKE, &parent), OK);
	assert_int_equal(world_operate(&w, &spec), GRANT_REVOKED);
}

/* Facts are intervals: a later root proves until when. */
static void revocation_is_provable(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/g6/data");
	uint8_t oid[OID_SIZE], key[SPARSE_KEY_SIZE];
	struct merkle_hash root;
	struct sparse_proof proof;
	struct grant grant = world_grant(&w, OWNER, ACTOR, scope);
	struct bytes_item link = world_sign_grant(&w, OWNER, &grant, oid);
	struct tx_grant put = {&link, 1};
	assert_int_equal(world_send(&w, STRANGER, TX_GRANT, &put), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, ACTOR, TX_GRANT, &put), OK);
	fact_key(FACT_REVOCATION, SPAN_ARRAY(oid), key);
	world_root(&w, &root);
	expect_ok(ledger_state_prove(w.state, key, &proof));
	expect_ok(sparse_verify(&root, key, SPAN_EMPTY, &proof));
	struct tx_revoke revoke = {0};
	memcpy(revoke.target, oid, OID_SIZE);
	uint64_t index = w.index;
	assert_int_equal(world_send(&w, OWNER, TX_REVOKE, &revoke), OK);
	world_root(&w, &root);
	expect(sparse_verify(&root, key, SPAN_EMPTY, &proof), PROOF_INVALID);
	struct grant_fact fact;
	bool there;
	expect_ok(ledger_state_find(w.state, FACT_GRANT, SPAN_ARRAY(oid), &w.arena, &fact, &there));
	assert_true(there && fact.span.has_until && fact.span.until == index);
	expect_ok(ledger_state_prove(w.state, key, &proof));
	expect_ok(sparse_verify(&root, key, proof.leaf_value, &proof));
}

/* ---- Operations -------------------------------------------------------------------------------- */

static void operations(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/o/data");
	struct operation_spec spec = {.actor = OWNER, .operation = 1, .scope = scope};
	struct bytes_item request;
	spec.out_request = &request;
	assert_int_equal(world_operate(&w, &spec), OK);
	/* A request counts once. */
	spec.out_request = NULL;
	spec.request = &request;
	assert_int_equal(world_operate(&w, &spec), TX_REPLAYED);
	spec.request = NULL;
	spec.asked = w.code_2;
	assert_int_equal(world_operate(&w, &spec), REQUEST_MISMATCH);
	spec.asked = w.code_1;
	assert_int_equal(world_operate(&w, &spec), OK);
	spec.asked = NULL;
	spec.measurement = w.code_2;
	assert_int_equal(world_operate(&w, &spec), NOT_REGISTERED);
	spec.measurement = NULL;
	spec.processor = STRANGER;
	assert_int_equal(world_operate(&w, &spec), PROCESSOR_UNKNOWN);
	spec.processor = 0;
	/* LE-09 and clock jumps: too old, from the future; spooled ones may be older, never newer */
	spec.time = w.time - 301 * 1000;
	assert_int_equal(world_operate(&w, &spec), RECORD_TIME);
	spec.time = w.time + 301 * 1000;
	assert_int_equal(world_operate(&w, &spec), RECORD_TIME);
	spec.type = TX_SPOOLED;
	spec.time = w.time + 301 * 1000;
	assert_int_equal(world_operate(&w, &spec), RECORD_TIME);
	spec.time = w.time - 3600 * 1000;
	assert_int_equal(world_operate(&w, &spec), OK);
	spec.time = w.time - 25 * 3600 * 1000;
	assert_int_equal(world_operate(&w, &spec), RECORD_TIME);
}

static void registrations(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/p/data");
	struct operation_spec spec = {.actor = OWNER, .operation = 1, .scope = scope, .measurement = w.code_2};
	struct tx_register code = {.subject = REGISTERED_ENCLAVE, .label = "", .not_before = w.time - 1000, .not_after = w.time + 1000 * 1000};
	struct tx_unregister end = {.subject = REGISTERED_ENCLAVE, .why = ""};
	memcpy(code.digest, w.code_2, SHA384_SIZE);
	memcpy(end.digest, w.code_2, SHA384_SIZE);
	assert_int_equal(world_send(&w, STRANGER, TX_UNREGISTER, &end), NOT_REGISTERED);
	assert_int_equal(world_send(&w, PROCESSOR, TX_REGISTER, &code), OK);
	assert_int_equal(world_operate(&w, &spec), NOT_AUTHORISED);
	assert_int_equal(world_send(&w, STRANGER, TX_UNREGISTER, &end), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, PROCESSOR, TX_UNREGISTER, &end), OK);
	assert_int_equal(world_operate(&w, &spec), NOT_REGISTERED);
	/* What was ended is not brought back by observing it again. */
	assert_int_equal(world_send(&w, PROCESSOR, TX_REGISTER, &code), NOT_AUTHORISED);
	/* An authorised one is ended by registrars and members, not by who sent it in. */
	memcpy(end.digest, w.code_1, SHA384_SIZE);
	assert_int_equal(world_send(&w, STRANGER, TX_UNREGISTER, &end), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, REGISTRAR_1, TX_UNREGISTER, &end), OK);
	spec.measurement = NULL;
	assert_int_equal(world_operate(&w, &spec), NOT_REGISTERED);
}

static void floors_and_secure_mode(void **state)
{
	(void)state;
	struct tx_floor floor = {.floor_class = FLOOR_POLICY, .id = "payroll", .version = 3};
	assert_int_equal(world_send(&w, STRANGER, TX_FLOOR, &floor), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, REGISTRAR_2, TX_FLOOR, &floor), OK);
	assert_int_equal(world_send(&w, REGISTRAR_2, TX_FLOOR, &floor), VERSION_BELOW_FLOOR);
	floor.version = 2;
	assert_int_equal(world_send(&w, MEMBER_1, TX_FLOOR, &floor), VERSION_BELOW_FLOOR);
	floor.version = 9;
	assert_int_equal(world_send(&w, MEMBER_1, TX_FLOOR, &floor), OK);
	struct tx_secure_mode mode = {.enter = false, .time = w.time};
	assert_int_equal(world_send(&w, PROCESSOR, TX_SECURE_MODE, &mode), ALREADY_THERE);
	mode.enter = true;
	assert_int_equal(world_send(&w, STRANGER, TX_SECURE_MODE, &mode), SENDER_NOT_ALLOWED);
	assert_int_equal(world_send(&w, PROCESSOR, TX_SECURE_MODE, &mode), OK);
	assert_int_equal(world_send(&w, PROCESSOR, TX_SECURE_MODE, &mode), ALREADY_THERE);
	mode.enter = false;
	mode.time = w.time - 301 * 1000;
	assert_int_equal(world_send(&w, PROCESSOR, TX_SECURE_MODE, &mode), RECORD_TIME);
	mode.time = w.time;
	assert_int_equal(world_send(&w, PROCESSOR, TX_SECURE_MODE, &mode), OK);
}

/* ---- Roots of trust ---------------------------------------------------------------------------- */

static enum reason send_record(enum person sender, const struct epoch_maker *m, struct span record)
{
	uint8_t spki[MAKER_KEYS][SPKI_SIZE];
	struct bytes_item keys[MAKER_KEYS];
	for (size_t i = 0; i < MAKER_KEYS; i++) {
		key_spki(&m->recovery[i], spki[i]);
		keys[i].bytes = SPAN_ARRAY(spki[i]);
	}
	struct tx_epoch body = {record, keys, MAKER_KEYS};
	return world_send(&w, sender, TX_EPOCH, &body);
}

static enum reason send_head(enum person sender, const struct epoch_maker *m)
{
	return send_record(sender, m, bytes_span(&m->record));
}

static void roots_of_trust(void **state)
{
	(void)state;
	struct epoch_maker m, twin;
	struct bytes halt = BYTES_EMPTY;
	w.time = maker_time + 10 * 1000;
	epoch_maker_begin(&m, 40, 2, 3);
	assert_int_equal(send_head(STRANGER, &m), SENDER_NOT_ALLOWED);
	assert_int_equal(send_head(MEMBER_1, &m), OK);
	assert_int_equal(send_head(MEMBER_1, &m), ALREADY_THERE);
	/* anybody may bring the records that follow: they prove themselves */
	epoch_maker_rotate(&m);
	assert_int_equal(send_head(STRANGER, &m), OK);
	assert_int_equal(send_head(STRANGER, &m), ALREADY_THERE);
	epoch_maker_clone(&m, 7, &twin);
	epoch_maker_rotate(&m);
	epoch_maker_rotate(&m);
	assert_int_equal(send_head(STRANGER, &m), EPOCH_FOREIGN);
	epoch_maker_free(&m);
	epoch_maker_clone(&twin, 8, &m);
	epoch_maker_rotate(&m);
	assert_int_equal(send_head(STRANGER, &m), OK);
	/* RO-13: the second record for one epoch freezes the root; only a recovery goes on */
	epoch_maker_rotate(&twin);
	assert_int_equal(send_head(STRANGER, &twin), OK);
	struct root_fact root;
	bool there;
	expect_ok(ledger_state_find(w.state, FACT_ROOT, SPAN_ARRAY(m.rot_id), &w.arena, &root, &there));
	assert_true(there && root.state == ROOT_FROZEN);
	epoch_maker_rotate(&m);
	assert_int_equal(send_head(STRANGER, &m), EPOCH_FORKED);
	epoch_maker_free(&m);
	epoch_maker_free(&twin);
	/* HALT and recovery */
	epoch_maker_begin(&m, 50, 2, 3);
	assert_int_equal(send_head(REGISTRAR_1, &m), OK);
	epoch_maker_rotate(&m);
	assert_int_equal(send_head(STRANGER, &m), OK);
	epoch_maker_halt(&m, 0, 2, SIGN_R0, &halt);
	assert_int_equal(send_record(STRANGER, &m, bytes_span(&halt)), RECOVERY_QUORUM);
	bytes_free(&halt);
	epoch_maker_halt(&m, 0, 2, SIGN_R0 | SIGN_R2, &halt);
	assert_int_equal(send_record(STRANGER, &m, bytes_span(&halt)), OK);
	bytes_free(&halt);
	epoch_maker_clone(&m, 3, &twin);
	epoch_maker_rotate(&twin);
	assert_int_equal(send_head(STRANGER, &twin), EPOCH_HALTED);
	epoch_maker_free(&twin);
	epoch_maker_recover(&m, SIGN_R0 | SIGN_R1);
	assert_int_equal(send_head(STRANGER, &m), OK);
	expect_ok(ledger_state_find(w.state, FACT_ROOT, SPAN_ARRAY(m.rot_id), &w.arena, &root, &there));
	assert_int_equal(root.state, ROOT_LIVE);
	epoch_maker_free(&m);
}

/* A root's signing key is a co-processor's: for its own epoch and a grace, and never once it was voided. */
static void processors_of_roots(void **state)
{
	(void)state;
	struct epoch_maker m, first;
	const char *scope = world_scope(&w, OWNER, "/q/data");
	struct operation_spec spec = {.actor = OWNER, .operation = 1, .scope = scope, .processor = STRANGER};
	w.time = maker_time + 3600 * 1000;
	epoch_maker_begin(&m, 60, 2, 3);
	epoch_maker_clone(&m, 1, &first);
	struct key stranger = w.keys[STRANGER];
	w.keys[STRANGER] = m.pair.sign;
	assert_int_equal(world_operate(&w, &spec), PROCESSOR_UNKNOWN);
	w.keys[STRANGER] = stranger;
	assert_int_equal(send_head(MEMBER_1, &m), OK);
	w.keys[STRANGER] = first.pair.sign;
	assert_int_equal(world_operate(&w, &spec), OK);
	epoch_maker_rotate(&m);
	if (w.time < m.epoch.not_before)
		w.time = m.epoch.not_before + 1000;
	assert_int_equal(send_head(MEMBER_1, &m), OK);
	assert_int_equal(world_operate(&w, &spec), OK);
	w.time += (first.epoch.grace_s + 1) * 1000ULL;
	assert_int_equal(world_operate(&w, &spec), EPOCH_TOO_OLD);
	w.keys[STRANGER] = m.pair.sign;
	assert_int_equal(world_operate(&w, &spec), OK);
	w.keys[STRANGER] = stranger;
	epoch_maker_free(&m);
	epoch_maker_free(&first);
}

/* ---- Determinism ------------------------------------------------------------------------------- */

/* Saved and loaded it is the same state: the same root, the same verdicts, nonces that are still pruned. */
static void snapshots(void **state)
{
	(void)state;
	CLEANUP(writer_free) struct writer snapshot = writer_growing(8 << 20);
	struct merkle_hash root, again;
	struct ledger_state *loaded, *kept = w.state;
	world_root(&w, &root);
	struct merkle_hash stored = root;
	struct state_place place;
	writer_u64(&snapshot, 0);
	expect_ok(ledger_state_store(w.state, false, &snapshot, 0, &place));
	struct span bytes = span_of(snapshot.data, snapshot.len);
	expect_ok(ledger_state_open(bytes, &place, &root, 0, &loaded));
	ledger_state_root(loaded, &again);
	assert_memory_equal(&root, &again, sizeof(root));
	struct tx_event body = report();
	struct span tx = world_tx(&w, PROCESSOR, TX_EVENT, &body);
	uint64_t time = w.time, index = w.index;
	assert_int_equal(world_apply(&w, tx), OK);
	world_root(&w, &root);
	w.state = loaded;
	w.time = time;
	w.index = index;
	assert_int_equal(world_apply(&w, tx), OK);
	world_root(&w, &again);
	assert_memory_equal(&root, &again, sizeof(root));
	assert_int_equal(world_apply(&w, tx), TX_REPLAYED);
	w.time += 24ULL * 3600 * 1000 * 3;
	contract_begin(kept, w.time);
	contract_begin(loaded, w.time);
	ledger_state_root(kept, &root);
	ledger_state_root(loaded, &again);
	assert_memory_equal(&root, &again, sizeof(root));
	assert_int_equal(ledger_state_count(kept), ledger_state_count(loaded));
	for (size_t len = 0; len < bytes.len; len += 1 + len / 50) {
		struct ledger_state *cut;
		bool whole;
		if (ledger_state_open(span_of(bytes.data, len), &place, &stored, 0, &cut) != OK)
			continue;
		expect(ledger_state_bring(cut, SIZE_MAX, &whole), LEDGER_DAMAGED);
		ledger_state_free(cut);
	}
	bool done = false;
	expect_ok(ledger_state_bring(loaded, SIZE_MAX, &done));
	assert_true(done);
	ledger_state_free(kept);
}

/* The decision by itself says what an operation would get, and why. */
static void explained(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/e/data");
	struct contract_context ctx = {.time_ms = w.time, .index = w.index};
	struct access_decision decision;
	uint8_t oid[OID_SIZE];
	struct grant grant = world_grant(&w, OWNER, ACTOR, scope);
	struct bytes_item link = world_sign_grant(&w, OWNER, &grant, oid);
	struct access_question question = {.operation = 1, .scope = scope, .measurement = w.code_1};
	struct merkle_hash before, after;
	memcpy(question.actor, w.addresses[ACTOR], ADDRESS_SIZE);
	world_root(&w, &before);
	expect_ok(contract_decide(w.state, &question, &ctx, &decision));
	assert_int_equal(decision.code, ACCESS_NOT_GRANTED);
	assert_int_equal(decision.basis, BASIS_NONE);
	question.links = &link;
	question.link_count = 1;
	expect_ok(contract_decide(w.state, &question, &ctx, &decision));
	assert_int_equal(decision.code, OK);
	assert_int_equal(decision.basis, BASIS_GRANT);
	assert_int_equal(decision.grant_count, 1);
	assert_memory_equal(decision.grants[0], oid, OID_SIZE);
	world_root(&w, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	struct access_rule deny = {.effect = ACCESS_DENY, .operations = 2, .scope = scope};
	set_rules(scope, 1, &deny, 1, OK);
	ctx.time_ms = w.time;
	expect_ok(contract_decide(w.state, &question, &ctx, &decision));
	assert_int_equal(decision.code, ACCESS_DENIED);
	assert_string_equal(decision.rule_scope, scope);
	assert_int_equal(decision.rule, 0);
}

int group_contract(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(envelope),
		cmocka_unit_test(every_bit),
		cmocka_unit_test(one_verdict),
		cmocka_unit_test(configuration),
		cmocka_unit_test(nothing_before_the_first),
		cmocka_unit_test(rules_of_owners),
		cmocka_unit_test(rules_are_refused),
		cmocka_unit_test(one_grant),
		cmocka_unit_test(delegation),
		cmocka_unit_test(widened),
		cmocka_unit_test(depth),
		cmocka_unit_test(revocation),
		cmocka_unit_test(revocation_is_provable),
		cmocka_unit_test(operations),
		cmocka_unit_test(floors_and_secure_mode),
		cmocka_unit_test(snapshots),
		cmocka_unit_test(explained),
		cmocka_unit_test(roots_of_trust),
		cmocka_unit_test(processors_of_roots),
		cmocka_unit_test(registrations), /* last: it ends code_1 */
	};
	return cmocka_run_group_tests_name("contract", tests, setup, teardown);
}
