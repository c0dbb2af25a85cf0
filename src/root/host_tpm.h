/*
 * The host's part in a TPM of the secure processor: it opens the device and passes it on, keeps what the TPM has sealed
 * (ap/wrap.tpm, of no use without that TPM) and where the TPM is (ap/wrap.device). It never speaks to the TPM.
 * Device: a path such as /dev/tpmrm0, or unix:PATH, the data socket of a simulator.
 */
#ifndef TROTH_ROOT_HOST_TPM_H
#define TROTH_ROOT_HOST_TPM_H

#include "base/file.h"
#include "root/wrap.h"

/* PCR 7, as systemd does: who may boot this machine, not which kernel it is. */
enum { HOST_TPM_PCRS = 1u << 7 };

struct host_tpm {
	struct fd device, order; /* the order is the reading end of a pipe */
	bool is_new;
	char spec[PATH_SIZE]; /* where the device is */
};
#define HOST_TPM_NONE ((struct host_tpm){.device = {-1}, .order = {-1}})
void host_tpm_free(struct host_tpm *tpm);

/* Before the secure processor starts. TPM_UNAVAILABLE when the device is not there, NO_WRAP_KEY, USAGE. */
NODISCARD result host_tpm_begin(const char *ap_dir, const struct wrap_source *source, bool is_new, struct host_tpm *out);
/* After it was started: how it went, and what is to be kept. The reasons of the secure processor; AP_STOPPED. */
NODISCARD result host_tpm_finish(const char *ap_dir, const struct host_tpm *tpm, int bootstrap, int timeout_ms);

/* "7" or "0,2,4,7": a set of PCRs. */
NODISCARD result host_tpm_pcrs_parse(const char *text, uint32_t *out);

/* /dev/tpmrm0 or unix:SOCKET. TPM_UNAVAILABLE. */
NODISCARD result host_tpm_open_device(const char *spec, struct fd *out);

#endif
