#include "wire_test.h"

int main(void)
{
	int failed = 0;
	failed += run_text_tests();
	failed += run_cbor_tests();
#ifdef TROTH_HAVE_LIBCBOR
	failed += run_cbor_oracle_tests();
#endif
	failed += run_cose_tests();
	failed += run_cose_example_tests();
	failed += run_document_tests();
	failed += run_frame_tests();
	return failed != 0;
}
