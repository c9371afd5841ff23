# SPDX-License-Identifier: ISC
"""What came out: the table of targets, the other tables, CSV and SVG."""
import csv
import re
import statistics

import plot
import sample
import subjects

# load, title, targets of the sniff dialog and of the gateway dialog; beside HAProxy 3.2
TARGETS = [
    ("2k", "2 KB, one per connection", "0.74", "0.45"),
    ("2k-10", "2 KB, ten per connection", "0.68", "0.52"),
    ("50k", "50 KB", "0.68", "0.42"),
    ("1m", "1 MB, DATA", "0.72", "0.72"),
    ("16m", "16 MB, DATA", "0.90", "0.90"),
    ("1m-bdat", "1 MB, BDAT", "0.55", "0.55"),
    ("refused", "refused spam, one RCPT", "0.58", "0.30, no connection"),
]
# The same for TLS, where the targets are for the HAProxy of the same OpenSSL: this Debian's. Full
# handshakes are those of a Caronte without a key process, whose cost has a line of its own.
WITHOUT_KEYS = "tls-2k", "tls-2k-rsa"
TLS_TARGETS = [
    ("tls-2k", "2 KB, a full handshake each, P-256", "0.85", "0.73"),
    ("tls-2k-resumed", "2 KB, a resumed session each", "0.88", "0.76"),
    ("tls-2k-rsa", "2 KB, a full handshake each, RSA-2048", "0.95", "0.85"),
    ("tls-2k-10", "2 KB, ten per connection", "0.90", "0.76"),
    ("tls-1m", "1 MB", "0.85", ""),
]


def haproxies(about):
    """The HAProxies that were measured, as (subject's name, version), that of the targets first."""
    found = []
    for haproxy in subjects.anchors(about["versions"]):
        text = next(about["versions"][name] for name in subjects.modes(haproxy)
                    if name in about["versions"])
        number = re.search(r"[0-9]+(?:\.[0-9]+)+", text)
        found.append((haproxy, number[0] if number else "of unknown version"))
    return found


def better_mode(results, load, haproxy):
    found = [(results.median(load, name, lambda s: s.cpu_us), name)
             for name in subjects.modes(haproxy)]
    found = [pair for pair in found if pair[0] is not None]
    return min(found)[1] if found else None


def ratio(results, load, subject, haproxy, of=lambda s: s.cpu_us):
    """The median over the rounds of the ratio to a HAProxy's better mode, or None."""
    base = results.samples.get((load, better_mode(results, load, haproxy)), {})
    mine = results.samples.get((load, subject), {})
    ratios = [of(mine[number]) / of(base[number]) for number in mine if number in base]
    return statistics.median(ratios) if ratios else None


