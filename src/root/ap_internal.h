/*
 * Inside of the secure processor: the state that its parts share, for ap*.c alone. Each part has its handlers in a file of its
 * own (ap_launch.c, ap_seal.c ...); a new request is a handler declared here and a row of `moves` in ap.c.
 */
#ifndef TROTH_ROOT_AP_INTERNAL_H
#define TROTH_ROOT_AP_INTERNAL_H

#include "root/ap.h"
#include "root/boot_log.h"
#include "root/rot_keys.h"

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

struct ap {
	enum ap_state state;
	char failure[256];
	bool measurement_failed; /* AP_FAILED because of a phase, not of a fault */
	bool instrumented;
	const char *secret_memory;
	const struct ap_denial *denials;
	size_t denial_count;

	struct secret wrap_key;
	uint64_t boot_gen, high_water;
	char trust_domain[121];
	struct bytes epoch_record, secrets, next_seed;
	uint32_t storage_version;
	struct register_value references[2];
	struct epoch epoch;
	struct arena epoch_arena;
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	struct rot_keys keys;
	struct secret storage_key;

	struct boot_log log;
	bool phase_complete[2];
	uint8_t ap_measurement[SHA384_SIZE];
	struct launch_row *launches;
	size_t live;
	struct remembered launch_ids, signed_runs, known_runs;
	uint64_t report_seq, head_seq;
	uint8_t last_report[OID_SIZE], last_head[OID_SIZE];

	struct arena scratch;
	struct bytes reply, persist;
	bool waiting; /* for ap_persisted */
	char error[1024];
};

bool ap_remembers(const struct remembered *set, const uint8_t *id, size_t size);
NODISCARD result ap_remember(struct remembered *set, const uint8_t *id, size_t size);

/* The state at rest: encoded into ap->persist; loaded once, by ap_new. */
NODISCARD result ap_encode_state(struct ap *ap);
NODISCARD result ap_load_state(struct ap *ap, struct span state);

/* Encodes the reply. */
NODISCARD result ap_reply_with(struct ap *ap, const struct schema *schema, const void *body);
/* EPOCH_EXPIRED */
NODISCARD result ap_check_validity(const struct ap *ap, uint64_t now_ms);
NODISCARD result ap_sign_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct bytes *out);
NODISCARD result ap_sign_report(struct ap *ap, enum report_purpose purpose, const struct launch_row *row, struct span challenge,
	uint64_t now_ms, struct bytes *out);

void ap_launch_row_free(struct launch_row *row);
struct launch_row *ap_find_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE]);
/* UNKNOWN_LAUNCH; LAUNCH_REUSED when it is at another step. */
NODISCARD result ap_need_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE], enum launch_state state,
	struct launch_row **out);

/* One request each: decodes, checks, encodes the reply. Sets ap->waiting when ap->persist must be durable first. */
NODISCARD result ap_handle_health(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_attest(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_shutdown(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_extend(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_read_measurements(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_accept(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_generate(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_extend_launch(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_endorse_begin(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_endorse_finish(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_end_launch(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_sign(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_seal(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_unseal(struct ap *ap, struct span body, uint64_t now_ms);
NODISCARD result ap_handle_derive(struct ap *ap, struct span body, uint64_t now_ms);

#endif
