/*
 * Layout: System V ABI (gABI) chapters 4 and 5, ELF-64 little endian. The kernel and ld.so go by the segments as mapped;
 * a file built so that its mapped form differs from what is read here misses libraries inside its root and does not
 * start: nothing is gained by lying, because the root holds only what was measured.
 */
#include "enclave/elf.h"

#include <inttypes.h>

enum {
	HEADER_SIZE = 64,
	SEGMENT_SIZE = 56,
	DYNAMIC_SIZE = 16,
	MAX_SEGMENTS = 1024,
	TYPE_REL = 1,
	TYPE_EXEC = 2,
	TYPE_DYN = 3,
	TYPE_CORE = 4,
	SEGMENT_LOAD = 1,
	SEGMENT_DYNAMIC = 2,
	SEGMENT_INTERPRETER = 3,
	TAG_NULL = 0,
	TAG_NEEDED = 1,
	TAG_STRTAB = 5,
	TAG_STRSZ = 10,
	TAG_SONAME = 14,
	TAG_RPATH = 15,
	TAG_RUNPATH = 29,
	TAG_FLAGS_1 = 0x6ffffffb,
	FLAG_NO_DEFAULT_LIBRARIES = 0x800,
};

static const uint8_t magic[4] = {0x7f, 'E', 'L', 'F'};

/* Little-endian integers at an offset that the caller has checked. */
static uint64_t get(struct span bytes, size_t at, size_t size)
{
	uint64_t value = 0;
	for (size_t i = size; i-- > 0;)
		value = value << 8 | bytes.data[at + i];
	return value;
}

static bool slice(struct span bytes, uint64_t at, uint64_t len, struct span *out)
{
	if (at > bytes.len || len > bytes.len - at)
		return false;
	*out = span_of(bytes.data + at, (size_t)len);
	return true;
}

/* The NUL-terminated text at `at` of a string table. */
static bool text_at(struct span table, uint64_t at, struct span *out)
{
	if (at >= table.len)
		return false;
	const uint8_t *start = table.data + at;
	const uint8_t *end = memchr(start, 0, table.len - (size_t)at);
	if (!end)
		return false;
	*out = span_of(start, (size_t)(end - start));
	return true;
}

bool elf_is_elf(struct span file)
{
	return file.len >= sizeof(magic) && memcmp(file.data, magic, sizeof(magic)) == 0;
}

enum elf_machine elf_native_machine(void)
{
#if defined(__aarch64__)
	return ELF_AARCH64;
#else
	return ELF_X86_64;
#endif
}

static result parse_header(struct span file, struct elf *elf, struct span *out_segments)
{
	if (!elf_is_elf(file) || file.len < HEADER_SIZE)
		return fail(BAD_ELF, "no ELF header");
	if (file.data[4] != 2 || file.data[5] != 1)
		return fail(NOT_SUPPORTED, "not a 64-bit little-endian ELF file");
	uint64_t type = get(file, 16, 2), machine = get(file, 18, 2);
	if (machine != ELF_X86_64 && machine != ELF_AARCH64)
		return fail(NOT_SUPPORTED, "ELF file for machine %" PRIu64, machine);
	if (type < TYPE_REL || type > TYPE_CORE)
		return fail(BAD_ELF, "ELF type %" PRIu64, type);
	elf->machine = (enum elf_machine)machine;
	elf->is_object_or_core = type == TYPE_REL || type == TYPE_CORE;
	uint64_t at = get(file, 32, 8), size = get(file, 54, 2), count = get(file, 56, 2);
	if (elf->is_object_or_core || count == 0) {
		*out_segments = SPAN_EMPTY;
		return OK;
	}
	if (size != SEGMENT_SIZE || count > MAX_SEGMENTS)
		return fail(BAD_ELF, "%" PRIu64 " program headers of %" PRIu64 " bytes", count, size);
	if (!slice(file, at, count * SEGMENT_SIZE, out_segments))
		return fail(BAD_ELF, "program headers lie outside the file");
	return OK;
}

struct segment {
	uint64_t type, offset, address, size;
};

static bool segment_next(struct span segments, size_t *cursor, struct segment *out)
{
	if (segments.len - *cursor < SEGMENT_SIZE)
		return false;
	size_t at = *cursor;
	*out = (struct segment){.type = get(segments, at, 4), .offset = get(segments, at + 8, 8),
		.address = get(segments, at + 16, 8), .size = get(segments, at + 32, 8)};
	*cursor += SEGMENT_SIZE;
	return true;
}

