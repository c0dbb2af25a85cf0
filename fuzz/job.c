/* Job files: whatever text is refused, or gives a plan whose compiled form decodes to itself. */
#include "base/file.h"
#include "job/plan.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void remove_file(void)
{
	(void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(job_plan_free) struct job_plan plan = {.stage_count = 0};
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct job job;
	if (!path[0]) {
		snprintf(path, sizeof(path), "/tmp/troth-fuzz-job-%d.yaml", (int)getpid());
		(void)atexit(remove_file);
	}
	if (file_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, &fd) != OK || write_all(fd.n, span_of(data, size)) != OK)
		abort();
	if (job_plan_load(path, &plan) != OK)
		return 0;
	if (schema_decode(&job_schema, bytes_span(&plan.encoding), &arena, &job) != OK || job.enclave_count != plan.stage_count)
		abort();
	return 0;
}
