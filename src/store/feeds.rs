//! Rows of the live feeds, and of the listings that show the same items.

use std::collections::{BTreeMap, HashSet};

use rooms::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, RoomId, UserId};
use rooms::party::{Person, Pharmacy};
use rooms::role::Role;
use rooms::state::{ConsultationState, DeliveryState, DispensingState, PrescriptionState};
use rooms::time::Timestamp;
use rooms::wire::feed::{FeedItem, FeedRow};
use serde::de::DeserializeOwned;
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::{named, text, timestamp};
use super::page::{Page, PageRequest};
use super::{Store, StoreError, read};

/// The number of newest rows in a feed. Older closed rows are in the listings only.
const MAX_FEED_ROWS: u32 = 100;
/// The number of open rows that a feed adds, however old: a booking made months ago for today, a parcel on hold.
const MAX_OPEN_ROWS: u32 = 200;
/// The number of patients in a waiting room's feed.
const MAX_WAITING_ROWS: u32 = 500;
/// The number of a doctor's last consultations from which the waiting time is estimated.
const ESTIMATE_SAMPLE_ROWS: i64 = 10;

#[derive(FromRow)]
struct RoomFeedRow {
    id: Uuid,
    patient: Uuid,
    patient_name: String,
    doctor: Uuid,
    doctor_name: String,
    state: String,
    starts_at: Option<i64>,
    waiting_since: Option<i64>,
    updated_at: i64,
}

const ROOM_COLUMNS: &str = "select id, patient, patient_name, doctor, doctor_name, state, starts_at, waiting_since, \
    updated_at from rooms";

#[derive(FromRow)]
struct DispensingFeedRow {
    id: Uuid,
    room: Uuid,
    prescription: Uuid,
    pharmacy: Uuid,
    state: String,
    items: i64,
    delivery: bool,
    received_at: i64,
    updated_at: i64,
    patient: Uuid,
    patient_name: String,
}

#[derive(FromRow)]
struct DeliveryFeedRow {
    id: Uuid,
    room: Uuid,
    pharmacy: Uuid,
    pharmacy_name: String,
    pharmacy_address: String,
    recipient: Uuid,
    recipient_name: String,
    address: String,
    state: String,
    updated_at: i64,
}

/// The rows of a feed, and how many open rows it leaves out.
#[derive(Debug, Default)]
pub struct FeedRows {
    pub items: Vec<FeedItem>,
    pub missing: u32,
}

impl Store {
    /// Returns a patient's or doctor's newest consultations and all open ones.
    pub async fn person_feed(&self, user: UserId, role: Role) -> Result<FeedRows, StoreError> {
        let newest = self.consultations(user, role, &[], first_page(MAX_FEED_ROWS)).await?;
        let Some(_) = newest.next else { return Ok(FeedRows { items: newest.items, missing: 0 }) };
        let open = self.consultations_where(user, role, &RowFilter::Open, first_page(MAX_OPEN_ROWS)).await?;
        let column = if role == Role::Doctor { "doctor" } else { "patient" };
        self.merge(newest, open, "rooms", column, user.0).await
    }

    /// Lists a patient's or doctor's consultations, newest first. Unless `states` is empty, only those in one of them.
    pub async fn consultations(
        &self,
        user: UserId,
        role: Role,
        states: &[ConsultationState],
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let filter = RowFilter::states(states.iter().map(|state| state.as_str()));
        self.consultations_where(user, role, &filter, request).await
    }

