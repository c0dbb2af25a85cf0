#include "enclave/elf.h"
#include "expect.h"
#include "groups.h"

/*
 * A dynamic program put together by hand: header, interpreter, two loaded segments, dynamic section, strings.
 * Address of byte n of the file: BASE + n.
 */
enum {
	BASE = 0x400000,
	AT_SEGMENTS = 64,
	SEGMENTS = 3,
	AT_INTERPRETER = AT_SEGMENTS + SEGMENTS * 56,
	AT_STRINGS = AT_INTERPRETER + 16,
	STRINGS = 64,
	AT_DYNAMIC = AT_STRINGS + STRINGS,
	DYNAMICS = 8,
	SIZE = AT_DYNAMIC + DYNAMICS * 16,
};

static void put(uint8_t *file, size_t at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		file[at + i] = (uint8_t)(value >> 8 * i);
}

static void put_segment(uint8_t *file, size_t index, uint32_t type, uint64_t offset, uint64_t size)
{
	size_t at = AT_SEGMENTS + index * 56;
	put(file, at, type, 4);
	put(file, at + 8, offset, 8);
	put(file, at + 16, BASE + offset, 8);
	put(file, at + 32, size, 8);
	put(file, at + 40, size, 8);
}

static void put_dynamic(uint8_t *file, size_t index, uint64_t tag, uint64_t value)
{
	put(file, AT_DYNAMIC + index * 16, tag, 8);
	put(file, AT_DYNAMIC + index * 16 + 8, value, 8);
}

static void make(uint8_t file[static SIZE])
{
	static const char strings[STRINGS] = "\0libone.so\0libtwo.so.2\0$ORIGIN/lib\0self.so";
	memset(file, 0, SIZE);
	memcpy(file, "\x7f" "ELF\x02\x01\x01", 7);
	put(file, 16, 3, 2);
	put(file, 18, ELF_X86_64, 2);
	put(file, 32, AT_SEGMENTS, 8);
	put(file, 54, 56, 2);
	put(file, 56, SEGMENTS, 2);
	put_segment(file, 0, 1, 0, SIZE);
	put_segment(file, 1, 2, AT_DYNAMIC, DYNAMICS * 16);
	put_segment(file, 2, 3, AT_INTERPRETER, 11);
	memcpy(file + AT_INTERPRETER, "/lib/ld.so", 11);
	memcpy(file + AT_STRINGS, strings, sizeof(strings));
	put_dynamic(file, 0, 1, 1);
	put_dynamic(file, 1, 1, 11);
	put_dynamic(file, 2, 5, BASE + AT_STRINGS);
	put_dynamic(file, 3, 10, STRINGS);
	put_dynamic(file, 4, 29, 23);
	put_dynamic(file, 5, 14, 35);
	put_dynamic(file, 6, 0x6ffffffb, 0x800);
}

static void test_known_program(void **state)
{
	(void)state;
	uint8_t file[SIZE];
	struct elf elf;
	struct span needed;
	size_t cursor = 0;
	make(file);
	expect_ok(elf_parse(SPAN_ARRAY(file), &elf));
	assert_int_equal(elf.machine, ELF_X86_64);
	assert_true(elf.has_interpreter && elf.is_dynamic && elf.no_default_libraries && !elf.is_object_or_core);
	expect_span(elf.interpreter, span_str("/lib/ld.so"));
	expect_span(elf.runpath, span_str("$ORIGIN/lib"));
	expect_span(elf.soname, span_str("self.so"));
	assert_int_equal(elf.rpath.len, 0);
	assert_true(elf_next_needed(&elf, &cursor, &needed));
	expect_span(needed, span_str("libone.so"));
	assert_true(elf_next_needed(&elf, &cursor, &needed));
	expect_span(needed, span_str("libtwo.so.2"));
	assert_false(elf_next_needed(&elf, &cursor, &needed));
}

