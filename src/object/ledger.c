#include "object/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "object/report.h"

enum { MEMBERS_MAX = 32, SET_MAX = 256, RULES_MAX = 256, LABEL_MAX = 120, LINK_MAX = 20 * 1024 };

static const struct field address_fields[] = {F_FIXED(struct address, 0, bytes)};
const struct schema address_schema = SCHEMA(struct address, "address", SHAPE_BARE, address_fields);
static const struct field digest48_fields[] = {F_FIXED(struct digest48, 0, bytes)};
const struct schema digest48_schema = SCHEMA(struct digest48, "measurement", SHAPE_BARE, digest48_fields);
static const struct field point_fields[] = {F_FIXED(struct point, 0, bytes)};
const struct schema point_schema = SCHEMA(struct point, "public key", SHAPE_BARE, point_fields);

static const struct field transaction_fields[] = {
	F_VERSION(struct transaction, 1, v, 1),
	F_FIXED(struct transaction, 2, chain),
	F_FIXED(struct transaction, 3, sender),
	F_FIXED(struct transaction, 4, nonce),
	F_TIME(struct transaction, 5, valid_until),
	F_UINT(struct transaction, 6, type, 0),
	F_BYTES(struct transaction, 7, body, 1, LEDGER_BODY_MAX),
};
const struct schema transaction_schema = SCHEMA(struct transaction, "transaction", SHAPE_MAP, transaction_fields);

static const struct field measurement_set_fields[] = {
	F_LIST(struct measurement_set, 0, items, count, &digest48_schema, FIELD_SORTED, 1, SET_MAX),
};
static const struct schema measurement_set_schema = SCHEMA(struct measurement_set, "measurements", SHAPE_BARE, measurement_set_fields);
static const struct field address_set_fields[] = {
	F_LIST(struct address_set, 0, items, count, &address_schema, FIELD_SORTED, 1, SET_MAX),
};
static const struct schema address_set_schema = SCHEMA(struct address_set, "actors", SHAPE_BARE, address_set_fields);

/* An optional number: a list of none or one would be as good, but null reads better. */
struct optional_uint {
	uint64_t value;
};
static const struct field optional_uint_fields[] = {F_UINT(struct optional_uint, 0, value, 0)};
static const struct schema optional_uint_schema = SCHEMA(struct optional_uint, "number", SHAPE_BARE, optional_uint_fields);

static const struct field grant_fields[] = {
	F_VERSION(struct grant, 1, v, 1),
	F_FIXED(struct grant, 2, chain),
	F_FIXED(struct grant, 3, issuer),
	F_FIXED(struct grant, 4, audience),
	F_TEXT(struct grant, 5, scope, 1, SCOPE_MAX),
	F_UINT(struct grant, 6, operations, 0),
	F_STRUCT_OR_NULL(struct grant, 7, measurements, has_measurements, &measurement_set_schema),
	F_TIME(struct grant, 8, not_before),
	F_TIME(struct grant, 9, not_after),
	F_STRUCT_OR_NULL(struct grant, 10, max_uses, has_max_uses, &optional_uint_schema),
	F_UINT(struct grant, 11, max_depth, GRANT_CHAIN_MAX - 1),
	F_FIXED_OR_NULL(struct grant, 12, parent, has_parent),
	F_FIXED(struct grant, 13, nonce),
};
const struct schema grant_schema = SCHEMA(struct grant, "grant", SHAPE_MAP, grant_fields);

static const struct field access_request_fields[] = {
	F_VERSION(struct access_request, 1, v, 1),
	F_FIXED(struct access_request, 2, chain),
	F_FIXED(struct access_request, 3, actor),
	F_UINT(struct access_request, 4, operation, 63),
	F_TEXT(struct access_request, 5, scope, 1, SCOPE_MAX),
	F_FIXED_OR_NULL(struct access_request, 6, measurement, has_measurement),
	F_FIXED(struct access_request, 7, nonce),
	F_TIME(struct access_request, 8, not_after),
};
const struct schema access_request_schema = SCHEMA(struct access_request, "access request", SHAPE_MAP, access_request_fields);

