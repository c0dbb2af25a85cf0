/*
 * Bodies of the requests and replies between host and secure processor (docs/PROTOCOL.ipq has the numbers and the
 * (era, epoch) head that stands before a body whose row says EPOCH). Every body is one CBOR structure of this page.
 */
#ifndef TROTH_ROOT_AP_MESSAGE_H
#define TROTH_ROOT_AP_MESSAGE_H

#include "object/backup.h"
#include "object/epoch.h"
#include "object/head.h"
#include "object/reference.h"
#include "object/receipt.h"
#include "object/record.h"
#include "object/report.h"
#include "object/revocation.h"
#include "object/seal.h"

/* What the secure processor is ready for. */
enum ap_state {
	AP_EMPTY = 1,	  /* no root; phases 0 and 1 are being measured */
	AP_MEASURED = 2,  /* no root; phases complete: GENERATE_ROT may come */
	AP_STARTING = 3,  /* a root; phases are being measured */
	AP_READY = 4,	  /* a root, and the measured values are those it was made with */
	AP_FAILED = 5,	  /* a wrong measurement, or a fault: nothing is endorsed any more */
};
const char *ap_state_name(enum ap_state state);

/* One thing that the confined secure processor tried and must have been refused. */
struct ap_denial {
	const char *name;
	bool refused;
};

struct ap_health {
	uint8_t state;
	const char *failure; /* AP_FAILED: phase and cause; else "" */
	uint64_t boot_gen;
	uint8_t rot_id[OID_SIZE]; /* zero without a root */
	uint32_t era;
	uint64_t epoch;
	struct span epoch_record; /* empty without a root */
	const char *trust_domain; /* "" without a root */
	const char *secret_memory;
	bool instrumented;
	uint64_t live_launches;
	struct ap_denial *denials;
	size_t denial_count;
	struct span inception;	/* empty without a root */
	bool draining;		/* the keys of the epoch before are still held */
	bool rotating;		/* a rotation is under way */
	struct span candidate;	/* payload of a candidate that waits for signatures; else empty */
	uint64_t high_water;	/* latest time seen */
	uint16_t refusal;	/* AP_FAILED: ROLLBACK, TAMPERED, TPM_UNAVAILABLE; else 0 */
	bool has_tpm;
	uint64_t counter;	/* of the TPM */
};
extern const struct schema ap_health_schema;

struct ap_generate {
	uint8_t challenge[32];
	uint8_t host_seed[32];
	uint8_t host_share[32]; /* 2-of-2 with the wrap key over the next keys */
	struct epoch_recovery recovery;
	bool has_recovery;
	uint64_t valid_ms;
	uint32_t grace_s;
	const char *trust_domain;
};
extern const struct schema ap_generate_schema;

struct ap_rot_available {
	struct span epoch_record;
	struct span challenge; /* rot challenge object under the new key */
};
extern const struct schema ap_rot_available_schema;

/*
 * ROTATE_ROT. The head names the epoch to leave. The same request again (same id, once the rotation is done) is answered
 * with the same record and changes nothing; any other request for an epoch that is not current is EPOCH_OLD.
 */
enum { ROTATE_ID_SIZE = 16 };
struct ap_rotate {
	uint8_t request_id[ROTATE_ID_SIZE];
	uint8_t challenge[32];
	uint8_t host_seed[32];	/* for the keys after the next ones */
	uint8_t host_share[32]; /* opens the wrapped next seed, and wraps the one after it */
	uint8_t reason;		/* enum epoch_reason: EPOCH_SCHEDULED, EPOCH_EVENT, EPOCH_OPERATOR */
	bool emergency;		/* drains the old epoch at once, whatever its grace */
	uint64_t valid_ms;	/* 0: as long as the current record */
	uint32_t grace_s;	/* of the new record */
};
extern const struct schema ap_rotate_schema;
/* ROT_ROTATED is an ap_rot_available: the new record, and a rot challenge object under the new key. */

