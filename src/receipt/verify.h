/*
 * The offline verifier: is this receipt what the trust file expects? Needs no network, no daemon and no state; believes
 * nothing that only the receipt brings. Every single check is reported, so that a refusal says what failed and where.
 *
 * The verdict is ACCEPTED only if every check passed. CANNOT_JUDGE: something critical is of a kind that this version does
 * not know, or the root was halted or recovered since and the receipt's order is only its host's word; it never counts as
 * success.
 */
#ifndef TROTH_RECEIPT_VERIFY_H
#define TROTH_RECEIPT_VERIFY_H

#include "enclave/dac.h"
#include "evidence/platform.h"
#include "object/receipt.h"
#include "policy/references.h"
#include "policy/versions.h"
#include "receipt/roots.h"
#include "receipt/trust.h"

/* Longer files are not read at all: a private copy is judged, so that nobody can change it meanwhile. */
enum { RECEIPT_FILE_MAX = 256 << 20 };

enum verify_verdict { VERDICT_ACCEPTED, VERDICT_REFUSED, VERDICT_CANNOT_JUDGE };
const char *verify_verdict_name(enum verify_verdict verdict);
enum exit_code verify_exit_code(enum verify_verdict verdict);

struct verify_check {
	const char *name; /* "head.signature": stable */
	const char *object; /* what it is about: an enclave, an edge, a section; "" for the receipt */
	bool ok;
	enum reason reason;
	const char *text;
};

/* A file whose content the receipt must be about. */
struct verify_file {
	const char *name; /* of the job's output or input */
	int fd; /* a regular file, read from its beginning */
	bool is_input;
};

struct verify_options {
	const struct trust *trust;
	struct span receipt;
	const struct verify_file *files;
	size_t file_count;
	struct span nonce; /* 32 bytes that the receipt must carry; empty: any or none */
	const struct epoch_history *epochs; /* what the verifier knows of roots beside the trust file; NULL: nothing */
	const struct revocation_set *revocations; /* lists that the trust file lets count (verify_revocations); NULL: none */
	uint64_t at_ms; /* for the trust file's `expires` */
	unsigned threads; /* 0: one per processor */
};

struct verify_report {
	enum verify_verdict verdict;
	struct verify_check *checks;
	size_t check_count, check_cap;
	struct arena arena; /* texts, decoded objects */
	/* Facts for people; filled as far as the checks got. */
	struct receipt receipt;
	struct receipt_head head;
	bool has_head, has_job;
	struct job job;
	struct dac *dac; /* NULL before the chain was read */
	struct receipt_roots_read roots; /* the head's first; none before a root was found */
	unsigned level; /* of the weakest enclave */
	bool has_platform; /* the receipt carries platform evidence */
	struct platform platform;
	const char *weakest_isolation;
	bool without_namespaces; /* tier L in some enclave */
	bool interpreter_open; /* in some enclave */
	struct policy_table *policies;
	struct policy_versions *versions; /* NULL: the receipt carries none */
	struct policy_references *references; /* NULL: the receipt carries none */
};

/* The epochs of the head's root; NULL before one was found. */
const struct receipt_epochs *verify_epochs(const struct verify_report *report);

void verify_report_free(struct verify_report *report);

/* OK when a verdict was reached, whatever it is; a failure is the environment's (memory). */
/*
 * Opens signed lists of operators whose keys the trust file names; ended ones count. The set borrows from the bytes.
 * REVOCATION_KEY_UNKNOWN, REVOCATION_CONFLICT for two lists of one operator, and what is wrong with a list.
 */
NODISCARD result verify_revocations(const struct trust *trust, const struct span *lists, size_t count, struct revocation_set *out);

NODISCARD result receipt_verify(const struct verify_options *options, struct verify_report *out);

/* The first check that failed; NULL when none did. */
const struct verify_check *verify_first_failure(const struct verify_report *report);

#endif
