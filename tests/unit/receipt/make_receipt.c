/*
 * Writes a genuine receipt of the fixture's job into a folder, with its trust file, inputs and outputs: seeds of the fuzz
 * targets, and something to try the verbs on. Run by hand: make-receipt DIR
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

int main(int argc, char **argv)
{
	struct host host;
	struct job_fixture job;
	struct run run;
	if (argc != 2)
		return 2;
	host_new(&host, 1);
	job_fixture_new(&job, SHAPE_PLAIN, 1);
	run_make(&host, &job, NO_TWEAK, NULL, &run);
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
