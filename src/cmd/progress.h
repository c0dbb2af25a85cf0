/*
 * What a run tells while it goes on: nothing in its first second, then at most a line a second on stderr; on a terminal
 * one line that is drawn anew.
 */
#ifndef TROTH_CMD_PROGRESS_H
#define TROTH_CMD_PROGRESS_H

#include "job/client.h"

enum { PROGRESS_STAGES = 256 };

struct progress {
	bool quiet; /* shows nothing */
	bool logs; /* passes on what the programs write to stderr */
	bool terminal, drawn;
	uint64_t began, shown; /* monotonic ns */
	struct {
		char name[NAME_MAX_LEN + 1], state[32];
		uint64_t in, out;
	} stages[PROGRESS_STAGES];
	size_t count;
};

void progress_start(struct progress *progress, bool quiet, bool logs);
struct client_listener progress_listener(struct progress *progress);
void progress_end(struct progress *progress); /* leaves the terminal's line clean */

/* "12.3 MiB" */
enum { AMOUNT_SIZE = 24 };
void amount_text(uint64_t bytes, char out[static AMOUNT_SIZE]);

#endif
