#include "root/ap_tpm.h"

#include "base/reader.h"
#include "base/writer.h"
#include "crypto/random.h"
#include "object/evidence.h"
#include "root/rot_keys.h"
#include "root/tpm_order.h"

enum { PLACE_SIZE = 4 };

static result count(void *context, uint64_t *out_value)
{
	struct ap_tpm *t = context;
	TRY(tpm_counter_increment(t->tpm, t->counter_index, t->counter_auth));
	return tpm_counter_read(t->tpm, t->counter_index, t->counter_auth, out_value);
}

static result random_part(void *context, uint8_t *out, size_t len)
{
	struct ap_tpm *t = context;
	return tpm_random(t->tpm, out, len);
}

static result extend(void *context, const uint8_t digest[static SHA256_SIZE])
{
	struct ap_tpm *t = context;
	return tpm_pcr_extend(t->tpm, TPM_MIRROR_PCR, digest);
}

static result identify(void *context, struct ap_platform_identity *out)
{
	struct ap_tpm *t = context;
	struct tpm_identity identity = {0};
	TRY(tpm_identify(t->tpm, &identity));
	*out = (struct ap_platform_identity){identity.ek_public, identity.ek_certificate, identity.ak_public}; /* transferred */
	return OK;
}

static result quote(void *context, const uint8_t binding[static SHA256_SIZE], struct ap_platform_quote *out)
{
	struct ap_tpm *t = context;
	struct ap_platform_quote made = {.pcrs = AP_TPM_QUOTED};
	TRY(tpm_pcr_read(t->tpm, made.pcrs, made.values));
	TRY(tpm_quote(t->tpm, span_of(binding, SHA256_SIZE), made.pcrs, &made.attest, &made.signature));
	*out = made; /* transferred */
	return OK;
}

static result activate(void *context, struct span credential, struct span encrypted, struct secret *out)
{
	struct ap_tpm *t = context;
	return tpm_activate(t->tpm, credential, encrypted, out);
}

static void put_pins(const struct pin_mirror *pins, uint8_t out[static TPM_RECORD_SIZE])
{
	struct writer w = writer_fixed(out, TPM_RECORD_SIZE);
	writer_u64(&w, pins->seq);
	writer_u32(&w, pins->era);
	writer_u64(&w, pins->epoch);
	writer_put(&w, pins->digest, sizeof(pins->digest));
}

static result keep_pins(void *context, const struct pin_mirror *pins)
{
	struct ap_tpm *t = context;
	uint8_t bytes[TPM_RECORD_SIZE] = {0};
	put_pins(pins, bytes);
	return tpm_record_write(t->tpm, t->pins_index, t->pins_auth, bytes);
}

/* Made when there is none: its birth is its first entry, before anything of the host's. */
static result make_head(struct ap_tpm *t, const uint8_t birth[static SHA256_SIZE], uint32_t *out_index)
{
	uint32_t index;
	TRY(tpm_head_define(t->tpm, t->head_auth, &index));
	TRY(tpm_head_extend(t->tpm, index, t->head_auth, birth));
	*out_index = index;
	return OK;
}

static result head(void *context, const struct ap_platform_head *request, struct ap_platform_headed *out)
{
	struct ap_tpm *t = context;
	CLEANUP(ap_platform_headed_free) struct ap_platform_headed made = {.index = request->index};
	if (made.index == 0)
		TRY(make_head(t, request->birth, &made.index));
	if (request->digest)
		TRY(tpm_head_extend(t->tpm, made.index, t->head_auth, request->digest));
	TRY(tpm_head_read(t->tpm, made.index, t->head_auth, made.head));
	if (request->nonce.len)
		TRY(tpm_head_certify(t->tpm, made.index, t->head_auth, request->nonce, &made.attest, &made.signature));
	*out = made;
	made.attest = made.signature = BYTES_EMPTY; /* transferred */
	return OK;
}

static result read_pins(struct ap_tpm *t, struct pin_mirror *out)
{
	uint8_t bytes[TPM_RECORD_SIZE];
	struct span digest;
	TRY(tpm_record_read(t->tpm, t->pins_index, t->pins_auth, bytes));
	struct reader r = reader_of(SPAN_ARRAY(bytes));
	TRY(reader_u64(&r, &out->seq));
	TRY(reader_u32(&r, &out->era));
	TRY(reader_u64(&r, &out->epoch));
	TRY(reader_take(&r, sizeof(out->digest), &digest));
	memcpy(out->digest, digest.data, sizeof(out->digest));
	return reader_finish(&r);
}

/* Whoever can use the TPM but lacks the wrap key cannot count, nor say what is pinned. */
static void derive_auth(const struct secret *wrap_key, const char *what, uint8_t out[static TPM_COUNTER_AUTH_SIZE])
{
	uint8_t prk[SHA256_SIZE];
	hkdf_extract(span_str("troth-aptpm1"), secret_span(wrap_key), prk);
	hkdf_expand_label(prk, "aptpm1", what, SPAN_EMPTY, out, TPM_COUNTER_AUTH_SIZE);
	wipe(prk, sizeof(prk));
}

