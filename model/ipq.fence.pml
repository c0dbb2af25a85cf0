/* Must hold: ends that fence because a membarrier is not to be had. */
#define FENCE
#include "ipq.pml"
