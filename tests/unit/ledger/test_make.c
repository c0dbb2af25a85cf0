/* Making objects, grant files, words, names, rules as text, explanations: what people's tools and services share. */
#include "world.h"

#include "groups.h"
#include "ledger/access_text.h"
#include "ledger/explain.h"
#include "ledger/make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static struct span kept(struct bytes *bytes)
{
	struct span span;
	expect_ok(arena_copy(&w.arena, bytes_span(bytes), &span));
	bytes_free(bytes);
	return span;
}

/* Sends a body through make_transaction; gives the contract's code. */
static enum reason made(enum person sender, enum transaction_type type, const void *body)
{
	CLEANUP(bytes_free) struct bytes tx = BYTES_EMPTY;
	uint8_t txid[OID_SIZE];
	const struct transaction_frame frame = {.chain = w.chain, .sender = &w.keys[sender], .now_ms = w.time};
	expect_ok(make_transaction(&frame, type, body, &tx, txid));
	enum reason code = world_apply(&w, bytes_span(&tx));
	assert_memory_equal(w.last.txid, txid, OID_SIZE);
	return code;
}

/* ---- Grants ------------------------------------------------------------------------------------ */

static struct grant generous(enum person audience, const char *scope)
{
	struct grant grant = {.scope = scope, .operations = 0x0f, .not_before = w.time - 1000, .not_after = w.time + 3600 * 1000, .max_depth = 3,
		.max_uses = 5, .has_max_uses = true};
	memcpy(grant.chain, w.chain, CHAIN_ID_SIZE);
	memcpy(grant.audience, w.addresses[audience], ADDRESS_SIZE);
	return grant;
}

/* A grant of OWNER for DELEGATE, as a file. */
static struct span owners(struct grant *grant)
{
	struct bytes link = BYTES_EMPTY, file = BYTES_EMPTY;
	expect_ok(make_grant(grant, NULL, &w.keys[OWNER], &link, NULL));
	expect_ok(grant_file_make(NULL, kept(&link), &file));
	return kept(&file);
}

static void granting(void **state)
{
	(void)state;
	struct grant grant = generous(DELEGATE, world_scope(&w, OWNER, "/m/data"));
	struct grant_chain chain;
	struct bytes link = BYTES_EMPTY, file = BYTES_EMPTY;
	expect_ok(grant_file_open(owners(&grant), &w.arena, &chain));
	assert_int_equal(chain.count, 1);
	assert_memory_equal(chain.links[0].issuer, w.addresses[OWNER], ADDRESS_SIZE);
	assert_false(chain.links[0].grant.has_parent);
	/* only the owner grants, and only what says something */
	expect(make_grant(&grant, NULL, &w.keys[STRANGER], &link, NULL), GRANT_BROKEN);
	grant.operations = 0;
	expect(make_grant(&grant, NULL, &w.keys[OWNER], &link, NULL), TX_MALFORMED);
	grant = generous(DELEGATE, "payroll");
	expect(make_grant(&grant, NULL, &w.keys[OWNER], &link, NULL), TX_MALFORMED);
	grant = generous(DELEGATE, chain.links[0].grant.scope);
	grant.not_after = grant.not_before;
	expect(make_grant(&grant, NULL, &w.keys[OWNER], &link, NULL), TX_MALFORMED);
	assert_null(link.data);
	/* narrower, by whom it is for; the ledger takes the file as it is */
	struct grant child = chain.links[0].grant;
	child.operations = 1;
	child.max_depth = 0;
	memcpy(child.audience, w.addresses[ACTOR], ADDRESS_SIZE);
	expect_ok(make_grant(&child, &chain.links[0], &w.keys[DELEGATE], &link, NULL));
	expect_ok(grant_file_make(&chain, kept(&link), &file));
	expect_ok(grant_file_open(kept(&file), &w.arena, &chain));
	assert_int_equal(chain.count, 2);
	assert_memory_equal(chain.links[1].grant.parent, chain.links[0].oid, OID_SIZE);
	const struct tx_grant body = {chain.items, chain.count};
	assert_int_equal(made(ACTOR, TX_GRANT, &body), OK);
	assert_int_equal(made(STRANGER, TX_GRANT, &body), SENDER_NOT_ALLOWED);
}