static const struct field operation_fields[] = {
	F_VERSION(struct operation, 1, v, 1),
	F_FIXED(struct operation, 2, chain),
	F_FIXED(struct operation, 3, processor),
	F_FIXED(struct operation, 4, vmm),
	F_FIXED(struct operation, 5, operation_id),
	F_BYTES(struct operation, 6, request, 1, LINK_MAX),
	F_FIXED(struct operation, 7, data_commitment),
	F_TIME(struct operation, 8, time),
	F_FIXED(struct operation, 9, measurement),
	F_FIXED_OR_NULL(struct operation, 10, result_commitment, has_result),
};
const struct schema operation_schema = SCHEMA(struct operation, "operation", SHAPE_MAP, operation_fields);

static const struct field endorsement_fields[] = {
	F_VERSION(struct endorsement, 1, v, 1),
	F_FIXED(struct endorsement, 2, chain),
	F_FIXED(struct endorsement, 3, registrar),
	F_UINT(struct endorsement, 4, subject, REGISTERED_SECURITY_ENCLAVE),
	F_FIXED(struct endorsement, 5, digest),
	F_TEXT(struct endorsement, 6, label, 0, LABEL_MAX),
	F_TIME(struct endorsement, 7, not_before),
	F_TIME(struct endorsement, 8, not_after),
};
const struct schema endorsement_schema = SCHEMA(struct endorsement, "registration", SHAPE_MAP, endorsement_fields);

static const struct field cosigner_fields[] = {
	F_TEXT(struct cosigner, 1, name, 1, LABEL_MAX),
	F_FIXED(struct cosigner, 2, key),
	F_UINT(struct cosigner, 3, statement, STATEMENT_STATE),
};
const struct schema cosigner_schema = SCHEMA(struct cosigner, "cosigner", SHAPE_MAP, cosigner_fields);

static const struct field ledger_config_fields[] = {
	F_VERSION(struct ledger_config, 1, v, 1),
	F_FIXED(struct ledger_config, 2, chain),
	F_UINT(struct ledger_config, 3, seq, 0),
	F_LIST(struct ledger_config, 4, members, member_count, &point_schema, FIELD_SORTED, 1, MEMBERS_MAX),
	F_UINT(struct ledger_config, 5, quorum, MEMBERS_MAX),
	F_LIST(struct ledger_config, 6, registrars, registrar_count, &point_schema, FIELD_SORTED, 0, MEMBERS_MAX),
	F_UINT(struct ledger_config, 7, registrar_quorum, MEMBERS_MAX),
	F_LIST(struct ledger_config, 8, processors, processor_count, &point_schema, FIELD_SORTED, 0, SET_MAX),
	F_TEXT(struct ledger_config, 9, log_name, 1, LABEL_MAX),
	F_FIXED(struct ledger_config, 10, log_key),
	F_LIST(struct ledger_config, 11, cosigners, cosigner_count, &cosigner_schema, FIELD_SORTED, 0, MEMBERS_MAX),
	F_UINT(struct ledger_config, 12, time_bound_ms, 0),
	F_UINT(struct ledger_config, 13, spool_bound_ms, 0),
};
const struct schema ledger_config_schema = SCHEMA(struct ledger_config, "ledger configuration", SHAPE_MAP, ledger_config_fields);

void ledger_chain_id(struct span genesis_payload, uint8_t out[static CHAIN_ID_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, span_str("troth chain1"));
	hash_add_lv(&hash, genesis_payload);
	hash_finish(&hash, out);
}

/* ---- Bodies ------------------------------------------------------------------------------------ */

static const struct field register_body_fields[] = {
	F_UINT(struct tx_register, 1, subject, REGISTERED_SECURITY_ENCLAVE),
	F_FIXED(struct tx_register, 2, digest),
	F_TEXT(struct tx_register, 3, label, 0, LABEL_MAX),
	F_TIME(struct tx_register, 4, not_before),
	F_TIME(struct tx_register, 5, not_after),
	F_LIST(struct tx_register, 6, endorsements, endorsement_count, &bytes_item_schema, 0, 0, MEMBERS_MAX),
};
const struct schema tx_register_schema = SCHEMA(struct tx_register, "tx register", SHAPE_MAP, register_body_fields);

