#include "cmd/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/text.h"

#define SECOND_NS 1000000000ULL

void amount_text(uint64_t bytes, char out[static AMOUNT_SIZE])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;
	if (bytes < 1024) {
		snprintf(out, AMOUNT_SIZE, "%u B", (unsigned)bytes);
		return;
	}
	while (value >= 1024 && unit + 1 < COUNT_OF(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(out, AMOUNT_SIZE, "%.1f %s", value, units[unit]);
}

void progress_start(struct progress *progress, bool quiet, bool logs)
{
	*progress = (struct progress){.quiet = quiet, .logs = logs, .began = clock_monotonic_ns(), .terminal = isatty(STDERR_FILENO) == 1};
}

void progress_end(struct progress *progress)
{
	if (progress->drawn)
		fputs("\r\033[K", stderr);
	progress->drawn = false;
}

static void draw(struct progress *progress)
{
	uint64_t now = clock_monotonic_ns();
	if (progress->quiet || now - progress->began < SECOND_NS || now - progress->shown < SECOND_NS)
		return;
	progress->shown = now;
	fputs(progress->terminal ? "\r\033[K  " : "  ", stderr);
	fprintf(stderr, "%us", (unsigned)((now - progress->began) / SECOND_NS));
	for (size_t i = 0; i < progress->count; i++) {
		char in[AMOUNT_SIZE], out[AMOUNT_SIZE];
		amount_text(progress->stages[i].in, in);
		amount_text(progress->stages[i].out, out);
		fprintf(stderr, "  %s %s %s > %s", progress->stages[i].name, progress->stages[i].state, in, out);
	}
	if (!progress->terminal)
		fputc('\n', stderr);
	progress->drawn = progress->terminal;
	(void)fflush(stderr);
}

static void on_progress(void *ctx, const struct service_progress *told)
{
	struct progress *progress = ctx;
	size_t at = 0;
	while (at < progress->count && strcmp(progress->stages[at].name, told->stage) != 0)
		at++;
	if (at == PROGRESS_STAGES)
		return;
	if (at == progress->count) {
		progress->count++;
		snprintf(progress->stages[at].name, sizeof(progress->stages[at].name), "%s", told->stage);
	}
	if (strcmp(told->state, "joined") == 0 && !progress->quiet) {
		progress_end(progress);
		fprintf(stderr, "joined '%s', waiting for a run\n", told->stage);
		(void)fflush(stderr);
	}
	if (told->state[0])
		snprintf(progress->stages[at].state, sizeof(progress->stages[at].state), "%s", told->state);
	else {
		progress->stages[at].in = told->bytes_in;
		progress->stages[at].out = told->bytes_out;
	}
	draw(progress);
}

/* A program's own words: made plain for a terminal, passed as they are into a file or pipe. */
static void on_log(void *ctx, const struct service_log *log)
{
	struct progress *progress = ctx;
	if (!progress->logs)
		return;
	progress_end(progress);
	if (!progress->terminal) {
		(void)fwrite(log->text.data, 1, log->text.len, stderr);
		return;
	}
	for (size_t i = 0; i < log->text.len; i++) {
		uint8_t byte = log->text.data[i];
		fputc(byte == '\n' || byte == '\t' || (byte >= 0x20 && byte < 0x7f) ? byte : '?', stderr);
	}
}

struct client_listener progress_listener(struct progress *progress)
{
	return (struct client_listener){progress, on_progress, on_log};
}
