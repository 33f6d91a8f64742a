-- What leaves the hub: to devices, mailboxes, partners and integrators.

-- One row for each transaction that appended something which somebody outside may want to hear of, written in that
-- transaction. Whoever wrote it has it until `taken_until`; then it is any node's to take. It goes when everything that
-- follows from it is in `dispatches`.
create table outgoing (
    id uuid not null primary key,
    taken_until bigint not null,
    -- 32 bytes for each append: its room, and the numbers of its first and last event.
    spans bytea not null
);
create index outgoing_by_lease on outgoing (taken_until);

-- One delivery to one receiver. Its id is the receiver's key against repetition.
create table dispatches (
    id uuid not null primary key,
    sink text not null,
    -- What shares a breaker and a bound within a sink: a push service, an integrator's endpoint, a partner.
    lane text not null,
    -- Whom the sink is to send it to.
    target text not null,
    room uuid not null,
    seq bigint not null,
    kind text not null,
    -- What the sink needs to make the message; no patient data.
    body text not null,
    state text not null,
    attempts bigint not null,
    -- When somebody has to look at it next: to send it, or because whoever was sending it gave no answer. Null when it
    -- is over.
    due_at bigint,
    last_error text,
    created_at bigint not null,
    done_at bigint,
    -- The same event makes the same delivery once, however often it is worked through.
    unique (sink, target, room, seq, kind)
);
create index dispatches_due on dispatches (sink, lane, due_at) where due_at is not null;
create index dispatches_by_state on dispatches (sink, state, id);
create index dispatches_done on dispatches (done_at) where done_at is not null;

-- The devices that get notifications, as their browsers' push services know them.
create table push_subscriptions (
    id uuid not null primary key,
    user_id uuid not null references users (id),
    -- The sign-in on that device: who signs out, also from elsewhere, gets nothing there any more.
    session uuid not null,
    endpoint text not null unique,
    -- The device's public key and its secret, as the browser gives them (base64url).
    p256dh text not null,
    auth text not null,
    created_at bigint not null
);
create index push_subscriptions_by_user on push_subscriptions (user_id, created_at);

-- Whom a pharmacy's notifications go to.
create index users_by_pharmacy on users (pharmacy) where pharmacy is not null;

-- What somebody wants to be notified of. Without a row: of everything, at any time.
create table push_preferences (
    user_id uuid not null primary key references users (id),
    -- The kinds that are off, separated by commas.
    muted text not null,
    -- Minutes after the person's midnight; null for no quiet hours. They may go over midnight.
    quiet_from bigint,
    quiet_until bigint,
    -- How far the person's clock is ahead of UTC, in minutes.
    offset_minutes bigint not null
);
