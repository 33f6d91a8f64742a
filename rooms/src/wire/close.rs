//! Close codes. Below 4500: come back and resume. From 4500: do not come back by yourself.

macro_rules! closes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $reason:literal;)*) => {
        /// Why the hub closed a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Close {
            $($(#[doc = $doc])* $name,)*
        }

        impl Close {
            pub const ALL: &'static [Close] = &[$(Close::$name,)*];

            /// The code of the close frame.
            pub fn code(self) -> u16 {
                match self { $(Close::$name => $code,)* }
            }

            /// The reason of the close frame.
            pub fn reason(self) -> &'static str {
                match self { $(Close::$name => $reason,)* }
            }

            /// What it means and what to do.
            pub fn meaning(self) -> &'static str {
                match self { $(Close::$name => concat!($($doc,)*).trim_ascii_start(),)* }
            }
        }
    };
}

closes! {
    /// The hub restarts. Come back after the `reconnect` frame's time, or with jitter.
    Restart = 1012, "restart";
    /// The connection did not read fast enough. Come back with jitter and resume; nothing is lost.
    Slow = 4000, "slow";
    /// Nothing was heard from the client for 25 seconds. Come back and resume.
    Silent = 4001, "silent";
    /// The hub failed in a way it does not know. Come back with jitter and resume.
    Failure = 4002, "failure";
    /// The access token has ended, or the person's rights have changed. Get a fresh token, then come back and resume.
    TokenExpired = 4010, "token_expired";
    /// Too many frames for too long. Come back after a minute.
    Flood = 4020, "flood";
    /// The hub has no room for another connection. Come back after a minute, with jitter.
    Overloaded = 4021, "overloaded";
    /// No `hello` came within 10 seconds, or something else came first.
    NoHello = 4500, "no_hello";
    /// The token is not valid. Sign in.
    Unauthenticated = 4501, "unauthenticated";
    /// The sign-in was ended. Sign in again.
    Revoked = 4502, "revoked";
    /// A newer connection of the same client has taken over.
    Replaced = 4503, "replaced";
    /// The client does not speak the protocol: too many malformed frames, a binary frame, a frame that is too large.
    Protocol = 4504, "protocol";
}

impl Close {
    /// Whether the client should come back by itself.
    pub fn resumable(self) -> bool {
        self.code() < 4500
    }
}
