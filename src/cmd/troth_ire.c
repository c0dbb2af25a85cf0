/*
 * troth-ire: the runtime around one program. `trothd host` starts it with one socket (descriptor 3) and nothing else;
 * everything it does is told on that socket (docs/PROTOCOL.control, enclave/runtime.h).
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/result.h"
#include "enclave/runtime.h"

enum { CONTROL_FD = 3 };

#ifdef TROTH_INSTRUMENTED
/* The leak checker stops the world with ptrace, which nothing here may do; tests of the engines look for leaks. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

static int usage(int code)
{
	fprintf(code ? stderr : stdout,
		"usage: troth-ire --serve\n"
		"The runtime around one program. `trothd host` starts it; by hand it is of no use.\n");
	return code;
}

int main(int argc, char **argv)
{
	struct stat status;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_WARNING, "troth-ire"); /* its stderr is often that of who asked for the run */
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(EXIT_OK);
	if (argc != 2 || strcmp(argv[1], "--serve") != 0 || fstat(CONTROL_FD, &status) != 0 || !S_ISSOCK(status.st_mode))
		return usage(EXIT_USAGE);
	return reason_row(runtime_run(CONTROL_FD))->exit;
}
