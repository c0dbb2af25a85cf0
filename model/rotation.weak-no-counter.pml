/* Must fail: see WEAK_NO_COUNTER in rotation.pml. */
#define TPM
#define ROLLED_BACK
#define WEAK_NO_COUNTER
#include "rotation.pml"
