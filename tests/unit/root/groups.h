/* The groups of tests of src/root; main.c runs them in this order. Each returns its number of failures. */
#ifndef TROTH_TESTS_ROOT_GROUPS_H
#define TROTH_TESTS_ROOT_GROUPS_H

#define TEST_GROUPS(GROUP)                                                                                             \
	GROUP(test_ipq)                                                                                                \
	GROUP(test_ipq_hostile)                                                                                        \
	GROUP(test_ipq_flip)                                                                                           \
	GROUP(test_ipq_sealed)                                                                                         \
	GROUP(test_ipq_rotate)                                                                                         \
	GROUP(test_host_queue)                                                                                         \
	GROUP(test_host)                                                                                               \
	GROUP(test_ap)                                                                                                 \
	GROUP(test_ap_rotate)                                                                                          \
	GROUP(test_ap_token)                                                                                           \
	GROUP(test_ap_recover)                                                                                         \
	GROUP(test_history)                                                                                             \
	GROUP(test_schedule)                                                                                            \
	GROUP(test_pins)                                                                                               \
	GROUP(test_tcb)                                                                                                \
	GROUP(test_token_settings)                                                                                     \
	GROUP(test_upgrades)                                                                                           \
	GROUP(test_ap_revocation)                                                                                      \
	GROUP(test_ap_upgrade)                                                                                         \
	GROUP(test_wrap)

#define DECLARE_GROUP(name) int name(void);
TEST_GROUPS(DECLARE_GROUP)
#undef DECLARE_GROUP

/* test_tcb runs this program once more, with this as its argument: the exit code says whether NOT_FOUND came. */
#define PROBE_PROGRAM_FOLDER "--program-folder"
int probe_program_folder(void);

#endif
