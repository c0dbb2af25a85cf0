/*
 * Roots of trust for tests: chains of epoch records whose private keys the test holds. Keys come from numbers, so that a
 * chain is the same in every run (but for its signatures, which are not part of an oid).
 *
 *	struct epoch_maker m;
 *	epoch_maker_begin(&m, 1, 2, 3);                    inception, recovery by 2 of 3
 *	epoch_maker_rotate(&m);                            m.record is epoch 2, m.oid its id
 *	epoch_maker_draft(&m, EPOCH_SCHEDULED, &d);        a draft to tamper with ...
 *	epoch_maker_sign(&m, &d, signers, &bytes);         ... signed by whom one likes, m unchanged
 */
#ifndef TROTH_TESTS_EPOCH_MAKER_H
#define TROTH_TESTS_EPOCH_MAKER_H

#include "object/epoch_chain.h"

enum { MAKER_KEYS = 5 }; /* recovery keys that a maker holds; the first n are in the set */

struct maker_pair {
	struct key sign, kem;
	uint8_t salt[32];
};

struct epoch_maker {
	unsigned seed, branch; /* of the keys; a clone that differs in branch commits to other next keys */
	struct maker_pair pair, next;
	struct key recovery[MAKER_KEYS];
	struct digest32 set[MAKER_KEYS];
	struct epoch epoch; /* of the head */
	uint8_t rot_id[OID_SIZE], oid[OID_SIZE];
	struct bytes record; /* the head */
};

/* Who signs, as bits. */
enum maker_signer { SIGN_NEW = 1, SIGN_OLD = 2, SIGN_R0 = 4, SIGN_R1 = 8, SIGN_R2 = 16, SIGN_R3 = 32, SIGN_R4 = 64 };

extern const uint64_t maker_time; /* not_before of E_1 */

void epoch_maker_begin(struct epoch_maker *m, unsigned seed, uint8_t k, uint8_t n); /* n 0: no recovery set */
/* An independent maker at the same head with the same next keys: the same state folder twice. */
void epoch_maker_clone(const struct epoch_maker *from, unsigned branch, struct epoch_maker *out);
void epoch_maker_free(struct epoch_maker *m);

/* The next record behind m's head; the keys are m->next, or with EPOCH_RECOVERY fresh ones (which become m->next). */
void epoch_maker_draft(struct epoch_maker *m, enum epoch_reason reason, struct epoch *out);
/* Encodes and signs a draft. SIGN_NEW is m->next.sign, SIGN_OLD m->pair.sign. */
void epoch_maker_sign(const struct epoch_maker *m, const struct epoch *draft, unsigned signers, struct bytes *out);
/* Makes the draft m's head: what its keys and record are from now on. */
void epoch_maker_accept(struct epoch_maker *m, const struct epoch *draft, struct span record);

void epoch_maker_rotate(struct epoch_maker *m); /* draft, sign by new and old, accept */
/* The set becomes the keys `first`, first + 1 .. of the maker, k of n. */
void epoch_maker_set_recovery(struct epoch_maker *m, unsigned signers, size_t first, uint8_t k, uint8_t n);
void epoch_maker_recover(struct epoch_maker *m, unsigned signers); /* from m's head; SIGN_NEW is added */
void epoch_maker_halt(const struct epoch_maker *m, uint32_t era, uint64_t epoch, unsigned signers, struct bytes *out);

/* The public keys of the whole maker. */
void epoch_maker_give_keys(const struct epoch_maker *m, struct epoch_chain *chain);

#endif