/* LE-04: each field, found before anything is signed, and named. */
static void widened_is_told_by_the_field(void **state)
{
	(void)state;
	struct grant grant = generous(DELEGATE, world_scope(&w, OWNER, "/m/wide"));
	struct digest48 codes[2];
	memcpy(codes[0].bytes, w.code_1, SHA384_SIZE);
	memcpy(codes[1].bytes, w.code_2, SHA384_SIZE);
	grant.measurements.items = codes;
	grant.measurements.count = 1;
	grant.has_measurements = true;
	struct grant_chain chain;
	struct bytes link = BYTES_EMPTY;
	expect_ok(grant_file_open(owners(&grant), &w.arena, &chain));
	const struct grant_link *parent = &chain.links[0];
	struct grant as_it_is = parent->grant;
	memcpy(as_it_is.audience, w.addresses[ACTOR], ADDRESS_SIZE);
	as_it_is.max_depth = 2;
	struct grant wide[9];
	for (size_t i = 0; i < 9; i++)
		wide[i] = as_it_is;
	wide[0].scope = world_scope(&w, OWNER, "/m");
	wide[1].operations |= 1 << 6;
	wide[2].measurements.items = codes;
	wide[2].measurements.count = 2;
	wide[3].has_measurements = false;
	wide[4].not_before -= 1;
	wide[5].not_after += 1;
	wide[6].max_uses += 1;
	wide[7].has_max_uses = false;
	wide[8].max_depth = 3;
	static const char *const fields[] = {
		"scope", "operations", "measurements", "measurements", "not_before", "not_after", "max_uses", "max_uses", "max_depth"};
	for (size_t i = 0; i < 9; i++) {
		expect(make_grant(&wide[i], parent, &w.keys[DELEGATE], &link, NULL), GRANT_WIDENED);
		if (strncmp(failure_text(), fields[i], strlen(fields[i])) != 0)
			fail_msg("'%s' does not begin with %s", failure_text(), fields[i]);
	}
	expect_ok(make_grant(&as_it_is, parent, &w.keys[DELEGATE], &link, NULL));
	bytes_free(&link);
	expect(make_grant(&as_it_is, parent, &w.keys[STRANGER], &link, NULL), GRANT_BROKEN);
	assert_non_null(strstr(failure_text(), w.texts[DELEGATE]));
}

