/*
 * What hosts show each other: the key of a connection between two of them, vouched for by the secure processor, and the
 * enrolment of a host by the officers of another (docs/PROTOCOL.link).
 */
#ifndef TROTH_OBJECT_TRANSPORT_H
#define TROTH_OBJECT_TRANSPORT_H

#include "object/epoch.h"

enum { TRANSPORT_VALID_MAX_MS = 24 * 3600 * 1000 };
#define TRANSPORT_LINK "link"

/* SIGN1 by the secure processor: whoever proves that they hold this key is the host of this root. */
struct transport_key {
	uint8_t v;
	uint8_t spki[SHA256_SIZE]; /* SHA-256 of the DER SubjectPublicKeyInfo */
	uint8_t rot_id[OID_SIZE];
	uint8_t epoch_oid[OID_SIZE];
	const char *purpose; /* TRANSPORT_LINK */
	uint64_t not_before, not_after;
};
extern const struct schema transport_key_schema;

/* What the secure processor is asked to sign. */
struct transport_request {
	uint8_t spki[SHA256_SIZE];
	const char *purpose;
	uint64_t valid_ms;
};
extern const struct schema transport_request_schema;

enum { PEER_ADDRESSES_MAX = 8, PEER_NAME_MAX = 64, OFFICERS_MAX = 16 };

/* SIGN by k of the n officers of `rot_id`: `peer` may be enrolled there under this name. */
struct host_enrolment {
	uint8_t v;
	uint8_t rot_id[OID_SIZE];
	const char *name;
	uint8_t peer[OID_SIZE];
	struct text_item *addresses;
	size_t address_count;
	uint64_t time;
};
extern const struct schema enrolment_schema;

/* With the public keys of those who signed beside it, because only their hashes are pinned. */
enum { ENROLMENT_APPROVAL_MAX = 8192 };
struct enrolment_approval {
	struct span object; /* KIND_ENROLMENT */
	struct bytes_item *keys; /* DER SubjectPublicKeyInfo */
	size_t key_count;
};
extern const struct schema enrolment_approval_schema;

#endif
