/* SPDX-License-Identifier: MIT */
/*
 * Top screen - the view as a terminal shows it
 *
 * The lines of a screen are divided anew each time: workers, listeners and events get what they need up to a share,
 * connections the rest. Columns that do not fit on the right are cut there. Colours say nothing that the words do
 * not, and are left out where NO_COLOR is set (no-color.org).
 */
#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/top.h"

#define HEAD_LINES 3

enum { PLAIN, GOOD, BUSY, BAD };

/* A place to write at, and how many lines there are. */
typedef struct pen {
	int y, last; /* the line, and the first that is not ours any more */
	int x;
	int attributes;
	bool colours;
} pen;

/**
 * vn_top_screen_open() - take the terminal
 *
 * Return: 0, or the exit code of the program, after a sentence on standard error.
 */
int
vn_top_screen_open(vn_top_screen *s)
{
	const char *no_color = getenv("NO_COLOR");

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fprintf(stderr, "vanilla: top needs a terminal; for a script there is vanilla ctl "
				"--json show workers\n");
		return VN_EXIT_USAGE;
	}
	s->terminal = newterm(NULL, stdout, stdin);
	if (!s->terminal) {
		const char *terminal = getenv("TERM");

		fprintf(stderr,
			"vanilla: top does not know this terminal, TERM is '%.60s'; set it to what "
			"it is, or to vt100\n",
			terminal ? terminal : "");
		return VN_EXIT_USAGE;
	}
	s->colours = has_colors() && !(no_color && *no_color);
	if (s->colours) {
		start_color();
		use_default_colors();
		init_pair(GOOD, COLOR_GREEN, -1);
		init_pair(BUSY, COLOR_YELLOW, -1);
		init_pair(BAD, COLOR_RED, -1);
	}
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(25);
	return 0;
}

/**
 * vn_top_screen_close() - give the terminal back as it was
 */
void
vn_top_screen_close(vn_top_screen *s)
{
	endwin();
	delscreen(s->terminal);
	s->terminal = NULL;
}

/**
 * vn_top_screen_key() - the next key that was pressed
 *
 * Return: as curses has it: a character, KEY_UP, ...; -1 when there is none.
 */
int
vn_top_screen_key(void)
{
	return getch();
}

static int
colour(const pen *p, int which)
{
	return p->colours && which != PLAIN ? (int)COLOR_PAIR(which) : 0;
}

/* A field of that width and a blank; a negative width is for text that begins on the left. */
static void
field(pen *p, int width, const char *content)
{
	int n = abs(width), len = (int)strlen(content), room = COLS - p->x, blanks;

	if (p->y >= p->last || room <= 0)
		return;
	n = n < room ? n : room;
	len = len < n ? len : n;
	blanks = width < 0 ? 0 : n - len;
	attrset(p->attributes);
	mvhline(p->y, p->x, ' ', n);
	mvaddnstr(p->y, p->x + blanks, content, len);
	p->x += n + 1;
}

static void
next_line(pen *p)
{
	p->y++;
	p->x = 0;
	p->attributes = A_NORMAL;
}

/* Large numbers as people say them: 1.2k, 34M. */
static void
amount(pen *p, int width, double n)
{
	static const char units[] = " kMGTP";
	char out[32];
	size_t unit = 0;

	if (n < 0)
		return field(p, width, "-");
	while (n >= 999.5 && units[unit + 1]) {
		n /= 1000;
		unit++;
	}
	if (unit == 0)
		snprintf(out, sizeof out, n == (double)(int)n || n >= 99.5 ? "%.0f" : "%.1f", n);
	else
		snprintf(out, sizeof out, n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[unit]);
	field(p, width, out);
}

/* From microseconds to days. */
static void
duration(pen *p, int width, double seconds)
{
	char out[32];
	long s = (long)seconds;

	if (seconds < 0)
		return field(p, width, "-");
	if (seconds == 0)
		strcpy(out, "0s");
	else if (seconds < 0.001)
		snprintf(out, sizeof out, "%.0fus", seconds * 1e6);
	else if (seconds < 1)
		snprintf(out, sizeof out, seconds < 0.01 ? "%.1fms" : "%.0fms", seconds * 1e3);
	else if (s < 60)
		snprintf(out, sizeof out, "%lds", s);
	else if (s < 3600)
		snprintf(out, sizeof out, "%ldm%02ld", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, sizeof out, "%ldh%02ld", s / 3600, s / 60 % 60);
	else
		snprintf(out, sizeof out, "%ldd%02ldh", s / 86400, s / 3600 % 24);
	field(p, width, out);
}

static void
percent(pen *p, int width, double part)
{
	char out[32];

	if (part < 0)
		return field(p, width, "-");
	snprintf(out, sizeof out, "%.0f%%", part * 100);
	field(p, width, out);
}

