#include "root/tpm_order.h"

enum { TAG_SIZE = 4, SEALED_MAX = 3072, TEXT_MAX = 512, PCRS_MASK = 0xffffff };

static const char tag_new[] = "new1", tag_sealed[] = "old1";

void tpm_order_put_new(struct writer *w, uint32_t pcrs)
{
	writer_str(w, tag_new);
	writer_u32(w, pcrs);
}

void tpm_order_put_sealed(struct writer *w, uint32_t counter_index, struct span sealed)
{
	writer_str(w, tag_sealed);
	writer_u32(w, counter_index);
	writer_lv(w, sealed);
}

result tpm_order_read(struct span bytes, struct tpm_order *out)
{
	struct reader r = reader_of(bytes);
	struct tpm_order order = {0};
	struct span tag;
	TRY(reader_take(&r, TAG_SIZE, &tag));
	if (span_equal_str(tag, tag_new)) {
		order.is_new = true;
		TRY(reader_u32(&r, &order.pcrs));
		if (order.pcrs == 0 || order.pcrs > PCRS_MASK)
			return fail(BAD_VALUE, "PCRs %08x", order.pcrs);
	} else if (span_equal_str(tag, tag_sealed)) {
		TRY(reader_u32(&r, &order.counter_index));
		TRY(reader_lv(&r, SEALED_MAX, &order.sealed));
	} else {
		return fail(WRONG_TAG, "what was sealed by the TPM is of another format");
	}
	TRY(reader_finish(&r));
	*out = order;
	return OK;
}

void tpm_answer_put(struct writer *w, result reason, struct span text_or_keep)
{
	writer_u16(w, (uint16_t)reason);
	if (reason != OK && text_or_keep.len > TEXT_MAX)
		text_or_keep.len = TEXT_MAX;
	writer_span(w, text_or_keep);
}

result tpm_answer_read(struct span bytes, struct span *out_keep)
{
	struct reader r = reader_of(bytes);
	uint16_t number;
	TRY(reader_u16(&r, &number));
	struct span rest = span_of(r.at, reader_left(&r));
	if (number == OK) {
		*out_keep = rest;
		return OK;
	}
	enum reason reason = reason_row((enum reason)number)->reason; /* an unknown number is INTERNAL */
	return fail(reason == OK ? INTERNAL : reason, "%.*s", (int)rest.len, (const char *)rest.data);
}
