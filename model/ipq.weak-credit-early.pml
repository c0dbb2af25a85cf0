/* Must fail: see WEAK_CREDIT_EARLY in ipq.pml. */
#define WEAK_CREDIT_EARLY
#include "ipq.pml"
