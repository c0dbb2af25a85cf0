/*
 * How a service that faces a network takes away its own rights before its first byte from there: no capabilities, no dumps, no
 * files but those of its folder (Landlock), no connections of its own unless it must ask others, and none of the system calls
 * that nothing here needs (seccomp). Irrevocable. Files and capabilities are of the calling thread and those it starts later, so
 * this is called before any is started; the caller's descriptors stay open.
 */
#ifndef TROTH_BASE_CONFINE_H
#define TROTH_BASE_CONFINE_H

#include "base/result.h"

struct confine_service {
	const char *folder; /* everything below it may be read, written, made and removed; nothing elsewhere */
	bool asks_others;   /* may connect over TCP and look up names, for which some files of the system can be read */
};

/*
 * *out_files: whether this kernel keeps files away (Landlock; 5.13 and later); else the caller says so in its log. Everything
 * else that fails is a failure.
 */
NODISCARD result confine_service(const struct confine_service *service, bool *out_files);

#endif
