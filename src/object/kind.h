/*
 * The registry: every kind of object that Troth signs or hashes, with its label, envelope and fields.
 * Start here to learn what is ever signed; kind.def is the table.
 */
#ifndef TROTH_OBJECT_KIND_H
#define TROTH_OBJECT_KIND_H

#include "crypto/hash.h"
#include "object/schema.h"

enum object_kind {
#define KIND(number, name, label, envelope, status) name = number,
#include "object/kind.def"
#undef KIND
};

enum object_envelope { ENVELOPE_SIGN1, ENVELOPE_SIGN, ENVELOPE_PLAIN, ENVELOPE_X509 };

struct kind_row {
	enum object_kind kind;
	const char *name;  /* "RECEIPT_HEAD" */
	const char *label; /* external_aad */
	enum object_envelope envelope;
	bool emitted; /* false: number and label are reserved */
};

extern const struct kind_row kind_table[];
extern const size_t kind_table_len;

/* The row of `kind`; NULL when there is none. */
const struct kind_row *kind_row(enum object_kind kind);
const char *kind_label(enum object_kind kind);
/* The payload's fields; NULL while reserved, and for certificates, policies and receipts, which have a codec of their own. */
const struct schema *kind_schema(enum object_kind kind);

#endif
