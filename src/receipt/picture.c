#include "receipt/picture.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "receipt/tree.h"
#include "wire/json.h"
#include "wire/text.h"

/*
 * Theory of operation. Records are put into groups: each its own while they are few, else those of one enclave, kind and
 * operation, else of one enclave and kind, else of one enclave, so that the number of boxes stays small whatever comes in.
 * Groups get a lane by enclave and a row by the length of the longest path that leads to their first record.
 */

enum {
	DRAWN_ONE_BY_ONE = 60,
	MOST_BOXES = 150,
	MOST_LANES = 40, /* the last one holds what has no lane of its own */
	MOST_LISTED = 400, /* as text, one by one */
	CHUNK = 250, /* records behind one fold */
	NAME_SHOWN = 28,
	BOX_WIDTH = 210, BOX_HEIGHT = 46, LANE_WIDTH = 240, ROW_HEIGHT = 84, TOP = 56, LEFT = 20,
	OUTPUT_MAX = 1 << 30,
};

struct box {
	uint32_t lane, row;
	uint8_t kind; /* 0: several */
	const char *operation; /* NULL: several */
	size_t first, count, refused;
	bool has_root;
};

struct arrow {
	uint32_t from, to;
	size_t count;
	bool foreign;
};

struct graph {
	const struct picture *picture;
	size_t *order; /* records, parents first */
	size_t count;
	uint32_t *rank; /* by record */
	uint32_t *lane_of, *box_of; /* by record */
	const char *lanes[MOST_LANES]; /* URI of the enclave; NULL: others */
	size_t lane_records[MOST_LANES], lane_refused[MOST_LANES];
	size_t lane_count;
	struct box *boxes;
	size_t box_count;
	struct arrow *arrows;
	uint32_t *arrow_at; /* by two boxes: arrow + 1 */
	size_t arrow_count;
	uint32_t rows;
};

static void graph_free(struct graph *graph)
{
	free(graph->order);
	free(graph->rank);
	free(graph->lane_of);
	free(graph->box_of);
	free(graph->boxes);
	free(graph->arrows);
	free(graph->arrow_at);
}

static bool is_refused(const struct picture *picture, size_t at)
{
	return picture->verdicts && picture->verdicts[at].reason != OK;
}

static bool is_root(const struct picture *picture, size_t at)
{
	for (size_t i = 0; i < picture->root_count; i++)
		if (memcmp(picture->roots[i].bytes, dac_oid(picture->dac, at), OID_SIZE) == 0)
			return true;
	return false;
}

/* ---- Order -------------------------------------------------------------------------------------- */

/* Parents before children as far as they are here; what lies on a cycle comes last, in no order. */
static result put_in_order(struct graph *g)
{
	const struct dac *dac = g->picture->dac;
	uint32_t *pending = calloc(g->count + 1, sizeof(*pending)), *heads = calloc(g->count + 1, sizeof(*heads));
	struct edge {
		uint32_t child, next;
	} *edges = NULL;
	size_t edge_count = 0, total = 0, done = 0, queued = 0;
	for (size_t i = 0; i < g->count; i++)
		total += dac_record(dac, i)->parent_count;
	edges = calloc(total + 1, sizeof(*edges));
	if (!pending || !heads || !edges) {
		free(pending);
		free(heads);
		free(edges);
		return fail(NO_MEMORY, "picture");
	}
	for (size_t i = 0; i < g->count; i++) {
		const struct record *record = dac_record(dac, i);
		for (size_t p = 0; p < record->parent_count; p++) {
			size_t parent = dac_find(dac, record->parents[p].oid);
			if (parent == SIZE_MAX)
				continue;
			edges[edge_count] = (struct edge){(uint32_t)i, heads[parent]};
			heads[parent] = (uint32_t)++edge_count;
			pending[i]++;
		}
		if (pending[i] == 0)
			g->order[queued++] = i;
	}
	while (done < queued) {
		size_t at = g->order[done++];
		for (uint32_t e = heads[at]; e; e = edges[e - 1].next) {
			uint32_t child = edges[e - 1].child;
			if (g->rank[child] < g->rank[at] + 1)
				g->rank[child] = g->rank[at] + 1;
			if (--pending[child] == 0)
				g->order[queued++] = child;
		}
	}
	for (size_t i = 0; i < g->count; i++)
		if (pending[i])
			g->order[queued++] = i;
	free(pending);
	free(heads);
	free(edges);
	return OK;
}

