/* Every file of this folder is one group; each returns how many of its tests failed. */
#ifndef TROTH_TESTS_LEDGER_GROUPS_H
#define TROTH_TESTS_LEDGER_GROUPS_H

int group_note(void);
int group_checkpoint(void);
int group_contract(void);
int group_make(void);
int group_engine(void);
int group_engine_crash(void);
int group_engine_damage(void);
int group_witness(void);
int group_service(void);

#endif
