//! Who may ask what, and who sees what: two exhaustive matches.
