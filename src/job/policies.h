/*
 * Signed policy versions on a host (docs/POLICY.md, "Newer versions"): the newest of each policy, kept in the folder
 * policies/ of the state folder. What is kept is the floor: an older one is refused for ever, and an enclave whose policy names
 * the author is launched with it and gets it while it lives. Safe for several threads.
 */
#ifndef TROTH_JOB_POLICIES_H
#define TROTH_JOB_POLICIES_H

#include "job/live.h"
#include "policy/versions.h"

struct policies;

/* `state_dir` is the state folder; the folder in it is made when the first version is kept. */
NODISCARD result policies_new(const char *state_dir, struct policies **out);
void policies_free(struct policies *policies); /* accepts NULL */

/*
 * The version that follows this compiled policy, as signed; empty when the host has none. One that cannot be read or verified
 * is a failure, not nothing: else damage would bring an older policy back.
 */
NODISCARD result policies_newest(struct policies *policies, struct span compiled, struct bytes *out);

/* What became of a version at one live enclave. */
struct policies_row {
	const char *name, *job;
	uint8_t run_id[RUN_ID_SIZE];
	uint32_t reason; /* OK: in force there */
	const char *text;
	uint64_t version; /* in force there now */
	uint64_t closed; /* channels that it ended */
};

struct policies_pushed {
	uint8_t digest[SHA256_SIZE];
	const char *id;
	uint64_t version;
	struct policies_row *rows; /* live enclaves of this name */
	size_t row_count;
};
extern const struct schema policies_pushed_schema;

/*
 * Verifies and keeps, durably; then asks every live enclave of the policy's subject to take it. An enclave that refuses is a
 * row, no failure. POLICY_OLD: a version as new or newer, and not this one, was seen before.
 */
NODISCARD result policies_push(struct policies *policies, struct live *live, struct span object, struct arena *arena,
	struct policies_pushed *out);

/*
 * For an enclave that has just been listed as live: hands over what was pushed between its launch and now. Does not wait; the
 * enclave takes it before anything that is sent to it later.
 */
NODISCARD result policies_catch_up(struct policies *policies, struct ire *launch, struct span compiled, struct span launched_with);

#endif
