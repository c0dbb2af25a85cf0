/*
 *   th   = H("troth-q1 sealed" ‖ lv(HELLO) ‖ lv(HELLO_REPLY without `queue hello` and confirmation))
 *   k    = HX(th, ECDH(host point, AP point) ‖ pairing secret)
 *   keys = EX(k, "host" | "ap", "", 32), one per sender; confirmation = EX(k, "confirm", "", 32); protocol word "q1"
 *
 * The signed object stays out of th because an ECDSA signature has more than one form; all that it signs is in th, and it
 * is verified before a key is used. The confirmation tells a host with another pairing secret at once; an AP
 * learns it from the first slot, which does not open, so it never acts for a host that it was not paired with.
 */
#include "root/ipq_sealed.h"

#include "base/reader.h"
#include "base/writer.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "object/object.h"

#include <stdlib.h>
#include <string.h>

enum { CREDENTIAL_NONE = 0, CREDENTIAL_EPOCH = 1 /* 2: device certificate of a card, reserved */ };

struct ipq_keys {
	uint8_t ikm[ECDH_SIZE + IPQ_PAIRING_SIZE];
	uint8_t prk[SHA256_SIZE];
	uint8_t host[AEAD_KEY_SIZE], ap[AEAD_KEY_SIZE], confirm[SHA256_SIZE];
};

static void keys_wipe(struct ipq_keys *keys)
{
	wipe(keys, sizeof *keys);
}

/* ---- life ---- */

result ipq_sealed_new(enum ipq_role role, struct span pairing, struct ipq_sealed **out)
{
	if (pairing.len != IPQ_PAIRING_SIZE)
		return fail(BAD_KEY, "a pairing secret has %d bytes, not %zu", (int)IPQ_PAIRING_SIZE, pairing.len);
	CLEANUP(ipq_sealed_free) struct ipq_sealed *sealed = (struct ipq_sealed *)calloc(1, sizeof *sealed);
	if (!sealed)
		return fail(NO_MEMORY, "a sealed queue");
	sealed->role = role;
	sealed->ephemeral = KEY_EMPTY;
	sealed->buffer = malloc(IPQ_PAYLOAD_MAX + AEAD_TAG_SIZE);
	if (!sealed->buffer)
		return fail(NO_MEMORY, "a sealed queue");
	TRY(secret_copy(pairing, &sealed->pairing));
	*out = sealed;
	sealed = NULL; /* transferred */
	return OK;
}

static void end_greeting(struct ipq_sealed *sealed)
{
	secret_free(&sealed->pairing);
	key_free(&sealed->ephemeral);
}

void ipq_sealed_free(struct ipq_sealed **at)
{
	struct ipq_sealed *sealed = at ? *at : NULL;
	if (!sealed)
		return;
	end_greeting(sealed);
	aead_free(&sealed->seal);
	aead_free(&sealed->open);
	free(sealed->buffer);
	free(sealed);
	*at = NULL;
}

/* ---- keys ---- */

static void transcript_hash(struct span hello, struct span reply, uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, span_str("troth-q1 sealed"));
	hash_add_lv(&hash, hello);
	hash_add_lv(&hash, reply);
	hash_finish(&hash, out);
}

static result derive(const struct ipq_sealed *sealed, struct span peer_point, struct span hello, struct span reply,
		     struct ipq_keys *out)
{
	uint8_t th[SHA256_SIZE];
	transcript_hash(hello, reply, th);
	result agreed = key_agree(&sealed->ephemeral, peer_point, out->ikm);
	if (agreed != OK)
		return fail_within(agreed, "the greeting's point");
	memcpy(out->ikm + ECDH_SIZE, sealed->pairing.data, IPQ_PAIRING_SIZE);
	hkdf_extract(SPAN_ARRAY(th), SPAN_ARRAY(out->ikm), out->prk);
	hkdf_expand_label(out->prk, "q1", "host", SPAN_EMPTY, out->host, sizeof out->host);
	hkdf_expand_label(out->prk, "q1", "ap", SPAN_EMPTY, out->ap, sizeof out->ap);
	hkdf_expand_label(out->prk, "q1", "confirm", SPAN_EMPTY, out->confirm, sizeof out->confirm);
	return OK;
}

static result take_keys(struct ipq_sealed *sealed, const struct ipq_keys *keys, uint64_t boot_gen)
{
	bool host = sealed->role == IPQ_HOST;
	TRY(aead_init_open(&sealed->open, host ? keys->ap : keys->host));
	TRY(aead_init_seal(&sealed->seal, host ? keys->host : keys->ap));
	sealed->boot_gen = boot_gen;
	end_greeting(sealed);
	return OK;
}

/* ---- greeting ---- */

static void put_head(struct writer *w)
{
	writer_u8(w, IPQ_VERSION);
	writer_u8(w, IPQ_PROFILE_SEALED);
	writer_u16(w, 0);
}

