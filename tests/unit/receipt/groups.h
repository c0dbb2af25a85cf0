/* The groups of tests of src/receipt: each returns how many failed. */
#ifndef TROTH_TESTS_RECEIPT_GROUPS_H
#define TROTH_TESTS_RECEIPT_GROUPS_H

#define TEST_GROUPS(X) X(verify_tests) X(tamper_tests) X(trust_tests) X(show_tests) X(epoch_tests) X(hosts_tests)

#define DECLARE_GROUP(name) int name(void);
TEST_GROUPS(DECLARE_GROUP)
#undef DECLARE_GROUP

#endif
