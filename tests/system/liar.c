/* SPDX-License-Identifier: MIT */
/*
 * liar - a worker that serves one request and then breaks one rule
 *
 * liar URL SEED      as a worker: which rule, its slot and its incarnation decide
 * liar list          the names of the rules
 *
 * A lie of the lane is told after an honest answer in the same batch, so that the broker must have taken the good
 * and refused the bad, and starts the next liar at once. It is written down as its difference from the truth: what
 * is added to each field of the descriptor that an honest worker could publish at that moment. A lie of the
 * handshake is told instead of MAPPED; these stand apart from each other in the table, because two workers in a
 * row that never served are made to wait.
 *
 * Before it lies it says "lie NAME: REPORT", REPORT being what the broker has to say of it. It does not end by
 * itself in less than ten seconds, so whoever lives that long was not caught.
 */
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "client/net/url.h"
#include "shm/layout.h"
#include "tests/system/hostile.h"

#define LIFE_MS    10000
#define PLACE      512 /* the block of what lies */
#define N_FDS      4
#define AREA       (1u << 20) /* --lane-memory of the test */
#define N_GRANULES (AREA / VN_GRANULE)

struct lie {
	const char *name, *report;
	vn_desc d;     /* added to the truth */
	vn_desc first; /* said before it, if it has a kind; added to the truth too */
	void (*act)(struct known *k);
	void (*mapped)(int socket); /* of the handshake */
};

static const char *url;

/* What an honest worker could say now. */
static vn_desc
truth(uint8_t kind, const struct known *k)
{
	vn_desc d = {.kind = kind, .conn = k->index, .gen = k->gen};

	switch (kind) {
	case VN_KIND_SEND:
		d.block = PLACE;
		d.len = 1;
		d.pos = k->queued;
		break;
	case VN_KIND_SHUTDOWN:
	case VN_KIND_CLOSE:
		d.pos = k->queued;
		break;
	case VN_KIND_ACK:
	case VN_KIND_RELEASED:
		d.report = k->acked;
		break;
	case VN_KIND_LISTEN:
		return (vn_desc){.kind = kind, .arg = 1, .len = 1};
	case VN_KIND_STATE:
		d.len = 1;
		break;
	case VN_KIND_UNLISTEN:
	case VN_KIND_READY:
		return (vn_desc){.kind = kind};
	default:
		break;
	}
	return d;
}

static void
tell(const vn_desc *difference, struct known *k)
{
	vn_desc d = truth(difference->kind, k);

	d.flags |= difference->flags;
	d.arg = (uint16_t)(d.arg + difference->arg);
	d.len += difference->len;
	d.conn += difference->conn;
	d.gen += difference->gen;
	d.pos += difference->pos;
	d.block += difference->block;
	d.offset += difference->offset;
	d.report += difference->report;
	d.peer = difference->peer;
	if (d.kind == VN_KIND_SEND)
		k->queued += d.len;
	say(&d);
}

/* Lies that take more than a descriptor. */

/* All of the area at once, to somebody who cannot have read any of it, and one block more. */
static void
send_too_much(struct known *k)
{
	for (uint32_t i = 0; i <= AREA / VN_BLOCK_MAX; i++) {
		vn_desc d = truth(VN_KIND_SEND, k);

		d.block = i * (VN_BLOCK_MAX / VN_GRANULE) % N_GRANULES + i / (AREA / VN_BLOCK_MAX);
		d.len = i < AREA / VN_BLOCK_MAX ? VN_BLOCK_MAX : 1;
		k->queued += d.len;
		say(&d);
	}
}

/* The test keeps the first connection of all with somebody else: one of its first generations is the current one. */
static void
name_another(struct known *k)
{
	(void)k;
	for (uint32_t gen = 1; gen < 32; gen++)
		say(&(vn_desc){.kind = VN_KIND_NEED, .gen = gen});
}

/* The URL goes into a log, and what it may do to a terminal there must not happen. */
static void
send_control_characters(struct known *k)
{
	static const char text[] = "\033[2J\033]0;hostile\a\n\r\177tcp://\200\377";

	(void)k;
	vn_area_write(&worker.link.own, PLACE, 0, text, sizeof text);
	say(&(vn_desc){.kind = VN_KIND_LISTEN, .arg = 1, .block = PLACE, .len = sizeof text - 1});
	say(&(vn_desc){.kind = VN_KIND_UNLISTEN, .arg = 2});
}

