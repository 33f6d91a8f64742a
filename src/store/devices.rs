//! Devices that receive notifications, and people's notification preferences.

use std::sync::LazyLock;

use rooms::id::{PharmacyId, RoomId, SessionId, UserId};
use rooms::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::batching::{BatchSql, chunks};
use super::columns::{named, unsigned};
use super::{Store, StoreError, on_tx, read, write_one};

/// The number of devices a person may have. A new one replaces the oldest.
const MAX_DEVICES: i64 = 20;

/// A kind of notification, as people switch them on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A call is ringing.
    Call,
    /// A call rang, and nobody answered.
    MissedCall,
    Message,
    /// A booking, or a consultation's change of state.
    Consultation,
    /// A prescription, or its dispensing.
    Prescription,
    Delivery,
    Payment,
}

impl NoticeKind {
    pub const ALL: [NoticeKind; 7] = [
        NoticeKind::Call,
        NoticeKind::MissedCall,
        NoticeKind::Message,
        NoticeKind::Consultation,
        NoticeKind::Prescription,
        NoticeKind::Delivery,
        NoticeKind::Payment,
    ];

    /// Returns the name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Call => "call",
            NoticeKind::MissedCall => "missed_call",
            NoticeKind::Message => "message",
            NoticeKind::Consultation => "consultation",
            NoticeKind::Prescription => "prescription",
            NoticeKind::Delivery => "delivery",
            NoticeKind::Payment => "payment",
        }
    }
}

/// A device's subscription to its browser's push service.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: Uuid,
    pub user: UserId,
    /// The sign-in on that device.
    pub session: SessionId,
    /// The push service's address for the device. A secret: anyone who knows it can send to the device.
    pub endpoint: String,
    pub p256dh: String,
    pub auth: String,
    /// The hub's public key with which the device subscribed. The push service accepts no other. Absent for devices from
    /// before the hub recorded it.
    pub vapid_key: Option<String>,
}

/// A person's choice of notifications, by kind and hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// The kinds that are switched off.
    pub muted: Vec<NoticeKind>,
    pub quiet: Option<Quiet>,
}

/// Hours in which only a ringing call notifies. Minutes after midnight; the range may span midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    pub from: u16,
    pub until: u16,
    /// The person's offset from UTC, in minutes.
    pub offset: i16,
}

const MINUTES_PER_DAY: i64 = 1440;

impl Preferences {
    /// Whether the person wants a notification of this kind at this time.
    pub fn allow(&self, kind: NoticeKind, at: Timestamp) -> bool {
        let quiet = self.quiet.is_some_and(|quiet| quiet.contains(at));
        !self.muted.contains(&kind) && (kind == NoticeKind::Call || !quiet)
    }
}

impl Quiet {
    fn contains(self, at: Timestamp) -> bool {
        let minutes = at.micros().div_euclid(60_000_000) + i64::from(self.offset);
        let minute = minutes.rem_euclid(MINUTES_PER_DAY);
        let (from, until) = (i64::from(self.from), i64::from(self.until));
        if from <= until { (from..until).contains(&minute) } else { minute >= from || minute < until }
    }
}

/// A device to be notified.
#[derive(Clone, Debug)]
pub struct Device {
    /// The person or pharmacy for which the device was looked up.
    pub requested_for: Uuid,
    pub user: UserId,
    pub subscription: Uuid,
    pub endpoint: String,
    pub preferences: Preferences,
}

#[derive(FromRow)]
struct DeviceRow {
    asked: Uuid,
    user_id: Uuid,
    id: Uuid,
    endpoint: String,
    muted: Option<String>,
    quiet_from: Option<i64>,
    quiet_until: Option<i64>,
    offset_minutes: Option<i64>,
}

#[derive(FromRow)]
struct PreferencesRow {
    muted: Option<String>,
    quiet_from: Option<i64>,
    quiet_until: Option<i64>,
    offset_minutes: Option<i64>,
}

impl PreferencesRow {
    fn into_preferences(self) -> Preferences {
        let muted = self.muted.unwrap_or_default();
        // A newer node may have stored a kind that this one does not know, and does not send either.
        let muted = muted.split(',').filter_map(|kind| named(kind).ok()).collect();
        let small = |minutes: i64| u16::try_from(minutes.rem_euclid(MINUTES_PER_DAY)).unwrap_or(0);
        let quiet = self.quiet_from.zip(self.quiet_until).map(|(from, until)| Quiet {
            from: small(from),
            until: small(until),
            offset: i16::try_from(self.offset_minutes.unwrap_or(0)).unwrap_or(0),
        });
        Preferences { muted, quiet }
    }
}

#[derive(FromRow)]
struct SubscriptionRow {
    id: Uuid,
    user_id: Uuid,
    session: Uuid,
    endpoint: String,
    p256dh: String,
    auth: String,
    vapid_key: Option<String>,
}

