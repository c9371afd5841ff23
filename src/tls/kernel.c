/* SPDX-License-Identifier: ISC */
/* kernel: see kernel.h. */
#include "tls/kernel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tls/inner.h"
#include "tls/offload.h"
#include "tls/secrets.h"

#define RENEWALS 3 /* renegotiations that a peer may ask for in vain */

/* Types of records (RFC 8446 5.1), of messages (4), and alerts (6). */
enum { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23 };
enum { HELLO_REQUEST = 0, CLIENT_HELLO = 1, NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };
enum { ALERT_CLOSE_NOTIFY = 0, ALERT_USER_CANCELED = 90, ALERT_NO_RENEGOTIATION = 100 };

/* ---- taking over ---- */

/* OpenSSL holds nothing of the peer's, and nothing of ours is to go. */
static bool is_clean(const struct tls_conn *c)
{
	const SSL_SESSION *session = c->ssl ? SSL_get0_session(c->ssl) : NULL;

	/* The kernel makes records of 16 KB, whatever was agreed on (RFC 6066 4). */
	if (!session || SSL_SESSION_get_max_fragment_length(session))
		return false;
	return c->state == TLS_OPEN && !c->eof && !c->came.octets && !c->out && !c->flying &&
	       c->late == 0 && !SSL_has_pending(c->ssl) && !tls_conn_is_between(c);
}

/* As offload_give(). */
static int take(const struct tls_conn *c)
{
	struct offload keys;
	int res = tls_secrets_keys(c, &keys) ? offload_give(c->fd, &keys) : -EOPNOTSUPP;

	OPENSSL_cleanse(&keys, sizeof(keys));
	return res;
}

/* OpenSSL's goes with its object. */
static void keep_name(struct tls_conn *c)
{
	const char *name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);

	c->name = name ? strdup(name) : NULL;
}

bool tls_kernel_take_over(struct tls_conn *c)
{
	int res = c->tls->kernel && is_clean(c) ? take(c) : -EOPNOTSUPP;

	if (res == -EPROTO)
		tls_conn_failed(c, TLS_FAULT_RESOURCES);
	c->kernel = c->layer.splices = res == 0;
	if (c->kernel && c->role.server)
		keep_name(c);
	c->is_1_3 = c->kernel && SSL_version(c->ssl) == TLS1_3_VERSION;
	return c->kernel;
}

void tls_kernel_settle(struct tls_conn *c)
{
	tls_secrets_forget(c);
	if (!c->ssl)
		return;
	if (!c->kernel) {
		SSL_set_read_ahead(c->ssl, 1);
		return;
	}
	/* Or OpenSSL would resume no session of which the end was not said. */
	SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	c->ssl = NULL;
}

/* ---- what comes ---- */