    async fn consultations_where(
        &self,
        user: UserId,
        role: Role,
        filter: &RowFilter,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let column = if role == Role::Doctor { "doctor" } else { "patient" };
        let sql =
            format!("{ROOM_COLUMNS} where {column} = $1 and id < $2{} order by id desc limit $3", filter.condition(""));
        let rows: Vec<RoomFeedRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(user.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let (from, to) = match (rows.last(), rows.first()) {
            (Some(oldest), Some(newest)) => (oldest.id, newest.id),
            _ => return Ok(Page { items: Vec::new(), next: None }),
        };
        // The same filter and id range select exactly the rooms of this page.
        let selection = format!("r.{column} = $1 and r.id >= $2 and r.id <= $3{}", filter.condition("r."));
        let prescriptions = self.states("prescriptions", &selection, user, from, to).await?;
        let dispensings = self.states("dispensings", &selection, user, from, to).await?;
        let deliveries = self.states("deliveries", &selection, user, from, to).await?;
        let items = rows
            .into_iter()
            .map(|row| {
                let room = row.id;
                let item = consultation(
                    row,
                    states(&prescriptions, room)?,
                    states(&dispensings, room)?,
                    states(&deliveries, room)?,
                )?;
                Ok((room, item))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(items, |item| item))
    }

    /// Returns the states of one kind of item, by room, for a person's rooms between two ids.
    async fn states(
        &self,
        table: &'static str,
        selection: &str,
        user: UserId,
        from: Uuid,
        to: Uuid,
    ) -> Result<BTreeMap<Uuid, Vec<String>>, StoreError> {
        let sql = format!(
            "select p.room, p.state from {table} p join rooms r on r.id = p.room where {selection} order by p.id"
        );
        let rows: Vec<(Uuid, String)> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(user.0).bind(from).bind(to).fetch_all(db).await)?;
        let mut states: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for (room, state) in rows {
            states.entry(room).or_default().push(state);
        }
        Ok(states)
    }

    /// Returns a doctor's waiting room: the called patient first, then those whose slot has begun, then the others in order
    /// of arrival. The estimate is the
    /// mean duration of the doctor's last ten consultations for each patient in front, plus the rest of the running one.
    pub async fn lobby_feed(&self, doctor: UserId, now: Timestamp) -> Result<FeedRows, StoreError> {
        let sql = format!(
            "{ROOM_COLUMNS} where doctor = $1 and waiting_since is not null \
            order by case when starts_at <= $3 then 0 else 1 end, \
            case when starts_at <= $3 then starts_at else waiting_since end, id limit $2"
        );
        let mut rows: Vec<RoomFeedRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(doctor.0).bind(i64::from(MAX_WAITING_ROWS) + 1).bind(now.micros()).fetch_all(db).await)?;
        let missing = if rows.len() > MAX_WAITING_ROWS as usize {
            rows.truncate(MAX_WAITING_ROWS as usize);
            let waiting = self.count("rooms", "doctor = $1 and waiting_since is not null", doctor.0).await?;
            waiting.saturating_sub(MAX_WAITING_ROWS)
        } else {
            0
        };
        let mean = self.mean_duration(doctor).await?;
        let running = self.running_since(doctor).await?;
        let mut position = 0;
        let items = rows
            .into_iter()
            .map(|row| {
                let state: ConsultationState = named(&row.state)?;
                let called = state == ConsultationState::Called;
                position += u32::from(!called);
                let place = if called { 0 } else { position };
                let estimate_s = mean.map(|mean| estimate(place, mean, running, now));
                let room = RoomId(row.id);
                let row = FeedRow::Waiting {
                    room,
                    patient: Some(Person { id: UserId(row.patient), name: text(&row.patient_name)? }),
                    state,
                    position: place,
                    estimate_s,
                    since: timestamp(row.waiting_since.unwrap_or(row.updated_at)),
                    starts_at: row.starts_at.map(timestamp),
                };
                Ok(FeedItem { key: room.to_string(), row })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(FeedRows { items, missing })
    }

    /// Returns the mean duration of a doctor's last consultations in seconds; `None` before the first one.
    async fn mean_duration(&self, doctor: UserId) -> Result<Option<u32>, StoreError> {
        let sql = "select cast(avg(took) as bigint) from (select ended_at - started_at as took from rooms \
            where doctor = $1 and ended_at is not null and started_at is not null \
            order by ended_at desc limit $2) as recent";
        let (mean,): (Option<i64>,) =
            read!(self, db => sqlx::query_as(sql).bind(doctor.0).bind(ESTIMATE_SAMPLE_ROWS).fetch_one(db).await)?;
        Ok(mean.and_then(|micros| u32::try_from(micros / 1_000_000).ok()))
    }

    /// Returns the start of the doctor's running consultation.
    async fn running_since(&self, doctor: UserId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(started_at) from rooms where doctor = $1 and open \
            and state in ('in_progress', 'interrupted')";
        let (since,): (Option<i64>,) = read!(self, db => sqlx::query_as(sql).bind(doctor.0).fetch_one(db).await)?;
        Ok(since.map(timestamp))
    }

    /// Returns a pharmacy's newest dispensings and all open ones.
    pub async fn queue_feed(&self, pharmacy: PharmacyId) -> Result<FeedRows, StoreError> {
        let newest = self.dispensings(pharmacy, &[], first_page(MAX_FEED_ROWS)).await?;
        let Some(_) = newest.next else { return Ok(FeedRows { items: newest.items, missing: 0 }) };
        let open = self.dispensings_where(pharmacy, &RowFilter::Open, first_page(MAX_OPEN_ROWS)).await?;
        self.merge(newest, open, "dispensings", "pharmacy", pharmacy.0).await
    }

    /// Lists a pharmacy's dispensings, newest first. Unless `states` is empty, only those in one of them.
    pub async fn dispensings(
        &self,
        pharmacy: PharmacyId,
        states: &[DispensingState],
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let filter = RowFilter::states(states.iter().map(|state| state.as_str()));
        self.dispensings_where(pharmacy, &filter, request).await
    }

    async fn dispensings_where(
        &self,
        pharmacy: PharmacyId,
        filter: &RowFilter,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let sql = format!(
            "select d.id, d.room, d.prescription, d.pharmacy, d.state, d.items, d.delivery, d.received_at, \
            d.updated_at, r.patient, r.patient_name from dispensings d join rooms r on r.id = d.room \
            where d.pharmacy = $1 and d.id < $2{} order by d.id desc limit $3",
            filter.condition("d.")
        );
        let rows: Vec<DispensingFeedRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(pharmacy.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let items =
            rows.into_iter().map(|row| Ok((row.id, dispensing(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(items, |item| item))
    }

    /// Returns a courier's newest deliveries and all open ones.
    pub async fn courier_feed(&self, courier: UserId) -> Result<FeedRows, StoreError> {
        let newest = self.deliveries("courier", courier.0, first_page(MAX_FEED_ROWS)).await?;
        let Some(_) = newest.next else { return Ok(FeedRows { items: newest.items, missing: 0 }) };
        let open = self.deliveries_where("courier", courier.0, &RowFilter::Open, first_page(MAX_OPEN_ROWS)).await?;
        self.merge(newest, open, "deliveries", "courier", courier.0).await
    }

    /// Lists the deliveries of a courier, a pharmacy or a recipient, newest first. `column` says which of them `id` is.
    pub async fn deliveries(
        &self,
        column: &'static str,
        id: Uuid,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        self.deliveries_where(column, id, &RowFilter::States(Vec::new()), request).await
    }

    async fn deliveries_where(
        &self,
        column: &'static str,
        id: Uuid,
        filter: &RowFilter,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let sql = format!(
            "select id, room, pharmacy, pharmacy_name, pharmacy_address, recipient, recipient_name, address, state, \
            updated_at from deliveries where {column} = $1 and id < $2{} order by id desc limit $3",
            filter.condition("")
        );
        let rows: Vec<DeliveryFeedRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let items = rows.into_iter().map(|row| Ok((row.id, delivery(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(items, |item| item))
    }

    /// Merges the newest rows with the open ones. Counts the open rows that neither holds: `column` of `table` is `id`.
    async fn merge(
        &self,
        newest: Page<FeedItem>,
        open: Page<FeedItem>,
        table: &'static str,
        column: &'static str,
        id: Uuid,
    ) -> Result<FeedRows, StoreError> {
        let missing = match open.next {
            // Both lists begin with the newest row, so the open rows hold every open one among the newest.
            Some(_) => self.count(table, &format!("{column} = $1 and open"), id).await?.saturating_sub(MAX_OPEN_ROWS),
            None => 0,
        };
        let known: HashSet<String> = newest.items.iter().map(|item| item.key.clone()).collect();
        let older = open.items.into_iter().filter(|item| !known.contains(&item.key));
        Ok(FeedRows { items: newest.items.into_iter().chain(older).collect(), missing })
    }

    /// Counts the rows of a table that fulfill a condition on `id`, which it calls `$1`.
    async fn count(&self, table: &'static str, condition: &str, id: Uuid) -> Result<u32, StoreError> {
        let sql = format!("select count(*) from {table} where {condition}");
        let (count,): (i64,) =
            read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(db).await)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

fn first_page(limit: u32) -> PageRequest {
    PageRequest { after: None, limit }
}

/// A filter on the rows of a listing.
enum RowFilter {
    /// Rows in which something is still to happen.
    Open,
    /// Rows in one of these states; all rows if the list is empty.
    States(Vec<&'static str>),
}

impl RowFilter {
    fn states(states: impl Iterator<Item = &'static str>) -> Self {
        Self::States(states.collect())
    }

    /// Renders the condition for a table with this alias. It consists of the program's own names only.
    fn condition(&self, prefix: &str) -> String {
        match self {
            Self::Open => format!(" and {prefix}open"),
            Self::States(states) if states.is_empty() => String::new(),
            Self::States(states) => format!(" and {prefix}state in ('{}')", states.join("', '")),
        }
    }
}

fn estimate(position: u32, mean: u32, running: Option<Timestamp>, now: Timestamp) -> u32 {
    let elapsed = |since| u32::try_from(now.since(since).as_secs()).unwrap_or(u32::MAX);
    let left = running.map_or(0, |since| mean.saturating_sub(elapsed(since)));
    if position == 0 { 0 } else { left.saturating_add(mean.saturating_mul(position - 1)) }
}

fn states<T: DeserializeOwned>(all: &BTreeMap<Uuid, Vec<String>>, room: Uuid) -> Result<Vec<T>, StoreError> {
    all.get(&room).map_or_else(|| Ok(Vec::new()), |names| names.iter().map(|name| named(name)).collect())
}

fn consultation(
    row: RoomFeedRow,
    prescriptions: Vec<PrescriptionState>,
    dispensings: Vec<DispensingState>,
    deliveries: Vec<DeliveryState>,
) -> Result<FeedItem, StoreError> {
    let room = RoomId(row.id);
    let row = FeedRow::Consultation {
        room,
        state: named(&row.state)?,
        patient: Person { id: UserId(row.patient), name: text(&row.patient_name)? },
        doctor: Person { id: UserId(row.doctor), name: text(&row.doctor_name)? },
        starts_at: row.starts_at.map(timestamp),
        prescriptions,
        dispensings,
        deliveries,
        updated_at: timestamp(row.updated_at),
    };
    Ok(FeedItem { key: room.to_string(), row })
}

fn dispensing(row: DispensingFeedRow) -> Result<FeedItem, StoreError> {
    let item = FeedRow::Dispensing {
        room: RoomId(row.room),
        dispensing: DispensingId(row.id),
        prescription: PrescriptionId(row.prescription),
        pharmacy: PharmacyId(row.pharmacy),
        state: named(&row.state)?,
        patient: Person { id: UserId(row.patient), name: text(&row.patient_name)? },
        items: u32::try_from(row.items).unwrap_or(0),
        delivery: row.delivery,
        received_at: timestamp(row.received_at),
        updated_at: timestamp(row.updated_at),
    };
    Ok(FeedItem { key: row.id.to_string(), row: item })
}

fn delivery(row: DeliveryFeedRow) -> Result<FeedItem, StoreError> {
    let item = FeedRow::Delivery {
        room: RoomId(row.room),
        delivery: DeliveryId(row.id),
        state: named(&row.state)?,
        pharmacy: Pharmacy {
            id: PharmacyId(row.pharmacy),
            name: text(&row.pharmacy_name)?,
            address: text(&row.pharmacy_address)?,
        },
        recipient: Person { id: UserId(row.recipient), name: text(&row.recipient_name)? },
        address: text(&row.address)?,
        updated_at: timestamp(row.updated_at),
    };
    Ok(FeedItem { key: row.id.to_string(), row: item })
}
