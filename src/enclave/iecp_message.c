#include "enclave/iecp_internal.h"

bool iecp_epoch_is_zero(const struct iecp_epoch *epoch)
{
	static const uint8_t zero[32];

	return epoch->era == 0 && epoch->epoch == 0 && memcmp(epoch->rot_id, zero, sizeof zero) == 0 &&
		memcmp(epoch->oid, zero, sizeof zero) == 0;
}

void iecp_epoch_put(struct writer *w, const struct iecp_epoch *epoch)
{
	writer_put(w, epoch->rot_id, sizeof epoch->rot_id);
	writer_u32(w, epoch->era);
	writer_u64(w, epoch->epoch);
	writer_put(w, epoch->oid, sizeof epoch->oid);
}

static result read_epoch(struct reader *r, struct iecp_epoch *out)
{
	TRY(reader_copy(r, out->rot_id, sizeof out->rot_id));
	TRY(reader_u32(r, &out->era));
	TRY(reader_u64(r, &out->epoch));
	return reader_copy(r, out->oid, sizeof out->oid);
}

static result read_version(struct reader *r)
{
	uint8_t version;

	TRY(reader_u8(r, &version));
	if (version != IECP_VERSION)
		return fail(UNKNOWN_VERSION, "IECP version %u", version);
	return OK;
}

result iecp_unframe(struct span frame, size_t max, struct span *out)
{
	struct reader r = reader_of(frame);
	struct span content;

	TRY(reader_lv(&r, max, &content));
	TRY(reader_finish(&r));
	*out = content;
	return OK;
}

bool iecp_m1_offers(const struct iecp_m1 *m1, uint16_t suite)
{
	for (size_t i = 0; i < m1->suite_count; i++)
		if (m1->suites[i] == suite)
			return true;
	return false;
}

static result read_suites(struct reader *r, struct iecp_m1 *m1)
{
	uint8_t count;

	TRY(reader_u8(r, &count));
	if (count == 0 || count > IECP_MAX_SUITES)
		return fail(BAD_VALUE, "M1 lists %u suites", count);
	for (uint8_t i = 0; i < count; i++) {
		uint16_t suite;
		TRY(reader_u16(r, &suite));
		if (suite == 0 || iecp_m1_offers(m1, suite))
			return fail(BAD_VALUE, "M1 lists suite %u, which is none or stands twice", suite);
		m1->suites[m1->suite_count++] = suite;
	}
	return OK;
}

static result check_hybrid_key(const struct iecp_m1 *m1)
{
	size_t expected = iecp_m1_offers(m1, IECP_SUITE_HYBRID) ? IECP_HYBRID_KEY_SIZE : 0;

	if (m1->hybrid_key.len != expected)
		return fail(BAD_VALUE, "the hybrid key of M1 has %zu bytes, its suites ask for %zu", m1->hybrid_key.len, expected);
	return OK;
}

result iecp_m1_decode(struct span message, struct iecp_m1 *out)
{
	struct reader r = reader_of(message);
	struct iecp_m1 m1 = {0};

	if (message.len > IECP_MAX_M1)
		return fail(TOO_LARGE, "M1 of %zu bytes", message.len);
	TRY(read_version(&r));
	TRY(read_suites(&r, &m1));
	TRY(reader_take(&r, IECP_NONCE_SIZE, &m1.nonce));
	TRY(read_epoch(&r, &m1.epoch));
	TRY(reader_lv(&r, IECP_MAX_M1, &m1.certificate));
	TRY(reader_take(&r, POINT_SIZE, &m1.ephemeral));
	TRY(reader_lv(&r, IECP_MAX_M1, &m1.hybrid_key));
	TRY(reader_finish(&r));
	TRY(check_hybrid_key(&m1));
	if (m1.certificate.len == 0)
		return fail(BAD_CERTIFICATE, "M1 brings no certificate");
	*out = m1;
	return OK;
}

/* A box is at least its tag and one byte; anything shorter cannot be one. */
static result read_box(struct reader *r, struct span *out)
{
	struct span box;

	TRY(reader_lv(r, IECP_MAX_BOX, &box));
	if (box.len <= AEAD_TAG_SIZE)
		return fail(TRUNCATED, "a box of %zu bytes", box.len);
	*out = box;
	return OK;
}

result iecp_m2_decode(struct span message, struct iecp_m2 *out)
{
	struct reader r = reader_of(message);
	struct iecp_m2 m2 = {0};
	struct span nonce;

	if (message.len > IECP_MAX_M2)
		return fail(TOO_LARGE, "M2 of %zu bytes", message.len);
	TRY(read_version(&r));
	TRY(reader_u16(&r, &m2.suite));
	TRY(reader_take(&r, IECP_NONCE_SIZE, &nonce));
	TRY(reader_take(&r, POINT_SIZE, &m2.ephemeral));
	TRY(reader_lv(&r, IECP_HYBRID_CT_SIZE, &m2.hybrid_ct));
	m2.head = span_of(message.data, message.len - reader_left(&r));
	TRY(reader_take(&r, IECP_WRAP_SIZE, &m2.wrap));
	TRY(read_box(&r, &m2.box));
	TRY(reader_finish(&r));
	if (m2.hybrid_ct.len != (m2.suite == IECP_SUITE_HYBRID ? IECP_HYBRID_CT_SIZE : 0))
		return fail(BAD_VALUE, "M2 picks suite %u and brings a hybrid ciphertext of %zu bytes", m2.suite, m2.hybrid_ct.len);
	*out = m2;
	return OK;
}

result iecp_m3_decode(struct span message, struct span *out_box)
{
	struct reader r = reader_of(message);
	struct span box;

	TRY(read_box(&r, &box));
	TRY(reader_finish(&r));
	*out_box = box;
	return OK;
}

result iecp_box_r_decode(struct span plain, struct iecp_box_r *out)
{
	struct reader r = reader_of(plain);
	struct iecp_box_r box = {0};

	TRY(reader_lv(&r, IECP_EPOCH_SIZE, &box.epoch_bytes));
	TRY(reader_lv(&r, IECP_MAX_BOX, &box.certificate));
	TRY(reader_lv(&r, IECP_MAX_BOX, &box.evidence));
	TRY(reader_take(&r, SIGNATURE_SIZE, &box.signature));
	TRY(reader_take(&r, SHA256_SIZE, &box.finished));
	TRY(reader_finish(&r));

	struct reader epoch = reader_of(box.epoch_bytes);
	TRY(read_epoch(&epoch, &box.epoch));
	TRY(reader_finish(&epoch));
	if (box.certificate.len == 0)
		return fail(BAD_CERTIFICATE, "M2 brings no certificate");
	*out = box;
	return OK;
}

result iecp_box_i_decode(struct span plain, struct iecp_box_i *out)
{
	struct reader r = reader_of(plain);
	struct iecp_box_i box = {0};

	TRY(reader_lv(&r, IECP_MAX_BOX, &box.evidence));
	TRY(reader_take(&r, SIGNATURE_SIZE, &box.signature));
	TRY(reader_take(&r, SHA256_SIZE, &box.finished));
	TRY(reader_finish(&r));
	*out = box;
	return OK;
}
