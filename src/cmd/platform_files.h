/*
 * `tpm.trust` in the state folder: which platforms the operator of a host believes, for the live decisions of its enclaves, the
 * host's own TPM (troth tpm enrol --local) and those of other hosts (troth tpm believe). What is read lives in the caller's arena.
 */
#ifndef TROTH_CMD_PLATFORM_FILES_H
#define TROTH_CMD_PLATFORM_FILES_H

#include "object/evidence.h"

/* What stands there; empty when there is no such file. `state` as --state was given. */
NODISCARD result platform_trust_load(const char *state, struct arena *arena, struct platform_trust *out);
/* Replaced atomically. */
NODISCARD result platform_trust_save(const char *state, const struct platform_trust *trust);
/* An enrolment that `troth tpm enrol --output` wrote. */
NODISCARD result platform_trust_read(const char *path, struct arena *arena, struct platform_trust *out);

/* Adds roots, keys and PCR values of `from` that are not there yet; whether test platforms count stays as it is. TOO_LARGE. */
NODISCARD result platform_trust_add(struct platform_trust *trust, const struct platform_trust *from, struct arena *arena);
/* Takes out the key with this attestation key's digest; roots stay. NOT_FOUND. */
NODISCARD result platform_trust_remove(struct platform_trust *trust, const uint8_t ak[static SHA256_SIZE]);

#endif
