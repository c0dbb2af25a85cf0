/* Must fail: see WEAK_PUBLISH_FIRST in rotation.pml. */
#define WEAK_PUBLISH_FIRST
#include "rotation.pml"
