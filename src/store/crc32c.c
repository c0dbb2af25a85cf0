#include "store/crc32c.h"

#include <pthread.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/* Reflected polynomial 0x1edc6f41; tables for eight bytes at a time. */
enum { SLICES = 8 };
static uint32_t tables[SLICES][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
		tables[0][i] = crc;
	}
	for (size_t slice = 1; slice < SLICES; slice++)
		for (size_t i = 0; i < 256; i++)
			tables[slice][i] = tables[0][tables[slice - 1][i] & 0xff] ^ tables[slice - 1][i] >> 8;
}

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t len)
{
	pthread_once(&once, make_tables);
	for (; len >= SLICES; at += SLICES, len -= SLICES) {
		uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
		crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^
			tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
	}
	for (; len; at++, len--)
		crc = tables[0][(crc ^ *at) & 0xff] ^ crc >> 8;
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *at, size_t len)
{
	uint64_t wide = crc;
	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, at, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; len; at++, len--)
		crc = _mm_crc32_u8(crc, *at);
	return crc;
}
#endif

uint32_t crc32c_portable(uint32_t crc, struct span data)
{
	return ~by_table(~crc, data.data, data.len);
}

uint32_t crc32c(uint32_t crc, struct span data)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~by_instruction(~crc, data.data, data.len);
#endif
	return crc32c_portable(crc, data);
}
