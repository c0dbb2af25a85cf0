/* Every file of this folder is one group; each returns how many of its tests failed. */
#ifndef TROTH_TESTS_STORE_GROUPS_H
#define TROTH_TESTS_STORE_GROUPS_H

int group_crc32c(void);
int group_slots(void);
int group_journal(void);
int group_crash(void);
int group_merkle(void);
int group_sparse_map(void);

#endif