static result parse_segments(struct span file, struct span segments, struct elf *elf)
{
	struct segment segment;
	for (size_t cursor = 0; segment_next(segments, &cursor, &segment);) {
		struct span content;
		if (segment.type != SEGMENT_DYNAMIC && segment.type != SEGMENT_INTERPRETER)
			continue;
		if (!slice(file, segment.offset, segment.size, &content))
			return fail(BAD_ELF, "a segment lies outside the file");
		if (segment.type == SEGMENT_DYNAMIC) {
			if (elf->is_dynamic)
				return fail(BAD_ELF, "two dynamic segments");
			elf->is_dynamic = true;
			elf->dynamic_ = content;
			continue;
		}
		if (elf->has_interpreter)
			return fail(BAD_ELF, "two interpreters");
		struct span text;
		if (!text_at(content, 0, &text) || text.len == 0 || text.len >= 4096 || text.data[0] != '/')
			return fail(BAD_ELF, "the interpreter is not an absolute path");
		elf->has_interpreter = true;
		elf->interpreter = text;
	}
	return OK;
}

struct dynamic {
	uint64_t tag, value;
};

static bool dynamic_next(const struct elf *elf, size_t *cursor, struct dynamic *out)
{
	if (elf->dynamic_.len - *cursor < DYNAMIC_SIZE)
		return false;
	*out = (struct dynamic){.tag = get(elf->dynamic_, *cursor, 8), .value = get(elf->dynamic_, *cursor + 8, 8)};
	*cursor += DYNAMIC_SIZE;
	return out->tag != TAG_NULL;
}

/* The string table is given by address; the loaded segment around it says where it lies in the file. */
static result find_strings(struct span file, struct span segments, struct elf *elf)
{
	uint64_t address = 0, size = 0;
	struct dynamic entry;
	for (size_t cursor = 0; dynamic_next(elf, &cursor, &entry);) {
		if (cursor / DYNAMIC_SIZE > ELF_MAX_DYNAMIC)
			return fail(BAD_ELF, "more than %d dynamic entries", ELF_MAX_DYNAMIC);
		if (entry.tag == TAG_STRTAB)
			address = entry.value;
		if (entry.tag == TAG_STRSZ)
			size = entry.value;
	}
	struct segment segment;
	for (size_t cursor = 0; segment_next(segments, &cursor, &segment);) {
		if (segment.type != SEGMENT_LOAD || address < segment.address || address - segment.address >= segment.size)
			continue;
		uint64_t within = address - segment.address;
		if (size > segment.size - within || segment.offset > UINT64_MAX - within ||
			!slice(file, segment.offset + within, size, &elf->strings_))
			break;
		return OK;
	}
	return fail(BAD_ELF, "the string table lies outside the file");
}

static result parse_dynamic(struct span file, struct span segments, struct elf *elf)
{
	struct dynamic entry;
	bool has_strings = false;
	for (size_t cursor = 0; dynamic_next(elf, &cursor, &entry);)
		has_strings |= entry.tag == TAG_STRTAB;
	if (!has_strings)
		return OK; /* a static-pie program may do without */
	TRY(find_strings(file, segments, elf));
	for (size_t cursor = 0; dynamic_next(elf, &cursor, &entry);) {
		struct span text = SPAN_EMPTY;
		bool is_text = entry.tag == TAG_NEEDED || entry.tag == TAG_SONAME || entry.tag == TAG_RPATH || entry.tag == TAG_RUNPATH;
		if (is_text && !text_at(elf->strings_, entry.value, &text))
			return fail(BAD_ELF, "a name lies outside the string table");
		if (entry.tag == TAG_NEEDED && (text.len == 0 || text.len >= 4096))
			return fail(BAD_ELF, "a needed library has no name");
		if (entry.tag == TAG_SONAME)
			elf->soname = text;
		if (entry.tag == TAG_RPATH)
			elf->rpath = text;
		if (entry.tag == TAG_RUNPATH)
			elf->runpath = text;
		if (entry.tag == TAG_FLAGS_1)
			elf->no_default_libraries = entry.value & FLAG_NO_DEFAULT_LIBRARIES;
	}
	return OK;
}

result elf_parse(struct span file, struct elf *out)
{
	struct elf elf = {0};
	struct span segments;
	TRY(parse_header(file, &elf, &segments));
	TRY(parse_segments(file, segments, &elf));
	if (elf.is_dynamic)
		TRY(parse_dynamic(file, segments, &elf));
	*out = elf;
	return OK;
}

bool elf_next_needed(const struct elf *elf, size_t *cursor, struct span *out)
{
	struct dynamic entry;
	while (elf->strings_.len && dynamic_next(elf, cursor, &entry))
		if (entry.tag == TAG_NEEDED && text_at(elf->strings_, entry.value, out))
			return true;
	return false;
}
