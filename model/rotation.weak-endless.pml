/* Must fail: see WEAK_ENDLESS in rotation.pml. */
/* cc: -DNP */
/* pan: -l -m200000 */
#define WEAK_ENDLESS
#include "rotation.pml"
