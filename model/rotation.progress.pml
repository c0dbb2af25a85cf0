/* Must hold: no run goes on for ever, so what can always move (rotation.pml) also arrives. */
/* cc: -DNP */
/* pan: -l -m200000 */
#include "rotation.pml"
