/* The groups of tests of src/evidence: each returns how many failed. */
#ifndef TROTH_TESTS_EVIDENCE_GROUPS_H
#define TROTH_TESTS_EVIDENCE_GROUPS_H

#define TEST_GROUPS(X) X(quote_tests) X(event_log_tests) X(envelope_tests) X(sample_tests) X(device_tests)

#define DECLARE_GROUP(name) int name(void);
TEST_GROUPS(DECLARE_GROUP)
#undef DECLARE_GROUP

#endif
