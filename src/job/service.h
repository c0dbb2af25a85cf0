/*
 * The protocol on the socket of `trothd host`: messages of base/sock, each {type, body} in CBOR, the body one structure of
 * this page; a request may bring descriptors (docs/PROTOCOL.host). A client sends one request at a time and gets, after any
 * number of PROGRESS and LOG messages, exactly one reply: the request's own kind or ERROR. Only the uid that runs the host
 * may connect. Hanging up ends whatever the client asked for.
 *
 * Decoded structures borrow from the message; free it when done.
 */
#ifndef TROTH_JOB_SERVICE_H
#define TROTH_JOB_SERVICE_H

#include "base/sock.h"
#include "job/flow.h"
#include "job/join.h"
#include "job/peers.h"
#include "job/policies.h"
#include "job/revocations.h"
#include "job/standing.h"
#include "root/ap_message.h"
#include "root/history.h"

enum service_type {
	/* requests */
	SERVICE_STATUS = 1,
	SERVICE_INIT = 2,
	SERVICE_ATTEST = 3,
	SERVICE_SEAL = 4,
	SERVICE_RUN = 5, /* + a descriptor for each input that names one */
	SERVICE_EVENTS = 6,
	SERVICE_SHUTDOWN = 7,
	SERVICE_BYE = 8, /* the client leaves; the reply says whether the host stays */
	SERVICE_ROTATE = 9,
	SERVICE_ROOT = 10, /* what is known of the root */
	SERVICE_HISTORY = 11, /* + a descriptor, to which an epoch_history is written */
	SERVICE_SET_RECOVERY = 12,
	SERVICE_RECOVER = 13, /* + a descriptor of an epoch_history, when one is to be taken over */
	SERVICE_ADOPT = 14,
	SERVICE_TAKE = 15, /* + a descriptor of an epoch_history: HALTs, records from elsewhere */
	SERVICE_AUTHORISE = 24, /* body and reply as the secure processor's (root/ap_message.h), as of the next two */
	SERVICE_BACKUP = 25,
	SERVICE_RESTORE = 26,
	SERVICE_TPM = 27, /* body and reply as ENROL of the secure processor */
	SERVICE_QUOTE = 28, /* the same of QUOTE */
	SERVICE_POLICY_PUSH = 88, /* + a descriptor of a signed policy version */
	SERVICE_PEERS = 64, /* other hosts that are enrolled */
	SERVICE_ENROL = 65,
	SERVICE_REMOVE_PEER = 66,
	SERVICE_JOIN = 67, /* + descriptors as RUN; RAN comes when a run that another host coordinates is over */
	SERVICE_OFFICERS = 68,
	SERVICE_DAC_GET = 80, /* + a descriptor, to which the bundle is written (job/dac_query.h) */
	SERVICE_REVOKE = 84, /* + a descriptor of a signed revocation list */
	SERVICE_REVOCATIONS = 85,
	SERVICE_REVOCATION_KEY = 86,
	SERVICE_IRE_RUN = 72,
	SERVICE_IRE_LIST = 73,
	SERVICE_CHANNEL_TEST = 75,
	SERVICE_IRE_STOP = 74,
	/* replies */
	SERVICE_ERROR = 32,
	SERVICE_DONE = 33,
	SERVICE_STATUS_IS = 34,
	SERVICE_ATTESTED = 35,
	SERVICE_SEALED = 36,
	SERVICE_RAN = 37,
	SERVICE_EVENTS_ARE = 38,
	SERVICE_FAREWELL = 39,
	SERVICE_ROOT_IS = 40, /* also of ROTATE and ADOPT */
	SERVICE_CANDIDATE = 41,
	SERVICE_TAKEN = 42,
	SERVICE_AUTHORISED = 56,
	SERVICE_BACKED_UP = 57,
	SERVICE_TPM_IS = 58,
	SERVICE_QUOTED = 59,
	SERVICE_POLICY_PUSHED = 152,
	SERVICE_PEERS_ARE = 128,
	SERVICE_ENROLLED = 129,
	SERVICE_OFFICERS_ARE = 132,
	SERVICE_DAC_GOT = 144,
	SERVICE_REVOKED = 148,
	SERVICE_REVOCATIONS_ARE = 149,
	SERVICE_IRE_UP = 136,
	SERVICE_IRES_ARE = 137,
	SERVICE_CHANNEL_TESTED = 139,
	SERVICE_IRE_STOPPED = 138,
	/* on the way to a reply */
	SERVICE_PROGRESS = 48,
	SERVICE_LOG = 49,
};

