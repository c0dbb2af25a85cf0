#ifndef TROTH_TESTS_NET_TEST_H
#define TROTH_TESTS_NET_TEST_H

#include "expect.h"

int test_tcp(void);
int test_tls(void);
int test_https(void);

#endif
