/* SPDX-License-Identifier: MIT */
/*
 * hostile - a worker that lies to its broker
 *
 * hostile URL MODE SEED
 *
 * It joins as a worker does, listens on the URL, says that it is ready, and then publishes what no honest worker
 * would. The modes:
 *
 *   plausible  what fits the state of its connections, at random times and with any block, and one lie in a while
 *   random     descriptors of which any field may be anything
 *   cursors    cursors that cannot be
 *   scribble   random words all over its segment, slots and cursors included, after the first descriptors
 *   fill       serves one request; then its whole segment is filled with random data, again and again, as fast as
 *              it goes; every other incarnation leaves the cursors alone and publishes the random slots
 *   deaf       takes nothing any more and answers nothing
 *   flood      output that nobody asked for, to everybody, without end, and a bell for each
 *   bells      serves one request; then it rings its bell without any news, as fast as it goes
 *   stale      serves one request; then publishes without end what is of generations that are over
 *
 * It ends when it is killed, or by itself after two seconds; fill and bells only when they are killed.
 */
#include "tests/system/hostile.h"

#include "shm/layout.h"

#define LIFE_MS 2000

/* What fits, as far as it knows. */
static vn_desc
fitting(struct known *k)
{
	static const uint8_t kinds[] = {VN_KIND_SEND, VN_KIND_SEND, VN_KIND_SEND, VN_KIND_SEND,
		VN_KIND_ACK, VN_KIND_ACK, VN_KIND_NEED, VN_KIND_NEED_INPUT, VN_KIND_SHUTDOWN,
		VN_KIND_CLOSE};
	vn_desc d = {.kind = kinds[draw(sizeof kinds)], .conn = k->index, .gen = k->gen};

	if (k->shut && (d.kind == VN_KIND_SEND || d.kind == VN_KIND_SHUTDOWN))
		d.kind = VN_KIND_ACK;
	if (d.kind == VN_KIND_SEND) {
		d.pos = k->queued;
		d.len = 1 + (uint32_t)draw(draw(2) ? 300 : 65536);
		d.block = (uint32_t)draw(worker.link.geometry.area_bytes / VN_GRANULE - 256);
		d.flags = draw(2) ? VN_ACK | (draw(2) ? VN_COMMIT : 0) : 0;
		k->queued += d.len;
	} else if (d.kind == VN_KIND_ACK) {
		d.flags = draw(2) ? VN_COMMIT : 0;
	} else if (d.kind == VN_KIND_SHUTDOWN || d.kind == VN_KIND_CLOSE) {
		d.pos = k->queued;
		d.flags = d.kind == VN_KIND_CLOSE && draw(3) == 0 ? VN_ABORT : 0;
		k->shut = true;
	}
	if (d.kind == VN_KIND_ACK || d.flags & VN_ACK)
		d.report = k->acked +=
			draw(2) ? k->delivered - k->acked : draw(k->delivered - k->acked + 1);
	return d;
}

static void
lie(vn_desc *d)
{
	unsigned char *byte = (unsigned char *)d;

	switch (draw(4)) {
	case 0:
		byte[draw(sizeof *d)] ^= (unsigned char)(1 << draw(8));
		break;
	case 1:
		d->gen = (uint32_t)draw(8);
		break;
	case 2:
		d->conn = (uint32_t)draw(64);
		break;
	default:
		d->pos += draw(3) - 1;
		d->report += draw(3) - 1;
		break;
	}
}

static void
be_plausible(void)
{
	struct known *k;
	vn_desc d;

	listen_to_broker();
	for (uint64_t i = draw(40); i && worker.n_known; i--) {
		k = &worker.known[draw(worker.n_known)];
		d = fitting(k);
		if (draw(400) == 0)
			lie(&d);
		say(&d);
		if (d.kind == VN_KIND_CLOSE)
			*k = worker.known[--worker.n_known];
	}
	vn_link_flush(&worker.link);
}

static void
be_random(void)
{
	vn_desc d;
	unsigned char *bytes = (unsigned char *)&d;

	listen_to_broker();
	for (size_t i = 0; i < sizeof d; i++)
		bytes[i] = draw(3) ? 0 : (unsigned char)draw(256);
	d.kind = (uint8_t)draw(VN_N_KINDS + 2);
	say(&d);
	vn_link_flush(&worker.link);
}

