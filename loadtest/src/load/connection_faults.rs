//! Applies a connection fault to the members of rooms.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rand::Rng;

use crate::load::plan::ConnectionFault;
use crate::load::room::{MemberCommand, Room, RunState};

/// Sends the members of these rooms the commands that carry out `fault`.
pub fn apply_fault(rooms: &[Rc<RefCell<Room>>], shared: &RunState, fault: ConnectionFault) {
    for room in rooms {
        let mut room = room.borrow_mut();
        match fault {
            ConnectionFault::Cut { share, jitter } => {
                if shared.random.borrow_mut().random::<f64>() >= share {
                    continue;
                }
                room.cut();
                for member in room.members() {
                    let delay = shared.random.borrow_mut().random_range(Duration::ZERO..=jitter);
                    let _ = member.send(MemberCommand::Cut(delay));
                }
            }
            ConnectionFault::HalfOpen { share, time } => {
                for index in 0..room.members().len() {
                    if shared.random.borrow_mut().random::<f64>() < share && room.exclude(index) {
                        let _ = room.members()[index].send(MemberCommand::GoHalfOpen(time));
                    }
                }
            }
            ConnectionFault::StopReading | ConnectionFault::ResumeReading => {
                for (index, member) in room.members().iter().enumerate() {
                    if !room.active_members().contains(&index) {
                        let stall = matches!(fault, ConnectionFault::StopReading);
                        let _ =
                            member.send(if stall { MemberCommand::StopReading } else { MemberCommand::ResumeReading });
                    }
                }
            }
        }
    }
}
