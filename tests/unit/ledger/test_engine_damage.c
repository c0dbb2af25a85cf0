#include "groups.h"

int group_engine_damage(void)
{
	return 0;
}
