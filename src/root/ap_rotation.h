/*
 * Inside of a rotation, for ap_rotate.c and ap_recover.c alone: the work that is done beside the engine, on copies. Who runs
 * it and when the engine changes epoch: ap.h.
 */
#ifndef TROTH_ROOT_AP_ROTATION_H
#define TROTH_ROOT_AP_ROTATION_H

#include "object/evidence.h"
#include "root/ap_internal.h"

enum rotation_kind {
	ROTATION_SCHEDULED = 1, /* ROTATE_ROT */
	ROTATION_ADOPT,		/* ADOPT_CANDIDATE: set-recovery or recovery */
	ROTATION_DRAIN,		/* the same state once more, over the slot that still has the former epoch */
	ERRAND_QUOTE,		/* no rotation: work of the TPM, which takes its time (ap_platform.c) */
	ERRAND_ENROL,
	ERRAND_PIN,
	ERRAND_HEAD,
};

struct ap_rotation {
	enum rotation_kind kind;
	bool at_once;	  /* the former epoch goes from both slots before the reply */
	bool prepared;	  /* the record is made: it is never made anew */
	bool writing;	  /* the write was begun: what failed since may be on disk */
	unsigned written; /* times */
	bool uncounted;	  /* written, but the TPM did not count: the next start does */

	/* Of the request. */
	uint8_t request_id[ROTATE_ID_SIZE];
	uint8_t reason;
	uint64_t now_ms, valid_ms;
	uint32_t grace_s;
	struct secret host_share, host_seed;
	struct arena arena; /* of the signatures */
	struct recovery_signature *signatures;
	size_t signature_count;

	/* Of the engine: copies, and views (`from`, `stored`) of what nothing changes while this is under way. */
	struct secret wrap_key;
	struct token *token; /* holds the signing keys; or NULL */
	struct ap_platform *platform; /* or NULL */
	const struct ap_epoch *from;
	struct key from_sign;
	struct storage_keys storage;
	struct stored stored;
	struct register_value registers[REGISTER_COUNT];
	uint8_t rot_id[OID_SIZE], measurement[SHA384_SIZE];
	struct rot_challenge answer;

	/* Of an errand. */
	struct evidence envelope;
	struct tpm_evidence evidence;
	struct span credential, encrypted;
	uint8_t evidence_digest[SHA256_SIZE];
	struct pin_mirror pins;
	struct ap_head head;
	struct ap_headed headed;
	struct head_statement statement;

	/* Made here. */
	struct ap_epoch next;
	struct bytes secrets, next_seed;
	struct bytes state, reply;
	result done;
	char text[1024];
};

/*
 * Begins one; it becomes ap->rotation. `*out` is to be filled by the caller, or NULL when an earlier record was made but not
 * written: that one is finished then, whatever was asked for.
 */
NODISCARD result ap_begin_rotation(struct ap *ap, enum rotation_kind kind, struct span host_share, struct span host_seed,
	const uint8_t *challenge, uint64_t now_ms, struct ap_rotation **out);

/* The seed that `before` committed to, and its keys. BAD_TAG with another share, DIGEST_MISMATCH, reasons of the token. */
NODISCARD result ap_open_next_seed(const struct secret *wrap_key, const struct secret *host_share, struct span wrapped, struct token *token,
	const struct epoch *before, struct secret *out_seed, struct rot_keys *out_keys);
/* Takes record and keys (moved) as the next epoch and wraps the seeds. */
NODISCARD result ap_rotation_keep(struct ap_rotation *rotation, struct span record, const struct secret *seed,
	const struct secret *next_seed, struct rot_keys *keys);
/* ROTATION_ADOPT: checks the quorum, signs, keeps. */
NODISCARD result ap_prepare_adoption(struct ap_rotation *rotation);

/* Errands: made, run on any thread, ended by the engine. */
NODISCARD result ap_errand_new(struct ap *ap, enum rotation_kind kind, struct ap_rotation **out);
NODISCARD result ap_errand_run(struct ap_rotation *rotation);
void ap_errand_done(struct ap *ap, struct ap_rotation *rotation, struct ap_action *out);

/* ---- Records, also of candidates ------------------------------------------------------------------- */

/* Number, place and what is inherited of a record behind `before`; not its keys, times, measurement and reason. */
NODISCARD result ap_epoch_after(const struct ap_epoch *before, const uint8_t rot_id[static OID_SIZE], struct epoch *out);
/* Full seconds from five minutes before; valid_ms 0: as long as `before`. */
void ap_epoch_times(struct epoch *epoch, uint64_t now_ms, uint64_t valid_ms, const struct epoch *before);
void ap_epoch_keys(struct epoch *epoch, const struct rot_keys *keys); /* not `next` */

NODISCARD result ap_check_recovery(const struct epoch_recovery *recovery, bool has_recovery);
NODISCARD result ap_check_trust_domain(const char *trust_domain);
NODISCARD result ap_seed_wrap(const struct secret *wrap_key, struct span share, const char *label, struct span seeds,
	struct bytes *out);

#endif
