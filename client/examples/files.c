/* SPDX-License-Identifier: MIT */
/*
 * files - serves the files of a folder over HTTP/1.0: GET and HEAD
 *
 *     files tcp://127.0.0.1:7080 /srv/www
 *
 * Looking for a file can take as long as the disk likes, so threads of a pool do it; what the stream of a file reads
 * goes through threads as well. Meanwhile all other clients are served. The kernel sees to it that no path leads out
 * of the folder, by dots or by links. A connection has one request, and ten seconds to make it.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vanilla.h>

enum { LINE = 2048, LINES_MAX = 100, PIECE = 65536 };

typedef struct site {
	vn_rx *server;
	vn_pool *pool;
	int folder;
} site;

typedef struct client {
	const site *site;
	vn_conn *conn;
} client;

typedef struct lookup {
	int folder, fd;
	off_t size;
	char path[LINE];
} lookup;

/* In a thread, because it blocks. */
static int
look_up(void *arg)
{
	lookup *l = arg;
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	struct stat st;

	l->fd = (int)syscall(SYS_openat2, l->folder, l->path, &how, sizeof how);
	if (l->fd < 0)
		return -errno;
	if (fstat(l->fd, &st) == 0 && S_ISREG(st.st_mode)) {
		l->size = st.st_size;
		return 0;
	}
	close(l->fd);
	l->fd = -1;
	return -EACCES;
}

/* Nobody has waited for it. */
static void
look_up_drop(void *arg)
{
	lookup *l = arg;

	if (l->fd >= 0)
		close(l->fd);
}

static int
hex(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* "/a%20b?c" is "a b"; a folder is its index.html. */
static int
path_decode(const char *target, char path[LINE])
{
	size_t n = 0, room = LINE - sizeof "index.html";

	if (*target++ != '/')
		return -EINVAL;
	for (; *target && *target != '?'; target++) {
		int c = *target;

		if (c == '%') {
			c = hex(target[1]) < 0 ? -1 : hex(target[1]) << 4 | hex(target[2]);
			target += 2;
		}
		if (c <= 0 || n == room)
			return -EINVAL;
		path[n++] = (char)c;
	}
	path[n] = 0;
	if (n == 0 || path[n - 1] == '/')
		strcpy(path + n, "index.html");
	return 0;
}

static const char *
status_of(int rc)
{
	switch (rc) {
	case 0:
		return "200 OK";
	case -EINVAL:
	case -EMSGSIZE:
		return "400 Bad Request";
	case -EACCES:
	case -ELOOP:
	case -EXDEV: /* it would lead out of the folder */
		return "403 Forbidden";
	case -ENOENT:
	case -ENOTDIR:
	case -ENAMETOOLONG:
		return "404 Not Found";
	case -ENOTSUP:
		return "501 Not Implemented";
	default:
		return "500 Internal Server Error";
	}
}

static int
answer(vn_conn *c, int rc, off_t size)
{
	char head[256];
	int n = snprintf(head, sizeof head,
		"HTTP/1.0 %s\r\nContent-Length: %jd\r\nConnection: close\r\n\r\n", status_of(rc),
		(intmax_t)size);

	return vn_write(c, head, (size_t)n);
}

/* The file, read into what is sent. A file that became shorter meanwhile breaks the connection. */
static int
send_file(vn_conn *c, vn_stream *file, off_t left)
{
	while (left > 0) {
		vn_loan loan;
		ssize_t n = vn_borrow(c, left < PIECE ? (size_t)left : PIECE, &loan);

		if (n < 0)
			return (int)n;
		n = vn_os_read(file, loan.data, loan.cap < (size_t)left ? loan.cap : (size_t)left);
		loan.len = n > 0 ? (size_t)n : 0;
		left -= n > 0 ? n : 0;
		if (vn_publish(c, &loan) < 0 || n <= 0)
			return -EIO;
	}
	return 0;
}

static int
serve_file(vn_hub *h, const client *k, const char *target, bool has_body)
{
	lookup l = {.folder = k->site->folder, .fd = -1};
	int rc = path_decode(target, l.path);
	vn_stream *file = NULL;

	if (rc == 0)
		rc = vn_pool_call_or_drop(k->site->pool, look_up, &l, look_up_drop);
	if (rc == 0 && !(file = vn_os_stream(h, l.fd, 0))) {
		rc = -errno;
		close(l.fd);
	}
	if (answer(k->conn, rc, rc == 0 ? l.size : 0) == 0 && rc == 0 && has_body)
		rc = send_file(k->conn, file, l.size);
	vn_close(file);
	return rc;
}

/* The first line, and then all others up to the empty one. */
static int
read_request(vn_conn *c, char line[LINE])
{
	char other[LINE];
	ssize_t n = vn_read_until(c, line, LINE - 1, "\n");

	if (n <= 0)
		return n < 0 ? (int)n : -EPIPE;
	line[n] = 0;
	for (int i = 0; i < LINES_MAX; i++) {
		n = vn_read_until(c, other, sizeof other, "\n");
		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		if (n == 1 || (n == 2 && other[0] == '\r'))
			return 0;
	}
	return -EMSGSIZE;
}

static int
serve(vn_hub *h, void *arg)
{
	client k = *(client *)arg;
	char line[LINE], method[8], target[LINE];
	vn_time outer = vn_timeout(h, 10 * VN_SEC);
	int rc = read_request(k.conn, line);

	free(arg);
	vn_deadline(h, outer);
	if (rc == 0 && sscanf(line, "%7s %2047s HTTP/1.", method, target) != 2)
		rc = -EINVAL;
	if (rc == 0 && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		rc = -ENOTSUP;
	if (rc == 0 && serve_file(h, &k, target, *method == 'G') == -EIO)
		vn_abort(k.conn); /* the client must not take this for the whole file */
	else if (rc == -EINVAL || rc == -EMSGSIZE || rc == -ENOTSUP)
		answer(k.conn, rc, 0);
	return vn_close(k.conn);
}

static int
accept_all(vn_hub *h, void *arg)
{
	const site *s = arg;
	vn_conn *conn;

	while (vn_recv(s->server, &conn) == 0) {
		client *k = malloc(sizeof *k);

		if (k)
			*k = (client){s, conn};
		if (!k || vn_spawn(h, serve, k) < 0) {
			free(k);
			vn_close(conn);
		}
	}
	return vn_close(s->server);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7080";
	const char *folder = argc > 2 ? argv[2] : ".";
	vn_hub *h = vn_hub_new();
	site s = {.server = vn_listen(h, url, 0),
		.pool = vn_pool(h, 4),
		.folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC)};

	if (!s.server)
		err(1, "%s", url);
	if (s.folder < 0)
		err(1, "%s", folder);
	if (!s.pool)
		err(1, "pool");
	vn_spawn(h, accept_all, &s);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
