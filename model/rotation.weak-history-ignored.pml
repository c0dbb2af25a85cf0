/* Must fail: see WEAK_HISTORY_IGNORED in rotation.pml. */
#define ROLLED_BACK
#define WEAK_HISTORY_IGNORED
#include "rotation.pml"
