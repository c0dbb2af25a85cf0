/*
 * A full memory fence between two processes that share memory: what was stored before it is seen by whoever sees what is
 * stored after it, and the other way round (C11 7.17.4, sequentially consistent).
 */
#ifndef TROTH_BASE_FENCE_H
#define TROTH_BASE_FENCE_H

#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

static inline void full_fence(void)
{
#ifdef UNDER_TSAN
	/* TSan does not know fences; a sequentially consistent exchange is one on the machines it runs on. */
	static uint32_t anything;
	(void)__atomic_exchange_n(&anything, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#endif