/* ---- Lanes and boxes ------------------------------------------------------------------------------ */

static uint32_t find_lane(struct graph *g, const char *enclave)
{
	for (uint32_t i = 0; i < g->lane_count; i++)
		if (g->lanes[i] && strcmp(g->lanes[i], enclave) == 0)
			return i;
	if (g->lane_count < MOST_LANES - 1) {
		g->lanes[g->lane_count] = enclave;
		return (uint32_t)g->lane_count++;
	}
	g->lanes[MOST_LANES - 1] = NULL;
	g->lane_count = MOST_LANES;
	return MOST_LANES - 1;
}

static void give_lanes(struct graph *g)
{
	for (size_t i = 0; i < g->count; i++) {
		size_t at = g->order[i];
		uint32_t lane = find_lane(g, dac_record(g->picture->dac, at)->enclave);
		g->lane_of[at] = lane;
		g->lane_records[lane]++;
		g->lane_refused[lane] += is_refused(g->picture, at);
	}
}

enum grain { EACH, BY_OPERATION, BY_KIND, BY_ENCLAVE };

static bool belongs(const struct box *box, const struct record *record, uint32_t lane, enum grain grain)
{
	if (box->lane != lane || grain == EACH)
		return false;
	if (grain < BY_ENCLAVE && box->kind != record->kind)
		return false;
	return grain > BY_OPERATION || strcmp(box->operation, record->operation) == 0;
}

/* False when there are too many of this grain. */
static bool fill_boxes(struct graph *g, enum grain grain)
{
	g->box_count = 0;
	for (size_t i = 0; i < g->count; i++) {
		size_t at = g->order[i], box = 0;
		const struct record *record = dac_record(g->picture->dac, at);
		while (box < g->box_count && !belongs(&g->boxes[box], record, g->lane_of[at], grain))
			box++;
		if (box == MOST_BOXES)
			return false;
		if (box == g->box_count)
			g->boxes[g->box_count++] = (struct box){
				.lane = g->lane_of[at],
				.kind = grain < BY_ENCLAVE ? record->kind : 0,
				.operation = grain < BY_KIND ? record->operation : NULL,
				.first = at,
			};
		g->box_of[at] = (uint32_t)box;
		g->boxes[box].count++;
		g->boxes[box].refused += is_refused(g->picture, at);
		g->boxes[box].has_root |= is_root(g->picture, at);
	}
	return true;
}

/* Boxes come in the order of their first records: each stands below those that came before it in its lane and that it builds on. */
static void give_rows(struct graph *g)
{
	uint32_t below[MOST_LANES] = {0};
	for (size_t b = 0; b < g->box_count; b++) {
		struct box *box = &g->boxes[b];
		uint32_t row = below[box->lane];
		for (size_t a = 0; a < g->arrow_count; a++)
			if (g->arrows[a].to == b && g->arrows[a].from < b && g->boxes[g->arrows[a].from].row + 1 > row)
				row = g->boxes[g->arrows[a].from].row + 1;
		box->row = row;
		below[box->lane] = row + 1;
		if (row + 1 > g->rows)
			g->rows = row + 1;
	}
}

static void add_arrow(struct graph *g, uint32_t from, uint32_t to)
{
	if (from == to)
		return;
	uint32_t *known = &g->arrow_at[(size_t)from * MOST_BOXES + to];
	if (*known) {
		g->arrows[*known - 1].count++;
		return;
	}
	g->arrows[g->arrow_count++] = (struct arrow){from, to, 1, g->boxes[from].lane != g->boxes[to].lane};
	*known = (uint32_t)g->arrow_count;
}

