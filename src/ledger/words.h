/* What people write and read of the ledger: operations, subjects of registrations, times, sets of measurements. */
#ifndef TROTH_LEDGER_WORDS_H
#define TROTH_LEDGER_WORDS_H

#include "object/ledger.h"

#include <jansson.h>

#define OPERATIONS_ALL UINT64_MAX

/* "read, compute" into `out`; "all", "nothing". */
enum { OPERATIONS_TEXT_SIZE = 64 * OPERATION_NAME_SIZE };
void operations_text(uint64_t operations, char out[static OPERATIONS_TEXT_SIZE]);
/* "read,compute", blanks do no harm; "all". BAD_NAME names the word. */
NODISCARD result operations_parse(const char *text, uint64_t *out);

/* A list of names, or "all". NULL when memory ran out. */
json_t *operations_json(uint64_t operations);

/* "vmm", "host", "enclave", "security-enclave". */
const char *subject_name(unsigned subject);
NODISCARD result subject_parse(const char *name, uint8_t *out); /* BAD_NAME */

/* 2027-11-21T15:47:31Z, 2027-11-21 (its beginning), or a span from `now` on: 90s, 15m, 12h, 30d. BAD_VALUE. */
NODISCARD result when_parse(const char *text, uint64_t now_ms, uint64_t *out);

/* Texts of 96 hex digits as a set, sorted, each once. BAD_VALUE names the one that is none. */
NODISCARD result measurements_parse(const char *const *items, size_t count, struct arena *arena, struct measurement_set *out);

#endif
