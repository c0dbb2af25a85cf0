/* Must fail: see WEAK_NOBODY_WINS in iecp-rekey.pml. */
#define WEAK_NOBODY_WINS
#include "iecp-rekey.pml"
