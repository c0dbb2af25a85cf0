/*
 * The trust policy decision: one question, one answer, one function.
 *
 * Whoever wants something allowed - a channel, an operation, a record of another enclave, later an HSM release
 * or a guest's system call - fills a `struct policy_request` and calls policy_decide(). There is no other way
 * to an `allow`. What is not allowed is denied: no table, no policy for the subject, an incomplete request, an
 * identity that nobody endorsed all deny, each with its own reason.
 *
 * The engine does no I/O, reads no clock and allocates nothing. It borrows the request's spans; the decision
 * borrows them too (for explanations) and lives no longer than they do. A table is immutable and may be read
 * by many threads.
 *
 * Names are endorsed identities: the <name> of spiffe://<rot label>.<trust domain>/ire/<name> out of a
 * certificate that was checked, or the local name of a pinned key; never a string that the peer sent about itself.
 * The caller says which of the two it was (`proof`); the zero value means "nobody vouched" and is denied.
 */
#ifndef TROTH_POLICY_DECISION_H
#define TROTH_POLICY_DECISION_H

#include "base/result.h"
#include "base/span.h"
#include "base/writer.h"

struct policy_table;
struct policy_references;

enum { POLICY_DIGEST_SIZE = 32, POLICY_ROT_ID_SIZE = 32, POLICY_CORE_SIZE = 48, POLICY_AUTHOR_SIZE = 32 };
/* How far evidence may be dated after `now` before its age counts as unknown. */
enum { POLICY_SKEW_MS = 60 * 1000 };

/*
 * Numbers below travel in the compiled form (docs/PROTOCOL.policy). 0 always means "not said" and is denied.
 */
enum policy_subject {
	SUBJECT_ENCLAVE = 1,
	SUBJECT_HSM_CALLER = 2,
	SUBJECT_GUEST = 3,
};

enum policy_state {
	STATE_STARTING = 1,
	STATE_RUNNING = 2,
	STATE_SUSPECT = 3,
	STATE_QUARANTINED = 4,
};

enum policy_resource {
	RESOURCE_CHANNEL = 1, /* a handshake: peer and its evidence, no operation yet */
	RESOURCE_RECORD = 2, /* acceptance of a DAC record: everything, with its depth */
	RESOURCE_OPERATION = 3, /* a message of an operation on a channel */
	RESOURCE_EXEC = 4, /* 4..7: guests; no policy of this version covers them */
	RESOURCE_FILE = 5,
	RESOURCE_NET = 6,
	RESOURCE_SYSCALL = 7,
};

/*
 * As seen from the subject. A record or operation is sent or received; a channel is connected or accepted.
 * An answer travels under the permission of its request, in the request's direction.
 */
enum policy_direction {
	DIRECTION_SEND = 1,
	DIRECTION_RECEIVE = 2,
	DIRECTION_CONNECT = 4,
	DIRECTION_ACCEPT = 8,
};

/* The post-quantum suite of channels (docs/PROTOCOL.iecp "Suites"). The numbers are those of the compiled form; it never has 0. */
enum policy_pq { POLICY_PQ_PREFER = 0, POLICY_PQ_OFF = 1, POLICY_PQ_REQUIRE = 2 };

/* What channels of the subject may cost and how long their keys serve (docs/POLICY.md "Channels"). 0: not said. */
struct policy_channels {
	uint64_t sessions;	  /* open at once */
	uint64_t keyupdate_bytes; /* sent under one key */
	uint64_t rekey_s;	  /* from one handshake to the next */
	uint64_t stall_s;	  /* a peer that takes nothing */
};

enum {
	POLICY_SESSIONS_MAX = 120, /* as many edges as an enclave has */
	POLICY_REKEY_MAX_S = 3600,
	POLICY_STALL_MAX_S = 24 * 60 * 60,
	POLICY_KEYUPDATE_MIN = 64 * 1024, /* one record */
};
#define POLICY_KEYUPDATE_MAX ((uint64_t)1 << 36)

/* Tier of confinement, weakest first (enclaves: L and N; the others are reserved for their backends). */
enum policy_confinement {
	CONFINEMENT_NONE = 0,
	CONFINEMENT_L = 1,
	CONFINEMENT_N = 2,
	CONFINEMENT_VM = 3,
	CONFINEMENT_TEE = 4,
};

enum policy_proof {
	PROOF_NONE = 0, /* the name was only claimed: ID_NOT_ENDORSED */
	PROOF_ENDORSED = 1, /* it stands in a certificate that was checked down to a root */
	PROOF_PINNED = 2, /* a local rule names the key; always Level-0 */
};

