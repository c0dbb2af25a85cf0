/*
 * The other end of a queue made from its description alone: a ring that the test writes byte by byte, so that
 * it can play a peer that keeps no rule. Also the helpers that join two proper ends.
 */
#ifndef TROTH_TESTS_ROOT_IPQ_RAW_H
#define TROTH_TESTS_ROOT_IPQ_RAW_H

#include "root/ipq.h"

struct raw {
	int fd;
	uint8_t *ring;	       /* own, writable */
	const uint8_t *victim; /* the ring of the end under test */
	uint64_t produced;
	enum ipq_role role;
};

/* A sealed ring with a proper head. Every failure of these helpers fails the test. */
void raw_open(struct raw *raw, enum ipq_role role);
void raw_close(struct raw *raw);

/* Writes a message as the description says and publishes it. */
void raw_send(struct raw *raw, unsigned type, uint64_t id, struct span payload);
void raw_write(struct raw *raw, unsigned type, uint64_t id, struct span payload, uint64_t slots);
void raw_publish(struct raw *raw, uint64_t slots);
void raw_ring_bell(struct raw *raw); /* wakes the victim, whether it sleeps or not */
uint64_t raw_slots(size_t len);

uint8_t *raw_slot(const struct raw *raw, uint64_t position);
void raw_set64(uint8_t *at, uint64_t value);
void raw_set32(uint8_t *at, uint32_t value);
uint64_t raw_get64(const uint8_t *at);

/* An end under test with role `role`, joined to a fresh raw peer and greeted with `boot_gen`. */
struct ipq *raw_victim(struct raw *raw, enum ipq_role role, uint64_t boot_gen);

/* Joins two proper ends and lets them greet. */
void pair_open(struct ipq **out_host, struct ipq **out_ap, uint64_t boot_gen);

/* ---- profile sealed ---- */

/* Whose signature and secret a sealed greeting runs under; the same on both sides unless a test wants otherwise. */
struct sealed_side {
	uint8_t pairing[IPQ_PAIRING_SIZE];
	bool rooted;
	struct key key;
	uint8_t epoch_oid[32];
	unsigned judged;
};
result sealed_sign(void *side, struct queue_hello *hello, struct bytes *out_record, struct bytes *out_object);
result sealed_judge(void *side, const struct queue_hello *hello, struct span record, struct span object);

/* Two sealed ends that greet; what each came to. */
struct sealed_greeting {
	struct ipq *host, *ap;
	struct sealed_side *host_side, *ap_side;
	uint64_t boot_gen, told;
	result host_greeted, ap_greeted;
};
void sealed_create(struct sealed_greeting *g);
void sealed_greet(struct sealed_greeting *g);

/* ---- somebody on the way: both ends are proper, every slot between them passes through here ---- */

struct way {
	struct sealed_greeting g; /* without sides: profile local */
	struct raw to_ap, to_host; /* the rings that the ends believe to be the other's */
	const uint8_t *host_ring, *ap_ring;
	uint64_t passed_to_ap, passed_to_host;
};

/* Two ends that greeted through this way; nothing is carried after that unless a test does it. */
void way_open_greeted(struct way *way, struct sealed_greeting greeting);
void way_close(struct way *way);
/* Passes on what lies in an end's ring from `*passed`, the credit it gives and its state. */
void way_pass(struct raw *to, const uint8_t *ring, uint64_t *passed);
void way_put_slot(struct raw *raw, uint64_t position, const uint8_t *from);
const uint8_t *way_slot(const uint8_t *ring, uint64_t position);

uint64_t soon(void);  /* a deadline that only a hang reaches */
uint64_t in_ms(unsigned ms);

#endif
