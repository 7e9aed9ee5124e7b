/* SPDX-License-Identifier: MIT */
/*
 * Error - what a result means here, in words
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <vanilla.h>

/* Errors with a meaning of this library's own; the system's words do for all others. */
static const struct {
	int error;
	const char *text;
} texts[] = {
	{EPIPE, "closed by the other end"},
	{EOWNERDEAD, "the other end died without closing"},
	{ETIMEDOUT, "the deadline passed"},
	{ECANCELED, "cancelled, or the hub is stopping"},
	{ESTALE, "the connection lives on elsewhere"},
	{ECONNRESET, "reset by the client"},
	{EDEADLK, "nothing left in this hub can end the wait"},
	{EBUSY, "another coroutine already waits there"},
	{ENOMEM, "out of memory"},
	{EBADF, "there is no such end (NULL)"},
	{EMSGSIZE, "the delimiter is not within the limit"},
	{ENOBUFS, "too slow: it was disconnected when it had no room left"},
	{EALREADY, "it has happened already"},
	{EEXIST, "it is watched already"},
	{EPERM, "not allowed here, or for such a file"},
	{ENODATA, "the name has no address"},
	{EREMOTEIO, "no name server could say: is there one, does it answer?"},
	{EAGAIN, "it would have to wait"},
};

/**
 * vn_strerror() - what a result means, in words
 * @rc: what a function of this library returned, or the negative of errno
 *
 * Return: a string that lives for ever; never NULL.
 */
const char *
vn_strerror(int rc)
{
	const char *text;

	if (rc >= 0)
		return "success";
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (rc == -texts[i].error)
			return texts[i].text;
	text = rc < -4095 ? NULL : strerrordesc_np(-rc);
	return text ? text : "unknown error";
}