/// Joins the devices of active users whose sign-in on the device has not been revoked.
const JOIN_DEVICES: &str = "join push_subscriptions d on d.user_id = u.id \
    left join push_preferences p on p.user_id = u.id \
    where u.status = 'active' \
    and not exists (select 1 from sessions s where s.id = d.session and s.revoked_at is not null)";

static OF_PEOPLE: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(1, |rows| {
        format!(
            "with wanted (asked) as (values {rows}) select asked, d.user_id, d.id, d.endpoint, p.muted, p.quiet_from, \
            p.quiet_until, p.offset_minutes from wanted join users u on u.id = asked {JOIN_DEVICES}"
        )
    })
});

static OF_PHARMACIES: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(1, |rows| {
        format!(
            "with wanted (asked) as (values {rows}) select asked, d.user_id, d.id, d.endpoint, p.muted, p.quiet_from, \
            p.quiet_until, p.offset_minutes from wanted join users u on u.pharmacy = asked and u.role = 'pharmacist' \
            {JOIN_DEVICES}"
        )
    })
});

static SEEN: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(2, |rows| {
        format!(
            "with wanted (room, user_id) as (values {rows}) select marks.room, marks.user_id, marks.seen \
            from wanted join marks on marks.room = wanted.room and marks.user_id = wanted.user_id"
        )
    })
});

impl Store {
    /// Adds a device, or updates its keys and owner. Returns its id.
    pub async fn save_subscription(&self, it: &Subscription, now: Timestamp) -> Result<Uuid, StoreError> {
        let sql = "insert into push_subscriptions (id, user_id, session, endpoint, p256dh, auth, vapid_key, created_at) \
            values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (endpoint) do update set user_id = excluded.user_id, \
            session = excluded.session, p256dh = excluded.p256dh, auth = excluded.auth, \
            vapid_key = excluded.vapid_key, created_at = excluded.created_at returning id";
        let mut tx = self.begin().await?;
        let (id,): (Uuid,) = on_tx!(&mut tx, db => sqlx::query_as(sql)
            .bind(it.id).bind(it.user.0).bind(it.session.0).bind(&it.endpoint).bind(&it.p256dh).bind(&it.auth)
            .bind(&it.vapid_key).bind(now.micros()).fetch_one(db).await)?;
        let sql = "delete from push_subscriptions where user_id = $1 and id not in \
            (select id from push_subscriptions where user_id = $1 order by created_at desc limit $2)";
        on_tx!(&mut tx, db => sqlx::query(sql).bind(it.user.0).bind(MAX_DEVICES).execute(db).await.map(drop))?;
        tx.commit().await?;
        Ok(id)
    }

    /// Finds a device, unless it was removed or signed out.
    pub async fn subscription(&self, id: Uuid) -> Result<Option<Subscription>, StoreError> {
        let sql = "select * from push_subscriptions d where id = $1 \
            and not exists (select 1 from sessions s where s.id = d.session and s.revoked_at is not null)";
        let row: Option<SubscriptionRow> = read!(self, db => sqlx::query_as(sql).bind(id).fetch_optional(db).await)?;
        Ok(row.map(|row| Subscription {
            id: row.id,
            user: UserId(row.user_id),
            session: SessionId(row.session),
            endpoint: row.endpoint,
            p256dh: row.p256dh,
            auth: row.auth,
            vapid_key: row.vapid_key,
        }))
    }

