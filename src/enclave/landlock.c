/* Numbers of include/uapi/linux/landlock.h, up to ABI 6; Debian's headers know ABI 2 only. */
#include "enclave/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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
	MAKE_CHAR = 1 << 6,
	MAKE_DIR = 1 << 7,
	MAKE_REG = 1 << 8,
	MAKE_SOCK = 1 << 9,
	MAKE_FIFO = 1 << 10,
	MAKE_BLOCK = 1 << 11,
	MAKE_SYM = 1 << 12,
	REFER = 1 << 13,     /* ABI 2 */
	TRUNCATE = 1 << 14,  /* ABI 3 */
	IOCTL_DEV = 1 << 15, /* ABI 5 */
	ALL_OF_1 = REFER - 1,
	NET_ALL = 3,   /* ABI 4: bind and connect of TCP */
	SCOPE_ALL = 3, /* ABI 6: abstract Unix sockets, signals */
	RIGHTS_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV,
	IMAGE = EXECUTE | READ_FILE | READ_DIR,
	PROC = READ_FILE | READ_DIR,
	DEVICE = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV,
	SCRATCH = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_FIFO | MAKE_SYM | REFER |
		TRUNCATE,
};

struct ruleset_attributes {
	uint64_t files, net, scoped;
};

struct __attribute__((packed)) beneath {
	uint64_t allowed;
	int32_t parent;
};

int landlock_abi(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
	return version > 0 ? (int)version : 0;
}

static int allow(int ruleset, uint64_t handled, const char *path, uint64_t rights)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno;
	struct stat status;
	int error = fstat(fd, &status) == 0 ? 0 : errno;
	if (!error && !S_ISDIR(status.st_mode))
		rights &= RIGHTS_OF_FILES;
	struct beneath rule = {.allowed = rights & handled, .parent = fd};
	/* A link at the top of the image leads into another folder of the image, which has its own rule. */
	if (!error && !S_ISLNK(status.st_mode) && syscall(SYS_landlock_add_rule, ruleset, RULE_BENEATH, &rule, 0) != 0)
		error = errno;
	close(fd);
	return error;
}

struct path_rule {
	const char *path;
	uint64_t rights;
};

/* Of the image as root. */
static int add_image(int ruleset, uint64_t handled, const char *const *tops, size_t top_count)
{
	static const struct path_rule rows[] = {{"/", READ_DIR}, {"/proc", PROC}, {"/dev/null", DEVICE}, {"/dev/zero", DEVICE},
		{"/dev/urandom", DEVICE}, {"/tmp", SCRATCH}};
	int error = 0;
	for (size_t i = 0; i < COUNT_OF(rows) && !error; i++)
		error = allow(ruleset, handled, rows[i].path, rows[i].rights);
	for (size_t i = 0; i < top_count && !error; i++)
		error = allow(ruleset, handled, tops[i], IMAGE);
	return error;
}

/* Of a copy somewhere in the host's tree: its tops, its scratch folder, the caller's own /proc, three devices. */
static int add_copy(int ruleset, uint64_t handled, const struct landlock_copy *copy)
{
	const struct path_rule rows[] = {{"/proc/self/.", PROC}, {"/dev/null", DEVICE}, {"/dev/zero", DEVICE}, {"/dev/urandom", DEVICE},
		{copy->scratch, SCRATCH}};
	int error = 0;
	for (size_t i = 0; i < COUNT_OF(rows) && !error; i++)
		error = allow(ruleset, handled, rows[i].path, rows[i].rights);
	for (size_t i = 0; i < copy->top_count && !error; i++)
		error = allow(ruleset, handled, copy->tops[i], IMAGE);
	return error;
}

/* Everything that the kernel knows is handled, so what no rule allows is refused. -1 with errno. */
static int ruleset_new(int abi, uint64_t *out_handled)
{
	struct ruleset_attributes attributes = {.files = ALL_OF_1, .net = abi >= 4 ? NET_ALL : 0, .scoped = abi >= 6 ? SCOPE_ALL : 0};
	attributes.files |= abi >= 2 ? REFER : 0;
	attributes.files |= abi >= 3 ? TRUNCATE : 0;
	attributes.files |= abi >= 5 ? IOCTL_DEV : 0;
	/* The kernel takes the size of the structure that it knew then. */
	size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	*out_handled = attributes.files;
	return (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
}

static int enforce(int ruleset, int error)
{
	if (!error && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		error = errno;
	close(ruleset);
	return error;
}

int landlock_restrict(int abi, const char *const *tops, size_t top_count)
{
	uint64_t handled;
	if (abi <= 0)
		return 0;
	int ruleset = ruleset_new(abi, &handled);
	return ruleset < 0 ? errno : enforce(ruleset, add_image(ruleset, handled, tops, top_count));
}

int landlock_restrict_copy(int abi, const struct landlock_copy *copy)
{
	uint64_t handled;
	if (abi <= 0)
		return ENOSYS;
	int ruleset = ruleset_new(abi, &handled);
	return ruleset < 0 ? errno : enforce(ruleset, copy ? add_copy(ruleset, handled, copy) : 0);
}
