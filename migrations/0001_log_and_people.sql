-- One text for SQLite and PostgreSQL. Ids are uuid (16 bytes on SQLite), instants bigint microseconds since 1970 in UTC,
-- because both databases store, compare and index them alike. Rules that span rows are kept by the statements.

create table pharmacies (
    id uuid not null primary key,
    name text not null,
    address text not null
);

-- E-mail addresses are stored in lower case, so that the unique index means what a person expects.
create table users (
    id uuid not null primary key,
    email text not null unique,
    name text not null,
    -- An argon2id hash in PHC form; text that is no hash lets nobody in by password.
    password_hash text not null,
    role text not null,
    status text not null,
    pharmacy uuid references pharmacies (id),
    specialty text,
    languages text,
    created_at bigint not null,
    -- Access tokens issued before this are refused: the role, the pharmacy or the status changed.
    changed_at bigint not null
);
create index users_by_role on users (role, id);
create index users_changed on users (changed_at) where changed_at > created_at;

-- One row per sign-in. The refresh token is derived from id and counter, so no token is stored.
create table sessions (
    id uuid not null primary key,
    user_id uuid not null references users (id),
    counter bigint not null,
    rotated_at bigint not null,
    created_at bigint not null,
    last_seen_at bigint not null,
    expires_at bigint not null,
    revoked_at bigint,
    label text not null
);
create index sessions_by_user on sessions (user_id, id);
create index sessions_by_end on sessions (expires_at);
create index sessions_revoked on sessions (revoked_at) where revoked_at is not null;

-- The log. (room, seq) makes compare-and-append: whoever inserts a number first has won. The body is the canonical form
-- that the hash is made of; nothing ever updates or deletes a row.
create table events (
    room uuid not null,
    seq bigint not null,
    body text not null,
    hash bytea not null,
    -- With the first event of a person's command: whose, which, what, and how many events it made. The index makes a
    -- repetition of a command impossible, for as long as its events are kept. It begins with the command, because the
    -- clients' ids rise with time: new entries come to its end, and not into one page per room.
    sender uuid,
    command uuid,
    command_hash bytea,
    command_events bigint,
    primary key (room, seq)
);
create unique index events_by_command on events (command, sender, room) where command is not null;

-- How far a person's devices got in a room.
create table marks (
    room uuid not null,
    user_id uuid not null,
    delivered bigint not null,
    seen bigint not null,
    primary key (room, user_id)
);

-- Everything below is a projection of the log, written in the transaction of the events it follows from.

create table slots (
    id uuid not null primary key,
    doctor uuid not null references users (id),
    starts_at bigint not null,
    -- At most a day later: what may overlap a slot begins at most a day before it.
    ends_at bigint not null check (ends_at > starts_at and ends_at - starts_at <= 86400000000),
    -- The room that holds or has booked it: one column, so one room.
    room uuid unique
);
create index slots_by_doctor on slots (doctor, starts_at);

create table rooms (
    id uuid not null primary key,
    patient uuid not null,
    patient_name text not null,
    doctor uuid not null,
    doctor_name text not null,
    state text not null,
    -- Whether something is still to happen, told by the state. What is open is little among much that is closed, and the
    -- feeds ask for it at every change; so it has indexes of its own, here and below.
    open boolean not null,
    slot uuid,
    starts_at bigint,
    waiting_since bigint,
    started_at bigint,
    ended_at bigint,
    -- When the room's timer is due.
    wake_at bigint,
    created_at bigint not null,
    updated_at bigint not null
);
create index rooms_by_patient on rooms (patient, id);
create index rooms_by_doctor on rooms (doctor, id);
create index rooms_open_by_patient on rooms (patient, id) where open;
create index rooms_open_by_doctor on rooms (doctor, id) where open;
create index rooms_waiting on rooms (doctor, waiting_since) where waiting_since is not null;
create index rooms_ended on rooms (doctor, ended_at) where ended_at is not null;
create index rooms_due on rooms (wake_at) where wake_at is not null;

create table prescriptions (
    id uuid not null primary key,
    room uuid not null references rooms (id),
    -- The room's, repeated so that each one's list comes from one index.
    patient uuid not null,
    doctor uuid not null,
    state text not null,
    version bigint not null,
    updated_at bigint not null
);
create index prescriptions_by_room on prescriptions (room);
create index prescriptions_by_patient on prescriptions (patient, id);
create index prescriptions_by_doctor on prescriptions (doctor, id);

create table dispensings (
    id uuid not null primary key,
    room uuid not null references rooms (id),
    prescription uuid not null,
    pharmacy uuid not null,
    state text not null,
    open boolean not null,
    version bigint not null,
    items bigint not null,
    delivery boolean not null,
    received_at bigint not null,
    updated_at bigint not null
);
create index dispensings_by_room on dispensings (room);
create index dispensings_by_pharmacy on dispensings (pharmacy, id);
create index dispensings_open on dispensings (pharmacy, id) where open;

create table deliveries (
    id uuid not null primary key,
    room uuid not null references rooms (id),
    dispensing uuid not null,
    pharmacy uuid not null,
    pharmacy_name text not null,
    pharmacy_address text not null,
    recipient uuid not null,
    recipient_name text not null,
    address text not null,
    courier uuid,
    state text not null,
    open boolean not null,
    version bigint not null,
    updated_at bigint not null
);
create index deliveries_by_room on deliveries (room);
create index deliveries_by_courier on deliveries (courier, id);
create index deliveries_open on deliveries (courier, id) where open;
create index deliveries_by_pharmacy on deliveries (pharmacy, id);
create index deliveries_by_recipient on deliveries (recipient, id);

-- The answer to an unsafe request, for its repetition. A row without a status is a request that runs. `fresh` is the id
-- that whatever the request makes will have: if the hub dies in between, the repetition makes the same thing.
create table idempotency (
    user_id uuid not null,
    route text not null,
    key text not null,
    body_hash bytea not null,
    fresh uuid not null,
    status bigint,
    headers text,
    body bytea,
    created_at bigint not null,
    primary key (user_id, route, key)
);
create index idempotency_by_age on idempotency (created_at);

-- Who read which record when. Only ever inserted.
create table audit (
    id uuid not null primary key,
    at bigint not null,
    user_id uuid not null,
    role text not null,
    action text not null,
    room uuid,
    detail text
);
create index audit_by_room on audit (room, id);