/* The wrap key and where the mirror of the pin store is: sealed with it, as nobody may say that there is none. */
static result seal_key(struct ap_tpm *t, uint32_t pcrs, const struct secret *key, struct bytes *out)
{
	CLEANUP(secret_free) struct secret content = SECRET_EMPTY;
	struct span written;
	TRY(secret_new(WRAP_KEY_SIZE + PLACE_SIZE, &content));
	struct writer w = writer_fixed(content.data, content.len);
	writer_span(&w, secret_span(key));
	writer_u32(&w, t->pins_index);
	TRY(writer_finish(&w, &written));
	return tpm_seal(t->tpm, pcrs, written, out);
}

/* Roots of before there was a mirror have sealed the key alone. */
static result take_sealed(struct ap_tpm *t, const struct secret *content, struct secret *out_key)
{
	struct reader r = reader_of(secret_span(content));
	struct span key;
	if (content->len != WRAP_KEY_SIZE && content->len != WRAP_KEY_SIZE + PLACE_SIZE)
		return fail(TPM_FOREIGN, "a sealed key of %zu bytes", content->len);
	TRY(reader_take(&r, WRAP_KEY_SIZE, &key));
	t->platform.has_pins = reader_left(&r) > 0;
	if (t->platform.has_pins)
		TRY(reader_u32(&r, &t->pins_index));
	return secret_copy(key, out_key);
}

/* What somebody took away is told when it is asked for. */
static result look(struct ap_tpm *t)
{
	struct ap_platform *platform = &t->platform;
	platform->counter_state = tpm_counter_read(t->tpm, t->counter_index, t->counter_auth, &platform->counter);
	if (platform->counter_state != OK && platform->counter_state != TAMPERED)
		return platform->counter_state;
	platform->pins_state = platform->has_pins ? read_pins(t, &platform->pins) : OK;
	return platform->pins_state == TAMPERED ? OK : platform->pins_state;
}

static result enrol(struct ap_tpm *t, uint32_t pcrs, struct secret *out_wrap_key, struct bytes *out_keep)
{
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes sealed = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(AP_TPM_BLOB_MAX);
	uint8_t part[WRAP_KEY_SIZE];
	TRY(secret_new(WRAP_KEY_SIZE, &key));
	random_bytes(key.data, key.len);
	TRY(tpm_random(t->tpm, part, sizeof(part)));
	for (size_t i = 0; i < sizeof(part); i++)
		key.data[i] ^= part[i];
	wipe(part, sizeof(part));
	derive_auth(&key, "counter", t->counter_auth);
	derive_auth(&key, "pins", t->pins_auth);
	derive_auth(&key, "head", t->head_auth);
	TRY(tpm_record_define(t->tpm, t->pins_auth, &t->pins_index));
	t->platform.has_pins = true;
	TRY(seal_key(t, pcrs, &key, &sealed));
	TRY(tpm_counter_define(t->tpm, t->counter_auth, &t->counter_index, &t->platform.counter));
	tpm_order_put_sealed(&w, t->counter_index, bytes_span(&sealed));
	TRY(writer_take(&w, out_keep));
	*out_wrap_key = secret_move(&key);
	return OK;
}

static result resume(struct ap_tpm *t, const struct tpm_order *order, struct secret *out_wrap_key)
{
	CLEANUP(secret_free) struct secret content = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	TRY(tpm_unseal(t->tpm, order->sealed, &content));
	TRY(take_sealed(t, &content, &key));
	derive_auth(&key, "counter", t->counter_auth);
	derive_auth(&key, "pins", t->pins_auth);
	derive_auth(&key, "head", t->head_auth);
	t->counter_index = order->counter_index;
	TRY(look(t));
	*out_wrap_key = secret_move(&key);
	return OK;
}

result ap_tpm_open(int fd, struct span order_bytes, struct ap_tpm *t, struct secret *out_wrap_key, struct bytes *out_keep)
{
	struct tpm_order order;
	*t = (struct ap_tpm){.platform = {.context = t, .count = count, .random = random_part, .extend = extend, .identify = identify,
				     .quote = quote, .activate = activate, .keep_pins = keep_pins, .head = head}};
	TRY(tpm_order_read(order_bytes, &order));
	TRY(tpm_open(fd, &t->tpm));
	TRY(tpm_pcr_reset(t->tpm, TPM_MIRROR_PCR));
	return order.is_new ? enrol(t, order.pcrs, out_wrap_key, out_keep) : resume(t, &order, out_wrap_key);
}

void ap_tpm_close(struct ap_tpm *t)
{
	tpm_close(t->tpm);
	wipe(t, sizeof(*t));
}
