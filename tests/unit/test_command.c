/* SPDX-License-Identifier: ISC */
/* Commands: each line is refused with one exact class of reply, or rebuilt to one exact line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "feed.h"
#include "smtp/build.h"
#include "smtp/command.h"
#include "smtp/line.h"
#include "smtp/param.h"

#define S(lit)                                                                                     \
	{                                                                                          \
		(const uint8_t *)(lit), sizeof(lit) - 1                                            \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define ALL 0x7ffu
#define RFC (ALL & ~(uint32_t)(SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME | SMTP_EXT_STARTTLS))

#define UNKNOWN "500 5.5.2 "
#define REFUSED "502 5.5.1 "
#define PATH	"501 5.1.3 "
#define SENDER	"501 5.1.7 "
#define ARG	"501 5.5.4 "
#define PARAM	"555 5.5.4 "

struct row {
	struct span line;
	enum smtp_verb verb;
	const char *want; /* the beginning of the refusal, or the whole line that is built */
};

/* All with every extension that there is offered, and rebuilt for a login to a server with all.
 */
static const struct row rows[] = {
	/* Verbs. */
	{ S(""), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S(" "), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("\t"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S(" QUIT"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("QUI"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("QUITX"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("QUIT\0"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("MAILFROM:<u@c>"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("MAIL\tFROM:<u@c>"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("RCPT:<u@c>"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("GET / HTTP/1.1"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("\x16\x03\x01\x02"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("XEXCH50 1 2"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("LHLO x"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("UNKNOWN"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("REFUSED"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("ETRN x"), SMTP_VERB_REFUSED, REFUSED },
	{ S("TURN"), SMTP_VERB_REFUSED, REFUSED },
	{ S("ATRN x"), SMTP_VERB_REFUSED, REFUSED },
	{ S("SEND FROM:<u@c>"), SMTP_VERB_REFUSED, REFUSED },
	{ S("SOML FROM:<u@c>"), SMTP_VERB_REFUSED, REFUSED },
	{ S("saml from:<u@c>"), SMTP_VERB_REFUSED, REFUSED },
	{ S("BURL imap://x LAST"), SMTP_VERB_REFUSED, REFUSED },
	{ S("XCLIENT"), SMTP_VERB_XCLIENT, ARG },
	{ S("xclient ADDR=127.0.0.256"), SMTP_VERB_XCLIENT, ARG },
	{ S("xForward ADDR=127.0.0.1"), SMTP_VERB_XFORWARD, REFUSED },
	{ S("VRFY u"), SMTP_VERB_REFUSED, REFUSED },
	{ S("EXPN \x01"), SMTP_VERB_REFUSED, REFUSED },
	/* No argument. */
	{ S("QUIT"), SMTP_VERB_QUIT, "QUIT\r\n" },
	{ S("quit  \t "), SMTP_VERB_QUIT, "QUIT\r\n" },
	{ S("QUIT now"), SMTP_VERB_QUIT, ARG },
	{ S("RSET"), SMTP_VERB_RSET, "RSET\r\n" },
	{ S("RSET x"), SMTP_VERB_RSET, ARG },
	{ S("DATA"), SMTP_VERB_DATA, "DATA\r\n" },
	{ S("data "), SMTP_VERB_DATA, "DATA\r\n" },
	{ S("DATA <u@c>"), SMTP_VERB_DATA, ARG },
	{ S("STARTTLS"), SMTP_VERB_STARTTLS, "STARTTLS\r\n" },
	{ S("STARTTLS x"), SMTP_VERB_STARTTLS, ARG },
	/* Text. */
	{ S("NOOP"), SMTP_VERB_NOOP, "NOOP\r\n" },
	{ S("noop a  b\\\"<>"), SMTP_VERB_NOOP, "NOOP a  b\\\"<>\r\n" },
	{ S("NOOP a\tb"), SMTP_VERB_NOOP, ARG },
	{ S("NOOP \xc3\xbc"), SMTP_VERB_NOOP, ARG },
	{ S("NOOP a\x7f"), SMTP_VERB_NOOP, ARG },
	{ S("NOOP a\0b"), SMTP_VERB_NOOP, ARG },
	{ S("NOOP a\rRCPT TO:<u@evil>"), SMTP_VERB_NOOP, ARG },
	{ S("NOOP a\nRCPT TO:<u@evil>"), SMTP_VERB_NOOP, ARG },
	{ S("HELP"), SMTP_VERB_HELP, "HELP\r\n" },
	{ S("help MAIL"), SMTP_VERB_HELP, "HELP MAIL\r\n" },
	{ S("HELP \x1b[2J"), SMTP_VERB_HELP, ARG },
	/* Names. */
	{ S("HELO c"), SMTP_VERB_HELO, "HELO c\r\n" },
	{ S("ehlo  Mail.Example. "), SMTP_VERB_EHLO, "EHLO Mail.Example.\r\n" },
	{ S("EHLO my_pc"), SMTP_VERB_EHLO, "EHLO my_pc\r\n" },
	{ S("EHLO [127.0.0.1]"), SMTP_VERB_EHLO, "EHLO [127.0.0.1]\r\n" },
	{ S("EHLO [IPv6:::1]"), SMTP_VERB_EHLO, "EHLO [IPv6:::1]\r\n" },
	{ S("EHLO user@host:1/2"), SMTP_VERB_EHLO, "EHLO user@host:1/2\r\n" },
	{ S("EHLO"), SMTP_VERB_EHLO, ARG },
	{ S("HELO "), SMTP_VERB_HELO, ARG },
	{ S("HELO a b"), SMTP_VERB_HELO, ARG },
	{ S("EHLO a\tb"), SMTP_VERB_EHLO, ARG },
	/* Devices. */
	{ S("HELO (none)"), SMTP_VERB_HELO, "HELO (none)\r\n" },
	{ S("EHLO <c>"), SMTP_VERB_EHLO, "EHLO <c>\r\n" },
	{ S("EHLO a\"b;c"), SMTP_VERB_EHLO, "EHLO a\"b;c\r\n" },
	{ S("EHLO host\\"), SMTP_VERB_EHLO, "EHLO host\\\r\n" },
	{ S("EHLO host, "), SMTP_VERB_EHLO, "EHLO host,\r\n" },
	{ S("EHLO M\xdcLLER-PC"), SMTP_VERB_EHLO, "EHLO M\xdcLLER-PC\r\n" },
	{ S("EHLO b\xc3\xbc"
	    "cher"),
	  SMTP_VERB_EHLO,
	  "EHLO b\xc3\xbc"
	  "cher\r\n" },
	{ S("EHLO \x85\xff"), SMTP_VERB_EHLO, "EHLO \x85\xff\r\n" },
	{ S("EHLO a\x1b[m"), SMTP_VERB_EHLO, ARG },
	{ S("EHLO a\0"), SMTP_VERB_EHLO, ARG },
	{ S("EHLO a\x7f"), SMTP_VERB_EHLO, ARG },
	/* Paths in commands. */
	{ S("MAIL FROM:<u@c>"), SMTP_VERB_MAIL, "MAIL FROM:<u@c>\r\n" },
	{ S("mail from: <u@c.>  "), SMTP_VERB_MAIL, "MAIL FROM:<u@c>\r\n" },
	{ S("MAIL  FROM:<>"), SMTP_VERB_MAIL, "MAIL FROM:<>\r\n" },
	{ S("RCPT TO:<u@c>"), SMTP_VERB_RCPT, "RCPT TO:<u@c>\r\n" },
	{ S("rcpt To:<\"a b\"@C>\t"), SMTP_VERB_RCPT, "RCPT TO:<\"a b\"@C>\r\n" },
	{ S("RCPT TO:<PostMaster>"), SMTP_VERB_RCPT, "RCPT TO:<postmaster>\r\n" },
	{ S("MAIL"), SMTP_VERB_MAIL, ARG },
	{ S("RCPT "), SMTP_VERB_RCPT, ARG },
	{ S("MAIL FROM"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM <u@c>"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM :<u@c>"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL TO:<u@c>"), SMTP_VERB_MAIL, ARG },
	{ S("RCPT FROM:<u@c>"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT <u@c>"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO<u@c>"), SMTP_VERB_RCPT, ARG },
	{ S("MAIL FROM:"), SMTP_VERB_MAIL, SENDER },
	{ S("RCPT TO: "), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<>"), SMTP_VERB_RCPT, PATH },
	{ S("MAIL FROM:<postmaster>"), SMTP_VERB_MAIL, "MAIL FROM:<postmaster>\r\n" },
	{ S("MAIL FROM: <root> "), SMTP_VERB_MAIL, "MAIL FROM:<root>\r\n" },
	{ S("MAIL FROM:<root@>"), SMTP_VERB_MAIL, SENDER },
	{ S("MAIL FROM:<@>"), SMTP_VERB_MAIL, SENDER },
	{ S("RCPT TO:  <u@c>"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:\t<u@c>"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:u@c"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@evil@local>"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<@a:u@c>"), SMTP_VERB_RCPT, PATH },
	/* Text beside the path is no parameter. */
	{ S("RCPT TO:<u@c> <v@d>"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> , <v@d>"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> (comment)"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> v@d"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> \tNOTIFY=NEVER"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> \xc3\xbc"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> ="), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> -X"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c> NOTIFY=NEVER <v@d>"), SMTP_VERB_RCPT, PATH },
	{ S("RCPT TO:<u@c>NOTIFY=NEVER"), SMTP_VERB_RCPT, PATH },
	/* Octets above ASCII. */
	{ S("MAIL FROM:<\xc3\xbc@c> SMTPUTF8"), SMTP_VERB_MAIL,
	  "MAIL FROM:<\xc3\xbc@c> SMTPUTF8\r\n" },
	{ S("MAIL FROM:<\xc3\xbc@c>"), SMTP_VERB_MAIL, SENDER },
	{ S("MAIL FROM:<\xc3@c> SMTPUTF8"), SMTP_VERB_MAIL, SENDER },
	{ S("RCPT TO:<\xc3\xbc@c>"), SMTP_VERB_RCPT, "RCPT TO:<\xc3\xbc@c>\r\n" },
	{ S("RCPT TO:<u@\xfc>"), SMTP_VERB_RCPT, PATH },
	/* Parameters in general. */
	{ S("MAIL FROM:<> FOO"), SMTP_VERB_MAIL, PARAM },
	{ S("MAIL FROM:<> FOO=<v@d>"), SMTP_VERB_MAIL, PARAM },
	{ S("MAIL FROM:<> 1-X=2"), SMTP_VERB_MAIL, PARAM },
	{ S("MAIL FROM:<> XOORG=evil"), SMTP_VERB_MAIL, PARAM },
	{ S("MAIL FROM:<> NOTIFY=NEVER"), SMTP_VERB_MAIL, PARAM },
	{ S("MAIL FROM:<> ORCPT=rfc822;u@c"), SMTP_VERB_MAIL, PARAM },
	{ S("RCPT TO:<u@c> SIZE=1"), SMTP_VERB_RCPT, PARAM },
	{ S("RCPT TO:<u@c> SMTPUTF8"), SMTP_VERB_RCPT, PARAM },
	{ S("RCPT TO:<u@c> RRVS=2014-04-03T23:01:00Z"), SMTP_VERB_RCPT, PARAM },
	{ S("MAIL FROM:<u@c>   size=5   BODY=8bitmime"), SMTP_VERB_MAIL,
	  "MAIL FROM:<u@c> SIZE=5 BODY=8BITMIME\r\n" },
	{ S("MAIL FROM:<u@c> AUTH=<> ENVID=a RET=full SMTPUTF8 BODY=7bit SIZE=1"), SMTP_VERB_MAIL,
	  "MAIL FROM:<u@c> SIZE=1 SMTPUTF8 RET=FULL ENVID=a AUTH=<>\r\n" },
	/* SIZE. */
	{ S("MAIL FROM:<> SIZE=0"), SMTP_VERB_MAIL, "MAIL FROM:<> SIZE=0\r\n" },
	{ S("MAIL FROM:<> SIZE=000000000000000000012"), SMTP_VERB_MAIL, ARG }, /* 21 digits */
	{ S("MAIL FROM:<> SIZE=00000000000000000012"), SMTP_VERB_MAIL, "MAIL FROM:<> SIZE=12\r\n" },
	{ S("MAIL FROM:<> SIZE=18446744073709551615"), SMTP_VERB_MAIL,
	  "MAIL FROM:<> SIZE=18446744073709551615\r\n" },
	{ S("MAIL FROM:<> SIZE=18446744073709551616"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=99999999999999999999"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE="), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=-1"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=+1"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=1k"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=0x1"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=1\t"), SMTP_VERB_MAIL, "MAIL FROM:<> SIZE=1\r\n" },
	{ S("MAIL FROM:<> SIZE=1\tBODY=7BIT"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE=1 SIZE=1"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SIZE =1"), SMTP_VERB_MAIL, ARG },
	/* BODY. */
	{ S("MAIL FROM:<> BODY=BINARYMIME"), SMTP_VERB_MAIL, PARAM },
	{ S("MAIL FROM:<> BODY=9BIT"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> BODY"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> BODY="), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> BODY=7BIT BODY=8BITMIME"), SMTP_VERB_MAIL, ARG },
	/* SMTPUTF8. */
	{ S("MAIL FROM:<> smtputf8"), SMTP_VERB_MAIL, "MAIL FROM:<> SMTPUTF8\r\n" },
	{ S("MAIL FROM:<> SMTPUTF8="), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SMTPUTF8=1"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> SMTPUTF8 SMTPUTF8"), SMTP_VERB_MAIL, ARG },
	/* RET, ENVID. */
	{ S("MAIL FROM:<> RET=hdrs"), SMTP_VERB_MAIL, "MAIL FROM:<> RET=HDRS\r\n" },
	{ S("MAIL FROM:<> RET=BOTH"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> RET"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> RET=FULL RET=FULL"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> envid=QQ+2B1+3D+20"), SMTP_VERB_MAIL,
	  "MAIL FROM:<> ENVID=QQ+2B1+3D+20\r\n" },
	{ S("MAIL FROM:<> ENVID="), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a=b+3d"), SMTP_VERB_MAIL, "MAIL FROM:<> ENVID=a+3Db+3D\r\n" },
	{ S("MAIL FROM:<> ENVID=<>\"\\,;()"), SMTP_VERB_MAIL, "MAIL FROM:<> ENVID=<>\"\\,;()\r\n" },
	{ S("MAIL FROM:<> ENVID=a+"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+2"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+2b+4A"), SMTP_VERB_MAIL, "MAIL FROM:<> ENVID=a+2B+4A\r\n" },
	{ S("MAIL FROM:<> ENVID=a+0d"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+7f"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+GG"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+0D+0ABcc:+20v"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+00"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+7F"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a+FF"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=\xc3\xbc"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a\x01"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> ENVID=a ENVID=a"), SMTP_VERB_MAIL, ARG },
	/* AUTH=. */
	{ S("MAIL FROM:<> AUTH=u@c"), SMTP_VERB_MAIL, "MAIL FROM:<> AUTH=u@c\r\n" },
	{ S("MAIL FROM:<> AUTH=e+3Dmc2@c"), SMTP_VERB_MAIL, "MAIL FROM:<> AUTH=e+3Dmc2@c\r\n" },
	{ S("MAIL FROM:<> AUTH="), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> AUTH"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> AUTH=a=b@c"), SMTP_VERB_MAIL, "MAIL FROM:<> AUTH=a+3Db@c\r\n" },
	{ S("MAIL FROM:<> AUTH=a+0D"), SMTP_VERB_MAIL, ARG },
	{ S("MAIL FROM:<> AUTH=<> AUTH=<>"), SMTP_VERB_MAIL, ARG },
	/* NOTIFY. */
	{ S("RCPT TO:<u@c> NOTIFY=NEVER"), SMTP_VERB_RCPT, "RCPT TO:<u@c> NOTIFY=NEVER\r\n" },
	{ S("RCPT TO:<u@c> notify=delay,Failure,success"), SMTP_VERB_RCPT,
	  "RCPT TO:<u@c> NOTIFY=SUCCESS,FAILURE,DELAY\r\n" },
	{ S("RCPT TO:<u@c> NOTIFY=NEVER,FAILURE"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=DELAY,NEVER"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=DELAY,DELAY"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=DELAY,"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=,DELAY"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=DELAY,,FAILURE"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=,"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY="), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=DELAYED"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> NOTIFY=NEVER NOTIFY=NEVER"), SMTP_VERB_RCPT, ARG },
	/* ORCPT. */
	{ S("RCPT TO:<u@c> orcpt=rfc822;Bob+2B1@c NOTIFY=FAILURE"), SMTP_VERB_RCPT,
	  "RCPT TO:<u@c> NOTIFY=FAILURE ORCPT=rfc822;Bob+2B1@c\r\n" },
	{ S("RCPT TO:<u@c> ORCPT=utf-8;b\\x{FC}@c"), SMTP_VERB_RCPT,
	  "RCPT TO:<u@c> ORCPT=utf-8;b\\x{FC}@c\r\n" },
	{ S("RCPT TO:<u@c> ORCPT=UTF-8;b\xc3\xbc@c"), SMTP_VERB_RCPT,
	  "RCPT TO:<u@c> ORCPT=UTF-8;b\xc3\xbc@c\r\n" },
	{ S("RCPT TO:<u@c> ORCPT=UTF-8;b\xfc@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=UTF-8;b\xc2\x85@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc822;b\xc3\xbc@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc822;"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=;u@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=u@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT="), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc822;u=v+3d@c"), SMTP_VERB_RCPT,
	  "RCPT TO:<u@c> ORCPT=rfc822;u+3Dv+3D@c\r\n" },
	{ S("RCPT TO:<u@c> ORCPT=UTF-8;b\xc3\xbc+3d=@c"), SMTP_VERB_RCPT,
	  "RCPT TO:<u@c> ORCPT=UTF-8;b\xc3\xbc+3D+3D@c\r\n" },
	{ S("RCPT TO:<u@c> ORCPT=UTF-8;b\xc3\xbc+@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc=822;u@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc822;u+0A@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc822;u+tag@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=a.b;u@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc@822;u@c"), SMTP_VERB_RCPT, ARG },
	{ S("RCPT TO:<u@c> ORCPT=rfc822;u@c ORCPT=rfc822;u@c"), SMTP_VERB_RCPT, ARG },
	/* BDAT. */
	{ S("BDAT 0"), SMTP_VERB_BDAT, "BDAT 0\r\n" },
	{ S("bdat 0012 last"), SMTP_VERB_BDAT, "BDAT 12 LAST\r\n" },
	{ S("BDAT 2147483647 LAST"), SMTP_VERB_BDAT, "BDAT 2147483647 LAST\r\n" },
	{ S("BdAt 00000000002147483647"), SMTP_VERB_BDAT, "BDAT 2147483647\r\n" },
	{ S("BDAT 00000000000000000000"), SMTP_VERB_BDAT, "BDAT 0\r\n" },
	/* A number in which a server that counts in fewer bits would see another. */
	{ S("BDAT 2147483648"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 4294967301 LAST"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 18446744073709551615"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 18446744073709551616"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 18446744073709551621"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 000000000000000000000"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT "), SMTP_VERB_BDAT, ARG },
	{ S("BDAT  5"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 86 "), SMTP_VERB_BDAT, "BDAT 86\r\n" },
	{ S("BDAT 0 LAST "), SMTP_VERB_BDAT, "BDAT 0 LAST\r\n" },
	{ S("BDAT 5  "), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5\t"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5  LAST"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5 LAST  "), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5 LAST\t"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5LAST"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT +5"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 0x5"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5.0"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5,LAST"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT \xd9\xa5"), SMTP_VERB_BDAT, ARG },
	/* What means to be BDAT: octets follow it. */
	{ S("BDAT\t5"), SMTP_VERB_BDAT, ARG },
	{ S(" BDAT 5"), SMTP_VERB_BDAT, ARG },
	{ S("\tbdat 5 LAST"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT5"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT:5"), SMTP_VERB_BDAT, ARG },
	{ S("BDATA 5"), SMTP_VERB_UNKNOWN, UNKNOWN },
	{ S("BDAT LAST"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT -1"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5 LAS"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5 LAST x"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5 5"), SMTP_VERB_BDAT, ARG },
	{ S("BDAT 5\tLAST"), SMTP_VERB_BDAT, ARG },
	/* AUTH. */
	{ S("AUTH LOGIN"), SMTP_VERB_AUTH, "AUTH LOGIN\r\n" },
	{ S("auth plain AGEAYg== "), SMTP_VERB_AUTH, "AUTH PLAIN AGEAYg==\r\n" },
	{ S("AUTH external ="), SMTP_VERB_AUTH, "AUTH EXTERNAL =\r\n" },
	{ S("AUTH scram-sha-1_2"), SMTP_VERB_AUTH, "AUTH SCRAM-SHA-1_2\r\n" },
	{ S("AUTH A23456789012345678901"), SMTP_VERB_AUTH, ARG },
	{ S("AUTH A2345678901234567890"), SMTP_VERB_AUTH, "AUTH A2345678901234567890\r\n" },
	{ S("AUTH"), SMTP_VERB_AUTH, ARG },
	{ S("AUTH PL.AIN"), SMTP_VERB_AUTH, ARG },
	{ S("AUTH PLA\xc3N"), SMTP_VERB_AUTH, ARG },
	{ S("AUTH PLAIN *"), SMTP_VERB_AUTH, ARG },
	{ S("AUTH PLAIN AGEAYg="), SMTP_VERB_AUTH, ARG },
	{ S("AUTH PLAIN AGEA Yg=="), SMTP_VERB_AUTH, ARG },
	{ S("AUTH PLAIN\tAGEA"), SMTP_VERB_AUTH, ARG },
	{ S("AUTH=PLAIN"), SMTP_VERB_UNKNOWN, UNKNOWN },
};

static const struct smtp_rebuild to_all = { .ext = ALL, .logged_in = true, .trusted = true };

/* The reply is one line of that class with its text, ASCII, CR LF at the end only. */
static void check_reply(size_t i, const char *reply, const char *want)
{
	size_t n = reply ? strlen(reply) : 0;

	if (!reply || strncmp(reply, want, strlen(want)) != 0)
		fail_msg("row %zu: %s instead of %s", i, reply ? reply : "taken", want);
	assert_true(n > strlen(want) + 4 && n < 80);
	assert_ptr_equal(strchr(reply, '\r'), reply + n - 2);
	assert_ptr_equal(strchr(reply, '\n'), reply + n - 1);
}

static void check_built(size_t i, const struct smtp_command *cmd, const struct smtp_rebuild *how,
			const char *want)
{
	static uint8_t room[2 * SMTP_LINE_MAX];
	size_t n = strlen(want);
	struct buf out;

	for (size_t cap = 0; cap < n; cap++) {
		buf_init(&out, room, cap + 3);
		assert_int_equal(buf_put(&out, SPAN("xyz")), 0);
		buf_consume(&out, 1);
		assert_int_equal(smtp_command_build(cmd, how, &out), cap + 1 < n ? -ENOBUFS : 0);
		assert_int_equal(buf_len(&out), cap + 1 < n ? 2 : 2 + n);
		assert_memory_equal(buf_span(&out).p, "yz", 2);
	}
	buf_init(&out, room, sizeof(room));
	assert_int_equal(smtp_command_build(cmd, how, &out), 0);
	if (!span_eq(buf_span(&out), span_str(want)))
		fail_msg("row %zu: %.*s instead of %s", i, (int)buf_len(&out),
			 (const char *)buf_span(&out).p, want);
}

static void command_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span line = feed_guard(rows[i].line);
		bool refused = rows[i].want[0] == '5';
		struct smtp_command cmd;
		const char *reply = smtp_command_parse(&cmd, line, RFC);

		if (cmd.verb != rows[i].verb)
			fail_msg("row %zu: verb %s", i, smtp_verb_name(cmd.verb));
		assert_true(span_eq(cmd.line, line));
		if (refused) {
			check_reply(i, reply, rows[i].want);
			continue;
		}
		if (reply)
			fail_msg("row %zu: %s", i, reply);
		check_built(i, &cmd, &to_all, rows[i].want);
		/* What was built says the same again. */
		struct span again = feed_guard(span_of(rows[i].want, strlen(rows[i].want) - 2));

		assert_null(smtp_command_parse(&cmd, again, RFC));
		check_built(i, &cmd, &to_all, rows[i].want);
	}
}

/* As it comes from the network: cut off the stream by smtp_line_cut(), then parsed. */
struct arrival {
	const struct row *row;
	enum smtp_line_result result;
	const char *reply;
	uint8_t built[SMTP_LINE_MAX];
	struct buf out;
};

static bool arrival_piece(void *ctx, struct span in)
{
	struct arrival *a = ctx;
	struct smtp_command cmd;
	struct span line;
	size_t consumed;

	a->result = smtp_line_cut(in, smtp_line_limit(in), &line, &consumed);
	if (a->result != SMTP_LINE_OK)
		return a->result == SMTP_LINE_MORE;
	a->reply = smtp_command_parse(&cmd, line, RFC);
	buf_init(&a->out, a->built, sizeof(a->built));
	if (!a->reply)
		assert_int_equal(smtp_command_build(&cmd, &to_all, &a->out), 0);
	return false;
}

static void arrival_end(void *ctx, size_t cut)
{
	struct arrival *a = ctx;
	const struct span line = a->row->line;
	bool odd = false;

	(void)cut;
	for (size_t i = 0; i < line.n; i++)
		odd |= line.p[i] == '\0' || line.p[i] == '\r' || line.p[i] == '\n';
	assert_int_equal(a->result, odd ? SMTP_LINE_BAD : SMTP_LINE_OK);
	if (odd)
		return;
	if (a->row->want[0] == '5')
		check_reply((size_t)(a->row - rows), a->reply, a->row->want);
	else
		assert_true(span_eq(buf_span(&a->out), span_str(a->row->want)));
}

static void command_arrival(void **state)
{
	static struct arrival a;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t text[256];
		size_t n = rows[i].line.n;
		struct feed f = {
			.growing = true, .piece = arrival_piece, .end = arrival_end, .ctx = &a
		};

		memcpy(text, rows[i].line.p, n);
		memcpy(text + n, "\r\n", 2);
		a.row = &rows[i];
		feed_every_way(&f, span_of(text, n + 2));
	}
}

/* Every line cut short anywhere: no octet behind it is read, and what is built from it is one line.
 */
static void command_prefixes(void **state)
{
	uint8_t room[SMTP_LINE_MAX];
	struct smtp_command cmd;
	struct buf out;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t n = 0; n < rows[i].line.n; n++) {
			struct span line = feed_guard(span_of(rows[i].line.p, n));

			if (smtp_command_parse(&cmd, line, ALL))
				continue;
			buf_init(&out, room, sizeof(room));
			assert_int_equal(smtp_command_build(&cmd, &to_all, &out), 0);
			struct span s = buf_span(&out);

			assert_true(s.n >= 6 && s.n <= line.n + 2 + SMTP_REBUILT_MORE);
			assert_ptr_equal(memchr(s.p, '\n', s.n), s.p + s.n - 1);
			assert_ptr_equal(memchr(s.p, '\r', s.n), s.p + s.n - 2);
			assert_null(memchr(s.p, '\0', s.n));
			assert_null(memchr(s.p, '\t', s.n));
		}
	}
}

/* Each parameter needs its own extension, and no other. */
static void offered_only(void **state)
{
	static const struct {
		struct span line;
		uint32_t ext;
	} cases[] = {
		{ S("MAIL FROM:<> SIZE=1"), SMTP_EXT_SIZE },
		{ S("MAIL FROM:<> BODY=7BIT"), SMTP_EXT_8BITMIME },
		{ S("MAIL FROM:<> BODY=8BITMIME"), SMTP_EXT_8BITMIME },
		{ S("MAIL FROM:<> BODY=BINARYMIME"), SMTP_EXT_BINARYMIME },
		{ S("MAIL FROM:<> SMTPUTF8"), SMTP_EXT_SMTPUTF8 },
		{ S("MAIL FROM:<> RET=FULL"), SMTP_EXT_DSN },
		{ S("MAIL FROM:<> ENVID=x"), SMTP_EXT_DSN },
		{ S("MAIL FROM:<> AUTH=<>"), SMTP_EXT_AUTH },
		{ S("RCPT TO:<u@c> NOTIFY=NEVER"), SMTP_EXT_DSN },
		{ S("RCPT TO:<u@c> ORCPT=rfc822;u"), SMTP_EXT_DSN },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct span line = feed_guard(cases[i].line);
		struct smtp_rebuild none = { .ext = ALL & ~cases[i].ext };
		struct smtp_command cmd;

		assert_null(smtp_command_parse(&cmd, line, cases[i].ext));
		assert_int_equal(cmd.ext, cases[i].ext);
		check_built(i, &cmd, &none,
			    cmd.verb == SMTP_VERB_MAIL ? "MAIL FROM:<>\r\n" : "RCPT TO:<u@c>\r\n");
		check_reply(i, smtp_command_parse(&cmd, line, ALL & ~cases[i].ext), PARAM);
		check_reply(i, smtp_command_parse(&cmd, line, 0), PARAM);
	}
}

static void utf8_needs(void **state)
{
	struct smtp_rebuild ascii = { .ext = ALL & ~(uint32_t)SMTP_EXT_SMTPUTF8 };
	struct smtp_command cmd;

	(void)state;
	assert_null(smtp_command_parse(&cmd, SPAN("RCPT TO:<\xc3\xbc@c>"), SMTP_EXT_SMTPUTF8));
	assert_int_equal(cmd.ext, SMTP_EXT_SMTPUTF8);
	assert_true(cmd.path.eight_bit);
	check_reply(0, smtp_command_parse(&cmd, SPAN("RCPT TO:<\xc3\xbc@c>"), ascii.ext), PATH);
	check_reply(1, smtp_command_parse(&cmd, SPAN("MAIL FROM:<\xc3\xbc@c>"), ascii.ext), SENDER);
	check_reply(2, smtp_command_parse(&cmd, SPAN("MAIL FROM:<\xc3\xbc@c> SMTPUTF8"), ascii.ext),
		    PARAM);
	assert_null(smtp_command_parse(&cmd, SPAN("RCPT TO:<u@c> ORCPT=utf-8;\xc3\xbc@c"), ALL));
	assert_int_equal(cmd.ext, SMTP_EXT_SMTPUTF8 | SMTP_EXT_DSN);
	check_built(3, &cmd, &ascii, "RCPT TO:<u@c>\r\n");
	check_reply(
		4,
		smtp_command_parse(&cmd, SPAN("RCPT TO:<u@c> ORCPT=utf-8;\xc3\xbc@c"), ascii.ext),
		ARG);
}

/* Strangers: no report of success, nobody's identity. */
static void strangers(void **state)
{
	static const struct {
		struct span line;
		const char *stranger, *network, *login;
	} cases[] = {
		{ S("RCPT TO:<u@c> NOTIFY=SUCCESS"), "RCPT TO:<u@c> NOTIFY=NEVER\r\n",
		  "RCPT TO:<u@c> NOTIFY=SUCCESS\r\n", "RCPT TO:<u@c> NOTIFY=SUCCESS\r\n" },
		{ S("RCPT TO:<u@c> NOTIFY=SUCCESS,DELAY"), "RCPT TO:<u@c> NOTIFY=DELAY\r\n",
		  "RCPT TO:<u@c> NOTIFY=SUCCESS,DELAY\r\n",
		  "RCPT TO:<u@c> NOTIFY=SUCCESS,DELAY\r\n" },
		{ S("RCPT TO:<u@c> NOTIFY=FAILURE"), "RCPT TO:<u@c> NOTIFY=FAILURE\r\n",
		  "RCPT TO:<u@c> NOTIFY=FAILURE\r\n", "RCPT TO:<u@c> NOTIFY=FAILURE\r\n" },
		{ S("RCPT TO:<u@c> NOTIFY=NEVER"), "RCPT TO:<u@c> NOTIFY=NEVER\r\n",
		  "RCPT TO:<u@c> NOTIFY=NEVER\r\n", "RCPT TO:<u@c> NOTIFY=NEVER\r\n" },
		{ S("RCPT TO:<u@c>"), "RCPT TO:<u@c>\r\n", "RCPT TO:<u@c>\r\n",
		  "RCPT TO:<u@c>\r\n" },
		/* What could act on a server that pastes it somewhere, raw or as +HH. */
		{ S("RCPT TO:<u@c> ORCPT=rfc822;<\"a\\b,c;d(e)>+3c+2c@c"),
		  "RCPT TO:<u@c> ORCPT=rfc822;+3C+22a+5Cb+2Cc+3Bd+28e+29+3E+3C+2C@c\r\n",
		  "RCPT TO:<u@c> ORCPT=rfc822;<\"a\\b,c;d(e)>+3C+2C@c\r\n",
		  "RCPT TO:<u@c> ORCPT=rfc822;<\"a\\b,c;d(e)>+3C+2C@c\r\n" },
		{ S("MAIL FROM:<> ENVID=a<b>;c"), "MAIL FROM:<> ENVID=a+3Cb+3E+3Bc\r\n",
		  "MAIL FROM:<> ENVID=a<b>;c\r\n", "MAIL FROM:<> ENVID=a<b>;c\r\n" },
		{ S("MAIL FROM:<> AUTH=u"), "MAIL FROM:<> AUTH=<>\r\n", "MAIL FROM:<> AUTH=<>\r\n",
		  "MAIL FROM:<> AUTH=u\r\n" },
		{ S("MAIL FROM:<>"), "MAIL FROM:<>\r\n", "MAIL FROM:<>\r\n", "MAIL FROM:<>\r\n" },
	};
	struct smtp_rebuild stranger = { .ext = ALL };
	struct smtp_rebuild network = { .ext = ALL, .trusted = true };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct smtp_command cmd;

		assert_null(smtp_command_parse(&cmd, feed_guard(cases[i].line), RFC));
		check_built(i, &cmd, &stranger, cases[i].stranger);
		check_built(i, &cmd, &network, cases[i].network);
		check_built(i, &cmd, &to_all, cases[i].login);
	}
}

/* BEFORE, then N times WHAT, then AFTER. */
static const char *parse_long(const char *before, const char *what, size_t n, const char *after)
{
	static char text[SMTP_LINE_MAX];
	struct smtp_command cmd;
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", before);

	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", what);
	len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", after);
	assert_true(len < sizeof(text));
	return smtp_command_parse(&cmd, feed_guard(span_of(text, len)), RFC);
}

static void limits(void **state)
{
	static const struct {
		const char *before, *what, *after;
		size_t most;
		const char *refusal;
	} cases[] = {
		{ "EHLO ", "x", "", 255, ARG },
		{ "NOOP ", "x", "", 505, ARG }, /* 512 with its CR LF */
		{ "HELP ", "x", "", 505, ARG },
		{ "MAIL FROM:<> ENVID=", "x", "", 100, ARG },
		{ "MAIL FROM:<> ENVID=", "+2B", "", 100, ARG },
		{ "MAIL FROM:<> AUTH=", "x", "", 500, ARG },
		{ "RCPT TO:<u@c> ORCPT=rfc822;", "x", "", 493, ARG },
		{ "RCPT TO:<u@c> ORCPT=rfc822;", "=", "", 164, ARG }, /* as +3D */
		{ "MAIL FROM:<> AUTH=", "=", "", 166, ARG },
		{ "MAIL FROM:<> ENVID=", "=", "", 100, ARG },
		{ "RCPT TO:<", "x", "@c>", 252, PATH },
		{ "MAIL FROM:<", "x", "@c>", 252, SENDER },
		{ "MAIL FROM:<u@", "x", ">", 252, SENDER },
		{ "AUTH ", "x", "", 20, ARG },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *b = cases[i].before, *w = cases[i].what, *a = cases[i].after;

		for (size_t n = 1; n <= cases[i].most; n++)
			assert_null(parse_long(b, w, n, a));
		for (size_t n = cases[i].most + 1; n < 1000; n++)
			check_reply(i, parse_long(b, w, n, a), cases[i].refusal);
	}
	/* Many parameters end at the first that is twice there, whatever their number. */
	check_reply(COUNT(cases), parse_long("MAIL FROM:<>", " SIZE=1", 500, ""), ARG);
}

/* What grows most, and what does not fit as a stranger's. */
static void growth(void **state)
{
	static const char before[] = "RCPT TO:<u@c> NOTIFY=NEVER ORCPT=rfc822;";
	struct smtp_rebuild stranger = { .ext = ALL };
	char text[1024];
	uint8_t mem[2048];

	(void)state;
	for (size_t n = 1; n < 500; n++) {
		struct smtp_command cmd;
		struct buf out;
		size_t len = sizeof(before) - 1;

		memcpy(text, before, len);
		memset(text + len, '<', n);
		len += n;
		const char *fault = smtp_command_parse(&cmd, feed_guard(span_of(text, len)), ALL);

		assert_true((fault == NULL) == (n <= 493));
		if (fault)
			continue;
		assert_true(smtp_stranger_fits(&cmd) == (n <= 164));
		if (n > 164)
			continue;
		buf_init(&out, mem, sizeof(mem));
		assert_int_equal(smtp_command_build(&cmd, &stranger, &out), 0);
		assert_true(buf_len(&out) <= len + 2 + SMTP_REBUILT_MORE);
		assert_true(buf_len(&out) <= 512 + 500);
		assert_int_equal(buf_len(&out), len + 2 * n + 2);
	}
}

static void fields(void **state)
{
	struct smtp_command cmd;

	(void)state;
	assert_null(smtp_command_parse(&cmd, SPAN("AUTH PLAIN ="), RFC));
	assert_true(span_eq(cmd.arg, SPAN("PLAIN")) && span_eq(cmd.rest, SPAN("=")));
	assert_null(smtp_command_parse(&cmd, SPAN("AUTH PLAIN"), RFC));
	assert_null(cmd.rest.p);
	assert_null(smtp_command_parse(&cmd, SPAN("BDAT 86 LAST"), RFC));
	assert_true(cmd.chunk_size == 86 && cmd.chunk_last);
	assert_null(smtp_command_parse(&cmd, SPAN("MAIL FROM:<u@c>"), RFC));
	assert_true(!cmd.has_size && !cmd.has_body && !cmd.has_auth && !cmd.envid.p && !cmd.ext);
	assert_null(smtp_command_parse(&cmd, SPAN("MAIL FROM:<u@c> SIZE=7 BODY=8BITMIME"), RFC));
	assert_true(cmd.has_size && cmd.size == 7 && cmd.has_body && cmd.body_8bit);
	assert_null(smtp_command_parse(&cmd, SPAN("EHLO  c "), RFC));
	assert_true(span_eq(cmd.arg, SPAN("c")));
	for (unsigned v = 0; v < SMTP_VERB_COUNT + 1; v++)
		assert_true(strlen(smtp_verb_name((enum smtp_verb)v)) >= 4);
	assert_string_equal(smtp_verb_name(SMTP_VERB_RCPT), "RCPT");
	assert_string_equal(smtp_verb_name(SMTP_VERB_UNKNOWN), "UNKNOWN");
	assert_string_equal(smtp_verb_name(SMTP_VERB_REFUSED), "REFUSED");
}

/* Single octets changed, put in or left out of good lines: what is still taken is rebuilt to a line
 * that is taken again and is rebuilt to itself, and holds one path in its only brackets. */
static void command_random(void **state)
{
	static const char octets[] = "<>@\"\\:,%!. \t()=+;[]\x7f\xc3\xbc\r\n\0uA0";
	unsigned taken = 0;

	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 300000; round++) {
		const struct span from = rows[(size_t)random() % COUNT(rows)].line;
		uint8_t text[160], first[256], second[256];
		struct smtp_command cmd;
		struct buf a, b;
		size_t n = from.n;

		memcpy(text, from.p, n);
		for (unsigned edits = (unsigned)random() % 3; edits > 0 && n > 0; edits--) {
			size_t at = (size_t)random() % n;
			uint8_t c = (uint8_t)octets[(size_t)random() % (sizeof(octets) - 1)];

			if (random() % 2) {
				memmove(text + at + 1, text + at, n - at);
				n++;
			}
			text[at] = c;
		}
		if (smtp_command_parse(&cmd, feed_guard(span_of(text, n)), ALL))
			continue;
		taken++;
		buf_init(&a, first, sizeof(first));
		assert_int_equal(smtp_command_build(&cmd, &to_all, &a), 0);
		struct span line = feed_guard(span_of(first, buf_len(&a) - 2));

		for (size_t i = 0; i < line.n; i++)
			assert_true(line.p[i] >= 0x20 && line.p[i] != 0x7f);
		assert_null(smtp_command_parse(&cmd, line, ALL));
		buf_init(&b, second, sizeof(second));
		assert_int_equal(smtp_command_build(&cmd, &to_all, &b), 0);
		assert_true(span_eq(buf_span(&a), buf_span(&b)));
	}
	assert_true(taken > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_rows),	    cmocka_unit_test(command_arrival),
		cmocka_unit_test(command_prefixes), cmocka_unit_test(offered_only),
		cmocka_unit_test(utf8_needs),	    cmocka_unit_test(strangers),
		cmocka_unit_test(limits),	    cmocka_unit_test(fields),
		cmocka_unit_test(growth),	    cmocka_unit_test(command_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
