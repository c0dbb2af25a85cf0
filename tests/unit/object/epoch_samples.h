/*
 * The life of one root with fixed keys: rotations, another recovery set, a HALT, a recovery; and the forgeries that a
 * verifier meets on the way. tests/tools/make_vectors.c writes it to tests/vectors/objects.json.
 */
#ifndef TROTH_TESTS_OBJECT_EPOCH_SAMPLES_H
#define TROTH_TESTS_OBJECT_EPOCH_SAMPLES_H

#include "../epoch_maker.h"

enum { EPOCH_SAMPLES = 7, EPOCH_FORGERIES = 22 };

struct epoch_sample {
	const char *name;
	enum object_kind kind;
	struct bytes object;
};

/* Offered after the first `after` samples. */
struct epoch_forgery {
	const char *name;
	size_t after;
	struct bytes object;
	enum reason reason;
};

struct epoch_samples {
	struct epoch_sample rows[EPOCH_SAMPLES];
	struct epoch_forgery forged[EPOCH_FORGERIES];
	size_t row_count, forged_count;
	uint8_t keys[MAKER_KEYS][SPKI_SIZE];
};

void epoch_samples_make(struct epoch_samples *out);
void epoch_samples_free(struct epoch_samples *samples);
/* The first `count` objects as a history, and one more unless it is empty. */
void epoch_samples_history(const struct epoch_samples *samples, size_t count, struct span more, struct bytes *out);

#endif
