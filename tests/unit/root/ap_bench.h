/*
 * A secure processor's engine and its state for tests: boots it, asks it, keeps what it persists, in memory or in slots on a
 * file. Follows the records that it hands out by epoch_chain, and asserts with each that no two of one era and epoch
 * ever differ.
 */
#ifndef TROTH_TESTS_AP_BENCH_H
#define TROTH_TESTS_AP_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#undef fail

#include "object/epoch_chain.h"
#include "root/ap.h"
#include "store/slots.h"

static const uint64_t T0 = 1800000000000ULL;

struct handed {
	uint32_t era;
	uint64_t epoch;
	uint8_t oid[OID_SIZE];
};

struct bench {
	struct ap *ap;
	struct secret wrap;
	struct token *token; /* NULL: keys from seeds; borrowed */
	struct ap_platform *platform; /* NULL: none; borrowed */
	struct bytes state; /* the last one written */
	unsigned writes;
	bool disk;
	int fd;
	const struct store_io *io;
	struct slots slots;
	struct arena arena;
	uint64_t now, epoch;
	uint32_t era;
	struct epoch_recovery recovery; /* of the root that generate makes */
	bool has_recovery;
	struct epoch_chain *chain;
	struct key root_sign;
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE], kem_pk[POINT_SIZE];
	struct handed handed[512];
	size_t handed_count;
};

struct enclave {
	struct key sign, kem;
	struct launch launch;
	uint8_t nonce[32];
};

void bench_empty(struct bench *b); /* booted, nothing measured */
void bench_new(struct bench *b);   /* with a root, ready */
void bench_new_recoverable(struct bench *b, const struct epoch_recovery *recovery);
void bench_free(struct bench *b);
/* From now on in slots on a file, through `io` (NULL: the system's). */
void bench_use_disk(struct bench *b, const struct store_io *io);
NODISCARD result bench_write(void *bench, struct span state); /* an ap_write */

void keep(struct bench *b, struct span state);
void boot(struct bench *b);
NODISCARD result try_boot(struct bench *b);
void measure(struct bench *b, uint8_t ap_fill, uint8_t host_fill);
void restart(struct bench *b, uint8_t ap_fill, uint8_t host_fill);
enum reason extend(struct bench *b, uint8_t index, const char *name, uint8_t fill);

/* One request under the epoch that the bench believes current; what follows from it is done at once. */
enum reason ask(struct bench *b, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, void *reply);
/* The same in two parts, for what happens in between. */
void step(struct bench *b, enum ipq_type type, const struct schema *schema, const void *request, struct ap_action *out);
enum reason settle(struct bench *b, enum ipq_type type, struct ap_action *action, struct bytes *out);

enum ap_state state_of(struct bench *b);
void health_of(struct bench *b, struct ap_health *out);
struct ap_generate a_generate(void);
void generate(struct bench *b);
struct ap_rotate a_rotation(uint8_t id);
enum reason rotate_as(struct bench *b, const struct ap_rotate *request);
void rotate(struct bench *b);
enum reason drain(struct bench *b);
void take_record(struct bench *b, const struct ap_rot_available *reply, const uint8_t challenge[static 32]);
void adopt_head(struct bench *b);

enum reason launch(struct bench *b, const char *name, struct enclave *e);
void endorse_message(const struct enclave *e, uint8_t out[14 + 16 + 32 + 64]);
enum reason endorse_begin(struct bench *b, const struct enclave *e, struct ap_endorse_challenge *out);
enum reason endorse_finish(struct bench *b, const struct enclave *e, struct span challenge, struct ap_endorsed *out);
void endorse(struct bench *b, const char *name, struct enclave *e, struct ap_endorsed *out);
void enclave_free(struct enclave *e);

struct span seal_secret(struct bench *b, const char *name, const char *text, enum reason expected);
enum reason unseal(struct bench *b, const struct enclave *e, const struct key *signer, struct span sealed, const uint8_t *seal_oid,
	struct unseal_request *request, struct ap_unsealed *out);

#endif
