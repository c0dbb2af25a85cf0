/*
 * How a process of Troth takes away its own rights: own uid, own namespaces, no capabilities, no dumps, an empty root.
 * Used by troth-ap and by troth-ire around its program. The order is not free (constructions/objects.md): a process is
 * exec'ed in the host's user namespace, enters its own, writes the maps, becomes undumpable, and only then touches secrets.
 *
 * Everything acts on the calling process and cannot be undone. The process must have one thread.
 */
#ifndef TROTH_BASE_ISOLATE_H
#define TROTH_BASE_ISOLATE_H

#include "base/result.h"

#include <sys/types.h>

/* uid and gid that a process sees inside its own user namespace, whatever they are outside. */
enum { ISOLATE_INSIDE_ID = 1000 };

/* True when we are root where it counts: uid 0 that is also uid 0 of the parent user namespace. */
bool isolate_is_root(void);

/*
 * Gives up real root for `uid` (and gid of the same number, no other groups); a no-op for an ordinary user, who passes 0.
 * As root an uid of 0 is refused with BAD_VALUE: nothing confined ever runs as real root. NO_PERMISSION.
 */
NODISCARD result isolate_drop_uid(uid_t uid);

/*
 * For a process that does without namespaces (tier L), before isolate_drop_uid: what real root could regain is taken out of
 * the bounding set, which needs a capability that root alone has. A no-op for an ordinary user.
 */
NODISCARD result isolate_drop_bounds(void);

/*
 * New user, mount, pid (for children), net, ipc and uts namespaces; maps the current uid and gid to ISOLATE_INSIDE_ID,
 * cuts mount propagation, forbids further user namespaces, then makes the process undumpable. It has every capability
 * in the new user namespace until isolate_drop_capabilities. NO_NAMESPACES names what the machine refuses and why.
 */
NODISCARD result isolate_enter_namespaces(void);

/* The same, but the network stays that of the parent when `network`; for a worker that reaches a device over it. */
NODISCARD result isolate_enter_namespaces_with(bool network);

/*
 * After isolate_enter_namespaces: makes every file system read-only (also without set-uid programs), but for the folders
 * `writable`, and puts an empty folder over each of `hidden`. Both NULL-terminated, or NULL. A folder to hide that is not
 * there is left out. NO_NAMESPACES.
 */
NODISCARD result isolate_limit_files(const char *const *writable, const char *const *hidden);

/*
 * Forks; returns in the child, which is process 1 of the pid namespace made by isolate_enter_namespaces. The parent
 * never returns: it holds no descriptor, passes SIGTERM on, ends the child when it is killed itself, and exits as the
 * child does.
 */
NODISCARD result isolate_enter_pid_namespace(void);

/* Replaces the root by an empty read-only one; every path is gone, open descriptors stay. */
NODISCARD result isolate_empty_root(void);

/* Empties all capability sets and the bounding set, locks securebits, sets no_new_privs. Needs no /proc. */
NODISCARD result isolate_drop_capabilities(void);

/* PR_SET_DUMPABLE 0 and RLIMIT_CORE 1 (0 would not stop a core handler that is a pipe). */
NODISCARD result isolate_no_dumps(void);

/*
 * Says in one sentence why `error` came from asking for namespaces, by looking at the switches that distributions have
 * (user.max_user_namespaces, kernel.unprivileged_userns_clone, AppArmor's restriction, a chroot, a seccomp filter).
 */
enum { ISOLATE_WHY_SIZE = 320 };
void isolate_why_refused(int error, char out[static ISOLATE_WHY_SIZE]);

#endif
