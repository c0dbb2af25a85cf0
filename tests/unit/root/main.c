#include "groups.h"

#include <string.h>

int main(int argc, char *argv[])
{
	if (argc == 2 && strcmp(argv[1], PROBE_PROGRAM_FOLDER) == 0)
		return probe_program_folder();
	int failures = 0;
#define RUN_GROUP(name) failures += name();
	TEST_GROUPS(RUN_GROUP)
#undef RUN_GROUP
	return failures == 0 ? 0 : 1;
}
