#include "tests.h"

int main(void)
{
	/* First, because it forks: secret memory is not inherited, so the process must not have used any. */
	int failed = test_confined();
	failed += test_hash() + test_aead() + test_der() + test_ed25519() + test_key() + test_key_backend() + test_box() + test_shamir() + test_token_uri() + test_mlkem() + test_x509() + test_x509_ca();
	return failed != 0;
}