static const struct field unregister_fields[] = {
	F_UINT(struct tx_unregister, 1, subject, REGISTERED_SECURITY_ENCLAVE),
	F_FIXED(struct tx_unregister, 2, digest),
	F_TEXT(struct tx_unregister, 3, why, 0, LABEL_MAX),
};
const struct schema tx_unregister_schema = SCHEMA(struct tx_unregister, "tx unregister", SHAPE_MAP, unregister_fields);

static const struct field access_rule_fields[] = {
	F_UINT(struct access_rule, 1, effect, ACCESS_DENY),
	F_STRUCT_OR_NULL(struct access_rule, 2, actors, has_actors, &address_set_schema),
	F_UINT(struct access_rule, 3, operations, 0),
	F_TEXT(struct access_rule, 4, scope, 1, SCOPE_MAX),
	F_STRUCT_OR_NULL(struct access_rule, 5, measurements, has_measurements, &measurement_set_schema),
};
static const struct schema access_rule_schema = SCHEMA(struct access_rule, "access rule", SHAPE_MAP, access_rule_fields);
static const struct field access_fields[] = {
	F_TEXT(struct tx_access, 1, scope, 1, SCOPE_MAX),
	F_UINT(struct tx_access, 2, version, 0),
	F_LIST(struct tx_access, 3, rules, rule_count, &access_rule_schema, 0, 0, RULES_MAX),
};
const struct schema tx_access_schema = SCHEMA(struct tx_access, "tx access", SHAPE_MAP, access_fields);

static const struct field grant_body_fields[] = {
	F_LIST(struct tx_grant, 1, links, link_count, &bytes_item_schema, 0, 1, GRANT_CHAIN_MAX),
};
const struct schema tx_grant_schema = SCHEMA(struct tx_grant, "tx grant", SHAPE_MAP, grant_body_fields);

static const struct field revoke_fields[] = {
	F_LIST(struct tx_revoke, 1, links, link_count, &bytes_item_schema, 0, 0, GRANT_CHAIN_MAX),
	F_FIXED(struct tx_revoke, 2, target),
};
const struct schema tx_revoke_schema = SCHEMA(struct tx_revoke, "tx revoke", SHAPE_MAP, revoke_fields);

static const struct field operation_body_fields[] = {
	F_BYTES(struct tx_operation, 1, operation, 1, LEDGER_BODY_MAX),
	F_LIST(struct tx_operation, 2, links, link_count, &bytes_item_schema, 0, 0, GRANT_CHAIN_MAX),
};
const struct schema tx_operation_schema = SCHEMA(struct tx_operation, "tx operation", SHAPE_MAP, operation_body_fields);

static const struct field secure_mode_fields[] = {
	F_FIXED(struct tx_secure_mode, 1, measurement),
	F_FIXED(struct tx_secure_mode, 2, launch_id),
	F_BOOL(struct tx_secure_mode, 3, enter),
	F_TIME(struct tx_secure_mode, 4, time),
};
const struct schema tx_secure_mode_schema = SCHEMA(struct tx_secure_mode, "tx secure mode", SHAPE_MAP, secure_mode_fields);

static const struct field event_fields[] = {
	F_UINT(struct tx_event, 1, event_class, EVENT_VIOLATION),
	F_TEXT(struct tx_event, 2, subject, 1, SCOPE_MAX),
	F_FIXED(struct tx_event, 3, digest),
	F_TIME(struct tx_event, 4, time),
};
const struct schema tx_event_schema = SCHEMA(struct tx_event, "tx event", SHAPE_MAP, event_fields);

static const struct field epoch_body_fields[] = {
	F_BYTES(struct tx_epoch, 1, record, 1, LINK_MAX),
	F_LIST(struct tx_epoch, 2, keys, key_count, &bytes_item_schema, 0, 0, MEMBERS_MAX),
};
const struct schema tx_epoch_schema = SCHEMA(struct tx_epoch, "tx epoch", SHAPE_MAP, epoch_body_fields);

