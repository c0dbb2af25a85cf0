#include "ledger/signatures.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 1024, KNOWN = 8192, PREPARE_MEMORY = 256 * 1024 };

struct signature_cache {
	pthread_mutex_t lock;
	struct key keys[KEYS]; /* each at the place that its point hashes to */
	uint8_t known[KNOWN][SHA256_SIZE];
};

result signature_cache_new(struct signature_cache **out)
{
	struct signature_cache *cache = calloc(1, sizeof(*cache));
	if (!cache)
		return fail(NO_MEMORY, "signature cache");
	pthread_mutex_init(&cache->lock, NULL);
	*out = cache;
	return OK;
}

void signature_cache_free(struct signature_cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < KEYS; i++)
		key_free(&cache->keys[i]);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* The x coordinate of a point that somebody chose: good enough for a place in a table whose rows are compared whole. */
static size_t place_of(const uint8_t point[static POINT_SIZE])
{
	return (size_t)(point[31] << 8 | point[32]) % KEYS;
}

static result take_key(struct signature_cache *cache, const uint8_t point[static POINT_SIZE], struct key *out)
{
	struct key *kept = &cache->keys[place_of(point)];
	struct key key = KEY_EMPTY;
	pthread_mutex_lock(&cache->lock);
	if (kept->pkey && memcmp(kept->point, point, POINT_SIZE) == 0)
		key = key_ref(kept);
	pthread_mutex_unlock(&cache->lock);
	if (!key.pkey) {
		TRY(key_from_point(span_of(point, POINT_SIZE), &key));
		struct key old = key_ref(&key);
		pthread_mutex_lock(&cache->lock);
		struct key swapped = *kept;
		*kept = old;
		pthread_mutex_unlock(&cache->lock);
		key_free(&swapped);
	}
	*out = key;
	return OK;
}

/* Objects that come again with other transactions; a transaction, request or operation counts once. */
static bool comes_again(enum object_kind kind)
{
	return kind == KIND_GRANT || kind == KIND_REGISTRATION;
}

static void name_of(enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE], uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	const uint8_t number = (uint8_t)kind;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, span_of(&number, 1));
	hash_add(&hash, span_of(point, POINT_SIZE));
	hash_add(&hash, bytes);
	hash_finish(&hash, out);
}

static uint8_t *known_at(struct signature_cache *cache, const uint8_t name[static SHA256_SIZE])
{
	return cache->known[(size_t)(name[0] << 8 | name[1]) % KNOWN];
}

static bool is_known(struct signature_cache *cache, const uint8_t name[static SHA256_SIZE])
{
	pthread_mutex_lock(&cache->lock);
	bool same = memcmp(known_at(cache, name), name, SHA256_SIZE) == 0;
	pthread_mutex_unlock(&cache->lock);
	return same;
}

result signature_check(struct signature_cache *cache, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE])
{
	uint8_t name[SHA256_SIZE];
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	if (comes_again(kind)) {
		name_of(kind, bytes, point, name);
		if (is_known(cache, name))
			return OK;
	}
	if (take_key(cache, point, &key) != OK || object_verify(kind, bytes, &key) != OK)
		return fail(BAD_SIGNATURE, "%s", kind_label(kind));
	if (comes_again(kind)) {
		pthread_mutex_lock(&cache->lock);
		memcpy(known_at(cache, name), name, SHA256_SIZE);
		pthread_mutex_unlock(&cache->lock);
	}
	return OK;
}

/* ---- Ahead of a transaction's turn -------------------------------------------------------------- */

static void check(struct signatures *all, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE])
{
	if (all->count == SIGNATURES_MAX)
		return;
	struct signature_row *row = &all->rows[all->count++];
	row->kind = kind;
	row->bytes = bytes;
	memcpy(row->point, point, POINT_SIZE);
	row->good = signature_check(all->cache, kind, bytes, point) == OK;
}

static void check_links(struct signatures *all, const struct bytes_item *links, size_t count, struct arena *arena)
{
	for (size_t i = 0; i < count; i++) {
		struct grant grant;
		if (object_peek(KIND_GRANT, links[i].bytes, arena, &grant, NULL) == OK)
			check(all, KIND_GRANT, links[i].bytes, grant.issuer);
	}
}

static void check_operation(struct signatures *all, const struct tx_operation *body, struct arena *arena)
{
	struct operation operation;
	struct access_request request;
	if (object_peek(KIND_OPERATION, body->operation, arena, &operation, NULL) != OK)
		return;
	check(all, KIND_OPERATION, body->operation, operation.processor);
	if (object_peek(KIND_ACCESS_REQUEST, operation.request, arena, &request, NULL) == OK)
		check(all, KIND_ACCESS_REQUEST, operation.request, request.actor);
	check_links(all, body->links, body->link_count, arena);
}

static void check_inside(struct signatures *all, const struct transaction *tx, struct arena *arena)
{
	union {
		struct tx_grant grant;
		struct tx_revoke revoke;
		struct tx_operation operation;
	} body;
	if (tx->type != TX_GRANT && tx->type != TX_REVOKE && tx->type != TX_OPERATION && tx->type != TX_SPOOLED)
		return;
	if (schema_decode(transaction_body_schema(tx->type), tx->body, arena, &body) != OK)
		return;
	if (tx->type == TX_GRANT)
		check_links(all, body.grant.links, body.grant.link_count, arena);
	else if (tx->type == TX_REVOKE)
		check_links(all, body.revoke.links, body.revoke.link_count, arena);
	else
		check_operation(all, &body.operation, arena);
}

void signatures_prepare(struct signature_cache *cache, struct span tx, struct signatures *out, unsigned *out_type)
{
	CLEANUP(arena_free) struct arena arena = arena_of(PREPARE_MEMORY);
	struct transaction envelope;
	out->cache = cache;
	out->count = 0;
	*out_type = 0;
	if (object_peek(KIND_TRANSACTION, tx, &arena, &envelope, NULL) != OK)
		return;
	*out_type = envelope.type;
	check(out, KIND_TRANSACTION, tx, envelope.sender);
	/* Whoever did not sign this makes nobody verify more. */
	if (out->rows[0].good)
		check_inside(out, &envelope, &arena);
}

result signatures_answer(void *arg, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE])
{
	const struct signatures *all = arg;
	for (size_t i = 0; i < all->count; i++) {
		const struct signature_row *row = &all->rows[i];
		if (row->kind == kind && row->bytes.data == bytes.data && row->bytes.len == bytes.len && memcmp(row->point, point, POINT_SIZE) == 0)
			return row->good ? OK : fail(BAD_SIGNATURE, "%s", kind_label(kind));
	}
	return signature_check(all->cache, kind, bytes, point);
}
