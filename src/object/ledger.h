/*
 * What people and machines sign for the ledger (docs/PROTOCOL.ledger): transactions and their bodies, grants, access
 * requests, operations, endorsements of registrations, and the ledger's configuration. Structures only: what they mean and
 * who may sign what is decided by the contract (ledger/contract.h).
 *
 * An address is the first 20 bytes of SHA-256 over the DER SubjectPublicKeyInfo of a P-256 key. A scope names data below
 * its owner: ADDRESS/part/part. Operations are a mask of 64 bits.
 */
#ifndef TROTH_OBJECT_LEDGER_H
#define TROTH_OBJECT_LEDGER_H

#include "object/object.h"

enum { ADDRESS_SIZE = 20, CHAIN_ID_SIZE = 32, SCOPE_MAX = 255, LEDGER_BODY_MAX = 48 * 1024, GRANT_CHAIN_MAX = 8 };

enum transaction_type {
	TX_REGISTER = 1,   /* a measurement is known, or authorised by registrars */
	TX_UNREGISTER = 2,
	TX_ACCESS = 3,	   /* an owner's rules for a scope */
	TX_GRANT = 4,	   /* a chain of grants, so that its last link is on the ledger before it is used */
	TX_REVOKE = 5,
	TX_OPERATION = 6,
	TX_SPOOLED = 7,	   /* an operation that was carried out before it could be committed */
	TX_SECURE_MODE = 8,
	TX_EVENT = 9,	   /* HSM decisions, violations */
	TX_EPOCH = 10,	   /* an epoch record or HALT of a root of trust */
	TX_FLOOR = 11,	   /* digest and version below which nothing counts */
	TX_CONFIG = 12,
};
const char *transaction_type_name(unsigned type); /* "operation"; "unknown" */

struct transaction {
	uint8_t v;
	uint8_t chain[CHAIN_ID_SIZE];
	uint8_t sender[POINT_SIZE];
	uint8_t nonce[32];
	uint64_t valid_until;
	uint8_t type;
	struct span body; /* the structure of its type */
};
extern const struct schema transaction_schema;

struct address {
	uint8_t bytes[ADDRESS_SIZE];
};
struct digest48 {
	uint8_t bytes[SHA384_SIZE];
};
struct point {
	uint8_t bytes[POINT_SIZE];
};
extern const struct schema address_schema, digest48_schema, point_schema; /* bare byte strings */

/* A set of measurements, sorted; without one: any. */
struct grant {
	uint8_t v;
	uint8_t chain[CHAIN_ID_SIZE];
	uint8_t issuer[POINT_SIZE];
	uint8_t audience[ADDRESS_SIZE];
	const char *scope;
	uint64_t operations;
	struct measurement_set {
		struct digest48 *items;
		size_t count;
	} measurements;
	bool has_measurements;
	uint64_t not_before, not_after;
	uint64_t max_uses;
	bool has_max_uses; /* without: no limit */
	uint8_t max_depth; /* how many further links may follow */
	uint8_t parent[OID_SIZE];
	bool has_parent;
	uint8_t nonce[32];
};
extern const struct schema grant_schema;

struct access_request {
	uint8_t v;
	uint8_t chain[CHAIN_ID_SIZE];
	uint8_t actor[POINT_SIZE];
	uint8_t operation; /* the bit's number */
	const char *scope;
	uint8_t measurement[SHA384_SIZE]; /* of the code that it is asked for */
	bool has_measurement;
	uint8_t nonce[32];
	uint64_t not_after;
};
extern const struct schema access_request_schema;

struct operation {
	uint8_t v;
	uint8_t chain[CHAIN_ID_SIZE];
	uint8_t processor[POINT_SIZE];
	uint8_t vmm[SHA384_SIZE];
	uint8_t operation_id[32];
	struct span request;		  /* access request, as its actor signed it */
	uint8_t data_commitment[SHA256_SIZE]; /* salted: never a plain hash of the data */
	uint64_t time;
	uint8_t measurement[SHA384_SIZE]; /* of the code that ran */
	uint8_t result_commitment[SHA256_SIZE];
	bool has_result;
};
extern const struct schema operation_schema;

enum registration_subject { REGISTERED_VMM = 1, REGISTERED_HOST = 2, REGISTERED_ENCLAVE = 3, REGISTERED_SECURITY_ENCLAVE = 4 };

/* A registrar's signature under a registration. */
struct endorsement {
	uint8_t v;
	uint8_t chain[CHAIN_ID_SIZE];
	uint8_t registrar[POINT_SIZE];
	uint8_t subject;
	uint8_t digest[SHA384_SIZE];
	const char *label;
	uint64_t not_before, not_after;
};
extern const struct schema endorsement_schema;

enum cosigner_statement { STATEMENT_APPEND = 1, STATEMENT_STATE = 2 };
struct cosigner {
	const char *name;
	uint8_t key[32]; /* Ed25519 */
	uint8_t statement;
};
extern const struct schema cosigner_schema;

