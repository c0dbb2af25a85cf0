#include "groups.h"

int main(void)
{
	return group_link() + group_output_folder() + group_pipeline() + group_plan() + group_plan_hosts() + group_recorder() + group_revocation_store() + group_service() + group_state() +
		group_uid_pool();
}
