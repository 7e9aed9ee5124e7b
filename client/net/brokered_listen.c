/* SPDX-License-Identifier: MIT */
/*
 * Brokered listen - the broker has the sockets: it is asked, and answers
 *
 * A listener has a number of ours, which stands in every OPEN. LISTEN carries the URL in a block of our lane, which is
 * ours again with the answer; LISTENING carries what the URL has become, or an error. The broker keeps the number
 * until UNLISTEN, also of what it refused. While an answer is outstanding the program is not READY.
 */
#include <errno.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/net/brokered.h"
#include "shm/crash.h"

/* The broker has one socket for an address, whoever asks; asking twice is an error as it is without it. */
static bool
listens_already(const vn_net *net, const vn_listener *l)
{
	for (const vn_listener *i = net->listeners; i; i = i->next)
		if (!i->ended && i->endpoint.sa_len && i->endpoint.scheme == l->endpoint.scheme &&
			i->endpoint.sa_len == l->endpoint.sa_len &&
			memcmp(&i->endpoint.sa, &l->endpoint.sa, l->endpoint.sa_len) == 0)
			return true;
	return false;
}

static int
listener_slot(vn_brokered *b, vn_listener *l)
{
	for (uint32_t i = 0; i <= VN_MAX_LISTENER; i++)
		if (!b->listeners[i]) {
			b->listeners[i] = l;
			l->id = i;
			return 0;
		}
	return -EMFILE;
}

/**
 * vn_brokered_listener_free() - the broker keeps the number, also of one that it refused, until it is told
 */
void
vn_brokered_listener_free(vn_brokered *b, vn_listener *l)
{
	vn_stage(b, &(vn_desc){.kind = VN_KIND_UNLISTEN, .arg = (uint16_t)l->id});
	b->listeners[l->id] = NULL;
}

/* Waits for the answer, whatever the caller's deadline, and if its group is cancelled: nobody is kept waiting. */
static int
listen_wait(vn_brokered *b, vn_listener *l)
{
	vn_hub *h = b->net->hub;

	b->n_unanswered += !l->is_dialled;
	vn_hub_hold(h);
	while (!l->answered && !h->stopping) {
		vn_clause clause = {0};

		vn_waitq_push(&l->answer, &clause);
		vn_wait_shielded(h, &clause, 1);
	}
	vn_hub_unhold(h);
	return l->answered ? l->error : -ECANCELED;
}

static int
listen_ask(vn_brokered *b, vn_listener *l, const char *url, uint8_t flags)
{
	uint32_t len = (uint32_t)strlen(url),
		 block = vn_block_alloc(b->link.blocks, vn_block_class(len));
	int rc = block == VN_NO_BLOCK ? -ENOMEM : listener_slot(b, l);

	if (block == VN_NO_BLOCK)
		return rc;
	if (rc == 0) {
		vn_area_write(b->net->out_area, block, 0, url, len);
		VN_CRASH_POINT("worker.listen.before");
		vn_stage(b, &(vn_desc){.kind = VN_KIND_LISTEN,
				    .flags = flags,
				    .arg = (uint16_t)l->id,
				    .len = len,
				    .block = block});
		rc = listen_wait(b, l);
		if (rc < 0)
			vn_brokered_listener_free(b, l);
	}
	if (rc != -ECANCELED) /* else it stays out: the broker may still read it */
		vn_block_free(b->link.blocks, block);
	return rc;
}

/* What to ask for: the URL with its host resolved, or the name of an endpoint of the broker's. */
static int
listen_url(vn_net *net, vn_listener *l, const char *url, char asked[static VN_URL_MAX])
{
	char why[256];
	int rc;

	if (url && *url && !strchr(url, ':') && strlen(url) < VN_URL_MAX) {
		strcpy(asked, url);
		return 0;
	}
	rc = vn_endpoint_parse(&l->endpoint, url, why);
	if (rc == 0 && listens_already(net, l)) {
		rc = -EADDRINUSE;
		strcpy(why, "this program listens there already; close that listener first");
	}
	if (rc == 0 && (rc = vn_endpoint_format(&l->endpoint, asked)) < 0)
		strcpy(why, "a URL has at most 1023 bytes, its options written out");
	if (rc < 0)
		vn_log(net->hub, LOG_ERR, "%s: cannot listen: %s", url ? url : "(null)", why);
	return rc;
}

/**
 * vn_brokered_ask() - have the broker open an endpoint
 * @url:   if l->is_dialled, of an address to be connected to
 * @flags: VN_RESUME, VN_DATAGRAM, VN_PEER
 *
 * Waits for the answer, whatever the caller's deadline.
 *
 * Return: 0, or why not, which was said where the answer does not say it.
 */
int
vn_brokered_ask(vn_net *net, vn_listener *l, const char *url, uint8_t flags)
{
	char asked[VN_URL_MAX];
	int rc = net->hub->stopping ? -ECANCELED : 0;

	if (rc == 0 && l->is_dialled)
		return listen_ask(vn_brokered_of(net), l, url, flags);
	if (rc == 0)
		rc = listen_url(net, l, url, asked);
	return rc < 0 ? rc : listen_ask(vn_brokered_of(net), l, asked, flags);
}

/**
 * vn_brokered_listen() - have the broker listen
 *
 * Return: as vn_brokered_ask().
 */
int
vn_brokered_listen(vn_net *net, vn_listener *l, const char *url)
{
	int rc = vn_brokered_ask(net, l, url, l->flags & VN_RESUMABLE ? VN_RESUME : 0);

	if (rc < 0)
		return rc;
	vn_brokered_of(net)->n_listeners++;
	vn_hub_hold(net->hub);
	return 0;
}

/**
 * vn_brokered_on_listening() - the broker's answer to LISTEN
 */
void
vn_brokered_on_listening(vn_brokered *b, const vn_desc *d)
{
	vn_listener *l = b->listeners[d->arg];
	uint32_t len = d->len < sizeof l->url ? d->len : (uint32_t)sizeof l->url - 1;

	if (b->n_unanswered && !(l && l->is_dialled))
		b->n_unanswered--;
	if (!l)
		return;
	l->error = -(int)d->report;
	if (len)
		vn_area_read(b->net->in_area, d->block, d->offset, l->url, len);
	if (strncmp(l->url, "seqpacket:", 10) == 0) /* it may have been asked for by its name */
		l->endpoint.scheme = VN_SEQPACKET;
	l->answered = true;
	vn_conn_wake(&l->answer);
}

/**
 * vn_brokered_unlisten() - a listener is closed
 */
void
vn_brokered_unlisten(vn_net *net, vn_listener *l)
{
	vn_brokered *b = vn_brokered_of(net);

	vn_brokered_listener_free(b, l);
	b->n_listeners--;
	vn_hub_unhold(net->hub);
	vn_brokered_forget_listener(b, l);
}
