/*
 * troth-ire: the runtime around one program, from PREPARE to FINISHED (enclaves.md "Isolated runtime environment",
 * constructions/epochs.md LAUNCH to START, constructions/dac.md "Data on a channel"; docs/PROTOCOL.control).
 *
 * It copies, hashes and confines the program, makes the IRE's keys, has them endorsed, receives its secrets, opens IECP
 * channels over the sockets that the host hands it, moves all data in and out of the program, and signs the records of
 * what it moved. The host sees boxes and ciphertext; the program sees pipes and files.
 *
 * One process per IRE, single-threaded. After set-up it has no filesystem and a short list of system calls.
 */
#ifndef TROTH_ENCLAVE_RUNTIME_H
#define TROTH_ENCLAVE_RUNTIME_H

#include "base/result.h"

/*
 * Serves one launch on the inherited control socket and returns when the IRE is done: OK after FINISHED was sent. Any
 * failure has been reported to the host (FAILED), to the peers it sends to (ABORT) and to those it receives from (ALERT).
 */
NODISCARD result runtime_run(int control);

#endif
