/* Revocation lists beside a receipt (docs/PROTOCOL.revocation "Offline"). */
#include "receipt/verify.h"

static bool is_trusted(const struct trust *trust, const uint8_t *id)
{
	for (size_t i = 0; i < trust->revocation_key_count; i++)
		if (memcmp(trust->revocation_keys[i].bytes, id, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

static result check_list(const struct trust *trust, const struct revocation_set *set, const struct revocation_view *list)
{
	if (!is_trusted(trust, list->operator_id))
		return fail(REVOCATION_KEY_UNKNOWN, "the trust file does not name this operator under 'revocation_keys'");
	for (size_t i = 0; i < set->count; i++)
		if (memcmp(set->lists[i].operator_id, list->operator_id, KEY_ID_SIZE) == 0)
			return fail(REVOCATION_CONFLICT, "versions %llu and %llu of one operator's list; give the newest alone",
				(unsigned long long)set->lists[i].version, (unsigned long long)list->version);
	return OK;
}

result verify_revocations(const struct trust *trust, const struct span *lists, size_t count, struct revocation_set *out)
{
	struct revocation_set set = {.count = 0};
	result checked = count > REVOCATION_MAX_LISTS ? fail(TOO_LARGE, "%zu revocation lists", count) : OK;
	for (size_t i = 0; i < count && checked == OK; i++) {
		struct revocation_view *view = &set.lists[set.count];
		checked = revocation_open(lists[i], NULL, view);
		if (checked != OK)
			break;
		checked = check_list(trust, &set, view);
		set.count++;
	}
	if (checked != OK) {
		revocation_set_free(&set);
		return checked;
	}
	*out = set;
	return OK;
}
