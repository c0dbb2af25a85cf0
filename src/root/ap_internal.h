/*
 * Inside of the secure processor: the state that its parts share, for ap*.c alone. Each part has its handlers in a file of its
 * own (ap_launch.c, ap_seal.c ...); a new request is a handler declared here and a row of `moves` in ap.c.
 */
#ifndef TROTH_ROOT_AP_INTERNAL_H
#define TROTH_ROOT_AP_INTERNAL_H

#include "root/ap.h"
#include "root/ap_platform.h"
#include "root/boot_log.h"
#include "root/rot_keys.h"
#include "root/upgrades.h"

enum { AP_MAX_REVOCATION_LISTS = 4 * REVOCATION_MAX_LISTS };
enum { SCRATCH_MAX = 1 << 20, REPLY_MAX = 64 * 1024 - 64, GRANTS_PER_LAUNCH = 16, CERT_BEFORE_MS = 5 * 60 * 1000 };

struct stored_grant {
	uint8_t seal_oid[OID_SIZE];
	struct bytes reply; /* encoded ap_unsealed: a repeat gets the same bytes */
};

enum launch_state { LAUNCH_EXTENDED = 1, LAUNCH_CHALLENGED, LAUNCH_ENDORSED };

struct launch_row {
	struct launch_row *next;
	enum launch_state state;
	struct arena arena;
	struct launch launch; /* texts live in `arena` */
	uint8_t nonce[32];    /* n_ap */
	uint8_t sign_pk[POINT_SIZE], kem_pk[POINT_SIZE];
	uint8_t challenge[32];
	uint8_t certificate[SHA256_SIZE];
	struct key sign_key;
	struct stored_grant grants[GRANTS_PER_LAUNCH];
	size_t grant_count;
};

struct remembered {
	uint8_t (*ids)[32];
	size_t count, cap;
};

/* One epoch as it is held here. */
struct ap_epoch {
	struct bytes record;
	struct arena arena; /* of what `epoch` points to */
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
	struct rot_keys keys;
};

/* What sealed objects rest under. A recovery puts a new one first; the others open what was sealed before. */
enum { STORAGE_KEYS_MAX = 8, STORAGE_KEY_SIZE = 32 };
struct storage_keys {
	struct storage_key {
		uint32_t version;
		struct secret key;
	} keys[STORAGE_KEYS_MAX];
	size_t count; /* the current one is the first */
};

/* A record that waits for the signatures of recovery keys (ap_recover.c). */
struct kept_candidate {
	struct bytes payload;	      /* empty: there is none */
	struct bytes seeds;	      /* wrapped 2-of-2, label "candidate" */
	struct bytes inception, base; /* of a recovery; else empty */
	char trust_domain[121];
};

struct ap {
	enum ap_state state;
	char failure[256];
	bool measurement_failed; /* AP_FAILED because of a phase, not of a fault */
	bool instrumented;
	bool without_namespaces;
	const char *secret_memory;
	const struct ap_denial *denials;
	size_t denial_count;

	struct secret wrap_key;
	struct token *token; /* holds the signing keys; NULL: they come from seeds */
	struct bytes old_key; /* id of a signing key in the token that is to be destroyed at DRAIN; empty: none */
	uint64_t boot_gen, high_water;
	char trust_domain[121];
	uint8_t rot_id[OID_SIZE];
	struct ap_epoch current;
	struct bytes inception, secrets, next_seed; /* the latter two wrapped */
	struct storage_keys storage;
	struct register_value references[2];
	uint8_t last_request[ROTATE_ID_SIZE]; /* the rotation that made the current epoch */
	bool has_last_request;
	struct kept_candidate candidate;
	struct upgrades upgrades; /* programs and sets allowed next (ap_upgrade.c) */
	struct bytes upgrades_bytes; /* the same, encoded; empty while there is nothing */

