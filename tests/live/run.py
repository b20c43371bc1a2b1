"""Runs the live tests against the release binary: with one shard and with two.

Every test is a function of a server. Most share one; those that end it or watch
its memory get one of their own. A test that fails does not stop the others. Those
that measure times have three chances, and each that is lost has a line of its own.
The last line is `N passed, M failed`.
"""

import argparse
import asyncio
import functools
import inspect
import pathlib
import signal
import sys
import time
import traceback
from typing import Callable, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from live import (  # noqa: E402
    administration,
    broadcast,
    budgets,
    client_edges,
    client_js,
    configuring,
    crowd,
    deflate,
    deflate_contexts,
    deflate_hostile,
    demo,
    descriptors,
    diagnosing,
    drain,
    drain_crowd,
    echoing,
    http_edges,
    leak,
    limits,
    loading,
    loading_outputs,
    loading_outside,
    loading_secure,
    loading_verdicts,
    outside,
    packaging,
    raw,
    refusals,
    reloading,
    replaying,
    snippets,
    standing_still,
    starting,
    json_crowd,
    json_errors,
    json_limits,
    json_presence,
    json_topics,
    tls,
    tls_crowd,
    tls_hostile,
    tls_hostile_records,
    tls_identity,
    topics,
    topics_churn,
    topics_crowd,
    topics_memory,
    topics_slow,
    work,
)
from live.server import BINARY, Failure, Server  # noqa: E402


# For tests that measure times.
CHANCES = 3


class Test(NamedTuple):
    name: str
    function: Callable
    seconds_max: int = 20
    # A server of its own, and a fresh one.
    alone: bool = False
    # Left out by --quick.
    long: bool = False
    shards: tuple = (1, 2)
    # Measures times: a machine that something else held up is given more chances.
    timed: bool = False
    # Takes minutes: run only where somebody gives its whole name.
    asked: bool = False


timed = functools.partial(Test, timed=True)