static result take_head(struct reader *r)
{
	uint8_t version, profile;
	uint16_t zero;
	TRY(reader_u8(r, &version));
	TRY(reader_u8(r, &profile));
	TRY(reader_u16(r, &zero));
	return version == IPQ_VERSION && profile == IPQ_PROFILE_SEALED && zero == 0 ? OK : QUEUE_HELLO;
}

static result check_unused(const struct ipq_sealed *sealed, enum ipq_role role)
{
	if (sealed->role != role || ipq_sealed_ready(sealed) || sealed->pairing.len == 0)
		return fail(ILLEGAL_STATE, "the greeting comes once, from its own end");
	return OK;
}

static void write_hello(const struct queue_hello *hello, uint8_t out[static IPQ_SEALED_HELLO_SIZE])
{
	struct writer w = writer_fixed(out, IPQ_SEALED_HELLO_SIZE);
	put_head(&w);
	writer_put(&w, hello->host_nonce, sizeof hello->host_nonce);
	writer_put(&w, hello->host_point, sizeof hello->host_point);
}

result ipq_sealed_hello(struct ipq_sealed *sealed, uint8_t out[static IPQ_SEALED_HELLO_SIZE])
{
	TRY(check_unused(sealed, IPQ_HOST));
	if (sealed->ephemeral.pkey)
		return fail(ILLEGAL_STATE, "HELLO was made already");
	TRY(key_generate(&sealed->ephemeral));
	sealed->hello.v = 1;
	random_bytes(sealed->hello.host_nonce, IPQ_NONCE_SIZE);
	memcpy(sealed->hello.host_point, sealed->ephemeral.point, POINT_SIZE);
	write_hello(&sealed->hello, out);
	return OK;
}

static result read_hello(struct span body, struct queue_hello *out)
{
	struct reader r = reader_of(body);
	if (take_head(&r) != OK || reader_copy(&r, out->host_nonce, IPQ_NONCE_SIZE) != OK ||
	    reader_copy(&r, out->host_point, POINT_SIZE) != OK || reader_finish(&r) != OK)
		return fail(QUEUE_HELLO, "the host's greeting is not one of profile sealed");
	return OK;
}

/* The part of HELLO_REPLY that goes into the transcript. */
static void put_reply(struct writer *w, const struct queue_hello *hello, struct span record)
{
	put_head(w);
	writer_u64(w, hello->boot_gen);
	writer_put(w, hello->host_nonce, sizeof hello->host_nonce);
	writer_put(w, hello->ap_nonce, sizeof hello->ap_nonce);
	writer_put(w, hello->ap_point, sizeof hello->ap_point);
	writer_u8(w, record.len ? CREDENTIAL_EPOCH : CREDENTIAL_NONE);
	writer_lv(w, record);
}

result ipq_sealed_answer(struct ipq_sealed *sealed, struct span hello_body, uint64_t boot_gen, ipq_sign_hello *sign,
			 void *context, struct bytes *out)
{
	TRY(check_unused(sealed, IPQ_AP));
	struct queue_hello *hello = &sealed->hello;
	CLEANUP(keys_wipe) struct ipq_keys keys;
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(IPQ_SEALED_REPLY_MAX);
	TRY(read_hello(hello_body, hello));
	hello->v = 1;
	hello->boot_gen = boot_gen;
	if (!sealed->ephemeral.pkey) { /* a test may have put a known one there, with its nonce */
		TRY(key_generate(&sealed->ephemeral));
		random_bytes(hello->ap_nonce, IPQ_NONCE_SIZE);
	}
	memcpy(hello->ap_point, sealed->ephemeral.point, POINT_SIZE);
	TRY(sign(context, hello, &record, &object));
	put_reply(&w, hello, bytes_span(&record));
	struct span reply;
	TRY(writer_finish(&w, &reply));
	TRY(derive(sealed, SPAN_ARRAY(hello->host_point), hello_body, reply, &keys));
	writer_lv(&w, bytes_span(&object));
	writer_put(&w, keys.confirm, sizeof keys.confirm);
	TRY(writer_take(&w, out));
	return take_keys(sealed, &keys, boot_gen);
}

struct reply {
	struct span transcript; /* the part that put_reply writes */
	struct span record, object, confirm;
};

