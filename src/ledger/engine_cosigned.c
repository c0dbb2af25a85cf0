/* What witnesses said about the latest checkpoint: given out with it, and there again after a restart (docs/PROTOCOL.ledger, "cosignatures"). */
#include "ledger/engine_internal.h"

#include "base/reader.h"
#include "store/crc32c.h"

#include <stdlib.h>
#include <string.h>

static const char magic[] = "troth cosigned1\n", file_name[] = "cosignatures";

enum { FILE_MAX = 3 * NOTE_MAX, LINES_MAX = NOTE_MAX - 4096 };

/* ---- The file ---------------------------------------------------------------------------------------- */

static result encode(struct span checkpoint, struct span lines, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(FILE_MAX);
	writer_str(&w, magic);
	writer_lv(&w, checkpoint);
	writer_lv(&w, lines);
	if (w.failed == OK)
		writer_u32(&w, crc32c(0, span_of(w.data, w.len)));
	return writer_take(&w, out);
}

static result decode(struct span file, struct span *out_checkpoint, struct span *out_lines)
{
	struct reader r = reader_of(file);
	struct span first;
	uint32_t sum;
	TRY(reader_take(&r, sizeof(magic) - 1, &first));
	TRY(reader_lv(&r, NOTE_MAX, out_checkpoint));
	TRY(reader_lv(&r, NOTE_MAX, out_lines));
	size_t covered = (size_t)(r.at - file.data);
	TRY(reader_u32(&r, &sum));
	TRY(reader_finish(&r));
	if (!span_equal_str(first, magic) || sum != crc32c(0, span_of(file.data, covered)))
		return fail(LEDGER_DAMAGED, "%s does not have its sum", file_name);
	return OK;
}

static result load(struct ledger_engine *engine)
{
	CLEANUP(bytes_free) struct bytes file = {malloc(FILE_MAX), FILE_MAX};
	struct span checkpoint, lines;
	size_t len;
	if (!file.data)
		return fail(NO_MEMORY, "%s", file_name);
	TRY(engine_read_small(engine, file_name, file.data, FILE_MAX, &len));
	TRY(decode(span_of(file.data, len), &checkpoint, &lines));
	if (!span_equal(checkpoint, bytes_span(&engine->checkpoint)))
		return OK; /* of an earlier one */
	return bytes_copy(lines, &engine->cosignatures);
}

void cosignatures_load(struct ledger_engine *engine)
{
	/* Witnesses can be asked again: nothing that is wrong here keeps a ledger from starting. */
	(void)!load(engine);
}

/* ---- Adding ------------------------------------------------------------------------------------------- */

/* The checkpoint as it is, and all lines there would be with these. */
static result with_lines(struct ledger_engine *engine, uint64_t size, struct span lines, struct bytes *out_checkpoint, struct bytes *out_lines)
{
	CLEANUP(writer_free) struct writer w = writer_growing(LINES_MAX);
	if (size != engine->head.size)
		return fail(NOT_FOUND, "the log has %llu leaves by now", (unsigned long long)engine->head.size);
	writer_span(&w, bytes_span(&engine->cosignatures));
	writer_span(&w, lines);
	struct bytes all = BYTES_EMPTY;
	TRY(writer_take(&w, &all));
	result copied = bytes_copy(bytes_span(&engine->checkpoint), out_checkpoint);
	if (copied != OK)
		bytes_free(&all);
	TRY(copied);
	*out_lines = all;
	return OK;
}

static result add_durably(struct ledger_engine *engine, uint64_t size, struct span lines)
{
	CLEANUP(bytes_free) struct bytes checkpoint = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes all = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	pthread_mutex_lock(&engine->head_lock);
	result made = with_lines(engine, size, lines, &checkpoint, &all);
	pthread_mutex_unlock(&engine->head_lock);
	TRY(made);
	TRY(encode(bytes_span(&checkpoint), bytes_span(&all), &file));
	if (!engine->options.read_only)
		TRY(engine_write_small(engine, file_name, bytes_span(&file)));
	pthread_mutex_lock(&engine->head_lock);
	bool latest = size == engine->head.size;
	if (latest) {
		bytes_free(&engine->cosignatures);
		engine->cosignatures = bytes_move(&all);
	}
	pthread_mutex_unlock(&engine->head_lock);
	return latest ? OK : fail(NOT_FOUND, "the log has grown meanwhile");
}

result ledger_engine_add_cosignatures(struct ledger_engine *engine, uint64_t size, struct span lines)
{
	pthread_mutex_lock(&engine->cosign_lock);
	result added = add_durably(engine, size, lines);
	pthread_mutex_unlock(&engine->cosign_lock);
	return added;
}
