/*
 * Writes a genuine receipt of the fixture's job into a folder, with its trust file, inputs and outputs: seeds of the fuzz
 * targets, and something to try the verbs on. Run by hand: make-receipt DIR [STORY]
 *	rotated    the root changes its keys before, while and after the run
 *	recovered  the root was recovered before the run, and changes its keys while it runs
 * A story leaves what is known of the root at its end, too: `history`, and `history.halted`, which goes on with a HALT.
 */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static void write_file(const char *folder, const char *name, struct span content)
{
	char path[PATH_SIZE];
	if (path_join(path, folder, name) != OK || file_write_atomic(path, content, 0644) != OK) {
		fprintf(stderr, "%s: %s\n", name, failure_text());
		exit(1);
	}
}

/* u32 length and trust file, then the receipt: what fuzz/verify.c reads. */
static void write_seed(const char *folder, struct span trust, struct span receipt)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct span seed;
	writer_lv(&w, trust);
	writer_span(&w, receipt);
	if (writer_finish(&w, &seed) != OK)
		exit(1);
	write_file(folder, "verify.seed", seed);
}

static void write_history(const char *folder, const char *name, const struct host *host, struct span halt)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	host_history(host, 0, halt, &history);
	write_file(folder, name, bytes_span(&history));
}

static void tell(const char *story, struct host *host, const struct job_fixture *job, struct run *run)
{
	bool rotates = story && strcmp(story, "rotated") == 0, recovers = story && strcmp(story, "recovered") == 0;
	if (rotates || recovers)
		host_rotate(host);
	if (recovers)
		host_recover(host, host->epochs[1]);
	run_make(host, job, rotates ? ROTATED_OFTEN : recovers ? ROTATED_AFTER_LAUNCH : NO_TWEAK, NULL, run);
	if (rotates)
		host_rotate(host);
}

int main(int argc, char **argv)
{
	struct host host;
	struct job_fixture job;
	struct run run;
	if (argc != 2 && argc != 3)
		return 2;
	host_new(&host, 1);
	job_fixture_new(&job, SHAPE_PLAIN, 1);
	tell(argv[2], &host, &job, &run);
	if (argc == 3) {
		CLEANUP(bytes_free) struct bytes halt = BYTES_EMPTY;
		host_halt(&host, &halt);
		write_history(argv[1], "history", &host, SPAN_EMPTY);
		write_history(argv[1], "history.halted", &host, bytes_span(&halt));
	}
	CLEANUP(bytes_free) struct bytes trust = trust_text(&host, &job);
	write_file(argv[1], "receipt.troth", bytes_span(&run.receipt));
	write_file(argv[1], "trust.json", bytes_span(&trust));
	write_seed(argv[1], bytes_span(&trust), bytes_span(&run.receipt));
	write_file(argv[1], "E_1", host.inception);
	write_file(argv[1], "summary.csv", span_str(summary_text));
	write_file(argv[1], "rejects.csv", span_str(rejects_text));
	write_file(argv[1], "rows.csv", span_str(rows_text));
	run_free(&run);
	job_fixture_free(&job);
	host_free(&host);
	return 0;
}
