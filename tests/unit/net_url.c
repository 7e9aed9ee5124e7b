/* SPDX-License-Identifier: MIT */
/*
 * Url - what URLs mean, what is wrong with bad ones, and the listening sockets made from them
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/net/url.h"
#include "tests/unit/suite.h"

#define TEN      "1234567890"
#define HUNDRED  TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED

/* `name` is what vn_endpoint_format() makes of it. */
static const struct {
	const char *url, *name;
	int backlog;
} good[] = {
	{"tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000", 4096},
	{"tcp://127.0.0.1:0", "tcp://127.0.0.1:0", 4096},
	{"tcp://127.0.0.1:65535", "tcp://127.0.0.1:65535", 4096},
	{"tcp://127.0.0.1:00080", "tcp://127.0.0.1:80", 4096},
	{"tcp://[::1]:80", "tcp://[::1]:80", 4096},
	{"tcp://[0:0:0::1]:80", "tcp://[::1]:80", 4096},
	{"tcp://[fe80::1%1]:80", "tcp://[fe80::1%1]:80", 4096},
	{"tcp://*:80", "tcp://0.0.0.0:80", 4096},
	{"tcp://127.0.0.1:80?", "tcp://127.0.0.1:80", 4096},
	{"tcp://127.0.0.1:80?backlog=1", "tcp://127.0.0.1:80?backlog=1", 1},
	{"tcp://127.0.0.1:80?backlog=1&backlog=65535", "tcp://127.0.0.1:80?backlog=65535", 65535},
	{"tcp://[::1]:80?backlog=4096", "tcp://[::1]:80", 4096},
	{"unix:/run/x.sock", "unix:/run/x.sock", 4096},
	{"unix:x", "unix:x", 4096},
	{"unix:///run/x.sock", "unix:/run/x.sock", 4096},
	{"unix:@name", "unix:@name", 4096},
	{"unix:@name?backlog=7", "unix:@name?backlog=7", 7},
	{"unix:" HUNDRED "1234567", "unix:" HUNDRED "1234567", 4096},
	{"seqpacket:/run/x.sock", "seqpacket:/run/x.sock", 4096},
	{"seqpacket:@name", "seqpacket:@name", 4096},
	{"udp://127.0.0.1:53", "udp://127.0.0.1:53", 4096},
	{"udp://[::1]:53?reuseport", "udp://[::1]:53?reuseport=on", 4096},
	{"tcp://127.0.0.1:80?nodelay", "tcp://127.0.0.1:80", 4096},
	{"tcp://127.0.0.1:80?nodelay=off&reuseport", "tcp://127.0.0.1:80?nodelay=off&reuseport=on",
		4096},
	{"tcp://[::]:80?v6only=off", "tcp://[::]:80?v6only=off", 4096},
	{"tcp://127.0.0.1:80?interface=lo&dscp=0", "tcp://127.0.0.1:80?interface=lo&dscp=0", 4096},
	{"tcp://127.0.0.1:80?keepalive=1m&idle=90s&accept=1500ms",
		"tcp://127.0.0.1:80?keepalive=60000ms&accept=1500ms&idle=90000ms", 4096},
	{"tcp://127.0.0.1:80?max=2k&per_address=5&rate=1M",
		"tcp://127.0.0.1:80?max=2048&per_address=5&rate=1048576", 4096},
	{"tcp://127.0.0.1:80?proxy=any&header=1s", "tcp://127.0.0.1:80?proxy=any&header=1000ms",
		4096},
	{"tcp://127.0.0.1:80?allow=10.0.0.0/8,::1&allow=0.0.0.0/0&deny=10.1.0.0/16",
		"tcp://127.0.0.1:80?allow=10.0.0.0/8,::1/128,0.0.0.0/0&deny=10.1.0.0/16", 4096},
	{"unix:/x?mode=0660&user=0&group=7", "unix:/x?mode=0660&user=0&group=7", 4096},
};

