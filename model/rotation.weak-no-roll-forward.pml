/* Must fail: see WEAK_NO_ROLL_FORWARD in rotation.pml. */
#define WEAK_NO_ROLL_FORWARD
#include "rotation.pml"
