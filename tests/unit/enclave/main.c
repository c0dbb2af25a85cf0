#include "expect.h"

#include <signal.h>

#include "groups.h"

#ifdef UNDER_TSAN
static void confinement(void **state)
{
	(void)state;
	print_message("a process of one thread is needed for namespaces\n");
	skip();
}

static int confined_groups(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(confinement)};
	return cmocka_run_group_tests_name("confinement", tests, NULL, NULL);
}
#else
static int confined_groups(void)
{
	return group_tier() + group_relocation() + group_sandbox() + group_runtime();
}
#endif

int main(void)
{
	/* A runtime that ends on purpose must not end who feeds it. */
	signal(SIGPIPE, SIG_IGN);
	return group_elf() +
		group_closure() +
		group_dac() +
		group_data_frame() +
		group_seccomp() +
		group_image() +
		group_limits() +
		group_launch_revocation() +
		confined_groups() +
		group_runtime_records() +
		group_calls() +
		group_fetch() +
		group_iecp() +
		group_ring() +
		group_iecp_anchor() +
		group_iecp_channel() +
		group_iecp_rekey() +
		group_iecp_vectors();
}
