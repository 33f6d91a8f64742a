//! Connects rooms to mail: decides which changes a patient is mailed about, and renders each mail when it is sent.

use std::time::Duration;

use chrono_tz::Tz;
use lettre::Address;
use lettre::message::Mailbox;
use rooms::event::Event;
use rooms::id::UserId;
use rooms::party::Slot;
use rooms::role::Actor;
use rooms::state::{ConsultationState, PaymentState};
use rooms::time::Timestamp;

use super::recipient::presentable_name;
use super::template::{MailKind, MailTemplate};
use super::transport::{MailTransport, OutgoingMail};
use crate::clock::Clock;
use crate::config::Config;
use crate::hub::Hub;
use crate::integrations::outcome::Outcome;
use crate::integrations::partner::PartnerError;
use crate::store::StoreError;
use crate::store::dispatches::{Dispatch, DispatchState, Sink, Wish};
use crate::store::outbox::CommittedChange;

/// How long before a consultation patients are reminded: the first of these that is still ahead.
const REMINDER_LEAD_TIME_OPTIONS: [Duration; 2] = [Duration::from_secs(86_400), Duration::from_secs(3_600)];

/// Mails that one account's address gets within a day. Whoever registers with the address of somebody else, and books
/// again and again, could otherwise flood them in the clinic's name.
const MAX_DAILY_MAILS: u64 = 20;
const DAY_LENGTH: Duration = Duration::from_secs(86_400);

/// See the module.
#[derive(Clone)]
pub struct MailAdapter {
    hub: Hub,
    clock: Clock,
    transport: MailTransport,
    from: Mailbox,
    /// The hub's public URL, without a trailing slash.
    base_url: String,
    zone: Tz,
}

impl MailAdapter {
    /// Returns `None` if no transport is configured.
    pub fn new(config: &Config, hub: Hub, clock: Clock) -> anyhow::Result<Option<Self>> {
        let Some(transport) = MailTransport::new(&config.mail, &config.data_dir)? else { return Ok(None) };
        let base_url =
            config.public_url.as_ref().map_or_else(|| format!("http://{}", config.listen), ToString::to_string);
        let (from, zone) = (config.mail.from.parse()?, config.clinic.zone);
        Ok(Some(Self { hub, clock, transport, from, base_url, zone }))
    }

    pub fn transport(&self) -> &MailTransport {
        &self.transport
    }

    /// Returns the mails that follow from a change.
    pub fn deliveries_for(&self, change: &CommittedChange) -> Vec<Wish> {
        let slot = change.after.as_ref().and_then(|after| after.consultation.as_ref()?.slot.as_ref());
        let mut deliveries = Vec::new();
        for record in &change.records {
            let now = self.clock.now();
            let kind = match (&record.event, slot) {
                (Event::ConsultationMoved(moved), Some(_)) if moved.to == ConsultationState::Booked => MailKind::Booked,
                (Event::Rescheduled(_), Some(_)) if is_booked(change) => MailKind::Moved,
                (Event::PaymentMoved(moved), _) if moved.to == PaymentState::Captured => MailKind::Receipt,
                (Event::PaymentMoved(moved), _)
                    if moved.to == PaymentState::Refunded && moved.from == Some(PaymentState::Captured) =>
                {
                    MailKind::Refund
                }
                _ => continue,
            };
            let delivery = |kind: MailKind, body: String, due_at: Timestamp| Wish {
                sink: Sink::Mail,
                lane: self.transport.name().to_owned(),
                target: change.patient.to_string(),
                room: change.room,
                seq: record.seq,
                kind: kind.as_str().to_owned(),
                body,
                due_at,
            };
            let slot = slot.filter(|_| matches!(kind, MailKind::Booked | MailKind::Moved));
            let name = slot.map_or_else(String::new, |slot| slot.id.to_string());
            deliveries.push(delivery(kind, name.clone(), now));
            if let Some(due_at) = slot.and_then(|slot| reminder_at(slot, now)) {
                deliveries.push(delivery(MailKind::Reminder, name, due_at));
            }
        }
        deliveries
    }

    /// Renders a mail and sends it, if what it states is still true.
    pub async fn send(&self, delivery: &Dispatch) -> Outcome {
        match self.try_send(delivery).await {
            Ok(outcome) => outcome,
            Err(error) => error.into(),
        }
    }

