#include "groups.h"

int main(void)
{
	return group_schema() + group_kind() + group_names() + group_epoch() + group_epoch_chain() + group_manifest() + group_receipt() +
		group_vectors() + group_cddl() + group_reference() + group_revocation() + group_backup();
}
