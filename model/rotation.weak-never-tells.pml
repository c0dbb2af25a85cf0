/* Must fail: see WEAK_NEVER_TELLS in rotation.pml. */
#define WEAK_NEVER_TELLS
#include "rotation.pml"