/*
 * SET_RECOVERY and RECOVER make a candidate: the payload of the record that the offline recovery keys are asked to sign.
 * It rests in the state until it is adopted, replaced by another candidate, or overtaken by a rotation.
 */
struct ap_set_recovery {
	uint8_t host_seed[32], host_share[32];
	struct epoch_recovery recovery; /* the new set */
	bool has_recovery;
	uint64_t valid_ms; /* 0: as long as the current record */
	uint32_t grace_s;
};
extern const struct schema ap_set_recovery_schema;
/* RECOVER: the next era, from record `base` of the root whose inception record is given; also into an empty state. */
struct ap_recover {
	uint8_t host_seed[32], host_share[32];
	struct span inception;
	struct span base; /* E_a: the last record to be kept */
	const char *trust_domain;
	uint64_t valid_ms;
	uint32_t grace_s;
	uint32_t era; /* of the new record: one more than that of the head; 0: one more than the base's and this processor's own */
};
extern const struct schema ap_recover_schema;
/* The reply of both. The host computes what each signer signs from it: cose_strict_sign_tbs(payload, label, kid). */
struct ap_candidate {
	struct span payload; /* encoded `struct epoch` */
};
extern const struct schema ap_candidate_schema;
/* ADOPT_CANDIDATE; the reply is an ap_rot_available. */
struct recovery_signature {
	struct span spki; /* DER SubjectPublicKeyInfo */
	uint8_t signature[SIGNATURE_SIZE];
};
extern const struct schema recovery_signature_schema;
struct ap_adopt_candidate {
	uint8_t challenge[32];
	uint8_t payload_digest[SHA256_SIZE]; /* which candidate: SHA-256 of its payload */
	uint8_t host_share[32];
	struct recovery_signature *signatures;
	size_t signature_count;
};
extern const struct schema ap_adopt_candidate_schema;

/* DRAIN has no body: the keys of the epoch before the named one are zeroised, in memory and at rest. */

/* REISSUE: the certificate and launch report of one live launch under the current epoch; the reply is an ap_endorsed. */
struct ap_reissue {
	uint8_t launch_id[LAUNCH_ID_SIZE];
};
extern const struct schema ap_reissue_schema;

struct ap_attest {
	uint8_t challenge[32];
	const char *purpose;
};
extern const struct schema ap_attest_schema;

/* Registers 0 and 1. `content` is the event; its SHA-384 is what is extended. `complete` ends the phase for good. */
struct ap_extend {
	uint8_t index;
	struct span content;
	bool complete;
};
extern const struct schema ap_extend_schema;
struct ap_extended {
	uint8_t value[SHA384_SIZE];
};
extern const struct schema ap_extended_schema;

/* Content of the event of phase 0. */
struct ap_measured_program {
	const char *name; /* "troth-ap" */
	uint8_t digest[SHA384_SIZE];
};
extern const struct schema ap_measured_program_schema;

/* Content of the event of phase 1. */
struct ap_measured_host {
	uint8_t host[SHA384_SIZE], ire[SHA384_SIZE]; /* trothd, troth-ire */
	const char *build_mode;
	struct digest32 *lists; /* of each seccomp profile */
	size_t list_count;
	const char *trust_domain;
	bool without_namespaces; /* tier L: secure processor and enclaves are in none */
};
extern const struct schema ap_measured_host_schema;

struct ap_read_measurements {
	uint64_t from; /* first event wanted */
};
extern const struct schema ap_read_measurements_schema;
struct ap_measurements {
	struct register_value *registers;
	size_t register_count;
	uint64_t total; /* events in the log */
	struct bytes_item *events; /* as many as fit, each one TCG CEL record in CBOR */
	size_t event_count;
};
extern const struct schema ap_measurements_schema;

/* EXTEND_LAUNCH: the body is the launch (object/report.h). */
struct ap_launch_extended {
	uint8_t nonce[32]; /* n_ap */
	uint8_t epoch_oid[OID_SIZE];
};
extern const struct schema ap_launch_extended_schema;

