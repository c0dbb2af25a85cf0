/* Shell pipelines: whatever is understood becomes a job file that the document loader reads, with the words that were written. */
#include "job/pipeline.h"

#include <stdlib.h>

#include "wire/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_words(const struct document *document, const struct pipeline *pipeline)
{
	const struct node *stages = node_field(document->root, "enclaves");
	must(stages && stages->count == pipeline->count);
	for (size_t i = 0; i < pipeline->count; i++) {
		const struct node *arguments = node_field(&stages->children[i], "args");
		must((arguments ? arguments->count : 0) == pipeline->commands[i].word_count - 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(16 << 20);
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	CLEANUP(document_free) struct document document = {0};
	struct pipeline pipeline;
	const char *line;
	bool has_input;
	if (size > 4096 || arena_string(&arena, span_of(data, size), &line) != OK)
		return 0;
	if (pipeline_parse(line, &arena, &pipeline) != OK)
		return 0;
	must(pipeline.count > 0);
	if (pipeline_job(&pipeline, "fuzz", "/nonexistent", PIPELINE_INPUT_YES, &text, &has_input) != OK)
		return 0;
	result parsed = document_parse("job.yaml", bytes_span(&text), 16 << 20, &document);
	/* Words that are no UTF-8, or repeat a variable, are refused where the job is read. */
	must(parsed == OK || parsed == BAD_UTF8 || parsed == DUPLICATE_KEY || parsed == BAD_SYNTAX);
	if (parsed == OK)
		check_words(&document, &pipeline);
	return 0;
}
