/*
 * The form of a revocation list that people write, JSON or YAML; `troth revoke sign` makes the signed list from it.
 *
 *	version: 2
 *	not_after: 2027-11-21T00:00:00Z
 *	entries:
 *	  - measurement: "96 hex digits"
 *	    why: CVE-2027-1234
 *	  - key: "64 hex digits"
 *	    from: 2027-01-05T12:00:00Z
 *
 * An entry has one of measurement, key, certificate, host, epoch and policy; without `from` it always was revoked.
 */
#ifndef TROTH_OBJECT_REVOCATION_TEXT_H
#define TROTH_OBJECT_REVOCATION_TEXT_H

#include "object/revocation.h"

enum { REVOCATION_TEXT_MAX = 16 << 20 };

/* Texts, values and entries live in `arena`. `time` and the operator are the signer's. */
NODISCARD result revocation_text_parse(const char *name, struct span text, struct arena *arena, struct revocation_list *out);
/* The same form, as JSON. */
NODISCARD result revocation_text_write(const struct revocation_list *list, struct bytes *out);

#endif