struct ap_endorse_begin {
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t sign_pk[POINT_SIZE], kem_pk[POINT_SIZE];
	uint8_t signature[SIGNATURE_SIZE]; /* ES256("troth endorse1" ‖ launch_id ‖ n_ap ‖ H(sign_pk) ‖ H(kem_pk)) */
};
extern const struct schema ap_endorse_begin_schema;
struct ap_endorse_challenge {
	struct span box; /* BOX(kem_pk, "pop", launch_id, c32) */
};
extern const struct schema ap_endorse_challenge_schema;
struct ap_endorse_finish {
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t proof[SHA256_SIZE]; /* H("troth pop1" ‖ c ‖ H(sign_pk) ‖ H(kem_pk)) */
};
extern const struct schema ap_endorse_finish_schema;
struct ap_endorsed {
	struct span certificate; /* DER */
	struct span report;	 /* launch report */
};
extern const struct schema ap_endorsed_schema;

struct ap_end_launch {
	uint8_t launch_id[LAUNCH_ID_SIZE];
};
extern const struct schema ap_end_launch_schema;

/* SIGN: `kind` says what `body` is; the secure processor parses it and fills in what only it may say. */
struct ap_sign {
	uint8_t kind; /* enum object_kind: KIND_RECEIPT_HEAD, KIND_REPORT, KIND_REVOCATION_HEAD, KIND_TRANSPORT_KEY (object/transport.h) */
	struct span body;
};
extern const struct schema ap_sign_schema;
struct ap_sign_head { /* KIND_RECEIPT_HEAD */
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t rand[32];
	uint8_t nonce[32];
	bool has_nonce;
	uint8_t job_digest[SHA256_SIZE];
	const char *recorder;
	struct digest32 *roots;
	size_t root_count;
	struct receipt_section_row *sections;
	size_t section_count;
};
extern const struct schema ap_sign_head_schema;
struct ap_sign_report { /* KIND_REPORT: channel evidence of one launch, or a host report without one */
	uint8_t launch_id[LAUNCH_ID_SIZE];
	bool has_launch_id;
	struct span challenge; /* the binder or the verifier's nonce */
};
extern const struct schema ap_sign_report_schema;
/*
 * KIND_REVOCATION_HEAD. Within one boot no operator's version ever goes back, and one version is never of two lists
 * (REVOCATION_OLD, REVOCATION_CONFLICT); rot_id, epoch, boot_gen, seq, time and steady are the secure processor's own.
 */
struct ap_sign_revocation {
	uint32_t lease_ms;
	struct revocation_head_row *lists;
	size_t list_count;
};
extern const struct schema ap_sign_revocation_schema;
struct ap_signed {
	struct span object;
};
extern const struct schema ap_signed_schema;

struct ap_seal {
	struct span policy; /* encoding of a seal_policy */
	struct span box;    /* BOX(E.kem_pk, "seal-in", policy, secret) */
};
extern const struct schema ap_seal_schema;

struct ap_unseal {
	struct span sealed;    /* object */
	struct span request;   /* object, signed by the IRE */
	struct span reference; /* for one sealed by reference: the signed reference set; else empty */
};
extern const struct schema ap_unseal_schema;
struct ap_unsealed {
	struct span grant; /* object */
	struct span box;   /* BOX(kem_pk, "unseal", launch_id ‖ seal oid ‖ nonce, secret) */
};
extern const struct schema ap_unsealed_schema;

enum ap_derive_mode { DERIVE_LOCAL = 1, DERIVE_PEER = 2 };
struct ap_derive {
	uint8_t mode;
	const char *purpose;
	struct text_item *context; /* DERIVE_LOCAL: lv-typed context */
	size_t context_count;
	/* DERIVE_PEER: this host is initiator or responder; the output goes to a launch, boxed. */
	bool initiator;
	uint8_t challenge_own[32], challenge_peer[32];
	uint8_t ephemeral_peer[POINT_SIZE];
	const char *id_own, *id_peer;
	uint8_t launch_id[LAUNCH_ID_SIZE];
};
extern const struct schema ap_derive_schema;
struct ap_derived {
	struct span key;    /* DERIVE_LOCAL: 32 bytes, for the host itself; else empty */
	struct span answer; /* DERIVE_PEER: derive answer object */
	struct span box;    /* DERIVE_PEER: BOX(kem_pk, "derive", launch_id ‖ oid(answer), key) */
};
extern const struct schema ap_derived_schema;

