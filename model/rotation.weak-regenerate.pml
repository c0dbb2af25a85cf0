/* Must fail: see WEAK_REGENERATE in rotation.pml. */
#define WEAK_REGENERATE
#include "rotation.pml"
