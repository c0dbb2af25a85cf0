/*
 * Where the key comes from that wraps the secure processor's state at rest (root.md "Secure processor").
 *   file        32 random bytes in ap/wrap.key beside the state: protects nothing against the owner of the folder
 *   keyring     the kernel's user keyring, description "troth:<state folder>": gone after a reboot unless put back
 *   credential  $CREDENTIALS_DIRECTORY/troth-wrap of a systemd unit (LoadCredentialEncrypted=)
 *   passphrase  read from a descriptor, stretched with scrypt (N = 2^15, r = 8, p = 1) and a salt kept in ap/wrap.salt
 *   tpm         sealed by a TPM 2.0 to PCRs; only the secure processor ever sees it (root/host_tpm.h)
 * Which one a state folder uses is fixed when the root is made and kept in ap/wrap.kind.
 */
#ifndef TROTH_ROOT_WRAP_H
#define TROTH_ROOT_WRAP_H

#include "base/secret.h"

enum wrap_kind { WRAP_UNSAID = 0, WRAP_FILE, WRAP_KEYRING, WRAP_CREDENTIAL, WRAP_PASSPHRASE, WRAP_TPM };

struct wrap_source {
	enum wrap_kind kind; /* WRAP_UNSAID: what the folder says; WRAP_FILE for a new one */
	int passphrase_fd;   /* WRAP_PASSPHRASE */
	const char *tpm;     /* WRAP_TPM: where it is; NULL: where it was when the root was made */
	uint32_t tpm_pcrs;   /* of a new root; 0: PCR 7 */
};

NODISCARD result wrap_kind_parse(const char *text, enum wrap_kind *out); /* "file", "keyring", "credential", "passphrase", "tpm" */
const char *wrap_kind_name(enum wrap_kind kind);

/* What this start uses, and whether the folder says so already. USAGE when it says another. */
NODISCARD result wrap_kind_choose(const char *ap_dir, const struct wrap_source *source, enum wrap_kind *out, bool *out_stored);
NODISCARD result wrap_kind_keep(const char *ap_dir, enum wrap_kind kind);

/* WRAP_KEY_SIZE bytes; not of a TPM. Makes what is missing when `create`. NO_WRAP_KEY says what to do. */
NODISCARD result wrap_key_obtain(const char *ap_dir, const struct wrap_source *source, bool create, struct secret *out,
	enum wrap_kind *out_kind);

#endif
