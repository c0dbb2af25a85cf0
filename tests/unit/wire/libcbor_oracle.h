#ifndef TROTH_TESTS_LIBCBOR_ORACLE_H
#define TROTH_TESTS_LIBCBOR_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when libcbor reads one item from `data` that takes all of it. Give it only what our decoder accepts. */
bool libcbor_reads_all(const uint8_t *data, size_t len);

#endif
