/* Allocation failures: the linker sends malloc, calloc and realloc of the tested code through here. */
#ifndef TROTH_TESTS_ALLOCATIONS_H
#define TROTH_TESTS_ALLOCATIONS_H

#include <stdbool.h>

/* The `countdown`-th allocation from now fails (1: the next). */
void allocations_fail(unsigned countdown);
/* Allocations work again; whether one was made to fail. */
bool allocations_restore(void);

#endif
