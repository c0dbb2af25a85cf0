/*
 * The measured programs of one host, computed from the files alone, so that an auditor gets on any machine the values
 * that a host's registers 0 and 1 must have (root.md "Measured boot"):
 *   register 0  one event {1: "troth-ap", 2: SHA-384 of the program}
 *   register 1  one event {1: SHA-384 of trothd, 2: of troth-ire, 3: build mode, 4: [SHA-256 of each seccomp list], 5: trust domain,
 *		6: true in tier L, else absent}
 * The libraries these programs load are not in the registers; docs/THREATS.md says so.
 */
#ifndef TROTH_ROOT_TCB_H
#define TROTH_ROOT_TCB_H

#include "object/report.h"

struct tcb {
	uint8_t ap[SHA384_SIZE], host[SHA384_SIZE], ire[SHA384_SIZE]; /* of the program files */
	struct bytes ap_event, host_event;
	struct register_value registers[2]; /* after those two events */
};

void tcb_free(struct tcb *tcb);

/* `program_dir` holds troth-ap, trothd and troth-ire. NOT_FOUND and errno's reasons. */
NODISCARD result tcb_measure(const char *program_dir, const char *trust_domain, bool without_namespaces, struct tcb *out);

/* The folder of the running program, for finding its siblings. */
NODISCARD result program_folder(char *out, size_t cap);

NODISCARD result file_measure(int fd, uint8_t out[static SHA384_SIZE]);

#endif