/*
 * AUTHORISE: takes in a signed reference set (root/upgrades.h): what it lists of Troth's own programs may run from then on. With
 * `sealed`, a secret sealed to a measurement is sealed anew to the newest one that the set lists for the same enclave. After a
 * phase that did not match, a set that allows what was measured ends the failure. `enrol` takes in its author too; not then.
 */
struct ap_authorise {
	struct span set;
	bool enrol;
	struct span sealed; /* object; empty: none */
};
extern const struct schema ap_authorise_schema;
struct ap_authorised {
	struct span sealed; /* the new object; empty without one */
};
extern const struct schema ap_authorised_schema;

/* BACKUP: the storage keys for the holders of the recovery set, all of whose public keys are given (object/backup.h). */
struct ap_backup {
	struct bytes_item *keys; /* DER SubjectPublicKeyInfo */
	size_t key_count;
};
extern const struct schema ap_backup_schema;
struct ap_backed_up {
	struct span object;
};
extern const struct schema ap_backed_up_schema;

/* RESTORE: after a recovery, the storage keys of a backup, from the shares that its holders made for this epoch's record. */
struct ap_restored_share {
	uint8_t number;
	uint8_t box[BACKUP_SHARE_BOX];
};
struct ap_restore {
	struct span backup; /* object */
	struct ap_restored_share *shares;
	size_t share_count;
};
extern const struct schema ap_restore_schema;

/* QUOTE: platform evidence under the current epoch (object/evidence.h). */
struct ap_quote {
	struct span nonce; /* 0..64 bytes */
};
extern const struct schema ap_quote_schema;
struct ap_quoted {
	struct span evidence; /* envelope */
};
extern const struct schema ap_quoted_schema;
/* ENROL: who the TPM is; with a credential, what was in it. */
struct ap_enrol {
	struct span credential; /* TPM2B_ID_OBJECT, or empty */
	struct span encrypted;	/* TPM2B_ENCRYPTED_SECRET, or empty */
};
extern const struct schema ap_enrol_schema;
struct ap_enrolled {
	struct span ek_certificate; /* DER, or empty */
	struct span ek_public, ak_public;
	struct span answer;
};
extern const struct schema ap_enrolled_schema;

/*
 * PIN: the host's pin store as it lies on its disk; what follows on the TPM's mirror of it is mirrored. seq 0 only asks.
 * PIN_STALE when it does not follow, TAMPERED when the mirror is gone.
 */
struct ap_pin {
	uint64_t seq;
	uint32_t era;
	uint64_t epoch;
	uint8_t digest[SHA256_SIZE];
};
extern const struct schema ap_pin_schema;
struct ap_pinned {
	bool mirrored; /* false: this root was made without a mirror */
	uint64_t seq;
};
extern const struct schema ap_pinned_schema;

/*
 * HEAD: an index of the TPM that is only extended holds the head of the host's history (docs/PROTOCOL.dac "Head proof"). Made when
 * `index` is 0; extended with the digest, if there is one; certified over the nonce, if there is one. TAMPERED: it is gone.
 */
struct ap_head {
	uint32_t index;
	uint8_t digest[SHA256_SIZE];
	bool has_digest;
	struct span nonce; /* empty: no statement */
};
extern const struct schema ap_head_schema;
struct ap_headed {
	uint32_t index;
	uint8_t head[SHA256_SIZE]; /* as it is now */
	struct head_birth birth; /* of one that was made now */
	bool has_birth;
	struct span statement; /* KIND_HEAD_PROOF; empty without a nonce */
};
extern const struct schema ap_headed_schema;

/* A reply without content. */
struct ap_done {
	bool done;
};
extern const struct schema ap_done_schema;

#endif
