/* Every file of this folder is one group; each returns how many of its tests failed. */
#ifndef TROTH_TESTS_BASE_GROUPS_H
#define TROTH_TESTS_BASE_GROUPS_H

int group_result(void);
int group_bytes(void);
int group_memory(void);
int group_clock(void);
int group_log(void);
int group_file(void);
int group_fault(void);
int group_loop(void);
int group_sock(void);
int group_process(void);

#endif
