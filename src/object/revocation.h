/*
 * Revocation (docs/PROTOCOL.revocation): lists that operators sign, and heads by which the secure processor of a host says
 * again and again which lists its enclaves are to obey.
 *
 * A list is read in place: `revocation_open` checks it and keeps one offset per entry, so that a list of a million entries costs
 * four megabytes beside its bytes and a lookup twenty comparisons. Everything that is opened borrows from the bytes.
 *
 * What a list says holds from `from` on and does not lapse: an expired list is not taken any more, but one that was taken stays.
 */
#ifndef TROTH_OBJECT_REVOCATION_H
#define TROTH_OBJECT_REVOCATION_H

#include "object/object.h"

enum revocation_class {
	REVOKE_MEASUREMENT = 1, /* of an enclave, or its core: SHA-384 */
	REVOKE_KEY,		/* key id: of an enclave, of an external peer */
	REVOKE_CERTIFICATE,	/* SHA-256 of its DER */
	REVOKE_HOST,		/* rot_id */
	REVOKE_EPOCH,		/* oid of the epoch record */
	REVOKE_POLICY,		/* digest of a compiled policy */
	REVOKE_CLASSES,
};

enum {
	REVOCATION_MAX_ENTRIES = 1000000,
	REVOCATION_LIST_MAX = 128 << 20, /* bytes of one signed list */
	REVOCATION_WHY_MAX = 200,
	REVOCATION_MAX_LISTS = 16, /* operators that one host or verifier obeys */
	REVOCATION_HEAD_MAX = 4096,
	REVOCATION_LEASE_LEAST_MS = 1000,
	REVOCATION_LEASE_MOST_MS = 3600 * 1000,
	REVOCATION_LEASE_MS = 5000, /* unless the host says otherwise */
	REVOCATION_SKEW_MS = 5 * 60 * 1000, /* how far in the future a list may be dated */
};

/* "measurement" ... "policy"; "?" */
const char *revocation_class_name(enum revocation_class class);
/* Bytes of a value; 0 for an unknown class. */
size_t revocation_class_size(enum revocation_class class);

struct revocation_entry {
	uint8_t class;
	struct span value;
	uint64_t from; /* 0: always was */
	const char *why;
};

/* A list as it is made. The operator's key names the list: each operator has one. */
struct revocation_list {
	uint8_t v;
	uint8_t operator_pk[POINT_SIZE];
	uint64_t version; /* from 1; a host takes greater ones only */
	uint64_t time, not_after;
	struct revocation_entry *entries; /* sorted in encoded order, each class and value once */
	size_t entry_count;
};
extern const struct schema revocation_list_schema, revocation_entry_schema;

/* REVOCATION_CLASS_UNKNOWN, BAD_VALUE. The order is not looked at. */
NODISCARD result revocation_list_check(const struct revocation_list *list);
/* Sorts, checks and signs. `out_oid` may be NULL. */
NODISCARD result revocation_list_sign(struct revocation_list *list, const struct key *operator, struct bytes *out, uint8_t *out_oid);

/* A signed list, opened. */
struct revocation_view {
	uint8_t operator_id[KEY_ID_SIZE], operator_pk[POINT_SIZE];
	uint8_t oid[OID_SIZE];
	uint64_t version, time, not_after;
	size_t count;
	struct span entries; /* their encodings, one behind the other */
	uint32_t *offsets;   /* owned */
};
#define REVOCATION_VIEW_EMPTY ((struct revocation_view){.count = 0})
/*
 * Checks everything but the time. `operator` NULL: the signature is verified under the key that the list names, and whether to
 * trust that key is the caller's to say. REVOCATION_CLASS_UNKNOWN, BAD_SIGNATURE, NOT_DETERMINISTIC, parse reasons.
 */
NODISCARD result revocation_open(struct span bytes, const struct key *operator, struct revocation_view *out);
void revocation_view_free(struct revocation_view *view);
/* REVOCATION_EXPIRED before it was made or after its end. */
NODISCARD result revocation_valid_at(const struct revocation_view *view, uint64_t now_ms);

struct revocation_row {
	enum revocation_class class;
	struct span value;
	uint64_t from;
	struct span why; /* UTF-8 of whoever signed; make it plain before showing it */
};
/* Row `at` < count, in order. */
void revocation_row(const struct revocation_view *view, size_t at, struct revocation_row *out);
bool revocation_find(const struct revocation_view *view, enum revocation_class class, struct span value, struct revocation_row *out);

/* The lists that are in force. */
struct revocation_set {
	struct revocation_view lists[REVOCATION_MAX_LISTS];
	size_t count;
};
void revocation_set_free(struct revocation_set *set);

/* Something that may be revoked: members that are NULL do not apply. */
struct revocation_subject {
	const uint8_t *measurement, *core; /* SHA384_SIZE */
	const uint8_t *key, *certificate, *rot_id, *epoch, *policy; /* 32 bytes */
};
/* REVOKED, naming class, list and why, when any list says so at this time. */
NODISCARD result revocation_judge(const struct revocation_set *set, const struct revocation_subject *subject, uint64_t at_ms);

/* ---- Heads ------------------------------------------------------------------------------------------------ */

struct revocation_head_row {
	uint8_t operator_id[KEY_ID_SIZE];
	uint64_t version;
	uint8_t oid[OID_SIZE];
};
extern const struct schema revocation_head_row_schema;

/*
 * Signed by the secure processor. It holds for `lease_ms` from `steady` on, on the steady clock of the machine; `time` is for
 * people and for entries' `from`. Without lists and with lease 0 it ends the lease: the host obeys no operator any more.
 */
struct revocation_head {
	uint8_t v;
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	uint64_t boot_gen, seq;
	uint64_t time, steady;
	uint32_t lease_ms;
	struct revocation_head_row *lists; /* sorted */
	size_t list_count;
};
extern const struct schema revocation_head_schema;
/* A lease that may be: within its bounds, or 0 without lists. BAD_VALUE. */
NODISCARD result revocation_lease_allowed(uint32_t lease_ms, size_t list_count);

#endif
