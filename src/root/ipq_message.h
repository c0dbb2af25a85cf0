/*
 * The message numbers of the inter-processor queue and what the queue itself knows of each: who may send
 * it, when, whether its body begins with the expected (era, epoch), and what answers it. One table
 * (ipq_message.def) feeds the enum, the checks of both ends, the documentation test and the traces.
 */
#ifndef TROTH_ROOT_IPQ_MESSAGE_H
#define TROTH_ROOT_IPQ_MESSAGE_H

#include "base/reader.h"
#include "base/result.h"
#include "base/writer.h"

enum ipq_type {
	IPQ_NONE = 0,
#define IPQ_MESSAGE(number, name, sender, phase, expects, reply) IPQ_##name = number,
#include "root/ipq_message.def"
#undef IPQ_MESSAGE
};

enum ipq_role { IPQ_HOST = 1, IPQ_AP = 2 };
enum ipq_phase { IPQ_PHASE_HELLO = 1, IPQ_PHASE_OPEN = 2, IPQ_PHASE_RESERVED = 3 };

struct ipq_message_row {
	enum ipq_type type;
	const char *name;
	enum ipq_role sender;
	enum ipq_phase phase;
	bool expects_epoch;
	enum ipq_type reply; /* IPQ_NONE: not a request */
};

extern const struct ipq_message_row ipq_message_table[];
extern const size_t ipq_message_table_len;

/* The row of a number; NULL when the number is unknown. */
const struct ipq_message_row *ipq_message_row(unsigned type);
const char *ipq_message_name(unsigned type); /* "unknown" when it is */

/*
 * The head of a body whose row says EPOCH. (0, 0) means "there is no root yet": what is EXTENDed before the
 * first GENERATE_ROT, and GENERATE_ROT itself, carry it. The receiver compares with its own head and
 * refuses what differs, so a replayed request changes nothing.
 */
struct ipq_expected {
	uint32_t era;
	uint64_t epoch;
};

enum { IPQ_EXPECTED_SIZE = 12 };

void ipq_put_expected(struct writer *w, struct ipq_expected expected);
NODISCARD result ipq_take_expected(struct reader *r, struct ipq_expected *out); /* TRUNCATED */

#endif
