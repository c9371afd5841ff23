/* SPDX-License-Identifier: ISC */
/*
 * identity: whom the destination takes us for (identity= of DESTINATIONS), as far as that is the
 * dialog's. What comes before the greeting is its owner's (upstream/present.h); XFORWARD, which
 * tells of the client for one transaction, goes with each MAIL. A destination that turns out not to
 * know the client's identity gets no mail: 421 4.3.2, and its owner tells of it; that it is of no
 * use at all (`unfit`) is said only of what no client can bring about, since strangers would choose
 * among the destinations of a cluster by that.
 *
 * And who the client is: a proxy of XCLIENT_FROM says that by XCLIENT (`renamed`). Its session is
 * then over without a word, and its owner begins another one over the same connection, for the
 * client that was named. The greeting of that one is the answer.
 */
#ifndef DIALOG_IDENTITY_H
#define DIALOG_IDENTITY_H

enum dialog_told {
	DIALOG_UNTOLD, /* it sees us */
	/* By a header ahead of its greeting. One that does not know such takes it for a command: so
	 * its first reply behind the greeting must be a good one. */
	DIALOG_TOLD_AHEAD,
	DIALOG_TOLD,	 /* it takes us for the client */
	DIALOG_FORWARDS, /* it is told with each transaction */
};

struct dialog;

/* The other session has what it needs of this one. */
void dialog_end_renamed(struct dialog *d);

/* The connection that the dialog is given next is so. Its owner says it before that. */
void dialog_note_told(struct dialog *d, enum dialog_told told);

#endif
