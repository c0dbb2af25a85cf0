#include "groups.h"

int main(void)
{
	return group_elf() +
		group_closure() +
		group_dac() +
		group_data_frame() +
		group_seccomp() +
		group_image() +
		group_limits() +
		group_tier() +
		group_sandbox() +
		group_runtime() +
		group_iecp() +
		group_iecp_channel() +
		group_iecp_vectors();
}
