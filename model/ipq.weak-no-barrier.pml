/* Must fail: see WEAK_NO_BARRIER in ipq.pml. */
#define WEAK_NO_BARRIER
#include "ipq.pml"
