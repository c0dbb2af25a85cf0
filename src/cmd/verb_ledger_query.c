/* troth ledger query: what the ledger knows of one thing, proved to be in its latest state. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ledger/access_text.h"
#include "ledger/leaf.h"

enum { ID_MAX = 512 };

struct arguments {
	struct ledger_options ledger;
	const char *proof;
};

struct query {
	const struct arguments *arguments;
	const struct words *words; /* the kind first */
	struct ledger_client *client;
	struct arena arena;
	struct names names;
};

static void query_free(struct query *query)
{
	ledger_client_free(query->client);
	arena_free(&query->arena);
}

static result show(json_t *json)
{
	if (!json)
		return fail(NO_MEMORY, "json");
	return print_json_of(json);
}

/* ---- Facts ---------------------------------------------------------------------------------------------- */

static result write_proof(struct query *query, enum fact_type type, struct span id)
{
	CLEANUP(bytes_free) struct bytes proof = BYTES_EMPTY;
	uint8_t key[SPARSE_KEY_SIZE];
	if (!query->arguments->proof)
		return OK;
	fact_key(type, id, key);
	TRY(ledger_client_fact_proof(query->client, key, &proof));
	return output_write(query->arguments->proof, bytes_span(&proof), 0644);
}

/* Finds a fact, writes its proof when one is wanted; NOT_FOUND when there is none. */
static result find(struct query *query, enum fact_type type, struct span id, void *fact, uint64_t *out_size)
{
	bool there;
	TRY(ledger_client_fact(query->client, type, id, &query->arena, fact, &there, out_size));
	TRY(write_proof(query, type, id));
	if (!there)
		return fail(NOT_FOUND, "as of size %" PRIu64 " the ledger has nothing of this%s", *out_size,
			query->arguments->proof ? ", which the proof shows" : "");
	return OK;
}

static result show_fact(struct query *query, enum fact_type type, struct span id)
{
	union {
		struct grant_fact grant;
		struct registration_fact registration;
		struct revocation_fact revocation;
		struct epoch_fact epoch;
		struct root_fact root;
		struct floor_fact floor;
		struct processor_fact processor;
		struct secure_mode_fact secure_mode;
	} fact;
	uint64_t size;
	TRY(find(query, type, id, &fact, &size));
	json_t *json = schema_json(fact_schema(type), &fact);
	if (json)
		json_object_set_new(json, "as_of", json_integer((json_int_t)size));
	return show(json);
}

static const char *word(const struct query *query, size_t at)
{
	return query->words->items[at];
}

/* A grant by its oid or file, with its revocation beside it. */
static result query_grant(struct query *query)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct grant_chain chain;
	struct revocation_fact revocation;
	struct grant_fact grant;
	uint8_t oid[OID_SIZE];
	uint64_t size;
	bool revoked;
	if (digest_read("OID", word(query, 1), oid, OID_SIZE) != OK) {
		TRY(grant_read(word(query, 1), &query->arena, &file, &chain));
		memcpy(oid, grant_chain_last(&chain)->oid, OID_SIZE);
	}
	TRY(find(query, FACT_GRANT, SPAN_ARRAY(oid), &grant, &size));
	TRY(ledger_client_fact(query->client, FACT_REVOCATION, SPAN_ARRAY(oid), &query->arena, &revocation, &revoked, &size));
	json_t *json = json_pack("{s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:I}", "oid", json_hex(SPAN_ARRAY(oid)), "issuer", json_address(grant.issuer),
		"audience", json_address(grant.audience), "uses", (json_int_t)grant.uses, "from", (json_int_t)grant.span.from, "parent",
		grant.has_parent ? json_hex(SPAN_ARRAY(grant.parent)) : json_null(), "revoked_at",
		revoked ? json_integer((json_int_t)revocation.from) : json_null(), "as_of", (json_int_t)size);
	if (json && revoked)
		json_object_set_new(json, "revoked_by", json_address(revocation.by));
	return show(json);
}

static result query_revocation(struct query *query)
{
	uint8_t oid[OID_SIZE];
	TRY(digest_read("OID", word(query, 1), oid, OID_SIZE));
	return show_fact(query, FACT_REVOCATION, SPAN_ARRAY(oid));
}