static void refuse(size_t at, uint64_t value, size_t size, result wanted)
{
	uint8_t file[SIZE];
	struct elf elf = {.machine = ELF_AARCH64};
	make(file);
	put(file, at, value, size);
	expect(elf_parse(SPAN_ARRAY(file), &elf), wanted);
	assert_int_equal(elf.machine, ELF_AARCH64); /* untouched */
}

static void test_refusals(void **state)
{
	(void)state;
	refuse(0, 0, 1, BAD_ELF);
	refuse(4, 1, 1, NOT_SUPPORTED);	 /* 32 bits */
	refuse(5, 2, 1, NOT_SUPPORTED);	 /* big endian */
	refuse(18, 40, 2, NOT_SUPPORTED); /* ARM */
	refuse(16, 9, 2, BAD_ELF);
	refuse(54, 55, 2, BAD_ELF);
	refuse(56, 0xffff, 2, BAD_ELF);
	refuse(32, SIZE - 10, 8, BAD_ELF);
	refuse(32, UINT64_MAX - 8, 8, BAD_ELF);
	refuse(AT_SEGMENTS + 56 + 8, SIZE, 8, BAD_ELF);		    /* dynamic section outside */
	refuse(AT_SEGMENTS + 56 + 32, UINT64_MAX, 8, BAD_ELF);	    /* size that wraps */
	refuse(AT_SEGMENTS + 2 * 56 + 32, 10, 8, BAD_ELF);	    /* interpreter without NUL */
	refuse(AT_INTERPRETER, 'x', 1, BAD_ELF);		    /* relative interpreter */
	refuse(AT_SEGMENTS, 2, 4, BAD_ELF);			    /* two dynamic sections */
	refuse(AT_SEGMENTS + 2 * 56, 2, 4, BAD_ELF);		    /* the same, behind the real one */
	refuse(AT_DYNAMIC + 8, STRINGS, 8, BAD_ELF);		    /* name outside the table */
	refuse(AT_DYNAMIC + 8, 0, 8, BAD_ELF);			    /* no name */
	refuse(AT_DYNAMIC + 2 * 16 + 8, BASE + SIZE, 8, BAD_ELF);   /* table outside */
	refuse(AT_DYNAMIC + 2 * 16 + 8, UINT64_MAX, 8, BAD_ELF);
	refuse(AT_DYNAMIC + 3 * 16 + 8, UINT64_MAX, 8, BAD_ELF);    /* table too long */
	refuse(AT_DYNAMIC + 3 * 16 + 8, 30, 8, BAD_ELF);	    /* RUNPATH without NUL in it */
}

/* However a file is cut or a byte changed, the parser stays inside it (the sanitizer build watches). */
static void test_every_cut_and_flip(void **state)
{
	(void)state;
	uint8_t file[SIZE], copy[SIZE];
	struct elf elf;
	struct span needed;
	make(file);
	for (size_t len = 0; len < SIZE; len++) {
		size_t cursor = 0;
		uint8_t *exact = test_malloc(len + 1);
		memcpy(exact, file, len);
		if (elf_parse(span_of(exact, len), &elf) == OK)
			while (elf_next_needed(&elf, &cursor, &needed))
				assert_true(needed.len < len);
		test_free(exact);
	}
	for (size_t bit = 0; bit < (size_t)SIZE * 8; bit++) {
		size_t cursor = 0;
		memcpy(copy, file, SIZE);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (elf_parse(SPAN_ARRAY(copy), &elf) == OK)
			while (elf_next_needed(&elf, &cursor, &needed))
				assert_true(needed.len < SIZE);
	}
}

static void test_object_file(void **state)
{
	(void)state;
	uint8_t file[SIZE];
	struct elf elf;
	make(file);
	put(file, 16, 1, 2);
	expect_ok(elf_parse(SPAN_ARRAY(file), &elf));
	assert_true(elf.is_object_or_core && !elf.is_dynamic);
	assert_false(elf_is_elf(span_str("#!/bin/sh")));
}

int group_elf(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_program), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_every_cut_and_flip), cmocka_unit_test(test_object_file)};
	return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
