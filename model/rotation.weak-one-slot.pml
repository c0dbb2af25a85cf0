/* Must fail: see WEAK_ONE_SLOT in rotation.pml. */
#define WEAK_ONE_SLOT
#include "rotation.pml"
