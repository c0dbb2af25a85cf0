/*
 * DAC_GET: the complete chain of a record from an enclave that lives on this host. The host passes bytes on; whether they are
 * what they should be is judged by whoever asked (receipt/chain.h).
 */
#ifndef TROTH_JOB_DAC_QUERY_H
#define TROTH_JOB_DAC_QUERY_H

#include "job/flow.h"
#include "job/service.h"

/* Writes the bundle to `fd`. IRE_UNKNOWN, IRE_AMBIGUOUS, DAC_NO_RESULT, DAC_UNKNOWN_RECORD, ENCLAVE_STOPPED, TIMED_OUT ... */
/* CHANNEL_TEST: what both ends say. IRE_UNKNOWN, IRE_AMBIGUOUS, ENCLAVE_STOPPED. */
NODISCARD result channel_query(struct live *live, const struct service_channel_test *asked, struct arena *arena,
	struct service_channel_tested *out);
NODISCARD result dac_query(const struct flow_host *host, const struct service_dac_get *asked, int fd, struct service_dac_got *out);

#endif
