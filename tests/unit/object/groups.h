/* The groups of test-object; each gives the number of its failures. */
#ifndef TROTH_TESTS_OBJECT_GROUPS_H
#define TROTH_TESTS_OBJECT_GROUPS_H

int group_schema(void);
int group_kind(void);
int group_names(void);
int group_epoch(void);
int group_epoch_chain(void);
int group_manifest(void);
int group_receipt(void);
int group_vectors(void);
int group_cddl(void);
int group_reference(void);
int group_revocation(void);
int group_backup(void);

#endif
