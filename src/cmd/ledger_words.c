#include "cmd/ledger_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "ledger/grant_file.h"
#include "ledger/words.h"
#include "wire/text.h"

/* ---- Words ----------------------------------------------------------------------------------------- */

static result parse_index(const char *rest, struct ledger_thing *out)
{
	uint64_t value = 0;
	size_t len = strlen(rest);
	if (len == 0 || len > 18)
		return fail(USAGE, "leaf:INDEX takes a number");
	for (; *rest; rest++) {
		if (*rest < '0' || *rest > '9')
			return fail(USAGE, "leaf:INDEX takes a number");
		value = value * 10 + (uint64_t)(*rest - '0');
	}
	*out = (struct ledger_thing){.kind = THING_LEAF, .index = value};
	return OK;
}

static result parse_hex(const char *word, const char *what, uint8_t *out, size_t len)
{
	if (hex_decode(span_str(word), out, len) != OK)
		return fail(USAGE, "%s takes %zu hex digits, not '%.80s'", what, 2 * len, word);
	return OK;
}

static result fact(enum fact_type type, struct span id, struct ledger_thing *out)
{
	*out = (struct ledger_thing){.kind = THING_FACT, .type = type};
	fact_key(type, id, out->key);
	return OK;
}

static result parse_transaction(const char *rest, struct ledger_thing *out)
{
	struct ledger_thing thing = {.kind = THING_TRANSACTION};
	TRY(parse_hex(rest, "transaction:TXID", thing.txid, OID_SIZE));
	*out = thing;
	return OK;
}

/* An oid, or the last grant of a file. */
static result grant_oid(const char *rest, uint8_t out[static OID_SIZE])
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct grant_chain chain;
	if (strlen(rest) == 2 * OID_SIZE && hex_decode(span_str(rest), out, OID_SIZE) == OK)
		return OK;
	TRY(file_read(rest, GRANT_FILE_MAX, &file));
	result opened = grant_file_open(bytes_span(&file), &arena, &chain);
	if (opened != OK)
		return fail_within(opened, "%s", rest);
	memcpy(out, grant_chain_last(&chain)->oid, OID_SIZE);
	return OK;
}

static result parse_grant(const char *rest, struct ledger_thing *out)
{
	uint8_t oid[OID_SIZE];
	TRY(grant_oid(rest, oid));
	return fact(FACT_GRANT, SPAN_ARRAY(oid), out);
}

static result parse_revocation(const char *rest, struct ledger_thing *out)
{
	uint8_t oid[OID_SIZE];
	TRY(grant_oid(rest, oid));
	return fact(FACT_REVOCATION, SPAN_ARRAY(oid), out);
}

static result parse_access(const char *rest, struct ledger_thing *out)
{
	uint8_t owner[ADDRESS_SIZE];
	TRY(scope_parse(rest, owner));
	return fact(FACT_ACCESS, span_str(rest), out);
}

static result parse_registration(const char *rest, struct ledger_thing *out)
{
	const char *colon = strchr(rest, ':');
	char subject[32];
	uint8_t id[1 + SHA384_SIZE];
	if (!colon || (size_t)(colon - rest) >= sizeof(subject))
		return fail(USAGE, "it takes the form registration:vmm|host|enclave|security-enclave:DIGEST");
	snprintf(subject, sizeof(subject), "%.*s", (int)(colon - rest), rest);
	TRY(subject_parse(subject, id));
	TRY(parse_hex(colon + 1, "registration:SUBJECT:DIGEST", id + 1, SHA384_SIZE));
	return fact(FACT_REGISTRATION, SPAN_ARRAY(id), out);
}

/* The number (from 1) of the name that `rest` begins with, and what follows the colon behind it. */
static result parse_choice(const char *const *names, size_t count, const char *rest, const char *form, uint8_t *out, const char **out_rest)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(names[i]);
		if (strncmp(rest, names[i], len) != 0 || rest[len] != ':')
			continue;
		*out = (uint8_t)(i + 1);
		*out_rest = rest + len + 1;
		return OK;
	}
	return fail(USAGE, "it takes the form %s", form);
}

static result parse_floor(const char *rest, struct ledger_thing *out)
{
	static const char *const classes[] = {"definition", "policy", "revocation-list"};
	uint8_t id[1 + 120];
	TRY(parse_choice(classes, COUNT_OF(classes), rest, "floor:definition|policy|revocation-list:ID", id, &rest));
	size_t len = strlen(rest);
	if (len < 1 || len > 120)
		return fail(USAGE, "an id of a floor has 1 to 120 bytes");
	memcpy(id + 1, rest, len);
	return fact(FACT_FLOOR, span_of(id, 1 + len), out);
}

