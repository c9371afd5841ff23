/* SPDX-License-Identifier: ISC */
/* tls: see tls.h. */
#include "tls/tls.h"

#include <errno.h>
#include <malloc.h>

#include "tls/inner.h"

#define CROWD_LEAST 64 /* connections: about a MB */

int tls_init(struct tls *t, struct io *io, unsigned connections, unsigned most, bool kernel)
{
	*t = (struct tls){ .io = io, .kernel = kernel, .most = most };
	list_init(&t->waiting);
	list_init(&t->due);
	io_task_init(&t->task, tls_handshake_task);
	t->method = tls_wire_method();
	if (!t->method || pool_init(&t->conns, sizeof(struct tls_conn), connections) < 0 ||
	    pool_init(&t->outs, sizeof(struct tls_out), 2 * (size_t)connections) < 0) {
		tls_destroy(t);
		return -ENOMEM;
	}
	return 0;
}

void tls_trim(struct tls *t)
{
	if (t->crowd < CROWD_LEAST || t->conns.in_use > t->crowd / 2)
		return;
	(void)malloc_trim(0);
	t->crowd = t->conns.in_use;
}

void tls_destroy(struct tls *t)
{
	pool_destroy(&t->conns);
	pool_destroy(&t->outs);
	BIO_meth_free(t->method);
	t->method = NULL;
}