TESTS = (
    Test("text", echoing.text),
    Test("binary", echoing.binary),
    Test("empty", echoing.empty),
    Test("ping", echoing.ping),
    Test("fragmented with control frames in between", echoing.fragmented),
    Test("10,000 pipelined", echoing.pipelined),
    Test("16 MiB", echoing.largest, long=True),
    Test("16 MiB and one byte", echoing.too_large, long=True),
    Test("16 MiB and one byte in fragments", echoing.too_large_in_fragments, long=True),
    Test("close from the client", echoing.client_closes),
    Test("close from the server", drain.closed_by_server, 30, alone=True),
    Test("SIGTERM without connections", drain.without_connections, alone=True),
    Test("SIGTERM right after the start", drain.right_after_the_start),
    Test("SIGTERM and silent peers", drain.unanswered, 30, alone=True),
    Test("two SIGTERM", drain.second_signal, alone=True),
    Test("half-closed", raw.half_closed),
    Test("reset", raw.reset),
    Test("bystanders of refused and broken", raw.bystanders, 40),
    Test("refused handshakes", refusals.refused),
    Test("http: what is written otherwise", http_edges.written_otherwise),
    Test("http: HEAD", http_edges.head_is_get),
    Test("http: fields of documents", http_edges.fields_of_documents),
    Test("http: as many fields", http_edges.as_many_fields, shards=(1,)),
    Test("http: subprotocols", http_edges.subprotocols, shards=(1,)),
    Test("http: /broadcast has rules", http_edges.broadcast_has_rules, 30, shards=(2,)),
    Test("http: routes that are off", http_edges.routes_that_are_off, shards=(1,)),
    Test("clients: backing off", client_edges.backs_off, 30, shards=(1,)),
    Test("clients: what can't be read", client_edges.what_can_not_be_read, 30, shards=(1,)),
    Test("clients: something else", client_edges.something_else, shards=(1,)),
    Test("clients: unlisted", client_edges.unlisted, shards=(1,)),
    Test("clients: masks", client_edges.masks, 30, shards=(1,)),
    Test("clients: closes", client_edges.closes, 60, shards=(1,)),
    Test("snippets: commands", snippets.shell, 120, shards=(2,)),
    Test("snippets: configurations", snippets.configurations, 60, shards=(1,)),
    Test("snippets: scripts", snippets.scripts, 60, shards=(2,)),
    Test("snippets: conversations", snippets.conversations, 30, shards=(2,)),
    Test("snippets: words", snippets.answers, shards=(1,)),
    Test("snippets: names", snippets.reference, shards=(1,)),
    Test("refused with bytes unread", refusals.refused_unread),
    Test("handshake cut at every byte", refusals.bad_handshake_of_every_length),
    Test("handshake byte by byte", raw.dripped_handshake),
    Test("frames byte by byte", raw.dripped_frames),
    Test("data after close", raw.after_close_ignored),
    Test("violations", raw.violations, 40),
    Test("fragments of one byte", raw.fragments_of_one_byte, 30),
    Test("ping flood without reading", raw.ping_flood, 60, alone=True),
    Test("unsolicited pongs", raw.pong_flood, 30, alone=True),
    Test("echoes unread", raw.echo_unread, 30, alone=True),
    Test("huge declared lengths", raw.huge_declared, 30, alone=True),
    Test("broadcast to everybody", broadcast.everybody),
    Test("broadcast in one order", broadcast.one_order, 60),
    Test("broadcast and a slow reader", broadcast.slow_reader, 90, alone=True, long=True),
    Test("broadcast and a reader that fell behind", broadcast.slow_reader_told, 30),
    Test("budget: messages that never end", budgets.unfinished, 60),
    Test("budget: echoes that nobody reads", budgets.unread, 60),
    Test("budget: a message's deadline", budgets.deadline, 20, shards=(1,)),
    Test("budget: bodies of the administration server", budgets.admin_bodies, 30, shards=(1,)),
    Test("stands still: the reader of the log", standing_still.log_reader, 40),
    Test("stands still: the process", standing_still.stopped_process, 40),
    Test("stands still: a slow reader", standing_still.slow_reader, 60, shards=(1,)),
    Test("SIGTERM and the homes of topics", standing_still.homes_in_a_drain, 40, shards=(2,)),
    Test("npm ws", outside.node, 70),
    Test("behind nginx", outside.behind_nginx, 30, shards=(2,)),
    Test("in chromium", outside.in_chromium, 90, shards=(2,)),
    Test("under the container's seccomp profile", packaging.under_seccomp, 30),
    Test("without io_uring in the seccomp profile", packaging.without_the_ring, shards=(2,)),
    Test("started by a supervisor", packaging.supervised, 30),
    Test("systemd units", packaging.units, shards=(2,)),
    Test("every key from every source", configuring.every_key, shards=(1,)),
    Test("keys and their texts", configuring.reference, shards=(1,)),
    Test("precedence of settings", configuring.precedence, shards=(1,)),
    Test("check-config prints a configuration", configuring.round_trip, shards=(1,)),
    Test("mistakes in settings", configuring.mistakes, 30, shards=(1,)),
    Test("ranges of limits", configuring.ranges, shards=(1,)),
    Test("words that are none", configuring.usage, shards=(1,)),
    Test("profiles", configuring.profiles, 30),
    Test("limits at their least and most", configuring.least_and_most, 90, long=True),
    Test("reload", reloading.settings),
    Test("reload for more connections", reloading.connections),
    Test("reload for who is silent", reloading.silence, shards=(1,)),
    Test("reload against what stays", reloading.contradiction, shards=(1,)),
    Test("reload of certificates without TLS", reloading.certificates, shards=(1,)),
    Test("help and version", configuring.help_and_version, shards=(1,)),
    Test("completions", configuring.completions, shards=(1,)),
    Test("manual", configuring.manual, shards=(1,)),
    Test("output that nobody reads", configuring.nobody_listens, shards=(1,)),
    Test("several addresses", starting.several_addresses),
    Test("Unix socket", starting.unix_socket),
    Test("Unix socket where something is", starting.unix_path_taken, 60, shards=(1,)),
    Test("port that is taken", starting.port_taken),
    Test("socket activation", starting.socket_activation),
    Test("sockets for another process", starting.sockets_for_another, shards=(1,)),
    Test("supervisor", starting.supervisor_is_told),
    Test("supervisor at an abstract name", starting.supervisor_without_file, shards=(1,)),
    Test("logs", starting.logs),
    Test("logs that nobody reads", starting.log_reader_gone),
    Test("doctor", diagnosing.doctor, shards=(1,)),
    Test("doctor with few descriptors", diagnosing.few_descriptors, shards=(1,)),
    Test("io_uring forbidden", diagnosing.io_uring_forbidden),
    Test("limit of connections", limits.connections_max),
    Test("limit of refusals", limits.connections_refusing_max),
    Test("limit per address", limits.connections_per_address_max),
    Test("limit of handshakes a second", limits.handshakes_per_second_max, 30),
    Test("limit of a head", limits.head_bytes_max),
    Test("limit of a handshake's time", limits.handshake_times),
    Test("limit of a message", limits.message_bytes_max),
    Test("limit of fragments", limits.message_fragments_max),
    Test("limit of messages a second", limits.messages_per_second_max),
    Test("limit of bytes a second", limits.bytes_per_second_max),
    Test("limit of a rate and pings", limits.rate_and_keep_alive),
    Test("limit of age", limits.age_max),
    Test("limit of idle time", limits.idle_max),
    Test("limit of age beyond time", limits.age_max_beyond_time),
    Test("limit of silence", limits.keep_alive),
    Test("limit of a queue", limits.queued_bytes_max),
    Test("limit of a tape", limits.tape_bytes_max),
    Test("limit of a close", limits.close_time),
    Test("limit of lingering", limits.linger_time),
    Test("limit of a drain", limits.drain_time),
    Test("20,000 and few descriptors", descriptors.more_than_descriptors, 60, long=True),
    Test("metrics", administration.metrics),
    Test("administration", administration.steering, 40),
    Test("administration token", administration.token),
    Test("administration: refused at home", administration.refused_at_home),
    Test("administration and web pages", administration.web_pages),
    timed("load: stalls show", loading.stalls_show, 30, shards=(1,)),
    timed("load: a stall of one connection", loading.one_stall_of_one_connection, 30, shards=(1,)),
    Test("load: silent handshakes", loading.silent_handshakes, 30, shards=(1,)),
    timed("load: planted gaps, duplicates and reorderings", loading.planted_order, 30, shards=(1,)),
    timed("load: planted in replies", loading.planted_replies, 30, shards=(1,)),
    timed("load: planted in the numbers of a topic", loading.planted_numbers, 30, shards=(1,)),
    timed("load: topics", loading.topics, 60),
    timed("load: two generators", loading.two_generators, 60, shards=(2,)),
    timed("load: built-in profiles", loading.built_in, 90, shards=(2,)),
    timed("load: thousands of readers", loading.thousands, 60, shards=(2,)),
    timed("load: over TLS", loading_secure.over_tls, 60, shards=(1,)),
    Test("load: bombs", loading.inflated, 60, shards=(1,)),
    timed("load: rates", loading.rates_are_kept, 60, shards=(1,)),
    Test("load: a rate that is not kept", loading.a_rate_that_is_not_kept, 30, shards=(1,)),
    timed("load: highest rate", loading.highest_rate, 70, shards=(1,)),
    timed("load: half refused", loading.half_refused, 30, shards=(1,)),
    timed("load: half refused, and again", loading.half_refused_and_again, 30, shards=(1,)),
    timed("load: misbehaving servers", loading.misbehaving, 90, shards=(1,)),
    Test("load: nobody there", loading.nobody_there, 30, shards=(1,)),
    timed("load: faults of the warm-up", loading.faults_of_the_warm_up, shards=(1,)),
    timed("load: stalled readers", loading.stalled_readers, 30),
    Test("load: 19,000 connections", loading.crowd, 70, alone=True, long=True, shards=(1,)),
    timed("load: every form", loading_outputs.every_form, shards=(1,)),
    timed("load: page", loading_outputs.page_with_charts, 40, shards=(1,)),
    Test("load: printed profiles", loading_outputs.printed_profiles, shards=(1,)),
    Test("load: mistakes", loading_outputs.mistakes, shards=(1,)),
    timed("load: rehearsed", loading_outputs.rehearsed, shards=(1,)),
    timed("load: verdicts", loading_outputs.verdicts, shards=(1,)),
    timed("load: verdict: of every kind", loading_verdicts.of_every_kind, 60, shards=(2,)),
    Test("load: verdict: refused", loading_verdicts.refused, 30, shards=(1,)),
    timed("load: verdict: killed", loading_verdicts.killed, 30, shards=(1,)),
    Test("load: verdict: silent", loading_verdicts.silent, 30, shards=(1,)),
    Test("load: verdict: silent to some", loading_verdicts.silent_to_some, 30, shards=(1,)),
    Test("load: verdict: everywhere alike", loading_verdicts.everywhere_alike, 30, shards=(1,)),
    timed("load: verdict: highest rate of a mix", loading_verdicts.find_max, 120, shards=(1,)),
    timed("load: verdict: words", loading_verdicts.words, 40, shards=(1,)),
    Test("load: verdict: marks", loading_verdicts.marks, 30, shards=(1,)),
    timed("load: baseline", loading_outputs.baseline, shards=(1,)),
    timed("load: merged", loading_outputs.merged, shards=(1,)),
    timed("load: progress", loading_outputs.progress, shards=(1,)),
    timed("load: interrupted", loading_outputs.interrupted, shards=(1,)),
    Test("load: output that nobody reads", loading_outputs.nobody_reads, shards=(1,)),
    Test("load: nowhere", loading_outputs.nowhere, shards=(1,)),
    timed("load: websockets of Python", loading_outside.websockets_of_python, 30, shards=(1,)),
    timed("load: ws of npm", loading_outside.ws_of_npm, 30, shards=(1,)),
    timed("load: behind nginx", loading_outside.behind_nginx, 30, shards=(1,)),
    timed("load: messages of all kinds", loading_outside.messages_of_all_kinds, 40, shards=(1,)),
    timed("load: handshakes", loading_outside.handshakes, shards=(1,)),
    timed("load: a protocol in JSON", loading_outside.of_json, shards=(1,)),
    timed("load: several places", loading_outside.several_places, shards=(1,)),
    Test("json: everybody gets the same", json_topics.everybody),
    Test("json: resumes", json_topics.resumes),
    Test("json: refused", json_topics.refused),
    Test("json: rules of topics", json_topics.rules_of_topics, shards=(1,)),
    Test("json: a chat in chromium", json_topics.chat, 60),
    Test("json: random words", json_topics.storm, 90, alone=True),
    Test("json: every error number", json_errors.every_number, 90),
    Test("json: a first subscription", json_limits.first_subscription),
    Test("json: heartbeats", json_limits.heartbeats, 30),
    Test("json: shutdown", json_limits.shutdown, 30),
    Test("json: who is there", json_presence.who_is_there, 40),
    Test("json: 1,000 clients", json_crowd.a_thousand, 240, alone=True, long=True, shards=(2,)),
    Test("javascript: requests", client_js.requests),
    Test("javascript: types", client_js.types, 60, shards=(1,)),
    Test("javascript: a server that is killed", client_js.killed, 40),
    Test("javascript: a network that is lost", client_js.network_lost, 40),
    Test("javascript: a network that is cut", client_js.network_cut, 40),
    Test("javascript: a reader that stalls", client_js.stalled, 40),
    Test("javascript: a server that stands still", client_js.stands_still, 40),
    Test("javascript: marks", client_js.marks, 60),
    Test("javascript: patterns that overlap", client_js.overlapping),
    Test("javascript: listeners", client_js.listeners, 30, shards=(2,)),
    Test("javascript: drained", client_js.drained, 40),
    Test("replay: paces", replaying.paces, 60, shards=(2,)),
    Test("replay: again and again", replaying.again_and_again, 60, shards=(2,)),
    Test("replay: refused", replaying.refused, 30, shards=(2,)),
    Test("replay: files of others", replaying.files_of_others, 30, shards=(2,)),
    Test("demo: it moves", demo.moves, 60),
    Test("demo: keys and sizes", demo.keys_and_sizes, 60, shards=(2,)),
    Test("demo: a server that is killed", demo.resumes, 90),
    Test("demo: snapshots of a fast market", demo.snapshots, 60),
    Test("demo: a stalled tab", demo.stalls, 60, shards=(2,)),
    timed("demo: cheap", demo.cheap, 60, shards=(2,)),
    Test("console", demo.console, 60, shards=(2,)),
    Test("tls: echo", tls.echo, 30),
    Test("tls: messages in flight", tls.in_flight, 30),
    Test("tls: npm ws", tls.node, 60),
    Test("tls: in chromium", tls.in_chromium, 60, shards=(2,)),
    Test("tls: broadcast with and without", tls.broadcast_mixed, 30),
    Test("tls: topics", tls.topics, 30),
    Test("tls: a stalled reader", tls.stalled, 40),
    Test("tls: plain HTTP inside", tls.plain_http),
    Test("tls: ends", tls.ends, 30),
    Test("tls: half a gigabyte", tls.long_transfer, 60, long=True, shards=(1,)),
    Test("tls: keys renewed", tls.keys_renewed, 30, shards=(1,)),
    Test("tls: a renegotiation", tls.renegotiation, 30, shards=(1,)),
    Test("tls: memory of echoes", tls.memory_of_echoes),
    Test("tls: protocols inside", tls_identity.protocols),
    Test("tls: resumed sessions", tls_identity.resumed),
    Test("tls: certificates by name", tls_identity.by_name, shards=(1,)),
    Test("tls: certificates of clients", tls_identity.clients, 30, shards=(2,)),
    Test("tls: certificates asked for later", tls_identity.clients_asked_later, 30, shards=(1,)),
    Test("tls: reloads", tls_identity.reloads, 40),
    Test("tls: reloads within handshakes", tls_identity.reloads_within_handshakes, 30),
    Test("tls: side by side", tls_identity.side_by_side, shards=(2,)),
    Test("tls: socket activation", tls_identity.passed_on, shards=(2,)),
    Test("tls: mistakes", tls_identity.mistakes, 60, shards=(1,)),
    Test("tls: metrics", tls_identity.counted),
    Test("tls: hostile: plain HTTP", tls_hostile.plain_on_tls, 30),
    Test("tls: hostile: a hello without TLS", tls_hostile.tls_on_plain, 30),
    Test("tls: hostile: noise", tls_hostile.noise, 30),
    Test("tls: hostile: byte by byte", tls_hostile.dripped, 30),
    Test("tls: hostile: half a handshake", tls_hostile.half_a_handshake, 30),
    Test("tls: hostile: resets", tls_hostile.resets, 30),
    Test("tls: hostile: lengths that lie", tls_hostile.lengths, 30),
    Test("tls: hostile: records cut everywhere", tls_hostile.cut_records, 30),
    Test("tls: hostile: broken behind a message", tls_hostile.broken_behind_a_message, 30),
    Test("tls: hostile: empty records", tls_hostile.nothing_within, 30),
    Test("tls: hostile: alerts", tls_hostile.alerts, 30),
    Test("tls: hostile: a hello that is too long", tls_hostile.hello_too_long, 30),
    Test("tls: hostile: hellos left open", tls_hostile.hellos_left_open, 30),
    Test("tls: hostile: records of one byte", tls_hostile.tiny_records, 30),
    Test("tls: hostile: streams that end early", tls_hostile.ends_early, 30),
    Test("tls: hostile: half a message", tls_hostile.half_a_message, 30),
    Test("tls: hostile: keys renewed without end", tls_hostile.renewed_keys, 30),
    Test("tls: hostile: versions that are too old", tls_hostile.second_version, 30),
    Test("tls: hostile: records that are too long", tls_hostile_records.too_long, 30),
    Test("tls: hostile: records altered and misplaced", tls_hostile_records.altered, 30),
    Test("tls: hostile: records in the clear", tls_hostile_records.in_the_clear, 30),
    Test("tls: hostile: records of no kind", tls_hostile_records.of_no_kind, 30),
    Test("tls: hostile: floods of records", tls_hostile_records.floods, 30),
    Test("tls: hostile: keys renewed unread", tls_hostile_records.renewed_unread, 30),
    Test("tls: hostile: hellos within", tls_hostile_records.renegotiation, 30),
    Test("tls: hostile: records cut short", tls_hostile_records.cut_short, 30),
    timed("tls: a storm of handshakes", tls_crowd.storm, 40, shards=(1,)),
    Test("tls: resumed again and again", tls_crowd.resumptions, 60, long=True, shards=(2,)),
    Test("tls: a million resumptions", loading_secure.a_million, 2_000, shards=(1,), asked=True),
    Test("tls: 2,000 idle", tls_crowd.idle, 40, long=True, shards=(1,)),
    Test("topic: every message", topics.every_message, 30),
    Test("topic: refused", topics.refused),
    Test("topic: latest", topics.latest),
    Test("topic: rate", topics.rated, 30),
    Test("topic: since", topics.since, 30),
    Test("topic: snapshot", topics.snapshot),
    Test("topic: window", topics.window),
    Test("topic: a reader that falls off", topics_slow.falls_off, 60),
    Test("topic: by the query", topics_slow.by_the_query),
    Test("topic: 200 readers", topics_crowd.every_promise, 120, long=True, shards=(2,)),
    Test("topic: publish and close", topics_churn.publish_and_close, 60),
    Test("topic: leave while replaying", topics_churn.leave_while_replaying, 60),
    Test("topic: churn", topics_churn.churn, 90),
    Test("topic: a million and forgotten", topics_memory.a_million_forgotten, 120, long=True),
    Test("topic: a million quiet", topics_memory.a_million_quiet, 120, long=True),
    timed("topic: 1,000 stalled readers", topics_memory.stalled_crowd, 90, long=True),
    Test("deflate: offers", deflate.offers),
    Test("deflate: off by default", deflate.off_by_default),
    Test("deflate: websockets of Python", deflate.python, 30),
    Test("deflate: npm ws", deflate.node, 50, shards=(2,)),
    Test("deflate: in chromium", deflate.chromium, 70, shards=(2,)),
    Test("deflate: raw frames", deflate.raw_frames, 30),
    Test("deflate: least bytes and levels", deflate.least_bytes, shards=(1,)),
    Test("deflate: reserved bit", deflate.not_agreed),
    Test("deflate: broadcast", deflate.broadcast, 30),
    Test("deflate: json topics", deflate.json_topics, 30),
    Test("deflate: latest", deflate.latest),
    Test("deflate: a stalled reader", deflate.stalled, 30),
    Test("deflate: over TLS", deflate.over_tls, 30),
    timed("deflate: load", deflate.loaded, 60, shards=(2,)),
    Test("deflate: contexts: offers", deflate_contexts.offers),
    Test("deflate: contexts: raw frames", deflate_contexts.raw_frames, 30),
    Test("deflate: contexts: a budget", deflate_contexts.budget, 30),
    Test("deflate: contexts: between topics", deflate_contexts.between_topics, 30),
    Test("deflate: contexts: hostile", deflate_contexts.hostile, shards=(1,)),
    *(
        Test(f"deflate: contexts: {name}", deflate_contexts.with_contexts(test, **more), 70,
             shards=(2,))
        for name, test, more in (
            ("websockets of Python", deflate.python, {"remembers": True}),
            ("npm ws", deflate.node, {}),
            ("in chromium", deflate.chromium, {}),
            ("broadcast", deflate.broadcast, {}),
            ("json topics", deflate.json_topics, {}),
            ("over TLS", deflate.over_tls, {}),
            ("load", deflate.loaded, {"word": "--compression-contexts"}),
        )
    ),
    Test("deflate: odd offers", deflate_hostile.odd_offers),
    Test("deflate: bombs", deflate_hostile.bombs, 30),
    Test("deflate: bombs over TLS", deflate_hostile.bombs_over_tls, 30),
    Test("deflate: messages left open", deflate_hostile.left_open, 40, shards=(2,)),
    Test("deflate: bombs left open", deflate_hostile.bombs_left_open, shards=(2,)),
    timed("deflate: many bombs", deflate_hostile.many_bombs, 30, shards=(1,)),
    Test("deflate: rate of what is inflated", deflate_hostile.rate_of_inflated, 30, shards=(1,)),
    Test("deflate: tiny blocks", deflate_hostile.tiny_blocks, shards=(1,)),
    Test("deflate: tables for nothing", deflate_hostile.huffman_tables, shards=(1,)),
    Test("deflate: corrupt", deflate_hostile.corrupt, shards=(1,)),
    Test("deflate: truncated", deflate_hostile.truncated, shards=(1,)),
    Test("deflate: empty fragments", deflate_hostile.empty_fragments, shards=(1,)),
    Test("deflate: too many fragments", deflate_hostile.too_many_fragments, shards=(1,)),
    Test("deflate: long offers", deflate_hostile.long_offers),
    Test("deflate: before the handshake", deflate_hostile.before_the_handshake),
    Test("deflate: 2,000 idle", deflate_hostile.idle, 30, shards=(2,)),
    Test("deflate: echoes unread", deflate_hostile.unread, 30, shards=(1,)),
    Test("deflate: leak", deflate_hostile.leaking, 30, shards=(2,)),
    *(timed(f"work: {name}", work.short(name), 30, shards=(1,)) for name in work.ATTACKS),
    Test("work: memory returns", work.memory_returns, shards=(1,)),
    Test("work: at full size", work.at_full_size, 900, shards=(1,), asked=True),
    Test("work: charged and spent", work.charged_and_spent, 300, shards=(1,), asked=True),
    Test("10,000 idle", crowd.idle, 60, alone=True, long=True),
    Test("10,000 idle and subscribed", crowd.subscribed, 60, alone=True, long=True),
    Test("SIGTERM in a broadcast to 10,000", drain_crowd.drain_in_broadcast, 60, alone=True, long=True),
    Test("leak", leak.leak, 150, alone=True, long=True, shards=(2,)),
)


