/*
 * Runs the hostile probe (tests/system/probe) or a function confined, from a child process, because sandbox_prepare
 * changes its caller for good. Everything is bounded by an alarm.
 */
#ifndef TROTH_TESTS_ENCLAVE_CONFINED_H
#define TROTH_TESTS_ENCLAVE_CONFINED_H

#include "enclave/sandbox.h"

enum who { AS_STARTED, AS_ORDINARY_USER }; /* the latter drops root first, where the test has it */

enum { CONFINED_OUTPUT = 64 * 1024, CONFINED_FILE = 4096, OWN_UID = 200123, ORDINARY_UID = 54321 };

struct confined {
	/* in */
	enum who who;
	const char *const *argv; /* of /probe; NULL: `probe` runs */
	int (*probe)(void *arg);
	void *probe_arg;
	struct manifest_limits limits; /* zeroed fields get defaults */
	unsigned permissions;
	const char *fetch; /* an output to read after the end */
	bool damage;	   /* the digest of the probe in the manifest is wrong */
	int kill_after_ms; /* 0: never */
	const struct sandbox_fd *fds; /* besides 0 (nothing), 1 (collected), 2 (as 1) */
	size_t fd_count;
	void (*before)(void); /* in the child, before sandbox_prepare */
	/* out */
	result prepared, started, ended, fetched;
	struct sandbox_end end;
	bool own_uid, output_ended;
	int landlock_abi;
	enum limits_kind kind;
	uint64_t oom_kills;
	char text[1024];
	char output[CONFINED_OUTPUT + 1]; /* its beginning */
	size_t output_len;		  /* all of it */
	char file[CONFINED_FILE + 1];
};

int confined_start(void **state); /* group set-up: copies the probe to where every user can read it */
int confined_stop(void **state);
const char *confined_probe_path(void);

void confined_run(struct confined *run);

/* An ordinary run of the probe that must have refused everything. */
void confined_expect_refused(enum who who, const char *const *argv);

/* The probe as the only file of an image. */
void confined_manifest(struct manifest_file *out);

bool test_is_root(void);

#endif
