#include "base/seccomp.h"

#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_TSYNC
#define SECCOMP_FILTER_FLAG_TSYNC 1
#endif

enum {
	P = 1 << SECCOMP_PROGRAM,
	R = 1 << SECCOMP_REAPER,
	I = 1 << SECCOMP_IRE,
	A = 1 << SECCOMP_AP,
	J = 1 << 8,  /* permission jit */
	V = 1 << 9,  /* permission sysvipc */
	X = 1 << 10, /* instrumented build */
	L = 1 << 11, /* without namespaces: tier L */
};

struct condition {
	unsigned argument;
	uint64_t mask, value; /* a mask of 0 holds always */
};

struct rule {
	unsigned profiles;
	int error; /* 0: allow */
	const char *error_name;
	const char *call;
	struct condition conditions[2];
};

#define BITS(argument, mask, value) {argument, mask, value}
#define AND ,
#define CALL(profiles, call, why) {profiles, 0, "", #call, {{0}}},
#define WHEN(profiles, call, conditions, why) {profiles, 0, "", #call, {conditions}},
#define DENY(profiles, error, call, why) {profiles, error, #error, #call, {{0}}},
#define DENY_WHEN(profiles, error, call, conditions, why) {profiles, error, #error, #call, {conditions}},
static const struct rule rules[] = {
#include "base/seccomp.def"
};

static const char *const profile_names[SECCOMP_PROFILES] = {"program", "reaper", "troth-ire", "troth-ap"};
static const struct {
	const char *name;
	enum seccomp_permission bit;
	unsigned list;
} permission_names[] = {{"jit", SECCOMP_JIT, J}, {"sysvipc", SECCOMP_SYSVIPC, V}, {"fabric", SECCOMP_FABRIC, 0}};

const char *seccomp_profile_name(enum seccomp_profile profile)
{
	return (unsigned)profile < SECCOMP_PROFILES ? profile_names[profile] : "unknown";
}

bool seccomp_instrumented(void)
{
#ifdef TROTH_INSTRUMENTED
	return true;
#else
	return false;
#endif
}

result seccomp_permission_find(const char *name, unsigned *out)
{
	for (size_t i = 0; i < COUNT_OF(permission_names); i++) {
		if (strcmp(permission_names[i].name, name) == 0) {
			*out = (unsigned)permission_names[i].bit;
			return OK;
		}
	}
	return fail(UNKNOWN_PERMISSION, "permission \"%s\"", name);
}

/* The lists that make up a filter: the profile's own, what the permissions add, instrumentation. */
static unsigned lists_of(enum seccomp_profile profile, unsigned permissions)
{
	unsigned lists = 1u << profile;
	for (size_t i = 0; i < COUNT_OF(permission_names); i++)
		if (profile == SECCOMP_PROGRAM && (permissions & (unsigned)permission_names[i].bit))
			lists |= permission_names[i].list;
	if (profile == SECCOMP_PROGRAM && (permissions & SECCOMP_ALONE))
		lists |= L;
	if (seccomp_instrumented() && profile != SECCOMP_PROGRAM)
		lists |= X; /* the program is not ours and never instrumented */
	return lists;
}

static bool same_conditions(const struct rule *a, const struct rule *b)
{
	return memcmp(a->conditions, b->conditions, sizeof(a->conditions)) == 0;
}

static bool unconditional(const struct rule *rule)
{
	return rule->conditions[0].mask == 0;
}

/*
 * A rule of a permission, of tier L or of the instrumentation list replaces the profile's own rules for the same case: an
 * unconditional one all of the call, a conditional one those that it includes. What tier L says of a call is all there is.
 */
static bool is_replaced(const struct rule *rule, unsigned lists)
{
	unsigned added = lists & (J | V | X | L);
	if (rule->profiles & added)
		return false;
	for (size_t i = 0; i < COUNT_OF(rules); i++) {
		const struct rule *other = &rules[i];
		if (!(other->profiles & added) || strcmp(other->call, rule->call) != 0)
			continue;
		const struct condition *wide = &other->conditions[0], *narrow = &rule->conditions[0];
		if (unconditional(other) || (other->profiles & lists & L))
			return true;
		if (wide->argument == narrow->argument && (wide->mask & narrow->mask) == wide->mask &&
			(narrow->value & wide->mask) == wide->value)
			return true;
	}
	return false;
}

