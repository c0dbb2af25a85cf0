/*
 * `--tpm-verify DEVICE`: a TPM of the verifier's own must accept every signature of Troth's objects too (docs/TPM.md). Certificates
 * and what TPMs sign themselves stay with the library.
 */
#ifndef TROTH_CMD_TPM_OPINION_H
#define TROTH_CMD_TPM_OPINION_H

#include <pthread.h>

#include "base/file.h"
#include "crypto/key.h"
#include "crypto/tpm.h"

struct tpm_opinion {
	struct fd device;
	struct tpm *tpm; /* NULL: not asked for */
	struct key_second_opinion hook;
	pthread_mutex_t lock;
	result broken; /* other than a signature that it refused: nothing was judged */
	char text[256];
	unsigned long long asked;
};
#define TPM_OPINION_NONE ((struct tpm_opinion){.device = {-1}, .lock = PTHREAD_MUTEX_INITIALIZER})

/* It must not move until it is ended. `device` NULL: nothing. */
NODISCARD result tpm_opinion_begin(struct tpm_opinion *opinion, const char *device);
/* TPM_UNAVAILABLE when it did not answer in between. */
NODISCARD result tpm_opinion_check(const struct tpm_opinion *opinion);
void tpm_opinion_end(struct tpm_opinion *opinion);

#endif
