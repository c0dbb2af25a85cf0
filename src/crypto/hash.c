/* SHA-256 of a few bytes, of which ledgers and maps are made: a context of EVP costs more than the blocks. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "crypto/hash.h"

#include "crypto/library.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

enum { SHA256_BLOCK = 64, HKDF_BLOCKS_MAX = 255 };

/* ---- contexts: taken from and given back to the thread, always initialised and empty ---- */

static EVP_MD_CTX *context_take(enum hash_algorithm algorithm)
{
	struct library_thread *thread = library_thread();
	if (thread->ready_count[algorithm] > 0)
		return thread->ready[algorithm][--thread->ready_count[algorithm]];

	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (ctx && !EVP_DigestInit_ex2(ctx, library()->digest[algorithm], NULL)) {
		EVP_MD_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static EVP_MD_CTX *context_take_or_abort(enum hash_algorithm algorithm)
{
	EVP_MD_CTX *ctx = context_take(algorithm);
	if (!ctx)
		library_broken("EVP_DigestInit");
	return ctx;
}

/* Empties the state, which may depend on a key. */
static void context_restart(EVP_MD_CTX *ctx)
{
	if (!EVP_DigestInit_ex2(ctx, NULL, NULL))
		library_broken("EVP_DigestInit");
}

static void context_give(EVP_MD_CTX *ctx, enum hash_algorithm algorithm)
{
	struct library_thread *thread = library_thread();
	if (thread->ready_count[algorithm] == READY_CONTEXTS) {
		EVP_MD_CTX_free(ctx);
		return;
	}
	context_restart(ctx);
	thread->ready[algorithm][thread->ready_count[algorithm]++] = ctx;
}

static void context_add(EVP_MD_CTX *ctx, struct span data)
{
	if (data.len > 0 && !EVP_DigestUpdate(ctx, data.data, data.len))
		library_broken("EVP_DigestUpdate");
}

static void context_finish(EVP_MD_CTX *ctx, uint8_t *out)
{
	if (!EVP_DigestFinal_ex(ctx, out, NULL))
		library_broken("EVP_DigestFinal");
}

static enum hash_algorithm context_algorithm(const EVP_MD_CTX *ctx)
{
	const EVP_MD *digest = EVP_MD_CTX_get0_md(ctx);
	for (enum hash_algorithm a = HASH_SHA256; a <= HASH_SHA512; a++)
		if (digest == library()->digest[a])
			return a;
	library_broken("EVP_MD_CTX_get0_md");
}

/* ---- plain digests ---- */

static void hash_once(enum hash_algorithm algorithm, struct span data, uint8_t *out)
{
	EVP_MD_CTX *ctx = context_take_or_abort(algorithm);
	context_add(ctx, data);
	context_finish(ctx, out);
	context_give(ctx, algorithm);
}

void sha256_parts(const struct span *parts, size_t count, uint8_t out[static SHA256_SIZE])
{
	SHA256_CTX ctx;
	bool done = SHA256_Init(&ctx);
	for (size_t i = 0; done && i < count; i++)
		done = parts[i].len == 0 || SHA256_Update(&ctx, parts[i].data, parts[i].len);
	if (!done || !SHA256_Final(out, &ctx))
		library_broken("SHA256");
	OPENSSL_cleanse(&ctx, sizeof(ctx));
}

void sha256(struct span data, uint8_t out[static SHA256_SIZE])
{
	sha256_parts(&data, 1, out);
}

void sha384(struct span data, uint8_t out[static SHA384_SIZE])
{
	hash_once(HASH_SHA384, data, out);
}

void sha512(struct span data, uint8_t out[static SHA512_SIZE])
{
	hash_once(HASH_SHA512, data, out);
}

result hash_start(struct hash *hash, enum hash_algorithm algorithm)
{
	EVP_MD_CTX *ctx = context_take(algorithm);
	if (!ctx)
		return library_fail("EVP_MD_CTX_new");
	hash->ctx = ctx;
	return OK;
}

void hash_add(struct hash *hash, struct span data)
{
	context_add(hash->ctx, data);
}

void hash_add_lv(struct hash *hash, struct span data)
{
	if (data.len > UINT32_MAX)
		library_broken("hash_add_lv: more than 4 GiB in one field");
	uint8_t length[4] = {(uint8_t)(data.len >> 24), (uint8_t)(data.len >> 16), (uint8_t)(data.len >> 8), (uint8_t)data.len};
	context_add(hash->ctx, SPAN_ARRAY(length));
	context_add(hash->ctx, data);
}

void hash_finish(struct hash *hash, uint8_t *out)
{
	context_finish(hash->ctx, out);
	hash_free(hash);
}

void hash_free(struct hash *hash)
{
	if (!hash || !hash->ctx)
		return;
	context_give(hash->ctx, context_algorithm(hash->ctx));
	hash->ctx = NULL;
}

/* ---- HMAC (RFC 2104) composed from two digests ---- */

struct hmac_pads {
	uint8_t inner[SHA256_BLOCK];
	uint8_t outer[SHA256_BLOCK];
};

static void hmac_make_pads(struct span key, struct hmac_pads *out)
{
	uint8_t block[SHA256_BLOCK] = {0};

	if (key.len > SHA256_BLOCK)
		sha256(key, block);
	else if (key.len > 0)
		memcpy(block, key.data, key.len);
	for (size_t i = 0; i < SHA256_BLOCK; i++) {
		out->inner[i] = block[i] ^ 0x36;
		out->outer[i] = block[i] ^ 0x5c;
	}
	wipe(block, sizeof block);
}

static void hmac_of_parts(const struct hmac_pads *pads, const struct span *parts, size_t count, uint8_t *out)
{
	uint8_t inner[SHA256_SIZE];
	EVP_MD_CTX *ctx = context_take_or_abort(HASH_SHA256);

	context_add(ctx, SPAN_ARRAY(pads->inner));
	for (size_t i = 0; i < count; i++)
		context_add(ctx, parts[i]);
	context_finish(ctx, inner);
	context_restart(ctx);
	context_add(ctx, SPAN_ARRAY(pads->outer));
	context_add(ctx, SPAN_ARRAY(inner));
	context_finish(ctx, out);
	context_give(ctx, HASH_SHA256);
	wipe(inner, sizeof inner);
}

void hmac_sha256(struct span key, struct span data, uint8_t out[static SHA256_SIZE])
{
	struct hmac_pads pads;
	hmac_make_pads(key, &pads);
	hmac_of_parts(&pads, &data, 1, out);
	wipe(&pads, sizeof pads);
}

/* Both digests have absorbed their pad, so the key itself need not be kept. */
struct hmac_state {
	EVP_MD_CTX *inner;
	EVP_MD_CTX *outer;
};

result hmac_start(struct hmac *hmac, struct span key)
{
	struct hmac_pads pads;
	struct hmac_state *state = calloc(1, sizeof *state);
	if (!state)
		return fail(NO_MEMORY, "an HMAC context");

	state->inner = context_take_or_abort(HASH_SHA256);
	state->outer = context_take_or_abort(HASH_SHA256);
	hmac_make_pads(key, &pads);
	context_add(state->inner, SPAN_ARRAY(pads.inner));
	context_add(state->outer, SPAN_ARRAY(pads.outer));
	wipe(&pads, sizeof pads);
	hmac->ctx = state;
	return OK;
}

void hmac_add(struct hmac *hmac, struct span data)
{
	struct hmac_state *state = hmac->ctx;
	context_add(state->inner, data);
}

void hmac_finish(struct hmac *hmac, uint8_t out[static SHA256_SIZE])
{
	struct hmac_state *state = hmac->ctx;
	uint8_t inner[SHA256_SIZE];

	context_finish(state->inner, inner);
	context_add(state->outer, SPAN_ARRAY(inner));
	context_finish(state->outer, out);
	wipe(inner, sizeof inner);
	hmac_free(hmac);
}

void hmac_free(struct hmac *hmac)
{
	if (!hmac || !hmac->ctx)
		return;
	struct hmac_state *state = hmac->ctx;
	context_give(state->inner, HASH_SHA256);
	context_give(state->outer, HASH_SHA256);
	free(state);
	hmac->ctx = NULL;
}

/* ---- HKDF (RFC 5869) ---- */

void hkdf_extract(struct span salt, struct span ikm, uint8_t out_prk[static SHA256_SIZE])
{
	/* An absent salt is 32 zero bytes, which HMAC pads to the same block as an empty key. */
	hmac_sha256(salt, ikm, out_prk);
}

enum { INFO_PARTS = 6 };

static void expand(const uint8_t *prk, const struct span info[static INFO_PARTS], uint8_t *out, size_t out_len)
{
	struct hmac_pads pads;
	uint8_t block[SHA256_SIZE], counter = 0;
	struct span parts[1 + INFO_PARTS + 1] = {SPAN_EMPTY};

	if (out_len > (size_t)HKDF_BLOCKS_MAX * SHA256_SIZE)
		library_broken("hkdf_expand: more than 255 blocks");
	hmac_make_pads(span_of(prk, SHA256_SIZE), &pads);
	memcpy(parts + 1, info, sizeof *info * INFO_PARTS);
	parts[1 + INFO_PARTS] = span_of(&counter, 1);
	while (out_len > 0) {
		size_t take = out_len < SHA256_SIZE ? out_len : SHA256_SIZE;
		counter++;
		hmac_of_parts(&pads, parts, COUNT_OF(parts), block);
		parts[0] = SPAN_ARRAY(block);
		memcpy(out, block, take);
		out += take;
		out_len -= take;
	}
	wipe(block, sizeof block);
	wipe(&pads, sizeof pads);
}

void hkdf_expand(const uint8_t prk[static SHA256_SIZE], struct span info, uint8_t *out, size_t out_len)
{
	expand(prk, (struct span[INFO_PARTS]){info}, out, out_len);
}

void hkdf_expand_label(
	const uint8_t prk[static SHA256_SIZE], const char *protocol, const char *label, struct span ctx, uint8_t *out, size_t out_len)
{
	static const uint8_t end_of_label = 0;
	const struct span info[INFO_PARTS] = {
		span_str("troth-"), span_str(protocol), span_str(" "), span_str(label), span_of(&end_of_label, 1), ctx};
	expand(prk, info, out, out_len);
}
