//! Heads of many logs at once, for nodes that compare the rooms in memory with the store.

use std::sync::LazyLock;

use rooms::id::RoomId;
use uuid::Uuid;

use crate::store::batching::{BatchSql, chunks};
use crate::store::columns::unsigned;
use crate::store::{Store, StoreError, read};

static HEADS: LazyLock<BatchSql> = LazyLock::new(|| {
    // One index step per room, instead of reading all of its events.
    BatchSql::new(1, |rows| {
        format!(
            "with asked (room) as (values {rows}) select asked.room, \
            (select events.seq from events where events.room = asked.room order by events.seq desc limit 1) from asked"
        )
    })
});

impl Store {
    /// Reads the number of each room's last event. A room without events is left out.
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, u64)>, StoreError> {
        let mut heads = Vec::with_capacity(rooms.len());
        for chunk in chunks(rooms) {
            let sql = HEADS.get(self, chunk.len());
            let rows: Vec<(Uuid, Option<i64>)> = read!(self, db => {
                let mut query = sqlx::query_as(sql);
                for room in chunk {
                    query = query.bind(room.0);
                }
                query.fetch_all(db).await
            })?;
            for (room, head) in rows {
                if let Some(head) = head {
                    heads.push((RoomId(room), unsigned(head)?));
                }
            }
        }
        Ok(heads)
    }
}
