//! Publishers whose topic's home, another shard, does not keep up.

use crate::app::{Conn, Handler, Request, Upgrade};
use crate::base::Limits;
use crate::connection::SendOutcome;
use crate::driver::sim::{Faults, SimRing, World};
use crate::hub::Hub;
use crate::protocol::Message;
use crate::shard::Shard;
use crate::testing::{Received, TestClient, assemble};

/// `/write/TOPIC` publishes to the topic, `/read/TOPIC` subscribes to it, and `/echo` echoes.
struct Topics;

impl Handler for Topics {
    type Session = String;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
        Upgrade::accept(request.path().to_owned())
    }

    fn open(&mut self, conn: &mut Conn<'_, String>) {
        if let Some(topic) = conn.session().clone().strip_prefix("/read/") {
            conn.subscribe(topic).unwrap();
        }
    }

    fn message(&mut self, conn: &mut Conn<'_, String>, message: Message<'_>) {
        let is_taken = match conn.session().clone().strip_prefix("/write/") {
            Some(topic) => conn.publish(topic, message).is_ok(),
            None => conn.send(message) == SendOutcome::Queued,
        };
        assert!(is_taken, "refused");
    }
}

struct Stage {
    world: World,
    shards: Vec<Shard<Topics, SimRing>>,
    /// A topic of each shard.
    topics: [String; 2],
}

const MAILS_MAX: usize = 8;
const OVERFLOW_BYTES_MAX: usize = 32 << 10;
/// Small beside that: input received before the publisher is paused is kept.
const RECEIVE_BUFFER_BYTES: usize = 1 << 10;
const MESSAGES: usize = 1_000;
const MESSAGE_BYTES: usize = 200;

impl Stage {
    fn new() -> Stage {
        let limits = Limits {
            mailbox_mails_max: MAILS_MAX,
            publish_overflow_bytes_max: OVERFLOW_BYTES_MAX,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            ..Limits::default()
        };
        let world = World::new(1, Faults::default(), 1 << 20);
        let (shards, _) = assemble(&world, &limits, Vec::new(), 2, |_| (), || Topics);
        let of_shard = |shard| {
            let mut names = (0..).map(|number| format!("topic.{number}"));
            names.find(|name| Hub::home_of(name, 0, 2).index() == shard).unwrap()
        };
        Stage { world, shards, topics: [of_shard(0), of_shard(1)] }
    }

    fn connect(&mut self, shard: usize, kind: &str, topic: usize) -> TestClient {
        let target = format!("/{kind}/{}", self.topics[topic]);
        TestClient::start(self.world.connect(shard), &target, &[], [0; 16])
    }

    /// Turns these shards until they are idle. The others stand still.
    fn run(&mut self, shards: &[usize]) {
        for _ in 0..100_000 {
            let mut ran = false;
            for &shard in shards {
                if self.world.is_runnable(shard) {
                    self.shards[shard].turn().unwrap();
                    ran = true;
                }
            }
            if !ran {
                return;
            }
        }
        panic!("they never become idle");
    }
}

fn send(publisher: &mut TestClient, numbers: std::ops::Range<usize>) {
    for number in numbers {
        publisher.send(format!("{number:MESSAGE_BYTES$}").as_str());
    }
}

/// Checks that the reader has so many messages: all that were sent, in order and once.
fn check_got(reader: &mut TestClient, messages: usize) {
    for number in 0..messages {
        let text = format!("{number:MESSAGE_BYTES$}");
        assert_eq!(reader.receive(), Some(Received::Text(text)), "message {number}");
    }
    assert_eq!(reader.receive(), None);
}

/// The server reads no more from them than it may keep for the mailbox, refuses nothing, and
/// keeps serving the others of their shard.
#[test]
fn a_publisher_to_a_home_that_stands_still_is_not_read_from() {
    let mut stage = Stage::new();
    let (mut publisher, mut reader) = (stage.connect(0, "write", 1), stage.connect(1, "read", 1));
    let mut others = [stage.connect(0, "write", 0), stage.connect(0, "echo", 0)];
    let mut local = stage.connect(0, "read", 0);
    stage.run(&[0, 1]);
    send(&mut publisher, 0..MESSAGES);
    stage.run(&[0]);
    let counters = stage.shards[0].counters();
    assert_eq!((counters.receives_paused.get(), counters.publications_refused.get()), (1, 0));
    let read = counters.bytes_received.get() as usize;
    assert!(read < OVERFLOW_BYTES_MAX, "{read} bytes read");
    // Not for want of turns.
    send(&mut publisher, MESSAGES..2 * MESSAGES);
    stage.run(&[0]);
    assert_eq!(stage.shards[0].counters().bytes_received.get() as usize, read);
    for number in 0..100 {
        for other in &mut others {
            send(other, number..number + 1);
        }
        stage.run(&[0]);
    }
    check_got(&mut others[1], 100);
    check_got(&mut local, 100);
    assert_eq!(reader.receive(), None);
    // The home continues, and nothing was lost.
    stage.run(&[0, 1]);
    check_got(&mut reader, 2 * MESSAGES);
    assert_eq!(stage.shards[0].counters().publications_refused.get(), 0);
    // So does the publisher, as fast as ever.
    let paused = stage.shards[0].counters().receives_paused.get();
    send(&mut publisher, 0..1);
    stage.run(&[0, 1]);
    check_got(&mut reader, 1);
    assert_eq!(stage.shards[0].counters().receives_paused.get(), paused);
}

/// Each is the home of the other's topic, and each mailbox is full.
#[test]
fn two_shards_that_publish_to_each_other_do_not_block() {
    let mut stage = Stage::new();
    let mut publishers = [stage.connect(0, "write", 1), stage.connect(1, "write", 0)];
    // Readers on both sides: messages also return to their publisher's shard.
    let mut readers: Vec<_> =
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(at, topic)| stage.connect(at, "read", topic)).into();
    stage.run(&[0, 1]);
    publishers.iter_mut().for_each(|publisher| send(publisher, 0..MESSAGES));
    stage.run(&[0]);
    stage.run(&[1]);
    for shard in &stage.shards {
        assert!(shard.counters().receives_paused.get() > 0);
    }
    stage.run(&[0, 1]);
    readers.iter_mut().for_each(|reader| check_got(reader, MESSAGES));
}
