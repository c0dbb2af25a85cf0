/* The complete chain of a record, for an outside verifier who asks through the host (docs/PROTOCOL.dac "Complete bundle"). */
#include <stdio.h>

#include "base/log.h"
#include "enclave/bundle.h"
#include "enclave/runtime_internal.h"

static struct span policy_of(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	struct span policy;
	return records_policy(ctx, digest, "a launch", &policy) == OK ? policy : SPAN_EMPTY;
}

static struct span version_of(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	const struct runtime *rt = ctx;
	const struct policy_version *version = policy_versions_find(rt->versions, digest);
	return version ? version->object : SPAN_EMPTY;
}

static const struct epoch_chain *chain_of(void *ctx, const uint8_t rot_id[static OID_SIZE])
{
	const struct runtime *rt = ctx;
	struct root_view view;
	return foreign_view(rt, rot_id, &view) == OK ? view.chain : NULL;
}

/* What an enclave has to show: its newest result, else its newest record, else the last that it was handed and accepted. */
static const uint8_t *newest(const struct runtime *rt)
{
	if (rt->has_result)
		return rt->result_oid;
	if (rt->has_newest)
		return rt->newest_oid;
	return rt->has_accepted ? rt->accepted_oid : NULL;
}

/* The record that is meant, which must be one that counts here: nothing that was refused leaves as if it had been accepted. */
static result find_meant(struct runtime *rt, const struct control_bundle *asked, struct digest32 *out)
{
	struct dac_summary summary;
	const uint8_t *meant = asked->has_record ? asked->record : newest(rt);
	if (!rt->dac || !meant)
		return fail(DAC_NO_RESULT, "'%s'", rt->manifest.name);
	memcpy(out->bytes, meant, OID_SIZE);
	if (dac_find(rt->dac, out->bytes) == SIZE_MAX)
		return fail(DAC_UNKNOWN_RECORD, "'%s'", rt->manifest.name);
	TRY(dac_verify(rt->dac, &summary)); /* own records since the last one that came */
	return dac_require(rt->dac, out->bytes);
}

static result make_bundle(struct runtime *rt, const struct control_bundle *asked, struct bytes *out)
{
	struct digest32 root;
	struct bytes_item platform = {rt->prepare.platform};
	TRY(find_meant(rt, asked, &root));
	struct bundle_parts parts = {
		.dac = rt->dac,
		.roots = &root,
		.root_count = 1,
		.policy = policy_of,
		.version = version_of,
		.chain = chain_of,
		.ctx = rt,
		.references = rt->prepare.references,
		.reference_count = rt->prepare.reference_count,
		.platform = &platform,
		.platform_count = platform.bytes.len ? 1 : 0,
	};
	return bundle_encode(&parts, out);
}

result bundle_asked(struct runtime *rt, const struct control_message *message)
{
	CLEANUP(bytes_free) struct bytes bundle = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	char text[CONTROL_TEXT_MAX] = "";
	struct control_bundle asked;
	TRY(control_decode(message, &arena, &asked));
	struct control_bundle_is answer = {.text = text};
	result made = make_bundle(rt, &asked, &bundle);
	if (made == OK && bundle.len > CONTROL_MAX - (1 << 20))
		made = fail(DAC_TOO_LARGE, "a chain of %zu bytes", bundle.len);
	if (made != OK)
		snprintf(text, sizeof(text), "%s", failure_text());
	else
		answer.bundle = bytes_span(&bundle);
	answer.reason = (uint32_t)made;
	return runtime_send(rt, CONTROL_BUNDLE_IS, &answer);
}
