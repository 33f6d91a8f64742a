//! Between the rooms and the post: which commits are worth a letter, and what stands in it when it leaves.

use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use rooms::event::Event;
use rooms::id::UserId;
use rooms::party::Slot;
use rooms::role::Actor;
use rooms::state::{ConsultationState, PaymentState};
use rooms::time::Timestamp;

use super::letter::{Kind, Letter};
use super::post::{Envelope, Post};
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::Outcome;
use crate::gateway::partner::Failure;
use crate::hub::Hub;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outgoing::News;

/// How long before a consultation people are reminded: the first of these that is still ahead.
const REMINDERS: [Duration; 2] = [Duration::from_secs(86_400), Duration::from_secs(3_600)];

/// See the module.
#[derive(Clone)]
pub struct MailDesk {
    hub: Hub,
    clock: Clock,
    post: Post,
    from: Mailbox,
    /// Where people reach the hub, without a slash at the end.
    base: String,
    offset_minutes: i32,
}

impl MailDesk {
    /// None if nobody carries mail.
    pub fn new(config: &Config, hub: Hub, clock: Clock) -> anyhow::Result<Option<Self>> {
        let Some(post) = Post::new(&config.mail, &config.data_dir)? else { return Ok(None) };
        let base = config.public_url.as_ref().map_or_else(|| format!("http://{}", config.listen), ToString::to_string);
        let (from, offset_minutes) = (config.mail.from.parse()?, config.mail.offset_minutes);
        Ok(Some(Self { hub, clock, post, from, base, offset_minutes }))
    }

    pub fn post(&self) -> &Post {
        &self.post
    }

    /// What follows from a commit.
    pub fn wishes(&self, news: &News) -> Vec<Wish> {
        let slot = news.after.as_ref().and_then(|after| after.consultation.as_ref()?.slot.as_ref());
        let mut wishes = Vec::new();
        for record in &news.records {
            let now = self.clock.now();
            let kind = match (&record.event, slot) {
                (Event::ConsultationMoved(moved), Some(_)) if moved.to == ConsultationState::Booked => Kind::Booked,
                (Event::Rescheduled(_), Some(_)) if is_booked(news) => Kind::Moved,
                (Event::PaymentMoved(moved), _) if moved.to == PaymentState::Captured => Kind::Receipt,
                (Event::PaymentMoved(moved), _)
                    if moved.to == PaymentState::Refunded && moved.from == Some(PaymentState::Captured) =>
                {
                    Kind::Refund
                }
                _ => continue,
            };
            let wish = |kind: Kind, body: String, due_at: Timestamp| Wish {
                sink: Sink::Mail,
                lane: self.post.name().to_owned(),
                target: news.patient.to_string(),
                room: news.room,
                seq: record.seq,
                kind: kind.as_str().to_owned(),
                body,
                due_at,
            };
            let slot = slot.filter(|_| matches!(kind, Kind::Booked | Kind::Moved));
            let name = slot.map_or_else(String::new, |slot| slot.id.to_string());
            wishes.push(wish(kind, name.clone(), now));
            if let Some(due_at) = slot.and_then(|slot| remind_at(slot, now)) {
                wishes.push(wish(Kind::Reminder, name, due_at));
            }
        }
        wishes
    }

    /// Writes a letter and hands it over, if it is still true.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        match self.try_send(dispatch).await {
            Ok(outcome) => outcome,
            Err(failure) => failure.into(),
        }
    }

    async fn try_send(&self, dispatch: &Dispatch) -> Result<Outcome, Failure> {
        let (Some(kind), Ok(user)) = (Kind::named(&dispatch.kind), dispatch.target.parse::<UserId>()) else {
            return Ok(Outcome::refused("there is no such letter"));
        };
        let snapshot = match self.hub.read(dispatch.room, &Actor::System).await {
            Ok(look) => look.snapshot,
            Err(error) if error.is_retryable() => return Err(Failure::later("the hub cannot do this now")),
            Err(_) => return Ok(Outcome::gone("there is no such room")),
        };
        let consultation = snapshot.consultation.as_ref();
        let slot = consultation.and_then(|it| it.slot.as_ref());
        if matches!(kind, Kind::Booked | Kind::Moved | Kind::Reminder) {
            let is_booked = consultation.is_some_and(|it| it.state == ConsultationState::Booked);
            let is_ahead = slot.is_some_and(|slot| slot.starts_at > self.clock.now());
            let is_same = slot.is_some_and(|slot| slot.id.to_string() == dispatch.body);
            if !(is_booked && is_ahead && is_same) {
                return Ok(Outcome::gone("it is no longer true"));
            }
        }
        let Some(person) = self.hub.store().addressee(user).await? else {
            return Ok(Outcome::gone("there is no such active account"));
        };
        let Ok(address) = person.email.parse::<Address>() else {
            return Ok(Outcome::refused("the account has no address that mail can be sent to"));
        };
        let link = format!("{}/#/room/{}", self.base, dispatch.room);
        let letter = Letter {
            kind,
            name: &person.name,
            starts_at: slot.map(|slot| slot.starts_at),
            offset_minutes: self.offset_minutes,
            amount: snapshot.payment.as_ref().map(|payment| (payment.amount, payment.currency.as_str())),
            link: &link,
        };
        let to = Mailbox::new(Some(person.name.as_str().to_owned()), address);
        let written = letter.write(person.language);
        let envelope = Envelope { id: dispatch.id, at: self.clock.now(), from: &self.from, to, written };
        self.post.carry(envelope).await?;
        Ok(Outcome::Done)
    }
}

fn is_booked(news: &News) -> bool {
    let consultation = news.after.as_ref().and_then(|after| after.consultation.as_ref());
    consultation.is_some_and(|it| it.state == ConsultationState::Booked)
}

/// When to remind of a slot that was booked `now`; not at all if it is near anyway.
fn remind_at(slot: &Slot, now: Timestamp) -> Option<Timestamp> {
    let ahead = |lead: Duration| {
        let micros = i64::try_from(lead.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(slot.starts_at.micros().saturating_sub(micros))
    };
    REMINDERS.into_iter().map(ahead).find(|at| *at > now)
}
