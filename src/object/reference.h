/*
 * Reference-value sets (docs/UPGRADE.md, kind 6): an author's signed word about which versions of a program or enclave are
 * good. Seals and policies may name {author key, set, min SVN} instead of a digest, so that an upgrade is authorised by a
 * new set and nothing sealed is lost.
 *
 * A set is looked into by the name of an entry ("troth-ap", an enclave's name), the kind of value and the digest. A set
 * never goes back: whoever has seen version v of an author's set refuses a lower one (REFERENCE_OLD); each entry's min_svn
 * and the asker's own minimum forbid downgrades (SVN_TOO_LOW).
 */
#ifndef TROTH_OBJECT_REFERENCE_H
#define TROTH_OBJECT_REFERENCE_H

#include "object/object.h"

enum { REFERENCE_SET_MAX = 24 * 1024, REFERENCE_NAME_MAX = 63, REFERENCE_MAX_ENTRIES = 256, REFERENCE_MAX_ROWS = 64 };
enum reference_what {
	REFERENCE_PROGRAM = 1,	   /* SHA-384 of a program file: troth-ap, trothd, troth-ire */
	REFERENCE_CORE = 2,	   /* of an enclave: manifest without peers */
	REFERENCE_MEASUREMENT = 3, /* of an enclave */
};
const char *reference_what_name(enum reference_what what); /* "program", "core", "measurement"; "?" */

/* What a seal or policy names instead of a digest. */
struct reference {
	uint8_t author[KEY_ID_SIZE]; /* SHA-256 of the author's DER SubjectPublicKeyInfo */
	const char *set;	     /* name of the set */
	uint32_t min_svn;	     /* rows below do not count, whatever the set says */
};
extern const struct schema reference_schema;

struct reference_row {
	uint32_t svn; /* security version number, from 1: rises when going back would be a downgrade */
	uint8_t what; /* enum reference_what */
	uint8_t digest[SHA384_SIZE];
};
struct reference_entry {
	const char *name;
	uint32_t min_svn;	    /* of this entry from now on */
	struct reference_row *rows; /* ascending by svn; a digest stands once for each `what` */
	size_t row_count;
};
extern const struct schema reference_row_schema, reference_entry_schema;

struct reference_set {
	uint8_t v;
	uint8_t author_pk[POINT_SIZE];
	const char *name;
	uint64_t version; /* from 1, rises with each set of this name */
	uint64_t not_before, not_after;
	struct reference_entry *entries; /* sorted */
	size_t entry_count;
};
extern const struct schema reference_set_schema;

/* Names, versions, rows: what the table of fields cannot say. BAD_NAME, BAD_VALUE. */
NODISCARD result reference_set_check(const struct reference_set *set);

/* Sorts rows and entries, fills v and author_pk, checks, signs. TOO_LARGE. */
NODISCARD result reference_set_sign(struct reference_set *set, const struct key *author, struct bytes *out, uint8_t *out_oid);

/*
 * Verifies a set under the key that it names, and checks its form. Says nothing about trust in that key: compare
 * `out_author`, its SPKI hash. Borrows from `bytes` and `arena`. `out_oid` may be NULL.
 */
NODISCARD result reference_set_open(struct span bytes, struct arena *arena, struct reference_set *out,
	uint8_t out_author[static KEY_ID_SIZE], uint8_t *out_oid);

/* REFERENCE_EXPIRED unless not_before <= at <= not_after. */
NODISCARD result reference_set_valid_at(const struct reference_set *set, uint64_t at_ms);

/* NULL when there is none. */
const struct reference_entry *reference_set_entry(const struct reference_set *set, const char *name);

/* The row of a digest, whatever its svn; NULL when there is none. */
const struct reference_row *reference_find(const struct reference_entry *entry, enum reference_what what,
	const uint8_t digest[static SHA384_SIZE]);

/*
 * Whether the set allows this value: listed under `name`, with an svn of at least the entry's minimum and `min_svn`.
 * REFERENCE_MISSING, SVN_TOO_LOW. `out_svn` may be NULL.
 */
NODISCARD result reference_resolve(const struct reference_set *set, const char *name, enum reference_what what,
	const uint8_t digest[static SHA384_SIZE], uint32_t min_svn, uint32_t *out_svn);

/*
 * The same for a seal or policy: the set must be the one that `reference` names, by author key and name, and not be of a
 * lower version than `floor` (0: none seen). REFERENCE_MISSING, REFERENCE_OLD, REFERENCE_EXPIRED, SVN_TOO_LOW.
 */
struct reference_question {
	const struct reference *reference;
	const char *entry;
	enum reference_what what;
	const uint8_t *digest; /* SHA384_SIZE bytes */
	uint64_t floor;	       /* of the set's version */
	uint64_t now_ms;
};
NODISCARD result reference_answer(const struct reference_question *question, const struct reference_set *set,
	const uint8_t author[static KEY_ID_SIZE], uint32_t *out_svn);

#endif
