#include "cmd/tpm_opinion.h"

#include <signal.h>
#include <stdio.h>

#include "root/host_tpm.h"

static result ask(void *ctx, const uint8_t point[static POINT_SIZE], const uint8_t digest[static SHA256_SIZE],
	const uint8_t signature[static SIGNATURE_SIZE])
{
	struct tpm_opinion *opinion = ctx;
	pthread_mutex_lock(&opinion->lock);
	result said = opinion->broken == OK ? tpm_verify_signature(opinion->tpm, point, digest, signature) : opinion->broken;
	opinion->asked++;
	if (said != OK && said != BAD_SIGNATURE && opinion->broken == OK) {
		opinion->broken = said;
		snprintf(opinion->text, sizeof(opinion->text), "%s", failure_text());
	}
	pthread_mutex_unlock(&opinion->lock);
	return said;
}

result tpm_opinion_begin(struct tpm_opinion *opinion, const char *device)
{
	if (!device)
		return OK;
	(void)signal(SIGPIPE, SIG_IGN);
	TRY(host_tpm_open_device(device, &opinion->device));
	TRY(tpm_open(opinion->device.n, &opinion->tpm));
	opinion->hook = (struct key_second_opinion){ask, opinion};
	key_set_second_opinion(&opinion->hook);
	return OK;
}

result tpm_opinion_check(const struct tpm_opinion *opinion)
{
	return opinion->broken == OK ? OK : fail(opinion->broken, "%s", opinion->text);
}

void tpm_opinion_end(struct tpm_opinion *opinion)
{
	key_set_second_opinion(NULL);
	tpm_close(opinion->tpm);
	fd_close(&opinion->device);
	opinion->tpm = NULL;
}
