/*
 * The control protocol between trothd host and one troth-ire (docs/PROTOCOL.control): messages of base/sock on the
 * socket pair that troth-ire inherits, each {type, body} in CBOR, the body one structure of this page, some with
 * descriptors. What may be sent when is the business of the two ends (runtime.c, launch.c).
 *
 * Decoded structures borrow from the message; free it when done.
 */
#ifndef TROTH_ENCLAVE_CONTROL_H
#define TROTH_ENCLAVE_CONTROL_H

#include "base/sock.h"
#include "enclave/limits.h"
#include "object/receipt.h"
#include "object/record.h"
#include "object/report.h"
#include "object/revocation.h"

enum control_type {
	/* host -> troth-ire */
	CONTROL_PREPARE = 1,   /* + the cgroup.procs descriptors of the limits group */
	CONTROL_LAUNCHED = 2,
	CONTROL_CHALLENGE = 3,
	CONTROL_ENDORSED = 4,
	CONTROL_UNSEALED = 5,
	CONTROL_CHANNEL = 6,   /* + the connected socket */
	CONTROL_INPUT = 7,     /* + a descriptor open for reading */
	CONTROL_OUTPUT = 8,    /* + a descriptor open for writing */
	CONTROL_EVIDENCE_REPLY = 9,
	CONTROL_START = 10,
	CONTROL_ABORT = 11,
	CONTROL_REISSUED = 12, /* at any time after PREPARE: the root has moved on */
	CONTROL_FOREIGN = 13,  /* the same of roots of other hosts */
	CONTROL_BUNDLE = 16,   /* at any time after READY: asks for a complete chain */
	CONTROL_POLICY = 15, /* from READY on: a newer signed version of its policy */
	CONTROL_REVOKED = 14,  /* the newest revocation head; + the lists, when they are others than before */
	CONTROL_STOP = 19,     /* while it runs: no new calls are served */
	CONTROL_CHANNEL_ASK = 21, /* at any time after READY: how its channels with one peer are */
	CONTROL_SEAL_ANSWER = 20, /* to SEAL and UNSEAL_VALUE */
	/* troth-ire -> host */
	CONTROL_PREPARED = 32,
	CONTROL_ENDORSE = 33,
	CONTROL_PROOF = 34,
	CONTROL_UNSEAL = 35,
	CONTROL_READY = 36,
	CONTROL_EVIDENCE = 37,
	CONTROL_STARTED = 38,
	CONTROL_PROGRESS = 39,
	CONTROL_LOG = 40,
	CONTROL_FINISHED = 41,
	CONTROL_FAILED = 42,
	CONTROL_POLICY_TAKEN = 45, /* answer to POLICY */
	CONTROL_NOTE = 46, /* for the host's log: what the runtime did on its own, and why */
	CONTROL_BUNDLE_IS = 44,
	CONTROL_SEAL = 47,	   /* for its program: a key to this enclave */
	CONTROL_CHANNEL_IS = 49,
	CONTROL_UNSEAL_VALUE = 48, /* ... and back, in this launch or a later one */
};
const char *control_type_name(enum control_type type);

enum {
	CONTROL_MAX = 64 * 1024 * 1024, /* of one message; a manifest of 100,000 files fits */
	CONTROL_LOG_MAX = 4096,
	CONTROL_TEXT_MAX = 8 * 1024,
	CONTROL_MAX_EDGES = 60, /* inputs or outputs of one IRE: a DERIVE names at most 64 parents */
};

struct control_sealed {
	const char *name;
	struct span object;
};

struct control_prepare {
	uint8_t v;
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t run_id[RUN_ID_SIZE];
	struct span manifest;
	struct text_item *sources; /* one per file of the manifest; "": the same path. Empty list: all the same */
	size_t source_count;
	uint32_t uid;
	uint8_t rot_id[OID_SIZE];
	struct span epoch_record;
	const char *trust_domain;
	struct span policy;
	struct control_sealed *sealed;
	size_t sealed_count;
	uint8_t limits_kind; /* enum limits_kind */
	bool group_memory, group_processes;
	struct bytes_item *history; /* epoch records before epoch_record, inception first; empty when that is the inception */
	size_t history_count;
	struct bytes_item *recovery_keys; /* SPKIs of those that signed any of these records */
	size_t recovery_key_count;
	struct span platform;	    /* platform evidence of the host under that epoch, or empty */
	struct span platform_trust; /* which platforms the operator believes (object/evidence.h), or empty */
	struct bytes_item *references; /* signed reference sets that policies of the job name (policy/references.h) */
	size_t reference_count;
	struct bytes_item *foreign; /* epoch_history of each root of another host that the manifest names; absent: none */
	size_t foreign_count;
	struct span policy_version; /* a newer signed version of its policy (policy/versions.h), if the host has one */
	bool has_policy_version;
	const char *folder; /* tier L: empty, for the copy of the image and the scratch folder */
	bool has_folder;
};
extern const struct schema control_prepare_schema;

