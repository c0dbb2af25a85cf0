#include "root/ipq_message.h"

/* Aliases so that the columns of the table read as words. */
enum {
	SENDER_HOST = IPQ_HOST,
	SENDER_AP = IPQ_AP,
	PHASE_HELLO = IPQ_PHASE_HELLO,
	PHASE_OPEN = IPQ_PHASE_OPEN,
	PHASE_RESERVED = IPQ_PHASE_RESERVED,
	EXPECTS_NONE = false,
	EXPECTS_EPOCH = true,
};

const struct ipq_message_row ipq_message_table[] = {
#define IPQ_MESSAGE(number, name, sender, phase, expects, reply)                                                       \
	{IPQ_##name, #name, (enum ipq_role)SENDER_##sender, (enum ipq_phase)PHASE_##phase, EXPECTS_##expects,          \
	 IPQ_##reply},
#include "root/ipq_message.def"
#undef IPQ_MESSAGE
};
const size_t ipq_message_table_len = COUNT_OF(ipq_message_table);

const struct ipq_message_row *ipq_message_row(unsigned type)
{
	for (size_t i = 0; i < ipq_message_table_len; i++)
		if (ipq_message_table[i].type == type)
			return &ipq_message_table[i];
	return NULL;
}

const char *ipq_message_name(unsigned type)
{
	const struct ipq_message_row *row = ipq_message_row(type);
	return row ? row->name : "unknown";
}

void ipq_put_expected(struct writer *w, struct ipq_expected expected)
{
	writer_u32(w, expected.era);
	writer_u64(w, expected.epoch);
}

result ipq_take_expected(struct reader *r, struct ipq_expected *out)
{
	struct ipq_expected expected;
	struct reader ahead = *r;
	TRY(reader_u32(&ahead, &expected.era));
	TRY(reader_u64(&ahead, &expected.epoch));
	*r = ahead;
	*out = expected;
	return OK;
}
