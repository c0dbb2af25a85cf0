#include "bench.h"

#include <sched.h>
#include <string.h>

static FILE *json_file;
static bool quick;

void bench_open(int argc, char **argv, const char *part)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0) {
			quick = true;
		} else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
			json_file = fopen(argv[++i], "a");
			BENCH_REQUIRE(json_file != NULL);
		} else {
			fprintf(stderr, "usage: %s [--quick] [--json FILE]\n", argv[0]);
			exit(2);
		}
	}
	printf("%s\n%-34s %12s %-6s %12s %8s %12s %8s  %s\n", part, "name", "value", "unit", "floor", "x floor", "peer",
	       "x peer", "peer name");
}

bool bench_quick(void)
{
	return quick;
}

static void print_ratio(double value, double other)
{
	if (other > 0)
		printf(" %12.1f %8.2f", other, value / other);
	else
		printf(" %12s %8s", "-", "-");
}

static void print_json_number(const char *key, double value)
{
	if (value > 0)
		fprintf(json_file, ", \"%s\": %.3f", key, value);
	else
		fprintf(json_file, ", \"%s\": null", key);
}

/* Names are literals of the benchmarks: plain ASCII without quotes. */
static void print_json(const struct bench_row *row)
{
	fprintf(json_file, "{\"name\": \"%s\"", row->name);
	print_json_number("value", row->value);
	fprintf(json_file, ", \"unit\": \"%s\"", row->unit);
	print_json_number("floor", row->floor);
	print_json_number("peer", row->peer);
	if (row->peer_name)
		fprintf(json_file, ", \"peer_name\": \"%s\"", row->peer_name);
	else
		fprintf(json_file, ", \"peer_name\": null");
	if (row->goal > 0)
		print_json_number("goal", row->goal);
	fprintf(json_file, "}\n");
}

/* What is counted per second should be much; all else, times and sizes, little. */
static bool meets_goal(const struct bench_row *row)
{
	return strstr(row->unit, "/s") ? row->value >= row->goal : row->value <= row->goal;
}

void bench_row(const struct bench_row *row)
{
	printf("%-34s %12.1f %-6s", row->name, row->value, row->unit);
	print_ratio(row->value, row->floor);
	print_ratio(row->value, row->peer);
	printf("  %s", row->peer_name ? row->peer_name : "");
	if (row->goal > 0)
		printf("  goal %.1f: %s", row->goal, meets_goal(row) ? "met" : "not met");
	printf("\n");
	fflush(stdout);
	if (json_file)
		print_json(row);
}

void bench_note(const char *text)
{
	printf("  %s\n", text);
}

void bench_close(void)
{
	if (json_file)
		BENCH_REQUIRE(fclose(json_file) == 0);
	json_file = NULL;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t count, double part)
{
	BENCH_REQUIRE(count > 0 && part >= 0 && part <= 1);
	qsort(values, count, sizeof *values, compare_doubles);
	return values[(size_t)(part * (double)(count - 1))];
}

bool bench_pin(unsigned n)
{
	cpu_set_t allowed, one;
	BENCH_REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || n-- > 0)
			continue;
		CPU_SET(cpu, &one);
		return sched_setaffinity(0, sizeof one, &one) == 0;
	}
	return false;
}
