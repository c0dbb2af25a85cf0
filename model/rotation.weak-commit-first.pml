/* Must fail: see WEAK_COMMIT_FIRST in rotation.pml. */
#define TPM
#define WEAK_COMMIT_FIRST
#include "rotation.pml"
