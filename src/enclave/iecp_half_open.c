#include "enclave/iecp_half_open.h"

#include "crypto/hash.h"

/* 64 bits of a hash name a (peer, address): a collision shares a limit, nothing else. */
static result name(struct span peer_id, struct span address, uint64_t *out)
{
	CLEANUP(hash_free) struct hash hash = {0};
	uint8_t digest[SHA256_SIZE];
	uint64_t key = 0;

	TRY(hash_start(&hash, HASH_SHA256));
	hash_add_lv(&hash, peer_id);
	hash_add_lv(&hash, address);
	hash_finish(&hash, digest);
	memcpy(&key, digest, sizeof key);
	*out = key ? key : 1;
	return OK;
}

static void drop_expired(struct iecp_half_open *table, uint64_t now)
{
	for (size_t i = 0; i < IECP_HALF_OPEN_MAX; i++)
		if (table->rows[i].key && table->rows[i].until_steady_ms < now)
			table->rows[i].key = 0;
}

result iecp_half_open_enter(struct iecp_half_open *table, struct span peer_id, struct span address,
	uint64_t now_steady_ms, uint64_t until_steady_ms, struct iecp_half_open_place *out)
{
	size_t same = 0, row = IECP_HALF_OPEN_MAX;
	uint64_t key;

	TRY(name(peer_id, address, &key));
	drop_expired(table, now_steady_ms);
	for (size_t i = 0; i < IECP_HALF_OPEN_MAX; i++) {
		if (table->rows[i].key == key)
			same++;
		if (table->rows[i].key == 0)
			row = i;
	}
	if (same >= IECP_HALF_OPEN_PER_PEER)
		return fail(TOO_MANY_HALF_OPEN, "one peer has %zu unfinished handshakes", same);
	if (row == IECP_HALF_OPEN_MAX)
		return fail(TOO_MANY_HALF_OPEN, "%d handshakes are unfinished", IECP_HALF_OPEN_MAX);
	table->rows[row] = (struct iecp_half_open_row){key, until_steady_ms};
	*out = (struct iecp_half_open_place){key, row};
	return OK;
}

void iecp_half_open_leave(struct iecp_half_open *table, struct iecp_half_open_place *place)
{
	/* The row may have run out and be somebody else's by now. */
	if (place->key && table->rows[place->row].key == place->key)
		table->rows[place->row].key = 0;
	*place = (struct iecp_half_open_place){0};
}
