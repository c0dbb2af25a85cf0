/*
 * One sample of every structure that this version signs or hashes, with fixed content. tests/tools/make_vectors.c writes
 * them to tests/vectors/objects.json, the tests of src/object read that file back, and the fuzz seeds are cut from it.
 */
#ifndef TROTH_TESTS_OBJECT_SAMPLES_H
#define TROTH_TESTS_OBJECT_SAMPLES_H

#include "object/backup.h"
#include "object/epoch.h"
#include "object/job.h"
#include "object/ledger.h"
#include "object/manifest.h"
#include "object/receipt.h"
#include "object/record.h"
#include "object/revocation.h"
#include "object/seal.h"
#include "object/head.h"
#include "object/transport.h"

struct sample {
	const char *name;
	enum object_kind kind;
	const struct schema *schema;
	const void *object;
	bool by_enclave; /* signed by the enclave's key, not by the root's */
};

enum { SAMPLE_COUNT = 34 };

/* Fixed scalars: bytes 01 02 .. 20, 21 .. 40 and so on. The caller frees the keys. */
struct sample_keys {
	struct key root_sign, root_kem, enclave_sign, enclave_kem;
};
void sample_keys_make(struct sample_keys *out);
void sample_keys_free(struct sample_keys *keys);

/* Fills all samples; what they point to lives as long as the program. */
void samples_make(const struct sample_keys *keys, struct sample out[static SAMPLE_COUNT]);

extern const char sample_policy_text[]; /* the policy that is compiled as the sample of kind 5 */
extern const struct manifest *const sample_manifest;

/* The sample certificate: the enclave's keys under the root's. The caller frees *out. */
void sample_certificate(const struct sample_keys *keys, struct bytes *out);

void sample_fill(void *out, size_t len, uint8_t first);

#endif
