-- The endpoints of integrators that hear of what happens.
create table webhooks (
    id uuid not null primary key,
    url text not null,
    -- The kinds of events that are sent, separated by commas; empty for all that leave the hub.
    kinds text not null,
    -- Keys of 32 bytes. The former one also signs until `former_until`, so that the receiver can change over.
    secret bytea not null,
    former_secret bytea,
    former_until bigint,
    -- Why nothing is sent any more; null while it is.
    disabled text,
    created_at bigint not null
);