static void
set_cursor(uint32_t *word, uint32_t value)
{
	wait_until_taken();
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	vn_bell_ring(worker.link.bell_out);
}

static void
tail_ahead(struct known *k)
{
	(void)k;
	set_cursor(worker.link.tx.tail, worker.link.tx.next + worker.link.geometry.n_slots + 1);
}

static void
tail_back(struct known *k)
{
	(void)k;
	set_cursor(worker.link.tx.tail, worker.link.tx.next - 1);
}

static void
tail_anywhere(struct known *k)
{
	(void)k;
	set_cursor(
		worker.link.tx.tail, worker.link.tx.next + 0x10000 + (uint32_t)draw(0xfffe0000u));
}

static void
head_ahead(struct known *k)
{
	(void)k;
	set_cursor(worker.link.rx.head,
		worker.link.rx.next + worker.link.geometry.n_slots + (uint32_t)draw(0x7fff0000));
}

static void
head_back(struct known *k)
{
	(void)k;
	set_cursor(worker.link.rx.head, VN_CURSOR_START - 1 - (uint32_t)draw(0x7fff0000));
}

/* Lies of the handshake. */

struct hello {
	vn_link_msg msg;
	int fds[N_FDS]; /* the broker's segment, ours, the pipe, the eventfd */
	vn_segment_layout *own;
};

/* HELLO, by hand: our segment is mapped and claimed as it should be. */
static struct hello
hello_take(int socket)
{
	struct hello h = {.fds = {-1}};
	union {
		struct cmsghdr header;
		unsigned char space[CMSG_SPACE(sizeof h.fds)];
	} control;
	struct iovec part = {&h.msg, sizeof h.msg};
	struct msghdr msg = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control};

	if (recvmsg(socket, &msg, 0) != (ssize_t)sizeof h.msg || !CMSG_FIRSTHDR(&msg))
		err(1, "no HELLO");
	memcpy(h.fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof h.fds);
	h.own = mmap(NULL, VN_SEGMENT_SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, h.fds[1], 0);
	if (h.own == MAP_FAILED)
		err(1, "mmap");
	h.own->header = (vn_segment_header){.magic = VN_SEGMENT_MAGIC,
		.version = VN_LAYOUT_VERSION,
		.incarnation = h.msg.incarnation,
		.n_slots = h.msg.n_slots,
		.area_bytes = h.msg.area_bytes};
	h.own->tail = h.own->head = h.own->ev = h.own->space_ev = VN_CURSOR_START;
	h.msg.type = VN_LINK_MAPPED;
	return h;
}

static void
hello_answer(int socket, const void *data, size_t len)
{
	if (send(socket, data, len, MSG_NOSIGNAL) < 0)
		err(1, "send");
}

static void
mapped_short(int socket)
{
	struct hello h = hello_take(socket);

	hello_answer(socket, &h.msg, 1 + h.msg.incarnation % (sizeof h.msg - 1));
}

static void
mapped_huge(int socket)
{
	static unsigned char huge[1 << 16];
	struct hello h = hello_take(socket);

	memcpy(huge, &h.msg, sizeof h.msg);
	hello_answer(socket, huge, h.msg.incarnation % 2 ? sizeof huge : sizeof h.msg + 1);
}

static void
mapped_with(int socket, size_t field, uint32_t value)
{
	struct hello h = hello_take(socket);

	memcpy((unsigned char *)&h.msg + field, &value, sizeof value);
	hello_answer(socket, &h.msg, sizeof h.msg);
}

static void
mapped_type(int socket)
{
	mapped_with(socket, offsetof(vn_link_msg, type), VN_LINK_HELLO);
}

static void
mapped_version(int socket)
{
	mapped_with(socket, offsetof(vn_link_msg, layout_version), 0xffffffff);
}

static void
mapped_features(int socket)
{
	mapped_with(socket, offsetof(vn_link_msg, features), 1u << 31);
}

