/*
 * BOX(pk, label, aad, m) (constructions/epochs.md): encrypt to a P-256 public key with a fresh ephemeral.
 *   e fresh; k = EX(HX("troth-box1", ECDH(e, pk)), label, lv(E)‖lv(pk), 32) with protocol word "box1"
 *   out = E[65] ‖ AES-256-GCM(k, nonce 0, aad, m)
 * It authenticates nobody: whoever has pk can make a box.
 */
#ifndef TROTH_CRYPTO_BOX_H
#define TROTH_CRYPTO_BOX_H

#include "crypto/aead.h"
#include "crypto/key.h"

enum { BOX_OVERHEAD = POINT_SIZE + AEAD_TAG_SIZE };

/* out has room for plain.len + BOX_OVERHEAD bytes. BAD_POINT. */
NODISCARD result box_seal(struct span recipient_point, const char *label, struct span aad, struct span plain, uint8_t *out);
/* BAD_TAG, BAD_POINT, TRUNCATED. `out` is secret memory of box.len - BOX_OVERHEAD bytes (empty messages are refused). */
NODISCARD result box_open(const struct key *recipient, const char *label, struct span aad, struct span box, struct secret *out);

#endif
