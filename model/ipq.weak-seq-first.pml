/* Must fail: see WEAK_SEQ_FIRST in ipq.pml. */
#define WEAK_SEQ_FIRST
#include "ipq.pml"
