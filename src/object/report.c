#include "object/report.h"

#include <stdio.h>

#include "object/epoch.h"

static const struct field register_fields[] = {F_FIXED(struct register_value, 1, value)};
const struct schema register_schema = SCHEMA(struct register_value, "register", SHAPE_BARE, register_fields);

static const struct field launch_fields[] = {
	F_VERSION(struct launch, 1, v, 1),
	F_FIXED(struct launch, 2, launch_id),
	F_FIXED(struct launch, 3, run_id),
	F_TEXT(struct launch, 4, name, 1, NAME_MAX_LEN),
	F_FIXED(struct launch, 5, core),
	F_FIXED(struct launch, 6, measurement),
	F_FIXED(struct launch, 7, policy_digest),
	F_TEXT(struct launch, 8, tier, 1, 8),
	F_TEXT(struct launch, 9, isolation, 1, 16),
	F_TEXT(struct launch, 10, limits, 1, 16),
	F_TEXT(struct launch, 11, secret_memory, 1, 16),
	F_TEXT(struct launch, 12, interpreter, 1, 16),
	F_FIXED(struct launch, 13, keys_hash),
};
const struct schema launch_schema = SCHEMA(struct launch, "launch", SHAPE_MAP, launch_fields);

static const struct field report_fields[] = {
	F_VERSION(struct report, 1, v, 1),
	F_UINT(struct report, 2, purpose, REPORT_HOST),
	F_FIXED(struct report, 3, rot_id),
	F_UINT(struct report, 4, era, 0),
	F_UINT(struct report, 5, epoch, 0),
	F_FIXED(struct report, 6, epoch_oid),
	F_UINT(struct report, 7, boot_gen, 0),
	F_UINT(struct report, 8, seq, 0),
	F_FIXED_OR_NULL(struct report, 9, prev, has_prev),
	F_TIME(struct report, 10, time),
	F_BYTES(struct report, 11, challenge, 0, 64),
	F_LIST(struct report, 12, registers, register_count, &register_schema, 0, REGISTER_COUNT, REGISTER_COUNT),
	F_STRUCT_OR_NULL(struct report, 13, launch, has_launch, &launch_schema),
	F_FIXED_OR_NULL(struct report, 14, certificate, has_certificate),
	F_BOOL(struct report, 15, instrumented),
};
const struct schema report_schema = SCHEMA(struct report, "report", SHAPE_MAP, report_fields);

static const struct field tcb_info_fields[] = {
	F_FIXED(struct tcb_info, 1, core),
	F_FIXED(struct tcb_info, 2, measurement),
	F_FIXED(struct tcb_info, 3, launch_id),
	F_FIXED(struct tcb_info, 4, epoch_oid),
	F_TEXT(struct tcb_info, 5, tier, 1, 8),
	F_TEXT(struct tcb_info, 6, isolation, 1, 16),
};
const struct schema tcb_info_schema = SCHEMA(struct tcb_info, "tcb info", SHAPE_MAP, tcb_info_fields);

static const struct field rot_challenge_fields[] = {
	F_VERSION(struct rot_challenge, 1, v, 1),
	F_FIXED(struct rot_challenge, 2, challenge),
	F_FIXED(struct rot_challenge, 3, epoch_oid),
	F_FIXED(struct rot_challenge, 4, rot_id),
	F_UINT(struct rot_challenge, 5, era, 0),
	F_UINT(struct rot_challenge, 6, epoch, 0),
	F_UINT(struct rot_challenge, 7, boot_gen, 0),
	F_TEXT(struct rot_challenge, 8, purpose, 1, 32),
	F_TIME(struct rot_challenge, 9, time),
	F_LIST(struct rot_challenge, 10, registers, register_count, &register_schema, 0, REGISTER_COUNT, REGISTER_COUNT),
	F_BOOL(struct rot_challenge, 11, instrumented),
};
const struct schema rot_challenge_schema = SCHEMA(struct rot_challenge, "rot challenge", SHAPE_MAP, rot_challenge_fields);