static void files_are_refused(void **state)
{
	(void)state;
	struct grant grant = generous(DELEGATE, world_scope(&w, OWNER, "/m/files"));
	struct grant_chain chain = {.count = 0}, other;
	struct bytes link = BYTES_EMPTY, file = BYTES_EMPTY;
	grant.max_depth = 7;
	grant.has_max_uses = false;
	struct span first = owners(&grant);
	expect_ok(grant_file_open(first, &w.arena, &chain));
	/* every bit of a grant is signed, or holds the file together */
	uint8_t *copy = malloc(first.len);
	assert_non_null(copy);
	for (size_t bit = 0; bit < 8 * first.len; bit += 3) {
		memcpy(copy, first.data, first.len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(grant_file_open(span_of(copy, first.len), &w.arena, &other), OK);
	}
	free(copy);
	expect(grant_file_open(SPAN_EMPTY, &w.arena, &other), TX_MALFORMED);
	/* eight deep, not nine; the last may not go on */
	for (unsigned depth = 1; depth < GRANT_CHAIN_MAX; depth++) {
		struct grant child = grant_chain_last(&chain)->grant;
		child.max_depth--;
		expect_ok(make_grant(&child, grant_chain_last(&chain), &w.keys[DELEGATE], &link, NULL));
		expect_ok(grant_file_make(&chain, kept(&link), &file));
		expect_ok(grant_file_open(kept(&file), &w.arena, &chain));
	}
	assert_int_equal(chain.count, GRANT_CHAIN_MAX);
	expect(make_grant(&grant_chain_last(&chain)->grant, grant_chain_last(&chain), &w.keys[DELEGATE], &link, NULL), GRANT_TOO_DEEP);
	expect(grant_file_make(&chain, chain.items[0].bytes, &file), GRANT_TOO_DEEP);
	/* links that do not follow, and the link that is named */
	struct bytes_item swapped[] = {chain.items[0], chain.items[2]};
	const struct tx_grant body = {swapped, 2};
	expect_ok(schema_encode(&tx_grant_schema, &body, &file));
	expect(grant_file_open(kept(&file), &w.arena, &other), GRANT_BROKEN);
	assert_non_null(strstr(failure_text(), "grant 2 of 2"));
	/* a child of another ledger */
	uint8_t oid[OID_SIZE];
	struct grant foreign = world_grant(&w, DELEGATE, ACTOR, grant.scope);
	foreign.chain[0] ^= 1;
	foreign.has_parent = true;
	foreign.max_depth = 0;
	foreign.operations = 1;
	foreign.not_before = grant.not_before;
	foreign.not_after = grant.not_after;
	memcpy(foreign.parent, chain.links[0].oid, OID_SIZE);
	swapped[1] = world_sign_grant(&w, DELEGATE, &foreign, oid);
	expect_ok(schema_encode(&tx_grant_schema, &body, &file));
	expect(grant_file_open(kept(&file), &w.arena, &other), CHAIN_FOREIGN);
}

/* ---- Requests, operations, registrations, configurations ------------------------------------------ */

static void an_operation(void **state)
{
	(void)state;
	struct access_request request = {.operation = 1, .scope = world_scope(&w, ACTOR, "/own"), .not_after = w.time + 60 * 1000};
	struct operation operation = {.time = w.time};
	struct bytes object = BYTES_EMPTY, bad = BYTES_EMPTY;
	memcpy(request.chain, w.chain, CHAIN_ID_SIZE);
	expect_ok(make_request(&request, &w.keys[ACTOR], &object));
	memcpy(operation.chain, w.chain, CHAIN_ID_SIZE);
	memcpy(operation.vmm, w.vmm, SHA384_SIZE);
	memcpy(operation.measurement, w.code_1, SHA384_SIZE);
	operation.request = kept(&object);
	expect_ok(make_operation(&operation, &w.keys[PROCESSOR], &object, NULL));
	const struct tx_operation body = {kept(&object), NULL, 0};
	assert_int_equal(made(PROCESSOR, TX_OPERATION, &body), OK);
	assert_int_equal(made(PROCESSOR, TX_OPERATION, &body), TX_REPLAYED);
	/* what the contract would refuse whatever its state is refused here */
	operation.time = request.not_after + 1;
	expect(make_operation(&operation, &w.keys[PROCESSOR], &bad, NULL), REQUEST_MISMATCH);
	operation.time = w.time;
	operation.chain[0] ^= 1;
	expect(make_operation(&operation, &w.keys[PROCESSOR], &bad, NULL), CHAIN_FOREIGN);
	operation.chain[0] ^= 1;
	request.has_measurement = true;
	memcpy(request.measurement, w.code_2, SHA384_SIZE);
	expect_ok(make_request(&request, &w.keys[ACTOR], &object));
	operation.request = kept(&object);
	expect(make_operation(&operation, &w.keys[PROCESSOR], &bad, NULL), REQUEST_MISMATCH);
	((uint8_t *)operation.request.data)[operation.request.len - 1] ^= 1;
	expect(make_operation(&operation, &w.keys[PROCESSOR], &bad, NULL), BAD_SIGNATURE);
	request.scope = "nobody";
	expect(make_request(&request, &w.keys[ACTOR], &bad), TX_MALFORMED);
	assert_null(bad.data);
}

static void a_commitment(void **state)
{
	(void)state;
	uint8_t salt[32] = {1}, digest[SHA256_SIZE] = {2}, one[SHA256_SIZE], other[SHA256_SIZE];
	struct hash hash;
	make_commitment(salt, digest, one);
	expect_ok(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_str("troth data commitment1"));
	hash_add(&hash, span_of("\0\0\0\x20", 4));
	hash_add(&hash, SPAN_ARRAY(salt));
	hash_add(&hash, span_of("\0\0\0\x20", 4));
	hash_add(&hash, SPAN_ARRAY(digest));
	hash_finish(&hash, other);
	assert_memory_equal(one, other, SHA256_SIZE);
	salt[0] = 3;
	make_commitment(salt, digest, other);
	assert_memory_not_equal(one, other, SHA256_SIZE);
}

static void a_registration(void **state)
{
	(void)state;
	struct tx_register body = {.subject = REGISTERED_HOST, .label = "host 7", .not_before = w.time, .not_after = w.time + 1000000};
	struct bytes object = BYTES_EMPTY;
	struct bytes_item items[2];
	memset(body.digest, 9, SHA384_SIZE);
	for (size_t i = 0; i < 2; i++) {
		expect_ok(make_endorsement(w.chain, &body, &w.keys[REGISTRAR_1 + i], &object));
		items[i].bytes = kept(&object);
	}
	body.endorsements = items;
	body.endorsement_count = 2;
	assert_int_equal(made(STRANGER, TX_REGISTER, &body), OK);
	body.label = "another";
	assert_int_equal(made(STRANGER, TX_REGISTER, &body), REQUEST_MISMATCH);
	body.not_after = body.not_before;
	expect(make_endorsement(w.chain, &body, &w.keys[REGISTRAR_1], &object), TX_MALFORMED);
	body.subject = 0;
	expect(make_endorsement(w.chain, &body, &w.keys[REGISTRAR_1], &object), TX_MALFORMED);
}

static void a_configuration(void **state)
{
	(void)state;
	struct ledger_config config;
	struct bytes payload = BYTES_EMPTY, part = BYTES_EMPTY, object = BYTES_EMPTY;
	struct span parts[2];
	uint8_t chain[CHAIN_ID_SIZE];
	expect_ok(contract_config(w.state, &w.arena, &config, chain));
	config.seq++;
	memcpy(config.chain, w.chain, CHAIN_ID_SIZE);
	config.time_bound_ms = 200 * 1000;
	struct point swap = config.members[0]; /* sorted again */
	config.members[0] = config.members[2];
	config.members[2] = swap;
	expect_ok(make_config_payload(&config, &payload));
	struct span said = kept(&payload);
	for (size_t i = 0; i < 2; i++) {
		const struct key *member[] = {&w.keys[MEMBER_1 + i]};
		expect_ok(make_config(said, member, 1, &part));
		parts[i] = kept(&part);
	}
	expect_ok(make_config_join(parts, 1, &object));
	struct tx_config body = {kept(&object)};
	assert_int_equal(made(STRANGER, TX_CONFIG, &body), CONFIG_QUORUM);
	expect_ok(make_config_join(parts, 2, &object));
	body.config = kept(&object);
	assert_int_equal(made(STRANGER, TX_CONFIG, &body), OK);
	/* signatures under something else, twice the same, contradictions */
	struct span twice[] = {parts[0], parts[0]};
	expect(make_config_join(twice, 2, &object), DUPLICATE_KEY);
	config.time_bound_ms++;
	expect_ok(make_config_payload(&config, &payload));
	const struct key *member[] = {&w.keys[MEMBER_3]};
	said = kept(&payload);
	expect_ok(make_config(said, member, 1, &part));
	struct span mixed[] = {parts[0], kept(&part)};
	expect(make_config_join(mixed, 2, &object), REQUEST_MISMATCH);
	config.quorum = 4;
	expect(make_config_payload(&config, &payload), CONFIG_INVALID);
	config.quorum = 2;
	config.registrar_quorum = 0;
	expect(make_config_payload(&config, &payload), CONFIG_INVALID);
	assert_null(object.data);
}

static void a_transaction_is_short_lived(void **state)
{
	(void)state;
	const struct tx_unregister body = {.subject = 1, .why = ""};
	struct transaction_frame frame = {.chain = w.chain, .sender = &w.keys[OWNER], .now_ms = w.time, .lifetime_ms = TX_WINDOW_MS};
	struct bytes tx = BYTES_EMPTY;
	expect_ok(make_transaction(&frame, TX_UNREGISTER, &body, &tx, NULL));
	bytes_free(&tx);
	frame.lifetime_ms++;
	expect(make_transaction(&frame, TX_UNREGISTER, &body, &tx, NULL), TX_TOO_FAR);
}

/* ---- Words --------------------------------------------------------------------------------------- */

static void words(void **state)
{
	(void)state;
	uint64_t operations, when;
	uint8_t subject;
	char text[OPERATIONS_TEXT_SIZE];
	expect_ok(operations_parse("read, train,op40", &operations));
	assert_true(operations == (1 | 1 << 7 | 1ULL << 40));
	operations_text(operations, text);
	assert_string_equal(text, "read, train, op40");
	expect_ok(operations_parse("all", &operations));
	operations_text(operations, text);
	assert_string_equal(text, "all");
	expect(operations_parse("", &operations), BAD_NAME);
	expect(operations_parse("read,fly", &operations), BAD_NAME);
	expect(operations_parse("op64", &operations), BAD_NAME);
	operations_text(0, text);
	assert_string_equal(text, "nothing");
	expect_ok(subject_parse("security-enclave", &subject));
	assert_int_equal(subject, REGISTERED_SECURITY_ENCLAVE);
	expect(subject_parse("guest", &subject), BAD_NAME);
	const uint64_t now = 1800000000000;
	expect_ok(when_parse("90s", now, &when));
	assert_true(when == now + 90000);
	expect_ok(when_parse("30d", now, &when));
	assert_true(when == now + 30ULL * 24 * 3600 * 1000);
	expect_ok(when_parse("2027-01-15", now, &when));
	assert_true(when == now - 8 * 3600 * 1000);
	expect_ok(when_parse("2027-01-15T08:00:01Z", now, &when));
	assert_true(when == now + 1000);
	static const char *const wrong[] = {"", "soon", "5", "d", "-5d", "5w", "2027-13-01", "9999999999d", "1d2h"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect(when_parse(wrong[i], now, &when), BAD_VALUE);
}

static void names_and_scopes(void **state)
{
	(void)state;
	char path[] = "/tmp/troth-names-XXXXXX", scope[SCOPE_MAX + 1], person[PERSON_TEXT_SIZE];
	uint8_t address[ADDRESS_SIZE];
	struct names names;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	expect_ok(names_load(path, &w.arena, &names));
	assert_int_equal(names.count, 0);
	expect_ok(names_add(&names, "owner", w.addresses[OWNER], &w.arena));
	expect_ok(names_add(&names, "b.o-b_1", w.addresses[ACTOR], &w.arena));
	expect_ok(names_add(&names, "owner", w.addresses[OWNER], &w.arena));
	expect(names_add(&names, "owner", w.addresses[ACTOR], &w.arena), ALREADY_EXISTS);
	static const char *const bad[] = {"", ".x", "-x", "a/b", "a b", "troth1abc", "é"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		expect(names_add(&names, bad[i], w.addresses[OWNER], &w.arena), BAD_NAME);
	expect_ok(names_save(path, &names));
	expect_ok(names_load(path, &w.arena, &names));
	assert_int_equal(names.count, 2);
	expect_ok(names_resolve(&names, span_str("b.o-b_1"), address));
	assert_memory_equal(address, w.addresses[ACTOR], ADDRESS_SIZE);
	expect_ok(names_resolve(NULL, span_str(w.texts[OWNER]), address));
	expect(names_resolve(&names, span_str("nobody"), address), NOT_FOUND);
	char slip[ADDRESS_TEXT_SIZE];
	memcpy(slip, w.texts[OWNER], sizeof(slip));
	slip[10] = slip[10] == 'q' ? 'p' : 'q';
	expect(names_resolve(&names, span_str(slip), address), DIGEST_MISMATCH);
	names_person(&names, w.addresses[OWNER], person);
	assert_int_equal(strncmp(person, "owner (troth1", 13), 0);
	expect_ok(names_scope(&names, "owner/a/b", NULL, scope));
	assert_string_equal(scope, world_scope(&w, OWNER, "/a/b"));
	expect_ok(names_scope(&names, "/a", w.addresses[OWNER], scope));
	assert_string_equal(scope, world_scope(&w, OWNER, "/a"));
	expect_ok(names_scope(&names, "/", w.addresses[OWNER], scope));
	assert_string_equal(scope, w.texts[OWNER]);
	expect(names_scope(&names, "/a", NULL, scope), BAD_NAME);
	expect(names_scope(&names, "owner//a", NULL, scope), BAD_NAME);
	expect(names_scope(&names, "who/a", NULL, scope), NOT_FOUND);
	expect_ok(names_remove(&names, "owner"));
	expect(names_remove(&names, "owner"), NOT_FOUND);
	unlink(path);
}

static void a_file_of_names(void **state)
{
	(void)state;
	char path[] = "/tmp/troth-names-XXXXXX", text[512];
	struct names names;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	const struct {
		const char *text;
		result wanted;
		size_t count;
	} files[] = {
		{"# who\n\n  alice\t@  # by hand\r\n", OK, 1},
		{"alice @", OK, 1},
		{"alice\n@", BAD_SYNTAX, 0},
		{"alice @ and more\n", BAD_SYNTAX, 0},
		{"alice @\nalice @\n", DUPLICATE_KEY, 0},
		{"-a @\n", BAD_NAME, 0},
	};
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		size_t len = 0;
		for (const char *at = files[i].text; *at; at++) /* @ stands for an address */
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s", *at == '@' ? ADDRESS_TEXT_SIZE : 1, *at == '@' ? w.texts[OWNER] : at);
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, text, len, 0), len);
		expect(names_load(path, &w.arena, &names), files[i].wanted);
		if (files[i].wanted == OK)
			assert_int_equal(names.count, files[i].count);
	}
	close(fd);
	unlink(path);
}