struct control_prepared {
	uint8_t measurement[SHA384_SIZE], core[SHA384_SIZE];
	uint8_t sign_pk[POINT_SIZE], kem_pk[POINT_SIZE];
	const char *tier, *isolation, *limits, *secret_memory, *interpreter;
	bool instrumented;
};
extern const struct schema control_prepared_schema;

struct control_launched {
	uint8_t nonce[32]; /* n_ap */
	uint8_t epoch_oid[OID_SIZE];
};
extern const struct schema control_launched_schema;

struct control_endorse {
	uint8_t signature[SIGNATURE_SIZE];
};
extern const struct schema control_endorse_schema;

struct control_challenge {
	struct span box;
};
extern const struct schema control_challenge_schema;

struct control_proof {
	uint8_t proof[SHA256_SIZE];
};
extern const struct schema control_proof_schema;

struct control_endorsed {
	struct span certificate, report;
};
extern const struct schema control_endorsed_schema;

struct control_unseal {
	const char *name;
	struct span request; /* object */
};
extern const struct schema control_unseal_schema;

struct control_unsealed {
	const char *name;
	struct span grant; /* object */
	struct span box;
};
extern const struct schema control_unsealed_schema;

struct control_seal {
	struct span policy, box; /* as in ap_seal */
};
extern const struct schema control_seal_schema;

struct control_channel_ask {
	const char *peer;
};
extern const struct schema control_channel_ask_schema;

/* One channel as this side of it sees it, and what its policy in force says of it now. */
struct channel_state {
	const char *edge, *operation;
	bool connects;	  /* this side opened it */
	bool open;	  /* a handshake was finished, and it carries data */
	uint16_t suite;	  /* of the last handshake; 0: none was finished */
	uint8_t level;	  /* of the peer's evidence */
	uint64_t renewed; /* re-handshakes finished on it */
	uint32_t reason;  /* 0: this side lets the peer in */
	const char *text; /* the rule that decided, in a sentence */
};
extern const struct schema channel_state_schema;

struct control_channel_is {
	struct channel_state *rows;
	size_t count;
};
extern const struct schema control_channel_is_schema;

struct control_unseal_value {
	struct span sealed, request; /* objects */
};
extern const struct schema control_unseal_value_schema;

/* With a reason nothing else: the enclave goes on, its program is told. */
struct control_seal_answer {
	uint32_t reason;
	const char *text;
	struct span object; /* sealed object, or grant */
	struct span box;    /* of a grant */
};
extern const struct schema control_seal_answer_schema;

struct control_channel {
	const char *edge;
	const char *peer;
	const char *operation;
	const char *port; /* initiator: "stdout" or an output; responder: "stdin" or an input */
	bool initiator;
	bool external;
	uint8_t point[POINT_SIZE]; /* external: the pinned key, or that of the authority; else zero */
	const char *uri; /* external: whom the authority vouches for; NULL: the key is the one that signed its certificate */
	struct span above; /* external: lv of each certificate that is shown after the own leaf; empty: the leaf alone is shown */
};
extern const struct schema control_channel_schema;

struct control_input {
	const char *role;
	const char *port;
};
extern const struct schema control_input_schema;

struct control_output {
	const char *name;
	const char *port;
	bool statement;
	const char *media_type;
};
extern const struct schema control_output_schema;

/*
 * The root was rotated. Certificate and report are those of this launch under the new head, for the same keys; both empty
 * while it is not endorsed yet. An emergency ends the launch.
 */
struct control_reissued {
	struct bytes_item *records; /* that follow those told before */
	size_t record_count;
	struct span certificate, report;
	bool emergency;
	struct bytes_item *recovery_keys; /* as in PREPARE */
	size_t recovery_key_count;
	struct span platform; /* as in PREPARE, under the new head */
};
extern const struct schema control_reissued_schema;

