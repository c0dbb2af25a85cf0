/*
 * What the officers of a host sign before it enrols another (docs/PROTOCOL.link "Officers"), offline, with `troth` or with
 * `openssl` alone.
 *
 *   candidate  the encoded enrolment
 *   to sign    CANDIDATE.<first 16 hex digits of the officer's key id>.tbs: ECDSA with SHA-256
 *   signature  {1: 1, 2: DER SubjectPublicKeyInfo, 3: signature}, or 64 bytes r ‖ s, or openssl's DER
 */
#ifndef TROTH_CMD_ENROLMENT_FILES_H
#define TROTH_CMD_ENROLMENT_FILES_H

#include "cmd/options.h"
#include "job/service.h"

/* Writes the candidate and what each officer signs, and says how. */
NODISCARD result enrolment_candidate(
	const struct service_officers *officers, const struct service_enrol *enrol, const uint8_t peer[static OID_SIZE], const char *path);
/* The signatures of files over the candidate, with the keys that they belong to. BAD_SIGNATURE. */
NODISCARD result enrolment_approval(const struct service_officers *officers, const char *path, const struct words *signatures,
	const struct words *keys, struct arena *arena, struct bytes *out);
/* One officer signs; what it is about is printed. */
NODISCARD result enrolment_sign(const char *path, const char *key_file, const char *output);

#endif
