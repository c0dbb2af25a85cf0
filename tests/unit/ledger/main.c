#include "groups.h"

int main(void)
{
	return group_note() + group_checkpoint() + group_contract();
}
