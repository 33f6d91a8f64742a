//! The cost of one message in the engine and in JSON, without I/O. `cargo bench -p rooms`.

#[allow(dead_code, reason = "made for the tests, which use all of it")]
#[path = "../tests/engine/support.rs"]
mod support;

use divan::Bencher;
use divan::counter::BytesCount;
use rooms::event::{ChatSent, Event};
use rooms::id::CommandId;
use rooms::party::Thread;
use rooms::permission::{View, sees};
use rooms::record::{GENESIS, Record, chain};
use rooms::room::Room;
use rooms::wire::client::ClientFrame;
use rooms::wire::server::{ServerFrame, event_frame};

use crate::support::{Clinic, chat, doctor, text, uuid};

fn main() {
    divan::main();
}

/// A running conversation and the doctor's next message of 200 bytes.
fn conversation() -> (Clinic, Record) {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    let event = Event::ChatSent(ChatSent { text: text(&"a word ".repeat(28)), thread: Thread::Care });
    let (room, seq) = (clinic.room.id(), clinic.room.head() + 1);
    let record =
        Record { room, seq, at: clinic.now, actor: doctor().by(), command: Some(CommandId(uuid(7_000))), event };
    (clinic, record)
}

#[divan::bench]
fn read_a_command_frame(bencher: Bencher<'_, '_>) {
    let (clinic, _) = conversation();
    let frame = ClientFrame::Command {
        id: CommandId(uuid(7_000)),
        room: clinic.room.id(),
        expect: None,
        command: chat(Thread::Care),
    };
    let json = serde_json::to_string(&frame).expect("a frame is JSON");
    bencher.counter(BytesCount::of_str(&json)).bench(|| serde_json::from_str::<ClientFrame>(divan::black_box(&json)));
}

#[divan::bench]
fn decide_a_message(bencher: Bencher<'_, '_>) {
    let (clinic, _) = conversation();
    let command = chat(Thread::Care);
    bencher.bench(|| clinic.decide(&doctor(), divan::black_box(&command), None));
}

#[divan::bench]
fn write_a_record(bencher: Bencher<'_, '_>) {
    let (_, record) = conversation();
    bencher.counter(BytesCount::of_str(&record.canonical())).bench(|| divan::black_box(&record).canonical());
}

#[divan::bench]
fn chain_a_record(bencher: Bencher<'_, '_>) {
    let (_, record) = conversation();
    let canonical = record.canonical();
    bencher.counter(BytesCount::of_str(&canonical)).bench(|| chain(&GENESIS, divan::black_box(&canonical)));
}

#[divan::bench]
fn apply_a_record(bencher: Bencher<'_, '_>) {
    let (clinic, record) = conversation();
    bencher.with_inputs(|| clinic.room.clone()).bench_refs(|room| room.apply(divan::black_box(&record)));
}

#[divan::bench]
fn frame_an_event(bencher: Bencher<'_, '_>) {
    let (clinic, record) = conversation();
    let (room, canonical) = (clinic.room.id(), record.canonical());
    bencher.bench(|| {
        let sees = sees(&View::Care, record.seq, divan::black_box(&record.event));
        sees.then(|| event_frame(room, record.seq - 1, &canonical))
    });
}

#[divan::bench]
fn write_an_ack(bencher: Bencher<'_, '_>) {
    let (clinic, record) = conversation();
    let frame =
        ServerFrame::Ack { id: CommandId(uuid(7_000)), room: clinic.room.id(), first: record.seq, last: record.seq };
    bencher.bench(|| divan::black_box(&frame).encode());
}

/// Loads a room into memory: parses and applies this many stored messages.
#[divan::bench(args = [100, 10_000])]
fn read_a_log(bencher: Bencher<'_, '_>, messages: u64) {
    let (clinic, record) = conversation();
    let said = (0..messages).map(|n| Record { seq: record.seq + n, ..record.clone() });
    let log: Vec<String> = clinic.log.iter().cloned().chain(said).map(|record| record.canonical()).collect();
    bencher.counter(log.len()).bench(|| {
        let mut room = Room::new(clinic.room.id());
        for line in &log {
            let record: Record = serde_json::from_str(line).expect("a record reads back");
            assert!(room.apply(&record), "the next record is applied");
        }
        room
    });
}
