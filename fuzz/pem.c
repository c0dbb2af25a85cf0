/* Key files: whatever is accepted is a P-256 key that comes back from its own encoding. */
#include "crypto/key.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check(const struct key *key)
{
	struct key back = KEY_EMPTY;
	uint8_t spki[SPKI_SIZE];

	key_spki(key, spki);
	must(key_from_spki(SPAN_ARRAY(spki), &back) == OK);
	must(memcmp(back.id, key->id, KEY_ID_SIZE) == 0);
	key_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct key key = KEY_EMPTY;

	if (key_from_pem(span_of(data, size), &key) == OK) {
		must(!key.is_private);
		check(&key);
	}
	key_free(&key);
	if (key_from_private_pem(span_of(data, size), &key) == OK) {
		must(key.is_private);
		check(&key);
	}
	key_free(&key);
	return 0;
}
