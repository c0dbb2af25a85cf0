/* Must fail: see WEAK_PIN_LAST in rotation.pml. */
#define ROLLED_BACK
#define WEAK_PIN_LAST
#include "rotation.pml"