static void
lie_of_cursors(void)
{
	uint32_t *words[] = {worker.link.tx.tail, worker.link.rx.head, worker.link.tx.space_ev,
		worker.link.rx.ev};
	static const uint32_t jumps[] = {1, 511, 512, 513, 100000, 0x80000000u, 0xffffffffu};
	uint32_t *word = words[draw(4)];

	listen_to_broker();
	__atomic_fetch_add(word, jumps[draw(sizeof jumps / sizeof *jumps)], __ATOMIC_SEQ_CST);
	vn_bell_ring(worker.link.bell_out);
}

static void
scribble(void)
{
	listen_to_broker();
	for (int i = 0; i < 1000; i++) {
		size_t at = draw(3) ? 4096 + draw(40000) : draw(worker.link.own.size);

		memcpy(worker.link.own.base + at % (worker.link.own.size - 8), &worker.random,
			1 + draw(8));
	}
	vn_bell_ring(worker.link.bell_out);
}

static void
flood(void)
{
	listen_to_broker();
	for (uint32_t i = 0; i < worker.n_known; i++) {
		struct known *k = &worker.known[i];
		uint32_t block =
			(uint32_t)draw(worker.link.geometry.area_bytes / VN_BLOCK_MAX) * 256;

		if (!vn_lane_tx_has(&worker.link.tx, 1))
			break;
		say(&(vn_desc){.kind = VN_KIND_SEND,
			.conn = k->index,
			.gen = k->gen,
			.pos = k->queued,
			.block = block,
			.len = VN_BLOCK_MAX});
		k->queued += VN_BLOCK_MAX;
		vn_link_flush(&worker.link);
		vn_bell_ring(worker.link.bell_out);
	}
}

static void
be_deaf(void)
{
	usleep(10000);
}

/* The modes that begin with a request served are not made to wait before their next life. */
static struct known *
serve_one(void)
{
	struct known *k = request();

	answer(k);
	wait_until_taken();
	return k;
}

static void
fill(void)
{
	unsigned char *base = worker.link.own.base;
	bool whole = worker.link.incarnation % 2;

	serve_one();
	for (;;) {
		for (size_t at = whole ? 0 : VN_SEGMENT_SLOTS; at < worker.link.own.size; at += 8) {
			draw(1);
			memcpy(base + at, &worker.random, sizeof worker.random);
		}
		worker.link.tx.next += 1 + (uint32_t)draw(8);
		vn_link_flush(&worker.link);
		vn_bell_ring(worker.link.bell_out);
	}
}

static void
ring_for_nothing(void)
{
	serve_one();
	for (;;)
		vn_bell_ring(worker.link.bell_out);
}

static void
publish_stale(void)
{
	struct known *k = serve_one();
	vn_desc d = {.kind = VN_KIND_NEED, .conn = k->index, .gen = k->gen - 1};

	for (int64_t end = now_ms() + LIFE_MS; now_ms() < end;) {
		while (vn_lane_tx_has(&worker.link.tx, 1))
			vn_lane_tx_push(&worker.link.tx, &d);
		vn_link_flush(&worker.link);
	}
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*act)(void);
	} modes[] = {{"plausible", be_plausible}, {"random", be_random},
		{"cursors", lie_of_cursors}, {"scribble", scribble}, {"deaf", be_deaf},
		{"flood", flood}, {"fill", fill}, {"bells", ring_for_nothing},
		{"stale", publish_stale}};
	int64_t start = now_ms();
	size_t mode = 0;

	if (argc != 4)
		errx(2, "usage: hostile URL MODE SEED, as a worker");
	while (mode < sizeof modes / sizeof *modes && strcmp(modes[mode].name, argv[2]) != 0)
		mode++;
	if (mode == sizeof modes / sizeof *modes)
		errx(2, "%s is no mode", argv[2]);
	join(argv[3]);
	begin(argv[1], VN_RESUME);
	while (now_ms() - start < LIFE_MS) {
		/* Long enough for something to lie about. */
		if (now_ms() - start > 30 || worker.n_known)
			modes[mode].act();
		else
			listen_to_broker();
		rest();
	}
	return 0;
}
