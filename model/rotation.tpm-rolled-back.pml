/* Must hold: an older state folder is put back as a whole; the counter catches it. */
/* cc: -DSAFETY -DCOLLAPSE */
#define TPM
#define ROLLED_BACK
#include "rotation.pml"
