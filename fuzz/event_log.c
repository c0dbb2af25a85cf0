/* Event logs: whatever is accepted was read to its end, borrows from its input and stays within the bounds. */
#include "evidence/event_log.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t banks[] = {TPM_SHA1, TPM_SHA256, TPM_SHA384};
	struct span bytes = span_of(data, size);
	struct event_log log;
	struct event event;
	bool more = true;

	if (event_log_open(bytes, &log) == OK) {
		while (event_log_next(&log, &more, &event) == OK && more) {
			must(inside(event.data, bytes) && event.digest_count <= TPM_BANKS_MAX);
			for (size_t i = 0; i < event.digest_count; i++)
				must(inside(event.digests[i].bytes, bytes) && event.digests[i].bytes.len <= DIGEST_MAX);
		}
	}
	for (size_t i = 0; i < COUNT_OF(banks); i++) {
		struct replay replay;
		if (event_log_replay(bytes, banks[i], &replay) == OK)
			must(replay.touched >> TPM_PCR_COUNT == 0 && replay.unbound <= replay.events);
	}
	return 0;
}