static void
label(pen *p, const char *name)
{
	p->attributes = A_DIM;
	field(p, -(int)strlen(name), name);
	p->attributes = A_BOLD;
}

static void
draw_head(const vn_top_model *m, const vn_top_look *look, pen *p)
{
	char title[256], clock[16] = "";
	time_t now = time(NULL);
	struct tm local;
	uint32_t ready = 0;

	for (uint32_t i = 0; i < m->n_workers; i++)
		ready += strcmp(m->workers[i].state, "ready") == 0;
	if (localtime_r(&now, &local))
		strftime(clock, sizeof clock, "%H:%M:%S", &local);
	p->attributes = A_REVERSE;
	snprintf(title, sizeof title, " vanilla %s  %s  %s", m->version, m->name, m->phase);
	field(p, -(COLS - 9), title);
	field(p, 8, clock);
	next_line(p);
	if (look->silent >= 2) {
		p->attributes = A_BOLD | colour(p, BAD);
		field(p, -34, "THE BROKER DOES NOT ANSWER, since");
		duration(p, -8, look->silent);
	} else {
		label(p, "up");
		duration(p, -6, m->uptime);
		label(p, "workers");
		snprintf(title, sizeof title, "%u/%u ready", ready, m->n_workers);
		field(p, -13, title);
		label(p, "conns");
		amount(p, -5, m->conns);
		label(p, "accepted");
		amount(p, -5, m->accepted);
		label(p, "deaths");
		amount(p, -4, m->deaths);
		label(p, "resets");
		amount(p, -4, m->resets);
	}
	next_line(p);
	label(p, "requests/s");
	amount(p, -6, m->rate);
	label(p, "in B/s");
	amount(p, -6, m->rate_in);
	label(p, "out B/s");
	amount(p, -6, m->rate_out);
	label(p, "p50");
	duration(p, -6, m->p50);
	label(p, "p99");
	duration(p, -6, m->p99);
	next_line(p);
}

typedef struct heading {
	const char *name;
	int width;
	int order; /* of workers; -1: none */
} heading;

static const heading worker_headings[] = {{"WORKER", -7, VN_TOP_BY_ID}, {"STATE", -8, -1},
	{"UP", 6, -1}, {"BUSY", 4, VN_TOP_BY_BUSY}, {"REQ/S", 6, VN_TOP_BY_RATE}, {"P50", 6, -1},
	{"P99", 6, VN_TOP_BY_P99}, {"CPU", 4, VN_TOP_BY_CPU}, {"MEM", 5, VN_TOP_BY_MEMORY},
	{"RST", 3, VN_TOP_BY_RESTARTS}, {"LAST DEATH", -60, -1}};

static void
draw_headings(pen *p, const heading *headings, size_t n, int order)
{
	for (size_t i = 0; i < n; i++) {
		p->attributes = A_UNDERLINE | (headings[i].order == order ? A_BOLD : 0);
		field(p, headings[i].width, headings[i].name);
	}
	next_line(p);
}

static int
state_colour(const pen *p, const char *state)
{
	if (strcmp(state, "ready") == 0 || strcmp(state, "open") == 0)
		return colour(p, GOOD);
	return colour(p, strcmp(state, "gone") == 0 ? BAD : BUSY);
}

static void
draw_worker(pen *p, const vn_top_worker *w, bool selected)
{
	int attributes = selected ? A_REVERSE : A_NORMAL;

	p->attributes = attributes;
	field(p, -7, w->id);
	p->attributes = attributes | state_colour(p, w->state);
	field(p, -8, w->state);
	p->attributes = attributes;
	duration(p, 6, w->uptime);
	amount(p, 4, w->busy);
	amount(p, 6, w->rate);
	duration(p, 6, w->p50);
	duration(p, 6, w->p99);
	percent(p, 4, w->cpu);
	amount(p, 5, w->memory);
	amount(p, 3, w->restarts);
	field(p, -60, w->last_death);
	next_line(p);
}

static void
draw_workers(const vn_top_model *m, const vn_top_look *look, pen *p)
{
	uint32_t chosen = 0, room, first;

	draw_headings(p, worker_headings, sizeof worker_headings / sizeof *worker_headings,
		(int)look->order);
	for (uint32_t i = 0; i < m->n_workers; i++)
		if (strcmp(m->workers[i].id, look->selected) == 0)
			chosen = i;
	room = p->last > p->y ? (uint32_t)(p->last - p->y) : 0;
	first = chosen >= room ? chosen - room + 1 : 0;
	for (uint32_t i = first; i < m->n_workers && i < first + room; i++)
		draw_worker(p, &m->workers[i], strcmp(m->workers[i].id, look->selected) == 0);
}

