/* A program for the process tests: shows what it was started with. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "0 1 7": every open descriptor but the one that lists them. */
static void show_fds(void)
{
	for (int fd = 0; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d ", fd);
}

static void show_signals(void)
{
	sigset_t mask;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int i = 1; i < 32; i++) {
		struct sigaction action;
		if (sigismember(&mask, i) == 1)
			printf("blocked %d ", i);
		if (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			printf("ignored %d ", i);
	}
}

static void hang(void)
{
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv, char **env)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "exit") == 0)
		return atoi(argv[2]);
	if (strcmp(what, "abort") == 0)
		raise(SIGTERM);
	if (strcmp(what, "fds") == 0)
		show_fds();
	if (strcmp(what, "signals") == 0)
		show_signals();
	if (strcmp(what, "env") == 0)
		for (; *env; env++)
			printf("%s\n", *env);
	if (strcmp(what, "group") == 0)
		printf("%d", getpgrp() == getpid());
	if (strcmp(what, "cwd") == 0) {
		char folder[4096];
		printf("%s", getcwd(folder, sizeof(folder)) ? folder : "?");
	}
	if (strcmp(what, "hang") == 0)
		hang();
	if (strcmp(what, "stubborn") == 0) {
		signal(SIGTERM, SIG_IGN);
		hang();
	}
	if (strcmp(what, "fork") == 0 && fork() >= 0)
		hang(); /* both of them, in one group */
	return 0;
}