enum { SERVICE_MESSAGE_MAX = 1 << 20, SERVICE_MAX_FILES = 1024 };

struct service_error {
	uint32_t reason;
	const char *text;
	const char *stage; /* STAGE_FAILED: its name; else "" */
	uint32_t cause; /* STAGE_FAILED: what was wrong there */
	struct span log; /* and the end of its stderr */
};

struct service_status {
	uint32_t pid;
	bool private_host;
	uint64_t clients;
	const char *state_dir;
	const char *program_dir;
	uint8_t ap_digest[SHA384_SIZE];
	struct ap_health health;
	const char *queue; /* "local" or "sealed" */
};

struct service_init {
	struct epoch_recovery recovery;
	bool has_recovery;
	uint64_t valid_ms;
	const char *trust_domain;
	uint32_t grace_s; /* how long evidence of an epoch counts after the next one began */
};

struct service_rotate {
	bool emergency;
	const char *text; /* kept in the history */
};

/* Why the root was changed. */
struct service_note {
	uint64_t time;
	uint32_t era; /* of what was left */
	uint64_t epoch;
	uint8_t reason; /* enum epoch_reason */
	bool emergency;
	const char *text;
};

struct service_root {
	struct span inception, head; /* epoch records */
	uint64_t records; /* on the chain */
	uint32_t refusal; /* reason why nothing is endorsed; 0 */
	const char *refusal_text;
	bool draining;
	uint64_t drain_in_ms;
	bool has_next;
	uint64_t next_in_ms; /* until the next rotation that is known */
	uint64_t period_ms;
	uint64_t rotations, failures; /* since the host started */
	const char *last_failure;
	struct span candidate; /* payload that waits for signatures; empty */
	struct service_note *notes; /* newest first */
	size_t note_count;
};

struct service_set_recovery {
	struct epoch_recovery recovery;
	bool has_recovery;
};

struct service_recover {
	bool from_head;
	uint32_t era; /* of the last record to be kept, unless from_head */
	uint64_t epoch;
	bool has_history; /* a descriptor came */
	const char *trust_domain;
	uint64_t valid_ms;
};

struct service_candidate {
	struct span payload;
	struct span base; /* the record that it stands on */
};

struct service_adopt {
	struct span payload;
	struct recovery_signature *signatures;
	size_t signature_count;
};

struct service_taken {
	bool changed;
	uint32_t refusal;
	const char *refusal_text;
};

struct service_revoke {
	bool dry_run;
};
/* REVOKED is a revocation_outcome, REVOCATIONS_ARE a revocation_status (job/revocations.h). */

/* The reply is DONE. */
struct service_revocation_key {
	bool take_out;
	uint8_t id[KEY_ID_SIZE]; /* take_out: of the key; else zero */
	struct span point;	 /* else empty */
	const char *label;
};

struct service_attest {
	uint8_t challenge[32];
};

struct service_attested {
	struct span epoch_record;
	struct span challenge; /* rot challenge object */
};

struct service_seal {
	struct span policy; /* encoding of a seal_policy */
	struct span box;
};

struct service_sealed {
	struct span object;
};

struct service_events {
	uint64_t from;
};

struct service_progress {
	const char *stage;
	const char *state; /* "" when only the amounts have changed */
	uint64_t bytes_in, bytes_out;
};

struct service_log {
	const char *stage;
	struct span text;
};

struct service_farewell {
	bool stays;
};