/* As recv(2); *TYPE is that of the record. 0 with RECORD_DATA: the end of the peer's stream. */
static ssize_t receive(const struct tls_conn *c, void *buf, size_t len, int flags, uint8_t *type)
{
	union {
		struct cmsghdr head;
		uint8_t room[CMSG_SPACE(1)];
	} control;
	struct iovec iov = { buf, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *head;
	ssize_t n;

	do
		n = recvmsg(c->fd, &msg, flags | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	*type = RECORD_DATA;
	if (n < 0)
		return -errno;
	if (msg.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	head = CMSG_FIRSTHDR(&msg);
	if (head && head->cmsg_level == SOL_TLS && head->cmsg_type == TLS_GET_RECORD_TYPE)
		*type = *CMSG_DATA(head);
	return n == 0 && head && *type == RECORD_DATA ? -EAGAIN : n; /* an empty record */
}

static void send_alert(const struct tls_conn *c, uint8_t level, uint8_t what)
{
	uint8_t octets[2] = { level, what };
	union {
		struct cmsghdr head;
		uint8_t room[CMSG_SPACE(1)];
	} control = { .head = { .cmsg_level = SOL_TLS,
				.cmsg_type = TLS_SET_RECORD_TYPE,
				.cmsg_len = CMSG_LEN(1) } };
	struct iovec iov = { octets, sizeof(octets) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	*CMSG_DATA(&control.head) = RECORD_ALERT;
	(void)!sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void tls_kernel_goodbye(const struct tls_conn *c)
{
	send_alert(c, 1, ALERT_CLOSE_NOTIFY);
}

/* Both octets of an alert. In TLS 1.2 a warning is one by its level; in 1.3 by what it says. */
static void on_alert(struct tls_conn *c, uint8_t level, uint8_t what)
{
	if (what == ALERT_CLOSE_NOTIFY) {
		c->tidy = true;
	} else if (what != ALERT_USER_CANCELED && (level != 1 || c->is_1_3)) {
		ERR_raise(ERR_LIB_SSL, SSL_AD_REASON_OFFSET + what); /* as OpenSSL says it */
		tls_conn_failed(c, TLS_FAULT_PROTOCOL);
	}
}

/* The first octet of a message of the handshake. */
static void on_message(struct tls_conn *c, uint8_t type)
{
	bool renegotiates = type == (c->role.server ? CLIENT_HELLO : HELLO_REQUEST);

	if (type == KEY_UPDATE)
		tls_conn_failed(c, TLS_FAULT_KEY_UPDATE);
	else if (type == NEW_SESSION_TICKET && !c->role.server)
		return;
	else if (renegotiates && !c->is_1_3 && ++c->renewals <= RENEWALS)
		send_alert(c, 1, ALERT_NO_RENEGOTIATION);
	else
		tls_conn_failed(c, TLS_FAULT_PROTOCOL);
}

/* Records may be cut anywhere by how they are read, and messages by records: so octet by octet. */
static void handle_octet(struct tls_conn *c, uint8_t type, uint8_t octet)
{
	if (c->beside_left > 0) {
		c->beside_left--;
		return;
	}
	c->beside[c->beside_n++] = octet;
	if (type == RECORD_ALERT && c->beside_n == 2) {
		c->beside_n = 0;
		on_alert(c, c->beside[0], c->beside[1]);
	} else if (type == RECORD_HANDSHAKE && c->beside_n == 1) {
		on_message(c, octet);
	} else if (c->beside_n == sizeof(c->beside)) { /* a type and three octets of length */
		c->beside_n = 0;
		c->beside_left =
			(uint32_t)c->beside[1] << 16 | (uint32_t)c->beside[2] << 8 | c->beside[3];
	}
}

/* A record, or a part of one, that holds no octet of the peer's stream. */
static void handle(struct tls_conn *c, uint8_t type, const uint8_t *octets, size_t n)
{
	if (++c->late > TLS_LATE_MAX)
		tls_conn_failed(c, TLS_FAULT_KEY_UPDATE);
	else if (type != RECORD_ALERT && type != RECORD_HANDSHAKE)
		tls_conn_failed(c, TLS_FAULT_PROTOCOL);
	/* Nothing of another kind may stand within a message (RFC 8446 5.1). */
	if ((c->beside_n > 0 || c->beside_left > 0) && c->beside_type != type)
		tls_conn_failed(c, TLS_FAULT_PROTOCOL);
	c->beside_type = type;
	for (size_t i = 0; i < n && c->state == TLS_OPEN; i++)
		handle_octet(c, type, octets[i]);
}

/* Nothing was received, because of RES. 0: the end; or -errno. */
static int ended(struct tls_conn *c, ssize_t res)
{
	if (res == -EAGAIN)
		return -EAGAIN;
	if (res == -EBADMSG || res == -EPROTO || res == -EMSGSIZE) {
		tls_conn_failed(c, TLS_FAULT_PROTOCOL);
		return -EPROTO;
	}
	c->eof = true;
	c->error = (int)res;
	return (int)res;
}

ssize_t tls_kernel_read(struct tls_conn *c, uint8_t *buf, size_t len)
{
	size_t n = 0;
	int res = 0;

	ERR_clear_error();
	while (n < len && !c->tidy && !c->eof) {
		uint8_t type;
		ssize_t got = receive(c, buf + n, len - n, 0, &type);

		if (got <= 0 && type == RECORD_DATA) {
			res = ended(c, got);
			break;
		}
		if (type == RECORD_DATA)
			n += (size_t)got;
		else
			handle(c, type, buf + n, (size_t)got);
		if (c->state != TLS_OPEN) {
			res = -EPROTO; /* what came before it counts */
			break;
		}
	}
	if (n > 0)
		return (ssize_t)n;
	return c->tidy ? 0 : res;
}

int tls_kernel_look(struct tls_conn *c)
{
	ERR_clear_error();
	while (c->state == TLS_OPEN && !c->tidy && !c->eof) {
		uint8_t *octets = c->tls->block, type;
		ssize_t n = receive(c, octets, sizeof(c->tls->block), MSG_PEEK, &type);

		if (n > 0 && type == RECORD_DATA)
			return (int)n;
		if (n <= 0 && type == RECORD_DATA)
			return ended(c, n) == -EPROTO ? -EPROTO : 0;
		n = receive(c, octets, sizeof(c->tls->block), 0, &type);
		handle(c, type, octets, n > 0 ? (size_t)n : 0);
	}
	return c->state == TLS_OPEN ? 0 : -EPROTO;
}

bool tls_kernel_is_between(const struct tls_conn *c)
{
	int n = 0;

	return c->beside_n > 0 || c->beside_left > 0 || ioctl(c->fd, SIOCINQ, &n) < 0 || n > 0;
}

/* ---- what goes ---- */

/* No more is said to follow (MSG_MORE): a record that is left open nobody counts. */
void tls_kernel_send(struct tls_conn *c, const void *buf, size_t len,
		     void (*done)(struct io_op *op, int res))
{
	c->tx.done = done;
	io_send(c->tls->io, &c->tx, c->fd, buf, len, IO_SEND_PARTS);
}

void tls_kernel_say(const struct tls_conn *c, const void *octets, size_t n)
{
	(void)!send(c->fd, octets, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The sum of what waits and what is acknowledged. What waits is asked for first: so an octet that
 * is acknowledged between the two questions counts twice, and none is left out. */
uint64_t tls_kernel_sent(const struct tls_conn *c)
{
	struct tcp_info info = { 0 };
	socklen_t n = sizeof(info);
	int waiting = 0;

	if (ioctl(c->fd, SIOCOUTQ, &waiting) < 0 ||
	    getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
		return 0;
	return (uint64_t)info.tcpi_bytes_acked + (uint32_t)waiting;
}