    /// Removes a device, optionally only if it belongs to `user`. Returns `false` if there was none.
    pub async fn remove_subscription(&self, id: Uuid, user: Option<UserId>) -> Result<bool, StoreError> {
        let sql = "delete from push_subscriptions where id = $1 and ($2 is null or user_id = $2)";
        let removed = write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(user.map(|user| user.0)).execute(db).await.map(|done| done.rows_affected()))?;
        Ok(removed > 0)
    }

    /// Removes the devices whose sign-in was revoked.
    pub async fn sweep_subscriptions(&self) -> Result<(), StoreError> {
        let sql = "delete from push_subscriptions where session in \
            (select id from sessions where revoked_at is not null)";
        write_one!(self, db => sqlx::query(sql).execute(db).await.map(drop))
    }

    /// Returns a person's preferences, or the default.
    pub async fn preferences(&self, user: UserId) -> Result<Preferences, StoreError> {
        let sql = "select muted, quiet_from, quiet_until, offset_minutes from push_preferences where user_id = $1";
        let row: Option<PreferencesRow> = read!(self, db => sqlx::query_as(sql).bind(user.0).fetch_optional(db).await)?;
        Ok(row.map(PreferencesRow::into_preferences).unwrap_or_default())
    }

    pub async fn save_preferences(&self, user: UserId, preferences: &Preferences) -> Result<(), StoreError> {
        let muted: Vec<&str> = preferences.muted.iter().map(|kind| kind.as_str()).collect();
        let quiet = preferences.quiet;
        let sql = "insert into push_preferences (user_id, muted, quiet_from, quiet_until, offset_minutes) \
            values ($1, $2, $3, $4, $5) on conflict (user_id) do update set muted = excluded.muted, \
            quiet_from = excluded.quiet_from, quiet_until = excluded.quiet_until, \
            offset_minutes = excluded.offset_minutes";
        write_one!(self, db => sqlx::query(sql)
            .bind(user.0).bind(muted.join(","))
            .bind(quiet.map(|quiet| i64::from(quiet.from))).bind(quiet.map(|quiet| i64::from(quiet.until)))
            .bind(quiet.map_or(0, |quiet| i64::from(quiet.offset)))
            .execute(db).await.map(drop))
    }

    /// Lists the devices of these people.
    pub async fn devices_of_users(&self, people: &[UserId]) -> Result<Vec<Device>, StoreError> {
        let ids: Vec<Uuid> = people.iter().map(|user| user.0).collect();
        self.devices(&OF_PEOPLE, &ids).await
    }

    /// Lists the devices of the pharmacists of these pharmacies.
    pub async fn devices_of_pharmacies(&self, pharmacies: &[PharmacyId]) -> Result<Vec<Device>, StoreError> {
        let ids: Vec<Uuid> = pharmacies.iter().map(|pharmacy| pharmacy.0).collect();
        self.devices(&OF_PHARMACIES, &ids).await
    }

    async fn devices(&self, texts: &'static BatchSql, ids: &[Uuid]) -> Result<Vec<Device>, StoreError> {
        let mut devices = Vec::new();
        for ids in chunks(ids) {
            let sql = texts.get(self, ids.len());
            let rows: Vec<DeviceRow> = read!(self, db => {
                let mut query = sqlx::query_as(sql);
                for id in ids {
                    query = query.bind(*id);
                }
                query.fetch_all(db).await
            })?;
            for row in rows {
                let DeviceRow { asked, user_id, id, endpoint, muted, quiet_from, quiet_until, offset_minutes } = row;
                let preferences = PreferencesRow { muted, quiet_from, quiet_until, offset_minutes }.into_preferences();
                devices.push(Device {
                    requested_for: asked,
                    user: UserId(user_id),
                    subscription: id,
                    endpoint,
                    preferences,
                });
            }
        }
        Ok(devices)
    }

    /// Returns the last event that each of these people has seen in a room, without the pairs that have seen none.
    pub async fn seen(&self, wanted: &[(RoomId, UserId)]) -> Result<Vec<((RoomId, UserId), u64)>, StoreError> {
        let mut seen = Vec::new();
        for wanted in chunks(wanted) {
            let sql = SEEN.get(self, wanted.len());
            let rows: Vec<(Uuid, Uuid, i64)> = read!(self, db => {
                let mut query = sqlx::query_as(sql);
                for (room, user) in wanted {
                    query = query.bind(room.0).bind(user.0);
                }
                query.fetch_all(db).await
            })?;
            for (room, user, seq) in rows {
                seen.push(((RoomId(room), UserId(user)), unsigned(seq)?));
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(hour: u64, minute: u64) -> Timestamp {
        Timestamp::from_micros(1_790_035_200_000_000).plus(Duration::from_secs(hour * 3600 + minute * 60))
    }

    #[test]
    fn quiet_hours_span_midnight_in_local_time_and_let_a_ringing_call_through() {
        assert_eq!(at(0, 0).micros().rem_euclid(86_400_000_000), 0, "it is midnight in UTC");
        let quiet = Some(Quiet { from: 22 * 60, until: 7 * 60, offset: 9 * 60 });
        let preferences = Preferences { muted: vec![NoticeKind::Payment], quiet };
        let message = |hour, minute| preferences.allow(NoticeKind::Message, at(hour, minute));
        // 22:00 in Seoul is 13:00 in UTC.
        assert!(message(12, 59) && !message(13, 0) && !message(21, 59) && message(22, 0));
        assert!(
            preferences.allow(NoticeKind::Call, at(15, 0)) && !preferences.allow(NoticeKind::MissedCall, at(15, 0))
        );
        assert!(!preferences.allow(NoticeKind::Payment, at(3, 0)) && preferences.allow(NoticeKind::Delivery, at(3, 0)));
        let day = Preferences { muted: vec![], quiet: Some(Quiet { from: 60, until: 120, offset: -60 }) };
        assert!(day.allow(NoticeKind::Message, at(1, 59)) && !day.allow(NoticeKind::Message, at(2, 0)));
        let off = Preferences { muted: vec![NoticeKind::Call], quiet: None };
        assert!(!off.allow(NoticeKind::Call, at(3, 0)), "a muted call stays muted");
    }
}
