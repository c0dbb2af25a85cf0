#include "enclave/image.h"

#include "base/isolate.h"
#include "crypto/hash.h"
#include "base/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECE = 256 << 10 };

/* Everything is made below the image's root and through no link: a manifest cannot put a file behind one. */
static int open_in(int root, const char *path, uint64_t flags, uint64_t mode)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

static bool is_reserved(const char *path)
{
	static const char *const reserved[] = {"/proc", "/dev", "/tmp"};
	for (size_t i = 0; i < COUNT_OF(reserved); i++) {
		size_t len = strlen(reserved[i]);
		if (strncmp(path, reserved[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
			return true;
	}
	return false;
}

/* Absolute, without empty, "." or ".." parts. */
static bool is_canonical(const char *path)
{
	if (path[0] != '/' || path[1] == '\0' || strlen(path) >= PATH_SIZE)
		return false;
	for (const char *part = path; *part;) {
		const char *name = part + 1;
		size_t len = strcspn(name, "/");
		if (len == 0 || len > 255 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
			return false;
		part = name + len;
	}
	return true;
}

/* Opens the folder that holds `path` (no leading slash here), making what is missing. `out_name`: its last part. */
static result open_parent(int root, const char *path, struct fd *out, const char **out_name)
{
	char folder[PATH_SIZE];
	const char *slash = strrchr(path, '/');
	*out_name = slash ? slash + 1 : path;
	size_t len = slash ? (size_t)(slash - path) : 0;
	memcpy(folder, len ? path : ".", len ? len : 1);
	folder[len ? len : 1] = '\0';
	int fd = open_in(root, folder, O_PATH | O_DIRECTORY, 0);
	if (fd < 0 && errno == ENOENT) {
		CLEANUP(fd_close) struct fd above = FD_NONE;
		const char *name;
		TRY(open_parent(root, folder, &above, &name));
		if (mkdirat(above.n, name, 0755) != 0)
			return fail_errno("folder /%s of the image", folder);
		fd = open_in(above.n, name, O_PATH | O_DIRECTORY, 0);
	}
	if (fd < 0)
		return fail(BAD_VALUE, "/%s: the manifest has something else than a folder on its path (%s)", path, strerror(errno));
	*out = fd_of(fd);
	return OK;
}

/* Copies at most the expected size and one byte more, which would prove that the file has grown. */
static result copy_and_hash(int from, int to, const struct manifest_file *file, uint8_t *piece, uint64_t *out_len,
	uint8_t out[static SHA384_SIZE])
{
	CLEANUP(hash_free) struct hash hash = {0};
	TRY(hash_start(&hash, HASH_SHA384));
	uint64_t copied = 0;
	while (copied <= file->size) {
		ssize_t len = read(from, piece, PIECE);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return fail_errno("reading %s", file->path);
		if (len == 0)
			break;
		hash_add(&hash, span_of(piece, (size_t)len));
		TRY(write_all(to, span_of(piece, (size_t)len)));
		copied += (uint64_t)len;
	}
	hash_finish(&hash, out);
	*out_len = copied;
	return OK;
}

/* O_NONBLOCK: a FIFO put there meanwhile must not hang us. */
static result open_source(const char *path, struct fd *out)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	if (fd < 0)
		return fail_errno("%s", path);
	*out = fd_of(fd);
	struct stat status;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		fd_close(out);
		return fail(MEASUREMENT_MISMATCH, "%s is no longer a regular file", path);
	}
	return OK;
}

static result add_regular(int root, const struct manifest_file *file, const char *source, uint8_t *piece)
{
	CLEANUP(fd_close) struct fd from = FD_NONE, folder = FD_NONE, to = FD_NONE;
	const char *name;
	TRY(open_source(source, &from));
	TRY(open_parent(root, file->path + 1, &folder, &name));
	to = fd_of(openat(folder.n, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
	if (to.n < 0)
		return fail_errno("%s in the image", file->path);
	uint64_t len = 0;
	uint8_t digest[SHA384_SIZE];
	TRY(copy_and_hash(from.n, to.n, file, piece, &len, digest));
	if (len != file->size || memcmp(digest, file->digest, sizeof(digest)) != 0)
		return fail(MEASUREMENT_MISMATCH, "%s (expected %llu bytes with another SHA-384 than what was copied from %s)", file->path,
			(unsigned long long)file->size, source);
	/* Times are not part of the manifest, so they say nothing: all are the epoch. */
	const struct timespec epoch[2] = {{0, 0}, {0, 0}};
	if (fchmod(to.n, file->mode & 0111 ? 0555 : 0444) != 0 || futimens(to.n, epoch) != 0)
		return fail_errno("mode and time of %s in the image", file->path);
	return OK;
}

/* `above`: where the root of a copy stands, so that a link to an absolute path stays in it; "" for an image. */
static result add_link(int root, const char *above, const struct manifest_file *file)
{
	CLEANUP(fd_close) struct fd folder = FD_NONE;
	const char *name;
	char target[2 * PATH_SIZE];
	TRY(open_parent(root, file->path + 1, &folder, &name));
	snprintf(target, sizeof(target), "%s%s", file->target[0] == '/' ? above : "", file->target);
	if (symlinkat(target, folder.n, name) != 0)
		return fail_errno("link %s in the image", file->path);
	return OK;
}

static result add_folder(int root, const struct manifest_file *file)
{
	CLEANUP(fd_close) struct fd folder = FD_NONE;
	const char *name;
	TRY(open_parent(root, file->path + 1, &folder, &name));
	if (mkdirat(folder.n, name, 0755) != 0 && errno != EEXIST)
		return fail_errno("folder %s in the image", file->path);
	return OK;
}

static result add_file(int root, const char *above, const struct manifest_file *file, const char *source, uint8_t *piece)
{
	if (!is_canonical(file->path) || is_reserved(file->path))
		return fail(BAD_VALUE, "the manifest names %s", file->path);
	switch (file->type) {
	case FILE_REGULAR: return add_regular(root, file, source ? source : file->path, piece);
	case FILE_SYMLINK: return file->has_target ? add_link(root, above, file) : fail(BAD_VALUE, "link %s leads nowhere", file->path);
	case FILE_DIRECTORY: return add_folder(root, file);
	default: return fail(BAD_VALUE, "the manifest gives %s the type %d", file->path, file->type);
	}
}

/* Places for what process 1 mounts, and the fd links of /dev. */
static result add_mount_points(int root)
{
	static const char *const folders[] = {"proc", "dev", "tmp"};
	static const char *const nodes[] = {"dev/null", "dev/zero", "dev/urandom"};
	static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
		{"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}};
	for (size_t i = 0; i < COUNT_OF(folders); i++)
		if (mkdirat(root, folders[i], 0755) != 0)
			return fail_errno("/%s of the image", folders[i]);
	for (size_t i = 0; i < COUNT_OF(nodes); i++)
		if (mknodat(root, nodes[i], S_IFREG | 0444, 0) != 0)
			return fail_errno("/%s of the image", nodes[i]);
	for (size_t i = 0; i < COUNT_OF(links); i++)
		if (symlinkat(links[i][0], root, links[i][1]) != 0)
			return fail_errno("/%s of the image", links[i][1]);
	return OK;
}

/* An exact size bounds what a manifest can make the host spend: the files, a page of slack each, and the folders. */
static result image_size(const struct manifest_file *files, size_t count, uint64_t *out_bytes, uint64_t *out_nodes)
{
	uint64_t bytes = 1 << 20, nodes = 64;
	for (size_t i = 0; i < count; i++) {
		if (__builtin_add_overflow(bytes, files[i].size, &bytes) || __builtin_add_overflow(bytes, 8192, &bytes))
			return fail(TOO_LARGE, "the manifest's files");
		for (const char *c = files[i].path; *c; c++)
			nodes += *c == '/';
	}
	*out_bytes = bytes;
	*out_nodes = nodes;
	return OK;
}

static result add_files(int root, const char *above, const struct manifest_file *files, const char *const *sources, size_t count)
{
	CLEANUP(bytes_free) struct bytes piece = {malloc(PIECE), PIECE};
	if (!piece.data)
		return fail(NO_MEMORY, "copying the image");
	for (size_t i = 0; i < count; i++)
		TRY(add_file(root, above, &files[i], sources ? sources[i] : NULL, piece.data));
	return OK;
}

static result mount_refused(int error)
{
	char why[ISOLATE_WHY_SIZE];
	isolate_why_refused(error, why);
	return fail(NO_NAMESPACES, "a private tmpfs: %s", why);
}

result image_build(const struct manifest_file *files, const char *const *sources, size_t count, struct image *out)
{
	uint64_t bytes, nodes;
	TRY(image_size(files, count, &bytes, &nodes));
	char size_text[32], nodes_text[32];
	snprintf(size_text, sizeof(size_text), "%llu", (unsigned long long)bytes);
	snprintf(nodes_text, sizeof(nodes_text), "%llu", (unsigned long long)nodes);
	struct mount_option options[] = {{"size", size_text}, {"nr_inodes", nodes_text}, {"mode", "0755"}};
	CLEANUP(image_free) struct image image = IMAGE_NONE;
	CLEANUP(fd_close) struct fd context = FD_NONE;
	int error = mounts_new("tmpfs", options, COUNT_OF(options), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, &image.mount, &context);
	if (error)
		return mount_refused(error);
	mode_t mask = umask(0);
	result filled = add_mount_points(image.mount.n);
	if (filled == OK)
		filled = add_files(image.mount.n, "", files, sources, count);
	umask(mask);
	TRY(filled);
	for (size_t i = 0; i < count; i++)
		image.bytes += files[i].size;
	/* Drop the writer: the kernel refuses this while any descriptor could still write. */
	error = mounts_seal(context.n);
	if (!error)
		error = mounts_set(image.mount.n, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (error) {
		errno = error;
		return fail_errno("making the image read-only");
	}
	*out = image_move(&image);
	return OK;
}

result image_copy(const char *folder, uid_t owner, const struct manifest_file *files, const char *const *sources, size_t count)
{
	uint64_t bytes, nodes;
	TRY(image_size(files, count, &bytes, &nodes));
	CLEANUP(fd_close) struct fd root = fd_of(open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (root.n < 0)
		return fail_errno("%s", folder);
	mode_t mask = umask(0);
	result filled = add_files(root.n, folder, files, sources, count);
	umask(mask);
	TRY(filled);
	if (mkdirat(root.n, "tmp", 0700) != 0 || (owner && fchownat(root.n, "tmp", owner, owner, AT_SYMLINK_NOFOLLOW) != 0))
		return fail_errno("%s/tmp", folder);
	return OK;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	fd_close(&image->mount);
	image->bytes = 0;
}
