#include "job/tracer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

struct look {
	struct traced *out;
	size_t count;
};

/* A file of /proc, as text; "" when the process has gone. */
static void read_text(const char *path, char *out, size_t cap)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	ssize_t got = file_open(path, O_RDONLY, 0, &fd) == OK ? read(fd.n, out, cap - 1) : 0;
	out[got > 0 ? got : 0] = '\0';
}

/* What it was started as: programs that are executed through a descriptor have its number for a name. */
static bool is_ours(pid_t pid, char out[static 17])
{
	char path[64], text[256];
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	read_text(path, text, sizeof(text));
	const char *slash = strrchr(text, '/'), *name = slash ? slash + 1 : text;
	snprintf(out, 17, "%.16s", name);
	return strncmp(name, "troth", 5) == 0; /* a program that somebody runs inside Troth is not Troth */
}

static void look_at(struct look *look, pid_t pid)
{
	char path[64], text[2048], name[17];
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	read_text(path, text, sizeof(text));
	const char *tracer = strstr(text, "\nTracerPid:");
	pid_t by = tracer ? (pid_t)strtol(tracer + strlen("\nTracerPid:"), NULL, 10) : 0;
	if (by <= 0 || look->count == TRACED_MAX || !is_ours(pid, name))
		return;
	look->out[look->count] = (struct traced){.pid = pid, .tracer = by};
	memcpy(look->out[look->count++].name, name, sizeof(name));
}

static void look_below(struct look *look, pid_t pid, int depth)
{
	char path[64];
	look_at(look, pid);
	if (depth == 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *tasks = opendir(path);
	for (struct dirent *task = tasks ? readdir(tasks) : NULL; task; task = readdir(tasks)) {
		char children[300], text[4096];
		if (task->d_name[0] == '.')
			continue;
		snprintf(children, sizeof(children), "/proc/%d/task/%s/children", pid, task->d_name);
		read_text(children, text, sizeof(text));
		for (char *at = text, *end; *at; at = end) {
			pid_t child = (pid_t)strtol(at, &end, 10);
			if (end == at)
				break;
			look_below(look, child, depth - 1);
		}
	}
	if (tasks)
		closedir(tasks);
}

size_t tracer_look(struct traced out[static TRACED_MAX])
{
	struct look look = {out, 0};
	look_below(&look, getpid(), TRACED_DEPTH);
	return look.count;
}
