/*
 * Signed notes (c2sp.org/signed-note) and witness cosignatures (c2sp.org/tlog-cosignature, type Ed25519): text that ends in a
 * newline, an empty line, and one line per signature: em dash, space, key name, space, base64(key id ‖ signature).
 *
 * A note is read strictly: what is not in its one form is refused, so that every flipped bit is noticed. Signatures of
 * unknown keys are passed over, as the format demands; a bad one of a known key refuses the note.
 */
#ifndef TROTH_LEDGER_NOTE_H
#define TROTH_LEDGER_NOTE_H

#include "base/writer.h"
#include "crypto/ed25519.h"

enum { NOTE_NAME_MAX = 128, NOTE_KEY_ID_SIZE = 4, NOTE_SIGNATURES_MAX = 64, NOTE_MAX = 64 * 1024, NOTE_LINE_MAX = 512 };
enum note_key_type { NOTE_KEY_LOG = 0x01, NOTE_KEY_COSIGNER = 0x04 };

/* Who may sign, and how: as a log, or as a witness with a time. */
struct note_key {
	char name[NOTE_NAME_MAX + 1];
	enum note_key_type type;
	uint8_t id[NOTE_KEY_ID_SIZE]; /* first bytes of SHA-256(name ‖ 0A ‖ type ‖ public key) */
	uint8_t public_key[ED25519_PUBLIC_SIZE];
};

/* No spaces, no plus, no controls, 1..NOTE_NAME_MAX bytes of UTF-8. BAD_NAME. */
NODISCARD result note_key_new(const char *name, enum note_key_type type, const uint8_t public_key[static ED25519_PUBLIC_SIZE],
	struct note_key *out);

/* The text of a verifier key: NAME+ID in hex+base64(type ‖ public key). */
enum { NOTE_VKEY_SIZE = NOTE_NAME_MAX + 1 + 8 + 1 + 44 + 1 };
void note_key_format(const struct note_key *key, char out[static NOTE_VKEY_SIZE]);
NODISCARD result note_key_parse(struct span text, struct note_key *out); /* BAD_VALUE, BAD_NAME, DIGEST_MISMATCH */

struct note_signature {
	struct span name;
	uint8_t id[NOTE_KEY_ID_SIZE];
	uint8_t bytes[8 + ED25519_SIGNATURE_SIZE];
	size_t len; /* of other kinds of keys: longer ones are cut, as nobody here can check them */
};

/* Borrows from the bytes it was read from. */
struct note {
	struct span text; /* with its last newline */
	struct note_signature signatures[NOTE_SIGNATURES_MAX];
	size_t count;
};
NODISCARD result note_parse(struct span bytes, struct note *out);

/*
 * Whether this key signed the note. NOT_SIGNED when it has no signature of the key, BAD_SIGNATURE when it has a wrong one.
 * `out_time` (may be NULL): of a cosignature, seconds since 1970; 0 for a log's signature.
 */
NODISCARD result note_verify(const struct note *note, const struct note_key *key, uint64_t *out_time);

/* Appends one signature line over `text`, which ends in a newline. `time_s` counts for NOTE_KEY_COSIGNER only. */
NODISCARD result note_sign(struct span text, const struct note_key *key, const struct secret *seed, uint64_t time_s,
	struct writer *out);

#endif
