/*
 * Registers and event log of a measured boot. r = SHA-384(r ‖ digest), digest = SHA-384(content); the log holds TCG
 * canonical event log records in CBOR (TCG CEL 1.0): {0: recnum, 1: register, 3: {12: digest}, 16: content}, where 12 is
 * TPM_ALG_SHA384 and 16 is Troth's content type (docs/PROTOCOL.root).
 */
#ifndef TROTH_ROOT_BOOT_LOG_H
#define TROTH_ROOT_BOOT_LOG_H

#include "base/writer.h"
#include "object/report.h"

enum { BOOT_LOG_MAX = 4 << 20, BOOT_LOG_MAX_EVENTS = 65536 };

struct boot_log {
	struct register_value registers[REGISTER_COUNT];
	struct writer records; /* growing */
	uint32_t *offsets;     /* of each record */
	size_t count, cap;
};

void boot_log_init(struct boot_log *log);
void boot_log_free(struct boot_log *log);

/* TOO_LARGE when the log is full: nothing is extended then. */
NODISCARD result boot_log_extend(struct boot_log *log, uint8_t index, struct span content);

/* The encoded record of event `at`. */
struct span boot_log_record(const struct boot_log *log, size_t at);

/* One step of a replay: checks the record's form and number, extends `registers`. Gives the content, borrowed. */
NODISCARD result boot_log_replay(struct register_value registers[static REGISTER_COUNT], uint64_t expected_number,
	struct span record, struct span *out_content, uint8_t *out_index);

void register_extend(struct register_value *value, const uint8_t digest[static SHA384_SIZE]);

#endif