static result query_registration(struct query *query)
{
	uint8_t id[1 + SHA384_SIZE];
	struct registration_fact fact;
	uint64_t size;
	TRY(subject_parse(word(query, 1), &id[0]));
	TRY(digest_read("DIGEST", word(query, 2), id + 1, SHA384_SIZE));
	TRY(find(query, FACT_REGISTRATION, SPAN_ARRAY(id), &fact, &size));
	return show(json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:I, s:o, s:I}", "subject", word(query, 1), "digest",
		json_hex(span_of(id + 1, SHA384_SIZE)), "label", fact.label, "status", fact.status == REGISTRATION_AUTHORISED ? "authorised" : "observed",
		"sender", json_address(fact.sender), "not_before", json_time(fact.not_before), "not_after", json_time(fact.not_after), "from",
		(json_int_t)fact.span.from, "until", fact.span.has_until ? json_integer((json_int_t)fact.span.until) : json_null(), "as_of",
		(json_int_t)size));
}

static result query_rules(struct query *query)
{
	char scope[SCOPE_MAX + 1];
	struct access_fact fact;
	uint64_t size;
	TRY(names_scope(&query->names, word(query, 1), NULL, scope));
	TRY(find(query, FACT_ACCESS, span_str(scope), &fact, &size));
	return show(access_text_json(&fact.access));
}

static result query_oid_fact(struct query *query, enum fact_type type)
{
	uint8_t oid[OID_SIZE];
	TRY(digest_read("OID", word(query, 1), oid, OID_SIZE));
	return show_fact(query, type, SPAN_ARRAY(oid));
}

static result query_root(struct query *query)
{
	return query_oid_fact(query, FACT_ROOT);
}

static result query_epoch(struct query *query)
{
	return query_oid_fact(query, FACT_EPOCH);
}

static result query_processor(struct query *query)
{
	uint8_t address[ADDRESS_SIZE];
	TRY(person_read(&query->names, "processor", word(query, 1), address));
	return show_fact(query, FACT_PROCESSOR, SPAN_ARRAY(address));
}

static result query_floor(struct query *query)
{
	static const char *const classes[] = {NULL, "definition", "policy", "revocation-list"};
	uint8_t id[ID_MAX];
	size_t len = strlen(word(query, 2));
	for (uint8_t i = FLOOR_DEFINITION; i <= FLOOR_REVOCATION_LIST; i++) {
		if (strcmp(word(query, 1), classes[i]) != 0 || len >= sizeof(id))
			continue;
		id[0] = i;
		memcpy(id + 1, word(query, 2), len);
		return show_fact(query, FACT_FLOOR, span_of(id, len + 1));
	}
	return fail(USAGE, "a floor is of a definition, a policy or a revocation-list, and has an id");
}

static result query_secure_mode(struct query *query)
{
	uint8_t id[SHA384_SIZE + 16];
	TRY(digest_read("MEASUREMENT", word(query, 1), id, SHA384_SIZE));
	TRY(digest_read("LAUNCH", word(query, 2), id + SHA384_SIZE, 16));
	return show_fact(query, FACT_SECURE_MODE, SPAN_ARRAY(id));
}

/* ---- Transactions ------------------------------------------------------------------------------------------ */

static json_t *transaction_json(struct query *query, struct span bytes)
{
	struct transaction tx;
	uint8_t txid[OID_SIZE], sender[ADDRESS_SIZE];
	void *body;
	if (object_peek(KIND_TRANSACTION, bytes, &query->arena, &tx, txid) != OK)
		return json_null();
	address_of(tx.sender, sender);
	json_t *json = json_pack("{s:o, s:s, s:o, s:o}", "txid", json_hex(SPAN_ARRAY(txid)), "type", transaction_type_name(tx.type), "sender",
		json_address(sender), "valid_until", json_time(tx.valid_until));
	const struct schema *schema = transaction_body_schema(tx.type);
	if (json && schema && arena_alloc(&query->arena, 1, schema->struct_size, &body) == OK &&
		schema_decode(schema, tx.body, &query->arena, body) == OK)
		json_object_set_new(json, "body", schema_json(schema, body));
	return json;
}