/* At most MOST_BOXES squared. */
static result draw_arrows(struct graph *g)
{
	const struct dac *dac = g->picture->dac;
	g->arrows = calloc((size_t)MOST_BOXES * MOST_BOXES, sizeof(*g->arrows));
	g->arrow_at = calloc((size_t)MOST_BOXES * MOST_BOXES, sizeof(*g->arrow_at));
	if (!g->arrows || !g->arrow_at)
		return fail(NO_MEMORY, "picture");
	for (size_t i = 0; i < g->count; i++) {
		const struct record *record = dac_record(dac, i);
		for (size_t p = 0; p < record->parent_count; p++) {
			size_t parent = dac_find(dac, record->parents[p].oid);
			if (parent != SIZE_MAX)
				add_arrow(g, g->box_of[parent], g->box_of[i]);
		}
	}
	return OK;
}

static result make_graph(const struct picture *picture, struct graph *g)
{
	size_t count = dac_count(picture->dac);
	*g = (struct graph){.picture = picture, .count = count};
	g->order = calloc(count + 1, sizeof(*g->order));
	g->rank = calloc(count + 1, sizeof(*g->rank));
	g->lane_of = calloc(count + 1, sizeof(*g->lane_of));
	g->box_of = calloc(count + 1, sizeof(*g->box_of));
	g->boxes = calloc(MOST_BOXES + 1, sizeof(*g->boxes));
	if (!g->order || !g->rank || !g->lane_of || !g->box_of || !g->boxes)
		return fail(NO_MEMORY, "picture");
	TRY(put_in_order(g));
	give_lanes(g);
	enum grain grain = count <= DRAWN_ONE_BY_ONE ? EACH : BY_OPERATION;
	while (!fill_boxes(g, grain))
		grain++;
	TRY(draw_arrows(g));
	give_rows(g);
	return OK;
}

/* ---- Texts ----------------------------------------------------------------------------------------- */