static void
draw_listeners(const vn_top_model *m, pen *p)
{
	static const heading headings[] = {{"LISTENER", -30, 0}, {"STATE", -8, -1},
		{"CONNS", 6, -1}, {"ACC/S", 6, -1}, {"ACCEPTED", 8, -1}, {"REFUSED", 7, -1},
		{"WORKERS", 7, -1}};

	draw_headings(p, headings, sizeof headings / sizeof *headings, -2);
	for (uint32_t i = 0; i < m->n_listeners && p->y < p->last; i++) {
		const vn_top_listener *l = &m->listeners[i];

		field(p, -30, l->url);
		p->attributes = state_colour(p, l->state);
		field(p, -8, l->state);
		p->attributes = A_NORMAL;
		amount(p, 6, l->conns);
		amount(p, 6, l->rate);
		amount(p, 8, l->accepted);
		amount(p, 7, l->refused);
		amount(p, 7, l->workers);
		next_line(p);
	}
}

static void
draw_conns(const vn_top_model *m, const vn_top_look *look, pen *p)
{
	const heading headings[] = {{"CONN", -8, -1}, {"PEER", -21, -1}, {"WORKER", -7, -1},
		{"STATE", -9, -1}, {"AGE", 6, -1}, {"UNACKED", 7, -1}, {"UNSENT", 6, -1},
		{"B/S", 6, 0}, {"WAITS", 6, 1}};

	draw_headings(p, headings, sizeof headings / sizeof *headings, look->slowest);
	for (uint32_t i = 0; i < m->n_conns && p->y < p->last; i++) {
		const vn_top_conn *c = &m->conns_of[i];
		char id[24];

		snprintf(id, sizeof id, "%llu", (unsigned long long)c->id);
		field(p, -8, id);
		field(p, -21, c->peer);
		field(p, -7, c->worker);
		field(p, -9, c->state);
		duration(p, 6, c->age);
		amount(p, 7, c->unacked);
		amount(p, 6, c->unsent);
		amount(p, 6, c->rate);
		duration(p, 6, c->slow);
		next_line(p);
	}
}

static void
draw_events(const vn_top_model *m, pen *p)
{
	uint32_t room = p->last > p->y + 1 ? (uint32_t)(p->last - p->y - 1) : 0;
	uint32_t first = m->n_events > room ? m->n_events - room : 0;

	p->attributes = A_UNDERLINE;
	field(p, -COLS, "EVENTS");
	next_line(p);
	for (uint32_t i = first; i < m->n_events; i++) {
		field(p, -COLS, m->events[i]);
		next_line(p);
	}
}

static void
draw_help(pen *p)
{
	static const char *const lines[] = {"", "  up, down   choose a worker",
		"  s, S       sort the workers by the next column, by the one before",
		"  c          connections: the busiest, or those that wait longest",
		"  d          drain the worker: it finishes, and there is one worker less",
		"  r          restart it: a new process takes over, then it goes",
		"  k          kill it: it is replaced at once",
		"             (each of these asks first)", "  h, ?       this text, and back",
		"  q          leave", "",
		"  P50, P99   of what requests took in the handler, in the last minute",
		"  BUSY       connections with a request that is not answered",
		"  WAITS      how long the oldest input of a connection has been unanswered"};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		field(p, -COLS, lines[i]);
		next_line(p);
	}
}

/* As many lines as there are things and a heading, but not more than a share. */
static int
share(uint32_t n, int lines)
{
	return (int)n + 1 < lines ? (int)n + 1 : lines;
}

static void
draw_body(const vn_top_model *m, const vn_top_look *look, pen *p)
{
	int end = p->last, room = end - p->y;
	int workers = share(m->n_workers, room * 2 / 5),
	    listeners = share(m->n_listeners, room / 5);
	int events = share(VN_TOP_EVENTS, room / 5);

	p->last = p->y + workers;
	draw_workers(m, look, p);
	p->last = p->y + listeners;
	draw_listeners(m, p);
	p->last = end - events;
	draw_conns(m, look, p);
	p->y = end - events;
	p->last = end;
	draw_events(m, p);
}

/**
 * vn_top_screen_draw() - show it
 */
void
vn_top_screen_draw(const vn_top_screen *s, const vn_top_model *m, const vn_top_look *look)
{
	pen p = {.last = HEAD_LINES, .colours = s->colours};

	erase();
	draw_head(m, look, &p);
	p.last = LINES - 1;
	p.attributes = A_NORMAL;
	if (look->help)
		draw_help(&p);
	else
		draw_body(m, look, &p);
	p = (pen){.y = LINES - 1, .last = LINES, .attributes = A_REVERSE};
	field(&p, -(COLS - 1),
		*look->line
			? look->line
			: " q leave  h help  s sort  c connections  d drain  r restart  k kill");
	attrset(A_NORMAL);
	refresh();
}