def call(function, server, seconds_max):
    """Calls a test within its time; returns its remark."""
    if inspect.iscoroutinefunction(function):
        return asyncio.run(asyncio.wait_for(function(server), seconds_max))

    def on_alarm(*_):
        raise Failure(f"not finished after {seconds_max}s")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds_max)
    try:
        return function(server)
    finally:
        signal.alarm(0)


def run(test, server, verbose):
    """Runs one test and prints its line; returns whether it passed."""
    name = f"{test.name} ({server.shards})"
    started = time.monotonic()
    remark, reason = None, None
    for chance in range(CHANCES if test.timed else 1):
        reason = None
        try:
            remark = call(test.function, server, test.seconds_max)
            break
        except Exception as error:
            if verbose:
                traceback.print_exc()
            place = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            if test.timed and chance + 1 < CHANCES:
                print(f"again {name} {reason}", flush=True)
    if reason is None and "panicked" in server.errors():
        reason = "the server panicked"
    if not server.is_alive() and server.process.returncode != 0:
        reason = f"the server ended with {server.process.returncode}; {reason}"
    if reason is None:
        remark = f" ({remark})" if remark else ""
        print(f"ok {name} {time.monotonic() - started:.2f}s{remark}", flush=True)
    else:
        print(f"FAILED {name} {reason}", flush=True)
        print("".join(f"    {line}\n" for line in server.errors().splitlines()[-5:]), end="")
    return reason is None