	/* Rotation (ap_rotate.c). */
	struct ap_epoch previous;     /* while its grace lasts; else empty */
	bool draining;		      /* the epoch before can still be opened from the other slot */
	uint64_t switched_ms;
	struct ipq_expected left;     /* the epoch before, which requests that harm nothing may still name until DRAIN */
	bool has_left;
	struct ap_rotation *rotation; /* under way, elsewhere */
	struct ap_rotation *prepared; /* made but not written: the next one finishes it, another record is never made */
	const struct ap_epoch *asked; /* by the request under way; NULL: its keys are gone */

	struct ap_platform *platform;	  /* NULL: none */
	bool commit;			  /* what is being written is to be counted then */
	enum reason refusal;		  /* of the TPM's counter: nothing goes on but a recovery */
	uint64_t evidence_seq;
	uint8_t last_evidence[SHA256_SIZE];

	struct boot_log log;
	size_t phase_events; /* the first ones of the log: of the phases */
	bool phase_complete[2];
	uint8_t ap_measurement[SHA384_SIZE];
	uint8_t host_measurement[SHA384_SIZE], ire_measurement[SHA384_SIZE]; /* of phase 1, as its event says */
	bool host_settings_fit; /* trust domain and build mode of that event */
	struct launch_row *launches;
	size_t live;
	struct remembered launch_ids, signed_runs, known_runs;
	uint64_t report_seq, head_seq;
	uint64_t revocation_seq, steady_ms;
	uint64_t statement_seq; /* of where the host's history stands */
	struct revocation_head_row revocations[AP_MAX_REVOCATION_LISTS]; /* the newest of each operator in this boot */
	size_t revocation_count;
	uint8_t last_report[OID_SIZE], last_head[OID_SIZE];

	struct arena scratch;
	struct bytes reply, persist;
	bool waiting; /* for ap_persisted */
	char error[1024];
};

bool ap_remembers(const struct remembered *set, const uint8_t *id, size_t size);
NODISCARD result ap_remember(struct remembered *set, const uint8_t *id, size_t size);

static inline bool ap_has_root(const struct ap *ap)
{
	return ap->current.record.len > 0;
}

/* Parses a record into `out`, without its keys and without looking at signatures. */
NODISCARD result ap_epoch_open(struct span record, struct ap_epoch *out);
void ap_epoch_free(struct ap_epoch *epoch); /* wipes; leaves it empty and usable */

void storage_keys_free(struct storage_keys *keys);
NODISCARD result storage_keys_copy(const struct storage_keys *from, struct storage_keys *out);
/* Puts a fresh key first; the oldest goes when there is no room. */
NODISCARD result storage_keys_add(struct storage_keys *keys, uint32_t version);
/* NULL: not here. */
const struct storage_key *storage_keys_find(const struct storage_keys *keys, uint32_t version);

/* ---- State at rest (ap_state.c) -------------------------------------------------------------------- */

struct stored_candidate {
	struct span payload, seeds, inception, base;
	const char *trust_domain;
};

/* docs/PROTOCOL.root. Borrows everything. */
struct stored {
	uint8_t v;
	uint64_t boot_gen;
	uint64_t high_water; /* latest time seen */
	const char *trust_domain;
	struct span epoch_record; /* the head; empty: no root */
	struct span secrets;	  /* wrapped: seed of the epoch and storage keys */
	uint32_t storage_version;
	struct span next_seed; /* wrapped 2-of-2 with the host's share */
	struct register_value *references; /* registers 0 and 1 that this root expects */
	size_t reference_count;
	struct span inception;
	uint8_t last_request[ROTATE_ID_SIZE];
	bool has_last_request;
	struct stored_candidate candidate;
	bool has_candidate;
	struct span upgrades; /* root/upgrades.h; empty: none */
	bool in_token;	      /* the signing keys lie in a token, named by their seeds */
	struct span old_key;  /* of the former epoch, to be destroyed in the token; empty: none */
	uint8_t mac[SHA256_SIZE]; /* over all the rest, under a key from the wrap key */
};

