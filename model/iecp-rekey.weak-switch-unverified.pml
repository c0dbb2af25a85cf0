/* Must fail: SWITCH is taken before the handshake has verified. See ATTACKED in iecp-rekey.pml. */
#define ATTACKED
#define WEAK_SWITCH_UNVERIFIED
#include "iecp-rekey.pml"
