#include "groups.h"

int group_engine_crash(void)
{
	return 0;
}
