#include "crypto/stretch.h"

#include <openssl/evp.h>

result stretch_passphrase(struct span passphrase, struct span salt, uint8_t *out, size_t out_len)
{
	enum { N = 1 << 15, R = 8, P = 1, MEMORY = 64 << 20 };
	if (EVP_PBE_scrypt((const char *)passphrase.data, passphrase.len, salt.data, salt.len, N, R, P, MEMORY, out,
		    out_len) != 1)
		return fail(CRYPTO_FAILED, "EVP_PBE_scrypt");
	return OK;
}