/* Other roots have moved on, were halted or have forked: the whole history of each again. What is known counts once. */
struct control_foreign {
	struct bytes_item *histories; /* as in PREPARE */
	size_t history_count;
};
extern const struct schema control_foreign_schema;
struct control_policy {
	struct span version; /* object */
};
extern const struct schema control_policy_schema;

/* What became of it. Once it is taken, channels that it does not allow are closed, each with its reason. */
struct control_policy_taken {
	uint32_t reason; /* OK: it is in force */
	const char *text; /* why not; "" */
	uint8_t digest[SHA256_SIZE]; /* of the policy in force now */
	uint64_t version;
	uint64_t closed; /* channels that it ends */
};
extern const struct schema control_policy_taken_schema;

/*
 * At any time after PREPARE, each second while the host obeys an operator. With `fresh` the lists that the head names came as
 * sealed memory files, in the head's order; otherwise they are those that came last.
 */
struct control_revoked {
	struct span head; /* object */
	bool fresh;
};
extern const struct schema control_revoked_schema;

struct control_evidence {
	uint8_t bind[64];
};
extern const struct schema control_evidence_schema;

struct control_evidence_reply {
	struct span report; /* object; purpose REPORT_CHANNEL */
};
extern const struct schema control_evidence_reply_schema;

struct control_note {
	uint32_t reason;
	const char *text;
};
extern const struct schema control_note_schema;

struct control_progress {
	uint64_t in, out;
};
extern const struct schema control_progress_schema;

struct control_log {
	struct span text;
};
extern const struct schema control_log_schema;

struct control_finished {
	struct bytes_item *records; /* own, in the order of their seq */
	size_t record_count;
	struct bytes_item *statements;
	size_t statement_count;
	struct bytes_item *grants;
	size_t grant_count;
	struct salt_row *salts; /* sorted */
	size_t salt_count;
	uint8_t root[OID_SIZE];
	uint64_t in, out; /* bytes */
	uint64_t cpu_ms, max_rss;
	uint64_t rekeys;   /* re-handshakes that were finished on its channels */
	uint64_t reissues; /* certificates beside the first */
	uint64_t keyupdates; /* that its channels sent */
	struct bytes_item *versions; /* signed versions of its policy that its records name; sorted */
	size_t version_count;
	bool has_versions;
};
extern const struct schema control_finished_schema;

/* FAILED; ABORT uses it too. */
struct control_failed {
	uint32_t reason;
	const char *text;
	const char *cause; /* the peer that failed first; "" when it is the sender itself */
};
extern const struct schema control_failed_schema;

/* The complete chain of a record, or of the newest result. */
struct control_bundle {
	uint8_t record[OID_SIZE];
	bool has_record;
};
extern const struct schema control_bundle_schema;

/* A refusal is an answer: it says nothing about the run. */
struct control_bundle_is {
	uint32_t reason; /* 0: here it is */
	const char *text;
	struct span bundle;
};
extern const struct schema control_bundle_is_schema;

/* START, READY and STARTED have no content. */
struct control_empty {
	bool nothing;
};
extern const struct schema control_empty_schema;

/* `body` is a structure of `schema`. */
NODISCARD result control_send(int fd, enum control_type type, const struct schema *schema, const void *body, const int *fds,
	size_t fd_count, int timeout_ms);

/* A body that is encoded already. */
NODISCARD result control_send_encoded(int fd, enum control_type type, struct span body, int timeout_ms);

struct control_message {
	struct sock_message raw;
	enum control_type type;
	struct span body;
};
#define CONTROL_MESSAGE_EMPTY ((struct control_message){.raw = {.fd_count = 0}})
void control_message_free(struct control_message *message);

NODISCARD result control_receive(int fd, int timeout_ms, struct control_message *out);
/* The {type, body} of one message, for engines and fuzzing. */
NODISCARD result control_parse(struct span bytes, enum control_type *out_type, struct span *out_body);
/* The schema of a type's body; NULL for an unknown one. */
const struct schema *control_schema(enum control_type type);
/* Decodes the body by its type's schema. */
NODISCARD result control_decode(const struct control_message *message, struct arena *arena, void *out);

#endif
