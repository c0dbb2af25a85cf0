/*
 * A simulated TPM for one test: swtpm with its own state, its own maker's certificates and its own socket, all in one private
 * folder that is gone afterwards. The test is skipped, and says so, where swtpm is not installed.
 */
#ifndef TROTH_TESTS_SWTPM_H
#define TROTH_TESTS_SWTPM_H

#include "base/process.h"

enum swtpm_ek { SWTPM_EK_RSA, SWTPM_EK_P384, SWTPM_EK_NONE };

struct swtpm {
	char folder[64];
	char socket[96];
	struct process process;
	struct fd fd; /* connected */
};

bool swtpm_installed(void);
/* Makes a TPM in a new folder, starts it and connects. Ends the test on a failure. */
void swtpm_start(struct swtpm *tpm, enum swtpm_ek ek);
/* The power goes off and on: PCRs are as after a boot. */
void swtpm_reboot(struct swtpm *tpm);
/* The process is gone, and with it what was not written. */
void swtpm_kill(struct swtpm *tpm);
/* Starts it again after swtpm_kill. */
void swtpm_reboot_dead(struct swtpm *tpm);
void swtpm_reconnect(struct swtpm *tpm);
/* TPM2_Clear by the platform. */
void swtpm_clear(struct swtpm *tpm);
void swtpm_stop(struct swtpm *tpm);
/* DER of the maker's issuing certificate and of its root. */
struct bytes swtpm_issuer(const struct swtpm *tpm);
struct bytes swtpm_root(const struct swtpm *tpm);

#endif
