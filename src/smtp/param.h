/* SPDX-License-Identifier: ISC */
/*
 * param: the parameters of MAIL and RCPT. Private to src/smtp.
 */
#ifndef SMTP_PARAM_H
#define SMTP_PARAM_H

#include "smtp/command.h"
#include "smtp/put.h"

#define SMTP_ENVID_MAX	    100 /* decoded: RFC 3461 4.4 */
#define SMTP_ORCPT_MAX	    500 /* as given and as built: RFC 3461 4.2 */
#define SMTP_AUTH_PARAM_MAX 500 /* as given and as built: RFC 4954 10 */

/* Takes the first word off *IN: up to a blank, which is taken too with all that follow it. */
struct span smtp_word(struct span *in);
/* 1 to 20 digits that fit 64 bits. */
bool smtp_number(struct span s, uint64_t *number);
/* A value that was taken, as it is built: strict xtext, and of a stranger with nothing in it that
 * could act on a server which pastes it somewhere. */
void smtp_put_xtext(struct smtp_put *w, struct span value, bool stranger);
size_t smtp_xtext_length(struct span value, bool stranger);
/* What follows the type in ORCPT=; p == NULL: there is no ";". */
struct span smtp_orcpt_address(struct span orcpt);
/* False: ORCPT, written as a stranger's, would be longer than it may be: 501 5.5.4. */
bool smtp_stranger_fits(const struct smtp_command *cmd);
/* Parses REST, all that stands behind the path of CMD. NULL, or the reply that refuses it. */
const char *smtp_params_parse(struct smtp_command *cmd, struct span rest, uint32_t offered);

#endif
