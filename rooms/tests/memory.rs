//! Ten thousand rooms fit in memory, and chat costs a room nothing. A binary of its own, because it counts allocations.

#![allow(unsafe_code, reason = "an allocator that counts is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[path = "engine/support.rs"]
#[allow(dead_code, reason = "shared with the engine's tests, which need all of it")]
mod support;

use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::room::Room;
use support::*;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only counters are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        TAKEN.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn room_stays_small_however_long_the_conversation() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let hello = clinic.decide(&patient(), &chat(Thread::Care), None).expect("chat is open");

    // Replays whole cases: the bytes left once everything else is freed belong to the rooms.
    let before = LIVE.load(Relaxed);
    let rooms: Vec<Room> = (0..1000)
        .map(|_| {
            let mut room = Room::new(RoomId(uuid(0)));
            assert!(clinic.log.iter().all(|record| room.apply(record)));
            room
        })
        .collect();
    let each = (LIVE.load(Relaxed) - before) / 1000;
    println!("a room with a prescription at a pharmacy and a parcel: {each} bytes");
    assert!(each < 4096, "{each} bytes");
    drop(rooms);

    let before = LIVE.load(Relaxed);
    let log = clinic.log.len();
    for _ in 0..500 {
        clinic.apply(&patient(), &hello);
    }
    clinic.log.truncate(log);
    clinic.log.shrink_to_fit();
    assert!(LIVE.load(Relaxed) <= before + 64, "500 messages leave nothing in a room");

    // Deciding a message copies the message, not the case.
    let command = chat(Thread::Care);
    let before = TAKEN.load(Relaxed);
    let events = clinic.decide(&patient(), &command, None);
    let taken = TAKEN.load(Relaxed) - before;
    println!("deciding a message of 5 bytes: {taken} bytes allocated");
    assert!(events.is_ok() && taken < 2 * size_of::<rooms::event::Event>() + 256, "{taken} bytes");
}
