/* Must fail: see WEAK_START_EARLY in iecp-rekey.pml. */
#define WEAK_START_EARLY
#include "iecp-rekey.pml"