/* The same call may stand in several of the lists; one rule is enough. */
static bool is_repeated(size_t index, unsigned lists)
{
	for (size_t i = 0; i < index; i++)
		if ((rules[i].profiles & lists) && rules[i].error == rules[index].error &&
			strcmp(rules[i].call, rules[index].call) == 0 && same_conditions(&rules[i], &rules[index]) &&
			!is_replaced(&rules[i], lists))
			return true;
	return false;
}

static bool is_in(size_t index, unsigned lists)
{
	return (rules[index].profiles & lists) && !is_replaced(&rules[index], lists) && !is_repeated(index, lists);
}

static result add_rule(scmp_filter_ctx ctx, const struct rule *rule)
{
	int number = seccomp_syscall_resolve_name(rule->call);
	if (number < 0)
		return OK; /* this architecture has no such call; whatever has its number is not in the list */
	struct scmp_arg_cmp compare[2];
	unsigned count = 0;
	for (; count < 2 && rule->conditions[count].mask; count++)
		compare[count] = SCMP_CMP64(rule->conditions[count].argument, SCMP_CMP_MASKED_EQ, rule->conditions[count].mask,
			rule->conditions[count].value);
	uint32_t action = rule->error ? SCMP_ACT_ERRNO((uint16_t)rule->error) : SCMP_ACT_ALLOW;
	int error = seccomp_rule_add_array(ctx, action, number, count, compare);
	if (error < 0) {
		errno = -error;
		return fail_errno("filter rule for %s", rule->call);
	}
	return OK;
}

static void context_free(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

/* libseccomp 2.5 writes a program only to a descriptor: a memfd, which is gone afterwards. */
static result export_code(scmp_filter_ctx ctx, struct seccomp_filter *out)
{
	int memory = memfd_create("filter", MFD_CLOEXEC);
	if (memory < 0)
		return fail_errno("memfd for a call filter");
	int error = seccomp_export_bpf(ctx, memory);
	off_t size = lseek(memory, 0, SEEK_END);
	struct sock_filter *code = NULL;
	bool good = error == 0 && size > 0 && (size_t)size % sizeof(*code) == 0 && (size_t)size / sizeof(*code) <= BPF_MAXINSNS;
	if (good)
		code = malloc((size_t)size);
	if (code && pread(memory, code, (size_t)size, 0) != size) {
		free(code);
		code = NULL;
	}
	close(memory);
	if (!good)
		return fail(INTERNAL, "libseccomp made no usable filter (%d, %lld bytes)", error, (long long)size);
	if (!code)
		return fail(NO_MEMORY, "call filter");
	*out = (struct seccomp_filter){code, (unsigned short)((size_t)size / sizeof(*code))};
	return OK;
}

static result filter_new(enum seccomp_profile profile, unsigned permissions, pid_t alone, struct seccomp_filter *out)
{
	if ((unsigned)profile >= SECCOMP_PROFILES)
		return fail(BAD_VALUE, "call filter profile %d", (int)profile);
	CLEANUP(context_free) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	if (!ctx)
		return fail(NO_MEMORY, "call filter");
	if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0)
		return fail(NOT_SUPPORTED, "libseccomp cannot kill processes that use another ABI");
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree; only speed depends on it */
	unsigned lists = lists_of(profile, permissions);
	for (size_t i = 0; i < COUNT_OF(rules); i++)
		if (is_in(i, lists))
			TRY(add_rule(ctx, &rules[i]));
	if (alone) {
		struct rule self = {0, 0, "", "tgkill", {{0, UINT32_MAX, (uint64_t)alone}}};
		TRY(add_rule(ctx, &self));
	}
	return export_code(ctx, out);
}

result seccomp_filter_new(enum seccomp_profile profile, unsigned permissions, struct seccomp_filter *out)
{
	return filter_new(profile, permissions & ~(unsigned)SECCOMP_ALONE, 0, out);
}

