#include "root/program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "root/tcb.h"

enum { PROGRAM_MAX = 64 << 20 };

result program_copy(const char *folder, const char *name, struct fd *out, uint8_t out_digest[static SHA384_SIZE])
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd file = FD_NONE;
	CLEANUP(fd_close) struct fd copy = FD_NONE;
	TRY(path_join(path, folder, name));
	TRY(file_open(path, O_RDONLY, 0, &file));
	copy = fd_of(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
	if (copy.n < 0)
		return fail_errno("memory for %s", name);
	TRY(file_copy(file.n, copy.n, PROGRAM_MAX, NULL));
	if (fchmod(copy.n, 0555) != 0)
		return fail_errno("mode of the copy of %s", name);
	if (fcntl(copy.n, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return fail_errno("sealing the copy of %s", name);
	TRY(file_measure(copy.n, out_digest));
	*out = fd_move(&copy);
	return OK;
}
