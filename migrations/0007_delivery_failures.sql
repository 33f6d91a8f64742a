-- What keeps a delivery that cannot succeed from being tried for ever.

-- How often a node began to process this entry after its first lease. From a limit on, no node leases it any more: it waits
-- for an operator. The node that wrote the entry does not count its own attempt.
alter table outgoing add column attempts bigint not null default 0;

-- The hub's public VAPID key when the device subscribed (base64url). A push service accepts only messages signed with that
-- key, so a subscription made with another one is removed. Null for devices from before this column.
alter table push_subscriptions add column vapid_key text;