struct ledger_config {
	uint8_t v;
	uint8_t chain[CHAIN_ID_SIZE]; /* zero in the first one: the chain's name is made from it */
	uint64_t seq;		      /* 0, then +1 each time */
	struct point *members;
	size_t member_count;
	uint8_t quorum;
	struct point *registrars;
	size_t registrar_count;
	uint8_t registrar_quorum;
	struct point *processors;
	size_t processor_count;
	const char *log_name;
	uint8_t log_key[32]; /* Ed25519 */
	struct cosigner *cosigners;
	size_t cosigner_count;
	uint64_t time_bound_ms;	 /* between a record's time and the batch's */
	uint64_t spool_bound_ms; /* the same for spooled operations */
};
extern const struct schema ledger_config_schema;

/* H("troth chain1" ‖ lv(payload of the first configuration)). */
void ledger_chain_id(struct span genesis_payload, uint8_t out[static CHAIN_ID_SIZE]);

/* ---- Bodies, by type --------------------------------------------------------------------------- */

struct tx_register {
	uint8_t subject;
	uint8_t digest[SHA384_SIZE];
	const char *label;
	uint64_t not_before, not_after;
	struct bytes_item *endorsements; /* objects */
	size_t endorsement_count;
};
struct tx_unregister {
	uint8_t subject;
	uint8_t digest[SHA384_SIZE];
	const char *why;
};
enum access_effect { ACCESS_ALLOW = 1, ACCESS_DENY = 2 };
struct access_rule {
	uint8_t effect;
	struct address_set {
		struct address *items;
		size_t count;
	} actors;
	bool has_actors; /* without: anybody */
	uint64_t operations;
	const char *scope; /* the body's scope or one below it */
	struct measurement_set measurements;
	bool has_measurements;
};
struct tx_access {
	const char *scope;
	uint64_t version; /* of the rules of this scope: 1, then +1 each time */
	struct access_rule *rules;
	size_t rule_count;
};
struct tx_grant {
	struct bytes_item *links; /* root first */
	size_t link_count;
};
struct tx_revoke {
	struct bytes_item *links; /* root first, up to the target; none when the sender is the issuer of one that is on the ledger */
	size_t link_count;
	uint8_t target[OID_SIZE];
};
struct tx_operation { /* TX_OPERATION and TX_SPOOLED */
	struct span operation;
	struct bytes_item *links; /* the grants that allow it; none when the owner's rules do */
	size_t link_count;
};
struct tx_secure_mode {
	uint8_t measurement[SHA384_SIZE];
	uint8_t launch_id[16];
	bool enter;
	uint64_t time;
};
enum event_class { EVENT_HSM_GRANT = 1, EVENT_HSM_DENY = 2, EVENT_VIOLATION = 3 };
struct tx_event {
	uint8_t event_class;
	const char *subject;
	uint8_t digest[SHA256_SIZE];
	uint64_t time;
};
struct tx_epoch {
	struct span record;	 /* epoch record or HALT */
	struct bytes_item *keys; /* DER SubjectPublicKeyInfo of the recovery keys that signed */
	size_t key_count;
};
enum floor_class { FLOOR_DEFINITION = 1, FLOOR_POLICY = 2, FLOOR_REVOCATION_LIST = 3 };
struct tx_floor {
	uint8_t floor_class;
	const char *id;
	uint8_t digest[SHA256_SIZE];
	uint64_t version;
};
struct tx_config {
	struct span config; /* COSE_Sign, kind ledger config */
};
extern const struct schema tx_register_schema, tx_unregister_schema, tx_access_schema, tx_grant_schema, tx_revoke_schema,
	tx_operation_schema, tx_secure_mode_schema, tx_event_schema, tx_epoch_schema, tx_floor_schema, tx_config_schema;
/* The body's schema by type; NULL for an unknown one. */
const struct schema *transaction_body_schema(unsigned type);

/* ---- Addresses and scopes ---------------------------------------------------------------------- */

/* bech32m (BIP-350) with the prefix "troth": what people see. */
enum { ADDRESS_TEXT_SIZE = 5 + 1 + 32 + 6 + 1 };
void address_of(const uint8_t point[static POINT_SIZE], uint8_t out[static ADDRESS_SIZE]);
void address_format(const uint8_t address[static ADDRESS_SIZE], char out[static ADDRESS_TEXT_SIZE]);
/* Lower case only; BAD_VALUE, DIGEST_MISMATCH when its check characters are wrong (a slip of the pen). */
NODISCARD result address_parse(struct span text, uint8_t out[static ADDRESS_SIZE]);

/* ADDRESS/part/...: parts of [A-Za-z0-9._-], 1..63 bytes, not starting with '.' or '-', at most 16. Gives the owner. BAD_NAME. */
NODISCARD result scope_parse(const char *scope, uint8_t out_owner[static ADDRESS_SIZE]);
/* Whether `inner` is `outer` or lies below it. */
bool scope_covers(const char *outer, const char *inner);

/* "read", "compute", ... or "op40"; needs OPERATION_NAME_SIZE bytes. */
enum { OPERATION_NAME_SIZE = 12 };
void operation_name(unsigned bit, char out[static OPERATION_NAME_SIZE]);
NODISCARD result operation_parse(struct span name, unsigned *out_bit); /* BAD_NAME */

#endif
