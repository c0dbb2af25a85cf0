#include "enclave/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	REMOVE_TRIES = 400,	/* 2 s in all: killed processes take a moment to be gone */
	REMOVE_PAUSE_NS = 5000000,
	MAKE_TRIES = 8, /* against sweeps that come between making a folder and holding it */
	OWN_PROCESSES = 2, /* troth-ire and process 1 share the program's uid and count as well */
};

const char *limits_kind_name(enum limits_kind kind)
{
	switch (kind) {
	case LIMITS_CGROUP2: return "cgroup2";
	case LIMITS_CGROUP1: return "cgroup1";
	default: return "rlimit";
	}
}

/* ---- where our cgroups are ---- */

/* A comma-separated list that has `word`; every list has the empty word (cgroup v2's line names no controller). */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);
	if (len == 0)
		return list[0] == '\0';
	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
		if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

/* Our path in the hierarchy of `controller` ("" for v2), from /proc/self/cgroup: "4:memory:/path". */
static bool own_path(const char *controller, char out[static PATH_SIZE])
{
	FILE *lines = fopen("/proc/self/cgroup", "re");
	char line[PATH_SIZE + 128];
	bool found = false;
	while (lines && !found && fgets(line, sizeof(line), lines)) {
		line[strcspn(line, "\n")] = '\0';
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!path || strlen(path + 1) >= PATH_SIZE)
			continue;
		*path = '\0';
		found = list_has(controllers + 1, controller);
		if (found)
			memcpy(out, path + 1, strlen(path + 1) + 1);
	}
	if (lines)
		fclose(lines);
	return found;
}

/*
 * The folder where `controller` is mounted and which part of the tree that mount shows, from /proc/self/mountinfo:
 * "36 35 0:33 ROOT MOUNTPOINT options - cgroup source super,options".
 */
static bool mount_point(const char *controller, char out_root[static PATH_SIZE], char out_mount[static PATH_SIZE])
{
	FILE *lines = fopen("/proc/self/mountinfo", "re");
	char line[4 * PATH_SIZE];
	bool found = false;
	while (lines && !found && fgets(line, sizeof(line), lines)) {
		char type[32], super[1024];
		const char *dash = strstr(line, " - ");
		if (!dash || sscanf(dash + 3, "%31s %*s %1023s", type, super) != 2)
			continue;
		bool second = strcmp(type, "cgroup2") == 0, first = strcmp(type, "cgroup") == 0;
		if (!(controller[0] ? first && list_has(super, controller) : second))
			continue;
		found = sscanf(line, "%*d %*d %*s %4095s %4095s", out_root, out_mount) == 2;
	}
	if (lines)
		fclose(lines);
	return found;
}

/* Our own folder in that hierarchy. out_top_len: how much of it is the mount point, above which there is nothing. */
static bool own_folder(const char *controller, char out[static PATH_SIZE], size_t *out_top_len)
{
	char path[PATH_SIZE], root[PATH_SIZE], mount[PATH_SIZE];
	if (!own_path(controller, path) || !mount_point(controller, root, mount))
		return false;
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	const char *rest = strncmp(path, root, len) == 0 ? path + len : path;
	if (strcmp(rest, "/") == 0)
		rest = "";
	*out_top_len = strlen(mount);
	return snprintf(out, PATH_SIZE, "%s%s", mount, rest) < PATH_SIZE;
}

/* ---- one group ---- */

static bool has_file(const char *folder, const char *name)
{
	char path[PATH_SIZE];
	return path_join(path, folder, name) == OK && access(path, F_OK) == 0;
}

static bool write_value(const char *folder, const char *name, const char *value)
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (path_join(path, folder, name) != OK)
		return false;
	fd = fd_of(open(path, O_WRONLY | O_CLOEXEC));
	return fd.n >= 0 && write(fd.n, value, strlen(value)) == (ssize_t)strlen(value);
}

static bool write_number(const char *folder, const char *name, uint64_t value)
{
	char text[32];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return write_value(folder, name, text);
}

