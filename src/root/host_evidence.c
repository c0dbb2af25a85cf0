#include "root/host_evidence.h"

#include "base/clock.h"
#include "base/file.h"
#include "root/host_internal.h"

enum { FRESH_MS = 5 * 60 * 1000 };

bool root_host_has_tpm(const struct root_host *host)
{
	return host->has_tpm;
}

/* Changing: a rotation and a quote are both work of the secure processor's one worker. */
static result quote(struct root_host *host, const struct root_identity *identity, struct span nonce, struct arena *arena, struct span *out)
{
	const struct ap_quote request = {nonce};
	struct ap_quoted reply;
	TRY(root_host_call_as(host, identity, IPQ_QUOTE, &ap_quote_schema, &request, &ap_quoted_schema, arena, &reply));
	*out = reply.evidence;
	return OK;
}

result root_host_quote(struct root_host *host, const struct root_identity *identity, struct span nonce, struct arena *arena, struct span *out)
{
	if (!host->has_tpm)
		return fail(TPM_UNAVAILABLE, "this root was made without a TPM");
	pthread_mutex_lock(&host->change_lock);
	result quoted = quote(host, identity, nonce, arena, out);
	pthread_mutex_unlock(&host->change_lock);
	return quoted;
}

result root_host_enrol(struct root_host *host, const struct ap_enrol *request, struct arena *arena, struct ap_enrolled *out)
{
	if (!host->has_tpm)
		return fail(TPM_UNAVAILABLE, "this root was made without a TPM");
	pthread_mutex_lock(&host->change_lock);
	result asked = root_host_call(host, IPQ_ENROL, &ap_enrol_schema, request, &ap_enrolled_schema, arena, out);
	pthread_mutex_unlock(&host->change_lock);
	return asked;
}

result root_host_tpm_head(struct root_host *host, const struct ap_head *request, struct arena *arena, struct ap_headed *out)
{
	if (!host->has_tpm)
		return fail(TPM_UNAVAILABLE, "this root was made without a TPM");
	pthread_mutex_lock(&host->change_lock);
	ROOT_IDENTITY_HELD identity = root_host_hold(host);
	result asked = identity ? root_host_call_as(host, identity, IPQ_HEAD, &ap_head_schema, request, &ap_headed_schema, arena, out) :
				  fail(NO_ROOT, "for a history");
	pthread_mutex_unlock(&host->change_lock);
	return asked;
}

static bool is_fresh(const struct host_evidence *kept, const struct root_identity *identity, uint64_t now_ns)
{
	return kept->bytes.len > 0 && memcmp(kept->epoch_oid, identity->epoch_oid, OID_SIZE) == 0 &&
		now_ns - kept->made_ns < FRESH_MS * UINT64_C(1000000);
}

static result renew(struct root_host *host, const struct root_identity *identity, uint64_t now_ns)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes copy = BYTES_EMPTY;
	struct host_evidence *kept = &host->evidence;
	struct span made;
	if (is_fresh(kept, identity, now_ns))
		return OK;
	TRY(quote(host, identity, SPAN_EMPTY, &arena, &made));
	TRY(bytes_copy(made, &copy));
	bytes_free(&kept->bytes);
	kept->bytes = bytes_move(&copy);
	kept->made_ns = now_ns;
	memcpy(kept->epoch_oid, identity->epoch_oid, OID_SIZE);
	return OK;
}

result root_host_evidence(struct root_host *host, const struct root_identity *identity, struct arena *arena, struct span *out)
{
	if (!host->has_tpm) {
		*out = SPAN_EMPTY;
		return OK;
	}
	pthread_mutex_lock(&host->change_lock);
	result done = renew(host, identity, clock_monotonic_ns());
	if (done == OK)
		done = arena_copy(arena, bytes_span(&host->evidence.bytes), out);
	pthread_mutex_unlock(&host->change_lock);
	return done;
}

result root_host_platform_trust(const struct root_host *host, struct arena *arena, struct span *out)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena scratch = arena_of(1 << 20);
	struct platform_trust trust;
	TRY(path_join(path, host->state_dir, "tpm.trust"));
	result read = file_read(path, PLATFORM_TRUST_MAX, &content);
	*out = SPAN_EMPTY;
	if (read == NOT_FOUND)
		return OK;
	TRY(read);
	result parsed = schema_decode(&platform_trust_schema, bytes_span(&content), &scratch, &trust);
	if (parsed != OK)
		return fail_within(parsed, "'%s'", path);
	return arena_copy(arena, bytes_span(&content), out);
}
