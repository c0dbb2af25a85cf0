/*
 * Profile `sealed` of the inter-processor queue (docs/PROTOCOL.ipq section 8): the greeting that agrees on keys, and the
 * sealing of payloads. No I/O and no shared memory: ipq.c moves the bytes and copies what it received before it comes here.
 *
 *   host: ipq_sealed_hello           -> HELLO        ... HELLO_REPLY -> ipq_sealed_finish
 *   AP:   HELLO -> ipq_sealed_answer -> HELLO_REPLY
 *   then both: ipq_sealed_seal, ipq_sealed_open
 *
 * The pairing secret, known to the two ends alone, authenticates the host to the AP and, until there is a root, the AP to
 * the host; with a root the AP signs the greeting under its epoch key. A host that greets before there is a root trusts
 * on first use and should say so (ipq_hello.record is empty then).
 *
 * One thread at a time. Failures: QUEUE_HELLO for a greeting that does not fit, BAD_TAG for a slot that does not open,
 * ILLEGAL_STATE, and what `sign` and `judge` return.
 */
#ifndef TROTH_ROOT_IPQ_SEALED_H
#define TROTH_ROOT_IPQ_SEALED_H

#include "crypto/aead.h"
#include "object/report.h"
#include "root/ipq.h"

enum {
	IPQ_NONCE_SIZE = 32,
	IPQ_SEALED_HEAD = 24, /* bytes of a first slot that are authenticated */
	IPQ_SEALED_HELLO_SIZE = 4 + IPQ_NONCE_SIZE + POINT_SIZE,
	IPQ_CREDENTIAL_MAX = 16384, /* an epoch record */
	IPQ_SEALED_REPLY_MAX = 4 + 8 + 2 * IPQ_NONCE_SIZE + POINT_SIZE + 1 + 4 + IPQ_CREDENTIAL_MAX + 4 + 1024 + 32,
};

struct ipq_sealed {
	enum ipq_role role;
	struct secret pairing; /* until the greeting is over */
	struct key ephemeral;  /* the same */
	struct queue_hello hello;
	uint64_t boot_gen;
	struct aead seal, open; /* keyed by the greeting */
	uint8_t *buffer;	/* IPQ_PAYLOAD_MAX + 16 bytes: what is sealed before it is written to the ring */
};

NODISCARD result ipq_sealed_new(enum ipq_role role, struct span pairing, struct ipq_sealed **out);
void ipq_sealed_free(struct ipq_sealed **sealed); /* accepts NULL; wipes */

/* Host: makes nonce and ephemeral and writes HELLO. */
NODISCARD result ipq_sealed_hello(struct ipq_sealed *sealed, uint8_t out[static IPQ_SEALED_HELLO_SIZE]);

/* AP: judges HELLO, has the answer signed, writes HELLO_REPLY and takes the keys. `out` is freed by the caller. */
NODISCARD result ipq_sealed_answer(struct ipq_sealed *sealed, struct span hello, uint64_t boot_gen, ipq_sign_hello *sign,
				   void *context, struct bytes *out);

/* Host: judges HELLO_REPLY and takes the keys. */
NODISCARD result ipq_sealed_finish(struct ipq_sealed *sealed, struct span reply, ipq_judge_hello *judge, void *context,
				   uint64_t *out_boot_gen);

/*
 * For a host's `judge`: `object` is signed by `key`, that of the epoch `epoch_oid`, and says exactly what this greeting said.
 * BAD_SIGNATURE, QUEUE_HELLO for a greeting of another time, parse reasons.
 */
NODISCARD result ipq_hello_verify(const struct queue_hello *hello, struct span object, const struct key *key,
				  const uint8_t epoch_oid[static OID_SIZE]);

/* Whether the greeting is over and payloads are sealed. */
static inline bool ipq_sealed_ready(const struct ipq_sealed *sealed)
{
	return sealed->seal.ctx != NULL;
}

/*
 * `head` is the first 24 bytes of the message's first slot as they stand in the ring: its sequence number is the nonce, all
 * of it is authenticated with the direction and boot_gen. seal writes plain.len + 16 bytes; open writes cipher.len - 16
 * and `out` may be cipher.data.
 */
NODISCARD result ipq_sealed_seal(struct ipq_sealed *sealed, const uint64_t head[static 3], struct span plain, uint8_t *out);
NODISCARD result ipq_sealed_open(struct ipq_sealed *sealed, const uint64_t head[static 3], struct span cipher, uint8_t *out);

#endif