static result show_leaf(struct query *query, uint64_t index, const struct ledger_receipt *receipt)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY, proof = BYTES_EMPTY;
	struct ledger_leaf leaf;
	TRY(ledger_client_leaf(query->client, index, &bytes));
	TRY(ledger_leaf_decode(bytes_span(&bytes), &leaf));
	if (query->arguments->proof) {
		TRY(ledger_client_leaf_proof(query->client, index, 0, &proof));
		TRY(output_write(query->arguments->proof, bytes_span(&proof), 0644));
	}
	json_t *json = json_pack("{s:I}", "index", (json_int_t)index);
	if (json && leaf.kind == LEAF_TX) {
		json_object_set_new(json, "code", json_integer((json_int_t)leaf.code));
		json_object_set_new(json, "reason", json_string(reason_name(leaf.code)));
		json_object_set_new(json, "transaction", transaction_json(query, leaf.tx));
	} else if (json) {
		json_object_set_new(json, "tail",
			json_pack("{s:I, s:o, s:I, s:I, s:o}", "height", (json_int_t)leaf.height, "time", json_time(leaf.time), "first",
				(json_int_t)leaf.first, "count", (json_int_t)leaf.count, "state_root",
				json_hex(SPAN_ARRAY(leaf.state_root))));
	}
	if (json && receipt) {
		json_object_set_new(json, "size", json_integer((json_int_t)receipt->size));
		json_object_set_new(json, "time", json_time(receipt->time));
	}
	return show(json);
}

static result query_transaction(struct query *query)
{
	uint8_t txid[OID_SIZE];
	struct ledger_receipt receipt;
	TRY(digest_read("TXID", word(query, 1), txid, OID_SIZE));
	TRY(ledger_client_find(query->client, txid, &receipt));
	return show_leaf(query, receipt.index, &receipt);
}

static result query_leaf(struct query *query)
{
	char *end;
	uint64_t index = strtoull(word(query, 1), &end, 10);
	if (*end || word(query, 1)[0] < '0' || word(query, 1)[0] > '9')
		return fail(USAGE, "a leaf is named by its index, not by '%s'", word(query, 1));
	return show_leaf(query, index, NULL);
}

/* ---- The verb ------------------------------------------------------------------------------------------------ */

static const struct kind {
	const char *name;
	size_t words;
	result (*run)(struct query *query);
} kinds[] = {
	{"transaction", 1, query_transaction}, {"leaf", 1, query_leaf},	      {"grant", 1, query_grant},     {"revocation", 1, query_revocation},
	{"registration", 2, query_registration}, {"rules", 1, query_rules},   {"root", 1, query_root},	     {"epoch", 1, query_epoch},
	{"processor", 1, query_processor},     {"floor", 2, query_floor},     {"secure-mode", 2, query_secure_mode},
};

static result run(const struct arguments *arguments, const struct words *words)
{
	CLEANUP(query_free) struct query query = {.arguments = arguments, .words = words, .arena = arena_of(LEDGER_MAKING_MEMORY)};
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (strcmp(words->items[0], kinds[i].name) != 0)
			continue;
		if (words->count != kinds[i].words + 1)
			return fail(USAGE, "'%s' takes %zu word%s", kinds[i].name, kinds[i].words, kinds[i].words == 1 ? "" : "s");
		TRY(names_of_state(arguments->ledger.state, &query.arena, &query.names));
		TRY(verb_ledger_open(&arguments->ledger, &query.client));
		return kinds[i].run(&query);
	}
	return fail(USAGE, "'%s' cannot be asked about; --help lists what can", words->items[0]);
}

int verb_ledger_query(int argc, char **argv)
{
	struct arguments arguments = {.proof = NULL};
	const struct option_row rows[] = {
		{"proof", OPTION_TEXT, &arguments.proof, "FILE", "write the proof there too, also of what is not on the ledger"},
		LEDGER_ROWS(&arguments.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger query",
		.usage = "KIND ID [--proof FILE]",
		.description = "Shows what the ledger knows, as JSON. Whatever it says was proved to be in its latest checkpoint. KIND and ID:\n"
			       "  transaction TXID         what was sent, and the verdict       leaf INDEX        the same, by its place\n"
			       "  grant OID|FILE.grant     uses, since when, whether revoked    revocation OID    of a grant\n"
			       "  registration SUBJECT DIGEST                                   rules SCOPE       of an owner, to go on from\n"
			       "  root ROT-ID, epoch OID, processor WHO, floor CLASS ID, secure-mode MEASUREMENT LAUNCH",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 2,
		.max_operands = 3,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = run(&arguments, &options.operands);
	return verb_end(done, argc, argv);
}
