/*
 * What the host tells a secure processor about its TPM, in place of a wrap key, and what comes back (docs/PROTOCOL.root "TPM"):
 *   order   "new1" ‖ u32 PCRs                                  make key, counter and mirror
 *           "old1" ‖ u32 counter index ‖ lv(sealed wrap key)    open them; this is also the content of ap/wrap.tpm
 *   answer  u16 reason ‖ text, or u16 0 ‖ what to keep (empty for an old one)
 */
#ifndef TROTH_ROOT_TPM_ORDER_H
#define TROTH_ROOT_TPM_ORDER_H

#include "base/reader.h"
#include "base/writer.h"

enum { TPM_ORDER_MAX = 4096 };

struct tpm_order {
	bool is_new;
	uint32_t pcrs;
	uint32_t counter_index;
	struct span sealed;
};

void tpm_order_put_new(struct writer *w, uint32_t pcrs);
void tpm_order_put_sealed(struct writer *w, uint32_t counter_index, struct span sealed);
/* WRONG_TAG and parse reasons; borrows. */
NODISCARD result tpm_order_read(struct span bytes, struct tpm_order *out);

void tpm_answer_put(struct writer *w, result reason, struct span text_or_keep);
/* The reason that was answered, with its text; OK: what to keep. */
NODISCARD result tpm_answer_read(struct span bytes, struct span *out_keep);

#endif
