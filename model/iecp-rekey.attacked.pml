/* See ATTACKED in iecp-rekey.pml. */
#define ATTACKED
#include "iecp-rekey.pml"
