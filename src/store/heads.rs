//! How long the logs of many rooms are, for whoever keeps rooms in memory and may have missed something.

use std::sync::LazyLock;

use rooms::id::RoomId;
use uuid::Uuid;

use super::events::unsigned;
use super::pieces::{Texts, pieces};
use super::{Store, StoreError, read};

static HEADS: LazyLock<Texts> = LazyLock::new(|| {
    // One step in the index for each room, instead of a look at each of its events.
    Texts::new(1, |rows| {
        format!(
            "with asked (room) as (values {rows}) select asked.room, \
            (select events.seq from events where events.room = asked.room order by events.seq desc limit 1) from asked"
        )
    })
});

impl Store {
    /// The number of each room's last event. A room without events is left out.
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, u64)>, StoreError> {
        let mut heads = Vec::with_capacity(rooms.len());
        for some in pieces(rooms) {
            let sql = HEADS.of(self, some.len());
            let rows: Vec<(Uuid, Option<i64>)> = read!(self, db => {
                let mut query = sqlx::query_as(sql);
                for room in some {
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