/* Splits HELLO_REPLY; `hello` gets what the AP has added to what the host has sent. */
static result read_reply(struct span body, struct queue_hello *hello, struct reply *out)
{
	struct reader r = reader_of(body);
	uint8_t credential;
	struct span echo;
	TRY(take_head(&r));
	TRY(reader_u64(&r, &hello->boot_gen));
	TRY(reader_take(&r, IPQ_NONCE_SIZE, &echo));
	TRY(reader_copy(&r, hello->ap_nonce, IPQ_NONCE_SIZE));
	TRY(reader_copy(&r, hello->ap_point, POINT_SIZE));
	TRY(reader_u8(&r, &credential));
	TRY(reader_lv(&r, IPQ_CREDENTIAL_MAX, &out->record));
	out->transcript = span_of(body.data, body.len - reader_left(&r));
	TRY(reader_lv(&r, 1024, &out->object));
	TRY(reader_take(&r, SHA256_SIZE, &out->confirm));
	TRY(reader_finish(&r));
	bool rooted = credential == CREDENTIAL_EPOCH;
	if (hello->boot_gen == 0 || !span_equal(echo, SPAN_ARRAY(hello->host_nonce)) || credential > CREDENTIAL_EPOCH ||
	    (out->record.len != 0) != rooted || (out->object.len != 0) != rooted)
		return QUEUE_HELLO;
	return OK;
}

result ipq_sealed_finish(struct ipq_sealed *sealed, struct span body, ipq_judge_hello *judge, void *context,
			 uint64_t *out_boot_gen)
{
	TRY(check_unused(sealed, IPQ_HOST));
	if (!sealed->ephemeral.pkey)
		return fail(ILLEGAL_STATE, "HELLO was not made yet");
	CLEANUP(keys_wipe) struct ipq_keys keys;
	struct queue_hello *hello = &sealed->hello;
	struct reply reply;
	uint8_t own[IPQ_SEALED_HELLO_SIZE];
	if (read_reply(body, hello, &reply) != OK)
		return fail(QUEUE_HELLO, "the secure processor's greeting is not the one expected");
	write_hello(hello, own);
	TRY(derive(sealed, SPAN_ARRAY(hello->ap_point), SPAN_ARRAY(own), reply.transcript, &keys));
	if (!secret_equal(reply.confirm, SPAN_ARRAY(keys.confirm)))
		return fail(QUEUE_HELLO, "the ends of the queue have different pairing secrets, or the greeting was changed on its way");
	TRY(judge(context, hello, reply.record, reply.object));
	TRY(take_keys(sealed, &keys, hello->boot_gen));
	*out_boot_gen = hello->boot_gen;
	return OK;
}

result ipq_hello_verify(const struct queue_hello *hello, struct span object, const struct key *key,
			const uint8_t epoch_oid[static OID_SIZE])
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct queue_hello said;
	TRY(object_open(KIND_QUEUE_HELLO, object, key, &arena, &said, NULL));
	if (memcmp(said.host_nonce, hello->host_nonce, IPQ_NONCE_SIZE) != 0 || memcmp(said.ap_nonce, hello->ap_nonce, IPQ_NONCE_SIZE) != 0 ||
	    memcmp(said.host_point, hello->host_point, POINT_SIZE) != 0 || memcmp(said.ap_point, hello->ap_point, POINT_SIZE) != 0 ||
	    said.boot_gen != hello->boot_gen || memcmp(said.epoch_oid, epoch_oid, OID_SIZE) != 0)
		return fail(QUEUE_HELLO, "the secure processor signed another greeting");
	return OK;
}

/* ---- slots ---- */

enum { AAD_SIZE = 1 + 8 + IPQ_SEALED_HEAD };

/* role of the sender ‖ boot_gen u64 ‖ the head as it stands in the ring; nonce = 0^4 ‖ sequence number u64. */
static inline void bind_slot(enum ipq_role sender, uint64_t boot_gen, const uint64_t head[static 3], uint8_t aad[static AAD_SIZE],
			     uint8_t nonce[static AEAD_NONCE_SIZE])
{
	uint64_t gen = __builtin_bswap64(boot_gen), seq = __builtin_bswap64(head[0]);
	aad[0] = (uint8_t)sender;
	memcpy(aad + 1, &gen, sizeof gen);
	memcpy(aad + 9, head, IPQ_SEALED_HEAD);
	memset(nonce, 0, 4);
	memcpy(nonce + 4, &seq, sizeof seq);
}

result ipq_sealed_seal(struct ipq_sealed *sealed, const uint64_t head[static 3], struct span plain, uint8_t *out)
{
	uint8_t aad[AAD_SIZE], nonce[AEAD_NONCE_SIZE];
	bind_slot(sealed->role, sealed->boot_gen, head, aad, nonce);
	return aead_seal(&sealed->seal, nonce, SPAN_ARRAY(aad), plain, out);
}

result ipq_sealed_open(struct ipq_sealed *sealed, const uint64_t head[static 3], struct span cipher, uint8_t *out)
{
	uint8_t aad[AAD_SIZE], nonce[AEAD_NONCE_SIZE];
	bind_slot(sealed->role == IPQ_HOST ? IPQ_AP : IPQ_HOST, sealed->boot_gen, head, aad, nonce);
	return aead_open(&sealed->open, nonce, SPAN_ARRAY(aad), cipher, out);
}
