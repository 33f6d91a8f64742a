// The hub's clock: a device may show a wrong time, but what a person sees must be right.

/** The hub's time minus the device's, in milliseconds; null before the hub first named its time. */
let offset = null;

/** The hub's time, in milliseconds since 1970. */
export const hubNow = () => Date.now() + (offset ?? 0);

/** Sets the clock from a time that the hub just named. */
export function syncClock(hubTime) {
  const at = Date.parse(hubTime);
  if (!Number.isNaN(at)) offset = at - Date.now();
}

/** Sets the clock from a response's `Date`, which has whole seconds only; a more precise time is kept. */
export function syncClockCoarsely(date) {
  if (offset === null && date) syncClock(date);
}