static const struct field floor_fields[] = {
	F_UINT(struct tx_floor, 1, floor_class, FLOOR_REVOCATION_LIST),
	F_TEXT(struct tx_floor, 2, id, 1, LABEL_MAX),
	F_FIXED(struct tx_floor, 3, digest),
	F_UINT(struct tx_floor, 4, version, 0),
};
const struct schema tx_floor_schema = SCHEMA(struct tx_floor, "tx floor", SHAPE_MAP, floor_fields);

static const struct field config_body_fields[] = {F_BYTES(struct tx_config, 1, config, 1, LEDGER_BODY_MAX)};
const struct schema tx_config_schema = SCHEMA(struct tx_config, "tx config", SHAPE_MAP, config_body_fields);

static const struct {
	const char *name;
	const struct schema *schema;
} types[] = {
	[TX_REGISTER] = {"register", &tx_register_schema},
	[TX_UNREGISTER] = {"unregister", &tx_unregister_schema},
	[TX_ACCESS] = {"access", &tx_access_schema},
	[TX_GRANT] = {"grant", &tx_grant_schema},
	[TX_REVOKE] = {"revoke", &tx_revoke_schema},
	[TX_OPERATION] = {"operation", &tx_operation_schema},
	[TX_SPOOLED] = {"spooled", &tx_operation_schema},
	[TX_SECURE_MODE] = {"secure-mode", &tx_secure_mode_schema},
	[TX_EVENT] = {"event", &tx_event_schema},
	[TX_EPOCH] = {"epoch", &tx_epoch_schema},
	[TX_FLOOR] = {"floor", &tx_floor_schema},
	[TX_CONFIG] = {"config", &tx_config_schema},
};

const char *transaction_type_name(unsigned type)
{
	return type < COUNT_OF(types) && types[type].name ? types[type].name : "unknown";
}

const struct schema *transaction_body_schema(unsigned type)
{
	return type < COUNT_OF(types) ? types[type].schema : NULL;
}

/* ---- Addresses (BIP-173, BIP-350) -------------------------------------------------------------- */