/* ---- Rules as text ----------------------------------------------------------------------------------- */

static enum reason parse_rules(const char *text, struct tx_access *out)
{
	return access_text_parse("rules.yaml", span_str(text), world_scope(&w, OWNER, "/r"), NULL, &w.arena, out);
}

static void rules_as_text(void **state)
{
	(void)state;
	char text[1024], code[2 * SHA384_SIZE + 1];
	struct tx_access access, again;
	memset(code, '0', sizeof(code) - 1);
	code[sizeof(code) - 1] = '\0';
	for (size_t i = 1; i < sizeof(code) - 1; i += 2)
		code[i] = '1'; /* code_1 */
	snprintf(text, sizeof(text),
		"rules:\n  - allow: [read, compute]\n    actors: [%s]\n    part: may/7\n    measurements: [%s]\n  - deny: all\n    part: secret\n", w.texts[ACTOR],
		code);
	expect(parse_rules(text, &access), OK);
	assert_int_equal(access.rule_count, 2);
	assert_true(access.version == 0);
	assert_int_equal(access.rules[0].effect, ACCESS_ALLOW);
	assert_true(access.rules[0].operations == 3 && access.rules[1].operations == UINT64_MAX);
	assert_memory_equal(access.rules[0].actors.items[0].bytes, w.addresses[ACTOR], ADDRESS_SIZE);
	assert_memory_equal(access.rules[0].measurements.items[0].bytes, w.code_1, SHA384_SIZE);
	assert_string_equal(access.rules[0].scope, world_scope(&w, OWNER, "/r/may/7"));
	assert_false(access.rules[1].has_actors || access.rules[1].has_measurements);
	/* what is shown can be read again */
	access.version = 4;
	json_t *json = access_text_json(&access);
	char *shown = json_dumps(json, 0);
	expect(parse_rules(shown, &again), OK);
	assert_true(again.version == 4 && again.rule_count == 2);
	struct bytes one = BYTES_EMPTY, other = BYTES_EMPTY;
	expect_ok(schema_encode(&tx_access_schema, &access, &one));
	expect_ok(schema_encode(&tx_access_schema, &again, &other));
	expect_span(bytes_span(&one), bytes_span(&other));
	bytes_free(&one);
	bytes_free(&other);
	free(shown);
	json_decref(json);
	/* and the contract takes it */
	access.version = 1;
	assert_int_equal(made(OWNER, TX_ACCESS, &access), OK);
	const struct {
		const char *text;
		result wanted;
	} wrong[] = {
		{"rules:\n  - allow: [read]\n    deny: [read]\n", BAD_VALUE},
		{"rules:\n  - actors: []\n", MISSING_FIELD},
		{"rules:\n  - allow: [fly]\n", BAD_NAME},
		{"rules:\n  - allow: []\n", BAD_VALUE},
		{"rules:\n  - alow: [read]\n", UNKNOWN_FIELD},
		{"rules:\n  - allow: [read]\n    actors: bob\n", BAD_TYPE},
		{"rules:\n  - allow: [read]\n    actors: [bob]\n", NOT_FOUND},
		{"rules:\n  - allow: [read]\n    part: ../x\n", BAD_NAME},
		{"rules:\n  - allow: [read]\n    measurements: [00]\n", BAD_VALUE},
		{"rules: 3\n", BAD_TYPE},
		{"version: 1\n", MISSING_FIELD},
	};
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		expect(parse_rules(wrong[i].text, &again), wrong[i].wanted);
		assert_non_null(strstr(failure_text(), "rules.yaml:"));
	}
	snprintf(text, sizeof(text), "scope: %s/other\nrules: []\n", w.texts[OWNER]);
	expect(parse_rules(text, &again), BAD_VALUE);
}

