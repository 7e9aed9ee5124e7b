/* SPDX-License-Identifier: MIT */
/*
 * Url - what URLs mean, what is wrong with bad ones, and the listening sockets made from them
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/net/url.h"
#include "tests/unit/suite.h"

#define TEN     "1234567890"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

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
};

/* The sentence names the thing: `words` are in it. */
static const struct {
	const char *url;
	int rc;
	const char *words;
} bad[] = {
	{NULL, -EINVAL, "URL is missing"},
	{"", -EINVAL, "URL is missing"},
	{"http://127.0.0.1:80", -EINVAL, "tcp:// or unix:"},
	{"TCP://127.0.0.1:80", -EINVAL, "tcp:// or unix:"},
	{"127.0.0.1:80", -EINVAL, "tcp:// or unix:"},
	{"?backlog=1", -EINVAL, "tcp:// or unix:"},
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
	{"tcp://127.0.0.1:80?backlog", -EINVAL, "unknown option 'backlog'"},
	{"tcp://127.0.0.1:80?backlog=", -EINVAL, "option 'backlog=' wants a number"},
	{"tcp://127.0.0.1:80?backlog=0", -EINVAL, "option 'backlog=0' wants a number"},
	{"tcp://127.0.0.1:80?backlog=65536", -EINVAL, "option 'backlog=65536' wants a number"},
	{"tcp://127.0.0.1:80?backlog= 5", -EINVAL, "option 'backlog= 5' wants a number"},
	{"tcp://127.0.0.1:80?backlog=5x", -EINVAL, "option 'backlog=5x' wants a number"},
	{"tcp://127.0.0.1:80?nodelay=1", -EINVAL, "unknown option 'nodelay=1'"},
	{"tcp://127.0.0.1:80?backlog=1&x", -EINVAL, "unknown option 'x'"},
	{"unix:", -EINVAL, "path of a Unix socket"},
	{"unix:@", -EINVAL, "path of a Unix socket"},
	{"unix:?backlog=1", -EINVAL, "path of a Unix socket"},
	{"unix:" HUNDRED "12345678", -EINVAL, "path of a Unix socket"},
	{"tcp://" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED ":80", -EINVAL,
		"at most 511 bytes"},
};

START_TEST(good_urls_mean_an_address)
{
	for (size_t i = 0; i < SUITE_COUNT(good); i++) {
		vn_endpoint e, again;
		char why[256] = "", name[VN_URL_MAX];

		ck_assert_msg(vn_endpoint_parse_numeric(&e, good[i].url, why) == 0, "%s: %s",
			good[i].url, why);
		ck_assert_int_eq(e.backlog, good[i].backlog);
		vn_endpoint_format(&e, name);
		ck_assert_str_eq(name, good[i].name);
		ck_assert_int_eq(vn_endpoint_parse(&again, name, why), 0);
		ck_assert_int_eq(again.backlog, e.backlog);
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
		the_port_is_filled_in,
		what_cannot_be_bound_is_told,
		the_file_of_a_dead_socket_is_taken_over,
		a_file_that_is_no_socket_stays,
		abstract_names_leave_no_file,
		a_unix_peer_is_who_the_kernel_says,
	};

	return suite_run("url", tests, SUITE_COUNT(tests));
}