static const char prefix[] = "troth";
static const char digits[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
enum { PREFIX_LEN = 5, DATA_DIGITS = 32, CHECK_DIGITS = 6, BECH32M = 0x2bc830a3 };

static uint32_t polymod_step(uint32_t sum, unsigned value)
{
	static const uint32_t generator[] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
	unsigned top = sum >> 25;
	sum = (sum & 0x1ffffff) << 5 ^ value;
	for (unsigned i = 0; i < 5; i++)
		if (top >> i & 1)
			sum ^= generator[i];
	return sum;
}

static uint32_t polymod(const uint8_t *values, size_t count)
{
	uint32_t sum = 1;
	for (size_t i = 0; i < PREFIX_LEN; i++)
		sum = polymod_step(sum, (unsigned)prefix[i] >> 5);
	sum = polymod_step(sum, 0);
	for (size_t i = 0; i < PREFIX_LEN; i++)
		sum = polymod_step(sum, (unsigned)prefix[i] & 31);
	for (size_t i = 0; i < count; i++)
		sum = polymod_step(sum, values[i]);
	return sum;
}

void address_of(const uint8_t point[static POINT_SIZE], uint8_t out[static ADDRESS_SIZE])
{
	uint8_t id[KEY_ID_SIZE] = {0};
	if (point_key_id(span_of(point, POINT_SIZE), id) != OK)
		memset(id, 0, sizeof(id)); /* no key: an address that nobody has */
	memcpy(out, id, ADDRESS_SIZE);
}

void address_format(const uint8_t address[static ADDRESS_SIZE], char out[static ADDRESS_TEXT_SIZE])
{
	uint8_t values[DATA_DIGITS + CHECK_DIGITS] = {0};
	/* 160 bits are exactly 32 digits of five. */
	for (size_t bit = 0; bit < ADDRESS_SIZE * 8; bit++)
		values[bit / 5] = (uint8_t)(values[bit / 5] << 1 | (address[bit / 8] >> (7 - bit % 8) & 1));
	uint32_t check = polymod(values, sizeof(values)) ^ BECH32M;
	for (size_t i = 0; i < CHECK_DIGITS; i++)
		values[DATA_DIGITS + i] = check >> 5 * (CHECK_DIGITS - 1 - i) & 31;
	memcpy(out, prefix, PREFIX_LEN);
	out[PREFIX_LEN] = '1';
	for (size_t i = 0; i < sizeof(values); i++)
		out[PREFIX_LEN + 1 + i] = digits[values[i]];
	out[ADDRESS_TEXT_SIZE - 1] = '\0';
}

result address_parse(struct span text, uint8_t out[static ADDRESS_SIZE])
{
	uint8_t values[DATA_DIGITS + CHECK_DIGITS], address[ADDRESS_SIZE] = {0};
	if (text.len != ADDRESS_TEXT_SIZE - 1 || memcmp(text.data, "troth1", PREFIX_LEN + 1) != 0)
		return fail(BAD_VALUE, "an address is 'troth1' and %d letters and digits", DATA_DIGITS + CHECK_DIGITS);
	for (size_t i = 0; i < sizeof(values); i++) {
		uint8_t letter = text.data[PREFIX_LEN + 1 + i];
		const char *digit = letter ? strchr(digits, letter) : NULL;
		if (!digit)
			return fail(BAD_VALUE, "an address has no such character at %zu", PREFIX_LEN + 1 + i);
		values[i] = (uint8_t)(digit - digits);
	}
	if (polymod(values, sizeof(values)) != BECH32M)
		return fail(DIGEST_MISMATCH, "the address has a slip in it: its check characters do not fit");
	for (size_t bit = 0; bit < ADDRESS_SIZE * 8; bit++)
		address[bit / 8] = (uint8_t)(address[bit / 8] << 1 | (values[bit / 5] >> (4 - bit % 5) & 1));
	memcpy(out, address, ADDRESS_SIZE);
	return OK;
}

/* ---- Scopes and operations --------------------------------------------------------------------- */

result scope_parse(const char *scope, uint8_t out_owner[static ADDRESS_SIZE])
{
	enum { PARTS_MAX = 16 };
	size_t owner_len = strcspn(scope, "/"), parts = 0;
	if (strlen(scope) > SCOPE_MAX)
		return fail(BAD_NAME, "a scope of %zu bytes", strlen(scope));
	if (address_parse(span_of(scope, owner_len), out_owner) != OK)
		return fail(BAD_NAME, "a scope begins with its owner's address");
	for (const char *at = scope + owner_len; *at; parts++) {
		char part[NAME_MAX_LEN + 1];
		size_t len = strcspn(++at, "/");
		if (len > NAME_MAX_LEN || parts == PARTS_MAX)
			return fail(BAD_NAME, "a scope has at most %d parts of %d bytes", PARTS_MAX, NAME_MAX_LEN);
		memcpy(part, at, len);
		part[len] = '\0';
		if (!name_is_valid(part))
			return fail(BAD_NAME, "a scope's parts are letters, digits, '.', '_' and '-'");
		at += len;
	}
	return OK;
}

bool scope_covers(const char *outer, const char *inner)
{
	size_t len = strlen(outer);
	return strncmp(outer, inner, len) == 0 && (inner[len] == '\0' || inner[len] == '/');
}

static const char *const operation_names[] = {"read", "compute", "aggregate", "export", "delegate", "delete", "release", "train"};

void operation_name(unsigned bit, char out[static OPERATION_NAME_SIZE])
{
	if (bit < COUNT_OF(operation_names))
		snprintf(out, OPERATION_NAME_SIZE, "%s", operation_names[bit]);
	else
		snprintf(out, OPERATION_NAME_SIZE, "op%u", bit & 63);
}

result operation_parse(struct span name, unsigned *out_bit)
{
	char known[OPERATION_NAME_SIZE];
	for (unsigned bit = 0; bit < 64; bit++) {
		operation_name(bit, known);
		if (span_equal(name, span_str(known))) {
			*out_bit = bit;
			return OK;
		}
	}
	return fail(BAD_NAME, "operations are read, compute, aggregate, export, delegate, delete, release, train and op8 to op63");
}