    async fn try_send(&self, delivery: &Dispatch) -> Result<Outcome, PartnerError> {
        let (Some(kind), Ok(user)) = (MailKind::from_name(&delivery.kind), delivery.target.parse::<UserId>()) else {
            return Ok(Outcome::refused("there is no such kind of mail"));
        };
        let snapshot = match self.hub.read(delivery.room, &Actor::System).await {
            Ok(view) => view.snapshot,
            Err(error) if error.is_retryable() => {
                return Err(PartnerError::Postponed("the hub is temporarily unavailable".to_owned()));
            }
            Err(_) => return Ok(Outcome::gone("there is no such room")),
        };
        let consultation = snapshot.consultation.as_ref();
        let slot = consultation.and_then(|it| it.slot.as_ref());
        if matches!(kind, MailKind::Booked | MailKind::Moved | MailKind::Reminder) {
            let is_booked = consultation.is_some_and(|it| it.state == ConsultationState::Booked);
            let is_ahead = slot.is_some_and(|slot| slot.starts_at > self.clock.now());
            let is_same = slot.is_some_and(|slot| slot.id.to_string() == delivery.body);
            if !(is_booked && is_ahead && is_same) {
                return Ok(Outcome::gone("the appointment has changed since"));
            }
        }
        if let Some(why) = self.superfluous(kind, delivery).await? {
            return Ok(Outcome::gone(why));
        }
        let Some(person) = self.hub.store().addressee(user).await? else {
            return Ok(Outcome::gone("there is no such active account"));
        };
        let Ok(address) = person.email.parse::<Address>() else {
            return Ok(Outcome::refused("the account has no address that mail can be sent to"));
        };
        let link = format!("{}/#/room/{}", self.base_url, delivery.room);
        let name = presentable_name(person.name.as_str());
        let template = MailTemplate {
            kind,
            name,
            starts_at: slot.map(|slot| slot.starts_at),
            zone: self.zone,
            amount: snapshot.payment.as_ref().map(|payment| (payment.amount, payment.currency.as_str())),
            link: &link,
        };
        let to = Mailbox::new(name.map(str::to_owned), address);
        let rendered = template.render(person.language);
        let mail = OutgoingMail { id: delivery.id, at: self.clock.now(), from: &self.from, to, rendered };
        self.transport.send(mail).await?;
        Ok(Outcome::done())
    }
}

impl MailAdapter {
    /// Returns why a mail that is still true need not be sent, if so.
    async fn superfluous(&self, kind: MailKind, delivery: &Dispatch) -> Result<Option<&'static str>, StoreError> {
        let store = self.hub.store();
        let siblings = store.sibling_deliveries(delivery).await?;
        if let Some(why) = superseded(kind, delivery, &siblings) {
            return Ok(Some(why));
        }
        let since = self.clock.now().minus(DAY_LENGTH);
        let is_over = store.deliveries_since(delivery, since).await? >= MAX_DAILY_MAILS;
        Ok(is_over.then_some("the address has had as many mails within a day as it may"))
    }
}

/// Returns why another mail about the same appointment makes this one superfluous, if so. A patient may move an appointment
/// away and back; each slot is announced by the last move to it, and its reminder is sent once.
fn superseded(kind: MailKind, delivery: &Dispatch, siblings: &[Dispatch]) -> Option<&'static str> {
    let same_kind = || siblings.iter().filter(|it| it.kind == delivery.kind);
    match kind {
        MailKind::Moved if same_kind().any(|it| it.seq > delivery.seq) => Some("the appointment has moved again"),
        MailKind::Reminder => {
            let is_sent = |it: &Dispatch| match it.state {
                DispatchState::Done => true,
                // Both are under way: the first one wins.
                DispatchState::Sending => it.id < delivery.id,
                DispatchState::Waiting | DispatchState::Dropped | DispatchState::Dead => false,
            };
            same_kind().any(|it| it.body == delivery.body && is_sent(it)).then_some("the reminder was sent before")
        }
        MailKind::Booked | MailKind::Moved | MailKind::Receipt | MailKind::Refund => None,
    }
}

fn is_booked(change: &CommittedChange) -> bool {
    let consultation = change.after.as_ref().and_then(|after| after.consultation.as_ref());
    consultation.is_some_and(|it| it.state == ConsultationState::Booked)
}

/// Returns when to remind of a slot that is booked `now`; `None` if it begins soon.
fn reminder_at(slot: &Slot, now: Timestamp) -> Option<Timestamp> {
    let ahead = |lead: Duration| {
        let micros = i64::try_from(lead.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(slot.starts_at.micros().saturating_sub(micros))
    };
    REMINDER_LEAD_TIME_OPTIONS.into_iter().map(ahead).find(|at| *at > now)
}
