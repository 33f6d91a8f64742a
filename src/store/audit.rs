//! The audit log: accesses to records, by whom and when.

use rooms::id::{RoomId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::columns::{named, timestamp};
use super::page::{Page, PageRequest};
use super::{Store, StoreError, on_tx, read};

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct Access {
    pub id: Uuid,
    pub at: Timestamp,
    pub user: UserId,
    pub role: Role,
    /// The operation, such as `events.read`.
    pub action: String,
    pub room: Option<RoomId>,
}

impl Store {
    /// Records accesses in one transaction.
    pub async fn record_accesses(&self, accesses: &[Access]) -> Result<(), StoreError> {
        let sql = "insert into audit (id, at, user_id, role, action, room) values ($1, $2, $3, $4, $5, $6)";
        let mut tx = self.begin().await?;
        for access in accesses {
            on_tx!(&mut tx, db => sqlx::query(sql)
                .bind(access.id).bind(access.at.micros()).bind(access.user.0).bind(access.role.as_str())
                .bind(&access.action).bind(access.room.map(|room| room.0))
                .execute(db).await.map(drop))?;
        }
        tx.commit().await
    }

    /// Lists accesses, newest first, optionally of one room.
    pub async fn accesses(&self, room: Option<RoomId>, request: PageRequest) -> Result<Page<Access>, StoreError> {
        type Row = (Uuid, i64, Uuid, String, String, Option<Uuid>);
        let rows: Vec<Row> = match room {
            Some(room) => {
                let sql = "select id, at, user_id, role, action, room from audit \
                    where room = $1 and id < $2 order by id desc limit $3";
                read!(self, db => sqlx::query_as(sql)
                    .bind(room.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?
            }
            None => {
                let sql =
                    "select id, at, user_id, role, action, room from audit where id < $1 order by id desc limit $2";
                read!(self, db => sqlx::query_as(sql)
                    .bind(request.below()).bind(request.rows()).fetch_all(db).await)?
            }
        };
        let rows = rows
            .into_iter()
            .map(|(id, at, user, role, action, room)| {
                let role = named(&role)?;
                Ok((id, Access { id, at: timestamp(at), user: UserId(user), role, action, room: room.map(RoomId) }))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(rows, |access| access))
    }
}