/* Enrolled hosts, and how this one is reached. */
struct service_peers {
	const char *listen; /* HOST:PORT; "": by nobody */
	struct peer *peers; /* sorted by name */
	size_t peer_count;
	struct standing_row *links; /* to them; none where standing links are switched off */
	size_t link_count;
};

struct service_enrol {
	const char *name;
	struct text_item *addresses;
	size_t address_count;
	struct span history; /* inception record or epoch_history */
	struct span approval; /* of the officers, or empty */
};

struct service_name {
	const char *name;
};

struct service_officers {
	struct epoch_recovery officers; /* request: to be pinned; null only asks */
	bool has_officers;
	uint8_t rot_id[OID_SIZE]; /* reply: of this host */
};

/* The complete chain of a record, or of the newest result, from an enclave that lives here. */
struct service_dac_get {
	const char *target; /* "NAME" or "NAME@RUN" */
	uint8_t record[OID_SIZE];
	bool has_record;
	struct span nonce; /* with a proof of the host's history over this; empty: without */
};

struct service_dac_got {
	uint64_t bytes;
};

struct service_empty {
	bool nothing;
};

/* troth ire run: inputs by path, none by descriptor. */
struct service_ire_run {
	const char *name; /* by which it is stopped; "": the job's */
	struct flow_request run;
};

struct service_ire_up {
	const char *name;
	uint8_t run_id[RUN_ID_SIZE];
};

struct service_ire {
	const char *name; /* of the enclave */
	const char *job;
	uint8_t run_id[RUN_ID_SIZE];
	bool stays;
	uint64_t since;
	const char *group; /* of one that stays: the name by which its job is stopped; else "" */
};
struct service_ires {
	struct service_ire *rows;
	size_t count;
};

/* Both ends of the channels between two enclaves that live here; names as of DAC_GET. */
struct service_channel_test {
	const char *one, *other;
};
struct service_channel_tested {
	struct channel_state *one, *other;
	size_t one_count, other_count;
};
extern const struct schema service_channel_test_schema, service_channel_tested_schema;

struct service_ire_stop {
	const char *name; /* of the job that stays, or of one of its enclaves */
	bool all;
};
struct service_ire_stopped {
	uint64_t count; /* jobs */
};

extern const struct schema service_ire_run_schema, service_ire_up_schema, service_ires_schema, service_ire_stop_schema, service_ire_stopped_schema;

extern const struct schema service_error_schema, service_status_schema, service_init_schema, service_attest_schema, service_attested_schema,
	service_seal_schema, service_sealed_schema, service_run_schema, service_ran_schema, service_events_schema, service_progress_schema,
	service_log_schema, service_farewell_schema, service_empty_schema, service_rotate_schema, service_root_schema,
	service_set_recovery_schema, service_recover_schema, service_candidate_schema, service_adopt_schema, service_taken_schema,
	service_peers_schema, service_enrol_schema, service_name_schema, service_join_schema, service_officers_schema,
	service_revoke_schema, revocation_outcome_schema, revocation_status_schema, service_revocation_key_schema;

extern const struct schema service_dac_get_schema, service_dac_got_schema;

/* Of the body of a type; NULL for an unknown one. */
const struct schema *service_schema(enum service_type type);
const char *service_type_name(enum service_type type);

/* `body` is a structure of the type's schema; NULL for one without content. */
NODISCARD result service_send(int fd, enum service_type type, const void *body, const int *fds, size_t fd_count, int timeout_ms);

struct service_message {
	struct sock_message raw;
	enum service_type type;
	struct span body;
};
#define SERVICE_MESSAGE_EMPTY ((struct service_message){.raw = {.fd_count = 0}})
void service_message_free(struct service_message *message);

NODISCARD result service_receive(int fd, int timeout_ms, struct service_message *out);
/* The {type, body} of one message, for engines and fuzzing. */
NODISCARD result service_parse(struct span bytes, enum service_type *out_type, struct span *out_body);
NODISCARD result service_decode(const struct service_message *message, struct arena *arena, void *out);

#endif
