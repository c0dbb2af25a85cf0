/* The groups of tests of src/job; each returns how many failed. */
#ifndef TROTH_TESTS_JOB_GROUPS_H
#define TROTH_TESTS_JOB_GROUPS_H

int group_link(void);
int group_output_folder(void);
int group_pipeline(void);
int group_plan(void);
int group_plan_hosts(void);
int group_recorder(void);
int group_revocation_store(void);
int group_service(void);
int group_state(void);
int group_uid_pool(void);

#endif
