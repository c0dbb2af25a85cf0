/* What a ledger knows of grants: uses, revocation, since when. */
#ifndef TROTH_CMD_GRANT_STATUS_H
#define TROTH_CMD_GRANT_STATUS_H

#include "cmd/ledger_making.h"
#include "ledger/explain.h"

struct grant_status {
	bool seen; /* the ledger has a fact of it */
	uint64_t from, uses;
	bool revoked;
	uint64_t revoked_at;
	uint8_t revoked_by[ADDRESS_SIZE];
	bool ended_above; /* one that it comes from was revoked, as far as the ledger has seen them */
	uint64_t size; /* of the checkpoint that this is as of */
};
NODISCARD result grant_status_ask(struct ledger_client *client, const uint8_t oid[static OID_SIZE], struct grant_status *out);

/* "live", "revoked", "revoked above", "ended", "not yet", "used up", or that the ledger has not seen it. */
const char *grant_status_word(const struct grant *grant, const struct grant_status *status, uint64_t now_ms);
json_t *grant_status_json(const struct grant *grant, const struct grant_status *status, uint64_t now_ms);

#endif