/* ---- Explanations ------------------------------------------------------------------------------------- */

static struct access_question question;
static struct explain_facts facts;
static struct explanation explanation;

/* Asks the contract and puts it into words. */
static enum reason explained(void)
{
	struct contract_context ctx = {.time_ms = w.time, .index = w.index};
	struct access_decision decision;
	expect_ok(contract_decide(w.state, &question, &ctx, &decision));
	facts.now_ms = w.time;
	expect_ok(explain_decision(&question, &decision, "", &facts, &w.arena, &explanation));
	assert_true(explanation.because[0] && explanation.change_count > 0);
	return decision.code;
}

static void expect_words(const char *because, const char *change)
{
	bool found = false;
	if (!strstr(explanation.because, because))
		fail_msg("'%s' lacks '%s'", explanation.because, because);
	for (size_t i = 0; i < explanation.change_count; i++)
		found |= strstr(explanation.changes[i], change) != NULL;
	if (!found)
		fail_msg("nothing would change it by '%s'", change);
}

static void explain_rules(void **state)
{
	(void)state;
	struct access_fact fact;
	bool there;
	char text[256];
	struct tx_access access;
	const char *scope = world_scope(&w, OWNER, "/x/data");
	question = (struct access_question){.operation = 1, .scope = scope};
	facts = (struct explain_facts){.rules = &fact};
	memcpy(question.actor, w.addresses[OWNER], ADDRESS_SIZE);
	assert_int_equal(explained(), OK);
	expect_words("is the owner", "denies it");
	memcpy(question.actor, w.addresses[ACTOR], ADDRESS_SIZE);
	assert_int_equal(explained(), ACCESS_NOT_GRANTED);
	expect_words("no rule", "troth grant new --to");
	/* a rule that would do but for the operation, then one that does, then one that denies */
	snprintf(text, sizeof(text), "rules:\n  - allow: [read]\n");
	expect_ok(access_text_parse("r", span_str(text), scope, NULL, &w.arena, &access));
	access.version = 1;
	assert_int_equal(made(OWNER, TX_ACCESS, &access), OK);
	expect_ok(ledger_state_find_copy(w.state, FACT_ACCESS, span_str(scope), &w.arena, &fact, &there));
	facts.rule_count = 1;
	assert_int_equal(explained(), ACCESS_NOT_GRANTED);
	expect_words("no rule", "would allow read instead");
	access.rules[0].operations = 3;
	access.version = 2;
	assert_int_equal(made(OWNER, TX_ACCESS, &access), OK);
	expect_ok(ledger_state_find_copy(w.state, FACT_ACCESS, span_str(scope), &w.arena, &fact, &there));
	assert_int_equal(explained(), OK);
	expect_words("rule 1 of", "version 3");
	access.rules[0].effect = ACCESS_DENY;
	access.version = 3;
	assert_int_equal(made(OWNER, TX_ACCESS, &access), OK);
	expect_ok(ledger_state_find_copy(w.state, FACT_ACCESS, span_str(scope), &w.arena, &fact, &there));
	assert_int_equal(explained(), ACCESS_DENIED);
	expect_words("version 3, denies read, compute", "no grant changes it");
}

