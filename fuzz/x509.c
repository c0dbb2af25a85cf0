/* The leaf certificate reader: whatever is accepted has the profile, and borrows only from its input. */
#include "crypto/x509.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = arena_of(4096);
	struct certificate c = CERTIFICATE_EMPTY;
	struct span der = span_of(data, size);
	uint8_t digest[SHA256_SIZE], id[KEY_ID_SIZE];

	if (certificate_parse(der, &arena, &c) == OK) {
		must(strncmp(c.uri, "spiffe://", 9) == 0 && strlen(c.uri) <= URI_MAX);
		must(c.not_before <= c.not_after);
		must(inside(c.serial, der) && inside(c.tcb_info, der) && inside(c.signed_part, der));
		must(point_key_id(SPAN_ARRAY(c.kem_point), id) == OK);
		must(point_key_id(SPAN_ARRAY(c.key.point), id) == OK && memcmp(id, c.key.id, sizeof id) == 0);
		sha256(der, digest);
		must(memcmp(digest, c.digest, sizeof digest) == 0);
		must(certificate_valid_at(&c, c.not_before) == OK && certificate_valid_at(&c, c.not_after) == OK);
		result verified = certificate_verify(&c, &c.key);
		must(verified == OK || verified == CERTIFICATE_FOREIGN);
	} else {
		must(c.key.pkey == NULL);
	}
	certificate_free(&c);
	arena_free(&arena);
	return 0;
}