static void
mapped_geometry(int socket)
{
	mapped_with(socket, offsetof(vn_link_msg, area_bytes), 0xffffffff);
}

static void
mapped_incarnation(int socket)
{
	mapped_with(socket, offsetof(vn_link_msg, incarnation), 0);
}

/* As many descriptors as go into one message, of whatever kind. */
static void
mapped_descriptors(int socket)
{
	struct hello h = hello_take(socket);
	int fds[64];
	union {
		struct cmsghdr header;
		unsigned char space[CMSG_SPACE(sizeof fds)];
	} control = {.header = {CMSG_LEN(sizeof fds), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec part = {&h.msg, sizeof h.msg};
	struct msghdr msg = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		fds[i] = h.fds[i % N_FDS];
	memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
	if (sendmsg(socket, &msg, MSG_NOSIGNAL) < 0)
		err(1, "sendmsg");
}

static void
seal_first(int socket)
{
	struct hello h = hello_take(socket);

	if (fcntl(h.fds[1], F_ADD_SEALS, F_SEAL_SEAL) < 0)
		err(1, "F_SEAL_SEAL");
	hello_answer(socket, &h.msg, sizeof h.msg);
}

static void
header_with(int socket, size_t field)
{
	struct hello h = hello_take(socket);

	((unsigned char *)&h.own->header)[field] ^= 0x40;
	hello_answer(socket, &h.msg, sizeof h.msg);
}

static void
header_magic(int socket)
{
	header_with(socket, offsetof(vn_segment_header, magic));
}

static void
header_sizes(int socket)
{
	header_with(socket, offsetof(vn_segment_header, n_slots));
}

static void
header_incarnation(int socket)
{
	header_with(socket, offsetof(vn_segment_header, incarnation));
}

#define LESS(n) (0u - (n))
#define ACK_OF  .flags = VN_ACK | VN_COMMIT
#define K(k)    .kind = VN_KIND_##k
#define LIE(n, r, ...)                                                                             \
	{                                                                                          \
		.name = (n), .report = (r), __VA_ARGS__                                            \
	}

static const struct lie lies[] = {
	LIE("kind-none", "kind in NONE", .d = {K(NONE)}),
	LIE("kind-beyond", "kind in ?", .d = {.kind = VN_N_KINDS}),
	LIE("mapped-short", "wrong size", .mapped = mapped_short),
	LIE("kind-highest", "kind in ?", .d = {.kind = 255}),
	LIE("kind-of-the-broker", "kind in DATA", .d = {K(DATA), .len = 1}),
	LIE("mapped-huge", "wrong size", .mapped = mapped_huge),
	LIE("released-unasked", "kind in RELEASED", .d = {K(RELEASED)}),
	LIE("flag-of-another-kind", "flags in ACK", .d = {K(ACK), .flags = VN_ABORT}),
	LIE("mapped-type", "wrong type", .mapped = mapped_type),
	LIE("flag-reserved", "flags in SEND", .d = {K(SEND), .flags = 0x80}),
	LIE("flag-commit-alone", "flags in SEND", .d = {K(SEND), .flags = VN_COMMIT}),
	LIE("mapped-version", "different versions", .mapped = mapped_version),
	LIE("arg-uncalled-for", "arg in ACK", .d = {K(ACK), .arg = 1}),
	LIE("arg-too-high", "arg in LISTEN", .d = {K(LISTEN), .arg = VN_MAX_LISTENER}),
	LIE("mapped-features", "asks for features", .mapped = mapped_features),
	LIE("pos-uncalled-for", "pos in ACK", .d = {K(ACK), .pos = 1}),
	LIE("report-uncalled-for", "report in SHUTDOWN", .d = {K(SHUTDOWN), .report = 1}),
	LIE("mapped-geometry", "of another link", .mapped = mapped_geometry),
	LIE("report-without-ack", "report in SEND", .d = {K(SEND), .report = 1}),
	LIE("peer-uncalled-for", "peer in NEED", .d = {K(NEED), .peer = {.addr = {[15] = 1}}}),
	LIE("mapped-incarnation", "of another link", .mapped = mapped_incarnation),
	LIE("conn-uncalled-for", "conn in READY", .d = {K(READY), .conn = 1}),
	LIE("gen-uncalled-for", "conn in UNLISTEN", .d = {K(UNLISTEN), .gen = 1}),
	LIE("mapped-descriptors", "nobody asked for", .mapped = mapped_descriptors),
	LIE("len-uncalled-for", "len in ACK", .d = {K(ACK), .len = 1}),
	LIE("block-uncalled-for", "block in CLOSE", .d = {K(CLOSE), .block = 1}),
	LIE("seal-first", "sealed its segment itself", .mapped = seal_first),
	LIE("offset-uncalled-for", "offset in NEED_INPUT", .d = {K(NEED_INPUT), .offset = 1}),
	LIE("send-nothing", "len in SEND", .d = {K(SEND), .len = LESS(1)}),
	LIE("header-magic", "header of its segment", .mapped = header_magic),
	LIE("send-more-than-a-block", "len in SEND", .d = {K(SEND), .len = VN_BLOCK_MAX}),
	LIE("send-all-there-is", "len in SEND", .d = {K(SEND), .len = LESS(2)}),
	LIE("header-sizes", "header of its segment", .mapped = header_sizes),
	LIE("offset-outside", "offset in SEND", .d = {K(SEND), .offset = VN_BLOCK_MAX}),
	LIE("offset-and-len-outside", "offset in SEND",
		.d = {K(SEND), .offset = VN_BLOCK_MAX - 1, .len = 1}),
	LIE("header-incarnation", "header of its segment", .mapped = header_incarnation),
	LIE("offset-highest", "offset in SEND", .d = {K(SEND), .offset = UINT32_MAX}),
	LIE("block-outside", "block in SEND", .d = {K(SEND), .block = N_GRANULES - PLACE}),
	LIE("block-highest", "block in SEND", .d = {K(SEND), .block = UINT32_MAX - PLACE}),
	LIE("block-half-outside", "block in SEND",
		.d = {K(SEND), .block = N_GRANULES - 1 - PLACE, .len = VN_GRANULE}),
	LIE("block-in-flight", "block in SEND", .d = {K(SEND), .offset = 10},
		.first = {K(SEND), .len = 99}),
	LIE("send-too-much", "len in SEND", .act = send_too_much),
	LIE("send-with-a-gap", "pos in SEND", .d = {K(SEND), .pos = 1}),
	LIE("send-again", "pos in SEND", .d = {K(SEND), .pos = UINT64_MAX}),
	LIE("send-after-shutdown", "kind in SEND", .d = {K(SEND)}, .first = {K(SHUTDOWN)}),
	LIE("send-after-close", "kind in SEND", .d = {K(SEND)}, .first = {K(CLOSE)}),
	LIE("send-ack-beyond", "report in SEND", .d = {K(SEND), ACK_OF, .report = UINT64_MAX}),
	LIE("shutdown-twice", "kind in SHUTDOWN", .d = {K(SHUTDOWN)}, .first = {K(SHUTDOWN)}),
	LIE("shutdown-early", "pos in SHUTDOWN", .d = {K(SHUTDOWN), .pos = UINT64_MAX}),
	LIE("shutdown-late", "pos in SHUTDOWN", .d = {K(SHUTDOWN), .pos = 1}),
	LIE("close-twice", "kind in CLOSE", .d = {K(CLOSE)}, .first = {K(CLOSE)}),
	LIE("close-early", "pos in CLOSE", .d = {K(CLOSE), .pos = UINT64_MAX}),
	LIE("abort-late", "pos in CLOSE", .d = {K(CLOSE), .flags = VN_ABORT, .pos = 1}),
	LIE("state-empty", "len in STATE", .d = {K(STATE), .len = LESS(1)}),
	LIE("state-too-long", "len in STATE", .d = {K(STATE), .len = VN_STATE_MAX}),
	LIE("state-of-one-part-more", "arg in STATE", .d = {K(STATE), .arg = 1}),
	LIE("state-without-a-part", "arg in STATE", .d = {K(STATE), .len = 99, .arg = 2},
		.first = {K(STATE), .len = 99}),
	LIE("state-of-another-length", "arg in STATE", .d = {K(STATE), .len = 98, .arg = 1},
		.first = {K(STATE), .len = 99}),
	LIE("state-unfinished", "state in ACK", .d = {K(ACK), .flags = VN_COMMIT},
		.first = {K(STATE), .len = 99}),
	LIE("state-after-close", "kind in STATE", .d = {K(STATE)}, .first = {K(CLOSE)}),
	LIE("ack-beyond", "report in ACK", .d = {K(ACK), .report = 1}),
	LIE("ack-far-beyond", "report in ACK", .d = {K(ACK), .report = 1ull << 63}),
	LIE("ack-back", "report in ACK", .d = {K(ACK), .report = UINT64_MAX}),
	LIE("conn-that-never-was", "conn in NEED", .d = {K(NEED), .conn = 1 << 20}),
	LIE("conn-highest", "conn in NEED", .d = {K(NEED), .conn = LESS(1000)}),
	LIE("conn-of-another", "conn in NEED", .act = name_another),
	LIE("gen-next", "gen in NEED", .d = {K(NEED), .gen = 1}),
	LIE("gen-far", "gen in NEED", .d = {K(NEED), .gen = 0x7fffffff}),
	LIE("ready-twice", "kind in READY", .d = {K(READY)}),
	LIE("listen-twice", "arg in LISTEN", .d = {K(LISTEN), .arg = UINT16_MAX}),
	LIE("listen-too-long", "len in LISTEN", .d = {K(LISTEN), .len = VN_URL_MAX}),
	LIE("unlisten-what-is-not", "arg in UNLISTEN", .act = send_control_characters),
	LIE("tail-ahead", "tail cursor", .act = tail_ahead),
	LIE("tail-back", "tail cursor", .act = tail_back),
	LIE("tail-anywhere", "tail cursor", .act = tail_anywhere),
	LIE("head-ahead", "head cursor", .act = head_ahead),
	LIE("head-back", "head cursor", .act = head_back),
};

#define N_LIES (sizeof lies / sizeof *lies)

static void
announce(const struct lie *l)
{
	printf("lie %s: %s\n", l->name, l->report);
	fflush(stdout);
}

/* What an honest worker may do as well, or what costs a look: nobody is killed for it. */
static void
be_odd(const struct known *k)
{
	vn_desc late = {.kind = VN_KIND_ACK, .conn = k->index, .gen = k->gen - 1, .report = 99};

	say(&late);
	late.gen = k->gen + 0x80000000u;
	say(&late);
	__atomic_store_n(worker.link.rx.ev, (uint32_t)draw(UINT32_MAX), __ATOMIC_SEQ_CST);
	__atomic_store_n(worker.link.tx.space_ev, (uint32_t)draw(UINT32_MAX), __ATOMIC_SEQ_CST);
}

static void
lie_of_the_lane(const struct lie *l, const char *seed)
{
	struct known *k;

	join(seed);
	begin(url, VN_RESUME);
	k = request();
	be_odd(k);
	answer(k);
	announce(l);
	if (l->first.kind)
		tell(&l->first, k);
	if (l->act)
		l->act(k);
	else
		tell(&l->d, k);
	vn_link_flush(&worker.link);
}

static int
list(void)
{
	for (size_t i = 0; i < N_LIES; i++)
		puts(lies[i].name);
	return 0;
}

/* Which it is to be, before anything is taken off the socket. */
static const struct lie *
choose(int socket)
{
	const char *slot = getenv("VANILLA_WORKER");
	vn_link_msg hello;

	if (recv(socket, &hello, sizeof hello, MSG_PEEK) != (ssize_t)sizeof hello || !slot)
		err(1, "no HELLO");
	return &lies[((uint32_t)atoi(slot) * 29 + hello.incarnation) % N_LIES];
}

int
main(int argc, char **argv)
{
	int64_t end = now_ms() + LIFE_MS;
	const struct lie *l;

	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list();
	if (argc != 3)
		errx(2, "usage: liar list; or, as a worker: liar URL SEED");
	url = argv[1];
	l = choose(handshake_fd());
	if (l->mapped) {
		announce(l);
		l->mapped(handshake_fd());
	} else {
		lie_of_the_lane(l, argv[2]);
	}
	while (now_ms() < end)
		usleep(10000);
	return 0;
}
