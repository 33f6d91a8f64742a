//! Writes the projections of a transaction's appends: one statement per table, not per room.

use std::collections::HashSet;
use std::sync::LazyLock;

use uuid::Uuid;

use super::Projection;
use crate::store::batching::{BatchSql, chunks};
use crate::store::columns::signed;
use crate::store::record::Append;
use crate::store::{StoreError, Tx, on_tx};

static ROOMS: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(15, |rows| {
        format!(
            "insert into rooms (id, patient, patient_name, doctor, doctor_name, state, open, slot, starts_at, \
            waiting_since, started_at, ended_at, wake_at, created_at, updated_at) values {rows} \
            on conflict (id) do update set state = excluded.state, open = excluded.open, slot = excluded.slot, \
            starts_at = excluded.starts_at, waiting_since = excluded.waiting_since, started_at = excluded.started_at, \
            ended_at = excluded.ended_at, wake_at = excluded.wake_at, updated_at = excluded.updated_at"
        )
    })
});

static PRESCRIPTIONS: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(7, |rows| {
        format!(
            "insert into prescriptions (id, room, patient, doctor, state, version, updated_at) values {rows} \
            on conflict (id) do update set state = excluded.state, version = excluded.version, \
            updated_at = excluded.updated_at"
        )
    })
});

static DISPENSINGS: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(11, |rows| {
        format!(
            "insert into dispensings (id, room, prescription, pharmacy, state, open, version, items, delivery, \
            received_at, updated_at) values {rows} \
            on conflict (id) do update set state = excluded.state, open = excluded.open, version = excluded.version, \
            updated_at = excluded.updated_at"
        )
    })
});

static DELIVERIES: LazyLock<BatchSql> = LazyLock::new(|| {
    BatchSql::new(14, |rows| {
        format!(
            "insert into deliveries (id, room, dispensing, pharmacy, pharmacy_name, pharmacy_address, recipient, \
            recipient_name, address, courier, state, open, version, updated_at) values {rows} \
            on conflict (id) do update set courier = excluded.courier, state = excluded.state, open = excluded.open, \
            version = excluded.version, updated_at = excluded.updated_at"
        )
    })
});

/// A row with its room and the time of its last event.
struct ChangedRow<'a, R> {
    room: Uuid,
    at: i64,
    row: &'a R,
}

/// The projection after an append.
struct AppendProjection {
    room: Uuid,
    at: i64,
    /// The first seq of the append. A row's version is the seq of its last change, so older versions have not changed.
    since: i64,
    projection: Projection,
}

impl AppendProjection {
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

/// Returns the rows of one table that these appends changed. A statement must not write a row twice, so the last one of
/// several with the same id wins.
fn changed<'a, R>(
    projections: &'a [AppendProjection],
    rows: impl Fn(&'a Projection) -> &'a [R],
    version: impl Fn(&R) -> i64,
    id: impl Fn(&AppendProjection, &R) -> Uuid,
) -> Vec<ChangedRow<'a, R>> {
    let mut known = HashSet::new();
    let mut changed = Vec::with_capacity(projections.len());
    for it in projections.iter().rev() {
        for row in rows(&it.projection).iter().rev() {
            if version(row) >= it.since && known.insert(id(it, row)) {
                changed.push(ChangedRow { room: it.room, at: it.at, row });
            }
        }
    }
    changed.reverse();
    changed
}

impl Tx {
    /// Writes the rows that these appends changed. `appends` is in the order in which rooms are locked.
    pub(in crate::store) async fn write_projections(&mut self, appends: &[&Append]) -> Result<(), StoreError> {
        let projections: Vec<AppendProjection> =
            appends.iter().filter_map(|append| AppendProjection::of(append)).collect();
        let rooms = changed(&projections, |it| it.room.as_slice(), |_| i64::MAX, |it, _| it.room);
        for rows in chunks(&rooms) {
            let sql = ROOMS.get(self, rows.len());
            on_tx!(self, db => {
                let mut query = sqlx::query(sql);
                for ChangedRow { room, at, row } in rows {
                    query = query
                        .bind(room).bind(row.patient).bind(&row.patient_name).bind(row.doctor).bind(&row.doctor_name)
                        .bind(&row.state).bind(row.open).bind(row.slot).bind(row.starts_at).bind(row.waiting_since)
                        .bind(row.started_at).bind(row.ended_at).bind(row.wake_at).bind(at).bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        let prescriptions = changed(&projections, |it| &it.prescriptions, |row| row.version, |_, row| row.id);
        for rows in chunks(&prescriptions) {
            let sql = PRESCRIPTIONS.get(self, rows.len());
            on_tx!(self, db => {
                let mut query = sqlx::query(sql);
                for ChangedRow { room, at, row } in rows {
                    query = query
                        .bind(row.id).bind(room).bind(row.patient).bind(row.doctor).bind(&row.state).bind(row.version)
                        .bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        let dispensings = changed(&projections, |it| &it.dispensings, |row| row.version, |_, row| row.id);
        for rows in chunks(&dispensings) {
            let sql = DISPENSINGS.get(self, rows.len());
            on_tx!(self, db => {
                let mut query = sqlx::query(sql);
                for ChangedRow { room, at, row } in rows {
                    query = query
                        .bind(row.id).bind(room).bind(row.prescription).bind(row.pharmacy).bind(&row.state)
                        .bind(row.open).bind(row.version).bind(row.items).bind(row.delivery).bind(at).bind(at);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        let deliveries = changed(&projections, |it| &it.deliveries, |row| row.version, |_, row| row.id);
        for rows in chunks(&deliveries) {
            let sql = DELIVERIES.get(self, rows.len());
            on_tx!(self, db => {
                let mut query = sqlx::query(sql);
                for ChangedRow { room, at, row } in rows {
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
