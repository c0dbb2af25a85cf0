#include "groups.h"

int main(void)
{
	return group_crc32c() + group_slots() + group_journal() + group_crash() + group_merkle() + group_sparse_map();
}
