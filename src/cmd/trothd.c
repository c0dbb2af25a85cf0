/* trothd: the long-running services of Troth, one role per process. */
#include <stdio.h>
#include <string.h>

#include "cmd/trothd.h"

#ifdef TROTH_INSTRUMENTED
/* The leak checker stops the world with ptrace, which nothing here may do; tests of the engines look for leaks. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

static const struct {
	const char *name;
	int (*run)(int argc, char **argv); /* NULL: comes with a later part */
	const char *description;
} roles[] = {
	{"host", trothd_host, "launches enclaves, speaks to the secure processor, runs jobs"},
	{"attestation", NULL, "appraises evidence (not in this version)"},
	{"config", NULL, "serves chain definitions (not in this version)"},
	{"hsm", NULL, "one node of an HSM chain (not in this version)"},
	{"ledger", trothd_ledger, "serves a ledger that anyone can check"},
	{"console", NULL, "the web console (not in this version)"},
};

static int usage(FILE *to, int code)
{
	fprintf(to, "usage: trothd ROLE [OPTIONS]\n\n");
	for (size_t i = 0; i < COUNT_OF(roles); i++)
		fprintf(to, "  %-12s %s\n", roles[i].name, roles[i].description);
	fprintf(to, "\ntrothd ROLE --help shows the options of a role.\n");
	return code;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return usage(stdout, EXIT_OK);
	for (size_t i = 0; argc >= 2 && i < COUNT_OF(roles); i++)
		if (strcmp(roles[i].name, argv[1]) == 0 && roles[i].run)
			return roles[i].run(argc - 2, argv + 2);
		else if (strcmp(roles[i].name, argv[1]) == 0) {
			fprintf(stderr, "trothd: USAGE: the role '%s' comes with a later version\n  %s\n", argv[1],
				reason_row(USAGE)->sentence);
			return EXIT_USAGE;
		}
	if (argc >= 2)
		fprintf(stderr, "trothd: USAGE: there is no role '%s'\n\n", argv[1]);
	return usage(stderr, EXIT_USAGE);
}
