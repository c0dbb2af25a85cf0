#include "groups.h"

int main(void)
{
	return group_result() + group_bytes() + group_memory() + group_clock() + group_log() + group_file() + group_fault() + group_loop() +
		group_sock() + group_process();
}