def table(rows):
    """The last cell of a shorter row says why there are no more, as long as that takes."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[0]) for row in rows),
              *(max(map(len, column)) for column in list(zip(*full))[1:])]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def measured(results, about, load, subject, haproxy):
    found = ratio(results, load, subject, haproxy)
    if found is not None:
        text = "%.2f" % found
        if load == "refused" and subject == "caronte-gateway":
            connections = max(s.sink_connections
                              for s in results.samples[load, subject].values())
            text += ", %s" % ("no connection" if connections == 0 else
                              "%d connections" % connections)
        return text
    if (load, subject) in results.reasons:
        return "- (%s)" % results.reasons[load, subject]
    if subject not in about["versions"]:
        return "- (not measured)"
    return "- (no round counts)"


def target_rows(results, about, targets, to, without_keys=()):
    rows = [("load", "sniff target", *to, "gateway target", *to)]
    for load, title, sniff, gateway in targets:
        row = [title]
        more = "-without-key-process" if load in without_keys else ""
        for target, subject in ((sniff, "caronte-sniff"), (gateway, "caronte-gateway")):
            row += [target, *([measured(results, about, load, subject + more, haproxy)
                               for haproxy, _ in haproxies(about)] or ["- (no HAProxy)"])]
        rows.append(row)
    return rows


def key_process_line(results):
    texts = []
    for load in WITHOUT_KEYS:
        for dialog in ("sniff", "gateway"):
            base = results.samples.get((load, "caronte-%s-without-key-process" % dialog), {})
            mine = results.samples.get((load, "caronte-" + dialog), {})
            ratios = [mine[n].cpu_us / base[n].cpu_us for n in mine if n in base]
            if ratios:
                texts.append("%s, %s %.2f" % (load, dialog, statistics.median(ratios)))
    return "The key process, as a ratio to none (target: 1.15 at most): " + ", ".join(texts)


def tls_table(results, about):
    if not any(load in results_loads(results) for load, *_ in TLS_TARGETS):
        return None
    versions_of = [version for _, version in haproxies(about)]
    rows = target_rows(results, about, TLS_TARGETS, ["to " + version for version in versions_of] or
                       ["measured"], WITHOUT_KEYS)
    return ("TLS: processor time of the proxy per message, as a ratio to HAProxy; the targets are "
            "for %s, whose OpenSSL is the same\n" % (versions_of or ["none"])[-1] + table(rows) +
            "\n" + key_process_line(results))


def identity_table(results):
    """Each way of identity as ratios to the same dialog with none."""
    rows = [("way", "dialog", "load", "processor time", "messages/s", "us/message", "rounds")]
    for (load, subject), mine in results.samples.items():
        dialog = subject.split("-")[1]
        base = results.samples.get((load, "caronte-" + dialog), {})
        if subject == "caronte-" + dialog or not load.startswith("identity-"):
            continue
        both = [(mine[n], base[n]) for n in mine if n in base]
        rows.append((subjects.IDENTITIES[subject.split("-", 2)[2]].title, dialog, load[9:],
                     *(number(statistics.median(of(one) / of(other) for one, other in both), 3)
                       if both else "-" for of in (lambda s: s.cpu_us, lambda s: s.per_second)),
                     number(results.median(load, subject, lambda s: s.cpu_us), 1), str(len(mine))))
    if len(rows) == 1:
        return None
    ways = [way.title for way in subjects.IDENTITIES.values()]
    rows[1:] = sorted(rows[1:], key=lambda row: (row[1], row[2], ways.index(row[0])))
    return "The client's identity: ratios to the same dialog without\n" + table(rows)


def beside_line(results):
    texts = []
    for load, subject in results.samples:
        if not subject.startswith("beside-"):
            continue
        base = results.samples[load, subject]
        mine = results.samples.get((load, subject.replace("beside", "caronte", 1)), {})
        ratios = [mine[n].cpu_us / base[n].cpu_us for n in mine if n in base]
        if ratios:
            texts.append("%s, %s %.3f" % (load, subject[7:], statistics.median(ratios)))
    return "Processor time, as a ratio to the build beside it: " + ", ".join(texts) if texts else \
        None


def results_loads(results):
    return {load for load, _ in results.samples}


def half_open_table(found):
    rows = [("subject", "beside", "MB more", "p99 us of others", "ratio", "rounds")]
    for (name, where), by_round in found.items():
        base = found.get((name, ""), {})
        ratios = [by_round[n][2] / base[n][2] for n in by_round if n in base]
        sessions = next(iter(by_round.values()))[0]
        rows.append((name, "%d %s" % (sessions, sample.HALF_OPEN[where]) if where else "nobody",
                     number(statistics.median(one[1] for one in by_round.values()) / 1e6, 1),
                     number(statistics.median(one[2] for one in by_round.values())),
                     number(statistics.median(ratios) if ratios else None, 2), str(len(by_round))))
    if len(rows) == 1:
        return None
    return ("Half-open handshakes: 2 KB messages of 8 honest clients, a full handshake each, "
            "beside them\n" + table(rows))


def target_table(results, about):
    found = haproxies(about)
    versions_of = [version for _, version in found]
    to = ["to " + version for version in versions_of] or ["measured"]
    rows = target_rows(results, about, TARGETS, to)
    beside = "3.2, which was not measured"
    if found and found[0][0] == subjects.HAPROXIES[0]:
        beside = versions_of[0]
    return ("Processor time of the proxy per message, as a ratio to the better mode of HAProxy%s; "
            "the targets are for HAProxy %s\n" % (
                " " + " and of ".join(versions_of) if found else "", beside) + table(rows))


def number(value, places=0):
    return "-" if value is None else "%.*f" % (places, value)


def load_table(results, about, load, title, chosen):
    found = haproxies(about)
    rows = [("subject", "us/message", *("to " + version for _, version in found), "machine us",
             "messages/s", "MB/s", "p50 us", "p99 us", "p99.9 us", "MB", "rounds")]
    for subject in chosen:
        key = (load, subject.name)
        if key not in results.samples:
            if key in results.reasons:
                rows.append((subject.name, results.reasons[key]))
            continue

        def median(of):
            return results.median(*key, of)

        def of_proxy(value, places):
            return "-" if subject.name == "direct" else number(value, places)
        rows.append((subject.name, of_proxy(median(lambda s: s.cpu_us), 1),
                     *(of_proxy(ratio(results, load, subject.name, haproxy), 2)
                       for haproxy, _ in found),
                     number(median(lambda s: s.busy_us)), number(median(lambda s: s.per_second)),
                     number(median(lambda s: s.megabytes), 1),
                     *(number(median(lambda s, at=at: s.latency[at]))
                       for at in ("p50", "p99", "p99.9")),
                     number(median(lambda s: s.memory / 1e6), 1), str(len(results.samples[key]))))
    return "%s\n%s" % (title, table(rows)) if len(rows) > 1 else None


def cluster_table(results, chosen):
    rows = [("subject", "destinations", "messages/s", "least share", "largest share", "us/message")]
    for subject in chosen:
        for count in (1, 2, 4):
            key = ("cluster-%d" % count, subject.name)
            if key not in results.samples:
                continue

            def share(s, pick):
                return pick(s.shares) * len(s.shares) / sum(s.shares)
            rows.append((subject.name, str(count),
                         number(results.median(*key, lambda s: s.per_second)),
                         number(results.median(*key, lambda s: share(s, min)), 2),
                         number(results.median(*key, lambda s: share(s, max)), 2),
                         number(results.median(*key, lambda s: s.cpu_us), 1)))
    if len(rows) == 1:
        return None
    return ("Cluster: destinations that take 20 ms for a message, 16 clients for each; a share of "
            "1.00 is an even one\n" + table(rows))


def idle_table(idle):
    rows = [("subject", "sessions", "own octets each", "the kernel's each", "empty, MB")]
    for name, found in idle.items():
        if isinstance(found, str):
            rows.append((name, found))
        else:
            own, kernel, empty, sessions = found
            rows.append((name, str(sessions), number(own), number(kernel), number(empty / 1e6, 1)))
    return "Idle sessions: memory above the empty program\n" + table(rows) if idle else None


def write_csv(where, about, results, idle):
    with open(where / "samples.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("load", "subject", "round", "cpu_us", "busy_us", "messages_per_second",
                      "megabytes_per_second", "p50_us", "p99_us", "p99.9_us", "max_us", "memory",
                      "shares", "load_generator_cpu", "foreign"))
        for (load, subject), rounds in results.samples.items():
            for round_number, s in sorted(rounds.items()):
                out.writerow((load, subject, round_number, "%.3f" % s.cpu_us, "%.3f" % s.busy_us,
                              "%.3f" % s.per_second, "%.6f" % s.megabytes, s.latency["p50"],
                              s.latency["p99"], s.latency["p99.9"], s.latency["max"], s.memory,
                              " ".join(map(str, s.shares)), "%.3f" % s.load_cpu,
                              "%.3f" % s.foreign))
    with open(where / "summary.csv", "w", newline="") as file:
        out = csv.writer(file)
        names = [haproxy for haproxy, _ in haproxies(about)]
        out.writerow(("load", "subject", "rounds", "cpu_us", "messages_per_second", "p99_us",
                      *("ratio_to_" + name for name in names),
                      *("p99_ratio_to_" + name for name in names)))
        for load, subject in results.samples:
            out.writerow((load, subject, len(results.samples[load, subject]),
                          number(results.median(load, subject, lambda s: s.cpu_us), 3),
                          number(results.median(load, subject, lambda s: s.per_second), 1),
                          number(results.median(load, subject, lambda s: s.latency["p99"])),
                          *(number(ratio(results, load, subject, name), 4) for name in names),
                          *(number(ratio(results, load, subject, name, lambda s: s.latency["p99"]),
                                   3) for name in names)))
    with open(where / "idle.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("subject", "sessions", "own_octets_each", "kernel_octets_each",
                      "empty_octets"))
        for name, found in idle.items():
            if not isinstance(found, str):
                own, kernel, empty, sessions = found
                out.writerow((name, sessions, number(own), number(kernel), empty))


def write_plots(where, about, results, chosen, idle):
    note = "%s, Linux %s, %s, commit %s, %s" % (about["processor"], about["kernel"],
                                                about["network"], about["commit"], about["time"])
    titles = {load.name: load.title for load in sample.LOADS}
    titles["half"] = "2 KB at half of HAProxy's highest rate"
    for load, title in titles.items():
        rows = [(s.name, results.median(load, s.name, lambda x: x.cpu_us)) for s in chosen
                if s.name != "direct"]
        rows = [row for row in rows if row[1] is not None]
        if rows:
            (where / ("cpu-%s.svg" % load)).write_text(plot.bars(
                title + ": processor time of the proxy per message", "µs", rows, note))
        rows = [(s.name, [results.median(load, s.name, lambda x, at=at: x.latency[at])
                          for at in ("p50", "p99", "p99.9")])
                for s in chosen if (load, s.name) in results.samples]
        if rows and load == "half":
            (where / "latency-half.svg").write_text(plot.groups(
                title + ": latency", "µs", ("p50", "p99", "p99.9"), rows, note))
    rows = [(name, found[0]) for name, found in idle.items() if not isinstance(found, str)]
    if rows:
        (where / "idle.svg").write_text(plot.bars("Own memory of an idle session", "octets", rows,
                                                  note))


def scaling_line(results, scaling):
    texts = []
    for name in ("caronte-sniff", "caronte-gateway"):
        pair = [results.median("workers-%d" % count, name, lambda s: s.per_second)
                for count in (1, 2)]
        if all(pair):
            texts.append("%s %.2f" % (name, pair[1] / pair[0]))
    return "Messages per second, two workers to one (target: at least 1.70): " + \
        (scaling or ", ".join(texts) or "no sample counts")


def versions(about):
    lines = ["%s, %d processors, Linux %s, commit %s, %s, %d worker%s each" % (
        about["processor"], about["processors"], about["kernel"], about["commit"],
        about["network"], about["workers"], "" if about["workers"] == 1 else "s")]
    lines.append("Processor time by %s. %s." % (about["accounting"], ", ".join(
        sorted({text for text in about["versions"].values() if text}))))
    return "\n".join(lines)


def engines(results):
    rings = {subject: any(s.uses_io_uring for s in rounds.values())
             for (load, subject), rounds in results.samples.items()
             if subject.startswith(("caronte", "beside"))}
    return "Engines: " + ", ".join("%s %s" % (name, "io_uring" if ring else "epoll")
                                   for name, ring in rings.items())


def foreign_line(results):
    shares = [s.foreign for rounds in results.samples.values() for s in rounds.values()]
    return "Of the time for which the machine was busy, %.0f %% was somebody else's (median of " \
        "all samples; 90th percentile %.0f %%)." % (
            100 * statistics.median(shares), 100 * sorted(shares)[int(len(shares) * 0.9)])


def half_line(results, about):
    texts = []
    for haproxy, version in haproxies(about):
        for dialog in ("sniff", "gateway"):
            found = ratio(results, "half", "caronte-" + dialog, haproxy, lambda s: s.latency["p99"])
            if found is not None:
                texts.append("%s to %s %.2f" % (dialog, version, found))
    if not texts:
        return None
    return "p99 at half of HAProxy's highest rate, ratio to HAProxy's (target: 1.00 at most): " + \
        ", ".join(texts)


def write(where, about, results, chosen, measuring):
    """Writes all files below WHERE; the text for a person."""
    idle = measuring.idle
    loads = [(load.name, load.title) for load in sample.LOADS]
    loads.append(("half", "2 KB at half of HAProxy's highest rate (open loop)"))
    if not results.samples and not idle:
        return "No sample counts.\n"
    parts = [versions(about)]
    if results.samples:
        parts += [engines(results) + "\n" + foreign_line(results)]
    parts += [load_table(results, about, name, title, chosen) for name, title in loads]
    parts += [cluster_table(results, chosen), idle_table(idle),
              half_open_table(measuring.half_open)]
    if not measuring.options.tls and not measuring.options.identity:
        parts += [scaling_line(results, measuring.scaling), half_line(results, about),
                  target_table(results, about)]
    parts += [tls_table(results, about), identity_table(results), beside_line(results)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_csv(where, about, results, idle)
    write_plots(where, about, results, chosen, idle)
    (where / "table.txt").write_text(text)
    return text