static void put(struct writer *w, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(struct writer *w, const char *format, ...)
{
	char line[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	writer_str(w, line);
}

/* Foreign text: no controls, no marks that reorder, nothing that markup could take for its own; cut after `most` bytes. */
static void put_text(struct writer *w, const char *text, size_t most)
{
	char plain[512];
	snprintf(plain, sizeof(plain), "%s", text);
	bool cut = strlen(plain) > most && most < sizeof(plain);
	if (cut)
		plain[utf8_valid_prefix(span_of(plain, most))] = '\0';
	text_make_plain(plain);
	for (const char *c = plain; *c; c++)
		switch (*c) {
		case '&': writer_str(w, "&amp;"); break;
		case '<': writer_str(w, "&lt;"); break;
		case '>': writer_str(w, "&gt;"); break;
		case '"': writer_str(w, "&quot;"); break;
		case '\'': writer_str(w, "&#39;"); break;
		case '\n':
		case '\r':
		case '\t': writer_str(w, "?"); break;
		default: writer_put(w, c, 1);
		}
	if (cut)
		writer_str(w, "\xe2\x80\xa6");
}

static const char *name_of(const char *uri)
{
	const char *slash = strrchr(uri, '/');
	return slash ? slash + 1 : uri;
}

static const char *lane_name(const struct graph *g, uint32_t lane)
{
	return g->lanes[lane] ? name_of(g->lanes[lane]) : "other enclaves";
}

static const char *box_title(const struct box *box)
{
	return box->kind ? record_kind_name((enum record_kind)box->kind) : "records";
}

/* What a record is about, in a few words. */
static void put_subject(struct writer *w, const struct record *record)
{
	if (record->has_target) {
		writer_str(w, "\xe2\x86\x92 ");
		put_text(w, name_of(record->target), NAME_SHOWN);
	} else if (record->out_count) {
		put_text(w, record->out[0].name, NAME_SHOWN);
		if (record->out_count > 1)
			put(w, " +%zu", record->out_count - 1);
	}
}

/* ---- SVG -------------------------------------------------------------------------------------------- */

static const char style[] =
	"text{font:12px sans-serif;fill:#1a2330}.t{font-weight:bold}.s{font-size:11px;fill:#4a5566}"
	".lane{font-size:13px;font-weight:bold}.b{fill:#eef4fb;stroke:#5b7fa6;stroke-width:1.2}.r{fill:#eaf7ec;stroke:#3d8b4f;stroke-width:2}"
	".x{fill:#fdeaea;stroke:#c0392b;stroke-width:2}.e{fill:none;stroke:#8796a8;stroke-width:1.2}"
	".f{fill:none;stroke:#c77d1e;stroke-width:1.6}.l{stroke:#e3e8ee}";

static unsigned box_x(const struct box *box)
{
	return LEFT + box->lane * LANE_WIDTH;
}

static unsigned box_y(const struct box *box)
{
	return TOP + box->row * ROW_HEIGHT;
}

static void put_arrow(struct writer *w, const struct graph *g, const struct arrow *arrow)
{
	const struct box *from = &g->boxes[arrow->from], *to = &g->boxes[arrow->to];
	unsigned x1 = box_x(from) + BOX_WIDTH / 2, x2 = box_x(to) + BOX_WIDTH / 2;
	unsigned y1 = box_y(from) + BOX_HEIGHT, y2 = box_y(to);
	if (to->row <= from->row) { /* groups may call each other in turns */
		y1 = box_y(from);
		y2 = box_y(to) + BOX_HEIGHT;
	}
	put(w, "<path class=\"%s\" marker-end=\"url(#a)\" d=\"M%u %uC%u %u %u %u %u %u\"/>", arrow->foreign ? "f" : "e", x1, y1, x1,
		(y1 + y2) / 2, x2, (y1 + y2) / 2, x2, y2);
	if (arrow->count > 1)
		put(w, "<text class=\"s\" x=\"%u\" y=\"%u\">%zu</text>", (x1 + x2) / 2 + 4, (y1 + y2) / 2, arrow->count);
	writer_str(w, "\n");
}

static void put_box(struct writer *w, const struct graph *g, const struct box *box)
{
	const struct record *record = dac_record(g->picture->dac, box->first);
	const char *class = box->refused ? "x" : box->has_root ? "r" : "b";
	put(w, "<g><rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" rx=\"6\"/>", class, box_x(box), box_y(box), BOX_WIDTH,
		BOX_HEIGHT);
	put(w, "<text class=\"t\" x=\"%u\" y=\"%u\">%s", box_x(box) + 10, box_y(box) + 19, box_title(box));
	if (box->count > 1)
		put(w, " \xc3\x97 %zu", box->count);
	writer_str(w, " ");
	if (box->operation)
		put_text(w, box->operation, NAME_SHOWN - 8);
	put(w, "</text><text class=\"s\" x=\"%u\" y=\"%u\">", box_x(box) + 10, box_y(box) + 36);
	if (box->refused) {
		if (box->count > 1)
			put(w, "%zu refused", box->refused);
		else
			put(w, "%s", reason_name(g->picture->verdicts[box->first].reason));
	} else if (box->count == 1) {
		put_subject(w, record);
	} else {
		put(w, "%s", box->has_root ? "with the result" : "");
	}
	put(w, "</text><title>");
	put_text(w, record->enclave, 400);
	if (box->count == 1)
		put(w, " #%" PRIu64 " %s", record->seq, tree_short_hex(dac_oid(g->picture->dac, box->first)));
	writer_str(w, "</title></g>\n");
}

static void put_svg(struct writer *w, const struct graph *g)
{
	unsigned width = LEFT + (unsigned)g->lane_count * LANE_WIDTH, height = TOP + g->rows * ROW_HEIGHT;
	put(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" height=\"%u\" role=\"img\">\n", width, height,
		width, height);
	writer_str(w, "<title>Attestation chain</title><style>");
	writer_str(w, style);
	writer_str(w, "</style><defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" "
		      "orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#8796a8\"/></marker></defs>\n");
	for (uint32_t lane = 0; lane < g->lane_count; lane++) {
		put(w, "<line class=\"l\" x1=\"%u\" y1=\"36\" x2=\"%u\" y2=\"%u\"/><text class=\"lane\" x=\"%u\" y=\"26\">",
			LEFT + lane * LANE_WIDTH + BOX_WIDTH / 2, LEFT + lane * LANE_WIDTH + BOX_WIDTH / 2, height, LEFT + lane * LANE_WIDTH);
		put_text(w, lane_name(g, lane), NAME_SHOWN);
		writer_str(w, "</text>\n");
	}
	for (size_t i = 0; i < g->arrow_count; i++)
		put_arrow(w, g, &g->arrows[i]);
	for (size_t i = 0; i < g->box_count; i++)
		put_box(w, g, &g->boxes[i]);
	writer_str(w, "</svg>\n");
}

typedef result (*painter)(struct writer *w, const struct graph *g);

static result paint(const struct picture *picture, painter draw, struct bytes *out)
{
	CLEANUP(graph_free) struct graph graph = {0};
	CLEANUP(writer_free) struct writer w = writer_growing(OUTPUT_MAX);
	TRY(make_graph(picture, &graph));
	TRY(draw(&w, &graph));
	return writer_take(&w, out);
}

static result paint_svg(struct writer *w, const struct graph *g)
{
	writer_str(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
	put_svg(w, g);
	return OK;
}

result picture_svg(const struct picture *picture, struct bytes *out)
{
	return paint(picture, paint_svg, out);
}

/* ---- HTML -------------------------------------------------------------------------------------------- */

static void put_names(struct writer *w, const struct record_data *list, size_t count)
{
	enum { SHOWN = 8 };
	for (size_t i = 0; i < count && i < SHOWN; i++) {
		writer_str(w, i ? ", " : "");
		put_text(w, list[i].name, 64);
		put(w, " <code>%s</code>", tree_short_hex(list[i].commit));
	}
	if (count > SHOWN)
		put(w, ", and %zu more", count - SHOWN);
}

static void put_row(struct writer *w, const struct picture *picture, size_t at)
{
	enum { PARENTS_SHOWN = 12 };
	const struct record *record = dac_record(picture->dac, at);
	const uint8_t *oid = dac_oid(picture->dac, at);
	char time[CLOCK_TEXT_SIZE];
	clock_format(record->time, time);
	put(w, "<tr id=\"r%s\"%s><td><code>%s</code>%s</td><td>%" PRIu64 "</td><td>%s</td><td>", tree_short_hex(oid),
		is_refused(picture, at) ? " class=\"x\"" : "", tree_short_hex(oid), is_root(picture, at) ? " result" : "", record->seq,
		record_kind_name((enum record_kind)record->kind));
	put_text(w, record->operation, 64);
	writer_str(w, "</td><td>");
	if (record->has_target)
		put_text(w, name_of(record->target), 64);
	writer_str(w, "</td><td>");
	put_names(w, record->in, record->in_count);
	writer_str(w, "</td><td>");
	put_names(w, record->out, record->out_count);
	writer_str(w, "</td><td>");
	for (size_t p = 0; p < record->parent_count && p < PARENTS_SHOWN; p++)
		put(w, "%s<a href=\"#r%s\">%s</a>", p ? " " : "", tree_short_hex(record->parents[p].oid),
			tree_short_hex(record->parents[p].oid));
	if (record->parent_count > PARENTS_SHOWN)
		put(w, " and %zu more", record->parent_count - PARENTS_SHOWN);
	put(w, "</td><td>%s</td><td>", time);
	if (is_refused(picture, at)) {
		put(w, "<b>%s</b> ", reason_name(picture->verdicts[at].reason));
		put_text(w, picture->verdicts[at].text, 300);
	} else if (picture->verdicts) {
		put(w, "ok, level %u", picture->verdicts[at].level);
	}
	writer_str(w, "</td></tr>\n");
}

static const char table_head[] = "<table><tr><th>record</th><th>seq</th><th>kind</th><th>operation</th><th>to</th><th>in</th><th>out</th>"
				 "<th>parents</th><th>time</th><th>verdict</th></tr>\n";

static void put_lane(struct writer *w, const struct graph *g, uint32_t lane)
{
	size_t seen = 0, total = g->lane_records[lane];
	put(w, "<details%s><summary><b>", g->count <= DRAWN_ONE_BY_ONE ? " open" : "");
	put_text(w, lane_name(g, lane), 128);
	put(w, "</b> %zu records", total);
	if (g->lane_refused[lane])
		put(w, ", <span class=\"x\">%zu refused</span>", g->lane_refused[lane]);
	writer_str(w, "</summary>\n");
	for (size_t i = 0; i < g->count; i++) {
		if (g->lane_of[g->order[i]] != lane)
			continue;
		if (seen % CHUNK == 0) {
			if (seen)
				put(w, "</table>%s", total > CHUNK ? "</details>" : "");
			if (total > CHUNK)
				put(w, "<details><summary>%zu to %zu</summary>", seen + 1, seen + CHUNK < total ? seen + CHUNK : total);
			writer_str(w, table_head);
		}
		put_row(w, g->picture, g->order[i]);
		seen++;
	}
	if (seen)
		put(w, "</table>%s", total > CHUNK ? "</details>" : "");
	writer_str(w, "</details>\n");
}

static void put_refused(struct writer *w, const struct graph *g)
{
	enum { SHOWN = 100 };
	size_t count = 0;
	for (size_t i = 0; i < g->count; i++)
		count += is_refused(g->picture, i);
	if (!count)
		return;
	put(w, "<h2>Refused: %zu</h2>\n", count);
	writer_str(w, table_head);
	count = 0;
	for (size_t i = 0; i < g->count && count < SHOWN; i++)
		if (is_refused(g->picture, g->order[i])) {
			put_row(w, g->picture, g->order[i]);
			count++;
		}
	writer_str(w, "</table>\n");
}

static result paint_html(struct writer *w, const struct graph *g)
{
	const struct picture *picture = g->picture;
	writer_str(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
		      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
		      "<title>Attestation chain</title>\n<style>body{font:14px sans-serif;color:#1a2330;margin:24px}"
		      "table{border-collapse:collapse;margin:8px 0}td,th{border:1px solid #d5dce4;padding:3px 8px;text-align:left;"
		      "vertical-align:top}tr.x td{background:#fdeaea}span.x{color:#c0392b}summary{cursor:pointer;padding:3px 0}"
		      "details details{margin-left:18px}.p{overflow:auto;border:1px solid #d5dce4}</style></head><body>\n"
		      "<h1>Attestation chain</h1>\n");
	put(w, "<p>%zu records of %zu%s enclaves, %zu result%s. ", g->count, g->lane_count, g->lane_count == MOST_LANES ? " or more" : "",
		picture->root_count, picture->root_count == 1 ? "" : "s");
	if (picture->verdicts)
		put(w, "Verdict: <b>%s</b>.", picture->verdict);
	else
		writer_str(w, "<b>Nothing here was verified.</b>");
	writer_str(w, "</p>\n<p>An arrow leads from what a record depends on to the record; from one enclave to another it is orange. Results are "
		      "green, refused records red. A record proves what a measured enclave said about data its runtime moved, not that a "
		      "function was computed right.</p>\n<div class=\"p\">\n");
	put_svg(w, g);
	writer_str(w, "</div>\n");
	put_refused(w, g);
	writer_str(w, "<h2>Records by enclave</h2>\n");
	for (uint32_t lane = 0; lane < g->lane_count; lane++)
		put_lane(w, g, lane);
	writer_str(w, "</body></html>\n");
	return OK;
}

result picture_html(const struct picture *picture, struct bytes *out)
{
	return paint(picture, paint_html, out);
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static json_t *data_json(const struct record_data *list, size_t count)
{
	json_t *array = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(array,
			json_pack("{s:s,s:o}", "name", tree_plain(list[i].name), "commit", json_hex(SPAN_ARRAY(list[i].commit))));
	return array;
}

static json_t *record_json(const struct picture *picture, size_t at)
{
	const struct record *record = dac_record(picture->dac, at);
	json_t *parents = json_array();
	for (size_t p = 0; p < record->parent_count; p++)
		json_array_append_new(parents, json_hex(SPAN_ARRAY(record->parents[p].oid)));
	json_t *json = json_pack("{s:o,s:s,s:s,s:I,s:o,s:s,s:s?,s:o,s:o,s:o,s:b}", "oid", json_hex(span_of(dac_oid(picture->dac, at), OID_SIZE)),
		"kind", record_kind_name((enum record_kind)record->kind), "enclave", tree_plain(record->enclave), "seq",
		(json_int_t)record->seq, "time", json_time(record->time), "operation", tree_plain(record->operation), "target",
		record->has_target ? tree_plain(record->target) : NULL, "in", data_json(record->in, record->in_count), "out",
		data_json(record->out, record->out_count), "parents", parents, "result", is_root(picture, at));
	if (json && picture->verdicts) {
		const struct chain_verdict *verdict = &picture->verdicts[at];
		json_object_set_new(json, "ok", json_boolean(verdict->reason == OK));
		json_object_set_new(json, "level", json_integer(verdict->level));
		if (verdict->reason != OK) {
			json_object_set_new(json, "reason", json_string(reason_name(verdict->reason)));
			json_object_set_new(json, "text", json_string(tree_plain(verdict->text)));
		}
	}
	return json;
}

result picture_json(const struct picture *picture, json_t **out)
{
	json_t *list = json_array(), *roots = json_array();
	for (size_t i = 0; i < picture->root_count; i++)
		json_array_append_new(roots, json_hex(SPAN_ARRAY(picture->roots[i].bytes)));
	for (size_t i = 0; i < dac_count(picture->dac); i++)
		json_array_append_new(list, record_json(picture, i));
	json_t *json = json_pack("{s:o,s:o}", "results", roots, "records", list);
	if (!json)
		return fail(NO_MEMORY, "json");
	*out = json;
	return OK;
}

/* ---- Text ---------------------------------------------------------------------------------------------- */

static void put_group(struct writer *w, const struct graph *g, size_t at)
{
	const struct box *box = &g->boxes[at];
	put(w, "  %-20s %-9s %-20s %zu%s", tree_plain(lane_name(g, box->lane)), box_title(box),
		box->operation ? tree_plain(box->operation) : "", box->count, box->count == 1 ? " record" : " records");
	if (box->refused)
		put(w, ", %zu REFUSED", box->refused);
	writer_str(w, box->has_root ? "  <- result\n" : "\n");
	for (size_t i = 0; i < g->arrow_count; i++)
		if (g->arrows[i].to == at && g->arrows[i].foreign)
			put(w, "      builds on %zu of %s (%s)\n", g->arrows[i].count,
				tree_plain(lane_name(g, g->boxes[g->arrows[i].from].lane)), box_title(&g->boxes[g->arrows[i].from]));
}

static void put_summary(struct writer *w, const struct graph *g)
{
	enum { SHOWN = 20 };
	size_t shown = 0;
	put(w, "%zu records, in groups (--all draws each)\n", g->count);
	for (size_t i = 0; i < g->box_count; i++)
		put_group(w, g, i);
	for (size_t i = 0; i < g->count && shown < SHOWN; i++) {
		size_t at = g->order[i];
		if (!is_refused(g->picture, at))
			continue;
		const struct record *record = dac_record(g->picture->dac, at);
		if (shown++ == 0)
			writer_str(w, "Refused, those first that others build on\n");
		put(w, "  %s %" PRIu64 " of %s  [%s]  %s: %s\n", record_kind_name((enum record_kind)record->kind), record->seq,
			tree_last_part(record->enclave), tree_short_hex(dac_oid(g->picture->dac, at)),
			reason_name(g->picture->verdicts[at].reason), tree_plain(g->picture->verdicts[at].text));
	}
}

static result put_trees(struct writer *w, const struct picture *picture, bool unicode)
{
	struct tree *tree;
	TRY(tree_new(picture->dac, picture->verdicts, unicode, &tree));
	result drawn = OK;
	for (size_t i = 0; i < picture->root_count && drawn == OK; i++) {
		size_t at = dac_find(picture->dac, picture->roots[i].bytes);
		if (at == SIZE_MAX)
			writer_str(w, "  (a result whose record is not here)\n");
		else
			drawn = tree_put(tree, at, w);
	}
	tree_free(tree);
	return drawn;
}

result picture_text(const struct picture *picture, bool unicode, bool all, struct bytes *out)
{
	CLEANUP(graph_free) struct graph graph = {0};
	CLEANUP(writer_free) struct writer w = writer_growing(OUTPUT_MAX);
	if (!picture->verdicts)
		writer_str(&w, "Nothing here was verified.\n");
	if (all || dac_count(picture->dac) <= MOST_LISTED) {
		TRY(put_trees(&w, picture, unicode));
		return writer_take(&w, out);
	}
	TRY(make_graph(picture, &graph));
	put_summary(&w, &graph);
	return writer_take(&w, out);
}
