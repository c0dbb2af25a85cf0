/* Must fail: see WEAK_NO_PIN in rotation.pml. */
#define ROLLED_BACK
#define WEAK_NO_PIN
#include "rotation.pml"
