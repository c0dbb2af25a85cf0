/* ThreadSanitizer gives every process a second thread, and the kernel gives a process of two threads no user namespace. */
#ifndef TROTH_TESTS_TSAN_H
#define TROTH_TESTS_TSAN_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(UNDER_TSAN)
#define UNDER_TSAN 1
#endif

#ifdef UNDER_TSAN
/* Tests that need namespaces are there and not called. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"
#endif

#endif
