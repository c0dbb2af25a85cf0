/* Start of the cryptographic library in a process; see crypto/library.h for how it is used. */
#ifndef TROTH_CRYPTO_CRYPTO_H
#define TROTH_CRYPTO_CRYPTO_H

#include "base/result.h"

/*
 * Runs every primitive of src/crypto once, so that afterwards none of them opens a file or needs a system call
 * outside memory management (brk, mmap, munmap, mprotect, madvise), futex, getrandom and getpid (by which
 * OpenSSL's generator notices a fork). A program calls it first, before it drops its filesystem or loads a
 * seccomp filter (while it runs, the C library reads its time zone file). A thread that starts later may call it again to make its own
 * contexts. Aborts when the library does not work; a wrong answer of a primitive counts as that.
 */
void crypto_warm_up(void);

#endif
