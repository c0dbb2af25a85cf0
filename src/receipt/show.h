/*
 * A receipt for people: who ran what, when and where, and the attestation chain as a tree from its results back to the
 * inputs. Only text; whether any of it is true is the verifier's business, and the caller says which of the two it is.
 */
#ifndef TROTH_RECEIPT_SHOW_H
#define TROTH_RECEIPT_SHOW_H

#include "base/writer.h"
#include "receipt/verify.h"

/* What a level means, in one sentence: printed with every receipt of that level. */
const char *level_sentence(unsigned level);
/* What a receipt of this recorder cannot prove; NULL when there is nothing to say. */
const char *recorder_sentence(const char *recorder);

/* What else of how the enclaves ran a reader must know. */
extern const char *const tier_l_sentence, *const weak_isolation_sentence, *const open_interpreter_sentence;

struct show_options {
	bool unicode; /* box-drawing characters instead of ASCII */
};

/* Everything of a receipt that can be read without judging it. Borrows from `bytes`. */
struct receipt_view {
	struct arena arena;
	struct receipt receipt;
	struct receipt_head head;
	struct job job;
	struct bytes_list epochs, certificates, reports, records, manifests, policies, grants, statements, platform;
	size_t epoch_keys; /* at the end of `epochs`: recovery keys */
	struct salt_list salts;
	struct receipt_roots roots; /* of other hosts */
	struct dac *dac; /* not verified */
};

void receipt_view_free(struct receipt_view *view);

/* Parse reasons; a receipt whose parts contradict each other may still be viewed. */
NODISCARD result receipt_view_open(struct span bytes, struct receipt_view *out);

/*
 * What a record that several results depend on rests on is drawn once; after that the record is only named. TOO_LARGE for a
 * receipt whose tree nobody could read.
 *
 * UTF-8 text with newlines; nothing in it comes from the receipt without being made plain first.
 */
NODISCARD result receipt_show(const struct receipt_view *view, const struct show_options *options, struct bytes *out_text);

#endif