/* What a peer's evidence rests on beside software; bits of a set. Numbers of the compiled form are the bits' positions + 1. */
enum policy_factor {
	FACTOR_TPM = 1, /* a TPM that the operator believes vouches for the host's boot */
	FACTOR_TEE = 2, /* hardware keeps the host's owner out: SNP, TDX ... */
};
enum { POLICY_FACTORS = 2 }; /* how many there are */

/*
 * How many operations a peer has left: the state of one token bucket, kept by whoever asks, one for each peer, zeroed at
 * first and then only changed by policy_decide. Follows the rule when that changes: what was left stays, up to the new burst.
 */
struct policy_meter {
	uint64_t left; /* in units of 1/per_ms operation */
	uint64_t at_ms; /* steady: when that was so */
	uint64_t per_ms; /* 0: not begun */
};

struct policy_party {
	struct span name; /* short id, [A-Za-z0-9._-]{1,63} */
	enum policy_proof proof;
	struct span rot_id; /* 32 bytes: the root that endorsed it; empty for a pinned key */
	enum policy_confinement confinement;
	bool interpreter_open; /* its report says interpreter=open */
};

struct policy_request {
	enum policy_subject subject_kind;
	enum policy_state state; /* of the subject */
	enum policy_resource resource;
	enum policy_direction direction;
	struct policy_party own; /* the subject: whose policy is asked */
	struct policy_party peer; /* equal to `own` in name and root for a record of one's own */
	unsigned peer_level; /* 0..3: what the peer's evidence was appraised to */
	unsigned peer_factors; /* bits of enum policy_factor: what that evidence rests on */
	struct span peer_core; /* 48 bytes, empty when unknown */
	const struct policy_references *references; /* verified sets for entries that name one (references.h); NULL: none */
	uint64_t evidence_time_ms; /* when the peer's evidence was made; 0: unknown, which no age limit accepts */
	struct span operation; /* for RECORD and OPERATION */
	const struct span *scopes; /* names of the data that move; for RECORD and OPERATION */
	size_t scope_count;
	uint32_t dac_depth; /* level of the consuming record (constructions: dac.md); 0 only where none exists yet */
	uint64_t now_ms;
	/* For OPERATION, when the entry may have a rate: without a meter an entry with one denies. Taken from when all else allows. */
	struct policy_meter *meter;
	uint64_t steady_ms; /* a clock that never goes back, for the meter */
};

/* The rule that decided. `field` and `part` are constant strings of the schema, e.g. "allowed_communicators"
 * and "operations"; `index` is the entry's position in the compiled list. field is "" when no rule did. */
struct policy_rule {
	const char *field;
	const char *part;
	uint32_t index;
};
enum { POLICY_NO_INDEX = UINT32_MAX };

struct policy_decision {
	bool allow;
	enum reason reason; /* OK exactly when allow */
	struct policy_rule rule;
	uint64_t policy_version; /* 0 when there is no policy */
	uint8_t policy_digest[POLICY_DIGEST_SIZE]; /* zeros when there is no policy */
	/* What was asked for and what the rule says, for the sentence; meaning depends on the reason. */
	uint64_t had, needed;
	bool about_own; /* the subject itself falls short, not the peer */
	enum policy_resource resource;
	enum policy_direction direction;
	struct span subject, peer, item; /* borrowed from the request; item: the operation, the scope refused, or (of the table) the reference set */
};

/*
 * Decides. Always fills *decision completely and returns its reason. `table` may be NULL (NO_POLICY). The first
 * check that fails, in the order of docs/PROTOCOL.policy, gives the reason.
 */
NODISCARD result policy_decide(const struct policy_table *table, const struct policy_request *request, struct policy_decision *decision);

/* policy_decide, and on a denial its explanation as the context of the failure: for TRY(policy_require(...)). */
NODISCARD result policy_require(const struct policy_table *table, const struct policy_request *request, struct policy_decision *decision);

/*
 * The decision as sentences for a person: who may (not) do what, by which rule of which policy version and
 * digest, and what to do about it. No newline. policy_explain_text cuts at the buffer's end.
 */
void policy_explain(const struct policy_decision *decision, struct writer *out);
void policy_explain_text(const struct policy_decision *decision, char *out, size_t cap);

/* Words of the schema, for messages and JSON; "unknown" for a number without a word. */
const char *policy_subject_name(enum policy_subject subject);
const char *policy_confinement_name(enum policy_confinement confinement);
const char *policy_resource_name(enum policy_resource resource);
const char *policy_direction_name(enum policy_direction direction);
const char *policy_factor_name(enum policy_factor factor);

/* Factors of evidence that was appraised to this level: Level-2 is a TPM's, Level-3 a TEE's (docs/EVIDENCE.md). */
unsigned policy_factors_of_level(unsigned level);

#endif
