/*
 * What every benchmark of Troth shares: rows, and two processes pinned to two processors.
 *
 * A row sets a figure beside what it is measured against in the same run: the floor (the least that the machine
 * allows for this work) and a named peer (what others offer). A figure with several peers is several rows.
 * Rows go to standard output as a table for people and, with --json FILE, to FILE as one JSON object per line,
 * appended, so that several parts fill one file. Benchmarks assert no times.
 */
#ifndef TROTH_BENCH_BENCH_H
#define TROTH_BENCH_BENCH_H

#include "base/compat.h"

#include <stdio.h>
#include <stdlib.h>

struct bench_row {
	const char *name;
	double value;
	const char *unit;      /* "ns": less is better; anything per second: more is */
	double floor;	       /* 0: none */
	double peer;	       /* 0: none */
	const char *peer_name; /* NULL: none */
	double goal;	       /* of the design; 0: none */
};

/* Reads --json FILE and --quick; ends the program with a message on anything else. */
void bench_open(int argc, char **argv, const char *part);
bool bench_quick(void);
void bench_row(const struct bench_row *row);
void bench_note(const char *text); /* a line for people only */
void bench_close(void);

/* The value below which `part` of the values lie (0.5: the median); sorts `values` in place. */
double bench_quantile(double *values, size_t count, double part);

/* Pins the calling process to the n-th processor it may use; false when there are fewer. */
bool bench_pin(unsigned n);

/* Ends the benchmark with a message when `condition` is false: a benchmark that cannot run has no figure. */
#define BENCH_REQUIRE(condition)                                                                                       \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                  \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

#endif