static const struct field queue_hello_fields[] = {
	F_VERSION(struct queue_hello, 1, v, 1),
	F_FIXED(struct queue_hello, 2, host_nonce),
	F_FIXED(struct queue_hello, 3, host_point),
	F_FIXED(struct queue_hello, 4, ap_nonce),
	F_FIXED(struct queue_hello, 5, ap_point),
	F_UINT(struct queue_hello, 6, boot_gen, 0),
	F_FIXED(struct queue_hello, 7, epoch_oid),
};
const struct schema queue_hello_schema = SCHEMA(struct queue_hello, "queue hello", SHAPE_MAP, queue_hello_fields);

static const struct field derive_answer_fields[] = {
	F_VERSION(struct derive_answer, 1, v, 1),
	F_FIXED(struct derive_answer, 2, challenge_i),
	F_FIXED(struct derive_answer, 3, challenge_r),
	F_FIXED(struct derive_answer, 4, ephemeral_i),
	F_FIXED(struct derive_answer, 5, ephemeral_r),
	F_FIXED(struct derive_answer, 6, epoch_oid),
	F_TEXT(struct derive_answer, 7, id_i, 1, URI_MAX_LEN),
	F_TEXT(struct derive_answer, 8, id_r, 1, URI_MAX_LEN),
	F_TEXT(struct derive_answer, 9, purpose, 1, 64),
};
const struct schema derive_answer_schema = SCHEMA(struct derive_answer, "derive answer", SHAPE_MAP, derive_answer_fields);

void launch_keys_hash(const uint8_t sign_pk[static POINT_SIZE], const uint8_t kem_pk[static POINT_SIZE],
	uint8_t out[static SHA256_SIZE])
{
	uint8_t input[2 * (4 + POINT_SIZE)];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_lv(&w, span_of(sign_pk, POINT_SIZE));
	writer_lv(&w, span_of(kem_pk, POINT_SIZE));
	sha256(span_of(input, w.len), out);
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool name_is_valid(const char *name)
{
	size_t len = strlen(name);
	if (len < 1 || len > NAME_MAX_LEN || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_name_char(name[i]))
			return false;
	return true;
}

static bool is_domain(const char *domain)
{
	size_t len = strlen(domain);
	if (len < 1 || len > 120 || domain[0] == '.' || domain[len - 1] == '.')
		return false;
	return strspn(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len;
}

result ire_uri(const uint8_t rot_id[static OID_SIZE], const char *trust_domain, const char *name,
	char out[static URI_MAX_LEN + 1])
{
	if (!name_is_valid(name))
		return fail(BAD_VALUE, "'%s' is not a name ([A-Za-z0-9._-], at most 63)", name);
	if (!is_domain(trust_domain))
		return fail(BAD_VALUE, "'%s' is not a trust domain", trust_domain);
	char label[ROT_LABEL_SIZE];
	rot_label(rot_id, label);
	snprintf(out, URI_MAX_LEN + 1, "spiffe://%s.%s/ire/%s", label, trust_domain, name);
	return OK;
}

result ire_uri_name(const char *uri, const uint8_t rot_id[static OID_SIZE], const char **out_name)
{
	char prefix[sizeof("spiffe://.") + ROT_LABEL_SIZE], label[ROT_LABEL_SIZE];
	rot_label(rot_id, label);
	snprintf(prefix, sizeof(prefix), "spiffe://%s.", label);
	size_t prefix_len = strlen(prefix);
	if (strncmp(uri, prefix, prefix_len) != 0)
		return fail(CERTIFICATE_FOREIGN, "'%s' is not a name of the root %s", uri, label);
	const char *domain = uri + prefix_len, *path = strchr(domain, '/');
	if (!path || path == domain || strncmp(path, "/ire/", 5) != 0 || !name_is_valid(path + 5))
		return fail(BAD_VALUE, "'%s' is not the name of an IRE", uri);
	if (strspn(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-") != (size_t)(path - domain))
		return fail(BAD_VALUE, "'%s' is not the name of an IRE", uri);
	*out_name = path + 5;
	return OK;
}