/* A group is alive as long as its host holds a lock on its folder, whatever becomes of pids and namespaces. */
static bool hold(const char *folder, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = fd_of(open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (fd.n < 0 || flock(fd.n, LOCK_EX | LOCK_NB) != 0)
		return false;
	*out = fd_move(&fd);
	return true;
}

/* The folder behind the descriptor is the one that has the name. */
static bool is_there(const struct fd *held, const char *folder)
{
	struct stat here, named;
	return fstat(held->n, &here) == 0 && stat(folder, &named) == 0 && here.st_ino == named.st_ino && here.st_dev == named.st_dev;
}

/*
 * Made and held. Whoever sweeps in between takes it for a dead host's, and it is made again. 0700: a lock that others
 * could take would keep the folder for ever.
 */
static bool make_folder(const char *folder, struct fd *out_held)
{
	for (int i = 0; i < MAKE_TRIES; i++) {
		CLEANUP(fd_close) struct fd held = FD_NONE;
		if (mkdir(folder, 0700) != 0)
			return false;
		if (hold(folder, &held) && is_there(&held, folder)) {
			*out_held = fd_move(&held);
			return true;
		}
		(void)!rmdir(folder);
	}
	return false;
}

static bool adopt(struct limits_group *group, const char *folder, struct fd *held)
{
	char path[PATH_SIZE];
	if (path_join(path, folder, "cgroup.procs") != OK)
		return false;
	CLEANUP(fd_close) struct fd procs = fd_of(open(path, O_WRONLY | O_CLOEXEC));
	char *copy = strdup(folder);
	if (procs.n < 0 || !copy) {
		free(copy);
		return false;
	}
	group->procs[group->count] = fd_move(&procs);
	group->held[group->count] = fd_move(held);
	group->paths[group->count++] = copy;
	return true;
}

/* v2 below `parent`: only where both the controllers and the right to move processes there are ours. */
static bool try_v2(struct limits_group *group, const char *parent, const char *name, const struct manifest_limits *limits)
{
	char folder[PATH_SIZE], procs[PATH_SIZE];
	CLEANUP(fd_close) struct fd held = FD_NONE;
	if (path_join(folder, parent, name) != OK || path_join(procs, parent, "cgroup.procs") != OK || access(procs, W_OK) != 0 ||
		!make_folder(folder, &held))
		return false;
	if (!has_file(folder, "memory.max") || !has_file(folder, "pids.max"))
		(void)!write_value(parent, "cgroup.subtree_control", "+memory +pids");
	group->memory = write_number(folder, "memory.max", limits->memory);
	group->processes = write_number(folder, "pids.max", (uint64_t)limits->processes + 1);
	/* Not memory.oom.group: process 1 should live to tell how the program ended. */
	if (group->memory)
		(void)!write_value(folder, "memory.swap.max", "0");
	if ((group->memory || group->processes) && adopt(group, folder, &held)) {
		group->kind = LIMITS_CGROUP2;
		return true;
	}
	group->memory = group->processes = false;
	rmdir(folder);
	return false;
}

/* From our own group upwards: a group with processes in it (ours) cannot hand controllers down, its parent can. */
static bool make_v2(struct limits_group *group, const char *name, const struct manifest_limits *limits)
{
	char parent[PATH_SIZE];
	size_t top;
	if (!own_folder("", parent, &top))
		return false;
	while (!try_v2(group, parent, name, limits)) {
		char *slash = strrchr(parent, '/');
		if (strlen(parent) <= top || !slash || (size_t)(slash - parent) < top)
			return false;
		*slash = '\0';
	}
	return true;
}

static bool make_v1(struct limits_group *group, const char *controller, const char *name, const char *limit, uint64_t value)
{
	char parent[PATH_SIZE], folder[PATH_SIZE];
	size_t top;
	CLEANUP(fd_close) struct fd held = FD_NONE;
	if (!own_folder(controller, parent, &top) || path_join(folder, parent, name) != OK || !make_folder(folder, &held))
		return false;
	if (write_number(folder, limit, value) && adopt(group, folder, &held)) {
		group->kind = LIMITS_CGROUP1;
		return true;
	}
	rmdir(folder);
	return false;
}

#define NO_GROUP ((struct limits_group){.kind = LIMITS_RLIMIT, .procs = {FD_NONE, FD_NONE}, .held = {FD_NONE, FD_NONE}})

result limits_group_new(const char *name, const struct manifest_limits *limits, struct limits_group *out)
{
	struct limits_group group = NO_GROUP;
	char own[256];
	if (!path_name_ok(name) || snprintf(own, sizeof(own), "troth-%d-held-%s", (int)getpid(), name) >= (int)sizeof(own))
		return fail(BAD_VALUE, "'%s' as the name of a group", name);
	if (!make_v2(&group, own, limits)) {
		group.memory = make_v1(&group, "memory", own, "memory.limit_in_bytes", limits->memory);
		if (group.memory)
			(void)!write_number(group.paths[group.count - 1], "memory.memsw.limit_in_bytes", limits->memory);
		group.processes = make_v1(&group, "pids", own, "pids.max", (uint64_t)limits->processes + 1);
	}
	*out = group;
	return OK;
}

static void kill_all(const char *folder)
{
	if (write_value(folder, "cgroup.kill", "1"))
		return;
	char path[PATH_SIZE];
	if (path_join(path, folder, "cgroup.procs") != OK)
		return;
	FILE *lines = fopen(path, "re");
	int pid;
	while (lines && fscanf(lines, "%d", &pid) == 1)
		if (pid > 1)
			kill(pid, SIGKILL);
	if (lines)
		fclose(lines);
}

static bool remove_folder(const char *folder)
{
	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (rmdir(folder) == 0 || errno == ENOENT)
			return true;
		kill_all(folder);
		nanosleep(&(struct timespec){.tv_nsec = REMOVE_PAUSE_NS}, NULL);
	}
	return false;
}

