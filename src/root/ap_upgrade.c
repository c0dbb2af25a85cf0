#include "root/ap_internal.h"

/*
 * Upgrades (docs/UPGRADE.md). The registers that this root expects name exactly one build of each program. A signed reference
 * set of an enrolled author may allow others beforehand: when such a build is measured at a start, its registers become the
 * expected ones, durably, before anything is endorsed.
 */

/* ---- Measured programs ------------------------------------------------------------------------------ */

/* The host event must not smuggle in other settings with an allowed program: another trust domain, an instrumented build. */
result ap_upgrade_note_host(struct ap *ap, struct span content)
{
	struct ap_measured_host event;
	ap->host_settings_fit = false;
	if (schema_decode(&ap_measured_host_schema, content, &ap->scratch, &event) != OK)
		return OK; /* not in the form of an upgrade: it can only be what it was before */
	memcpy(ap->host_measurement, event.host, SHA384_SIZE);
	memcpy(ap->ire_measurement, event.ire, SHA384_SIZE);
	ap->host_settings_fit = strcmp(event.trust_domain, ap->trust_domain) == 0 &&
		strcmp(event.build_mode, ap->instrumented ? "instrumented" : "release") == 0 && event.without_namespaces == ap->without_namespaces;
	return OK;
}

static bool is_expected(const struct ap *ap, enum register_index index)
{
	return memcmp(&ap->references[index], &ap->log.registers[index], SHA384_SIZE) == 0;
}

result ap_upgrade_judge_ap(const struct ap *ap)
{
	return is_expected(ap, REGISTER_AP) ? OK : upgrades_allow(&ap->upgrades, UPGRADE_AP, ap->ap_measurement);
}

result ap_upgrade_judge(const struct ap *ap)
{
	TRY(ap_upgrade_judge_ap(ap));
	if (is_expected(ap, REGISTER_HOST))
		return OK;
	if (!ap->host_settings_fit)
		return fail(MEASUREMENT_WRONG, "phase 1 has other settings: trust domain or build mode");
	TRY(upgrades_allow(&ap->upgrades, UPGRADE_HOST, ap->host_measurement));
	return upgrades_allow(&ap->upgrades, UPGRADE_IRE, ap->ire_measurement);
}

result ap_upgrade_adopt(struct ap *ap)
{
	struct register_value former[2];
	memcpy(former, ap->references, sizeof(former));
	memcpy(ap->references, ap->log.registers, sizeof(ap->references));
	result encoded = ap_encode_state(ap);
	if (encoded != OK) {
		memcpy(ap->references, former, sizeof(former));
		return encoded;
	}
	ap->state = AP_READY;
	ap->measurement_failed = false;
	ap->failure[0] = '\0';
	ap->waiting = true;
	return OK;
}

/* ---- Sealing anew ------------------------------------------------------------------------------------ */

/* The newest measurement of an enclave: the row of the highest svn. */
static const struct reference_row *newest_measurement(const struct reference_entry *entry)
{
	const struct reference_row *newest = NULL;
	for (size_t i = 0; i < entry->row_count; i++)
		if (entry->rows[i].what == REFERENCE_MEASUREMENT && (!newest || entry->rows[i].svn > newest->svn))
			newest = &entry->rows[i];
	return newest;
}

/* H("troth reseal1" ‖ old seal oid ‖ policy): instead of a box there is the object that this one was made from. */
static void reseal_hash(const uint8_t old_oid[static OID_SIZE], struct span policy, uint8_t out[static SHA256_SIZE])
{
	uint8_t input[13 + OID_SIZE + 512];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_str(&w, "troth reseal1");
	writer_put(&w, old_oid, OID_SIZE);
	writer_span(&w, policy);
	sha256(span_of(input, w.len), out);
}

/*
 * From the measurement that a secret was sealed to, to the newest of the same enclave. The set must list both: the author says
 * that the one follows the other, and never to a lower svn.
 */
