/* Must hold: with a counter in a TPM. */
#define TPM
#include "rotation.pml"