static result parse_root(const char *rest, struct ledger_thing *out)
{
	uint8_t rot_id[OID_SIZE];
	TRY(parse_hex(rest, "root:ROT_ID", rot_id, OID_SIZE));
	return fact(FACT_ROOT, SPAN_ARRAY(rot_id), out);
}

static result parse_key(const char *rest, struct ledger_thing *out)
{
	struct ledger_thing thing = {.kind = THING_FACT};
	TRY(parse_hex(rest, "key:HEX", thing.key, SPARSE_KEY_SIZE));
	*out = thing;
	return OK;
}

result ledger_thing_parse(const char *word, struct ledger_thing *out)
{
	static const struct {
		const char *name;
		result (*parse)(const char *rest, struct ledger_thing *out);
	} rows[] = {
		{"leaf:", parse_index},		{"transaction:", parse_transaction},   {"grant:", parse_grant}, {"revocation:", parse_revocation},
		{"access:", parse_access},	{"registration:", parse_registration}, {"floor:", parse_floor}, {"root:", parse_root},
		{"key:", parse_key},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (strncmp(word, rows[i].name, strlen(rows[i].name)) == 0)
			return rows[i].parse(word + strlen(rows[i].name), out);
	if (strcmp(word, "config") == 0)
		return fact(FACT_CONFIG, SPAN_EMPTY, out);
	return fail(USAGE, "'%.80s' names nothing; it takes one of " LEDGER_THINGS, word);
}

/* ---- Keys ------------------------------------------------------------------------------------------ */

static result key_read(const char *word, enum note_key_type type, const char *whose, struct note_key *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span text = span_str(word);
	struct note_key key;
	if (strchr(word, '+') == NULL || file_read(word, 4096, &file) == OK) {
		if (file.len == 0)
			TRY(file_read(word, 4096, &file));
		text = bytes_span(&file);
	}
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.len--;
	result parsed = note_key_parse(text, &key);
	if (parsed != OK)
		return fail_within(parsed, "%.200s", word);
	if (key.type != type)
		return fail(BAD_TYPE, "%.200s is no key of a %s", word, whose);
	*out = key;
	return OK;
}

result ledger_log_key_read(const char *word, struct note_key *out)
{
	return key_read(word, NOTE_KEY_LOG, "log", out);
}

result ledger_witness_key_read(const char *word, struct note_key *out)
{
	return key_read(word, NOTE_KEY_COSIGNER, "witness", out);
}

/* ---- What was proved -------------------------------------------------------------------------------- */

static void print_leaf(const struct ledger_proof *proof)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	const struct ledger_leaf *leaf = &proof->leaf;
	char time[CLOCK_TEXT_SIZE], who[ADDRESS_TEXT_SIZE];
	uint8_t txid[OID_SIZE], address[ADDRESS_SIZE];
	struct transaction tx;
	if (leaf->kind == LEAF_TAIL) {
		clock_format(leaf->time, time);
		printf("leaf %" PRIu64 " is the TAIL of batch %" PRIu64 " of %s: leaves %" PRIu64 " to %" PRIu64 "\n", proof->index, leaf->height, time,
			leaf->first, leaf->first + leaf->count - 1);
		return;
	}
	if (object_peek(KIND_TRANSACTION, leaf->tx, &arena, &tx, txid) != OK) {
		printf("leaf %" PRIu64 " is a transaction that cannot be read\n", proof->index);
		return;
	}
	address_of(tx.sender, address);
	address_format(address, who);
	printf("leaf %" PRIu64 " is a transaction '%s' of %s, verdict %s, ", proof->index, transaction_type_name(tx.type), who,
		reason_name((enum reason)leaf->code));
	for (size_t i = 0; i < OID_SIZE; i++)
		printf("%02x", txid[i]);
	printf("\n");
}

static void print_span(const struct span_of_log *span)
{
	printf("since leaf %" PRIu64, span->from);
	if (span->has_until)
		printf(", ended at leaf %" PRIu64, span->until);
	else
		printf(", not ended");
}

static const char *fact_name(enum fact_type type)
{
	static const char *const names[] = {"fact", "configuration", "nonce", "grant", "registration", "rules of the scope", "revocation of the grant",
		"epoch", "root", "record of the epoch", "floor", "processor", "secure mode"};
	return type < COUNT_OF(names) ? names[type] : names[0];
}