result limits_group_remove(struct limits_group *group)
{
	if (!group)
		return OK;
	result outcome = OK;
	for (size_t i = 0; i < group->count; i++) {
		fd_close(&group->procs[i]);
		if (!remove_folder(group->paths[i]))
			outcome = fail(BUSY, "%s still has processes", group->paths[i]);
		fd_close(&group->held[i]);
		free(group->paths[i]);
	}
	*group = NO_GROUP;
	return outcome;
}

static void sweep_folder(const char *parent)
{
	DIR *folder = opendir(parent);
	if (!folder)
		return;
	for (const struct dirent *entry; (entry = readdir(folder));) {
		int pid;
		char rest, path[PATH_SIZE];
		CLEANUP(fd_close) struct fd held = FD_NONE;
		if (sscanf(entry->d_name, "troth-%d-held-%c", &pid, &rest) != 2 || path_join(path, parent, entry->d_name) != OK)
			continue;
		/* Nobody holds it: what runs in it has lost its host and is about to end. */
		if (hold(path, &held))
			remove_folder(path);
	}
	closedir(folder);
}

void limits_sweep(void)
{
	static const char *const controllers[] = {"", "memory", "pids"};
	for (size_t i = 0; i < COUNT_OF(controllers); i++) {
		char folder[PATH_SIZE];
		size_t top;
		if (!own_folder(controllers[i], folder, &top))
			continue;
		for (;;) {
			sweep_folder(folder);
			char *slash = strrchr(folder, '/');
			if (strlen(folder) <= top || !slash || (size_t)(slash - folder) < top)
				break;
			*slash = '\0';
		}
	}
}

static uint64_t read_counter(const char *folder, const char *name, const char *key)
{
	char path[PATH_SIZE], word[64];
	unsigned long long value = 0;
	if (path_join(path, folder, name) != OK)
		return 0;
	FILE *lines = fopen(path, "re");
	while (lines && fscanf(lines, "%63s %llu", word, &value) == 2 && strcmp(word, key) != 0)
		value = 0;
	if (lines)
		fclose(lines);
	return value;
}

void limits_group_events(const struct limits_group *group, uint64_t *out_oom_kills, uint64_t *out_forks_refused)
{
	*out_oom_kills = *out_forks_refused = 0;
	for (size_t i = 0; i < group->count; i++) {
		*out_oom_kills += read_counter(group->paths[i], "memory.events", "oom_kill");
		*out_oom_kills += read_counter(group->paths[i], "memory.oom_control", "oom_kill");
		*out_forks_refused += read_counter(group->paths[i], "pids.events", "max");
	}
}

/* ---- rlimits ---- */

static int set(int which, uint64_t soft, uint64_t hard)
{
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)which, &now) != 0)
		return errno;
	/* Only downwards: an ordinary user may not raise what the system gave. */
	if (now.rlim_max != RLIM_INFINITY && hard > now.rlim_max)
		hard = now.rlim_max;
	struct rlimit limit = {soft < hard ? soft : hard, hard};
	return setrlimit((__rlimit_resource_t)which, &limit) == 0 ? 0 : errno;
}

int limits_set_rlimits(const struct manifest_limits *limits, bool group_bounds_memory)
{
	uint64_t seconds = limits->cpu_ms / 1000 + (limits->cpu_ms % 1000 != 0);
	const struct {
		int which;
		uint64_t soft, hard;
	} rows[] = {
		{RLIMIT_CPU, seconds, seconds + 1}, /* SIGXCPU, a second later SIGKILL */
		{RLIMIT_AS, group_bounds_memory ? RLIM_INFINITY : limits->memory, group_bounds_memory ? RLIM_INFINITY : limits->memory},
		{RLIMIT_NPROC, (uint64_t)limits->processes + OWN_PROCESSES, (uint64_t)limits->processes + OWN_PROCESSES},
		{RLIMIT_NOFILE, limits->open_files, limits->open_files},
		{RLIMIT_FSIZE, limits->scratch, limits->scratch},
		{RLIMIT_MSGQUEUE, 0, 0},
		{RLIMIT_RTPRIO, 0, 0},
		{RLIMIT_CORE, 1, 1}, /* 0 would not stop a core handler that is a pipe */
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int error = set(rows[i].which, rows[i].soft, rows[i].hard);
		if (error)
			return error;
	}
	return 0;
}
