#include "cmd/grant_status.h"

enum { FACT_MEMORY = 256 * 1024 };

/* Goes up from a grant that the ledger has seen: each of those that it comes from was seen with it. */
static result look_above(struct ledger_client *client, const struct grant_fact *grant, struct arena *arena, bool *out)
{
	struct grant_fact above = *grant;
	struct revocation_fact revocation;
	uint64_t size;
	bool revoked = false, there = true;
	for (unsigned depth = 0; depth < GRANT_CHAIN_MAX && there && above.has_parent && !revoked; depth++) {
		uint8_t oid[OID_SIZE];
		memcpy(oid, above.parent, OID_SIZE);
		TRY(ledger_client_fact(client, FACT_REVOCATION, SPAN_ARRAY(oid), arena, &revocation, &revoked, &size));
		TRY(ledger_client_fact(client, FACT_GRANT, SPAN_ARRAY(oid), arena, &above, &there, &size));
	}
	*out = revoked;
	return OK;
}

result grant_status_ask(struct ledger_client *client, const uint8_t oid[static OID_SIZE], struct grant_status *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(FACT_MEMORY);
	struct grant_status status = {.seen = false};
	struct grant_fact grant;
	struct revocation_fact revocation;
	TRY(ledger_client_fact(client, FACT_GRANT, span_of(oid, OID_SIZE), &arena, &grant, &status.seen, &status.size));
	TRY(ledger_client_fact(client, FACT_REVOCATION, span_of(oid, OID_SIZE), &arena, &revocation, &status.revoked, &status.size));
	if (status.seen) {
		status.from = grant.span.from;
		status.uses = grant.uses;
		TRY(look_above(client, &grant, &arena, &status.ended_above));
	}
	if (status.revoked) {
		status.revoked_at = revocation.from;
		memcpy(status.revoked_by, revocation.by, ADDRESS_SIZE);
	}
	*out = status;
	return OK;
}

const char *grant_status_word(const struct grant *grant, const struct grant_status *status, uint64_t now_ms)
{
	if (status->revoked)
		return "revoked";
	if (status->ended_above)
		return "revoked above";
	if (now_ms > grant->not_after)
		return "ended";
	if (grant->has_max_uses && status->uses >= grant->max_uses)
		return "used up";
	if (now_ms < grant->not_before)
		return "not yet";
	return status->seen ? "live" : "live, not seen by the ledger yet";
}

json_t *grant_status_json(const struct grant *grant, const struct grant_status *status, uint64_t now_ms)
{
	json_t *json = json_pack("{s:s, s:b, s:I, s:b, s:I}", "state", grant_status_word(grant, status, now_ms), "on_ledger", status->seen, "uses",
		(json_int_t)status->uses, "revoked", status->revoked, "as_of", (json_int_t)status->size);
	if (json && status->seen)
		json_object_set_new(json, "from", json_integer((json_int_t)status->from));
	if (json && status->revoked) {
		json_object_set_new(json, "revoked_at", json_integer((json_int_t)status->revoked_at));
		json_object_set_new(json, "revoked_by", json_address(status->revoked_by));
	}
	return json;
}