/* The sentence names the thing: `words` are in it. */
static const struct {
	const char *url;
	int rc;
	const char *words;
} bad[] = {
	{NULL, -EINVAL, "URL is missing"},
	{"", -EINVAL, "URL is missing"},
	{"http://127.0.0.1:80", -EINVAL, "tcp://, udp://, unix: or seqpacket:"},
	{"TCP://127.0.0.1:80", -EINVAL, "tcp://, udp://, unix: or seqpacket:"},
	{"127.0.0.1:80", -EINVAL, "tcp://, udp://, unix: or seqpacket:"},
	{"?backlog=1", -EINVAL, "tcp://, udp://, unix: or seqpacket:"},
	{"tcp://", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:65536", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:100000", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:-1", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:+1", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1: 1", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:http", -EINVAL, "port from 0 to 65535"},
	{"tcp://127.0.0.1:80/", -EINVAL, "port from 0 to 65535"},
	{"tcp://:80", -EINVAL, "host is missing"},
	{"tcp://[]:80", -EINVAL, "host is missing"},
	{"tcp://::1:80", -EINVAL, "IPv6 address stands in brackets"},
	{"tcp://[::1:80", -EINVAL, "IPv6 address stands in brackets"},
	{"tcp://[:80", -EINVAL, "IPv6 address stands in brackets"},
	{"tcp://[nonsense]:80", -ENOENT, "unknown host 'nonsense'"},
	{"tcp://no host:80", -ENOENT, "unknown host 'no host'"},
	{"tcp://256.256.256.256:80", -ENOENT, "unknown host '256.256.256.256'"},
	{"tcp://127.0.0.1:80?backlog", -EINVAL, "option 'backlog' wants a number"},
	{"tcp://127.0.0.1:80?Backlog=1", -EINVAL, "unknown option 'Backlog'"},
	{"tcp://127.0.0.1:80?=1", -EINVAL, "unknown option ''"},
	{"tcp://127.0.0.1:80?backlog=", -EINVAL, "option 'backlog=' wants a number"},
	{"tcp://127.0.0.1:80?backlog=0", -EINVAL, "option 'backlog=0' wants a number"},
	{"tcp://127.0.0.1:80?backlog=65536", -EINVAL, "option 'backlog=65536' wants a number"},
	{"tcp://127.0.0.1:80?backlog= 5", -EINVAL, "option 'backlog= 5' wants a number"},
	{"tcp://127.0.0.1:80?backlog=5x", -EINVAL, "option 'backlog=5x' wants a number"},
	{"tcp://127.0.0.1:80?nodelay=1", -EINVAL, "option 'nodelay=1' wants on or off"},
	{"tcp://127.0.0.1:80?keepalive", -EINVAL, "option 'keepalive' wants a time"},
	{"tcp://127.0.0.1:80?keepalive=600m", -EINVAL, "option 'keepalive=600m' wants a time"},
	{"tcp://127.0.0.1:80?dscp=64", -EINVAL, "option 'dscp=64' wants a number from 0 to 63"},
	{"tcp://127.0.0.1:80?interface=", -EINVAL, "option 'interface=' wants the name"},
	{"tcp://127.0.0.1:80?interface=1234567890123456", -EINVAL, "wants the name"},
	{"tcp://127.0.0.1:80?idle=5", -EINVAL, "option 'idle=5' wants a time such as"},
	{"tcp://127.0.0.1:80?idle=5h", -EINVAL, "option 'idle=5h' wants a time such as"},
	{"tcp://127.0.0.1:80?idle=-5s", -EINVAL, "option 'idle=-5s' wants a time such as"},
	{"tcp://127.0.0.1:80?idle=1441m", -EINVAL, "option 'idle=1441m' wants a time such as"},
	{"tcp://127.0.0.1:80?idle=99999999999m", -EINVAL, "wants a time such as"},
	{"tcp://127.0.0.1:80?max=0", -EINVAL, "option 'max=0' wants a number"},
	{"tcp://127.0.0.1:80?max=4096M", -EINVAL, "option 'max=4096M' wants a number"},
	{"tcp://127.0.0.1:80?proxy=v3", -EINVAL, "option 'proxy=v3' wants v1, v2, any or off"},
	{"tcp://127.0.0.1:80?proxy", -EINVAL, "option 'proxy' wants v1, v2, any or off"},
	{"tcp://127.0.0.1:80?header=0ms", -EINVAL, "option 'header=0ms' wants a time"},
	{"tcp://127.0.0.1:80?allow=", -EINVAL, "option 'allow=' wants up to 32 networks"},
	{"tcp://127.0.0.1:80?allow=10.0.0.0/33", -EINVAL, "wants up to 32 networks"},
	{"tcp://127.0.0.1:80?allow=10.0.0.1/8", -EINVAL, "without bits beyond /N"},
	{"tcp://127.0.0.1:80?deny=fe80::1/10", -EINVAL, "without bits beyond /N"},
	{"tcp://127.0.0.1:80?deny=::1/129", -EINVAL, "wants up to 32 networks"},
	{"tcp://127.0.0.1:80?deny=1.2.3.4,", -EINVAL, "wants up to 32 networks"},
	{"tcp://127.0.0.1:80?deny=localhost", -EINVAL, "wants up to 32 networks"},
	{"tcp://127.0.0.1:80?mode=0600", -EINVAL, "unknown option 'mode'; known here are backlog"},
	{"udp://127.0.0.1:80?backlog=1", -EINVAL, "unknown option 'backlog'; known here are"},
	{"unix:/x?nodelay=on", -EINVAL, "unknown option 'nodelay'"},
	{"unix:/x?mode=9", -EINVAL, "option 'mode=9' wants octal digits"},
	{"unix:/x?mode=7777", -EINVAL, "option 'mode=7777' wants octal digits"},
	{"unix:/x?user=nobody", -EINVAL, "option 'user=nobody' wants a user"},
	{"unix:/x?group=4294967295", -EINVAL, "option 'group=4294967295' wants a group"},
	{"seqpacket:/x?proxy=v1", -EINVAL, "unknown option 'proxy'"},
	{"tcp://127.0.0.1:80?backlog=1&x", -EINVAL, "unknown option 'x'"},
	{"unix:", -EINVAL, "path of a Unix socket"},
	{"unix:@", -EINVAL, "path of a Unix socket"},
	{"unix:?backlog=1", -EINVAL, "path of a Unix socket"},
	{"unix:" HUNDRED "12345678", -EINVAL, "path of a Unix socket"},
	{"tcp://" THOUSAND TEN TEN ":80", -EINVAL, "at most 1023 bytes"},
};

