/*
 * An address book: what one person calls the addresses of others. A text file, one line each:
 *
 *	# who is who
 *	alice troth1qpzry…
 *
 * A name is 1..63 of [A-Za-z0-9._-], does not begin with "." or "-" and is no address. It never leaves this machine: what is
 * signed holds addresses.
 */
#ifndef TROTH_LEDGER_NAMES_H
#define TROTH_LEDGER_NAMES_H

#include "object/ledger.h"

enum { NAMES_MAX = 4096, NAMES_FILE_MAX = 512 * 1024, PERSON_TEXT_SIZE = 64 + ADDRESS_TEXT_SIZE + 4 };

struct names {
	struct names_row {
		const char *name;
		uint8_t address[ADDRESS_SIZE];
	} *rows; /* in the order of the file */
	size_t count;
};

/* `name` is for messages. */
NODISCARD result names_parse(const char *name, struct span text, struct arena *arena, struct names *out);
/* No file: no names. BAD_SYNTAX, DUPLICATE_KEY and the like say the line. The rows live in `arena`. */
NODISCARD result names_load(const char *path, struct arena *arena, struct names *out);
/* Replaces the file durably. */
NODISCARD result names_save(const char *path, const struct names *names);

/* ALREADY_EXISTS when the name stands for another address; BAD_NAME. */
NODISCARD result names_add(struct names *names, const char *name, const uint8_t address[static ADDRESS_SIZE], struct arena *arena);
NODISCARD result names_remove(struct names *names, const char *name); /* NOT_FOUND */

/* A name or an address. NOT_FOUND when it is neither; DIGEST_MISMATCH for an address with a slip of the pen. `names` may be NULL. */
NODISCARD result names_resolve(const struct names *names, struct span word, uint8_t out[static ADDRESS_SIZE]);
/* The name of an address, NULL when it has none here. */
const char *names_of(const struct names *names, const uint8_t address[static ADDRESS_SIZE]);
/* "alice (troth1…)", or the address alone. */
void names_person(const struct names *names, const uint8_t address[static ADDRESS_SIZE], char out[static PERSON_TEXT_SIZE]);

/*
 * A scope as people write it: the first part may be a name instead of an address, and a scope that begins with "/" is `own`'s
 * (NULL: that is refused). BAD_NAME, NOT_FOUND.
 */
NODISCARD result names_scope(const struct names *names, const char *word, const uint8_t *own, char out[static SCOPE_MAX + 1]);

#endif
