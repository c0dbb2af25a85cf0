#include "receipt/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/text.h"

enum { SHORT_HEX = 12 };

struct tree {
	const struct dac *dac;
	const struct chain_verdict *verdicts;
	bool unicode;
	struct writer *w;
	uint8_t *drawn; /* by record: its ancestors stand further up */
	size_t *later;	/* records that stood too deep to go on from there */
	size_t later_count;
};

result tree_new(const struct dac *dac, const struct chain_verdict *verdicts, bool unicode, struct tree **out)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	uint8_t *drawn = calloc(dac_count(dac) + 1, 1);
	size_t *later = calloc(dac_count(dac) + 1, sizeof(*later));
	if (!tree || !drawn || !later) {
		free(tree);
		free(drawn);
		free(later);
		return fail(NO_MEMORY, "drawing");
	}
	*tree = (struct tree){.dac = dac, .verdicts = verdicts, .unicode = unicode, .drawn = drawn, .later = later};
	*out = tree;
	return OK;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	free(tree->drawn);
	free(tree->later);
	free(tree);
}

static void put(struct tree *s, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(struct tree *s, const char *format, ...)
{
	char line[2048];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	writer_str(s->w, line);
}

const char *tree_plain(const char *text)
{
	static _Thread_local char buffers[6][512];
	static _Thread_local unsigned next;
	char *out = buffers[next++ % COUNT_OF(buffers)];
	snprintf(out, sizeof(buffers[0]), "%s", text ? text : "");
	text_make_plain(out);
	for (char *at = out; *at; at++)
		if (*at == '\n' || *at == '\r' || *at == '\t')
			*at = '?';
	return out;
}

const char *tree_short_hex(const uint8_t *bytes)
{
	static _Thread_local char buffers[6][SHORT_HEX + 1];
	static _Thread_local unsigned next;
	char *out = buffers[next++ % COUNT_OF(buffers)];
	hex_encode(span_of(bytes, SHORT_HEX / 2), out);
	return out;
}

const char *tree_last_part(const char *uri)
{
	const char *slash = strrchr(uri, '/');
	return tree_plain(slash ? slash + 1 : uri);
}

enum { MOST_DEPTH = 40 };

struct frame {
	size_t record;
	size_t next; /* parent to draw */
};

static void put_names(struct tree *s, const struct record_data *list, size_t count)
{
	for (size_t i = 0; i < count && i < 8; i++)
		put(s, "%s%s %s..", i ? ", " : " ", tree_plain(list[i].name), tree_short_hex(list[i].commit));
	if (count > 8)
		put(s, ", and %zu more", count - 8);
}

static void put_record(struct tree *s, size_t at)
{
	const struct record *record = dac_record(s->dac, at);
	const char *who = tree_last_part(record->enclave);
	switch ((enum record_kind)record->kind) {
	case RECORD_ORIGIN:
		put(s, "%s %s enters", who, record->has_ledger_ref ? "secret" : "input");
		put_names(s, record->out, record->out_count);
		if (record->has_ledger_ref)
			put(s, " by grant %s..", tree_short_hex(record->ledger_ref));
		break;
	case RECORD_DERIVE:
		put(s, "%s ran and put out", who);
		put_names(s, record->out, record->out_count);
		break;
	case RECORD_REQUEST:
		put(s, "%s sent to %s for '%s'", who, record->has_target ? tree_last_part(record->target) : "?", tree_plain(record->operation));
		put_names(s, record->in, record->in_count);
		break;
	case RECORD_RESPONSE:
		put(s, "%s answered %s for '%s'", who, record->has_target ? tree_last_part(record->target) : "?", tree_plain(record->operation));
		put_names(s, record->out, record->out_count);
		break;
	}
	put(s, "  [%s]", tree_short_hex(dac_oid(s->dac, at)));
	if (s->verdicts && s->verdicts[at].reason != OK)
		put(s, "  REFUSED: %s: %s", reason_name(s->verdicts[at].reason), tree_plain(s->verdicts[at].text));
}

static void put_prefix(struct tree *s, const struct frame *stack, size_t depth)
{
	static const char *const ascii[] = {"|  ", "   ", "|- ", "`- "};
	static const char *const boxes[] = {"│  ", "   ", "├─ ", "└─ "};
	const char *const *parts = s->unicode ? boxes : ascii;
	writer_str(s->w, "  ");
	for (size_t d = 0; d < depth; d++) {
		const struct record *parent = dac_record(s->dac, stack[d].record);
		bool last = stack[d].next >= parent->parent_count, own = d + 1 == depth;
		writer_str(s->w, parts[(own ? 2 : 0) + (last ? 1 : 0)]);
	}
}

/* Draws one record; true when its parents are still to be drawn. */
static bool put_node(struct tree *s, const struct frame *stack, size_t depth, size_t at)
{
	bool again = s->drawn[at];
	put_prefix(s, stack, depth);
	put_record(s, at);
	bool too_deep = !again && depth >= MOST_DEPTH && dac_record(s->dac, at)->parent_count > 0;
	put(s, again ? " (drawn above)\n" : too_deep ? " (goes on below)\n" : "\n");
	s->drawn[at] = 1;
	if (too_deep)
		s->later[s->later_count++] = at; /* each record once: it is drawn now */
	return !again && !too_deep;
}

/* Depth first with a stack of its own: a chain may be longer than the program's stack. */
static result put_one(struct tree *s, size_t root)
{
	struct frame *stack = calloc(MOST_DEPTH + 2, sizeof(*stack));
	size_t depth = 0;
	if (!stack)
		return fail(NO_MEMORY, "drawing");
	if (put_node(s, stack, 0, root))
		stack[depth++] = (struct frame){root, 0};
	while (depth && s->w->failed == OK) {
		struct frame *top = &stack[depth - 1];
		const struct record *record = dac_record(s->dac, top->record);
		if (top->next >= record->parent_count) {
			depth--;
			continue;
		}
		const struct record_parent *parent = &record->parents[top->next++];
		size_t at = dac_find(s->dac, parent->oid);
		if (at == SIZE_MAX) {
			put_prefix(s, stack, depth);
			put(s, "(a record of %s that is not here)\n", tree_last_part(parent->enclave));
			continue;
		}
		
		if (put_node(s, stack, depth, at))
			stack[depth++] = (struct frame){at, 0};
	}
	free(stack);
	return OK;
}

result tree_put(struct tree *s, size_t root, struct writer *w)
{
	s->w = w;
	TRY(put_one(s, root));
	while (s->later_count && s->w->failed == OK) {
		size_t at = s->later[--s->later_count];
		put(s, "\n  from [%s] on\n", tree_short_hex(dac_oid(s->dac, at)));
		s->drawn[at] = 0;
		TRY(put_one(s, at));
	}
	return OK;
}
