#include "groups.h"

int main(void)
{
	return group_note() + group_checkpoint() + group_contract() + group_make() + group_engine() + group_engine_crash() + group_engine_damage() +
		group_witness() + group_service();
}
