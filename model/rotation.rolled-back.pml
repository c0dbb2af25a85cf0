/* Must hold: an older state of the secure processor is put back; the pins catch it. */
/* cc: -DSAFETY -DCOLLAPSE */
#define ROLLED_BACK
#include "rotation.pml"
