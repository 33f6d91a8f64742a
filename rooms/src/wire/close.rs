//! Close codes. After a code below 4500 the client reconnects and resumes; from 4500 it does not reconnect by itself.

macro_rules! closes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $reason:literal;)*) => {
        /// Why the hub closed a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Close {
            $($(#[doc = $doc])* $name,)*
        }

        impl Close {
            pub const ALL: &'static [Close] = &[$(Close::$name,)*];

            /// Returns the close frame's code.
            pub fn code(self) -> u16 {
                match self { $(Close::$name => $code,)* }
            }

            /// Returns the close frame's reason.
            pub fn reason(self) -> &'static str {
                match self { $(Close::$name => $reason,)* }
            }

            /// Returns what it means and what the client does.
            pub fn meaning(self) -> &'static str {
                match self { $(Close::$name => concat!($($doc,)*).trim_ascii_start(),)* }
            }
        }
    };
}

closes! {
    /// The hub restarts. Reconnect after the delay in the `reconnect` frame, or with jitter.
    Restart = 1012, "restart";
    /// The client did not read fast enough. Reconnect with jitter and resume; nothing is lost.
    Slow = 4000, "slow";
    /// The client sent nothing for 25 seconds. Reconnect and resume.
    Silent = 4001, "silent";
    /// The hub failed unexpectedly. Reconnect with jitter and resume.
    Failure = 4002, "failure";
    /// The access token expired, or the person's rights changed. Get a fresh token, then reconnect and resume.
    TokenExpired = 4010, "token_expired";
    /// The client sent too many frames for too long. Reconnect after a minute.
    Flood = 4020, "flood";
    /// The hub has no capacity for another connection. Reconnect after a minute, with jitter.
    Overloaded = 4021, "overloaded";
    /// The client sent no `hello` within 10 seconds, or another frame first.
    NoHello = 4500, "no_hello";
    /// The token is not valid. Sign in.
    Unauthenticated = 4501, "unauthenticated";
    /// The sign-in was revoked. Sign in again.
    Revoked = 4502, "revoked";
    /// A newer connection of the same client has taken over.
    Replaced = 4503, "replaced";
    /// The client violates the protocol: too many malformed frames, a binary frame, or a frame that is too large.
    Protocol = 4504, "protocol";
}

impl Close {
    /// Whether the client should reconnect by itself.
    pub fn resumable(self) -> bool {
        self.code() < 4500
    }
}
