//! The rows of the live feeds and of the listings that show the same.

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

use super::page::{Page, PageRequest, instant};
use super::people::{line, named};
use super::{Store, StoreError, read};

/// The newest rows of a feed; older ones that are closed are in the listings.
const FEED_ROWS: u32 = 100;
/// Rows of a feed that are still open, however old: a booking made months ago for today, a package on hold.
const OPEN_ROWS: u32 = 200;
/// How many of a doctor's last consultations tell how long one takes.
const RECENT: i64 = 10;

#[derive(FromRow)]
struct RoomRow {
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
struct DispensingRow {
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
struct DeliveryRow {
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

impl Store {
    /// A patient's or a doctor's newest consultations, and all that are open.
    pub async fn person_feed(&self, user: UserId, role: Role) -> Result<Vec<FeedItem>, StoreError> {
        let newest = self.consultations(user, role, &[], first(FEED_ROWS)).await?;
        let Some(_) = newest.next else { return Ok(newest.items) };
        let open = self.consultations_where(user, role, &Only::Open, first(OPEN_ROWS)).await?;
        Ok(both(newest.items, open.items))
    }

    /// A patient's or a doctor's consultations, newest first; only those in `among`, unless that is empty.
    pub async fn consultations(
        &self,
        user: UserId,
        role: Role,
        among: &[ConsultationState],
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let only = Only::among(among.iter().map(|state| state.as_str()));
        self.consultations_where(user, role, &only, request).await
    }

    async fn consultations_where(
        &self,
        user: UserId,
        role: Role,
        only: &Only,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let of = if role == Role::Doctor { "doctor" } else { "patient" };
        let sql = format!("{ROOM_COLUMNS} where {of} = $1 and id < $2{} order by id desc limit $3", only.of(""));
        let rows: Vec<RoomRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(user.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let (from, to) = match (rows.last(), rows.first()) {
            (Some(oldest), Some(newest)) => (oldest.id, newest.id),
            _ => return Ok(Page { items: Vec::new(), next: None }),
        };
        // The same rooms, and no others that lie between them.
        let which = format!("r.{of} = $1 and r.id >= $2 and r.id <= $3{}", only.of("r."));
        let prescriptions = self.states("prescriptions", &which, user, from, to).await?;
        let dispensings = self.states("dispensings", &which, user, from, to).await?;
        let deliveries = self.states("deliveries", &which, user, from, to).await?;
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

    /// The states of one kind of part, by room, of a person's rooms between two ids.
    async fn states(
        &self,
        table: &'static str,
        which: &str,
        user: UserId,
        from: Uuid,
        to: Uuid,
    ) -> Result<BTreeMap<Uuid, Vec<String>>, StoreError> {
        let sql =
            format!("select p.room, p.state from {table} p join rooms r on r.id = p.room where {which} order by p.id");
        let rows: Vec<(Uuid, String)> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(user.0).bind(from).bind(to).fetch_all(db).await)?;
        let mut states: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for (room, state) in rows {
            states.entry(room).or_default().push(state);
        }
        Ok(states)
    }

    /// A doctor's waiting room: who is being called, then who waits, by the time they came. The estimate is the mean of
    /// the doctor's last ten consultations for everybody in front, and for the one that runs what is left of it.
    pub async fn lobby_feed(&self, doctor: UserId, now: Timestamp) -> Result<Vec<FeedItem>, StoreError> {
        let sql = format!(
            "{ROOM_COLUMNS} where doctor = $1 and waiting_since is not null order by waiting_since, id limit 200"
        );
        let rows: Vec<RoomRow> =
            read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(doctor.0).fetch_all(db).await)?;
        let mean = self.mean_duration(doctor).await?;
        let running = self.running_since(doctor).await?;
        let mut position = 0;
        rows.into_iter()
            .map(|row| {
                let state: ConsultationState = named(&row.state)?;
                let called = state == ConsultationState::Called;
                position += u32::from(!called);
                let place = if called { 0 } else { position };
                let estimate_s = mean.map(|mean| estimate(place, mean, running, now));
                let room = RoomId(row.id);
                let row = FeedRow::Waiting {
                    room,
                    patient: Some(Person { id: UserId(row.patient), name: line(&row.patient_name)? }),
                    state,
                    position: place,
                    estimate_s,
                    since: instant(row.waiting_since.unwrap_or(row.updated_at)),
                    starts_at: row.starts_at.map(instant),
                };
                Ok(FeedItem { key: room.to_string(), row })
            })
            .collect()
    }

    /// How long a doctor's last consultations took on average, in seconds; `None` as long as there were none.
    async fn mean_duration(&self, doctor: UserId) -> Result<Option<u32>, StoreError> {
        let sql = "select cast(avg(took) as bigint) from (select ended_at - started_at as took from rooms \
            where doctor = $1 and ended_at is not null and started_at is not null \
            order by ended_at desc limit $2) as recent";
        let (mean,): (Option<i64>,) =
            read!(self, db => sqlx::query_as(sql).bind(doctor.0).bind(RECENT).fetch_one(db).await)?;
        Ok(mean.and_then(|micros| u32::try_from(micros / 1_000_000).ok()))
    }

    /// Since when the doctor's running consultation runs.
    async fn running_since(&self, doctor: UserId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(started_at) from rooms where doctor = $1 and open \
            and state in ('in_progress', 'interrupted')";
        let (since,): (Option<i64>,) = read!(self, db => sqlx::query_as(sql).bind(doctor.0).fetch_one(db).await)?;
        Ok(since.map(instant))
    }