static void explain_grants(void **state)
{
	(void)state;
	const char *scope = world_scope(&w, OWNER, "/y/data");
	struct grant grant = generous(DELEGATE, scope);
	struct grant_chain chain;
	expect_ok(grant_file_open(owners(&grant), &w.arena, &chain));
	question = (struct access_question){.operation = 1, .scope = scope, .links = chain.items, .link_count = chain.count};
	facts = (struct explain_facts){.chain = &chain};
	memcpy(question.actor, w.addresses[DELEGATE], ADDRESS_SIZE);
	assert_int_equal(explained(), OK);
	expect_words("allows it", "5 of 5 uses left");
	expect_words("allows it", "revokes grant 1");
	memcpy(question.actor, w.addresses[ACTOR], ADDRESS_SIZE);
	assert_int_equal(explained(), GRANT_NOT_FOR_THIS);
	expect_words("is for troth1", "troth grant delegate");
	memcpy(question.actor, w.addresses[DELEGATE], ADDRESS_SIZE);
	question.operation = 7;
	assert_int_equal(explained(), GRANT_NOT_FOR_THIS);
	expect_words("not for train", "issues another");
	question.operation = 1;
	uint64_t now = w.time;
	w.time = grant.not_after + 1;
	assert_int_equal(explained(), GRANT_EXPIRED);
	expect_words("is valid from", "issues another");
	w.time = now;
	struct tx_revoke revoke = {.links = chain.items, .link_count = chain.count};
	memcpy(revoke.target, chain.links[0].oid, OID_SIZE);
	assert_int_equal(made(STRANGER, TX_REVOKE, &revoke), SENDER_NOT_ALLOWED);
	assert_int_equal(made(OWNER, TX_REVOKE, &revoke), OK);
	facts.links[0] = (struct explain_link){.revoked = true, .revoked_at = 7};
	memcpy(facts.links[0].revoked_by, w.addresses[OWNER], ADDRESS_SIZE);
	assert_int_equal(explained(), GRANT_REVOKED);
	expect_words("was revoked by", "what was revoked stays so");
}

int group_make(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(granting),
		cmocka_unit_test(widened_is_told_by_the_field),
		cmocka_unit_test(files_are_refused),
		cmocka_unit_test(an_operation),
		cmocka_unit_test(a_commitment),
		cmocka_unit_test(a_registration),
		cmocka_unit_test(a_configuration),
		cmocka_unit_test(a_transaction_is_short_lived),
		cmocka_unit_test(words),
		cmocka_unit_test(names_and_scopes),
		cmocka_unit_test(a_file_of_names),
		cmocka_unit_test(rules_as_text),
		cmocka_unit_test(explain_rules),
		cmocka_unit_test(explain_grants),
	};
	return cmocka_run_group_tests_name("make", tests, setup, teardown);
}