static result print_known(const struct ledger_proof *proof, enum fact_type type, struct arena *arena)
{
	union {
		struct grant_fact grant;
		struct registration_fact registration;
		struct revocation_fact revocation;
		struct access_fact access;
		struct config_fact config;
		struct floor_fact floor;
	} fact;
	char one[ADDRESS_TEXT_SIZE], other[ADDRESS_TEXT_SIZE];
	if (type != FACT_GRANT && type != FACT_REGISTRATION && type != FACT_REVOCATION && type != FACT_ACCESS && type != FACT_CONFIG && type != FACT_FLOOR)
		return fail(NOT_SUPPORTED, "no words for it");
	TRY(schema_decode(fact_schema(type), proof->value, arena, &fact));
	printf("the %s is there: ", fact_name(type));
	if (type == FACT_GRANT) {
		address_format(fact.grant.issuer, one);
		address_format(fact.grant.audience, other);
		print_span(&fact.grant.span);
		printf(", from %s to %s, %" PRIu64 " uses", one, other, fact.grant.uses);
	} else if (type == FACT_REGISTRATION) {
		print_span(&fact.registration.span);
		printf(", \"%s\", %s", fact.registration.label, fact.registration.status == REGISTRATION_AUTHORISED ? "authorised" : "observed");
	} else if (type == FACT_REVOCATION) {
		address_format(fact.revocation.by, one);
		printf("since leaf %" PRIu64 ", by %s", fact.revocation.from, one);
	} else if (type == FACT_ACCESS) {
		printf("since leaf %" PRIu64 ", version %" PRIu64 ", %zu rules", fact.access.from, fact.access.access.version, fact.access.access.rule_count);
	} else if (type == FACT_CONFIG) {
		printf("since leaf %" PRIu64, fact.config.from);
	} else {
		printf("since leaf %" PRIu64 ", version %" PRIu64, fact.floor.from, fact.floor.version);
	}
	printf("\n");
	return OK;
}

void ledger_proof_print(const struct ledger_proof *proof, enum fact_type type)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	char key[2 * SPARSE_KEY_SIZE + 1];
	hex_encode(SPAN_ARRAY(proof->key), key);
	if (proof->kind == PROOF_LEAF)
		print_leaf(proof);
	else if (type && proof->value.len == 0)
		printf("there is no %s\n", fact_name(type));
	else if (!type || print_known(proof, type, &arena) != OK)
		printf("of key %s the state has %s\n", key, proof->value.len ? "a value" : "none");
}

/* The structure of the fact as JSON, null where its type is not known. */
static json_t *value_json(const struct ledger_proof *proof, enum fact_type type)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	const struct schema *schema = type ? fact_schema(type) : NULL;
	void *fact;
	if (!schema || proof->value.len == 0 || arena_alloc(&arena, 1, schema->struct_size, &fact) != OK ||
		schema_decode(schema, proof->value, &arena, fact) != OK)
		return json_null();
	return schema_json(schema, fact);
}

static json_t *leaf_json(const struct ledger_proof *proof)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	const struct ledger_leaf *leaf = &proof->leaf;
	char who[ADDRESS_TEXT_SIZE];
	uint8_t txid[OID_SIZE], address[ADDRESS_SIZE];
	struct transaction tx;
	if (leaf->kind == LEAF_TAIL)
		return json_pack("{s:s, s:I, s:I, s:o, s:I, s:I, s:o}", "proves", "tail", "index", (json_int_t)proof->index, "height",
			(json_int_t)leaf->height, "time", json_time(leaf->time), "first", (json_int_t)leaf->first, "count", (json_int_t)leaf->count,
			"state_root", json_hex(SPAN_ARRAY(leaf->state_root)));
	if (object_peek(KIND_TRANSACTION, leaf->tx, &arena, &tx, txid) != OK)
		return json_pack("{s:s, s:I}", "proves", "leaf", "index", (json_int_t)proof->index);
	address_of(tx.sender, address);
	address_format(address, who);
	return json_pack("{s:s, s:I, s:o, s:s, s:s, s:i, s:s}", "proves", "transaction", "index", (json_int_t)proof->index, "txid",
		json_hex(SPAN_ARRAY(txid)), "type", transaction_type_name(tx.type), "sender", who, "code", (int)leaf->code, "reason",
		reason_name((enum reason)leaf->code));
}

json_t *ledger_proof_json(const struct ledger_proof *proof, enum fact_type type)
{
	json_t *json = proof->kind == PROOF_LEAF ? leaf_json(proof) :
						   json_pack("{s:s, s:s, s:o, s:b, s:o, s:o}", "proves", "fact", "type", fact_name(type), "key",
							   json_hex(SPAN_ARRAY(proof->key)), "there", proof->value.len > 0, "value", json_hex(proof->value),
							   "fact", value_json(proof, type));
	if (json) {
		json_object_set_new(json, "origin", json_string(proof->checkpoint.origin));
		json_object_set_new(json, "size", json_integer((json_int_t)proof->checkpoint.size));
		json_object_set_new(json, "root", json_hex(SPAN_ARRAY(proof->checkpoint.root.bytes)));
	}
	return json;
}
