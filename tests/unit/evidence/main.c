#include "groups.h"

int main(void)
{
	int failures = 0;
#define RUN_GROUP(name) failures += name();
	TEST_GROUPS(RUN_GROUP)
#undef RUN_GROUP
	return failures == 0 ? 0 : 1;
}
