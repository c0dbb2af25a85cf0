/* Must fail: see WEAK_BELL_LATE in ipq.pml. */
#define WEAK_BELL_LATE
#include "ipq.pml"