result seccomp_program_filter_alone(unsigned permissions, pid_t pid, struct seccomp_filter *out)
{
	if (permissions & SECCOMP_SYSVIPC)
		return fail(NOT_SUPPORTED, "permission \"sysvipc\" in tier L: there the names are the host's");
	return filter_new(SECCOMP_PROGRAM, permissions | SECCOMP_ALONE, pid, out);
}

/* ---- a process with a library that is not ours ---- */

/* Fails with EPERM, in every case or when (argument & mask) == value. */
static const struct foreign_denial {
	const char *call;
	struct condition condition;
} foreign_denials[] = {
	/* other processes */
	{"ptrace", {0}}, {"process_vm_readv", {0}}, {"process_vm_writev", {0}}, {"process_madvise", {0}}, {"pidfd_open", {0}},
	{"pidfd_getfd", {0}}, {"pidfd_send_signal", {0}}, {"kcmp", {0}}, {"kill", {0}}, {"tkill", {0}}, {"rt_sigqueueinfo", {0}},
	{"rt_tgsigqueueinfo", {0}}, {"setpriority", {0}},
	/* programs */
	{"execve", {0}}, {"execveat", {0}}, {"uselib", {0}}, {"personality", {0}},
	/* rights */
	{"unshare", {0}}, {"setns", {0}}, {"clone", {0, 0x10000000, 0x10000000}}, {"clone", {0, 0x00020000, 0x00020000}},
	{"clone", {0, 0x20000000, 0x20000000}}, {"clone", {0, 0x40000000, 0x40000000}}, {"chroot", {0}}, {"capset", {0}},
	{"setuid", {0}}, {"setreuid", {0}}, {"setresuid", {0}}, {"setgid", {0}}, {"setregid", {0}}, {"setresgid", {0}}, {"setgroups", {0}},
	{"prctl", {0, 0xffffffff, 4 /* PR_SET_DUMPABLE */}}, {"prctl", {0, 0xffffffff, 0x59616d61 /* PR_SET_PTRACER */}},
	/* mounts */
	{"mount", {0}}, {"umount2", {0}}, {"pivot_root", {0}}, {"move_mount", {0}}, {"open_tree", {0}}, {"fsopen", {0}}, {"fsconfig", {0}},
	{"fsmount", {0}}, {"fspick", {0}}, {"mount_setattr", {0}}, {"swapon", {0}}, {"swapoff", {0}}, {"quotactl", {0}}, {"acct", {0}},
	{"open_by_handle_at", {0}}, {"name_to_handle_at", {0}},
	/* the kernel: large, little used doors, and what only administrators need */
	{"bpf", {0}}, {"perf_event_open", {0}}, {"userfaultfd", {0}}, {"io_uring_setup", {0}}, {"io_uring_enter", {0}},
	{"io_uring_register", {0}}, {"keyctl", {0}}, {"add_key", {0}}, {"request_key", {0}}, {"kexec_load", {0}}, {"kexec_file_load", {0}},
	{"init_module", {0}}, {"finit_module", {0}}, {"delete_module", {0}}, {"reboot", {0}}, {"settimeofday", {0}}, {"clock_settime", {0}},
	{"clock_adjtime", {0}}, {"adjtimex", {0}}, {"sethostname", {0}}, {"setdomainname", {0}}, {"iopl", {0}}, {"ioperm", {0}},
	{"modify_ldt", {0}}, {"syslog", {0}}, {"vhangup", {0}}, {"lookup_dcookie", {0}}, {"fanotify_init", {0}}, {"vmsplice", {0}},
	{"move_pages", {0}}, {"migrate_pages", {0}}, {"ioctl", {1, 0xffffffff, 0x5412 /* TIOCSTI */}},
};

static result deny(scmp_filter_ctx ctx, int error, const char *call, const struct scmp_arg_cmp *compare, unsigned count)
{
	int number = seccomp_syscall_resolve_name(call);
	if (number < 0)
		return OK; /* this architecture has no such call */
	int refused = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((uint16_t)error), number, count, compare);
	if (refused < 0) {
		errno = -refused;
		return fail_errno("filter rule for %s", call);
	}
	return OK;
}

