//! Outbound deliveries: each is a row that is sent at least once, then kept for a while as its log.
//!
//! A sender holds a row by a lease (`due_at`), which `attempts` numbers. A report that arrives after another sender took
//! over the lease changes nothing.

use std::sync::LazyLock;
use std::time::Duration;

use rooms::id::RoomId;
use rooms::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::batching::{BatchSql, chunks};
use super::columns::{named, signed, timestamp, unsigned};
use super::page::{Page, PageRequest};
use super::{Store, StoreError, on_tx, read, write_one};

/// Retention of finished deliveries. They are the log of what was sent, and prevent a replay from sending it again.
const RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// The length to which a stored error is cut.
const MAX_ERROR_BYTES: usize = 300;

/// A kind of receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// Notifications to people's devices.
    Push,
    Mail,
    /// Integrators' endpoints.
    Webhook,
    Payment,
    Courier,
}

impl Sink {
    pub const ALL: [Sink; 5] = [Sink::Push, Sink::Mail, Sink::Webhook, Sink::Payment, Sink::Courier];

    /// Returns the name in REST and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Sink::Push => "push",
            Sink::Mail => "mail",
            Sink::Webhook => "webhook",
            Sink::Payment => "payment",
            Sink::Courier => "courier",
        }
    }
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DispatchState {
    /// It is scheduled for its first or next attempt.
    Waiting,
    Sending,
    /// The receiver accepted it.
    Done,
    /// It became useless: the receiver no longer exists, or it expired.
    Dropped,
    /// The receiver refused it, or all attempts failed: it needs an operator.
    Dead,
}

impl DispatchState {
    pub const ALL: [DispatchState; 5] = [
        DispatchState::Waiting,
        DispatchState::Sending,
        DispatchState::Done,
        DispatchState::Dropped,
        DispatchState::Dead,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DispatchState::Waiting => "waiting",
            DispatchState::Sending => "sending",
            DispatchState::Done => "done",
            DispatchState::Dropped => "dropped",
            DispatchState::Dead => "dead",
        }
    }
}

/// A delivery to be made. Sink, target, room, seq and kind together identify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub sink: Sink,
    /// The destination within the sink, such as a partner's name. Deliveries of a lane share a breaker and a bound.
    pub lane: String,
    /// The receiver, in the sink's own terms.
    pub target: String,
    pub room: RoomId,
    /// The event that caused it; 0 if none did.
    pub seq: u64,
    pub kind: String,
    /// The data from which the sink makes the message. It stays in the database for days, so it holds no patient data.
    pub body: String,
    /// The earliest time to send it.
    pub due_at: Timestamp,
}

/// A stored delivery.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The key by which the receiver detects a repetition.
    pub id: Uuid,
    pub sink: Sink,
    pub lane: String,
    pub target: String,
    pub room: RoomId,
    pub seq: u64,
    pub kind: String,
    pub body: String,
    pub state: DispatchState,
    /// The number of attempts, including the present one.
    pub attempts: u32,
    pub due_at: Option<Timestamp>,
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    pub done_at: Option<Timestamp>,
}

/// The result of an attempt.
#[derive(Clone, Debug)]
pub struct Report {
    pub id: Uuid,
    /// The number of the attempt.
    pub attempts: u32,
    pub state: DispatchState,
    /// The time of the next attempt, if any.
    pub due_at: Option<Timestamp>,
    pub error: Option<String>,
}

#[derive(Clone, Debug, FromRow)]
struct LaneRow {
    sink: String,
    lane: String,
    state: String,
    count: i64,
    attempts: i64,
    due_at: Option<i64>,
}

/// The number of deliveries of a lane in one state.
#[derive(Clone, Debug)]
pub struct LaneCount {
    pub sink: Sink,
    pub lane: String,
    pub state: DispatchState,
    pub count: u64,
    /// The highest number of attempts among them.
    pub attempts: u32,
    /// The time at which the first of them is due.
    pub due_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct DispatchRow {
    id: Uuid,
    sink: String,
    lane: String,
    target: String,
    room: Uuid,
    seq: i64,
    kind: String,
    body: String,
    state: String,
    attempts: i64,
    due_at: Option<i64>,
    last_error: Option<String>,
    created_at: i64,
    done_at: Option<i64>,
}

impl TryFrom<DispatchRow> for Dispatch {
    type Error = StoreError;

    fn try_from(row: DispatchRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            sink: named(&row.sink)?,
            lane: row.lane,
            target: row.target,
            room: RoomId(row.room),
            seq: unsigned(row.seq)?,
            kind: row.kind,
            body: row.body,
            state: named(&row.state)?,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            due_at: row.due_at.map(timestamp),
            last_error: row.last_error,
            created_at: timestamp(row.created_at),
            done_at: row.done_at.map(timestamp),
        })
    }
}

