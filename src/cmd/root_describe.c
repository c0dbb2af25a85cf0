#include "cmd/root_describe.h"

#include <stdio.h>

#include "base/clock.h"
#include "wire/json.h"

const char *epoch_reason_name(unsigned reason)
{
	static const char *const names[] = {[EPOCH_INCEPTION] = "inception", [EPOCH_SCHEDULED] = "scheduled", [EPOCH_EVENT] = "event",
		[EPOCH_OPERATOR] = "operator", [EPOCH_SET_RECOVERY] = "set-recovery", [EPOCH_RECOVERY] = "recovery"};
	return reason < COUNT_OF(names) ? names[reason] : "unknown";
}

result root_decode(struct span record, struct arena *arena, struct epoch *out)
{
	struct cose_sign object;
	TRY(cose_strict_sign_parse(record, &object));
	return schema_decode(&epoch_schema, object.payload, arena, out);
}

static json_t *json_of_notes(const struct service_root *root)
{
	json_t *list = json_array();
	for (size_t i = 0; i < root->note_count; i++) {
		const struct service_note *note = &root->notes[i];
		json_array_append_new(list,
			json_pack("{s:o, s:I, s:I, s:s, s:b, s:s}", "time", json_time(note->time), "era", (json_int_t)note->era, "epoch",
				(json_int_t)note->epoch, "reason", epoch_reason_name(note->reason), "emergency", note->emergency, "text",
				note->text));
	}
	return list;
}

static void add_head(json_t *json, const struct epoch *head, const uint8_t rot_id[static OID_SIZE])
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	uint64_t now = clock_wall_ms();
	rot_fingerprint(rot_id, fingerprint);
	json_object_set_new(json, "fingerprint", json_string(fingerprint));
	json_object_set_new(json, "rot_id", json_hex(span_of(rot_id, OID_SIZE)));
	json_object_set_new(json, "era", json_integer((json_int_t)head->era));
	json_object_set_new(json, "epoch", json_integer((json_int_t)head->epoch));
	json_object_set_new(json, "reason", json_string(epoch_reason_name(head->reason)));
	json_object_set_new(json, "not_before", json_time(head->not_before));
	json_object_set_new(json, "not_after", json_time(head->not_after));
	json_object_set_new(json, "grace_s", json_integer((json_int_t)head->grace_s));
	json_object_set_new(json, "counter", json_string(head->counter.kind == COUNTER_TPM_NV ? "tpm_nv" : "none"));
	json_object_set_new(json, "counter_value", json_integer((json_int_t)head->counter.value));
	json_object_set_new(json, "recovery",
		head->has_recovery ? json_pack("{s:i, s:i}", "k", head->recovery.k, "n", head->recovery.n) : json_null());
	json_object_set_new(json, "exposure_s",
		json_integer(head->not_after > now ? (json_int_t)((head->not_after - now) / 1000) : 0));
	json_object_set_new(json, "exposure_bound", json_string("not_after"));
}

result root_print_json(const struct service_root *root, struct arena *arena)
{
	json_t *json = json_pack("{s:b, s:I, s:b, s:I, s:I, s:I, s:I, s:s, s:o, s:b}", "has_root", root->head.len > 0, "records",
		(json_int_t)root->records, "draining", root->draining, "drain_in_s", (json_int_t)(root->drain_in_ms / 1000), "period_s",
		(json_int_t)(root->period_ms / 1000), "rotations", (json_int_t)root->rotations, "failures", (json_int_t)root->failures,
		"last_failure", root->last_failure, "notes", json_of_notes(root), "candidate", root->candidate.len > 0);
	if (!json)
		return fail(NO_MEMORY, "json");
	json_object_set_new(json, "next_rotation_in_s", root->has_next ? json_integer((json_int_t)(root->next_in_ms / 1000)) : json_null());
	json_object_set_new(json, "refusal",
		root->refusal ? json_pack("{s:s, s:s}", "reason", reason_name((enum reason)root->refusal), "text", root->refusal_text)
			      : json_null());
	result described = OK;
	if (root->head.len > 0) {
		struct epoch head, first;
		uint8_t rot_id[OID_SIZE];
		described = root_decode(root->head, arena, &head);
		if (described == OK)
			described = epoch_open_inception(root->inception, arena, &first, rot_id);
		if (described == OK)
			add_head(json, &head, rot_id);
	}
	if (described == OK)
		described = json_print(stdout, json);
	json_decref(json);
	return described;
}
