/* The groups of test-enclave; each gives the number of its failures. */
#ifndef TROTH_TESTS_ENCLAVE_GROUPS_H
#define TROTH_TESTS_ENCLAVE_GROUPS_H

int group_elf(void);
int group_closure(void);
int group_dac(void);
int group_data_frame(void);
int group_runtime(void);
int group_runtime_records(void);
int group_calls(void);
int group_fetch(void);
int group_seccomp(void);
int group_image(void);
int group_limits(void);
int group_launch_revocation(void);
int group_sandbox(void);
int group_tier(void);
int group_relocation(void);
int group_iecp(void);
int group_ring(void);
int group_iecp_anchor(void);
int group_iecp_channel(void);
int group_iecp_rekey(void);
int group_iecp_vectors(void);

#endif
