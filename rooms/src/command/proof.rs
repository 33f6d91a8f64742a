//! The proof of a hand-over, as somebody enters it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::party::{Proof, ProofKind};
use crate::text::Line;

/// Proof of a hand-over to the patient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProof {
    pub kind: ProofKind,
    /// The code, or a reference to the signature or photo; never the picture itself.
    pub reference: Line,
}

impl From<NewProof> for Proof {
    fn from(NewProof { kind, reference }: NewProof) -> Self {
        Self { kind, reference: reference.into() }
    }
}
