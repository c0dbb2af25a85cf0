/* What the unit tests of src/policy share. */
#ifndef TROTH_TESTS_POLICY_H
#define TROTH_TESTS_POLICY_H

#include "../expect.h"

#include <stdlib.h>

#include "policy/schema.h"
#include "policy/table.h"

#define assert_contains(text, part)                                                                                                        \
	do {                                                                                                                               \
		if (!strstr(text, part))                                                                                                   \
			fail_msg("\"%s\" does not contain \"%s\"", text, part);                                                            \
	} while (0)

/* The policy of the seed, to the letter. */
#define SEED                                                                                                                               \
	"{\"enclave_id\":\"IRE-A\",\"allowed_communicators\":[\"IRE-B\",\"IRE-C\"],\"max_dac_depth\":3,"                                   \
	"\"required_attestation_level\":\"Level-2\"}"

/* A policy of IRE-A in YAML with `rest` as further lines. */
#define POLICY_A(rest) "enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n" rest

struct bytes unhex(const char *hex);
/* The compiled set of a document that must be right. */
struct bytes compile(const char *text);
/* What compiling a document gives; the context is in failure_text(). */
result try_compile(const char *text);
struct policy_table *load(const char *text);

/* A request that POLICY_A("allowed_communicators: [IRE-B]") allows: IRE-A, endorsed by root 0xaa…, sends to IRE-B. */
struct policy_request request_for(const char *own, const char *peer);
extern const uint8_t root_a[POLICY_ROT_ID_SIZE], root_b[POLICY_ROT_ID_SIZE];
enum { NOW = 1000000000 };

int test_names(void);
int test_schema(void);
int test_table(void);
int test_decision(void);
int test_explain(void);
int test_lint(void);
int test_references(void);
int test_render(void);
int test_extended(void);
int test_versions(void);
int test_difference(void);

#endif
