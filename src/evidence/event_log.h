/*
 * Event logs of a measured boot, and what PCR values they lead to. Three forms, told apart by their beginning:
 *   TCG   the firmware's log of the PC Client profile: crypto-agile (PFP 1.05, "Spec ID Event03") or of TPM 1.2 (SHA-1)
 *   TLV   canonical event log in TLV (TCG CEL 1.0)
 *   CBOR  canonical event log in CBOR, as the secure processor keeps it (root/boot_log.h)
 * Reading allocates nothing and borrows; no count or size is believed before the bytes are there. A log proves nothing by
 * itself: only values that a quote covers make it the log of that boot.
 */
#ifndef TROTH_EVIDENCE_EVENT_LOG_H
#define TROTH_EVIDENCE_EVENT_LOG_H

#include "evidence/tpm_structure.h"

enum event_log_form { EVENT_LOG_TCG, EVENT_LOG_TCG_SHA1, EVENT_LOG_CEL_TLV, EVENT_LOG_CEL_CBOR };
enum { EVENT_LOG_MAX = 16 << 20, EVENT_LOG_EVENTS_MAX = 1 << 17, EVENT_DATA_MAX = 4 << 20 };
enum event_type { /* TCG PC Client Platform Firmware Profile, table 9 */
	EV_NO_ACTION = 0x3,
	EV_SEPARATOR = 0x4,
	EV_ACTION = 0x5,
	EV_NONHOST_INFO = 0x11,
	EV_EFI_VARIABLE_DRIVER_CONFIG = (int)0x80000001u,
	EV_EFI_GPT_EVENT = (int)0x80000006u,
	EV_EFI_ACTION = (int)0x80000007u,
};

struct event_digest {
	uint16_t algorithm;
	struct span bytes;
};

struct event {
	uint64_t number; /* from 0 */
	uint32_t pcr;	 /* register of a canonical log */
	uint32_t type;	 /* TCG event type; content type of a canonical log */
	struct event_digest digests[TPM_BANKS_MAX];
	size_t digest_count;
	struct span data; /* event data; content of a canonical log as it is hashed */
	bool extends;	  /* false: for information only (EV_NO_ACTION) */
	bool bound;	  /* its type says that the digest is that of `data` */
};

struct event_log {
	enum event_log_form form;
	struct reader rest;
	uint64_t next_number;
	struct event_digest sizes[TPM_BANKS_MAX]; /* TCG: digest sizes that the header declares (bytes.len) */
	size_t bank_count;
};

/* Reads the header. EVENT_LOG_DAMAGED, TOO_LARGE. */
NODISCARD result event_log_open(struct span bytes, struct event_log *out);
/* The next event; *out_more = false at the end. EVENT_LOG_DAMAGED, TOO_LARGE. */
NODISCARD result event_log_next(struct event_log *log, bool *out_more, struct event *out);

struct replay {
	uint16_t bank;
	size_t size;			      /* of a value */
	uint8_t value[TPM_PCR_COUNT][DIGEST_MAX];
	uint32_t touched;		      /* PCRs that some event extended */
	uint32_t separators;		      /* PCRs with a separator */
	size_t events, unbound;		      /* unbound: events whose data no digest covers */
};

/*
 * Computes the PCRs of one bank. An event whose type says that its digest is that of its data must have such data
 * (EVENT_DIGEST_MISMATCH); in PCR 0..7 one separator each at most, with the data of a boot without error
 * (EVENT_SEPARATOR_WRONG); TPM_WRONG_BANK when the log has no such bank.
 */
NODISCARD result event_log_replay(struct span bytes, uint16_t bank, struct replay *out);

#endif