static result next_policy(const struct seal_policy *policy, const struct reference_set *set, struct seal_policy *out)
{
	const struct reference_entry *entry = reference_set_entry(set, policy->name);
	const struct reference_row *from, *to;
	if (policy->v != SEAL_BY_MEASUREMENT)
		return fail(BAD_VALUE, "the secret is sealed by reference and opens with a newer set; nothing is to be sealed anew");
	if (!entry || !(from = reference_find(entry, REFERENCE_MEASUREMENT, policy->measurement)) || !(to = newest_measurement(entry)))
		return fail(REFERENCE_MISSING, "set '%s' does not list the measurement of '%s' that this secret is sealed to", set->name,
			policy->name);
	if (to->svn < from->svn || to->svn < entry->min_svn)
		return fail(SVN_TOO_LOW, "'%s' would go from SVN %u to %u", policy->name, from->svn, to->svn);
	*out = *policy;
	memcpy(out->measurement, to->digest, SHA384_SIZE);
	return OK;
}

static result reseal(struct ap *ap, const struct reference_set *set, struct span object, struct bytes *out)
{
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct sealed sealed;
	struct seal_policy policy;
	uint8_t oid[OID_SIZE], hash[SHA256_SIZE];
	TRY(object_peek(KIND_SEALED, object, &ap->scratch, &sealed, oid));
	if (memcmp(sealed.policy.rot_id, ap->rot_id, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the secret is sealed for another root");
	TRY(next_policy(&sealed.policy, set, &policy));
	TRY(ap_sealed_open(ap, &sealed, &secret));
	TRY(schema_encode(&seal_policy_schema, &policy, &encoding));
	reseal_hash(oid, bytes_span(&encoding), hash);
	return ap_sealed_make(ap, &policy, hash, &secret, out);
}

/* ---- The request -------------------------------------------------------------------------------------- */

/* After a phase that did not match: does the new set allow what was measured? */
static result end_failure(struct ap *ap)
{
	if (!ap->measurement_failed || !ap->phase_complete[0] || !ap->phase_complete[1])
		return fail(NOT_READY, "there is no measured mismatch that a set could end");
	TRY(ap_upgrade_judge(ap));
	return ap_upgrade_adopt(ap);
}

static result apply(struct ap *ap, const struct ap_authorise *request, uint64_t now_ms)
{
	CLEANUP(bytes_free) struct bytes sealed = BYTES_EMPTY;
	struct reference_set set;
	struct ap_authorised answer = {SPAN_EMPTY};
	bool failed = ap->state == AP_FAILED;
	if (failed && (request->enrol || request->sealed.len))
		return fail(MEASUREMENT_WRONG, "authors are enrolled and secrets sealed anew only while the measured programs run; %s",
			ap->failure);
	TRY(upgrades_take(&ap->upgrades, request->set, request->enrol, now_ms, &ap->scratch, &set));
	if (request->sealed.len)
		TRY(reseal(ap, &set, request->sealed, &sealed));
	answer.sealed = bytes_span(&sealed);
	TRY(ap_reply_with(ap, &ap_authorised_schema, &answer));
	bytes_free(&ap->upgrades_bytes);
	TRY(upgrades_encode(&ap->upgrades, &ap->upgrades_bytes));
	return failed ? end_failure(ap) : ap_encode_state(ap);
}

result ap_handle_authorise(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_authorise request;
	TRY(schema_decode(&ap_authorise_schema, body, &ap->scratch, &request));
	if (ap->prepared) /* what it will write was made from the state as it is */
		return fail(ROTATION_RUNNING, "the last rotation could not be written; rotate again first");
	struct upgrades former = ap->upgrades;
	result applied = apply(ap, &request, now_ms);
	if (applied != OK) {
		ap->upgrades = former;
		bytes_free(&ap->upgrades_bytes);
		bool any = former.author_count || former.set_count || former.row_count;
		if (any && upgrades_encode(&former, &ap->upgrades_bytes) != OK)
			return fail_within(NO_MEMORY, "putting the former authorisations back");
		return applied;
	}
	ap->waiting = true;
	return OK;
}