const COLUMNS: &str =
    "id, sink, lane, target, room, seq, kind, body, state, attempts, due_at, last_error, created_at, done_at";

static ENQUEUE: LazyLock<BatchSql> = LazyLock::new(|| {
    let insert = "insert into dispatches \
        (id, sink, lane, target, room, seq, kind, body, state, attempts, due_at, created_at) values ";
    BatchSql::new(12, |rows| format!("{insert}{rows} on conflict do nothing"))
});

static TAKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "update dispatches set state = 'sending', attempts = attempts + 1, due_at = $1 where id in \
        (select id from dispatches where sink = $2 and lane = $3 and due_at <= $4 order by due_at limit $5) \
        and due_at <= $4 returning {COLUMNS}"
    )
});

/// The names of all sinks, for a condition in SQL. During a rolling update, a newer node may store deliveries to a sink that
/// this node does not know; it leaves them alone.
fn known_sinks() -> String {
    Sink::ALL.map(|sink| format!("'{}'", sink.as_str())).join(", ")
}

static DUE_LANES: LazyLock<String> = LazyLock::new(|| {
    let known = known_sinks();
    format!(
        "select sink, lane from dispatches where due_at <= $1 and sink in ({known}) \
        group by sink, lane order by min(due_at)"
    )
});

static LANES: LazyLock<String> = LazyLock::new(|| {
    let known = known_sinks();
    format!(
        "select sink, lane, state, count(*) as count, cast(max(attempts) as bigint) as attempts, \
        min(due_at) as due_at from dispatches where sink in ({known}) \
        group by sink, lane, state order by sink, lane, state"
    )
});

static LIST: LazyLock<String> = LazyLock::new(|| {
    let known = known_sinks();
    format!(
        "select {COLUMNS} from dispatches where ($1 is null or sink = $1) and ($2 is null or state = $2) \
        and ($5 is null or lane = $5) and sink in ({known}) and id < $3 order by id desc limit $4"
    )
});

static SIBLINGS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {COLUMNS} from dispatches where sink = $1 and target = $2 and room = $3 and id <> $4 \
        order by seq desc limit 500"
    )
});