/* The state as it is now; for a rotation to change and encode elsewhere. */
void ap_stored_of(struct ap *ap, struct stored *out);
/* Sets the MAC and encodes. TOO_LARGE beyond AP_STATE_MAX. */
NODISCARD result ap_stored_encode(struct stored *stored, const struct secret *wrap_key, struct bytes *out);
/* Both at once, into ap->persist. */
NODISCARD result ap_encode_state(struct ap *ap);
/* Once, by ap_new. */
NODISCARD result ap_load_state(struct ap *ap, struct span state);

NODISCARD result ap_wrap_secrets(const struct secret *wrap_key, const struct secret *seed, const struct storage_keys *storage,
	struct bytes *out);

/* ---- Helpers of the handlers ------------------------------------------------------------------------ */

void ap_error_action(struct ap *ap, result reason, const char *text, struct ap_action *out);
void ap_fail_write(struct ap *ap);
/* Encodes the reply. */
NODISCARD result ap_reply_with(struct ap *ap, const struct schema *schema, const void *body);
/* EPOCH_EXPIRED */
NODISCARD result ap_check_validity(const struct ap *ap, uint64_t now_ms);
/* Fills a rot challenge under the current epoch; `purpose` and the registers are borrowed. */
void ap_fill_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct rot_challenge *out);
NODISCARD result ap_sign_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct bytes *out);
NODISCARD result ap_sign_report(struct ap *ap, enum report_purpose purpose, const struct launch_row *row, struct span challenge,
	uint64_t now_ms, struct bytes *out);

void ap_launch_row_free(struct launch_row *row);
struct launch_row *ap_find_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE]);
/* UNKNOWN_LAUNCH; LAUNCH_REUSED when it is at another step. */
NODISCARD result ap_need_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE], enum launch_state state,
	struct launch_row **out);

void ap_end_all_launches(struct ap *ap);
void ap_candidate_forget(struct kept_candidate *candidate);

/* Rotation: what the dispatcher and ap_free need. */
void ap_rotation_free(struct ap_rotation *rotation); /* accepts NULL */
void ap_end_grace(struct ap *ap, uint64_t now_ms);   /* zeroises the former epoch's keys when its grace is over */
NODISCARD result ap_check_times(uint64_t valid_ms);

/*
 * One request each: decodes, checks, encodes the reply. Sets ap->waiting when ap->persist must be durable first, or
 * ap->rotation when the rest is done elsewhere.
 */
NODISCARD result ap_handle_health(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_attest(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_shutdown(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_extend(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_read_measurements(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_accept(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_generate(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_rotate(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_drain(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_set_recovery(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_recover(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_adopt_candidate(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_reissue(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_extend_launch(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_endorse_begin(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_endorse_finish(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_end_launch(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_sign(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_seal(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_unseal(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_derive(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_quote(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_enrol(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_pin(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_head(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_authorise(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_backup(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_restore(struct ap *ap, struct span body, uint64_t now_ms);

/* Revocation heads (ap_revocation.c). */
NODISCARD result ap_sign_revocation_head(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out);

/* Upgrades (ap_upgrade.c): what the event of phase 1 says, and whether what was measured is allowed. */
NODISCARD result ap_upgrade_note_host(struct ap *ap, struct span content);
/* Both registers against the references and, where they differ, against the authorised programs. The reason is why not. */
NODISCARD result ap_upgrade_judge_ap(const struct ap *ap);
NODISCARD result ap_upgrade_judge(const struct ap *ap);
/* What was measured becomes what is expected; asks for AP_PERSIST. */
NODISCARD result ap_upgrade_adopt(struct ap *ap);

/* Opens a sealed secret whose policy the caller has checked; seals one under the current storage key (ap_seal.c). */
NODISCARD result ap_sealed_open(struct ap *ap, const struct sealed *sealed, struct secret *out);
NODISCARD result ap_sealed_make(struct ap *ap, const struct seal_policy *policy, const uint8_t box_hash[static SHA256_SIZE],
	const struct secret *secret, struct bytes *out);

#endif
