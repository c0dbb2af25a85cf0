/*
 * Making and opening signed objects. An object's name is its oid: SHA-256 over the COSE Sig_structure, that is over
 * label, protected header and payload, never over the signature (constructions/objects.md). Two valid signatures
 * over one oid are the same object.
 */
#ifndef TROTH_OBJECT_OBJECT_H
#define TROTH_OBJECT_OBJECT_H

#include "crypto/key.h"
#include "object/kind.h"
#include "wire/cose.h"

enum { OID_SIZE = 32 };

/* Encodes and signs `object` (a structure of the kind's schema) as COSE_Sign1. `out_oid` may be NULL. */
NODISCARD result object_sign(enum object_kind kind, const void *object, const struct key *key, struct bytes *out,
	uint8_t *out_oid);

/* Parses, verifies under `key` and decodes. `out_oid` (OID_SIZE bytes) may be NULL. */
NODISCARD result object_open(enum object_kind kind, struct span bytes, const struct key *key, struct arena *arena, void *out,
	uint8_t *out_oid);

/*
 * Parses and decodes without verifying: for looking up which key must have signed. Nothing decoded this way may be
 * acted on before object_verify has returned OK on the same bytes.
 */
NODISCARD result object_peek(enum object_kind kind, struct span bytes, struct arena *arena, void *out, uint8_t *out_oid);
NODISCARD result object_verify(enum object_kind kind, struct span bytes, const struct key *key);

/* oid of a SIGN1 or SIGN object with this payload. */
void object_oid(enum object_kind kind, struct span payload, uint8_t out[static OID_SIZE]);

/* Digest of a PLAIN object: SHA-256(lv(label) ‖ encoding). Manifests are measured with SHA-384 instead: manifest.h. */
void object_digest(enum object_kind kind, struct span encoding, uint8_t out[static SHA256_SIZE]);

#endif
