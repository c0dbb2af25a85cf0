/*
 * What platform evidence adds to the reports of one run: each piece speaks for one epoch and one start of the secure processor.
 * Used by everyone who asks for the level of a report: verifier of receipts, host, enclaves.
 */
#ifndef TROTH_EVIDENCE_PLATFORM_H
#define TROTH_EVIDENCE_PLATFORM_H

#include "evidence/tpm.h"

enum { PLATFORM_PIECES_MAX = 16 };

struct platform {
	struct tpm_verdict pieces[PLATFORM_PIECES_MAX]; /* that verified */
	size_t count;
	bool synthetic;	  /* some of them */
	enum reason refused; /* of the last piece that did not verify, or does not count; OK: none */
	char text[256];
};

struct platform_expectation {
	const struct platform_trust *trust;
	uint64_t at_ms, max_age_ms;
	const uint64_t *boot_gen; /* NULL: any; reports are matched with their own anyway */
	const struct register_value *registers; /* 0 and 1 must be a row of these pairs; NULL: whatever they are */
	size_t register_pairs;
};

/* Judges one more piece. */
NODISCARD result platform_add(struct platform *platform, struct span piece, const struct platform_expectation *expected);
/* Judges each piece; one that fails adds nothing and is told in `refused`. Failures are the environment's alone. */
NODISCARD result platform_judge(const struct bytes_item *pieces, size_t count, const struct platform_expectation *expected,
	struct platform *out);

/* Level of what this report says: 0 of an instrumented build; 2 when a piece that counts is of its epoch and start
 * and tells of the same measured programs; else 1. */
unsigned platform_level(const struct platform *platform, const struct report *report);
/* The same for anything of this epoch. */
unsigned platform_level_of(const struct platform *platform, const uint8_t epoch_oid[static OID_SIZE]);

#endif
