/*
 * Revocation heads: which lists the enclaves of this host are to obey, said anew every second. The secure processor cannot
 * read the lists, which may be large; it holds to what they are called: nothing goes back while it runs.
 */
#include "root/ap_internal.h"

void ap_tick(struct ap *ap, uint64_t steady_ms)
{
	if (steady_ms > ap->steady_ms)
		ap->steady_ms = steady_ms;
}

static struct revocation_head_row *known_list(struct ap *ap, const struct revocation_head_row *row)
{
	for (size_t i = 0; i < ap->revocation_count; i++)
		if (memcmp(ap->revocations[i].operator_id, row->operator_id, KEY_ID_SIZE) == 0)
			return &ap->revocations[i];
	return NULL;
}

static result check_list(struct ap *ap, const struct revocation_head_row *row)
{
	const struct revocation_head_row *known = known_list(ap, row);
	if (!known)
		return OK;
	if (row->version < known->version)
		return fail(REVOCATION_OLD, "version %llu after %llu", (unsigned long long)row->version,
			(unsigned long long)known->version);
	if (row->version == known->version && memcmp(row->oid, known->oid, OID_SIZE) != 0)
		return fail(REVOCATION_CONFLICT, "version %llu", (unsigned long long)row->version);
	return OK;
}

static result check_lists(struct ap *ap, const struct ap_sign_revocation *request)
{
	size_t fresh = 0;
	TRY(revocation_lease_allowed(request->lease_ms, request->list_count));
	for (size_t i = 0; i < request->list_count; i++) {
		const struct revocation_head_row *row = &request->lists[i];
		if (row->version < 1)
			return fail(BAD_VALUE, "versions of a list count from 1");
		if (i > 0 && memcmp(request->lists[i - 1].operator_id, row->operator_id, KEY_ID_SIZE) == 0)
			return fail(BAD_VALUE, "two lists of one operator");
		TRY(check_list(ap, row));
		fresh += !known_list(ap, row);
	}
	if (ap->revocation_count + fresh > AP_MAX_REVOCATION_LISTS)
		return fail(TOO_LARGE, "lists of more than %d operators in one boot", AP_MAX_REVOCATION_LISTS);
	return OK;
}

static void remember_lists(struct ap *ap, const struct ap_sign_revocation *request)
{
	for (size_t i = 0; i < request->list_count; i++) {
		struct revocation_head_row *known = known_list(ap, &request->lists[i]);
		*(known ? known : &ap->revocations[ap->revocation_count++]) = request->lists[i];
	}
}

result ap_sign_revocation_head(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out)
{
	struct ap_sign_revocation request;
	TRY(schema_decode(&ap_sign_revocation_schema, body, &ap->scratch, &request));
	TRY(check_lists(ap, &request));
	struct revocation_head head = {
		.v = 1,
		.boot_gen = ap->boot_gen,
		.seq = ap->revocation_seq + 1,
		.time = now_ms > ap->high_water ? now_ms : ap->high_water,
		.steady = ap->steady_ms,
		.lease_ms = request.lease_ms,
		.lists = request.lists,
		.list_count = request.list_count,
	};
	memcpy(head.rot_id, ap->rot_id, OID_SIZE);
	memcpy(head.epoch_oid, ap->current.oid, OID_SIZE);
	TRY(object_sign(KIND_REVOCATION_HEAD, &head, &ap->current.keys.sign, out, NULL));
	ap->revocation_seq++;
	remember_lists(ap, &request);
	return OK;
}
