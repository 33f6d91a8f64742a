//! Read receipts: the last event delivered to, and seen by, each person in a room.

use std::collections::BTreeMap;

use rooms::id::{RoomId, UserId};
use rooms::signal::Mark;
use uuid::Uuid;

use super::{Store, StoreError, on_tx, read};

impl Store {
    /// Returns the read receipts of a room.
    pub async fn marks(&self, room: RoomId) -> Result<BTreeMap<UserId, Mark>, StoreError> {
        let sql = "select user_id, delivered, seen from marks where room = $1";
        let rows: Vec<(Uuid, i64, i64)> = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_all(db).await)?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(rows
            .into_iter()
            .map(|(user, delivered, seen)| (UserId(user), Mark { delivered: number(delivered), seen: number(seen) }))
            .collect())
    }

    /// Stores read receipts. A receipt never moves back.
    pub async fn save_marks(&self, marks: &[(RoomId, UserId, Mark)]) -> Result<(), StoreError> {
        let sql = "insert into marks (room, user_id, delivered, seen) values ($1, $2, $3, $4) \
            on conflict (room, user_id) do update set \
            delivered = case when excluded.delivered > marks.delivered then excluded.delivered else marks.delivered end, \
            seen = case when excluded.seen > marks.seen then excluded.seen else marks.seen end";
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut tx = self.begin().await?;
        for (room, user, mark) in marks {
            on_tx!(&mut tx, db => sqlx::query(sql)
                .bind(room.0).bind(user.0).bind(number(mark.delivered)).bind(number(mark.seen))
                .execute(db).await.map(drop))?;
        }
        tx.commit().await
    }
}
