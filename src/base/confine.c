#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/isolate.h"
#include "base/seccomp.h"

/* Numbers of include/uapi/linux/landlock.h, up to ABI 6. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum {
	CREATE_VERSION = 1,
	RULE_BENEATH = 1,
	EXECUTE = 1 << 0,
	WRITE_FILE = 1 << 1,
	READ_FILE = 1 << 2,
	READ_DIR = 1 << 3,
	REMOVE_DIR = 1 << 4,
	REMOVE_FILE = 1 << 5,
	MAKE_DIR = 1 << 7,
	MAKE_REG = 1 << 8,
	REFER = 1 << 13,     /* ABI 2 */
	TRUNCATE = 1 << 14,  /* ABI 3 */
	IOCTL_DEV = 1 << 15, /* ABI 5 */
	ALL_OF_1 = REFER - 1,
	BIND_TCP = 1, CONNECT_TCP = 2, /* ABI 4 */
	SCOPE_ALL = 3,		       /* ABI 6: abstract Unix sockets, signals */
	OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV,
	OWN = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | MAKE_REG | MAKE_DIR | REMOVE_FILE | REMOVE_DIR | REFER,
	READ = READ_FILE | READ_DIR,
	LOAD = READ | EXECUTE,
};

struct ruleset_attributes {
	uint64_t files, net, scoped;
};

struct __attribute__((packed)) beneath {
	uint64_t allowed;
	int32_t parent;
};

/* What is not there needs no rule. */
static result allow(int ruleset, uint64_t handled, const char *path, uint64_t rights)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct stat status;
	result opened = file_open(path, O_PATH, 0, &fd);
	if (opened == NOT_FOUND)
		return OK;
	TRY(opened);
	if (fstat(fd.n, &status) != 0)
		return fail_errno("'%s'", path);
	if (!S_ISDIR(status.st_mode))
		rights &= OF_FILES;
	const struct beneath rule = {.allowed = rights & handled, .parent = fd.n};
	if (syscall(SYS_landlock_add_rule, ruleset, RULE_BENEATH, &rule, 0) != 0)
		return fail_errno("a rule for '%s'", path);
	return OK;
}

/* The C library looks up names with files and modules of its own choice. */
static result allow_names(int ruleset, uint64_t handled)
{
	static const struct {
		const char *path;
		uint64_t rights;
	} rows[] = {{"/etc", READ}, {"/run/systemd/resolve", READ}, {"/run/resolvconf", READ}, {"/usr/lib", LOAD}, {"/usr/lib64", LOAD}, {"/lib", LOAD},
		{"/lib64", LOAD}, {"/usr/share/ca-certificates", READ}, {"/usr/local/share/ca-certificates", READ}};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		TRY(allow(ruleset, handled, rows[i].path, rows[i].rights));
	return OK;
}

static result restrict_files(const struct confine_service *service, bool *out_files)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
	*out_files = abi > 0;
	if (abi <= 0)
		return OK;
	struct ruleset_attributes attributes = {.files = ALL_OF_1, .net = abi >= 4 ? BIND_TCP | (service->asks_others ? 0 : CONNECT_TCP) : 0,
		.scoped = abi >= 6 ? SCOPE_ALL : 0};
	attributes.files |= abi >= 2 ? REFER : 0;
	attributes.files |= abi >= 3 ? TRUNCATE : 0;
	attributes.files |= abi >= 5 ? IOCTL_DEV : 0;
	size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8; /* of the structure that the kernel knew then */
	CLEANUP(fd_close) struct fd ruleset = fd_of((int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0));
	if (ruleset.n < 0)
		return fail_errno("Landlock");
	TRY(allow(ruleset.n, attributes.files, service->folder, OWN));
	TRY(allow(ruleset.n, attributes.files, "/dev/urandom", READ));
	TRY(allow(ruleset.n, attributes.files, "/dev/null", READ | WRITE_FILE));
	if (service->asks_others)
		TRY(allow_names(ruleset.n, attributes.files));
	if (syscall(SYS_landlock_restrict_self, ruleset.n, 0) != 0)
		return fail_errno("Landlock");
	return OK;
}

result confine_service(const struct confine_service *service, bool *out_files)
{
	CLEANUP(seccomp_filter_free) struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	TRY(seccomp_foreign_filter_new(service->asks_others, &filter));
	TRY(isolate_drop_capabilities());
	TRY(isolate_no_dumps());
	TRY(restrict_files(service, out_files));
	return seccomp_install(&filter);
}
