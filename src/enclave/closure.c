/*
 * From top to bottom: the table of entries, paths, reading one file, the loader's search for libraries, programs and
 * scripts, folders, order. The library search follows ld.so(8) of glibc; see closure.h for what is left out on purpose.
 */
#include "enclave/closure.h"

#include "base/file.h"
#include "enclave/elf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	ARENA_BYTES = 128 << 20,
	MAX_LINKS = 40,		/* as the kernel */
	MAX_DEPTH = 64,		/* folders in folders */
	MAX_SCRIPTS = 5,	/* an interpreter that is a script, as the kernel */
	MAX_NEEDED = 512,	/* libraries of one file, and of one program in all */
	MAX_FOLDERS = 64,	/* of /etc/ld.so.conf */
	MAX_PARSED = 512 << 20, /* larger files are data and never parsed */
	SCRIPT_LINE = 256,	/* BINPRM_BUF_SIZE */
};

static const char *const program_folders[] = {"/usr/local/bin", "/usr/bin", "/bin"};
#if defined(__aarch64__)
#define TRIPLET "aarch64-linux-gnu"
#define PLATFORM "aarch64"
#else
#define TRIPLET "x86_64-linux-gnu"
#define PLATFORM "x86_64"
#endif
/* Where Debian's ld.so looks by itself. */
static const char *const loader_folders[] = {"/lib/" TRIPLET, "/usr/lib/" TRIPLET, "/lib", "/usr/lib"};

/* What the loader would read of one regular file. Strings live in the closure's arena. */
struct object {
	bool parsed_well, is_elf, is_native, has_interpreter, loads_nothing, no_default_libraries;
	const char *interpreter, *soname, *rpath, *runpath; /* NULL when absent */
	const char **needed;
	size_t needed_count;
	const char *script; /* first line after #!, NULL for none */
};

struct closure_work {
	char host_root[PATH_SIZE];
	struct object **objects; /* beside files; NULL for links and folders */
	uint32_t *slots;	 /* path -> index + 1; open addressing */
	size_t slot_count;
	const char *folders[MAX_FOLDERS]; /* of /etc/ld.so.conf */
	size_t folder_count;
	bool folders_read, finished;
	bool in_runtime; /* add_tree leaves out what add_runtime says */
};

/* ---- the table of entries ---- */

result closure_new(const char *host_root, struct closure *out)
{
	struct closure_work *work = calloc(1, sizeof(*work));
	if (!work)
		return fail(NO_MEMORY, "closure");
	size_t len = strlen(host_root);
	while (len && host_root[len - 1] == '/')
		len--;
	if (len >= sizeof(work->host_root)) {
		free(work);
		return fail(TOO_LARGE, "path of the root");
	}
	memcpy(work->host_root, host_root, len);
	*out = (struct closure){.arena = arena_of(ARENA_BYTES), .work_ = work};
	return OK;
}

void closure_free(struct closure *closure)
{
	if (!closure)
		return;
	arena_free(&closure->arena);
	free(closure->files);
	free(closure->sources);
	if (closure->work_) {
		free(closure->work_->objects);
		free(closure->work_->slots);
		free(closure->work_);
	}
	*closure = (struct closure){0};
}

