-- What the hub and its partners know of each other.

-- What the payment provider calls a room's payment, and where the patient pays.
create table payments (
    room uuid not null primary key,
    reference text not null unique,
    checkout_url text,
    created_at bigint not null
);

-- What the courier partner calls a parcel.
create table courier_orders (
    delivery uuid not null primary key,
    room uuid not null,
    reference text not null unique,
    created_at bigint not null
);

-- Messages of partners that took effect: one that comes again does nothing.
create table partner_events (
    partner text not null,
    id text not null,
    received_at bigint not null,
    primary key (partner, id)
);
create index partner_events_by_age on partner_events (received_at);

-- The language of what is written to a person.
alter table users add column language text not null default 'en';

-- The sandboxes: partners that are only played.

create table sandbox_payments (
    -- In the address of the fake checkout page, so not to be guessed.
    id uuid not null primary key,
    room uuid not null unique,
    amount bigint not null,
    currency text not null,
    state text not null,
    -- What it was told to do wrong: fail, answer after ten seconds, say everything twice.
    fails boolean not null,
    slow boolean not null,
    twice boolean not null,
    created_at bigint not null
);

create table sandbox_parcels (
    id uuid not null primary key,
    delivery uuid not null unique,
    room uuid not null,
    state text not null,
    -- When it moves on by itself; null when it does not.
    next_at bigint,
    updated_at bigint not null
);
create index sandbox_parcels_due on sandbox_parcels (next_at) where next_at is not null;
