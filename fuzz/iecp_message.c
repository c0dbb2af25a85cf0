/* The decoders of M1, M2, M3 and of the two boxes: the first byte picks one. */
#include "enclave/iecp_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a decoder accepted lies inside its input. */
static void inside(struct span whole, struct span part)
{
	if (part.len > 0 && (part.data < whole.data || part.data + part.len > whole.data + whole.len))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct span input = span_of(data + 1, size - 1), content;
	struct iecp_m1 m1;
	struct iecp_m2 m2;
	struct iecp_box_r box_r;
	struct iecp_box_i box_i;

	switch (data[0] % 6) {
	case 0:
		if (iecp_m1_decode(input, &m1) == OK) {
			inside(input, m1.certificate);
			inside(input, m1.ephemeral);
		}
		break;
	case 1:
		if (iecp_m2_decode(input, &m2) == OK) {
			inside(input, m2.box);
			inside(input, m2.head);
		}
		break;
	case 2:
		if (iecp_m3_decode(input, &content) == OK)
			inside(input, content);
		break;
	case 3:
		if (iecp_box_r_decode(input, &box_r) == OK)
			inside(input, box_r.finished);
		break;
	case 4:
		if (iecp_box_i_decode(input, &box_i) == OK)
			inside(input, box_i.finished);
		break;
	default:
		if (iecp_unframe(input, IECP_MAX_M1, &content) == OK)
			inside(input, content);
	}
	return 0;
}