static size_t slot_of(const struct closure *closure, const char *path)
{
	const struct closure_work *work = closure->work_;
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	for (const char *c = path; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 1099511628211u;
	size_t slot = (size_t)hash & (work->slot_count - 1);
	while (work->slots[slot] && strcmp(closure->files[work->slots[slot] - 1].path, path) != 0)
		slot = (slot + 1) & (work->slot_count - 1);
	return slot;
}

static struct manifest_file *find_entry(const struct closure *closure, const char *path, size_t *out_index)
{
	const struct closure_work *work = closure->work_;
	if (!work->slot_count)
		return NULL;
	size_t slot = slot_of(closure, path);
	if (!work->slots[slot])
		return NULL;
	*out_index = work->slots[slot] - 1;
	return &closure->files[*out_index];
}

static result grow(struct closure *closure)
{
	struct closure_work *work = closure->work_;
	size_t cap = closure->file_cap ? closure->file_cap * 2 : 256;
	struct manifest_file *files = realloc(closure->files, cap * sizeof(*files));
	if (files)
		closure->files = files;
	const char **sources = realloc(closure->sources, cap * sizeof(*sources));
	if (sources)
		closure->sources = sources;
	struct object **objects = realloc(work->objects, cap * sizeof(*objects));
	if (objects)
		work->objects = objects;
	uint32_t *slots = calloc(cap * 2, sizeof(*slots));
	if (!files || !sources || !objects || !slots) {
		free(slots);
		return fail(NO_MEMORY, "closure of %zu files", cap);
	}
	free(work->slots);
	work->slots = slots;
	work->slot_count = cap * 2;
	closure->file_cap = cap;
	for (size_t i = 0; i < closure->file_count; i++)
		slots[slot_of(closure, closure->files[i].path)] = (uint32_t)i + 1;
	return OK;
}

/* Process 1 mounts these; what the image held there would be invisible, yet measured. */
static bool is_reserved(const char *path)
{
	static const char *const reserved[] = {"/proc", "/dev", "/tmp"};
	for (size_t i = 0; i < COUNT_OF(reserved); i++) {
		size_t len = strlen(reserved[i]);
		if (strncmp(path, reserved[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
			return true;
	}
	return path[0] == '/' && path[1] == '\0';
}

/* `entry.path` and `entry.target` are copied. The path is new. */
static result add_entry(struct closure *closure, const struct manifest_file *entry, const char *source, struct object *object)
{
	if (is_reserved(entry->path))
		return fail(BAD_VALUE, "%s: /proc, /dev and /tmp of an enclave are its own; put the file elsewhere", entry->path);
	if (closure->file_count >= CLOSURE_MAX_FILES)
		return fail(TOO_LARGE, "more than %d files", CLOSURE_MAX_FILES);
	if (closure->file_count == closure->file_cap)
		TRY(grow(closure));
	struct manifest_file copy = *entry;
	TRY(arena_string(&closure->arena, span_str(entry->path), &copy.path));
	if (entry->has_target)
		TRY(arena_string(&closure->arena, span_str(entry->target), &copy.target));
	const char *source_copy = NULL;
	if (source && strcmp(source, entry->path) != 0)
		TRY(arena_string(&closure->arena, span_str(source), &source_copy));
	size_t index = closure->file_count;
	closure->work_->slots[slot_of(closure, copy.path)] = (uint32_t)index + 1;
	closure->files[index] = copy;
	closure->sources[index] = source_copy;
	closure->work_->objects[index] = object;
	closure->file_count++;
	closure->bytes += copy.size;
	return OK;
}

static result add_link(struct closure *closure, const char *path, const char *target)
{
	size_t index;
	const struct manifest_file *known = find_entry(closure, path, &index);
	if (known && known->type == FILE_SYMLINK && strcmp(known->target, target) == 0)
		return OK;
	if (known)
		return fail(BAD_VALUE, "%s stands for two different things in one root", path);
	struct manifest_file link = {.path = path, .type = FILE_SYMLINK, .mode = 0777, .target = target, .has_target = true};
	return add_entry(closure, &link, NULL, NULL);
}

/* ---- paths ---- */

result closure_map(struct closure *closure, const char *inside, const char *host)
{
	if (closure->map_count == CLOSURE_MAX_MAPS)
		return fail(TOO_LARGE, "more than %d mapped folders", CLOSURE_MAX_MAPS);
	size_t len = strlen(inside);
	if (closure->file_count || inside[0] != '/' || len < 2 || inside[len - 1] == '/' || is_reserved(inside) || host[0] != '/')
		return fail(BAD_VALUE, "mapping %s to %s", inside, host);
	struct closure_map map;
	TRY(arena_string(&closure->arena, span_str(inside), &map.inside));
	TRY(arena_string(&closure->arena, span_str(host), &map.host));
	closure->maps[closure->map_count++] = map;
	return OK;
}

static result host_path(const struct closure *closure, const char *path, char out[static PATH_SIZE])
{
	const char *prefix = closure->work_->host_root, *rest = path;
	for (size_t i = 0; i < closure->map_count; i++) {
		size_t len = strlen(closure->maps[i].inside);
		if (strncmp(path, closure->maps[i].inside, len) == 0 && (path[len] == '\0' || path[len] == '/')) {
			prefix = closure->maps[i].host;
			rest = path + len;
		}
	}
	if (snprintf(out, PATH_SIZE, "%s%s", prefix, rest) >= PATH_SIZE)
		return fail(TOO_LARGE, "path %s", path);
	if (out[0] == '\0')
		memcpy(out, "/", 2);
	return OK;
}

/* A mapped folder, or one on the way to it, which need not exist on the host. */
static bool is_map_folder(const struct closure *closure, const char *path)
{
	size_t len = strlen(path);
	for (size_t i = 0; i < closure->map_count; i++) {
		const char *inside = closure->maps[i].inside;
		if (strncmp(path, inside, len) == 0 && (inside[len] == '\0' || inside[len] == '/'))
			return true;
	}
	return false;
}

struct link {
	char path[PATH_SIZE], target[PATH_SIZE];
};

struct walk {
	char at[PATH_SIZE];	 /* canonical so far; "" is the root */
	char rest[2 * PATH_SIZE]; /* still to go */
	struct link *links;	 /* met so far */
	size_t link_count;
	mode_t mode; /* of `at` */
};

static void walk_free(struct walk **walk)
{
	if (*walk)
		free((*walk)->links);
	free(*walk);
}

static result walk_link(struct walk *walk, const char *path, const char *host, const char *rest)
{
	if (walk->link_count == MAX_LINKS)
		return fail(BAD_VALUE, "%s: too many links on the path", path);
	struct link *link = &walk->links[walk->link_count];
	ssize_t len = readlink(host, link->target, sizeof(link->target));
	if (len < 0)
		return fail_errno("%s", path);
	if (len == 0 || (size_t)len >= sizeof(link->target))
		return fail(TOO_LARGE, "%s: target of the link", path);
	link->target[len] = '\0';
	memcpy(link->path, path, strlen(path) + 1);
	char further[2 * PATH_SIZE];
	if ((size_t)snprintf(further, sizeof(further), "%s/%s", link->target, rest) >= sizeof(further))
		return fail(TOO_LARGE, "%s: path behind the link", path);
	memcpy(walk->rest, further, strlen(further) + 1);
	if (link->target[0] == '/')
		walk->at[0] = '\0';
	walk->link_count++;
	return OK;
}

/* One component; `rest` is what follows it. */
static result walk_step(const struct closure *closure, struct walk *walk, const char *name, size_t len, const char *rest)
{
	if (len == 1 && name[0] == '.')
		return OK;
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		char *slash = strrchr(walk->at, '/');
		if (slash)
			*slash = '\0';
		walk->mode = S_IFDIR;
		return OK;
	}
	char path[PATH_SIZE], host[PATH_SIZE];
	if (snprintf(path, sizeof(path), "%s/%.*s", walk->at, (int)len, name) >= PATH_SIZE)
		return fail(TOO_LARGE, "path %s/...", walk->at);
	struct stat status = {.st_mode = S_IFDIR};
	if (!is_map_folder(closure, path)) {
		TRY(host_path(closure, path, host));
		if (lstat(host, &status) != 0)
			return fail_errno("%s", path);
		if (S_ISLNK(status.st_mode))
			return walk_link(walk, path, host, rest);
	}
	memcpy(walk->at, path, strlen(path) + 1);
	walk->mode = status.st_mode;
	return OK;
}

/*
 * Follows `path` to what it means inside the root. `out_mode` is its kind and permission bits. With `record` the links on
 * the path are added to the closure, if it leads to something.
 */
static result follow(struct closure *closure, const char *path, bool record, char out[static PATH_SIZE], mode_t *out_mode)
{
	CLEANUP(walk_free) struct walk *walk = calloc(1, sizeof(*walk));
	if (!walk || !(walk->links = calloc(MAX_LINKS, sizeof(struct link))))
		return fail(NO_MEMORY, "path %s", path);
	if (path[0] != '/' || strlen(path) >= PATH_SIZE)
		return fail(BAD_VALUE, "'%s' is not an absolute path", path);
	memcpy(walk->rest, path, strlen(path) + 1);
	walk->mode = S_IFDIR;
	for (;;) {
		size_t skip = strspn(walk->rest, "/"), len = strcspn(walk->rest + skip, "/");
		if (len == 0)
			break;
		if (!S_ISDIR(walk->mode)) {
			errno = ENOTDIR;
			return fail_errno("%s", path);
		}
		char name[256], rest[2 * PATH_SIZE];
		if (len >= sizeof(name))
			return fail(TOO_LARGE, "a name in %s", path);
		memcpy(name, walk->rest + skip, len);
		memcpy(rest, walk->rest + skip + len, strlen(walk->rest + skip + len) + 1);
		memcpy(walk->rest, rest, strlen(rest) + 1);
		TRY(walk_step(closure, walk, name, len, rest));
	}
	for (size_t i = 0; record && i < walk->link_count; i++)
		TRY(add_link(closure, walk->links[i].path, walk->links[i].target));
	memcpy(out, walk->at[0] ? walk->at : "/", walk->at[0] ? strlen(walk->at) + 1 : 2);
	*out_mode = walk->mode;
	return OK;
}

static result resolve(struct closure *closure, const char *path, char out[static PATH_SIZE], mode_t *out_mode)
{
	return follow(closure, path, true, out, out_mode);
}

static result look(struct closure *closure, const char *path, char out[static PATH_SIZE], mode_t *out_mode)
{
	return follow(closure, path, false, out, out_mode);
}

static void parent_of(const char *path, char out[static PATH_SIZE])
{
	size_t len = (size_t)(strrchr(path, '/') - path);
	memcpy(out, len ? path : "/", len ? len : 1);
	out[len ? len : 1] = '\0';
}

static const char *name_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* ---- reading one file ---- */

static result copy_text(struct closure *closure, struct span text, const char **out)
{
	return text.len ? arena_string(&closure->arena, text, out) : OK;
}

static result read_elf(struct closure *closure, struct span file, struct object *object)
{
	object->is_elf = true;
	struct elf elf;
	result parsed = elf_parse(file, &elf);
	if (parsed == NOT_SUPPORTED || (parsed == OK && elf.is_object_or_core))
		return OK; /* of another machine: data, as far as we are concerned */
	if (parsed != OK)
		return parsed;
	object->parsed_well = true;
	object->is_native = elf.machine == elf_native_machine();
	object->has_interpreter = elf.has_interpreter;
	object->no_default_libraries = elf.no_default_libraries;
	TRY(copy_text(closure, elf.interpreter, &object->interpreter));
	TRY(copy_text(closure, elf.soname, &object->soname));
	TRY(copy_text(closure, elf.rpath, &object->rpath));
	TRY(copy_text(closure, elf.runpath, &object->runpath));
	struct span needed;
	size_t count = 0;
	for (size_t cursor = 0; elf_next_needed(&elf, &cursor, &needed);)
		count++;
	if (count > MAX_NEEDED)
		return fail(BAD_ELF, "%zu needed libraries", count);
	void *list;
	TRY(arena_alloc(&closure->arena, count + 1, sizeof(char *), &list));
	object->needed = list;
	for (size_t cursor = 0; elf_next_needed(&elf, &cursor, &needed);)
		TRY(arena_string(&closure->arena, needed, &object->needed[object->needed_count++]));
	return OK;
}

static result read_script(struct closure *closure, struct span file, struct object *object)
{
	size_t len = file.len < SCRIPT_LINE ? file.len : SCRIPT_LINE;
	const uint8_t *end = memchr(file.data, '\n', len);
	if (!end && file.len >= SCRIPT_LINE)
		return OK; /* longer than the kernel reads: not a script that could start */
	struct span line = span_of(file.data + 2, (end ? (size_t)(end - file.data) : len) - 2);
	return arena_string(&closure->arena, line, &object->script);
}

static result read_object(struct closure *closure, struct span file, struct object *object)
{
	if (elf_is_elf(file))
		return read_elf(closure, file, object);
	if (file.len > 2 && memcmp(file.data, "#!", 2) == 0)
		return read_script(closure, file, object);
	return OK;
}

/* Data too large to be held: hashed in pieces. */
static result hash_large(int fd, uint64_t size, uint8_t out[static SHA384_SIZE])
{
	CLEANUP(hash_free) struct hash hash = {0};
	TRY(hash_start(&hash, HASH_SHA384));
	enum { PIECE = 1 << 20 };
	CLEANUP(bytes_free) struct bytes buffer = {malloc(PIECE), PIECE};
	if (!buffer.data)
		return fail(NO_MEMORY, "1 MiB");
	for (uint64_t left = size; left;) {
		size_t part = left < PIECE ? (size_t)left : PIECE;
		TRY(read_full(fd, buffer.data, part));
		hash_add(&hash, span_of(buffer.data, part));
		left -= part;
	}
	hash_finish(&hash, out);
	return OK;
}

static result read_and_hash(struct closure *closure, int fd, struct manifest_file *entry, struct object *object)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return fail_errno("reading");
	if (!S_ISREG(status.st_mode))
		return fail(BAD_TYPE, "not a regular file");
	if ((uint64_t)status.st_size > CLOSURE_MAX_BYTES - closure->bytes)
		return fail(TOO_LARGE, "the files of one root exceed %llu bytes", (unsigned long long)CLOSURE_MAX_BYTES);
	entry->size = (uint64_t)status.st_size;
	entry->mode = status.st_mode & 0111 ? 0555 : 0444;
	if (status.st_size > MAX_PARSED)
		return hash_large(fd, entry->size, entry->digest);
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	TRY(file_read_fd(fd, MAX_PARSED, &content));
	entry->size = content.len;
	sha384(bytes_span(&content), entry->digest);
	return read_object(closure, bytes_span(&content), object);
}

/* Adds the regular file at a canonical path, once. */
static result add_regular(struct closure *closure, const char *path, struct object **out)
{
	size_t index;
	const struct manifest_file *known = find_entry(closure, path, &index);
	if (known && known->type != FILE_REGULAR)
		return fail(BAD_VALUE, "%s stands for two different things in one root", path);
	if (known) {
		*out = closure->work_->objects[index];
		return OK;
	}
	char host[PATH_SIZE];
	TRY(host_path(closure, path, host));
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(file_open(host, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd));
	struct manifest_file entry = {.path = path, .type = FILE_REGULAR, .has_digest = true};
	void *object;
	TRY(arena_alloc(&closure->arena, 1, sizeof(struct object), &object));
	result read = read_and_hash(closure, fd.n, &entry, object);
	if (read != OK)
		return fail_within(read, "%s", path);
	TRY(add_entry(closure, &entry, host, object));
	*out = object;
	return OK;
}

/* ---- what executes what it reads ---- */

/* Programs and libraries that execute what they read. Compared without version digits: python3.11 is python. */
static bool is_interpreter(const char *name)
{
	static const char *const names[] = {"sh", "bash", "dash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh", "busybox", "env",
		"awk", "mawk", "gawk", "nawk", "original-awk", "sed", "jq", "bc", "dc", "m4", "make", "find", "xargs", "python", "pypy",
		"perl", "ruby", "lua", "luajit", "node", "nodejs", "php", "tclsh", "wish", "guile", "sbcl", "clisp", "ghc", "runghc",
		"java", "mono", "dotnet", "R", "Rscript", "octave", "julia", "sqlite", "psql", "mysql", "duckdb", "gdb", "vim", "vi",
		"ed", "ex", "emacs", "gs", "qemu-x86_", "wasmtime", "libpython", "libperl", "liblua", "libruby", "libtcl", "libguile",
		"libmozjs", "libnode", "libphp", "libjulia", "libwasmtime"};
	size_t len = strcspn(name, "0123456789");
	size_t so = strstr(name, ".so") ? (size_t)(strstr(name, ".so") - name) : len;
	len = so < len ? so : len;
	while (len && (name[len - 1] == '.' || name[len - 1] == '-'))
		len--;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strlen(names[i]) == len && strncmp(name, names[i], len) == 0)
			return true;
	return false;
}

/* ---- the loader's search ---- */

static result add_folder(struct closure *closure, const char *path)
{
	struct closure_work *work = closure->work_;
	if (work->folder_count == MAX_FOLDERS)
		return fail(TOO_LARGE, "more than %d folders in /etc/ld.so.conf", MAX_FOLDERS);
	return arena_string(&closure->arena, span_str(path), &work->folders[work->folder_count++]);
}

static result read_conf(struct closure *closure, const char *host, unsigned depth);

static result include_conf(struct closure *closure, const char *pattern, unsigned depth)
{
	char host[PATH_SIZE];
	char absolute[PATH_SIZE];
	TRY(path_join(absolute, "/etc", pattern));
	TRY(host_path(closure, absolute, host));
	glob_t found = {0};
	result outcome = OK;
	if (glob(host, 0, NULL, &found) == 0) /* sorted */
		for (size_t i = 0; i < found.gl_pathc && outcome == OK; i++)
			outcome = read_conf(closure, found.gl_pathv[i], depth + 1);
	globfree(&found);
	return outcome;
}

/* ld.so.conf(5): one folder a line, `include PATTERN`, comments. Nothing there is no error. */
static result read_conf(struct closure *closure, const char *host, unsigned depth)
{
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	if (depth > 4 || file_read(host, 1 << 20, &content) != OK)
		return OK;
	CLEANUP(bytes_free) struct bytes text = {calloc(1, content.len + 1), content.len};
	if (!text.data)
		return fail(NO_MEMORY, "ld.so.conf");
	memcpy(text.data, content.data, content.len);
	char *position = NULL;
	for (char *line = strtok_r((char *)text.data, "\n", &position); line; line = strtok_r(NULL, "\n", &position)) {
		line[strcspn(line, "#")] = '\0';
		line += strspn(line, " \t");
		line[strcspn(line, " \t\r=") == 7 && strncmp(line, "include", 7) == 0 ? strlen(line) : strcspn(line, " \t\r=")] = '\0';
		if (strncmp(line, "include", 7) == 0) {
			char *pattern = line + 7 + strspn(line + 7, " \t");
			pattern[strcspn(pattern, " \t\r")] = '\0';
			if (*pattern)
				TRY(include_conf(closure, pattern, depth));
		} else if (line[0] == '/') {
			TRY(add_folder(closure, line));
		}
	}
	return OK;
}

static result loader_conf(struct closure *closure)
{
	if (closure->work_->folders_read)
		return OK;
	closure->work_->folders_read = true;
	char host[PATH_SIZE];
	TRY(host_path(closure, "/etc/ld.so.conf", host));
	return read_conf(closure, host, 0);
}

/* One file as loaded: `found` is the path the loader used, links not followed, which $ORIGIN of a library means. */
struct loaded {
	const struct object *object;
	const struct loaded *loader;
	char origin[PATH_SIZE];
};

struct load {
	struct closure *closure;
	struct loaded *list[MAX_NEEDED];
	size_t count;
	const char *names[2 * MAX_NEEDED]; /* satisfied: names asked for and sonames */
	size_t name_count;
	bool no_default_libraries; /* of the program */
	bool optional;		   /* a missing library is no failure */
};

static void load_free(struct load **load)
{
	if (!*load)
		return;
	for (size_t i = 0; i < (*load)->count; i++)
		free((*load)->list[i]);
	free(*load);
}

static bool is_satisfied(const struct load *load, const char *name)
{
	for (size_t i = 0; i < load->name_count; i++)
		if (strcmp(load->names[i], name) == 0)
			return true;
	return false;
}

static void satisfy(struct load *load, const char *name)
{
	if (name && load->name_count < COUNT_OF(load->names))
		load->names[load->name_count++] = name;
}

static result load_object(struct load *load, const struct object *object, const struct loaded *loader, const char *origin)
{
	if (load->count == MAX_NEEDED)
		return fail(TOO_LARGE, "a program needs more than %d libraries", MAX_NEEDED);
	struct loaded *loaded = calloc(1, sizeof(*loaded));
	if (!loaded)
		return fail(NO_MEMORY, "library");
	loaded->object = object;
	loaded->loader = loader;
	memcpy(loaded->origin, origin, strlen(origin) + 1);
	load->list[load->count++] = loaded;
	satisfy(load, object->soname);
	return OK;
}

/* Replaces $ORIGIN, $LIB, $PLATFORM and their ${} forms. False when the result is too long or not absolute. */
static bool expand(const char *text, size_t len, const char *origin, char out[static PATH_SIZE])
{
	static const char *const names[] = {"ORIGIN", "LIB", "PLATFORM"};
	const char *const values[] = {origin, "lib/" TRIPLET, PLATFORM};
	size_t used = 0;
	for (size_t i = 0; i < len;) {
		const char *value = NULL;
		size_t taken = 0;
		for (size_t n = 0; n < COUNT_OF(names) && text[i] == '$' && !value; n++) {
			size_t name_len = strlen(names[n]);
			bool braces = i + 1 < len && text[i + 1] == '{';
			size_t start = i + 1 + braces;
			if (start + name_len + braces <= len && strncmp(text + start, names[n], name_len) == 0 &&
				(!braces || text[start + name_len] == '}')) {
				value = values[n];
				taken = 1 + braces + name_len + braces;
			}
		}
		size_t add = value ? strlen(value) : 1;
		if (used + add >= PATH_SIZE)
			return false;
		memcpy(out + used, value ? value : text + i, add);
		used += add;
		i += value ? taken : 1;
	}
	out[used] = '\0';
	return out[0] == '/';
}

/* Whether a file begins as an ELF file of this machine. */
static bool is_native_elf(const struct closure *closure, const char *canonical)
{
	char host[PATH_SIZE];
	uint8_t start[20];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (host_path(closure, canonical, host) != OK || file_open(host, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd) != OK ||
		read_full(fd.n, start, sizeof(start)) != OK)
		return false;
	return elf_is_elf(SPAN_ARRAY(start)) && start[4] == 2 && start[5] == 1 &&
		(start[18] | start[19] << 8) == (int)elf_native_machine();
}

/* Tries one file; a file of another kind or machine is passed over, as the loader does. */
static result try_library(struct load *load, const char *path, const struct object **out)
{
	char canonical[PATH_SIZE];
	mode_t mode;
	*out = NULL;
	result found = look(load->closure, path, canonical, &mode);
	if (found == NOT_FOUND || found == NO_PERMISSION ||
		(found == OK && (!S_ISREG(mode) || !is_native_elf(load->closure, canonical))))
		return OK;
	TRY(found);
	TRY(resolve(load->closure, path, canonical, &mode));
	load->closure->interpreter_open |= is_interpreter(name_of(path));
	struct object *object;
	TRY(add_regular(load->closure, canonical, &object));
	if (object->parsed_well && object->is_native)
		*out = object;
	return OK;
}

/* Looks through a colon-separated list. */
static result try_list(struct load *load, const char *list, const char *origin, const char *name, const struct object **out,
	char out_folder[static PATH_SIZE])
{
	*out = NULL;
	while (list && *list && !*out) {
		size_t len = strcspn(list, ":");
		char path[PATH_SIZE];
		if (expand(list, len, origin, out_folder) && path_join(path, out_folder, name) == OK)
			TRY(try_library(load, path, out));
		list += len + (list[len] == ':');
	}
	return OK;
}

static bool is_loader_folder(struct closure *closure, const char *folder)
{
	char canonical[PATH_SIZE], other[PATH_SIZE];
	mode_t mode;
	if (look(closure, folder, canonical, &mode) != OK)
		return false;
	for (size_t i = 0; i < COUNT_OF(loader_folders); i++)
		if (look(closure, loader_folders[i], other, &mode) == OK && strcmp(canonical, other) == 0)
			return true;
	return false;
}

/* The root has no ld.so.cache, so the loader inside finds a library of /etc/ld.so.conf through a link in its own folder. */
static result link_for_loader(struct closure *closure, const char *path, const char *name)
{
	char link[PATH_SIZE];
	TRY(path_join(link, "/usr/lib/" TRIPLET, name));
	return add_link(closure, link, path);
}

static result find_in_system(struct load *load, const char *name, const struct object **out, char out_folder[static PATH_SIZE])
{
	struct closure *closure = load->closure;
	char path[PATH_SIZE];
	TRY(loader_conf(closure));
	*out = NULL;
	for (size_t i = 0; i < closure->work_->folder_count && !*out; i++) {
		const char *folder = closure->work_->folders[i];
		TRY(path_join(path, folder, name));
		TRY(try_library(load, path, out));
		memcpy(out_folder, folder, strlen(folder) + 1);
		if (*out && !is_loader_folder(closure, folder))
			TRY(link_for_loader(closure, path, name));
	}
	for (size_t i = 0; i < COUNT_OF(loader_folders) && !*out; i++) {
		TRY(path_join(path, loader_folders[i], name));
		TRY(try_library(load, path, out));
		memcpy(out_folder, loader_folders[i], strlen(loader_folders[i]) + 1);
	}
	return OK;
}

/* ld.so(8): RPATH of the asking file and of those that loaded it (unless it has RUNPATH), RUNPATH, the system's folders. */
static result find_library(struct load *load, const struct loaded *asker, const char *name, const struct object **out,
	char out_folder[static PATH_SIZE])
{
	char path[PATH_SIZE];
	*out = NULL;
	if (strchr(name, '/')) {
		if (!expand(name, strlen(name), asker->origin, path))
			return OK;
		parent_of(path, out_folder);
		return try_library(load, path, out);
	}
	for (const struct loaded *at = asker; at && !asker->object->runpath && !*out; at = at->loader)
		if (!at->object->runpath)
			TRY(try_list(load, at->object->rpath, at->origin, name, out, out_folder));
	if (!*out)
		TRY(try_list(load, asker->object->runpath, asker->origin, name, out, out_folder));
	if (!*out && !load->no_default_libraries)
		TRY(find_in_system(load, name, out, out_folder));
	return OK;
}

/* Breadth first, as the loader does; a name that somebody brought already is not looked for again. */
static result load_libraries(struct closure *closure, const char *path, const struct object *object, const char *interpreter,
	bool optional)
{
	CLEANUP(load_free) struct load *load = calloc(1, sizeof(*load));
	if (!load)
		return fail(NO_MEMORY, "libraries of %s", path);
	load->closure = closure;
	load->optional = optional;
	load->no_default_libraries = object->no_default_libraries;
	satisfy(load, interpreter ? name_of(interpreter) : NULL);
	char origin[PATH_SIZE];
	parent_of(path, origin);
	TRY(load_object(load, object, NULL, origin));
	for (size_t at = 0; at < load->count; at++) {
		const struct loaded *asker = load->list[at];
		for (size_t i = 0; i < asker->object->needed_count; i++) {
			const char *name = asker->object->needed[i];
			const struct object *found;
			if (is_satisfied(load, name))
				continue;
			TRY(find_library(load, asker, name, &found, origin));
			if (!found && optional)
				continue;
			if (!found)
				return fail(LIBRARY_NOT_FOUND, "%s, needed by %s", name, path);
			satisfy(load, name);
			TRY(load_object(load, found, asker, origin));
		}
	}
	return OK;
}

/* ---- programs and scripts ---- */

static result add_executable(struct closure *closure, const char *path, unsigned depth);
static result find_program(struct closure *closure, const char *name, char out[static PATH_SIZE]);

/* `#!/usr/bin/env [-S] [NAME=VALUE...] PROGRAM ...`: env will look for the program in its PATH. */
static result add_env_program(struct closure *closure, const char *arguments, unsigned depth)
{
	char copy[SCRIPT_LINE + 1], path[PATH_SIZE];
	snprintf(copy, sizeof(copy), "%s", arguments);
	char *position = NULL;
	for (char *word = strtok_r(copy, " \t", &position); word; word = strtok_r(NULL, " \t", &position)) {
		if (word[0] == '-' || strchr(word, '='))
			continue;
		TRY(find_program(closure, word, path));
		return add_executable(closure, path, depth);
	}
	return OK;
}

static result add_script_interpreter(struct closure *closure, const char *path, const char *script, unsigned depth)
{
	char line[SCRIPT_LINE + 1];
	snprintf(line, sizeof(line), "%s", script);
	char *interpreter = line + strspn(line, " \t");
	size_t len = strcspn(interpreter, " \t");
	const char *arguments = interpreter[len] ? interpreter + len + 1 : "";
	interpreter[len] = '\0';
	if (interpreter[0] != '/')
		return fail(NOT_A_PROGRAM, "%s: its #! line names no absolute path", path);
	result added = add_executable(closure, interpreter, depth + 1);
	if (added != OK)
		return fail_within(added, "interpreter of %s", path);
	if (strcmp(name_of(interpreter), "env") == 0)
		return add_env_program(closure, arguments, depth + 1);
	return OK;
}

/*
 * Interpreters that cannot start without their own library: python3.N its lib/python3.N, Debian's perl its perl-base.
 * Left out: tests, what is for building extensions, and compiled copies, which python ignores here since they name the
 * time of a source file.
 */
static result add_runtime(struct closure *closure, const char *path)
{
	char folder[PATH_SIZE], canonical[PATH_SIZE];
	mode_t mode;
	const char *name = name_of(path);
	if (strncmp(name, "python3.", 8) == 0 && name[8] && name[8 + strspn(name + 8, "0123456789")] == '\0') {
		char bin[PATH_SIZE], prefix[PATH_SIZE];
		parent_of(path, bin);
		parent_of(bin, prefix);
		if (snprintf(folder, sizeof(folder), "%s/lib/%s", prefix, name) >= (int)sizeof(folder))
			return fail(TOO_LARGE, "path of %s", name);
	} else if (strcmp(path, "/usr/bin/perl") == 0) {
		snprintf(folder, sizeof(folder), "/usr/lib/" TRIPLET "/perl-base");
	} else {
		return OK;
	}
	if (look(closure, folder, canonical, &mode) != OK || !S_ISDIR(mode))
		return OK;
	closure->work_->in_runtime = true;
	result added = closure_add_file(closure, folder);
	closure->work_->in_runtime = false;
	return added;
}

static bool is_left_out(const char *name)
{
	return strcmp(name, "__pycache__") == 0 || strcmp(name, "test") == 0 || strncmp(name, "config-", 7) == 0;
}

static result add_elf_program(struct closure *closure, const char *path, const struct object *object)
{
	if (!object->parsed_well || !object->is_native)
		return fail(NOT_A_PROGRAM, "%s is for another machine or not a program", path);
	if (!object->has_interpreter)
		return object->needed_count == 0 ? OK : fail(NOT_A_PROGRAM, "%s is a library", path);
	char canonical[PATH_SIZE];
	mode_t mode;
	struct object *interpreter;
	result found = resolve(closure, object->interpreter, canonical, &mode);
	if (found == NOT_FOUND)
		return fail_within(LIBRARY_NOT_FOUND, "loader of %s", path);
	TRY(found);
	TRY(add_regular(closure, canonical, &interpreter));
	return load_libraries(closure, path, object, object->interpreter, false);
}

/* `path` is absolute inside the root and may hold links. */
static result add_executable(struct closure *closure, const char *path, unsigned depth)
{
	char canonical[PATH_SIZE];
	mode_t mode;
	if (depth > MAX_SCRIPTS)
		return fail(NOT_A_PROGRAM, "%s: scripts interpret scripts too deeply", path);
	result found = resolve(closure, path, canonical, &mode);
	if (found == NOT_FOUND)
		return fail_within(PROGRAM_NOT_FOUND, "program");
	TRY(found);
	if (!S_ISREG(mode) || !(mode & 0111))
		return fail(NOT_A_PROGRAM, "%s is not an executable file", path);
	struct object *object;
	TRY(add_regular(closure, canonical, &object));
	closure->interpreter_open |= is_interpreter(name_of(canonical)) || is_interpreter(name_of(path)) || object->script;
	if (object->is_elf) {
		TRY(add_elf_program(closure, canonical, object));
		return add_runtime(closure, canonical);
	}
	if (object->script)
		return add_script_interpreter(closure, path, object->script, depth);
	return fail(NOT_A_PROGRAM, "%s is neither an ELF file nor begins with #!", path);
}

/* The path of `name` with its folder made canonical; the last part may be a link, whose name programs look at. */
static result find_program(struct closure *closure, const char *name, char out[static PATH_SIZE])
{
	char path[PATH_SIZE], folder[PATH_SIZE];
	mode_t mode;
	if (strchr(name, '/')) {
		if (name[0] != '/' || name[1] == '\0' || name[strlen(name) - 1] == '/')
			return fail(PROGRAM_NOT_FOUND, "'%s' is not an absolute path of a program", name);
		TRY(path_join(path, "", name));
		parent_of(path, folder);
		char canonical[PATH_SIZE];
		result found = resolve(closure, folder, canonical, &mode);
		if (found == NOT_FOUND)
			return fail_within(PROGRAM_NOT_FOUND, "program %s", name);
		TRY(found);
		return path_join(out, canonical, name_of(path));
	}
	for (size_t i = 0; i < COUNT_OF(program_folders) && path_name_ok(name); i++) {
		char canonical[PATH_SIZE];
		TRY(path_join(path, program_folders[i], name));
		if (look(closure, path, canonical, &mode) == OK && S_ISREG(mode) && (mode & 0111))
			return find_program(closure, path, out);
	}
	return fail(PROGRAM_NOT_FOUND, "%s", name);
}

result closure_add_program(struct closure *closure, const char *name, const char **out_path)
{
	char path[PATH_SIZE];
	if (closure->work_->finished)
		return fail(ILLEGAL_STATE, "closure is finished");
	TRY(find_program(closure, name, path));
	TRY(add_executable(closure, path, 0));
	return arena_string(&closure->arena, span_str(path), out_path);
}

/* ---- files and folders ---- */

static result add_data(struct closure *closure, const char *canonical)
{
	struct object *object;
	TRY(add_regular(closure, canonical, &object));
	closure->interpreter_open |= is_interpreter(name_of(canonical));
	if (object->parsed_well && object->is_native && object->needed_count)
		return load_libraries(closure, canonical, object, object->interpreter, true);
	return OK;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static result add_tree(struct closure *closure, const char *folder, unsigned depth);

static result add_tree_entry(struct closure *closure, const char *path, unsigned depth)
{
	char host[PATH_SIZE], canonical[PATH_SIZE];
	struct stat status;
	mode_t mode;
	TRY(host_path(closure, path, host));
	if (lstat(host, &status) != 0)
		return fail_errno("%s", path);
	if (S_ISDIR(status.st_mode))
		return add_tree(closure, path, depth + 1);
	if (S_ISREG(status.st_mode))
		return add_data(closure, path);
	if (!S_ISLNK(status.st_mode))
		return OK; /* FIFOs, sockets, devices */
	/* A link brings the file along that it leads to; a folder only if it lies in the tree itself. */
	if (resolve(closure, path, canonical, &mode) == OK)
		return S_ISREG(mode) && !is_reserved(canonical) ? add_data(closure, canonical) : OK;
	char target[PATH_SIZE];
	ssize_t len = readlink(host, target, sizeof(target) - 1);
	if (len <= 0)
		return fail_errno("%s", path);
	target[len] = '\0';
	return add_link(closure, path, target);
}

static result add_tree(struct closure *closure, const char *folder, unsigned depth)
{
	if (depth > MAX_DEPTH)
		return fail(TOO_DEEP, "%s", folder);
	char host[PATH_SIZE], path[PATH_SIZE];
	TRY(host_path(closure, folder, host));
	struct dirent **list = NULL;
	int count = scandir(host, &list, NULL, by_name);
	if (count < 0)
		return fail_errno("folder %s", folder);
	result outcome = OK;
	for (int i = 0; i < count; i++) {
		const char *name = list[i]->d_name;
		bool counts = path_name_ok(name) && !(closure->work_->in_runtime && is_left_out(name));
		if (outcome == OK && counts)
			outcome = path_join(path, folder, name);
		if (outcome == OK && counts)
			outcome = add_tree_entry(closure, path, depth);
		free(list[i]);
	}
	free(list);
	size_t index;
	if (outcome != OK || count > 2 || find_entry(closure, folder, &index))
		return outcome;
	struct manifest_file empty = {.path = folder, .type = FILE_DIRECTORY, .mode = 0555};
	return add_entry(closure, &empty, host, NULL);
}

result closure_add_file(struct closure *closure, const char *path)
{
	char canonical[PATH_SIZE];
	mode_t mode;
	if (closure->work_->finished)
		return fail(ILLEGAL_STATE, "closure is finished");
	TRY(resolve(closure, path, canonical, &mode));
	if (is_reserved(canonical))
		return fail(BAD_VALUE, "%s: /proc, /dev and /tmp of an enclave are its own; put the file elsewhere", path);
	if (S_ISDIR(mode))
		return add_tree(closure, canonical, 0);
	if (S_ISREG(mode))
		return add_data(closure, canonical);
	return fail(BAD_TYPE, "%s is neither a file nor a folder", path);
}

/* ---- order ---- */

struct row {
	struct manifest_file file;
	const char *source;
};

/* The order of the paths' deterministic CBOR: shorter first, then bytewise. */
static int by_encoding(const void *a, const void *b)
{
	const char *left = ((const struct row *)a)->file.path, *right = ((const struct row *)b)->file.path;
	size_t left_len = strlen(left), right_len = strlen(right);
	if (left_len != right_len)
		return left_len < right_len ? -1 : 1;
	return strcmp(left, right);
}

result closure_finish(struct closure *closure)
{
	struct row *rows = calloc(closure->file_count + 1, sizeof(*rows));
	if (!rows)
		return fail(NO_MEMORY, "closure of %zu files", closure->file_count);
	for (size_t i = 0; i < closure->file_count; i++)
		rows[i] = (struct row){closure->files[i], closure->sources[i]};
	qsort(rows, closure->file_count, sizeof(*rows), by_encoding);
	for (size_t i = 0; i < closure->file_count; i++) {
		closure->files[i] = rows[i].file;
		closure->sources[i] = rows[i].source;
	}
	free(rows);
	closure->work_->finished = true;
	return OK;
}

const char *closure_interpreter(const struct closure *closure)
{
	return closure->interpreter_open ? "open" : "closed";
}