    /// A pharmacy's newest dispensings, and all that are open.
    pub async fn queue_feed(&self, pharmacy: PharmacyId) -> Result<Vec<FeedItem>, StoreError> {
        let newest = self.dispensings(pharmacy, &[], first(FEED_ROWS)).await?;
        let Some(_) = newest.next else { return Ok(newest.items) };
        let open = self.dispensings_where(pharmacy, &Only::Open, first(OPEN_ROWS)).await?;
        Ok(both(newest.items, open.items))
    }

    /// A pharmacy's dispensings, newest first; only those in `among`, unless that is empty.
    pub async fn dispensings(
        &self,
        pharmacy: PharmacyId,
        among: &[DispensingState],
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let only = Only::among(among.iter().map(|state| state.as_str()));
        self.dispensings_where(pharmacy, &only, request).await
    }

    async fn dispensings_where(
        &self,
        pharmacy: PharmacyId,
        only: &Only,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let sql = format!(
            "select d.id, d.room, d.prescription, d.pharmacy, d.state, d.items, d.delivery, d.received_at, \
            d.updated_at, r.patient, r.patient_name from dispensings d join rooms r on r.id = d.room \
            where d.pharmacy = $1 and d.id < $2{} order by d.id desc limit $3",
            only.of("d.")
        );
        let rows: Vec<DispensingRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(pharmacy.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let items =
            rows.into_iter().map(|row| Ok((row.id, dispensing(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(items, |item| item))
    }

    /// A courier's newest parcels, and all that are under way.
    pub async fn courier_feed(&self, courier: UserId) -> Result<Vec<FeedItem>, StoreError> {
        let newest = self.deliveries("courier", courier.0, first(FEED_ROWS)).await?;
        let Some(_) = newest.next else { return Ok(newest.items) };
        let open = self.deliveries_where("courier", courier.0, &Only::Open, first(OPEN_ROWS)).await?;
        Ok(both(newest.items, open.items))
    }

    /// The parcels of a courier, a pharmacy or a recipient, newest first.
    pub async fn deliveries(
        &self,
        of: &'static str,
        id: Uuid,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        self.deliveries_where(of, id, &Only::Among(Vec::new()), request).await
    }

    async fn deliveries_where(
        &self,
        of: &'static str,
        id: Uuid,
        only: &Only,
        request: PageRequest,
    ) -> Result<Page<FeedItem>, StoreError> {
        let sql = format!(
            "select id, room, pharmacy, pharmacy_name, pharmacy_address, recipient, recipient_name, address, state, \
            updated_at from deliveries where {of} = $1 and id < $2{} order by id desc limit $3",
            only.of("")
        );
        let rows: Vec<DeliveryRow> = read!(self, db => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let items = rows.into_iter().map(|row| Ok((row.id, delivery(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(items, |item| item))
    }
}

fn first(limit: u32) -> PageRequest {
    PageRequest { after: None, limit }
}

/// Which rows of a listing are wanted.
enum Only {
    /// Those in which something is still to happen.
    Open,
    /// Those in one of these states; all, if it names none.
    Among(Vec<&'static str>),
}

impl Only {
    fn among(states: impl Iterator<Item = &'static str>) -> Self {
        Self::Among(states.collect())
    }

    /// The condition, for a table that goes by this prefix. It is made of names that are ours.
    fn of(&self, prefix: &str) -> String {
        match self {
            Self::Open => format!(" and {prefix}open"),
            Self::Among(states) if states.is_empty() => String::new(),
            Self::Among(states) => format!(" and {prefix}state in ('{}')", states.join("', '")),
        }
    }
}

/// The items of two lists, each once.
fn both(newest: Vec<FeedItem>, open: Vec<FeedItem>) -> Vec<FeedItem> {
    let known: HashSet<String> = newest.iter().map(|item| item.key.clone()).collect();
    let older = open.into_iter().filter(|item| !known.contains(&item.key));
    newest.into_iter().chain(older).collect()
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
    row: RoomRow,
    prescriptions: Vec<PrescriptionState>,
    dispensings: Vec<DispensingState>,
    deliveries: Vec<DeliveryState>,
) -> Result<FeedItem, StoreError> {
    let room = RoomId(row.id);
    let row = FeedRow::Consultation {
        room,
        state: named(&row.state)?,
        patient: Person { id: UserId(row.patient), name: line(&row.patient_name)? },
        doctor: Person { id: UserId(row.doctor), name: line(&row.doctor_name)? },
        starts_at: row.starts_at.map(instant),
        prescriptions,
        dispensings,
        deliveries,
        updated_at: instant(row.updated_at),
    };
    Ok(FeedItem { key: room.to_string(), row })
}

fn dispensing(row: DispensingRow) -> Result<FeedItem, StoreError> {
    let item = FeedRow::Dispensing {
        room: RoomId(row.room),
        dispensing: DispensingId(row.id),
        prescription: PrescriptionId(row.prescription),
        pharmacy: PharmacyId(row.pharmacy),
        state: named(&row.state)?,
        patient: Person { id: UserId(row.patient), name: line(&row.patient_name)? },
        items: u32::try_from(row.items).unwrap_or(0),
        delivery: row.delivery,
        received_at: instant(row.received_at),
        updated_at: instant(row.updated_at),
    };
    Ok(FeedItem { key: row.id.to_string(), row: item })
}

fn delivery(row: DeliveryRow) -> Result<FeedItem, StoreError> {
    let item = FeedRow::Delivery {
        room: RoomId(row.room),
        delivery: DeliveryId(row.id),
        state: named(&row.state)?,
        pharmacy: Pharmacy {
            id: PharmacyId(row.pharmacy),
            name: line(&row.pharmacy_name)?,
            address: line(&row.pharmacy_address)?,
        },
        recipient: Person { id: UserId(row.recipient), name: line(&row.recipient_name)? },
        address: line(&row.address)?,
        updated_at: instant(row.updated_at),
    };
    Ok(FeedItem { key: row.id.to_string(), row: item })
}
