/*
 * The secure processor's use of a TPM (constructions/epochs.md "Store", root.md "Secure processor"): its wrap key is sealed to
 * PCRs, its epochs are counted by a counter of the TPM, its phases are mirrored to PCR 23, it knows the latest pin store of the host, and it
 * quotes.
 *
 * The descriptor of the TPM is inherited; what the TPM sealed comes from the host, which keeps it in a file and can do nothing
 * with it. Linked into troth-ap alone.
 */
#ifndef TROTH_ROOT_AP_TPM_H
#define TROTH_ROOT_AP_TPM_H

#include "crypto/tpm.h"
#include "root/ap_platform.h"

struct ap_tpm {
	struct tpm *tpm;
	uint32_t counter_index;
	uint32_t pins_index;
	uint8_t counter_auth[TPM_COUNTER_AUTH_SIZE], pins_auth[TPM_COUNTER_AUTH_SIZE], head_auth[TPM_COUNTER_AUTH_SIZE];
	struct ap_platform platform;
};

/* PCRs of a quote: those of the firmware and boot loader, and the mirror. */
enum { AP_TPM_QUOTED = 0x8000ff, AP_TPM_BLOB_MAX = 4096 };

/*
 * `order` is what the host sends (docs/PROTOCOL.root "TPM"): "new" with PCRs, or what was sealed before. Gives the wrap key and,
 * for "new", what the host must keep; empty otherwise. TPM_FOREIGN, TPM_STATE_CHANGED, TPM_UNAVAILABLE. A counter that is
 * gone is told in platform.counter_state, a mirror of the pin store in platform.pins_state. `ap_tpm` must not move afterwards.
 */
NODISCARD result ap_tpm_open(int fd, struct span order, struct ap_tpm *ap_tpm, struct secret *out_wrap_key, struct bytes *out_keep);
void ap_tpm_close(struct ap_tpm *ap_tpm);

#endif
