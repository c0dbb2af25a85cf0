/*
 * What a file is and what stands in it, decoded for people and scripts. Nothing here verifies anything: no signature, no
 * digest, no trust. `troth inspect` and `troth show --json` print it and say so.
 */
#ifndef TROTH_CMD_DESCRIBE_H
#define TROTH_CMD_DESCRIBE_H

#include "receipt/show.h"
#include "wire/json.h"

enum file_kind { FILE_RECEIPT, FILE_OBJECT, FILE_EPOCH, FILE_HALT, FILE_HISTORY, FILE_CERTIFICATE, FILE_TRUST, FILE_JOB, FILE_POLICY };
const char *file_kind_name(enum file_kind kind);

/* Tells by the content alone. BAD_VALUE when it is none of these; parse reasons of what it begins like. */
NODISCARD result describe_kind(const char *name, struct span bytes, enum file_kind *out);

/* The caller owns the reference. */
NODISCARD result describe_receipt(const struct receipt_view *view, json_t **out);
NODISCARD result describe_file(const char *name, struct span bytes, json_t **out);

/* One section by its name or number, "head" for the head. NOT_FOUND. */
NODISCARD result describe_section_bytes(const struct receipt *receipt, const char *name, struct span *out, uint16_t *out_id);
NODISCARD result describe_section(uint16_t id, struct span bytes, json_t **out);

#endif
