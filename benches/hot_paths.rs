//! The hot paths without I/O, in bytes or operations a second.
//!
//! `cargo bench` measures; `cargo bench -- --test` only checks that they run.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::value::RawValue;
use std::hint::black_box;
use std::sync::Arc;
use tapecast::hub::{Delivery, Hub, Mode, Outbox, Publication, Signal, Subscriptions};
use tapecast::protocol::head::HEADERS_MAX;
use tapecast::protocol::json::Scanner;
use tapecast::protocol::utf8::Utf8;
use tapecast::protocol::{
    Inbound, Input, Opcode, Request, Role, Rules, Workspace, frame, handshake, mask,
};
use tapecast::{Limits, mailbox};

fn unmasking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for size in [20, 125, 1 << 10, 16 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(size as u64));
        let mut bytes = vec![7; size];
        group.bench_function(size.to_string(), |bench| {
            bench.iter(|| mask::apply(black_box(&mut bytes), [1, 2, 3, 4]));
        });
    }
}

fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, text) in [("ascii", "a"), ("two bytes", "é"), ("mixed", "price: 1 € 漢字 ")] {
        let text = text.repeat(16_384 / text.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}, 1 KiB at a time"), |bench| {
            bench.iter(|| {
                let mut utf8 = Utf8::default();
                text.as_bytes().chunks(1024).try_for_each(|piece| utf8.push(piece))
            });
        });
    }
}

fn frames(criterion: &mut Criterion) {
    let rules = Rules {
        role: Role::Server,
        message_bytes_max: 1 << 24,
        message_fragments_max: 16,
        deflate: false,
    };
    let mut group = criterion.benchmark_group("decode");
    for (size, count) in [(20usize, 100usize), (125, 100), (1 << 10, 10), (16 << 10, 1)] {
        let mut stream = Vec::new();
        for _ in 0..count {
            let header = frame::encode(Opcode::Text, true, size, Some([1, 2, 3, 4]));
            stream.extend_from_slice(header.as_bytes());
            let start = stream.len();
            stream.extend(std::iter::repeat_n(b'x', size));
            mask::apply(&mut stream[start..], [1, 2, 3, 4]);
        }
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{size} B"), |bench| {
            let mut pool = Workspace::new(1 << 20);
            bench.iter_batched_ref(
                || stream.clone(),
                |bytes| {
                    let mut inbound = Inbound::new();
                    let mut input = Input::new(bytes);
                    let mut messages = 0;
                    while inbound.next(&rules, &mut pool, &mut input).unwrap().is_some() {
                        messages += 1;
                    }
                    messages
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    criterion.bench_function("encode a header", |bench| {
        bench.iter(|| frame::encode(Opcode::Binary, true, black_box(300), None));
    });
}

fn handshakes(criterion: &mut Criterion) {
    let mut head = Vec::new();
    let offer = handshake::Offer::new("localhost:9001", "/echo");
    handshake::write_request(&mut head, &offer, [7; 16]);
    criterion.bench_function("handshake", |bench| {
        let mut out = Vec::new();
        bench.iter(|| {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let request = Request::parse(black_box(&head), &mut headers).unwrap();
            handshake::check_upgrade(&request).unwrap();
            out.clear();
            handshake::write_accept(&mut out, &request, None, "", None);
            out.len()
        });
    });
}

fn mailboxes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 mails in and out", |bench| {
        let allowance = Arc::new(mailbox::Allowance::new(1 << 20));
        let (mut sender, mut receiver) = mailbox::channel(128, 1 << 20, &allowance);
        bench.iter(|| {
            for item in 0..64u64 {
                sender.push(item, 8).unwrap();
            }
            std::iter::from_fn(|| receiver.pop()).sum::<u64>()
        });
    });
}

/// A turn of 500 subscribers: publishing, marking subscribers, and finding the messages of each.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out plan");
    for (mode, name) in [(Mode::All, "all"), (Mode::Latest, "latest of 100 keys")] {
        for window in [1u64, 16, 256] {
            group.throughput(Throughput::Elements(window * SUBSCRIBERS));
            let mut turn = fan_out_turn(mode);
            group.bench_function(format!("{name}, window {window}"), |bench| {
                bench.iter(|| turn(window));
            });
        }
    }
}

const SUBSCRIBERS: u64 = 500;

fn fan_out_turn(mode: Mode) -> impl FnMut(u64) {
    let mut hub = Hub::alone(&Limits::default());
    let mut subscribers = vec![Subscriptions::default(); SUBSCRIBERS as usize];
    let delivery = Delivery { mode, ..Delivery::default() };
    for (number, subscriptions) in subscribers.iter_mut().enumerate() {
        hub.subscribe(number as u32, subscriptions, "topic", &delivery).unwrap();
    }
    let (mut outbox, mut signals) = (Outbox::default(), Vec::new());
    hub.flush(&mut outbox, &mut signals);
    let payload = [7; 64];
    let keys: Vec<String> = (0..100).map(|key| format!("key{key}")).collect();
    let mut published = 0;
    move |window| {
        for _ in 0..window {
            let key = (mode == Mode::Latest).then(|| keys[published % keys.len()].as_str());
            let publication = Publication { key, ..Publication::new("topic", &payload) };
            hub.publish(&publication).unwrap();
            published += 7;
        }
        signals.clear();
        hub.flush(&mut outbox, &mut signals);
        for signal in &signals {
            let Signal::Pending(number) = *signal else { continue };
            let subscriptions = &mut subscribers[number as usize];
            let mut bytes = 0;
            hub.pending(*subscriptions, usize::MAX, 63, |slice| bytes += slice.len());
            hub.advance(subscriptions, bytes, |_| {});
        }
    }
}

/// Picking the fields of a request: the scanner, compared with the library.
fn requests(criterion: &mut Criterion) {
    let request = r#"{"type":"publish","channel":"quotes.crypto","key":"BTC","message":{"bid":64000.5,"ask":64001.25,"size":3},"id":4711}"#;
    let mut group = criterion.benchmark_group(format!("request of {} B", request.len()));
    group.bench_function("scanner", |bench| {
        bench.iter(|| {
            let mut bytes = 0;
            let read = Scanner::new(black_box(request)).members(|_, value| bytes += value.len());
            read.map(|()| bytes)
        });
    });
    group.bench_function("serde_json, raw values", |bench| {
        #[derive(serde::Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            r#type: &'a RawValue,
            channel: &'a RawValue,
            key: &'a RawValue,
            message: &'a RawValue,
            id: &'a RawValue,
        }
        bench.iter(|| {
            let fields: Fields<'_> = serde_json::from_str(black_box(request)).expect("JSON");
            let Fields { r#type, channel, key, message, id } = fields;
            [r#type, channel, key, message, id].iter().map(|it| it.get().len()).sum::<usize>()
        });
    });
}

criterion_group!(benches, unmasking, utf8, frames, handshakes, mailboxes, fan_out, requests);
criterion_main!(benches);
