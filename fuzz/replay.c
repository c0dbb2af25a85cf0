/*
 * Feeds every file of a corpus folder to a fuzz target once, so that each seed and each past crash is a test of every build.
 * Also feeds each seed cut short at up to 64 lengths and with single bits flipped: cheap, deterministic, and it finds what a
 * parser does at its edges without a fuzzer at hand. Prints TAP: one line per file. An empty or missing folder is a failure.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { max_seed = 1 << 20, cuts = 64, flips = 256 };

/* Each input is handed over in a block of exactly its size, so that a sanitizer sees one byte too many. */
static void feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void feed_variants(uint8_t *data, size_t size)
{
	size_t step = size / cuts + 1;

	feed(data, size);
	for (size_t cut = 0; cut < size; cut += step)
		feed(data, cut);
	step = size / flips + 1;
	for (size_t at = 0; at < size; at += step) {
		uint8_t bit = (uint8_t)(1u << (at % 8));

		data[at] ^= bit;
		feed(data, size);
		data[at] ^= bit;
	}
}

/* Returns the size, or -1 when the file cannot be read or is larger than a seed may be. */
static long read_seed(const char *path, uint8_t *out_data)
{
	FILE *file = fopen(path, "rb");
	size_t size;

	if (file == NULL)
		return -1;
	size = fread(out_data, 1, max_seed + 1, file);
	fclose(file);
	return size <= max_seed ? (long)size : -1;
}

static int is_seed(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	struct dirent **names = NULL;
	static uint8_t data[max_seed + 1];
	int failed = 0;
	int count;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	count = scandir(argv[1], &names, is_seed, alphasort);
	if (count <= 0) {
		printf("1..1\nnot ok 1 - %s holds no seed\n", argv[1]);
		return 1;
	}
	printf("1..%d\n", count);
	for (int i = 0; i < count; i++) {
		char path[4096];
		long size = -1;
		int length = snprintf(path, sizeof(path), "%s/%s", argv[1], names[i]->d_name);

		if (length > 0 && (size_t)length < sizeof(path))
			size = read_seed(path, data);
		if (size >= 0)
			feed_variants(data, (size_t)size);
		else
			failed++;
		printf("%s %d - %s\n", size >= 0 ? "ok" : "not ok", i + 1, names[i]->d_name);
		fflush(stdout);
		free(names[i]);
	}
	free(names);
	return failed > 0;
}