/* Every family but those that are left; a number beyond all families as well. */
static result deny_families(scmp_filter_ctx ctx, bool network)
{
	enum { UNIX = 1, INET = 2, INET6 = 10, NETLINK = 16, FAMILIES = 64 };
	for (unsigned family = 0; family < FAMILIES; family++) {
		struct scmp_arg_cmp is = SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, UINT64_C(0xffffffff), family);
		bool of_network = family == INET || family == INET6 || family == NETLINK; /* the last for looking up names */
		if (family != UNIX && !(network && of_network))
			TRY(deny(ctx, EAFNOSUPPORT, "socket", &is, 1));
	}
	struct scmp_arg_cmp beyond = SCMP_CMP64(0, SCMP_CMP_GE, FAMILIES);
	return deny(ctx, EAFNOSUPPORT, "socket", &beyond, 1);
}

result seccomp_foreign_filter_new(bool network, struct seccomp_filter *out)
{
	CLEANUP(context_free) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return fail(NO_MEMORY, "call filter");
	if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0)
		return fail(NOT_SUPPORTED, "libseccomp cannot kill processes that use another ABI");
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* only speed depends on it */
	for (size_t i = 0; i < COUNT_OF(foreign_denials); i++) {
		const struct condition *c = &foreign_denials[i].condition;
		struct scmp_arg_cmp compare = SCMP_CMP64(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value);
		TRY(deny(ctx, EPERM, foreign_denials[i].call, &compare, c->mask ? 1 : 0));
	}
	/* Its flags stand in memory, where a filter cannot look; libraries fall back to clone. */
	TRY(deny(ctx, ENOSYS, "clone3", NULL, 0));
	TRY(deny_families(ctx, network));
	return export_code(ctx, out);
}

void seccomp_filter_free(struct seccomp_filter *filter)
{
	if (!filter)
		return;
	free(filter->code);
	*filter = SECCOMP_FILTER_NONE;
}

int seccomp_install_raw(const struct seccomp_filter *filter)
{
	struct sock_fprog program = {.len = filter->len, .filter = filter->code};
	long outcome = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (outcome == 0)
		return 0;
	return outcome > 0 ? EBUSY : errno; /* > 0: a thread that has another filter */
}

result seccomp_install(const struct seccomp_filter *filter)
{
	int error = seccomp_install_raw(filter);
	if (error == 0)
		return OK;
	errno = error == EINVAL ? ENOSYS : error; /* EINVAL: a kernel without filters or without TSYNC */
	return fail_errno("installing a call filter");
}

void seccomp_list_text(enum seccomp_profile profile, struct writer *out)
{
	if ((unsigned)profile >= SECCOMP_PROFILES) {
		writer_fail(out, BAD_VALUE);
		return;
	}
	unsigned lists = lists_of(profile, SECCOMP_JIT | SECCOMP_SYSVIPC) & ~(unsigned)(J | V);
	char line[160];
	const char *instrumented = lists & X ? " instrumented" : "";
	snprintf(line, sizeof(line), "troth calls 1 %s%s\n", profile_names[profile], instrumented);
	writer_str(out, line);
	for (size_t i = 0; i < COUNT_OF(rules); i++) {
		/* What permissions and tier L add belongs to the program's list, each under its name. */
		unsigned letter = profile == SECCOMP_PROGRAM ? rules[i].profiles & (J | V | L) : 0;
		if (!letter && !is_in(i, lists))
			continue;
		snprintf(line, sizeof(line), "%s%s %s", letter & J ? "jit " : letter & V ? "sysvipc " : letter & L ? "tier-L " : "",
			rules[i].error ? rules[i].error_name : "allow", rules[i].call);
		writer_str(out, line);
		for (size_t c = 0; c < 2 && rules[i].conditions[c].mask; c++) {
			snprintf(line, sizeof(line), " %u&%" PRIx64 "=%" PRIx64, rules[i].conditions[c].argument,
				rules[i].conditions[c].mask, rules[i].conditions[c].value);
			writer_str(out, line);
		}
		writer_str(out, "\n");
	}
}