def run_with_shards(shards, tests, arguments):
    """All tests with this many shards; returns a list of whether each passed."""
    passed, shared = [], None
    try:
        for test in tests:
            if test.alone:
                with Server(shards, arguments.binary) as server:
                    passed.append(run(test, server, arguments.verbose))
                continue
            if shared is None or not shared.is_alive():
                shared = Server(shards, arguments.binary)
                shared.__enter__()
            passed.append(run(test, shared, arguments.verbose))
    finally:
        if shared is not None:
            code = shared.stop()
            if code != 0:
                print(f"FAILED the shared server ended with {code}: {shared.errors()[-1000:]}")
                passed.append(False)
    return passed


def is_named(test, names):
    return not names or any(name in test.name for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, default=BINARY)
    parser.add_argument("--quick", action="store_true", help="leave the long tests out")
    parser.add_argument("--verbose", action="store_true", help="print tracebacks")
    parser.add_argument("--shards", type=int, action="append", help="1, 2; both by default")
    parser.add_argument("names", nargs="*", help="only tests whose name contains one of these")
    arguments = parser.parse_args()
    passed = []
    for shards in arguments.shards or (1, 2):
        tests = [
            test
            for test in TESTS
            if shards in test.shards
            and not (arguments.quick and test.long)
            and (test.name in arguments.names if test.asked else is_named(test, arguments.names))
        ]
        passed += run_with_shards(shards, tests, arguments)
    print(f"{passed.count(True)} passed, {passed.count(False)} failed", flush=True)
    sys.exit(0 if passed and all(passed) else 1)


if __name__ == "__main__":
    main()