START_TEST(good_urls_mean_an_address)
{
	for (size_t i = 0; i < SUITE_COUNT(good); i++) {
		vn_endpoint e, again;
		char why[256] = "", name[VN_URL_MAX];

		ck_assert_msg(vn_endpoint_parse_numeric(&e, good[i].url, why) == 0, "%s: %s",
			good[i].url, why);
		ck_assert_int_eq(e.options.backlog, good[i].backlog);
		vn_endpoint_format(&e, name);
		ck_assert_str_eq(name, good[i].name);
		ck_assert_int_eq(vn_endpoint_parse(&again, name, why), 0);
		ck_assert_int_eq(again.options.backlog, e.options.backlog);
		ck_assert_uint_eq(again.sa_len, e.sa_len);
		ck_assert_mem_eq(&again.sa, &e.sa, e.sa_len);
	}
}
END_TEST

START_TEST(bad_urls_are_told_what_is_wrong)
{
	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		vn_endpoint e;
		char why[256] = "";

		ck_assert_msg(vn_endpoint_parse_numeric(&e, bad[i].url, why) == bad[i].rc, "%s: %s",
			bad[i].url, why);
		ck_assert_msg(strstr(why, bad[i].words) != NULL, "%s: %s", bad[i].url, why);
	}
}
END_TEST

START_TEST(names_are_resolved_unless_nobody_can_wait)
{
	vn_endpoint e;
	char why[256];

	ck_assert_int_eq(vn_endpoint_parse(&e, "tcp://localhost:80", why), 0);
	ck_assert(e.sa.ss_family == AF_INET || e.sa.ss_family == AF_INET6);
	ck_assert_int_eq(vn_endpoint_parse_numeric(&e, "tcp://localhost:80", why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why, "'localhost'"));
}
END_TEST

