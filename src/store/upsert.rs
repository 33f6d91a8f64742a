//! Writes the projections of a transaction's appends, one statement for each table and not for each room.

use std::collections::HashSet;
use std::sync::LazyLock;

use uuid::Uuid;

use super::events::{Append, signed};
use super::pieces::{Texts, pieces};
use super::project::Projection;
use super::{StoreError, Tx, on};

static ROOMS: LazyLock<Texts> = LazyLock::new(|| {
    Texts::new(15, |rows| {
        format!(
            "insert into rooms (id, patient, patient_name, doctor, doctor_name, state, open, slot, starts_at, \
            waiting_since, started_at, ended_at, wake_at, created_at, updated_at) values {rows} \
            on conflict (id) do update set state = excluded.state, open = excluded.open, slot = excluded.slot, \
            starts_at = excluded.starts_at, waiting_since = excluded.waiting_since, started_at = excluded.started_at, \
            ended_at = excluded.ended_at, wake_at = excluded.wake_at, updated_at = excluded.updated_at"
        )
    })
});

static PRESCRIPTIONS: LazyLock<Texts> = LazyLock::new(|| {
    Texts::new(7, |rows| {
        format!(
            "insert into prescriptions (id, room, patient, doctor, state, version, updated_at) values {rows} \
            on conflict (id) do update set state = excluded.state, version = excluded.version, \
            updated_at = excluded.updated_at"
        )
    })
});

static DISPENSINGS: LazyLock<Texts> = LazyLock::new(|| {
    Texts::new(11, |rows| {
        format!(
            "insert into dispensings (id, room, prescription, pharmacy, state, open, version, items, delivery, \
            received_at, updated_at) values {rows} \
            on conflict (id) do update set state = excluded.state, open = excluded.open, version = excluded.version, \
            updated_at = excluded.updated_at"
        )
    })
});

static DELIVERIES: LazyLock<Texts> = LazyLock::new(|| {
    Texts::new(14, |rows| {
        format!(
            "insert into deliveries (id, room, dispensing, pharmacy, pharmacy_name, pharmacy_address, recipient, \
            recipient_name, address, courier, state, open, version, updated_at) values {rows} \
            on conflict (id) do update set courier = excluded.courier, state = excluded.state, open = excluded.open, \
            version = excluded.version, updated_at = excluded.updated_at"
        )
    })
});

/// A row, with the room it is of and the time of what changed it.
struct Of<'a, R> {
    room: Uuid,
    at: i64,
    row: &'a R,
}

/// What an append makes of the tables.
struct Written {
    room: Uuid,
    at: i64,
    /// Versions are the seq of the last change, so what is older than the append has not changed.
    since: i64,
    projection: Projection,
}

impl Written {
    fn of(append: &Append) -> Option<Self> {
        let (after, last) = append.after.as_ref().zip(append.records.last())?;
        Some(Self {
            room: append.room.0,
            at: last.record.at.micros(),
            since: signed(append.first()),
            projection: Projection::of(after, append.wake_at),
        })
    }
}

/// The rows of one table that these appends changed. No statement may write a row twice: of several with one id the last
/// one stays.
fn changed<'a, R>(
    written: &'a [Written],
    rows: impl Fn(&'a Projection) -> &'a [R],
    version: impl Fn(&R) -> i64,
    id: impl Fn(&Written, &R) -> Uuid,
) -> Vec<Of<'a, R>> {
    let mut known = HashSet::new();
    let mut changed = Vec::with_capacity(written.len());
    for it in written.iter().rev() {
        for row in rows(&it.projection).iter().rev() {
            if version(row) >= it.since && known.insert(id(it, row)) {
                changed.push(Of { room: it.room, at: it.at, row });
            }
        }
    }
    changed.reverse();
    changed
}

impl Tx {
    /// Writes what these appends changed. They come in the order in which their rooms are locked.
    pub(super) async fn project(&mut self, appends: &[&Append]) -> Result<(), StoreError> {
        let written: Vec<Written> = appends.iter().filter_map(|append| Written::of(append)).collect();
        let rooms = changed(&written, |it| it.room.as_slice(), |_| i64::MAX, |it, _| it.room);
        for rows in pieces(&rooms) {
            let sql = ROOMS.get(self, rows.len());
            on!(self, db => {
                let mut query = sqlx::query(sql);
                for Of { room, at, row } in rows {
                    query = query
                        .bind(room).bind(row.patient).bind(&row.patient_name).bind(row.doctor).bind(&row.doctor_name)
                        .bind(&row.state).bind(row.open).bind(row.slot).bind(row.starts_at).bind(row.waiting_since)
                        .bind(row.started_at).bind(row.ended_at).bind(row.wake_at).bind(at).bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        let prescriptions = changed(&written, |it| &it.prescriptions, |row| row.version, |_, row| row.id);
        for rows in pieces(&prescriptions) {
            let sql = PRESCRIPTIONS.get(self, rows.len());
            on!(self, db => {
                let mut query = sqlx::query(sql);
                for Of { room, at, row } in rows {
                    query = query
                        .bind(row.id).bind(room).bind(row.patient).bind(row.doctor).bind(&row.state).bind(row.version)
                        .bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        let dispensings = changed(&written, |it| &it.dispensings, |row| row.version, |_, row| row.id);
        for rows in pieces(&dispensings) {
            let sql = DISPENSINGS.get(self, rows.len());
            on!(self, db => {
                let mut query = sqlx::query(sql);
                for Of { room, at, row } in rows {
                    query = query
                        .bind(row.id).bind(room).bind(row.prescription).bind(row.pharmacy).bind(&row.state)
                        .bind(row.open).bind(row.version).bind(row.items).bind(row.delivery).bind(at).bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        let deliveries = changed(&written, |it| &it.deliveries, |row| row.version, |_, row| row.id);
        for rows in pieces(&deliveries) {
            let sql = DELIVERIES.get(self, rows.len());
            on!(self, db => {
                let mut query = sqlx::query(sql);
                for Of { room, at, row } in rows {
                    query = query
                        .bind(row.id).bind(room).bind(row.dispensing).bind(row.pharmacy).bind(&row.pharmacy_name)
                        .bind(&row.pharmacy_address).bind(row.recipient).bind(&row.recipient_name).bind(&row.address)
                        .bind(row.courier).bind(&row.state).bind(row.open).bind(row.version).bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        Ok(())
    }
}