impl Store {
    /// Stores deliveries; existing ones stay unchanged. Returns how many are new.
    pub async fn enqueue(
        &self,
        wishes: &[Wish],
        now: Timestamp,
        mut fresh: impl FnMut() -> Uuid,
    ) -> Result<u64, StoreError> {
        if wishes.is_empty() {
            return Ok(0);
        }
        let mut new = 0;
        let mut tx = self.begin().await?;
        for wishes in chunks(wishes) {
            let sql = ENQUEUE.get(&tx, wishes.len());
            let ids: Vec<Uuid> = wishes.iter().map(|_| fresh()).collect();
            new += on_tx!(&mut tx, db => {
                let mut query = sqlx::query(sql);
                for (wish, id) in wishes.iter().zip(&ids) {
                    query = query
                        .bind(*id)
                        .bind(wish.sink.as_str())
                        .bind(&wish.lane)
                        .bind(&wish.target)
                        .bind(wish.room.0)
                        .bind(signed(wish.seq))
                        .bind(&wish.kind)
                        .bind(&wish.body)
                        .bind(DispatchState::Waiting.as_str())
                        .bind(0_i64)
                        .bind(wish.due_at.micros())
                        .bind(now.micros());
                }
                query.execute(db).await.map(|done| done.rows_affected())
            })?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// Lists the lanes with deliveries that are due.
    pub async fn due_lanes(&self, now: Timestamp) -> Result<Vec<(Sink, String)>, StoreError> {
        let rows: Vec<(String, String)> =
            read!(self, db => sqlx::query_as(DUE_LANES.as_str()).bind(now.micros()).fetch_all(db).await)?;
        rows.into_iter().map(|(sink, lane)| Ok((named(&sink)?, lane))).collect()
    }

    /// Leases up to `limit` due deliveries of a lane until `until`, including those whose lease expired.
    pub async fn take_dispatches(
        &self,
        (sink, lane): (Sink, &str),
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Dispatch>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<DispatchRow> = write_one!(self, db => sqlx::query_as(TAKE.as_str())
            .bind(until.micros()).bind(sink.as_str()).bind(lane).bind(now.micros()).bind(limit)
            .fetch_all(db).await)?;
        rows.into_iter().map(Dispatch::try_from).collect()
    }

    /// Stores the results of attempts.
    pub async fn report(&self, reports: &[Report], now: Timestamp) -> Result<(), StoreError> {
        let sql = "update dispatches set state = $1, due_at = $2, last_error = $3, done_at = $4 \
            where id = $5 and attempts = $6 and state = 'sending'";
        let mut tx = self.begin().await?;
        for report in reports {
            let done_at = report.due_at.is_none().then(|| now.micros());
            let error = report.error.as_deref().map(|error| truncate(error, MAX_ERROR_BYTES));
            on_tx!(&mut tx, db => sqlx::query(sql)
                .bind(report.state.as_str()).bind(report.due_at.map(Timestamp::micros)).bind(error).bind(done_at)
                .bind(report.id).bind(i64::from(report.attempts))
                .execute(db).await.map(drop))?;
        }
        tx.commit().await
    }

    /// Schedules a dead or dropped delivery again; returns `false` if there is none with this id.
    pub async fn retry_dispatch(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "update dispatches set state = 'waiting', attempts = 0, due_at = $1, done_at = null \
            where id = $2 and state in ('dead', 'dropped')";
        let changed = write_one!(self, db => sqlx::query(sql)
            .bind(now.micros()).bind(id).execute(db).await.map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }

    /// Finds a delivery.
    pub async fn dispatch(&self, id: Uuid) -> Result<Option<Dispatch>, StoreError> {
        let sql = "select * from dispatches where id = $1";
        let row: Option<DispatchRow> = read!(self, db => sqlx::query_as(sql).bind(id).fetch_optional(db).await)?;
        row.map(Dispatch::try_from).transpose()
    }

    /// Lists the other deliveries to the same target about the same room, the last event first: at most 500.
    pub async fn sibling_deliveries(&self, delivery: &Dispatch) -> Result<Vec<Dispatch>, StoreError> {
        let rows: Vec<DispatchRow> = read!(self, db => sqlx::query_as(SIBLINGS.as_str())
            .bind(delivery.sink.as_str()).bind(&delivery.target).bind(delivery.room.0).bind(delivery.id)
            .fetch_all(db).await)?;
        rows.into_iter().map(Dispatch::try_from).collect()
    }

    /// Counts the deliveries to the same target that were sent since `since`, or are being sent and were created before this
    /// one.
    pub async fn deliveries_since(&self, delivery: &Dispatch, since: Timestamp) -> Result<u64, StoreError> {
        let sql = "select count(*) from dispatches where sink = $1 and target = $2 and id <> $3 \
            and ((state = 'done' and done_at >= $4) or (state = 'sending' and id < $3))";
        let (count,): (i64,) = read!(self, db => sqlx::query_as(sql)
            .bind(delivery.sink.as_str()).bind(&delivery.target).bind(delivery.id).bind(since.micros())
            .fetch_one(db).await)?;
        unsigned(count)
    }

    /// Lists deliveries, newest first, optionally of one sink, to one receiver and in one state.
    pub async fn dispatches(
        &self,
        sink: Option<Sink>,
        lane: Option<&str>,
        state: Option<DispatchState>,
        request: PageRequest,
    ) -> Result<Page<Dispatch>, StoreError> {
        let rows: Vec<DispatchRow> = read!(self, db => sqlx::query_as(LIST.as_str())
            .bind(sink.map(Sink::as_str)).bind(state.map(DispatchState::as_str))
            .bind(request.below()).bind(request.rows()).bind(lane).fetch_all(db).await)?;
        let rows = rows
            .into_iter()
            .map(|row| Dispatch::try_from(row).map(|dispatch| (dispatch.id, dispatch)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(request.page(rows, |dispatch| dispatch))
    }

    /// Counts the deliveries of all lanes by state.
    pub async fn lanes(&self) -> Result<Vec<LaneCount>, StoreError> {
        let rows: Vec<LaneRow> = read!(self, db => sqlx::query_as(LANES.as_str()).fetch_all(db).await)?;
        let count = |row: LaneRow| {
            Ok(LaneCount {
                sink: named(&row.sink)?,
                lane: row.lane,
                state: named(&row.state)?,
                count: unsigned(row.count)?,
                attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
                due_at: row.due_at.map(timestamp),
            })
        };
        rows.into_iter().map(count).collect()
    }

    /// Deletes deliveries that finished before the retention time. Dead ones stay for an operator.
    pub async fn sweep_dispatches(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.micros() - i64::try_from(RETENTION.as_micros()).unwrap_or(0);
        write_one!(self, db => sqlx::query("delete from dispatches where done_at < $1 and state in ('done', 'dropped')")
            .bind(before).execute(db).await.map(drop))
    }
}

/// Cuts a text to at most `max_bytes`, at a character boundary.
fn truncate(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}