static int
listen_url(const char *url, vn_endpoint *e, char why[static 256])
{
	int rc = vn_endpoint_parse(e, url, why);

	return rc < 0 ? rc : vn_endpoint_listen(e, why);
}

static void
listen_fails(const char *url, int rc, const char *words)
{
	vn_endpoint e;
	char why[256] = "";
	int fd = listen_url(url, &e, why);

	ck_assert_msg(fd == rc, "%s: %d, %s", url, fd, why);
	ck_assert_msg(strstr(why, words) != NULL, "%s: %s", url, why);
}

START_TEST(the_port_is_filled_in)
{
	static const char *const urls[] = {"tcp://127.0.0.1:0", "tcp://[::1]:0"};

	for (size_t i = 0; i < SUITE_COUNT(urls); i++) {
		vn_endpoint e;
		char why[256], name[VN_URL_MAX];
		int fd = listen_url(urls[i], &e, why), flags = fcntl(fd, F_GETFL);

		ck_assert_int_ge(fd, 0);
		ck_assert(flags & O_NONBLOCK);
		ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		ck_assert_int_eq(vn_endpoint_name(fd, name), 0);
		ck_assert_int_eq(strncmp(name, urls[i], strlen(urls[i]) - 1), 0);
		ck_assert_int_gt(atoi(strrchr(name, ':') + 1), 0);
		listen_fails(name, -EADDRINUSE, "address already in use");
		close(fd);
		ck_assert_int_lt(vn_endpoint_name(fd, name), 0);
	}
}
END_TEST

START_TEST(what_cannot_be_bound_is_told)
{
	struct rlimit none, limit;

	listen_fails("tcp://192.0.2.1:0", -EADDRNOTAVAIL, "does not have that address");
	listen_fails("unix:/nowhere/at/all", -ENOENT, "folder of the socket does not exist");
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){0, limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	listen_fails("tcp://127.0.0.1:0", -EMFILE, "ulimit -n");
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
END_TEST

START_TEST(names_of_users_are_looked_up_by_who_can_wait)
{
	vn_endpoint e;
	char why[256];

	ck_assert_int_eq(vn_endpoint_parse(&e, "unix:/x?user=root&group=root", why), 0);
	ck_assert_uint_eq(e.options.user, 0);
	ck_assert_uint_eq(e.options.group, 0);
	ck_assert_int_eq(vn_endpoint_parse(&e, "unix:/x?user=no-such-user", why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "'user=no-such-user'"));
}
END_TEST

START_TEST(networks_have_who_is_in_them)
{
	static const struct {
		const char *nets, *client;
		bool in;
	} cases[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"192.0.2.128/25", "192.0.2.127", false},
		{"192.0.2.128/25", "192.0.2.128", true},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.6", false},
		{"0.0.0.0/0", "1.2.3.4", true},
		{"0.0.0.0/0", "::1", false},
		{"10.0.0.0/8", "::ffff:10.1.1.1", true},
		{"::ffff:0.0.0.0/96", "10.1.1.1", true},
		{"::/0", "10.1.1.1", true},
		{"fe80::/10", "febf::1", true},
		{"fe80::/10", "fec0::1", false},
		{"1.1.1.1,2.2.2.2,::1", "::1", true},
		{"1.1.1.1,2.2.2.2,::1", "::2", false},
	};

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		vn_subnets nets = {0};
		vn_desc_peer peer = {0};

		peer.family = strchr(cases[i].client, ':') ? AF_INET6 : AF_INET;
		ck_assert_int_eq(inet_pton(peer.family, cases[i].client, peer.addr), 1);
		ck_assert_int_eq(vn_subnets_parse(&nets, cases[i].nets), 0);
		ck_assert_msg(vn_subnets_have(&nets, &peer) == cases[i].in, "%s in %s",
			cases[i].client, cases[i].nets);
	}
}
END_TEST

START_TEST(more_networks_than_fit_are_refused)
{
	vn_subnets nets = {0};

	for (uint32_t i = 0; i < VN_MAX_SUBNETS; i++)
		ck_assert_int_eq(vn_subnets_parse(&nets, "1.2.3.4"), 0);
	ck_assert_int_eq(vn_subnets_parse(&nets, "1.2.3.4"), -EINVAL);
}
END_TEST

static int
option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof value;

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

/* Someone connects, and is accepted. */
static int
accepted_from(int listener)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	int client, fd;

	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)(void *)&sa, &len), 0);
	client = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)(void *)&sa, len), 0);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(client);
	return fd;
}

START_TEST(connections_inherit_what_the_socket_was_asked_for)
{
	vn_endpoint e;
	char why[256] = "";
	int fd = listen_url(
		    "tcp://[::1]:0?nodelay=off&keepalive=7s&dscp=46&v6only&backlog=7", &e, why),
	    conn;

	ck_assert_msg(fd >= 0, "%s", why);
	conn = accepted_from(fd);
	ck_assert_int_eq(option_of(conn, IPPROTO_TCP, TCP_NODELAY), 0);
	ck_assert_int_eq(option_of(conn, SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_int_eq(option_of(conn, IPPROTO_TCP, TCP_KEEPIDLE), 7);
	ck_assert_int_eq(option_of(conn, IPPROTO_TCP, TCP_KEEPINTVL), 3);
	ck_assert_int_eq(option_of(conn, IPPROTO_TCP, TCP_KEEPCNT), 3);
	ck_assert_int_eq(option_of(conn, IPPROTO_IPV6, IPV6_TCLASS), 46 << 2);
	ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	close(conn);
	close(fd);
	fd = listen_url("tcp://127.0.0.1:0", &e, why);
	conn = accepted_from(fd);
	ck_assert_int_eq(option_of(conn, IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(option_of(conn, SOL_SOCKET, SO_KEEPALIVE), 0);
	close(conn);
	close(fd);
}
END_TEST

START_TEST(a_port_can_be_shared_by_those_who_say_so)
{
	vn_endpoint e;
	char why[256], name[VN_URL_MAX], again[VN_URL_MAX + 16];
	int fd = listen_url("tcp://127.0.0.1:0?reuseport", &e, why), other;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(vn_endpoint_name(fd, name), 0);
	listen_fails(name, -EADDRINUSE, "address already in use");
	snprintf(again, sizeof again, "%s?reuseport", name);
	other = listen_url(again, &e, why);
	ck_assert_msg(other >= 0, "%s", why);
	close(other);
	close(fd);
}
END_TEST

START_TEST(options_that_cannot_be_had_are_named)
{
	listen_fails("tcp://127.0.0.1:0?interface=nosuch0", -ENODEV, "option 'interface'");
	listen_fails("tcp://127.0.0.1:0?v6only", -EINVAL, "option 'v6only' is for an IPv6");
	listen_fails("unix:@vn-url-mode?mode=0600", -EINVAL, "an abstract name has none");
	listen_fails("udp://127.0.0.1:0", -EINVAL, "no connections to listen for");
}
END_TEST

/* A folder with a path in it, gone afterwards. */
typedef struct place {
	char folder[32], path[64], url[80];
} place;

static void
place_make(place *p)
{
	strcpy(p->folder, "/tmp/vn-url-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(p->folder));
	snprintf(p->path, sizeof p->path, "%s/s", p->folder);
	snprintf(p->url, sizeof p->url, "unix:%s", p->path);
}

static void
place_remove(place *p)
{
	unlink(p->path);
	ck_assert_int_eq(rmdir(p->folder), 0);
}

START_TEST(the_file_of_a_dead_socket_is_taken_over)
{
	place p;
	vn_endpoint e;
	char why[256], name[VN_URL_MAX];
	int fd;

	place_make(&p);
	fd = listen_url(p.url, &e, why);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(vn_endpoint_name(fd, name), 0);
	ck_assert_str_eq(name, p.url);
	listen_fails(p.url, -EADDRINUSE, "address already in use");
	close(fd); /* as if it had been killed: the file stays */
	ck_assert_int_eq(access(p.path, F_OK), 0);
	fd = listen_url(p.url, &e, why);
	ck_assert_int_ge(fd, 0);
	vn_endpoint_unlink(&e);
	ck_assert_int_ne(access(p.path, F_OK), 0);
	close(fd);
	place_remove(&p);
}
END_TEST

START_TEST(the_file_has_the_mode_that_was_asked_for)
{
	place p;
	vn_endpoint e;
	struct stat st;
	char why[256], url[128];
	mode_t mask = umask(0);
	int fd;

	place_make(&p);
	snprintf(url, sizeof url, "%s?mode=0620&group=%u", p.url, (unsigned)getgid());
	fd = listen_url(url, &e, why);
	ck_assert_msg(fd >= 0, "%s", why);
	ck_assert_int_eq(stat(p.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0620);
	close(fd);
	vn_endpoint_unlink(&e);
	umask(mask);
	place_remove(&p);
}
END_TEST

START_TEST(messages_and_streams_do_not_share_a_path)
{
	place p;
	vn_endpoint e;
	char why[256], url[128], name[VN_URL_MAX];
	int fd;

	place_make(&p);
	snprintf(url, sizeof url, "seqpacket:%s", p.path);
	fd = listen_url(url, &e, why);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_TYPE), SOCK_SEQPACKET);
	ck_assert_int_eq(vn_endpoint_name(fd, name), 0);
	ck_assert_str_eq(name, url);
	listen_fails(p.url, -EADDRINUSE, "address already in use");
	close(fd);
	fd = listen_url(p.url, &e, why); /* nobody listens there any more */
	ck_assert_int_ge(fd, 0);
	close(fd);
	place_remove(&p);
}
END_TEST

START_TEST(a_file_that_is_no_socket_stays)
{
	place p;
	vn_endpoint e;
	char why[256];
	int fd;

	place_make(&p);
	fd = open(p.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "precious", 8), 8);
	close(fd);
	listen_fails(p.url, -EADDRINUSE, "address already in use");
	ck_assert_int_eq(vn_endpoint_parse(&e, p.url, why), 0);
	vn_endpoint_unlink(&e);
	ck_assert_int_eq(access(p.path, F_OK), 0);
	place_remove(&p);
}
END_TEST

START_TEST(abstract_names_leave_no_file)
{
	vn_endpoint e;
	char why[256], url[64], name[VN_URL_MAX];
	int fd;

	snprintf(url, sizeof url, "unix:@vn-url-%d", (int)getpid());
	fd = listen_url(url, &e, why);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(vn_endpoint_name(fd, name), 0);
	ck_assert_str_eq(name, url);
	listen_fails(url, -EADDRINUSE, "address already in use");
	vn_endpoint_unlink(&e);
	close(fd);
}
END_TEST

START_TEST(a_unix_peer_is_who_the_kernel_says)
{
	struct sockaddr_storage sa = {.ss_family = AF_UNIX};
	vn_desc_peer peer;
	uint32_t ids[3];
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vn_endpoint_peer(pair[0], &sa, &peer);
	memcpy(ids, peer.addr, sizeof ids);
	ck_assert_int_eq(peer.family, AF_UNIX);
	ck_assert_int_eq((int)ids[0], (int)getpid());
	ck_assert_uint_eq(ids[1], getuid());
	ck_assert_uint_eq(ids[2], getgid());
	close(pair[0]);
	close(pair[1]);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		good_urls_mean_an_address,
		bad_urls_are_told_what_is_wrong,
		names_are_resolved_unless_nobody_can_wait,
		names_of_users_are_looked_up_by_who_can_wait,
		networks_have_who_is_in_them,
		more_networks_than_fit_are_refused,
		connections_inherit_what_the_socket_was_asked_for,
		a_port_can_be_shared_by_those_who_say_so,
		options_that_cannot_be_had_are_named,
		the_file_has_the_mode_that_was_asked_for,
		messages_and_streams_do_not_share_a_path,
		the_port_is_filled_in,
		what_cannot_be_bound_is_told,
		the_file_of_a_dead_socket_is_taken_over,
		a_file_that_is_no_socket_stays,
		abstract_names_leave_no_file,
		a_unix_peer_is_who_the_kernel_says,
	};

	return suite_run("url", tests, SUITE_COUNT(tests));
}
